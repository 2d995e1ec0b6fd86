r"""The V-cycle through nested meshes, in single precision: the preconditioner of :math:`A = K + \mathrm{diag}(s)`.

A mesh that was made by refinement knows the coarser ones (``kspde.fem.stiffness``, where it is proved that the cycle is
positive definite). Their matrices are kept here as lists of edges :math:`k_{ij} = -K_{ij}` in single precision: what a
preconditioner is rounded to costs no accuracy, and half as many bytes move. Systems share these; of its own each has
the inverse diagonals.

Each rank's nodes are in the order in which refinement made them, those of the coarsest mesh first: a coarser level's
arrays are the beginnings of the finer one's, and since old nodes have edges to new ones alone, the sweep's steps depend
on one another less. A cycle goes through the edges of a level twice: the sweep down starts from zero, so that it needs
only the edges to earlier nodes, and what it leaves,

.. math:: r_i = b_i - (A x)_i = \sum_{j > i} k_{ij} x_j

(of other ranks' nodes all count as later), needs the others and goes to the coarser level as it is found.

**Nodes of their own.** Where :math:`s_i > 10^{16} K_{ii}` node i has no part in the cycle, and :math:`z_i = r_i /
A_{ii}`, in double precision, so that single precision's range suffices for each s. What is dropped of A's form with
it is at most 2e-8 of the whole, for :math:`2 k |x_i x_j| \le 10^8 k x_i^2 + 10^{-8} k x_j^2` and :math:`x_j^2 \le
2 (x_j - x_i)^2 + 2 x_i^2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc
from scipy.sparse import csr_array

from kspde.compiled import compiled_in_order, inlined
from kspde.fem.backend import apply_options
from kspde.fem.ghosts import Ghosts

__all__ = ["SMOOTHER", "Cycle", "Hierarchy"]

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
#: Unsigned: compiled loops then need not look for indices that count from the end.
Indices = npt.NDArray[np.uint32]

#: PETSc options of algebraic multigrid: symmetric Gauss-Seidel sweeps on each rank's rows.
SMOOTHER: dict[str, Any] = {
    "mg_levels_ksp_type": "richardson",
    "mg_levels_pc_type": "sor",
    "mg_levels_ksp_max_it": 1,
    "mg_levels_ksp_norm_type": "none",
}

#: Up to so many nodes each rank factorises the coarsest mesh' matrix; on more it has cycles of algebraic multigrid.
_FEW = 4_000
_CYCLES = 2
#: Share of K's diagonal in A's below which a node is on its own.
_ALONE = 1e-16


class _Level:
    """One mesh: its edges, and how its nodes come from those of the next coarser one.

    Args:
        comm: the communicator.
        matrix: K on this mesh, with a diagonal entry in each row; only read.
        places: where its rows stand in the arrays here.
        reached: numbers of this mesh's nodes that the finer one's interpolation uses.
    """

    def __init__(self, comm: Any, matrix: Any, places: npt.NDArray[np.int32], reached: npt.NDArray[np.int32]) -> None:
        first, last = matrix.getOwnershipRange()
        starts, columns, entries = matrix.getValuesCSR()
        self.nodes = last - first
        self.ghosts = Ghosts(comm, first, last, np.concatenate([columns, reached]), places)
        size = self.nodes + self.ghosts.count
        table = csr_array((entries, self.ghosts.local(columns), starts), shape=(self.nodes, size))[np.argsort(places)]
        del columns, entries
        table.sort_indices()
        rows = np.repeat(np.arange(self.nodes, dtype=np.int32), np.diff(table.indptr))
        edges = table.indices != rows
        self.diagonal: Array = table.data[~edges]
        self.conductance: Single = (-table.data[edges]).astype(np.float32)
        self.columns: Indices = table.indices[edges].astype(np.uint32)
        # A diagonal entry in each row is left out.
        self.starts: Indices = (table.indptr - np.arange(self.nodes + 1)).astype(np.uint32)
        earlier = np.bincount(rows[table.indices < rows], minlength=self.nodes)
        self.middles: Indices = self.starts[:-1] + earlier.astype(np.uint32)
        #: each new node is the mean of some nodes of the coarser mesh: the first of these, and all of them
        self.parents: tuple[Indices, Indices] = (np.zeros(1, np.uint32), np.zeros(0, np.uint32))
        self.x: Single = np.zeros(size, dtype=np.float32)
        self.b: Single = np.zeros(size, dtype=np.float32)


class Hierarchy:
    """The levels of nested meshes, which all systems share.

    Args:
        comm: the communicator.
        matrices: K on each mesh, the finest first.
        interpolations: between them; rows of one entry are those of the coarser mesh' nodes, in their order.

    Attributes:
        levels: the meshes, the finest first.
        coarsest: K on the last of them, whose rows are in the order of that level's arrays.
        order: the row of each node of the finest mesh.
    """

    def __init__(self, comm: Any, matrices: Sequence[Any], interpolations: Sequence[Any]) -> None:
        self.comm = comm
        self.coarsest = matrices[-1]
        tables = [interpolation.getValuesCSR()[:2] for interpolation in interpolations]
        places = [np.arange(self.coarsest.getLocalSize()[0], dtype=np.int32)]
        for starts, _ in reversed(tables):
            new = np.diff(starts) > 1
            finer = np.empty(len(new), dtype=np.int32)
            finer[~new] = places[0]
            finer[new] = np.arange(len(places[0]), len(new))
            places.insert(0, finer)
        self.order: Indices = np.argsort(places[0]).astype(np.uint32)
        self.levels = [
            _Level(comm, matrix, place, reached)
            for matrix, place, reached in zip(
                matrices, places, [np.zeros(0, np.int32), *(reached for _, reached in tables)], strict=True
            )
        ]
        for level, coarser, (starts, reached) in zip(self.levels, self.levels[1:], tables, strict=False):
            counts = np.diff(starts)
            nodes = coarser.ghosts.local(reached[np.repeat(counts > 1, counts)])
            first = np.concatenate([[0], np.cumsum(counts[counts > 1])])
            level.parents = first.astype(np.uint32), nodes.astype(np.uint32)

    def lumped(self, s: Array) -> list[Array]:
        """Return s, given in the order of rows, on the finest level, and Pᵀ s on each of the others. Collective."""
        out = [s[self.order]]
        for level, coarser in pairwise(self.levels):
            sums = np.zeros(coarser.nodes + coarser.ghosts.count)
            _gather(out[-1], *level.parents, sums)
            coarser.ghosts.add(sums)
            out.append(sums[: coarser.nodes])
        return out


class Cycle:
    """One system's V-cycle, as a context of PETSc's preconditioner.

    Args:
        hierarchy: the levels.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._inverses: list[Single] = [np.zeros(level.nodes, dtype=np.float32) for level in hierarchy.levels[:-1]]
        #: nodes on their own on each level, and of the finest ones the inverse diagonal
        self._alone: list[npt.NDArray[np.intp]] = []
        self._own: Array = np.zeros(0)
        self._matrix = hierarchy.coarsest.duplicate(copy=True)
        self._diagonal = self._matrix.getDiagonal()
        self._x, self._b = self._matrix.createVecs()
        self._solver: Any = None

    def update(self, s: Array) -> None:
        """Let the system be K + diag(s), s > 0; on the coarsest mesh only with the next ``renew``. Collective."""
        shifts = self._hierarchy.lumped(s)
        for level, inverse, shift in zip(self._hierarchy.levels, self._inverses, shifts, strict=False):
            inverse[:] = np.where(_ALONE * shift < level.diagonal, 1.0 / (shift + level.diagonal), 0.0)
        self._alone = [np.flatnonzero(inverse == 0.0) for inverse in self._inverses]
        finest = self._alone[0]
        self._own = 1.0 / (shifts[0][finest] + self._hierarchy.levels[0].diagonal[finest])
        self._diagonal.array[:] = shifts[-1] + self._hierarchy.levels[-1].diagonal

    def renew(self) -> None:
        """Make algebraic multigrid on the coarsest mesh anew. Collective."""
        self._matrix.setDiagonal(self._diagonal)
        if self._solver is None:
            solver = PETSc.KSP().create(self._hierarchy.comm)
            solver.setOperators(self._matrix)
            solver.setNormType(PETSc.KSP.NormType.NONE)
            options = {"pc_type": "redundant", "redundant_pc_type": "cholesky"}
            if self._matrix.getSize()[0] <= _FEW:
                solver.setType("preonly")
            else:
                solver.setType("richardson")
                # Always so many cycles: with tolerances the preconditioner would not be linear.
                solver.setTolerances(rtol=0.0, atol=0.0, max_it=_CYCLES)
                options = {"pc_type": "gamg", **SMOOTHER}
            apply_options(solver, {}, options)
            self._solver = solver
        else:
            self._solver.setUp()

    def apply(self, pc: Any, r: Any, z: Any) -> None:
        """Set z to the cycle's result for r. Collective."""
        size = float(r.norm(PETSc.NormType.NORM_INFINITY))
        if not 0.0 < size < np.inf:
            r.copy(z)
            return
        hierarchy = self._hierarchy
        right, left = r.array_r, z.array
        levels = hierarchy.levels
        _take(right, 1.0 / size, hierarchy.order, levels[0].b)
        for (level, coarser), inverse in zip(pairwise(levels), self._inverses, strict=True):
            later = level.middles, level.starts[1:], level.columns, level.conductance
            _down(level.b, inverse, level.starts, level.middles, level.columns, level.conductance, level.x)
            level.ghosts.fill(level.x)
            _residual(level.x, inverse, *later, *level.parents, coarser.b)
            coarser.ghosts.add(coarser.b)
        last = levels[-1]
        self._b.array[:] = last.b[: last.nodes]
        self._solver.solve(self._b, self._x)
        last.x[: last.nodes] = self._x.array_r
        upwards = zip(reversed([*pairwise(levels)]), reversed(self._inverses), reversed(self._alone), strict=True)
        for (level, coarser), inverse, alone in upwards:
            coarser.ghosts.fill(coarser.x)
            _correct(coarser.x, *level.parents, level.nodes, level.x)
            level.x[alone] = 0.0
            level.ghosts.fill(level.x)
            _up(level.b, inverse, level.starts, level.columns, level.conductance, level.x)
        _put(levels[0].x, size, hierarchy.order, left)
        own = hierarchy.order[self._alone[0]]
        left[own] = right[own] * self._own

    def destroy(self, pc: Any) -> None:
        """Free the PETSc objects; PETSc calls this at the preconditioner's end. Collective."""
        for thing in (self._solver, self._matrix, self._diagonal, self._x, self._b):
            if thing is not None:
                thing.destroy()


