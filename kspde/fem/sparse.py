r"""Sparse symmetric systems on a general mesh: Cholesky's factorisation, or conjugate gradients with multigrid.

Algebraic multigrid is PETSc's GAMG: smoothed aggregation, and as smoother one symmetric Gauss-Seidel sweep on each
rank's rows. For a symmetric positive definite matrix that sweep converges whatever the diagonal, on one or two ranks
(on more, for the M-matrix of the finest level), so the preconditioner is positive definite. PETSc's own choice,
Chebyshev's, may fail to be where the diagonal dominates and the spectrum's estimate is off. Two things keep the cost
down over many steps. A matrix :math:`D_t + K` whose diagonal alone changes keeps the hierarchy made for an earlier
diagonal :math:`D_s`: with :math:`D_s/\rho \le D_t \le \rho D_s` the spectrum of one in the other lies in
:math:`[1/\rho, \rho]`, so the number of iterations grows by a factor of about ρ at most; it is made anew when that
shows. And a constant matrix takes as first guess the best approximation, in its norm, among the differences of the
latest solutions (Fischer, Comput. Methods Appl. Mech. Engrg. 163, 1998).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc

from kspde.errors import ConvergenceError
from kspde.fem.backend import apply_options
from kspde.fem.space import Space

__all__ = [
    "DIRECT_NODES",
    "MULTIGRID",
    "RESIDUAL",
    "KeptPreconditioner",
    "SparseSystem",
    "choose_preconditioner",
    "direct",
]

Array = npt.NDArray[np.float64]

#: Up to so many nodes a sparse Cholesky factorisation beats multigrid, in 1, 2 and 3 dimensions.
DIRECT_NODES = {1: 10**6, 2: 60_000, 3: 8_000}

#: Relative residual, in the unpreconditioned norm, to which multigrid solves.
RESIDUAL = 1e-10

#: PETSc options of multigrid.
MULTIGRID: dict[str, Any] = {
    "mg_levels_ksp_type": "richardson",
    "mg_levels_pc_type": "sor",
    "mg_levels_ksp_max_it": 1,
    "mg_levels_ksp_norm_type": "none",
}

#: Solutions among whose differences a constant matrix's first guess is sought.
_REMEMBERED = 10

#: Factor by which the mean diagonal may leave the one that the hierarchy was made for.
_STALE = 3.0


def direct(space: Space) -> bool:
    """Return whether sparse systems on this mesh are factorised."""
    return space.linear_solver == "direct" or (space.modal and space.nodes <= DIRECT_NODES[space.dimension])


def choose_preconditioner(pc: Any, space: Space) -> None:
    """Use a sparse Cholesky factorisation on small meshes, algebraic multigrid on large ones, unless told which."""
    if direct(space):
        pc.setType("cholesky")
        pc.setFactorSolverType("mumps")
    else:
        pc.setType("gamg")


class KeptPreconditioner:
    """The preconditioner of a matrix that changes: a factorisation is made anew, a hierarchy is kept while it serves.

    Args:
        ksp: the solver, its matrix set.
        space: the space.
    """

    def __init__(self, ksp: Any, space: Space) -> None:
        self._ksp = ksp
        self._shift: float | None = None
        self._least: int | None = None
        self._keeps = not direct(space)
        choose_preconditioner(ksp.getPC(), space)
        if self._keeps:
            current, _ = ksp.getOperators()
            kept = current.duplicate(copy=True)
            ksp.setOperators(current, kept)
            kept.destroy()  # the solver holds it

    def __call__(self, shift: float) -> None:
        """Take note that the matrix has changed; ``shift`` is the mean of its diagonal part. Collective."""
        if not self._keeps:
            return
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
        """Make the hierarchy anew from the matrix as it is; return whether there is one. Collective."""
        if self._keeps:
            current, kept = self._ksp.getOperators()
            current.copy(kept, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            self._least = None
        return self._keeps


class SparseSystem:
    """A symmetric positive definite system diag(m) + a·K, with a fixed K.

    Args:
        space: the space.
        stiffness: K.
        options: PETSc options of the KSP.
        constant: whether m and a are set once.
    """

    def __init__(self, space: Space, stiffness: Any, options: dict[str, Any], *, constant: bool) -> None:
        self._space = space
        self._stiffness = stiffness
        self._options = options
        self._constant = constant
        self._diagonal = stiffness.getDiagonal()
        self.matrix = stiffness.duplicate(copy=True)
        self._rhs, self._solution = self.matrix.createVecs()
        self._ksp = PETSc.KSP().create(space.comm)
        self._kept: KeptPreconditioner | None = None

    @property
    def iterations(self) -> int:
        """The number of iterations of the last solve."""
        return int(self._ksp.getIterationNumber())

    def update(self, diagonal: Array, factor: float) -> None:
        """Set the matrix to diag(diagonal) + factor·K, of which K + diag(diagonal)/factor is stored. Collective."""
        self._factor = factor
        self._rhs.array[:] = self._diagonal.array_r + diagonal / factor
        self.matrix.setDiagonal(self._rhs)
        if self._constant:
            choose_preconditioner(self._ksp.getPC(), self._space)
        elif self._kept is not None:
            self._kept(self._mean(diagonal / factor))
            return
        ksp = self._ksp
        ksp.setOperators(self.matrix)
        ksp.setType("cg")
        ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        ksp.setTolerances(rtol=RESIDUAL, atol=1e-300, max_it=500)
        ksp.setInitialGuessNonzero(True)
        if not self._constant:
            self._kept = KeptPreconditioner(ksp, self._space)
            self._kept(self._mean(diagonal / factor))
        elif not direct(self._space):
            ksp.setUseFischerGuess(1, _REMEMBERED)
        apply_options(ksp, self._options, MULTIGRID)

    def _mean(self, diagonal: Array) -> float:
        total = self._space.total(np.array([diagonal.sum(), self._space.mass.sum()]))
        return float(total[0] / total[1])

    def solve(self, rhs: Array, guess: Array | None = None) -> Array:
        """Return the solution. Collective.

        Raises:
            ConvergenceError: the iteration did not converge.
        """
        np.divide(rhs, self._factor, out=self._rhs.array)
        self._solution.array[:] = 0.0 if guess is None else guess
        self._ksp.solve(self._rhs, self._solution)
        reason = self._ksp.getConvergedReason()
        if reason < 0 and self._kept is not None and self._kept.renew():
            # The mean of the diagonal hides how far it has moved at some nodes.
            self._solution.array[:] = 0.0 if guess is None else guess
            self._ksp.solve(self._rhs, self._solution)
            reason = self._ksp.getConvergedReason()
        if reason < 0:
            raise ConvergenceError(
                f"a linear system did not converge (KSP reason {reason} after {self.iterations} "
                'iterations; petsc_options such as {"ksp_max_it": 2000} reach it)'
            )
        return np.array(self._solution.array_r)
