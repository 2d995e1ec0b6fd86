r"""The positive schemes: degree 1, u ≥ 0 and exact mass for every step.

(In double precision for every step with :math:`\Delta t D \le 10^8 h^2`, h the size of the smallest cells: beyond it
rounding may cost more of the mass than a scaling by 1 ± 1e-8 puts right, and the run ends with one line that says so.)

**"positive", order 1.** D and b are frozen at the old time, and each species makes an implicit Euler step
:math:`S_{\Delta t}` with the fluxes of ``kspde.fem.schemes.transport``, where it is proved that u ≥ 0 and that mass is
kept. Fields that relax make an implicit Euler step with the new densities.

**"positive2", order 2.** With :math:`u_1 = S_{\Delta t} u^n` and :math:`u_2 = S_{\Delta t/2} S_{\Delta t/2} u^n`, whose
stages have the fluxes F_1, F_a and F_b, Richardson's extrapolation :math:`2 u_2 - u_1` has local error O(Δt³). On
:math:`\dot y = -\lambda y` its factor is :math:`2/(1 + z/2)^2 - 1/(1 + z)`, z = λΔt: between −.04 and 1, and 0 at
infinity. It may be negative. But it differs from :math:`u_2 \ge 0` by fluxes along edges,

.. math:: m\,(2 u_2 - u_1)_i = m_i u_{2,i} - \sum_j A_{ij}, \qquad
    A = \Delta t\,\big(\tfrac12 F_a(u_a) + \tfrac12 F_b(u_2) - F_1(u_1)\big) = -A^T ,

and the limiter of ``kspde.fem.schemes.limiter`` keeps these from taking more than there is: u ≥ 0 and exact mass again,
for every Δt, and no change of the extrapolation wherever at all nodes :math:`\sum_j A_{ij}^+ \le m_i u_{2,i}`. Since A
= O(Δt²), that is so for small Δt where u is smooth and positive. In the tails of a Gaussian it is not: there u_1 > 2
u_2 at any Δt, but farther out for a smaller one; what the limiter holds back there (``held_back``) falls faster than
Δt². Fields that relax are extrapolated too; where u_1 and u_2 give them the same sign they keep it.

With ``tol`` the step is chosen so that :math:`u_2 - u_1`, the local error of the scheme of order 1, stays below ``tol``
times the L² norm of the initial data; u ≥ 0 does not depend on it. (Modified Patankar-Runge-Kutta methods reach the
same order with two systems a step, and were tried; but they do not damp: their factor is −1/2 at infinity.)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import ConvergenceError, InputError
from kspde.fem.coefficients import CoefficientError, checked
from kspde.fem.schemes.step_control import StepFloor
from kspde.fem.monitors.time_error import TimeError
from kspde.fem.observer import Observer
from kspde.fem.resume import Position, Restart
from kspde.fem.schemes.limiter import limited
from kspde.fem.schemes.transport import Motion, Transport, scaled
from kspde.fem.semidiscretisation import SemiDiscrete, row_tolerances
from kspde.fem.solvers.graph import Graph
from kspde.runtime.parallel import on_all_ranks

__all__ = ["Stepper", "solve_positive"]

Array = npt.NDArray[np.float64]

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0


def solve_positive(
    system: SemiDiscrete,
    start: Position,
    *,
    order: int,
    t_end: float,
    dt: float | None = None,
    tol: float | None = None,
    options: dict[str, Any],
    observer: Observer,
    restart: Restart,
    started: Callable[[], None],
) -> dict[str, Any]:
    """Integrate from ``start`` to ``t_end``.

    With ``order`` 1 or 2, and either ``dt``, a fixed step (shorter ones are made where it does not divide the times to
    be saved), or for order 2 ``tol``, the tolerance of a step that is controlled. The other arguments, results and
    errors are those of ``solve_rosenbrock``.
    """
    position = replace(start)
    rejected = 0
    floor = StepFloor(t_end)
    with Stepper(system, options, order) as stepper:
        stepper.begin(position.unknowns)
        if tol is not None and position.norms is None:
            position.norms = stepper.norms(position.unknowns)
        allowed = None if tol is None or position.norms is None else row_tolerances(tol, position.norms)
        h = dt or position.dt or _first(system, position.unknowns, tol or 0.0, t_end)
        if not position.step:
            observer(0.0, position.unknowns)
        error = None if dt is None else _time_error(observer, order, dt)
        started()
        while position.t < t_end * (1 - 1e-12):
            # Steps end at the times to be saved; none is left that is shorter than rounding.
            due = observer.next_time - position.t
            tau = due if due < h * (1 + 1e-9) else 0.5 * due if allowed is not None and due < 2.0 * h else h
            try:
                unknowns, difference = stepper.step(position.unknowns, tau)
            except CoefficientError as error:
                raise error.at(position.step + 1, position.t, tau) from None
            except ConvergenceError as error:
                raise _failed(position, tau, str(error)) from None
            if allowed is not None:
                ratio = float(np.max(stepper.norms(difference) / allowed))
                change = min(_GROW, max(_SHRINK, _SAFETY * max(ratio, 1e-12) ** -0.5))
                if not ratio <= 1.0:
                    rejected += 1
                    h = tau * min(change, 0.9)
                    if floor.rejected(h):
                        raise _failed(position, h, "the error stays above tol for every step")
                    continue
                # A step that was cut short says little about the next one.
                h = max(h, tau * change) if tau < h else tau * change
                position.dt = h
            elif error is not None and error.due(tau, saved=tau == due):
                with suppress(ConvergenceError):  # if coefficients are not valid here, the next step says so
                    error.update(stepper.local_error(position.unknowns, unknowns, tau), tau)
            position.t = observer.next_time if tau == due else position.t + tau
            position.step += 1
            position.unknowns = unknowns
            observer(position.t, unknowns, None if error is None else error.value)
            restart.look(position)
            if allowed is not None and (words := floor.accepted(h, position.t)):
                raise _failed(position, h, words)
    details: dict[str, Any] = {"steps": position.step, "linear_iterations": stepper.iterations}
    if error is not None:
        details["time_error"] = float(np.max(error.value))
    if order == 1:
        return {"method": "positive, linearly implicit", "dt": dt, **details}
    control = {"dt": dt} if tol is None else {"tol": tol, "rejected_steps": rejected}
    return {"method": "positive, extrapolated and limited", **control, **details, "held_back": stepper.held_back}


class Stepper:
    """The steps of both schemes.

    Attributes:
        held_back: the largest share of a species' mass that the limiter has held back in a step.
    """

    def __init__(self, system: SemiDiscrete, options: dict[str, Any], order: int) -> None:
        self._system = system
        self._options = options
        self._order = order
        self._species = len(system.model.species)
        self._transports: list[Transport] = []
        self._masses: Array = np.zeros(self._species)
        #: fluxes at the start of the last step, the unknowns in its middle, and fluxes where the next one may start
        self._first: list[Motion] = []
        self._middle: Array | None = None
        self._ahead: tuple[Array, list[Motion]] | None = None
        self._graph: Graph | None = None
        self.held_back = 0.0

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for thing in (*self._transports, self._graph):
            if thing is not None and on_all_ranks(self._system.space.comm, error):
                thing.free()

    @property
    def iterations(self) -> int:
        """All linear iterations so far."""
        return sum(transport.iterations for transport in self._transports)

    def begin(self, unknowns: Array) -> None:
        """Make the linear systems, and take note of the masses. Collective."""
        system = self._system
        self._graph = Graph(system.space)
        c = system.field_values(unknowns)
        for species in system.model.species:
            diffusion, drift = system.coefficients(species, c)
            _refuse_directional(species, diffusion)
            self._transports.append(Transport(self._graph, drift is not None, self._options, in_turn=self._order == 1))
        self._masses = system.space.integral(*unknowns[: self._species])

    def norms(self, unknowns: Array) -> Array:
        """Return the L² norm of each row. Collective."""
        return np.sqrt(self._system.space.integral(*(row * row for row in unknowns)))

    def step(self, unknowns: Array, dt: float) -> tuple[Array, Array]:
        """Return the new unknowns, and for order 2 the difference u_2 − u_1. Collective.

        Raises:
            ConvergenceError: a linear system was not solved, or coefficients are not valid.
        """
        known = self._ahead is not None and self._ahead[0] is unknowns
        first = self._ahead[1] if known and self._ahead is not None else self._motions(unknowns)
        self._first = first
        whole = self._euler(unknowns, first, dt)
        if self._order == 1:
            return whole, np.zeros(())
        half = self._euler(unknowns, first, 0.5 * dt)
        second = self._motions(half)
        twice = self._euler(half, second, 0.5 * dt)
        space, n = self._system.space, self._species
        self._middle = half - 0.5 * (whole - twice)
        new = 2.0 * twice - whole
        for i in range(n):
            a, b, one = (u[i].ravel() for u in (half, twice, whole))
            flux = dt * (first[i].flux(0.5 * a - one) + 0.5 * second[i].flux(b))
            graph = first[i].graph
            amounts, held_back = limited(graph, graph.mass * b, flux)
            new[i].flat = scaled(graph, amounts / graph.mass, float(self._masses[i]))
            share = float(space.total(np.array([held_back]))[0] / self._masses[i])
            self.held_back = max(self.held_back, share)
        signs = np.sign(twice[n:])
        new[n:] = np.where((signs == np.sign(whole[n:])) & (signs != np.sign(new[n:])), 0.0, new[n:])
        return new, twice - whole

    def local_error(self, before: Array, after: Array, dt: float) -> Array:
        """Return the L¹ norm of the local error of the step just made, as a share of each mass. Collective.

        ``kspde.fem.monitors.time_error`` has the formulas. The fluxes at its end are kept for the next step.
        """
        last = self._motions(after)
        self._ahead = after, last
        parts = [(0.5, self._first, before), (0.5, last, after)]
        if self._middle is not None:
            middle = self._middle
            middle[: self._species] = np.maximum(middle[: self._species], 0.0)
            ends, inner = 1 / 6, (2 / 3, self._motions(middle), middle)
            parts = [(ends, self._first, before), inner, (ends, last, after)]
        local = np.empty(self._species)
        for i in range(self._species):
            missed = self._first[i].graph.mass * (after[i] - before[i]).ravel()
            for weight, motions, u in parts:
                missed -= weight * dt * motions[i].rate(u[i].ravel())
            local[i] = np.abs(missed).sum()
        return self._system.space.total(local) / self._masses

    def _motions(self, unknowns: Array) -> list[Motion]:
        """Return the fluxes of all species, their coefficients frozen at these unknowns."""
        system, space = self._system, self._system.space
        c = system.field_values(unknowns)
        motions = []
        for transport, species in zip(self._transports, system.model.species, strict=True):
            diffusion, drift = system.coefficients(species, c)
            diffusion = checked(space.comm, space.points, species, diffusion, drift)
            motions.append(Motion(transport.graph, diffusion, drift))
        return motions

    def _euler(self, unknowns: Array, motions: list[Motion], dt: float) -> Array:
        """Return the unknowns after an implicit Euler step."""
        new = unknowns.copy()
        for i, (transport, motion) in enumerate(zip(self._transports, motions, strict=True)):
            new[i].flat = transport.step(motion, unknowns[i].ravel(), dt, float(self._masses[i]))
        self._system.relax(new, dt)
        return new


def _time_error(observer: Observer, order: int, dt: float) -> TimeError:
    """Return the time error of the steps that the observer has seen."""
    table = observer.recorder.table()
    return TimeError(order, dt, table["dt"][1:], np.atleast_1d(table["time_error"][-1]))


def _first(system: SemiDiscrete, unknowns: Array, tol: float, t_end: float) -> float:
    """Return a first step: the time in which the unknowns change by √tol of their norms."""
    state = system.state(unknowns)
    norms, speeds = system.norms(state), system.norms(system.rate(state) / system.space.weights)
    moving = (speeds > 0) & (norms > 0)
    return float(np.sqrt(tol)) * float(np.min(norms[moving] / speeds[moving], initial=t_end))


def _failed(position: Position, dt: float, reason: str) -> ConvergenceError:
    return ConvergenceError(
        f"the solve failed in step {position.step + 1} at t = {position.t:.6g} with dt = {dt:.3g}: {reason}; try a "
        'smaller dt, or petsc_options such as {"ksp_max_it": 5000} or {"ksp_type": "preonly", "pc_type": "lu"}'
    )


def _refuse_directional(species: str, diffusion: Array) -> None:
    if diffusion.ndim == 2:
        raise InputError(
            f"species {species!r} has one diffusion coefficient a direction, which the positive schemes do not take: "
            'use scheme="adaptive"'
        )
