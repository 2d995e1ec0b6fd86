r"""Fast diagonalisation of the Laplacian on a box of tensor-product GLL elements.

With GLL quadrature the operators of a box are sums of Kronecker products of one-dimensional ones,

.. math:: K = \sum_a M \otimes \cdots \otimes K_a \otimes \cdots \otimes M, \qquad M = M_1 \otimes \cdots \otimes M_d,

with diagonal :math:`M_a`. From the small generalised eigenproblems :math:`K_a q = \lambda M_a q`, :math:`Q_a^T M_a
Q_a = I`, every function of the discrete Laplacian :math:`M^{-1}K` is a pointwise factor between two dense transforms,

.. math:: g(M^{-1}K) = Q\, g(\lambda_1 \oplus \cdots \oplus \lambda_d)\, Q^T M .

(Lynch, Rice and Thomas, Numer. Math. 6, 1964.) It is to finite elements, graded and of any degree, what a Fourier code
is to trigonometric polynomials. MPI ranks own slabs of the first direction; two transposes make that direction whole.
Large planes use ``kspde.fem.spaces.parity_transforms``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import basix
import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array, hstack

from kspde.fem.spaces.parity_transforms import ParityMatrix, ParityTransforms
from kspde.fem.spaces.slabs import Slabs
from kspde.typing import Array, Indices

__all__ = ["Axis", "Band", "Robin", "TensorGrid", "TensorLaplacian"]

#: The coefficient of a Robin condition, one for all sides or one for each direction.
type Robin = float | tuple[float, ...]

#: From so many nodes per direction a plane is transformed by halves.
HALVES_FROM = 256
#: So many rows of a matrix with few entries are applied together: the columns of their entries are twice as many.
_ROWS = 24
#: The largest share of constants in other modes whose removal leaves these orthonormal.
_MIXED = 1e-7


class Axis:
    """One direction of a box: GLL nodes, diagonal mass and stiffness matrix.

    Args:
        vertices: cell vertices, ascending, shape (cells + 1,).
        degree: polynomial degree p.
        periodic: whether the last vertex is the first one again; their node is the first.
    """

    def __init__(self, vertices: Array, degree: int, *, periodic: bool = False) -> None:
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
        self.periodic = periodic
        self.reference = element.points[order, 0]
        cells = len(vertices) - 1
        n = cells * degree + (not periodic)
        stiffness = slopes.T @ (weights[:, None] * slopes)
        ascending = np.argsort(points[:, 0])
        advection = (weights[:, None] * slopes)[ascending].T
        widths = np.diff(vertices)[:, None]
        part = (degree * np.arange(cells)[:, None] + np.arange(degree + 1)) % n
        nodes = vertices[:-1, None] + widths * self.reference
        self.nodes = np.append(nodes[:, :-1], nodes[-1, -1])[:n]
        self.mass = np.bincount(part.ravel(), weights=(widths * weights[ascending]).ravel(), minlength=n)
        entries = np.repeat(part, degree + 1, axis=1).ravel(), np.tile(part, (1, degree + 1)).ravel()
        self.stiffness = csr_array((np.divide.outer(stiffness, widths[:, 0]).transpose(2, 0, 1).ravel(), entries))
        #: entries ∫ φ_i' φ_j
        self.advection = csr_array((np.tile(advection.ravel(), cells), entries))

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.nodes)

    @cached_property
    def slope(self) -> Band:
        """The matrix of the derivative's L² projection by the quadrature."""
        return Band(csr_array(diags_array(1.0 / self.mass) @ self.advection.T))

    @cached_property
    def equidistant(self) -> Array:
        """Nodes that are equidistant in each cell, those of both ends included, as VTK has them."""
        inside = np.arange(self.degree) / self.degree
        return np.append(self.vertices[:-1, None] + np.diff(self.vertices)[:, None] * inside, self.vertices[-1])

    @cached_property
    def to_equidistant(self) -> Band:
        """The matrix from nodal values to values at as many of these nodes."""
        n = len(self)
        first, values = self.shape_functions(self.equidistant[:n])
        columns = (first[:, None] + np.arange(self.degree + 1)) % n
        entries = np.repeat(np.arange(n), self.degree + 1), columns.ravel()
        return Band(csr_array((values.ravel(), entries), shape=(n, n)))

    @property
    def symmetric(self) -> bool:
        """Whether the nodes are symmetric about 0, so that functions have even and odd parts."""
        return bool(np.all(np.abs(self.vertices + self.vertices[::-1]) <= 1e-14 * np.abs(self.vertices).max()))

    def eigen(self, robin: float) -> tuple[Array, Array]:
        """Return eigenvalues and M-orthonormal eigenvectors of K + robin·(boundary values).

        They are ascending; from ``HALVES_FROM`` nodes on a symmetric axis those of even vectors, ascending, come before
        those of odd ones.
        """
        scale = 1.0 / np.sqrt(self.mass)
        ends = np.zeros(len(self))
        ends[[0, -1]] = 0.0 if self.periodic else robin
        matrix = diags_array(scale) @ (self.stiffness + diags_array(ends)) @ diags_array(scale)
        bases = _even_and_odd(len(self)) if self.halves else (eye_array(len(self), format="csr"),)
        kernels = [None if robin else bases[0].T @ np.sqrt(self.mass / self.mass.sum()), None]
        parts = [(b, *_modes((b.T @ matrix @ b).toarray(), k)) for b, k in zip(bases, kernels, strict=False)]
        values = np.concatenate([values for _, values, _ in parts])
        vectors = scale[:, None] * np.concatenate([basis @ vectors for basis, _, vectors in parts], axis=1)
        if robin == 0.0:  # constants hold all the mass: exactly, not up to the round-off of the others
            vectors[:, 0] = 1.0 / np.sqrt(self.mass.sum())
            vectors[:, 1:] -= self.mass @ vectors[:, 1:] / self.mass.sum()
        return values, vectors

    @property
    def halves(self) -> bool:
        """Whether modes are even or odd, and sorted by that."""
        return len(self) >= HALVES_FROM and self.symmetric and not self.periodic

    @cached_property
    def derivative(self) -> Band:
        """The matrix from nodal values to derivatives at the nodes, by the polynomials of a cell and its neighbours.

        Of accurate values, such as those of potentials, it makes more accurate derivatives than a cell's own
        polynomials, which the L² projection takes: to 6e-9 in place of 3e-7 of the maximum on 32 cells of degree 8. It
        is for axes that are not periodic. The end cells, at the end of such a polynomial, have their own.
        """
        p, cells = self.degree, len(self.vertices) - 1
        matrix, count = np.zeros((len(self), len(self))), np.zeros(len(self))
        for cell in range(cells):
            reach = int(0 < cell < cells - 1)
            first = (cell - reach) * p
            x = self.nodes[first : (cell + 1 + reach) * p + 1]
            mine = np.arange(reach * p, (reach + 1) * p + 1)
            apart = np.subtract.outer(x, x) * (4 / (x[-1] - x[0])) + np.eye(len(x))
            sign, size = np.prod(np.sign(apart), axis=1), np.log(np.abs(apart)).sum(axis=1)
            weights = sign * sign[mine, None] * np.exp(size[mine, None] - size)
            rows = weights / (x[mine, None] - x + np.eye(len(x))[mine])
            rows[np.arange(p + 1), mine] = 0.0
            rows[np.arange(p + 1), mine] = -rows.sum(axis=1)
            matrix[first + mine, first : first + len(x)] += rows
            count[first + mine] += 1
        return Band(csr_array(matrix / count[:, None]))

    def cells(self, x: Array) -> Indices:
        """Return the number of the cell of each point ``x`` inside."""
        return np.clip(np.searchsorted(self.vertices, x, side="right") - 1, 0, len(self.vertices) - 2)

    def shape_functions(self, x: Array) -> tuple[Indices, Array]:
        """Return the first node of the cell of each point ``x`` inside, and the p + 1 shape functions there."""
        cell = self.cells(x)
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
        matrix[np.arange(len(x))[:, None], (first[:, None] + np.arange(self.degree + 1)) % len(self)] = values
        return matrix


