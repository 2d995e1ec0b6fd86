r"""Symmetric d × d matrices, one per point: diffusion coefficients that depend on the direction.

Their roots are symmetric too. In two dimensions :math:`\sqrt A = (A + \sqrt{\det A}\,I) / \sqrt{\operatorname{tr} A +
2\sqrt{\det A}}`. In three, with the sums :math:`s_1, s_2, s_3` of products of one, two and three roots of eigenvalues,

.. math:: \sqrt A = \frac{s_1 s_3 I + (s_1^2 - s_2) A - A^2}{s_1 s_2 - s_3}

(Hoger and Carlson, Quart. Appl. Math. 42, 1984); where that cancels, since A is nearly singular, and in higher
dimensions, Jacobi's rotations diagonalise A.
"""

from __future__ import annotations

import numpy as np

from kspde.runtime.compiled import compiled_in_order
from kspde.typing import Array

__all__ = ["as_matrices", "eigenvalue_ends", "fault", "mean_diffusion", "symmetric_roots"]

#: Rounding of an entry, and of an eigenvalue below 0, in units of the largest eigenvalue.
_ROUNDING = 1e-12
#: Jacobi's sweeps: their errors fall quadratically, and six suffice for three dimensions.
_SWEEPS = 12
#: The ratio of eigenvalues down to which the formula in three dimensions is used.
_SINGULAR = 1e-4


def as_matrices(diffusion: Array, n: int, d: int) -> Array:
    """Return D in the form of matrices, shape (n, d, d), for any of its forms (``coefficients.diffusion_of``)."""
    if diffusion.ndim == 3:
        return diffusion
    out = np.zeros((n, d, d))
    out[:, range(d), range(d)] = diffusion if diffusion.ndim == 2 else diffusion[:, None]
    return out


def mean_diffusion(diffusion: Array) -> Array:
    """Return D's mean over all directions, tr D/d, shape (n,) or (1,), for any of its forms."""
    if diffusion.ndim == 3:
        return np.asarray(np.trace(diffusion, axis1=1, axis2=2) / diffusion.shape[1])
    return np.asarray(diffusion.mean(axis=1)) if diffusion.ndim == 2 else diffusion


def eigenvalue_ends(diffusion: Array) -> tuple[Array, Array]:
    """Return the least and the largest eigenvalue of D at each point, shape (n,) or (1,), for any of its forms."""
    if diffusion.ndim == 1:
        return diffusion, diffusion
    if diffusion.ndim == 2:
        return diffusion.min(axis=1), diffusion.max(axis=1)
    if diffusion.shape[1] == 2:
        middle = 0.5 * (diffusion[:, 0, 0] + diffusion[:, 1, 1])
        reach = np.hypot(
            0.5 * (diffusion[:, 0, 0] - diffusion[:, 1, 1]), 0.5 * (diffusion[:, 0, 1] + diffusion[:, 1, 0])
        )
        return middle - reach, middle + reach
    if not np.all(np.isfinite(diffusion)):  # LAPACK would stop
        return np.full(len(diffusion), np.nan), np.full(len(diffusion), np.nan)
    values = np.linalg.eigvalsh(0.5 * (diffusion + np.swapaxes(diffusion, 1, 2)))
    return values[:, 0], values[:, -1]


def fault(matrix: Array) -> str | None:
    """Return what is wrong with a diffusion matrix, as the predicate of a sentence; None if nothing is."""
    if not np.all(np.isfinite(matrix)):
        return f"has the entry {matrix[~np.isfinite(matrix)][0]:g}"
    skew = np.abs(matrix - matrix.T)
    i, j = sorted(np.unravel_index(int(np.argmax(skew)), skew.shape))
    lowest, highest = (float(ends[0]) for ends in eigenvalue_ends(matrix[None]))
    if skew[i, j] > _ROUNDING * np.abs(matrix).max():
        return f"is not symmetric: its entries are {matrix[i, j]:.6g} and {matrix[j, i]:.6g}"
    return f"has the eigenvalue {lowest:.6g}" if lowest < -_ROUNDING * highest else None


@compiled_in_order
def symmetric_roots(matrices: Array, factor: float, roots: Array) -> int:
    """Write √(factor A) of each matrix A, (n, d, d); return the first A that is not valid (``fault``), or −1."""
    n, d = matrices.shape[:2]
    for i in range(n):
        a = matrices[i]
        if d == 1:
            if not 0.0 <= a[0, 0] < np.inf:
                return i
            roots[i, 0, 0] = np.sqrt(factor * a[0, 0])
        elif d == 2:
            middle, half, off = 0.5 * (a[0, 0] + a[1, 1]), 0.5 * (a[0, 0] - a[1, 1]), 0.5 * (a[0, 1] + a[1, 0])
            reach = np.sqrt(half * half + off * off)
            bound = _ROUNDING * (middle + reach)
            if not (middle - reach >= -bound and abs(a[0, 1] - a[1, 0]) <= bound and middle + reach < np.inf):
                return i
            root = np.sqrt(max(a[0, 0] * a[1, 1] - off * off, 0.0))
            total = np.sqrt(2.0 * (middle + root))
            scale = np.sqrt(factor) / total if total > 0.0 else 0.0
            roots[i, 0, 0] = scale * (a[0, 0] + root)
            roots[i, 1, 1] = scale * (a[1, 1] + root)
            roots[i, 0, 1] = roots[i, 1, 0] = scale * off
        elif not (d == 3 and _root_in_space(a, factor, roots[i])) and not _root_by_rotations(a, factor, roots[i]):
            return i
    return -1


