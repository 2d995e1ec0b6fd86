"""Observers of a run: what is recorded at every step, and progress."""

from __future__ import annotations

from collections.abc import Callable
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
        shape = (steps + 1, len(species))
        super().__init__(mean=np.full((*shape, dimension), np.nan), second_moment=np.full(shape, np.nan))
        self.name = f"recorder_{system}"
        self._system = system
        self._species = species

    def look(self, run: Run) -> None:
        """Record both moments."""
        seen = run.systems[self._system].seen
        self.recorded["mean"][run.step] = [seen.mean[name] for name in self._species]
        self.recorded["second_moment"][run.step] = [seen.second_moment[name] for name in self._species]

    def diagnostics(self, run: Run) -> dict[str, Array]:
        """Return times and moments until now, without the axis of species where there is one."""
        rows = slice(0, run.step + 1)
        species: Any = 0 if len(self._species) == 1 else slice(None)
        return {
            "t": run.times[rows],
            **{name: self.recorded[name][rows, species] for name in ("second_moment", "mean")},
        }


class Progress(Observer):
    """Calls a function with t/t_end after every step."""

    name = "progress"

    def __init__(self, call: Callable[[float], Any]) -> None:
        super().__init__()
        self._call = call

    def look(self, run: Run) -> None:
        """Call the function."""
        if run.step:
            self._call(run.t / float(run.times[-1]))
