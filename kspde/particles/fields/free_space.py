"""Transforms of kernels on a grid in free space: no images, and no more than twice the cloud's points per direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from kspde.runtime.compiled import on_threads
from kspde.typing import Array

__all__ = ["doubled", "free_space_factor", "sampled_factor"]

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
    radius = spacing * math.hypot(*corner) + support
    wide = doubled([math.ceil(0.5 * (points + (radius + support) / spacing)) for points in corner])
    lam, factor = factors([2 * np.pi / m * np.arange(m // 2 + 1.0) for m in wide], spacing)
    return _folded(_in_parts(lambda at: symbol(lam[at], radius) * factor[at], lam.shape), wide, corner, threads)


def sampled_factor(
    far: Callable[[Array], Array],
    factors: GridFactors,
    corner: Sequence[int],
    *,
    spacing: float,
    decay: float,
    threads: int,
) -> Array:
    """Return the same for a function of the distance that the grid resolves, from its values at the nodes.

    Beyond the corner, and the eight nodes over which the inverse of the grid's window reaches, an error function leads
    it to 0, whose transform has fallen to exp(−decay) at half the grid's largest wavenumber.

    Args:
        far: the function at distances, shape (n,).
        factors: |k|² and the grid's factor.
        corner: points of the corner per direction.
        spacing: the grid spacing.
        decay: as said.
        threads: threads for transforms.
    """
    from scipy import fft, special

    width = 2.5 * decay
    wide = doubled([math.ceil(points + 8 + width) for points in corner])
    steps = [np.arange(m // 2 + 1.0) for m in wide]
    taper = [
        special.ndtr(math.sqrt(8 * decay) * (p + 8 - k) / width + math.sqrt(2 * decay))
        for p, k in zip(corner, steps, strict=True)
    ]

    def part(at: slice) -> Array:
        near = np.ix_(steps[0][at], *steps[1:])
        ends = np.ix_(taper[0][at], *taper[1:])
        r = spacing * np.sqrt(sum(k**2 for k in near))
        return np.asarray(far(r.ravel()).reshape(r.shape) * math.prod(ends))

    values = _in_parts(part, tuple(map(len, steps)))
    _, factor = factors([2 * np.pi / m * k for m, k in zip(wide, steps, strict=True)], spacing)
    values = fft.dctn(values, type=1, workers=threads) * factor
    return _folded(values * spacing ** len(wide), wide, corner, threads)


def _in_parts(function: Callable[[slice], Array], shape: tuple[int, ...]) -> Array:
    """Return the values of a function of slices of the first direction, by threads."""
    values = np.empty(shape)

    def part(j: int) -> None:
        at = slice(len(values) * j // 16, len(values) * (j + 1) // 16)
        values[at] = function(at)

    on_threads(part, 16)
    return values


def _folded(values: Array, wide: Sequence[int], corner: Sequence[int], threads: int) -> Array:
    """Return the transform on the grid of ``doubled`` points of a kernel with a given one on a wide grid."""
    from scipy import fft

    kernel = fft.dctn(values, type=1, workers=threads) / math.prod(wide)
    shape = doubled(corner)
    narrow = np.zeros([m // 2 + 1 for m in shape])
    kept = tuple(slice(min(a, b)) for a, b in zip(narrow.shape, kernel.shape, strict=True))
    narrow[kept] = kernel[kept]
    folded = [np.minimum(np.arange(m), m - np.arange(m)) for m in shape[:-1]]
    out: Array = fft.dctn(narrow, type=1, workers=threads)[np.ix_(*folded, np.arange(shape[-1] // 2 + 1))]
    return out