@compiled_in_order
def _root_in_space(a: Array, factor: float, root: Array) -> bool:
    """Write the root of a 3 × 3 matrix; return whether it is safe, which takes a tenth of the time of rotations."""
    x, y, z = 0.5 * (a[1, 2] + a[2, 1]), 0.5 * (a[0, 2] + a[2, 0]), 0.5 * (a[0, 1] + a[1, 0])
    middle = (a[0, 0] + a[1, 1] + a[2, 2]) / 3.0
    u, v, w = a[0, 0] - middle, a[1, 1] - middle, a[2, 2] - middle
    size = np.sqrt((u * u + v * v + w * w + 2.0 * (x * x + y * y + z * z)) / 6.0)
    skew = max(abs(a[1, 2] - a[2, 1]), abs(a[0, 2] - a[2, 0]), abs(a[0, 1] - a[1, 0]))
    if not (0.0 < middle < np.inf and skew <= _ROUNDING * middle):
        return False
    cosine = 0.5 * (u * (v * w - x * x) - z * (z * w - x * y) + y * (z * x - v * y)) / max(size, 1e-100) ** 3
    angle = np.arccos(min(max(cosine, -1.0), 1.0)) / 3.0
    highest = middle + 2.0 * size * np.cos(angle)
    lowest = middle + 2.0 * size * np.cos(angle + 2.0 * np.pi / 3.0)
    if not lowest > _SINGULAR * highest:
        return False
    p, q, r = np.sqrt(highest), np.sqrt(max(3.0 * middle - highest - lowest, lowest)), np.sqrt(lowest)
    one, two, three = p + q + r, p * q + q * r + r * p, p * q * r
    scale = np.sqrt(factor) / (one * two - three)
    linear = scale * (one * one - two)
    u, v, w = a[0, 0], a[1, 1], a[2, 2]
    constant = scale * one * three
    root[0, 0] = constant + linear * u - scale * (u * u + y * y + z * z)
    root[1, 1] = constant + linear * v - scale * (v * v + x * x + z * z)
    root[2, 2] = constant + linear * w - scale * (w * w + x * x + y * y)
    root[0, 1] = root[1, 0] = linear * z - scale * (z * (u + v) + x * y)
    root[0, 2] = root[2, 0] = linear * y - scale * (y * (u + w) + x * z)
    root[1, 2] = root[2, 1] = linear * x - scale * (x * (v + w) + y * z)
    return True


@compiled_in_order
def _root_by_rotations(matrix: Array, factor: float, root: Array) -> bool:
    """Write the root of one matrix of any size; return whether it is symmetric, positive semidefinite and finite."""
    d = len(matrix)
    a, q = np.empty((d, d)), np.eye(d)
    size, skew = 0.0, 0.0
    for i in range(d):
        for j in range(d):
            a[i, j] = 0.5 * (matrix[i, j] + matrix[j, i])
            size = max(size, abs(a[i, j])) if abs(a[i, j]) < np.inf else np.inf
            skew = max(skew, abs(matrix[i, j] - matrix[j, i]))
    if not (size < np.inf and skew <= _ROUNDING * size):
        return False
    for _ in range(_SWEEPS):
        rest = 0.0
        for i in range(d):
            for j in range(i + 1, d):
                rest = max(rest, abs(a[i, j]))
                if a[i, j] == 0.0:
                    continue
                ratio = 0.5 * (a[j, j] - a[i, i]) / a[i, j]
                t = (1.0 if ratio >= 0.0 else -1.0) / (abs(ratio) + np.sqrt(1.0 + ratio * ratio))
                c = 1.0 / np.sqrt(1.0 + t * t)
                s = t * c
                for k in range(d):
                    a[k, i], a[k, j] = c * a[k, i] - s * a[k, j], s * a[k, i] + c * a[k, j]
                    q[k, i], q[k, j] = c * q[k, i] - s * q[k, j], s * q[k, i] + c * q[k, j]
                for k in range(d):
                    a[i, k], a[j, k] = c * a[i, k] - s * a[j, k], s * a[i, k] + c * a[j, k]
        if rest <= 1e-16 * size:
            break
    lowest, highest = np.inf, 0.0
    for k in range(d):
        lowest, highest = min(lowest, a[k, k]), max(highest, a[k, k])
        a[k, k] = np.sqrt(factor * max(a[k, k], 0.0))
    for i in range(d):
        for j in range(i, d):
            total = 0.0
            for k in range(d):
                total += q[i, k] * a[k, k] * q[j, k]
            root[i, j] = root[j, i] = total
    return bool(lowest >= -_ROUNDING * highest)
