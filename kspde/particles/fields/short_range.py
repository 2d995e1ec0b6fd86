r"""The short-range part of a kernel, which no grid resolves: a sum over neighbours.

A kernel K whose symbol decays slowly, or whose mollifier is narrow, is split by the screen

.. math:: S(\lambda) = e^{-x} \sum_{j<J} \frac{x^j}{j!}, \qquad x = \tfrac12 s^2 \lambda,

into :math:`S K`, which a grid of spacing about s/2 resolves, and the rest. :math:`1 - S = O(x^J)` is negligible where K
is long-ranged, s μ ≪ 1, so that the rest ends at a few s. It is tabulated, and summed over the particles within that
distance, which are found by sorting all particles into cells of that width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from kspde.errors import InputError
from kspde.kernels import Kernel
from kspde.kernels.base import Derived
from kspde.models import Field
from kspde.particles.fields.base import Extent
from kspde.particles.fields.cells import cell_width
from kspde.particles.fields.pairs import add_neighbours, pair_tables
from kspde.particles.weights import own_and_factor
from kspde.radial import profile, quadrature, radial_weights
from kspde.runtime.reductions import everyones
from kspde.typing import Array, Comm, Indices

__all__ = ["MOST_PAIRS", "ScreenedKernel", "ShortRangeSum", "check_pairs", "longest_screen"]

_TERMS = 4
#: The largest number of pairs that a rank sums over per step, which takes some minutes.
MOST_PAIRS = 1e11


@dataclass(frozen=True, kw_only=True)
class ScreenedKernel(Derived):
    """A kernel times the screen S of length ``scale``, or, with ``rest``, times 1 − S."""

    scale: float
    rest: bool = False

    def symbol(self, lam: Array) -> Array:
        """Return g S or g (1 − S)."""
        x = 0.5 * self.scale**2 * np.asarray(lam, dtype=np.float64)
        if self.rest:
            from scipy.special import gammainc  # 1 − S, accurate where it is tiny

            return np.asarray(self.kernel.symbol(lam) * gammainc(_TERMS, x))
        return np.asarray(self.kernel.symbol(lam) * _screen(x))

    @property
    def closed(self) -> bool:
        """Whether it is the rest of a kernel with closed forms, less its smooth part, and not tiny beside it."""
        sizes = [np.abs(radial_weights(kernel, 1)).sum() for kernel in (self, self.kernel)]
        return self.rest and self.kernel.closed and bool(sizes[0] > 0.01 * sizes[1])

    def profile(self, r: Array, dimension: int) -> Array:
        """Return the part of K."""
        return self._part(r, dimension, slope=False)

    def slope(self, r: Array, dimension: int) -> Array:
        """Return the part of K'."""
        return self._part(r, dimension, slope=True)

    def _part(self, r: Array, dimension: int, *, slope: bool) -> Array:
        if not self.closed:
            return self._by_quadrature(r, dimension, slope=slope)
        smooth = quadrature(replace(self, rest=False), dimension, r, tol=1e-13, slope=slope)
        return (self.kernel.slope if slope else self.kernel.profile)(r, dimension) - smooth

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        """Return that of the kernel times S."""
        x = 0.5 * self.scale**2 * np.asarray(lam, dtype=np.float64)
        return np.asarray(self.kernel.truncated_symbol(lam, radius, dimension) * _screen(x))

    @property
    def smoothing(self) -> float:
        """Infinite, or for the rest the kernel's."""
        return self.kernel.smoothing if self.rest else np.inf


def _screen(x: Array) -> Array:
    """Return S."""
    x = np.minimum(x, 1e3)  # where S is 0, and no power of x overflows
    return np.asarray(np.exp(-x) * sum(x**j / math.factorial(j) for j in range(_TERMS)))


