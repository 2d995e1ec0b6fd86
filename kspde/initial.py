r"""Initial densities: one object that both backends use.

The finite elements evaluate :math:`u_0` at their nodes; the particles draw :math:`\zeta_i` from :math:`u_0 / \int u_0`.
A density carries its mass :math:`\int u_0`, 1 unless said otherwise; a particle then weighs mass/N.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_choice, check_finite, check_integer, check_number

__all__ = ["CallableDensity", "GaussianMixture", "GridDensity", "InitialDensity", "RandomNumbers", "observed_positions"]

Array = npt.NDArray[np.float64]

#: Nodes × components evaluated at once; bounds the memory of a large mixture.
_CHUNK = 4_000_000


class RandomNumbers(Protocol):
    """Random numbers that depend only on (stream, particle id, step), never on which rank asks."""

    def uniforms(self, ids: npt.NDArray[np.uint64], step: int, count: int) -> Array:
        """Return independent uniforms in (0, 1), shape (len(ids), count)."""
        ...

    def normals(self, ids: npt.NDArray[np.uint64], step: int, count: int) -> Array:
        """Return independent standard normals, shape (len(ids), count)."""
        ...


class InitialDensity(ABC):
    """A non-negative density u_0 on R^d."""

    mass: float
    dimension: int

    @abstractmethod
    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u_0 at points ``x`` of shape (n, d): shape (n,)."""

    @abstractmethod
    def mass_outside(self, half_width: float) -> float:
        """Return the share of the mass outside [−half_width, half_width]^d, in [0, 1]."""

    @abstractmethod
    def sample(self, random: RandomNumbers, ids: npt.NDArray[np.uint64]) -> Array:
        """Draw one point a particle id from u_0/mass: shape (len(ids), d), a function of the ids alone."""


