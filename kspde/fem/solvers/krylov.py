r"""PETSc's Krylov solvers for matrices that change from step to step, and preconditioners that follow them.

Two things keep the cost down over many steps. A matrix :math:`D_t + K` whose diagonal alone changes keeps the
aggregates made for an earlier diagonal :math:`D_s`: with :math:`D_s/\rho \le D_t \le \rho D_s` the spectrum of one in
the other lies in :math:`[1/\rho, \rho]`, so the number of iterations grows by a factor of about ρ at most; they are
rebuilt when that shows. And a system may start from the best combination of its latest solutions
(``kspde.fem.solvers.krylov_recycling``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from petsc4py import PETSc

from kspde.errors import ConvergenceError
from kspde.fem.backend import Petsc, apply_options
from kspde.fem.solvers.krylov_recycling import RecycledGuess
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm

__all__ = ["SMOOTHER", "CheckedSystem", "KrylovSolver", "PetscPreconditioner", "Preconditioner", "PreconditionerOf"]

#: PETSc options of algebraic multigrid: symmetric Gauss-Seidel sweeps on each rank's rows.
SMOOTHER: dict[str, Any] = {
    "mg_levels_ksp_type": "richardson",
    "mg_levels_pc_type": "sor",
    "mg_levels_ksp_max_it": 1,
    "mg_levels_ksp_norm_type": "none",
}

#: Per cent of memory that MUMPS takes beyond its estimate, which pivots and small shares of several ranks exceed.
_SPARE = 300
#: Factor by which the mean diagonal may leave the one that multigrid was made for.
_STALE = 3.0
#: Relative residual above which a solution is refused.
_REFUSED = 1e-10
_ROUND_OFF = 2.0**-52


class Preconditioner(ABC):
    """The preconditioner of a KSP whose matrix is K + diag(s).

    Attributes:
        needs_matrix: whether the KSP's matrix must be K + diag(s) whenever it is used.
        repeats: whether iterations are the same on any number of ranks, up to rounding.
        suits: whether it is a good one for the latest s.
    """

    needs_matrix = True
    repeats = False
    suits = True
    _size: float | None = None
    _least: int | None = None

    @abstractmethod
    def update(self, s: Array, iterations: int) -> None:
        """Follow the matrix, which has changed to K + diag(s), after a solve of so many iterations. Collective."""

    def renew(self) -> bool:
        """Rebuild the preconditioner for the matrix as it is; return whether it may have changed. Collective."""
        self._least = None
        return False

    def stale(self, comm: Comm, s: Array, iterations: int) -> bool:
        """Return whether it must be rebuilt to serve K + diag(s). Collective."""
        size = float(reduced(comm, np.array([s.sum()]))[0])
        if self._size is not None:
            self._least = iterations if self._least is None else min(iterations, self._least)
            moved = max(size / self._size, self._size / size) > _STALE
            if not moved and iterations <= 1.5 * (self._least or iterations) + 4:
                return False
        self._size = size
        return True


#: Gives a KSP, whose matrix is set, its preconditioner; its options come after.
PreconditionerOf = Callable[[Petsc], Preconditioner]


class PetscPreconditioner(Preconditioner):
    """A preconditioner of PETSc's: algebraic multigrid is kept while it serves, others are rebuilt for each s.

    Systems may share a matrix with different diagonals, so nothing is rebuilt unless ``update`` is called.

    Args:
        ksp: the solver, its matrix set.
        kind: PETSc's name of the type, unless it is set; factorisations are MUMPS's.
    """

    def __init__(self, ksp: Petsc, kind: str | None = None) -> None:
        self._pc = ksp.getPC()
        if kind is not None:
            self._pc.setType(kind)
        if kind in ("cholesky", "lu"):
            self._pc.setFactorSolverType("mumps")
            self._pc.setFactorSetUpSolverType()
            self._pc.getFactorMatrix().setMumpsIcntl(14, _SPARE)
        #: whether PETSc rebuilds it with the matrix: those of blocks are not rebuilt otherwise
        self._follows = self._pc.getType() in ("asm", "bjacobi", "lu")
        self._pc.setReusePreconditioner(not self._follows)

    def update(self, s: Array, iterations: int) -> None:
        """Rebuild it, unless it is multigrid that still serves. Collective."""
        if self._pc.getType() != "gamg" or self.stale(self._pc.comm.tompi4py(), s, iterations):
            self.renew()

    def renew(self) -> bool:
        """Rebuild it; only multigrid may have changed. Collective."""
        super().renew()
        if self._follows:
            return False
        self._pc.setReusePreconditioner(False)
        self._pc.setUp()
        self._pc.setReusePreconditioner(True)
        return bool(self._pc.getType() == "gamg")


class KrylovSolver:
    """A KSP: conjugate gradients, or GMRES where the matrix is not symmetric.

    Args:
        matrix: the PETSc matrix.
        preconditioner_of: the preconditioner.
        options: the user's PETSc options.
        accuracy: relative residual, in the unpreconditioned norm.
        most: the number of iterations at which it gives up.
        symmetric: whether the matrix is.
        operator: applies the matrix in place of it: the context of a PETSc matrix that follows s with ``update``.

    Attributes:
        ksp: PETSc's solver.
        matrix: what multiplies: the matrix, or the operator in place of it.
        preconditioner: the solver's.
    """

    def __init__(
        self,
        matrix: Petsc,
        preconditioner_of: PreconditionerOf,
        options: dict[str, Any],
        *,
        accuracy: float,
        most: int,
        symmetric: bool = True,
        operator: Petsc = None,
    ) -> None:
        self.ksp = ksp = PETSc.KSP().create(matrix.comm)
        self._operator = operator
        self.matrix = matrix
        if operator is not None:
            self.matrix = PETSc.Mat().createPython(matrix.getSizes(), operator, comm=matrix.comm)
            self.matrix.setUp()
        ksp.setOperators(self.matrix, matrix)
        ksp.setTolerances(rtol=accuracy, atol=1e-300, divtol=1e300, max_it=most)
        # A stale or poor preconditioner would fool a test of the preconditioned residual.
        ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        if symmetric:
            ksp.setType("cg")
        else:
            ksp.setType("gmres")
            ksp.setGMRESRestart(100)
            ksp.setPCSide(PETSc.PC.Side.RIGHT)
        self.preconditioner = preconditioner_of(ksp)
        kind = ksp.getPC().getType()
        apply_options(ksp, options, SMOOTHER)
        if ksp.getPC().getType() != kind:
            self.preconditioner = PetscPreconditioner(ksp)
        ksp.setInitialGuessNonzero(ksp.getType() != "preonly")

    @property
    def iterations(self) -> int:
        """The number of iterations of the last solve."""
        return int(self.ksp.getIterationNumber())

    def update(self, s: Array) -> None:
        """Follow the matrix, which has changed to K + diag(s). Collective."""
        if self._operator is not None:
            self._operator.update(s)
        self.preconditioner.update(s, self.iterations)

    def solve(self, rhs: Petsc, x: Petsc) -> int:
        """Solve from the given x on, in place; return PETSc's reason, negative if it failed. Collective."""
        self.ksp.solve(rhs, x)
        return int(self.ksp.getConvergedReason())

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        self.ksp.destroy()
        if self._operator is not None:
            self.matrix.destroy()


