"""Sums over pairs of a kernel tabulated by distance: over all sources, or those in neighbouring cells; compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.particles.weights import weight_of
from kspde.runtime.compiled import compiled_parallel, inlined, prange
from kspde.typing import Array

__all__ = ["add_neighbours", "sum_all"]

Cells = npt.NDArray[np.int64]


@inlined
def _tabulated(table: Array, step: float, root: float) -> float:
    """Return what a RadialTable holds at distance root²."""
    cell = min(int(root / step), len(table) - 1)
    t = root - cell * step
    c = table[cell]
    out: float = c[0] + t * (c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * c[5]))))
    return out


@inlined
def _difference(x: Array, i: int, sources: Array, j: int, d: int) -> Any:
    """Return x_i − X_j, with zeros after the last direction, and its square."""
    z0 = x[i, 0] - sources[j, 0]
    z1 = x[i, 1] - sources[j, 1] if d > 1 else 0.0
    z2 = x[i, 2] - sources[j, 2] if d > 2 else 0.0
    return z0, z1, z2, z0 * z0 + z1 * z1 + z2 * z2


@inlined
def _pair(r2: float, weight: float, table: Array, step: float, slopes: Array, slope_step: float, sloped: bool) -> Any:
    """Return w K(r) and w K'(r)/r at distance r, whose square is given; 0 for the second where none is wanted."""
    r = np.sqrt(r2)
    root = np.sqrt(r)
    slope = weight * _tabulated(slopes, slope_step, root) / r if sloped and r > 0.0 else 0.0
    return weight * _tabulated(table, step, root), slope


@inlined
def _add_to_row(gradient: Array, i: int, d: int, g0: float, g1: float, g2: float) -> None:
    gradient[i, 0] += g0
    if d > 1:
        gradient[i, 1] += g1
    if d > 2:
        gradient[i, 2] += g2


@compiled_parallel
def sum_all(
    values: Array,
    gradient: Array,
    x: Array,
    sources: Array,
    group: int,
    table: Array,
    step: float,
    slopes: Array,
    slope_step: float,
    weights: Array | None,
    factor: float,
) -> None:
    """Write the sums over all sources, or over those of a particle's own group.

    Args:
        values: shape (n,).
        gradient: shape (n, d), or (0, d) where none is wanted.
        x: where, shape (n, d).
        sources: shape (N, d).
        group: how many sources in a row belong together.
        table: coefficients of the kernel's table.
        step: its step.
        slopes: those of its derivative's table; anything where no gradient is wanted.
        slope_step: its step.
        weights: of the sources, shape (N,), or None for 1.
        factor: of all sums.
    """
    d, sloped = x.shape[1], len(gradient) > 0
    for i in prange(len(x)):
        total, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
        first = i - i % group if group < len(sources) else 0
        for j in range(first, first + group):
            z0, z1, z2, r2 = _difference(x, i, sources, j, d)
            value, slope = _pair(r2, weight_of(weights, j), table, step, slopes, slope_step, sloped)
            total += value
            g0 += slope * z0
            g1 += slope * z1
            g2 += slope * z2
        values[i] = factor * total
        if sloped:
            gradient[i] = 0.0
            _add_to_row(gradient, i, d, factor * g0, factor * g1, factor * g2)


@compiled_parallel
def add_neighbours(
    values: Array,
    gradient: Array,
    x: Array,
    sources: Array,
    starts: Cells,
    shape: Cells,
    lower: Array,
    per_width: float,
    reach: float,
    table: Array,
    step: float,
    slopes: Array,
    slope_step: float,
    weights: Array | None,
    factor: float,
) -> None:
    """Add the sums over the sources closer than ``reach``; arguments as of ``sum_all``, and the cells.

    Args:
        values: shape (n,).
        gradient: shape (n, d), or (0, d) where none is wanted.
        x: where, shape (n, d).
        sources: shape (N, d), sorted by cell.
        starts: the first source of every cell, and N.
        shape: cells by direction, 1 for those beyond d.
        lower: the corner of the first cell.
        per_width: cells a length, at most 1/``reach``.
        reach: the greatest distance.
        table: coefficients of the kernel's table.
        step: its step.
        slopes: those of its derivative's table; anything where no gradient is wanted.
        slope_step: its step.
        weights: of the sources, shape (N,), or None for 1.
        factor: of all sums.
    """
    d, sloped, reach2 = x.shape[1], len(gradient) > 0, reach**2
    for i in prange(len(x)):
        a0 = int(np.floor((x[i, 0] - lower[0]) * per_width))
        a1 = int(np.floor((x[i, 1] - lower[1]) * per_width)) if d > 1 else 0
        a2 = int(np.floor((x[i, 2] - lower[2]) * per_width)) if d > 2 else 0
        total, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
        for c0 in range(max(a0 - 1, 0), min(a0 + 2, shape[0])):
            for c1 in range(max(a1 - 1, 0), min(a1 + 2, shape[1])):
                row = (c0 * shape[1] + c1) * shape[2]
                first, end = max(a2 - 1, 0), min(a2 + 2, shape[2])
                if first >= end:
                    continue
                # Cells along the last direction are neighbours in memory.
                for j in range(starts[row + first], starts[row + end]):
                    z0, z1, z2, r2 = _difference(x, i, sources, j, d)
                    if r2 < reach2:
                        value, slope = _pair(r2, weight_of(weights, j), table, step, slopes, slope_step, sloped)
                        total += value
                        g0 += slope * z0
                        g1 += slope * z1
                        g2 += slope * z2
        values[i] += factor * total
        if sloped:
            _add_to_row(gradient, i, d, factor * g0, factor * g1, factor * g2)
