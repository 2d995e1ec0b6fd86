r"""Clouds of independent particles, drawn from the density or from between it and the particles, and what they tell.

**Why not the bootstrap.** A distance's variance depends on how far apart the two laws are. Points resampled from the
particles themselves are too far from u by the particles' own noise: where the particles have the density u, the
bootstrap (and the jackknife, to first order) doubles the noise's share of the variance. So draws are taken from

.. math:: p_\lambda = (1 - \lambda) u + \lambda \mu_N, \qquad 0 \le \lambda \le 1,

and the family is inverted: with m(λ) and s(λ) the mean and standard deviation of the distance of N draws from
:math:`p_\lambda`, the interval for the expectation of the distance consists of the m(λ) with
:math:`|\theta - m(\lambda)| \le t\, s(\lambda)`, t Student's quantile (Neyman's construction along a one-parameter
family). With :math:`g(\lambda) = D(K_h * p_\lambda, u)`, the same distance without noise, g ∘ m⁻¹ takes a value, and
both ends of the interval, to an estimate of :math:`D(K_h * p, u)`, p the particles' own law.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np

from kspde.distances.grid import Array
from kspde.distances.statistics import Estimate
from kspde.parallel import together

__all__ = ["LAMBDAS", "invert", "node_counts", "replicated"]

#: Where the family is tried.
LAMBDAS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])

#: Uniform numbers drawn at once.
_CHUNK = 4_000_000


def node_counts(cumulative: Array, shape: tuple[int, ...], n: int, random: np.random.Generator) -> Array:
    """Return how many of n independent draws fall on each node of a grid.

    Nodes suffice: the grid resolves the bandwidth, so the sum over nodes is a spectrally accurate quadrature and each
    kernel stands exactly where its particle is. By inversion, so that a last digit moves one particle and no more.

    Args:
        cumulative: of the nodes' probabilities, flat, any scale.
        shape: the grid's.
        n: how many.
        random: whose uniform numbers are used.
    """
    counts = np.zeros(len(cumulative))
    for start in range(0, n, _CHUNK):
        uniforms = random.random(min(_CHUNK, n - start)) * cumulative[-1]
        uniforms.sort()
        edges = np.searchsorted(uniforms, cumulative[:-1], side="left")
        counts += np.diff(edges, prepend=0, append=len(uniforms))
    return counts.reshape(shape)


def replicated(task: Callable[[int], Array], count: int, comm: Any, threads: int) -> Array:
    """Return ``task(0)``, ..., ``task(count - 1)``, stacked; each is computed on one rank, in a thread. Collective."""
    mine: list[tuple[int, Array]] = []
    with together(comm):
        indices = range(comm.rank, count, comm.size)
        with ThreadPoolExecutor(max(1, threads)) as pool:
            mine = list(zip(indices, pool.map(task, indices), strict=True))
    gathered = chain.from_iterable(comm.allgather(mine))
    return np.array([value for _, value in sorted(gathered, key=lambda pair: pair[0])])


def invert(value: float, mean: Array, deviation: Array, bare: Array, reach: float) -> tuple[Estimate, Estimate]:
    """Return a distance with the interval of its expectation, and the same without noise.

    Args:
        value: θ.
        mean: m(λ) at :data:`LAMBDAS`.
        deviation: s(λ).
        bare: g(λ).
        reach: t.
    """
    # What decreases is round-off, or noise that happens to oppose the smoothing: monotone envelopes can be inverted.
    m, g = np.maximum.accumulate(mean), np.maximum.accumulate(bare)
    step = 1e-12 * max(float(m[-1]), 1e-300) * np.arange(len(m))
    ends = []
    for sign in (1, -1):
        bound = np.maximum.accumulate(mean + sign * reach * deviation) + step
        if value < bound[0]:
            ends.append(value - sign * reach * deviation[0])
        elif value > bound[-1]:
            ends.append(value - sign * reach * deviation[-1])
        else:
            ends.append(np.interp(np.interp(value, bound, LAMBDAS), LAMBDAS, m))
    low, high = max(0.0, min(float(ends[0]), value)), max(float(ends[1]), value)

    def without_noise(y: float) -> float:
        if y < m[0]:
            return max(0.0, float(g[0] - (m[0] - y)))
        if y > m[-1]:
            return float(g[-1] + y - m[-1])
        return float(np.interp(y, m + step, g))

    return (
        Estimate(value, (low, high)),
        Estimate(without_noise(value), (without_noise(low), without_noise(high))),
    )
