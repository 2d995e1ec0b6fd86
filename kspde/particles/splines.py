r"""Deposit on and gather from a uniform grid with B-splines of order 6, compiled.

A particle at grid coordinate :math:`s = (x - \text{lower})/h` touches the six nodes from ⌊s⌋ − 2 on, in each direction,
with weights :math:`B(s - j)`. The caller makes sure that these nodes lie on the grid; nothing wraps around.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspde.compiled import compiled_parallel, inlined, prange
from kspde.models.base import Array

__all__ = ["DEPOSIT", "GATHER", "GATHER_GRADIENT", "reduce_grids"]

_1, _2, _3, _4, _5 = (np.uint64(j) for j in range(1, 6))
_Six = tuple[float, float, float, float, float, float]


@inlined
def _weights(t: float) -> _Six:
    """Return B at the six nodes, for t = s − ⌊s⌋ in [0, 1)."""
    u = 1.0 - t
    t2 = t * t
    u2 = u * u
    w0 = u2 * u2 * u * (1 / 120)
    w5 = t2 * t2 * t * (1 / 120)
    w1 = (((((5.0 * t - 20.0) * t + 20.0) * t + 20.0) * t - 50.0) * t + 26.0) * (1 / 120)
    w4 = (((((5.0 * u - 20.0) * u + 20.0) * u + 20.0) * u - 50.0) * u + 26.0) * (1 / 120)
    w2 = ((30.0 - 10.0 * t) * t2 - 60.0) * t2 * (1 / 120) + 0.55
    w3 = ((30.0 - 10.0 * u) * u2 - 60.0) * u2 * (1 / 120) + 0.55
    return w0, w1, w2, w3, w4, w5


@inlined
def _slopes(t: float) -> _Six:
    """Return dB/ds at the six nodes."""
    u = 1.0 - t
    t2 = t * t
    u2 = u * u
    d0 = u2 * u2 * (-1 / 24)
    d5 = t2 * t2 * (1 / 24)
    d1 = ((((25.0 * t - 80.0) * t + 60.0) * t + 40.0) * t - 50.0) * (1 / 120)
    d4 = ((((25.0 * u - 80.0) * u + 60.0) * u + 40.0) * u - 50.0) * (-1 / 120)
    d2 = ((120.0 - 50.0 * t) * t2 - 120.0) * t * (1 / 120)
    d3 = ((120.0 - 50.0 * u) * u2 - 120.0) * u * (-1 / 120)
    return d0, d1, d2, d3, d4, d5


@inlined
def _add_row(grid: Array, at: np.uint64, f: float, w: _Six) -> None:
    grid[at] += f * w[0]
    grid[at + _1] += f * w[1]
    grid[at + _2] += f * w[2]
    grid[at + _3] += f * w[3]
    grid[at + _4] += f * w[4]
    grid[at + _5] += f * w[5]


@inlined
def _dot_row(grid: Array, at: np.uint64, w: _Six) -> Any:
    return (
        grid[at] * w[0]
        + grid[at + _1] * w[1]
        + grid[at + _2] * w[2]
        + grid[at + _3] * w[3]
        + grid[at + _4] * w[4]
        + grid[at + _5] * w[5]
    )


@compiled_parallel
def _deposit_1d(grids: Array, x: Array, lower: Array, per_length: float, weight: float) -> None:
    tasks, n = len(grids), len(x)
    for task in prange(tasks):
        grid = grids[task]
        grid[:] = 0.0
        for i in range(n * task // tasks, n * (task + 1) // tasks):
            s = (x[i, 0] - lower[0]) * per_length
            a = np.int64(s)
            _add_row(grid, np.uint64(a - 2), weight, _weights(s - a))


@compiled_parallel
def _deposit_2d(grids: Array, x: Array, lower: Array, per_length: float, weight: float) -> None:
    tasks, n, columns = len(grids), len(x), grids.shape[2]
    for task in prange(tasks):
        grid = grids[task].ravel()
        grid[:] = 0.0
        for i in range(n * task // tasks, n * (task + 1) // tasks):
            s0 = (x[i, 0] - lower[0]) * per_length
            s1 = (x[i, 1] - lower[1]) * per_length
            a0, a1 = np.int64(s0), np.int64(s1)
            u, v = _weights(s0 - a0), _weights(s1 - a1)
            row = (a0 - 2) * columns + a1 - 2
            _add_row(grid, np.uint64(row), weight * u[0], v)
            _add_row(grid, np.uint64(row + columns), weight * u[1], v)
            _add_row(grid, np.uint64(row + 2 * columns), weight * u[2], v)
            _add_row(grid, np.uint64(row + 3 * columns), weight * u[3], v)
            _add_row(grid, np.uint64(row + 4 * columns), weight * u[4], v)
            _add_row(grid, np.uint64(row + 5 * columns), weight * u[5], v)


@compiled_parallel
def _deposit_3d(grids: Array, x: Array, lower: Array, per_length: float, weight: float) -> None:
    tasks, n, rows, columns = len(grids), len(x), grids.shape[2], grids.shape[3]
    for task in prange(tasks):
        grid = grids[task].ravel()
        grid[:] = 0.0
        for i in range(n * task // tasks, n * (task + 1) // tasks):
            s0 = (x[i, 0] - lower[0]) * per_length
            s1 = (x[i, 1] - lower[1]) * per_length
            s2 = (x[i, 2] - lower[2]) * per_length
            a0, a1, a2 = np.int64(s0), np.int64(s1), np.int64(s2)
            u, v, w = _weights(s0 - a0), _weights(s1 - a1), _weights(s2 - a2)
            for p in range(6):
                for q in range(6):
                    row = ((a0 - 2 + p) * rows + a1 - 2 + q) * columns + a2 - 2
                    _add_row(grid, np.uint64(row), weight * u[p] * v[q], w)


@compiled_parallel
def reduce_grids(grids: Array) -> None:
    """Add the grids of all threads to the first; shape (threads, nodes)."""
    threads, nodes = grids.shape
    parts = 16
    for part in prange(parts):
        for thread in range(1, threads):
            for j in range(nodes * part // parts, nodes * (part + 1) // parts):
                grids[0, j] += grids[thread, j]


@compiled_parallel
def _gather_1d(out: Array, c: Array, x: Array, lower: Array, per_length: float) -> None:
    for i in prange(len(x)):
        s = (x[i, 0] - lower[0]) * per_length
        a = np.int64(s)
        out[i] = _dot_row(c, np.uint64(a - 2), _weights(s - a))


@compiled_parallel
def _gather_2d(out: Array, c: Array, x: Array, lower: Array, per_length: float) -> None:
    columns = c.shape[1]
    grid = c.ravel()
    for i in prange(len(x)):
        s0 = (x[i, 0] - lower[0]) * per_length
        s1 = (x[i, 1] - lower[1]) * per_length
        a0, a1 = np.int64(s0), np.int64(s1)
        u, v = _weights(s0 - a0), _weights(s1 - a1)
        row = (a0 - 2) * columns + a1 - 2
        out[i] = (
            u[0] * _dot_row(grid, np.uint64(row), v)
            + u[1] * _dot_row(grid, np.uint64(row + columns), v)
            + u[2] * _dot_row(grid, np.uint64(row + 2 * columns), v)
            + u[3] * _dot_row(grid, np.uint64(row + 3 * columns), v)
            + u[4] * _dot_row(grid, np.uint64(row + 4 * columns), v)
            + u[5] * _dot_row(grid, np.uint64(row + 5 * columns), v)
        )


@compiled_parallel
def _gather_3d(out: Array, c: Array, x: Array, lower: Array, per_length: float) -> None:
    rows, columns = c.shape[1], c.shape[2]
    grid = c.ravel()
    for i in prange(len(x)):
        s0 = (x[i, 0] - lower[0]) * per_length
        s1 = (x[i, 1] - lower[1]) * per_length
        s2 = (x[i, 2] - lower[2]) * per_length
        a0, a1, a2 = np.int64(s0), np.int64(s1), np.int64(s2)
        u, v, w = _weights(s0 - a0), _weights(s1 - a1), _weights(s2 - a2)
        value = 0.0
        for p in range(6):
            for q in range(6):
                row = ((a0 - 2 + p) * rows + a1 - 2 + q) * columns + a2 - 2
                value += u[p] * v[q] * _dot_row(grid, np.uint64(row), w)
        out[i] = value


@compiled_parallel
def _gather_gradient_1d(out: Array, gradient: Array, c: Array, x: Array, lower: Array, per_length: float) -> None:
    for i in prange(len(x)):
        s = (x[i, 0] - lower[0]) * per_length
        a = np.int64(s)
        at = np.uint64(a - 2)
        out[i] = _dot_row(c, at, _weights(s - a))
        gradient[i, 0] = per_length * _dot_row(c, at, _slopes(s - a))


@compiled_parallel
def _gather_gradient_2d(out: Array, gradient: Array, c: Array, x: Array, lower: Array, per_length: float) -> None:
    columns = c.shape[1]
    grid = c.ravel()
    for i in prange(len(x)):
        s0 = (x[i, 0] - lower[0]) * per_length
        s1 = (x[i, 1] - lower[1]) * per_length
        a0, a1 = np.int64(s0), np.int64(s1)
        u, v = _weights(s0 - a0), _weights(s1 - a1)
        du, dv = _slopes(s0 - a0), _slopes(s1 - a1)
        row = (a0 - 2) * columns + a1 - 2
        value, along0, along1 = 0.0, 0.0, 0.0
        for p in range(6):
            at = np.uint64(row + p * columns)
            line = _dot_row(grid, at, v)
            value += u[p] * line
            along0 += du[p] * line
            along1 += u[p] * _dot_row(grid, at, dv)
        out[i] = value
        gradient[i, 0] = per_length * along0
        gradient[i, 1] = per_length * along1


@compiled_parallel
def _gather_gradient_3d(out: Array, gradient: Array, c: Array, x: Array, lower: Array, per_length: float) -> None:
    rows, columns = c.shape[1], c.shape[2]
    grid = c.ravel()
    for i in prange(len(x)):
        s0 = (x[i, 0] - lower[0]) * per_length
        s1 = (x[i, 1] - lower[1]) * per_length
        s2 = (x[i, 2] - lower[2]) * per_length
        a0, a1, a2 = np.int64(s0), np.int64(s1), np.int64(s2)
        u, v, w = _weights(s0 - a0), _weights(s1 - a1), _weights(s2 - a2)
        du, dv, dw = _slopes(s0 - a0), _slopes(s1 - a1), _slopes(s2 - a2)
        value, along0, along1, along2 = 0.0, 0.0, 0.0, 0.0
        for p in range(6):
            for q in range(6):
                at = np.uint64(((a0 - 2 + p) * rows + a1 - 2 + q) * columns + a2 - 2)
                line = _dot_row(grid, at, w)
                value += u[p] * v[q] * line
                along0 += du[p] * v[q] * line
                along1 += u[p] * dv[q] * line
                along2 += u[p] * v[q] * _dot_row(grid, at, dw)
        out[i] = value
        gradient[i, 0] = per_length * along0
        gradient[i, 1] = per_length * along1
        gradient[i, 2] = per_length * along2


#: By dimension: (private grids (threads, M, ...), positions (n, d), lower corner, 1/h, a particle's weight).
DEPOSIT = {1: _deposit_1d, 2: _deposit_2d, 3: _deposit_3d}
#: By dimension: (values out (n,), spline coefficients (M, ...), positions, lower corner, 1/h).
GATHER = {1: _gather_1d, 2: _gather_2d, 3: _gather_3d}
#: The same, with the gradients (n, d) after the values.
GATHER_GRADIENT = {1: _gather_gradient_1d, 2: _gather_gradient_2d, 3: _gather_gradient_3d}
