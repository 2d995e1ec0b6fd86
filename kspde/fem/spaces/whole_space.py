r"""Fields of the whole space on a box: what the box's own Green function leaves out, from the charge inside.

On the box, with the fundamental solution K of :math:`(-\Delta + \mu^2)/s` on :math:`\mathbb R^d`, :math:`c = K * u` is
:math:`c_0 + h`: :math:`c_0` has no flux through the sides and the source u, without its mean; h has no source but a
constant one, and the flux :math:`g = \partial_n c` of the field itself. h is smooth, as no charge lies on the boundary,
and polynomials of degree ``DEGREE`` hold it: a Galerkin method with their eigenfunctions. g is a sum over the charge,

.. math:: g(x) = \int \frac{K'(r)}{r}\, n\cdot(x - y)\, u(y)\, dy, \qquad r = |x - y|, \qquad
    -\frac{K'(r)}{s\,r} = \frac{1}{2\pi^{d/2}} \int_0^\infty t^{d/2 - 1} e^{-\mu^2/4t}\, e^{-t r^2}\, dt,

and each Gaussian is a product over the directions. Cut off at :math:`t r_0^2 = 32` the integral is that of K, from a
distance :math:`r_0` on, to 1e-14, and nearer that of K blurred over :math:`r_0/8`. The trapezoidal rule in log t, whose
smallest nodes Lanczos's method turns into a Gauss rule, has some fifty nodes. A constant is left, which the field at
the corners, farthest from the charge, decides. Mollified kernels have the same g, times j(−μ²), outside of what the
mollifier smears: the mean over j of a solution of :math:`\Delta f = \mu^2 f`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from kspde.fem.spaces.slabs import Slabs
from kspde.fem.spaces.spectral import SymbolOperator
from kspde.fem.spaces.tensor import Axis, TensorLaplacian
from kspde.kernels import Kernel
from kspde.typing import Array

__all__ = ["SHARP_FROM", "WholeSpaceOperator", "gaussians", "one_sign", "outside_factor"]

#: The degree of polynomials of h, by dimension.
DEGREE = {1: 63, 2: 63, 3: 40}
#: The r₀ above, in half-widths.
_NEAREST = 0.05
#: The step of the trapezoidal rule in log t, and the nodes of the Gauss rule that replaces its small t.
_STEP, _NODES = 0.3, 8
#: The degree of elements from which derivatives are taken from polynomials of several cells.
SHARP_FROM = 3
#: So many Gaussians are applied together.
_TOGETHER = 6
#: The charges, relative to the largest, beyond which there are none, and the steps of where they end per direction.
_NOTHING, _STEPS = 1e-17, 16
#: What h may lack, relative to its largest coefficient, and what g may.
_NEGLIGIBLE, _ROUNDING = 1e-13, 1e-15


class WholeSpaceOperator(SymbolOperator):
    """K * u on the whole space at the nodes of a box that holds u.

    Args:
        axes: the directions.
        laplacian: −Δ without flux through the sides.
        mass: the weights of this rank's nodes.
        halves: L of every direction.
        kernel: K, the slowest of whose factors is a fundamental solution.
        name: the field's.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        laplacian: TensorLaplacian,
        mass: Array,
        halves: Array,
        kernel: Kernel,
        name: str,
    ) -> None:
        super().__init__(laplacian, kernel, 0.0, name)
        self.key = "whole space"
        self._factors[laplacian.eigenvalues == 0.0] = 0.0
        self._mass, self._kernel, self._dimension = mass, kernel, len(axes)
        self._sharp = axes[0].degree >= SHARP_FROM
        self._far = _FarField(axes, laplacian.slabs, halves, kernel)

    def prepare(self, nodal: Array, state: Array | None) -> Any:
        """Return the modal coefficients of u, which are the state, and its charges at the nodes."""
        return self._laplacian.transform(nodal) if state is None else state, self._mass * nodal

    def apply(self, prepared: Any, gradient: bool) -> tuple[Array, Array | None]:
        """Add h to the field without flux."""
        modes, charges = prepared
        inside = self._factors * modes
        value = self._laplacian.back(inside).ravel()
        slope = (
            (self._laplacian.sharp_gradient if self._sharp else self._laplacian.gradient)(inside) if gradient else None
        )
        (total, size), (_, h, *slopes) = self._far(charges, value.reshape(charges.shape), gradient)
        value = one_sign(value + h.ravel(), self._kernel, total, size, self._dimension)
        if slope is not None:
            for a, part in enumerate(slopes):
                slope[:, a] += part.ravel()
        return value, slope

    def relaxation(self, prepared: Any, state: Array) -> Array:
        """Return Λ(ĉ_K − ĉ), c_K = K * u: c has the flux of that through the sides, as long as c − c_K is inside."""
        modes, charges = prepared
        inside = self._factors * modes
        _, (_, h, *_) = self._far(charges, self._laplacian.back(inside).reshape(charges.shape), False)
        whole: Array = inside + self._laplacian.transform(h.reshape(self._mass.shape))
        return np.asarray(self._stiff * (whole - state))

    def felt(self, nodal: Array) -> Array:
        """Return the transpose: K * (−Δ) of what has no flux through the sides."""
        source = self.nodal(self._stiff * self.state(nodal))
        return self.state(self.apply(self.prepare(source, None), False)[0].reshape(nodal.shape))

    def far_error(self, nodal: Array) -> float:
        """Return the sum of the coefficients of h in the last tenth of the degrees, relative to sup|c|. Collective."""
        modes, charges = self.prepare(nodal, None)
        value, _ = super().apply(modes, False)
        _, (h, outside) = self._far(charges, value.reshape(charges.shape), False)
        size = float(np.max(np.abs(value + outside.ravel()), initial=0.0))
        size = max(self._laplacian.slabs.comm.allgather(size))
        h[(slice(0, int(0.9 * len(h))),) * h.ndim] = 0.0
        return float(np.abs(h).sum()) / size if size > 0 else 0.0


