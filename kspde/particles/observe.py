"""One pass over the particles for what every step needs: their extent, their moments, and whether all is finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.compiled import compiled_parallel, prange
from kspde.models.base import Array
from kspde.particles.fields import Extent
from kspde.particles.weights import ParticleWeights, weight_of
from kspde.random import CHUNK, Ids

__all__ = ["Observation", "observe"]


@dataclass(frozen=True)
class Observation:
    """What holds over all ranks.

    Attributes:
        extent: of all species together.
        mean: by species, shape (d,): the mean of x, with weights of their own Σ_j w_j x_j / Σ_j |w_j|.
        second_moment: by species, the mean of |x|², or Σ_j w_j |x_j|² / Σ_j |w_j|.
        not_finite: (species, id) of the first particle whose position is not finite, or None.
    """

    extent: Extent
    mean: Mapping[str, Array]
    second_moment: Mapping[str, float]
    not_finite: tuple[str, int] | None


def observe(
    positions: Mapping[str, Array],
    ids: Mapping[str, Ids],
    counts: Mapping[str, int],
    comm: Any,
    weights: ParticleWeights | None = None,
) -> Observation:
    """Observe particles of all species; ``counts`` holds their numbers over all ranks. Collective."""
    variations: Mapping[str, float] = {} if weights is None else weights.variations
    species = tuple(positions)
    d = positions[species[0]].shape[1]
    least = np.full((len(species), 2 * d + 1), np.inf)
    sums = np.zeros((len(species), d + 1))
    for row, name in enumerate(species):
        x = positions[name]
        partial = np.empty(((len(x) + CHUNK - 1) // CHUNK, 3 * d + 1))
        _pass(x, None if weights is None else weights.own(name), partial)
        if len(partial):
            least[row, : 2 * d] = partial[:, : 2 * d].min(axis=0)
            sums[row] = partial[:, 2 * d :].sum(axis=0)
            if not np.all(np.isfinite(sums[row])):
                bad = np.flatnonzero(~np.all(np.isfinite(x), axis=1))
                if len(bad):
                    least[row, 2 * d] = ids[name][bad[0]]
    if comm.size > 1:
        from mpi4py import MPI

        comm.Allreduce(MPI.IN_PLACE, least, op=MPI.MIN)
        comm.Allreduce(MPI.IN_PLACE, sums, op=MPI.SUM)
    lost = [(name, int(least[row, 2 * d])) for row, name in enumerate(species) if np.isfinite(least[row, 2 * d])]
    corners = least.min(axis=0)
    return Observation(
        extent=Extent(corners[:d], -corners[d : 2 * d]),
        mean={name: sums[row, :d] / variations.get(name, counts[name]) for row, name in enumerate(species)},
        second_moment={
            name: float(sums[row, d]) / variations.get(name, counts[name]) for row, name in enumerate(species)
        },
        not_finite=lost[0] if lost else None,
    )


@compiled_parallel
def _pass(x: Array, weights: Array | None, out: Array) -> None:
    """Write, a row a chunk: least x, least −x, weighted sum of x, each (d,), and the weighted sum of |x|²."""
    n, d = x.shape
    for chunk in prange(len(out)):
        square = 0.0
        for axis in range(d):
            low, high, total = np.inf, -np.inf, 0.0
            for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
                v = x[i, axis]
                low = min(low, v)
                high = max(high, v)
                total += weight_of(weights, i) * v
                square += weight_of(weights, i) * (v * v)
            out[chunk, axis] = low
            out[chunk, d + axis] = -high
            out[chunk, 2 * d + axis] = total
        out[chunk, 3 * d] = square
