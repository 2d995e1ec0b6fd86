r"""A density and particles by the points themselves, without smoothing: Wasserstein, energy, nearest neighbours.

The intervals invert the family of :mod:`kspde.distances.resampling`. On lines the displacements :math:`F_N - F` and
:math:`Q_N - Q` add up, so one set of draws, from near the particles' own λ, serves the whole family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kspde.distances.knn import LogDensity
from kspde.distances.measured import Estimates, Family, Floor, Measured
from kspde.distances.registry import ENERGY, Formula, OnLines, OnPoints, those
from kspde.distances.resampling import LAMBDAS, Options, shift_away, weight_without_noise
from kspde.distances.sides import Sample, rows_of
from kspde.distances.sliced import Lines
from kspde.distances.statistics import Estimate
from kspde.distances.target import Target
from kspde.distances.weighted import WeightLaw
from kspde.errors import InputError
from kspde.grids import Grid
from kspde.initial import GridDensity
from kspde.typing import Array, Ids

__all__ = ["MOST_EXACT", "Draws", "point_distances"]

#: Points up to which the optimal transport plan itself is computed: its cost grows with the square and more.
MOST_EXACT = 3000


def point_distances(
    target: Target,
    clouds: Sequence[Sample],
    formulas: Sequence[Formula],
    options: Options,
    law: WeightLaw | None = None,
) -> Measured:
    r"""Return the distances of the mean of the clouds' empirical measures from u (or from :math:`u \otimes u`).

    Collective. ``clouds`` are all points of each, the same on every rank, of equal shapes (n, D), with weights of mean
    1 and of a known law, or none.

    Raises:
        InputError: more points than exact transport can take, or no more than ``neighbours``; POT is missing.
    """
    pooled = np.concatenate([cloud.points for cloud in clouds])
    if those(OnPoints, formulas) and options.neighbours >= len(pooled):
        raise InputError(f"neighbours = {options.neighbours} is not valid: give fewer than the {len(pooled)} points")
    if options.wasserstein == "exact":
        _check_exact(len(pooled))
    grid = target.mass_grid()
    values = np.maximum(target.values(grid.axes), 0.0)
    values /= values.sum() * grid.cell_volume
    draws = Draws(grid, values, target.r, law)
    found = Measured()
    on_lines = those(OnLines, formulas)
    if on_lines:
        family = _Projected(grid, values, draws, clouds, on_lines, options)
        found, noise = family.measured(), family.noise
        debiased = {n: _less(e, noise) for n, e in found.by_name.items() if n == ENERGY.name}
        found = replace(found, debiased=Estimates(by_name=debiased))
    for formula in those(OnPoints, formulas):
        log_density, how = LogDensity(grid, values, target.r), {"k": options.neighbours, "replicas": options.replicas}
        here, floor = formula.measure(pooled, log_density, draws.points, **how)
        floors = Floor(by_name={formula.name: floor}, replicas=options.replicas.count)
        found = found.with_points(Measured(by_name={formula.name: here}, floor=floors))
    return found


class _Projected(Family):
    r"""The distances of projections onto lines, or by optimal plans: of particles, and of draws along the family."""

    def __init__(
        self,
        grid: Grid,
        density: Array,
        draws: Draws,
        clouds: Sequence[Sample],
        formulas: Sequence[OnLines],
        options: Options,
    ) -> None:
        r, exact = options.r, options.wasserstein == "exact"
        self.formulas, self.replicas, self.clouds = formulas, options.replicas, len(clouds)
        self._draws, self._clouds = draws, clouds
        self._pooled = pooled = Sample.joined(clouds)
        self._plans = {i: formula.power for i, formula in enumerate(formulas) if exact and formula.power > 0}
        self._sliced = [i for i in range(len(formulas)) if i not in self._plans]
        self._on_lines = [formulas[i] for i in self._sliced]
        self._lambdas = LAMBDAS[::2] if self._plans else LAMBDAS  # an optimal plan is costly

        centre = np.tile(0.5 * (grid.lower + grid.upper), r)
        points, weights = pooled.points, pooled.weights
        means = np.array([cloud.total / len(cloud.points) for cloud in clouds])
        self._shift = shift_away(grid, density, r, means, pooled.effective)
        farthest = float(np.sqrt(np.max(np.sum((points - centre) ** 2, axis=1))))
        self.lines = Lines(grid, density, r, farthest + float(np.linalg.norm(self._shift)))
        self.noise = self.lines.noise_of(points, weights)
        observed = float(self.lines.distances(points, [ENERGY], weights)[0])
        self._weight = weight_without_noise(self.noise, observed)
        self._share = self._weight**2
        sort = any(formula.of_quantiles for formula in self._on_lines)
        self._direction = self.lines.displacement(points, self._shift, self._share, quantiles=sort, weights=weights)

    def here(self) -> Array:
        """Return the distances of the particles."""
        return self._measured(self._pooled, np.random.default_rng([self.replicas.seed, 9]))

    def floor(self, replica: int) -> Array:
        """Return the distances of as many draws from u."""
        random = self.replicas.random(3, replica)
        return self._measured(self._draws.sample(len(self._pooled.points), random), random)

    def along(self, replica: int) -> Array:
        """Return the distances of as many draws for each λ."""
        out = np.zeros((len(self._lambdas), len(self.formulas)))
        if self._on_lines:
            near, by = self._drawn(self.replicas.random(4, replica), self._weight), self._lambdas - self._weight
            out[:, self._sliced] = self.lines.along(near.points, self._direction, by, self._on_lines, near.weights)
        # Plans: the same random numbers for every λ, so that the more points are replaced the larger it is.
        for i, at in enumerate(self._lambdas if self._plans else ()):
            random = self.replicas.random(4, replica)
            out[i, list(self._plans)] = self._transport(self._drawn(random, float(at)), random)
        return out

    def single(self, replica: int) -> Array:
        """Return the distances of as many draws as one cloud has particles."""
        random = self.replicas.random(5, replica)
        n = len(self._clouds[0].points)
        return self._measured(self._draws.between(n, random, self._pooled, self._weight), random)

    def cloud(self, i: int) -> Array:
        """Return the distances of one cloud."""
        return self._measured(self._clouds[i], self.replicas.random(8, i))

    def _measured(self, sample: Sample, random: np.random.Generator) -> Array:
        out = np.zeros(len(self.formulas))
        if self._on_lines:
            out[self._sliced] = self.lines.distances(sample.points, self._on_lines, sample.weights)
        if self._plans:
            out[list(self._plans)] = self._transport(sample, random)
        return out

    def _drawn(self, random: np.random.Generator, weight: float) -> Sample:
        n, pooled = len(self._pooled.points), self._pooled
        return self._draws.between(n, random, pooled, weight, share=self._share, shift=self._shift)

    def _transport(self, sample: Sample, random: np.random.Generator) -> list[float]:
        """Return Wasserstein distances of points from as many draws from u, by optimal plans."""
        import ot

        points = sample.points
        own: Any = [] if sample.weights is None else sample.weights / sample.weights.sum()
        squared = np.maximum(ot.dist(points, self._draws.points(len(points), random)), 0.0)
        return [float(ot.emd2(own, [], squared ** (0.5 * p))) ** (1 / p) for p in self._plans.values()]


class Draws:
    r"""Independent draws of :math:`u^{\otimes r}`, and from between it and given points.

    They come from the multilinear interpolant of values on a grid. Interpolation convolves them with hats of variance
    Δ²/6 per direction; half that much of the second difference, subtracted beforehand, keeps the variances.

    Args:
        grid: a grid in R^d.
        density: u at its points, of mass 1.
        r: 1 or 2.
        law: the law of weights, if the draws have some.
    """

    def __init__(self, grid: Grid, density: Array, r: int, law: WeightLaw | None = None) -> None:
        sharp = density.copy()
        for axis in range(density.ndim):
            a = np.moveaxis(density, axis, 0)
            second = np.zeros_like(a)
            second[1:-1] = a[2:] - 2 * a[1:-1] + a[:-2]
            sharp -= np.moveaxis(second, 0, axis) / 12
        extent = np.stack([grid.lower, grid.upper], axis=1).ravel().tolist()
        self._density = GridDensity(np.maximum(sharp, 0.0), extent)
        self._r, self._law = r, None if law is None else law.positive
        if self._law is not None:
            counts = density / self._law.on(grid.axes)
            self._unit = float(density.sum() / counts.sum())  # the mean weight of the draws
            self._pairs = GridDensity(np.maximum(sharp, 0.0) / self._law.on(grid.axes), extent)

    def points(self, n: int, random: np.random.Generator) -> Array:
        """Return n draws, shape (n, r d)."""
        ids = np.arange(n * self._r, dtype=np.uint64)
        return rows_of(self._density.sample(_Uniforms(random), ids), self._r)

    def sample(self, n: int, random: np.random.Generator) -> Sample:
        """Return n draws with their weights, of mean 1, if there is a law of weights."""
        if self._law is None:
            return Sample(self.points(n, random))
        single = self._pairs.sample(_Uniforms(random), np.arange(n * self._r, dtype=np.uint64))
        weights = self._law.at(single) * self._law.drawn(len(single), random) / self._unit
        return Sample(rows_of(single, self._r), rows_of(weights[:, None], self._r).prod(axis=1))

    def between(
        self,
        n: int,
        random: np.random.Generator,
        sample: Sample,
        weight: float,
        *,
        share: float = 1.0,
        shift: Array | float = 0.0,
    ) -> Sample:
        r"""Return n draws of :math:`(1 - \lambda) u^{\otimes r} + \lambda \tilde\mu`, λ the weight.

        With s the share and μ that of the sample, :math:`\tilde\mu` is :math:`s\mu + (1 - s)u^{\otimes r}` shifted by a
        vector of shape (r d,). As many random numbers are used whatever the weight is.
        """
        drawn = self.sample(n, random)
        replaced = random.random(n) < weight
        particles = replaced & (random.random(n) < share)
        chosen = random.integers(len(sample.points), size=n)[particles]
        drawn.points[particles] = sample.points[chosen]
        drawn.points[replaced] += shift
        if drawn.weights is not None and sample.weights is not None:
            drawn.weights[particles] = sample.weights[chosen]
        return drawn


class _Uniforms:
    """A numpy generator in the form that ``InitialDensity.sample`` needs; ids are ignored."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def uniforms(self, ids: Ids, step: int, count: int) -> Array:
        return self._random.random((len(ids), count))

    def normals(self, ids: Ids, step: int, count: int) -> Array:
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


def _less(estimate: Estimate, by: float) -> Estimate:
    low, high = estimate.interval
    return Estimate(estimate.value - by, (max(0.0, low - by), max(0.0, high - by)))