class _FarField:
    """h and its gradient at the nodes, from charges at the nodes.

    Args:
        axes: the directions.
        slabs: the distribution of nodal arrays.
        halves: L of every direction.
        kernel: K.
    """

    def __init__(self, axes: Sequence[Axis], slabs: Slabs, halves: Array, kernel: Kernel) -> None:
        d = self._dimension = len(axes)
        self._comm = slabs.comm
        potential = kernel.factors[0]
        mu2, factor, strength = potential.decay_rate**2, outside_factor(kernel), potential.charge
        farthest = 2 * float(np.linalg.norm(halves))
        t, w = gaussians(potential.decay_rate, d, _NEAREST * float(halves.min()), farthest)
        degree = DEGREE[d]
        made = {half: _eigenfunctions(degree, half) for half in halves.tolist()}
        self._modes = [made[half][1] for half in halves.tolist()]
        total = np.asarray(sum(np.meshgrid(*(made[half][0] for half in halves.tolist()), indexing="ij")))
        total[(0,) * d] = np.inf  # the constant is found at the corners
        self._inverse = 1.0 / (total + mu2)
        ends = np.polynomial.legendre.legvander(np.array([-1.0, 1.0]), degree)
        #: by direction: the eigenfunctions at both ends, shape (2, degree + 1)
        self._ends = [ends @ modes for modes in self._modes]
        rows = [slice(slabs.first, slabs.last), *[slice(None)] * (d - 1)]
        nodes = [axis.nodes[part] for axis, part in zip(axes, rows, strict=True)]
        #: by direction: polynomials at the nodes, and their derivatives
        self._values = [np.polynomial.legendre.legvander(x / L, degree) for x, L in zip(nodes, halves, strict=True)]
        derivative = np.polynomial.legendre.legder(np.eye(degree + 1))
        self._slopes = [values[:, :-1] @ (derivative / L) for values, L in zip(self._values, halves, strict=True)]
        #: by direction: the flux of each Gaussian through both of its sides, shape (2 K, n)
        self._across = []
        #: by direction: for some Gaussians each, from wide to narrow, their shares in polynomials along a side, without
        #: those that are round-off, shape (polynomials, Gaussians, n)
        self._along = []
        gauss, weights = np.polynomial.legendre.leggauss(2 * degree)
        unit = np.polynomial.legendre.legvander(gauss, degree).T * weights
        groups = np.array_split(np.argsort(t), -(-len(t) // _TOGETHER))
        t, w = t[np.concatenate(groups)], w[np.concatenate(groups)]
        self._ends_of_groups = 2 * np.cumsum([len(g) for g in groups])[:-1]
        for x, half in zip(nodes, halves, strict=True):
            shapes = half * unit
            away = half + np.array([[1.0], [-1.0]]) * x
            across = -strength * factor * w[:, None, None] * away * np.exp(-t[:, None, None] * away**2)
            self._across.append(across.reshape(-1, len(x)))
            squares = np.subtract.outer(half * gauss, x) ** 2
            along = [
                np.stack([shapes @ np.exp(-tk * squares) for tk in part], axis=1)
                for part in np.split(t, self._ends_of_groups // 2)
            ]
            self._along.append([part[: _significant(part)[0].stop] for part in along])
        #: the largest share in a polynomial, and in higher ones, relative to the largest of the widest Gaussians
        self._sizes = [
            [np.maximum.accumulate(np.abs(t).max(axis=(1, 2))[::-1])[::-1] / np.abs(along[0]).max() for t in along]
            for along in self._along
        ]
        #: fluxes at the nodes that the slices name, and shares there by group and direction
        self._held: tuple[tuple[slice, ...], Sequence[Array]] = ((), ())
        self._shares: dict[tuple[int, int], Array] = {}
        self._corner = factor * _mean_at_corners(potential, nodes, halves)
        #: where this rank's nodes are corners
        first, last = slabs.first == 0, slabs.last == len(axes[0])
        self._at_corner = np.ix_([0] * first + [-1] * last, *[[0, -1]] * (d - 1))

    def __call__(self, charges: Array, value: Array, gradient: bool) -> tuple[Array, list[Array]]:
        """Return the sums of all charges and of their absolute values, and h. Collective.

        Args:
            charges: shape of nodal arrays.
            value: c_0.
            gradient: whether derivatives are wanted.

        Returns:
            The two sums; the coefficients of h, h and, if wanted, its derivatives at this rank's nodes.
        """
        d, size = self._dimension, len(self._inverse)
        charges = charges.reshape(self._corner.shape)
        constant = np.vdot(self._corner, charges) - value.reshape(charges.shape)[self._at_corner].sum() / 2**d
        absolute = np.abs(charges)
        signs = [charges.sum(), absolute.sum()]
        held, across = self._where(absolute)
        few = np.ascontiguousarray(charges[held])
        sums = np.concatenate([*(self._flux(few, across[a], a).ravel() for a in range(d)), [constant, *signs]])
        if self._comm.size > 1:
            from mpi4py import MPI

            self._comm.Allreduce(MPI.IN_PLACE, sums)
        found = np.zeros((size,) * d)
        for a, flux in enumerate(sums[:-3].reshape(d, 2, *(size,) * (d - 1))):
            beside = [modes.T for b, modes in enumerate(self._modes) if b != a]
            found += np.moveaxis(_applied([self._ends[a].T, *beside], flux), 0, a)
        h = _applied(self._modes, found * self._inverse)
        h[(0,) * d] += sums[-3] - h[(slice(0, None, 2),) * d].sum()  # odd polynomials have the mean 0 at the corners
        out, h = [h], h[_significant(h)]
        values: list[Array] = [np.asarray(v[:, :k]) for v, k in zip(self._values, h.shape, strict=True)]
        slopes: list[Array] = [np.asarray(v[:, :k]) for v, k in zip(self._slopes, h.shape, strict=True)]
        if d == 2:  # products along the second direction are shared
            part = h @ values[1].T
            out.append(np.asarray(values[0] @ part))
            shared = [np.asarray(slopes[0] @ part), np.asarray(values[0] @ (h @ slopes[1].T))] if gradient else []
            return sums[-2:], [*out, *shared]
        out.append(_applied(values, h))
        for a in range(d if gradient else 0):
            out.append(_applied([slopes[b] if a == b else values[b] for b in range(d)], h))
        return sums[-2:], out

    def _where(self, size: Array) -> tuple[tuple[slice, ...], Sequence[Array]]:
        """Return where this rank's charges are, by their size, and the fluxes from there, kept while they stay."""
        where = []
        least = _NOTHING * size.max(initial=0.0)
        for a, n in enumerate(size.shape):
            found = np.flatnonzero(size.max(axis=tuple(b for b in range(size.ndim) if b != a), initial=0.0) > least)
            ends = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 1)
            step = -(-n // _STEPS)
            where.append(slice(ends[0] // step * step, min(-(-ends[1] // step) * step, n)))
        key = tuple(where)
        if self._held[0] != key:
            self._held = (
                key,
                [np.ascontiguousarray(table[:, at]) for table, at in zip(self._across, key, strict=True)],
            )
            self._shares.clear()
        return self._held

    def _shares_of(self, group: int, a: int) -> Array:
        """Return the shares of a group of Gaussians along a direction, where the charges are."""
        if (group, a) not in self._shares:
            self._shares[group, a] = np.ascontiguousarray(self._along[a][group][..., self._held[0][a]])
        return self._shares[group, a]

    def _flux(self, charges: Array, across: Array, a: int) -> Array:
        """Return this rank's share of g on both sides of a direction, as moments of polynomials along them."""
        d, size = self._dimension, len(self._inverse)
        if d == 1:
            return np.asarray((across @ charges).reshape(-1, 2).sum(axis=0))
        out, most, others = np.zeros((2, *(size,) * (d - 1))), 0.0, [b for b in range(d) if b != a]
        for group, rows in enumerate(np.split(across, self._ends_of_groups)):
            part = np.tensordot(rows, charges, (1, a))
            part = part.reshape(-1, 2, *part.shape[1:])
            top = float(np.abs(part).max(initial=0.0))
            most = max(most, top)
            # The polynomials that are not round-off; narrower Gaussians reach even less far.
            counts = [int(np.count_nonzero(top * self._sizes[b][group] > _ROUNDING * most)) for b in others]
            if not all(counts):
                break
            first, *second = (self._shares_of(group, b)[:n] for b, n in zip(others, counts, strict=True))
            if second:
                part = np.matmul(first.transpose(1, 0, 2)[:, None], part)
                part = np.tensordot(part, second[0], ([0, 3], [1, 2]))
                out[:, : part.shape[1], : part.shape[2]] += part
            else:
                out[:, : len(first)] += (first.reshape(len(first), -1) @ part.transpose(0, 2, 1).reshape(-1, 2)).T
        return out


def _mean_at_corners(kernel: Kernel, nodes: Sequence[Array], halves: Array) -> Array:
    """Return the mean of K over the distances of nodes from the corners."""
    d = len(nodes)
    squares = [[(x + half) ** 2, (x - half) ** 2] for x, half in zip(nodes, halves, strict=True)]
    out = np.zeros([len(x) for x in nodes])
    for chosen in product(*squares):
        distance = np.sqrt(np.asarray(sum(np.meshgrid(*chosen, indexing="ij"))))
        out += kernel.profile(np.maximum(distance, 1e-3 * halves.min()), d) / 2**d
    return out


def _applied(matrices: Sequence[Array], x: Array) -> Array:
    """Return x with a matrix applied to each direction."""
    first, *others = matrices
    x = (first @ x.reshape(len(x), -1)).reshape(len(first), *x.shape[1:])
    for matrix in others[:-1]:
        x = np.matmul(matrix, x)
    return x @ others[-1].T if others else x


def _significant(h: Array) -> tuple[slice, ...]:
    """Return the leading coefficients, without those that are round-off."""
    size = np.abs(h)
    most = _NEGLIGIBLE * size.max(initial=0.0)
    counts = [np.flatnonzero(size.max(axis=tuple(b for b in range(h.ndim) if b != a)) > most) for a in range(h.ndim)]
    return tuple(slice(0, int(found[-1]) + 1 if len(found) else 1) for found in counts)


def _eigenfunctions(degree: int, half_width: float) -> tuple[Array, Array]:
    """Return eigenvalues of −d²/dx² without flux among polynomials on [−L, L], and Legendre coefficients in columns."""
    from scipy.linalg import eigh

    nodes, weights = np.polynomial.legendre.leggauss(degree + 1)
    values = np.polynomial.legendre.legvander(nodes, degree)
    slopes = values[:, :-1] @ np.polynomial.legendre.legder(np.eye(degree + 1))
    mass = half_width * 2.0 / (2 * np.arange(degree + 1) + 1)
    lam, modes = eigh(slopes.T @ (weights[:, None] * slopes) / half_width, np.diag(mass))
    lam[0], modes[:, 0] = 0.0, 0.0
    modes[0, 0] = (2 * half_width) ** -0.5
    return lam, modes


def gaussians(screening: float, dimension: int, nearest: float, farthest: float) -> tuple[Array, Array]:
    """Return t and w with −K'(r)/r = Σ w exp(−t r²) for nearest ≤ r ≤ farthest, K of strength 1."""
    t = np.exp(np.arange(math.log(32.0 / nearest**2), -2.0 * math.log(farthest) - 70.0 / dimension, -_STEP))
    w = 0.5 * _STEP * math.pi ** (-0.5 * dimension) * t ** (0.5 * dimension) * np.exp(-0.25 * screening**2 / t)
    few = t * farthest**2 < 1.0
    t, w = (np.append(each[~few], rule) for each, rule in zip((t, w), _gauss(t[few], w[few]), strict=True))
    size = w * np.exp(-t * nearest**2)
    keep = size > 1e-16 * size.max()
    return t[keep], w[keep]


def _gauss(t: Array, w: Array) -> tuple[Array, Array]:
    """Return the Gauss rule of a discrete measure, by Lanczos's method."""
    if not np.sum(w > 0) > _NODES:
        return t[w > 0], w[w > 0]
    vectors = [np.sqrt(w / w.sum())]
    diagonal, beside = [], []
    for _ in range(_NODES):
        v = t * vectors[-1]
        diagonal.append(float(v @ vectors[-1]))
        for other in (*vectors, *vectors):
            v = v - (v @ other) * other
        beside.append(float(np.linalg.norm(v)))
        vectors.append(v / beside[-1])
    nodes, basis = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
    return nodes, w.sum() * basis[0] ** 2


def one_sign(c: Array, kernel: Kernel, total: float, size: float, dimension: int) -> Array:
    """Return a field without values of the wrong sign, which mass at the boundary can give it.

    Args:
        c: the field.
        kernel: its kernel, of one sign if it decays.
        total: the charge.
        size: that of its absolute values: nothing is done where charges of both signs are.
        dimension: d.
    """
    if abs(total) < 0.999 * size or kernel.grows(dimension):
        return c
    positive = total * float(kernel.symbol(np.full(1, 1e-12))[0]) > 0
    return np.maximum(c, 0.0) if positive else np.minimum(c, 0.0)


def outside_factor(kernel: Kernel) -> float:
    """Return Π j(−μ²), symbols continued: what mollifiers make of a kernel's potential outside of what they smear."""
    potential, *mollifiers = kernel.factors
    return math.prod(_continued(j, potential.decay_rate**2) for j in mollifiers)


def _continued(mollifier: Kernel, mu2: float) -> float:
    """Return j(−μ²)."""
    with np.errstate(all="ignore"):
        value = float(mollifier.symbol(np.array([-mu2]))[0])
    if math.isfinite(value):
        return value
    nodes = np.cos(np.pi * (np.arange(9) + 0.5) / 9)  # from [0, 8 μ²]
    fit = np.polynomial.chebyshev.chebfit(nodes, mollifier.symbol(4 * mu2 * (1 + nodes)), 8)
    return float(np.polynomial.chebyshev.chebval(-1.25, fit))
