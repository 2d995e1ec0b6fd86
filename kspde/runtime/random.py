r"""Counter-based random numbers: a function of (seed, stream, particle id, step), on every rank and thread.

The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC11). Its
128-bit counter is (id, step, block), with 64 bits for the particle id, 32 for the step and 32 for the block: block j of
the uniforms is j, block j of the normals is 2³¹ + j. Its 64-bit key is derived from (seed, stream) by numpy's
``SeedSequence``. A block gives two uniforms

.. math:: U = (m + \tfrac12)\, 2^{-52}, \qquad 0 \le m < 2^{52},

in the open interval (0, 1), or two normals by Box and Muller's :math:`\sqrt{-2\ln U_1}\,(\cos, \sin)(2\pi U_2)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_integer
from kspde.runtime.compiled import compiled, in_blocks, inlined, widest_vectors

__all__ = ["Philox", "fill_normal_pairs", "philox4x32"]

Array = npt.NDArray[np.float64]
Ids = npt.NDArray[np.uint64]

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_S12, _S32, _S52 = np.uint64(12), np.uint64(32), np.uint64(52)
#: Blocks from here on make normals.
NORMALS = np.uint64(1 << 31)

_MANTISSA = np.uint64((1 << 52) - 1)
_EXPONENT_OF_ONE = np.uint64(1023 << 52)
_SQRT2 = float(np.sqrt(2.0))
_LN2 = float(np.log(2.0))
_2PI = 2.0 * float(np.pi)

#: The number of particles per task of a parallel loop.
CHUNK = 2048


class Philox:
    """Random numbers of one stream of one seed.

    Args:
        seed: an integer >= 0.
        stream: an integer >= 0 or several: the streams of a seed are independent (initial positions, noise, replica
            (kind, r), ...).

    Raises:
        InputError: a seed or stream that is not an integer >= 0.
    """

    def __init__(self, seed: int, stream: int | Sequence[int] = 0) -> None:
        self.seed = check_integer("seed", seed, at_least=0)
        parts = stream if isinstance(stream, Sequence) else (stream,)
        self.stream = tuple(check_integer("stream", part, at_least=0) for part in parts)
        words = np.random.SeedSequence(self.seed, spawn_key=self.stream).generate_state(2, np.uint32)
        self.key = words.astype(np.uint64)

    def uniforms(self, ids: Ids, step: int, count: int) -> Array:
        """Return independent uniforms in (0, 1), shape (len(ids), count)."""
        out = np.empty((len(ids), count))
        self._write(out, ids, step, normal=False)
        return out

    def normals(self, ids: Ids, step: int, count: int) -> Array:
        """Return independent standard normals, shape (len(ids), count)."""
        out = np.empty((len(ids), count))
        self.fill_normals(out, ids, step)
        return out

    def fill_normals(self, out: Array, ids: Ids, step: int) -> None:
        """Write independent standard normals into ``out``, C-contiguous, shape (len(ids), count)."""
        self._write(out, ids, step, normal=True)

    def _write(self, out: Array, ids: Ids, step: int, *, normal: bool) -> None:
        all_ids, at = np.ascontiguousarray(ids, dtype=np.uint64), _as_step(step)
        # Not a parallel loop, which takes two seconds longer to compile: every first run waits for this one.
        in_blocks(lambda rows: _fill(out[rows], all_ids[rows], at, self.key, normal), len(out))


def _as_step(step: int) -> np.uint64:
    if not 0 <= step < 1 << 32:
        raise InputError(f"step = {step} is not valid: the generator counts steps from 0 to 2^32 - 1")
    return np.uint64(step)


@inlined
def philox4x32(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return Philox4x32-10 of a counter and a key: 32-bit words, held in 64 bits."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _S32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _S32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@inlined
def uniform_pair(
    particle: np.uint64, step: np.uint64, block: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[float, float]:
    """Return two uniforms in (0, 1)."""
    r0, r1, r2, r3 = philox4x32(particle & _LOW, particle >> _S32, step, block, k0, k1)
    # 52 bits, so that m + ½ is exact: with 53 the largest would round to 1.
    u = (np.float64(np.int64(((r0 << _S32) | r1) >> _S12)) + 0.5) * 2.220446049250313e-16
    v = (np.float64(np.int64(((r2 << _S32) | r3) >> _S12)) + 0.5) * 2.220446049250313e-16
    return u, v


@inlined
def _log(u: float) -> float:
    """Return ln u for a normal number u > 0 by the series of 2 artanh; a library call would not vectorise."""
    bits = np.float64(u).view(np.uint64)
    exponent = np.float64(np.int64(bits >> _S52) - 1023)
    m = np.uint64((bits & _MANTISSA) | _EXPONENT_OF_ONE).view(np.float64)
    large = m > _SQRT2
    m = 0.5 * m if large else m
    exponent = exponent + 1.0 if large else exponent
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1 / 21
    series = series * z + 1 / 19
    series = series * z + 1 / 17
    series = series * z + 1 / 15
    series = series * z + 1 / 13
    series = series * z + 1 / 11
    series = series * z + 1 / 9
    series = series * z + 1 / 7
    series = series * z + 1 / 5
    series = series * z + 1 / 3
    return exponent * _LN2 + 2.0 * (s + s * z * series)


@inlined
def _cos_sin_turns(v: float) -> tuple[float, float]:
    """Return cos 2πv and sin 2πv for v in [0, 1] by Taylor's series on an eighth of a turn."""
    q = np.floor(4.0 * v + 0.5)
    a = _2PI * (v - 0.25 * q)
    z = a * a
    c = 1 / 20922789888000
    c = c * z - 1 / 87178291200
    c = c * z + 1 / 479001600
    c = c * z - 1 / 3628800
    c = c * z + 1 / 40320
    c = c * z - 1 / 720
    c = c * z + 1 / 24
    c = c * z - 1 / 2
    c = c * z + 1.0
    s = -1 / 1307674368000
    s = s * z + 1 / 6227020800
    s = s * z - 1 / 39916800
    s = s * z + 1 / 362880
    s = s * z - 1 / 5040
    s = s * z + 1 / 120
    s = s * z - 1 / 6
    s = a + a * z * s
    odd = q == 1.0 or q == 3.0
    x = s if odd else c
    y = c if odd else s
    x = -x if q == 1.0 or q == 2.0 else x
    y = -y if q == 2.0 or q == 3.0 else y
    return x, y


