r"""Weights of single particles: their shares in the fields, of either sign.

A species' empirical measure is :math:`\mu^N = \sum_j w_j \delta_{X_j}`. Without weights of its own every particle has
:math:`w_j = \text{mass}/N`. Where the model has growth, weights change in time, :math:`dw_j = r(X_j) w_j\,dt`: schemes
overwrite the arrays, which evaluators share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import overload

from kspde.errors import InputError, check_finite
from kspde.runtime.compiled import inlined_only
from kspde.runtime.parallel import together
from kspde.runtime.reductions import everyones, reduced
from kspde.typing import Array, Comm

__all__ = [
    "GivenWeights",
    "ParticleWeights",
    "in_loops",
    "own_and_factor",
    "particle_weights",
    "weight_at",
    "weight_of",
]

#: What a user gives for a species: all weights in the order of ids, or a function of starting points.
GivenWeights = npt.ArrayLike | Callable[[Array], npt.ArrayLike]


@dataclass(frozen=True, kw_only=True)
class ParticleWeights:
    """Weights of all species.

    Attributes:
        masses: Σ_j w_j by species, over all ranks.
        each: w_j by species: a number where all are equal, else this rank's, shape (n_local,).
        variations: Σ_j |w_j| over all ranks, of the species with their own weights.
        signed: the species with a weight < 0.
        growing: whether weights change in time: then ``each`` has arrays only, and the sums are those at t = 0.
    """

    masses: Mapping[str, float]
    each: Mapping[str, float | Array]
    variations: Mapping[str, float] = field(default_factory=dict)
    signed: tuple[str, ...] = ()
    growing: bool = False

    def own(self, species: str) -> Array | None:
        """Return this rank's weights of a species, or None where all are equal."""
        each = self.each[species]
        return each if isinstance(each, np.ndarray) else None

    def copy(self) -> ParticleWeights:
        """Return weights that change independently of these."""
        return replace(self, each={name: w.copy() if isinstance(w, np.ndarray) else w for name, w in self.each.items()})


def particle_weights(
    weights: GivenWeights | Mapping[str, GivenWeights] | None,
    positions: Mapping[str, Array],
    *,
    counts: Mapping[str, int],
    masses: Mapping[str, float],
    comm: Comm,
    growing: bool = False,
) -> ParticleWeights:
    """Return the weights of particles that start at ``positions``, by species (n_local, d). Collective.

    Args:
        weights: weights of the only species, or by name: an array of shape (n,), or a function that returns one of
            shape (m,) for points (m, d). Particles of species that are left out have mass/n.
        positions: this rank's starting points.
        counts: number of particles by species, over all ranks.
        masses: masses of the initial densities.
        comm: the communicator.
        growing: whether weights change in time.

    Raises:
        InputError: an unknown species, a wrong shape, a weight that is not finite, or none that is not 0; on every
            rank.
    """
    species = tuple(positions)
    given: Any = weights
    if not isinstance(given, Mapping):
        if weights is not None and len(species) > 1:
            raise InputError(f"weights are not by species: give a dictionary with some of {', '.join(species)}")
        given = {} if weights is None else {species[0]: weights}
    for name in given:
        if name not in species:
            raise InputError(f"weights has species {name!r}: give some of {', '.join(species)}")
    each: dict[str, float | Array] = {name: masses[name] / counts[name] for name in species}
    sums = np.zeros((3, len(species)))
    with together(comm):
        for i, name in enumerate(species):
            if name in given:
                each[name] = own = _local(f"weights of {name!r}", given[name], positions[name], counts[name], comm)
                sums[:, i] = own.sum(), np.abs(own).sum(), (own < 0).sum()
    totals, variations, negative = (dict(zip(species, row.tolist(), strict=True)) for row in reduced(comm, sums))
    for name in given:
        if not 0 < variations[name] < np.inf:
            raise InputError(
                f"the weights of {name!r} have the absolute sum {variations[name]:g}: give some that are not 0"
            )
    if growing:
        each = {name: np.array(np.broadcast_to(w, len(positions[name]))) for name, w in each.items()}
    return ParticleWeights(
        growing=growing,
        masses={name: totals[name] if name in given else masses[name] for name in species},
        each=each,
        variations={name: variations[name] for name in species if name in given},
        signed=tuple(name for name in species if negative[name]),
    )


def _local(label: str, given: GivenWeights, x: Array, count: int, comm: Comm) -> Array:
    if callable(given):
        return check_finite(label, given(x.copy()), (len(x),)) if len(x) else np.empty(0)
    first, last = (count * r // comm.size for r in (comm.rank, comm.rank + 1))
    return check_finite(label, given, (count,))[first:last].copy()


def own_and_factor(weights: float | Array, comm: Comm) -> tuple[Array | None, float]:
    """Return the weights of all ranks' sources and a factor: w and 1, or None and the common weight. Collective."""
    return (everyones(weights, comm), 1.0) if isinstance(weights, np.ndarray) else (None, weights)


def in_loops(weights: float | Array) -> Array:
    """Return weights as most compiled loops take them: an array, with one entry where all are equal.

    For each kind of its own a loop would be compiled again, which takes seconds.
    """
    return np.atleast_1d(np.asarray(weights, dtype=np.float64))


@inlined_only
def weight_at(weights: Array, j: int) -> float:
    """Return the weight of particle j, from what ``in_loops`` returns."""
    out: float = weights[min(j, len(weights) - 1)]
    return out


def weight_of(weights: Array | None, j: int) -> float:
    """Return the weight of particle j where all have their own, or 1 for None, whose multiplication is omitted.

    For loops that are compiled for each: sums over all pairs take 1.7 times as long with ``weight_at``.
    """
    raise NotImplementedError


# Numba requires the lambdas' parameters here, and lambdas have no annotations.
@overload(weight_of, inline="always")
def _weight_of(weights, j):  # type: ignore[no-untyped-def]
    return (lambda weights, j: 1.0) if isinstance(weights, types.NoneType) else (lambda weights, j: weights[j])
