r"""The Euler-Maruyama scheme.

.. math:: X^{k+1} = X^k + b(X^k)\,\Delta t + \sqrt{2 D(X^k)\,\Delta t}\;\xi^k,

with standard normals ξ^k that are a function of (seed, k, particle id). Weak order 1, strong order 1/2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kspde.errors import ConvergenceError
from kspde.models import FieldValues, Model
from kspde.models.base import Array
from kspde.models.coefficients import coefficients
from kspde.particles.observation import tally
from kspde.runtime.compiled import compiled, in_blocks, widest_vectors
from kspde.runtime.random import CHUNK, Ids, Philox, fill_normal_pairs

__all__ = ["bad_diffusion", "euler_maruyama"]

_NO_DRIFT: Array = np.zeros((1, 1))


def euler_maruyama(
    model: Model,
    species: str,
    c: Callable[[slice], FieldValues],
    x: Array,
    ids: Ids,
    *,
    step: int,
    dt: float,
    noise: Philox,
    weights: Array | None = None,
) -> list[Array]:
    """Advance the particles of a species, x of shape (n, d), in place. Rank-local.

    A block of particles goes through all parts of a step while the core's cache holds it.

    Args:
        model: the model.
        species: its species.
        c: the fields at some of the particles, from any thread.
        x: positions.
        ids: of the particles.
        step: its number.
        dt: its length.
        noise: the random numbers.
        weights: of the particles, where they have their own.

    Returns:
        The tallies of the new positions, for ``observe``.

    Raises:
        InputError: the model returned a diffusion or drift of a wrong shape or type.
        ConvergenceError: a diffusion coefficient that is negative or not finite; the message names the particle.
    """

    def advance(rows: slice) -> Array:
        diffusion, drift = coefficients(model, species, c(rows))
        b, own = _NO_DRIFT if drift is None else drift, None if weights is None else weights[rows]
        bad, seen = _advance(x[rows], diffusion, b, drift is not None, dt, ids[rows], np.uint64(step), noise.key, own)
        if bad >= 0:
            value = diffusion[bad if len(diffusion) > 1 else 0]
            raise bad_diffusion(species, float(value), int(ids[rows][bad]))
        return seen

    return in_blocks(advance, len(x))


def bad_diffusion(species: str, value: float, particle: int) -> ConvergenceError:
    """Return the error for a diffusion coefficient that is negative or not finite."""
    return ConvergenceError(
        f"the diffusion coefficient of species {species!r} is {value:g} at particle {particle}: it must be >= 0 and "
        f"finite; check the model's parameters, or give a smaller dt"
    )


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
    """Advance x in place; return the first particle with a bad diffusion coefficient, or −1, and the tally."""
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
