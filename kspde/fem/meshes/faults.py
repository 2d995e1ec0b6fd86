"""Faults of a mesh: what, how often and where, found in time O(n log n), lengths compared with those of cells nearby.

A mesh may be used if its cells form one domain: each face belongs to one or two cells, which lie on different sides of
it; cells that meet in more than corners meet in faces; and no two overlap. That is so if every face is used once from
each side at most, no node of the boundary lies in or on a cell that does not have it as a corner, and no two boundary
edges cross. (In space boundary faces may still cross that have no corner in each other's cells.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kspde.errors import InputError
from kspde.fem.meshes.cells import components, cross, place
from kspde.fem.meshes.files import DIMENSIONS
from kspde.typing import Array, Indices

__all__ = ["check_mesh", "merged"]

#: the faces of a cell, seen from outside in one sense of rotation
_FACES: dict[str, list[tuple[int, ...]]] = {
    "line": [(0,), (1,)],
    "triangle": [(0, 1), (1, 2), (2, 0)],
    "quad": [(0, 1), (1, 2), (2, 3), (3, 0)],
    "tetra": [(0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2)],
    "hexahedron": [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)],
}
#: what faces are called, by dimension
_NAMES = {1: "points", 2: "edges", 3: "faces"}

#: Nodes closer than this share of the shortest edge at them are one, and one this near a cell is on it.
_NEAR = 1e-5

#: Pairs of a node and a cell near it that are examined: in all, beside some for each cell, and at a time.
_MOST_PAIRS, _PART = 50_000_000, 1_000_000


class _Faces(NamedTuple):
    """The faces of a mesh: face k of cell c has the number c·(faces of a cell) + k."""

    #: the corners of boundary faces, shape (m, corners), seen from outside in one sense of rotation
    boundary: Indices
    #: pairs of faces that are one
    pairs: Indices
    #: a face of each three or more that are one, and one of two on the same side of a face
    many: Indices
    folded: Indices


def _faces(kind: str, cells: Indices, n: int) -> _Faces:
    table = np.array(_FACES[kind])
    corners = cells[:, table].reshape(-1, table.shape[1])
    if table.shape[1] == 1:
        keys, turned = corners[:, 0], np.arange(len(corners)) % 2 == 1
    elif table.shape[1] == 2:
        a, b = corners.T
        keys, turned = np.minimum(a, b) * n + np.maximum(a, b), a > b
    else:
        keys = _keys(corners, n)
        first = np.argmin(corners, axis=1)
        around = [np.take_along_axis(corners, ((first + s) % table.shape[1])[:, None], 1)[:, 0] for s in (1, -1)]
        turned = around[0] > around[1]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], keys[order[1:]] != keys[order[:-1]]]))
    counts = np.diff(np.append(starts, len(keys)))
    twice = starts[counts == 2]
    pairs = np.stack([order[twice], order[twice + 1]], axis=1)
    folded = pairs[turned[pairs[:, 0]] == turned[pairs[:, 1]], 0]
    return _Faces(corners[order[starts[counts == 1]]], pairs, order[starts[counts > 2]], folded)


def _keys(corners: Indices, n: int) -> Indices:
    """Return sums of random numbers of the corners: two sets have the same one with probability 2^-64."""
    return np.random.default_rng(7).integers(-(1 << 62), 1 << 62, n)[corners].sum(axis=1)


def check_mesh(kind: str, points: Array, cells: Indices, name: str) -> Indices:
    """Return the corners of the boundary faces of a mesh of oriented cells, the inside to the left of an edge.

    Raises:
        InputError: duplicate cells, faces of three cells, nodes that coincide, cells that overlap, nodes that hang on
            other cells' faces, parts that are not connected.
    """
    _, first, counts = np.unique(_keys(cells, len(points)), return_index=True, return_counts=True)
    if np.any(counts > 1):
        where = place(points[cells[first[counts > 1][0]]].mean(axis=0))
        raise InputError(f"{name} has {len(cells) - len(first)} duplicate cells, the first at {where}: remove them")
    faces = _faces(kind, cells, len(points))
    for wrong, words in (
        (faces.many, "that belong to three cells or more"),
        (faces.folded, "with two cells beside each other on one side"),
    ):
        if len(wrong):
            cell, face = np.divmod(wrong[0], len(_FACES[kind]))
            where = place(points[cells[cell, list(_FACES[kind][face])]].mean(axis=0))
            what = f"{len(wrong)} {_NAMES[DIMENSIONS[kind]]} {words}"
            raise InputError(f"{name} has {what}, so cells overlap, the first at {where}: mend the mesh")
    parts, part = components(faces.pairs // len(_FACES[kind]), len(cells))
    so = f" (its cells form {parts} parts)" if parts > 1 else ""
    _check_boundary(kind, points, cells, faces.boundary, f"{name}{so}")
    if parts > 1:
        sizes = np.bincount(part)
        where = place(points[cells[np.argmax(part == np.argmin(sizes))]].mean(axis=0))
        ends = np.unique(np.stack([cells.ravel(), np.repeat(part, cells.shape[1])], axis=1), axis=0)[:, 0]
        touching = ends[1:][ends[1:] == ends[:-1]]
        how = f"touch only in points, the first at {place(points[touching[0]])}" if len(touching) else "do not touch"
        raise InputError(
            f"{name} falls into {parts} parts that {how}; the smallest has {sizes.min()} cells, one at {where}: give a "
            "mesh of one connected domain"
        )
    return faces.boundary


def _check_boundary(kind: str, points: Array, cells: Indices, boundary: Indices, name: str) -> None:
    """Refuse nodes of the boundary that coincide, or lie in or on cells that do not have them."""
    nodes = np.unique(boundary)
    twins = nodes[_first_copies(kind, points, cells, nodes) != np.arange(len(nodes))]
    if len(twins):
        raise InputError(
            f"{name} has {len(twins)} nodes that coincide with others, the first at {place(points[twins[0]])}, so "
            "nothing passes there: merge them (MeshFile(merge=True); in gmsh BooleanFragments or Coherence before "
            "meshing)"
        )
    inside, on = _strangers(kind, points, cells, nodes, name)
    remedy = "give a mesh without overlaps (in gmsh BooleanFragments before meshing)"
    if len(inside):
        raise InputError(
            f"{name} has cells that overlap: {len(inside)} nodes of its boundary lie inside others, the first at "
            f"{place(points[inside[0]])}; {remedy}"
        )
    if len(on):
        face = _NAMES[DIMENSIONS[kind]]
        raise InputError(
            f"{name} has {len(on)} hanging nodes, the first at {place(points[on[0]])}: they lie on {face} of cells "
            f"that do not have them, so {face} of the boundary lie on others and nothing passes there; give a mesh "
            f"whose cells share whole {face}"
        )
    if DIMENSIONS[kind] == 2:
        crossings = _crossings(points, boundary, name)
        if len(crossings):
            raise InputError(
                f"{name} has cells that overlap: edges of its boundary cross in {len(crossings)} points, the first at "
                f"{place(crossings[0])}; {remedy}"
            )


def _first_copies(kind: str, points: Array, cells: Indices, nodes: Indices) -> Indices:
    """Return for each of some nodes, which are sorted, the place of the first one that it coincides with."""
    if not len(nodes):
        return np.zeros(0, dtype=np.int64)
    from scipy.spatial import cKDTree

    x, sizes = points[nodes], _shortest_edges(kind, points, cells, nodes)
    _, first, number = np.unique(x, axis=0, return_index=True, return_inverse=True)
    number = number.ravel()
    pairs = [np.stack([first[number], np.arange(len(x))], axis=1)]
    if len(first) > 1:
        least = np.full(len(first), np.inf)
        np.minimum.at(least, number, sizes)
        distance, near = cKDTree(x[first]).query(x[first], k=min(9, len(first)))
        one, k = np.nonzero(distance <= _NEAR * np.minimum(least[:, None], least[near]))
        pairs.append(np.stack([first[one], first[near[one, k]]], axis=1))
    _, label = components(np.concatenate(pairs), len(x))
    _, first = np.unique(label, return_index=True)
    return np.asarray(first[label], dtype=np.int64)


def _shortest_edges(kind: str, points: Array, cells: Indices, nodes: Indices) -> Array:
    """Return the length of the shortest edge at each of some nodes, which are sorted."""
    out = np.full(len(points), np.inf)
    chosen = np.zeros(len(points), dtype=bool)
    chosen[nodes] = True
    cells = cells[chosen[cells].any(axis=1)]
    around = [(0, 1)] if kind == "line" else _FACES[kind]
    for a, b in {(min(f[k - 1], f[k]), max(f[k - 1], f[k])) for f in around for k in range(len(f))}:
        length = np.linalg.norm(points[cells[:, a]] - points[cells[:, b]], axis=1)
        np.minimum.at(out, cells[:, a], length)
        np.minimum.at(out, cells[:, b], length)
    return out[nodes]


def merged(kind: str, points: Array, cells: Indices) -> tuple[Array, Indices]:
    """Return a mesh in which nodes of the boundary that coincide are one."""
    nodes = np.unique(_faces(kind, cells, len(points)).boundary)
    numbers = np.arange(len(points))
    numbers[nodes] = nodes[_first_copies(kind, points, cells, nodes)]
    cells = numbers[cells]
    used, renumbered = np.unique(cells, return_inverse=True)
    return points[used], renumbered.reshape(cells.shape)


def _strangers(kind: str, points: Array, cells: Indices, nodes: Indices, name: str) -> tuple[Indices, Indices]:
    """Return the nodes that lie inside the mesh without being a corner there, and others on cells without them."""
    corners = points[cells]
    centres = corners.mean(axis=1)
    reach = np.sqrt(((corners - centres[:, None]) ** 2).sum(axis=2).max(axis=1))
    del corners
    inside, on = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for part, cell in _near(points[nodes], np.zeros(len(nodes)), centres, (1 + _NEAR) * reach, name):
        node = nodes[part]
        foreign = ~np.any(cells[cell] == node[:, None], axis=1)
        node, cell = node[foreign], cell[foreign]
        least = _least_coordinate(kind, points[node], points[cells[cell]])
        inside.append(node[least > _NEAR])
        on.append(node[np.abs(least) <= _NEAR])
    touched, count = np.unique(np.concatenate(on), return_counts=True)
    # In the plane a node on two cells is on an edge that is not of the boundary.
    between = count > 1 if points.shape[1] == 2 else np.zeros(len(touched), dtype=bool)
    within = np.union1d(np.concatenate(inside), touched[between])
    return within, np.setdiff1d(touched, within)


def _crossings(points: Array, edges: Indices, name: str) -> Array:
    """Return where edges of the boundary of a plane mesh cross, shape (n, 2): no end lies on another edge."""
    ends = points[edges]
    middles = ends.mean(axis=1)
    half = 0.5 * np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    found = [np.zeros((0, 2))]
    for i, j in _near(middles, half, middles, half, name):
        apart = (i < j) | (half[i] < half[j])
        apart &= ~np.any(edges[i][:, :, None] == edges[j][:, None, :], axis=(1, 2))
        (p, q), (a, b) = ends[i[apart]].transpose(1, 0, 2), ends[j[apart]].transpose(1, 0, 2)
        sides = [cross(b - a, x - a) for x in (p, q)] + [cross(q - p, x - p) for x in (a, b)]
        crossing = (sides[0] * sides[1] < 0) & (sides[2] * sides[3] < 0)
        share = (sides[0] / np.where(crossing, sides[0] - sides[1], 1.0))[:, None]
        found.append((p + share * (q - p))[crossing])
    return np.concatenate(found)


def _near(x: Array, own: Array, centres: Array, reach: Array, name: str) -> Iterator[tuple[Indices, Indices]]:
    """Return pairs i, j with |x_i − centre_j| ≤ own_i + reach_j, in parts; own_i is not much larger than reach_j.

    Raises:
        InputError: there are too many: cells are extremely long and thin, or heaped.
    """
    from scipy.spatial import cKDTree

    left = _MOST_PAIRS + 20 * len(centres)
    sizes = np.frexp(reach)[1]
    for size in np.unique(sizes):
        some = np.flatnonzero(sizes == size)
        longest = float(np.ldexp(1.0, int(size)))
        shorter = np.flatnonzero(own <= longest)
        if not len(shorter):
            continue
        tree = cKDTree(centres[some], balanced_tree=False, compact_nodes=False)
        radii = own[shorter] + longest
        counts = tree.query_ball_point(x[shorter], radii, return_length=True)
        left -= int(counts.sum())
        if left < 0:
            raise InputError(
                f"{name} cannot be checked: up to {counts.max()} cells lie within a cell's length of a point of its "
                "boundary, as they are very long and thin, or overlap; give a mesh of better shaped cells"
            )
        # Parts end where another _PART pairs are full.
        ends = np.flatnonzero(np.diff(np.cumsum(counts) // _PART, append=-1)) + 1
        for start, stop in zip([0, *ends[:-1]], ends, strict=True):
            part = shorter[start:stop]
            if not counts[start:stop].any():
                continue
            found = tree.query_ball_point(x[part], radii[start:stop], return_sorted=False)
            i, j = np.repeat(part, [len(f) for f in found]), some[np.concatenate(found).astype(np.int64)]
            near = np.linalg.norm(x[i] - centres[j], axis=1) <= own[i] + reach[j]
            yield i[near], j[near]


def _least_coordinate(kind: str, x: Array, corners: Array) -> Array:
    """Return the least of the distances of points from the faces of cells, in units of those of the cells' centres."""
    centre = corners.mean(axis=1)
    least = np.full(len(x), np.inf)
    for face in _FACES[kind]:
        y = corners[:, list(face)]
        if len(face) == 1:
            normal = np.ones_like(centre)
        elif len(face) == 2:
            normal = (y[:, 1] - y[:, 0])[:, ::-1] * (1.0, -1.0)
        else:
            normal = np.cross(y[:, 2] - y[:, 0], y[:, -1] - y[:, 1])
        height = np.sum((centre - y[:, 0]) * normal, axis=1)
        least = np.minimum(least, np.sum((x - y[:, 0]) * normal, axis=1) / height)
    return least
