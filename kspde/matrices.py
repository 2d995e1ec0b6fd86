r"""Symmetric d × d matrices, one per point: diffusion coefficients that depend on the direction.

Their roots are symmetric too. In two dimensions :math:`\sqrt A = (A + \sqrt{\det A}\,I) / \sqrt{\operatorname{tr} A +
2\sqrt{\det A}}`. In three, with the sums :math:`s_1, s_2, s_3` of products of one, two and three roots of eigenvalues,

.. math:: \sqrt A = \frac{s_1 s_3 I + (s_1^2 - s_2) A - A^2}{s_1 s_2 - s_3}

(Hoger and Carlson, Quart. Appl. Math. 42, 1984). No eigenvalues are needed: :math:`s_1^2 = \operatorname{tr} A +
2 s_2`, :math:`s_2^2 = \tfrac12((\operatorname{tr} A)^2 - \operatorname{tr} A^2) + 2 s_1 s_3` and :math:`s_3^2 = \det
A`. As an equation for s_1 that is a contraction, of slope :math:`s_3/(s_1 s_2) \le \tfrac19`, and three of Newton's
steps from :math:`\sqrt{3 \operatorname{tr} A}` reach 1e-15 for every A. Where the formula cancels, since A is nearly
singular, and in higher dimensions, Jacobi's rotations diagonalise A. The formulas run over the entries of many
matrices, as vectors: in space that takes a sixth of the time of one matrix after another.
"""

from __future__ import annotations

import numpy as np

from kspde.runtime.compiled import compiled, compiled_in_order, inlined_only, widest_vectors
from kspde.typing import Array, Mask

__all__ = ["as_matrices", "eigenvalue_ends", "fault", "mean_diffusion", "product_of", "symmetric_roots"]

#: Rounding of an entry, and of an eigenvalue below 0, in units of the largest eigenvalue.
_ROUNDING = 1e-12
#: Jacobi's sweeps: their errors fall quadratically, and six suffice for three dimensions.
_SWEEPS = 12
#: The determinant, at trace 3, down to which the formula in three dimensions is used.
_SINGULAR = 1e-4
#: The number of matrices whose entries a core's cache holds.
_CHUNK = 1024


def as_matrices(diffusion: Array, n: int, d: int) -> Array:
    """Return D in the form of matrices, shape (n, d, d), for any of its forms (``coefficients.diffusion_of``)."""
    if diffusion.ndim == 3:
        return diffusion
    out = np.zeros((d, d, n))
    out[range(d), range(d)] = diffusion.T
    return np.moveaxis(out, 2, 0)


def mean_diffusion(diffusion: Array) -> Array:
    """Return D's mean over all directions, tr D/d, shape (n,) or (1,), for any of its forms."""
    if diffusion.ndim == 3:
        return np.asarray(np.trace(diffusion, axis1=1, axis2=2) / diffusion.shape[1])
    return np.asarray(diffusion.mean(axis=1)) if diffusion.ndim == 2 else diffusion


def product_of(diffusion: Array, vectors: Array) -> Array:
    """Return D v at each point, shape (n, d), for any of its forms."""
    if diffusion.ndim == 3:
        return np.asarray(np.einsum("nab,nb->na", diffusion, vectors))
    return vectors * (diffusion[:, None] if diffusion.ndim == 1 else diffusion)


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


@compiled
def symmetric_roots(entries: Array, factor: float, roots: Array) -> int:
    """Write √(factor A) of n matrices A; return the first A that is not valid (``fault``), or −1.

    Args:
        entries: A by entries, C-contiguous, shape (d, d, n).
        factor: the factor.
        roots: where the roots go, likewise.
    """
    d, n = len(entries), entries.shape[2]
    parts, skew, safe = np.empty((6, _CHUNK)), np.empty(_CHUNK), np.empty(_CHUNK, dtype=np.bool_)
    matrix, root = np.empty((d, d)), np.empty((d, d))
    for start in range(0, n, _CHUNK):
        end = min(start + _CHUNK, n)
        safe[:] = False
        if d == 2 or d == 3:
            _gather(entries, start, end, parts, skew)
            if d == 2:
                _roots_in_plane(parts, skew, factor, safe)
            else:
                _roots_in_space(parts, skew, factor, safe)
            _scatter(parts, roots, start, end)
        for i in range(start, end):
            if safe[i - start]:
                continue
            for a in range(d):
                for b in range(d):
                    matrix[a, b] = entries[a, b, i]
            if not _root_by_rotations(matrix, factor, root):
                return i
            for a in range(d):
                for b in range(d):
                    roots[a, b, i] = root[a, b]
    return -1


