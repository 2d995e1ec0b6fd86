r"""The V-cycle through nested meshes, in single precision: the preconditioner of :math:`A = K + \mathrm{diag}(s)`.

A mesh that was made by refinement knows the coarser ones (``kspde.fem.solvers.nested.stiffness``, where it is proved
that the cycle is positive definite). Their matrices are kept here as lists of edges, each once, :math:`k_{ij} =
-K_{ij}` in single
precision: what a preconditioner is rounded to costs no accuracy, and fewer bytes move. Systems share these; of its own
each has the inverse diagonals.

Each rank's nodes are in the order in which refinement made them, those of the coarsest mesh first, so that a coarser
level's arrays are the beginnings of the finer one's; those of one refinement in the order of their colours
(``kspde.fem.solvers.nested.gauss_seidel``). These do not depend on the number of ranks, and nor does the cycle, up to
rounding, where the coarsest mesh is factorised: a system that is solved to a residual of 1e-10 has the same solution on
one and on three ranks to many more digits.

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

from kspde.fem.backend import apply_options
from kspde.fem.solvers.ghosts import Ghosts
from kspde.fem.solvers.nested import gauss_seidel as sweeps

__all__ = ["SMOOTHER", "Cycle", "Hierarchy", "Product"]

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Indices = npt.NDArray[np.uint32]
_Edges = tuple[Indices, Indices, Single]

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
        coarser: the next coarser mesh, whose nodes come first here, as they stand there.
        parents: the interpolation: of each row its first entry, and columns. None on the coarsest mesh, where all nodes
            are in the order of the matrix.
        reached: numbers of this mesh's nodes that the finer one's interpolation uses.
        numbers: of this rank's nodes, the same on any number of ranks.

    Attributes:
        nodes: the number of this rank's nodes.
        places: where the matrix' rows stand in the arrays here.
        ghosts: the nodes of other ranks that are reached.
        parts: the same of each colour alone.
        colours: of all nodes here.
        diagonal: K's.
        runs: of each colour, in the edges to nodes of lower ones (``sweeps.runs``).
        columns, conductances: these nodes, all of this rank, and the edges' conductances.
        lower, higher: of each colour, edges to other ranks' nodes of it from this one's of higher and of lower colours:
            these and those, conductances.
        same: edges between nodes of one colour, those within this rank in both directions, in the same way.
        entries, within, across: K's entries in double precision: those of ``columns``, those of ``same`` within this
            rank, and all those between it and others, which are numbered among themselves.
        means: of which nodes of the coarser mesh each new node is the mean: runs and nodes.
        x, b, r: a cycle's vectors; x and b have room for other ranks' nodes.
    """

    def __init__(
        self,
        comm: Any,
        matrix: Any,
        coarser: _Level | None,
        parents: tuple[Any, Any] | None,
        reached: Any,
        numbers: Any,
    ) -> None:
        first, last = matrix.getOwnershipRange()
        starts, columns, entries = matrix.getValuesCSR()
        self.coarsest = coarser is None
        self.nodes: int = last - first
        n = self.nodes
        self.places = np.arange(n, dtype=np.int32)
        self.ghosts = Ghosts(comm, first, last, np.concatenate([columns, reached]))
        size = n + self.ghosts.count
        colours = np.zeros(n, dtype=np.int8)
        counts = np.ones(n, dtype=np.int32) if parents is None else np.diff(parents[0])
        rows = np.arange(n)
        if coarser is not None and parents is not None:
            new = counts > 1
            if coarser.coarsest:
                colours[new] = _first_colours(comm, self.ghosts, starts, columns, counts, numbers)
            else:
                sweeps.colours_of_means(coarser.colours, parents[0], coarser.ghosts.local(parents[1]), colours)
            # In the order of their colours, then of the lengths of loops, last of their numbers.
            neighbours = sweeps.lower_neighbours(starts, columns - first, colours)
            order = np.flatnonzero(new)
            order = order[np.lexsort((neighbours[order], counts[order], colours[order]))]
            self.places[~new] = coarser.places
            self.places[order] = np.arange(coarser.nodes, n)
            rows = np.argsort(self.places)
        self.colours: npt.NDArray[np.int8] = np.concatenate([colours[rows], self.ghosts.others(colours)])
        self.ghosts.place(self.places)
        table = csr_array((entries, self.ghosts.local(columns), starts), shape=(n, size))[rows]
        del columns, entries
        table.sort_indices()
        heads, values = table.indices, table.data
        tails = np.repeat(np.arange(n, dtype=np.int32), np.diff(table.indptr))
        self.diagonal: Array = values[heads == tails]
        step = self.colours[heads] - self.colours[tails]

        def chosen(edges: Any) -> _Edges:
            return tails[edges].astype(np.uint32), heads[edges].astype(np.uint32), (-values[edges]).astype(np.float32)

        ends, self.columns, self.conductances = chosen((step < 0) & (heads < n))
        below = np.bincount(ends, minlength=n)
        self.runs: list[Indices] = []
        for colour in range(sweeps.COLOURS):
            a, b = np.searchsorted(self.colours[:n], [colour, colour + 1])
            self.runs.append(sweeps.runs(below[a:b], a, int(below[:a].sum())))
        across = np.flatnonzero(heads >= n)
        away = self.colours[heads[across]]
        self.lower = [chosen(across[(away == c) & (step[across] < 0)]) for c in range(sweeps.COLOURS)]
        self.higher = [chosen(across[(away == c) & (step[across] > 0)]) for c in range(sweeps.COLOURS)]
        self.same = chosen((step == 0) & (heads != tails))
        inside = np.flatnonzero((step == 0) & (heads != tails) & (heads < n))
        self.entries: Array = values[(step < 0) & (heads < n)]
        self.within = tails[inside].astype(np.uint32), heads[inside].astype(np.uint32), values[inside]
        self.across = tails[across].astype(np.uint32), (heads[across] - n).astype(np.uint32), values[across]
        self.parts = [self.ghosts.part(self.colours[:n] == c, self.colours[n:] == c) for c in range(sweeps.COLOURS)]
        self.means: tuple[Indices, Indices] = (np.zeros((0, 4), np.uint32), np.zeros(0, np.uint32))
        if coarser is not None and parents is not None:
            new_rows = rows[coarser.nodes :]
            means = csr_array((np.ones(len(parents[1]), np.int8), parents[1], parents[0]), shape=(n, 2**31 - 1))
            nodes = coarser.ghosts.local(means[new_rows].indices)
            self.means = (sweeps.runs(counts[new_rows], coarser.nodes), nodes.astype(np.uint32))
        self.x: Single = np.zeros(size, dtype=np.float32)
        self.b: Single = np.zeros(size, dtype=np.float32)
        self.r: Single = np.zeros(n, dtype=np.float32)
        #: nodes with neighbours of lower colours on other ranks
        self._touched = np.unique(np.concatenate([ends for ends, _, _ in self.lower]))

    def down(self, inverse: Single) -> None:
        """Sweep from x = 0, with the right side b, and set r to what is left. Collective."""
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
        """Sweep back from x, this rank's values of which are set; b changes. Collective."""
        self.ghosts.fill(self.x)
        for edges in (*self.lower, self.same):
            self._add(edges, self.b)
        for colour in reversed(range(sweeps.COLOURS)):
            sweeps.sweep(self.b, inverse, self.runs[colour], self.columns, self.conductances, self.x, self.b)
            self.parts[colour].fill(self.x)
            self._add(self.higher[colour], self.b)

    def _add(self, edges: _Edges, out: Single) -> None:
        """Add to ``out`` at the ends of edges what x gives at the other ends."""
        if len(edges[0]):
            sweeps.add_along(*edges, self.x, out)


