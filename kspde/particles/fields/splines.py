r"""Deposit on and gather from a uniform grid, compiled: with B-splines of order 6, or with a window of eight nodes.

A particle at grid coordinate :math:`s = (x - \text{lower})/h` touches the six nodes from ⌊s⌋ − 2 on, in each direction,
with weights :math:`B(s - j)`. The caller ensures that these nodes, and two more at the end of the last direction
(:mod:`kspde.particles.fields.simd`), lie in the array; nothing wraps around.

``WINDOW`` is the mean over a distance of one node of Kaiser and Bessel's :math:`I_0(b\sqrt{1 - (s/3.5)^2}) / I_0(b)`,
and touches the eight nodes from ⌊s⌋ − 3 on. A grid with a given error has far fewer points with it than with splines,
which have fewer nodes per particle. Thanks to the mean its sum over all nodes is constant, and smooth fields have
gradients as accurate as their values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspde.particles.fields.simd import LANES, ZERO, Lanes, add_scaled, dot, load, polynomials, scatter_add
from kspde.particles.weights import in_loops, weight_at
from kspde.runtime.compiled import compiled, in_blocks, inlined_only, on_threads
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm

__all__ = [
    "ORDER",
    "SPLINE",
    "WINDOW",
    "WINDOW_DECAY",
    "Nodes",
    "deposit",
    "gather",
    "gather_part",
    "grids_for",
    "reach_of",
]

#: Order of the B-splines, whose pieces have degree ORDER − 1.
ORDER = 6
#: What deposit and gather do with the particles, told by the length of a tuple, which numba knows when it compiles.
Nodes = tuple[int, ...]
SPLINE: Nodes = (0,) * ORDER
WINDOW: Nodes = (0,) * 8
#: b, for errors down to 1e-7.
WINDOW_DECAY = 18.0
#: The number of particles to deposit, and of nodes to sum over the grids, that is worth another thread.
_PARTICLES, _NODES = 5_000, 100_000
#: Each thread has two grids if they have at most this many nodes, half a megabyte.
_FEW_NODES = 60_000


#: Row k has, for each of the six nodes from ⌊s⌋ − 2 on, the coefficient of t^k in B(s − j), t = s − ⌊s⌋.
_COEFFICIENTS: Array = (
    np.array(
        [
            [1.0, 26.0, 66.0, 26.0, 1.0, 0.0],
            [-5.0, -50.0, 0.0, 50.0, 5.0, 0.0],
            [10.0, 20.0, -60.0, 20.0, 10.0, 0.0],
            [-10.0, 20.0, 0.0, -20.0, 10.0, 0.0],
            [5.0, -20.0, 30.0, -20.0, 5.0, 0.0],
            [-1.0, 5.0, -10.0, 10.0, -5.0, 1.0],
        ]
    )
    / 120.0
)


def _window_coefficients() -> Array:
    """Return the same for ``WINDOW``: its pieces are interpolated by polynomials of degree 12."""
    t = 0.5 - 0.5 * np.cos(np.pi * (np.arange(13) + 0.5) / 13)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    centre = t[:, None] + 3.0 - np.arange(8.0)
    low, high = np.maximum(centre - 0.5, -3.5), np.minimum(centre + 0.5, 3.5)
    s = low[..., None] + 0.5 * (high - low)[..., None] * (nodes + 1)
    bump = np.i0(WINDOW_DECAY * np.sqrt(np.maximum(1.0 - (s / 3.5) ** 2, 0.0))) / np.i0(WINDOW_DECAY)
    out: Array = np.linalg.solve(np.vander(t, increasing=True), 0.5 * (high - low) * (bump @ weights))
    return out


#: By the number of nodes.
_KINDS = {len(SPLINE): _COEFFICIENTS, len(WINDOW): _window_coefficients()}
_weights = polynomials(_KINDS)
_slopes = polynomials({n: rows[1:] * np.arange(1.0, len(rows))[:, None] for n, rows in _KINDS.items()})


@inlined_only
def _split(x: float, lower: float, per_length: float, nodes: Nodes) -> Any:
    """Return the first of the nodes, and the distance from ⌊s⌋ to s."""
    s = (x - lower) * per_length
    a = np.int64(s)
    return a - (len(nodes) // 2 - 1), s - a


@inlined_only
def _add_plane(grid: Array, at: int, stride: int, f: float, u: Lanes, v: Lanes, nodes: Nodes) -> None:
    """Add f u_p v_q at grid[at + p stride + q]."""
    for p in range(len(nodes)):
        scatter_add(grid, at + p * stride, f * u[p], v)


@inlined_only
def _plane(grid: Array, at: int, stride: int, u: Lanes, nodes: Nodes) -> Lanes:
    """Return Σ_p u_p grid[at + p stride + q] for lanes q."""
    total = ZERO
    for p in range(len(nodes)):
        total = add_scaled(total, u[p], load(grid, at + p * stride))
    return total


@inlined_only
def _block(grid: Array, at: int, slab: int, stride: int, u: Lanes, v: Lanes, nodes: Nodes) -> Lanes:
    """Return Σ_p u_p Σ_q v_q grid[at + p slab + q stride + r] for lanes r."""
    total = ZERO
    for p in range(len(nodes)):
        total = add_scaled(total, u[p], _plane(grid, at + p * slab, stride, v, nodes))
    return total


@compiled
def _deposit_1d(grid: Array, x: Array, lower: Array, per_length: float, weights: Array, nodes: Nodes) -> None:
    grid[:] = 0.0
    for i in range(len(x)):
        a, s = _split(x[i, 0], lower[0], per_length, nodes)
        scatter_add(grid, a, weight_at(weights, i), _weights(s, nodes))


@compiled
def _deposit_2d(grid: Array, x: Array, lower: Array, per_length: float, weights: Array, nodes: Nodes) -> None:
    columns, flat = grid.shape[1], grid.ravel()
    flat[:] = 0.0
    for i in range(len(x)):
        a0, s0 = _split(x[i, 0], lower[0], per_length, nodes)
        a1, s1 = _split(x[i, 1], lower[1], per_length, nodes)
        _add_plane(
            flat, a0 * columns + a1, columns, weight_at(weights, i), _weights(s0, nodes), _weights(s1, nodes), nodes
        )


@compiled
def _deposit_3d(grid: Array, x: Array, lower: Array, per_length: float, weights: Array, nodes: Nodes) -> None:
    rows, columns, flat = grid.shape[1], grid.shape[2], grid.ravel()
    slab = rows * columns
    flat[:] = 0.0
    for i in range(len(x)):
        a0, s0 = _split(x[i, 0], lower[0], per_length, nodes)
        a1, s1 = _split(x[i, 1], lower[1], per_length, nodes)
        a2, s2 = _split(x[i, 2], lower[2], per_length, nodes)
        u, v, w, weight = _weights(s0, nodes), _weights(s1, nodes), _weights(s2, nodes), weight_at(weights, i)
        at = (a0 * rows + a1) * columns + a2
        for p in range(len(nodes)):
            _add_plane(flat, at + p * slab, columns, weight * u[p], v, w, nodes)


@compiled
def _add_grids(grids: Array, first: int, last: int) -> None:
    """Add the nodes first, ..., last − 1 of all grids, shape (threads, nodes), to the first grid's."""
    for thread in range(1, len(grids)):
        for j in range(first, last):
            grids[0, j] += grids[thread, j]


