r"""The stiffness matrix of a mesh, shared by all systems :math:`K + \mathrm{diag}(s)`, with those of coarser meshes.

Systems differ by their diagonals alone, so one sparse matrix serves them all: each sets its diagonal before it solves.

**Nested meshes.** A mesh that was made by refinement knows the coarser ones. With P the interpolation of a coarse
function at the finer nodes (new ones lie in the middle of two or four earlier ones, but for those moved to a circle),
the coarse matrices are :math:`P^T K P`, made once, and for the diagonal :math:`P^T s`, its lumped projection: a system
has nothing but diagonals of its own (``kspde.fem.solvers.nested.cycle``). Since P's rows sum to 1, :math:`P^T
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

from kspde.fem.backend import Petsc
from kspde.fem.forms import compiled
from kspde.fem.solvers.ghosts import Ghosts
from kspde.fem.solvers.nested.cycle import NestedMeshes, Product
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm

__all__ = ["Stiffness", "in_order"]

Indices = npt.NDArray[np.int32]

#: Negative entries off the diagonal up to this share of it are round-off, and no edges.
_ROUNDING = 1e-12
#: Positive entries off the diagonal up to this share of it are dropped too; larger ones break the M-matrix.
_TOO_POSITIVE = 1e-10


class Stiffness:
    r"""K with :math:`K_{ij} = \int \nabla\varphi_i\cdot\nabla\varphi_j`, symmetric to the last bit, rows of sum 0.

    Args:
        comm: the communicator.
        V: the DOLFINx function space.
        measure: the quadrature rule, as UFL metadata.
        direct: whether systems are factorised; else they are iterated.
        sort: brings arrays over DOLFINx's nodes into the order that rows are to have.
        merged: a matrix P of zeros and ones, where several of DOLFINx's nodes are one row: K is then PᵀKP.
        coarser: interpolations from the next coarser mesh, the finest first (``nested.numbering.interpolations``).
        numbers: with these, the numbers in the mesh's source of this rank's nodes.
        kept: whether the matrix outlives its users: then ``free`` does nothing.

    Attributes:
        matrix: K + diag(s) with the s of the latest ``shift``, or K's entries with other diagonals.
        diagonal: K's own, shape (owned,).
        positive: rows of positive entries off the diagonal, and their shares of the diagonal.
        nested: K on this mesh and the coarser ones; None without these.
        order: the places of the rows among DOLFINx's nodes, or with ``sort`` among those that it gives.
    """

    def __init__(
        self,
        comm: Comm,
        V: Any,
        measure: dict[str, Any],
        *,
        direct: bool,
        sort: Callable[[Array], Array] | None = None,
        merged: Petsc | None = None,
        coarser: Sequence[Petsc] = (),
        numbers: Indices | None = None,
        kept: bool = False,
    ) -> None:
        self.direct = direct
        self._comm = comm
        self._kept = kept
        fine = _assembled(V, measure, merged)
        if sort is not None:
            fine = in_order(fine, sort)
        self.matrix, self.positive = _cleaned(fine, positive=True)
        self.nested: NestedMeshes | None = None
        self.order: npt.NDArray[np.integer[Any]] = np.arange(self.matrix.getLocalSize()[0])
        if coarser:
            matrices = [self.matrix]
            for interpolation in coarser:
                matrices.append(_cleaned(matrices[-1].PtAP(interpolation), positive=False)[0])
            self.nested = NestedMeshes(comm, matrices, coarser, numbers)
            for thing in (*matrices[1:-1], *coarser):
                thing.destroy()
            self.order = order = self.nested.order
            self.matrix = in_order(self.matrix, lambda numbers: numbers[order])
            self.positive = np.argsort(order)[self.positive[0]].astype(np.int32), self.positive[1]
        self._diagonal = self.matrix.getDiagonal()
        self._shift = self._diagonal.duplicate()
        self._x, self._y = self.matrix.createVecs()
        self.diagonal: Array = self._diagonal.array_r

    def total(self, local: Array) -> Array:
        """Return the sum of an array over the ranks. Collective."""
        return reduced(self._comm, np.array(local, order="C"))

    def shift(self, s: Array | float) -> None:
        """Let ``matrix`` be K + diag(s). Collective."""
        self._shift.array[:] = s
        self._shift.axpy(1.0, self._diagonal)
        self.matrix.setDiagonal(self._shift)

    def operator(self) -> Product | None:
        """Return what multiplies by K + diag(s) faster than the matrix, where there are coarser meshes."""
        return None if self.nested is None else Product(self.nested)

    def times(self, x: Array, *, diagonal: bool = True) -> Array:
        """Return K x, or K x without the diagonal's part: then all terms of a sum have the same sign. Collective."""
        if self.nested is not None:
            out = np.empty(len(x))
            self.nested.multiply(self.diagonal if diagonal else np.zeros(len(x)), x, out)
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
        if not self._kept:
            for thing in (self.matrix, self._diagonal, self._shift, self._x, self._y):
                thing.destroy()


def _assembled(V: Any, measure: dict[str, Any], merged: Petsc | None) -> Petsc:
    """Return K in DOLFINx's order, or that of the columns of a matrix P, which is destroyed. Collective."""
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    matrix = assemble_matrix(compiled(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx(metadata=measure)))
    matrix.assemble()
    if merged is not None:
        unmerged, matrix = matrix, matrix.PtAP(merged)
        unmerged.destroy()
        merged.destroy()
    # DOLFINx sums the contributions of cells to K_ij and to K_ji in different orders.
    transposed = matrix.transpose(PETSc.Mat())
    matrix.axpy(1.0, transposed, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
    matrix.scale(0.5)
    transposed.destroy()
    return matrix


def in_order(matrix: Petsc, sort: Callable[[Array], Array]) -> Petsc:
    """Return a matrix in another order of rows and columns; the given one is destroyed. Collective.

    Args:
        matrix: the matrix.
        sort: brings an array over this rank's nodes into that order.
    """
    theirs = np.arange(*matrix.getOwnershipRange(), dtype=np.float64)
    order = PETSc.IS().createGeneral(sort(theirs).astype(PETSc.IntType).ravel(), comm=matrix.comm)
    out = matrix.createSubMatrix(order, order)
    order.destroy()
    matrix.destroy()
    return out


def _cleaned(matrix: Petsc, *, positive: bool) -> tuple[Any, tuple[Indices, Array]]:
    """Return a matrix without round-off for edges, its diagonal the negative sum of the rest of the row.

    Args:
        matrix: the matrix, symmetric; it is destroyed.
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
    ghosts.free()
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
