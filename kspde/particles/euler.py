r"""The Euler-Maruyama scheme.

.. math:: X^{k+1} = X^k + b(X^k)\,\Delta t + \sqrt{2 D(X^k)\,\Delta t}\;\xi^k,

with standard normals ξ^k that are a function of (seed, k, particle id). Weak order 1, strong order 1/2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kspde.compiled import compiled_parallel, prange
from kspde.errors import ConvergenceError, InputError
from kspde.models import FieldValues, Model
from kspde.models.base import Array
from kspde.random import CHUNK, Ids, Philox, fill_normal_pairs

__all__ = ["euler_maruyama"]

_NO_DRIFT: Array = np.zeros((1, 1))


def euler_maruyama(
    model: Model, species: str, c: FieldValues, x: Array, ids: Ids, *, step: int, dt: float, noise: Philox
) -> None:
    """Advance the particles of a species, x of shape (n, d), in place. Rank-local.

    Raises:
        InputError: the model returned a diffusion or drift of a wrong shape.
        ConvergenceError: a diffusion coefficient that is negative or not finite; the message names the particle.
    """
    diffusion = np.atleast_1d(np.asarray(model.diffusion(species, c), dtype=np.float64))
    if diffusion.shape not in ((len(x),), (1,)):
        raise InputError(
            f"diffusion({species!r}, c) returned shape {diffusion.shape}: return a number or shape ({len(x)},)"
        )
    drift = model.drift(species, c)
    b = _NO_DRIFT if drift is None else np.ascontiguousarray(drift, dtype=np.float64)
    if drift is not None and b.shape != x.shape:
        raise InputError(f"drift({species!r}, c) returned shape {b.shape}: return {x.shape} or None")
    bad = np.full((len(x) + CHUNK - 1) // CHUNK, -1, dtype=np.int64)
    _advance(x, np.ascontiguousarray(diffusion), b, drift is not None, dt, ids, np.uint64(step), noise.key, bad)
    if np.any(bad >= 0):
        i = int(bad[bad >= 0][0])
        value = diffusion[i if len(diffusion) > 1 else 0]
        raise ConvergenceError(
            f"the diffusion coefficient of species {species!r} is {value:g} at particle {ids[i]}: it must be >= 0 and "
            f"finite; check the model's parameters, or give a smaller dt"
        )


@compiled_parallel
def _advance(
    x: Array,
    diffusion: Array,
    drift: Array,
    has_drift: bool,
    dt: float,
    ids: Ids,
    step: np.uint64,
    key: Ids,
    bad: npt.NDArray[np.int64],
) -> None:
    n, d = x.shape
    constant = len(diffusion) == 1
    for chunk in prange(len(bad)):
        start = chunk * CHUNK
        size = min(CHUNK, n - start)
        amplitude, first, second = np.empty(size), np.empty(size), np.empty(size)
        for i in range(size):
            value = diffusion[0] if constant else diffusion[start + i]
            if not 0.0 <= value < np.inf and bad[chunk] < 0:
                bad[chunk] = start + i
            amplitude[i] = np.sqrt(2.0 * dt * value)
        for j in range((d + 1) // 2):
            fill_normal_pairs(first, second, ids, start, step, np.uint64(j), key[0], key[1])
            for i in range(size):
                x[start + i, 2 * j] += amplitude[i] * first[i]
            if 2 * j + 1 < d:
                for i in range(size):
                    x[start + i, 2 * j + 1] += amplitude[i] * second[i]
        if has_drift:
            for i in range(start, start + size):
                for axis in range(d):
                    x[i, axis] += dt * drift[i, axis]
