"""Sums over the pairs closer than a distance, compiled: particles in cells, and the rest of a split kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.particles.fields.cells import AROUND, Cells, row
from kspde.particles.fields.pairs import OctaveTables, by_octave
from kspde.particles.fields.simd import as_bits, as_number
from kspde.particles.fields.splitting import DEGREES
from kspde.particles.weights import in_loops, weight_at
from kspde.runtime.compiled import compiled, inlined_only, widest_vectors
from kspde.typing import Array, Indices

__all__ = ["Rest", "add_pairs", "work_shares"]

#: Sources are handled in multiples of this many, so that no loop over them has an end that is not vectorised.
_STRIDE = 16
_BELOW_ONE = 1.0 - 2.0**-53

assert DEGREES == {0: 13, 1: 13, 3: 13, 5: 13, 10: 21}  # what is written out below


@inlined_only
def _log(t: float) -> float:
    """Return log t for normal t > 0, to 1e-14: a library's function would not vectorise."""
    bits = as_bits(t)
    exponent = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = as_number(bits - (exponent << 52))  # in [√½, √2)
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    tail = 1 / 9 + q * (1 / 11 + q * (1 / 13 + q * (1 / 15 + q * (1 / 17))))
    out: float = exponent * 0.6931471805599453 + 2.0 * s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * tail))))
    return out


def _log_coefficients(degree: int) -> tuple[float, ...]:
    """Return the ascending coefficients of a polynomial that is log(1 + u) for √½ <= 1 + u < √2."""
    ends = np.sqrt([0.5, 2.0]) - 1.0
    fit = np.polynomial.Chebyshev.interpolate(np.log1p, degree, ends).convert(kind=np.polynomial.Polynomial)
    return *(float(c) for c in fit.coef), *[0.0] * (16 - degree)


_LOG6, _LOG10, _LOG14, _LOG16 = map(_log_coefficients, (6, 10, 14, 16))
#: The least argument; the bits that turn √2 into 2; those of exponents; and 1.
_SMALLEST, _CARRY, _EXPONENT, _ONE = 2.0**-60, 0x95F619980C433, 0x7FF0000000000000, 0x3FF0000000000000


@inlined_only
def _rough_log(t: float, terms: int) -> float:
    """Return log t for 2^-60 <= t <= 1, to the error that ``LOG_ERRORS`` has for a number of terms.

    Without AVX-512 neither signed shifts nor conversions of integers vectorise: the exponent becomes the first bits of
    a number 1 <= v < 2.
    """
    bits = as_bits(t if t > _SMALLEST else _SMALLEST)
    exponent = (bits + _CARRY) & _EXPONENT
    v = as_number((exponent >> 6) + (_ONE - (960 << 46)))
    u = as_number(bits - exponent + _ONE) - 1.0
    c = _LOG6 if terms == 1 else _LOG10 if terms == 3 else _LOG14 if terms == 5 else _LOG16
    high = c[6]
    if terms > 3:
        last = c[12] + u * (c[13] + u * (c[14] + u * (c[15] + u * c[16]) if terms > 5 else c[14]))
        high += u * (c[7] + u * (c[8] + u * (c[9] + u * (c[10] + u * (c[11] + u * last)))))
    elif terms > 1:
        high += u * (c[7] + u * (c[8] + u * (c[9] + u * c[10])))
    high = c[4] + u * (c[5] + u * high)
    whole = v * (64 * 0.6931471805599453) + (c[0] - 127 * 0.6931471805599453)
    out: float = whole + u * (c[1] + u * (c[2] + u * (c[3] + u * high)))
    return out