@compiled
def _gather(entries: Array, start: int, end: int, parts: Array, skew: Array) -> None:
    """Write means of entries (a, b) and (b, a), b ≥ a, into rows of ``parts``, and their largest differences."""
    skew[:] = 0.0
    k = 0
    for a in range(len(entries)):
        for b in range(a, len(entries)):
            above, below, mean = entries[a, b, start:end], entries[b, a, start:end], parts[k]
            for i in range(len(above)):
                mean[i] = 0.5 * (above[i] + below[i])
                difference = abs(above[i] - below[i])
                skew[i] = difference if difference > skew[i] else skew[i]
            k += 1


@compiled
def _scatter(parts: Array, roots: Array, start: int, end: int) -> None:
    """Write rows of ``parts`` to the places (a, b) and (b, a) of the roots."""
    k = 0
    for a in range(len(roots)):
        for b in range(a, len(roots)):
            above, below = roots[a, b, start:end], roots[b, a, start:end]
            for i in range(len(above)):
                above[i] = below[i] = parts[k, i]
            k += 1


@compiled
def _roots_in_plane(parts: Array, skew: Array, factor: float, safe: Mask) -> None:
    """Overwrite 2 × 2 matrices ((u, z), (z, v)) by their roots, and say which are valid."""
    widest_vectors()
    u, z, v = parts[0], parts[1], parts[2]
    for i in range(len(u)):
        middle, half = 0.5 * (u[i] + v[i]), 0.5 * (u[i] - v[i])
        reach = np.sqrt(half * half + z[i] * z[i])
        bound = _ROUNDING * (middle + reach)
        safe[i] = middle - reach >= -bound and skew[i] <= bound and middle + reach < np.inf
        determinant = u[i] * v[i] - z[i] * z[i]
        root = np.sqrt(determinant if determinant > 0.0 else 0.0)
        total = np.sqrt(2.0 * (middle + root))
        scale = np.sqrt(factor) / total if total > 0.0 else 0.0
        u[i], z[i], v[i] = scale * (u[i] + root), scale * z[i], scale * (v[i] + root)


@compiled
def _roots_in_space(parts: Array, skew: Array, factor: float, safe: Mask) -> None:
    """Overwrite 3 × 3 matrices ((u, z, y), (z, v, x), (y, x, w)) by their roots, and say which are safe."""
    widest_vectors()
    u, z, y, v, x, w = parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]
    for i in range(len(u)):
        third = (u[i] + v[i] + w[i]) / 3.0
        scale = 1.0 / third
        a, b, c = scale * u[i], scale * v[i], scale * w[i]
        p, q, r = scale * x[i], scale * y[i], scale * z[i]
        products = (a * b - r * r) + (b * c - p * p) + (c * a - q * q)
        determinant = a * (b * c - p * p) - r * (r * c - p * q) + q * (r * p - b * q)
        three = np.sqrt(determinant if determinant > 0.0 else 0.0)
        one = _nearer_trace(_nearer_trace(_nearer_trace(3.0, products, three), products, three), products, three)
        two = np.sqrt(products + 2.0 * one * three)
        safe[i] = determinant > _SINGULAR and skew[i] <= _ROUNDING * third and third < np.inf
        scale = np.sqrt(factor * third) / (one * two - three)
        linear, constant = scale * (one * one - two), scale * one * three
        u[i] = constant + linear * a - scale * (a * a + q * q + r * r)
        v[i] = constant + linear * b - scale * (b * b + p * p + r * r)
        w[i] = constant + linear * c - scale * (c * c + p * p + q * q)
        x[i] = linear * p - scale * (p * (b + c) + q * r)
        y[i] = linear * q - scale * (q * (a + c) + p * r)
        z[i] = linear * r - scale * (r * (a + b) + p * q)


@inlined_only
def _nearer_trace(one: float, products: float, three: float) -> float:
    """Return Newton's next s₁ for s₁ = √(3 + 2 s₂), s₂ = √(products + 2 s₁ s₃), at trace 3."""
    two = np.sqrt(products + 2.0 * one * three)
    image = np.sqrt(3.0 + 2.0 * two)
    nearer: float = one + (image - one) * image * two / (image * two - three)
    return nearer


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