@inlined
def _sum(k: Single, columns: Indices, x: Single, first: Any, last: Any) -> Any:
    """Return the sum over some edges of k x; written out for as many as most nodes have."""
    if last - first == 6:
        one = k[first] * x[columns[first]] + k[first + 1] * x[columns[first + 1]]
        two = k[first + 2] * x[columns[first + 2]] + k[first + 3] * x[columns[first + 3]]
        return (one + two) + (k[first + 4] * x[columns[first + 4]] + k[first + 5] * x[columns[first + 5]])
    if last - first == 2:
        return k[first] * x[columns[first]] + k[first + 1] * x[columns[first + 1]]
    total = np.float32(0.0)
    for e in range(first, last):
        total += k[e] * x[columns[e]]
    return total


@inlined
def _mean_of(values: Single, nodes: Indices, first: Any, last: Any) -> Any:
    """Return the mean over some nodes."""
    if last - first == 2:
        return np.float32(0.5) * (values[nodes[first]] + values[nodes[first + 1]])
    total = np.float32(0.0)
    for e in range(first, last):
        total += values[nodes[e]]
    return total / np.float32(last - first)


@compiled_in_order
def _gather(s: Array, starts: Indices, parents: Indices, out: Array) -> None:
    """Add Pᵀ s."""
    old = s.size + 1 - starts.size
    for i in range(old):
        out[i] += s[i]
    for i in range(old, s.size):
        first, last = starts[i - old], starts[i - old + 1]
        for e in range(first, last):
            out[parents[e]] += s[i] / (last - first)