@inlined_only
def _power(t: float, p: float) -> float:
    """Return t^p likewise, to 1e-12."""
    y = 1.4426950408889634 * p * _log(t)
    shifted = y + 6755399441055744.0  # 1.5 · 2^52: the last bits are y to the nearest integer
    x = 0.6931471805599453 * (y - (shifted - 6755399441055744.0))
    high = 1 / 5040 + x * (1 / 40320 + x * (1 / 362880 + x * (1 / 3628800 + x * (1 / 39916800))))
    small = 1 + x * (1 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720 + x * high))))))
    out: float = as_number(as_bits(small) + (as_bits(shifted) << 52))
    return out


@inlined_only
def _polynomial(c: Array, y: float, terms: int) -> float:
    """Return c₀ + c₁ y + …, of the degree for a number of terms."""
    last = c[13]
    if terms > 5:
        higher = c[17] + y * (c[18] + y * (c[19] + y * (c[20] + y * c[21])))
        last += y * (c[14] + y * (c[15] + y * (c[16] + y * higher)))
    high = c[8] + y * (c[9] + y * (c[10] + y * (c[11] + y * (c[12] + y * last))))
    middle = c[4] + y * (c[5] + y * (c[6] + y * (c[7] + y * high)))
    out: float = c[0] + y * (c[1] + y * (c[2] + y * (c[3] + y * middle)))
    return out


@inlined_only
def _series(c: Array, t: float, terms: int) -> float:
    """Return c₁ + c₂ t + …, of 1, 3, 5 or 10 terms."""
    out: float = c[1]
    if terms > 1:
        high = c[3]
        if terms > 5:
            high += t * (c[4] + t * (c[5] + t * (c[6] + t * (c[7] + t * (c[8] + t * (c[9] + t * c[10]))))))
        elif terms > 3:
            high += t * (c[4] + t * c[5])
        out += t * (c[2] + t * high)
    return out


@dataclass(frozen=True)
class Rest:
    """A radial function that ends at a distance, as pairs in cells take it.

    Attributes:
        reach: the distance.
        polynomials: what ``Split.near`` returns; None in place of a series for a function without a singular part.
        middle: F(0): what the far part has of a pair at the same place, which adds nothing.
        power: what ``Split.power`` returns.
        terms: a tuple of 0, 1, 3, 5 or 10 entries, as many as the series' coefficients after the first.
        octaves: tables in t = (r/ρ)², instead of polynomials and series.
        from_end: whether they are tables in 1 − t.
    """

    reach: float
    polynomials: tuple[Array, Array | None, Array, Array | None]
    middle: float
    power: float | None = None
    terms: tuple[int, ...] = ()
    octaves: OctaveTables | None = None
    from_end: bool = False


def add_pairs(
    run: Callable[..., Any],
    shares: Sequence[Indices],
    count: Indices,
    targets: Cells,
    wanted: npt.NDArray[np.bool_],
    sources: Cells,
    weights: float | Array,
    rest: Rest,
    values: Array | None,
    gradient: Array | None,
) -> None:
    """Add the sums over pairs at the wanted targets.

    Args:
        run: calls a function with 0, 1, … below a number, on threads or one after the other.
        shares: the cells of the targets, in shares.
        count: the sources around each cell.
        targets: the targets.
        wanted: which of them are wanted.
        sources: the sources, in the same cells.
        weights: their weights.
        rest: the function of the distance.
        values: sums by sorted target, (n,), or None.
        gradient: likewise of the gradient, (n, d), or None.
    """
    every = in_loops(weights)

    def add(j: int) -> None:
        if len(shares[j]):
            _add_cells(
                values,
                gradient,
                shares[j],
                int(count[shares[j]].max()),
                targets.x,
                targets.starts,
                wanted,
                (0,) * targets.x.shape[1],
                sources.x,
                sources.starts,
                sources.shape,
                every,
                1.0 / rest.reach,
                *rest.polynomials,
                rest.middle,
                rest.power,
                rest.terms,
                rest.octaves,
                rest.from_end,
            )

    run(add, len(shares))