class GaussianMixture(InitialDensity):
    r"""A mixture of isotropic Gaussians, :math:`u_0 = \text{mass} \sum_j w_j\, G(\cdot - m_j; s_j)`.

    Args:
        weights: w_j > 0 with sum 1, shape (k,).
        means: m_j, shape (k, d).
        stds: standard deviations s_j > 0 in each coordinate, shape (k,).
        mass: the total mass.

    Raises:
        InputError: wrong shapes, non-finite numbers, weights not positive or not summing to 1, s_j ≤ 0.
    """

    def __init__(self, *, weights: npt.ArrayLike, means: npt.ArrayLike, stds: npt.ArrayLike, mass: float = 1.0) -> None:
        self.weights = check_finite("weights", weights, (None,))
        k = len(self.weights)
        self.means = check_finite("means", means, (k, None))
        self.stds = check_finite("stds", stds, (k,))
        self.mass = check_number("mass", mass, above=0)
        self.dimension = self.means.shape[1]
        if self.dimension > 3:
            raise InputError(f"means have dimension {self.dimension}: give shape (k, d) with d = 1, 2 or 3")
        if np.any(self.weights <= 0):
            raise InputError(f"weights contain {self.weights.min():g}: give positive numbers that sum to 1")
        if abs(self.weights.sum() - 1) > 1e-9:
            raise InputError(f"weights sum to {self.weights.sum():.10g}: give positive numbers that sum to 1")
        if np.any(self.stds <= 0):
            raise InputError(f"stds contain {self.stds.min():g}: give positive lengths")

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u_0 at points of shape (n, d)."""
        points = _points(x, self.dimension)
        scale = self.mass * self.weights / (2 * np.pi * self.stds**2) ** (self.dimension / 2)
        out = np.empty(len(points))
        step = max(1, _CHUNK // len(scale))
        for start in range(0, len(points), step):
            part = points[start : start + step]
            r2 = np.zeros((len(part), len(scale)))
            for axis in range(self.dimension):
                r2 += np.subtract.outer(part[:, axis], self.means[:, axis]) ** 2
            out[start : start + step] = np.exp(-0.5 * r2 / self.stds**2) @ scale
        return out

    def mass_outside(self, half_width: float) -> float:
        """Return the share of the mass outside the box (error functions, no cancellation)."""
        from scipy.special import ndtr

        tails = ndtr((self.means - half_width) / self.stds[:, None]) + ndtr(
            (-half_width - self.means) / self.stds[:, None]
        )
        with np.errstate(divide="ignore"):  # a component that is outside altogether has a tail of 1
            log_inside = np.log1p(-np.minimum(tails, 1.0)).sum(axis=1)
        return float(self.weights @ -np.expm1(log_inside))

    def sample(self, random: RandomNumbers, ids: npt.NDArray[np.uint64]) -> Array:
        """Draw a component by its weight, then a Gaussian around its mean."""
        choice = np.searchsorted(np.cumsum(self.weights), random.uniforms(ids, 0, 1)[:, 0])
        choice = np.minimum(choice, len(self.weights) - 1)
        normals = random.normals(ids, 1, self.dimension)
        return self.means[choice] + self.stds[choice, None] * normals


class GridDensity(InitialDensity):
    r"""A density given by values on a uniform grid of points, multilinear in between and zero outside.

    The values are scaled so that the multilinear density has the given mass (a micrograph's grey values need no unit).

    Args:
        values: values ≥ 0 at the grid points, a d-dimensional array with ``values[i, j]`` at (x_i, y_j), at least two
            points a direction.
        extent: (xmin, xmax, ymin, ymax, ...): coordinates of the first and last points in each direction.
        mass: the total mass.
        orientation: "xy" (as above) or "image" (2D only): rows from the top, ``values[row, column]``.
        bandwidth: standard deviation, in units of the coordinates, of a Gaussian the values are smoothed with first;
            0 leaves them as they are.

    Raises:
        InputError: wrong shape, non-finite or negative values, no mass, an empty extent.
    """

    def __init__(
        self,
        values: npt.ArrayLike,
        extent: Sequence[float],
        *,
        mass: float = 1.0,
        orientation: str = "xy",
        bandwidth: float = 0.0,
    ) -> None:
        try:
            array = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError("values are not an array of numbers: give a 1-, 2- or 3-dimensional array") from None
        if not 1 <= array.ndim <= 3 or min(array.shape, default=0) < 2:
            raise InputError(f"values have shape {array.shape}: give 1 to 3 dimensions with at least 2 points each")
        check_choice("orientation", orientation, ("xy", "image"))
        check_number("bandwidth", bandwidth, at_least=0)
        self.mass = check_number("mass", mass, above=0)
        self.dimension = array.ndim
        if orientation == "image":
            if array.ndim != 2:
                raise InputError(f'orientation = "image" needs 2 dimensions, values have {array.ndim}: use "xy"')
            array = np.ascontiguousarray(array[::-1].T)
        if not np.all(np.isfinite(array)):
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise InputError(f"values contain {array[index]} at index {index}: give finite numbers >= 0")
        if array.min() < 0:
            raise InputError(f"values contain {array.min():g}: give numbers >= 0")
        bounds = check_finite("extent", extent, (2 * array.ndim,)).reshape(-1, 2)
        if np.any(bounds[:, 1] <= bounds[:, 0]):
            raise InputError(f"extent = {tuple(bounds.ravel())} is empty: give xmin < xmax, ymin < ymax, ...")
        self.lower, self.upper = bounds[:, 0], bounds[:, 1]
        self.spacing: Array = (self.upper - self.lower) / (np.array(array.shape) - 1)
        if bandwidth > 0:
            from scipy.ndimage import gaussian_filter

            array = gaussian_filter(array, bandwidth / self.spacing, mode="constant")
        total = float(_cell_means(array).sum() * np.prod(self.spacing))
        if total <= 0:
            raise InputError("values have no mass: at least one value must be positive")
        self.values = array * (self.mass / total)

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the multilinear density at points of shape (n, d); zero outside the extent."""
        points = _points(x, self.dimension)
        inside = np.all((points >= self.lower) & (points <= self.upper), axis=1)
        s = (points[inside] - self.lower) / self.spacing
        cell = np.minimum(s.astype(np.int64), np.array(self.values.shape) - 2)
        t = s - cell
        out = np.zeros(len(points))
        total = np.zeros(len(s))
        for corner in np.ndindex(*(2,) * self.dimension):
            weight = np.prod([t[:, a] if c else 1 - t[:, a] for a, c in enumerate(corner)], axis=0)
            total += weight * self.values[tuple(cell[:, a] + c for a, c in enumerate(corner))]
        out[inside] = total
        return out

    def mass_outside(self, half_width: float) -> float:
        """Return the share of the mass outside the box: exact for the multilinear density."""
        part = self.values
        for axis in range(self.dimension):
            weights = self._clipped_weights(axis, half_width)
            part = np.tensordot(weights, part, axes=(0, 0))
        share = 1.0 - float(part) / self.mass
        return share if share > 1e-14 else 0.0

    def _clipped_weights(self, axis: int, half_width: float) -> Array:
        """Return ∫ hat_i over the extent cut to [−half_width, half_width], for the hats of one direction."""
        n = self.values.shape[axis]
        ends = np.clip((np.array([-half_width, half_width]) - self.lower[axis]) / self.spacing[axis], 0.0, float(n - 1))
        weights = np.zeros(n, dtype=np.float64)
        cells = np.arange(n - 1)
        a, b = np.clip(ends[0] - cells, 0, 1), np.clip(ends[1] - cells, 0, 1)
        weights[1:] += 0.5 * (b**2 - a**2)
        weights[:-1] += (b - a) - 0.5 * (b**2 - a**2)
        weights *= self.spacing[axis]
        return weights

    def sample(self, random: RandomNumbers, ids: npt.NDArray[np.uint64]) -> Array:
        """Draw exactly from the multilinear density: a cell by its mass, then each coordinate by its marginal."""
        uniforms = random.uniforms(ids, 0, 1 + self.dimension)
        chosen = np.searchsorted(self._cumulative, uniforms[:, 0] * self._cumulative[-1], side="right")
        cell = np.unravel_index(np.minimum(chosen, len(self._cumulative) - 1), _cell_means(self.values).shape)
        corners = np.stack(
            [
                self.values[tuple(cell[a] + c for a, c in enumerate(corner))]
                for corner in np.ndindex(*(2,) * self.dimension)
            ],
            axis=1,
        ).reshape(len(ids), *(2,) * self.dimension)
        t = np.empty((len(ids), self.dimension))
        for axis in range(self.dimension):
            # Given the earlier coordinates, the marginal in this one is linear between its two sides.
            sides = corners.reshape(len(ids), 2, 2 ** (self.dimension - 1 - axis)).sum(axis=2)
            t[:, axis] = _linear_quantile(sides[:, 0], sides[:, 1], uniforms[:, 1 + axis])
            shape = (len(ids),) + (1,) * (corners.ndim - 2)
            corners = corners[:, 0] * (1 - t[:, axis]).reshape(shape) + corners[:, 1] * t[:, axis].reshape(shape)
        return self.lower + (np.stack(cell, axis=1) + t) * self.spacing

    @cached_property
    def _cumulative(self) -> Array:
        return np.cumsum(_cell_means(self.values).ravel())


class CallableDensity(InitialDensity):
    r"""A density given by a function, scaled to the given mass: :math:`u_0 = \text{mass}\, f / \int f`.

    The integral is a trapezoidal sum over [−R, R]^d, spectrally accurate for a smooth f that has decayed there. Points
    are drawn by rejection under a piecewise constant envelope, so their law is u_0 itself, not an interpolant.

    Args:
        function: f(x) ≥ 0 for x of shape (n, d), returning shape (n,). It must vanish (to double precision relative
            to its maximum, or exactly) outside [−R, R]^d.
        half_width: R > 0.
        dimension: d.
        mass: the total mass.
        resolution: points per direction of the sum and of the envelope.

    Raises:
        InputError: f returns a wrong shape, negative or non-finite values, has no mass, or is not small on the edge of
            [−R, R]^d.
    """

    def __init__(
        self,
        function: Callable[[Array], npt.ArrayLike],
        *,
        half_width: float,
        dimension: int = 2,
        mass: float = 1.0,
        resolution: int | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"function is a {type(function).__name__}: give a callable f(x), x of shape (n, d)")
        self.dimension = check_integer("dimension", dimension, at_least=1, at_most=3)
        self.half_width = check_number("half_width", half_width, above=0)
        self.mass = check_number("mass", mass, above=0)
        default = {1: 4096, 2: 512, 3: 96}[self.dimension]
        n = check_integer("resolution", default if resolution is None else resolution, at_least=8)
        self._function = function
        self._factor = 1.0
        axis = np.linspace(-self.half_width, self.half_width, n + 1)
        grid = np.stack(np.meshgrid(*[axis] * dimension, indexing="ij"), axis=-1)
        values = self(grid.reshape(-1, dimension)).reshape(grid.shape[:-1])
        peak = float(values.max())
        if peak <= 0:
            raise InputError(f"function has no mass in [-{half_width:g}, {half_width:g}]^{dimension}: check half_width")
        edge = max(float(np.take(values, end, axis=a).max()) for a in range(dimension) for end in (0, -1))
        if edge > 1e-6 * peak:
            raise InputError(
                f"function is {edge:.3g} on the edge of [-{half_width:g}, {half_width:g}]^{dimension}, its maximum is "
                f"{peak:.3g}: give a half_width outside which it vanishes"
            )
        self._spacing = float(axis[1] - axis[0])
        self._factor = self.mass / (float(values.sum()) * self._spacing**dimension)
        # Envelope: the largest of a cell's corners and their neighbours, with room for curvature in between.
        from scipy.ndimage import maximum_filter

        widened = maximum_filter(values, size=3, mode="nearest") * self._factor
        self._envelope = 1.25 * _cell_maxima(widened) + 1e-12 * peak * self._factor

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u_0 at points of shape (n, d).

        Raises:
            InputError: f returned a wrong shape, or a negative or non-finite value.
        """
        points = _points(x, self.dimension)
        values = np.asarray(self._function(points), dtype=np.float64)
        if values.shape != (len(points),):
            raise InputError(
                f"function returned shape {values.shape} for {len(points)} points: return ({len(points)},)"
            )
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if len(bad):
            raise InputError(
                f"function is {values[bad[0]]:g} at {tuple(float(c) for c in points[bad[0]])}: give finite values >= 0"
            )
        return values * self._factor

    def mass_outside(self, half_width: float) -> float:
        """Return the share of the mass outside the box, by the trapezoidal sum of the part inside.

        Exact to its quadrature where half_width ≥ R, and to first order in the grid's spacing otherwise.
        """
        if half_width >= self.half_width:
            return 0.0
        n = self._envelope.shape[0]
        axis = np.linspace(-self.half_width, self.half_width, n + 1)
        grid = np.stack(np.meshgrid(*[axis] * self.dimension, indexing="ij"), axis=-1).reshape(-1, self.dimension)
        outside = np.any(np.abs(grid) > half_width, axis=1)
        return min(1.0, float(self(grid[outside]).sum()) * self._spacing**self.dimension / self.mass)

    def sample(self, random: RandomNumbers, ids: npt.NDArray[np.uint64]) -> Array:
        """Draw by rejection under the envelope; attempt k of a particle uses its random numbers of step k.

        Raises:
            InputError: f exceeds the envelope, so it varies too fast for ``resolution``.
        """
        cumulative = np.cumsum(self._envelope.ravel())
        out = np.empty((len(ids), self.dimension))
        waiting = np.arange(len(ids))
        step = 0
        while len(waiting):
            uniforms = random.uniforms(ids[waiting], step, 2 + self.dimension)
            chosen = np.searchsorted(cumulative, uniforms[:, 0] * cumulative[-1], side="right")
            chosen = np.minimum(chosen, len(cumulative) - 1)
            cell = np.stack(np.unravel_index(chosen, self._envelope.shape), axis=1)
            points = -self.half_width + (cell + uniforms[:, 2:]) * self._spacing
            ratio = self(points) / self._envelope.ravel()[chosen]
            if np.any(ratio > 1):
                worst = int(np.argmax(ratio))
                raise InputError(
                    f"function exceeds its tabulated envelope {ratio[worst]:.3g} times at "
                    f"{tuple(float(c) for c in points[worst])}: give a larger resolution than {self._envelope.shape[0]}"
                )
            accepted = uniforms[:, 1] < ratio
            out[waiting[accepted]] = points[accepted]
            waiting = waiting[~accepted]
            step += 1
        return out


def observed_positions(
    positions: npt.ArrayLike | str | Path, *, bandwidth: float, mass: float = 1.0, columns: Sequence[str] = ("x", "y")
) -> GaussianMixture:
    """Return the kernel density estimate of observed cell positions, with a Gaussian kernel.

    Args:
        positions: an array of shape (n, d), or the path of a .csv file whose first row names its columns.
        bandwidth: the kernel's standard deviation in each coordinate, in units of the positions.
        mass: the total mass.
        columns: the names of the coordinate columns in the file.

    Raises:
        InputError: a file that is missing, has no such columns or a value that is no finite number; bandwidth ≤ 0.
    """
    check_number("bandwidth", bandwidth, above=0)
    points = read_positions(positions, columns) if isinstance(positions, (str, Path)) else positions
    points = check_finite("positions", points, (None, None))
    n = len(points)
    return GaussianMixture(weights=np.full(n, 1.0 / n), means=points, stds=np.full(n, float(bandwidth)), mass=mass)


def read_positions(path: str | Path, columns: Sequence[str]) -> Array:
    """Read coordinate columns of a .csv file: shape (n, d).

    Raises:
        InputError: the file is missing or unreadable, lacks a column, or a value is no finite number.
    """
    try:
        # Spreadsheets write a byte order mark, and people write blanks around names.
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(line for line in file if not line.startswith("#"))
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read positions from {path}: {reason}") from None
    found = tuple(reader.fieldnames or ())
    missing = [c for c in columns if c not in found]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r}: its first row must name {', '.join(columns)} "
            f"(it reads {', '.join(found)!r})"
        )
    if not rows:
        raise InputError(f"{path} has no positions: give a row of numbers a cell below the names of the columns")
    out = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            try:
                out[i, j] = float(row[column])
            except (TypeError, ValueError):
                out[i, j] = np.nan
            if not np.isfinite(out[i, j]):
                raise InputError(f"{path}, data row {i + 1}: {column} = {row[column]!r} is not a finite number")
    return out


def read_grid(path: str | Path) -> tuple[Any, Sequence[float] | None]:
    """Read (values, extent or None) of a .npy file, or of a .npz file with arrays ``values`` and, perhaps, ``extent``.

    Nothing is unpickled.

    Raises:
        InputError: the file is missing, no such file, or lacks ``values``.
    """
    try:
        loaded = np.load(Path(path), allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):  # numpy's own message recommends to unpickle
        raise InputError(f"{path} is no .npy or .npz file of numbers: write one with numpy.save or savez") from None
    if isinstance(loaded, np.ndarray):
        return loaded, None
    with loaded:
        if "values" not in loaded.files:
            raise InputError(f"{path} has arrays {', '.join(loaded.files) or '(none)'}: it must have one called values")
        try:
            extent = loaded["extent"].ravel().tolist() if "extent" in loaded.files else None
            return loaded["values"], extent
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path} cannot be read ({error})") from None


def _points(x: npt.ArrayLike, dimension: int) -> Array:
    points = np.asarray(x, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != dimension:
        raise InputError(f"points have shape {points.shape}: give shape (n, {dimension})")
    return points


def _cell_means(values: Array) -> Array:
    for axis in range(values.ndim):
        a = np.moveaxis(values, axis, 0)
        values = np.moveaxis(0.5 * (a[1:] + a[:-1]), 0, axis)
    return values


def _cell_maxima(values: Array) -> Array:
    for axis in range(values.ndim):
        a = np.moveaxis(values, axis, 0)
        values = np.moveaxis(np.maximum(a[1:], a[:-1]), 0, axis)
    return values


def _linear_quantile(left: Array, right: Array, uniform: Array) -> Array:
    """Return the quantile t ∈ [0, 1] of the density proportional to left·(1 − t) + right·t."""
    # Root of ½(right − left)t² + left·t = ½u(left + right), in the form that does not cancel.
    root = np.sqrt(left**2 + uniform * (right**2 - left**2))
    total = left + root
    out = np.where(total > 0, uniform * (left + right) / np.where(total > 0, total, 1.0), uniform)
    return np.clip(out, 0.0, 1.0)


def densities_by_species(species: Sequence[str], dimension: int, u0: Any) -> dict[str, InitialDensity]:
    """Return species -> initial density, in the order of ``species``.

    Args:
        species: the model's species.
        dimension: the model's dimension.
        u0: one ``InitialDensity``, or a mapping with one for every species.

    Raises:
        InputError: something else, a missing or unknown species, or a density of another dimension.
    """
    if isinstance(u0, InitialDensity) and len(species) == 1:
        u0 = {species[0]: u0}
    if not isinstance(u0, Mapping):
        raise InputError(
            f"u0 is a {type(u0).__name__}: give an initial density such as kspde.GaussianMixture or "
            "kspde.CallableDensity"
            + (f", one for each of {', '.join(species)} in a dictionary" if len(species) > 1 else "")
        )
    if set(u0) != set(species):
        raise InputError(f"u0 has species {', '.join(map(str, u0)) or 'none'}: give {', '.join(species)}")
    for name, u in u0.items():
        if not isinstance(u, InitialDensity):
            raise InputError(f"u0[{name!r}] is a {type(u).__name__}: give a density such as kspde.GaussianMixture")
        if u.dimension != dimension:
            raise InputError(f"u0 has dimension {u.dimension}, the model {dimension}: give a density on R^{dimension}")
    return {name: u0[name] for name in species}