@compiled
def _gather_1d(
    out: Array, gradient: Array | None, c: Array, x: Array, lower: Array, per_length: float, nodes: Nodes
) -> None:
    for i in range(len(x)):
        a, s = _split(x[i, 0], lower[0], per_length, nodes)
        line = load(c, a)
        out[i] = dot(line, _weights(s, nodes))
        if gradient is not None:
            gradient[i, 0] = per_length * dot(line, _slopes(s, nodes))


@compiled
def _gather_2d(
    out: Array, gradient: Array | None, c: Array, x: Array, lower: Array, per_length: float, nodes: Nodes
) -> None:
    columns, grid = c.shape[1], c.ravel()
    for i in range(len(x)):
        a0, s0 = _split(x[i, 0], lower[0], per_length, nodes)
        a1, s1 = _split(x[i, 1], lower[1], per_length, nodes)
        at, v = a0 * columns + a1, _weights(s1, nodes)
        line = _plane(grid, at, columns, _weights(s0, nodes), nodes)
        out[i] = dot(line, v)
        if gradient is not None:
            gradient[i, 0] = per_length * dot(_plane(grid, at, columns, _slopes(s0, nodes), nodes), v)
            gradient[i, 1] = per_length * dot(line, _slopes(s1, nodes))


@compiled
def _gather_3d(
    out: Array, gradient: Array | None, c: Array, x: Array, lower: Array, per_length: float, nodes: Nodes
) -> None:
    rows, columns, grid = c.shape[1], c.shape[2], c.ravel()
    slab = rows * columns
    for i in range(len(x)):
        a0, s0 = _split(x[i, 0], lower[0], per_length, nodes)
        a1, s1 = _split(x[i, 1], lower[1], per_length, nodes)
        a2, s2 = _split(x[i, 2], lower[2], per_length, nodes)
        at = (a0 * rows + a1) * columns + a2
        u, v, w = _weights(s0, nodes), _weights(s1, nodes), _weights(s2, nodes)
        line = _block(grid, at, slab, columns, u, v, nodes)
        out[i] = dot(line, w)
        if gradient is not None:
            gradient[i, 0] = per_length * dot(_block(grid, at, slab, columns, _slopes(s0, nodes), v, nodes), w)
            gradient[i, 1] = per_length * dot(_block(grid, at, slab, columns, u, _slopes(s1, nodes), nodes), w)
            gradient[i, 2] = per_length * dot(line, _slopes(s2, nodes))