def work_shares(count: Indices, targets: Indices, cells: Indices) -> list[Indices]:
    """Return some cells in shares of as many pairs each, for threads: ``count`` are the sources around each cell."""
    work = np.cumsum(count[cells] * np.diff(targets)[cells])
    tasks = int(min(64, 1 + work[-1] // 500_000))
    return np.split(cells, np.searchsorted(work, work[-1] * np.arange(1, tasks) / tasks))


@inlined_only
def _around(
    a0: int, a1: int, a2: int, sources: Array, starts: Indices, shape: Indices, weights: Array,
    u0: Array, u1: Array, u2: Array, w: Array,
) -> int:  # fmt: skip
    """Write positions and weights of the sources in the cells around one; return their number, made up to a stride."""
    d, m = sources.shape[1], 0
    for b0 in range(max(a0 - AROUND, 0), min(a0 + AROUND + 1, shape[0])):
        for b1 in range(max(a1 - AROUND, 0), min(a1 + AROUND + 1, shape[1])):
            first, end = row(a0, a1, a2, b0, b1, starts, shape)
            for j in range(first, end):
                u0[m] = sources[j, 0]
                if d > 1:
                    u1[m] = sources[j, 1]
                if d > 2:
                    u2[m] = sources[j, 2]
                w[m] = weight_at(weights, j)
                m += 1
    while m % _STRIDE:
        u0[m], u1[m], u2[m], w[m] = np.inf, 0.0, 0.0, 0.0
        m += 1
    return m


@inlined_only
def _slope(t: float, log: float, d: int, terms: int, polynomial: Array, series: Array) -> float:
    """Return R'/r by its polynomial and power series (``Split.near``)."""
    f: float = _polynomial(polynomial, 2.0 * t - 1.0, terms)
    front: float = series[0]
    if d == 2:
        f += front / t
        if terms > 0:
            f += log * _series(series, t, terms)
    else:
        if terms > 0:
            front += t * _series(series, t, terms)
        f += front / np.sqrt(t) if d == 1 else front / (t * np.sqrt(t))
    return f


@inlined_only
def _value(t: float, log: float, d: int, terms: int, polynomial: Array, series: Array) -> float:
    """Return R likewise."""
    front = series[0]
    if terms > 0:
        front += t * _series(series, t, terms)
    singular = front * log if d == 2 else front * np.sqrt(t) if d == 1 else front / np.sqrt(t)
    out: float = singular + _polynomial(polynomial, 2.0 * t - 1.0, terms)
    return out


@inlined_only
def _rest_at(
    t: float, inside: bool, d: int, values: Array | None, gradient: Array | None, slope_polynomial: Array,
    slope_series: Array | None, polynomial: Array, series: Array | None, power: float | None,
    terms: tuple[int, ...], octaves: OctaveTables | None, from_end: bool,
) -> Any:  # fmt: skip
    """Return R'/r, if gradients are wanted, and R, if values are; see ``_add_cells``."""
    f, v = 0.0, 0.0
    if octaves is not None:
        if inside:
            at = min(1.0 - t, _BELOW_ONE) if from_end else t
            f = by_octave(octaves[1], octaves[2], at)
            if values is not None:
                v = by_octave(octaves[0], octaves[2], at)
    elif series is None:
        f = _polynomial(slope_polynomial, 2.0 * t - 1.0, len(terms))
        if values is not None:
            v = _polynomial(polynomial, 2.0 * t - 1.0, len(terms))
    elif power is not None:
        if gradient is not None:
            f = _polynomial(slope_polynomial, 2.0 * t - 1.0, len(terms)) + slope_series[0] * _power(t, -power - 1.0)  # type: ignore[index]
        if values is not None:
            front = _power(t, -power) if power > 0.0 else _log(t)
            v = _polynomial(polynomial, 2.0 * t - 1.0, len(terms)) + series[0] * front
    else:
        count, log = len(terms), 0.0
        if d == 2 and values is not None:
            log = _log(t)
        elif d == 2 and count > 0:
            log = _rough_log(t, count)
        if gradient is not None:
            f = _slope(t, log, d, count, slope_polynomial, slope_series)  # type: ignore[arg-type]
        if values is not None:
            v = _value(t, log, d, count, polynomial, series)
    return f, v


@compiled
def _add_cells(
    values: Array | None,
    gradient: Array | None,
    cells: Indices,
    most: int,
    x: Array,
    targets: Indices,
    wanted: npt.NDArray[np.bool_],
    directions: tuple[int, ...],
    sources: Array,
    starts: Indices,
    shape: Indices,
    weights: Array,
    per_reach: float,
    slope_polynomial: Array,
    slope_series: Array | None,
    polynomial: Array,
    series: Array | None,
    middle: float,
    power: float | None,
    terms: tuple[int, ...],
    octaves: OctaveTables | None,
    from_end: bool,
) -> None:
    """Add the sums of the rest R, and of its gradient, at the wanted targets in some cells.

    Args:
        values: values, (n,), or None if none are wanted.
        gradient: gradients, (n, d), or None.
        cells: the cells.
        most: the largest number of sources in the cells around one of them.
        x: targets, sorted by cell, (n, d).
        targets: first target of each cell.
        wanted: by target, whether it is wanted.
        directions: a tuple of length d, which the loop knows when it is compiled.
        sources: sources, sorted by cell.
        starts: first source of each cell.
        shape: cells per direction, 1 beyond d.
        weights: the sources' weights (``in_loops``).
        per_reach: 1/ρ.
        slope_polynomial: those of R'/r, as ``Split.near`` returns them, and so on.
        slope_series: see there; None for a kernel without a singular part.
        polynomial: see there.
        series: see there; None likewise.
        middle: F(0): what the far part has of a pair at the same place, which adds nothing.
        power: what ``Split.power`` returns.
        terms: see ``Rest``.
        octaves: tables of R in t = (r/ρ)², instead of polynomials and series.
        from_end: whether they are tables in 1 − t.
    """
    widest_vectors()
    d = len(directions)
    room = most + _STRIDE
    u0, u1, u2, w = np.empty(room), np.empty(room), np.empty(room), np.empty(room)
    for cell in cells:
        a0, a1, a2 = cell // (shape[1] * shape[2]), cell // shape[2] % shape[1], cell % shape[2]
        m = _around(a0, a1, a2, sources, starts, shape, weights, u0, u1, u2, w)
        for i in range(targets[cell], targets[cell + 1]):
            if not wanted[i]:
                continue
            x0, x1, x2 = x[i, 0], x[i, 1] if d > 1 else 0.0, x[i, 2] if d > 2 else 0.0
            value, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
            for j in range(m):
                z0 = (x0 - u0[j]) * per_reach
                z1 = (x1 - u1[j]) * per_reach if d > 1 else 0.0
                z2 = (x2 - u2[j]) * per_reach if d > 2 else 0.0
                r2 = z0 * z0 + z1 * z1 + z2 * z2
                inside = (r2 < 1.0) & (r2 > 0.0)
                t = r2 if inside else 1.0
                weight = w[j] if inside else 0.0
                f, v = _rest_at(
                    t, inside, d, values, gradient, slope_polynomial, slope_series, polynomial, series, power, terms,
                    octaves, from_end,
                )  # fmt: skip
                if gradient is not None:
                    f *= weight
                    g0 += f * (z0 if inside else 0.0)
                    g1 += f * z1
                    g2 += f * z2
                if values is not None:
                    value += weight * v - (w[j] * middle if r2 == 0.0 else 0.0)
            if values is not None:
                values[i] += value
            if gradient is not None:
                gradient[i, 0] += g0 / per_reach
                if d > 1:
                    gradient[i, 1] += g1 / per_reach
                if d > 2:
                    gradient[i, 2] += g2 / per_reach