class Band:
    """A matrix whose entries are near its diagonal, or in its corners: derivatives at the nodes of an axis.

    A product with it takes a few operations for each node, one with a matrix of modes as many as there are modes.

    Args:
        matrix: the matrix, shape (n, n).

    Attributes:
        matrix: the same.
    """

    def __init__(self, matrix: csr_array) -> None:
        self.matrix = matrix
        #: rows, the columns of their entries, and these
        self._blocks: list[tuple[slice, slice | Indices, Array]] = []
        for first in range(0, matrix.shape[0], _ROWS):
            rows = slice(first, first + _ROWS)
            columns = np.unique(matrix[rows].indices)
            few = slice(int(columns[0]), int(columns[-1]) + 1)
            where = few if few.stop - few.start == len(columns) else columns
            self._blocks.append((rows, where, matrix[rows].toarray()[:, columns]))

    def apply(self, x: Array, axis: int, out: Array) -> None:
        """Set ``out`` to the product with a direction of ``x``; both have the same shape."""
        before, n, after = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
        if after == 1:
            x, out = x.reshape(before, n), out.reshape(before, n)
            for rows, columns, part in self._blocks:
                out[:, rows] = x[:, columns] @ part.T
        else:
            x, out = x.reshape(before, n, after), out.reshape(before, n, after)
            for rows, columns, part in self._blocks:
                out[:, rows] = part @ x[:, columns]


