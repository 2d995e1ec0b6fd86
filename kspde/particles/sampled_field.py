"""Functions of space sampled on a uniform grid around the particles, and interpolated by splines of order 6."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from kspde.errors import InputError
from kspde.particles.fields.base import Extent, check_resolved
from kspde.particles.fields.splines import gather, gather_part
from kspde.typing import Array

__all__ = ["SampledField"]

#: Nodes around the particles, where the splines' conditions at the grid's edge die out: by 0.43 per node.
_MARGIN = 16
#: Room for the particles to move before the grid is laid anew, as a share of their extent.
_SLACK = 0.1


#: An error below which the splines of a smooth function gain their full order by a refinement.
_KINKED = 5e-4


class SampledField:
    """Functions on one uniform grid that covers the particles and follows them.

    Args:
        dimension: d.
        coarse: number of nodes across the particles to begin with.
        most: number of nodes that the whole grid may have.

    Attributes:
        spacing: h of the grid; 0 before the first.
        shape: number of nodes in each direction.
        lower: corner of the grid, shape (d,).
        inner: box in which the particles may move.
    """

    def __init__(self, dimension: int, *, coarse: int, most: int) -> None:
        self.dimension = dimension
        self.spacing = 0.0
        self.shape: tuple[int, ...] = ()
        self.lower = np.zeros(dimension)
        self.inner = Extent(self.lower, self.lower)
        self._coarse, self._most = coarse, most
        self._kinked = False
        self._coefficients: dict[str, Array] = {}

    def covers(self, extent: Extent) -> bool:
        """Return whether the grid covers the particles."""
        return bool(self.shape) and extent.within(self.inner)

    def resolve(self, extent: Extent, sample: Callable[[], float], tol: float) -> float:
        """Sample on a grid that covers the extent, refined until the error is at most ``tol``. Collective.

        A coarse grid's margin may leave the domain where the functions are known; a finer grid's margin is narrower.

        Args:
            extent: extent of the particles.
            sample: samples all functions on the present grid, gives their values to ``interpolate``, and returns the
                error of the splines.
            tol: error to aim at; the largest grid is kept where its error is larger. Where not even that would reach
                it, at the rate of the last refinement, the first is kept whose error is below 5e-4: fields of elements
                of low degree have kinks (on a disk a hundredth of the time).

        Returns:
            The error.

        Raises:
            InputError: the finest grid leaves the domain where the functions are known, or the particles lie so far
                from the origin that their positions are rounded.
        """

        def tried() -> float:
            try:
                return sample()
            except InputError:
                return math.inf

        if not self.covers(extent):
            self._lay(extent, self.spacing or float(extent.size.max()) / self._coarse or 1.0, tol)
        error = tried()
        while error > tol and not (self._kinked and error < _KINKED):
            finer = 2.0**self.dimension * np.prod(self.shape, dtype=float)
            if finer >= self._most:
                break
            self._lay(extent, 0.5 * self.spacing, tol)
            before, error = error, tried()
            halvings = math.log(self._most / finer, 2.0**self.dimension)
            self._kinked = error < _KINKED and error * (error / before) ** halvings > tol
        return sample() if math.isinf(error) else error

    def _lay(self, extent: Extent, spacing: float, tol: float) -> None:
        check_resolved(extent, spacing, tol)
        self.inner = extent.widened(_SLACK * extent.size + 2 * spacing)
        self.spacing = spacing
        self.lower, self.shape = self._around_inner()

    def _around_inner(self) -> tuple[Array, tuple[int, ...]]:
        nodes = np.ceil(self.inner.size / self.spacing) + 2 * _MARGIN + 1
        return self.inner.lower - _MARGIN * self.spacing, tuple(int(m) for m in nodes)

    @property
    def axes(self) -> list[Array]:
        """The coordinates of the nodes in each direction."""
        return [low + self.spacing * np.arange(m) for low, m in zip(self.lower, self.shape, strict=True)]

    def midpoints(self, most: int | None = None) -> tuple[list[Array], Array]:
        """Return points half-way between nodes, where a spline deviates most, as axes and as an array of points.

        Args:
            most: about how many per direction; every second midpoint where it is not given.
        """
        axes = []
        for axis in self.axes:
            inner = axis[_MARGIN : len(axis) - _MARGIN]
            axes.append(inner[:: 2 if most is None else max(1, len(inner) // most)] + 0.5 * self.spacing)
        return axes, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)

    def interpolate(self, name: str, values: Array) -> None:
        """Interpolate a function's values at the nodes from now on."""
        from scipy.ndimage import spline_filter

        self._coefficients[name] = np.ascontiguousarray(spline_filter(values, order=5, mode="mirror"))

    def at(self, name: str, x: Array, values: Array, gradient: Array | None = None) -> None:
        """Write a function's values at points x, (n, d), and its gradient, (n, d), if wanted; on all threads."""
        gather(values, gradient, self._coefficients[name], x, self.lower, self.spacing)

    def part_at(self, name: str, x: Array, values: Array, gradient: Array | None = None) -> None:
        """The same as ``at``, on the calling thread alone."""
        gather_part(values, gradient, self._coefficients[name], x, self.lower, self.spacing)

    def state(self) -> dict[str, Array]:
        """Return what determines the grid."""
        return {
            "lower": self.lower,
            "shape": np.array(self.shape, dtype=np.float64),
            "spacing": np.array([self.spacing]),
            "inner": np.stack((self.inner.lower, self.inner.upper)),
            "kinked": np.array([float(self._kinked)]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Lay the grid that ``state`` describes.

        Raises:
            ValueError: there is no such grid.
        """
        self.inner = Extent(*state["inner"])
        self.spacing = float(state["spacing"][0])
        self._kinked = bool(state["kinked"][0])
        self.lower, self.shape = self._around_inner()
        same = np.array_equal(self.shape, state["shape"]) and np.array_equal(self.lower, state["lower"])
        if not same or len(self.shape) != self.dimension or not math.prod(self.shape) < 2 * self._most:
            raise ValueError(f"a grid of shape {self.shape}")  # the compiled loops do not check their bounds
