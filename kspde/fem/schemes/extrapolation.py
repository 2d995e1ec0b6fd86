r"""The steps of the positive schemes: Euler's, their extrapolation, and the limiter that keeps it positive.

**The limiter.** Nodes hold amounts :math:`c_i \ge 0`. Adding fluxes :math:`A_{ij} = -A_{ji}` gives :math:`c_i -
\sum_j A_{ij}`, which may be negative. Each node has a share :math:`0 \le R_i \le 1`, and a flux is multiplied, at both
its ends, by the share of the node that it leaves: so total mass is conserved. With :math:`P_i = \sum_j A_{ij}^+` and
:math:`I_i(R) = \sum_j R_j A_{ji}^+`,

.. math:: R_i^{(k)} = \min\big(P_i,\; c_i + I_i(R^{(k-1)})\big) / P_i, \qquad R^{(0)} = 0, \qquad
    c_i' = c_i + I_i(R^{(k)}) - R_i^{(k)} P_i .

The first pass is Zalesak's limiter (J. Comput. Phys. 31, 1979) for the bound 0: a node gives no more than it has. Later
passes let the node pass on what it is certain to receive. **c' ≥ 0 after any number of passes**: R is non-decreasing in
k, since I is monotone and R^(1) ≥ 0 = R^(0); so :math:`R_i^{(k)} P_i \le c_i + I_i(R^{(k-1)}) \le c_i +
I_i(R^{(k)})`. Rounding is monotone too: the statement holds in floating-point arithmetic. All fluxes pass unchanged
if and only if :math:`P_i \le c_i + I_i(R^{(k-1)})` at every node, for which P_i ≤ c_i is enough.

**Growth.** The stages of :math:`2 u_2 - u_1` then differ by sources :math:`B_i` too, with the stages' own :math:`s =
\Delta t\,m (r^+ u - r^- u')` (``transport``, (2)): :math:`B = s_a + s_b - s_1`. They are treated as fluxes from and to
the outside: :math:`B_i^+` arrives in full, so that it is part of :math:`c_i`, and :math:`B_i^-` is part of :math:`P_i`,
so that :math:`R_i B_i^-` leaves. The proof is the same, and the balance holds with what has arrived and left.
:math:`B_i^-` is cut at half of what the node has, which it exceeds for Δt r⁻ > 2.7 only: a step that is too long must
not end in extinction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import ConvergenceError, InputError
from kspde.fem.coefficients import checked, checked_growth
from kspde.fem.monitors.time_error import TimeError
from kspde.fem.observer import RunState
from kspde.fem.schemes.base import follow_growth, row_tolerances
from kspde.fem.schemes.implicit import ImplicitTransport
from kspde.fem.schemes.transport import Motion, Transport, grown, refuse_unbalanced, scaled
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.solvers.graph import Graph
from kspde.runtime.compiled import compiled_in_order
from kspde.runtime.parallel import on_all_ranks
from kspde.typing import Array

__all__ = ["PositiveSteps", "limited"]

Indices = npt.NDArray[np.int32]

_TINY = 1e-300
#: Passes of the limiter; on the tails of Gaussians the third still gains a few per cent, the fifth nothing.
_PASSES = 4


class PositiveSteps:
    """The steps of both schemes, for ``march``; a context that frees the PETSc objects.

    Args:
        system: the semidiscretisation.
        options: PETSc options of the linear solvers.
        order: 1 or 2.

    Attributes:
        held_back: the largest share of a species' mass that the limiter has held back in a step.
        peclet: the largest cell Péclet number of each species so far, where its mass is, with the drift of the edges.
        time_error: the estimate of the time error; None with step control.
    """

    advice = (
        '; try a smaller dt, or petsc_options such as {"ksp_max_it": 5000} or {"ksp_type": "preonly", "pc_type": "lu"}'
    )

    def __init__(self, system: Semidiscretisation, options: dict[str, Any], order: int) -> None:
        self.held_back = 0.0
        self.peclet: Array = np.zeros(len(system.model.species))
        self.time_error: TimeError | None = None
        self._system = system
        self._options = options
        self._order = order
        self._species = len(system.model.species)
        self._transports: list[Transport] = []
        self._masses: Array = np.zeros(self._species)
        self._tol = 0.0
        self._allowed: Array | None = None
        self._graph: Graph | None = None
        self._implicit: ImplicitTransport | None = None
        self._drifting: tuple[bool, ...] = ()
        #: fluxes at the start of the last step, the unknowns in its middle, and fluxes where the next one may start
        self._first: list[Motion] = []
        self._middle: Array | None = None
        self._ahead: tuple[Array, list[Motion]] | None = None
        #: ∫∫ r u over the last step
        self._growth: Array = np.zeros(self._species)

    def __enter__(self) -> PositiveSteps:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for thing in (*self._transports, self._implicit, self._graph):
            if thing is not None and on_all_ranks(self._system.space.comm, error):
                thing.free()

    @property
    def iterations(self) -> int:
        """The total number of linear iterations."""
        transports = self._transports if self._implicit is None else [self._implicit]
        return sum(transport.iterations for transport in transports)

    @property
    def local(self) -> dict[str, int]:
        """What steps with local fields took: Newton's iterations, and how many needed substeps; else empty."""
        implicit = self._implicit
        return {} if implicit is None else {"newton_iterations": implicit.newton, "divided_steps": implicit.divided}

    def begin(self, unknowns: Array, t: float = 0.0) -> None:
        """Set up the linear systems, and record the masses. Collective."""
        system = self._system
        self._graph = Graph(system.space)
        c = system.field_values(unknowns, t)
        drifting = []
        for species in system.model.species:
            diffusion, drift = system.coefficients(species, c)
            if diffusion.ndim > 1:
                what = "one diffusion coefficient per direction" if diffusion.ndim == 2 else "a diffusion matrix"
                raise InputError(
                    f'species {species!r} has {what}, which the positive schemes do not take: use scheme="adaptive"'
                )
            drifting.append(drift is not None)
        self._drifting = tuple(drifting)
        if system.local:
            self._implicit = ImplicitTransport(system, self._graph, tuple(drifting), self._options)
        else:
            in_turn = self._order == 1
            self._transports += [Transport(self._graph, drift, self._options, in_turn=in_turn) for drift in drifting]
        self._masses = system.space.integral(*unknowns[: self._species])

    def control(self, state: RunState, tol: float) -> None:
        """Let ``attempt`` compare local errors with the L² norms of the initial densities. Collective."""
        state.norms = self._norms(state.unknowns) if state.norms is None else state.norms
        self._tol, self._allowed = tol, row_tolerances(tol, state.norms)

    def _norms(self, unknowns: Array) -> Array:
        """Return the L² norm of each row."""
        return np.sqrt(self._system.space.integral(*(row * row for row in unknowns)))

    def attempt(self, state: RunState, tau: float) -> float:
        """Compute a step; return its local error in units of what is allowed, 0 without control. Collective."""
        try:
            self._new, difference = self.step(state.unknowns, tau, state.t)
        except _TooLongError:
            return math.nan
        return 0.0 if self._allowed is None else float(np.max(self._norms(difference) / self._allowed))

    def reject(self) -> None:
        """Do nothing: the next step starts where this one did."""

    def accept(self, state: RunState, tau: float, *, saved: bool) -> None:
        """Put the new unknowns and the estimated time error into ``state``. Collective."""
        error = self.time_error
        if error is not None:
            if error.due(tau, saved=saved):
                with suppress(ConvergenceError):  # if coefficients are not valid here, the next step says so
                    error.update(self.local_error(state.unknowns, self._new, tau, state.t), tau)
            state.time_error = error.value
        state.unknowns, state.peclet = self._new, self.peclet
        if state.growth is not None:
            state.growth = state.growth + self._growth
            self._masses = self._system.space.integral(*self._new[: self._species])
            if self._allowed is not None:
                norms = follow_growth(self._system, state, self._norms(self._new))
                self._allowed = row_tolerances(self._tol, norms)
        if self._system.local:
            self._system.refuse_not_parabolic(self._system.effective_diffusion(self._new, state.t))

    def step(self, unknowns: Array, dt: float, t: float = 0.0) -> tuple[Array, Array]:
        """Return the unknowns at t + dt, and for order 2 the difference u_2 − u_1, from those at t. Collective.

        What coefficients depend on beside local fields, time among it, is that of the start of an Euler step.

        Raises:
            ConvergenceError: a linear system was not solved, or coefficients are not valid.
        """
        ahead = self._ahead
        first = ahead[1] if ahead and ahead[0] is unknowns else []
        whole, moved, came, first = self._euler(unknowns, t, dt, first)
        self._first = first
        if self._order == 1:
            if self._system.model.has_growth:
                self._growth = self._system.space.total(came.sum(axis=1))
            return whole, np.zeros(())
        half, moved_first, first_came, _ = self._euler(unknowns, t, 0.5 * dt, first)
        twice, moved_second, second_came, _ = self._euler(half, t + 0.5 * dt, 0.5 * dt, [])
        moves = zip(moved_first, moved_second, moved, strict=True)
        fluxes = (a + b - one for a, b, one in moves)
        return self._extrapolated(whole, half, twice, fluxes, first_came + second_came, came)

    def _extrapolated(
        self, whole: Array, half: Array, twice: Array, fluxes: Iterable[Array], came: Array, came_at_once: Array
    ) -> tuple[Array, Array]:
        """Return 2 u_2 − u_1, limited, and u_2 − u_1. Collective.

        Args:
            whole: u_1.
            half: the first half of u_2.
            twice: u_2.
            fluxes: A of each species.
            came: what has grown at each node on the way to u_2, s_a + s_b, by species; shape (species, 0) without
                growth.
            came_at_once: the same on the way to u_1.
        """
        space, n, graph = self._system.space, self._species, self._graph
        assert graph is not None
        self._middle = half - 0.5 * (whole - twice)
        new = 2.0 * twice - whole
        for i, flux in enumerate(fluxes):
            had = graph.mass * twice[i].ravel()
            sources = np.maximum(came[i] - came_at_once[i], -0.5 * had) if self._system.model.has_growth else None
            amounts, held_back, added = limited(graph, had, flux, sources)
            new[i].flat = amounts / graph.mass
            if sources is None:
                new[i].flat = scaled(graph, new[i].ravel(), float(self._masses[i]), graph.mass)
                held_back = float(space.total(np.array([held_back]))[0])
            else:
                parts = [held_back, added, amounts.sum(), had.sum(), came[i].sum()]
                held_back, added, found, mass, grew = space.total(np.array(parts)).tolist()
                self._growth[i] = grew + added
                refuse_unbalanced(found, mass + added, self._masses[i])
            self.held_back = max(self.held_back, held_back / max(float(self._masses[i]), _TINY))
        signs = np.sign(twice[n:])
        new[n:] = np.where((signs == np.sign(whole[n:])) & (signs != np.sign(new[n:])), 0.0, new[n:])
        return new, twice - whole

    def local_error(self, before: Array, after: Array, dt: float, t: float) -> Array:
        """Return the L¹ norm of the local error of the step just made to t, as a share of each mass. Collective.

        ``kspde.fem.monitors.time_error`` has the formulas. The fluxes at its end are reused by the next step.
        """
        first = self._first = self._first or self._motions(before, t - dt)
        last = self._motions(after, t)
        self._ahead = after, last
        parts = [(0.5, first, before), (0.5, last, after)]
        if self._middle is not None:
            middle = self._middle
            middle[: self._species] = np.maximum(middle[: self._species], 0.0)
            ends, inner = 1 / 6, (2 / 3, self._motions(middle, t - 0.5 * dt), middle)
            parts = [(ends, first, before), inner, (ends, last, after)]
        local = np.empty(self._species)
        for i in range(self._species):
            missed = first[i].graph.mass * (after[i] - before[i]).ravel()
            for weight, motions, u in parts:
                missed -= weight * dt * motions[i].rate(u[i].ravel(), corrected=self._order == 2)
            local[i] = np.abs(missed).sum()
        return np.asarray(self._system.space.total(local) / np.maximum(self._masses, _TINY))

    def _motions(self, unknowns: Array, t: float) -> list[Motion]:
        """Return the fluxes of all species, their coefficients frozen at these unknowns and this time."""
        system, space = self._system, self._system.space
        if self._implicit is not None:
            return self._implicit.motions(unknowns, t)
        c = system.field_values(unknowns, t)
        motions = []
        for transport, species in zip(self._transports, system.model.species, strict=True):
            diffusion, drift = system.coefficients(species, c)
            diffusion = checked(space, species, diffusion, drift)
            growth = checked_growth(space, species, system.growth(species, c)) if system.model.has_growth else None
            motions.append(Motion(transport.graph, diffusion, drift, growth))
        return motions

    def _euler(
        self, unknowns: Array, t: float, dt: float, motions: list[Motion]
    ) -> tuple[Array, list[Array], Array, list[Motion]]:
        """Return the unknowns after an implicit Euler step, of order 2 in space where the scheme is. Collective.

        Then what has left along each edge (for order 2), what has grown at each node, and the fluxes at the start.

        Args:
            unknowns: those at t.
            t: the time.
            dt: Δt.
            motions: the fluxes with the coefficients of these unknowns, if they are known.
        """
        n, implicit = self._species, self._implicit
        corrected = self._order == 2 and any(self._drifting)
        if not motions and (implicit is None or corrected):
            motions = self._motions(unknowns, t)
        start, left = np.ascontiguousarray(unknowns[:n].reshape(n, -1)), [np.zeros(0)] * n
        if corrected:
            start = start.copy()
            for i, motion in enumerate(motions):
                if motion.q is not None:
                    start[i], left[i] = self._corrected(motion, start[i], dt)
        new = unknowns.copy()
        if implicit is not None:
            found = implicit.step(unknowns, start, t, dt, self._masses, divide=self._allowed is None)
            if found is None:
                raise _TooLongError
            values, moved, came, last = found
            self._watch(last, values)
        else:
            self._watch(motions, start)
            came = np.zeros((n, start.shape[1] if self._system.model.has_growth else 0))
            values, moved = np.empty_like(start), []
            for i, (transport, motion) in enumerate(zip(self._transports, motions, strict=True)):
                values[i] = transport.step(motion, start[i], dt, float(self._masses[i]))
                if motion.growth is not None:
                    came[i] = grown(motion.graph, motion.growth, start[i], values[i], dt)
                if self._order == 2:
                    moved.append(dt * motion.flux(values[i]))
        new[:n] = values.reshape(new[:n].shape)
        self._system.relax(new, dt)
        moved = [a + b if len(b) else a for a, b in zip(moved, left, strict=True)] if self._order == 2 else moved
        return new, moved, came, motions

    def moment_error(self, unknowns: Array, t: float) -> Array:
        r"""Return what the fluxes add to d/dt ∫|x − m|²u of each species, m its centre, beyond its drift. Collective.

        It is relative to the larger of :math:`2d\int D u` and :math:`|2\int (x - m)\cdot b\,u|`, and has nothing of the
        error of fields, as D and b are those of the same fields; 0 where the domain is periodic.
        """
        system, space = self._system, self._system.space
        out = np.zeros(self._species)
        if not any(self._drifting) or getattr(space.domain, "period", None) is not None:
            return out
        c, mass = system.field_values(unknowns, t), space.mass.ravel()
        for i, motion in enumerate(self._motions(unknowns, t)):
            diffusion, drift = system.coefficients(system.model.species[i], c)
            if drift is None:
                continue
            u = unknowns[i].ravel()
            held = mass * u
            total, *first = space.total(np.concatenate([[held.sum()], held @ space.points]))
            x = space.points - np.array(first) / max(float(total), _TINY)
            squares = np.sum(x * x, axis=1)
            still = Motion(motion.graph, motion.diffusion, None)
            motion = Motion.along(motion.graph, motion.diffusion, motion.q)
            extra = motion.rate(u, corrected=self._order == 2) - still.rate(u)
            wanted = 2.0 * float(held @ np.sum(x * drift, axis=1))
            spread = 2.0 * space.dimension * float(held @ diffusion)
            added, wanted, spread = space.total(np.array([float(squares @ extra) - wanted, wanted, spread]))
            out[i] = added / max(abs(spread), abs(wanted), _TINY)
        return out

    def _watch(self, motions: list[Motion], u: Array) -> None:
        """Record the cell Péclet numbers. Collective."""
        if any(self._drifting):
            sums = [motion.peclet(row) for motion, row in zip(motions, u, strict=True)]
            moved, spread = self._system.space.total(np.array(sums)).T
            self.peclet = np.maximum(self.peclet, moved / np.maximum(spread, _TINY))

    def _corrected(self, motion: Motion, u: Array, dt: float) -> tuple[Array, Array]:
        """Return u after dt of the correction alone, limited, and what that moves along each edge. Collective."""
        graph, flux = motion.graph, dt * motion.correction(u)
        amounts, out = graph.mass * u, np.maximum(flux, 0.0)
        wanted = graph.sums(out)
        share = np.minimum(1.0, amounts / np.where(wanted > 0.0, wanted, 1.0), where=wanted > 0.0, out=np.ones_like(u))
        share = graph.ghosted(share)
        flux = out * share[graph.edges.tails] - np.maximum(-flux, 0.0) * share[graph.edges.heads]
        return np.maximum(amounts - graph.sums(flux), 0.0) / graph.mass, flux


