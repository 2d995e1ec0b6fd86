"""Meshes as arrays, on rank 0: from gmsh, from files; checked before anything collective happens."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.domains import Disk, MeshFile
from kspde.errors import InputError, MissingBackendError
from kspde.fem.mesh_safety import check_mesh_file
from kspde.files import check_regular

__all__ = ["CELL_NAMES", "MeshArrays", "mesh_arrays"]

Array = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]
Parents = npt.NDArray[np.int32]

#: meshio's name -> (DOLFINx's name, dimension, DOLFINx's order of the corners)
CELL_NAMES: dict[str, tuple[str, int, list[int]]] = {
    "line": ("interval", 1, [0, 1]),
    "triangle": ("triangle", 2, [0, 1, 2]),
    "quad": ("quadrilateral", 2, [0, 1, 3, 2]),
    "tetra": ("tetrahedron", 3, [0, 1, 2, 3]),
    "hexahedron": ("hexahedron", 3, [0, 1, 3, 2, 4, 5, 7, 6]),
}
_GMSH_TYPES = {1: "line", 2: "triangle", 3: "quad", 4: "tetra", 5: "hexahedron"}
_DIMENSIONS = {kind: d for kind, (_, d, _) in CELL_NAMES.items()}

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


@dataclass(frozen=True, kw_only=True)
class MeshArrays:
    """A mesh as arrays.

    Attributes:
        kind: meshio's name of the cells.
        points: coordinates, shape (n, d).
        cells: the cells' corners in VTK's order.
        rim: the ends of the boundary's edges, shape (m, 2), of a mesh of triangles or quadrilaterals; else none.
        parents: an array for each refinement: row k names the earlier points in whose middle its k-th new point was
            put, some of them twice. New points follow the earlier ones.
    """

    kind: str
    points: Array
    cells: Cells
    rim: Cells
    parents: tuple[Parents, ...]


def mesh_arrays(domain: Disk | MeshFile, dimension: int) -> MeshArrays:
    """Return the mesh of a domain.

    Args:
        domain: the domain.
        dimension: the dimension its cells must have.

    Raises:
        InputError: a file that cannot be read, no cells of the dimension, mixed, inverted, degenerate or duplicate
            cells.
        MissingBackendError: gmsh is not installed.
    """
    if isinstance(domain, Disk):
        kind, points, cells = _gmsh_arrays(lambda gmsh: _draw_disk(gmsh, domain), 2, "Disk")
        if kind == "triangle":
            points, cells = _delaunay_disk(points[:, :2], domain.radius, 0.2 if domain.refine else 0.0)
    else:
        path = Path(domain.path)
        if not os.path.exists(path) or os.path.isdir(path):  # pathlib's raise where the name is too long
            raise InputError(f"path = {str(domain.path)!r} is not a file: give the name of a mesh file")
        try:
            check_mesh_file(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or error}): give a mesh file") from None
        kind, points, cells = _read(path, dimension)
    points, cells = _compact(points[:, :dimension], cells)
    _check(kind, points, cells, str(getattr(domain, "path", domain)))
    parents: list[Parents] = []
    rim = _rim(cells, len(points)) if kind in ("triangle", "quad") else np.empty((0, 2), dtype=np.int64)
    radius = domain.radius if isinstance(domain, Disk) else None
    for _ in range(domain.refine if kind in ("line", "triangle", "quad") else 0):
        points, cells, rim, new = _refined(kind, points, cells, radius)
        parents.append(new)
    return MeshArrays(kind=kind, points=points, cells=cells, rim=rim, parents=tuple(parents))


def _gmsh_arrays(draw: Any, dimension: int, name: str) -> tuple[str, Array, Cells]:
    try:
        import gmsh
    except (ImportError, OSError) as error:
        raise MissingBackendError(f'{name} needs gmsh ({error}): pip install "kspde[mesh]"') from None
    gmsh.initialize(readConfigFiles=False, interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        draw(gmsh)
        tags, coordinates, _ = gmsh.model.mesh.getNodes()
        index = np.zeros(int(tags.max(initial=0)) + 1, dtype=np.int64)
        index[tags.astype(np.int64)] = np.arange(len(tags))
        types, _, corners = gmsh.model.mesh.getElements(dimension)
        blocks: dict[str, list[Cells]] = {}
        for number, nodes in zip(types, corners, strict=True):
            label, _, _, count, _, primary = gmsh.model.mesh.getElementProperties(number)
            kind = _GMSH_TYPES.get(int(number), label)
            blocks.setdefault(kind, []).append(index[nodes.astype(np.int64)].reshape(-1, count)[:, :primary])
        kind, cells = _only_kind(blocks, dimension, name)
        return kind, coordinates.reshape(-1, 3), cells
    except Exception as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: gmsh fails ({str(error).strip() or type(error).__name__})") from None
    finally:
        gmsh.finalize()


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


def _delaunay_disk(points: Array, radius: float, margin: float) -> tuple[Array, Cells]:
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


def _edges(cells: Cells, n: int) -> Cells:
    """Return a number for each edge of triangles or quadrilaterals with n points: edge k runs from corner k on."""
    following = np.roll(cells, -1, axis=1)
    return np.minimum(cells, following) * n + np.maximum(cells, following)


def _rim(cells: Cells, n: int) -> Cells:
    """Return the ends of the edges with one cell: shape (m, 2)."""
    edges, counts = np.unique(_edges(cells, n), return_counts=True)
    alone = edges[counts == 1]
    return np.stack([alone // n, alone % n], axis=1)


def _refined(kind: str, points: Array, cells: Cells, radius: float | None) -> tuple[Array, Cells, Cells, Parents]:
    """Return a mesh of lines, triangles or quadrilaterals with each cell split, new rim points put on a circle.

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
    rim = np.concatenate([np.stack([parents[alone, k], n + alone], axis=1) for k in (0, 1)])
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


