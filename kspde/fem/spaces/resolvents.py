"""Systems on a general mesh: those of the adaptive scheme's stages, and fields as polynomials in resolvents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kspde.fem.solvers.linear import SparseSystem
from kspde.fem.solvers.stiffness import Stiffness
from kspde.fem.spaces.base import FieldOperator, Space
from kspde.kernels import ResolventPolynomial
from kspde.typing import Array

__all__ = ["Resolvents", "ShiftedSystems"]

#: Systems of relaxing fields that are kept: an extrapolated step has two shifts, those of Δt and of Δt/2.
_SHIFTS = 2
#: The D below which K has no part in a system: the matrix is divided by D.
_NEGLIGIBLE = 1e-100


class ShiftedSystems:
    """The systems shift·M + D·K of the adaptive scheme: one matrix for each D in use."""

    def __init__(self, space: Space, stiffness: Stiffness, options: dict[str, Any]) -> None:
        self._space = space
        self._system = SparseSystem(stiffness, options)
        self._mass = float(space.mass.sum())
        self._current: tuple[float, float] | None = None

    def __call__(self, shift: float, diffusion: float, rhs: Array, size: float) -> Array:
        """Return y with shift·M y + D·K y = rhs; see ``Space.shifted_solver``. Collective."""
        mass = self._space.mass
        if diffusion < _NEGLIGIBLE:
            return rhs / (shift * mass)
        if self._current != (shift, diffusion):
            self._system.update(shift * mass, diffusion)
            self._current = (shift, diffusion)
        solution = self._system.solve(rhs, size=shift * size)
        # As 1ᵀK = 0 the integral of the solution is known; with the constant that gives it, the error in the matrix's
        # norm is smaller still, and mass is exact whatever the residual.
        wanted, found, measure = self._space.total(np.array([rhs.sum(), mass @ solution, self._mass]))
        return solution + float((wanted / shift - found) / measure)


class Resolvents(FieldOperator):
    """K * u by Chebyshev's recurrence in each of the kernel's resolvents.

    Args:
        space: the space; states are nodal values.
        stiffness: K.
        parts: the polynomials, and the solvers of their resolvents.
        diagonal: that of ρ²M + R, R the boundary condition's matrix.
    """

    key = "nodal"

    def __init__(
        self,
        space: Space,
        stiffness: Stiffness,
        parts: Sequence[tuple[ResolventPolynomial, SparseSystem]],
        diagonal: Array,
    ) -> None:
        self._space = space
        self._stiffness = stiffness
        # The mollifiers first: their matrices are close to M, and the last factor is the smoothest.
        self._parts = sorted(parts, key=lambda p: p[0].tau)
        self._diagonal = diagonal
        self._relaxing: dict[float, SparseSystem] = {}

    def prepare(self, nodal: Array, state: Array | None) -> Array:
        """Return the nodal values."""
        return nodal

    def apply(self, prepared: Array, gradient: bool) -> tuple[Array, Array | None]:
        """Apply the polynomials one after the other."""
        c = prepared
        for part, system in self._parts:
            c = self._polynomial(part, system, c)
        return c, self._space.gradient(c) if gradient else None

    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes. Collective."""
        return self._space.gradient(nodal)

    def state(self, nodal: Array) -> Array:
        """Return the nodal values."""
        return nodal

    def nodal(self, state: Array) -> Array:
        """Return the nodal values."""
        return state

    def relaxation(self, prepared: Array, state: Array) -> Array:
        """Return (K + R + ρ²M)(K * u − c), R the boundary condition's matrix. Collective."""
        difference = self.apply(prepared, False)[0] - state
        return self._diagonal * difference - self._space.diffusion(difference)

    def relaxation_solve(self, shift: float, tau: float, rhs: Array) -> Array:
        """Solve with shift·M + (K + R + ρ²M)/τ, one system for each of the two latest shifts. Collective."""
        system = self._relaxing.pop(shift, None)
        if system is None:
            if len(self._relaxing) < _SHIFTS:
                system = SparseSystem(self._stiffness, {})
            else:
                system = self._relaxing.pop(next(iter(self._relaxing)))
            system.update(shift * self._space.mass + self._diagonal / tau, 1.0 / tau)
        self._relaxing[shift] = system
        return system.solve(rhs)

    def _polynomial(self, part: ResolventPolynomial, system: SparseSystem, x: Array) -> Array:
        mass = self._space.mass
        before, now = x, 2.0 * system.solve(mass * x, x) - x
        out = part.chebyshev[0] * before + part.chebyshev[1] * now
        for coefficient in part.chebyshev[2:]:
            before, now = now, 4.0 * system.solve(mass * now, now) - 2.0 * now - before
            out += coefficient * now
        return out
