"""Where a run stands, and what is recorded of it after every accepted step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from kspde.fem.diagnostics import Recorder
from kspde.fem.monitors.blow_up import Monitor
from kspde.fem.regrid import Regridding
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.snapshot import Knot, Snapshot
from kspde.runtime.following import Followers, State, Stopped
from kspde.runtime.parallel import all_or_none
from kspde.runtime.saving import SaveAt
from kspde.typing import Array

__all__ = ["Observer", "RunState"]


@dataclass(kw_only=True)
class RunState:
    """Where a run stands: what its scheme needs to continue.

    Attributes:
        step: the number of accepted steps.
        t: the time.
        unknowns: nodal densities and relaxing fields.
        dt: the length of the next step; None where the scheme has yet to choose its first.
        bounds: the largest diffusion coefficients of the last step; None at the start.
        norms: the L² norms that tolerances refer to: of the initial density, with growth the largest until now; None at
            the start.
        handed_over: whether the adaptive scheme has changed to its second method.
        time_error: the estimated time error of each species; None where there is no estimate. Not in checkpoints.
        growth: ∫∫ r u dx dt of each species until now; None where the model has no growth. Checkpoints have it among
            the diagnostics.
        paused: whether the run waits for another grid (``kspde.fem.regrid``), or ends before ``t_end``.
        peclet: the largest cell Péclet number of each species since the run began or was resumed, by the drift that the
            positive schemes take along edges; None without such steps. Not in checkpoints.
    """

    step: int = 0
    t: float = 0.0
    unknowns: Array
    dt: float | None = None
    bounds: Array | None = None
    norms: Array | None = None
    handed_over: bool = False
    time_error: Array | None = None
    growth: Array | None = None
    paused: bool = False
    peclet: Array | None = None


class Crossing(NamedTuple):
    """A step that has passed events, and is not recorded.

    Attributes:
        before: where the run stood before it.
        values: the values of the events then.
        t: its end.
        after: the values there.
    """

    before: RunState
    values: Array
    t: float
    after: Array


class Observer:
    """Records diagnostics, saves snapshots, reports progress and watches for blow-up after every accepted step.

    Args:
        system: the semidiscretisation.
        t_end: the final time.
        save: what to save.
        progress: called with t/t_end.
        on_blow_up: what to do about a peak that the mesh limits: "stop", "warn" or "ignore".
        time_error: whether the run estimates its time error.
        regridding: what makes the run pause; None for a run on one grid.
        followers: the user's callbacks.

    Attributes:
        recorder: the diagnostics.
        times: the times of the snapshots; the last is ``t_end``.
        knots: the snapshots taken so far.
        latest: the unknowns after the last accepted step; None before the first.
        crossing: the step that has passed events, until they are located.
        stopped: why the run has ended before ``t_end``.
    """

    def __init__(
        self,
        system: Semidiscretisation,
        t_end: float,
        save: SaveAt,
        progress: Callable[[float], None] | None = None,
        on_blow_up: str = "stop",
        time_error: bool = False,
        regridding: Regridding | None = None,
        followers: Followers | None = None,
    ) -> None:
        self.regridding = regridding
        self.followers = followers
        self.crossing: Crossing | None = None
        self.stopped: Stopped | None = None
        self._before: tuple[RunState, Array] | None = None
        self.recorder = Recorder(system, save.statistics, time_error=time_error)
        self.times = save.until(t_end)
        self.knots: list[Knot] = []
        self.latest: Array | None = None
        self._system = system
        self._t_end = t_end
        self._callback = save.callback
        self._progress = progress
        if on_blow_up == "stop" and not system.fields:
            on_blow_up = "warn"  # the solution of a linear equation does not blow up
        growing = system.model.has_growth
        self._monitor = Monitor(system.space, system.model.species, on_blow_up, growing=growing)
        self._last = 0.0

    def move(self, system: Semidiscretisation, latest: Array) -> None:
        """Continue on another grid, with the unknowns there."""
        self._system, self.latest = system, latest
        self.recorder.move(system)
        self._monitor.move(system.space)

    def restore(self, table: Mapping[str, Array], knots: list[Knot], latest: Array) -> None:
        """Continue from what was recorded before a checkpoint."""
        self.recorder.restore(table)
        self.knots, self.latest = knots, latest
        self._last = float(table["t"][-1])
        self._monitor.restore(*(np.reshape(table[name], (len(table["t"]), -1)) for name in ("maximum", "mass")))

    @property
    def next_time(self) -> float:
        """The time of the next snapshot."""
        return self.times[min(len(self.knots), len(self.times) - 1)]

    def __call__(self, state: RunState) -> None:
        """Record a run at its start or after an accepted step. Collective.

        Raises:
            BlowUpError: a density has blown up.
        """
        t, unknowns = state.t, state.unknowns
        seen, row = self._seen(state)
        if self._passes(state, seen):
            state.paused = True
            return
        self.recorder.add(row)
        self._last, self.latest = t, unknowns
        if len(self.knots) < len(self.times) and t >= self.next_time - 1e-12 * self._t_end:
            self.knots.append(Knot(self.next_time, unknowns.copy(), self.slopes(unknowns, t), self._system))
            if self._callback is not None:
                with all_or_none(self._system.space.comm):
                    self._callback(Snapshot(self._system, t, unknowns))
        if self._progress is not None:
            with all_or_none(self._system.space.comm):
                self._progress(t / self._t_end)
        self._monitor.look(self.recorder.steps, t, unknowns[: len(self._system.model.species)], row)
        if self.followers is not None and state.step and self.stopped is None:
            stopped = self.followers.stop(seen)
            self.stopped = stopped if t < self.times[-1] else None
        state.paused = self.stopped is not None or (
            self.regridding is not None and self.regridding.due(self._system, unknowns, row["maximum"])
        )

    @property
    def ends(self) -> bool:
        """Whether a callback ends the run here."""
        return self.stopped is not None or self.crossing is not None

    def arrive(self, state: RunState) -> None:
        """Look at the events where a run continues, at a checkpoint or on another grid. Collective."""
        if self.followers is not None and self.followers.events and self.stopped is None:
            self._before = replace(state), self.followers.values(self._seen(state)[0])

    def values_at(self, state: RunState) -> Array:
        """Return the values of the events at a state that is not recorded. Collective."""
        assert self.followers is not None
        return self.followers.values(self._seen(state)[0])

    def _seen(self, state: RunState) -> tuple[State, dict[str, Array]]:
        """Return a state as callbacks see it, and its diagnostics. Collective."""
        dt, system, earlier = state.t - self._last, self._system, self.latest
        row = self.recorder.row(state.t, dt, state.unknowns, state.time_error, state.growth)
        own = ("t", "dt") if len(system.model.species) > 1 else self.recorder.names
        seen = State(
            t=state.t,
            step=state.step,
            dt=dt,
            t_end=self._t_end,
            diagnostics={n: float(row[n][0]) if n in own else row[n] for n in self.recorder.names},
            comm=system.space.comm,
            _species=system.model.species,
            _snapshot=partial(Snapshot, system, state.t, state.unknowns),
            _change=lambda: _change(system, earlier, state.unknowns, dt),
        )
        return seen, row

    def _passes(self, state: RunState, seen: State) -> bool:
        """Return whether the step has passed an event. Collective."""
        if self.followers is None or not self.followers.events or self.stopped is not None:
            return False
        values = self.followers.values(seen)
        if self._before is not None and self.followers.passed(self._before[1], values):
            self.crossing = Crossing(*self._before, state.t, values)
            return True
        self._before = replace(state), values
        return False

    def until_now(self) -> list[Knot]:
        """Return the snapshots and, last, the state after the last accepted step, if there was one. Collective."""
        if self.latest is None or (self.knots and self.knots[-1].t >= self._last):
            return self.knots
        return [*self.knots, Knot(self._last, self.latest, self.slopes(self.latest, self._last), self._system)]

    def slopes(self, unknowns: Array, t: float) -> Array:
        """Return the time derivatives; a single snapshot needs none."""
        if len(self.times) == 1:
            return np.zeros_like(unknowns)
        slopes = self._system.rate(self._system.state(unknowns), t) / self._system.space.weights
        return self._system.nodal(slopes)


def _change(system: Semidiscretisation, earlier: Array | None, unknowns: Array, dt: float) -> float:
    """Return the largest ∫|u − earlier| / (dt ∫|u|) of all unknowns. Collective."""
    if earlier is None:
        return math.inf
    sizes = system.space.integral(*np.abs(unknowns - earlier), *np.abs(unknowns)).reshape(2, -1)
    return float(np.max(sizes[0] / np.maximum(dt * sizes[1], 1e-300)))
