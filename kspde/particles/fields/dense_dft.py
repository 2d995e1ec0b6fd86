r"""Convolution on a small periodic grid by products with matrices of cosines and sines.

Of a grid of P points a direction only a corner of C holds sources and is asked for results, and the kernel has only
some K modes a direction. Where these numbers are small, sums over modes written as products of dense matrices are
faster than a fast transform of the whole grid: a kernel is even in each direction, so that with i counted from the
middle of the corner

.. math:: \sum_j \phi_{i-j}\,\rho_j = \frac1P \sum_{k<K} m_k \hat\phi_k
    \Big[\cos\tfrac{2\pi ki}P \sum_j \cos\tfrac{2\pi kj}P\,\rho_j
    + \sin\tfrac{2\pi ki}P \sum_j \sin\tfrac{2\pi kj}P\,\rho_j\Big],

:math:`m_k` = 2, but 1 for k = 0 and k = P/2, direction by direction. Cosines need the even part of ρ only and sines the
odd part, half a corner each: ρ falls into 2^d parts, even or odd in each direction, which have nothing to do with each
other until their results are added, and which are worked on by different threads. Together they take about 2CK
operations a line and direction, all of them multiply-adds of whole vectors, and less where the kernel's modes fill a
ball: of what lies outside, whole vectors are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kspde.models.base import Array
from kspde.particles.fields.simd import LANES, tile
from kspde.runtime.compiled import compiled, on_threads, widest_vectors

__all__ = ["ModeProducts"]

#: Rows of a product that are worked on together.
_ROWS = 4
#: Operations that are worth handing to other threads.
_OPERATIONS = 3e6

Counts = npt.NDArray[np.int64]
#: By direction; those of the last one are transposed, and have rows of whole vectors.
_Three = tuple[Array, Array, Array]


class ModeProducts:
    """Convolution of what lies in a corner of a periodic grid, evaluated in that corner.

    Args:
        shape: points of the periodic grid by direction.
        corner: points of the corner by direction, at least.
        columns: by direction the modes that kernels have, at least.
        band: by direction the half axis of the ellipsoid of modes k, Σ (k/band)² ≤ 1, outside of which kernels have
            none, or next to none; by default they have all of ``columns``.

    Attributes:
        corner: rounded up to what makes no odd pieces.
        columns: likewise; modes above half of ``shape`` count for nothing.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        corner: tuple[int, ...],
        columns: tuple[int, ...],
        band: tuple[float, ...] | None = None,
    ) -> None:
        self.corner = tuple(_up(inner, 2 * _ROWS) for inner in corner)
        self.columns = tuple(_up(count, LANES) for count in columns)
        # Compiled loops have three directions: the first may be of one point and one mode.
        blank = (1,) * (3 - len(shape))
        self._columns = (*blank, *self.columns)
        bases = [(_BLANK, _BLANK)] * len(blank)
        bases += [_bases(*one) for one in zip(shape, self.corner, self.columns, strict=True)]
        self._forward: list[_Three] = []
        self._back: list[_Three] = []
        for part in range(2 ** len(shape)):
            one, two, last = (pair[part >> axis & 1] for pair, axis in zip(bases, (2, 1, 0), strict=True))
            self._forward.append((one.forward, two.forward, np.ascontiguousarray(last.forward.T)))
            extra = -len(last.back) % LANES
            self._back.append((one.back, two.back, np.pad(last.back.T, ((0, 0), (0, extra)))))
        self._counts = _counts(self._columns, None if band is None else (*blank, *band))
        self._alone = self.operations(self.corner, self.columns) < _OPERATIONS

    @staticmethod
    def operations(corner: tuple[int, ...], columns: tuple[int, ...]) -> float:
        """Return the multiplications and additions of an application to one factor, at most."""
        out, lines = 0.0, float(math.prod(corner))
        for inner, count in zip(reversed(corner), reversed(columns), strict=True):
            out += 2 * 2 * lines * count
            lines *= 2 * count / inner
        return out

    def __call__(self, sources: Array, factors: Mapping[str, Array]) -> dict[str, Array]:
        """Return by name the convolution with the kernel whose transform is the factor.

        Args:
            sources: shape ``corner``.
            factors: real, shape ``columns``.

        Returns:
            Arrays of shape ``corner``.
        """
        blank = len(self._columns) - len(self.corner)
        halves = tuple(one.shape[1] for one in self._forward[0][:2])
        parts = np.empty((len(self._forward), *halves, self.corner[-1] // 2))
        _take_apart(sources.reshape((1,) * blank + self.corner), parts)
        symbols = {name: factor.reshape(self._columns) for name, factor in factors.items()}
        results = {name: np.empty((len(parts), *halves, self._back[0][2].shape[1])) for name in factors}

        def work(part: int) -> None:
            modes = _to_modes(parts[part], self._forward[part], *self._counts)
            for name, symbol in symbols.items():
                _from_modes(modes, symbol, self._back[part], *self._counts, results[name][part])

        if self._alone:
            for part in range(len(parts)):
                work(part)
        else:
            on_threads(work, len(parts))
        out = {name: np.empty(self.corner) for name in factors}
        for name, result in results.items():
            _put_together(result, out[name].reshape((1,) * blank + self.corner))
        return out


@dataclass(frozen=True, kw_only=True)
class _Basis:
    """Cosines or sines of one direction.

    Attributes:
        forward: shape (K, C/2).
        back: shape (C/2, K), times m_k/P.
    """

    forward: Array
    back: Array


_BLANK = _Basis(forward=np.ones((1, 1)), back=np.ones((1, 1)))


def _bases(points: int, inner: int, count: int) -> tuple[_Basis, _Basis]:
    k = np.arange(count)
    phase = 2 * np.pi / points * np.outer(np.arange(inner // 2) - 0.5 * (inner - 1), k)
    scale = np.select([2 * k > points, (k == 0) | (2 * k == points)], [0.0, 1.0], 2.0) / points
    even, odd = (
        _Basis(forward=np.ascontiguousarray(waves.T), back=waves * scale) for waves in (np.cos(phase), np.sin(phase))
    )
    return even, odd


def _counts(columns: tuple[int, ...], band: tuple[float, ...] | None) -> tuple[Counts, Counts]:
    """Return how many modes of the first direction are wanted by vectors of the others', and of the second by the last.

    Shapes (K_1 K_2/8,) and (K_2/8,).
    """
    first, second, last = columns
    groups = last // LANES
    if band is None:
        return np.full(second * groups, first), np.full(groups, second)
    one = (np.arange(second) / band[1]) ** 2
    two = (LANES * np.arange(groups) / band[2]) ** 2

    def up_to(rest: Array, count: int, most: float) -> Counts:
        modes = np.floor(most * np.sqrt(np.maximum(rest, 0.0))).astype(np.int64) + 1
        return np.where(rest < 0.0, 0, np.minimum(modes, count))

    return up_to(1.0 - one[:, None] - two, first, band[0]).ravel(), up_to(1.0 - two, second, band[1])


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


_four_rows, _four_short_rows, _one_row = tile(_ROWS, 2), tile(_ROWS, 1), tile(1, 1)


@compiled
def _multiply(a: Array, b: Array, c: Array, rows: Counts, depths: Counts) -> None:
    """Write rows of c = a b, as many as vectors of its columns want, summed over as many of a's columns as they want.

    Two vectors side by side get what the one of them wants that wants more. b has rows of whole vectors.
    """
    widest_vectors()
    inner, n = a.shape[1], b.shape[1]
    from_a, from_b, to_c = a.ravel(), b.ravel(), c.ravel()
    for j in range(0, n, 2 * LANES):
        vector, pair = j // LANES, j + 2 * LANES <= n
        count, depth = rows[vector], depths[vector]
        if pair:
            count, depth = max(count, rows[vector + 1]), max(depth, depths[vector + 1])
        i = 0
        while i < count:
            if i + _ROWS > len(a):
                _one_row(from_a, i * inner, inner, from_b, j, n, depth, to_c, i * n + j, n)
                if pair:
                    _one_row(from_a, i * inner, inner, from_b, j + LANES, n, depth, to_c, i * n + j + LANES, n)
                i += 1
                continue
            if pair:
                _four_rows(from_a, i * inner, inner, from_b, j, n, depth, to_c, i * n + j, n)
            else:
                _four_short_rows(from_a, i * inner, inner, from_b, j, n, depth, to_c, i * n + j, n)
            i += _ROWS


@compiled
def _take_apart(whole: Array, parts: Array) -> None:
    """Write the parts of an array that are even or odd in each direction, (2^d, C/2, C/2, C/2)."""
    for part in range(len(parts)):
        for i in range(parts.shape[1]):
            for j in range(parts.shape[2]):
                line, to = whole[-1 - i if part & 4 else i, -1 - j if part & 2 else j], parts[part, i, j]
                if part & 1:
                    for k in range(len(to)):
                        to[k] = line[len(line) - 1 - k]
                else:
                    for k in range(len(to)):
                        to[k] = line[k]
    _mix(parts)


@compiled
def _put_together(parts: Array, out: Array) -> None:
    """Write the sum of the results of all parts, (2^d, C/2, C/2, whole vectors), which are used up."""
    _mix(parts)
    half = (out.shape[2] + 1) // 2
    for part in range(len(parts)):
        for i in range(parts.shape[1]):
            for j in range(parts.shape[2]):
                line, to = parts[part, i, j], out[-1 - i if part & 4 else i, -1 - j if part & 2 else j]
                if part & 1:
                    for k in range(half):
                        to[len(to) - 1 - k] = line[k]
                else:
                    for k in range(half):
                        to[k] = line[k]


@compiled
def _mix(parts: Array) -> None:
    """Replace parts that differ in one direction by their sum and difference, direction by direction."""
    bit = 1
    while bit < len(parts):
        for part in range(len(parts)):
            if part & bit == 0:
                first, second = parts[part].ravel(), parts[part | bit].ravel()
                for k in range(len(first)):
                    a, b = first[k], second[k]
                    first[k], second[k] = a + b, a - b
        bit *= 2


@compiled
def _to_modes(part: Array, forward: _Three, firsts: Counts, seconds: Counts) -> Array:
    """Return the modes, (K, K, K), of a part of the sources, (C/2, C/2, C/2): one direction after the other."""
    first, second, last = part.shape
    k0, k1, k2 = len(forward[0]), len(forward[1]), forward[2].shape[1]
    lines, planes = np.empty((first, second, k2)), np.zeros((first, k1, k2))
    vectors = k2 // LANES
    all_lines, all_last, all_second = np.full(vectors, first * second), np.full(vectors, last), np.full(vectors, second)
    _multiply(part.reshape(first * second, last), forward[2], lines.reshape(first * second, k2), all_lines, all_last)
    for i in range(first):
        _multiply(forward[1], lines[i], planes[i], seconds, all_second)
    if k0 == 1:
        return planes
    out = np.zeros((k0, k1, k2))
    _multiply(forward[0], planes.reshape(first, k1 * k2), out.reshape(k0, k1 * k2), firsts, np.full(len(firsts), first))
    return out


@compiled
def _from_modes(modes: Array, symbol: Array, back: _Three, firsts: Counts, seconds: Counts, out: Array) -> None:
    """Write the field, (C/2, C/2, whole vectors), of modes times a symbol, (K, K, K) both."""
    k0, k1, k2 = modes.shape
    first, second, width = out.shape
    product = np.empty((k0, k1, k2))
    for i in range(k0):
        for j in range(k1):
            for k in range(k2):
                product[i, j, k] = modes[i, j, k] * symbol[i, j, k]
    if k0 > 1:
        planes = np.empty((first, k1, k2))
        all_first = np.full(len(firsts), first)
        _multiply(back[0], product.reshape(k0, k1 * k2), planes.reshape(first, k1 * k2), all_first, firsts)
    else:
        planes = product
    lines = np.empty((first, second, k2))
    all_second = np.full(k2 // LANES, second)
    for i in range(first):
        _multiply(back[1], planes[i], lines[i], all_second, seconds)
    vectors = width // LANES
    all_lines, all_modes = np.full(vectors, first * second), np.full(vectors, k2)
    _multiply(lines.reshape(first * second, k2), back[2], out.reshape(first * second, width), all_lines, all_modes)
