r"""Monitors of particles that collapse into a cluster: as small as the mollifier, or without one.

*With a mollifier* nothing blows up; where the equation without it does, particles gather in a cluster of size ε, and
what is computed then says more about ε, or about the time step, than about the equation. The mollified classical
Keller-Segel system ends in a cluster of standard deviation near :math:`\varepsilon\sqrt{a/(1-a)}`, a = 4π/(χM).

The monitor looks at the pairs among some 64 particles, taken evenly from all. A species has collapsed when a share
``_CLOSE`` of these pairs, which is 40 % of the particles if they are in one cluster, is closer than 2ε, and this share
has grown ``_GROWTH``-fold since the beginning: a start of size ε is not a collapse.

*Without a mollifier* pairs of attractive particles in the plane touch and part again. For a cluster K of k particles
:math:`S = \sum_{i\in K}|X_i - \bar X_K|^2` is a squared Bessel process at the time 2Dt, while K is alone, of dimension
:math:`\delta_k = (k-1)(2 - \chi M k/(4\pi D N))` for the Keller-Segel particles; only clusters with :math:`\delta_k \le
0`, of a mass m ≥ 8πD/χ whatever their weights, stick: S reaches 0, at a time with the law of
:math:`S(0)/(4D\,\Gamma)`, Γ a Gamma variable of shape :math:`1 - \delta_k/2`, and the solution ends. Steps of length h
bring a cluster no closer than

.. math:: R = \tfrac35\sqrt{2dDh + r_h^2}, \qquad h A M |K'(r_h)| = r_h

with the drift's derivative A by the field's gradient and the mass M = Σ|w| (D and A as measured at the start). A
cluster is reported as soon as, of some 64 particles, those that weigh at least the critical mass,
:math:`A m |K'(R)| R \ge 2dD` (and ``_SHARE`` of M), have a root mean square distance of at most R from their centre.
Where M is below the critical mass, or the drift does not point along the gradient, none ever is.

*Bias.* The factor ⅗ makes the reports agree with the exact law (``tests/benchmarks/close_pairs.py``): for N = 2, 3, 4
and 1.2 to 1.3 times the critical mass M_c = 8πD/χ the mean of P(T ≤ t) at the reported times t differs from ½ by at
most .015 ± .03 at h = .001 with weak-2, by .05 ± .03 with Euler's scheme, and by .09 at h = .004; for N = 20 and
1.1 M_c by at most .03 at h = .004 to 5e-4 with weak-2. Euler's scheme, whose own bias spreads the particles, is late
there, by .29 at h = .001 and .18 at 5e-4, and for N = 50 and 1.05 M_c reports nothing up to t = 4. At 2 M_c, where the
density blows up at t = .081, N = 1000 particles are reported at t = .069 to .080 (weak-2) and .077 to .092 (Euler) at
h = .001, at .080 and .080 to .085 at h = 2.5e-4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from kspde.errors import BlowUpError
from kspde.particles.fields.close_pairs import KAPPA, distance
from kspde.particles.run import Observer, Run
from kspde.particles.system import System
from kspde.runtime.messages import warn
from kspde.runtime.parallel import together
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Mask

__all__ = ["Clusters", "Collapse"]

_SAMPLE, _LOOKS = 64, 40
_CLOSE, _GROWTH = 0.15, 4.0
#: Those for clusters that stick: the least share of the mass, R in units of the root, and the looks per run.
_SHARE, _CLOSEST, _MOST_LOOKS = 0.2, 0.6, 200
_ROUNDING = 1e-9


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
    """Looks at close pairs of singular kernels, and for clusters that stick: to "stop", "warn" or "ignore" them."""

    name = "clusters"

    def __init__(self, counts: Mapping[str, int], fields: int, action: str) -> None:
        # by species D, A, M, and the A that attracts by field
        super().__init__(scales=np.full((len(counts), 3 + fields), np.nan), pull=np.zeros((len(counts), 2)))
        self._action = action
        self._reported: set[str] = set()
        self._known: dict[tuple[int, float], tuple[float, float]] = {}

    def __call__(self, run: Run) -> None:
        """Look at the particles. Collective.

        Raises:
            BlowUpError: a cluster sticks, and the run is to stop there.
        """
        if run.step % max(1, run.steps // _MOST_LOOKS) and run.step < run.steps:
            return
        if run.step == 0:
            self.recorded["scales"] = _scales(run.particles)
        for i, name in enumerate(run.particles.counts):
            if run.particles.counts[name] < 2:
                continue
            x = _sample(run.particles, name)
            weights = np.broadcast_to(run.particles.evaluator.weights[name], (len(run.particles.ids[name]),))
            w = np.abs(_sampled(run.particles, name, weights))
            self._add_pull(run, i, x, w)
            if self._action == "ignore" or name in self._reported:
                continue
            if (i, _step(run)) not in self._known:
                self._known[i, _step(run)] = self._critical(run, i)
            radius, least = self._known[i, _step(run)]
            if least <= 1.0 + _ROUNDING:
                share, spread, centre = _tightest(x, w, least)
                if spread <= radius:
                    self._report(run, name, share, radius, centre)

    @property
    def left_out(self) -> float:
        r"""The share :math:`\sum|w_iw_j|\,(1 - \kappa/q)_+^3\,r|K'(r)| / \sum|w_iw_j|\,r|K'(r)|` that taming takes."""
        lost, whole = self.recorded["pull"].sum(axis=0)
        return float(lost / whole) if whole > 0 else 0.0

    def _add_pull(self, run: Run, i: int, x: Array, w: Array) -> None:
        """Add what pairs within a species lose, and have."""
        system, first, second = run.particles, *np.triu_indices(len(x), 1)
        r = np.sqrt(np.sum((x[first] - x[second]) ** 2, axis=1))
        apart = r > 0
        r, first, second = r[apart], first[apart], second[apart]
        scale = _step(run) * float(self.recorded["scales"][i, 1]) * (w[first] + w[second])
        for f in system.evaluator.singular:
            if f.source == list(system.counts)[i]:
                slope = np.abs(f.kernel.slope(r, system.model.dimension))
                pull = w[first] * w[second] * r * slope
                kept = np.minimum(1.0, KAPPA * r / np.maximum(scale * slope, 1e-300))
                self.recorded["pull"][i] += np.sum(pull * (1.0 - kept) ** 3), np.sum(pull)

    def _critical(self, run: Run, i: int) -> tuple[float, float]:
        """Return R and the share of the mass that sticks."""
        system, h, d = run.particles, _step(run), run.particles.model.dimension
        diffusion, strength = self.recorded["scales"][i, :2]
        masses = dict(zip(system.counts, self.recorded["scales"][:, 2], strict=True))
        drawn = [distance(f, d, h * strength * masses[f.source]) for f in system.evaluator.singular]
        radius = _CLOSEST * math.hypot(math.sqrt(2.0 * d * diffusion * h), *drawn)
        pull = sum(
            attracts * masses[f.source] * radius * abs(float(f.kernel.slope(np.array([radius]), d)[0]))
            for f, attracts in zip(system.evaluator.singular, self.recorded["scales"][i, 3:], strict=True)
        )
        return radius, max(_SHARE, 2.0 * d * diffusion / pull if pull > 0 else math.inf)

    def _report(self, run: Run, name: str, share: float, radius: float, centre: Array) -> None:
        place = ", ".join(f"{c:.4g}" for c in centre)
        line = (
            f"the particles of {name} have collapsed at t = {run.t:.6g}: about {share:.0%} of them stick together "
            f"around ({place}), at a root mean square distance of at most {radius:.3g}, as close as steps of dt can "
            "bring them"
        )
        if self._action == "stop":
            raise BlowUpError(f'{line}. End earlier, or continue with on_blow_up = "warn"')
        self._reported.add(name)
        warn(f"{line}. What follows depends on dt: the equation's solution has ended", run.particles.comm)


def _step(run: Run) -> float:
    """Return the length of the next step, or of the last one."""
    at = min(run.step, run.steps - 1)
    return float(run.times[at + 1] - run.times[at])


def _tightest(x: Array, w: Array, least: float) -> tuple[float, float, Array]:
    """Return the cluster about a particle that is the smallest of those with a share of the mass.

    Args:
        x: positions, shape (n, d), n > 1.
        w: their masses.
        least: the share of the mass.

    Returns:
        The cluster's share of the mass, its root mean square distance from its centre, and this.
    """
    square = np.sum((x[:, None] - x) ** 2, axis=2)
    order = np.argsort(square, axis=1)
    mass = np.cumsum(w[order], axis=1)
    last = np.clip(np.sum(mass < (least - _ROUNDING) * w.sum(), axis=1), 1, len(x) - 1)
    rows = np.arange(len(x))
    spread = np.cumsum((w * square)[rows[:, None], order], axis=1)[rows, last] / mass[rows, last]
    middle = int(np.argmin(spread))
    cluster = order[middle, : last[middle] + 1]
    centre = np.average(x[cluster], axis=0, weights=w[cluster])
    size = np.average(np.sum((x[cluster] - centre) ** 2, axis=1), weights=w[cluster])
    return float(mass[middle, last[middle]] / w.sum()), math.sqrt(size), centre


def _scales(system: System) -> Array:
    """Return by species what ``Clusters`` records, at some particles. Collective."""
    found, masses = np.zeros((len(system.counts), 2 + len(system.evaluator.singular))), np.zeros(len(system.counts))
    with together(system.comm):
        for i, (name, x) in enumerate(system.positions.items()):
            largest, towards = system.sensitivity(name)
            found[i] = system.largest_diffusion(name), largest, *towards
            masses[i] = np.abs(np.broadcast_to(system.evaluator.weights[name], (len(x),))).sum()
    return np.insert(reduced(system.comm, found, "MAX"), 2, reduced(system.comm, masses), axis=1)


def _sample(system: System, species: str) -> Array:
    """Return the positions of some particles, evenly from all, on every rank. Collective."""
    return _sampled(system, species, system.positions[species])


def _sampled(system: System, species: str, values: Array) -> Array:
    """Return those of this rank's values, one per particle, that belong to the sample, on every rank. Collective."""
    n = system.counts[species]
    stride = max(1, n // _SAMPLE)
    first = system.first_row(species)
    sample = np.zeros((-(-n // stride), *values.shape[1:]))
    rows = np.arange(-first % stride, len(values), stride)
    sample[(first + rows) // stride] = values[rows]
    return reduced(system.comm, sample)
