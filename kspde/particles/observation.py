"""One pass over the particles for what every step needs: their extent, their moments, and whether all is finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kspde.particles.fields.base import Extent
from kspde.particles.weights import ParticleWeights, weight_of
from kspde.runtime.compiled import compiled, in_blocks, widest_vectors
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm, Ids

__all__ = ["Observation", "Tallies", "observe", "tally"]

#: The results of ``tally`` for each block of particles, by species.
Tallies = Mapping[str, Sequence[Array]]

#: Numbers that are tallied side by side: a multiple of 1, 2 and 3 coordinates, and of the processor's vectors.
_LANES = 192


@dataclass(frozen=True)
class Observation:
    """What every step needs to know of the particles of all ranks.

    Attributes:
        extent: extent of all species together.
        mean: Σ_j w_j x_j / Σ_j |w_j| by species, shape (d,): the mean of x where no weight is negative.
        second_moment: ∫|x|²dμ = Σ_j w_j |x_j|² by species.
        not_finite: (species, id) of the first particle whose position is not finite, or None.
        masses: Σ_j w_j by species, where weights change in time.
        variations: Σ_j |w_j| likewise.
        effective: likewise the share (Σ_j |w_j|)²/(N Σ_j w_j²) of the particles that as many equal weights stand for.
        unweighted: (1/N) Σ_j |x_j|² by species, where weights do not change in time.
    """

    extent: Extent
    mean: Mapping[str, Array]
    second_moment: Mapping[str, float]
    not_finite: tuple[str, int] | None
    masses: Mapping[str, float] = field(default_factory=dict)
    variations: Mapping[str, float] = field(default_factory=dict)
    effective: Mapping[str, float] = field(default_factory=dict)
    unweighted: Mapping[str, float] = field(default_factory=dict)


def observe(
    positions: Mapping[str, Array],
    ids: Mapping[str, Ids],
    counts: Mapping[str, int],
    comm: Comm,
    weights: ParticleWeights | None = None,
    tallies: Tallies | None = None,
) -> Observation:
    """Observe particles, as ``System`` has them; their tallies may be known already. Collective."""
    variations: Mapping[str, float] = {} if weights is None else weights.variations
    species = tuple(positions)
    units: dict[str, float] = {}
    d = positions[species[0]].shape[1]
    least = np.full((len(species), 2 * d + 1), np.inf)
    growing = weights is not None and weights.growing
    sums = np.zeros((len(species), d + 1 + (3 if growing else 1)))
    for row, name in enumerate(species):
        x, own = positions[name], None if weights is None else weights.own(name)
        # What a particle weighs that counts 1 in a tally.
        units[name] = 1.0 if own is not None else 1.0 / counts[name] if weights is None else float(weights.each[name])
        partial = np.array(_tallies(x, own) if tallies is None else tallies[name])
        if len(partial):
            least[row, : 2 * d] = partial[:, : 2 * d].min(axis=0)
            sums[row, : d + 1] = partial[:, 2 * d :].sum(axis=0)
            if not np.all(np.isfinite(sums[row])):
                bad = np.flatnonzero(~np.all(np.isfinite(x), axis=1))
                if len(bad):
                    least[row, 2 * d] = ids[name][bad[0]]
        if growing and own is not None:
            sums[row, d + 1 :] = own.sum(), np.abs(own).sum(), own @ own
        elif own is not None:
            sums[row, d + 1] = np.vdot(x, x)
    reduced(comm, least, "MIN")
    reduced(comm, sums)
    lost = [(name, int(least[row, 2 * d])) for row, name in enumerate(species) if np.isfinite(least[row, 2 * d])]
    corners = least.min(axis=0)
    now: dict[str, dict[str, float]] = {}
    if not growing:
        own_weights = [name in variations for name in species]
        squares = np.where(own_weights, sums[:, d + 1], sums[:, d])
        now["unweighted"] = {name: float(squares[row]) / counts[name] for row, name in enumerate(species)}
    if growing:
        mass, variation, square = sums[:, d + 1 :].T
        with np.errstate(all="ignore"):
            share = variation**2 / (square * [counts[name] for name in species])
        columns = {"masses": mass, "variations": variation, "effective": share}
        now |= {key: dict(zip(species, column.tolist(), strict=True)) for key, column in columns.items()}
        variations = now["variations"]
    return Observation(
        extent=Extent(corners[:d], -corners[d : 2 * d]),
        mean={name: sums[row, :d] / (variations.get(name, counts[name]) or 1.0) for row, name in enumerate(species)},
        second_moment={name: float(sums[row, d]) * unit for row, (name, unit) in enumerate(units.items())},
        not_finite=lost[0] if lost else None,
        **now,
    )


def _tallies(x: Array, own: Array | None) -> list[Array]:
    return in_blocks(lambda rows: tally(x[rows], None if own is None else own[rows]), len(x))


@compiled
def tally(x: Array, weights: Array | None) -> Array:
    """Return least x, least −x, Σ w x, each (d,), and Σ w |x|² of positions (n, d), w = 1 for None; on one thread."""
    widest_vectors()
    n, d = x.shape
    numbers = x.ravel()
    low, high, total, square = np.empty(_LANES), np.empty(_LANES), np.zeros(_LANES), np.zeros(_LANES)
    for j in range(_LANES):
        low[j] = high[j] = np.inf
    for start in range(0, n * d, _LANES):
        # Side by side, or the compiler would use no vectors.
        for j in range(min(_LANES, n * d - start)):
            v = numbers[start + j]
            low[j] = v if v < low[j] else low[j]
            high[j] = -v if -v < high[j] else high[j]
            w = weight_of(weights, (start + j) // d)
            total[j] += w * v
            square[j] += w * (v * v)
    out = np.zeros(3 * d + 1)
    for j in range(2 * d):
        out[j] = np.inf
    for j in range(_LANES):
        axis = j % d
        out[axis] = min(out[axis], low[j])
        out[d + axis] = min(out[d + axis], high[j])
        out[2 * d + axis] += total[j]
        out[3 * d] += square[j]
    return out
