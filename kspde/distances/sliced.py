r"""Projections onto lines: sliced Wasserstein distances and the energy distance, against a density known on a grid.

For a direction ω the projected density of u is computed from its Fourier transform on the line k ω (the slice theorem),
that of :math:`u \otimes u` as the product of two; the particles' projections are counted exactly. With F and F_N the
two distribution functions, and Q, Q_N the quantile functions, on every line

.. math:: W_1 = \int |F_N - F|, \quad W_2^2 = \int_0^1 |Q_N - Q|^2, \quad C = 2\int (F_N - F)^2 .

The sliced W_p is :math:`(\operatorname{mean}_\omega W_p^p)^{1/p}` (Rabin, Peyré, Delon & Bernot, SSVM 2011; Bonneel et
al., J. Math. Imaging Vision 51, 2015): at most W_p, and on R the W_p itself. The energy distance (Székely & Rizzo)
:math:`2E|X - Y| - E|X - X'| - E|Y - Y'|` is exactly :math:`\gamma_D \operatorname{mean}_\omega C`, the mean over all
directions, since :math:`|x| = \gamma_D \operatorname{mean}_\omega |\omega\cdot x|` with
:math:`\gamma_D = \sqrt\pi\,\Gamma(\frac{D+1}2)/\Gamma(\frac D2)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import pi, sqrt

import numpy as np

from kspde.distances.registry import ENERGY, Curves, OnLines, Projection
from kspde.distances.weighted import effective_number
from kspde.grids import Grid
from kspde.typing import Array

__all__ = ["LINES", "Displacement", "Lines", "averaged", "directions", "distribution_of", "quantiles_of"]

#: Directions by dimension: the line, equal angles, and orthogonal frames turned at random (the same for everyone).
LINES = {1: 1, 2: 32, 3: 60, 4: 96, 6: 120}

#: Nodes of a line, at least and at most; between them the power of two that gives :data:`_FINER` a spacing of u's grid.
_POINTS, _FINER = (2048, 8192), 6

#: Quantile levels at most.
_LEVELS = 131_072


def directions(dimension: int) -> Array:
    """Return unit vectors spread over half the sphere in R^D, shape (:data:`LINES` [D], D)."""
    count = LINES[dimension]
    if dimension == 1:
        return np.ones((1, 1))
    if dimension == 2:
        angles = pi * (np.arange(count) + 0.5) / count
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    random = np.random.default_rng(20_11)
    frames = [np.linalg.qr(random.standard_normal((dimension, dimension)))[0] for _ in range(count // dimension)]
    return np.concatenate(frames)


@dataclass(frozen=True)
class Displacement:
    """The differences between points and a density on every line.

    Attributes:
        distribution: F_N − F at the nodes, shape (lines, nodes).
        quantiles: Q_N − Q at the levels, shape (lines, levels), or None.
    """

    distribution: Array
    quantiles: Array | None


class Lines:
    r"""The projections of :math:`u^{\otimes r}`.

    Args:
        grid: a grid in R^d that holds u's mass and resolves it.
        density: u at its points, of mass 1.
        r: 1 or 2.
        reach: a radius in R^{rd} around the grid's centre that holds all points to come.
    """

    def __init__(self, grid: Grid, density: Array, r: int, reach: float) -> None:
        d = grid.dimension
        self.directions = directions(r * d)
        self.centre = np.tile(0.5 * (grid.lower + grid.upper), r)
        half = 1.02 * max(reach, sqrt(r) * float(np.linalg.norm(grid.upper - grid.lower)) / 2)
        wanted = 2 * half * _FINER / float(grid.spacing.min())
        count = int(np.clip(2 ** np.ceil(np.log2(wanted)), *_POINTS))
        self.step = 2 * half / count
        self.nodes: Array = -half + self.step * np.arange(count, dtype=np.float64)
        frequencies = 2 * pi * np.fft.rfftfreq(count, self.step)
        # Higher frequencies resolve the grid's points themselves.
        kept = frequencies <= pi / float(grid.spacing.max())
        binning = np.where(kept, 1 / np.sinc(frequencies * self.step / (2 * pi)) ** 2, 0.0)
        weights = density.ravel() * grid.cell_volume
        points = [axis - centre for axis, centre in zip(grid.axes, self.centre, strict=False)]
        self.distribution = np.empty((len(self.directions), count))
        for line, direction in enumerate(self.directions):
            symbol = np.ones(len(frequencies), dtype=complex)
            for i in range(r):
                omega = direction[i * d : (i + 1) * d]
                s = reduce(np.add.outer, [w * x for w, x in zip(omega, points, strict=True)])
                symbol *= np.fft.rfft(self._binned(s.ravel() / self.step, weights)) * binning
            p = np.roll(np.fft.irfft(symbol, count), count // 2)
            self.distribution[line] = np.cumsum(p) - 0.5 * p
        self._known: tuple[int, Array] | None = None

    @property
    def noise(self) -> float:
        """N times the expected energy distance of N independent draws from u: E|Y − Y'|."""
        f = self.distribution
        mean = 2 * np.sum(f * (1 - f), axis=1).mean() * self.step
        return float(ENERGY.of_mean(mean, self.directions.shape[1]))

    def noise_of(self, points: Array, weights: Array | None) -> float:
        r"""Return the expected energy distance of as many independent draws from u, with such weights.

        With S distributed as the points by :math:`w_j^2`, it is :math:`(2E|S - Y| - E|Y - Y'|)/N_\text{eff}`: of equal
        weights, E|Y − Y'|/N.
        """
        if weights is None:
            return self.noise / len(points)
        centred, squares, f = points - self.centre, weights**2, self.distribution
        found = [distribution_of(centred @ e, self.nodes[0], self.step, f.shape[1], squares) for e in self.directions]
        g = np.array(found)
        mean = np.sum(2 * (g + f - 2 * f * g) - 2 * f * (1 - f), axis=1).mean() * self.step
        return float(ENERGY.of_mean(mean, self.directions.shape[1])) / effective_number(weights, len(points))

    def distances(self, points: Array, formulas: Sequence[OnLines], weights: Array | None = None) -> Array:
        """Return the distances of the (weighted) empirical measure of points of shape (n, D), shape (formulas,)."""
        return np.asarray(self.along(points, None, np.zeros(1), formulas, weights)[0])

    def distances_to(self, other: Lines, levels: int, formulas: Sequence[OnLines]) -> Array:
        """Return the distances of another density with the same lines and nodes, shape (formulas,)."""
        gaps = other.distribution - self.distribution
        offs = other.quantiles(levels) - self.quantiles(levels)
        lines = (
            Projection(Curves(gap, self.step), Curves(off, 1 / len(off))) for gap, off in zip(gaps, offs, strict=True)
        )
        return np.asarray(averaged(lines, formulas, self.directions.shape[1])[0])

    def displacement(
        self, points: Array, shift: Array, share: float, *, quantiles: bool = True, weights: Array | None = None
    ) -> Displacement:
        """Return the displacement of s μ_N + (1 − s) u, shifted by a vector: s times μ_N's, 1 − s times u's own.

        For distribution functions that is the mixture; for quantiles it is the displacement interpolation.
        """
        gaps: list[Array] = []
        offs: list[Array] = []
        for line, (gap, off) in enumerate(self._displacements(points + shift, quantiles, weights)):
            f, by = self.distribution[line], float(self.directions[line] @ shift)
            gaps.append(share * gap + (1 - share) * (np.interp(self.nodes - by, self.nodes, f) - f))
            if off is not None:
                offs.append(share * off + (1 - share) * by)
        return Displacement(np.array(gaps), np.array(offs) if quantiles else None)

    def along(
        self,
        points: Array,
        direction: Displacement | None,
        by: Array,
        formulas: Sequence[OnLines],
        weights: Array | None = None,
    ) -> Array:
        """Return the distances of points displaced by multiples of another displacement too, shape (len(by), formulas).

        Args:
            points: points of shape (n, D).
            direction: the displacement of as many points, or None.
            by: the multiples.
            formulas: the distances.
            weights: the weights of the points, shape (n,); None where all are equal.
        """
        more, further = (None, None) if direction is None else (direction.distribution, direction.quantiles)
        sorts = any(formula.of_quantiles for formula in formulas)
        lines = (
            Projection(
                Curves(gap, self.step, None if more is None else more[line], by),
                None if off is None else Curves(off, 1 / len(off), None if further is None else further[line], by),
            )
            for line, (gap, off) in enumerate(self._displacements(points, sorts, weights))
        )
        return averaged(lines, formulas, self.directions.shape[1])

    def _displacements(
        self, points: Array, quantiles: bool, weights: Array | None
    ) -> Iterator[tuple[Array, Array | None]]:
        """Yield F_N − F at the nodes, and Q_N − Q at the levels if wanted, line by line."""
        n = len(points)
        centred = points - self.centre
        levels = (np.arange(self._levels(n)) + 0.5) / self._levels(n)
        known = self.quantiles(n) if quantiles else None
        for line, (direction, f) in enumerate(zip(self.directions, self.distribution, strict=True)):
            x = centred @ direction
            gap = distribution_of(x, self.nodes[0], self.step, len(f), weights) - f
            yield gap, None if known is None else quantiles_of(x, levels, weights) - known[line]

    def quantiles(self, n: int) -> Array:
        """Return u's quantiles at the levels used for n points, shape (lines, levels); kept for the next call."""
        known = self._known
        if known is None or known[0] != self._levels(n):
            count = self._levels(n)
            levels = (np.arange(count) + 0.5) / count
            rising = np.maximum.accumulate(self.distribution, axis=1)
            known = (count, np.array([np.interp(levels, f, self.nodes) for f in rising]))
            self._known = known
        return known[1]

    @staticmethod
    def _levels(n: int) -> int:
        """Return the number of levels for n points: several per point for few points, at most :data:`_LEVELS`."""
        return n * -(-4096 // n) if n <= _LEVELS else _LEVELS

    def _binned(self, s: Array, weights: Array) -> Array:
        """Return the linear binning of weights at coordinates s on a periodic line."""
        low = np.floor(s)
        share = s - low
        count = len(self.nodes)
        at = low.astype(np.int64) & (count - 1)  # count is a power of two
        out = np.bincount(at, weights * (1 - share), count)
        out += np.bincount((at + 1) & (count - 1), weights * share, count)
        return out


def distribution_of(s: Array, first: float, step: float, count: int, weights: Array | None = None) -> Array:
    """Return the distribution function of numbers at nodes: a number counts from the first node at or after it."""
    at = np.ceil((s - first) / step).astype(np.int64)
    at = np.minimum(np.maximum(at, 0), count - 1)
    total = len(s) if weights is None else weights.sum()
    out: Array = np.cumsum(np.bincount(at, weights, minlength=count)) / total
    return out


def quantiles_of(s: Array, levels: Array, weights: Array | None = None) -> Array:
    """Return the quantiles of numbers at levels in (0, 1)."""
    if weights is None:
        return np.asarray(np.sort(s)[np.minimum((levels * len(s)).astype(np.int64), len(s) - 1)])
    order = np.argsort(s, kind="stable")
    cumulative = np.cumsum(weights[order])
    chosen = np.searchsorted(cumulative, levels * cumulative[-1], side="right")
    return np.asarray(s[order[np.minimum(chosen, len(s) - 1)]])


def averaged(lines: Iterable[Projection], formulas: Sequence[OnLines], dimension: int) -> Array:
    """Return distances from the projections onto all lines in R^D, each used once: shape (λ, formulas)."""
    parts = np.array([[formula.on_line(line) for formula in formulas] for line in lines])
    means = parts.mean(axis=0)
    return np.array([formula.of_mean(mean, dimension) for formula, mean in zip(formulas, means, strict=True)]).T
