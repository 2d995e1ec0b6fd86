"""Where a run stands, and what is recorded of it after every accepted step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kspde.fem.diagnostics import Recorder
from kspde.fem.monitors.blow_up import Monitor
from kspde.fem.regrid import Regridding
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.snapshot import Knot, Snapshot
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
        norms: the L² norms to which tolerances refer: of the initial data, with growth the largest until now; None at
            the start.
        handed_over: whether the adaptive scheme has changed to its second method.
        time_error: the estimated time error of each species; None where there is no estimate. Not in checkpoints.
        growth: ∫∫ r u dx dt of each species until now; None where the model has no growth. Checkpoints have it among
            the diagnostics.
        paused: whether the run waits for another grid, or ends before ``t_end`` (``kspde.fem.regrid``).
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

    Attributes:
        recorder: the diagnostics.
        times: the times of the snapshots; the last is ``t_end``.
        knots: the snapshots taken so far.
        latest: the unknowns after the last accepted step; None before the first.
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
    ) -> None:
        self.regridding = regridding
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
        row = self.recorder.record(t, t - self._last, unknowns, state.time_error, state.growth)
        self._last, self.latest = t, unknowns
        if len(self.knots) < len(self.times) and t >= self.next_time - 1e-12 * self._t_end:
            self.knots.append(Knot(self.next_time, unknowns.copy(), self._slopes(unknowns, t), self._system))
            if self._callback is not None:
                with all_or_none(self._system.space.comm):
                    self._callback(Snapshot(self._system, t, unknowns))
        if self._progress is not None:
            with all_or_none(self._system.space.comm):
                self._progress(t / self._t_end)
        self._monitor.look(self.recorder.steps, t, unknowns[: len(self._system.model.species)], row)
        state.paused = self.regridding is not None and self.regridding.due(self._system, unknowns, row["maximum"])

    def until_now(self) -> list[Knot]:
        """Return the snapshots and, last, the state after the last accepted step, if there was one. Collective."""
        if self.latest is None or (self.knots and self.knots[-1].t >= self._last):
            return self.knots
        return [*self.knots, Knot(self._last, self.latest, self._slopes(self.latest, self._last), self._system)]

    def _slopes(self, unknowns: Array, t: float) -> Array:
        """Return the time derivatives; a single snapshot needs none."""
        if len(self.times) == 1:
            return np.zeros_like(unknowns)
        slopes = self._system.rate(self._system.state(unknowns), t) / self._system.space.weights
        return self._system.nodal(slopes)