class CheckedSystem:
    """Systems that are solved until their true residual is small, by the first of several solvers that gets there.

    Args:
        matrix: the PETSc matrix.
        preconditioners: preconditioners in the order in which they are tried.
        options: the user's PETSc options; with a preconditioner among them no other is tried.
        accuracy: relative residual to be reached, or what rounding allows.
        symmetric: whether the matrix is. If not, the search begins with the solver that succeeded last.
        operator: as for ``KrylovSolver``; a function that makes one.
        recycled: where solutions are recycled.

    Attributes:
        iterations: all iterations so far.
    """

    def __init__(
        self,
        matrix: Petsc,
        preconditioners: Sequence[PreconditionerOf],
        options: dict[str, Any],
        *,
        accuracy: float,
        symmetric: bool,
        operator: Callable[[], Any] | None = None,
        recycled: RecycledGuess | None = None,
    ) -> None:
        self._matrix = matrix
        self._preconditioners = preconditioners[:1] if "pc_type" in options else preconditioners
        self._options = options
        self._accuracy = accuracy
        self._symmetric = symmetric
        self._operator = operator
        self._recycled = recycled
        self._x, self._rhs = matrix.createVecs()
        self._residual = self._rhs.duplicate()
        self._best = self.iterations = 0
        self._solvers: dict[int, KrylovSolver] = {}
        self._solver(0)

    def _solver(self, k: int) -> KrylovSolver:
        if k not in self._solvers:
            last = k == len(self._preconditioners) - 1
            self._solvers[k] = KrylovSolver(
                self._matrix,
                self._preconditioners[k],
                self._options,
                accuracy=self._accuracy,
                most=2000 if last else 300,
                symmetric=self._symmetric,
                operator=None if self._operator is None else self._operator(),
            )
        return self._solvers[k]

    def solve(self, rhs: Array, guess: Array, diagonal: Array, s: Array) -> Array:
        """Return the solution for the matrix as it is. Collective.

        Args:
            rhs: the right side.
            guess: where to begin, unless recycled solutions know better.
            diagonal: the matrix's diagonal.
            s: what preconditioners and recycled solutions follow: the matrix is K + diag(s), K always the same one.

        Raises:
            ConvergenceError: no solver reached the residual.
        """
        better = None if self._recycled is None else self._recycled(s, rhs)
        self._rhs.array[:] = rhs
        order = [*range(len(self._preconditioners))]
        if not self._symmetric:
            order = order[self._best :] + order[: self._best]
        reason, postponed = "", False
        while order:
            k = order.pop(0)
            solver = self._solver(k)
            solver.update(s)
            if order and not postponed and not solver.preconditioner.suits:
                order.append(k)
                postponed = True
                continue
            self._x.array[:] = guess if better is None else better
            reason = self._converge(solver, diagonal)
            if not reason:
                self._best = k
                solution = np.array(self._x.array_r)
                if self._recycled is not None:
                    self._recycled.learn(rhs, solution)
                return solution
        raise ConvergenceError(reason)

    def _converge(self, solver: KrylovSolver, diagonal: Array) -> str:
        """Solve until the true residual is as small as asked for, or as round-off lets it be; return what failed."""
        size = self._rhs.norm()
        residual, limit = self._quality(solver, diagonal, size)
        if residual > size:
            self._x.set(0.0)
        while True:
            before = residual
            solver.ksp.setTolerances(atol=limit)
            reason = solver.solve(self._rhs, self._x)
            self.iterations += solver.iterations
            residual, limit = self._quality(solver, diagonal, size)
            if residual <= limit:
                return ""
            # The solver's recursive residual can drift; restart from the current iterate while the true one drops.
            if reason < 0 or not residual < 0.5 * before:
                break
        if residual <= max(_REFUSED * size, 100.0 * limit):
            return ""
        return f"KSP reason {reason} after {solver.iterations} iterations, relative residual {residual / size:.3g}"

    def _quality(self, solver: KrylovSolver, diagonal: Array, size: float) -> tuple[float, float]:
        """Return the residual's norm, and what it need not fall below: a share of the right side, or rounding."""
        self._residual.array[:] = diagonal * self._x.array_r
        limit = max(self._accuracy * size, 4.0 * _ROUND_OFF * self._residual.norm(), 1e-300)
        solver.matrix.mult(self._x, self._residual)
        self._residual.aypx(-1.0, self._rhs)
        return self._residual.norm(), limit

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        for solver in self._solvers.values():
            solver.free()
        for vector in (self._x, self._rhs, self._residual):
            vector.destroy()
