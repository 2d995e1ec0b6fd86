r"""The loops of the V-cycle over the edges of a mesh: Gauss-Seidel sweeps, restriction and correction.

**Nodes have colours,** old ones 0, new ones 1, 2 and 3, and a sweep goes through them colour by colour. Within a colour
the order does not matter, so a sweep is the same on any number of ranks. There are few edges between nodes of one
colour, and they count in the residual alone: the triangulation that a triangle is refined into has edges in three
directions, and each new node is the middle of one of them (``colours_of_means``).

**Each edge is stored once,** with its node of the higher colour. The sweep down starts from zero,

.. math:: x_i = d_i^{-1} \Big(b_i + \sum_{j<i} k_{ij} x_j\Big), \qquad
    r_i = b_i - (A x)_i = \sum_{j \ge i,\, j \ne i} k_{ij} x_j,

where j < i means that the colour of j is lower, and j ≥ i that it is not. Each node gathers from lower colours and,
once x_i is known, adds its share to their residuals. The sweep up does the same from the highest colour to the lowest:
lower colours still have their old values, and the shares of higher ones are added to b.

**A run** is a sequence of nodes of one colour with equally many neighbours of lower ones: no step waits for another,
and the loop over the edges of a node has a known length, for most of the new nodes two, four or six.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.runtime.compiled import compiled_in_order, inlined_early
from kspde.typing import Array

__all__ = [
    "COLOURS",
    "add_along",
    "colours_of_means",
    "correct",
    "first_colours",
    "product",
    "restrict",
    "runs",
    "sweep",
]

Single = npt.NDArray[np.float32]
#: Unsigned: compiled loops then need no test for indices that count from the end.
Indices = npt.NDArray[np.uint32]

#: The number of colours, with that of old nodes.
COLOURS = 4
#: Unsigned numbers of 64 bits: mixed with others, numba would convert them to floating point.
_1, _2, _4, _6 = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(6)


def runs(counts: Any, first: int, entry: int) -> Indices:
    """Return the runs of nodes with equally many entries: first node, node after the last, entries, first entry.

    Args:
        counts: the number of entries of each node; entries are stored node by node.
        first: the number of the first node.
        entry: the number of its first entry.
    """
    starts = np.flatnonzero(np.diff(counts, prepend=-1))
    offsets = entry + np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    ends = np.append(starts[1:], len(counts))[: len(starts)]
    return np.stack([first + starts, first + ends, counts[starts], offsets[starts]], axis=1).astype(np.uint32)


@compiled_in_order
def first_colours(starts: Any, neighbours: Any, means: Any) -> Any:
    """Return colours of the first refinement's new nodes, one after the other: the lowest that no neighbour has.

    Args:
        starts: where the neighbours of each node start.
        neighbours: the new nodes beside each node.
        means: the number of nodes that each is the mean of; middles of cells, of more than two, have colour 3.
    """
    colours = np.zeros(means.size, dtype=np.int8)
    for i in range(means.size):
        if means[i] > 2:
            colours[i] = 3
    for i in range(means.size):
        used = 0
        for e in range(starts[i], starts[i + 1]):
            used |= 1 << colours[neighbours[e]]
        colour = 1
        while colour < 3 and (used >> colour) & 1:
            colour += 1
        if colours[i] == 0:
            colours[i] = colour
    return colours


def colours_of_means(coarse: Any, starts: Any, parents: Any) -> Any:
    """Return the colours of nodes from those of the nodes of a coarser mesh that they are the means of.

    Half an edge has the direction of the whole one, and so its colour, which is that of its new end. An edge inside a
    triangle joins two of the three colours and has the third, and so has an edge from the middle of a quadrilateral,
    of colour 3, to that of an edge. Middles of cells have colour 3.

    Args:
        coarse: the colours of the coarser mesh.
        starts: where the parents of each node start, and last their number.
        parents: nodes of the coarser mesh; a node of one parent is that node itself, and has colour 0.
    """
    counts = np.diff(starts)
    one, other = coarse[parents[starts[:-1]]], coarse[parents[starts[1:] - 1]]
    halves = np.maximum(one + other, 1)
    inner = np.where(one == other, one % 3 + 1, 6 - one - other)
    middles = np.where((one == 0) | (other == 0), halves, inner)
    return np.where(counts == 1, 0, np.where(counts == 2, middles, 3)).astype(np.int8)


@inlined_early
def _loop(
    m: Any, i: Any, count: Any, e: Any, columns: Indices, k: Any, b: Any, d: Any, x: Any, out: Any, sweeps: Any
) -> None:
    """Sweep through a run of nodes with m edges, or multiply; ``sweeps`` is a constant of the callers."""
    for _ in range(count):
        total = b[i] if sweeps else d[i] * x[i]
        for f in range(m):
            total += k[e + f] * x[columns[e + f]]
        if sweeps:
            value = d[i] * total
            x[i] = value
        else:
            value = x[i]
            out[i] = total
        for f in range(m):
            out[columns[e + f]] += k[e + f] * value
        i += _1
        e += m


@inlined_early
def _through(runs: Indices, columns: Indices, k: Any, b: Any, d: Any, x: Any, out: Any, sweeps: Any) -> None:
    """Sweep through the nodes of one colour, or multiply.

    (Lengths that the compiler knows make sweeps 20 to 30 % faster, a run on a disk 4 to 7 %.)
    """
    for run in range(runs.shape[0]):
        i, m, e = np.uint64(runs[run, 0]), np.uint64(runs[run, 2]), np.uint64(runs[run, 3])
        count = np.uint64(runs[run, 1]) - i
        if m == 2:
            _loop(_2, i, count, e, columns, k, b, d, x, out, sweeps)
        elif m == 4:
            _loop(_4, i, count, e, columns, k, b, d, x, out, sweeps)
        elif m == 6:
            _loop(_6, i, count, e, columns, k, b, d, x, out, sweeps)
        else:
            _loop(m, i, count, e, columns, k, b, d, x, out, sweeps)


@compiled_in_order
def sweep(b: Single, inverse: Single, runs: Indices, columns: Indices, k: Single, x: Single, out: Single) -> None:
    """Set x at the nodes of one colour, and add what they give to lower colours to ``out``, which may be b."""
    _through(runs, columns, k, b, inverse, x, out, True)


@compiled_in_order
def product(x: Array, diagonal: Array, runs: Indices, columns: Indices, entries: Array, y: Array) -> None:
    """Set y to this rank's part of the product of a symmetric matrix with x, for the nodes of one colour."""
    _through(runs, columns, entries, x, diagonal, x, y, False)


