r"""The V-cycle through nested meshes, in single precision: the preconditioner of :math:`A = K + \mathrm{diag}(s)`.

A mesh that was made by refinement knows the coarser ones (``kspde.fem.solvers.stiffness``, where it is proved that the
cycle is positive definite). Their matrices are kept here as lists of edges, each stored once, :math:`k_{ij} = -K_{ij}`
in single precision: the rounding of a preconditioner costs no accuracy, and fewer bytes move (in double precision
"positive" takes a tenth longer on a disk of 1e5 nodes, and a quarter at 4e5). Systems share these and have
nothing but inverse diagonals of their own.

The order of the nodes (``kspde.fem.solvers.nested.numbering``) does not depend on the number of ranks, and nor does the
cycle, up to rounding, where the coarsest mesh is factorised: a system that is solved to a residual of 1e-10 has the
same solution on one and on three ranks to many more digits.

**Decoupled nodes.** Where :math:`s_i > 10^{16} K_{ii}` node i has no part in the cycle, and :math:`z_i = r_i / A_{ii}`,
in double precision, so that the range of single precision suffices for every s. What this drops of A's form is at most
2e-8 of the whole, for :math:`2 k |x_i x_j| \le 10^8 k x_i^2 + 10^{-8} k x_j^2` and :math:`x_j^2 \le 2 (x_j - x_i)^2 +
2 x_i^2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc
from scipy.sparse import csr_array

from kspde.fem.backend import Petsc, apply_options
from kspde.fem.solvers.krylov import SMOOTHER, Preconditioner
from kspde.fem.solvers.nested import gauss_seidel as sweeps
from kspde.fem.solvers.nested.numbering import Numbering, numbered
from kspde.typing import Array, Comm

__all__ = ["Cycle", "NestedMeshes", "Product"]

Single = npt.NDArray[np.float32]
Indices = npt.NDArray[np.uint32]
_Edges = tuple[Indices, Indices, Single]

#: Up to so many nodes each rank factorises the coarsest mesh's matrix; on more it takes cycles of algebraic multigrid.
_FEW = 4_000
_CYCLES = 2
#: Share of K's diagonal in A's below which a node is decoupled.
_DECOUPLED = 1e-16


class _Level:
    """One mesh: its edges, and how its nodes come from those of the next coarser one.

    Args:
        numbering: the order of its nodes, in which all is here.
        table: K in that order, this rank's rows of it, with a diagonal entry in each.

    Attributes:
        nodes: the number of this rank's nodes.
        ghosts, parts: the nodes of other ranks that are reached, and those of each colour alone.
        diagonal: K's.
        runs: for each colour, the runs of edges to nodes of lower ones (``gauss_seidel.runs``).
        columns, conductances: these nodes, all of this rank, and the edges' conductances.
        lower, higher: for each colour, edges from this rank's nodes of higher, or lower, colours to other ranks' nodes
            of this one: both ends, and conductances.
        same: edges between nodes of one colour, those within this rank in both directions, in the same way.
        entries, within, across: K's entries in double precision: those of ``columns``, those of ``same`` within this
            rank, and all those to other ranks' nodes, which are numbered among themselves.
        parents: the nodes of the coarser mesh that each new node is the mean of, see ``gauss_seidel.restrict``.
        x, b, r: a cycle's vectors; x and b have room for other ranks' nodes.
    """

    def __init__(self, numbering: Numbering, table: Any) -> None:
        self.ghosts = numbering.ghosts
        self.nodes = n = table.shape[0]
        heads, values = table.indices, table.data
        tails = np.repeat(np.arange(n, dtype=np.int32), np.diff(table.indptr))
        self.diagonal: Array = values[heads == tails]
        colours = numbering.colours
        step = colours[heads] - colours[tails]
        local, down = heads < n, step < 0
        same = (step == 0) & (heads != tails)

        def ends(edges: Any) -> tuple[Indices, Indices]:
            return tails[edges].astype(np.uint32), heads[edges].astype(np.uint32)

        def chosen(edges: Any) -> _Edges:
            return *ends(edges), (-values[edges]).astype(np.float32)

        inner, self.columns, self.conductances = chosen(down & local)
        below = np.bincount(inner, minlength=n)
        self.runs: list[Indices] = []
        for colour in range(sweeps.COLOURS):
            a, b = np.searchsorted(colours[:n], [colour, colour + 1])
            self.runs.append(sweeps.runs(below[a:b], a, int(below[:a].sum())))
        across = np.flatnonzero(~local)
        away = colours[heads[across]]
        self.lower = [chosen(across[(away == c) & down[across]]) for c in range(sweeps.COLOURS)]
        self.higher = [chosen(across[(away == c) & (step[across] > 0)]) for c in range(sweeps.COLOURS)]
        self.same = chosen(same)
        self.entries: Array = values[down & local]
        self.within = *ends(same & local), values[same & local]
        tail, head = ends(across)
        self.across = tail, head - np.uint32(n), values[across]
        self.parts = [self.ghosts.part(colours[n:] == c) for c in range(sweeps.COLOURS)]
        self.parents = numbering.parents
        self.x, self.b = (np.zeros(table.shape[1], dtype=np.float32) for _ in range(2))
        self.r: Single = np.zeros(n, dtype=np.float32)
        #: nodes with neighbours of lower colours on other ranks
        self._touched = np.unique(np.concatenate([ends for ends, _, _ in self.lower]))

    def down(self, inverse: Single) -> None:
        """Sweep from x = 0, with the right side b, and set r to the residual. Collective."""
        kept = self.b[self._touched]
        self.r[:] = 0.0
        for colour in range(sweeps.COLOURS):
            sweeps.sweep(self.b, inverse, self.runs[colour], self.columns, self.conductances, self.x, self.r)
            self.parts[colour].fill(self.x)
            self._add(self.lower[colour], self.b)
            self._add(self.higher[colour], self.r)
        self._add(self.same, self.r)
        self.b[self._touched] = kept

    def up(self, inverse: Single) -> None:
        """Sweep back from x, of which this rank's values are set; b changes. Collective."""
        self.ghosts.fill(self.x)
        for edges in (*self.lower, self.same):
            self._add(edges, self.b)
        for colour in reversed(range(sweeps.COLOURS)):
            sweeps.sweep(self.b, inverse, self.runs[colour], self.columns, self.conductances, self.x, self.b)
            self.parts[colour].fill(self.x)
            self._add(self.higher[colour], self.b)

    def _add(self, edges: _Edges, out: Single) -> None:
        """Add to ``out`` at the ends of edges what x at the other ends gives."""
        if len(edges[0]):
            sweeps.add_along(*edges, self.x, out)