class TensorGrid:
    """The nodes of a box, and derivatives at them.

    Args:
        axes: the directions.
        slabs: how nodal arrays are split over ranks.
    """

    def __init__(self, axes: Sequence[Axis], slabs: Slabs) -> None:
        self._axes = axes
        self.slabs = slabs

    def derivative(self, x: Array, axis: int, *, sharp: bool = False, out: Array | None = None) -> Array:
        """Return the nodal values of the derivative of nodal values along an axis. Collective.

        It is the L² projection with GLL quadrature, or ``Axis.derivative`` if ``sharp``.
        """
        band = self._axes[axis].derivative if sharp else self._axes[axis].slope
        return self._along(axis, band, x, np.empty(self.slabs.shape) if out is None else out)

    def equidistant(self, x: Array) -> Array:
        """Return the values of nodal values at nodes that are equidistant in each cell, as many. Collective."""
        x = x.reshape(self.slabs.shape)
        for a, axis in enumerate(self._axes):
            x = self._along(a, axis.to_equidistant, x, np.empty_like(x))
        return x

    def _along(self, axis: int, band: Band, x: Array, out: Array) -> Array:
        """Set ``out`` to nodal values with a matrix applied to an axis, and return it. Collective."""
        if axis > 0 or self.slabs.comm.size == 1:
            band.apply(x, axis, out)
        else:
            whole = self.slabs.transpose(x)
            part = np.empty_like(whole)
            band.apply(whole, 0, part)
            out[:] = self.slabs.transpose_back(part)
        return out

    def gradient(self, x: Array, *, sharp: bool = False) -> Array:
        """Return the nodal values of all first derivatives, shape (n_local, d). Collective."""
        x = x.reshape(self.slabs.shape)
        out = np.empty((*x.shape, len(self._axes)))
        for a in range(len(self._axes)):
            self.derivative(x, a, sharp=sharp, out=out[..., a])
        return out.reshape(-1, len(self._axes))


