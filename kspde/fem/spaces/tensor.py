r"""Fast diagonalisation of the Laplacian on a box of tensor-product GLL elements.

With GLL quadrature the operators of a box are sums of Kronecker products of one-dimensional ones,

.. math:: K = \sum_a M \otimes \cdots \otimes K_a \otimes \cdots \otimes M, \qquad M = M_1 \otimes \cdots \otimes M_d,

with diagonal :math:`M_a`. From the small generalised eigenproblems :math:`K_a q = \lambda M_a q`, :math:`Q_a^T M_a
Q_a = I`, every function of the discrete Laplacian :math:`M^{-1}K` is a pointwise factor between two dense transforms,

.. math:: g(M^{-1}K) = Q\, g(\lambda_1 \oplus \cdots \oplus \lambda_d)\, Q^T M .

(Lynch, Rice and Thomas, Numer. Math. 6, 1964.) It is the finite-element twin of a Fourier code, on graded elements and
at any degree. Over MPI ranks the nodes lie in slabs of the first direction; two transposes make that direction whole.
Large planes use ``kspde.fem.spaces.parity_transforms``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import basix
import numpy as np
import numpy.typing as npt

from kspde.fem.spaces.parity_transforms import ParityMatrix, ParityTransforms
from kspde.fem.spaces.slabs import Slabs

__all__ = ["Axis", "TensorLaplacian"]

Array = npt.NDArray[np.float64]

#: From so many nodes a direction a plane is transformed by halves.
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
        values, vectors = np.maximum(values, 0.0), scale[:, None] * vectors
        if robin == 0.0:
            # The first belongs to constants, which hold all the mass: not only up to the round-off of the others.
            values[0], vectors[:, 0] = 0.0, 1.0 / np.sqrt(self.mass.sum())
            vectors[:, 1:] -= self.mass @ vectors[:, 1:] / self.mass.sum()
        return values, vectors

    def cells(self, x: Array) -> npt.NDArray[np.int64]:
        """Return the number of the cell of each point ``x`` inside."""
        return np.clip(np.searchsorted(self.vertices, x, side="right") - 1, 0, len(self.vertices) - 2)

    def shape_functions(self, x: Array) -> tuple[npt.NDArray[np.int64], Array]:
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
        matrix[np.arange(len(x))[:, None], first[:, None] + np.arange(self.degree + 1)] = values
        return matrix


class TensorLaplacian:
    r"""The discrete −Δ of a box, diagonalised: applies any function of it.

    Args:
        axes: one ``Axis`` a direction.
        slabs: how nodal arrays are split over ranks.
        robin: coefficient κ ≥ 0 of the boundary condition ∂_n c + κ c = 0; 0 is Neumann's.
    """

    def __init__(self, axes: Sequence[Axis], slabs: Slabs, robin: float = 0.0) -> None:
        self.slabs = slabs
        made = {id(axis): axis.eigen(robin) for axis in axes}  # directions that are the same share their matrices
        pairs = [made[id(axis)] for axis in axes]
        self._size = len(axes)
        self._plane: ParityTransforms | None = None
        if len(axes) == 1:
            pairs.append((np.zeros(1), np.ones((1, 1))))
        #: eigenvalues of each direction at this rank's modes, broadcastable to ``slabs.modal_shape``
        self.directions: list[Array] = [
            values[slabs.modal if a == 1 else slice(None)].reshape(-1, *(1,) * (len(pairs) - 1 - a))
            for a, (values, _) in enumerate(pairs)
        ]
        first, second, *others = self.directions
        #: two arrays to be added: the first direction's, and the sums of the others'
        self.separated: tuple[Array, Array] = (first, np.asarray(sum(others, second)))
        #: their sums, shape ``slabs.modal_shape``
        self.eigenvalues: Array = np.add(*self.separated)
        if len(axes) == 2 and min(map(len, axes)) >= HALVES_FROM:
            self._plane = self._halved(axes, made)
            return
        self._back = [vectors for _, vectors in pairs]
        self._forth = [np.ascontiguousarray(v.T * axis.mass) for axis, (_, v) in zip(axes, pairs, strict=False)]
        if len(axes) == 1:
            self._forth.append(np.ones((1, 1)))
        both = list(zip(axes, pairs, strict=False))
        self._slope = [(axis.advection.T / axis.mass[:, None]) @ v for axis, (_, v) in both]
        self._flux = [v.T @ axis.advection for axis, (_, v) in both]

    def _halved(self, axes: Sequence[Axis], made: dict[int, tuple[Array, Array]]) -> ParityTransforms:
        """Return the transforms of a large plane."""
        kinds: dict[str, dict[int, ParityMatrix]] = {"forth": {}, "flux": {}, "back": {}, "slope": {}}
        for axis in {id(axis): axis for axis in axes}.values():
            modes = made[id(axis)][1].T
            kinds["forth"][id(axis)] = ParityMatrix(modes * axis.mass, derivative=False)
            kinds["flux"][id(axis)] = ParityMatrix(modes @ axis.advection, derivative=True)
            kinds["back"][id(axis)] = ParityMatrix(modes, derivative=False)
            kinds["slope"][id(axis)] = ParityMatrix(modes @ axis.advection / axis.mass, derivative=True)
        matrices = {name: [kind[id(axis)] for axis in axes] for name, kind in kinds.items()}
        rows = slice(self.slabs.first, self.slabs.last)
        return ParityTransforms(self.slabs, axes[0].mass[rows], eigenvalues=self.directions, **matrices)

    def transform(self, x: Array) -> Array:
        """Return the modal coefficients QᵀM x of nodal values of shape ``slabs.shape``. Collective."""
        return self._forwards(x)

    def back(self, modes: Array) -> Array:
        """Return the nodal values Q x̂ of modal coefficients. Collective."""
        return self._backwards(modes)

    def derivative(self, modes: Array, axis: int) -> Array:
        r"""Return the nodal values of ∂_a of the function with these modes, its L² projection with GLL quadrature."""
        return self._backwards(modes, axis)

    def gradient(self, modes: Array) -> Array:
        """Return the nodal values of all first derivatives, shape (n_local, d). Collective."""
        return np.stack([self.derivative(modes, a).ravel() for a in range(self._size)], axis=1)

    def divergence(self, flux: Array, axis: int) -> Array:
        r"""Return the modal coefficients of the functional φ ↦ ∫ F ∂_a φ, that is of −∂_a F with no flux outside."""
        return self._forwards(flux, axis)

    def apply(self, factors: Array, x: Array) -> Array:
        """Return g(M⁻¹K) x for ``factors`` = g(eigenvalues) and nodal values ``x``. Collective."""
        return self.back(factors * self.transform(x))

    def roughly(self, mass: Array) -> Callable[[npt.NDArray[Any], float], npt.NDArray[Any]]:
        """Return (r, σ) ↦ (M + K/σ)⁻¹ r for a preconditioner: on large planes with errors of a ten-thousandth.

        ``mass`` is the diagonal of M at this rank's nodes.
        """
        if self._plane is not None:
            return self._plane.roughly()
        return lambda r, shift: self.apply(1.0 / (1.0 + self.eigenvalues / shift), r / mass)

    def _forwards(self, x: Array, axis: int | None = None) -> Array:
        if self._plane is not None:
            return self._plane.forwards(x, axis)
        matrices = [self._flux[a] if a == axis else m for a, m in enumerate(self._forth)]
        return _first(matrices[0], self.slabs.transpose(_others(matrices[1:], x)))

    def _backwards(self, modes: Array, axis: int | None = None) -> Array:
        if self._plane is not None:
            return self._plane.backwards(modes, axis)
        matrices = [self._slope[a] if a == axis else m for a, m in enumerate(self._back)]
        return _others(matrices[1:], self.slabs.transpose_back(_first(matrices[0], modes)))


def _even_and_odd(n: int) -> tuple[Array, Array]:
    """Return orthonormal bases of the even and of the odd vectors of n entries, in columns."""
    half = np.eye(n)[:, : n // 2] / np.sqrt(2.0)
    even = half + half[::-1]
    if n % 2:
        even = np.concatenate([even, np.eye(n)[:, n // 2 : n // 2 + 1]], axis=1)
    return even, half - half[::-1]


def _first(matrix: Array, x: Array) -> Array:
    return (matrix @ x.reshape(len(x), -1)).reshape(x.shape)


def _others(matrices: Sequence[Array], x: Array) -> Array:
    *middle, last = matrices
    for matrix in middle:
        x = np.matmul(matrix, x)
    return np.asarray(x @ last.T)