class NestedMeshes:
    """The levels of nested meshes, which all systems share.

    Args:
        comm: the communicator.
        matrices: K on each mesh, the finest first.
        interpolations: between them, see ``numbering.interpolations``.
        numbers: of this rank's nodes of the finest mesh, the same on any number of ranks.

    Attributes:
        levels: the meshes, the finest first.
        coarsest: K on the last of them, whose rows are in the order of that level's arrays.
        factorised: whether each rank factorises that matrix; then the cycle does not depend on ranks.
        order: the row in the given matrix of each node of the finest mesh. Nodal arrays, and the vectors below, are in
            the order of the nodes here.
    """

    def __init__(self, comm: Comm, matrices: Sequence[Petsc], interpolations: Sequence[Petsc], numbers: Any) -> None:
        self.comm = comm
        self.coarsest = matrices[-1]
        self.factorised = self.coarsest.getSize()[0] <= _FEW
        means: list[Any] = [interpolation.getValuesCSR()[:2] for interpolation in interpolations]
        reached = [np.zeros(0, np.int32), *(columns for _, columns in means)]
        names = [numbers]
        for starts, _ in means:
            names.append(names[-1][np.diff(starts) == 1])
        self.levels: list[_Level] = []
        numbering: Numbering | None = None
        for k in reversed(range(len(matrices))):
            first, last = matrices[k].getOwnershipRange()
            starts, columns, entries = matrices[k].getValuesCSR()
            numbering = numbered(
                comm,
                (first, last, starts, columns),
                numbering,
                means[k] if k < len(means) else None,
                reached[k],
                names[k],
                first_refinement=k == len(matrices) - 2,
            )
            shape = (last - first, len(numbering.colours))
            table = csr_array((entries, numbering.ghosts.local(columns), starts), shape=shape)
            del columns, entries
            table = table[np.argsort(numbering.places)]
            table.sort_indices()
            self.levels.insert(0, _Level(numbering, table))
            if k:
                self.levels[0].entries = np.zeros(0)
            else:
                self.order: Indices = np.argsort(numbering.places).astype(np.uint32)

    def lumped(self, s: Array) -> list[Array]:
        """Return s on the finest level, and Pᵀ s on each of the others. Collective."""
        out = [s]
        for level, coarser in pairwise(self.levels):
            sums = np.zeros(coarser.nodes + coarser.ghosts.count)
            sweeps.restrict(out[-1], np.ones(level.nodes), level.parents, sums)
            coarser.ghosts.add(sums)
            out.append(sums[: coarser.nodes])
        return out

    def multiply(self, diagonal: Array, x: Array, y: Array) -> None:
        """Set y to the product of the finest mesh's K, with another diagonal, and x. Collective.

        (A sparse matrix reads twice as many numbers from memory: with it a run on a disk takes 20 % longer.)
        """
        level, x, diagonal = self.levels[0], _read_only(x), _read_only(diagonal)
        for runs in level.runs:
            sweeps.product(x, diagonal, runs, level.columns, level.entries, y)
        sweeps.add_along(*level.within, x, y)
        sweeps.add_along(*level.across, _read_only(level.ghosts.others(x)), y)


def _read_only(x: Array) -> Array:
    """Return x as PETSc gives its vectors: loops are compiled anew, in seconds, for arrays that may be written to."""
    view = x.view()
    view.flags.writeable = False
    return view