def _flipped(points: Array, cells: Cells) -> Cells:
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
        bad = np.sum(np.sum(a * b, axis=-1) / np.abs(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]), axis=0) < -1e-12
        # No triangle takes part in two flips at a time.
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


@contextmanager
def _no_reading_past_the_end() -> Iterator[None]:
    """Let meshio's readers fail where they go on asking a file that has ended for its next line.

    Several (of .ply, .mdpa, .dat, .node, .bdf ...) look for a line in a loop that does not end on a truncated file.
    """

    def ending(path: Any, mode: str = "r", **options: Any) -> Any:
        check_regular(path)
        file = open(path, mode, **options)  # noqa: SIM115 - meshio closes it
        left = 1000  # what a reader may well ask in vain, a few times for each block
        plain = {"read": file.read, "readline": file.readline}

        def guarded(name: str) -> Any:
            def ask(*size: Any) -> Any:
                nonlocal left
                got = plain[name](*size)
                left -= not got
                if left < 0:
                    raise EOFError("the file ends too early")
                return got

            return ask

        for name in plain:
            setattr(file, name, guarded(name))
        return file

    modules = [module for name, module in sys.modules.items() if name.startswith("meshio.")]
    for module in modules:
        module.open = ending  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            del module.open


def _read(path: Path, dimension: int) -> tuple[str, Array, Cells]:
    if path.suffix.lower() == ".wkt":  # meshio's regular expression for it takes exponential time on a bad file
        raise InputError(f"{path} cannot be read as a mesh: give gmsh's .msh, or what meshio reads but .wkt")
    if path.suffix.lower() == ".msh":
        try:
            with TemporaryDirectory() as alone:
                # gmsh would execute options in a file beside the mesh.
                link = Path(alone) / "mesh.msh"
                link.symlink_to(path.absolute())
                return _gmsh_arrays(lambda gmsh: gmsh.open(str(link)), dimension, str(path))
        except MissingBackendError:
            pass  # meshio reads the format too
    import meshio

    import kspde.hdf5  # noqa: F401 - meshio's own import of h5py would clash with DOLFINx

    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), _no_reading_past_the_end():
            mesh = meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio raises, or exits with what it printed, whatever its readers meet
        reason = said.getvalue() if isinstance(error, SystemExit) else str(error) or type(error).__name__
        raise InputError(
            f"{path} cannot be read as a mesh ({' '.join(reason.split()).rstrip('.')}): give gmsh's .msh, or what "
            "meshio reads"
        ) from None
    blocks: dict[str, list[Cells]] = {}
    for block in mesh.cells:
        blocks.setdefault(block.type, []).append(np.asarray(block.data, dtype=np.int64))
    kind, cells = _only_kind(blocks, dimension, str(path))
    points = np.asarray(mesh.points, dtype=np.float64)
    return kind, np.pad(points, ((0, 0), (0, 3 - points.shape[1]))), cells


