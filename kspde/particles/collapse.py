r"""Monitors of particles that collapse into a cluster: as small as the mollifier, or without one.

*With a mollifier* nothing blows up; where the equation without it does, particles gather in a cluster of size ε, and
what is computed then says more about ε, or about the time step, than about the equation. The mollified classical
Keller-Segel system ends in a cluster of standard deviation near :math:`\varepsilon\sqrt{a/(1-a)}`, a = 4π/(χM).

The monitor looks at the pairs among some 64 particles, taken evenly from all. A species has collapsed when a share
``_CLOSE`` of these pairs, which is 40 % of the particles if they are in one cluster, is closer than 2ε, and this share
has grown ``_GROWTH``-fold since the start: initial data of size ε are not a collapse.

*Without a mollifier* pairs of attractive particles in the plane touch and part again: :math:`|r|^2` of a k-cluster,
summed over its relative positions, is a squared Bessel process of dimension :math:`\delta_k = (k-1)(2 - \chi M
k/(4\pi D N))` for the Keller-Segel particles, and only clusters with :math:`\delta_k \le 0`, k ≥ 8πDN/(χM), stick. A
cluster that sticks is as small as a step can make it: within

.. math:: R = \tfrac32\sqrt{2dDh + r_h^2}, \qquad h A M |K'(r_h)| = r_h

with the drift's derivative A by the field's gradient and the mass M = Σ|w| (D and A as measured at the start). Within R
a cluster of mass m contracts if the drift points along the gradient, and :math:`A m |K'(R)| R > 2dD`, which is m >
8πD/χ; if it repels or turns, no cluster is looked for. It is reported when, of some 64
particles, ``_STICKING`` of that share of M (at least ``_SHARE``) has been within R of one of them at ``_LOOKS_STUCK``
looks one after the other, ``_APART`` steps apart or more, with the time of the first of these looks; and not if half as
many were so at the start. The numbers were chosen by trial: twice the critical mass is reported at t = .056 to .082
where the density blows up at .081, half of it is not; within some percent of it a cluster that lingers may be reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from kspde.errors import BlowUpError
from kspde.particles.fields.close_pairs import distance
from kspde.particles.reductions import reduced
from kspde.particles.run import Observer, Run
from kspde.particles.system import System
from kspde.runtime.messages import warn
from kspde.runtime.parallel import together
from kspde.typing import Array, Mask

__all__ = ["Clusters", "Collapse"]

_SAMPLE, _LOOKS = 64, 40
_CLOSE, _GROWTH = 0.15, 4.0
#: Those for clusters that stick.
_SHARE, _STICKING, _LOOKS_STUCK, _APART, _MOST_LOOKS = 0.2, 0.6, 8, 4, 200


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


class Clusters(Observer):
    """Looks for clusters of particles with singular kernels that stick, to "stop", or to "warn" once per species."""

    name = "clusters"

    def __init__(self, counts: Mapping[str, int], fields: int, action: str) -> None:
        sizes = [_size(n) for n in counts.values()]
        super().__init__(
            first=np.full(len(counts), np.nan),  # the largest share of particles around one at the start
            scales=np.full((len(counts), 3 + fields), np.nan),  # D, A, M, and the A that attracts by field
            since=np.full((len(counts), max(sizes), max(sizes)), np.inf),  # the step since when pairs have been close
        )
        self._action = action
        self._reported: set[str] = set()

    def __call__(self, run: Run) -> None:
        """Look at the particles. Collective.

        Raises:
            BlowUpError: a cluster sticks, and the run is to stop there.
        """
        apart = max(_APART, run.steps // _MOST_LOOKS)
        if run.step % apart and run.step < run.steps:
            return
        if run.step == 0:
            self.recorded["scales"] = _scales(run.particles)
        for i, name in enumerate(run.particles.counts):
            x = _sample(run.particles, name)
            (radius, least), others = self._radius(run, i), max(1, len(x) - 1)
            close = np.sum((x[:, None] - x) ** 2, axis=2) < radius**2
            since = self.recorded["since"][i, : len(x), : len(x)]
            since[:] = np.where(close, np.minimum(since, run.step), np.inf)
            stuck = run.step - since >= (_LOOKS_STUCK - 1) * apart
            middle = int(np.argmax(stuck.sum(axis=1)))
            share = (np.count_nonzero(stuck[middle]) - 1) / others
            if run.step == 0:
                self.recorded["first"][i] = (close.sum(axis=1).max() - 1) / others
            elif share > max(least, 2.0 * self.recorded["first"][i]) and name not in self._reported:
                begin = int(np.median(since[middle, stuck[middle]]))
                self._report(run, name, x[stuck[middle]], radius, begin)

    def _radius(self, run: Run, i: int) -> tuple[float, float]:
        """Return R and the share of the particles that counts as a cluster that sticks."""
        system, at = run.particles, min(run.step, run.steps - 1)
        h, d = float(run.times[at + 1] - run.times[at]), system.model.dimension
        diffusion, strength = self.recorded["scales"][i, :2]
        masses = dict(zip(system.counts, self.recorded["scales"][:, 2], strict=True))
        drawn = [distance(f, d, h * strength * masses[f.source]) for f in system.evaluator.singular]
        radius = 1.5 * math.hypot(math.sqrt(2.0 * d * diffusion * h), *drawn)
        pull = sum(
            attracts * masses[f.source] * radius * abs(float(f.kernel.slope(np.array([radius]), d)[0]))
            for f, attracts in zip(system.evaluator.singular, self.recorded["scales"][i, 3:], strict=True)
        )
        return radius, max(_SHARE, _STICKING * 2.0 * d * diffusion / pull if pull > 0 else math.inf)

    def _report(self, run: Run, name: str, x: Array, radius: float, begin: int) -> None:
        place = ", ".join(f"{c:.4g}" for c in np.median(x, axis=0))
        n = run.particles.counts[name]
        line = (
            f"the particles of {name} have collapsed at t = {run.times[begin]:.6g}: since then about "
            f"{len(x) / _size(n):.0%} of them have stayed within {radius:.3g} of ({place}), as close as "
            "steps of dt can bring them"
        )
        if self._action == "stop":
            raise BlowUpError(f'{line}. End earlier, or continue with on_blow_up = "warn"')
        self._reported.add(name)
        warn(f"{line}. What follows depends on dt: the equation's solution has ended", run.particles.comm)


def _scales(system: System) -> Array:
    """Return by species what ``Clusters`` records, at some particles. Collective."""
    found, masses = np.zeros((len(system.counts), 2 + len(system.evaluator.singular))), np.zeros(len(system.counts))
    with together(system.comm):
        for i, (name, x) in enumerate(system.positions.items()):
            largest, towards = system.sensitivity(name)
            found[i] = system.largest_diffusion(name), largest, *towards
            masses[i] = np.abs(np.broadcast_to(system.evaluator.weights[name], (len(x),))).sum()
    return np.insert(reduced(system.comm, found, "MAX"), 2, reduced(system.comm, masses), axis=1)


def _size(n: int) -> int:
    return -(-n // max(1, n // _SAMPLE))


def _sample(system: System, species: str) -> Array:
    """Return the positions of some particles, evenly from all, on every rank. Collective."""
    x, n = system.positions[species], system.counts[species]
    stride = max(1, n // _SAMPLE)
    first = system.first_row(species)
    sample = np.zeros((-(-n // stride), x.shape[1]))
    rows = np.arange(-first % stride, len(x), stride)
    sample[(first + rows) // stride] = x[rows]
    return reduced(system.comm, sample)
