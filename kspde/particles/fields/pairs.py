"""Sums over pairs of a kernel tabulated by distance: over all sources, or those in neighbouring cells; compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kspde.kernels import Kernel
from kspde.particles.fields.simd import as_bits
from kspde.particles.weights import weight_of
from kspde.radial import RadialTable
from kspde.runtime.compiled import compiled, in_shares, inlined_early, inlined_only
from kspde.typing import Array, Indices

__all__ = [
    "OctaveTables",
    "PairTables",
    "add_neighbours",
    "by_octave",
    "octave_tables",
    "pair_tables",
    "sum_all",
    "sum_singular",
    "sum_slopes",
]


#: A RadialTable of K and its step, and one of dK/dr and its step. Compiled loops take them as four arguments: with a
#: tuple, numba 0.68 rounds differently in the process that compiles a parallel loop and in those that load it.
PairTables = tuple[Array, float, Array, float]


def pair_tables(kernel: Kernel, dimension: int, reach: float, *, tol: float, gradient: bool) -> PairTables:
    """Return the tables of a kernel up to the distance ``reach``, to relative error ``tol``.

    Without ``gradient`` the table of dK/dr is another one of K, which is not read.
    """
    values, slopes = (RadialTable(kernel, dimension, reach, tol=tol, slope=slope) for slope in (False, gradient))
    return values.coefficients, values.step, slopes.coefficients, slopes.step


#: What neighbours are counted as, by a sum that does not know them.
_AROUND = 50


@inlined_early
def _tabulated(table: Array, step: float, root: float) -> float:
    """Return what a RadialTable holds at distance root²."""
    cell = min(int(root / step), len(table) - 1)
    t = root - cell * step
    c = table[cell]
    out: float = c[0] + t * (c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * c[5]))))
    return out


@inlined_early
def _difference(x: Array, i: int, sources: Array, j: int, d: int) -> Any:
    """Return x_i − X_j, with zeros after the last direction, and its square."""
    z0 = x[i, 0] - sources[j, 0]
    z1 = x[i, 1] - sources[j, 1] if d > 1 else 0.0
    z2 = x[i, 2] - sources[j, 2] if d > 2 else 0.0
    return z0, z1, z2, z0 * z0 + z1 * z1 + z2 * z2


@inlined_early
def _pair(r2: float, weight: float, table: Array, step: float, slopes: Array, slope_step: float, sloped: bool) -> Any:
    """Return w K(r) and w K'(r)/r at distance r, whose square is given; 0 for the second where none is wanted."""
    r = np.sqrt(r2)
    root = np.sqrt(r)
    slope = weight * _tabulated(slopes, slope_step, root) / r if sloped and r > 0.0 else 0.0
    return weight * _tabulated(table, step, root), slope


