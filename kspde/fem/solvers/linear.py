r"""Sparse symmetric systems on a general mesh: Cholesky's factorisation, or conjugate gradients with multigrid.

All systems of a mesh share one matrix, :math:`K + \mathrm{diag}(s)`, and on meshes made by refinement also the coarser
ones (``kspde.fem.solvers.nested.cycle``). On the coarsest of these, or on the mesh itself where it is not refined,
multigrid is algebraic: PETSc's GAMG, smoothed aggregation, with one symmetric Gauss-Seidel sweep on each rank's rows as
its smoother. For a symmetric positive definite matrix that sweep converges whatever the diagonal, on one or two ranks
(on more, for M-matrices), so the preconditioner is positive definite. PETSc's own choice, Chebyshev's, may fail to be
where the diagonal dominates and the estimate of the spectrum is off.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kspde.errors import ConvergenceError
from kspde.fem.solvers.krylov import KrylovSolver, PetscPreconditioner, PreconditionerOf
from kspde.fem.solvers.krylov_recycling import RecycledGuess
from kspde.fem.solvers.nested.cycle import Cycle
from kspde.fem.solvers.stiffness import Stiffness
from kspde.typing import Array

__all__ = ["DIRECT_NODES", "RESIDUAL", "SparseSystem", "preconditioners"]

#: Up to so many nodes a sparse Cholesky factorisation beats multigrid, in 1, 2 and 3 dimensions.
DIRECT_NODES = {1: 10**6, 2: 60_000, 3: 8_000}

#: Relative residual, in the unpreconditioned norm, to which multigrid solves.
RESIDUAL = 1e-10


def preconditioners(stiffness: Stiffness) -> list[PreconditionerOf]:
    """Return the preconditioners of K + diag(s), in the order in which they are to be tried.

    For every M-matrix incomplete Cholesky exists and serves, also where the diagonal dominates and an option of
    multigrid has made it fail.
    """
    if stiffness.direct:
        return [partial(PetscPreconditioner, kind="cholesky")]
    multigrid: PreconditionerOf = partial(PetscPreconditioner, kind="gamg")
    if stiffness.nested is not None:
        multigrid = partial(Cycle, stiffness.nested)
    return [multigrid, partial(PetscPreconditioner, kind="bjacobi")]


class SparseSystem:
    """A symmetric positive definite system diag(m) + a·K.

    Args:
        stiffness: K, whose matrix is used.
        options: PETSc options of the KSP.
    """

    def __init__(self, stiffness: Stiffness, options: dict[str, Any]) -> None:
        self._stiffness = stiffness
        self._options = options
        self._rhs, self._solution = stiffness.matrix.createVecs()
        self._solver: KrylovSolver | None = None
        #: absolute residual that is always small enough
        self._least = 0.0
        self._recycled = None if stiffness.direct else RecycledGuess(len(stiffness.diagonal), stiffness.total)

    @property
    def solver(self) -> KrylovSolver:
        """The Krylov solver, once ``update`` has been called."""
        assert self._solver is not None
        return self._solver

    @property
    def iterations(self) -> int:
        """The number of iterations of the last solve."""
        return self.solver.iterations

    def update(self, diagonal: Array, factor: float) -> None:
        """Set the matrix to diag(diagonal) + factor·K; K + diag(diagonal)/factor is what is used. Collective."""
        self._factor = factor
        self._shift = diagonal / factor
        self._set_matrix()
        if self._solver is None:
            self._solver = KrylovSolver(
                self._stiffness.matrix,
                preconditioners(self._stiffness)[0],
                self._options,
                accuracy=RESIDUAL,
                most=500,
                operator=self._stiffness.operator(),
            )
            self._least = self._solver.ksp.getTolerances()[1]
        self._solver.update(self._shift)

    def solve(self, rhs: Array, guess: Array | None = None, *, size: float = 0.0) -> Array:
        """Return the solution. Collective.

        Args:
            rhs: the right side.
            guess: where to begin before anything has been solved.
            size: the norm of a right side that the residual is to be small beside, where it is larger than that of
                ``rhs``. (It has no effect where what the residual leaves depends on the number of ranks.)

        Raises:
            ConvergenceError: the iteration did not converge.
        """
        solver = self.solver
        self._set_matrix()
        np.divide(rhs, self._factor, out=self._rhs.array)
        if solver.preconditioner.repeats:
            solver.ksp.setTolerances(atol=max(solver.ksp.getTolerances()[0] * size / self._factor, self._least))
        better = None if self._recycled is None else self._recycled(self._shift, self._rhs.array_r)
        reason = self._attempt(guess if better is None else better)
        if reason < 0 and solver.preconditioner.renew():
            # The mean of the diagonal hides how far it has moved at some nodes.
            reason = self._attempt(guess)
        if reason < 0:
            raise ConvergenceError(
                f"a linear system did not converge (KSP reason {reason} after {solver.iterations} "
                'iterations; petsc_options such as {"ksp_max_it": 2000} reach it)'
            )
        solution = np.array(self._solution.array_r)
        if self._recycled is not None:
            self._recycled.learn(self._rhs.array_r, solution)
        return solution

    def _set_matrix(self) -> None:
        if self._solver is None or self._solver.preconditioner.needs_matrix:
            self._stiffness.shift(self._shift)

    def _attempt(self, guess: Array | None) -> int:
        self._solution.array[:] = 0.0 if guess is None else guess
        return self.solver.solve(self._rhs, self._solution)
