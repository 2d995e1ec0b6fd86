"""The stiffness matrix of degree 1 as a graph: nodes that exchange mass along edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.fem.petsc import assemble_matrix
from petsc4py import PETSc

from kspde.errors import InputError
from kspde.fem.space import Space

__all__ = ["Graph"]

Array = npt.NDArray[np.float64]

#: Entries of the stiffness matrix below this share of the diagonal ones are round-off: no edges.
_ROUNDING = 1e-12
#: Positive entries off the diagonal above this share of it break the M-matrix.
_TOO_POSITIVE = 1e-10


class Graph:
    r"""The edges :math:`\{i, j\}` of a mesh with their conductances :math:`k_{ij} = -K_{ij} \ge 0`.

    Each rank holds the edges of its own nodes, in both directions where both ends are its own, sorted by the first end:
    arrays over edges belong to (i, j) = (``tails``, ``heads``). The conductances are symmetric to the last bit, on all
    ranks: what leaves i for j arrives at j. Nodes are in DOLFINx's order.

    Args:
        space: the space, of degree 1.

    Attributes:
        owned: the number of this rank's nodes.
        starts: the first edge of each node and, last, the number of edges.
        tails, heads: the ends of each edge, as indices of arrays with ghosts (see ``ghosted``).
        conductance: k_ij.
        total: Σ_j k_ij, shape (owned,).
        mass: the diagonal of M, shape (owned,).
        coordinates: those of all ends, shape (n, d).
        csr: rows and columns of the matrices with an entry for each node and each edge, as PETSc wants them.

    Raises:
        InputError: K has a positive entry off the diagonal.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        u, v = ufl.TrialFunction(space.V), ufl.TestFunction(space.V)
        stiffness = assemble_matrix(fem.form(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx(metadata=space.measure)))
        stiffness.assemble()
        # DOLFINx sums the contributions of cells to K_ij and to K_ji in different orders.
        other = stiffness.transpose(PETSc.Mat())
        stiffness.axpy(1.0, other)
        stiffness.scale(0.5)
        other.destroy()
        first, last = stiffness.getOwnershipRange()
        starts, columns, entries = stiffness.getValuesCSR()
        n = stiffness.getSize()[0]
        stiffness.destroy()
        self.owned = last - first
        rows = np.repeat(np.arange(self.owned, dtype=np.int32), np.diff(starts))
        inside = (columns >= first) & (columns < last)
        ghosts = np.unique(columns[~inside])
        local = np.where(inside, columns - first, self.owned + np.searchsorted(ghosts, columns)).astype(np.int32)
        self._scratch = PETSc.Vec().createMPI((self.owned, n), comm=space.comm)
        self._ghosts = PETSc.Vec().createSeq(len(ghosts), comm=PETSc.COMM_SELF)
        wanted = PETSc.IS().createGeneral(ghosts, comm=PETSc.COMM_SELF)
        self._scatter = PETSc.Scatter().create(self._scratch, wanted, self._ghosts, None)
        wanted.destroy()

        of_node = np.zeros(self.owned)
        on_diagonal = local == rows
        of_node[rows[on_diagonal]] = entries[on_diagonal]
        largest = self.ghosted(of_node)
        _check(space, rows, ~on_diagonal & (entries > _TOO_POSITIVE * largest[rows]), entries / largest[rows])
        edges = ~on_diagonal & (-entries > _ROUNDING * np.minimum(largest[rows], largest[local]))
        self.tails, self.heads, self.conductance = rows[edges], local[edges], -entries[edges]
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(self.tails, minlength=self.owned))])
        self.total = self.sums(self.conductance)
        self.mass = space.to_dolfinx(space.mass)
        where = space.V.tabulate_dof_coordinates()[: self.owned, : space.dimension]
        self.coordinates = np.stack([self.ghosted(x) for x in where.T], axis=1)

        kept = edges | on_diagonal
        pattern = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=self.owned))])
        self.csr = (pattern.astype(PETSc.IntType), columns[kept].astype(PETSc.IntType))
        self._diagonal = on_diagonal[kept]

    def matrix(self, diagonal: Array, off_diagonal: Array) -> Any:
        """Return a PETSc matrix with given entries, (owned,) and one an edge. Collective."""
        sizes = self._scratch.getSizes()
        values = self.entries(diagonal, off_diagonal)
        return PETSc.Mat().createAIJ((sizes, sizes), csr=(*self.csr, values), comm=self.space.comm)

    def entries(self, diagonal: Array, off_diagonal: Array) -> Array:
        """Return a matrix's entries in the order of ``csr``."""
        values = np.empty(len(self._diagonal))
        values[self._diagonal] = diagonal
        values[~self._diagonal] = off_diagonal
        return values

    def sums(self, edges: Array) -> Array:
        """Return the sum over each node's edges of an array over edges: shape (owned,)."""
        if not len(edges):
            return np.zeros(self.owned)
        sums: Array = np.add.reduceat(edges, np.minimum(self.starts[:-1], len(edges) - 1))
        sums[self.starts[:-1] == self.starts[1:]] = 0.0
        return sums

    def ghosted(self, owned: Array) -> Array:
        """Return values at all ends of this rank's edges, from those at its own nodes. Collective."""
        if self.space.comm.size == 1:
            return owned
        self._scratch.array[:] = owned
        self._scatter.scatter(self._scratch, self._ghosts)
        return np.concatenate([owned, self._ghosts.array_r])

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        for thing in (self._scatter, self._ghosts, self._scratch):
            thing.destroy()


def _check(space: Space, rows: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_], shares: Array) -> None:
    """Refuse a mesh on which K has positive entries off the diagonal: the scheme would lose its guarantee."""
    where = space.V.tabulate_dof_coordinates()[:, : space.dimension]
    worst = max(((float(shares[k]), where[rows[k]].tolist()) for k in np.flatnonzero(bad)), default=None)
    everywhere = [w for w in space.comm.allgather(worst) if w is not None]
    count = int(space.total(np.array([bad.sum()]))[0])
    if count:
        place = ", ".join(f"{x:.4g}" for x in max(everywhere)[1])
        raise InputError(
            f"the mesh has {(count + 1) // 2} edges where the positive schemes lose their guarantee (the stiffness "
            f"matrix is positive there), the worst at ({place}): use a Delaunay mesh of triangles, a Box, or "
            'scheme="adaptive"'
        )
