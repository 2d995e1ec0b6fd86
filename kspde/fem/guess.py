r"""First guesses for systems that resemble those solved before: :math:`A = K + \mathrm{diag}(s)`, K the same in all.

Among the combinations x = Σ c_k y_k of the latest solutions the one nearest to the solution, in A's norm, is that with
:math:`\sum_l (y_k \cdot A y_l)\, c_l = y_k \cdot b`: solutions that change smoothly are extrapolated, whatever the
lengths of the steps between them, and the stages of a step help each other. (Fischer, Comput. Methods Appl. Mech.
Engrg. 163, 1998, where A is constant.) No product with a matrix is needed: that of a solution with K is known, from its
right side, up to the residual.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kspde.fem.space import Space

__all__ = ["FirstGuess"]

Array = npt.NDArray[np.float64]

#: Columns that are worked on at a time, so that they stay in the cache.
_BATCH = 2**13
#: Combinations of solutions that are this small in A's norm are round-off.
_ROUND_OFF = 1e-14


class FirstGuess:
    """The best combination of the latest solutions.

    Args:
        space: the space.
        remembered: how many solutions.
    """

    def __init__(self, space: Space, remembered: int) -> None:
        self._space = space
        #: solutions y, and K y
        self._solutions = np.empty((remembered, space.mass.size))
        self._products = np.empty_like(self._solutions)
        self._count = 0

    def __call__(self, s: Array, rhs: Array) -> Array | None:
        """Return the guess for (K + diag(s)) x = rhs; None if nothing is known. Collective."""
        k = min(self._count, len(self._solutions))
        if not k:
            return None
        y, z = self._solutions[:k], self._products[:k]
        sums = np.zeros((k, k + 1))
        for start in range(0, y.shape[1], _BATCH):
            part = slice(start, start + _BATCH)
            sums[:, :k] += y[:, part] @ (s[part] * y[:, part] + z[:, part]).T
            sums[:, k] += y[:, part] @ rhs[part]
        sums = self._space.total(sums)
        sizes = np.sqrt(np.diag(sums[:, :k]))
        if not np.all(np.isfinite(sums)) or not np.all(sizes > 0):
            return None
        values, vectors = np.linalg.eigh(sums[:, :k] / np.outer(sizes, sizes))
        kept = values > _ROUND_OFF * values[-1]
        vectors = vectors[:, kept]
        weights = vectors @ (vectors.T @ (sums[:, k] / sizes) / values[kept])
        return np.asarray((weights / sizes) @ y)

    def learn(self, s: Array, rhs: Array, solution: Array) -> None:
        """Take note of the solution of (K + diag(s)) x = rhs; it replaces the oldest one."""
        k = self._count % len(self._solutions)
        self._solutions[k] = solution
        np.subtract(rhs, s * solution, out=self._products[k])
        self._count += 1
