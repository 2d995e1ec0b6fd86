"""The preconditioner of a box with a constant shift, by fast diagonalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspde.fem.solvers.krylov import Preconditioner
from kspde.fem.spaces.tensor import TensorLaplacian
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm

__all__ = ["ConstantShift"]

#: sup s/inf s up to which the matrix with a constant shift is a good preconditioner
_EVEN = 50.0


class ConstantShift(Preconditioner):
    r"""A PETSc preconditioner of K + sM: :math:`c\,(K + \bar s M)^{-1} c`, s̄² = inf s sup s, c = (s̄/s)^¼.

    Where s varies slowly the matrix acts on waves of wave number k as s + k², the preconditioner's inverse as
    :math:`\sqrt{s/\bar s}\,(\bar s + k^2)`. The quotient lies between :math:`\sqrt{s/\bar s}`, for long waves, and
    :math:`\sqrt{\bar s/s}`, for short ones, so the condition number is about :math:`\sqrt{\sup s/\inf s}`; with
    c = 1 it would be the square of that.
    """

    def __init__(self, comm: Comm, mass: Array, laplacian: TensorLaplacian, ksp: Any) -> None:
        ksp.getPC().setType("python")
        ksp.getPC().setPythonContext(self)
        self._comm, self._mass = comm, mass
        self._solve = laplacian.roughly(mass)
        #: s̄, and c at the nodes: single precision will do
        self._shift = 1.0
        self._c = np.ones(mass.shape, dtype=np.float32)
        self._inner = np.empty_like(self._c)

    def update(self, s: Array, iterations: int) -> None:
        """Follow the diagonal of sM, here called s. Collective."""
        s = s.reshape(self._mass.shape) / self._mass
        ends = reduced(self._comm, np.array([s.max(initial=0.0), -s.min(initial=np.inf)]), "MAX")
        self.suits = not ends[0] > -_EVEN * ends[1]
        self._shift = float(np.sqrt(ends[0]) * np.sqrt(-ends[1]))
        np.power(self._shift / s, 0.25, out=self._c, casting="same_kind")

    def apply(self, pc: Any, x: Any, y: Any) -> None:
        """Set y to the preconditioner's result for x. Collective."""
        inner = self._inner
        size = x.norm() or 1.0
        np.multiply(x.array_r.reshape(inner.shape), 1.0 / size, out=inner, casting="same_kind")
        inner *= self._c
        # Entries below 6e-8 times this become 0: denormal numbers slow products down ten times.
        inner += np.float32(1e-15)
        inner -= np.float32(1e-15)
        solution = self._solve(inner, self._shift)
        solution *= self._c
        np.multiply(solution, size / self._shift, out=y.array.reshape(inner.shape), dtype=np.float64)
