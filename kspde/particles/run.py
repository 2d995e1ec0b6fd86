"""The loop over the steps: schemes move the particles, observers look at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from kspde.errors import ConvergenceError, InputError
from kspde.models.base import Array
from kspde.particles.schemes.base import Scheme
from kspde.particles.system import System
from kspde.runtime.parallel import all_or_none

__all__ = ["Moments", "Observer", "Progress", "Run", "schedule"]


class Observer(Protocol):
    """Something that looks at a run after every step. Its arrays are part of a checkpoint."""

    #: Names its arrays in a checkpoint.
    name: str

    def look(self, run: Run) -> None:
        """Look at the particles after ``run.step`` steps, 0 included. Collective."""

    def state(self) -> Mapping[str, Array]:
        """Return what has been seen so far, the same on every rank."""

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned."""


class Run:
    """Systems that share their noise, at the time of one step.

    Attributes:
        systems: by name: "particles", and "mean_field" where there is a twin.
        scheme: the scheme.
        times: of all steps, from 0 to t_end.
        observers: called in this order.
        step: the number of steps taken.
    """

    def __init__(
        self, systems: Mapping[str, System], *, scheme: Scheme, times: Array, observers: Sequence[Observer]
    ) -> None:
        self.systems = dict(systems)
        self.scheme = scheme
        self.times = times
        self.observers = tuple(observers)
        self.step = 0
        self._looked = False

    @property
    def t(self) -> float:
        """The time."""
        return float(self.times[self.step])

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
            lost = system.observe()
            if lost is not None:
                raise InputError(f"u0 of species {lost[0]!r} gave particle {lost[1]} a position that is not finite")
            try:
                system.prepare(self.t)
            except ConvergenceError as error:
                raise InputError(str(error)) from None  # nothing has been computed yet: it is the input's fault

    def finish(self) -> None:
        """Take all steps that are left. Collective.

        Raises:
            ConvergenceError: names the step, t, dt and the reason.
        """
        prepared = True
        if self.step == 0:
            self._look()
        while self.step < len(self.times) - 1:
            dt = float(self.times[self.step + 1] - self.times[self.step])
            with self._located(dt):
                for system in self.systems.values():
                    if not prepared:
                        system.prepare(self.t)
                    tallies = self.scheme.advance(system, self.step, self.t, dt)
                    system.refuse_lost(system.observe(tallies))
            prepared = False
            self.step += 1
            self._look()

    def _look(self) -> None:
        for observer in self.observers:
            with all_or_none(self.particles.comm):
                observer.look(self)

    @contextmanager
    def _located(self, dt: float) -> Iterator[None]:
        try:
            yield
        except ConvergenceError as error:
            raise ConvergenceError(f"step {self.step}, t = {self.t:.6g}, dt = {dt:.6g}: {error}") from None


def schedule(t_end: float, dt: float, stops: Sequence[float]) -> Array:
    """Return the times of all steps: equal between stops (the last of which is ``t_end``), and at most ``dt``."""
    parts = [np.zeros(1)]
    start = 0.0
    for stop in stops:
        if stop <= 0:
            continue
        # A ratio that is an integer up to rounding is that integer.
        steps = max(1, math.ceil((stop - start) / dt * (1 - 1e-12) - 1e-9))
        parts.append(start + (stop - start) * np.arange(1, steps + 1) / steps)
        start = stop
    return np.concatenate(parts)


class Moments:
    """Mean and second moment of every species over the steps, as ``Observation`` defines them."""

    def __init__(self, system: str, species: tuple[str, ...], dimension: int, steps: int) -> None:
        self.name = f"moments_{system}"
        self._system = system
        self._species = species
        self._mean = np.full((steps + 1, len(species), dimension), np.nan)
        self._second = np.full((steps + 1, len(species)), np.nan)

    def look(self, run: Run) -> None:
        """Note the moments."""
        seen = run.systems[self._system].seen
        self._mean[run.step] = [seen.mean[name] for name in self._species]
        self._second[run.step] = [seen.second_moment[name] for name in self._species]

    def state(self) -> Mapping[str, Array]:
        """Return the arrays."""
        return {"mean": self._mean, "second_moment": self._second}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take the arrays."""
        self._mean, self._second = state["mean"], state["second_moment"]

    def diagnostics(self) -> dict[str, Array]:
        """Return the arrays as a cloud shows them: without the axis of species when there is one."""
        one = len(self._species) == 1
        return {
            "second_moment": self._second[:, 0] if one else self._second,
            "mean": self._mean[:, 0] if one else self._mean,
        }


class Progress:
    """Calls a function with t/t_end after every step."""

    name = "progress"

    def __init__(self, call: Callable[[float], Any]) -> None:
        self._call = call

    def look(self, run: Run) -> None:
        """Call it."""
        if run.step:
            self._call(run.t / float(run.times[-1]))

    def state(self) -> Mapping[str, Array]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take nothing."""
