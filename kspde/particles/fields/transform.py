r"""Convolution on a periodic grid of which only a corner holds sources and is asked for results.

The transform along one direction skips the lines that are known to vanish, and the transform back those that nobody
reads: with padding as wide as the corner, half the work in two dimensions. Along the last direction only as many modes
are gone on with as the factors have. All directions but the last are gone through in batches of columns, so that the
whole transform is never held at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from kspde.models.base import Array

__all__ = ["CornerConvolution"]

#: Bytes of a batch of columns.
_BATCH = 64e6
#: Grids of fewer points are transformed by one thread: handing work over takes as long as it saves.
_FEW = 1e5


class CornerConvolution:
    """Convolution of what lies in a corner of a periodic grid, evaluated in that corner.

    Args:
        shape: points of the periodic grid by direction.
        corner: points of the corner by direction.
        threads: threads that the transforms may use.
    """

    def __init__(self, shape: tuple[int, ...], corner: tuple[int, ...], *, threads: int) -> None:
        self.shape = shape
        self.corner = corner
        self._threads = threads if math.prod(shape) > _FEW else 1
        lines = math.prod(shape[:-1])
        self._columns = max(1, int(_BATCH / (16 * lines)))

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
            factors: real, shape (*shape[:-1], columns), columns <= shape[-1] // 2 + 1; 0 for the modes that are left.

        Returns:
            Arrays of shape (*corner[:-1], shape[-1]).
        """
        from scipy import fft

        workers, last = self._threads, self.shape[-1]
        columns = next(iter(factors.values())).shape[-1]
        half = fft.rfft(sources, n=last, axis=-1, workers=workers)[..., :columns]
        axes = range(len(self.shape) - 1)
        if not axes:
            return {
                name: fft.irfft(half * factor, n=last, workers=workers, overwrite_x=True)
                for name, factor in factors.items()
            }
        back = {name: np.empty(half.shape, dtype=complex) for name in factors}
        for start in range(0, columns, self._columns):
            batch = np.s_[..., start : start + self._columns]
            transform = half[batch]
            for axis in reversed(axes):
                transform = fft.fft(transform, n=self.shape[axis], axis=axis, workers=workers)
            for name, factor in factors.items():
                product = transform * factor[batch]
                for axis in axes:
                    product = fft.ifft(product, axis=axis, workers=workers, overwrite_x=True)
                    product = product[(slice(None),) * axis + (slice(self.corner[axis]),)]
                back[name][batch] = product
        return {
            name: fft.irfft(lines, n=last, axis=-1, workers=workers, overwrite_x=True) for name, lines in back.items()
        }
