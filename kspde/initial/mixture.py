"""Gaussian mixtures, and densities of observed positions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_finite, check_integer, check_number, check_scale, shortened, shown
from kspde.initial.base import InitialDensity, points_of
from kspde.initial.reading import check_delimiter
from kspde.runtime.files import MOST_TEXT, open_regular
from kspde.typing import Array, Ids, Indices, RandomNumbers

__all__ = ["GaussianMixture", "observed_positions", "read_positions"]

#: The most characters in a row of a table of positions.
_LONGEST = 1 << 16

#: The number of points × components evaluated at once: it bounds the memory of a large mixture.
_CHUNK = 4_000_000


class GaussianMixture(InitialDensity):
    r"""A mixture of isotropic Gaussians, :math:`u_0 = \text{mass} \sum_j w_j\, G(\cdot - m_j; s_j)`.

    Args:
        weights: the weights w_j > 0 with sum 1, shape (k,).
        means: the means m_j, shape (k, d).
        stds: the standard deviations s_j > 0 in each coordinate, shape (k,).
        mass: the total mass.

    Raises:
        InputError: wrong shapes, non-finite numbers, weights not positive or not summing to 1, s_j ≤ 0.
    """

    def __init__(self, *, weights: npt.ArrayLike, means: npt.ArrayLike, stds: npt.ArrayLike, mass: float = 1.0) -> None:
        self.weights = check_finite("weights", weights, (None,))
        k = len(self.weights)
        self.means = check_finite("means", means, (k, None))
        self.stds = check_finite("stds", stds, (k,))
        self.mass = check_scale("mass", mass)
        self.dimension = self.means.shape[1]
        if self.dimension > 3:
            raise InputError(f"means have dimension {self.dimension}: give shape (k, d) with d = 1, 2 or 3")
        if np.any(self.weights <= 0):
            raise InputError(f"weights contain {self.weights.min():g}: give positive numbers that sum to 1")
        if abs(self.weights.sum() - 1) > 1e-9:
            raise InputError(f"weights sum to {self.weights.sum():.10g}: give positive numbers that sum to 1")
        if np.any(self.stds <= 0):
            raise InputError(f"stds contain {self.stds.min():g}: give positive lengths")

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={getattr(self, name).tolist()}" for name in ("weights", "means", "stds"))
        whole = f"GaussianMixture({parts}, mass={self.mass:g})"
        counted = f"GaussianMixture({len(self.weights)} components, dimension={self.dimension}, mass={self.mass:g})"
        return whole if len(whole) <= 120 else counted

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u_0 at points of shape (n, d)."""
        return self.summed(x, self.mass * self.weights)

    def summed(self, x: npt.ArrayLike, masses: Array) -> Array:
        """Return the sum of the Gaussians with other masses, of either sign, at points of shape (n, d)."""
        points = points_of(x, self.dimension)
        scale = masses / (2 * np.pi * self.stds**2) ** (self.dimension / 2)
        out = np.empty(len(points))
        step = max(1, _CHUNK // len(scale))
        for start in range(0, len(points), step):
            part = points[start : start + step]
            r2 = sum(np.subtract.outer(x, m) ** 2 for x, m in zip(part.T, self.means.T, strict=True))
            out[start : start + step] = np.exp(-0.5 * r2 / self.stds**2) @ scale
        return out

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the mass outside the box, by error functions without cancellation."""
        from scipy.special import ndtr

        above, below = self.means - bounds[1], bounds[0] - self.means
        tails = ndtr(above / self.stds[:, None]) + ndtr(below / self.stds[:, None])
        with np.errstate(divide="ignore"):  # a component that lies outside entirely has a tail of 1
            log_inside = np.log1p(-np.minimum(tails, 1.0)).sum(axis=1)
        return float(self.weights @ -np.expm1(log_inside))

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw a component by its weight, then from the Gaussian around its mean."""
        choice = self.chosen(random, ids)
        normals = random.normals(ids, 1, self.dimension)
        return self.means[choice] + self.stds[choice, None] * normals

    def probes(self) -> Array | None:
        """Return points drawn from the mixture, and the means."""
        drawn = super().probes()
        return self.means if drawn is None else np.concatenate([drawn, self.means[: len(drawn)]])

    def chosen(self, random: RandomNumbers, ids: Ids) -> Indices:
        """Return the components that the particles' points are drawn from, shape (len(ids),)."""
        choice = np.searchsorted(np.cumsum(self.weights), random.uniforms(ids, 0, 1)[:, 0])
        return np.minimum(choice, len(self.weights) - 1)


def observed_positions(
    positions: npt.ArrayLike | str | Path,
    *,
    bandwidth: float,
    mass: float = 1.0,
    columns: Sequence[str | int] = ("x", "y"),
    delimiter: str = ",",
    skip_rows: int = 0,
    scale: float = 1.0,
    image_rows: int | None = None,
) -> GaussianMixture:
    """Return the kernel density estimate of observed cell positions, with a Gaussian kernel.

    Args:
        positions: an array of shape (n, d), or the path of a .csv file.
        bandwidth: the kernel's standard deviation in each coordinate, in units of the scaled coordinates.
        mass: the total mass.
        columns: the names of the coordinate columns, which the file's first row has; or their numbers from 0 on, in a
            file without such a row.
        delimiter: what separates the entries of a row of the file: one character.
        skip_rows: how many lines at the file's beginning are skipped.
        scale: what the coordinates are multiplied by, such as the length of a pixel.
        image_rows: the number H of rows of the image, where y counts its rows from 0 at the top, downwards: y becomes H
            − 1 − y, as in a ``GridDensity`` of that image.

    Raises:
        InputError: a file that is missing, lacks a column, or has a value that is not a finite number; bandwidth ≤ 0;
            no columns, or a repeated one.
    """
    check_number("bandwidth", bandwidth, above=0)
    check_number("scale", scale, above=0)
    points = positions
    if isinstance(positions, (str, Path)):
        points = read_positions(positions, columns, delimiter=delimiter, skip_rows=skip_rows)
    points = check_finite("positions", points, (None, None))
    if image_rows is not None:
        if points.shape[1] != 2:
            raise InputError(f"image_rows = {shown(image_rows)} is for positions in a plane: leave it out")
        rows = check_integer("image_rows", image_rows, at_least=1)
        points = np.stack([points[:, 0], rows - 1 - points[:, 1]], axis=1)
    n = len(points)
    return GaussianMixture(
        weights=np.full(n, 1.0 / n), means=scale * points, stds=np.full(n, float(bandwidth)), mass=mass
    )


def _lines(file: TextIO, path: str | Path, skip_rows: int) -> Iterator[str]:
    """Yield the lines of a table that are not comments."""
    while line := file.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise InputError(f"{path} has a line of more than {_LONGEST} characters: give one row of numbers per line")
        if skip_rows > 0:
            skip_rows -= 1
        elif not line.startswith("#"):
            yield line


def read_positions(
    path: str | Path, columns: Sequence[str | int], *, delimiter: str = ",", skip_rows: int = 0
) -> Array:
    """Read coordinate columns of a .csv file: shape (n, d). Arguments are those of ``observed_positions``.

    Raises:
        InputError: the file is missing or unreadable, lacks a column, or a value is not a finite number.
    """
    if isinstance(columns, str) or not columns or len(set(columns)) < len(columns):
        raise InputError(f"columns = {shown(columns)} is not valid: give the name of a column for each coordinate")
    numbered = all(isinstance(c, int) and not isinstance(c, bool) and c >= 0 for c in columns)
    if not numbered and not all(isinstance(c, str) for c in columns):
        raise InputError(f"columns = {shown(list(columns))} is not valid: give names alone, or numbers from 0 on alone")
    check_integer("skip_rows", skip_rows, at_least=0)
    check_delimiter(delimiter)
    try:
        # Spreadsheets write a byte order mark, and people put blanks around names.
        with io.TextIOWrapper(open_regular(path, MOST_TEXT), newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(_lines(file, path, skip_rows), delimiter=delimiter, skipinitialspace=True)
            found = () if numbered else tuple(name.strip() for name in next(reader, ()))
            rows = [row for row in reader if row]
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read positions from {path}: byte {error.start} is not UTF-8, save it so") from None
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read positions from {path}: {reason}") from None
    missing = [] if numbered else [c for c in columns if c not in found]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r}: its first row must name {', '.join(map(str, columns))}, separated "
            f"by {'commas' if delimiter == ',' else shown(delimiter)} (it reads {shown(', '.join(found))})"
        )
    twice = [c for c in columns if found.count(c) > 1]
    if twice:
        raise InputError(f"{path} has {found.count(twice[0])} columns {twice[0]!r}: give each its own name")
    if not rows:
        raise InputError(f"{path} has no positions: give one row of numbers per cell below the names of the columns")
    places = [int(c) if numbered else found.index(str(c)) for c in columns]
    out = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        if not numbered and any(row[len(found) :]):  # decimal commas, for one
            raise InputError(
                f"{path}, data row {i + 1} has more entries than the first row names: {shortened(', '.join(found))}"
            )
        for j, (column, place) in enumerate(zip(columns, places, strict=True)):
            entry = row[place] if place < len(row) else None
            try:
                out[i, j] = np.nan if entry is None else float(entry)
            except ValueError:
                out[i, j] = np.nan
            if not np.isfinite(out[i, j]):
                what = "is missing" if entry is None else f"= {shown(entry)} is not a finite number"
                name = f"column {column}" if numbered else column
                raise InputError(f"{path}, data row {i + 1}: {name} {what}")
    return out
