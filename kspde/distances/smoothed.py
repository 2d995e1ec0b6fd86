r"""A density and particles on a grid: the distances of a kernel density estimate from the density.

Weights of particles, where they have their own, are shares: of mean 1. They multiply kernels, draws have weights too
(:mod:`kspde.distances.weighted`), and the effective number of particles chooses the bandwidth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kspde.distances.bandwidth import bounding_box, check_mass, common_grid
from kspde.distances.measured import Estimates, Family, Measured
from kspde.distances.registry import L1, DensityPair, OnGrid
from kspde.distances.resampling import LAMBDAS, Options, shift_away, weight_without_noise
from kspde.distances.sides import Sample
from kspde.distances.statistics import Estimate
from kspde.distances.target import CLIP, Target
from kspde.distances.weighted import MeanSizes, NodeDraws, WeightLaw, effective_number
from kspde.grids import GaussianSmoother, Grid, deposit, shifted
from kspde.runtime.reductions import reduced
from kspde.typing import Array

__all__ = ["Reference", "smoothed_distances"]


def smoothed_distances(
    target: Target,
    clouds: Sequence[Sample],
    n: int,
    formulas: Sequence[OnGrid],
    options: Options,
    law: WeightLaw | None = None,
) -> Measured:
    """Return the distances of K_h * μ from u, where μ is the mean of the clouds' empirical measures. Collective.

    Args:
        target: u.
        clouds: this rank's points of each cloud, shapes (n_local, D), with weights of mean 1 or none; ranks hold
            different points.
        n: the number of points of a cloud, over all ranks.
        formulas: the distances; L¹ is measured with them, since it bounds the others from below.
        options: the options.
        law: the law of the weights of particles, if they have weights.

    Raises:
        InputError: the grid cannot resolve the bandwidth, or does not hold the density's mass.
    """
    comm = options.replicas.comm
    pooled = Sample.joined(clouds)
    box = bounding_box(pooled.points, comm, target.dimension)
    effective = effective_number(pooled.weights, n * len(clouds), comm)
    grid, h = common_grid(target, box, effective, options.bandwidth, options.resolution)
    values = target.on_grid(grid.axes)
    check_mass(float(values.sum()) * grid.cell_volume, target.mass, grid)
    reference = Reference(values, grid.cell_volume, CLIP)
    measured = list(dict.fromkeys((L1, *formulas)))
    family = _Smoothed(grid, h, reference, clouds, n, effective, measured, options, law)
    found = family.measured()
    smoothing = reference.distances(family.blurred, measured)
    return replace(
        found,
        debiased=_consistent(found.debiased, measured),
        smoothing={formula.name: float(value) for formula, value in zip(measured, smoothing, strict=True)},
        bandwidth=h,
        clipped_mass=reference.clipped_mass(family.estimate),
        uncovered_mass=reference.uncovered_mass(family.estimate),
        axes=grid.axes,
        density_pde=reference.density,
        density_particles=reference.normalised(family.estimate),
    )


class Reference:
    r"""The density u that estimates are measured against, on a grid.

    All integrals are sums over the grid, of u and of an estimate k that are both normalised to 1 by that same sum; so
    Csiszár, Kullback and Pinsker's :math:`\|k - u\|_1^2 \le 2 \min(H(k|u), H(u|k))` is a theorem about the numbers
    themselves.

    A discrete u may be negative or lost in round-off where it is small, and k is 0 far from all particles. Both are
    raised to ``clip`` times the maximum of u before they are normalised; :meth:`clipped_mass` and
    :meth:`uncovered_mass` say how much of k and of u lies where that happened to the other.

    Args:
        density: u at the grid points, any scale.
        cell_volume: weight of a point in the sum.
        clip: the level, relative to the maximum of u.
    """

    def __init__(self, density: Array, cell_volume: float, clip: float) -> None:
        level = clip * float(density.max())
        self._clipped = density < level
        self._volume = cell_volume
        clipped = np.maximum(density, level)
        self.density: Array = clipped / (clipped.sum() * cell_volume)
        self._level = clip * float(self.density.max())
        self._log = np.log(self.density)

    def distances(self, estimate: Array, formulas: Sequence[OnGrid]) -> Array:
        """Return the distances of an estimate k of any scale, shape (formulas,)."""
        k = self.normalised(estimate)
        log_ratio = np.log(k) - self._log if any(formula.logarithmic for formula in formulas) else None
        pair = DensityPair(k, self.density, self._volume, log_ratio)
        return np.array([formula.between(pair.reversed if formula.reverse else pair) for formula in formulas])

    def normalised(self, estimate: Array) -> Array:
        """Return an estimate of mass 1, nowhere below the level (but for the last normalisation)."""
        # The transforms leave round-off of either sign where no particle is near.
        positive = np.maximum(estimate, 0.0)
        positive /= positive.sum() * self._volume
        np.maximum(positive, self._level, out=positive)
        positive /= positive.sum() * self._volume
        return positive

    def clipped_mass(self, estimate: Array) -> float:
        """Return the share of an estimate's mass that lies where u was clipped."""
        return float(self.normalised(estimate)[self._clipped].sum()) * self._volume

    def uncovered_mass(self, estimate: Array) -> float:
        """Return the share of u's mass that lies where an estimate was clipped."""
        bare = self.normalised(estimate) <= self._level * (1 + 1e-6)
        return float(self.density[bare].sum()) * self._volume


