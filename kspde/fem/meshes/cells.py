"""The points and cells of a file made those of a mesh in R^d: numbers, plane, orientation, connected components."""

from __future__ import annotations

import numpy as np

from kspde.errors import InputError
from kspde.fem.meshes.files import DIMENSIONS
from kspde.typing import Array, Indices

__all__ = ["components", "cross", "flat", "oriented", "place", "sound_indices"]

#: for each corner of a cell in VTK's order, the corners its edges lead to, in right-handed order
_CORNERS: dict[str, list[tuple[int, ...]]] = {
    "line": [(0, 1)],
    "triangle": [(0, 1, 2)],
    "quad": [(0, 1, 3), (1, 2, 0), (2, 3, 1), (3, 0, 2)],
    "tetra": [(0, 1, 2, 3)],
    "hexahedron": [
        (0, 1, 3, 4), (1, 2, 0, 5), (2, 3, 1, 6), (3, 0, 2, 7),
        (4, 7, 5, 0), (5, 4, 6, 1), (6, 5, 7, 2), (7, 6, 4, 3),
    ],
}  # fmt: skip
#: the corners of a cell's mirror image
_MIRROR = {
    "line": [1, 0],
    "triangle": [0, 2, 1],
    "quad": [0, 3, 2, 1],
    "tetra": [0, 1, 3, 2],
    "hexahedron": [4, 5, 6, 7, 0, 1, 2, 3],
}
#: Sine of the flattest corner.
_FLAT = 1e-10

#: How far points may be off a plane, in units of the mesh's size.
_PLANE = 1e-6

#: Coordinates whose products are finite and positive.
_LARGEST = 1e100


def place(x: Array) -> str:
    """Return a point for a message."""
    return "(" + ", ".join(f"{c:.4g}" for c in x) + ")"


def cross(a: Array, b: Array) -> Array:
    """Return a_1 b_2 − a_2 b_1 of vectors of the plane, shape (..., 2)."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def components(pairs: Indices, n: int) -> tuple[int, Indices]:
    """Return the number of parts that n things form, which pairs of them link, and the part of each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), dtype=np.int8), tuple(pairs.T)), shape=(n, n))
    parts, part = connected_components(graph, directed=False)
    return int(parts), part


def sound_indices(points: Array, blocks: dict[str, Indices], name: str) -> tuple[Array, dict[str, Indices]]:
    """Return the points that cells use, and the cells renumbered for them.

    Raises:
        InputError: a cell names a point that is not there, or one whose coordinates are not finite numbers.
    """
    n = len(points)
    used = np.zeros(n, dtype=bool)
    for kind, cells in blocks.items():
        wrong = np.flatnonzero(((cells < 0) | (cells >= n)).any(axis=1))
        if len(wrong):
            first = cells[wrong[0]]
            raise InputError(
                f"{name} has {len(wrong)} {kind} cells that name points which are not there, the first of them number "
                f"{int(first[(first < 0) | (first >= n)][0])}, counted from 0, of {n} points: mend the file"
            )
        used[cells] = True
    finite = np.all(np.abs(points) <= _LARGEST, axis=1)  # a NaN is not
    wrong = np.flatnonzero(used & ~finite)
    if len(wrong):
        raise InputError(
            f"{name} has {len(wrong)} points with a coordinate that is not a finite number of size {_LARGEST:g} at "
            f"most, the first number {wrong[0]}, counted from 0: mend the file"
        )
    numbers = np.cumsum(used) - 1
    return np.ascontiguousarray(points[used]), {kind: numbers[cells] for kind, cells in blocks.items()}


