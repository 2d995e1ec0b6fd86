r"""Boxes graded towards the peaks of a density, wherever they are, and how a density is moved from one to another.

**Cells.** In each direction the width of a cell at x is

.. math:: h(x) = \min\Big(h_0(x),\; \min_i \big(p\,w_i/n + g \max(|x - x_i| - w_i/2,\, 0)\big)\Big),

h_0 that of the box as it was given, x_i the peaks and w_i their widths, p the degree, n the number of nodes across each
peak, and g the growth from cell to cell. Peaks and the ends are vertices; between two of them vertices are equidistant
in ∫dx/h.

**Moving** a density conserves its mass. For elements of degree p > 1 it is evaluated at the new nodes, with an error of
the order of the elements', and scaled. For those of degree 1, in each direction in turn, the masses of all nodes up to
x, known at the midpoints between nodes, are interpolated by a spline of degree 5 that never decreases: it is cut where
it leaves the interval between neighbouring known values. (With W these masses, :math:`W + h^2 u'/24` is ∫u up to
there to O(h⁴), so this is what is interpolated.) So u ≥ 0 is kept, and the mass in any box of midpoints, to O(h⁴).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from kspde.domains import Box
from kspde.fem.spaces.box import BoxSpace
from kspde.typing import Array

__all__ = ["GradedBox", "Peak", "graded", "moved", "peaks", "with_vertices"]

#: Heights of peaks, in units of the largest, below which they are left to the box as it was given.
_LEAST_HEIGHT = 1e-4
#: Peaks that are looked at.
_MOST_PEAKS = 64
#: Growth of cells, and its bound by 2p/n where n nodes cross a peak.
_GROWTH = 0.4
#: Share of a cell within which places are the same.
_SAME = 1e-2


@dataclass(frozen=True, kw_only=True)
class GradedBox(Box):
    """A box with its own cell vertices in every direction.

    Attributes:
        places: the vertices, ascending, from −half_width to half_width: relative to the centre.
    """

    places: tuple[tuple[float, ...], ...]

    @property
    def directions(self) -> tuple[Array, ...]:
        """The cell vertices of every direction."""
        return tuple(np.array(one) for one in self.places)

    @property
    def nodes_per_direction(self) -> int:
        """The largest number of nodes in a direction."""
        return max(len(one) - 1 for one in self.places) * self.degree + 1

    def coarser(self) -> None:
        """Return None: its cells follow peaks."""

    def nodes(self, dimension: int) -> float:
        """Return the number of nodes."""
        return float(np.prod([(len(one) - 1) * self.degree + 1.0 for one in self.places]))


class Peak(NamedTuple):
    """A local maximum of a density.

    Attributes:
        place: where it is, relative to the box's centre, between nodes by parabolas, shape (d,).
        height: its value at the node.
        width: the least over the directions of its width at half its height.
        nodes: the least over the directions of the number of nodes across it there.
    """

    place: Array
    height: float
    width: float
    nodes: int


def peaks(space: Any, nodal: Array) -> list[Peak]:
    """Return the peaks that a density on a ``BoxSpace`` has, the highest first. Collective.

    On the lines through it in all directions the density falls to half a peak's height before it exceeds that height.
    """
    shape, d = space.shape, space.dimension
    u = nodal.reshape(-1, *shape[1:])
    rows = space.comm.allgather((u[0], u[-1]))
    above = rows[space.comm.rank - 1][1][None] if space.comm.rank else u[:0]
    below = rows[space.comm.rank + 1][0][None] if space.comm.rank < space.comm.size - 1 else u[:0]
    wide = np.concatenate([above, u, below])
    highest = float(space.maximum(np.array([u.max(initial=0.0)]))[0])
    found = np.argwhere(u > _LEAST_HEIGHT * highest)
    values = u[tuple(found.T)]
    keep = np.ones(len(found), dtype=bool)
    for offset in np.ndindex(*(3,) * d):
        step = np.array(offset) - 1
        if not step.any():
            continue
        where = found + step
        where[:, 0] += len(above)
        inside = np.all((where >= 0) & (where < wide.shape), axis=1)
        there = np.where(inside, wide[tuple(np.clip(where, 0, np.array(wide.shape) - 1).T)], -np.inf)
        keep &= (values > there) | ((values == there) & (tuple(step) > (0,) * d))
    mine = [(float(v), tuple(int(k) for k in i)) for v, i in zip(values[keep], found[keep], strict=True)]
    mine = [(v, (i[0] + space.slabs.first, *i[1:])) for v, i in mine]
    candidates = sorted((one for part in space.comm.allgather(mine) for one in part), reverse=True)
    out = (_peak(space, u, height, node) for height, node in candidates[:_MOST_PEAKS])
    return [peak for peak in out if peak is not None]


def _peak(space: BoxSpace, u: Array, height: float, node: tuple[int, ...]) -> Peak | None:
    """Return the peak at a node, or None if it does not stand out. Collective."""
    first, last = space.slabs.first, space.slabs.last
    place: list[float] = []
    widths: list[float] = []
    counts: list[int] = []
    for a, axis in enumerate(space.axes):
        line = np.zeros(len(axis))
        if a == 0:
            line[first:last] = np.moveaxis(u, 0, -1)[node[1:]]
        elif first <= node[0] < last:
            line[:] = np.moveaxis(u[node[0] - first], a - 1, -1)[(*node[1:a], *node[a + 1 :])]
        line, k, x = space.total(line), node[a], axis.nodes
        ends: list[int] = []
        for side in (line[k::-1], line[k:]):
            low, over = np.flatnonzero(side < 0.5 * height), np.flatnonzero(side > height)
            stop = int(low[0]) if len(low) else len(side)
            if len(over) and over[0] < stop:
                return None
            ends.append(stop)
        left, right = k - ends[0], k + ends[1]
        if left < 0 and right >= len(x):
            return None  # flat
        edges = [_crossing(x, line, i, j, 0.5 * height) for i, j in ((left, left + 1), (right, right - 1))]
        if left < 0 or right >= len(x):  # at the wall, where it is half a peak
            whole = 2.0 * (edges[1] - x[k] if left < 0 else x[k] - edges[0])
            counts.append(2 * (right - left - 2) + 1)
        else:
            whole = edges[1] - edges[0]
            counts.append(right - left - 1)
        widths.append(whole)
        place.append(_vertex(x[k - 1 : k + 2], line[k - 1 : k + 2]) if 0 < k < len(x) - 1 else float(x[k]))
    return Peak(np.array(place), height, float(min(widths)), min(counts))


def _crossing(x: Array, line: Array, low: int, high: int, value: float) -> float:
    """Return where a line passes a value between neighbouring nodes; the end of the axis if there is none."""
    if low < 0 or low >= len(x):
        return float(x[high])
    share = (value - line[low]) / (line[high] - line[low])
    return float(x[low] + share * (x[high] - x[low]))


def _vertex(x: Array, y: Array) -> float:
    """Return the place of the maximum of a parabola through three points, the second of which is the highest."""
    a, b = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    if a - b <= 0.0:
        return float(x[1])
    return float(np.clip(0.5 * (x[0] + x[1]) + a * 0.5 * (x[2] - x[0]) / (a - b), x[0], x[2]))


def graded(box: Box, found: Sequence[Peak], nodes: float) -> GradedBox:
    """Return a box whose cells are those of ``box``, or smaller, with so many nodes across each peak.

    Args:
        box: the box.
        found: the peaks.
        nodes: the number of nodes across each.
    """
    p = box.degree
    growth = min(_GROWTH, 2.0 * p / nodes)
    sizes = np.array([p * peak.width / nodes for peak in found])
    directions = []
    for a, (half, base) in enumerate(zip(box.half_widths.tolist(), box.directions, strict=True)):
        places = np.array([float(peak.place[a]) for peak in found])
        places = np.where(np.abs(places) < _SAME * sizes, 0.0, places)
        directions.append(_vertices(base, half, places, sizes, 0.5 * nodes / p, growth))
    return with_vertices(box, directions)


def with_vertices(box: Box, directions: Sequence[Array]) -> GradedBox:
    """Return a box with these vertices in place of its own."""
    given = {field.name: getattr(box, field.name) for field in fields(Box)}
    return GradedBox(**given, places=tuple(tuple(one.tolist()) for one in directions))


def _vertices(base: Array, half: float, places: Array, sizes: Array, inner: float, growth: float) -> Array:
    """Return the vertices of one direction; cells within ``inner`` of their sizes from a peak are alike."""
    anchors, least = [-half], [np.inf]
    for x, size in sorted(zip(places.tolist(), sizes.tolist(), strict=True)):
        near = min(size, least[-1])
        if x - anchors[-1] < near:  # two peaks, or a peak and the end, in one cell
            least[-1] = near
        elif half - x > size:
            anchors.append(x)
            least.append(size)
    anchors.append(half)
    distances = np.geomspace(0.05 * sizes.min(initial=half), 2 * half, 600)
    samples = np.concatenate([base, anchors, *(x + sign * distances for x in anchors for sign in (-1.0, 1.0))])
    x = np.unique(np.clip(samples, -half, half))
    width = np.interp(x, 0.5 * (base[1:] + base[:-1]), np.diff(base))
    for place, size in zip(places, sizes, strict=True):
        width = np.minimum(width, size + growth * np.maximum(np.abs(x - place) - inner * size, 0.0))
    total = np.concatenate([[0.0], np.cumsum(0.5 * (1.0 / width[1:] + 1.0 / width[:-1]) * np.diff(x))])
    parts = [np.array([-half])]
    for a, b in pairwise(anchors):
        start, end = np.interp([a, b], x, total)
        count = max(1, int(np.ceil(end - start - 1e-6)))
        parts.append(np.interp(np.linspace(start, end, count + 1)[1:-1], total, x))
        parts.append(np.array([b]))
    out = np.concatenate(parts)
    if np.all(np.abs(out + out[::-1]) <= _SAME * np.gradient(out)):
        out = 0.5 * (out - out[::-1])
    return out


def moved(old: Any, new: Any, unknowns: Array, species: int) -> Array:
    """Return nodal unknowns of one space on another: densities with their masses, and fields. Collective.

    Args:
        old: the ``BoxSpace`` that they are from.
        new: the other one, of the same degree.
        unknowns: the unknowns, shape (species + fields, ...).
        species: the number of densities.
    """
    part = slice(new.slabs.first, new.slabs.last)
    if old.degree > 1:
        nodes = zip(new.axes, old.bounds.T, new.centre, strict=True)
        axes = [np.clip(middle + axis.nodes, *ends) for axis, ends, middle in nodes]
        out = np.stack([old.on_grid(row, axes)[part].reshape(new.mass.shape) for row in unknowns])
    else:
        rows = [_whole(old, row) for row in unknowns]
        rows = [_remapped(old, new, row) if i < species else _splined(old, new, row) for i, row in enumerate(rows)]
        out = np.stack([row[part].reshape(new.mass.shape) for row in rows])
    masses, found = old.integral(*unknowns[:species]), new.integral(*out[:species])
    for i, (mass, now) in enumerate(zip(masses, found, strict=True)):
        out[i] *= mass / now if now > 0.0 else 1.0
    return out


def _whole(space: BoxSpace, nodal: Array) -> Array:
    """Return a nodal array of all ranks. Collective."""
    whole = np.zeros(space.shape)
    whole[space.slabs.first : space.slabs.last] = nodal.reshape(-1, *space.shape[1:])
    return space.total(whole)


def _splined(old: BoxSpace, new: BoxSpace, values: Array) -> Array:
    """Return the cubic splines through the values of a smooth function, at the new nodes."""
    from scipy.interpolate import make_interp_spline

    for a, (before, after) in enumerate(zip(old.axes, new.axes, strict=True)):
        values = make_interp_spline(before.nodes, values, k=min(3, len(before) - 1), axis=a)(after.nodes)
    return np.asarray(values)


def _remapped(old: BoxSpace, new: BoxSpace, density: Array) -> Array:
    """Return a density of elements of degree 1 at the new nodes, with its mass, and not below 0 if it was not."""
    from scipy.interpolate import make_interp_spline

    for a, (before, after) in enumerate(zip(old.axes, new.axes, strict=True)):
        u = np.moveaxis(density, a, 0)
        ends = before.nodes[[0, -1]]
        faces, places = (
            np.concatenate([ends[:1], 0.5 * (x[1:] + x[:-1]), ends[1:]]) for x in (before.nodes, after.nodes)
        )
        column = (-1, *(1,) * (u.ndim - 1))
        known = np.concatenate([np.zeros((1, *u.shape[1:])), np.cumsum(before.mass.reshape(column) * u, axis=0)])
        smooth = known.copy()
        smooth[1:-1] += np.diff(before.nodes).reshape(column) * np.diff(u, axis=0) / 24.0
        spline = make_interp_spline(faces, smooth, k=min(5, len(faces) - 1), axis=0)
        wanted = spline(places)
        slopes = spline.derivative(2)(places[1:-1])
        wanted[1:-1] -= np.diff(after.nodes).reshape(column) ** 2 * slopes / 24.0
        cell = np.clip(np.searchsorted(faces, places, side="right") - 1, 0, len(faces) - 2)
        wanted = np.clip(wanted, np.minimum(known[cell], known[cell + 1]), np.maximum(known[cell], known[cell + 1]))
        wanted = np.maximum.accumulate(wanted, axis=0)
        wanted[0], wanted[-1] = known[0], known[-1]
        density = np.moveaxis(np.diff(wanted, axis=0) / after.mass.reshape(column), 0, a)
    return density
