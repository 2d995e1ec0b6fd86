"""Mesh files as arrays: gmsh's .msh by gmsh, FreeFem's .msh, and the rest by meshio."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from kspde.errors import InputError, MissingBackendError
from kspde.fem.meshes.safety import Unpacking, alone, check_mesh_file, is_freefem
from kspde.runtime.files import MOST_TEXT, check_regular, read_regular
from kspde.typing import Array, Indices

__all__ = ["DIMENSIONS", "Blocks", "gmsh_arrays", "read_mesh"]

#: meshio's name of a kind of cell -> the corners of its cells, in VTK's order
Blocks = dict[str, Indices]

#: The dimension of the cells that can be used, by meshio's name.
DIMENSIONS = {"line": 1, "triangle": 2, "quad": 2, "tetra": 3, "hexahedron": 3}
#: how the names of kinds of a dimension begin, meshio's and gmsh's, of any order
_BEGIN = {
    0: ("vertex", "point"),
    1: ("line",),
    2: ("triangle", "quad", "polygon"),
    3: ("tetra", "hexahedron", "wedge", "prism", "pyramid", "polyhedron"),
}
_NAMES = {1: "lines", 2: "triangles or quadrilaterals", 3: "tetrahedra or hexahedra"}
_GMSH_TYPES = {
    1: "line", 2: "triangle", 3: "quad", 4: "tetra", 5: "hexahedron", 6: "wedge", 7: "pyramid", 8: "line3",
    9: "triangle6", 10: "quad9", 11: "tetra10", 12: "hexahedron27", 15: "vertex", 16: "quad8", 17: "hexahedron20",
}  # fmt: skip

_SQUARE = [(0, 1), (1, 2), (2, 3), (3, 0)]
_CUBE = [*_SQUARE, (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
_SIDES = [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
#: second-order cells -> those of first order with the same corners, and the corners between which their other nodes lie
_SECOND: dict[str, tuple[str, int, list[tuple[int, ...]]]] = {
    "line3": ("line", 2, [(0, 1)]),
    "triangle6": ("triangle", 3, [(0, 1), (1, 2), (2, 0)]),
    "triangle7": ("triangle", 3, [(0, 1), (1, 2), (2, 0), (0, 1, 2)]),
    "quad8": ("quad", 4, [*_SQUARE]),
    "quad9": ("quad", 4, [*_SQUARE, (0, 1, 2, 3)]),
    "tetra10": ("tetra", 4, [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)]),
    "hexahedron20": ("hexahedron", 8, [*_CUBE]),
    "hexahedron27": ("hexahedron", 8, [*_CUBE, *_SIDES, (0, 1, 2, 3, 4, 5, 6, 7)]),
}

#: How far a node may be from its place in a straight cell, in units of the cell's size.
_STRAIGHT = 1e-4


def read_mesh(path: Path, dimension: int) -> tuple[Array, Blocks]:
    """Return the points of a file, shape (n, 3), and its cells of a dimension; those of lower dimensions are left out.

    Second-order cells with straight edges are read as those of first order.

    Raises:
        InputError: the file cannot be read, has no cells of the dimension or some of a higher one, or cells that are
            not supported.
        MissingBackendError: gmsh is needed for the file, and not installed.
    """
    if not os.path.exists(path) or os.path.isdir(path):  # pathlib's raise where the name is too long
        raise InputError(f"path = {str(path)!r} is not a file: give the name of a mesh file")
    try:
        check_mesh_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): give a mesh file") from None
    points, blocks = _read(path)
    return points, _of_dimension(points, blocks, dimension, str(path))


def gmsh_arrays(draw: Callable[[Any], None], name: str) -> tuple[Array, Blocks]:
    """Return the points and cells that gmsh has after ``draw``.

    Raises:
        InputError: gmsh fails.
        MissingBackendError: it is not installed.
    """
    try:
        import gmsh
    except (ImportError, OSError) as error:
        raise MissingBackendError(f'{name} needs gmsh ({error}): pip install "kspde[mesh]"') from None
    gmsh.initialize(readConfigFiles=False, interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        draw(gmsh)
        tags, coordinates, _ = gmsh.model.mesh.getNodes()
        order = np.argsort(tags)
        tags = tags[order]
        blocks: dict[str, list[Indices]] = {}
        for number, _, nodes in zip(*gmsh.model.mesh.getElements(), strict=True):
            label, _, _, count, _, _ = gmsh.model.mesh.getElementProperties(number)
            cells = order[np.searchsorted(tags, nodes)].reshape(-1, count).astype(np.int64)
            blocks.setdefault(_GMSH_TYPES.get(int(number), label), []).append(cells)
        return coordinates.reshape(-1, 3), {kind: np.concatenate(cells) for kind, cells in blocks.items()}
    except Exception as error:
        raise InputError(f"{name}: gmsh fails ({str(error).strip() or type(error).__name__})") from None
    finally:
        gmsh.finalize()


def _read(path: Path) -> tuple[Array, Blocks]:
    """Return points and cells of all kinds."""
    if path.suffix.lower() == ".wkt":  # meshio's regular expression takes exponential time on a bad file
        raise InputError(f"{path} cannot be read as a mesh: give gmsh's .msh, or what meshio reads but .wkt")
    if path.suffix.lower() != ".msh":
        return _meshio_arrays(path, "give gmsh's .msh, or what meshio reads")
    if is_freefem(path):
        return _freefem_arrays(path)
    try:
        with alone(path) as link:  # gmsh would execute options in a file beside the mesh
            return gmsh_arrays(lambda gmsh: gmsh.open(str(link)), str(path))
    except MissingBackendError:  # meshio reads much of the format too
        return _meshio_arrays(path, 'pip install "kspde[mesh]": gmsh reads it, if it is valid')


def _meshio_arrays(path: Path, remedy: str) -> tuple[Array, Blocks]:
    import meshio

    import kspde.runtime.hdf5  # noqa: F401 - meshio's own import of h5py would clash with DOLFINx

    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), _no_reading_past_the_end(), alone(path) as link:
            mesh = meshio.read(link)
        points = np.asarray(mesh.points, dtype=np.float64)
        points = np.pad(points, ((0, 0), (0, 3 - points.shape[1])))
        blocks: dict[str, list[Indices]] = {}
        for block in mesh.cells:
            data = block.data if block.type in DIMENSIONS or block.type in _SECOND else np.zeros((len(block.data), 0))
            blocks.setdefault(block.type, []).append(np.asarray(data).astype(np.int64))
        return points, {kind: np.concatenate(cells) for kind, cells in blocks.items()}
    except (Exception, SystemExit) as error:  # meshio's readers raise anything, or exit with what they printed
        reason = said.getvalue() if isinstance(error, SystemExit) else str(error)
        reason = " ".join(reason.split()).rstrip(".") or f"its reader ends with {type(error).__name__}"
        raise InputError(f"{path} cannot be read as a mesh ({reason}): {remedy}") from None


def _freefem_arrays(path: Path) -> tuple[Array, Blocks]:
    """Return a plane mesh in FreeFem's format: three counts, then x y label, i j k label, i j label."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it stops at anything that is not a number
            numbers = np.fromstring(read_regular(path, MOST_TEXT).decode("latin-1"), dtype=np.float64, sep=" ")
        n, triangles, edges = (int(number) for number in numbers[:3])
        ends = np.cumsum([3, 3 * n, 4 * triangles, 3 * edges])
        if min(n, triangles, edges) < 0 or len(numbers) != ends[-1]:
            raise ValueError(f"{len(numbers)} numbers where {ends[-1]} are announced")
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} is not a mesh of FreeFem ({error}): save it anew by savemesh") from None
    points = numbers[ends[0] : ends[1]].reshape(-1, 3)
    cells = numbers[ends[1] : ends[2]].reshape(-1, 4)[:, :3]
    return np.pad(points[:, :2], ((0, 0), (0, 1))), {"triangle": cells.astype(np.int64) - 1}


