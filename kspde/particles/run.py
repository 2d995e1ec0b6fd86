"""The loop over the steps: a scheme moves the particles, observers look at them and record diagnostics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kspde.errors import ConvergenceError, InputError
from kspde.particles.resampling import Resampling
from kspde.particles.schemes import Scheme
from kspde.particles.system import System
from kspde.runtime.following import Followers, State, Stopped
from kspde.runtime.parallel import all_or_none
from kspde.typing import Array

__all__ = ["Following", "Observer", "Progress", "Recorder", "Run", "schedule"]


class Observer(ABC):
    """Looks at a run after every step.

    Attributes:
        name: prefix of its arrays in a checkpoint.
        recorded: arrays recorded so far, the same on every rank: what a checkpoint keeps.
    """

    name: str

    def __init__(self, **recorded: Array) -> None:
        self.recorded = recorded

    @abstractmethod
    def __call__(self, run: Run) -> None:
        """Look at the particles after ``run.step`` steps, 0 included. Collective."""


class Run:
    """Systems that share their noise, advanced together.

    Attributes:
        systems: by name: "particles", and "mean_field" where mean-field particles move beside them.
        scheme: the scheme in time.
        times: times of all steps, from 0 to t_end.
        observers: observers, called in this order.
        step: number of steps taken.
        stopped: why a callback has ended the run before t_end.
        resampling: what makes weights equal again where they have become too different; None for nothing.
    """

    def __init__(
        self,
        systems: Mapping[str, System],
        *,
        scheme: Scheme,
        times: Array,
        observers: Sequence[Observer],
        resampling: Resampling | None = None,
    ) -> None:
        self.systems = dict(systems)
        self.scheme = scheme
        self.times = times
        self.observers = tuple(observers)
        self.resampling = resampling
        self.step = 0
        self.stopped: Stopped | None = None

    @property
    def t(self) -> float:
        """The current time."""
        return float(self.times[self.step])

    @property
    def steps(self) -> int:
        """The number of steps from 0 to t_end."""
        return len(self.times) - 1

    @property
    def particles(self) -> System:
        """The interacting particles."""
        return self.systems["particles"]

    def start(self) -> None:
        """Observe where the particles are, and compute their fields. Collective.

        Raises:
            InputError: a position that is not finite, or fields that need too large a grid.
        """
        for system in self.systems.values():
            system.sort()
            lost = system.observe()
            if lost is not None:
                raise InputError(f"u0 of species {lost[0]!r} gave particle {lost[1]} a position that is not finite")
            try:
                system.prepare(self.t)
            except ConvergenceError as error:
                raise InputError(str(error)) from None  # no step has been taken: the input is at fault

    def finish(self) -> None:
        """Take all remaining steps. Collective.

        Raises:
            ConvergenceError: a step failed; the message has the step, t, dt and the reason.
        """
        prepared = True
        if self.step == 0:
            self._look()
        while self.step < self.steps and self.stopped is None:
            h = float(self.times[self.step + 1] - self.times[self.step])
            with self._located(h):
                for system in self.systems.values():
                    if not prepared:
                        system.prepare(self.t)
                    tallies = self.scheme.advance(system, self.step, self.t, h)
                    if system.fold() or system.sort():
                        tallies = None
                    system.refuse_lost(system.observe(tallies))
                    if self.resampling is not None and self.resampling(system, self.step):
                        system.observe()
            prepared = False
            self.step += 1
            self._look()

    def _look(self) -> None:
        for observer in self.observers:
            with all_or_none(self.particles.comm):
                observer(self)

    @contextmanager
    def _located(self, h: float) -> Iterator[None]:
        try:
            yield
        except ConvergenceError as error:
            raise ConvergenceError(f"step {self.step}, t = {self.t:.6g}, dt = {h:.6g}: {error}") from None


def schedule(t_end: float, dt: float, stops: Sequence[float], first: Array | None = None) -> Array:
    """Return the times of all steps, equal between stops (the last of which is ``t_end``) and at most ``dt`` apart.

    They follow the ``first`` ones, of a run that is extended.
    """
    parts = [np.zeros(1) if first is None else first]
    start = float(parts[0][-1])
    for stop in stops:
        if stop <= start:
            continue
        # A ratio that is an integer up to rounding is that integer.
        steps = max(1, math.ceil((stop - start) / dt * (1 - 1e-12) - 1e-9))
        parts.append(start + (stop - start) * np.arange(1, steps + 1) / steps)
        start = stop
    return np.concatenate(parts)


class Recorder(Observer):
    """Records the diagnostics of a system: what ``Observation`` has of every species.

    Masses and effective shares of the particles are recorded where weights change in time, and the second moment
    without weights where particles have their own, which do not.
    """

    def __init__(
        self,
        system: str,
        species: tuple[str, ...],
        dimension: int,
        steps: int,
        *,
        growing: bool = False,
        weighted: bool = False,
    ) -> None:
        shape = (steps + 1, len(species))
        numbers = (
            "second_moment",
            *(("mass", "effective_share") if growing else ("unweighted_second_moment",) if weighted else ()),
        )
        super().__init__(
            mean=np.full((*shape, dimension), np.nan), **{name: np.full(shape, np.nan) for name in numbers}
        )
        self.name = f"recorder_{system}"
        self._system = system
        self.species = species

    def __call__(self, run: Run) -> None:
        """Record both moments."""
        seen = run.systems[self._system].seen
        found: dict[str, Mapping[str, Any]] = {
            "mean": seen.mean,
            "second_moment": seen.second_moment,
            "unweighted_second_moment": seen.unweighted,
            "mass": seen.masses,
            "effective_share": seen.effective,
        }
        for key, rows in self.recorded.items():
            rows[run.step] = [found[key][name] for name in self.species]

    def diagnostics(self, run: Run) -> dict[str, Array]:
        """Return times and moments until now, without the axis of species where there is one."""
        rows = slice(0, run.step + 1)
        species: Any = 0 if len(self.species) == 1 else slice(None)
        return {
            "t": run.times[rows],
            **{name: self.recorded[name][rows, species] for name in sorted(self.recorded, reverse=True)},
        }


class Progress(Observer):
    """Calls a function with t/t_end after every step."""

    name = "progress"

    def __init__(self, call: Callable[[float], Any]) -> None:
        super().__init__()
        self._call = call

    def __call__(self, run: Run) -> None:
        """Call the function."""
        if run.step:
            self._call(run.t / float(run.times[-1]))


class Following(Observer):
    """Calls the user's callbacks after every step, and stops the run where one of them asks for it.

    Args:
        followers: the callbacks.
        recorder: has the diagnostics.
        cloud: returns the cloud.
    """

    name = "following"

    def __init__(self, followers: Followers, recorder: Recorder, cloud: Callable[[], Any]) -> None:
        super().__init__()
        self._followers, self._recorder, self._cloud = followers, recorder, cloud
        self._before: Array | None = None

    def __call__(self, run: Run) -> None:
        """Look at the events, and call the functions. Collective."""
        seen = self._seen(run)
        values, stopped = self._followers.values(seen), None
        if self._before is not None and (passed := self._followers.passed(self._before, values)):
            times = [seen.t - seen.dt + seen.dt * self._before[i] / (self._before[i] - values[i]) for i in passed]
            first = int(np.argmin(times))
            stopped = Stopped(str(self._followers.events[passed[first]]), float(times[first]))
        elif run.step:
            stopped = self._followers.stop(seen)
        self._before = values
        run.stopped = stopped if run.step < run.steps else None

    def arrive(self, run: Run) -> None:
        """Look at the events where a run resumes. Collective."""
        self._before = self._followers.values(self._seen(run))

    def _seen(self, run: Run) -> State:
        t = run.t
        return State(
            t=t,
            step=run.step,
            dt=t - float(run.times[max(run.step - 1, 0)]),
            t_end=float(run.times[-1]),
            diagnostics={n: float(a[-1]) if a.ndim == 1 else a[-1] for n, a in self._recorder.diagnostics(run).items()},
            comm=run.particles.comm,
            _species=self._recorder.species,
            _snapshot=self._cloud,
        )
