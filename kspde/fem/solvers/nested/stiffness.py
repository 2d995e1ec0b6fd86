r"""The stiffness matrix of a mesh, shared by all systems :math:`K + \mathrm{diag}(s)`, with those of coarser meshes.

Systems differ by their diagonals alone, so one sparse matrix serves them all: each sets its diagonal before it solves.

**Nested meshes.** A mesh that was made by refinement knows the coarser ones. With P the interpolation of a coarse
function at the finer nodes (new ones lie in the middle of two or four earlier ones, but for those moved to a circle),
the coarse matrices are :math:`P^T K P`, made once, and for the diagonal :math:`P^T s`, its lumped projection: of its
own a system has diagonals alone (``kspde.fem.solvers.nested.multigrid``). Since P's rows sum to 1, :math:`P^T
\mathrm{diag}(s) P \le \mathrm{diag}(P^T s)` (convexity), so a coarse correction is never too long.

**One V-cycle is positive definite**, as conjugate gradients need. It goes down with a Gauss-Seidel sweep, a triangular
matrix S, and up with the one in the reverse order, :math:`S^T`; with the coarse cycle B_c it is

.. math:: B = S^{-T} (S + S^T - A) S^{-1} + (1 - S^{-T} A)\, P B_c P^T (1 - A S^{-1}),

so it is enough that S + S^T − A is positive definite and B_c semidefinite. S + S^T − A has A's diagonal, and the
negative of A's entries between nodes of one colour, which sweeps leave out (``kspde.fem.solvers.nested.gauss_seidel``):
where A is an M-matrix it is strictly diagonally dominant, for any s > 0. (Where the mesh makes A none, it is so unless
a node has most of its edges to nodes of its own colour.) Coarse matrices are made M-matrices: what is positive off
their diagonals moves to the diagonal (K grows by :math:`k (e_i - e_j)(e_i - e_j)^T`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx.fem.petsc import assemble_matrix
from petsc4py import PETSc

from kspde.fem.forms import compiled
from kspde.fem.solvers.ghosts import Ghosts
from kspde.fem.solvers.nested.multigrid import Hierarchy
from kspde.fem.spaces.base import Space

__all__ = ["Stiffness", "in_order", "interpolations", "original_numbers"]

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]

#: Negative entries off the diagonal below this share of the diagonal ones are round-off: no edges.
_ROUNDING = 1e-12
#: Positive entries off the diagonal up to this share of it are dropped too; larger ones break the M-matrix.
_TOO_POSITIVE = 1e-10


class Stiffness:
    r"""K with :math:`K_{ij} = \int \nabla\varphi_i\cdot\nabla\varphi_j`, symmetric to the last bit, rows of sum 0.

    Args:
        space: the space; rows are in the order of its nodal arrays.
        coarser: interpolations from the next coarser mesh, the finest first (see ``interpolations``).
        numbers: with these, of this rank's nodes in DOLFINx's order (see ``original_numbers``).

    Attributes:
        matrix: K + diag(s) with the s of the latest ``shift``, or K's entries with other diagonals.
        diagonal: K's own, shape (owned,).
        positive: rows of positive entries off the diagonal, and their shares of the diagonal.
        hierarchy: K on this mesh and the coarser ones; None without these. With it all is in its order of the nodes,
            which nodal arrays are to take.
    """

    def __init__(self, space: Space, coarser: Sequence[Any] = (), numbers: Indices | None = None) -> None:
        u, v = ufl.TrialFunction(space.V), ufl.TestFunction(space.V)
        fine = assemble_matrix(compiled(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx(metadata=space.measure)))
        fine.assemble()
        # DOLFINx sums the contributions of cells to K_ij and to K_ji in different orders.
        other = fine.transpose(PETSc.Mat())
        fine.axpy(1.0, other, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        fine.scale(0.5)
        other.destroy()
        if space.modal:
            fine = in_order(fine, space.from_dolfinx)
        self.matrix, self.positive = _cleaned(fine, positive=True)
        self.hierarchy: Hierarchy | None = None
        if coarser:
            matrices = [self.matrix]
            for interpolation in coarser:
                matrices.append(_cleaned(matrices[-1].PtAP(interpolation), positive=False)[0])
            self.hierarchy = Hierarchy(space.comm, matrices, coarser, numbers)
            for thing in (*matrices[1:-1], *coarser):
                thing.destroy()
            order = self.hierarchy.order
            self.matrix = in_order(self.matrix, lambda numbers: numbers[order])
            self.positive = np.argsort(order)[self.positive[0]].astype(np.int32), self.positive[1]
        self._diagonal = self.matrix.getDiagonal()
        self._shift = self._diagonal.duplicate()
        self._x, self._y = self.matrix.createVecs()
        self.diagonal: Array = self._diagonal.array_r

    def shift(self, s: Array | float) -> None:
        """Let ``matrix`` be K + diag(s). Collective."""
        self._shift.array[:] = s
        self._shift.axpy(1.0, self._diagonal)
        self.matrix.setDiagonal(self._shift)

    def times(self, x: Array, *, diagonal: bool = True) -> Array:
        """Return K x, or K x without the diagonal's part: then all terms of a sum have the same sign. Collective."""
        if self.hierarchy is not None:
            out = np.empty(len(x))
            self.hierarchy.multiply(self.diagonal if diagonal else np.zeros(len(x)), x, out)
            return out
        if diagonal:
            self.matrix.setDiagonal(self._diagonal)
        else:
            self._y.set(0.0)
            self.matrix.setDiagonal(self._y)
        self._x.array[:] = x
        self.matrix.mult(self._x, self._y)
        return np.array(self._y.array_r)

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        for thing in (self.matrix, self._diagonal, self._shift, self._x, self._y):
            thing.destroy()


