"""Particles sorted by cells, so that neighbours are found; and tiles of crowded targets; compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from kspde.runtime.compiled import compiled, inlined_only
from kspde.typing import Array, Indices

__all__ = ["AROUND", "Cells", "candidates", "cell_shape", "cell_width", "crowded", "order_by", "put", "row"]

#: Cells are half as wide as the reach: neighbours are those at most so many cells away in each direction.
AROUND = 2
#: How many times four cells per position there may be.
_FULL = 8.0


@compiled
def order_by(cell: Indices, starts: Indices) -> Indices:
    """Return the order of elements by cell, given each one's, and make their numbers the first place of each cell.

    ``starts`` has the number of elements of cell k at k + 1, and 0 at 0.
    """
    for k in range(1, len(starts)):
        starts[k] += starts[k - 1]
    order, place = np.empty(len(cell), dtype=np.int64), starts[:-1].copy()
    for i in range(len(cell)):
        order[place[cell[i]]] = i
        place[cell[i]] += 1
    return order


@compiled
def _cell_order(x: Array, lower: Array, per_width: float, shape: Indices) -> Any:
    """Return the order of positions (n, d) by cell, and the first place of each cell, shape (cells + 1,).

    ``shape`` has the cells per direction, 1 beyond d. Positions outside count to the cells at the border.
    """
    n, d = x.shape
    cell = np.empty(n, dtype=np.int64)
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, dtype=np.int64)
    for i in range(n):
        at = 0
        for a in range(d):
            at = at * shape[a] + min(max(np.int64((x[i, a] - lower[a]) * per_width), 0), shape[a] - 1)
        cell[i] = at
        starts[at + 1] += 1
    return order_by(cell, starts), starts


@inlined_only
def row(a0: int, a1: int, a2: int, b0: int, b1: int, starts: Indices, shape: Indices) -> Any:
    """Return the first source of the cells around (a0, a1, a2) in the row (b0, b1), and the one after the last."""
    row = (b0 * shape[1] + b1) * shape[2]
    return starts[row + max(a2 - AROUND, 0)], starts[row + min(a2 + AROUND + 1, shape[2])]


@compiled
def candidates(targets: Indices, sources: Indices, shape: Indices) -> Indices:
    """Return by cell the number of sources in the cells around, 0 where there are no targets."""
    out = np.zeros(len(targets) - 1, dtype=np.int64)
    for a0 in range(shape[0]):
        for a1 in range(shape[1]):
            for a2 in range(shape[2]):
                cell = (a0 * shape[1] + a1) * shape[2] + a2
                if targets[cell + 1] > targets[cell]:
                    for b0 in range(max(a0 - AROUND, 0), min(a0 + AROUND + 1, shape[0])):
                        for b1 in range(max(a1 - AROUND, 0), min(a1 + AROUND + 1, shape[1])):
                            first, end = row(a0, a1, a2, b0, b1, sources, shape)
                            out[cell] += end - first
    return out


@compiled
def crowded(
    x: Array, starts: Indices, count: Indices, few: int, lower: Array, side: float, shape: Indices, cost: Array
) -> Any:
    """Return tiles that hold crowded targets and are worth their cost, and what is left for sums over pairs.

    Args:
        x: targets, sorted by cell, (n, d).
        starts: first target of each cell.
        count: the sources around each cell.
        few: the largest number of them around a target that is not crowded.
        lower: lower corner of the first tile.
        side: width of a tile.
        shape: tiles per direction, 1 beyond d.
        cost: that of a tile, and of a target in it, in pairs.

    Returns:
        The tiles' indices; the rows of their targets, tile by tile; the first row of each tile, and the number of rows;
        by target, whether it is in none of them; and by cell, the number of those.
    """
    n, tiles, d = len(x), shape[0] * shape[1] * shape[2], x.shape[1]
    tile_of, wanted, left = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.bool_), np.empty_like(count)
    held, pairs = np.zeros(tiles, dtype=np.int64), np.zeros(tiles)
    for cell in range(len(count)):
        left[cell] = starts[cell + 1] - starts[cell]
        for i in range(starts[cell], starts[cell + 1]):
            wanted[i] = True
            if count[cell] > few:
                at = 0
                for a in range(d):
                    at = at * shape[a] + min(max(np.int64((x[i, a] - lower[a]) / side), 0), shape[a] - 1)
                tile_of[i] = at
                held[at] += 1
                pairs[at] += count[cell]
    # Plain loops: numba takes seconds to compile expressions of arrays.
    place, total, found = np.empty(tiles, dtype=np.int64), 0, 0
    for at in range(tiles):
        place[at] = -1
        if 0.75 * pairs[at] > cost[0] + cost[1] * held[at]:
            place[at] = total
            total += held[at]
            found += 1
    names, first = np.empty(found, dtype=np.int64), np.empty(found + 1, dtype=np.int64)
    found = 0
    for at in range(tiles):
        if place[at] >= 0:
            names[found], first[found] = at, place[at]
            found += 1
    first[found] = total
    rows = np.empty(total, dtype=np.int64)
    for cell in range(len(count)):
        if count[cell] > few:
            for i in range(starts[cell], starts[cell + 1]):
                at = place[tile_of[i]]
                if at >= 0:
                    rows[at] = i
                    place[tile_of[i]] += 1
                    wanted[i] = False
                    left[cell] -= 1
    return names, rows, first, wanted, left


@compiled
def put(out: Array, rows: Indices, values: Array) -> None:
    """Write the rows of an array, (n, d), to those places of another, in a tenth of the time of ``out[rows] = …``."""
    for i in range(len(rows)):
        for a in range(values.shape[1]):
            out[rows[i], a] = values[i, a]


@compiled
def _collect(x: Array, starts: Indices, shape: Indices, first: Indices, last: Indices, low: Array, high: Array) -> Any:
    """Return the indices of sorted positions in the box [low, high], which lies in the cells first, …, last."""
    d = x.shape[1]
    total = 0
    for a0 in range(first[0], last[0] + 1):
        for a1 in range(first[1], last[1] + 1):
            row = (a0 * shape[1] + a1) * shape[2]
            total += starts[row + last[2] + 1] - starts[row + first[2]]
    out, count = np.empty(total, dtype=np.int64), 0
    for a0 in range(first[0], last[0] + 1):
        for a1 in range(first[1], last[1] + 1):
            row = (a0 * shape[1] + a1) * shape[2]
            for i in range(starts[row + first[2]], starts[row + last[2] + 1]):
                inside = True
                for a in range(d):
                    inside &= low[a] <= x[i, a] <= high[a]
                out[count] = i
                count += inside
    return out[:count]


@dataclass(frozen=True)
class Cells:
    """Positions sorted by cells of half the reach.

    Attributes:
        x: positions, sorted.
        order: their order.
        starts: first position of each cell.
        shape: cells per direction, 1 beyond d.
        lower: lower corner of the first cell.
        width: width of a cell.
    """

    x: Array
    order: Indices
    starts: Indices
    shape: Indices
    lower: Array
    width: float

    @classmethod
    def of(cls, x: Array, lower: Array, shape: Indices, width: float) -> Self:
        """Sort positions."""
        order, starts = _cell_order(x, lower, 1.0 / width, shape)
        return cls(np.take(x, order, axis=0), order, starts, shape, lower, width)  # a sixth of the time of x[order]

    def within(self, low: Array, high: Array) -> Indices:
        """Return the indices of the sorted positions in a box."""
        d = self.x.shape[1]
        first, last = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        for corner, out in ((low, first), (high, last)):
            out[:d] = np.clip(np.floor((corner - self.lower) / self.width), 0, self.shape[:d] - 1)
        found: Indices = _collect(self.x, self.starts, self.shape, first, last, low, high)
        return found


def cell_width(size: Array, reach: float, n: int, around: int = 1) -> float:
    """Return the width of cells that cover a box: of four per position, or of a part of the reach if that is wider.

    Args:
        size: the sides of the box, of which thin ones count as the reach.
        reach: the reach.
        n: the number of positions.
        around: the cells in a reach.
    """
    most = max(64, 4 * n)
    width: float = max(reach / around, float(np.prod(np.maximum(size, reach)) / most) ** (1 / len(size)))
    while np.prod(size / width + 1.0) > _FULL * most:  # it is far longer in one direction than in another
        width *= 2.0
    return width


def cell_shape(size: Array, width: float) -> Indices:
    """Return the cells per direction, 1 beyond d, that cover a box."""
    shape = np.ones(3, dtype=np.int64)
    shape[: len(size)] = np.floor(size / width).astype(np.int64) + 1
    return shape
