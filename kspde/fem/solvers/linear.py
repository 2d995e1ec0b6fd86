r"""Sparse symmetric systems on a general mesh: Cholesky's factorisation, or conjugate gradients with multigrid.

All systems of a mesh share one matrix, :math:`K + \mathrm{diag}(s)`, and on meshes made by refinement also the coarser
ones (``kspde.fem.solvers.nested.multigrid``). On the coarsest of these, or on the mesh itself where it is not refined,
multigrid is
algebraic: PETSc's GAMG, smoothed aggregation, and as smoother one symmetric Gauss-Seidel sweep on each rank's rows. For
a symmetric positive definite matrix that sweep converges whatever the diagonal, on one or two ranks (on more, for
M-matrices), so the preconditioner is positive definite. PETSc's own choice, Chebyshev's, may fail to be where the
diagonal dominates and the spectrum's estimate is off.

Two things keep the cost down over many steps. A matrix :math:`D_t + K` whose diagonal alone changes keeps the
aggregates made for an earlier diagonal :math:`D_s`: with :math:`D_s/\rho \le D_t \le \rho D_s` the spectrum of one in
the other lies in :math:`[1/\rho, \rho]`, so the number of iterations grows by a factor of about ρ at most; they are
made anew when that shows. And every system starts from the best combination of its latest solutions
(``kspde.fem.solvers.krylov_recycling``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc

from kspde.errors import ConvergenceError
from kspde.fem.backend import apply_options
from kspde.fem.solvers.krylov_recycling import FirstGuess
from kspde.fem.solvers.nested.multigrid import SMOOTHER, Cycle, Product
from kspde.fem.solvers.nested.stiffness import Stiffness
from kspde.fem.spaces.base import Space

__all__ = [
    "DIRECT_NODES",
    "RESIDUAL",
    "KeptPreconditioner",
    "SparseSystem",
    "choose_preconditioner",
    "direct",
    "factorise",
]

Array = npt.NDArray[np.float64]

#: Up to so many nodes a sparse Cholesky factorisation beats multigrid, in 1, 2 and 3 dimensions.
DIRECT_NODES = {1: 10**6, 2: 60_000, 3: 8_000}

#: Relative residual, in the unpreconditioned norm, to which multigrid solves.
RESIDUAL = 1e-10

#: Solutions of which a first guess is made.
REMEMBERED = 8

#: Per cent of memory that MUMPS takes beyond its estimate, which pivots and small shares of several ranks exceed.
_SPARE = 300

#: Factor by which the mean diagonal may leave the one that the aggregates were made for.
_STALE = 3.0


def direct(space: Space) -> bool:
    """Return whether sparse systems on this mesh are factorised."""
    return space.linear_solver == "direct" or (space.modal and space.nodes <= DIRECT_NODES[space.dimension])


def choose_preconditioner(pc: Any, space: Space) -> None:
    """Use a sparse Cholesky factorisation on small meshes, algebraic multigrid on large ones, unless told which."""
    if direct(space):
        factorise(pc, "cholesky")
    else:
        pc.setType("gamg")


def factorise(pc: Any, kind: str) -> None:
    """Use MUMPS' factorisation, "cholesky" or "lu"; the operators must be set. Collective."""
    pc.setType(kind)
    pc.setFactorSolverType("mumps")
    pc.setFactorSetUpSolverType()
    pc.getFactorMatrix().setMumpsIcntl(14, _SPARE)


