"""Where the mass is, and the grid on which a density and a cloud are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspde.distances.bandwidth import IntegratedSquaredError
from kspde.distances.target import View
from kspde.errors import InputError
from kspde.grids import Array, Grid, mass_interval

__all__ = ["MOST", "bounding_box", "check_mass", "common_grid", "grid_for", "mass_grid"]

#: Share of u's mass that the grid may leave out on either side of each direction.
_TAIL = 1e-6

# By dimension: points a direction to find u's mass, to choose the bandwidth, at least and at most to compare on; points
# a bandwidth. Between half a bandwidth (the most allowed) and these the sums change in the third digit.
_SEARCH = {1: 2049, 2: 257, 3: 65}
_SURVEY = {1: 4097, 2: 257, 3: 81}
_LEAST = {1: 1024, 2: 160, 3: 48}
MOST = {1: 65536, 2: 1536, 3: 192}
_PER_BANDWIDTH = {1: 8.0, 2: 4.0, 3: 2.2}


def bounding_box(points: Array, comm: Any, dimension: int) -> Array:
    """Return the first and last coordinates of all ranks' points, shape (2, d)."""
    mine = np.full((2, dimension), [[np.inf], [-np.inf]])
    if len(points):
        mine = np.stack([points.min(axis=0), points.max(axis=0)])
    boxes = np.array(comm.allgather(mine))
    return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])


def common_grid(
    view: View, cloud: Array, n: int, bandwidth: float | None, resolution: int | None
) -> tuple[Grid, float]:
    """Return the grid to compare on, and the bandwidth. Collective.

    Args:
        view: the density.
        cloud: the particles' bounding box, shape (2, d).
        n: N.
        bandwidth: h, or None for the one that minimises the mean integrated squared error.
        resolution: points in the longest direction, or None.

    Raises:
        InputError: the grid asked for, or the largest allowed, cannot resolve the bandwidth, or it exceeds the domain.
    """
    d = view.dimension
    if bandwidth is not None and bandwidth > 2 * view.half_width:
        raise InputError(
            f"bandwidth = {bandwidth!r} is not valid: give one of at most {2 * view.half_width:g}, the domain's width"
        )
    domain = np.outer((-1.0, 1.0), np.full(d, view.half_width))
    cloud = np.clip(cloud, domain[0], domain[1])
    bulk, margin = _search(view)
    lower, upper = np.minimum(bulk[0], cloud[0]) - margin, np.maximum(bulk[1], cloud[1]) + margin
    survey = Grid.covering(np.maximum(lower, domain[0]), np.minimum(upper, domain[1]), [_SURVEY[d]] * d)
    values = view.on_grid(survey.axes)
    bulk = _bulk(survey, values)
    h = bandwidth
    if h is None:
        h = IntegratedSquaredError(survey, values / (values.sum() * survey.cell_volume), n).minimise()
        h = float(view.comm.bcast(h))
    padding = 6 * h
    lower = np.maximum(np.minimum(bulk[0], cloud[0]) - padding, domain[0])
    upper = np.minimum(np.maximum(bulk[1], cloud[1]) + padding, domain[1])
    return grid_for(lower, upper, h, resolution), h


def grid_for(lower: Array, upper: Array, h: float, resolution: int | None) -> Grid:
    """Return a grid between two points that resolves a bandwidth.

    Raises:
        InputError: none of the size asked for, or allowed, does.
    """
    d = len(lower)
    lengths = upper - lower
    if resolution is not None:
        spacing = float(lengths.max()) / (resolution - 1)
        if spacing > 0.5 * h:
            raise InputError(
                f"resolution = {resolution} gives a spacing of {spacing:.3g}, more than half the bandwidth {h:.3g}: "
                f"give resolution >= {int(np.ceil(2 * lengths.max() / h)) + 1}"
            )
        shape = [max(16, int(np.ceil(length / spacing)) + 1) for length in lengths]
    else:
        wanted = np.ceil(lengths * _PER_BANDWIDTH[d] / h) + 1
        shape = [int(np.clip(points, _LEAST[d], MOST[d])) for points in wanted]
        if np.any(lengths / (np.array(shape) - 1) > 0.5 * h):
            least = 2 * float(lengths.max()) / (MOST[d] - 1)
            raise InputError(
                f"bandwidth = {h:.3g} needs more than {MOST[d]} grid points across {lengths.max():.3g}: "
                f"give bandwidth >= {least:.3g}, or resolution"
            )
    return Grid.covering(lower, upper, shape)


def mass_grid(view: View) -> Grid:
    """Return a grid over the mass of a density. Collective.

    Raises:
        InputError: the density has no mass.
    """
    (lower, upper), _ = _search(view)
    return Grid.covering(lower, upper, [_SURVEY[view.dimension]] * view.dimension)


def _search(view: View) -> tuple[Array, Array]:
    """Return a box that holds the mass but the tails, shape (2, d), and by how much it may be short. Collective."""
    d = view.dimension
    if view.box is not None:
        lower, upper = np.tile(view.box, view.r)
        search = Grid.covering(lower, upper, [_SEARCH[d]] * d)
    else:
        search = Grid.covering(np.full(d, -view.half_width), np.full(d, view.half_width), [_SEARCH[d]] * d)
    # A peak between the points of this coarse grid shows on a finer one.
    return _bulk(search, view.on_grid(search.axes)), search.spacing


def _bulk(grid: Grid, values: Array) -> Array:
    """Return the box that holds u's mass but the tails, shape (2, d)."""
    values = np.maximum(values, 0.0)
    if values.sum() <= 0:
        raise InputError(
            f"the density has no mass between {grid.lower.tolist()} and {grid.upper.tolist()}, sampled at "
            f"{grid.shape[0]} points a direction: check the solution and its domain"
        )
    sides = [
        mass_interval(axis, values.sum(axis=tuple(b for b in range(grid.dimension) if b != a)), _TAIL)
        for a, axis in enumerate(grid.axes)
    ]
    return np.array(sides).T


def check_mass(found: float, mass: float, grid: Grid) -> None:
    """Refuse a grid on which the density does not have its mass.

    Raises:
        InputError: the sum over the grid is off by more than a hundredth.
    """
    if abs(found - mass) > 0.01 * mass:
        raise InputError(
            f"the density has mass {found:.6g} on the {' x '.join(map(str, grid.shape))} grid and {mass:.6g} in all: "
            f"give a resolution above {max(grid.shape)}, or a domain on whose boundary the density is small"
        )