class ShortRangeSum:
    """Sums of the fields' short-range parts over neighbours.

    Args:
        fields: the fields.
        dimension: the dimension d.
        scale: the screen's length s.
        weights: the weights, as for :class:`~kspde.particles.fields.base.FieldEvaluator`.
        tol: the relative error of the parts.

    Attributes:
        reach: the distance beyond which nothing is summed.
        pairs: the number of pairs in neighbouring cells at the last update.

    Raises:
        InputError: a part that does not end within 16 ``scale`` of where the kernel is rough.
    """

    #: Bytes per particle of all ranks that each rank takes for sorted copies and cells; counted, as there are few
    #: particles where such sums are affordable.
    bytes_per_particle = 80.0

    def __init__(
        self,
        fields: tuple[Field, ...],
        dimension: int,
        scale: float,
        *,
        weights: Mapping[str, float | Array],
        tol: float,
    ) -> None:
        self._dimension = dimension
        rests = {f.name: ScreenedKernel(kernel=f.kernel, scale=scale, rest=True) for f in fields}
        self.reach = max(_reach(rests[f.name], f.kernel, dimension, scale, tol=tol, slope=f.gradient) for f in fields)
        self._tables = {
            f.name: pair_tables(rests[f.name], dimension, self.reach, tol=0.05 * tol, gradient=f.gradient)
            for f in fields
        }
        self._weights = weights
        #: Weights of the particles of all ranks, as ``own_and_factor`` returns them, sorted by cell.
        self._sorted_weights: dict[str, tuple[Array | None, float]] = {}
        self._sorted: dict[str, Array] = {}
        self._starts: dict[str, Indices] = {}
        self._shape: Indices = np.ones(3, dtype=np.int64)
        self._lower: Array = np.zeros(3)
        self._width = self.reach
        self.pairs = 0.0

    def update(self, positions: Mapping[str, Array], extent: Extent, comm: Comm) -> None:
        """Gather all particles on every rank and sort them into cells. Collective.

        Raises:
            InputError: more pairs than a step allows; on every rank.
        """
        from scipy import ndimage

        d = self._dimension
        everyone = {name: everyones(x, comm) for name, x in positions.items()}
        self._width = cell_width(extent.size, self.reach, max(len(x) for x in everyone.values()))
        self._lower[:d] = extent.lower
        self._shape[:d] = shape = np.floor(extent.size / self._width).astype(np.int64) + 1
        self.pairs = 0.0
        for name, x in everyone.items():
            places = np.clip(((x - extent.lower) / self._width).astype(np.int64), 0, shape - 1)
            cell = np.ravel_multi_index(tuple(places.T), tuple(shape))
            count = np.bincount(cell, minlength=int(shape.prod()))
            self._starts[name] = np.concatenate(([0], np.cumsum(count)))
            order = np.argsort(cell, kind="stable")
            self._sorted[name] = x[order]
            own, factor = own_and_factor(self._weights[name], comm)
            self._sorted_weights[name] = None if own is None else own[order], factor
            # Ordered pairs in the same or in adjacent cells.
            around = ndimage.convolve(count.reshape(shape).astype(float), np.ones((3,) * d), mode="constant")
            self.pairs += float(around.ravel() @ count)
        check_pairs(self.pairs, self.reach, comm, ": give a larger eps or field_tol, or fewer particles")

    def add(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        """Add the short-range part of a field at positions x, and of its gradient unless that is None."""
        name = field.source
        cells = (self._starts[name], self._shape, self._lower, 1.0 / self._width, self.reach)
        weights = self._sorted_weights[name]
        add_neighbours(values, gradient, x, self._sorted[name], *cells, *self._tables[field.name], *weights)


def check_pairs(pairs: float, reach: float, comm: Comm, remedy: str) -> None:
    """Raise if so many pairs, of all ranks, are more than a step allows.

    Raises:
        InputError: they are; it ends with the remedy.
    """
    if pairs / comm.size > MOST_PAIRS:
        raise InputError(
            f"the fields need a sum over {pairs:.3g} pairs of particles closer than {reach:.3g}, the limit is "
            f"{MOST_PAIRS * comm.size:.3g} per step{remedy}"
        )


def longest_screen(kernel: Kernel, tol: float) -> float:
    """Return the s beyond which 1 − S exceeds a tenth of ``tol`` where the kernel is long-ranged."""
    x: float = (0.1 * tol * math.factorial(_TERMS)) ** (1 / _TERMS)
    return math.sqrt(2.0 * x) / kernel.decay_rate if kernel.decay_rate > 0 else math.inf


def _reach(rest: Kernel, kernel: Kernel, dimension: int, scale: float, *, tol: float, slope: bool) -> float:
    """Return the distance beyond which the rest and its integral are below ``tol``/4, relative to the kernel's."""
    # A kernel that ends at a distance is rough there, and has a rest.
    r = scale * np.linspace(0.05, 16.0 + kernel.oscillation / scale, 320 + math.ceil(20 * kernel.oscillation / scale))
    reach = float(r[0])
    for derived in (False, True)[: 1 + slope]:
        size = np.abs(profile(rest, dimension, r, tol=0.02 * tol, slope=derived))
        whole = np.abs(profile(kernel, dimension, r, tol=1e-3, slope=derived))
        beyond = np.cumsum((size * r ** (dimension - 1))[::-1])[::-1]
        bad = size > 0.25 * tol * whole.max()
        bad |= beyond > 0.25 * tol * (whole * r ** (dimension - 1)).sum()
        where = np.flatnonzero(bad)
        # What lies beyond the last distance is not seen: the integral must have ended before.
        if len(where) and where[-1] >= len(r) - 16:
            raise InputError(
                f"the short-range part of a kernel does not end within {r[-1]:.3g}: give a larger field_tol"
            )
        reach = max(reach, float(r[where[-1] + 1]) if len(where) else 0.0)
    return reach
