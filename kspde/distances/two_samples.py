r"""Distances between two sets of particles, with their uncertainty and their floor.

Both laws are unknown, so nothing is measured against a density. With μ and ν the empirical measures of n and m
particles:

- L¹ and L² of :math:`K_h * \nu - K_h * \mu`, with one bandwidth for both: what minimises the mean integrated squared
  error of min(n, m) draws from a density estimate of all n + m particles.
- The Wasserstein distances and the energy distance of μ and ν on lines (:mod:`kspde.distances.lines`).

**Floor.** If both were independent samples of one law, any n of the n + m particles could as well be the first sample:
the floor deals them out anew at random, which gives the distance its exact distribution under that hypothesis, given
all the particles (a permutation test; Gretton et al., J. Mach. Learn. Res. 13, 2012). A distance inside the floor's
interval does not distinguish the two. Particles are taken as independent, which those of one cloud are up to O(1/N);
clouds with the same seed and replica share their noise and are not.

**Intervals** are those of :mod:`kspde.distances.resampling`, along the family of pairs :math:`((1 - \lambda) P +
\lambda\mu, (1 - \lambda) P + \lambda\nu)` with P the measure of all particles. Differences of densities, distribution
functions and quantile functions add up, so one set of draws, from near the particles' own λ, serves all λ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import gamma, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.distances.bandwidth import IntegratedSquaredError
from kspde.distances.grid import Array, GaussianSmoother, Grid, deposit
from kspde.distances.lines import ON_LINES, directions
from kspde.distances.region import MOST, grid_for
from kspde.distances.resampling import LAMBDAS, invert, replicated, weight_without_noise, without_noise
from kspde.distances.statistics import SQUARED, Estimate, prediction, reach_of

#: Numbers of particles.
Numbers = npt.NDArray[np.int64]

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
        values, dealt, curves = _resampled(statistic, len(x), len(y), **draws)
        reach = reach_of(replicas)
        for i, name in enumerate(found):
            theta, squared = float(values[i]), name in SQUARED
            measured[name] = invert(theta, curves[:, :, i], reach, squared=squared)
            floor[name] = prediction(dealt[:, i])
            if not name.startswith("wasserstein"):
                bare = theta * (LAMBDAS**2 if squared else LAMBDAS)
                debiased[name] = without_noise(theta, curves[:, :, i], bare, reach, squared=squared)
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
    statistic: Any, n: int, m: int, *, replicas: int, seed: int, comm: Any, threads: int
) -> tuple[Array, Array, Array]:
    """Return the distances, those of particles dealt out anew, and those of draws from the family, by replica and λ."""
    own = statistic.displacement(None, None)
    values = statistic.norms([own])[0]
    weight = statistic.weight

    def dealt(replica: int) -> Array:
        order = np.random.default_rng([seed, 10, replica]).permutation(n + m)
        norms: Array = statistic.norms([statistic.displacement(order[:n], order[n:])])[0]
        return norms

    def along_family(replica: int) -> Array:
        random = np.random.default_rng([seed, 11, replica])
        first = np.where(random.random(n) < weight, random.integers(n, size=n), random.integers(n + m, size=n))
        second = np.where(random.random(m) < weight, n + random.integers(m, size=m), random.integers(n + m, size=m))
        drawn = statistic.displacement(first, second)
        norms: Array = statistic.norms(
            [tuple(d + (at - weight) * o for d, o in zip(drawn, own, strict=True)) for at in LAMBDAS]
        )
        return norms

    return values, replicated(dealt, replicas, comm, threads), replicated(along_family, replicas, comm, threads)


class _Smoothed:
    """L¹ and L² of the difference of two kernel density estimates."""

    def __init__(self, x: Array, y: Array, bandwidth: float | None, resolution: int | None, threads: int) -> None:
        n, m = len(x), len(y)
        self._points = np.concatenate([x, y])
        self._sizes, self._threads = (n, m), threads
        lower, upper = self._points.min(axis=0), self._points.max(axis=0)
        h = _bandwidth(self._points, min(n, m)) if bandwidth is None else bandwidth
        self.bandwidth = h
        self.grid = grid_for(lower - 6 * h, upper + 6 * h, h, resolution)
        self._smoother = GaussianSmoother(self.grid, h)
        volume = self.grid.cell_volume
        parts = [deposit(self.grid, points) for points in (x, y)]
        densities = [self._smoother.density(part, threads) / size for part, size in zip(parts, (n, m), strict=True)]
        self.estimates = [np.maximum(density, 0.0) for density in densities]
        pooled = (n * densities[0] + m * densities[1]) / (n + m)
        peak = float(4 * pi * h**2) ** (-0.5 * self.grid.dimension)
        noise = (1 / n + 1 / m) * (peak - float(np.vdot(pooled, pooled)) * volume)
        self.weight = weight_without_noise(noise, float(np.square(densities[1] - densities[0]).sum()) * volume)
        self._own = (densities[1] - densities[0],)

    def displacement(self, first: Numbers | None, second: Numbers | None) -> tuple[Array, ...]:
        """Return K_h * (ν − μ) for the particles of given numbers, for all as they are if None."""
        if first is None or second is None:
            return self._own
        n, m = self._sizes
        parts = [deposit(self.grid, self._points[which]) for which in (first, second)]
        return (self._smoother.density(parts[1] / m - parts[0] / n, self._threads),)

    def norms(self, gaps: Collection[tuple[Array, ...]]) -> Array:
        """Return L¹ and L² norms, shape (gaps, 2)."""
        volume = self.grid.cell_volume
        return np.array([[np.abs(gap).sum() * volume, np.sqrt(np.square(gap).sum() * volume)] for (gap,) in gaps])


class _OnLines:
    """Wasserstein and energy distances on lines."""

    def __init__(self, x: Array, y: Array, names: tuple[str, ...]) -> None:
        n, m, d = len(x), len(y), x.shape[1]
        self._points = np.concatenate([x, y])
        self._points = self._points - 0.5 * (self._points.min(axis=0) + self._points.max(axis=0))
        self._names = names
        self._sizes = n, m
        self._directions = directions(d)
        half = 1.0001 * float(np.sqrt(np.square(self._points).sum(axis=1).max())) or 1.0
        self._step = 2 * half / (_NODES - 1)
        self._first = -half
        self._scale = sqrt(pi) * gamma((d + 1) / 2) / gamma(d / 2)
        self._levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
        self._own = self.displacement(np.arange(n), np.arange(n, n + m))
        both = self._distributions(np.arange(n + m))
        noise = (1 / n + 1 / m) * self._scale * 2 * float((both * (1 - both)).sum(axis=1).mean()) * self._step
        energy = self._scale * 2 * float(np.square(self._own[0]).sum(axis=1).mean()) * self._step
        self.weight = weight_without_noise(noise, energy)

    def displacement(self, first: Numbers | None, second: Numbers | None) -> tuple[Array, ...]:
        """Return the difference of the distribution functions, and of the quantile functions if they are wanted."""
        if first is None or second is None:
            return self._own
        out = [self._distributions(second) - self._distributions(first)]
        if "wasserstein2" in self._names:
            out.append(self._quantiles(second) - self._quantiles(first))
        return tuple(out)

    def norms(self, gaps: Collection[tuple[Array, ...]]) -> Array:
        """Return the distances, shape (gaps, names)."""
        out = []
        for gap in gaps:
            found = {
                "wasserstein1": float(np.abs(gap[0]).sum(axis=1).mean()) * self._step,
                "energy": self._scale * 2 * float(np.square(gap[0]).sum(axis=1).mean()) * self._step,
            }
            if len(gap) > 1:
                found["wasserstein2"] = float(np.sqrt(np.square(gap[1]).mean()))
            out.append([found[name] for name in self._names])
        return np.array(out)

    def _distributions(self, which: Numbers) -> Array:
        points = self._points[which]
        out = np.empty((len(self._directions), _NODES))
        for line, direction in enumerate(self._directions):
            at = np.ceil((points @ direction - self._first) / self._step).astype(np.int64)
            out[line] = np.cumsum(np.bincount(at, minlength=_NODES)) / len(points)
        return out

    def _quantiles(self, which: Numbers) -> Array:
        points = self._points[which]
        chosen = np.minimum((self._levels * len(points)).astype(np.int64), len(points) - 1)
        return np.array([np.sort(points @ direction)[chosen] for direction in self._directions])


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
