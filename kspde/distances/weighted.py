r"""Particles with weights of their own: the law of pairs (position, weight), and draws of them.

The empirical measure is :math:`\mu_N = \sum_j w_j \delta_{X_j}`. Its pairs :math:`(X_j, w_j)` are taken as N
independent draws of one law, so that its expectation is :math:`N\,E[w; X \in dx]` and its noise has the intensity
:math:`N\,E[w^2; X \in dx]`: of weights that do not depend on the place, that of

.. math:: N_\text{eff} = \Big(\sum_j w_j\Big)^2 \Big/ \sum_j w_j^2

particles of equal weights. Where a *reference* ω is the law's expectation (a floor), the law is that of the cloud's own
weights, given what ω leaves open:

- **Sizes.** :math:`w = \pm\,m_\pm(x)\,\eta`, m_±(x) the mean of \|w\| at x of the weights of that sign, estimated by
  kernels of Scott's bandwidth, and η drawn from the cloud's own :math:`\eta_j = |w_j| / m_\pm(X_j)`, whatever the place
  (a bootstrap of the weights). Weights that do not depend on the place have a constant m, weights that are functions of
  the place (importance sampling, growth) have η = 1. The weights at hand are used and not those at the start: growth
  changes weights, and which of them are where.
- **Positions.** Those of weights > 0 have the density :math:`(\tau + \omega)/(2 m_+)`, those of weights < 0
  :math:`(\tau - \omega)/(2 m_-)`, up to one factor: the expectation of the draws is ω. τ is the expectation of
  :math:`\sum_j |w_j| \delta_{X_j}`: \|ω\|, and where :math:`\sum_j |w_j| > \int|\omega|`, because particles of both
  signs are in one place, what is left of it in proportion to the excess of the particles' own estimate over \|ω\|.
  Without negative weights τ = ω.
- **Mass.** Draws of both signs are given the cloud's own :math:`\sum_j w_j`, by a multiple of the intensity of their
  noise, which is their expectation given that sum: what a fluctuation of the sum does to the distance is then not
  counted twice, and where weights are given numbers it does not fluctuate. Positive measures are divided by their mass.

Equal weights need none of this: m is constant, η = 1 and the draws are those of the density.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from kspde.distances.resampling import node_counts
from kspde.grids import GaussianSmoother, Grid, deposit
from kspde.runtime.reductions import everyones, reduced
from kspde.typing import Array, Comm

__all__ = ["MeanSizes", "NodeDraws", "SizeLaw", "WeightLaw", "effective_number"]

#: The largest grid that mean sizes are estimated on, in points per direction, by dimension.
_MOST = {1: 8192, 2: 512, 3: 96}

#: Where there is less than this share of one particle's kernel, the mean size is that of all particles.
_NOWHERE = 1e-3


def effective_number(weights: Array | None, count: int, comm: Comm | None = None) -> float:
    """Return (Σ|w|)²/Σw² of weights, this rank's if there is a communicator, or the count if all are equal."""
    if weights is None:
        return float(count)
    total, square = float(np.abs(weights).sum()), float(weights @ weights)
    if comm is not None:
        total, square = reduced(comm, np.array([total, square]))
    return float(total**2 / square)


@dataclass(frozen=True, kw_only=True)
class SizeLaw:
    """The law of the sizes |w| of weights of one sign, given the place.

    Attributes:
        grid: the grid of the mean size, in R^d.
        mean: the mean size at its points.
        relative: the sizes of all particles over the mean size where they are, of mean 1, the same on every rank.
    """

    grid: Grid
    mean: Array
    relative: Array

    @classmethod
    def of(cls, points: Array, sizes: Array, comm: Comm) -> SizeLaw:
        """Return the law of particles of one sign, from this rank's points (n_local, d) and sizes. Collective."""
        d = points.shape[1]
        count, total = reduced(comm, np.array([len(points), sizes.sum()]))
        mean = reduced(comm, points.sum(axis=0)) / max(count, 1)
        variance = reduced(comm, np.square(points - mean).sum(axis=0)) / max(count, 1)
        deviation = float(np.sqrt(variance.max())) or 1.0
        h = deviation * (4 / (max(count, 1) * (d + 2))) ** (1 / (d + 4))
        lower = reduced(comm, points.min(axis=0, initial=np.inf), "MIN")
        upper = reduced(comm, points.max(axis=0, initial=-np.inf), "MAX")
        if count == 0:
            lower, upper = np.zeros(d), np.zeros(d)
        lower, upper = lower - 4 * h, upper + 4 * h
        spacing = np.maximum(0.5 * h, (upper - lower) / (_MOST[d] - 1))
        grid = Grid.covering(lower, upper, (np.ceil((upper - lower) / spacing).astype(int) + 1).tolist())
        smoother = GaussianSmoother(grid, max(h, 2 * float(grid.spacing.max())))
        here, there = (reduced(comm, deposit(grid, points, each)) for each in (sizes, None))
        prior = _NOWHERE * (2 * np.pi * smoother.bandwidth**2) ** (-0.5 * d)
        overall = float(total / count) if total > 0 else 1.0
        heavy, many = (np.maximum(smoother.density(each), 0.0) for each in (here, there))
        law = cls(grid=grid, mean=(heavy + prior * overall) / (many + prior), relative=np.ones(1))
        relative = np.sort(everyones(sizes / law.at(points), comm))
        return cls(grid=grid, mean=law.mean, relative=relative / relative.mean() if total > 0 else law.relative)

    def at(self, points: Array) -> Array:
        """Return the mean size at points of shape (n, d); outside the grid that of its nearest point."""
        from scipy.ndimage import map_coordinates

        at = (points - self.grid.lower) / self.grid.spacing
        out: Array = map_coordinates(self.mean, at.T, order=1, mode="nearest", prefilter=False)
        return out

    def on(self, axes: Sequence[Array]) -> Array:
        """Return the mean size on a tensor grid in R^d."""
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return self.at(points.reshape(-1, len(axes))).reshape(points.shape[:-1])

    def drawn(self, n: int, random: np.random.Generator) -> Array:
        """Return n relative sizes."""
        return self.relative[random.integers(len(self.relative), size=n)]