def in_order(matrix: Any, sort: Callable[[Array], Array]) -> Any:
    """Return a matrix in another order of rows and columns; the given one is destroyed. Collective.

    Args:
        matrix: the matrix.
        sort: gives an array of numbers at this rank's nodes in that order.
    """
    theirs = np.arange(*matrix.getOwnershipRange(), dtype=np.float64)
    order = PETSc.IS().createGeneral(sort(theirs).astype(PETSc.IntType).ravel(), comm=matrix.comm)
    out = matrix.createSubMatrix(order, order)
    order.destroy()
    matrix.destroy()
    return out


def _cleaned(matrix: Any, *, positive: bool) -> tuple[Any, tuple[Indices, Array]]:
    """Return a matrix without round-off for edges, its diagonal the negative sum of the rest of the row.

    Args:
        matrix: the matrix, symmetric; destroyed unless it is returned.
        positive: whether positive entries off the diagonal stay. They are returned: their rows, and shares of the
            diagonal.
    """
    first, last = matrix.getOwnershipRange()
    starts, columns, entries = matrix.getValuesCSR()
    rows = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(starts))
    on_diagonal = columns == rows + first
    own = entries[on_diagonal]
    ghosts = Ghosts(matrix.comm.tompi4py(), first, last, columns)
    smaller = np.minimum(own[rows], ghosts(own)[ghosts.local(columns)])
    edges = entries < -_ROUNDING * smaller
    if positive:
        edges |= entries > _TOO_POSITIVE * smaller
    edges &= ~on_diagonal
    del smaller
    entries[~edges] = 0.0
    entries[on_diagonal] = -np.add.reduceat(entries, starts[:-1]) if len(own) else 0.0
    bad = np.flatnonzero(edges & (entries > 0.0))
    kept = edges | on_diagonal
    counts = np.add.reduceat(kept, starts[:-1], dtype=np.int32) if len(own) else np.zeros(0, dtype=np.int32)
    pattern = np.concatenate([[0], np.cumsum(counts)]).astype(PETSc.IntType)
    csr = (pattern, columns[kept].astype(PETSc.IntType), entries[kept])
    found = rows[bad], entries[bad] / own[rows[bad]]
    clean = PETSc.Mat().createAIJ(matrix.getSizes(), csr=csr, comm=matrix.comm)
    matrix.destroy()
    return clean, found


def original_numbers(space: Space) -> Indices:
    """Return the numbers in the mesh's source of this rank's nodes, at degree 1, in DOLFINx's order."""
    dofmap, geometry = space.V.dofmap, space.mesh.geometry
    index_map = dofmap.index_map
    numbers = np.empty(index_map.size_local + index_map.num_ghosts, dtype=np.int32)
    numbers[dofmap.list.ravel()] = geometry.input_global_indices[geometry.dofmaps[0].ravel()]
    return numbers[: index_map.size_local]


def interpolations(comm: Any, numbers: Indices, parents: Sequence[Indices]) -> list[Any]:
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
    """Return each rank's part of an interpolation: entries a row, columns, coarse nodes; and these nodes' numbers."""
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