def flat(points: Array, dimension: int, name: str) -> tuple[Array, str | None]:
    """Return points in space as points of a plane or line, and a note where it is not that of x, y or of x.

    Raises:
        InputError: they do not lie in one, or all coincide.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    size = float(np.linalg.norm(high - low))
    if not size > 1.0 / _LARGEST:
        raise InputError(f"{name} has all its points at {place(low)}: give a mesh of some extent")
    if dimension == 3 or np.all((high - low)[dimension:] <= _PLANE * size):
        return points[:, :dimension].copy(), None
    centred = (points - 0.5 * (low + high)) / size
    centred -= centred.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    normals = directions[:, : 3 - dimension]
    off = np.linalg.norm(centred @ normals, axis=1)
    if off.max() > _PLANE:
        far = int(np.argmax(off))
        what, which = ("plane", "its best plane") if dimension == 2 else ("straight", "its best line")
        raise InputError(
            f"{name} is not {what}: {int(np.sum(off > _PLANE))} of its {len(points)} points are off {which}, the one "
            f"at {place(points[far])} by {size * off[far]:.3g}: give a mesh whose points lie in one"
        )
    axes = _axes(directions[:, 3 - dimension :], normals)
    words = ", ".join(f"{label} = {_combination(axis)}" for label, axis in zip(("x", "y"), axes.T, strict=False))
    what = "the plane of x and y: its plane" if dimension == 2 else "the axis of x: its line"
    return points @ axes, f"{name} does not lie in {what} is used with the coordinates {words} of the file's (x, y, z)"


def _axes(span: Array, normals: Array) -> Array:
    """Return orthonormal axes of a plane or line, the file's where they lie in it."""
    shadows = span @ span.T  # columns: the unit vectors, projected
    first = int(np.argmax(np.linalg.norm(shadows, axis=0) > 0.5))
    axes = [shadows[:, first] / np.linalg.norm(shadows[:, first])]
    if span.shape[1] == 2:
        other = np.cross(normals[:, 0], axes[0])
        axes.append(other * np.sign(other[np.argmax(np.abs(other).round(9))]))
    out = np.stack(axes, axis=1)
    out[np.abs(out) < 1e-12] = 0.0
    return out / np.linalg.norm(out, axis=0)


def _combination(axis: Array) -> str:
    terms = [
        f"{'-' if c < 0 else '+'} {'' if abs(abs(c) - 1) < 1e-12 else f'{abs(c):.6g} '}{label}"
        for c, label in zip(axis, "xyz", strict=True)
        if c != 0
    ]
    return " ".join(terms).removeprefix("+ ")


def oriented(kind: str, points: Array, cells: Indices, name: str) -> Indices:
    """Return the cells with positive volumes: those numbered the other way round are mirrored.

    Raises:
        InputError: some are flat, or not convex.
    """
    dimension = DIMENSIONS[kind]
    low, high = np.full(len(cells), np.inf), np.full(len(cells), -np.inf)
    scale = np.ptp(points, axis=0).max()
    for corner, *others in _CORNERS[kind]:
        edges = np.stack([points[cells[:, k]] - points[cells[:, corner]] for k in others], axis=1) / scale
        lengths = np.prod(np.linalg.norm(edges, axis=2), axis=1)
        sine = _determinants(edges, dimension) / np.where(lengths > 0, lengths, 1.0)
        low, high = np.minimum(low, sine), np.maximum(high, sine)
    wrong = np.flatnonzero(~((low > _FLAT) | (high < -_FLAT)))
    if len(wrong):
        raise InputError(
            f"{name} has {len(wrong)} {kind} cells that are flat, twisted or not convex, the first at "
            f"{place(points[cells[wrong[0]]].mean(axis=0))}: mend the mesh"
        )
    turned = np.flatnonzero(high < 0)
    if len(turned):
        cells = cells.copy()
        cells[turned] = cells[turned][:, _MIRROR[kind]]
    return cells


def _determinants(edges: Array, dimension: int) -> Array:
    """Return the determinants of matrices of shape (n, d, d)."""
    if dimension == 1:
        return np.asarray(edges[:, 0, 0])
    if dimension == 2:
        return cross(edges[:, 0], edges[:, 1])
    return np.asarray(np.linalg.det(edges))
