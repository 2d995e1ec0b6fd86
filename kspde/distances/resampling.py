r"""Clouds of independent particles, drawn from the density or from between it and the particles, and their intervals.

**Why not the bootstrap.** A distance's variance depends on how far apart the two laws are. Points resampled from the
particles themselves are too far from u by the particles' own noise: where the particles have the density u, the
bootstrap (and the jackknife, to first order) doubles the noise's share of the variance. So draws are taken from

.. math:: p_\lambda = (1 - \lambda) u + \lambda \tilde\mu_N, \qquad 0 \le \lambda \le 1,

and the family is inverted (Neyman's construction along a one-parameter family): with m(λ) the mean of the distance of N
draws from :math:`p_\lambda`, the interval for the expectation of the distance consists of the m(λ) for which the
measured distance θ lies within t standard deviations of the mean of the draws, t Student's quantile. With
:math:`g(\lambda) = D(K_h * p_\lambda, u)`, the same distance without noise, g ∘ m⁻¹ takes θ to an estimate of
:math:`D(K_h * p, u)`, where p is the particles' own law, and the ends of an interval to those of an interval for it.

Five things decide whether such an interval covers; each was found by calibration (``tests/benchmarks/calibration.py``):

- **The variance of what is tested**, not of the estimate: it differs by a factor of two and more over an interval.
- **The scale.** The norm of a Gaussian vector is nearly normal and its variance nearly constant, its square is neither.
  Squared distances (relative entropies, the energy distance) are compared by their roots: their deviations, and m(λ)
  between the λ that were tried.
- **The direction of the family.** With :math:`\mu_N - u = \delta + \xi`, δ the difference of the laws and ξ noise of
  covariance Σ, a squared Hilbert distance has the variance :math:`4\langle\delta, \Sigma\delta\rangle +
  2\operatorname{tr}\Sigma^2`. Noise spreads over many components, most of them of small variance, so distances vary
  less in a family along :math:`\delta + \xi` than in one along δ. The best multiple of :math:`\delta + \xi` to estimate
  δ by is :math:`s = 1 - \operatorname{tr}\Sigma/\|\delta + \xi\|^2`, or 0 (James & Stein, 4th Berkeley Symp. 1, 1961):
  the family leads to :math:`s\mu_N + (1 - s)u`.
- **The end of the family.** Noise that opposes a difference can hide it, most easily where it is largest: in the mean,
  along the principal axis e of u, whose standard deviation is :math:`\sigma_e/\sqrt N`. A law somewhat farther out is
  as plausible as the particles themselves, and there the distance varies more; a family that ends at the particles has
  too small a variance for the upper end. So :math:`\tilde\mu_N` is this measure, shifted as a whole along e by
  :data:`SHIFT` such standard deviations, away from u's mean (:func:`shift_away`).
- **The error of m.** The mean :math:`\hat m(\lambda)` of R draws has the variance σ²/R, where σ(λ) is the distance's
  deviation, which s estimates. An end of the interval for the expectation is :math:`\hat m(\lambda) = \theta \mp t s`,
  at the λ where this holds, and :math:`(\theta - m)/s` has Student's distribution: the error of :math:`\hat m` does not
  enter. Without noise the end is g(λ), which that error enters through λ. There :math:`\theta - \hat m` has the
  variance σ²(1 + 1/R), and a λ is kept if θ lies in the prediction interval of its draws, :math:`\hat m \pm t s \sqrt{1
  + 1/R}`. For several clouds, whose θ has ρ times the deviation of draws, that interval is :math:`\hat m \pm t s
  \sqrt{\rho^2 + 1/R}` (:func:`without_noise`). The energy distance, whose noise is known in closed form, needs no m.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np

from kspde.distances.statistics import Estimate
from kspde.grids import Grid
from kspde.runtime.parallel import together
from kspde.typing import Array, Comm

__all__ = [
    "LAMBDAS",
    "SHIFT",
    "Options",
    "Replicas",
    "deviation_of_clouds",
    "invert",
    "node_counts",
    "shift_away",
    "weight_without_noise",
    "without_noise",
]

#: The λ at which the family is sampled.
LAMBDAS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])

#: The shift of the particles, in standard deviations of their mean: somewhat more than the t (2.09 for 20 draws) that
#: an interval of 95 % reaches, so that its upper end lies within the family.
SHIFT = 2.5

#: Uniform numbers drawn at once.
_CHUNK = 4_000_000


def node_counts(cumulative: Array, shape: tuple[int, ...], n: int, random: np.random.Generator) -> Array:
    """Return how many of n independent draws fall on each node, from the cumulative sum of their probabilities.

    Nodes suffice: the grid resolves the bandwidth, so the sum over nodes is a spectrally accurate quadrature and each
    kernel stands exactly where its particle is. The draws are by inversion, so that round-off moves one particle at
    most.
    """
    counts = np.zeros(len(cumulative))
    for start in range(0, n, _CHUNK):
        uniforms = random.random(min(_CHUNK, n - start)) * cumulative[-1]
        uniforms.sort()
        edges = np.searchsorted(uniforms, cumulative[:-1], side="left")
        counts += np.diff(edges, prepend=0, append=len(uniforms))
    return counts.reshape(shape)


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """How often something random is repeated, and where.

    Attributes:
        count: how often.
        seed: of the draws.
        comm: the communicator.
        threads: of this rank.
    """

    count: int
    seed: int
    comm: Comm
    threads: int

    def random(self, stream: int, replica: int) -> np.random.Generator:
        """Return the random numbers of a replica; each use has a stream of its own."""
        return np.random.default_rng([self.seed, stream, replica])

    def each(self, task: Callable[[int], Array], count: int | None = None) -> Array:
        """Return ``task(0)``, ``task(1)``, ..., stacked; each is computed on one rank, in a thread. Collective."""
        mine: list[tuple[int, Array]] = []
        with together(self.comm):
            indices = range(self.comm.rank, self.count if count is None else count, self.comm.size)
            with ThreadPoolExecutor(max(1, self.threads)) as pool:
                mine = list(zip(indices, pool.map(task, indices), strict=True))
        gathered = chain.from_iterable(self.comm.allgather(mine))
        return np.array([value for _, value in sorted(gathered, key=lambda pair: pair[0])])


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of ``compare`` that say how distances are measured; it describes them."""

    r: int
    bandwidth: float | None
    resolution: int | None
    neighbours: int
    wasserstein: str
    replicas: Replicas