def _first_colours(comm: Any, ghosts: Ghosts, starts: Any, columns: Any, counts: Any, numbers: Any) -> Any:
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
        chosen = sweeps.first_colours(table.indptr, np.searchsorted(names[order], table.indices), means[order])
        back = np.empty_like(chosen)
        back[order] = chosen
        pieces = np.split(back, np.cumsum([len(part[0]) for part in parts])[:-1])
    return comm.scatter(pieces)


class Hierarchy:
    """The levels of nested meshes, which all systems share.

    Args:
        comm: the communicator.
        matrices: K on each mesh, the finest first.
        interpolations: between them; rows of one entry are those of the coarser mesh' nodes, in their order.
        numbers: of this rank's nodes of the finest mesh, the same on any number of ranks.

    Attributes:
        levels: the meshes, the finest first.
        coarsest: K on the last of them, whose rows are in the order of that level's arrays.
        factorised: whether each rank factorises that matrix; then the cycle does not depend on ranks.
        order: the row in the given matrix of each node of the finest mesh. Nodal arrays, and the vectors below, are in
            the order of the nodes here.
    """

    def __init__(self, comm: Any, matrices: Sequence[Any], interpolations: Sequence[Any], numbers: Any) -> None:
        self.comm = comm
        self.coarsest = matrices[-1]
        self.factorised = self.coarsest.getSize()[0] <= _FEW
        tables = [interpolation.getValuesCSR()[:2] for interpolation in interpolations]
        names = [numbers]
        for starts, _ in tables:
            names.append(names[-1][np.diff(starts) == 1])
        self.levels: list[_Level] = []
        for number in reversed(range(len(matrices))):
            reached = tables[number - 1][1] if number else np.zeros(0, np.int32)
            coarser = self.levels[0] if self.levels else None
            parents = tables[number] if coarser is not None else None
            self.levels.insert(0, _Level(comm, matrices[number], coarser, parents, reached, names[number]))
        for level in self.levels[1:]:
            level.entries = np.zeros(0)
        self.order: Indices = np.argsort(self.levels[0].places).astype(np.uint32)

    def lumped(self, s: Array) -> list[Array]:
        """Return s on the finest level, and Pᵀ s on each of the others. Collective."""
        out = [s]
        for level, coarser in pairwise(self.levels):
            sums = np.zeros(coarser.nodes + coarser.ghosts.count)
            sweeps.restrict(out[-1], np.ones(level.nodes), *level.means, sums)
            coarser.ghosts.add(sums)
            out.append(sums[: coarser.nodes])
        return out

    def multiply(self, diagonal: Array, x: Array, y: Array) -> None:
        """Set y to the product with x of the finest mesh' K with another diagonal. Collective.

        Of a sparse matrix twice as many numbers come from memory.
        """
        level = self.levels[0]
        for runs in level.runs:
            sweeps.product(x, diagonal, runs, level.columns, level.entries, y)
        sweeps.add_along(*level.within, x, y)
        sweeps.add_along(*level.across, level.ghosts.others(x), y)