class TensorLaplacian(TensorGrid):
    r"""The discrete −Δ of a box, diagonalised: applies any function of it.

    Args:
        axes: the directions; those that are alike are one object.
        slabs: how nodal arrays are split over ranks.
        robin: the coefficient κ ≥ 0 of the boundary condition ∂_n c + κ c = 0, or one for each direction; 0 is
            Neumann's.

    Attributes:
        directions: the eigenvalues of each direction at this rank's modes, broadcastable to ``slabs.modal_shape``.
        separated: two arrays to be added: those of the first direction, and the sums of the others.
        eigenvalues: their sums, shape ``slabs.modal_shape``.
    """

    def __init__(self, axes: Sequence[Axis], slabs: Slabs, robin: Robin = 0.0) -> None:
        super().__init__(axes, slabs)
        dimension = self._dimension = len(axes)
        keys = list(zip(map(id, axes), robin if isinstance(robin, tuple) else (robin,) * dimension, strict=True))
        made = {key: (axis, *axis.eigen(key[1])) for key, axis in zip(keys, axes, strict=True)}
        parts = [made[key] for key in keys]
        values = [values for _, values, _ in parts]
        values[1:2] = [values[1][slabs.modal] if dimension > 1 else np.zeros(1)]  # a line is a plane of one column
        self.directions: list[Array] = [
            part.reshape(-1, *(1,) * (len(values) - 1 - a)) for a, part in enumerate(values)
        ]
        first, second, *others = self.directions
        self.separated: tuple[Array, Array] = (first, np.asarray(sum(others, second)))
        self.eigenvalues: Array = np.add(*self.separated)
        self._plane: ParityTransforms | None = None
        axis, _, vectors = parts[0]
        if dimension == 2 and len(made) == 1 and axis.halves:
            modes = vectors.T
            self._plane = ParityTransforms(
                slabs,
                axis.mass[slabs.first : slabs.last],
                forth=ParityMatrix(modes * axis.mass, derivative=False),
                flux=ParityMatrix(modes @ axis.advection, derivative=True),
                back=ParityMatrix(modes, derivative=False),
                eigenvalues=self.directions,
            )
            return
        # by direction
        self._back = [vectors for _, _, vectors in parts]
        self._forth = [np.ascontiguousarray(vectors.T * axis.mass) for axis, _, vectors in parts]
        self._flux = [vectors.T @ axis.advection for axis, _, vectors in parts]

    def transform(self, x: Array, axis: int | None = None) -> Array:
        r"""Return the modal coefficients QᵀM x of nodal values of shape ``slabs.shape``. Collective.

        With an axis, those of the functional φ ↦ ∫ x ∂_axis φ, that is of −∂_axis x with no flux outside.
        """
        if self._plane is not None:
            return self._plane.forwards(x, axis)
        first, *others = ((self._flux if a == axis else self._forth)[a] for a in range(self._dimension))
        return _first(first, self.slabs.transpose(_others(others, x)))

    def back(self, modes: Array, *, derived: bool = False) -> Array:
        """Return the nodal values Q x̂ of modal coefficients, of which ``gradient`` is to be taken or not. Collective.

        On large planes they lack a share of the function's norm, and of its gradient's too if that is wanted.
        """
        if self._plane is not None:
            return self._plane.backwards(modes, derived=derived)
        first, *others = self._back
        return _others(others, self.slabs.transpose_back(_first(first, modes)))

    def apply(self, factors: Array, x: Array) -> Array:
        """Return g(M⁻¹K) x for ``factors`` = g(eigenvalues) and nodal values ``x``. Collective."""
        return self.back(factors * self.transform(x))

    def roughly(self, mass: Array) -> Callable[[Any, float], Any]:
        """Return (r, σ) ↦ (M + K/σ)⁻¹ r for a preconditioner: on large planes with errors of a ten-thousandth.

        ``mass`` is the diagonal of M at this rank's nodes.
        """
        if self._plane is not None:
            return self._plane.roughly()
        return lambda r, shift: self.apply(1.0 / (1.0 + self.eigenvalues / shift), r / mass)


def _modes(matrix: Array, kernel: Array | None) -> tuple[Array, Array]:
    """Return the eigenvalues ≥ 0, ascending, and orthonormal eigenvectors, of which the first may be a known kernel.

    On strongly graded axes round-off does not distinguish its 0 from the next eigenvalues, and mixes their vectors with
    it: there an eigenvalue above all others keeps it apart. It doubles the round-off of densities' tails elsewhere.
    """
    values, vectors = np.linalg.eigh(matrix)
    if kernel is not None and np.abs(kernel @ vectors[:, 1:]).max(initial=0.0) > _MIXED:
        values, vectors = np.linalg.eigh(matrix + 2 * np.abs(matrix).sum(axis=1).max() * np.outer(kernel, kernel))
        values, vectors = np.roll(values, 1), np.roll(vectors, 1, axis=1)
    if kernel is not None:
        values[0] = 0.0
    return np.maximum(values, 0.0), vectors


def _even_and_odd(n: int) -> tuple[csr_array, csr_array]:
    """Return orthonormal bases of the even and of the odd vectors of n entries, in columns."""
    one, other = eye_array(n, n // 2, format="csr"), eye_array(n, n // 2, format="csr")[::-1]
    even, odd = (one + other) / np.sqrt(2.0), (one - other) / np.sqrt(2.0)
    if n % 2:
        even = hstack([even, csr_array(([1.0], ([n // 2], [0])), shape=(n, 1))])
    return csr_array(even), csr_array(odd)


def _first(matrix: Array, x: Array) -> Array:
    """Return x with a matrix applied to its first direction."""
    return (matrix @ x.reshape(len(x), -1)).reshape(x.shape)


def _others(matrices: Sequence[Array], x: Array) -> Array:
    """Return x with matrices applied to its second and further directions."""
    for matrix in matrices[:-1]:
        x = np.matmul(matrix, x)
    return np.asarray(x @ matrices[-1].T) if matrices else x
