"""The stiffness matrix of degree 1 as a graph: nodes that exchange mass along edges."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc

from kspde.errors import InputError
from kspde.fem.backend import Petsc
from kspde.fem.solvers.ghosts import Ghosts
from kspde.fem.spaces.base import Space
from kspde.typing import Array, Mask

__all__ = ["Graph"]

Indices = npt.NDArray[np.int32]


class _Edges(NamedTuple):
    """The edges (i, j) of a rank's nodes, sorted by i.

    Attributes:
        ghosts: the nodes of other ranks that are ends.
        starts: the first edge of each node and, last, the number of edges.
        tails: i.
        heads: j, as an index of arrays with ghosts (``Graph.ghosted``).
        conductance: k_ij.
        csr: rows and columns, as PETSc wants them, of matrices with an entry for each node and each edge.
        entries: which of these entries are not on the diagonal.
    """

    ghosts: Ghosts
    starts: Indices
    tails: Indices
    heads: Indices
    conductance: Array
    csr: tuple[Any, Any]
    entries: Mask


class Graph:
    r"""The edges :math:`\{i, j\}` of a mesh with their conductances :math:`k_{ij} = -K_{ij} \ge 0`.

    Each rank holds the edges of its own nodes, in both directions where both ends are its own. The conductances are
    symmetric to the last bit, on all ranks: what leaves i for j arrives at j. Nodes are those of nodal arrays. Edges
    are listed when they are first used; a species without drift needs the sparse matrix alone, in ``stiffness``.

    Args:
        space: the space, of degree 1.

    Attributes:
        stiffness: K and its matrix.
        owned: the number of this rank's nodes.
        total: Σ_j k_ij, shape (owned,).
        mass: the diagonal of M, shape (owned,).

    Raises:
        InputError: K has a positive entry off the diagonal.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.stiffness = space.stiffness_matrix()
        _check(space, *self.stiffness.positive)
        self.total = self.stiffness.diagonal
        self.owned = len(self.total)
        self.mass = space.mass.ravel()

    @cached_property
    def edges(self) -> _Edges:
        """The edges, from the stiffness matrix. Collective."""
        matrix = self.stiffness.matrix
        first, last = matrix.getOwnershipRange()
        starts, columns, entries = matrix.getValuesCSR()
        rows = np.repeat(np.arange(self.owned, dtype=np.int32), np.diff(starts))
        edges = columns != rows + first
        ghosts = Ghosts(self.space.comm, first, last, columns)
        return _Edges(
            ghosts=ghosts,
            starts=starts - np.arange(self.owned + 1),  # a diagonal entry in each row
            tails=rows[edges],
            heads=ghosts.local(columns[edges]),
            conductance=-entries[edges],
            csr=(starts, columns),
            entries=edges,
        )

    @cached_property
    def coordinates(self) -> Array:
        """The coordinates of all ends, shape (n, d). Collective."""
        return np.stack([self.ghosted(x) for x in self.space.points.T], axis=1)

    def along(self, axis: int) -> Array:
        """Return (x_j − x_i) of each edge in a direction; across the ends of a periodic box, the short way."""
        x, period = self.coordinates[:, axis], self.space.domain.period
        step = x[self.edges.heads] - x[self.edges.tails]
        return step if period is None else np.asarray(step - period[axis] * np.round(step / period[axis]))

    def matrix(self, diagonal: Array, off_diagonal: Array) -> Petsc:
        """Return a PETSc matrix with given entries: on the diagonal, (owned,), and one per edge. Collective."""
        csr = (*self.edges.csr, self.entries(diagonal, off_diagonal))
        return PETSc.Mat().createAIJ(self.stiffness.matrix.getSizes(), csr=csr, comm=self.space.comm)

    def wide_matrix(self, n: int, csr: tuple[Any, Any, Array]) -> Petsc:
        """Return a PETSc matrix of n unknowns per node, given its rows, columns and entries. Collective."""
        rows, columns = self.stiffness.matrix.getSizes()
        sizes = tuple(n * size for size in rows), tuple(n * size for size in columns)
        return PETSc.Mat().createAIJ(sizes, csr=csr, comm=self.space.comm)

    def entries(self, diagonal: Array, off_diagonal: Array) -> Array:
        """Return a matrix's entries in the order of ``csr``."""
        edges = self.edges.entries
        values = np.empty(len(edges))
        values[~edges] = diagonal
        values[edges] = off_diagonal
        return values

    def sums(self, values: Array) -> Array:
        """Return the sum over each node's edges of an array over edges: shape (owned,)."""
        if not len(values):
            return np.zeros(self.owned)
        starts = self.edges.starts
        sums: Array = np.add.reduceat(values, np.minimum(starts[:-1], len(values) - 1))
        sums[starts[:-1] == starts[1:]] = 0.0
        return sums

    def ghosted(self, owned: Array) -> Array:
        """Return values at all ends of this rank's edges, from those at its own nodes. Collective."""
        return self.edges.ghosts(owned)

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        self.stiffness.free()
        if "edges" in vars(self):
            self.edges.ghosts.free()


def _check(space: Space, rows: Indices, shares: Array) -> None:
    """Refuse a mesh on which K has positive entries off the diagonal: the scheme would lose its guarantee."""
    found = [(float(share), space.points[row].tolist()) for row, share in zip(rows, shares, strict=True)]
    everywhere = space.comm.allgather((len(found), max(found, default=None)))
    if count := sum(number for number, _ in everywhere):
        place = ", ".join(f"{x:.4g}" for x in max(worst for number, worst in everywhere if number)[1])
        raise InputError(
            f"the mesh has {(count + 1) // 2} edges where the positive schemes lose their guarantee (the stiffness "
            f"matrix is positive there), the worst at ({place}): use a Delaunay mesh of triangles, a Box, or "
            'scheme="adaptive"'
        )