class _TooLongError(Exception):
    """A controlled step in which Newton's method fails."""


def limited(graph: Graph, amounts: Array, flux: Array, sources: Array | None = None) -> tuple[Array, float, float]:
    """Return the amounts after the limited fluxes, how much was held back, and what came from outside. Collective.

    Args:
        graph: the nodes and edges.
        amounts: c ≥ 0 at this rank's nodes.
        flux: A on its edges, antisymmetric to the last bit.
        sources: B at its nodes.

    Returns:
        The amounts, and sums over this rank's nodes.
    """
    wanted = graph.sums(np.maximum(flux, 0.0))
    if sources is not None:
        amounts, wanted = amounts + np.maximum(sources, 0.0), wanted + np.maximum(-sources, 0.0)
    divisor = np.where(wanted > 0.0, wanted, 1.0)
    had = amounts
    given = np.zeros_like(wanted)
    for _ in range(_PASSES):
        given = np.minimum(wanted, had)
        had = amounts.copy()
        _arrive(graph.edges.starts, graph.edges.heads, flux, graph.ghosted(given / divisor), had)
    added = 0.0
    if sources is not None:
        added = float(np.sum(np.maximum(sources, 0.0) - np.maximum(-sources, 0.0) * (given / divisor)))
    return had - given, float(np.sum(wanted - given)), added


@compiled_in_order
def _arrive(starts: Indices, heads: Indices, flux: Array, share: Array, had: Array) -> None:
    """Add to each node the shares that its neighbours send: with numpy alone a step on a box takes 5 % longer."""
    for i in range(had.size):
        total = had[i]
        for e in range(starts[i], starts[i + 1]):
            total += max(-flux[e], 0.0) * share[heads[e]]
        had[i] = total
