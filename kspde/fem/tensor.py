r"""Fast diagonalisation of the Laplacian on a box of tensor-product GLL elements.

With GLL quadrature the operators of a box are sums of Kronecker products of one-dimensional ones,

.. math:: K = \sum_a M \otimes \cdots \otimes K_a \otimes \cdots \otimes M, \qquad M = M_1 \otimes \cdots \otimes M_d,

with diagonal :math:`M_a`. From the small generalised eigenproblems :math:`K_a q = \lambda M_a q`, :math:`Q_a^T M_a
Q_a = I`, every function of the discrete Laplacian :math:`M^{-1}K` is a pointwise factor between two dense transforms,

.. math:: g(M^{-1}K) = Q\, g(\lambda_1 \oplus \cdots \oplus \lambda_d)\, Q^T M .

(Lynch, Rice and Thomas, Numer. Math. 6, 1964.) It is the finite-element twin of a Fourier code, on graded elements and
at any degree. Over MPI ranks the nodes lie in slabs of the first direction; two transposes make that direction whole.

A box is symmetric about 0, so its modes are even or odd. On large ones the matrices are applied by halves, to the even
and to the odd part of a function: half the operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import basix
import numpy as np
import numpy.typing as npt

__all__ = ["Axis", "Slabs", "TensorLaplacian"]

Array = npt.NDArray[np.float64]

#: From so many nodes a direction halves pay.
HALVES_FROM = 256


class Axis:
    """One direction of a box: GLL nodes, diagonal mass and stiffness matrix.

    Args:
        vertices: cell vertices, ascending, shape (cells + 1,).
        degree: polynomial degree p.
    """

    def __init__(self, vertices: Array, degree: int) -> None:
        element = basix.create_element(
            basix.ElementFamily.P, basix.CellType.interval, degree, basix.LagrangeVariant.gll_warped
        )
        points, weights = basix.make_quadrature(
            basix.CellType.interval, max(1, 2 * degree - 1), basix.QuadratureType.gll
        )
        order = np.argsort(element.points[:, 0])
        slopes = element.tabulate(1, points)[1][:, order, 0]
        self.vertices = np.asarray(vertices)
        self.degree = degree
        self.reference = element.points[order, 0]
        cells = len(vertices) - 1
        n = cells * degree + 1
        self.nodes = np.empty(n)
        self.mass = np.zeros(n)
        self.stiffness = np.zeros((n, n))
        #: entries ∫ φ_i' φ_j
        self.advection = np.zeros((n, n))
        stiffness = slopes.T @ (weights[:, None] * slopes)
        ascending = np.argsort(points[:, 0])
        advection = (weights[:, None] * slopes)[ascending].T
        for cell in range(cells):
            width = vertices[cell + 1] - vertices[cell]
            part = slice(cell * degree, (cell + 1) * degree + 1)
            self.nodes[part] = vertices[cell] + width * self.reference
            self.mass[part] += width * weights[ascending]
            self.stiffness[part, part] += stiffness / width
            self.advection[part, part] += advection

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.nodes)

    def eigen(self, robin: float) -> tuple[Array, Array]:
        """Return eigenvalues and M-orthonormal eigenvectors of K + robin·(boundary values).

        They are ascending; from ``HALVES_FROM`` nodes those of even vectors, ascending, come before those of odd ones.
        """
        scale = 1.0 / np.sqrt(self.mass)
        matrix = self.stiffness.copy()
        matrix[0, 0] += robin
        matrix[-1, -1] += robin
        matrix = scale[:, None] * matrix * scale
        if len(self) < HALVES_FROM:
            values, vectors = np.linalg.eigh(matrix)
        else:
            parts = [(basis, *np.linalg.eigh(basis.T @ matrix @ basis)) for basis in _even_and_odd(len(self))]
            values = np.concatenate([values for _, values, _ in parts])
            vectors = np.concatenate([basis @ vectors for basis, _, vectors in parts], axis=1)
        return np.maximum(values, 0.0), scale[:, None] * vectors

    def shape_functions(self, x: Array) -> tuple[npt.NDArray[np.int64], Array]:
        """Return the first node of the cell of each point ``x`` inside, and the p + 1 shape functions there."""
        cell = np.clip(np.searchsorted(self.vertices, x, side="right") - 1, 0, len(self.vertices) - 2)
        t = (x - self.vertices[cell]) / (self.vertices[cell + 1] - self.vertices[cell])
        p, ref = self.degree, self.reference
        values = np.ones((len(x), p + 1))
        for i in range(p + 1):
            for j in range(p + 1):
                if i != j:
                    values[:, i] *= (t - ref[j]) / (ref[i] - ref[j])
        return cell * p, values

    def interpolation(self, x: Array) -> Array:
        """Return the matrix, shape (len(x), nodes), that evaluates a finite-element function at points ``x`` inside."""
        first, values = self.shape_functions(x)
        matrix = np.zeros((len(x), len(self)))
        matrix[np.arange(len(x))[:, None], first[:, None] + np.arange(self.degree + 1)] = values
        return matrix


class Slabs:
    """Rows of a d-dimensional array split over ranks, and the transpose that splits its second direction instead.

    Args:
        comm: the communicator.
        shape: global shape; a one-dimensional array counts as (n, 1).
        starts: first row of each rank and, last, the number of rows.
    """

    def __init__(self, comm: Any, shape: Sequence[int], starts: Sequence[int]) -> None:
        self.comm = comm
        full = tuple(shape) if len(shape) > 1 else (shape[0], 1)
        self.rows = np.asarray(starts)
        self.columns = np.linspace(0, full[1], comm.size + 1).astype(int)
        self.rest = full[2:]
        r = comm.rank
        self.first, self.last = int(self.rows[r]), int(self.rows[r + 1])
        self.shape = (self.last - self.first, *full[1:])
        self.modal = slice(int(self.columns[r]), int(self.columns[r + 1]))
        self.modal_shape = (full[0], self.modal.stop - self.modal.start, *self.rest)
        depth = int(np.prod(self.rest))
        self._by_rows = np.diff(self.rows) * self.modal_shape[1] * depth
        self._by_columns = np.diff(self.columns) * self.shape[0] * depth

    def transpose(self, x: Array) -> Array:
        """Return the array split by columns, shape ``modal_shape``. Collective."""
        if self.comm.size == 1:
            return x
        parts = [x[:, a:b].ravel() for a, b in zip(self.columns[:-1], self.columns[1:], strict=True)]
        out = np.empty(self.modal_shape)
        self.comm.Alltoallv([np.concatenate(parts), self._by_columns], [out, self._by_rows])
        return out

    def transpose_back(self, x: Array) -> Array:
        """Return the array split by rows, shape ``shape``. Collective."""
        if self.comm.size == 1:
            return x
        flat = np.empty(int(np.prod(self.shape)))
        self.comm.Alltoallv([np.ascontiguousarray(x), self._by_rows], [flat, self._by_columns])
        out = np.empty(self.shape)
        start = 0
        for a, b, count in zip(self.columns[:-1], self.columns[1:], self._by_columns, strict=True):
            out[:, a:b] = flat[start : start + count].reshape(self.shape[0], b - a, *self.rest)
            start += count
        return out


class TensorLaplacian:
    r"""The discrete −Δ of a box, diagonalised: applies any function of it.

    Args:
        axes: one ``Axis`` a direction.
        slabs: how nodal arrays are split over ranks.
        robin: coefficient κ ≥ 0 of the boundary condition ∂_n c + κ c = 0; 0 is Neumann's.
    """

    def __init__(self, axes: Sequence[Axis], slabs: Slabs, robin: float = 0.0) -> None:
        self.slabs = slabs
        pairs = [axis.eigen(robin) for axis in axes]
        both = list(zip(axes, pairs, strict=True))
        back: list[Array] = [vectors for _, (_, vectors) in both]
        forth: list[Array] = [np.ascontiguousarray(v.T * axis.mass) for axis, (_, v) in both]
        slope: list[Array] = [(axis.advection.T / axis.mass[:, None]) @ v for axis, (_, v) in both]
        flux: list[Array] = [v.T @ axis.advection for axis, (_, v) in both]
        self._back: list[Matrix] = [*back]
        self._forth: list[Matrix] = [*forth]
        self._slope: list[Matrix] = [*slope]
        self._flux: list[Matrix] = [*flux]
        if len(axes) == 2 and len(axes[0]) >= HALVES_FROM:
            self._back = [_Halves(m, forwards=False, derivative=False) for m in back]
            self._slope = [_Halves(m, forwards=False, derivative=True) for m in slope]
            self._forth = [_Halves(m, forwards=True, derivative=False) for m in forth]
            self._flux = [_Halves(m, forwards=True, derivative=True) for m in flux]
        if len(axes) == 1:
            for matrices in (self._back, self._forth):
                matrices.append(np.ones((1, 1)))
            pairs.append((np.zeros(1), np.ones((1, 1))))
        #: eigenvalues of each direction at this rank's modes, broadcastable to ``slabs.modal_shape``
        self.directions: list[Array] = [
            values[slabs.modal if a == 1 else slice(None)].reshape(-1, *(1,) * (len(pairs) - 1 - a))
            for a, (values, _) in enumerate(pairs)
        ]
        #: their sums, shape ``slabs.modal_shape``
        self.eigenvalues: Array = np.asarray(sum(self.directions[1:], self.directions[0]))

    def transform(self, x: Array) -> Array:
        """Return the modal coefficients QᵀM x of nodal values of shape ``slabs.shape``. Collective."""
        return self._forwards(self._forth, x)

    def back(self, modes: Array) -> Array:
        """Return the nodal values Q x̂ of modal coefficients. Collective."""
        return self._backwards(self._back, modes)

    def derivative(self, modes: Array, axis: int) -> Array:
        r"""Return the nodal values of ∂_a of the function with these modes, its L² projection with GLL quadrature."""
        return self._backwards([*self._back[:axis], self._slope[axis], *self._back[axis + 1 :]], modes)

    def gradient(self, modes: Array) -> Array:
        """Return the nodal values of all first derivatives, shape (n_local, d). Collective."""
        return np.stack([self.derivative(modes, a).ravel() for a in range(len(self._slope))], axis=1)

    def divergence(self, flux: Array, axis: int) -> Array:
        r"""Return the modal coefficients of the functional φ ↦ ∫ F ∂_a φ, that is of −∂_a F with no flux outside."""
        return self._forwards([*self._forth[:axis], self._flux[axis], *self._forth[axis + 1 :]], flux)

    def apply(self, factors: Array, x: Array) -> Array:
        """Return g(M⁻¹K) x for ``factors`` = g(eigenvalues) and nodal values ``x``. Collective."""
        return self.back(factors * self.transform(x))

    def _forwards(self, matrices: Sequence[Matrix], x: Array) -> Array:
        return _first(matrices[0], self.slabs.transpose(_others(matrices[1:], x)))

    def _backwards(self, matrices: Sequence[Matrix], modes: Array) -> Array:
        return _others(matrices[1:], self.slabs.transpose_back(_first(matrices[0], modes)))


class _Halves:
    """A matrix of an axis by its blocks, for even and odd functions and modes.

    Args:
        matrix: shape (nodes, modes) or, ``forwards``, (modes, nodes); even modes come first.
        forwards: whether it maps nodal values to modes.
        derivative: whether it takes even functions to odd modes, and odd ones to even modes.
    """

    def __init__(self, matrix: Array, *, forwards: bool, derivative: bool) -> None:
        self._forwards = forwards
        n = len(matrix)
        self._middle = n - n // 2
        modes = (slice(0, self._middle), slice(self._middle, n))
        #: modes of even functions, and of odd ones
        self._modes = modes[::-1] if derivative else modes
        nodes = (slice(0, self._middle), slice(0, n // 2))
        self._blocks = [
            np.ascontiguousarray(matrix[m, k] if forwards else matrix[k, m])
            for m, k in zip(self._modes, nodes, strict=True)
        ]

    def first(self, x: Array) -> Array:
        """Return the product with x, shape (n, columns)."""
        n, half = len(x), len(x) // 2
        even, odd = self._blocks
        out = np.empty(x.shape)
        if self._forwards:
            mirrored = x[: -half - 1 : -1]
            sums = x[: self._middle].copy()
            sums[:half] += mirrored
            np.matmul(even, sums, out=out[self._modes[0]])
            np.matmul(odd, np.subtract(x[:half], mirrored, out=sums[:half]), out=out[self._modes[1]])
            return out
        symmetric, other = even @ x[self._modes[0]], odd @ x[self._modes[1]]
        out[: self._middle] = symmetric
        out[:half] += other
        np.subtract(symmetric[:half], other, out=out[: n - half - 1 : -1])
        return out

    def last(self, x: Array) -> Array:
        """Return x, shape (rows, n), times the transpose."""
        n = x.shape[1]
        half = n // 2
        even, odd = self._blocks
        out = np.empty(x.shape)
        if self._forwards:
            mirrored = x[:, : -half - 1 : -1]
            sums = x[:, : self._middle].copy()
            sums[:, :half] += mirrored
            out[:, self._modes[0]] = sums @ even.T
            out[:, self._modes[1]] = (x[:, :half] - mirrored) @ odd.T
            return out
        symmetric, other = x[:, self._modes[0]] @ even.T, x[:, self._modes[1]] @ odd.T
        out[:, : self._middle] = symmetric
        out[:, :half] += other
        np.subtract(symmetric[:, :half], other, out=out[:, : n - half - 1 : -1])
        return out


def _even_and_odd(n: int) -> tuple[Array, Array]:
    """Return orthonormal bases of the even and of the odd vectors of n entries, in columns."""
    half = np.eye(n)[:, : n // 2] / np.sqrt(2.0)
    even = half + half[::-1]
    if n % 2:
        even = np.concatenate([even, np.eye(n)[:, n // 2 : n // 2 + 1]], axis=1)
    return even, half - half[::-1]


#: a matrix, or its halves
Matrix = Array | _Halves


def _first(matrix: Matrix, x: Array) -> Array:
    flat = x.reshape(len(x), -1)
    return (matrix.first(flat) if isinstance(matrix, _Halves) else matrix @ flat).reshape(x.shape)


def _others(matrices: Sequence[Matrix], x: Array) -> Array:
    *middle, last = matrices
    for matrix in middle:
        x = np.matmul(np.asarray(matrix), x)
    return last.last(x) if isinstance(last, _Halves) else np.asarray(x @ last.T)
