"""The order of a mesh's nodes that its refinement gives: coarse ones first, new ones by colour.

Each rank's nodes are in the order in which refinement made them, those of the coarsest mesh first, so that a coarser
level's arrays are the beginnings of the finer one's; those of one refinement are in the order of their colours
(``kspde.fem.solvers.nested.gauss_seidel``). Colours do not depend on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc
from scipy.sparse import csr_array

from kspde.fem.backend import Petsc
from kspde.fem.solvers.ghosts import Ghosts
from kspde.fem.solvers.nested import gauss_seidel
from kspde.typing import Comm

__all__ = ["Numbering", "interpolations", "numbered"]

Indices = npt.NDArray[np.int32]


class Numbering(NamedTuple):
    """The order of this rank's nodes on one mesh.

    Attributes:
        places: the place of each of the matrix's rows in the arrays of the level.
        ghosts: the nodes of other ranks that are reached.
        colours: of all nodes, ghosts last.
        parents: the places in the arrays of the coarser level of the nodes that each new node, in this order, is the
            mean of: 2, or on quadrilaterals 4 (of an edge's middle each twice), shape (2 or 4, new).
    """

    places: Indices
    ghosts: Ghosts
    colours: npt.NDArray[np.int8]
    parents: npt.NDArray[np.uint32]


def numbered(
    comm: Comm,
    matrix: tuple[int, int, Any, Any],
    coarser: Numbering | None,
    means: tuple[Any, Any] | None,
    reached: Any,
    numbers: Any,
    *,
    first_refinement: bool,
) -> Numbering:
    """Return the numbering of a mesh. Collective.

    Args:
        comm: the communicator.
        matrix: this rank's first and last row of K, where each row starts, and the columns.
        coarser: the numbering of the next coarser mesh, if any.
        means: the interpolation from it: where each row starts, and its columns; rows of one entry are those of the
            coarser mesh's nodes, in their order.
        reached: numbers of this mesh's nodes that the finer one's interpolation uses.
        numbers: of this rank's nodes, the same on any number of ranks.
        first_refinement: whether the coarser mesh is the coarsest.
    """
    first, last, starts, columns = matrix
    n = last - first
    ghosts = Ghosts(comm, first, last, np.concatenate([columns, reached]))
    places, colours = np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int8)
    if coarser is None or means is None:
        everywhere = np.zeros(n + ghosts.count, np.int8)
        return Numbering(places, ghosts, everywhere, np.zeros((2, 0), np.uint32))
    counts = np.diff(means[0])
    new = counts > 1
    parents = coarser.ghosts.local(means[1])
    if first_refinement:
        colours[new] = _first_colours(comm, ghosts, starts, columns, counts, numbers)
    else:
        colours = gauss_seidel.colours_of_means(coarser.colours, means[0], parents)
    # By colour, then by the length of the node's loop, last by number.
    own = (columns >= first) & (columns < last)
    tails, heads = np.repeat(np.arange(n), np.diff(starts))[own], columns[own] - first
    lower = np.bincount(tails[colours[heads] < colours[tails]], minlength=n)
    order = np.flatnonzero(new)
    order = order[np.lexsort((lower[order], colours[order]))]
    coarse = n - len(order)
    places[~new] = coarser.places
    places[order] = np.arange(coarse, n)
    rows = np.argsort(places)
    everywhere = np.concatenate([colours[rows], ghosts.others(colours)])
    ghosts.place(places)
    starts = means[0][rows[coarse:]]
    width = counts.max(initial=1) if len(order) else 2
    # The parents are 2 or 4: of two each is named twice among four, in turns.
    made = parents[starts + np.arange(width)[:, None] % counts[rows[coarse:]]].astype(np.uint32)
    return Numbering(places, ghosts, everywhere, made)


def _first_colours(comm: Comm, ghosts: Ghosts, starts: Any, columns: Any, counts: Any, numbers: Any) -> Any:
    """Return the colours of this rank's new nodes on the first refinement of the coarsest mesh. Collective.

    One rank chooses them all, in the order of numbers that do not depend on ranks.
    """
    new = counts > 1
    rows = np.repeat(np.arange(len(new)), np.diff(starts))
    heads = ghosts.local(columns)
    beside = new[rows] & ghosts(new)[heads] & (rows != heads)
    degrees = np.bincount(rows[beside], minlength=len(new))[new]
    parts = comm.gather((numbers[new], counts[new], degrees, ghosts(numbers)[heads[beside]]))
    pieces = None
    if parts is not None:
        names, means, degrees, neighbours = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(names)
        starts = np.concatenate([[0], np.cumsum(degrees)])
        entries = np.ones(len(neighbours), dtype=np.int8), neighbours, starts
        table = csr_array(entries, shape=(len(names), 2**31 - 1))[order]
        chosen = gauss_seidel.first_colours(table.indptr, np.searchsorted(names[order], table.indices), means[order])
        back = np.empty_like(chosen)
        back[order] = chosen
        pieces = np.split(back, np.cumsum([len(part[0]) for part in parts])[:-1])
    return comm.scatter(pieces)


def interpolations(comm: Comm, numbers: Indices, parents: Sequence[Indices]) -> list[Petsc]:
    """Return the interpolations between the meshes of successive refinements, the finest first. Collective.

    A coarse node belongs to the rank of the same node of the finest mesh, in the same order.

    Args:
        comm: the communicator.
        numbers: of this rank's nodes in the mesh's source.
        parents: on rank 0, an array for each refinement, see ``meshes.mesh_arrays``.
    """
    levels = comm.bcast(len(parents))
    owned = comm.gather(numbers) if levels else None
    out = []
    for level in reversed(range(levels)):
        pieces = None
        if owned is not None:
            old = sum(map(len, owned)) - len(parents[level])
            pieces, owned = _rows(owned, parents[level], old)
        counts, columns, coarse = comm.scatter(pieces)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(PETSc.IntType)
        values = np.repeat(1.0 / counts, counts)
        shape = ((len(counts), None), (coarse, None))
        out.append(PETSc.Mat().createAIJ(shape, csr=(starts, columns, values), comm=comm))
    return out


def _rows(owned: list[Indices], parents: Indices, old: int) -> tuple[list[tuple[Any, ...]], list[Indices]]:
    """Return each rank's part of an interpolation: entries per row, columns, coarse nodes; and these nodes' numbers."""
    kept = [numbers[numbers < old] for numbers in owned]
    place = np.empty(old, dtype=PETSc.IntType)
    place[np.concatenate(kept)] = np.arange(old, dtype=PETSc.IntType)
    pieces = []
    for numbers, coarse in zip(owned, kept, strict=True):
        is_old = numbers < old
        columns = np.empty((len(numbers), parents.shape[1]), dtype=PETSc.IntType)
        columns[is_old] = place[numbers[is_old], None]
        columns[~is_old] = place[parents[numbers[~is_old] - old]]
        columns.sort(axis=1)
        new = np.ones(columns.shape, dtype=bool)
        new[:, 1:] = columns[:, 1:] != columns[:, :-1]
        pieces.append((new.sum(axis=1, dtype=np.int32), columns[new], len(coarse)))
    return pieces, kept
