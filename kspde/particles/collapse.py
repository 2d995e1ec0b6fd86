r"""A monitor of particles that collapse: a cluster whose size is that of the mollifier.

With a mollified kernel nothing blows up; where the equation without it does, particles gather in a cluster as large as
ε, and what is computed then says more about ε, or about the time step, than about the equation. The mollified classical
Keller-Segel system ends in a cluster of standard deviation near :math:`\varepsilon\sqrt{a/(1-a)}`, a = 4π/(χM).

What is looked at is cheap: the pairs among some 64 particles, taken evenly from all. A species has collapsed when a
share ``_CLOSE`` of these pairs, which is 40 % of the particles if they are in one cluster, is closer than 2ε, and
``_GROWTH`` times as many as at first: initial data of the size of ε are no collapse.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kspde.errors import BlowUpError
from kspde.models.base import Array
from kspde.particles.run import Run
from kspde.particles.system import System
from kspde.runtime.messages import warn

__all__ = ["Collapse"]

_SAMPLE, _LOOKS = 64, 40
_CLOSE, _GROWTH = 0.15, 4.0


class Collapse:
    """Looks at clusters some 40 times in a run, which takes a few milliseconds in all.

    Args:
        species: their names.
        eps: the mollifier's ε.
        action: "stop" or "warn" (once for each species).
    """

    name = "collapse"

    def __init__(self, species: tuple[str, ...], eps: float, action: str) -> None:
        self._species = species
        self._eps = eps
        self._action = action
        self._first = np.full(len(species), np.nan)
        self._reported: set[str] = set()
        self._before: dict[str, tuple[int, Array]] = {}

    def look(self, run: Run) -> None:
        """Look at the particles. Collective.

        Raises:
            BlowUpError: a species has collapsed, and the run is to stop there.
        """
        steps = len(run.times) - 1
        if run.step % max(1, steps // _LOOKS) and run.step < steps:
            return
        for i, name in enumerate(self._species):
            if name in self._reported:
                continue
            x = _sample(run.particles, name)
            close = np.sum((x[:, None] - x) ** 2, axis=2) < 4.0 * self._eps**2
            pairs = (np.count_nonzero(close) - len(x)) / max(1, len(x) * (len(x) - 1))
            if np.isnan(self._first[i]):
                self._first[i] = pairs
            elif pairs > _CLOSE and pairs > _GROWTH * self._first[i]:
                self._report(run, name, x, close)
            self._before[name] = run.step, x

    def _report(self, run: Run, name: str, x: Array, close: npt.NDArray[np.bool_]) -> None:
        densest = close[int(np.argmax(close.sum(axis=1)))]
        place = ", ".join(f"{c:.4g}" for c in x[densest].mean(axis=0))
        line = (
            f"the particles of {name} have collapsed in step {run.step} at t = {run.t:.6g}: about {densest.mean():.0%} "
            f"are within 2 eps = {2 * self._eps:g} of ({place}), so that the mollifier limits the cluster"
        )
        step, before = self._before.get(name, (run.step, x))
        if run.step > step:
            moved = np.sqrt(np.mean(np.sum((x - before)[densest] ** 2, axis=1)) / (run.step - step)) / self._eps
            if moved > 1.0:
                line += f", and so does dt: a particle moves by {moved:.2g} eps in a step"
        if self._action == "stop":
            raise BlowUpError(f'{line}. End before, use a smaller eps and dt, or go on with on_blow_up = "warn"')
        self._reported.add(name)
        warn(f"{line}. What follows depends on them, not on the equation without a mollifier", run.particles.comm)

    def state(self) -> Mapping[str, Array]:
        """Return the shares of close pairs at first."""
        return {"first": self._first}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take them."""
        self._first = np.array(state["first"])


def _sample(system: System, species: str) -> Array:
    """Return the positions of some particles, evenly from all, on every rank. Collective."""
    x, n = system.positions[species], system.counts[species]
    stride = max(1, n // _SAMPLE)
    # Ids are contiguous on a rank, and those of one species follow those of another.
    offset = sum(system.counts[name] for name in list(system.positions)[: list(system.positions).index(species)])
    first = int(system.ids[species][0]) - offset if len(x) else 0
    sample = np.zeros((-(-n // stride), x.shape[1]))
    rows = np.arange(-first % stride, len(x), stride)
    sample[(first + rows) // stride] = x[rows]
    if system.comm.size > 1:
        from mpi4py import MPI

        system.comm.Allreduce(MPI.IN_PLACE, sample, op=MPI.SUM)
    return sample