@compiled_in_order
def add_along(ends: Indices, others: Indices, k: Any, x: Any, out: Any) -> None:
    """Add to ``out`` at the ends of some edges what their other ends give."""
    for e in range(k.size):
        out[ends[e]] += k[e] * x[others[e]]


@compiled_in_order
def restrict(r: Any, inverse: Any, parents: Indices, out: Any) -> None:
    """Add Pᵀ r to ``out``; decoupled nodes, of inverse 0, do not contribute.

    Args:
        r: values at all of this rank's nodes, new ones last.
        inverse: the inverse diagonal there.
        parents: the nodes of the coarser mesh whose mean each new one is, 2 or 4 of them, shape (2 or 4, new).
        out: values at the nodes of the coarser mesh.
    """
    old = r.size - parents.shape[1]
    share = r.dtype.type(1.0) / r.dtype.type(parents.shape[0])
    for i in range(old):
        if inverse[i] > 0.0:
            out[i] += r[i]
    for pair in range(0, parents.shape[0], 2):
        one, other = parents[pair], parents[pair + 1]
        for k in range(one.size):
            part = share * r[old + k] if inverse[old + k] > 0.0 else r.dtype.type(0.0)
            out[one[k]] += part
            out[other[k]] += part


@compiled_in_order
def correct(coarse: Single, parents: Indices, inverse: Single, x: Single) -> None:
    """Add P c to x; decoupled nodes get 0."""
    old = inverse.size - parents.shape[1]
    share = np.float32(1.0) / np.float32(parents.shape[0])
    for i in range(old):
        x[i] = x[i] + coarse[i] if inverse[i] > 0.0 else np.float32(0.0)
    for pair in range(0, parents.shape[0], 2):
        one, other = parents[pair], parents[pair + 1]
        for k in range(one.size):
            mean = share * (coarse[one[k]] + coarse[other[k]])
            x[old + k] = x[old + k] + mean if inverse[old + k] > 0.0 else np.float32(0.0)
