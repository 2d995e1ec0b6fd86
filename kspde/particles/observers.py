"""Observers of a run: what is recorded at every step, and progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspde.particles.run import Observer, Run
from kspde.typing import Array

__all__ = ["Progress", "Recorder"]


class Recorder(Observer):
    """Records the diagnostics of a system: mean and second moment of every species, as ``Observation`` defines them.

    Args:
        system: name of the system.
        species: names of the species.
        dimension: d.
        steps: number of steps of the whole run.
    """

    def __init__(self, system: str, species: tuple[str, ...], dimension: int, steps: int) -> None:
        self.name = f"recorder_{system}"
        self._system = system
        self._species = species
        self._mean = np.full((steps + 1, len(species), dimension), np.nan)
        self._second = np.full((steps + 1, len(species)), np.nan)

    def look(self, run: Run) -> None:
        """Record both moments."""
        seen = run.systems[self._system].seen
        self._mean[run.step] = [seen.mean[name] for name in self._species]
        self._second[run.step] = [seen.second_moment[name] for name in self._species]

    def state(self) -> Mapping[str, Array]:
        """Return both arrays."""
        return {"mean": self._mean, "second_moment": self._second}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Continue from both arrays."""
        self._mean, self._second = state["mean"], state["second_moment"]

    def diagnostics(self, run: Run) -> dict[str, Array]:
        """Return times and moments until now, without the axis of species where there is one."""
        rows = slice(0, run.step + 1)
        species: Any = 0 if len(self._species) == 1 else slice(None)
        return {"t": run.times[rows], "second_moment": self._second[rows, species], "mean": self._mean[rows, species]}


class Progress(Observer):
    """Calls a function with t/t_end after every step."""

    name = "progress"

    def __init__(self, call: Callable[[float], Any]) -> None:
        self._call = call

    def look(self, run: Run) -> None:
        """Call the function."""
        if run.step:
            self._call(run.t / float(run.times[-1]))