#: Per dimension; the grid is overwritten, and ``weights`` are as ``in_loops`` returns them.
_DEPOSIT = {1: _deposit_1d, 2: _deposit_2d, 3: _deposit_3d}
#: Per dimension; without ``gradient`` a version without its arithmetic is compiled.
_GATHER = {1: _gather_1d, 2: _gather_2d, 3: _gather_3d}


def reach_of(nodes: Nodes) -> tuple[int, int]:
    """Return the number of nodes touched before and after ⌊s⌋, including empty lanes."""
    before = len(nodes) // 2 - 1
    return before, LANES - 1 - before


def grids_for(threads: int, shape: tuple[int, ...]) -> Array:
    """Return the grids for ``deposit``: one per thread, or two small ones, as a faster thread fills more."""
    each = 2 if threads > 1 and math.prod(shape) <= _FEW_NODES else 1
    return np.empty((each * threads, *shape))


def deposit(
    grids: Array,
    x: Array,
    lower: Array,
    spacing: float,
    weights: float | Array,
    comm: Comm = None,
    nodes: Nodes = SPLINE,
) -> Array:
    """Write Σ_j w_j B((x − X_j)/h) at the nodes x of the first grid, and return it. Collective over ``comm``.

    Each grid receives an equal share of the particles, whichever thread fills it, so that the result is reproducible;
    if there are few particles, only the first grids are used.

    Args:
        grids: arrays from ``grids_for``, shape (grids, M, ...).
        x: positions X, shape (n, d).
        lower: the grid's corner, shape (d,).
        spacing: h.
        weights: one weight for all particles, or w, shape (n,).
        comm: the communicator whose ranks' particles are summed; None for this rank's alone.
        nodes: ``SPLINE`` or ``WINDOW``.
    """
    n, points, weights = len(x), grids[0].size, in_loops(weights)
    tasks = min(len(grids), 1 + n // _PARTICLES)

    def add(task: int) -> None:
        mine = slice(n * task // tasks, n * (task + 1) // tasks)
        own = weights[mine] if len(weights) > 1 else weights
        _DEPOSIT[x.shape[1]](grids[task], x[mine], lower, 1.0 / spacing, own, nodes)

    on_threads(add, tasks)
    flat, parts = grids[:tasks].reshape(tasks, points), -(-points // _NODES)
    on_threads(lambda j: _add_grids(flat, points * j // parts, points * (j + 1) // parts), parts)
    total: Array = grids[0]
    return total if comm is None else reduced(comm, total)


def gather(
    values: Array, gradient: Array | None, c: Array, x: Array, lower: Array, spacing: float, nodes: Nodes = SPLINE
) -> None:
    """Call ``gather_part`` for blocks of the positions, on all threads."""

    def part(rows: slice) -> None:
        gather_part(values[rows], None if gradient is None else gradient[rows], c, x[rows], lower, spacing, nodes)

    in_blocks(part, len(x))


def gather_part(
    values: Array, gradient: Array | None, c: Array, x: Array, lower: Array, spacing: float, nodes: Nodes = SPLINE
) -> None:
    """Write the values at x, and the gradient unless that is None, of the spline with coefficients c; on one thread."""
    _GATHER[x.shape[1]](values, gradient, c, x, lower, 1.0 / spacing, nodes)