@contextmanager
def _no_reading_past_the_end() -> Iterator[None]:
    """Make meshio's readers fail where they keep asking for lines after the end of the file.

    Several (for .ply, .mdpa, .dat, .node, .bdf ...) search for a line in a loop that never ends on a truncated file.
    """

    def ending(path: Any, mode: str = "r", **options: Any) -> Any:
        check_regular(path)
        file = open(path, mode, **options)  # noqa: SIM115 - meshio closes it
        left = 1000  # a reader may ask in vain a few times for each block
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
    unpacking = sys.modules["meshio.vtu._vtu"]
    before = {name: vars(unpacking)[name] for name in ("zlib", "lzma")}
    vars(unpacking).update({name: Unpacking(module) for name, module in before.items() if module is not None})
    try:
        yield
    finally:
        vars(unpacking).update(before)
        for module in modules:
            del module.open


def _of_dimension(points: Array, blocks: Blocks, dimension: int, name: str) -> Blocks:
    """Return the cells of a dimension, of first order.

    Raises:
        InputError: there are none, or others of a higher dimension, curved or of kinds that are not supported.
    """
    found = ", ".join(f"{len(cells)} {kind}" for kind, cells in blocks.items() if len(cells)) or "no cells"
    given: Blocks = {}
    for kind, cells in blocks.items():
        first, corners, between = _SECOND.get(kind, (kind, 0, []))
        its = next((d for d, begin in _BEGIN.items() if kind.lower().startswith(begin)), dimension)
        if not len(cells) or its < dimension:
            continue
        if its > dimension:
            raise InputError(
                f"{name} has cells of dimension {its} ({found}), the model {dimension}: give a mesh of "
                f"{_NAMES[dimension]}"
            )
        if first not in DIMENSIONS:
            raise InputError(
                f"{name} has {len(cells)} cells of kind {kind}, which is not supported: give a mesh of first-order "
                f"{_NAMES[dimension]} (gmsh: Mesh.ElementOrder = 1)"
            )
        if between:
            _check_straight(points, cells, kind, name)
            cells = cells[:, :corners]
        given[first] = np.concatenate([given[first], cells]) if first in given else cells
    if not given:
        raise InputError(f"{name} has no cells of dimension {dimension} ({found}): give a mesh of {_NAMES[dimension]}")
    return given