@compiled_in_order
def _take(values: Array, factor: float, order: Indices, out: Single) -> None:
    for i in range(order.size):
        out[i] = factor * values[order[i]]


@compiled_in_order
def _put(values: Single, factor: float, order: Indices, out: Array) -> None:
    for i in range(order.size):
        out[order[i]] = factor * values[i]


@compiled_in_order
def _down(
    b: Single, inverse: Single, starts: Indices, middles: Indices, columns: Indices, k: Single, x: Single
) -> None:
    """Solve with the lower triangle."""
    for i in range(inverse.size):
        total = b[i]
        for e in range(starts[i], middles[i]):
            total += k[e] * x[columns[e]]
        x[i] = inverse[i] * total


@compiled_in_order
def _residual(
    x: Single,
    inverse: Single,
    middles: Indices,
    ends: Indices,
    columns: Indices,
    k: Single,
    starts: Indices,
    parents: Indices,
    out: Single,
) -> None:
    """Set ``out`` to Pᵀ r, r what the sweep down has left; nodes on their own have no part in it."""
    old = inverse.size + 1 - starts.size
    out[old:] = 0.0
    for i in range(old):
        left = _sum(k, columns, x, middles[i], ends[i])
        out[i] = left if inverse[i] > 0.0 else np.float32(0.0)
    for i in range(old, inverse.size):
        left = _sum(k, columns, x, middles[i], ends[i])
        if inverse[i] > 0.0:
            first, last = starts[i - old], starts[i - old + 1]
            left /= np.float32(last - first)
            for e in range(first, last):
                out[parents[e]] += left


@compiled_in_order
def _correct(coarse: Single, starts: Indices, parents: Indices, nodes: int, x: Single) -> None:
    """Add the interpolation of the coarse correction."""
    old = nodes + 1 - starts.size
    for i in range(old):
        x[i] += coarse[i]
    for i in range(old, nodes):
        x[i] += _mean_of(coarse, parents, starts[i - old], starts[i - old + 1])


@compiled_in_order
def _up(b: Single, inverse: Single, starts: Indices, columns: Indices, k: Single, x: Single) -> None:
    """Sweep from the last node to the first."""
    for i in range(inverse.size - 1, -1, -1):
        x[i] = inverse[i] * (b[i] + _sum(k, columns, x, starts[i], starts[i + 1]))
