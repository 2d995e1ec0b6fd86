"""Meshes as arrays, on rank 0: from gmsh, from files; checked before anything collective happens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.domains import Box, Disk, Domain, MeshFile
from kspde.errors import InputError
from kspde.fem.meshes.cells import cross, flat, oriented, sound_indices
from kspde.fem.meshes.faults import check_mesh, merged
from kspde.fem.meshes.files import Blocks, gmsh_arrays, read_mesh
from kspde.fem.meshes.outline import Outline, ball, outline
from kspde.typing import Array, Indices

__all__ = ["CELL_NAMES", "MeshArrays", "mesh_arrays"]

Parents = npt.NDArray[np.int32]

#: meshio's name -> (DOLFINx's name, dimension, DOLFINx's order of the corners)
CELL_NAMES: dict[str, tuple[str, int, list[int]]] = {
    "line": ("interval", 1, [0, 1]),
    "triangle": ("triangle", 2, [0, 1, 2]),
    "quad": ("quadrilateral", 2, [0, 1, 3, 2]),
    "tetra": ("tetrahedron", 3, [0, 1, 2, 3]),
    "hexahedron": ("hexahedron", 3, [0, 1, 3, 2, 4, 5, 7, 6]),
}


@dataclass(frozen=True, kw_only=True)
class MeshArrays:
    """A mesh as arrays.

    Attributes:
        kind: meshio's name of the cells.
        points: coordinates, shape (n, d).
        cells: the cells' corners in VTK's order.
        rim: of a mesh of triangles or quadrilaterals, the ends of the boundary's edges, shape (m, 2), with the inside
            to their left; else empty.
        outline: its outer boundary.
        parents: an array for each refinement: row k names the earlier points, some of them twice, in whose middle the
            k-th new point was put. New points follow the earlier ones.
        radius: that of a disk, which is about the origin until it has been refined.
        note: what the user must know about it, if anything.
    """

    kind: str
    points: Array
    cells: Indices
    rim: Indices
    outline: Outline
    parents: tuple[Parents, ...] = ()
    radius: float | None = None
    note: str | None = None

    def normals(self) -> tuple[Indices, Array]:
        """Return the nodes of a plane mesh's boundary, and at each ∫ n φ over it by the vertex rule: half of two edges.

        A disk's edges have the normals of its circle.
        """
        ends = self.points[self.rim]
        along = ends[:, 1] - ends[:, 0]
        nodes, index = np.unique(self.rim, return_inverse=True)

        def at_nodes(edges: Array) -> Array:
            return np.bincount(index.ravel(), weights=np.repeat(0.5 * edges, 2), minlength=len(nodes))

        if self.radius is not None:
            outwards = (self.points[nodes] - self.outline.centre) / self.radius
            return nodes, at_nodes(np.linalg.norm(along, axis=1))[:, None] * outwards
        return nodes, np.stack([at_nodes(along[:, 1]), at_nodes(-along[:, 0])], axis=1)


def mesh_arrays(domain: Domain, dimension: int) -> MeshArrays:
    """Return the mesh of a domain.

    Args:
        domain: the domain.
        dimension: the dimension its cells must have.

    Raises:
        InputError: a domain that has no mesh; a file that cannot be read or has no cells of the dimension, or a mesh
            with faults; see ``kspde.fem.meshes.faults``.
        MissingBackendError: gmsh is needed, and not installed.
    """
    make = next((make for kind, make in SOURCES.items() if isinstance(domain, kind)), None)
    if make is None:
        known = ", ".join(kind.__name__ for kind in SOURCES)
        raise InputError(f"a {type(domain).__name__} has no mesh: give a domain of class {known}, or derive from one")
    mesh = make(domain, dimension)
    points, cells, rim = mesh.points, mesh.cells, mesh.rim
    parents: list[Parents] = []
    for _ in range(domain.refine if mesh.kind in ("line", "triangle", "quad") else 0):
        points, cells, rim, new = _refined(mesh.kind, points, cells, rim, mesh.radius)
        parents.append(new)
    if mesh.radius is not None and domain.degree > 1:
        points[rim.ravel()] = _of_disk_area(points[rim], mesh.radius)
    if mesh.radius is not None:
        points = points + mesh.outline.centre
    return replace(mesh, points=points, cells=cells, rim=rim, parents=tuple(parents))


def _disk_mesh(disk: Disk, dimension: int) -> MeshArrays:
    kind, points, cells = _disk(disk)
    rim = _rim(cells, len(points))
    shape = ball(disk.radius, disk.middle)
    return MeshArrays(kind=kind, points=points, cells=cells, rim=rim, outline=shape, radius=disk.radius)


def _file_mesh(domain: MeshFile, dimension: int) -> MeshArrays:
    name = str(domain.path)
    points, blocks = sound_indices(*read_mesh(Path(domain.path), dimension), name)
    points, note = flat(points, dimension, name)
    kind, cells = _one_kind(points, blocks, dimension, name, triangles=domain.triangles)
    if domain.merge:
        points, cells = merged(kind, points, cells)
    boundary = check_mesh(kind, points, cells, name)
    shape = outline(points, boundary, domain.centre, name)
    count = len(cells) << dimension * domain.refine
    if count >= 1 << 31:  # PETSc's and DOLFINx's indices have 32 bits
        raise InputError(
            f"refine = {domain.refine} is not valid: it makes {count:.3g} cells of the {len(cells)} in {name}; "
            "give a smaller number, for less than 2^31"
        )
    rim = boundary if kind in ("triangle", "quad") else np.empty((0, 2), dtype=np.int64)
    return MeshArrays(kind=kind, points=points, cells=cells, rim=rim, outline=shape, note=note)


def _line_mesh(box: Box, dimension: int) -> MeshArrays:
    points = (box.middle + box.directions[0])[:, None]
    n = len(points) - 1
    cells = np.stack([np.arange(n), np.arange(1, n + 1)], axis=1)
    shape = outline(points, np.array([[0], [n]]), None, "Box")
    return MeshArrays(kind="line", points=points, cells=cells, rim=np.empty((0, 2), dtype=np.int64), outline=shape)


#: Meshes before refinement, by the class of the domain. A new shape is a function, and a line here.
SOURCES: dict[type[Domain], Callable[[Any, int], MeshArrays]] = {
    Disk: _disk_mesh,
    MeshFile: _file_mesh,
    Box: _line_mesh,
}


def _one_kind(points: Array, blocks: Blocks, dimension: int, name: str, *, triangles: bool) -> tuple[str, Indices]:
    """Return the cells, oriented, which must be of one kind; with ``triangles`` quadrilaterals are split.

    Raises:
        InputError: they are of several kinds, or flat, twisted or not convex.
    """
    blocks = {kind: oriented(kind, points, cells, name) for kind, cells in blocks.items()}
    if triangles and "quad" in blocks:
        split = _halves(points, blocks.pop("quad"))
        blocks["triangle"] = np.concatenate([blocks["triangle"], split]) if "triangle" in blocks else split
    if len(blocks) > 1:
        found = ", ".join(f"{len(cells)} {kind}" for kind, cells in blocks.items())
        remedy = (
            "give MeshFile(triangles=True) to split the quadrilaterals, or mesh with one kind alone"
            if dimension == 2
            else "give a mesh of tetrahedra alone (in gmsh without recombination)"
        )
        raise InputError(f"{name} mixes cells of dimension {dimension} ({found}): {remedy}")
    return next(iter(blocks.items()))


def _halves(points: Array, quads: Indices) -> Indices:
    """Return two triangles for each convex quadrilateral: of the two ways, the one that is Delaunay."""
    cotangents = []
    for k in range(4):
        before, after = (points[quads[:, (k + j) % 4]] - points[quads[:, k]] for j in (3, 1))
        cotangents.append(np.sum(before * after, axis=1) / cross(after, before))
    # The angles opposite the diagonal from corner 0 to 2 are those at 1 and 3: together they are at most π.
    shift = (cotangents[1] + cotangents[3] < -1e-12).astype(np.int64)
    a, b, c, d = (np.take_along_axis(quads, ((shift + k) % 4)[:, None], 1)[:, 0] for k in range(4))
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def _of_disk_area(edges: Array, radius: float) -> Array:
    """Return the ends of a polygon's edges, shape (2m, 2), moved outwards until its area is the disk's."""
    area = 0.5 * float(cross(edges[:, 0], edges[:, 1]).sum())
    return edges.reshape(-1, 2) * math.sqrt(math.pi * radius**2 / area)


def _disk(disk: Disk) -> tuple[str, Array, Indices]:
    points, blocks = gmsh_arrays(lambda gmsh: _draw_disk(gmsh, disk), "Disk")
    points, blocks = sound_indices(points, {k: v for k, v in blocks.items() if k in ("triangle", "quad")}, "Disk")
    points = points[:, :2].copy()
    if disk.cell == "triangle":
        return "triangle", *_delaunay_disk(points, disk.radius, 0.2 if disk.refine else 0.0)
    kind, cells = _one_kind(points, blocks, 2, "Disk", triangles=False)
    return kind, points, cells


def _draw_disk(gmsh: Any, disk: Disk) -> None:
    size, rim = (2.0**disk.refine * s for s in (disk.size, disk.rim_size or disk.size))
    gmsh.model.occ.addDisk(0.0, 0.0, 0.0, disk.radius, disk.radius)
    gmsh.model.occ.synchronize()
    field = gmsh.model.mesh.field.add("MathEval")
    gmsh.model.mesh.field.setString(
        field, "F", f"{size:.17g} + ({rim - size:.17g}) * Sqrt(x*x + y*y) / {disk.radius:.17g}"
    )
    gmsh.model.mesh.field.setAsBackgroundMesh(field)
    for name in ("ExtendFromBoundary", "FromPoints", "FromCurvature"):
        gmsh.option.setNumber(f"Mesh.MeshSize{name}", 0)
    # The advancing front's triangles are closer to equilateral than those of Delaunay's refinement, and few are obtuse:
    # multigrid on meshes refined from them converges faster.
    gmsh.option.setNumber("Mesh.Algorithm", 6)
    if disk.cell == "quadrilateral":
        gmsh.option.setNumber("Mesh.Algorithm", 5)
        gmsh.model.mesh.setRecombine(2, 1)
        gmsh.option.setNumber("Mesh.RecombinationAlgorithm", 2)
    gmsh.model.mesh.generate(2)


def _delaunay_disk(points: Array, radius: float, margin: float) -> tuple[Array, Indices]:
    """Return the Delaunay triangulation of points in a disk, angles opposite the rim having a cosine >= ``margin``.

    gmsh's smoothing leaves a few edges that are not Delaunay; there, and where an angle opposite a boundary edge is
    obtuse, the stiffness matrix has a positive entry off its diagonal. Boundary edges of the second kind are halved.
    """
    from scipy.spatial import Delaunay

    for _ in range(10):
        triangulation = Delaunay(points)
        cells = triangulation.simplices.astype(np.int64)
        cell, opposite = np.nonzero(triangulation.neighbors < 0)
        a, b = (points[cells[cell, (opposite + k) % 3]] for k in (1, 2))
        apex = points[cells[cell, opposite]]
        a, b = a - apex, b - apex
        obtuse = np.sum(a * b, axis=1) < margin * np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        if not np.any(obtuse):
            break
        middle = (apex + 0.5 * (a + b))[obtuse]
        points = np.concatenate([points, radius * middle / np.linalg.norm(middle, axis=1)[:, None]])
    return points, cells


def _edges(cells: Indices, n: int) -> Indices:
    """Return a number for each edge of triangles or quadrilaterals with n points: edge k begins at corner k."""
    ends = np.roll(cells, -1, axis=1)
    return np.minimum(cells, ends) * n + np.maximum(cells, ends)


def _rim(cells: Indices, n: int) -> Indices:
    """Return the ends of the edges with one cell, the inside to their left where cells are: shape (m, 2)."""
    _, first, counts = np.unique(_edges(cells, n), return_index=True, return_counts=True)
    alone = first[counts == 1]
    return np.stack([cells.ravel()[alone], np.roll(cells, -1, axis=1).ravel()[alone]], axis=1)


def _refined(
    kind: str, points: Array, cells: Indices, rim: Indices, radius: float | None
) -> tuple[Array, Indices, Indices, Parents]:
    """Return a mesh of lines, triangles or quadrilaterals with each cell split, and new rim points put on a circle.

    Results are as the attributes points, cells, rim and an entry of parents of ``MeshArrays``.

    Halves of a triangle's edges keep the angles opposite them. The lines between its midpoints have the same angle A of
    the triangle on both sides, so where A > π/2 the stiffness matrix, −cot A there, would be positive: there the line
    from the obtuse corner to the middle of the longest edge takes its place, with π − A on both sides. Next to these
    few lines, and to points put on the circle, edges are flipped where that keeps a Delaunay mesh one.
    """
    n, corners = len(points), cells.shape[1]
    if kind == "line":
        middle = n + np.arange(len(cells))
        halves = [np.stack([cells[:, 0], middle], axis=1), np.stack([middle, cells[:, 1]], axis=1)]
        points = np.concatenate([points, points[cells].mean(axis=1)])
        return points, np.concatenate(halves), np.empty((0, 2), dtype=np.int64), cells.astype(np.int32)
    edges, index, counts = np.unique(_edges(cells, n), return_inverse=True, return_counts=True)
    parents = np.stack([edges // n, edges % n], axis=1).astype(np.int32)
    middles = 0.5 * (points[parents[:, 0]] + points[parents[:, 1]])
    alone = np.flatnonzero(counts == 1)
    rim = rim[np.argsort(_edges(rim, n)[:, 0])]  # in the order of ``alone``
    rim = np.concatenate([np.stack([rim[:, 0], n + alone], axis=1), np.stack([n + alone, rim[:, 1]], axis=1)])
    moved = np.zeros(len(edges), dtype=bool)
    if radius is not None:
        moved[alone] = True
        middles[alone] *= radius / np.linalg.norm(middles[alone], axis=1)[:, None]
    m = n + index.reshape(cells.shape)
    del edges, index, counts
    around = [np.stack([cells[:, k], m[:, k], m[:, k - 1]], axis=1) for k in range(corners)]
    if kind == "quad":
        centre = n + len(middles) + np.arange(len(cells))
        fours = [np.stack([c[:, 0], c[:, 1], centre, c[:, 2]], axis=1) for c in around]
        points = np.concatenate([points, middles, points[cells].mean(axis=1)])
        return points, np.concatenate(fours), rim, np.concatenate([np.tile(parents, 2), cells.astype(np.int32)])
    inner = m
    touched = np.concatenate([np.zeros(n, dtype=bool), moved])
    for k in range(3):
        apex, left, right = (points[cells[:, (k + j) % 3]] for j in range(3))
        bad = np.sum((left - apex) * (right - apex), axis=1) < 0
        across = m[bad, (k + 1) % 3]
        inner[bad] = np.stack([cells[bad, k], across, m[bad, k - 1]], axis=1)
        around[k][bad, 2] = across
        touched[cells[bad, k]] = True
    points, cells = np.concatenate([points, middles]), np.concatenate([*around, inner])
    touched[cells[touched[cells].any(axis=1)]] = True
    near = np.flatnonzero(touched[cells].any(axis=1))
    cells[near] = _flipped(points, cells[near])
    return points, cells, rim, parents


def _flipped(points: Array, cells: Indices) -> Indices:
    """Return triangles with the edges flipped whose opposite angles sum to more than π (Lawson, 1977)."""
    cells = cells.copy()
    for _ in range(20):
        keys = _edges(cells, len(points)).ravel()
        order = np.argsort(keys, kind="stable")
        twins = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
        half = np.stack([order[twins], order[twins + 1]])
        cell, corner = half // 3, half % 3
        i, j = cells[cell[0], corner[0]], cells[cell[0], (corner[0] + 1) % 3]
        across = cells[cell, (corner + 2) % 3]
        a, b = points[i] - points[across], points[j] - points[across]
        bad = np.sum(np.sum(a * b, axis=-1) / np.abs(cross(a, b)), axis=0) < -1e-12
        # No triangle takes part in two flips at once.
        first = np.full(len(cells), len(keys))
        number = np.flatnonzero(bad)
        np.minimum.at(first, cell[:, number].ravel(), np.tile(number, 2))
        number = number[np.all(first[cell[:, number]] == number, axis=0)]
        if not len(number):
            break
        (p, q), i, j = across[:, number], i[number], j[number]
        cells[cell[0, number]] = np.stack([p, i, q], axis=1)
        cells[cell[1, number]] = np.stack([q, j, p], axis=1)
    return cells