def _check_straight(points: Array, cells: Indices, kind: str, name: str) -> None:
    """Refuse second-order cells with curved edges.

    Their nodes may be wherever a straight cell has some, since formats number them differently.
    """
    first, corners, between = _SECOND[kind]
    if len(points) <= cells.max(initial=0) or cells.min(initial=0) < 0:
        raise InputError(f"{name} has {kind} cells that name points which are not there: mend the file")
    x = points[cells[:, :corners]]
    size = np.linalg.norm(x.max(axis=1) - x.min(axis=1), axis=1)
    off = np.zeros(len(cells))
    for node in cells[:, corners:].T:
        nearest = np.full(len(cells), np.inf)
        for ends in between:
            nearest = np.minimum(nearest, np.linalg.norm(points[node] - x[:, list(ends)].mean(axis=1), axis=1))
        off = np.maximum(off, nearest)
    curved = np.flatnonzero(~(off <= _STRAIGHT * size))
    if len(curved):
        worst = curved[np.argmax(off[curved] / np.maximum(size[curved], 1e-300))]
        where = ", ".join(f"{c:.4g}" for c in x[worst].mean(axis=0))
        raise InputError(
            f"{name} has {len(curved)} {kind} cells with curved edges, the most curved at ({where}): they are not "
            f"supported; give first-order cells ({first}; gmsh: Mesh.ElementOrder = 1)"
        )
