r"""Signed measures, such as vorticities and particles of either circulation: their L¹ distance.

With the density ω and :math:`\mu_N = \sum_j w_j\delta_{X_j}`, weights of either sign, or the mean of several such,

.. math:: \|K_h * \mu_N - \omega\|_1 / V, \qquad V = \int|\omega|,

in units of the density's total variation: the mass ∫ω may be 0 (two opposite vortices), and nothing is divided by it,
so that what the masses differ by is part of the distance. :math:`\sum_j|w_j|` may be larger than V, where particles of
both signs are in one place, and does not enter. Of two densities V is that of the first; two clouds are :math:`\|K_h *
(\nu - \mu)\|_1 / \sum_j |w_j|`, with the weights of the first. What K_h alone does, ‖K_h * ω − ω‖₁/V, is
``Distance.smoothing``, and ``debiased`` estimates ‖K_h * p − ω‖₁/V, p the expectation of μ_N.

The bandwidth minimises the mean integrated squared error of :math:`V^2/\sum_j w_j^2` particles. Floors are the
distances of draws of pairs (position, weight) whose expectation is ω (:mod:`kspde.distances.weighted`), those of two
clouds of all pairs dealt out by fair coins (:mod:`kspde.distances.clouds`); both with the particles' own mass, or
difference of masses. Intervals invert the family of :mod:`kspde.distances.resampling`. Its noise is that of one set of
draws, from near the particles' own λ, which is added to the family's expectations.

Other distances are between probability densities, or are not of one kind with noise of both signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from kspde.distances.bandwidth import bounding_box, check_mass, common_grid
from kspde.distances.clouds import DealtByCoins, Smoothed
from kspde.distances.densities import edges_of, shown_grid
from kspde.distances.measured import Family, Measured
from kspde.distances.quadrature import converged
from kspde.distances.registry import L1, DensityPair
from kspde.distances.resampling import LAMBDAS, Options, Replicas, shift_away, weight_without_noise
from kspde.distances.sides import Sample
from kspde.distances.statistics import Estimate
from kspde.distances.target import Target
from kspde.distances.weighted import MeanSizes, NodeDraws, WeightLaw
from kspde.grids import GaussianSmoother, Grid, deposit, shifted
from kspde.runtime.reductions import reduced
from kspde.typing import Array

__all__ = ["signed_clouds", "signed_densities", "signed_distance"]


def signed_distance(target: Target, clouds: Sequence[Sample], n: int, options: Options) -> tuple[Measured, float]:
    """Return the distance of the mean of the clouds' measures from ω, and V. Collective.

    Args:
        target: ω.
        clouds: this rank's particles of each cloud with their weights; ranks hold different ones.
        n: the number of particles of a cloud, over all ranks.
        options: the options.

    Raises:
        InputError: the grid cannot resolve the bandwidth, or does not hold the density's mass.
    """
    comm, pooled = options.replicas.comm, Sample.joined(clouds)
    bulk = target.modulus
    found = bulk.mass_grid()
    size = float(bulk.on_grid(found.axes).sum()) * found.cell_volume
    square = float(reduced(comm, np.array([pooled.squares.sum()]))[0])
    box = bounding_box(pooled.points, comm, target.dimension)
    effective = (size * len(clouds)) ** 2 / square
    grid, h = common_grid(target, box, effective, options.bandwidth, options.resolution)
    values = target.on_grid(grid.axes)
    variation = float(np.abs(values).sum()) * grid.cell_volume
    check_mass(float(values.sum()) * grid.cell_volume, target.mass, grid, variation)
    clouds = [cloud.over(variation) for cloud in clouds]
    family = _Signed(grid, h, values / variation, clouds, n, options)
    measured = replace(
        family.measured(),
        smoothing={L1.name: family.distance(family.blurred)},
        bandwidth=h,
        axes=grid.axes,
        density_pde=family.reference,
        density_particles=family.estimate,
    )
    return measured, variation


def signed_clouds(x: Sample, y: Sample, options: Options) -> tuple[Measured, float]:
    """Return the distance of two sets of particles with weights, all of them on every rank, and V. Collective.

    Raises:
        InputError: no grid resolves the bandwidth.
    """
    variation = float(x.modulus.size)
    x, y = x.over(variation), y.over(variation)
    smoothed = _SmoothedSigned(x, y, options)
    return smoothed.shown(_DealtSigned(smoothed, x, y, options.replicas).measured()), variation


def signed_densities(first: Target, second: Target) -> tuple[Measured, float]:
    """Return the distance of two signed densities, and V, that of the first. Collective.

    Raises:
        InputError: a density without mass of either sign, or whose mass the rule does not find.
    """
    both = first, second
    bulk = [target.modulus.mass_grid() for target in both]
    variation = 1.0

    def measure(nodes: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
        nonlocal variation
        weight = reduce(np.multiply.outer, weights)
        a, b = (target.on_grid(nodes) for target in both)
        variation = float(np.vdot(weight, np.abs(a)))
        return np.array([float(np.vdot(weight, np.abs(b - a))) / variation])

    (value,), (error,) = converged(edges_of(both, bulk), measure)
    grid = shown_grid(first.d, bulk)
    values = [target.on_grid(grid.axes) for target in both]
    for target, each in zip(both, values, strict=True):
        check_mass(float(each.sum()) * grid.cell_volume, target.mass, grid, variation)
    estimate = Estimate(float(value), (max(0.0, float(value - error)), float(value + error)))
    a, b = (each / variation for each in values)
    found = Measured(by_name={L1.name: estimate}, axes=grid.axes, density_pde=a, density_particles=b)
    return found, variation


class _Signed(Family):
    r"""The distance of a density estimate: of the particles, and of draws along the family. Weights are in units of V.

    Attributes:
        reference: ω/V on the grid.
        estimate: K_h * μ.
        blurred: K_h * ω.
    """

    formulas = (L1,)

    def __init__(
        self, grid: Grid, h: float, reference: Array, clouds: Sequence[Sample], n: int, options: Options
    ) -> None:
        self.replicas, self.clouds, self.reference = options.replicas, len(clouds), reference
        comm, volume, k = self.replicas.comm, grid.cell_volume, len(clouds)
        self._n, self._smoother, pooled = n, GaussianSmoother(grid, h), Sample.joined(clouds)
        self._parts = [reduced(comm, deposit(grid, cloud.points, cloud.weights)) for cloud in clouds]
        self._mass = float(np.sum(self._parts)) / k
        self.estimate = self._smoother.density(np.sum(self._parts, axis=0), self.replicas.threads) / k
        self.blurred = self._smoother.smooth(reference, self.replicas.threads)
        squares = reduced(comm, deposit(grid, pooled.points, pooled.squares))
        self._spread = self._smoother.density(squares / squares.sum())

        off = self._of_mass(self.estimate - self.blurred, 0.0)
        noise = float(4 * np.pi * h**2) ** (-0.5 * grid.dimension) - float(np.vdot(self._spread, self._spread)) * volume
        variance = float(squares.sum()) / k**2
        weight = weight_without_noise(noise * variance, float(np.vdot(off, off)) * volume)
        moduli = [cloud.modulus for cloud in clouds]
        totals = [reduced(comm, np.append(each.total, each.size)) for each in moduli]
        means = np.array([each[:-1] / each[-1] for each in totals])
        shift = shift_away(grid, np.abs(reference), 1, means, 1 / variance)  # ∫|reference| = 1
        moved = reduced(comm, deposit(grid, pooled.points + shift, pooled.weights)) / (k * volume)
        end = weight**2 * moved + (1 - weight**2) * shifted(grid, reference, shift)
        smoothed = self._smoother.smooth(end, self.replicas.threads)
        self._exact = [(1 - at) * self.blurred + at * smoothed for at in LAMBDAS]
        self.bare = np.array([[self.distance(each)] for each in self._exact])
        near = (1 - weight) * reference + weight * end
        self._expected = [self.blurred, (1 - weight) * self.blurred + weight * smoothed]
        law = WeightLaw.of(pooled.points, np.asarray(pooled.weights), comm, signed=True)
        sizes, total = MeanSizes(law, grid.axes, signed=True), sum(float(each[-1]) for each in totals) / k
        heavy = reduced(comm, deposit(grid, pooled.points, pooled.modulus.weights)) / k
        self._draws = [
            NodeDraws(p * volume, sizes, self._variation(p * volume, each, heavy, total))
            for p, each in zip((reference, near), self._expected, strict=True)
        ]

    def _variation(self, measure: Array, smoothed: Array, heavy: Array, total: float) -> Array:
        r"""Return τ at the nodes: \|p\|, and what a total leaves in proportion to the excess of the particles' own.

        The excess is a share of the particles at a node, τ̂ − \|p\| over τ̂ of both smoothed.
        """
        least = np.abs(measure)
        missing = total - float(least.sum())
        estimate = np.maximum(self._smoother.density(heavy), 0.0)
        share = np.maximum(1 - np.divide(np.abs(smoothed), estimate, out=np.ones_like(heavy), where=estimate > 0), 0.0)
        narrow = GaussianSmoother(self._smoother.grid, 0.5 * self._smoother.bandwidth)  # wider, they make more noise
        excess = np.maximum(narrow.smooth(heavy * share), 0.0)
        return least + excess * (missing / excess.sum()) if missing > 0 and excess.sum() > 0 else least

    def distance(self, density: Array) -> float:
        """Return the distance of a density on the grid, in units of V."""
        return DensityPair(density, self.reference, self._smoother.grid.cell_volume).l1

    def here(self) -> Array:
        """Return the distance of the particles."""
        return np.array([self.distance(self.estimate)])

    def floor(self, replica: int) -> Array:
        """Return the distance of as many draws whose expectation is ω."""
        noise = self._of_mass(self._noise(0, self.clouds * self._n, 0, replica), 0.0)
        return np.array([self.distance(self._of_mass(self.blurred, self._mass) + noise)])

    def along(self, replica: int) -> Array:
        """Return the distances of as many draws for each λ: their noise, from near the particles' own λ, is added."""
        noise = self._of_mass(self._noise(1, self.clouds * self._n, 1, replica), 0.0)
        return np.array([[self.distance(self._of_mass(each, self._mass) + noise)] for each in self._exact])

    def single(self, replica: int) -> Array:
        """Return the distance of as many draws, from near the particles' own λ, as one cloud has particles."""
        return np.array([self.distance(self._expected[1] + self._noise(1, self._n, 2, replica))])

    def cloud(self, i: int) -> Array:
        """Return the distance of one cloud."""
        return np.array([self.distance(self._smoother.density(self._parts[i]))])

    def _noise(self, which: int, count: int, stream: int, replica: int) -> Array:
        """Return a smoothed set of draws minus its expectation."""
        drawn = self._draws[which](count, self.replicas.random(stream, replica))
        return self._smoother.smooth(drawn / self._smoother.grid.cell_volume) - self._expected[which]

    def _of_mass(self, density: Array, mass: float) -> Array:
        """Return a density whose mass is changed by a multiple of the noise's intensity."""
        return density + (mass - float(density.sum()) * self._smoother.grid.cell_volume) * self._spread


