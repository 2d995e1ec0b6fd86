r"""The loops of the V-cycle over a mesh' edges: Gauss-Seidel sweeps, and what goes between two meshes.

**Each edge is stored once,** with the later of its two nodes. The sweep down starts from zero,

.. math:: x_i = d_i^{-1} \Big(b_i + \sum_{j<i} k_{ij} x_j\Big), \qquad
    r_i = b_i - (A x)_i = \sum_{j>i} k_{ij} x_j:

each node gathers from earlier ones and, x_i known, adds its share to what these leave. The one up does the same from
the last node to the first: earlier nodes have their old values then, and the shares of later ones are added to b.

**Nodes without an edge between them stand together,** those with equally many earlier neighbours in one *run*: their
steps do not wait for one another, and the loop over a node's edges has a length that the processor can foresee. The new
nodes of a triangulation that is refined take three colours, but for few, with two, four and six earlier neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.compiled import compiled_in_order

__all__ = ["BACKWARDS", "FORWARDS", "add_across", "arrangement", "correct", "product", "restrict", "runs", "sweep"]

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
#: Unsigned: compiled loops then need not look for indices that count from the end.
Indices = npt.NDArray[np.uint32]

#: Steps from node to node. All in unsigned numbers of 64 bits, which wrap around.
FORWARDS, BACKWARDS = np.uint64(1), np.uint64(2**64 - 1)
_1, _2, _3, _4, _5 = (np.uint64(n) for n in range(1, 6))

#: The most colours: nodes that find none left share the last one.
_COLOURS = 63


def runs(counts: Any, first: int = 0) -> Indices:
    """Return the runs of nodes with equally many entries: first node, node after the last, entries, first entry.

    Args:
        counts: of each node's entries, which are stored one node after the other.
        first: the first node's number.
    """
    starts = np.flatnonzero(np.diff(counts, prepend=-1))
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    ends = np.append(starts[1:], len(counts))[: len(starts)]
    return np.stack([first + starts, first + ends, counts[starts], offsets[starts]], axis=1).astype(np.uint32)


@compiled_in_order
def arrangement(starts: Any, columns: Any, first: Any, new: Any) -> Any:
    """Return a colour of each of this rank's nodes, 0 for old ones, and the number of neighbours of lower colours.

    Args:
        starts: where each of the matrix' rows starts.
        columns: their columns, in the numbers of all ranks.
        first: the number of this rank's first node.
        new: whether a node is new; old ones come first whatever their edges.
    """
    colours = np.zeros(new.size, dtype=np.int8)
    counts = np.zeros(new.size, dtype=np.int32)
    for i in range(new.size):
        if new[i]:
            used = 0
            for e in range(starts[i], starts[i + 1]):
                j = columns[e] - first
                if j >= 0 and j < i and new[j]:
                    used |= 1 << (colours[j] - 1)
            colour = 1
            while colour < _COLOURS and (used >> (colour - 1)) & 1:
                colour += 1
            colours[i] = colour
    for i in range(new.size):
        for e in range(starts[i], starts[i + 1]):
            j = columns[e] - first
            if j >= 0 and j < new.size and colours[j] < colours[i]:
                counts[i] += 1
    return colours, counts


@compiled_in_order
def sweep(
    b: Single, inverse: Single, runs: Indices, columns: Indices, k: Single, x: Single, out: Single, step: np.uint64
) -> None:
    """Set x node by node, in either direction, and add to ``out``, which may be b, what each gives to earlier ones."""
    for number in range(runs.shape[0]):
        run = number if step == FORWARDS else runs.shape[0] - 1 - number
        i, m, e = np.uint64(runs[run, 0]), np.uint64(runs[run, 2]), np.uint64(runs[run, 3])
        count = np.uint64(runs[run, 1]) - i
        if step == BACKWARDS:
            i += count - _1
            e += m * (count - _1)
        jump = m * step
        if m == 0:
            for _ in range(count):
                x[i] = inverse[i] * b[i]
                i += step
        elif m == 2:
            for _ in range(count):
                j0, j1 = columns[e], columns[e + _1]
                k0, k1 = k[e], k[e + _1]
                value = inverse[i] * (b[i] + (k0 * x[j0] + k1 * x[j1]))
                x[i] = value
                out[j0] += k0 * value
                out[j1] += k1 * value
                i += step
                e += jump
        elif m == 4:
            for _ in range(count):
                j0, j1, j2, j3 = columns[e], columns[e + _1], columns[e + _2], columns[e + _3]
                k0, k1, k2, k3 = k[e], k[e + _1], k[e + _2], k[e + _3]
                value = inverse[i] * (b[i] + ((k0 * x[j0] + k1 * x[j1]) + (k2 * x[j2] + k3 * x[j3])))
                x[i] = value
                out[j0] += k0 * value
                out[j1] += k1 * value
                out[j2] += k2 * value
                out[j3] += k3 * value
                i += step
                e += jump
        elif m == 6:
            for _ in range(count):
                j0, j1, j2 = columns[e], columns[e + _1], columns[e + _2]
                j3, j4, j5 = columns[e + _3], columns[e + _4], columns[e + _5]
                k0, k1, k2, k3, k4, k5 = k[e], k[e + _1], k[e + _2], k[e + _3], k[e + _4], k[e + _5]
                near = (k0 * x[j0] + k1 * x[j1]) + (k2 * x[j2] + k3 * x[j3]) + (k4 * x[j4] + k5 * x[j5])
                value = inverse[i] * (b[i] + near)
                x[i] = value
                out[j0] += k0 * value
                out[j1] += k1 * value
                out[j2] += k2 * value
                out[j3] += k3 * value
                out[j4] += k4 * value
                out[j5] += k5 * value
                i += step
                e += jump
        else:
            for _ in range(count):
                total = b[i]
                for f in range(e, e + m):
                    total += k[f] * x[columns[f]]
                value = inverse[i] * total
                x[i] = value
                for f in range(e, e + m):
                    out[columns[f]] += k[f] * value
                i += step
                e += jump


@compiled_in_order
def product(x: Array, diagonal: Array, runs: Indices, columns: Indices, entries: Array, y: Array) -> None:
    """Set y to the product of a symmetric matrix with x, as far as this rank's nodes have a part in it."""
    for run in range(runs.shape[0]):
        i, m, e = np.uint64(runs[run, 0]), np.uint64(runs[run, 2]), np.uint64(runs[run, 3])
        count = np.uint64(runs[run, 1]) - i
        if m == 0:
            for _ in range(count):
                y[i] = diagonal[i] * x[i]
                i += _1
        elif m == 2:
            for _ in range(count):
                j0, j1 = columns[e], columns[e + _1]
                a0, a1 = entries[e], entries[e + _1]
                own = x[i]
                y[i] = diagonal[i] * own + (a0 * x[j0] + a1 * x[j1])
                y[j0] += a0 * own
                y[j1] += a1 * own
                i += _1
                e += m
        elif m == 4:
            for _ in range(count):
                j0, j1, j2, j3 = columns[e], columns[e + _1], columns[e + _2], columns[e + _3]
                a0, a1, a2, a3 = entries[e], entries[e + _1], entries[e + _2], entries[e + _3]
                own = x[i]
                y[i] = diagonal[i] * own + ((a0 * x[j0] + a1 * x[j1]) + (a2 * x[j2] + a3 * x[j3]))
                y[j0] += a0 * own
                y[j1] += a1 * own
                y[j2] += a2 * own
                y[j3] += a3 * own
                i += _1
                e += m
        elif m == 6:
            for _ in range(count):
                j0, j1, j2 = columns[e], columns[e + _1], columns[e + _2]
                j3, j4, j5 = columns[e + _3], columns[e + _4], columns[e + _5]
                a0, a1, a2 = entries[e], entries[e + _1], entries[e + _2]
                a3, a4, a5 = entries[e + _3], entries[e + _4], entries[e + _5]
                own = x[i]
                near = (a0 * x[j0] + a1 * x[j1]) + (a2 * x[j2] + a3 * x[j3]) + (a4 * x[j4] + a5 * x[j5])
                y[i] = diagonal[i] * own + near
                y[j0] += a0 * own
                y[j1] += a1 * own
                y[j2] += a2 * own
                y[j3] += a3 * own
                y[j4] += a4 * own
                y[j5] += a5 * own
                i += _1
                e += m
        else:
            for _ in range(count):
                own = x[i]
                total = diagonal[i] * own
                for f in range(e, e + m):
                    total += entries[f] * x[columns[f]]
                    y[columns[f]] += entries[f] * own
                y[i] = total
                i += _1
                e += m