def shift_away(grid: Grid, density: Array, r: int, means: Array, total: float) -> Array:
    """Return the vector that the particles are shifted by, shape (r d,).

    The standard deviation is that of the mean of independent draws, or that of the clouds' own means where it is
    larger.

    Args:
        grid: a grid in R^d or R^{rd}.
        density: u or its tensor power at the grid's points, of mass 1.
        r: 1 or 2.
        means: the mean of each cloud, shape (clouds, r d).
        total: the effective number of points of all clouds.
    """
    d = means.shape[1] // r
    weights = density * grid.cell_volume
    sides = tuple(range(d, grid.dimension))
    weights = (weights.sum(axis=sides) if sides else weights).ravel()
    x = np.stack(np.meshgrid(*grid.axes[:d], indexing="ij"), axis=-1).reshape(-1, d)
    mean = weights @ x
    variances, axes = np.linalg.eigh((x - mean).T @ ((x - mean) * weights[:, None]))
    axis = np.tile(axes[:, -1], r) / np.sqrt(r)
    along = means @ axis
    deviation = float(np.sqrt(variances[-1] / total))
    if len(means) > 1:
        deviation = max(deviation, float(along.std(ddof=1)) / np.sqrt(len(means)))
    side = 1.0 if along.mean() >= float(np.tile(mean, r) @ axis) else -1.0
    out: Array = side * SHIFT * deviation * axis
    return out


def weight_without_noise(noise: float, gap: float) -> float:
    """Return the λ at which (1 − λ)u + λμ_N is as far from u as the particles are without their noise.

    Its square is James and Stein's factor s. ``noise`` is the expectation of a squared Hilbert distance for draws from
    u, ``gap`` this distance of the particles.
    """
    return float(np.sqrt(max(0.0, 1.0 - noise / gap))) if gap > 0 else 0.0


def deviation_of_clouds(clouds: Array, draws: Array, squared: Sequence[bool]) -> Array:
    """Return the ratio of the distances' deviations over clouds to that over draws, on the scale they are compared on.

    ``clouds`` has the shape (C, distances), ``draws`` of as many points each (R, distances).
    """
    ratios = []
    for each, drawn, root in zip(clouds.T, draws.T, squared, strict=True):
        a, b = (np.sqrt(each), np.sqrt(drawn)) if root else (each, drawn)
        ratios.append(a.std(ddof=1) / b.std(ddof=1))
    return np.array(ratios)


def invert(value: float, draws: Array, reach: float, *, squared: bool = False) -> Estimate:
    """Return a distance θ with the 95 % interval of its expectation, from draws along the family, shape (R, λ).

    ``reach`` is t, times the ratio of deviations if there are several clouds. Squared distances are compared by roots.
    """
    theta, scaled = (float(np.sqrt(value)), np.sqrt(draws)) if squared else (value, draws)
    centre, spread = scaled.mean(axis=0), reach * scaled.std(axis=0, ddof=1)
    mean = np.maximum.accumulate(draws.mean(axis=0))
    if squared:
        mean = np.sqrt(mean)  # nearly linear in the edges below, as its square is not
    # From below the first λ that reaches θ counts, from above the last: deviations from monotonicity are noise.
    edges = (
        (1.0, np.maximum.accumulate(centre + spread)),
        (-1.0, np.minimum.accumulate((centre - spread)[::-1])[::-1]),
    )
    ends = []
    for sign, edge in edges:
        if edge[0] <= theta <= edge[-1]:
            end = float(np.interp(theta, _rising(edge), mean))
        else:
            # Closer to u than its own draws, or farther than the last of the family: use the deviation found there.
            end = max(0.0, theta - sign * float(spread[0 if theta < edge[0] else -1]))
        ends.append(end**2 if squared else end)
    return Estimate(value, (min(ends[0], value), max(ends[1], value)))


def without_noise(
    value: float, draws: Array, bare: Array, quantile: float, *, ratio: float = 1.0, squared: bool = False
) -> Estimate:
    """Return the same distance without noise, with its 95 % interval.

    The arguments are those of :func:`invert`, g(λ), the quantile t, and the ratio ρ of deviations of several clouds.
    """
    wider = invert(value, draws, quantile * float(np.sqrt(ratio**2 + 1 / len(draws))), squared=squared)
    # A decrease is round-off, or noise that happens to oppose the smoothing.
    m, g = np.maximum.accumulate(draws.mean(axis=0)), np.maximum.accumulate(bare)

    def at(y: float) -> float:
        if y < m[0]:
            return max(0.0, float(g[0] - (m[0] - y)))
        if y > m[-1]:
            return float(g[-1] + y - m[-1])
        return float(np.interp(y, _rising(m), g))

    low, high = wider.interval
    return Estimate(at(value), (at(low), at(high)))


def _rising(values: Array) -> Array:
    """Return nondecreasing values as increasing ones, changed by round-off."""
    return values + 1e-12 * max(float(np.abs(values).max()), 1e-300) * np.arange(len(values))
