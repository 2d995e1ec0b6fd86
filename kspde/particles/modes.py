r"""Convolution on a small periodic grid by products with matrices of cosines and sines.

Of a grid of P points a direction only a corner of C holds sources and is asked for results, and the kernel has only
some K modes a direction. Where these numbers are small, sums over modes written as products of dense matrices are
faster than a fast transform of the whole grid: a kernel is even in each direction, so that with i counted from the
middle of the corner

.. math:: \sum_j \phi_{i-j}\,\rho_j = \frac1P \sum_{k<K} m_k \hat\phi_k
    \Big[\cos\tfrac{2\pi ki}P \sum_j \cos\tfrac{2\pi kj}P\,\rho_j
    + \sin\tfrac{2\pi ki}P \sum_j \sin\tfrac{2\pi kj}P\,\rho_j\Big],

:math:`m_k` = 2, but 1 for k = 0 and k = P/2, direction by direction. Cosines need the even part of ρ only and sines the
odd part, half a corner each: about 2CK operations a line and direction, all of them multiply-adds of whole vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kspde.compiled import compiled, widest_vectors
from kspde.models.base import Array
from kspde.particles.lanes import LANES, tile

__all__ = ["ModeProducts"]

#: Rows of a product that are worked on together.
_ROWS = 4


class ModeProducts:
    """Convolution of what lies in a corner of a periodic grid, evaluated in that corner.

    Args:
        shape: points of the periodic grid by direction.
        corner: points of the corner by direction, at least.
        columns: by direction the modes that kernels have, at least.

    Attributes:
        corner: rounded up to what makes no odd pieces.
        columns: likewise; modes above half of ``shape`` count for nothing.
    """

    def __init__(self, shape: tuple[int, ...], corner: tuple[int, ...], columns: tuple[int, ...]) -> None:
        self.corner = tuple(_up(inner, 2 * _ROWS) for inner in corner)
        self.columns = tuple(_up(count, LANES) for count in columns)
        self._bases = [_bases(*one) for one in zip(shape, self.corner, self.columns, strict=True)]

    @staticmethod
    def operations(corner: tuple[int, ...], columns: tuple[int, ...]) -> float:
        """Return the multiplications and additions of an application to one factor."""
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
        d, columns = len(self.corner), self.columns
        last, rows = self._bases[-1], math.prod(self.corner[:-1])
        data = _forward_last(sources.reshape(rows, -1), last.even, last.odd)
        # Every direction becomes its parity and its modes; the last one's parity stands in front of all.
        behind = columns[-1]
        for axis in range(d - 2, -1, -1):
            basis = self._bases[axis]
            data = _forward(data.reshape(-1, self.corner[axis], behind), basis.even_rows, basis.odd_rows)
            behind *= 2 * columns[axis]
        data = data.reshape(2, *(size for count in columns[:-1] for size in (2, count)), columns[-1])
        out: dict[str, Array] = {}
        for name, factor in factors.items():
            product = data * factor.reshape(*(size for count in columns[:-1] for size in (1, count)), columns[-1])
            numbers = behind
            for axis in range(d - 1):
                basis, numbers = self._bases[axis], numbers // (2 * columns[axis])
                pieces = product.reshape(-1, 2, columns[axis], numbers)
                product = _back(pieces, basis.back_even, basis.back_odd)
            lines = product.reshape(2, rows, columns[-1])
            lines = _back_last(lines, last.back_even_rows, last.back_odd_rows, self.corner[-1])
            out[name] = lines.reshape(self.corner)
        return out


@dataclass(frozen=True, kw_only=True)
class _Bases:
    """Cosines and sines of one direction, with half a corner or the modes as rows; going back, times m_k/P."""

    even: Array
    odd: Array
    even_rows: Array
    odd_rows: Array
    back_even: Array
    back_odd: Array
    back_even_rows: Array
    back_odd_rows: Array


def _bases(points: int, inner: int, count: int) -> _Bases:
    k = np.arange(count)
    phase = 2 * np.pi / points * np.outer(np.arange(inner // 2) - 0.5 * (inner - 1), k)
    even, odd = np.cos(phase), np.sin(phase)
    scale = np.select([2 * k > points, (k == 0) | (2 * k == points)], [0.0, 1.0], 2.0) / points
    # Rows that results are written to are whole vectors.
    wide = ((0, 0), (0, _up(inner // 2, LANES) - inner // 2))
    return _Bases(
        even=even,
        odd=odd,
        even_rows=np.ascontiguousarray(even.T),
        odd_rows=np.ascontiguousarray(odd.T),
        back_even=even * scale,
        back_odd=odd * scale,
        back_even_rows=np.pad((even * scale).T, wide),
        back_odd_rows=np.pad((odd * scale).T, wide),
    )


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


_four_rows, _four_short_rows, _one_row = tile(_ROWS, 2), tile(_ROWS, 1), tile(1, 1)


@compiled
def _multiply(a: Array, b: Array, c: Array) -> None:
    """Write c = a b; b has rows of whole vectors."""
    widest_vectors()
    rows, inner, n = a.shape[0], a.shape[1], b.shape[1]
    from_a, from_b, to_c = a.ravel(), b.ravel(), c.ravel()
    i = 0
    while i + _ROWS <= rows:
        j = 0
        while j + 2 * LANES <= n:
            _four_rows(from_a, i * inner, inner, from_b, j, n, inner, to_c, i * n + j, n)
            j += 2 * LANES
        if j < n:
            _four_short_rows(from_a, i * inner, inner, from_b, j, n, inner, to_c, i * n + j, n)
        i += _ROWS
    while i < rows:
        for j in range(0, n, LANES):
            _one_row(from_a, i * inner, inner, from_b, j, n, inner, to_c, i * n + j, n)
        i += 1


@compiled
def _forward_last(data: Array, even: Array, odd: Array) -> Array:
    """Return (2, rows, K) sums over the last direction of data, (rows, C), times cosines and sines, (C/2, K)."""
    rows, half = data.shape[0], data.shape[1] // 2
    evens, odds = np.empty((rows, half)), np.empty((rows, half))
    for i in range(rows):
        for j in range(half):
            left, right = data[i, j], data[i, 2 * half - 1 - j]
            evens[i, j], odds[i, j] = left + right, left - right
    out = np.empty((2, rows, even.shape[1]))
    _multiply(evens, even, out[0])
    _multiply(odds, odd, out[1])
    return out


@compiled
def _forward(data: Array, even: Array, odd: Array) -> Array:
    """Return (lines, 2, K, n) sums over the middle direction of data, (lines, C, n); even and odd are (K, C/2)."""
    lines, half, n = data.shape[0], data.shape[1] // 2, data.shape[2]
    evens, odds = np.empty((half, n)), np.empty((half, n))
    out = np.empty((lines, 2, len(even), n))
    for line in range(lines):
        for i in range(half):
            for j in range(n):
                left, right = data[line, i, j], data[line, 2 * half - 1 - i, j]
                evens[i, j], odds[i, j] = left + right, left - right
        _multiply(even, evens, out[line, 0])
        _multiply(odd, odds, out[line, 1])
    return out


@compiled
def _back(data: Array, even: Array, odd: Array) -> Array:
    """Return (lines, C, n) sums over modes and parities of data, (lines, 2, K, n); even and odd are (C/2, K)."""
    lines, half, n = data.shape[0], len(even), data.shape[3]
    evens, odds = np.empty((half, n)), np.empty((half, n))
    out = np.empty((lines, 2 * half, n))
    for line in range(lines):
        _multiply(even, data[line, 0], evens)
        _multiply(odd, data[line, 1], odds)
        for i in range(half):
            for j in range(n):
                out[line, i, j] = evens[i, j] + odds[i, j]
                out[line, 2 * half - 1 - i, j] = evens[i, j] - odds[i, j]
    return out


@compiled
def _back_last(data: Array, even: Array, odd: Array, inner: int) -> Array:
    """Return (rows, C) sums over modes and parities of data, (2, rows, K); even and odd have rows of at least C/2."""
    rows, half = data.shape[1], inner // 2
    evens, odds = np.empty((rows, even.shape[1])), np.empty((rows, even.shape[1]))
    _multiply(data[0], even, evens)
    _multiply(data[1], odd, odds)
    out = np.empty((rows, inner))
    for i in range(rows):
        for j in range(half):
            out[i, j] = evens[i, j] + odds[i, j]
            out[i, inner - 1 - j] = evens[i, j] - odds[i, j]
    return out
