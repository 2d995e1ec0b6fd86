r"""Distances between two sets of particles, with their uncertainty and their floor.

Both laws are unknown, so nothing is measured against a density. With μ and ν the empirical measures of n and m
particles:

- L¹ and L² of :math:`K_h * \nu - K_h * \mu`, with one bandwidth for both: what minimises the mean integrated squared
  error of min(n, m) draws from a density estimate of all n + m particles.
- The Wasserstein distances and the energy distance of μ and ν on lines (:mod:`kspde.distances.sliced`).

**Floor.** If both were independent samples of one law, any n of the n + m particles could as well be the first sample:
the floor deals them out anew at random, which gives the distance its exact distribution under that hypothesis, given
all the particles (a permutation test; Gretton et al., J. Mach. Learn. Res. 13, 2012). A distance inside the floor's
interval does not distinguish the two. Particles are taken as independent, which those of one cloud are up to O(1/N);
clouds with the same seed and replica share their noise and are not.

**Intervals** are those of :mod:`kspde.distances.resampling`, along the family of pairs :math:`((1 - \lambda) P +
\lambda\tilde\mu, (1 - \lambda) P + \lambda\tilde\nu)` with P the measure of all particles. As there, :math:`\tilde\mu`
is :math:`s\mu + (1 - s)P`, moved by some standard deviations of its mean, :math:`\tilde\nu` likewise the other way.
Differences of densities, distribution functions and quantile functions add up, so one set of draws, from near the
particles' own λ, serves all λ. In trials (1D, 500 and 400 normal particles at distances from 0 to half a standard
deviation, 300 each) 93 to 97 % of the intervals of L¹, and of L¹ and L² without noise, held what they are for, those of
the energy distance without noise 91 % at the largest distance; without s and the moves it was 81 to 96 %. In 2D, L¹
without noise is too large near its floor (.078 where .038 is right).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import gamma, pi, sqrt
from typing import Any

import numpy as np

from kspde.distances.bandwidth import IntegratedSquaredError
from kspde.distances.region import MOST, grid_for
from kspde.distances.resampling import AWAY, LAMBDAS, invert, replicated, weight_without_noise, without_noise
from kspde.distances.sliced import ON_LINES, directions
from kspde.distances.statistics import SQUARED, Estimate, prediction, reach_of
from kspde.grids import Array, GaussianSmoother, Grid, deposit

__all__ = ["BETWEEN_CLOUDS", "TwoSamples", "cloud_distances"]

#: What is measured here.
BETWEEN_CLOUDS = ("l1", "l2", *ON_LINES)

#: Nodes of a line, and quantile levels.
_NODES, _LEVELS = 8192, 16_384


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoSamples:
    """Distances between clouds; :class:`kspde.distances.result.Distance` describes the attributes."""

    measured: Mapping[str, Estimate]
    debiased: Mapping[str, Estimate]
    floor: Mapping[str, Estimate]
    bandwidth: float | None = None
    axes: tuple[Array, ...] = ()
    first: Array
    second: Array


def cloud_distances(
    x: Array,
    y: Array,
    names: Collection[str],
    *,
    bandwidth: float | None,
    resolution: int | None,
    replicas: int,
    seed: int,
    comm: Any,
    threads: int,
) -> TwoSamples:
    """Return the distances of two sets of points, the same on every rank. Collective.

    Args:
        x: shape (n, d).
        y: shape (m, d).
        names: of :data:`BETWEEN_CLOUDS`.
        bandwidth: h, or None.
        resolution: grid points in the longest direction, or None.
        replicas: how often particles are dealt out anew for the floor, and drawn for the intervals.
        seed: of the draws.
        comm: the communicator.
        threads: of this rank.

    Raises:
        InputError: no grid resolves the bandwidth.
    """
    draws = {"replicas": replicas, "seed": seed, "comm": comm, "threads": threads}
    parts: list[tuple[tuple[str, ...], Any]] = []
    smoothed = None
    if {"l1", "l2"} & set(names):
        smoothed = _Smoothed(x, y, bandwidth, resolution, threads)
        parts.append((("l1", "l2"), smoothed))
    on_lines = tuple(name for name in ON_LINES if name in names)
    if on_lines:
        parts.append((on_lines, _OnLines(x, y, on_lines)))
    measured: dict[str, Estimate] = {}
    debiased: dict[str, Estimate] = {}
    floor: dict[str, Estimate] = {}
    for found, statistic in parts:
        values, dealt, curves, bare = _resampled(statistic, x, y, **draws)
        reach = reach_of(replicas)
        for i, name in enumerate(found):
            theta, squared = float(values[i]), name in SQUARED
            measured[name] = invert(theta, curves[:, :, i], reach, squared=squared)
            floor[name] = _prediction(dealt[:, i], squared=squared)
            if not name.startswith("wasserstein"):
                debiased[name] = without_noise(theta, curves[:, :, i], bare[:, i], reach, squared=squared)
    nothing = np.zeros(0)
    return TwoSamples(
        measured={name: measured[name] for name in BETWEEN_CLOUDS if name in measured},
        debiased=debiased,
        floor=floor,
        bandwidth=smoothed.bandwidth if smoothed else None,
        axes=smoothed.grid.axes if smoothed else (),
        first=smoothed.estimates[0] if smoothed else nothing,
        second=smoothed.estimates[1] if smoothed else nothing,
    )


def _resampled(
    statistic: Any, x: Array, y: Array, *, replicas: int, seed: int, comm: Any, threads: int
) -> tuple[Array, Array, Array, Array]:
    """Return the distances, those of particles dealt out anew, those of draws from the family, and its own.

    Shapes (distances,), (replicas, distances), (replicas, λ, distances) and (λ, distances).
    """
    n, m = len(x), len(y)
    pool = np.concatenate([x, y])
    own = _minus(statistic.of(y), statistic.of(x))
    weight = weight_without_noise(statistic.noise, statistic.square(own))
    share = weight**2
    moves = _away(x, y, pool)
    ends = [
        tuple(
            share * u + (1 - share) * v
            for u, v in zip(statistic.of(own_points + by), statistic.of(pool + by), strict=True)
        )
        for own_points, by in zip((x, y), moves, strict=True)
    ]
    direction = _minus(ends[1], ends[0])

    def dealt(replica: int) -> Array:
        order = np.random.default_rng([seed, 10, replica]).permutation(n + m)
        norms: Array = statistic.norms([_minus(statistic.of(pool[order[n:]]), statistic.of(pool[order[:n]]))])[0]
        return norms

    def along_family(replica: int) -> Array:
        random = np.random.default_rng([seed, 11, replica])
        drawn = []
        for points, by in zip((x, y), moves, strict=True):
            size = len(points)
            out = pool[random.integers(n + m, size=size)]
            replaced = random.random(size) < weight
            particles = replaced & (random.random(size) < share)
            out[particles] = points[random.integers(size, size=size)[particles]]
            out[replaced] += by
            drawn.append(statistic.of(out))
        near = _minus(drawn[1], drawn[0])
        norms: Array = statistic.norms(
            [tuple(d + (at - weight) * o for d, o in zip(near, direction, strict=True)) for at in LAMBDAS]
        )
        return norms

    return (
        statistic.norms([own])[0],
        replicated(dealt, replicas, comm, threads),
        replicated(along_family, replicas, comm, threads),
        statistic.norms([tuple(at * o for o in direction) for at in LAMBDAS]),
    )


def _minus(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(u - v for u, v in zip(a, b, strict=True))


def _away(x: Array, y: Array, pool: Array) -> tuple[Array, Array]:
    """Return the ways that both are moved by, apart along the principal axis of all, each as far as its mean varies."""
    n, m = len(x), len(y)
    centred = pool - pool.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / (n + m))
    side = 1.0 if float((y.mean(axis=0) - x.mean(axis=0)) @ axes[:, -1]) >= 0 else -1.0
    way: Array = side * AWAY * float(np.sqrt(max(variances[-1], 0.0) * (1 / n + 1 / m))) * axes[:, -1]
    return -way * m / (n + m), way * n / (n + m)


def _prediction(draws: Array, *, squared: bool) -> Estimate:
    """Return the mean of draws, with the interval of one more: of squares by their roots, which are nearly normal."""
    if not squared:
        return prediction(draws)
    low, high = prediction(np.sqrt(draws)).interval
    return Estimate(float(draws.mean()), (low**2, high**2))


class _Smoothed:
    """L¹ and L² of the difference of two kernel density estimates."""

    def __init__(self, x: Array, y: Array, bandwidth: float | None, resolution: int | None, threads: int) -> None:
        n, m = len(x), len(y)
        self._threads = threads
        pool = np.concatenate([x, y])
        h = _bandwidth(pool, min(n, m)) if bandwidth is None else bandwidth
        self.bandwidth = h
        self.grid = grid_for(pool.min(axis=0) - 6 * h, pool.max(axis=0) + 6 * h, h, resolution)
        self._smoother = GaussianSmoother(self.grid, h)
        densities = [self.of(points)[0] for points in (x, y)]
        self.estimates = [np.maximum(density, 0.0) for density in densities]
        both = (n * densities[0] + m * densities[1]) / (n + m)
        peak = float(4 * pi * h**2) ** (-0.5 * self.grid.dimension)
        #: ‖K_h * (ν − μ)‖² that samples of one law have in the mean.
        self.noise = (1 / n + 1 / m) * (peak - self.square((both,)))

    def of(self, points: Array) -> tuple[Array, ...]:
        """Return the density estimate of points."""
        return (self._smoother.density(deposit(self.grid, points), self._threads) / len(points),)

    def square(self, gap: tuple[Array, ...]) -> float:
        """Return the squared norm that ``noise`` is the mean of."""
        return float(np.vdot(gap[0], gap[0])) * self.grid.cell_volume

    def norms(self, gaps: Collection[tuple[Array, ...]]) -> Array:
        """Return L¹ and L² norms, shape (gaps, 2)."""
        volume = self.grid.cell_volume
        return np.array([[np.abs(gap).sum() * volume, np.sqrt(np.square(gap).sum() * volume)] for (gap,) in gaps])


class _OnLines:
    """Wasserstein and energy distances on lines."""

    def __init__(self, x: Array, y: Array, names: tuple[str, ...]) -> None:
        n, m, d = len(x), len(y), x.shape[1]
        pool = np.concatenate([x, y])
        self._names = names
        self._directions = directions(d)
        self._centre = 0.5 * (pool.min(axis=0) + pool.max(axis=0))
        radius = float(np.sqrt(np.square(pool - self._centre).sum(axis=1).max()))
        half = 1.01 * (radius + max(float(np.linalg.norm(by)) for by in _away(x, y, pool))) or 1.0
        self._step = 2 * half / (_NODES - 1)
        self._first = -half
        self._scale = sqrt(pi) * gamma((d + 1) / 2) / gamma(d / 2)
        self._levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
        both = self.of(pool)[0]
        #: The energy distance that samples of one law have in the mean.
        self.noise = (1 / n + 1 / m) * self._scale * 2 * float((both * (1 - both)).sum(axis=1).mean()) * self._step

    def of(self, points: Array) -> tuple[Array, ...]:
        """Return the distribution functions on all lines, and the quantile functions if they are wanted."""
        distributions = np.empty((len(self._directions), _NODES))
        quantiles = np.empty((len(self._directions), _LEVELS))
        chosen = np.minimum((self._levels * len(points)).astype(np.int64), len(points) - 1)
        centred = points - self._centre
        for line, direction in enumerate(self._directions):
            s = centred @ direction
            at = np.ceil((s - self._first) / self._step).astype(np.int64)
            distributions[line] = np.cumsum(np.bincount(np.clip(at, 0, _NODES - 1), minlength=_NODES)) / len(points)
            if "wasserstein2" in self._names:
                quantiles[line] = np.sort(s)[chosen]
        return (distributions, quantiles) if "wasserstein2" in self._names else (distributions,)

    def square(self, gap: tuple[Array, ...]) -> float:
        """Return the energy distance, which ``noise`` is the mean of."""
        return self._scale * 2 * float(np.square(gap[0]).sum(axis=1).mean()) * self._step

    def norms(self, gaps: Collection[tuple[Array, ...]]) -> Array:
        """Return the distances, shape (gaps, names)."""
        out = []
        for gap in gaps:
            found = {
                "wasserstein1": float(np.abs(gap[0]).sum(axis=1).mean()) * self._step,
                "energy": self.square(gap),
            }
            if len(gap) > 1:
                found["wasserstein2"] = float(np.sqrt(np.square(gap[1]).mean()))
            out.append([found[name] for name in self._names])
        return np.array(out)


def _bandwidth(points: Array, n: int) -> float:
    """Return the bandwidth for n draws from a density estimate of all points, by Scott's rule."""
    total, d = points.shape
    deviation = float(np.sqrt(points.var(axis=0).max()))
    if deviation == 0:
        deviation = 1.0  # all in one place: any bandwidth will do
    scott = deviation * (4 / (total * (d + 2))) ** (1 / (d + 4))
    lower, upper = points.min(axis=0) - 4 * scott, points.max(axis=0) + 4 * scott
    spacing = max(0.5 * scott, float((upper - lower).max()) / (MOST[d] - 1))
    shape = np.ceil((upper - lower) / spacing).astype(int) + 1
    grid = Grid.covering(lower, upper, shape.tolist())
    density = np.maximum(GaussianSmoother(grid, max(scott, 2 * spacing)).density(deposit(grid, points)), 0.0)
    return IntegratedSquaredError(grid, density / (density.sum() * grid.cell_volume), n).minimise()