def _only_kind(blocks: dict[str, list[Cells]], dimension: int, name: str) -> tuple[str, Cells]:
    """Return the one kind of cell of the dimension, and its cells."""
    present = {k: sum(len(b) for b in v) for k, v in blocks.items() if sum(len(b) for b in v)}
    names = {1: "lines", 2: "triangles or quadrilaterals", 3: "tetrahedra or hexahedra"}[dimension]
    found = ", ".join(f"{count} {kind}" for kind, count in present.items()) or "no cells"
    known = [kind for kind in present if _DIMENSIONS.get(kind) == dimension]
    strange = [kind for kind in present if kind not in _DIMENSIONS and kind != "vertex"]
    if len(known) > 1:
        raise InputError(f"{name} mixes cells of dimension {dimension} ({found}): give a mesh with {names} only")
    if not known:
        hint = f" (cells with curved edges, such as {strange[0]}, are not supported)" if strange else ""
        raise InputError(f"{name} has no cells of dimension {dimension} ({found}){hint}: give a mesh of {names}")
    return known[0], np.concatenate(blocks[known[0]])


def _compact(points: Array, cells: Cells) -> tuple[Array, Cells]:
    """Drop points that no cell uses."""
    used, renumbered = np.unique(cells, return_inverse=True)
    return np.ascontiguousarray(points[used], dtype=np.float64), renumbered.reshape(cells.shape).astype(np.int64)


def _check(kind: str, points: Array, cells: Cells, name: str) -> None:
    if not np.all(np.isfinite(points)):
        raise InputError(
            f"{name}: point {int(np.argwhere(~np.isfinite(points))[0, 0])} has a coordinate that is not finite"
        )

    def where(cell: int) -> str:
        return "(" + ", ".join(f"{c:.4g}" for c in points[cells[cell]].mean(axis=0)) + ")"

    same = np.sort(cells, axis=1)
    _, first, counts = np.unique(same, axis=0, return_index=True, return_counts=True)
    if np.any(counts > 1):
        bad = int(first[np.argmax(counts > 1)])
        raise InputError(
            f"{name} has {int((counts - 1).sum())} duplicate cells, the first at {where(bad)}: remove them"
        )
    measures = []
    for corner, *others in _CORNERS[kind]:
        edges = np.stack([points[cells[:, k]] - points[cells[:, corner]] for k in others], axis=1)
        measures.append(np.linalg.det(edges) / np.maximum(np.prod(np.linalg.norm(edges, axis=2), axis=1), 1e-300))
    angles = np.array(measures)
    # Some programs number all cells the other way round; what must not happen is a change of sign.
    sign = 1.0 if np.median(angles) > 0 else -1.0
    worst = (sign * angles).min(axis=0)
    if np.any(worst <= 1e-10):
        bad = int(np.argmin(worst))
        raise InputError(
            f"{name} has {int(np.sum(worst <= 1e-10))} inverted or degenerate cells, the worst at {where(bad)}: "
            "mend the mesh"
        )
