r"""The Euler-Maruyama scheme.

.. math:: X^{k+1} = X^k + b(X^k)\,\Delta t + \sqrt{2 D(X^k)\,\Delta t}\;\xi^k,

with standard normals ξ^k that are a function of (seed, k, particle id), and the symmetric root of a matrix D. Weak
order 1, which a reflection that follows keeps (:mod:`kspde.particles.region`), strong order 1/2. Where the model has
growth, weights follow :math:`w^{k+1} = e^{r(X^k) \Delta t} w^k`: they keep their sign for every Δt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kspde.models.coefficients import coefficients
from kspde.particles.observation import Tallies, tally
from kspde.particles.schemes.base import Scheme, bad_diffusion, matrix_roots
from kspde.particles.system import System
from kspde.runtime.compiled import compiled, in_blocks, widest_vectors
from kspde.runtime.parallel import together
from kspde.runtime.random import CHUNK, fill_normal_pairs
from kspde.typing import Array, Ids

__all__ = ["EulerMaruyama"]

_NO_DRIFT: Array = np.zeros((1, 1))


@dataclass(frozen=True)
class EulerMaruyama(Scheme):
    """The Euler-Maruyama scheme: weak order 1, strong order 1/2, one field evaluation per step.

    Attributes:
        dt: the largest time step > 0.
    """

    name = "euler-maruyama"
    weak_order = 1.0
    strong_order = 0.5
    field_evaluations = 1
    vectors = 4.0
    grows = True
    confined = True
    source = (
        "Maruyama, Rend. Circ. Mat. Palermo 4 (1955); Kloeden and Platen, Numerical Solution of Stochastic "
        "Differential Equations (1992), sections 10.2 and 14.1"
    )

    def advance(self, system: System, step: int, t: float, h: float) -> Tallies:
        """Move the particles from t to t + h; see :meth:`Scheme.advance`. Collective."""
        system.tame(h)
        with together(system.comm):
            return {name: _advance_species(system, name, step, h) for name in system.positions}


def _advance_species(system: System, species: str, step: int, h: float) -> list[Array]:
    """Move the particles of a species in place; return the tallies of their blocks. Rank-local.

    A block of particles goes through all parts of a step while the core's cache holds it.
    """
    x, ids, weights = system.positions[species], system.ids[species], system.own_weights(species)
    fields_of = system.evaluator.parts(species, x)

    def advance(rows: slice) -> Array:
        c = fields_of(rows)
        diffusion, drift = coefficients(system.model, species, c)
        b, own = _NO_DRIFT if drift is None else drift, None if weights is None else weights[rows]
        growth = system.growth(species, c, ids[rows])
        if growth is not None and own is not None:
            with np.errstate(over="ignore"):  # refused by ``System.observe``
                own *= np.exp(h * growth)
        rest = b, drift is not None, h, ids[rows], np.uint64(step), system.noise.key, own
        if diffusion.ndim > 1:
            system.refuse_oblique(species, diffusion)
            roots = matrix_roots(species, diffusion, 2.0 * h, ids[rows], x.shape[1])
            return _advance_by_matrices(x[rows], np.moveaxis(roots, 0, 2), *rest)
        bad, seen = _advance(x[rows], diffusion, *rest)
        if bad >= 0:
            value = diffusion[bad if len(diffusion) > 1 else 0]
            raise bad_diffusion(species, float(value), int(ids[rows][bad]))
        return seen

    return in_blocks(advance, len(x))


@compiled
def _advance(
    x: Array,
    diffusion: Array,
    drift: Array,
    has_drift: bool,
    dt: float,
    ids: Ids,
    step: np.uint64,
    key: Ids,
    weights: Array | None,
) -> tuple[int, Array]:
    """Advance x in place; return the first particle with a bad diffusion coefficient (−1: none) and the tally."""
    widest_vectors()
    n, d = x.shape
    constant = len(diffusion) == 1
    first_bad = -1
    coordinates = x.reshape(n * d)
    amplitude, first, second = np.empty(CHUNK), np.empty(CHUNK), np.empty(CHUNK)
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        bad = 0
        for i in range(size):
            value = diffusion[0] if constant else diffusion[start + i]
            bad += 0 if 0.0 <= value < np.inf else 1
            amplitude[i] = np.sqrt(2.0 * dt * value)
        if bad and first_bad < 0:
            first_bad = start
            while not constant and 0.0 <= diffusion[first_bad] < np.inf:
                first_bad += 1
        for j in range((d + 1) // 2):
            fill_normal_pairs(first[:size], second[:size], ids, start, step, np.uint64(j), key[0], key[1])
            if d == 2:  # a stride that the compiler knows
                for i in range(size):
                    coordinates[2 * (start + i)] += amplitude[i] * first[i]
                    coordinates[2 * (start + i) + 1] += amplitude[i] * second[i]
                continue
            for i in range(size):
                x[start + i, 2 * j] += amplitude[i] * first[i]
            if 2 * j + 1 < d:
                for i in range(size):
                    x[start + i, 2 * j + 1] += amplitude[i] * second[i]
        if has_drift:
            for i in range(start, start + size):
                for axis in range(d):
                    x[i, axis] += dt * drift[i, axis]
    return first_bad, tally(x, weights)


@compiled
def _advance_by_matrices(
    x: Array,
    roots: Array,
    drift: Array,
    has_drift: bool,
    dt: float,
    ids: Ids,
    step: np.uint64,
    key: Ids,
    weights: Array | None,
) -> Array:
    """Advance x in place by matrices √(2 D dt), by entries, shape (d, d, n), and return the tally."""
    widest_vectors()
    n, d = x.shape
    noise, move = np.empty((d + d % 2, CHUNK)), np.empty(CHUNK)
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        for j in range((d + 1) // 2):
            pair = noise[2 * j, :size], noise[2 * j + 1, :size]
            fill_normal_pairs(*pair, ids, start, step, np.uint64(j), key[0], key[1])
        for a in range(d):
            for i in range(size):
                move[i] = dt * drift[start + i, a] if has_drift else 0.0
            for b in range(d):
                root, normal = roots[a, b, start : start + size], noise[b]
                for i in range(size):
                    move[i] += root[i] * normal[i]
            for i in range(size):
                x[start + i, a] += move[i]
    return tally(x, weights)
