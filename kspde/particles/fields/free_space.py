"""Transforms of kernels on a grid in free space: no images, and no more than twice the cloud's points per direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from kspde.runtime.compiled import on_threads
from kspde.typing import Array

__all__ = ["doubled", "free_space_factor"]

#: A function of phases |kh| per direction and the spacing that returns |k|² and the factor of a kernel's symbol.
GridFactors = Callable[[Sequence[Array], float], tuple[Array, Array]]


def doubled(corner: Sequence[int]) -> tuple[int, ...]:
    """Return the points of a periodic grid on which nothing in the corner meets images of the corner."""
    from scipy import fft

    return tuple(2 * int(fft.next_fast_len(points, real=True)) for points in corner)


def free_space_factor(
    symbol: Callable[[Array, float], Array],
    factors: GridFactors,
    corner: Sequence[int],
    *,
    spacing: float,
    support: float,
    threads: int,
) -> Array:
    """Return the transform, on the grid of ``doubled`` points, of a kernel that is right between points of the corner.

    The kernel is truncated where no two points are, so that its symbol is smooth (Vico, Greengard and Ferrando, J.
    Comput. Phys. 323 (2016)), and transformed on a grid that is wide enough for that.

    Args:
        symbol: the symbol at λ of the kernel truncated at a radius R.
        factors: |k|² and the grid's factor.
        corner: points of the corner per direction.
        spacing: the grid spacing.
        support: the distance at which mollifier, screen and the inverse of the grid's splines end.
        threads: threads for transforms.

    Returns:
        All modes of the first directions, and the lower half of the last.
    """
    from scipy import fft

    radius = spacing * math.hypot(*corner) + support
    wide = doubled([math.ceil(0.5 * (points + (radius + support) / spacing)) for points in corner])
    lam, factor = factors([2 * np.pi / m * np.arange(m // 2 + 1.0) for m in wide], spacing)
    values = np.empty(lam.shape)

    def part(j: int) -> None:
        at = slice(len(lam) * j // 16, len(lam) * (j + 1) // 16)
        values[at] = symbol(lam[at], radius) * factor[at]

    on_threads(part, 16)
    kernel = fft.dctn(values, type=1, workers=threads) / math.prod(wide)
    shape = doubled(corner)
    narrow = np.zeros([m // 2 + 1 for m in shape])
    kept = tuple(slice(min(a, b)) for a, b in zip(narrow.shape, kernel.shape, strict=True))
    narrow[kept] = kernel[kept]
    folded = [np.minimum(np.arange(m), m - np.arange(m)) for m in shape[:-1]]
    out: Array = fft.dctn(narrow, type=1, workers=threads)[np.ix_(*folded, np.arange(shape[-1] // 2 + 1))]
    return out
