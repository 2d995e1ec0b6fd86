r"""Distances of scattered points from a density, without smoothing them: Wasserstein, energy, nearest neighbours.

The intervals invert the family of :mod:`kspde.distances.resampling`. On lines the displacements :math:`F_N - F` and
:math:`Q_N - Q` add up, so one set of draws, from near the particles' own λ, serves the whole family.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.distances.knn import ON_NEIGHBOURS, LogDensity, relative_entropy_of
from kspde.distances.region import mass_grid
from kspde.distances.resampling import (
    LAMBDAS,
    away,
    deviation_of_clouds,
    invert,
    replicated,
    weight_without_noise,
)
from kspde.distances.sliced import ON_LINES, Lines
from kspde.distances.statistics import SQUARED, Estimate, prediction, reach_of
from kspde.distances.target import View, rows_of
from kspde.errors import InputError
from kspde.grids import Array, Grid
from kspde.initial import GridDensity
from kspde.runtime.parallel import together

__all__ = ["MOST_EXACT", "ON_POINTS", "Scattered", "scattered_distances"]

#: What is measured here.
ON_POINTS = (*ON_LINES, *ON_NEIGHBOURS)

#: Points up to which the optimal transport plan itself is computed: its cost grows with the square and more.
MOST_EXACT = 3000


@dataclass(frozen=True, kw_only=True, eq=False)
class Scattered:
    """Distances by name; :class:`kspde.distances.comparison.Distance` describes the attributes."""

    measured: Mapping[str, Estimate]
    debiased: Mapping[str, Estimate]
    floor: Mapping[str, Estimate]


def scattered_distances(
    view: View,
    clouds: Sequence[Array],
    *,
    names: Collection[str],
    exact: bool,
    neighbours: int,
    replicas: int,
    seed: int,
    comm: Any,
    threads: int,
) -> Scattered:
    r"""Return the distances of the mean of the clouds' empirical measures from u (or from :math:`u \otimes u`).

    Collective.

    Args:
        view: the density.
        clouds: all points of each cloud, the same on every rank, shapes (n, D), n the same for all.
        names: of :data:`ON_POINTS`.
        exact: Wasserstein distances by optimal transport plans, not sliced.
        neighbours: k, for the nearest-neighbour estimate.
        replicas: clouds drawn for the floor, and again for the intervals.
        seed: of the draws.
        comm: the communicator.
        threads: of this rank.

    Raises:
        InputError: more points than exact transport can take; POT is missing.
    """
    pooled = np.concatenate(clouds)
    total, n = len(pooled), len(clouds[0])
    if exact:
        _check_exact(total)
    grid = mass_grid(view.one)
    values = np.maximum(view.one.on_grid(grid.axes), 0.0)
    values /= values.sum() * grid.cell_volume
    source = _Draws(grid, values, view.r)
    measured: dict[str, Estimate] = {}
    debiased: dict[str, Estimate] = {}
    floor: dict[str, Estimate] = {}
    wanted = [name for name in ON_LINES if name in names]
    if wanted:
        centre = np.tile(0.5 * (grid.lower + grid.upper), view.r)
        means = np.array([cloud.mean(axis=0) for cloud in clouds])
        way = away(grid, values, view.r, means, total)
        radius = float(np.sqrt(np.max(np.sum((pooled - centre) ** 2, axis=1))) + np.linalg.norm(way))
        lines = Lines(grid, values, view.r, radius)
        sort = "wasserstein2" in wanted and not exact
        chosen = [ON_LINES.index(name) for name in wanted]
        plans = exact and wanted != ["energy"]
        on_lines = not plans or "energy" in wanted
        family = LAMBDAS[::2] if plans else LAMBDAS  # an optimal plan is costly
        observed = lines.distances(pooled, quantiles=False)[2]
        weight = weight_without_noise(lines.noise, total * observed)
        share = weight**2
        direction = lines.displacement(pooled, way, share, quantiles=sort)

        def statistics(points: Array, random: np.random.Generator) -> Array:
            out = lines.distances(points, quantiles=sort) if on_lines else np.zeros(len(ON_LINES))
            if plans:
                out[:2] = _transport(points, source.points(len(points), random))
            return out[chosen]

        def floor_of(replica: int) -> Array:
            random = np.random.default_rng([seed, 3, replica])
            return statistics(source.points(total, random), random)

        def along_family(replica: int) -> Array:
            out = np.zeros((len(family), len(ON_LINES)))
            if on_lines:
                random = np.random.default_rng([seed, 4, replica])
                near = source.between(total, random, pooled, weight, share=share, way=way)
                out = lines.along(near, direction, family - weight)
            if plans:
                # The same random numbers for every λ, so that the more points are replaced the larger it is.
                for i, at in enumerate(family):
                    random = np.random.default_rng([seed, 4, replica])
                    points = source.between(total, random, pooled, float(at), share=share, way=way)
                    out[i, :2] = _transport(points, source.points(total, random))
            return out[:, chosen]

        def single(replica: int) -> Array:
            random = np.random.default_rng([seed, 5, replica])
            return statistics(source.between(n, random, pooled, weight), random)

        with together(comm):
            here = statistics(pooled, np.random.default_rng([seed, 9]))
        near = replicated(floor_of, replicas, comm, threads)
        curves = replicated(along_family, replicas, comm, threads)
        reach = np.full(len(wanted), reach_of(replicas, len(clouds)))
        if len(clouds) > 1:
            singles = replicated(single, replicas, comm, threads)
            each = replicated(
                lambda i: statistics(clouds[i], np.random.default_rng([seed, 8, i])), len(clouds), comm, threads
            )
            reach *= deviation_of_clouds(each, singles, [name in SQUARED for name in wanted])
        for i, name in enumerate(wanted):
            measured[name] = invert(float(here[i]), curves[:, :, i], float(reach[i]), squared=name in SQUARED)
            floor[name] = prediction(near[:, i])
        if "energy" in measured:
            debiased["energy"] = _shifted(measured["energy"], lines.noise / total)
    for name in ON_NEIGHBOURS:
        if name in names:
            log_density = LogDensity(grid, values, view.r)
            measured[name], floor[name] = relative_entropy_of(
                pooled,
                log_density,
                source.points,
                k=neighbours,
                replicas=replicas,
                seed=seed,
                comm=comm,
                threads=threads,
            )
    return Scattered(measured=measured, debiased=debiased, floor=floor)


class _Draws:
    r"""Independent draws of :math:`u^{\otimes r}`, and from between it and given points.

    They come from the multilinear interpolant of values on a grid. Interpolation convolves them with hats of variance
    Δ²/6 a direction; half that much of the second difference, taken away before, keeps the variances.
    """

    def __init__(self, grid: Grid, density: Array, r: int) -> None:
        sharp = density.copy()
        for axis in range(density.ndim):
            a = np.moveaxis(density, axis, 0)
            second = np.zeros_like(a)
            second[1:-1] = a[2:] - 2 * a[1:-1] + a[:-2]
            sharp -= np.moveaxis(second, 0, axis) / 12
        extent = np.stack([grid.lower, grid.upper], axis=1).ravel().tolist()
        self._density = GridDensity(np.maximum(sharp, 0.0), extent)
        self._r = r

    def points(self, n: int, random: np.random.Generator) -> Array:
        """Return n draws, shape (n, r d)."""
        ids = np.arange(n * self._r, dtype=np.uint64)
        return rows_of(self._density.sample(_Uniforms(random), ids), self._r)

    def between(
        self,
        n: int,
        random: np.random.Generator,
        points: Array,
        weight: float,
        *,
        share: float = 1.0,
        way: Array | float = 0.0,
    ) -> Array:
        r"""Return n draws of :math:`(1 - \lambda) u^{\otimes r} + \lambda \tilde\mu`.

        Args:
            n: how many.
            random: as many of its numbers are used whatever the weight.
            points: of μ.
            weight: λ.
            share: s; :math:`\tilde\mu` is :math:`s\mu + (1 - s)u^{\otimes r}` moved.
            way: by this vector, shape (r d,).
        """
        out = self.points(n, random)
        replaced = random.random(n) < weight
        particles = replaced & (random.random(n) < share)
        out[particles] = points[random.integers(len(points), size=n)[particles]]
        out[replaced] += way
        return out


class _Uniforms:
    """A numpy generator as ``InitialDensity.sample`` wants it; ids play no part."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def uniforms(self, ids: Any, step: int, count: int) -> Array:
        return self._random.random((len(ids), count))

    def normals(self, ids: Any, step: int, count: int) -> Array:
        return self._random.standard_normal((len(ids), count))


def _check_exact(n: int) -> None:
    if n > MOST_EXACT:
        raise InputError(
            f'wasserstein = "exact" needs at most {MOST_EXACT} points, there are {n}: give wasserstein = "sliced"'
        )
    try:
        import ot  # noqa: F401
    except ImportError:
        raise InputError(
            'wasserstein = "exact" needs POT: pip install "kspde[transport]", or give wasserstein = "sliced"'
        ) from None


def _transport(x: Array, y: Array) -> Array:
    """Return W_1 and W_2 of the empirical measures of two sets of points, by optimal plans."""
    import ot

    squared = np.maximum(ot.dist(x, y), 0.0)
    return np.array([ot.emd2([], [], np.sqrt(squared)), np.sqrt(ot.emd2([], [], squared))])


def _shifted(estimate: Estimate, by: float) -> Estimate:
    low, high = estimate.interval
    return Estimate(estimate.value - by, (max(0.0, low - by), max(0.0, high - by)))