class KeptPreconditioner:
    """The preconditioner of a matrix that changes: a factorisation is made anew, multigrid is kept while it serves.

    Other systems use the same matrix with other diagonals, so nothing is made anew unless this is called.

    Args:
        ksp: the solver, its matrix set; options may change its preconditioner afterwards.
        space: the space.
    """

    def __init__(self, ksp: Any, space: Space) -> None:
        self._ksp = ksp
        self._space = space
        self._cycle: Cycle | None = None
        self._product: Product | None = None
        self._shift: float | None = None
        self._least: int | None = None
        pc = ksp.getPC()
        if space.stiffness is not None and space.stiffness.hierarchy is not None and not direct(space):
            _, matrix = ksp.getOperators()
            self._product = Product(space.stiffness.hierarchy)
            shell = PETSc.Mat().createPython(matrix.getSizes(), self._product, comm=space.comm)
            shell.setUp()
            ksp.setOperators(shell, matrix)
            self._cycle = Cycle(space.stiffness.hierarchy)
            pc.setType("python")
            pc.setPythonContext(self._cycle)
        else:
            choose_preconditioner(pc, space)
        pc.setReusePreconditioner(True)

    @property
    def cycle(self) -> Cycle | None:
        """The cycle through nested meshes, if that is the preconditioner: the matrix is not looked at then."""
        return self._cycle if self._ksp.getPC().getType() == "python" else None

    @property
    def repeats(self) -> bool:
        """Whether iterations are the same on any number of ranks, up to rounding."""
        hierarchy = self._space.stiffness.hierarchy if self._space.stiffness is not None else None
        return self.cycle is not None and hierarchy is not None and hierarchy.factorised

    def __call__(self, diagonal: Array) -> None:
        """Take note that the matrix has changed to K + diag(diagonal). Collective."""
        if self._product is not None:
            self._product.update(diagonal)
        cycle = self.cycle
        if cycle is not None:
            cycle.update(diagonal)
        elif self._ksp.getPC().getType() != "gamg":
            self.renew()
            return
        sums = self._space.total(np.array([diagonal.sum(), self._space.mass.sum()]))
        shift = float(sums[0] / sums[1])
        count = self._ksp.getIterationNumber()
        if self._shift is not None:
            self._least = count if self._least is None else min(count, self._least)
        if (
            self._shift is None
            or max(shift / self._shift, self._shift / shift) > _STALE
            or count > 1.5 * (self._least or count) + 4
        ):
            self._shift = shift
            self.renew()

    def renew(self) -> bool:
        """Make the preconditioner anew from the matrix as it is; return whether it may be another one. Collective."""
        self._least = None
        cycle = self.cycle
        if cycle is not None:
            cycle.renew()
            return True
        pc = self._ksp.getPC()
        pc.setReusePreconditioner(False)
        pc.setUp()
        pc.setReusePreconditioner(True)
        return bool(pc.getType() == "gamg")


class SparseSystem:
    """A symmetric positive definite system diag(m) + a·K.

    Args:
        space: the space.
        stiffness: K, whose matrix is used.
        options: PETSc options of the KSP.
    """

    def __init__(self, space: Space, stiffness: Stiffness, options: dict[str, Any]) -> None:
        self._space = space
        self._stiffness = stiffness
        self._options = options
        self._rhs, self._solution = stiffness.matrix.createVecs()
        self._ksp = PETSc.KSP().create(space.comm)
        self._kept: KeptPreconditioner | None = None
        #: absolute residual that is always small enough
        self._least = 0.0
        self._guess = None if direct(space) else FirstGuess(space, REMEMBERED)

    @property
    def iterations(self) -> int:
        """The number of iterations of the last solve."""
        return int(self._ksp.getIterationNumber())

    def update(self, diagonal: Array, factor: float) -> None:
        """Set the matrix to diag(diagonal) + factor·K, of which K + diag(diagonal)/factor is used. Collective."""
        self._factor = factor
        self._shift = diagonal / factor
        self._set_matrix()
        if self._kept is None:
            ksp = self._ksp
            ksp.setOperators(self._stiffness.matrix)
            ksp.setType("cg")
            ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
            ksp.setTolerances(rtol=RESIDUAL, atol=1e-300, max_it=500)
            self._kept = KeptPreconditioner(ksp, self._space)
            apply_options(ksp, self._options, SMOOTHER)
            ksp.setInitialGuessNonzero(ksp.getType() != "preonly")
            self._least = ksp.getTolerances()[1]
        self._kept(self._shift)

    def solve(self, rhs: Array, guess: Array | None = None, *, size: float = 0.0) -> Array:
        """Return the solution. Collective.

        Args:
            rhs: the right side.
            guess: where to begin before anything has been solved.
            size: a norm of right sides: beside this one the residual is to be small, where it is larger, unless what
                the residual leaves depends on the number of ranks.

        Raises:
            ConvergenceError: the iteration did not converge.
        """
        self._set_matrix()
        np.divide(rhs, self._factor, out=self._rhs.array)
        if self._kept is not None and self._kept.repeats:
            self._ksp.setTolerances(atol=max(self._ksp.getTolerances()[0] * size / self._factor, self._least))
        better = self._guess(self._shift, self._rhs.array_r) if self._guess is not None else None
        reason = self._attempt(guess if better is None else better)
        if reason < 0 and self._kept is not None and self._kept.renew():
            # The mean of the diagonal hides how far it has moved at some nodes.
            reason = self._attempt(guess)
        if reason < 0:
            raise ConvergenceError(
                f"a linear system did not converge (KSP reason {reason} after {self.iterations} "
                'iterations; petsc_options such as {"ksp_max_it": 2000} reach it)'
            )
        solution = np.array(self._solution.array_r)
        if self._guess is not None:
            self._guess.learn(self._rhs.array_r, solution)
        return solution

    def _set_matrix(self) -> None:
        if self._kept is None or self._kept.cycle is None:
            self._stiffness.shift(self._shift)

    def _attempt(self, guess: Array | None) -> int:
        self._solution.array[:] = 0.0 if guess is None else guess
        self._ksp.solve(self._rhs, self._solution)
        return int(self._ksp.getConvergedReason())
