r"""Convolution on a periodic grid of which only a corner holds sources and is asked for results.

Kernels are even in each direction, and their transforms real and negligible beyond some mode. Two methods:
:class:`FastConvolution`, by fast Fourier transforms, and :class:`DenseConvolution`, by matrices of cosines and sines,
which is faster where the grid and the number of modes are small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from kspde.runtime.compiled import on_threads
from kspde.typing import Array

__all__ = ["DenseConvolution", "FastConvolution", "corner_convolution"]

#: Bytes per batch of columns.
_BATCH = 64e6
#: Operations of a dense convolution per P log₂ P, P the points of the grid, up to which it is the faster one.
_DENSE = 15.0
#: Operations of a dense convolution that are worth handing to other threads.
_OPERATIONS = 2e7


def corner_convolution(
    shape: tuple[int, ...], corner: tuple[int, ...], columns: tuple[int, ...], *, threads: int
) -> FastConvolution | DenseConvolution:
    """Return the faster method.

    Args:
        shape: points of the periodic grid per direction.
        corner: points of the corner per direction, at least.
        columns: modes that the kernels have per direction, at most ``shape`` // 2 + 1.
        threads: threads that the transforms may use.
    """
    points = math.prod(shape)
    if DenseConvolution.operations(corner, columns) <= _DENSE * points * math.log2(points):
        return DenseConvolution(shape, corner, columns)
    return FastConvolution(shape, corner, columns[-1], threads=threads)


class FastConvolution:
    """Convolution by fast Fourier transforms, without the lines known to vanish and those that nobody reads.

    With padding as wide as the corner that is half the work in two dimensions. Only ``columns`` of the kernels' modes
    along the last direction are kept, and the other directions are transformed in batches of columns, so that the whole
    transform is never held at once.

    Attributes:
        corner: as given.
        modes: shape of the kernels' transforms: all modes of the first directions, the lowest of the last.
    """

    def __init__(self, shape: tuple[int, ...], corner: tuple[int, ...], columns: int, *, threads: int) -> None:
        self.corner = corner
        self.modes = (*shape[:-1], columns)
        self._shape = shape
        self._threads = threads

    @staticmethod
    def bytes_needed(shape: tuple[int, ...], corner: tuple[int, ...], factors: int, columns: int) -> float:
        """Return the bytes that ``factors`` factors of ``columns`` modes, and an application of them, take."""
        half = shape[-1] // 2 + 1
        lines, kept = math.prod(shape[:-1]), math.prod(corner[:-1])
        batch = min(columns, max(1.0, _BATCH / (16 * lines))) * lines * 16
        # Factors; a half transform for the sources, and one and the result for each factor; three batches.
        transforms = kept * (16.0 * (half + columns * factors) + 8.0 * shape[-1] * factors)
        return factors * 8.0 * lines * columns + transforms + 3 * batch

    def __call__(self, sources: Array, factors: Mapping[str, Array]) -> dict[str, Array]:
        """Return by name the convolution with the kernel whose transform is the factor.

        Args:
            sources: shape ``corner``.
            factors: real, shape ``modes``; the other modes are 0.

        Returns:
            Arrays of shape (*corner[:-1], shape[-1]).
        """
        from scipy import fft

        last, columns, axes = self._shape[-1], self.modes[-1], range(len(self._shape) - 1)
        half = fft.rfft(sources, n=last, axis=-1, workers=self._threads)[..., :columns]
        back = {name: np.empty(half.shape, dtype=complex) for name in factors}
        width = max(1, int(_BATCH / (16 * math.prod(self._shape[:-1]))))
        for start in range(0, columns, width):
            batch = np.s_[..., start : start + width]
            transform = half[batch]
            for axis in reversed(axes):
                transform = fft.fft(transform, n=self._shape[axis], axis=axis, workers=self._threads)
            for name, factor in factors.items():
                product = transform * factor[batch]
                for axis in axes:
                    product = fft.ifft(product, axis=axis, workers=self._threads, overwrite_x=True)
                    product = product[(slice(None),) * axis + (slice(self.corner[axis]),)]
                back[name][batch] = product
        return {name: fft.irfft(lines, n=last, workers=self._threads, overwrite_x=True) for name, lines in back.items()}


class DenseConvolution:
    r"""Convolution by products with matrices of cosines and sines.

    Of P grid points in a direction only C are in the corner, and the kernel has K modes. It is even in each direction,
    so that with i counted from the middle of the corner

    .. math:: \sum_j \phi_{i-j}\,\rho_j = \frac1P \sum_{k<K} m_k \hat\phi_k
        \Big[\cos\tfrac{2\pi ki}P \sum_j \cos\tfrac{2\pi kj}P\,\rho_j
        + \sin\tfrac{2\pi ki}P \sum_j \sin\tfrac{2\pi kj}P\,\rho_j\Big],

    :math:`m_k` = 2, but 1 for k = 0 and k = P/2, direction by direction. Cosines need the even part of ρ only and sines
    the odd part, half a corner each: ρ falls into 2^d parts, even or odd in each direction, which are independent of
    one another until their results are added.

    Measured gain over fast transforms: a sixth of the transform's time in two dimensions; in three, two fifths of a
    step of 10⁴ particles at tolerance 1e-4, and half of the fields' time of 10⁵ particles at 1e-6.

    Attributes:
        corner: rounded up to even numbers.
        modes: shape of the kernels' transforms: the lowest modes of each direction.
    """

    def __init__(self, shape: tuple[int, ...], corner: tuple[int, ...], columns: tuple[int, ...]) -> None:
        self.corner = tuple(inner + inner % 2 for inner in corner)
        self.modes = columns
        #: Per direction the matrices of all parts: to the modes, (2^d, C/2, K), and back, (2^d, K, C/2).
        self._there: list[Array] = []
        self._back: list[Array] = []
        for axis, (points, inner, count) in enumerate(zip(shape, self.corner, columns, strict=True)):
            k = np.arange(count)
            phase = 2 * np.pi / points * np.outer(np.arange(inner // 2) - 0.5 * (inner - 1), k)
            odd = np.arange(2 ** len(shape)) >> axis & 1
            waves = np.stack((np.cos(phase), np.sin(phase)))[odd]
            self._there.append(waves)
            scale = np.where((k == 0) | (2 * k == points), 1.0, 2.0) / points
            self._back.append(np.ascontiguousarray((waves * scale).swapaxes(1, 2)))
        self._alone = self.operations(self.corner, columns) < _OPERATIONS

    @staticmethod
    def operations(corner: tuple[int, ...], columns: tuple[int, ...]) -> float:
        """Return the multiplications and additions of an application to one factor."""
        out, lines = 0.0, float(math.prod(corner))
        for inner, count in zip(corner, columns, strict=True):
            out += 2 * 2 * lines * count
            lines *= 2 * count / inner
        return out

    def __call__(self, sources: Array, factors: Mapping[str, Array]) -> dict[str, Array]:
        """Return by name the convolution with the kernel whose transform is the factor.

        Args:
            sources: shape ``corner``.
            factors: real, shape ``modes``.

        Returns:
            Arrays of shape ``corner``.
        """
        parts = sources[None]
        for axis in range(1, parts.ndim):
            left, right = _halves(parts, axis)
            parts = np.concatenate((left + right, left - right))
        results = {name: np.empty_like(parts) for name in factors}

        def work(rows: slice) -> None:
            modes = _transformed(parts[rows], [one[rows] for one in self._there], self.modes)
            for name, factor in factors.items():
                results[name][rows] = _transformed(modes * factor, [one[rows] for one in self._back], parts.shape[1:])

        if self._alone:
            work(slice(None))
        else:
            on_threads(lambda part: work(slice(part, part + 1)), len(parts))
        return {name: _whole(result) for name, result in results.items()}


def _halves(x: Array, axis: int) -> tuple[Array, Array]:
    """Return the first half of x along an axis, and the second one backwards."""
    first, half = (slice(None),) * axis, x.shape[axis] // 2
    return x[(*first, slice(half))], x[(*first, slice(None, half - 1, -1))]


def _whole(parts: Array) -> Array:
    """Return the sum of parts that are even or odd in each direction, given by their halves."""
    for axis in range(parts.ndim - 1, 0, -1):
        even, odd = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        parts = np.empty([(1 + (i == axis)) * m for i, m in enumerate(even.shape)])
        left, right = _halves(parts, axis)
        np.add(even, odd, out=left)
        np.subtract(even, odd, out=right)
    out: Array = parts[0]
    return out


def _transformed(x: Array, matrices: list[Array], shape: tuple[int, ...]) -> Array:
    """Return x with a matrix applied in each direction, which then goes from the first place to the last."""
    for matrix in matrices:
        x = x.reshape(*matrix.shape[:2], -1).swapaxes(1, 2) @ matrix
    out: Array = x.reshape(-1, *shape)
    return out
