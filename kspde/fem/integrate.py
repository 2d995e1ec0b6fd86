"""One run in time, over all its grids, to its end or to an event."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kspde.fem.observer import Crossing, Observer, RunState
from kspde.fem.resume import CheckpointWriter
from kspde.fem.schemes import Scheme
from kspde.fem.schemes.base import Run
from kspde.runtime.following import Followers, Stopped
from kspde.runtime.saving import SaveAt

__all__ = ["integrated"]

#: The share of a step to which the time of an event is located.
_LOCATED = 1e-9


def integrated(run: Run, scheme: Scheme, followers: Followers) -> dict[str, Any]:
    """Integrate, on one grid after the other, and return the scheme's summary."""
    state, observer = run.state, run.observer
    if state.step:
        observer.arrive(state)
    details = scheme.integrate(run)
    regridding = observer.regridding
    while regridding is not None and state.paused and not (regridding.reached or observer.ends):
        run.system, state.unknowns = regridding.moved(run.system, state.unknowns, state.t)
        observer.move(run.system, state.unknowns)
        run.writer.system = run.system
        state.paused, state.norms = False, None
        observer.arrive(state)
        for name, value in scheme.integrate(run).items():
            if name == "held_back":
                details[name] = max(details[name], value)
            elif name not in ("steps", "tol"):
                details[name] = details[name] + value if isinstance(value, int) else value
    if observer.crossing is not None:
        _locate(run, scheme, followers, observer.crossing)
    details["steps"] = state.step
    run.writer.at_end(state)
    return details


def _locate(run: Run, scheme: Scheme, followers: Followers, crossing: Crossing) -> None:
    """Take a step again that has passed events, to earlier times, until it ends at the first. Collective."""
    from scipy.optimize import brentq

    observer, before, events = run.observer, crossing.before, followers.events
    table = observer.recorder.table()

    def reached(t: float) -> RunState:
        """Return where the scheme gets at time t."""
        own = Observer(run.system, t, SaveAt(), None, "ignore", scheme.estimates_time_error)
        state = replace(before)
        if before.step:
            own.restore(table, [], before.unknowns)
        scheme.integrate(replace(run, state=state, observer=own, writer=CheckpointWriter(None, run.system, own)))
        return state

    known = {before.t: crossing.values, crossing.t: crossing.after}

    def value(t: float, i: int) -> float:
        if t not in known:
            known[t] = observer.values_at(reached(t))
        return float(known[t][i])

    t, passed, chosen = crossing.t, followers.passed(crossing.values, crossing.after), 0
    while passed:
        chosen = passed[0]
        within, end = max(_LOCATED * (t - before.t), 1e-15 * t), t
        t = brentq(value, before.t, t, args=(chosen,), xtol=within)
        # A run that is extended does not meet the event again, nor does one end where its last step began.
        while t < end and not (t > before.t and events[chosen].passed(crossing.values[chosen], value(t, chosen))):
            t, within = min(t + within, end), 2.0 * within
        value(t, chosen)
        passed = [i for i in followers.passed(crossing.values, known[t]) if i != chosen]
    vars(run.state).update(vars(reached(t)))
    observer.crossing, observer.stopped = None, Stopped(str(events[chosen]), t)
    observer(run.state)
