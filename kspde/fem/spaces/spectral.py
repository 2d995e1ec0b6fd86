"""Operators of a box in its modes: fields by their symbols, and the preconditioner with a constant shift."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.fem.solvers.krylov import Preconditioner
from kspde.fem.spaces.base import FieldOperator
from kspde.fem.spaces.tensor import Robin, TensorLaplacian
from kspde.kernels import Kernel
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm

__all__ = ["ConstantShift", "SymbolOperator"]

#: sup s/inf s up to which the matrix with a constant shift is a good preconditioner
_EVEN = 50.0
#: In place of λ = 0, where λ g(λ) has a limit.
_TINY = 1e-30


class SymbolOperator(FieldOperator):
    """K * u as a pointwise factor in the modal space of the field's boundary condition.

    Args:
        laplacian: −Δ with that condition.
        kernel: K.
        robin: the condition's coefficient, or one for each direction.
        name: the field's.

    Raises:
        InputError: the symbol is not finite on the spectrum.
    """

    def __init__(self, laplacian: TensorLaplacian, kernel: Kernel, robin: Robin, name: str) -> None:
        self.key = robin
        self._laplacian = laplacian
        eigenvalues = self._laplacian.eigenvalues
        # Without decay and without an outside only u minus its mean has a field.
        constant = eigenvalues == 0.0 if kernel.decay_rate == 0.0 else np.zeros(eigenvalues.shape, dtype=bool)
        self._factors = np.where(constant, 0.0, kernel.symbol(np.where(constant, 1.0, eigenvalues)))
        self._constant, self._source = constant, _TINY * float(kernel.symbol(np.full(1, _TINY))[0])
        # Denormal numbers slow matrix products down ten times.
        self._factors[np.abs(self._factors) < 1e-40 * np.abs(self._factors).max(initial=0.0)] = 0.0
        self._rate = kernel.relaxation_rate**2
        self._stiff = self._laplacian.eigenvalues + self._rate
        if not np.all(np.isfinite(self._factors)):
            raise InputError(f"the symbol of field {name!r} is not finite on the spectrum of the Laplacian")

    def prepare(self, nodal: Array, state: Array | None) -> Any:
        """Return the modal coefficients of u; with Neumann's condition they are the state."""
        if state is not None and self.key == 0.0:
            return state
        return self._laplacian.transform(nodal)

    def apply(self, prepared: Any, gradient: bool) -> tuple[Array, Array | None]:
        """Multiply and transform back."""
        value = self._laplacian.back(self._factors * prepared, derived=gradient)
        return value.ravel(), self._laplacian.gradient(value) if gradient else None

    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes. Collective."""
        return self._laplacian.gradient(nodal)

    def state(self, nodal: Array) -> Array:
        """Return the modal coefficients. Collective."""
        return self._laplacian.transform(nodal)

    def nodal(self, state: Array) -> Array:
        """Return the nodal values. Collective."""
        return self._laplacian.back(state)

    def relaxation(self, prepared: Array, state: Array) -> Array:
        """Return (Λ + ρ²)(g û − ĉ)."""
        out = self._stiff * (self._factors * prepared - state)
        return np.where(self._constant, self._source * prepared, out)  # on a line some ranks hold no modes

    def spectrum(self) -> tuple[Array, Array]:
        """Return Λ + ρ²."""
        first, others = self._laplacian.separated
        return first + self._rate, others

    def relaxation_solve(self, shift: float, tau: float, rhs: Array) -> Array:
        """Divide."""
        return rhs / (shift + self._stiff / tau)


class ConstantShift(Preconditioner):
    r"""A PETSc preconditioner of K + sM: :math:`c\,(K + \bar s M)^{-1} c`, s̄² = inf s sup s, c = (s̄/s)^¼.

    Where s varies slowly the matrix acts on waves of wave number k as s + k², the preconditioner's inverse as
    :math:`\sqrt{s/\bar s}\,(\bar s + k^2)`. The quotient lies between :math:`\sqrt{s/\bar s}`, for long waves, and
    :math:`\sqrt{\bar s/s}`, for short ones, so the condition number is about :math:`\sqrt{\sup s/\inf s}`; with
    c = 1 it would be the square of that.
    """

    def __init__(self, comm: Comm, mass: Array, laplacian: TensorLaplacian, ksp: Any) -> None:
        ksp.getPC().setType("python")
        ksp.getPC().setPythonContext(self)
        self._comm, self._mass = comm, mass
        self._solve = laplacian.roughly(mass)
        #: s̄, and c at the nodes: single precision will do
        self._shift = 1.0
        self._c = np.ones(mass.shape, dtype=np.float32)
        self._inner = np.empty_like(self._c)

    def update(self, s: Array, iterations: int) -> None:
        """Follow the diagonal of sM, here called s. Collective."""
        s = s.reshape(self._mass.shape) / self._mass
        ends = reduced(self._comm, np.array([s.max(initial=0.0), -s.min(initial=np.inf)]), "MAX")
        self.suits = not ends[0] > -_EVEN * ends[1]
        self._shift = float(np.sqrt(ends[0]) * np.sqrt(-ends[1]))
        np.power(self._shift / s, 0.25, out=self._c, casting="same_kind")

    def apply(self, pc: Any, x: Any, y: Any) -> None:
        """Set y to the preconditioner's result for x. Collective."""
        inner = self._inner
        size = x.norm() or 1.0
        np.multiply(x.array_r.reshape(inner.shape), 1.0 / size, out=inner, casting="same_kind")
        inner *= self._c
        # Entries below 6e-8 times this become 0: denormal numbers slow products down ten times.
        inner += np.float32(1e-15)
        inner -= np.float32(1e-15)
        solution = self._solve(inner, self._shift)
        solution *= self._c
        np.multiply(solution, size / self._shift, out=y.array.reshape(inner.shape), dtype=np.float64)
