r"""Krylov recycling: first guesses for systems :math:`A = K + \mathrm{diag}(s)`, K always the same, from solved ones.

Among the combinations x = Σ c_k y_k of the latest solutions the one nearest to the solution, in A's norm, is that with
:math:`\sum_l (y_k \cdot A y_l)\, c_l = y_k \cdot b`: solutions that change smoothly are extrapolated, whatever the
lengths of the steps between them, and the stages of a step help each other. (Fischer, Comput. Methods Appl. Mech.
Engrg. 163, 1998, where A is constant; without it "positive" takes 20 % longer on a disk.) No product with a matrix is
needed: that of a solution with K is known from its right side, up to the residual.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kspde.typing import Array

__all__ = ["RecycledGuess"]

#: Solutions that are kept.
_REMEMBERED = 8
#: Columns that are worked on at a time, so that they stay in the cache: at 1e5 to 1.6e6 nodes these products take less
#: than two thirds of the time that whole rows take.
_BATCH = 2**13
#: Squares of combinations of solutions, in A's norm, are damped below this share of the largest: there the residuals of
#: these solutions would decide, and rounding. Rounding differs between numbers of ranks; damped, not cut off, the
#: difference stays small.
_SMALL = 1e-12


class RecycledGuess:
    """The best combination of the latest solutions.

    Args:
        size: the length of this rank's part of a solution.
        total: sums arrays over all ranks.
        remembered: the number of solutions that are kept.
    """

    def __init__(self, size: int, total: Callable[[Array], Array], remembered: int = _REMEMBERED) -> None:
        self._total = total
        #: solutions y, and K y
        self._solutions = np.empty((remembered, size))
        self._products = np.empty_like(self._solutions)
        self._count = 0
        #: this rank's share of y_k · A y_l for the latest system, and of the products with its right side
        self._gram = np.zeros((remembered, remembered))
        self._right = np.zeros(0)
        self._s: Array | None = None

    def __call__(self, s: Array, rhs: Array) -> Array | None:
        """Return the guess for (K + diag(s)) x = rhs; None if nothing is known. Collective.

        The same object s stands for the same numbers: then no product of two solutions is computed.
        """
        k = min(self._count, len(self._solutions))
        y, z = self._solutions[:k], self._products[:k]
        if s is not self._s:
            self._s = s
            self._gram[:] = 0.0
            for start in range(0, y.shape[1], _BATCH):
                part = slice(start, start + _BATCH)
                self._gram[:k, :k] += y[:, part] @ (s[part] * y[:, part] + z[:, part]).T
        self._right = y @ rhs
        if not k:
            return None
        sums = self._total(np.column_stack([self._gram[:k, :k], self._right]))
        sizes = np.sqrt(np.diag(sums[:, :k]))
        if not np.all(np.isfinite(sums)) or not np.all(sizes > 0):
            return None
        values, vectors = np.linalg.eigh(sums[:, :k] / np.outer(sizes, sizes))
        inverses = values / (values**2 + (_SMALL * values[-1]) ** 2)
        weights = vectors @ (vectors.T @ (sums[:, k] / sizes) * inverses)
        return np.asarray((weights / sizes) @ y)

    def learn(self, rhs: Array, solution: Array) -> None:
        """Record the solution of the system asked for last; it replaces the oldest one."""
        k = self._count % len(self._solutions)
        s = np.zeros(1) if self._s is None else self._s
        self._solutions[k] = solution
        np.subtract(rhs, s * solution, out=self._products[k])
        # A y is the right side, whose products with the other solutions are known.
        self._gram[k, : len(self._right)] = self._gram[: len(self._right), k] = self._right
        self._gram[k, k] = solution @ rhs
        self._count += 1
