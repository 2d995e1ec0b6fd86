"""Densities given by values on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_choice, check_finite, check_integer, check_number, check_scale
from kspde.initial.base import InitialDensity, cell_means, points_of
from kspde.runtime.messages import warn
from kspde.runtime.parallel import world
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["GridDensity", "tent"]


class GridDensity(InitialDensity):
    r"""A density given by values on a uniform grid of points, multilinear in between and zero outside.

    The values are scaled so that the multilinear density has the given mass (a micrograph's grey values need no unit).

    Args:
        values: the values ≥ 0 at the grid points, a d-dimensional array with ``values[i, j]`` at (x_i, y_j), at least
            two points in each direction, none of them masked.
        extent: (xmin, xmax, ymin, ymax, ...): the coordinates of the first and last points in each direction; without
            it ``scale`` is given.
        mass: the total mass.
        orientation: "xy" (as above) or "image" (2D only): rows from the top, ``values[row, column]``: x grows with the
            column, and y, upwards, falls as the row grows. A warning says so if the extent makes the pixels of an image
            oblong.
        bandwidth: the standard deviation, in units of the coordinates, of the Gaussian that smooths the values; 0
            leaves them as they are.
        scale: in place of the extent, the distance of neighbouring points (of an image, the length of a pixel), or one
            for each direction; the first point in each direction, of an image the lowest left, is ``origin``.
        origin: its coordinates; 0 in each direction unless given.
        median: before they are smoothed values are replaced by the median of a window of so many points, an odd number,
            in each direction; 1 leaves them.
        background: what is then subtracted from the values, negative ones becoming 0.
        threshold: the share of the maximum below which values are then 0.

    Raises:
        InputError: wrong shape, colours, masked, non-finite or negative values, no mass, an empty extent.
    """

    same_on_ranks: ClassVar[tuple[str, ...]] = ("values", "lower", "upper", "mass")

    def __init__(
        self,
        values: npt.ArrayLike,
        extent: Sequence[float] | None = None,
        *,
        mass: float = 1.0,
        orientation: Literal["xy", "image"] = "xy",
        bandwidth: float = 0.0,
        scale: float | tuple[float, ...] | None = None,
        origin: Sequence[float] | None = None,
        median: int = 1,
        background: float = 0.0,
        threshold: float = 0.0,
    ) -> None:
        array = _plain(values)
        colours = array.ndim == 3 and array.shape[2] in (3, 4)
        if colours and (orientation == "image" or (extent is not None and np.size(extent) == 4)):
            raise InputError(
                f"values have shape {array.shape}, {array.shape[2]} colour channels per pixel: give one number per "
                "pixel, such as one channel, values[..., 1], or their mean, values[..., :3].mean(axis=-1)"
            )
        if not 1 <= array.ndim <= 3 or min(array.shape, default=0) < 2:
            raise InputError(f"values have shape {array.shape}: give 1 to 3 dimensions with at least 2 points each")
        check_choice("orientation", orientation, ("xy", "image"))
        check_number("bandwidth", bandwidth, at_least=0)
        check_number("background", background, at_least=0)
        check_number("threshold", threshold, at_least=0, below=1)
        if not check_integer("median", median, at_least=1, at_most=99) % 2:
            raise InputError(f"median = {median} is not valid: give an odd number of points")
        self.mass = check_scale("mass", mass)
        self.dimension = array.ndim
        bad = np.argwhere(~(np.isfinite(array) & (array >= 0)))
        if len(bad):
            index = tuple(bad[0].tolist())
            raise InputError(f"values contain {array[index]:g} at index {index}: give finite numbers >= 0")
        if orientation == "image":
            if array.ndim != 2:
                raise InputError(f'orientation = "image" needs 2 dimensions, values have {array.ndim}: use "xy"')
            array = np.ascontiguousarray(array[::-1].T)
        bounds = _bounds(array.shape, extent, scale, origin)
        if np.any(bounds[:, 1] <= bounds[:, 0]):
            raise InputError(f"extent = {bounds.ravel().tolist()} is empty: give xmin < xmax, ymin < ymax, ...")
        self.lower, self.upper = bounds[:, 0], bounds[:, 1]
        self.spacing: Array = (self.upper - self.lower) / (np.array(array.shape) - 1)
        wide, high = self.spacing[:2].tolist() if orientation == "image" else (1.0, 1.0)
        if abs(wide - high) > 0.01 * min(wide, high):
            warn(
                f"the extent makes pixels {wide:.4g} wide and {high:.4g} high: extent is (xmin, xmax, ymin, ymax) of "
                "the outer pixels' centres, x along a row",
                world(),
            )
        if bandwidth > float(np.max(self.upper - self.lower)):
            raise InputError(f"bandwidth = {bandwidth:g} is not valid: give a length within the extent")
        array = _filtered(array, median, bandwidth / self.spacing, background, threshold)
        if (peak := array.max()) <= 0:
            raise InputError("values have no mass: at least one value must be positive")
        array = array / peak  # sums and products of the largest and least numbers are not finite
        with np.errstate(over="ignore", divide="ignore"):
            self.values = array * (self.mass / (float(cell_means(array).sum()) * np.prod(self.spacing)))
        if not 0 < self.values.max() < np.inf:
            raise InputError(
                f"extent = {bounds.ravel().tolist()} and mass = {self.mass:g} give densities of "
                f"{self.values.max():g}: choose units in which they are ordinary numbers"
            )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.values.shape))
        ends = ", ".join(f"{x:g}" for pair in zip(self.lower, self.upper, strict=True) for x in pair)
        return f"GridDensity({shape} values, extent=({ends}), mass={self.mass:g})"

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the multilinear density at points of shape (n, d); zero outside the extent."""
        points = points_of(x, self.dimension)
        inside = np.all((points >= self.lower) & (points <= self.upper), axis=1)
        s = (points[inside] - self.lower) / self.spacing
        cell = np.minimum(s.astype(np.int64), np.array(self.values.shape) - 2)
        t = np.clip(s - cell, 0.0, 1.0)  # beyond the last point, by rounding, a weight would be negative
        out = np.zeros(len(points))
        total = np.zeros(len(s))
        for corner in np.ndindex(*(2,) * self.dimension):
            weight = np.prod([t[:, a] if c else 1 - t[:, a] for a, c in enumerate(corner)], axis=0)
            total += weight * self.values[tuple(cell[:, a] + c for a, c in enumerate(corner))]
        out[inside] = total
        return out

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the mass outside the box: exact for the multilinear density."""
        part = self.values
        for axis in range(self.dimension):
            weights = self._clipped_weights(axis, bounds[:, axis])
            part = np.tensordot(weights, part, axes=(0, 0))
        share = 1.0 - float(part) / self.mass
        return share if share > 1e-14 else 0.0

    def _clipped_weights(self, axis: int, ends: Array) -> Array:
        """Return the integrals of one direction's hat functions over an interval."""
        n = self.values.shape[axis]
        ends = np.clip((ends - self.lower[axis]) / self.spacing[axis], 0.0, float(n - 1))
        a, b = np.clip(ends[:, None] - np.arange(n - 1), 0, 1)
        right = 0.5 * (b**2 - a**2)
        return np.asarray(self.spacing[axis] * (np.append(0.0, right) + np.append(b - a - right, 0.0)))

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw exactly from the multilinear density: a cell by its mass, then each coordinate by its marginal."""
        uniforms = random.uniforms(ids, 0, 1 + self.dimension)
        chosen = np.searchsorted(self._cumulative, uniforms[:, 0] * self._cumulative[-1], side="right")
        cell = np.unravel_index(np.minimum(chosen, len(self._cumulative) - 1), cell_means(self.values).shape)
        unit = (2,) * self.dimension
        at = [tuple(cell[a] + c for a, c in enumerate(corner)) for corner in np.ndindex(unit)]
        corners = np.stack([self.values[index] for index in at], axis=1).reshape(len(ids), *unit)
        t = np.empty((len(ids), self.dimension))
        for axis in range(self.dimension):
            # Given the earlier coordinates, the marginal density in this one is linear between the cell's two sides.
            sides = corners.reshape(len(ids), 2, 2 ** (self.dimension - 1 - axis)).sum(axis=2)
            t[:, axis] = _linear_quantile(sides[:, 0], sides[:, 1], uniforms[:, 1 + axis])
            shape = (len(ids),) + (1,) * (corners.ndim - 2)
            corners = corners[:, 0] * (1 - t[:, axis]).reshape(shape) + corners[:, 1] * t[:, axis].reshape(shape)
        return self.lower + (np.stack(cell, axis=1) + t) * self.spacing

    @cached_property
    def _cumulative(self) -> Array:
        return np.cumsum(cell_means(self.values).ravel())


def _bounds(
    shape: tuple[int, ...],
    extent: Sequence[float] | None,
    scale: float | tuple[float, ...] | None,
    origin: Sequence[float] | None,
) -> Array:
    """Return the coordinates of the first and the last points, shape (d, 2)."""
    d = len(shape)
    if extent is not None:
        for name, given in (("scale", scale), ("origin", origin)):
            if given is not None:
                raise InputError(f"{name} = {given} has no effect beside extent: leave one of them out")
        return check_finite("extent", extent, (2 * d,)).reshape(-1, 2)
    if scale is None:
        raise InputError("extent is missing: give (xmin, xmax, ymin, ymax, ...), or scale, the length of a pixel")
    several = isinstance(scale, (tuple, list, np.ndarray))
    steps = check_finite("scale", scale, (d,)) if several else np.full(d, check_number("scale", scale, above=0))
    if np.any(steps <= 0):
        raise InputError(f"scale = {scale} is not valid: give lengths > 0")
    first = np.zeros(d) if origin is None else check_finite("origin", origin, (d,))
    return np.stack([first, first + steps * (np.array(shape) - 1)], axis=1)


def tent(*, mean: float, amplitude: float, half_width: float, centre: float = 0.0) -> GridDensity:
    r"""Return a constant density on a closed or periodic box of the line with a small disturbance of all wave lengths.

    :math:`u_0 = \bar u\,(1 + \delta(1 - 2|x - m|/L))`, whose coefficient of :math:`\cos(j\pi(x - m)/L)` is
    :math:`8\delta\bar u/(\pi j)^2` for every odd j.

    Args:
        mean: ū > 0.
        amplitude: δ, from 0 to 1.
        half_width: L > 0, that of the box.
        centre: m, that of the box.

    Raises:
        InputError: a value out of range.
    """
    check_number("mean", mean, above=0)
    length = check_number("half_width", half_width, above=0)
    if not 0 <= check_number("amplitude", amplitude) <= 1:
        raise InputError(f"amplitude = {amplitude:g} is not valid: give one from 0 to 1, for a density >= 0")
    ends, m = 1.0 - amplitude, check_number("centre", centre)
    return GridDensity([ends, 1.0 + amplitude, ends], (m - length, m + length), mass=2 * length * mean)


def _plain(values: npt.ArrayLike) -> Array:
    """Return values as floating-point numbers, none of which may be masked: that is not a measurement."""
    masked = np.argwhere(np.ma.getmaskarray(values)) if isinstance(values, np.ma.MaskedArray) else np.zeros((0, 1))
    if len(masked):
        index = tuple(masked[0].tolist())
        raise InputError(
            f"values have {len(masked)} masked entries, the first at index {index}: give numbers for them, such as "
            "values.filled(0.0)"
        )
    try:
        return np.asarray(values).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):
        raise InputError("values are not an array of real numbers: give 1 to 3 dimensions of them") from None


def _filtered(values: Array, median: int, widths: Array, background: float, threshold: float) -> Array:
    """Return values after their filters, in this order; ``widths`` are those of the Gaussian, in points."""
    if median > 1:
        from scipy.ndimage import median_filter

        values = median_filter(values, size=median, mode="nearest")
    if np.any(widths > 0):
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, widths, mode="constant")
    values = np.maximum(values - background, 0.0)
    return np.where(values < threshold * values.max(), 0.0, values)


def _linear_quantile(left: Array, right: Array, uniform: Array) -> Array:
    """Return the quantile t ∈ [0, 1] of the density proportional to left·(1 − t) + right·t."""
    # Root of ½(right − left)t² + left·t = ½u(left + right), in the form that does not cancel.
    root = np.sqrt(left**2 + uniform * (right**2 - left**2))
    total = left + root
    out = np.where(total > 0, uniform * (left + right) / np.where(total > 0, total, 1.0), uniform)
    return np.clip(out, 0.0, 1.0)
