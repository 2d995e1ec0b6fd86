"""The outer boundary of a mesh, and how far out points lie: what "near the boundary" means on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kspde.errors import InputError, check_finite
from kspde.fem.meshes.cells import components, cross
from kspde.typing import Array, Indices, Mask

__all__ = ["Outline", "ball", "outline"]

#: Directions in which the outline of a plane mesh is tabulated.
_DIRECTIONS = 4096


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The outer boundary of a domain about its centre, the same on all ranks.

    Attributes:
        centre: where distances are measured from, shape (d,).
        radius: the distance of the farthest point.
        inner: the distance of the nearest boundary point in any direction.
        radii: in the plane, the distance of the boundary in equidistant directions, beginning and ending with angle −π;
            for a ball, nothing; else that of ``nodes``.
        nodes: the nodes of the boundary.
        holes: which of them belong to holes.
    """

    centre: Array
    radius: float
    inner: float
    radii: Array
    nodes: Array
    holes: Mask

    @property
    def is_ball(self) -> bool:
        """Whether it is that of a ball."""
        return not len(self.radii)

    def reach(self, points: Array) -> Array:
        """Return how far out points lie: 0 in the centre, 1 on the outer boundary."""
        x = points - self.centre
        distance = np.linalg.norm(x, axis=1)
        if self.is_ball or not len(x):
            return distance / self.radius
        if x.shape[1] == 2:
            angles = (np.arctan2(x[:, 1], x[:, 0]) + np.pi) * (_DIRECTIONS / (2 * np.pi))
            return np.asarray(distance / np.interp(angles, np.arange(_DIRECTIONS + 1), self.radii))
        from scipy.spatial import cKDTree

        outer = self.nodes[~self.holes] - self.centre
        tree = cKDTree(outer / np.maximum(np.linalg.norm(outer, axis=1), 1e-300)[:, None])
        _, near = tree.query(x / np.maximum(distance, 1e-300)[:, None], k=1)
        return np.asarray(distance / self.radii[near])

    def outer(self, points: Array) -> Mask:
        """Return which points of the boundary belong to the outer one, not to a hole."""
        if not np.any(self.holes) or not len(points):
            return np.ones(len(points), dtype=bool)
        from scipy.spatial import cKDTree

        return np.asarray(~self.holes[cKDTree(self.nodes).query(points)[1]])


def ball(radius: float, centre: Array) -> Outline:
    """Return the outline of a ball."""
    none = np.zeros((0, len(centre)))
    return Outline(
        centre=centre, radius=radius, inner=radius, radii=np.zeros(0), nodes=none, holes=np.zeros(0, dtype=bool)
    )


def outline(points: Array, boundary: Indices, centre: object, name: str) -> Outline:
    """Return the outline of a mesh.

    Args:
        points: its points.
        boundary: the corners of its boundary faces, see ``kspde.fem.meshes.faults.check_mesh``.
        centre: the centre that the user gave; if None, the centre of mass of the domain.
        name: the file's.

    Raises:
        InputError: the centre is not a point, or outside the outline.
    """
    d = points.shape[1]
    numbers = np.unique(boundary)
    nodes = points[numbers]
    holes = _holes(numbers, boundary, nodes)
    middle = _centre_of_mass(points, boundary) if centre is None else check_finite("centre", centre, (d,))
    outer = nodes[~holes]
    distances = np.linalg.norm(outer - middle, axis=1)
    radius, radii = float(distances.max()), distances
    inside = bool(np.all((middle > outer.min(axis=0)) & (middle < outer.max(axis=0))))
    if d == 2:
        edges = boundary[~holes[np.searchsorted(numbers, boundary[:, 0])]]
        radii = _radii(points[edges[:, 0]] - middle, points[edges[:, 1]] - middle)
        inside &= bool(np.all(radii > 0))
        radii = np.where(radii > 0, radii, radius)
    if d == 1:
        radii, radius = np.zeros(0), 0.5 * float(outer.max() - outer.min())
    inner = float(radii.min(initial=radius))
    if centre is not None and not inside:
        where = ", ".join(f"{c:g}" for c in middle)
        raise InputError(f"centre = ({where}) is outside {name}: give a point in it, by default its centre of mass")
    return Outline(centre=middle, radius=radius, inner=inner, radii=radii, nodes=nodes, holes=holes)


def _holes(numbers: Indices, boundary: Indices, nodes: Array) -> Mask:
    """Return which nodes of the boundary are not on the part of it that encloses all others."""
    if boundary.shape[1] == 1:
        return np.zeros(len(numbers), dtype=bool)
    a = np.searchsorted(numbers, boundary)
    _, part = components(np.concatenate([a[:, [k, k - 1]] for k in range(boundary.shape[1])]), len(numbers))
    return np.asarray(part != part[np.argmax(nodes[:, 0])])


def _centre_of_mass(points: Array, boundary: Indices) -> Array:
    """Return the centre of mass of what a boundary encloses, by the divergence theorem."""
    used = points[np.unique(boundary)]
    origin = 0.5 * (used.min(axis=0) + used.max(axis=0))
    if points.shape[1] == 1:
        return np.asarray(origin)
    size = np.ptp(used, axis=0).max()
    x = (points[boundary] - origin) / size
    if points.shape[1] == 3:
        x = np.concatenate([x[:, [0, k, k + 1]] for k in range(1, x.shape[1] - 1)])
    volumes = np.linalg.det(x)
    corners = x.sum(axis=1) / (points.shape[1] + 1)
    return np.asarray(origin + size * (volumes @ corners) / volumes.sum())


def _radii(a: Array, b: Array) -> Array:
    """Return the largest distance of edges from the origin in equidistant directions; 0 where there are none."""
    angle = np.arctan2(a[:, 1], a[:, 0])
    turn = np.arctan2(cross(a, b), np.sum(a * b, axis=1))
    step = 2 * np.pi / _DIRECTIONS
    first = np.ceil((np.minimum(angle, angle + turn) + np.pi) / step - 1e-9).astype(np.int64)
    last = np.floor((np.maximum(angle, angle + turn) + np.pi) / step + 1e-9).astype(np.int64)
    count = np.maximum(last - first + 1, 0)
    edge = np.repeat(np.arange(len(a)), count)
    k = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    direction = np.stack([np.cos(k * step - np.pi), np.sin(k * step - np.pi)], axis=1)
    along = (b - a)[edge]
    crossing = cross(direction, along)
    safe = np.where(crossing != 0, crossing, 1.0)
    distance = np.where(crossing != 0, cross(a[edge], along) / safe, 0.0)
    farthest = np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))[edge]
    radii = np.zeros(_DIRECTIONS)
    np.maximum.at(radii, k % _DIRECTIONS, np.clip(distance, 0.0, farthest))
    return np.append(radii, radii[0])
