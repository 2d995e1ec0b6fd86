r"""Implicit Euler steps whose coefficients depend on the densities at the new time, as far as they do so locally.

Fields are *local* if they are multiples of a density at the same place (``Kernel.local``). A step with Δt solves, for
all species i and nodes K together,

.. math:: m_K (u'_{iK} - u_{iK}) + \Delta t \sum_L F_{iKL}(u') = 0, \tag{1}

with the fluxes of ``kspde.fem.schemes.transport``. In these, D is evaluated at the nodes with the local fields of u',
and q = b·(x_L − x_K) with b evaluated on the edge: all values are means of those of its ends, and gradients means of
nodal gradients; but the part along the edge of the gradient of a local field is its difference quotient. For
:math:`b = -\sum_j a_j \nabla u_j` then :math:`q = \sum_j a_j (u'_{jK} - u'_{jL})`, exponential fitting in a potential
at the new time. Fields that are not local, and what remains of the gradients of local ones (across edges, and in D),
are those of the old time.

**A solution exists for every Δt > 0**, with u' ≥ 0 and u's masses: with D and q frozen at some u, (1) is an M-matrix
(``transport``), which maps the compact convex set {u ≥ 0, masses given} into itself, and Brouwer's theorem applies.

**Growth** is split as in (2) of ``transport``, its rate r that of the densities at the old time, or at the start of a
substep, local fields included. The same proof holds on {u ≥ 0, Σ (1 + Δt r⁻) m u given}.

**Newton's method** starts at u. Derivatives of D and b in the local fields are differences, pointwise. Iterates are
projected: max(·, 0), scaled to the masses; steps are halved until the residual's L¹ norm falls. Where that ends without
a solution the step is made in substeps, ``_DIVIDE`` times shorter after a failure and ``_GROW`` times longer after a
success. (Of 300 systems, σ from 1e-3 to 1, Δt from 1e-4 to 1e4, one in eight needs substeps, none fails.) One
sweep of Jacobi's iteration with D and q of the result follows, as in ``transport``: u' ≥ 0 to the last bit, exact mass.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from kspde.errors import ConvergenceError
from kspde.fem.schemes.local_coefficients import EdgeGeometry, LocalCoefficients, LocalValues
from kspde.fem.schemes.transport import Motion, fitted, fitted_slopes, grown, patankar, scaled
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.solvers.graph import Graph
from kspde.fem.solvers.krylov import CheckedSystem, PetscPreconditioner, PreconditionerOf
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["ImplicitTransport"]

#: Residual of (1) in L¹, as a share of each mass, at which Newton's method ends,
_RESIDUAL = 1e-12
#: and the one that it accepts where the residual falls no further.
_ACCEPTED = 1e-9
#: Newton's iterations, and the shortest of its steps.
_ITERATIONS, _SHORTEST = 25, 1e-3
#: Relative residual of its linear systems.
_LINEAR = 1e-5
#: Factors of the substeps, and how many failures end the run.
_DIVIDE, _GROW, _FAILURES = 8.0, 4.0, 1000
_ROUND_OFF = 2.0**-52


class _Balance(NamedTuple):
    """What a step holds constant, (1 + Δt r⁻) m and (1 + Δt r⁺) m u by species, and the sums of the latter."""

    held: Array
    old: Array
    masses: Array


class ImplicitTransport:
    """Implicit Euler steps of all species together.

    Args:
        system: the semidiscretisation, with local fields.
        graph: the graph.
        drifting: which species have a drift.
        options: PETSc options of the Krylov solver.

    Attributes:
        newton: Newton's iterations.
        divided: the steps that needed substeps.
    """

    def __init__(
        self, system: Semidiscretisation, graph: Graph, drifting: tuple[bool, ...], options: dict[str, Any]
    ) -> None:
        self.system, self.graph, self.drifting = system, graph, drifting
        self.newton = self.divided = 0
        self._options = options
        self._matrix: Any = None

    @property
    def iterations(self) -> int:
        """All linear iterations so far."""
        return 0 if self._matrix is None else self._solver.iterations

    @cached_property
    def geometry(self) -> EdgeGeometry | None:
        """The geometry of the edges, where there is a drift. Collective."""
        return EdgeGeometry.of(self.graph) if any(self.drifting) else None

    def _coefficients(self, unknowns: Array, t: float) -> LocalCoefficients:
        return LocalCoefficients(self.system, self.graph, self.drifting, self.geometry, unknowns, t)

    def motions(self, unknowns: Array, t: float) -> list[Motion]:
        """Return the fluxes of all species with the coefficients of these unknowns at time t. Collective.

        Raises:
            CoefficientError: coefficients have no meaning.
        """
        n = len(self.drifting)
        return self._coefficients(unknowns, t).motions(unknowns[:n].reshape(n, -1))

    def step(
        self, unknowns: Array, start: Array, t: float, dt: float, masses: Array, *, divide: bool
    ) -> tuple[Array, list[Array], Array, list[Motion]] | None:
        """Return the densities after a step, (species, owned), and what has left along each edge. Collective.

        Then what has grown at each node, shape (species, owned), or (species, 0) without growth, and the fluxes at the
        end.

        Args:
            unknowns: the unknowns at which what is not local is frozen.
            start: the densities that the step starts from, (species, owned).
            t: the time then, which remains that of the coefficients.
            dt: Δt.
            masses: the masses.
            divide: whether substeps are made where Newton's method fails; else the result is then None.

        Raises:
            ConvergenceError: substeps failed too, or coefficients have no meaning.
        """
        n = len(masses)
        coefficients = self._coefficients(unknowns, t)
        u = start
        done, length, failures = 0.0, dt, 0
        moved: list[Array] = []
        motions: list[Motion] = []
        came = np.zeros((n, u.shape[1] if self.system.model.has_growth else 0))
        growth: list[Array | None] = [None] * n
        while done < dt:
            length = min(length, dt - done)
            if self.system.model.has_growth:
                growth = coefficients.growth(u)
            balance = self._balance(growth, u, length, masses)
            new = self._solve(coefficients, u, length, balance)
            if new is None:
                if not divide:
                    return None
                failures += 1
                self.divided += failures == 1
                length /= _DIVIDE
                if failures > _FAILURES or done + length == done:
                    raise ConvergenceError(
                        f"Newton's method fails for coefficients that depend on the local density, in {failures - 1} "
                        f"substeps too, the last of length {length:.3g}"
                    )
                continue
            before = u
            motions = coefficients.motions(new)
            u, fluxes = self._swept(motions, new, length, balance)
            for i, r in enumerate(growth):
                if r is not None:
                    came[i] += grown(self.graph, r, before[i], u[i], length)
            moved = [a + b for a, b in zip(moved, fluxes, strict=True)] if moved else fluxes
            done = dt if length == dt - done else done + length
            length *= _GROW
        return u, moved, came, motions

    def _balance(self, growth: list[Array | None], u: Array, dt: float, masses: Array) -> _Balance:
        """Return what a step from u with this growth holds constant. Collective."""
        parts = [patankar(self.graph, r, old, dt) for r, old in zip(growth, u, strict=True)]
        held, old = (np.stack(part) for part in zip(*parts, strict=True))
        return _Balance(held, old, self.system.space.total(old.sum(axis=1)) if self.system.model.has_growth else masses)

    def _swept(self, motions: list[Motion], new: Array, dt: float, balance: _Balance) -> tuple[Array, list[Array]]:
        """Return the densities after a sweep with frozen coefficients, and what has left along each edge."""
        out, moved = np.empty_like(new), []
        for i, motion in enumerate(motions):
            swept = (balance.old[i] + dt * motion.inflow(new[i])) / (balance.held[i] + dt * motion.outflow())
            out[i] = scaled(self.graph, swept, float(balance.masses[i]), balance.held[i])
            moved.append(dt * motion.flux(out[i]))
        return out, moved

    def _solve(self, coefficients: LocalCoefficients, old: Array, dt: float, balance: _Balance) -> Array | None:
        """Return the solution of (1), or None where Newton's method does not find it. Collective."""
        u, values = old, coefficients.at(old)
        residual, size, floor = self._residual(u, values, dt, balance)
        for _ in range(_ITERATIONS):
            if size <= max(_RESIDUAL, floor):
                return u
            if not np.isfinite(size):
                return None
            try:
                change = self._change(u, coefficients.at(u, slopes=True), residual, dt, balance)
            except ConvergenceError:
                return None
            self.newton += 1
            share = 1.0
            while True:
                trial = self._projected(u + share * change, balance)
                values = coefficients.at(trial)
                tried = self._residual(trial, values, dt, balance)
                if tried[1] < (1.0 - 0.1 * share) * size:
                    break
                share *= 0.5
                if share < _SHORTEST:
                    return u if size <= _ACCEPTED else None
            u, (residual, size, floor) = trial, tried
        return u if size <= _ACCEPTED else None

    def _projected(self, u: Array, balance: _Balance) -> Array:
        """Return max(u, 0), scaled to the masses."""
        u = np.maximum(u, 0.0)
        found = self.system.space.total(np.einsum("ik,ik->i", u, balance.held))
        with np.errstate(all="ignore"):
            factors = np.where(balance.masses > 0.0, balance.masses / found, 0.0)
            return np.asarray(u * factors[:, None])

    def _residual(self, u: Array, values: LocalValues, dt: float, balance: _Balance) -> tuple[Array, float, float]:
        """Return (1)'s residual, its largest L¹ norm as a share of a mass, and what rounding leaves of that."""
        graph = self.graph
        out = balance.held * u - balance.old
        norms = np.empty((2, len(u)))
        with np.errstate(all="ignore"):
            for i, (d, q) in enumerate(zip(values.diffusion, values.q, strict=True)):
                d = np.maximum(d, 0.0)  # what is negative at the solution is refused there
                motion = Motion.along(graph, d, q)
                out[i] += dt * graph.sums(motion.flux(u[i]))
                norms[:, i] = np.abs(out[i]).sum(), ((balance.held[i] + dt * motion.outflow()) * u[i]).sum()
            size, moving = self.system.space.total(norms) / np.maximum(balance.masses, 1e-300)
        return out, float(np.max(size)), 2.0 * _ROUND_OFF * float(np.max(moving))

    def _change(self, u: Array, values: LocalValues, residual: Array, dt: float, balance: _Balance) -> Array:
        """Return Newton's change −J⁻¹R. Collective.

        Raises:
            ConvergenceError: the linear system was not solved.
        """
        graph, edges = self.graph, self.graph.edges
        n, i, j, k = len(u), edges.tails, edges.heads, edges.conductance
        #: derivatives of F_ij of species a in u_b at the tail and at the head
        tail, head = np.zeros((len(i), n, n)), np.zeros((len(i), n, n))
        with np.errstate(all="ignore"):
            for a in range(n):
                d, v, q = graph.ghosted(np.maximum(values.diffusion[a], 0.0) + 0.0), graph.ghosted(u[a]), values.q[a]
                if q is None:
                    tail[:, a, a] = k * d[i]
                    head[:, a, a] = -k * d[j]
                    by_tail, by_head = k * v[i], -k * v[j]
                else:
                    tail[:, a, a] = k * fitted(q, d[i])
                    head[:, a, a] = -k * fitted(-q, d[j])
                    (by_q, by_tail), (by_minus, by_head) = fitted_slopes(q, d[i]), fitted_slopes(-q, d[j])
                    by_q = k * (by_q * v[i] + by_minus * v[j])
                    by_tail, by_head = k * by_tail * v[i], -k * by_head * v[j]
                for b in range(n):
                    if (slope := values.slopes[a][b]) is not None:
                        slope = graph.ghosted(slope)
                        tail[:, a, b] += by_tail * slope[i]
                        head[:, a, b] += by_head * slope[j]
                    if q is None:
                        continue
                    if (mean := values.means[a][b]) is not None:
                        tail[:, a, b] += 0.5 * by_q * mean
                        head[:, a, b] += 0.5 * by_q * mean
                    if (difference := values.differences[a][b]) is not None:
                        tail[:, a, b] -= by_q * difference
                        head[:, a, b] += by_q * difference
        blocks = np.empty((len(edges.entries), n, n))
        blocks[edges.entries] = dt * head
        diagonal = np.stack([graph.sums(column) for column in (dt * tail).reshape(len(i), n * n).T], axis=1)
        diagonal = diagonal.reshape(-1, n, n)
        diagonal[:, range(n), range(n)] += balance.held.T
        blocks[~edges.entries] = diagonal
        # A value that is not finite must fail on all ranks, and not in PETSc.
        with together(self.system.space.comm):
            if not np.all(np.isfinite(blocks)):
                raise ConvergenceError("derivatives are not finite")
        self._fill(blocks)
        right = -residual.T.ravel()
        sizes = diagonal[:, range(n), range(n)].ravel()
        return self._solver.solve(right, np.zeros(len(right)), sizes, sizes).reshape(-1, n).T

    def _fill(self, blocks: Array) -> None:
        """Set the matrix, whose unknowns are all species of a node, then those of the next. Collective."""
        starts, columns = self.graph.edges.csr
        n = blocks.shape[1]
        if self._matrix is None:
            counts = np.diff(starts)
            rows = np.repeat(np.arange(len(counts)), counts)
            within = np.arange(len(columns)) - starts[rows]
            species = np.arange(n)
            #: the place of each entry of the blocks among those of the matrix
            self._places = (
                (starts[rows] * n * n + within * n)[:, None, None]
                + (counts[rows] * n)[:, None, None] * species[:, None]
                + species
            ).ravel()
            pointers = np.concatenate([[0], np.cumsum(np.repeat(counts * n, n))]).astype(starts.dtype)
            wide = np.empty(blocks.size, dtype=columns.dtype)
            wide[self._places] = np.broadcast_to(columns[:, None, None] * n + species, blocks.shape).ravel()
            self._csr = pointers, wide
        entries = np.empty(blocks.size)
        entries[self._places] = blocks.ravel()
        if self._matrix is not None:
            self._matrix.setValuesCSR(*self._csr, entries)
            self._matrix.assemble()
            return
        stiffness = self.graph.stiffness
        self._matrix = self.graph.wide_matrix(n, (*self._csr, entries))
        kinds = ["bjacobi", "lu"] if stiffness.direct else ["bjacobi"]
        preconditioners: list[PreconditionerOf] = [partial(PetscPreconditioner, kind=kind) for kind in kinds]
        self._solver = CheckedSystem(self._matrix, preconditioners, self._options, accuracy=_LINEAR, symmetric=False)

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        if self._matrix is not None:
            self._solver.free()
            self._matrix.destroy()