class Product:
    """One system's K + diag(s) on the finest mesh, as a context of PETSc's matrix.

    Args:
        nested: the levels.
    """

    def __init__(self, nested: NestedMeshes) -> None:
        self._nested = nested
        self._diagonal = np.zeros(nested.levels[0].nodes)

    def update(self, s: Array) -> None:
        """Let the system be K + diag(s). Rank-local."""
        np.add(s, self._nested.levels[0].diagonal, out=self._diagonal)

    def mult(self, matrix: Petsc, x: Petsc, y: Petsc) -> None:
        """Set y to the product with x. Collective."""
        self._nested.multiply(self._diagonal, x.array_r, y.array)


class Cycle(Preconditioner):
    """One system's V-cycle, as a context of PETSc's preconditioner.

    Args:
        nested: the levels.
        ksp: the solver.
    """

    needs_matrix = False

    def __init__(self, nested: NestedMeshes, ksp: Petsc) -> None:
        ksp.getPC().setType("python")
        ksp.getPC().setPythonContext(self)
        self.repeats = nested.factorised
        self._nested = nested
        self._inverses: list[Single] = [np.zeros(level.nodes, dtype=np.float32) for level in nested.levels[:-1]]
        #: decoupled nodes, and their inverse diagonal
        self._decoupled = np.zeros(0, np.intp)
        self._decoupled_inverse: Array = np.zeros(0)
        self._matrix = nested.coarsest.duplicate(copy=True)
        self._diagonal = self._matrix.getDiagonal()
        self._x, self._b = self._matrix.createVecs()
        self._solver: Petsc = None

    def update(self, s: Array, iterations: int) -> None:
        """Follow the system, which is now K + diag(s), s > 0; on the coarsest mesh where that pays. Collective."""
        shifts = self._nested.lumped(s)
        for level, inverse, shift in zip(self._nested.levels, self._inverses, shifts, strict=False):
            inverse[:] = np.where(_DECOUPLED * shift < level.diagonal, 1.0 / (shift + level.diagonal), 0.0)
        self._decoupled = np.flatnonzero(self._inverses[0] == 0.0)
        self._decoupled_inverse = 1.0 / (s[self._decoupled] + self._nested.levels[0].diagonal[self._decoupled])
        self._diagonal.array[:] = shifts[-1] + self._nested.levels[-1].diagonal
        if self.stale(self._nested.comm, s, iterations):
            self.renew()

    def renew(self) -> bool:
        """Rebuild the solver on the coarsest mesh. Collective."""
        super().renew()
        self._matrix.setDiagonal(self._diagonal)
        if self._solver is None:
            solver = PETSc.KSP().create(self._nested.comm)
            solver.setOperators(self._matrix)
            solver.setNormType(PETSc.KSP.NormType.NONE)
            options = {"pc_type": "redundant", "redundant_pc_type": "cholesky"}
            if self._nested.factorised:
                solver.setType("preonly")
            else:
                solver.setType("richardson")
                # A fixed number of cycles: with tolerances the preconditioner would not be linear.
                solver.setTolerances(rtol=0.0, atol=0.0, max_it=_CYCLES)
                options = {"pc_type": "gamg", **SMOOTHER}
            apply_options(solver, {}, options)
            self._solver = solver
        else:
            self._solver.setUp()
        return True

    def apply(self, pc: Petsc, r: Petsc, z: Petsc) -> None:
        """Set z to the cycle's result for r. Collective."""
        # Conjugate gradients have just asked for this norm: PETSc remembers it.
        size = float(r.norm())
        if not 0.0 < size < np.inf:
            r.copy(z)
            return
        right, left = r.array_r, z.array
        levels = self._nested.levels
        np.multiply(right, 1.0 / size, out=levels[0].b[: len(right)], casting="same_kind")
        for (level, coarser), inverse in zip(pairwise(levels), self._inverses, strict=True):
            level.down(inverse)
            coarser.b[:] = 0.0
            sweeps.restrict(level.r, inverse, level.parents, coarser.b)
            coarser.ghosts.add(coarser.b)
        last = levels[-1]
        self._b.array[:] = last.b[: last.nodes]
        self._solver.solve(self._b, self._x)
        last.x[: last.nodes] = self._x.array_r
        last.ghosts.fill(last.x)
        for (level, coarser), inverse in zip(reversed([*pairwise(levels)]), reversed(self._inverses), strict=True):
            sweeps.correct(coarser.x, level.parents, inverse, level.x)
            level.up(inverse)
        np.multiply(levels[0].x[: len(left)], size, out=left, dtype=np.float64)
        left[self._decoupled] = right[self._decoupled] * self._decoupled_inverse

    def destroy(self, pc: Petsc) -> None:
        """Free the PETSc objects; PETSc calls this at the preconditioner's end. Collective."""
        for thing in (self._solver, self._matrix, self._diagonal, self._x, self._b):
            if thing is not None:
                thing.destroy()
