r"""Fields of the whole space on a box: what the box's own Green function leaves out, from the charge inside.

On the box, with the fundamental solution K of :math:`(-\Delta + \mu^2)/s` on :math:`\mathbb R^d`, :math:`c = K * u` is
:math:`c_0 + h`: :math:`c_0` has no flux through the sides and the source u, without its mean; h has no source but a
constant one, and the flux :math:`g = \partial_n c` of the field itself. h is smooth, as no charge lies on the boundary,
and polynomials of degree ``DEGREE`` hold it: a Galerkin method with their eigenfunctions. g is a sum over the charge,

.. math:: g(x) = \int \frac{K'(r)}{r}\, n\cdot(x - y)\, u(y)\, dy, \qquad r = |x - y|, \qquad
    -\frac{K'(r)}{s\,r} = \frac{1}{2\pi^{d/2}} \int_0^\infty t^{d/2 - 1} e^{-\mu^2/4t}\, e^{-t r^2}\, dt,

and each Gaussian is a product over the directions. Cut off at :math:`t r_0^2 = 32` the integral is that of K, from a
distance :math:`r_0` on, to 1e-14, and nearer that of K blurred over :math:`r_0/8`. The trapezoidal rule in log t, whose
smallest nodes Lanczos's method turns into a Gauss rule, has some fifty nodes. Where no charge is near a side, the
moments of g with polynomials along the sides are smooth functions of y: charges are moved to few points, by polynomials
that interpolate there. A constant is left, which the field at the corners, farthest from the charge, decides. The
gradient is that of the sum at the nodes. Mollified kernels have the same g, times j(−μ²), outside of what the mollifier
smears: the mean over j of a solution of :math:`\Delta f = \mu^2 f`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import product
from typing import Any

import numpy as np

from kspde.fem.spaces.slabs import Slabs
from kspde.fem.spaces.spectral import SymbolOperator
from kspde.fem.spaces.tensor import Axis, TensorLaplacian
from kspde.kernels import Kernel
from kspde.runtime.reductions import reduced
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
_TOGETHER = 12
#: What charges are nothing, relative to the largest, in a sample of every so many nodes of a direction.
_NOTHING, _EVERY = 1e-16, 3
#: Points of charges, by dimension and the share of the half-width up to which there are any. With degrees 63 and 40 of
#: h the fluxes of charges at the ends are then right to 1e-15, 5e-15 and 8e-12, in space to 1e-15 and 4e-15.
_SHARES: dict[int, dict[float, int]] = {1: {}, 2: {0.875: 80, 0.65: 56, 0.5: 40}, 3: {0.65: 48, 0.5: 40}}
#: So many rows of h are added at once.
_ROWS = 64
#: What h may lack, relative to its largest coefficient, and what g may.
_NEGLIGIBLE, _ROUNDING = 1e-13, 1e-14


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
        self._grows = kernel.grows(len(axes))
        self._sharp = axes[0].degree >= SHARP_FROM
        self._far = _FarField(axes, laplacian.slabs, halves, kernel)

    def prepare(self, nodal: Array, state: Array | None) -> Any:
        """Return the modal coefficients of u, which are the state, and its nodal values."""
        return self._laplacian.transform(nodal) if state is None else state, nodal.reshape(self._mass.shape)

    def apply(self, prepared: Any, gradient: bool) -> tuple[Array, Array | None]:
        """Add h to the field without flux."""
        modes, nodal = prepared
        value = self._laplacian.back(self._factors * modes, derived=gradient)
        size = 0.0
        if not self._grows:
            size = float(np.vdot(self._mass, np.abs(nodal) if nodal.min(initial=0.0) < 0 else nodal))
        total, size, _ = self._far.add(nodal, value, size)
        slope = self._laplacian.gradient(value, sharp=self._sharp) if gradient else None
        return one_sign(value.ravel(), self._kernel, total, size, self._dimension), slope

    def relaxation(self, prepared: Any, state: Array) -> Array:
        """Return Λ(ĉ_K − ĉ), c_K = K * u: c has the flux of that through the sides, as long as c − c_K is inside."""
        modes, nodal = prepared
        inside = self._factors * modes
        value = self._laplacian.back(inside)
        h = -value
        self._far.add(nodal, value)
        h += value
        return np.asarray(self._stiff * (inside + self._laplacian.transform(h) - state))

    def felt(self, nodal: Array) -> Array:
        """Return the transpose: K * (−Δ) of what has no flux through the sides."""
        source = self.nodal(self._stiff * self.state(nodal))
        return self.state(self.apply(self.prepare(source, None), False)[0].reshape(nodal.shape))

    def far_error(self, nodal: Array) -> float:
        """Return the sum of the coefficients of h in the last tenth of the degrees, relative to sup|c|. Collective."""
        modes, nodal = self.prepare(nodal, None)
        value = self._laplacian.back(self._factors * modes)
        *_, h = self._far.add(nodal, value)
        size = float(reduced(self._laplacian.slabs.comm, np.array([np.max(np.abs(value), initial=0.0)]), "MAX")[0])
        h[(slice(0, int(0.9 * len(h))),) * h.ndim] = 0.0
        return float(np.abs(h).sum()) / size if size > 0 else 0.0


#: Gaussians, and their shares along other directions.
_Group = tuple[slice, list[Array]]


class _FarField:
    """h at the nodes, from a density at the nodes.

    Args:
        axes: the directions.
        slabs: the distribution of nodal arrays.
        halves: L of every direction.
        kernel: K.
    """

    def __init__(self, axes: Sequence[Axis], slabs: Slabs, halves: Array, kernel: Kernel) -> None:
        d = self._dimension = len(axes)
        self._comm, self._halves, self._kernel = slabs.comm, halves, kernel
        degree = DEGREE[d]
        made = {half: _eigenfunctions(degree, half) for half in halves.tolist()}
        self._modes = [made[half][1] for half in halves.tolist()]
        total = np.asarray(sum(np.meshgrid(*(made[half][0] for half in halves.tolist()), indexing="ij")))
        total[(0,) * d] = np.inf  # the constant is found at the corners
        self._inverse = 1.0 / (total + kernel.factors[0].decay_rate ** 2)
        ends = np.polynomial.legendre.legvander(np.array([-1.0, 1.0]), degree)
        #: by direction: the eigenfunctions at both ends, shape (2, degree + 1)
        self._ends = [ends @ modes for modes in self._modes]
        rows = [slice(slabs.first, slabs.last), *[slice(None)] * (d - 1)]
        self._nodes = [axis.nodes[part] for axis, part in zip(axes, rows, strict=True)]
        self._mass = [axis.mass[part] for axis, part in zip(axes, rows, strict=True)]
        self._all = [axis.nodes for axis in axes]
        #: by direction: polynomials at the nodes
        self._values = [
            np.polynomial.legendre.legvander(x / half, degree) for x, half in zip(self._nodes, halves, strict=True)
        ]
        #: charges at few points in place of those at the nodes, by how far from 0 they are, made when they are needed
        self._sources: dict[float, _Sources] = {}
        #: their shares of the half-widths: numbers of points are known for one half-width alone
        self._shares = [share for share in _SHARES[d] if halves.min() == halves.max()]
        #: where this rank's nodes are corners
        first, last = slabs.first == 0, slabs.last == len(axes[0])
        self._at_corner = np.ix_([0] * first + [-1] * last, *[[0, -1]] * (d - 1))

    def add(self, nodal: Array, value: Array, size: float = 0.0) -> tuple[float, float, Array]:
        """Add h. Collective.

        Args:
            nodal: the density.
            value: c_0, which becomes c.
            size: any number of this rank.

        Returns:
            The charge, the sum of ``size`` over ranks, and the coefficients of h.
        """
        d, n = self._dimension, len(self._inverse)
        shape = [len(x) for x in self._nodes]
        value, nodal = value.reshape(shape), nodal.reshape(shape)
        sources = self._where(nodal)
        charges = sources.charges(nodal)
        constant = np.vdot(sources.corner, charges) - value[self._at_corner].sum() / 2**d
        sums = np.concatenate([sources.fluxes(charges).ravel(), [constant, charges.sum(), size]])
        reduced(self._comm, sums)
        found = np.zeros((n,) * d)
        for a, flux in enumerate(sums[:-3].reshape(d, 2, *(n,) * (d - 1))):
            beside = [modes.T for b, modes in enumerate(self._modes) if b != a]
            found += np.moveaxis(_applied([self._ends[a].T, *beside], flux), 0, a)
        h = _applied(self._modes, found * self._inverse)
        h[(0,) * d] += sums[-3] - h[(slice(0, None, 2),) * d].sum()  # odd polynomials have the mean 0 at the corners
        part = h[_significant(h)]
        first, *others = (v[:, :k] for v, k in zip(self._values, part.shape, strict=True))
        part = _applied([None, *others], part).reshape(len(part), -1)
        value = value.reshape(len(first), -1)
        for start in range(0, len(first), _ROWS):  # as much as stays in a cache
            rows = slice(start, start + _ROWS)
            value[rows] += first[rows] @ part
        return float(sums[-2]), float(sums[-1]), h

    def _where(self, nodal: Array) -> _Sources:
        """Return the sources that hold all charges. Collective."""
        most = float(np.abs(nodal[tuple(slice(None, None, _EVERY) for _ in nodal.shape)]).max(initial=0.0))
        most = float(reduced(self._comm, np.array([most]), "MAX")[0])
        held, before = 1.0, [slice(0, n) for n in nodal.shape]
        for share in self._shares:
            part = [_within(x, share * half) for x, half in zip(self._nodes, self._halves, strict=True)]
            rings = (
                nodal[(*before[:a], ring, *before[a + 1 :])]
                for a, (outer, inner) in enumerate(zip(before, part, strict=True))
                for ring in (slice(outer.start, inner.start), slice(inner.stop, outer.stop))
            )
            if any(max(x.max(initial=0.0), -x.min(initial=0.0)) > _NOTHING * most for x in rings):
                break
            held, before = share, part
        if held not in self._sources:
            self._sources[held] = _Sources(self, held)
        return self._sources[held]


class _Sources:
    """Charges near 0, moved to few points: what they make of g is a polynomial of where they are, to 1e-11.

    Args:
        far: the far field.
        share: of the half-width, up to which there are charges; 1 for all, at the nodes.
    """

    def __init__(self, far: _FarField, share: float) -> None:
        d, halves = far._dimension, far._halves
        self._dimension = d
        count, degree = _SHARES[d].get(share, 0), DEGREE[d]
        #: by direction: where these charges are among this rank's nodes; their weights, and the matrix to points
        self._held = [_within(x, share * half) for x, half in zip(far._nodes, halves, strict=True)]
        self._weights = [mass[at] for mass, at in zip(far._mass, self._held, strict=True)]
        self._moved: list[Array] = []
        # elsewhere there are as few nodes
        reach = share * float(halves.min())
        if share < 1.0 and count < min(len(x[_within(x, reach)]) for x in far._all):
            points = [reach * np.polynomial.legendre.leggauss(count)[0]] * d
            each = zip(far._nodes, self._held, self._weights, strict=True)
            self._moved = [_lagrange(count, x[at] / reach) * weights for x, at, weights in each]
        else:
            points = [x[at] for x, at in zip(far._nodes, self._held, strict=True)]
        self._alike = d == 2 and bool(self._moved)
        potential, factor = far._kernel.factors[0], outside_factor(far._kernel)
        self.corner = factor * _mean_at_corners(potential, points, halves)
        farthest = 2 * float(np.linalg.norm(halves))
        t, w = gaussians(potential.decay_rate, d, _NEAREST * float(halves.min()), farthest)
        order = np.argsort(t)
        t, w = t[order, None, None], w[order, None, None]
        gauss, shapes = _shapes(degree)
        #: by direction and Gaussian, from wide to narrow: its flux through both sides, shape (Gaussians, 2, n), and its
        #: shares in polynomials along a side, shape (Gaussians, n, polynomials)
        across, along = [], []
        for x, half in list(zip(points, halves, strict=True))[: 1 if self._moved else d]:  # moved, all are alike
            away = half + np.array([[1.0], [-1.0]]) * x
            across.append(-potential.charge * factor * w * away * np.exp(-t * away**2))
            squares = np.subtract.outer(x, half * gauss) ** 2
            along.append(np.stack([np.exp(-tk * squares) @ (half * shapes) for tk in t.ravel()]))
        if self._moved:
            across, along = across * d, along * d
        self._tables = [
            _more_than_rounding(across[a], [table for b, table in enumerate(along) if b != a])
            for a in range(1 if self._alike else d)
        ]

    def charges(self, nodal: Array) -> Array:
        """Return this rank's charges at the points."""
        out = nodal[tuple(self._held)]
        if self._moved:
            return _applied(self._moved, out)
        for a, weights in enumerate(self._weights):
            out = out * weights.reshape(-1, *(1,) * (self._dimension - 1 - a))
        return out

    def fluxes(self, charges: Array) -> Array:
        """Return this rank's share of g on both sides of each direction, as moments of polynomials along them."""
        if self._alike:
            return self._flux(np.stack([charges, charges.T]), *self._tables[0])
        each = (self._flux(np.moveaxis(charges, a, 0)[None], *table) for a, table in enumerate(self._tables))
        return np.concatenate(list(each))

    def _flux(self, charges: Array, across: Array, groups: Sequence[_Group]) -> Array:
        """Return the same for charges whose first direction is a number, and the second that across the sides."""
        d, count = self._dimension, 2 * len(charges)
        out = np.zeros((count, *(DEGREE[d] + 1,) * (d - 1)))
        flux = across @ charges.reshape(*charges.shape[:2], -1)
        flux = flux.reshape(count, len(across) // 2, *charges.shape[2:])
        if d == 1:
            return np.asarray(flux.sum(axis=1))
        for group, others in groups:
            part = flux[:, group]
            for table in others[:-1]:
                part = np.matmul(table.swapaxes(1, 2), part).swapaxes(1, 2)
            last = others[-1]
            part = part.reshape(*part.shape[: d - 1], -1) @ last.reshape(-1, last.shape[-1])
            out[tuple(slice(0, k) for k in part.shape)] += part
        return out


def _more_than_rounding(across: Array, along: Sequence[Array]) -> tuple[Array, list[_Group]]:
    """Return what of fluxes and shares is more than round-off, for the sides of a direction.

    First the fluxes, shape (2 Gaussians, n); then, for some Gaussians each, the shares along the other directions.
    """
    #: by Gaussian and polynomial: the largest share of a charge
    shares = [np.abs(table).max(axis=1, initial=0.0) for table in along]
    sizes = np.abs(across).max(axis=(1, 2), initial=0.0) * math.prod(share.max(axis=1) for share in shares)
    least = _ROUNDING * sizes.max()
    used = np.flatnonzero(sizes > least)
    groups: list[_Group] = []
    for part in np.array_split(np.arange(len(used)), -(-len(used) // _TOGETHER)) if len(used) else []:
        group, cut = used[part], []
        for table, share in zip(along, shares, strict=True):
            large = np.max(share[group] * (sizes[group] / share[group].max(axis=1))[:, None], axis=0)
            cut.append(np.ascontiguousarray(table[group, :, : int(np.flatnonzero(large > least)[-1]) + 1]))
        groups.append((slice(int(part[0]), int(part[-1]) + 1), cut))
    return np.ascontiguousarray(across[used].swapaxes(0, 1)).reshape(2 * len(used), across.shape[2]), groups


def _within(x: Array, reach: float) -> slice:
    """Return which of ascending coordinates are at most so far from 0."""
    return slice(int(np.searchsorted(x, -reach)), int(np.searchsorted(x, reach, side="right")))


def _lagrange(count: int, x: Array) -> Array:
    """Return the values at x of the Lagrange polynomials of Gauss points on [-1, 1], shape (count, len(x))."""
    points, weights = np.polynomial.legendre.leggauss(count)
    apart = np.subtract.outer(-points, -x)
    out = ((-1.0) ** np.arange(count) * np.sqrt((1.0 - points**2) * weights))[:, None] / np.where(apart, apart, 1e-300)
    return np.asarray(out / out.sum(axis=0))


def _mean_at_corners(kernel: Kernel, nodes: Sequence[Array], halves: Array) -> Array:
    """Return the mean of K over the distances of nodes from the corners."""
    d = len(nodes)
    squares = [[(x + half) ** 2, (x - half) ** 2] for x, half in zip(nodes, halves, strict=True)]
    out = np.zeros([len(x) for x in nodes])
    for chosen in product(*squares):
        distance = np.sqrt(np.asarray(sum(np.meshgrid(*chosen, indexing="ij"))))
        out += kernel.profile(np.maximum(distance, 1e-3 * halves.min()), d) / 2**d
    return out


def _applied(matrices: Sequence[Any], x: Array) -> Array:
    """Return x with a matrix applied to each direction; the first may be None."""
    first, *others = matrices
    if first is not None:
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


@cache
def _shapes(degree: int) -> tuple[Array, Array]:
    """Return Gauss points on [-1, 1], and Legendre polynomials there, shape (points, polynomials), by their weights."""
    points, weights = np.polynomial.legendre.leggauss(2 * degree)
    return points, np.polynomial.legendre.legvander(points, degree) * weights[:, None]


@lru_cache(maxsize=8)
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