class _Smoothed(Family):
    r"""The distances of density estimates: of the particles, and of draws along the family.

    Attributes:
        estimate: K_h * μ.
        blurred: K_h * u.
    """

    def __init__(
        self,
        grid: Grid,
        h: float,
        reference: Reference,
        clouds: Sequence[Sample],
        n: int,
        effective: float,
        formulas: Sequence[OnGrid],
        options: Options,
        law: WeightLaw | None,
    ) -> None:
        self.formulas: Sequence[OnGrid] = formulas
        self.replicas, self.clouds = options.replicas, len(clouds)
        comm, total, volume = self.replicas.comm, n * len(clouds), grid.cell_volume
        self._reference, self._n, self._smoother = reference, n, GaussianSmoother(grid, h)
        self._parts = [reduced(comm, deposit(grid, cloud.points, cloud.weights)) for cloud in clouds]
        self.estimate = self._smoother.density(np.sum(self._parts, axis=0), self.replicas.threads) / total
        self.blurred = self._smoother.smooth(reference.density, self.replicas.threads)

        off = self.estimate - self.blurred
        square = float(np.vdot(self.blurred, self.blurred)) * volume
        noise = (float(4 * np.pi * h**2) ** (-0.5 * grid.dimension) - square) / effective
        weight = weight_without_noise(noise, float(np.vdot(off, off)) * volume)
        means = np.array([reduced(comm, cloud.total) / n for cloud in clouds])
        shift = shift_away(grid, reference.density, options.r, means, effective)
        moved = [reduced(comm, deposit(grid, cloud.points + shift, cloud.weights)) for cloud in clouds]
        end = np.sum(moved, axis=0) / (total * volume)
        end = weight**2 * end + (1 - weight**2) * shifted(grid, reference.density, shift)
        # Draws lie on nodes, so their means need no correction for the binning.
        smoothed = self._smoother.smooth(end, self.replicas.threads)
        near = (1 - weight) * self.blurred + weight * smoothed
        exact = [(1 - at) * self.blurred + at * smoothed for at in LAMBDAS]
        # Where no kernel reaches, the draws are 0 as well.
        self._scales = [np.divide(each, near, out=np.zeros_like(each), where=near > 0) for each in exact]
        self.bare = np.array([reference.distances(each, formulas) for each in exact])
        laws = [reference.density * volume, ((1 - weight) * reference.density + weight * end) * volume]
        sizes = MeanSizes(law, grid.axes, options.r)
        self._of_density, self._near = (NodeDraws(each, sizes) for each in laws)

    def here(self) -> Array:
        """Return the distances of the particles."""
        return self._reference.distances(self.estimate, self.formulas)

    def floor(self, replica: int) -> Array:
        """Return the distances of as many draws from u."""
        draws = self._drawn(self._of_density, self.clouds * self._n, 0, replica)
        return self._reference.distances(draws, self.formulas)

    def along(self, replica: int) -> Array:
        """Return the distances of as many draws for each λ: one set of them, from near the particles' own λ."""
        draws = self._drawn(self._near, self.clouds * self._n, 1, replica)
        return np.array([self._reference.distances(draws * scale, self.formulas) for scale in self._scales])

    def single(self, replica: int) -> Array:
        """Return the distances of as many such draws as one cloud has particles."""
        return self._reference.distances(self._drawn(self._near, self._n, 2, replica), self.formulas)

    def cloud(self, i: int) -> Array:
        """Return the distances of one cloud."""
        return self._reference.distances(self._smoother.density(self._parts[i]), self.formulas)

    def _drawn(self, draws: NodeDraws, count: int, stream: int, replica: int) -> Array:
        drawn = draws(count, self.replicas.random(stream, replica))
        return self._smoother.smooth(drawn / self._smoother.grid.cell_volume)


def _consistent(estimates: Estimates, formulas: Sequence[OnGrid]) -> Estimates:
    """Raise estimates to what the estimated L¹ distance implies: the true values are at least that large."""
    out = {}
    for formula in formulas:
        if formula.debiases:
            e, least = estimates[formula.name], formula.least(estimates["l1"].value)
            out[formula.name] = Estimate(max(e.value, least), (e.interval[0], max(e.interval[1], least)))
    return Estimates(by_name=out)