class _SmoothedSigned(Smoothed):
    """The L¹ distance of two signed kernel density estimates, whose weights are in units of V."""

    formulas = (L1,)

    def __init__(self, x: Sample, y: Sample, options: Options) -> None:
        self.everyone = Sample.joined([x, y])
        squares = [float(side.squares.sum()) for side in (x, y)]
        self._build(options, 1 / max(squares))
        self.estimates = [self.of(side.points, side.weights)[0] for side in (x, y)]
        self.spread = self.of(self.everyone.points, self.everyone.squares / sum(squares))[0]
        self.noise = sum(squares) * (self._peak - self.square((self.spread,)))

    def of(self, points: Array, weights: Array | None = None) -> tuple[Array, ...]:
        """Return the signed density estimate of points."""
        return (self._smoother.density(deposit(self.grid, points, weights), self._threads),)

    def mean(self, shift: Array) -> tuple[Array, ...]:
        """Return the mean of the two signed estimates, shifted."""
        return (0.5 * self.of(self.everyone.points + shift, self.everyone.weights)[0],)

    def of_mass(self, gap: Array, mass: float) -> Array:
        """Return a difference whose mass is changed by a multiple of the noise's intensity."""
        return gap + (mass - float(gap.sum()) * self.grid.cell_volume) * self.spread


class _DealtSigned(DealtByCoins):
    """The same of pairs dealt out by coins, with the particles' own difference of masses."""

    _statistic: _SmoothedSigned

    def __init__(self, statistic: _SmoothedSigned, x: Sample, y: Sample, replicas: Replicas) -> None:
        super().__init__(statistic, x, y, replicas)
        self._direction = (statistic.of_mass(self._direction[0], 0.0),)

    def _noise(self, stream: int, replica: int) -> tuple[Array, ...]:
        mass = float(self._own[0].sum()) * self._statistic.grid.cell_volume
        return (self._statistic.of_mass(super()._noise(stream, replica)[0], mass),)