@compiled_in_order
def add_across(nodes: Indices, others: Indices, k: Any, x: Any, out: Any) -> None:
    """Add to ``out`` what nodes of other ranks give to this one's."""
    for e in range(k.size):
        out[nodes[e]] += k[e] * x[others[e]]


@compiled_in_order
def restrict(r: Any, inverse: Any, runs: Indices, parents: Indices, out: Any) -> None:
    """Add Pᵀ r; nodes on their own, of inverse 0, have no part in it."""
    old = runs[0, 0] if runs.shape[0] else r.size
    for i in range(old):
        if inverse[i] > 0.0:
            out[i] += r[i]
    for run in range(runs.shape[0]):
        first, last, m, e = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
        share = r.dtype.type(1.0) / r.dtype.type(m)
        if m == 2:
            for i in range(first, last):
                part = share * r[i] if inverse[i] > 0.0 else r.dtype.type(0.0)
                out[parents[e]] += part
                out[parents[e + 1]] += part
                e += m
        else:
            for i in range(first, last):
                part = share * r[i] if inverse[i] > 0.0 else r.dtype.type(0.0)
                for f in range(e, e + m):
                    out[parents[f]] += part
                e += m


@compiled_in_order
def correct(coarse: Single, runs: Indices, parents: Indices, inverse: Single, x: Single) -> None:
    """Add P c to x; nodes on their own get 0."""
    old = runs[0, 0] if runs.shape[0] else inverse.size
    for i in range(old):
        x[i] = x[i] + coarse[i] if inverse[i] > 0.0 else np.float32(0.0)
    for run in range(runs.shape[0]):
        first, last, m, e = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
        share = np.float32(1.0) / np.float32(m)
        if m == 2:
            for i in range(first, last):
                total = coarse[parents[e]] + coarse[parents[e + 1]]
                x[i] = x[i] + share * total if inverse[i] > 0.0 else np.float32(0.0)
                e += m
        else:
            for i in range(first, last):
                total = np.float32(0.0)
                for f in range(e, e + m):
                    total += coarse[parents[f]]
                x[i] = x[i] + share * total if inverse[i] > 0.0 else np.float32(0.0)
                e += m