@inlined
def normal_pair(
    particle: np.uint64, step: np.uint64, block: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[float, float]:
    """Return two independent standard normals: block j of a particle's step makes its normals 2j and 2j + 1."""
    u, v = uniform_pair(particle, step, NORMALS + block, k0, k1)
    radius = np.sqrt(-2.0 * _log(u))
    x, y = _cos_sin_turns(v)
    return radius * x, radius * y


@compiled
def fill_normal_pairs(
    first: Array, second: Array, ids: Ids, start: int, step: np.uint64, block: np.uint64, k0: np.uint64, k1: np.uint64
) -> None:
    """Write the normals 2·block and 2·block + 1 of the particles ids[start:start + len(first)]."""
    widest_vectors()
    for i in range(len(first)):
        first[i], second[i] = normal_pair(ids[start + i], step, block, k0, k1)


@compiled
def _fill(out: Array, ids: Ids, step: np.uint64, key: Ids, normal: bool) -> None:
    n, count = out.shape
    first, second = np.empty(CHUNK), np.empty(CHUNK)
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        for j in range((count + 1) // 2):
            if normal:
                fill_normal_pairs(first[:size], second[:size], ids, start, step, np.uint64(j), key[0], key[1])
            else:
                for i in range(size):
                    first[i], second[i] = uniform_pair(ids[start + i], step, np.uint64(j), key[0], key[1])
            for i in range(size):
                out[start + i, 2 * j] = first[i]
                if 2 * j + 1 < count:
                    out[start + i, 2 * j + 1] = second[i]