@dataclass(frozen=True, kw_only=True)
class WeightLaw:
    """The law of weights given the place.

    Attributes:
        positive: of those > 0.
        negative: of those < 0; None where there are none.
    """

    positive: SizeLaw
    negative: SizeLaw | None = None

    @classmethod
    def of(cls, points: Array, weights: Array, comm: Comm, *, signed: bool = False) -> WeightLaw:
        """Return the law of particles from this rank's points (n_local, d) and weights; 0 has either sign. Collective.

        The sizes of a sign that is missing are those of the other.
        """
        if not signed:
            return cls(positive=SizeLaw.of(points, weights, comm))
        up = weights >= 0
        totals = reduced(comm, np.array([np.abs(weights[part]).sum() for part in (up, ~up)]))
        laws = [SizeLaw.of(points[part], np.abs(weights[part]), comm) for part in (up, ~up)]
        return cls(positive=laws[0 if totals[0] > 0 else 1], negative=laws[1 if totals[1] > 0 else 0])

    def laws(self, signed: bool) -> list[tuple[float, SizeLaw]]:
        """Return the signs, and the law of the sizes of each."""
        if not signed or self.negative is None:
            return [(1.0, self.positive)]
        return [(1.0, self.positive), (-1.0, self.negative)]


class MeanSizes:
    """The mean sizes of weights on a tensor grid in R^{rd}, for draws there.

    Args:
        law: the law of weights; None where all are equal.
        axes: the coordinates.
        r: the number of particles of a tuple, whose weight is the product of theirs.
        signed: whether there are weights of both signs.
    """

    def __init__(self, law: WeightLaw | None, axes: Sequence[Array], r: int = 1, *, signed: bool = False) -> None:
        d = len(axes) // r
        parts = [axes[i : i + d] for i in range(0, len(axes), d)]
        self.laws = [] if law is None else law.laws(signed)
        self.means = [reduce(np.multiply.outer, [each.on(part) for part in parts]) for _, each in self.laws]
        self.r = r


class NodeDraws:
    r"""Draws of (node, weight) whose expectation is a measure on a grid, summed at the nodes.

    Args:
        measure: the masses at the nodes.
        sizes: the mean sizes of weights there.
        variation: τ at the nodes; None of a positive measure.
    """

    def __init__(self, measure: Array, sizes: MeanSizes, variation: Array | None = None) -> None:
        self._shape, self._sizes, counts = measure.shape, sizes, [measure]
        if sizes.laws:
            shares = [measure if variation is None else 0.5 * (variation + s * measure) for s, _ in sizes.laws]
            counts = [share / mean for share, mean in zip(shares, sizes.means, strict=True)]
        self._cumulative = np.cumsum(np.stack(counts))

    def __call__(self, n: int, random: np.random.Generator) -> Array:
        """Return the sums of n draws at the nodes."""
        sizes, unit = self._sizes, float(self._cumulative[-1] / n)
        if not sizes.laws:
            return node_counts(self._cumulative, self._shape, n, random) * unit
        at = np.searchsorted(self._cumulative, random.random(n) * self._cumulative[-1], side="right")
        signs, at = np.divmod(np.minimum(at, len(self._cumulative) - 1), math.prod(self._shape))
        weights = np.empty(n)
        for i, (sign, law) in enumerate(sizes.laws):
            here = signs == i
            weights[here] = sign * unit * sizes.means[i].ravel()[at[here]]
            for _ in range(sizes.r):
                weights[here] *= law.drawn(int(here.sum()), random)
        return np.asarray(np.bincount(at, weights, minlength=math.prod(self._shape)).reshape(self._shape))