class Product:
    """One system's K + diag(s) on the finest mesh, as a context of PETSc's matrix.

    Args:
        hierarchy: the levels.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._diagonal = np.zeros(hierarchy.levels[0].nodes)

    def update(self, s: Array) -> None:
        """Let the system be K + diag(s). Rank-local."""
        np.add(s, self._hierarchy.levels[0].diagonal, out=self._diagonal)

    def mult(self, matrix: Any, x: Any, y: Any) -> None:
        """Set y to the product with x. Collective."""
        self._hierarchy.multiply(self._diagonal, x.array_r, y.array)


class Cycle:
    """One system's V-cycle, as a context of PETSc's preconditioner.

    Args:
        hierarchy: the levels.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._inverses: list[Single] = [np.zeros(level.nodes, dtype=np.float32) for level in hierarchy.levels[:-1]]
        #: nodes that are on their own, and their inverse diagonal
        self._alone = np.zeros(0, np.intp)
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
        self._alone = np.flatnonzero(self._inverses[0] == 0.0)
        self._own = 1.0 / (s[self._alone] + self._hierarchy.levels[0].diagonal[self._alone])
        self._diagonal.array[:] = shifts[-1] + self._hierarchy.levels[-1].diagonal

    def renew(self) -> None:
        """Make algebraic multigrid on the coarsest mesh anew. Collective."""
        self._matrix.setDiagonal(self._diagonal)
        if self._solver is None:
            solver = PETSc.KSP().create(self._hierarchy.comm)
            solver.setOperators(self._matrix)
            solver.setNormType(PETSc.KSP.NormType.NONE)
            options = {"pc_type": "redundant", "redundant_pc_type": "cholesky"}
            if self._hierarchy.factorised:
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
        # Conjugate gradients have just asked for this norm: PETSc remembers it.
        size = float(r.norm())
        if not 0.0 < size < np.inf:
            r.copy(z)
            return
        right, left = r.array_r, z.array
        levels = self._hierarchy.levels
        np.multiply(right, 1.0 / size, out=levels[0].b[: len(right)], casting="same_kind")
        for (level, coarser), inverse in zip(pairwise(levels), self._inverses, strict=True):
            level.down(inverse)
            coarser.b[:] = 0.0
            sweeps.restrict(level.r, inverse, *level.means, coarser.b)
            coarser.ghosts.add(coarser.b)
        last = levels[-1]
        self._b.array[:] = last.b[: last.nodes]
        self._solver.solve(self._b, self._x)
        last.x[: last.nodes] = self._x.array_r
        last.ghosts.fill(last.x)
        for (level, coarser), inverse in zip(reversed([*pairwise(levels)]), reversed(self._inverses), strict=True):
            sweeps.correct(coarser.x, *level.means, inverse, level.x)
            level.up(inverse)
        np.multiply(levels[0].x[: len(left)], size, out=left, dtype=np.float64)
        left[self._alone] = right[self._alone] * self._own

    def destroy(self, pc: Any) -> None:
        """Free the PETSc objects; PETSc calls this at the preconditioner's end. Collective."""
        for thing in (self._solver, self._matrix, self._diagonal, self._x, self._b):
            if thing is not None:
                thing.destroy()
