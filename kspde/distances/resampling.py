"""The particles without some of themselves, and clouds drawn from the density: what the uncertainties rest on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np

from kspde.distances.grid import Array, GaussianSmoother, deposit
from kspde.distances.statistics import Reference
from kspde.initial import GridDensity
from kspde.parallel import together

__all__ = ["independent_draws", "left_out_distances"]

#: Groups of the jackknife.
_GROUPS = 24


def left_out_distances(
    reference: Reference,
    smoother: GaussianSmoother,
    points: Array,
    ids: Any,
    total: Array,
    n: int,
    comm: Any,
    threads: int,
) -> tuple[Array, list[int]]:
    """Return both distances without group g, shape (G, 2), and the groups' sizes; group g has the ids g modulo G."""
    count = min(_GROUPS, n)
    groups = (ids % np.uint64(count)).astype(np.int64)
    points = points[np.argsort(groups, kind="stable")]
    local = np.bincount(groups, minlength=count)
    ends = np.cumsum(local)
    sizes = [int(size) for size in np.sum(comm.allgather(local), axis=0)]
    mine: list[tuple[int, tuple[float, float]]] = []
    # Each rank treats every size-th group, so that no rank holds the deposits of all.
    for first in range(0, count, comm.size):
        received = np.zeros(0)
        for g in range(first, min(first + comm.size, count)):
            part = deposit(smoother.grid, points[ends[g] - local[g] : ends[g]])
            whole = np.empty_like(part) if g - first == comm.rank else None
            comm.Reduce(part, whole, root=g - first)
            if whole is not None:
                received = whole
        g = first + comm.rank
        if g < count:
            without = smoother.density(total - received, threads) / (n - sizes[g])
            mine.append((g, reference.distances(without)))
    return np.array([value for _, value in sorted(chain.from_iterable(comm.allgather(mine)))]), sizes


def independent_draws(
    reference: Reference, smoother: GaussianSmoother, n: int, replicas: int, seed: int, comm: Any, threads: int
) -> Array:
    """Return both distances of clouds of n independent points drawn from the density itself, shape (replicas, 2)."""
    grid = smoother.grid
    mine: list[tuple[int, tuple[float, float]]] = []
    with together(comm):
        extent = np.stack([grid.lower, grid.upper], axis=1).ravel().tolist()
        density = GridDensity(reference.density, extent)

        def one(replica: int) -> tuple[int, tuple[float, float]]:
            random = _Stream(seed, replica)
            deposited = np.zeros(grid.shape)
            for start in range(0, n, _Stream.CHUNK):
                ids = np.arange(start, min(start + _Stream.CHUNK, n), dtype=np.uint64)
                deposited += deposit(grid, density.sample(random, ids))
            return replica, reference.distances(smoother.density(deposited) / n)

        with ThreadPoolExecutor(threads) as pool:
            mine = list(pool.map(one, range(comm.rank, replicas, comm.size)))
    return np.array([value for _, value in sorted(chain.from_iterable(comm.allgather(mine)))])


class _Stream:
    """The random numbers of one replica, drawn in sequence: a replica is drawn whole, on one rank.

    The first of a point's uniforms picks its cell; points have no names here, so they come sorted by it, and the search
    for cells and the deposit run through memory in order.
    """

    CHUNK = 65_536

    def __init__(self, seed: int, replica: int) -> None:
        self._generator = np.random.default_rng([seed, replica])

    def uniforms(self, ids: Any, step: int, count: int) -> Array:
        uniforms = self._generator.random((len(ids), count))
        uniforms[:, 0].sort()
        return uniforms

    def normals(self, ids: Any, step: int, count: int) -> Array:
        return self._generator.standard_normal((len(ids), count))
