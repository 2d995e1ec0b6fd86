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
import numpy.typing as npt

from kspde.errors import ConvergenceError
from kspde.fem.schemes.local_coefficients import EdgeGeometry, LocalCoefficients, LocalSlopes, LocalValues
from kspde.fem.schemes.transport import Motion, fitted_ends, grown, patankar, scaled
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.solvers.graph import Graph
from kspde.fem.solvers.krylov import CheckedSystem, PetscPreconditioner, PreconditionerOf
from kspde.runtime.compiled import compiled_in_order
from kspde.runtime.parallel import together
from kspde.typing import Array, Mask

__all__ = ["ImplicitTransport"]

Indices = npt.NDArray[np.int32]

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
        self._csr: Any = None

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
                change = self._change(u, values, coefficients.slopes(values), residual, dt, balance.held)
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
        graph, edges = self.graph, self.graph.edges
        out = balance.held * u - balance.old
        norms = np.empty((2, len(u)))
        with np.errstate(all="ignore"):
            for a, (d, q, held) in enumerate(zip(values.diffusion, values.q, balance.held, strict=True)):
                d, v = graph.ghosted(np.maximum(d, 0.0) + 0.0), graph.ghosted(u[a])  # d < 0 is refused at the solution
                q = self._no_drift if q is None else q
                moving = _add_fluxes(edges.starts, edges.heads, edges.conductance, q, d, v, held, dt, out[a])
                norms[:, a] = np.abs(out[a]).sum(), moving
            size, moving = self.system.space.total(norms) / np.maximum(balance.masses, 1e-300)
        return out, float(np.max(size)), 2.0 * _ROUND_OFF * float(np.max(moving))

    @cached_property
    def _no_drift(self) -> Array:
        return np.zeros(len(self.graph.edges.heads))

    def _change(
        self, u: Array, values: LocalValues, slopes: LocalSlopes, residual: Array, dt: float, held: Array
    ) -> Array:
        """Return Newton's change −J⁻¹R. Collective.

        Raises:
            ConvergenceError: the linear system was not solved.
        """
        graph, edges = self.graph, self.graph.edges
        n = len(u)
        entries, sizes = np.empty(len(edges.entries) * n * n), np.empty(u.T.shape)
        with np.errstate(all="ignore"):
            for a in range(n):
                d, v = graph.ghosted(np.maximum(values.diffusion[a], 0.0) + 0.0), graph.ghosted(u[a])
                along = values.q[a]
                q = self._no_drift if along is None else along
                slopes_of_d = np.stack(
                    [np.zeros(len(d)) if s is None else graph.ghosted(s) for s in slopes.diffusion[a]]
                )
                means, differences = (
                    np.stack([self._no_drift if s is None else s for s in row[a]])
                    for row in (slopes.means, slopes.differences)
                )
                _linearise(
                    a, dt, edges.starts, edges.heads, edges.csr[0], edges.entries, edges.conductance, q, d, v, held[a],
                    slopes_of_d, means, differences, entries, sizes,
                )  # fmt: skip
        # A value that is not finite must fail on all ranks, and not in PETSc.
        with together(self.system.space.comm):
            if not np.all(np.isfinite(entries)):
                raise ConvergenceError("derivatives are not finite")
        self._fill(entries, n)
        right = -residual.T.ravel()
        sizes = sizes.ravel()
        return self._solver.solve(right, np.zeros(len(right)), sizes, sizes).reshape(-1, n).T

    def _fill(self, entries: Array, n: int) -> None:
        """Set the matrix, whose unknowns are all n species of a node, then those of the next. Collective."""
        if self._matrix is not None:
            self._matrix.setValuesCSR(*self._csr, entries)
            self._matrix.assemble()
            return
        starts, columns = self.graph.edges.csr
        pointers = np.concatenate([[0], np.cumsum(np.repeat(np.diff(starts) * n, n))]).astype(starts.dtype)
        wide = np.empty(len(entries), dtype=columns.dtype)
        _spread(starts, columns, n, wide)
        self._csr = pointers, wide
        self._matrix = self.graph.wide_matrix(n, (*self._csr, entries))
        kinds = ["bjacobi", "lu"] if self.graph.stiffness.direct else ["bjacobi"]
        preconditioners: list[PreconditionerOf] = [partial(PetscPreconditioner, kind=kind) for kind in kinds]
        self._solver = CheckedSystem(self._matrix, preconditioners, self._options, accuracy=_LINEAR, symmetric=False)

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        if self._matrix is not None:
            self._solver.free()
            self._matrix.destroy()


@compiled_in_order
def _add_fluxes(
    starts: Indices, heads: Indices, k: Array, q: Array, d: Array, u: Array, held: Array, dt: float, out: Array
) -> float:
    """Add Δt Σ_j F_ij to each node i; return Σ (held + Δt Σ_j k_ij a_ij) u."""
    moving = 0.0
    for i in range(starts.size - 1):
        net, rate = 0.0, 0.0
        for e in range(starts[i], starts[i + 1]):
            tail, head = fitted_ends(q[e], d[i], d[heads[e]])
            rate += k[e] * tail[0]
            net += k[e] * (tail[0] * u[i] - head[0] * u[heads[e]])
        out[i] += dt * net
        moving += (held[i] + dt * rate) * u[i]
    return moving


@compiled_in_order
def _linearise(
    a: int, dt: float, starts: Indices, heads: Indices, rows: Indices, off: Mask, k: Array, q: Array, d: Array,
    u: Array, held: Array, slopes: Array, means: Array, differences: Array, entries: Array, sizes: Array,
) -> None:  # fmt: skip
    """Write the rows of species a of the Jacobi matrix, and what stands on its diagonal.

    ``rows`` and ``off`` are those of ``Graph.edges``. The derivatives of D and q in the density of each species b are
    ``slopes``, ``means`` and ``differences``, as in ``LocalSlopes``: of shapes (species, nodes) and (species, edges).
    """
    n = len(slopes)
    diagonal = np.empty(n)
    for i in range(starts.size - 1):
        diagonal[:] = 0.0
        diagonal[a] = held[i]
        width = rows[i + 1] - rows[i]
        here = place = (rows[i] * n + a * width) * n
        e = starts[i]
        for entry in range(rows[i], rows[i + 1]):
            if not off[entry]:
                here = place
            else:
                j = heads[e]
                (leaving, out_by_q, by_tail), (arriving, in_by_q, by_head) = fitted_ends(q[e], d[i], d[j])
                by_q = k[e] * (out_by_q * u[i] + in_by_q * u[j])
                for b in range(n):
                    mean, difference = 0.5 * by_q * means[b, e], by_q * differences[b, e]
                    diagonal[b] += dt * (k[e] * by_tail * u[i] * slopes[b, i] + mean - difference)
                    entries[place + b] = dt * (mean + difference - k[e] * by_head * u[j] * slopes[b, j])
                diagonal[a] += dt * k[e] * leaving
                entries[place + a] -= dt * k[e] * arriving
                e += 1
            place += n
        for b in range(n):
            entries[here + b] = diagonal[b]
        sizes[i, a] = diagonal[a]


@compiled_in_order
def _spread(rows: Indices, columns: Indices, n: int, wide: Indices) -> None:
    """Write the columns of a matrix of n unknowns per node, row after row."""
    place = 0
    for i in range(rows.size - 1):
        for _ in range(n):
            for entry in range(rows[i], rows[i + 1]):
                for b in range(n):
                    wide[place] = columns[entry] * n + b
                    place += 1
