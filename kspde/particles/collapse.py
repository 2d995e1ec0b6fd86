r"""A monitor of particles that collapse into a cluster as small as the mollifier.

With a mollified kernel nothing blows up; where the equation without a mollifier does, particles gather in a cluster of
size ε, and what is computed then says more about ε, or about the time step, than about the equation. The mollified
classical Keller-Segel system ends in a cluster of standard deviation near :math:`\varepsilon\sqrt{a/(1-a)}`,
a = 4π/(χM).

The monitor looks at the pairs among some 64 particles, taken evenly from all. A species has collapsed when a share
``_CLOSE`` of these pairs, which is 40 % of the particles if they are in one cluster, is closer than 2ε, and this share
has grown ``_GROWTH``-fold since the start: initial data of size ε are not a collapse.
"""

from __future__ import annotations

import numpy as np

from kspde.errors import BlowUpError
from kspde.particles.reductions import reduced
from kspde.particles.run import Observer, Run
from kspde.particles.system import System
from kspde.runtime.messages import warn
from kspde.typing import Array, Mask

__all__ = ["Collapse"]

_SAMPLE, _LOOKS = 64, 40
_CLOSE, _GROWTH = 0.15, 4.0


class Collapse(Observer):
    """Looks for clusters of size ε some 40 times per run, to "stop" it, or to "warn" once for each species.

    It takes a few milliseconds in all.
    """

    name = "collapse"

    def __init__(self, species: tuple[str, ...], eps: float, action: str) -> None:
        super().__init__(first=np.full(len(species), np.nan))  # the shares of close pairs at the start
        self._species = species
        self._eps = eps
        self._action = action
        self._reported: set[str] = set()
        self._before: dict[str, tuple[int, Array]] = {}

    def __call__(self, run: Run) -> None:
        """Look at the particles. Collective.

        Raises:
            BlowUpError: a species has collapsed, and the run is to stop there.
        """
        if run.step % max(1, run.steps // _LOOKS) and run.step < run.steps:
            return
        for i, name in enumerate(self._species):
            if name in self._reported:
                continue
            x = _sample(run.particles, name)
            region = run.particles.region
            apart = x[:, None] - x if region is None else region.difference(x[:, None], x)
            close = np.sum(apart**2, axis=2) < 4.0 * self._eps**2
            pairs = (np.count_nonzero(close) - len(x)) / max(1, len(x) * (len(x) - 1))
            first = self.recorded["first"]
            if np.isnan(first[i]):
                first[i] = pairs
            elif pairs > _CLOSE and pairs > _GROWTH * first[i]:
                self._report(run, name, x, close)
            self._before[name] = run.step, x

    def _report(self, run: Run, name: str, x: Array, close: Mask) -> None:
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
                line += f", and so does dt: a particle moves by {moved:.2g} eps per step"
        if self._action == "stop":
            raise BlowUpError(f'{line}. End earlier, use a smaller eps and dt, or continue with on_blow_up = "warn"')
        self._reported.add(name)
        warn(f"{line}. What follows depends on them, not on the equation without a mollifier", run.particles.comm)


def _sample(system: System, species: str) -> Array:
    """Return the positions of some particles, evenly from all, on every rank. Collective."""
    x, n = system.positions[species], system.counts[species]
    stride = max(1, n // _SAMPLE)
    first = system.first_row(species)
    sample = np.zeros((-(-n // stride), x.shape[1]))
    rows = np.arange(-first % stride, len(x), stride)
    sample[(first + rows) // stride] = x[rows]
    return reduced(system.comm, sample)