@compiled
def _sum_all(
    begin: int,
    end: int,
    values: Array,
    gradient: Array | None,
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
    d, sloped = x.shape[1], gradient is not None
    for i in range(begin, end):
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
        if gradient is not None:
            g = (g0, g1, g2)
            for axis in range(d):
                gradient[i, axis] = factor * g[axis]


@compiled
def _sum_slopes(
    begin: int,
    end: int,
    out: Array,
    x: Array,
    delta: Array,
    group: int,
    table: Array,
    step: float,
    slopes: Array,
    slope_step: float,
    other: Array,
    other_step: float,
) -> None:
    d = x.shape[1]
    for i in range(begin, end):
        total, size, along, rest, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        first = i - i % group
        for j in range(first, first + group):
            z0, z1, z2, r2 = _difference(x, i, x, j, d)
            value, slope = _pair(r2, 1.0, table, step, slopes, slope_step, True)
            r = np.sqrt(r2)
            total += value
            size += abs(slope) * r
            rest += _tabulated(other, other_step, np.sqrt(r))
            g0 += slope * z0
            g1 += slope * z1
            g2 += slope * z2
            along += slope * z0 * delta[j, 0]
            along += slope * z1 * delta[j, 1] if d > 1 else 0.0
            along += slope * z2 * delta[j, 2] if d > 2 else 0.0
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = total, size, along, rest
        g = (g0, g1, g2)
        for axis in range(d):
            out[i, 4 + axis] = g[axis]


#: Tables of K and K'/r by octaves, and the least r².
OctaveTables = tuple[Array, Array, float]
#: Cells per octave of r², the degree of the polynomial on each, and the octaves below the largest r².
_BITS, _DEGREE, _OCTAVES = 3, 7, 100


def octave_tables(profile: Callable[[Array], Array], slope: Callable[[Array], Array], reach: float) -> OctaveTables:
    """Return the tables of a function of r that is singular at 0, to a relative error of 1e-12 at 0 < r < ``reach``.

    Octaves of r² are divided into eight cells each: a power of r is as smooth on one as on the others. Below the last
    octave, at 1e-15 times ``reach``, the values are those there.
    """
    least = 2.0 ** (math.floor(math.log2(reach**2)) + 1 - _OCTAVES)
    y = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
    cell = np.arange(_OCTAVES << _BITS)
    low = np.ldexp(1 + (cell % (1 << _BITS)) / (1 << _BITS), cell >> _BITS) * least
    width = np.ldexp(1.0, (cell >> _BITS) - _BITS) * least
    r = np.sqrt(low[:, None] + 0.5 * width[:, None] * (y + 1))
    powers = np.linalg.inv(np.vander(y, increasing=True))
    return profile(r) @ powers.T, slope(r) / r @ powers.T, least


@inlined_only
def by_octave(table: Array, least: float, r2: float) -> float:
    """Return what an octave table holds at a squared distance."""
    bits = as_bits(max(r2, least))
    cell = min((bits - as_bits(least)) >> (52 - _BITS), len(table) - 1)
    mantissa = (bits & ((1 << (52 - _BITS)) - 1)) * 2.0 ** (_BITS - 51) - 1.0
    out = 0.0
    for k in range(_DEGREE, -1, -1):
        out = out * mantissa + table[cell, k]
    return out


@compiled
def _sum_singular(
    begin: int,
    end: int,
    values: Array,
    gradient: Array | None,
    x: Array,
    sources: Array,
    group: int,
    table: Array,
    slopes: Array,
    least: float,
    weights: Array | None,
    factor: float,
) -> None:
    d, sloped = x.shape[1], gradient is not None
    for i in range(begin, end):
        total, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
        first = i - i % group if group < len(sources) else 0
        for j in range(first, first + group):
            z0, z1, z2, r2 = _difference(x, i, sources, j, d)
            if r2 > 0.0:
                weight = weight_of(weights, j)
                total += weight * by_octave(table, least, r2)
                slope = weight * by_octave(slopes, least, r2) if sloped else 0.0
                g0 += slope * z0
                g1 += slope * z1
                g2 += slope * z2
        values[i] = factor * total
        if gradient is not None:
            g = (g0, g1, g2)
            for axis in range(d):
                gradient[i, axis] = factor * g[axis]


@compiled
def _add_neighbours(
    begin: int,
    end: int,
    values: Array,
    gradient: Array | None,
    x: Array,
    sources: Array,
    starts: Indices,
    shape: Indices,
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
    d, sloped, reach2 = x.shape[1], gradient is not None, reach**2
    for i in range(begin, end):
        a0 = int(np.floor((x[i, 0] - lower[0]) * per_width))
        a1 = int(np.floor((x[i, 1] - lower[1]) * per_width)) if d > 1 else 0
        a2 = int(np.floor((x[i, 2] - lower[2]) * per_width)) if d > 2 else 0
        total, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
        for c0 in range(max(a0 - 1, 0), min(a0 + 2, shape[0])):
            for c1 in range(max(a1 - 1, 0), min(a1 + 2, shape[1])):
                row = (c0 * shape[1] + c1) * shape[2]
                first, last = max(a2 - 1, 0), min(a2 + 2, shape[2])
                if first >= last:
                    continue
                # Cells along the last direction are neighbours in memory.
                for j in range(starts[row + first], starts[row + last]):
                    z0, z1, z2, r2 = _difference(x, i, sources, j, d)
                    if r2 < reach2:
                        value, slope = _pair(r2, weight_of(weights, j), table, step, slopes, slope_step, sloped)
                        total += value
                        g0 += slope * z0
                        g1 += slope * z1
                        g2 += slope * z2
        values[i] += factor * total
        if gradient is not None:
            g = (g0, g1, g2)
            for axis in range(d):
                gradient[i, axis] += factor * g[axis]


def sum_all(values: Array, gradient: Array | None, x: Array, sources: Array, group: int, *others: Any) -> None:
    """Write the sums at x over all sources, or over those of a particle's own ``group`` of consecutive ones.

    The others are ``PairTables``, the weights of the sources, None for 1, and a common factor; ``gradient`` is None
    where none is wanted.
    """
    in_shares(lambda i, j: _sum_all(i, j, values, gradient, x, sources, group, *others), len(x), group)


def sum_slopes(out: Array, x: Array, delta: Array, group: int, *tables: Any) -> None:
    """Write the sums over a particle's own ``group`` of K, |K'|, ∇K·δ_j, another function, and ∇K, (n, 4 + d)."""
    in_shares(lambda i, j: _sum_slopes(i, j, out, x, delta, group, *tables), len(x), group)


def sum_singular(values: Array, gradient: Array | None, x: Array, sources: Array, group: int, *others: Any) -> None:
    """As ``sum_all``, for a kernel that is singular at 0: pairs at the same place add nothing.

    The others are ``OctaveTables``, weights and a factor.
    """
    in_shares(lambda i, j: _sum_singular(i, j, values, gradient, x, sources, group, *others), len(x), group)


def add_neighbours(values: Array, gradient: Array | None, x: Array, sources: Array, *others: Any) -> None:
    """Add to ``values`` and ``gradient`` the sums over the sources closer than a reach; see ``sum_all``.

    The sources are sorted into cells at least as wide as the reach. The others are the first source of each cell, and
    N; the cells per direction, 1 beyond d; the corner of the first; 1/width; the reach; ``PairTables``, weights and a
    factor.
    """
    in_shares(lambda i, j: _add_neighbours(i, j, values, gradient, x, sources, *others), len(x), _AROUND)
