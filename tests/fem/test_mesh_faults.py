"""Meshes as other programs write them: what is wrong with one is counted and placed, what is harmless is accepted."""

import re
import sys
from pathlib import Path

import meshio
import numpy as np
import pytest

import kspde

#: The heat equation at t = 1 from N((-1, 0), .3²I) in [-3, 3] x [-2, 2] without flux, by its cosine series.
PLACES = [(-1, 0), (-0.1, 0), (0.1, 0), (1, 0), (2, 1)]
EXACT = [0.0812, 0.0657, 0.0597, 0.0305, 0.0082]


class Heat(kspde.Model):
    fields = ()

    def __init__(self, dimension: int = 2) -> None:
        self.dimension = dimension

    def diffusion(self, species, c):
        return 1.0


def grid(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and quadrilaterals of a tensor grid, in the plane z = 0."""
    points = np.stack([*np.meshgrid(x, y, indexing="ij"), np.zeros((len(x), len(y)))], axis=-1).reshape(-1, 3)
    n = np.arange(len(points)).reshape(len(x), len(y))
    return points, np.stack([n[:-1, :-1], n[1:, :-1], n[1:, 1:], n[:-1, 1:]], axis=-1).reshape(-1, 4)


def halves(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def rectangle(h: float = 0.25, x0: float = -3.0, x1: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    points, quads = grid(np.arange(x0, x1 + h / 2, h), np.arange(-2, 2 + h / 2, h))
    return points, halves(quads)


def together(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return meshes beside each other, each with its own points."""
    starts = np.cumsum([0, *(len(points) for points, _ in parts)])
    cells = [cells + start for (_, cells), start in zip(parts, starts, strict=False)]
    return np.concatenate([points for points, _ in parts]), np.concatenate(cells)


def moved(points: np.ndarray, *by: float) -> np.ndarray:
    return points + np.array(by)


@pytest.fixture
def write(shared_tmp_path, comm):
    """Return a function that writes a mesh to a file, on rank 0."""

    def write(points, *blocks, name: str = "mesh.vtk") -> Path:
        path = shared_tmp_path / name
        comm.Barrier()
        if comm.rank == 0:
            options = {"file_format": "gmsh22", "binary": False} if name.endswith(".msh") else {}
            meshio.write(path, meshio.Mesh(points, list(blocks)), **options)
        comm.Barrier()
        return path

    return write


def arrays(path: Path, dimension: int = 2, **options):
    """Return the mesh that a file gives, as every rank may read it."""
    from kspde.fem.meshes.build import mesh_arrays

    return mesh_arrays(kspde.MeshFile(path=path, **options), dimension)


def refusal(path: Path, dimension: int = 2, **options) -> str:
    """Return the line that refuses a file."""
    with pytest.raises(kspde.InputError) as caught:
        arrays(path, dimension, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line.replace(str(path), "FILE")


def heat(path: Path, **options) -> np.ndarray:
    """Return the values at ``PLACES`` on the mesh of a file."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[-1.0, 0.0]], stds=[0.3])
    domain = kspde.MeshFile(path=path, boundary="neumann", **options)
    return kspde.solve(Heat(), u0, domain, t_end=1.0, tol=1e-3).evaluate(PLACES)


def test_the_exact_values() -> None:
    def one_dimension(x, start, half):
        k = np.arange(1, 60) * np.pi / (2 * half)
        # The Gaussian's Fourier coefficients over the line differ from those over the interval by 1e-10.
        return (0.5 + np.sum(np.exp(-(0.045 + 1) * k**2) * np.cos(k * (start + half)) * np.cos(k * (x + half)))) / half

    exact = [one_dimension(x, -1.0, 3.0) * one_dimension(y, 0.0, 2.0) for x, y in PLACES]
    np.testing.assert_allclose(exact, EXACT, rtol=0, atol=5e-5)


@pytest.mark.one_rank
def test_parts_that_touch_are_refused_or_merged(write) -> None:
    left, right = rectangle(x1=0.0), rectangle(x0=0.0)
    for apart in (0.0, 1e-9):
        path = write(*_block(together(left, (moved(right[0], apart, 0, 0), right[1]))))
        line = refusal(path)
        assert line.startswith("FILE (its cells form 2 parts) has 17 nodes that coincide with others, the first at (")
        assert "merge them (MeshFile(merge=True)" in line
        np.testing.assert_allclose(heat(path, merge=True), EXACT, rtol=0, atol=6e-4)
    whole = arrays(path, merge=True)
    assert len(whole.points) == 25 * 17
    soup = rectangle()
    path = write(soup[0][soup[1]].reshape(-1, 3), ("triangle", np.arange(3 * len(soup[1])).reshape(-1, 3)))
    assert "its cells form 768 parts" in refusal(path)
    assert len(arrays(path, merge=True).points) == 25 * 17
    slit = rectangle()
    on = np.flatnonzero((soup[0][:, 0] == 0) & (np.abs(soup[0][:, 1]) < 1))
    copies = np.arange(len(soup[0]), len(soup[0]) + len(on))
    to = np.arange(len(soup[0]))
    to[on] = copies
    side = soup[0][soup[1]].mean(axis=1)[:, 0] > 0
    slit[1][side] = to[slit[1][side]]
    path = write(np.concatenate([slit[0], slit[0][on]]), ("triangle", slit[1]))
    assert refusal(path).startswith("FILE has 7 nodes that coincide with others")


def _block(mesh):
    return mesh[0], ("triangle", mesh[1])


@pytest.mark.one_rank
def test_a_sound_mesh_gives_the_exact_values(write) -> None:
    points, cells = rectangle()
    turned = cells.copy()
    turned[::3] = turned[::3, ::-1]
    quads = grid(np.arange(-3, 3.1, 0.25), np.arange(-2, 2.1, 0.25))[1]
    mixed = [("quad", quads[::2]), ("triangle", halves(quads[1::2]))]
    in_xz = points[:, [0, 2, 1]]
    orphans = np.concatenate([points, [[np.nan, 0, 0], [7, 7, 7]]])
    for number, (where, blocks, options, warned) in enumerate([
        (orphans, [("triangle", turned), ("line", cells[:5, :2]), ("vertex", cells[:5, :1])], {}, None),
        (points, mixed, {"triangles": True}, None),
        (in_xz, [("triangle", cells)], {}, r"coordinates x = x, y = z of the file's \(x, y, z\)"),
    ]):  # fmt: skip
        path = write(where, *blocks, name=f"{number}.vtk")
        values = heat(path, **options) if warned is None else _warned(path, warned)
        np.testing.assert_allclose(values, EXACT, rtol=0, atol=6e-4)
    assert "(192 quad, 384 triangle): give MeshFile(triangles=True)" in refusal(write(points, *mixed))


def test_quadrilaterals_are_split_along_the_delaunay_diagonal(write) -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [1.5, 1, 0], [0.5, 1, 0]], dtype=float)
    for quad in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 2, 3, 0]):
        mesh = arrays(write(points, ("quad", np.array([quad]))), triangles=True)
        assert sorted(map(sorted, mesh.cells.tolist())) == [[0, 1, 3], [1, 2, 3]]
    line = refusal(write(points * [[1, 1, 1], [1, 1, 1], [0.2, 0.2, 0], [1, 1, 1]], ("quad", np.array([[0, 1, 2, 3]]))))
    assert "1 quad cells that are flat, twisted or not convex" in line


def _warned(path: Path, words: str) -> np.ndarray:
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank:
        return heat(path)
    with pytest.warns(UserWarning, match=words):
        return heat(path)


def test_overlaps_are_counted_and_placed(write) -> None:
    t = np.arange(24) * np.pi / 12
    disk = np.concatenate([[[1.0, 0.5, 0]], np.stack([1 + np.cos(t), 0.5 + np.sin(t), 0 * t], axis=1)])
    fan = np.stack([np.zeros(24, dtype=int), 1 + np.arange(24), 1 + np.arange(1, 25) % 24], axis=1)
    line = refusal(write(*_block(together(rectangle(), (disk, fan)))))
    assert line.startswith("FILE (its cells form 2 parts) has cells that overlap: 24 nodes of its boundary lie inside "
                           "others, the first at (2, 0.5)")  # fmt: skip
    assert "BooleanFragments" in line
    shifted = rectangle(x0=2.0, x1=4.0)
    line = refusal(write(*_block(together(rectangle(), (moved(shifted[0], 0.1, 0.07, 0), shifted[1])))))
    assert "cells that overlap" in line
    bar = grid(np.array([-3.0, 3.0]), np.array([-0.5, 0.5]))
    points, quads = together(bar, (bar[0][:, [1, 0, 2]], bar[1]))
    line = refusal(write(points, ("quad", quads)))
    assert "overlap: edges of its boundary cross in 4 points, the first at (" in line
    points, cells = rectangle()
    line = refusal(write(points, ("triangle", np.concatenate([cells, cells[7:9]]))))
    assert line.startswith("FILE has 2 duplicate cells, the first at (")
    three = np.array([[0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0.5, -1, 0], [0.5, 2, 0]], dtype=float)
    fans = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    assert "has 1 edges that belong to three cells or more" in refusal(write(three, ("triangle", fans)))
    line = refusal(write(three, ("triangle", fans[[0, 2]])))
    assert "has 1 edges with two cells beside each other on one side, so cells overlap, the first at (0.5, 0)" in line


def test_hanging_nodes_are_counted_and_placed(write) -> None:
    coarse = grid(np.arange(-3, 0.1, 0.5), np.arange(-2, 2.1, 0.5))
    fine = grid(np.arange(0, 3.1, 0.25), np.arange(-2, 2.1, 0.25))
    points, quads = together(coarse, fine)
    line = refusal(write(points, ("quad", quads)), merge=True)
    assert line.startswith("FILE (its cells form 2 parts) has 8 hanging nodes, the first at (0, -1.75)")
    assert "give a mesh whose cells share whole edges" in line
    three = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [1, 0], [1, 1]], dtype=float)
    three = np.pad(three, ((0, 0), (0, 1)))
    cells = [[0, 1, 3], [1, 2, 5], [5, 2, 3]]  # connected, but node 5 hangs on the edge of the first one
    assert refusal(write(three, ("triangle", np.array(cells)))).startswith("FILE (its cells form 2 parts) has 1 hang")


def test_parts_and_flat_cells(write) -> None:
    left, right = rectangle(0.5, x1=0.0), rectangle(0.5, x0=0.0, x1=1.0)
    path = write(*_block(together(left, (moved(right[0], 0.5, 0, 0), right[1]))))
    line = refusal(path)
    assert line.startswith("FILE falls into 2 parts that do not touch; the smallest has 32 cells, one at (0.")
    points = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]], dtype=float)
    points = np.pad(points, ((0, 0), (0, 1)))
    line = refusal(write(points, ("triangle", np.array([[0, 1, 2], [0, 3, 4]]))))
    assert "2 parts that touch only in points, the first at (0, 0)" in line
    for cell in ([0, 1, 3], [0, 1, 1]):
        line = refusal(write(points, ("triangle", np.array([[0, 1, 2], cell]))))
        assert "has 1 triangle cells that are flat, twisted or not convex, the first at (" in line
    line = refusal(write(points * 0 + 1, ("triangle", np.array([[0, 1, 2]]))))
    assert "has all its points at (1, 1, 1)" in line


def test_what_is_not_plane_is_refused(write) -> None:
    points, cells = rectangle()
    points[:, 2] = 0.5 * points[:, 0] ** 2
    line = refusal(write(*_block((points, cells))))
    assert line.startswith("FILE is not plane: ")
    assert " of its 425 points are off its best plane, the one at (" in line
    line = refusal(write(points, ("line", np.stack([np.arange(20), np.arange(1, 21)], axis=1))), dimension=1)
    assert "is not straight" in line
    assert "has cells of dimension 2 (768 triangle), the model 1" in refusal(write(points, ("triangle", cells)), 1)


def test_any_plane_is_used_with_named_axes(write) -> None:
    points, cells = rectangle(0.5)
    e1, e2 = np.array([0.8, 0.0, 0.6]), np.array([0.0, 1.0, 0.0])
    tilted = points[:, :1] * e1 + points[:, 1:2] * e2 + [0, 0, 5.0]
    mesh = arrays(write(tilted, ("triangle", cells)))
    assert "x = 0.8 x + 0.6 z, y = y" in mesh.note
    np.testing.assert_allclose(mesh.points, points[:, :2] + [3.0, 0], rtol=0, atol=1e-12)
    assert arrays(write(moved(points, 0, 0, 5.0), ("triangle", cells))).note is None
    mesh = arrays(write(np.stack([0 * points[:9, 0], points[:9, 1], points[:9, 2]], axis=1),
                        ("line", np.stack([np.arange(8), np.arange(1, 9)], axis=1))), dimension=1)  # fmt: skip
    assert "the axis of x: its line is used with the coordinates x = y" in mesh.note
    np.testing.assert_allclose(mesh.points[:, 0], np.arange(-2, 2.1, 0.5))


def second_order(curved: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    points, cells = rectangle()
    ends = np.sort(cells[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, number = np.unique(ends, axis=0, return_inverse=True)
    middles = points[edges].mean(axis=1)
    middles[middles[:, 0] == 3.0, 0] += curved
    return np.concatenate([points, middles]), np.concatenate([cells, len(points) + number.reshape(-1, 3)], axis=1)


def test_second_order_cells(write) -> None:
    for name in ("six.vtk", "six.msh"):
        points, cells = second_order()
        np.testing.assert_allclose(heat(write(points, ("triangle6", cells), name=name)), EXACT, rtol=0, atol=6e-4)
        points, cells = second_order(curved=0.02)
        line = refusal(write(points, ("triangle6", cells), name=name))
        assert "has 16 triangle6 cells with curved edges, the most curved at (2.9" in line
        assert "first-order cells (triangle; gmsh: Mesh.ElementOrder = 1)" in line
    tens = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2],
                     [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]], dtype=float)  # fmt: skip
    for name in ("ten.vtk", "ten.msh"):  # their last two nodes are the other way round
        mesh = arrays(write(tens, ("tetra10", np.arange(10)[None]), name=name), dimension=3)
        assert mesh.kind == "tetra"
        assert len(mesh.points) == 4
    line = refusal(write(points, ("triangle10", np.arange(10)[None]), name="third.msh"))
    assert "has 1 cells of kind Triangle 10, which is not supported: give a mesh of first-order tri" in line


def _written_by_gmsh(folder: Path) -> dict[str, Path]:
    """Return .msh files of the rectangle in the variants that gmsh writes, name -> path."""
    import gmsh

    gmsh.initialize(readConfigFiles=False, interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    files = {}

    def write(name: str, **options: float) -> None:
        for option, value in options.items():
            gmsh.option.setNumber(f"Mesh.{option}", value)
        files[name] = folder / f"{name}.msh"
        gmsh.write(str(files[name]))

    gmsh.model.occ.addRectangle(-3, -2, 0, 6, 4)
    gmsh.model.occ.synchronize()
    gmsh.model.mesh.setSize(gmsh.model.getEntities(0), 0.25)
    gmsh.model.mesh.generate(2)
    write("plain")
    write("version 2.2", MshFileVersion=2.2)
    write("version 4.0", MshFileVersion=4.0)
    gmsh.model.addPhysicalGroup(1, [2])
    write("partial groups", MshFileVersion=4.1, SaveAll=1)
    write("parametric", SaveParametric=1)
    gmsh.model.mesh.partition(3)
    write("partitioned", SaveParametric=0)
    gmsh.finalize()
    return files


def test_valid_files_of_gmsh_with_and_without_it(shared_tmp_path, comm, monkeypatch) -> None:
    files = comm.bcast(_written_by_gmsh(shared_tmp_path) if comm.rank == 0 else None)
    np.testing.assert_allclose(heat(files["partitioned"]), EXACT, rtol=0, atol=6e-4)
    count = len(arrays(files["plain"]).cells)
    assert count > 700
    assert all(len(arrays(path).cells) == count for path in files.values())
    monkeypatch.setitem(sys.modules, "gmsh", None)
    for name, path in files.items():
        if name in ("plain", "version 2.2"):
            assert len(arrays(path).cells) == count
        else:
            line = refusal(path)
            assert line.endswith('): pip install "kspde[mesh]": gmsh reads it, if it is valid')
            assert "StopIteration" not in line


def test_freefems_own_format(shared_tmp_path, comm) -> None:
    points, cells = rectangle()
    path = shared_tmp_path / "freefem.msh"
    rows = [f"{len(points)} {len(cells)} 1", *(f"{x:.17g} {y:.17g} 0" for x, y, _ in points)]
    rows += [f"{a} {b} {c} 0" for a, b, c in cells + 1] + ["1 2 1"]
    if comm.rank == 0:
        path.write_text("\n".join(rows) + "\n")
    comm.Barrier()
    np.testing.assert_allclose(heat(path), EXACT, rtol=0, atol=6e-4)
    comm.Barrier()
    if comm.rank == 0:
        path.write_text("\n".join(rows[:-1]))
    comm.Barrier()
    assert "is not a mesh of FreeFem (4350 numbers where 4353 are announced): save it anew by savemesh" in refusal(path)
    for head in ("99999999999999999999 1 1", "3 1 0\n0 0 0 1 0 0 0 1 0 1 2 three 0", "0 0 0"):
        comm.Barrier()
        if comm.rank == 0:
            path.write_text(head)
        comm.Barrier()
        assert re.search("is not a mesh of FreeFem|has no cells of dimension 2", refusal(path))
    comm.Barrier()
    if comm.rank == 0:
        path.write_text("(0 comment)\n")
    comm.Barrier()
    assert "is neither gmsh's .msh, which begins with $MeshFormat, nor FreeFem's, which begins with three" in refusal(
        path
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_sizes_and_places_do_not_matter(write, scale, shift) -> None:
    left, right = rectangle(x1=0.0), rectangle(x0=0.0)
    hanging = together(rectangle(0.5, x1=0.0), right)
    if shift:
        scale = max(scale, 1.0)

    def at(mesh):
        return write(scale * (mesh[0] + [shift, -shift, 0]), ("triangle", mesh[1]))

    assert len(arrays(at(rectangle())).cells) == 768
    assert "has 17 nodes that coincide" in refusal(at(together(left, right)))
    assert "has 8 hanging nodes" in refusal(at(hanging), merge=True)
    assert len(arrays(at(together(left, right)), merge=True).points) == 425


def test_cells_that_name_no_points(shared_tmp_path, comm, write) -> None:
    path = shared_tmp_path / "faces.obj"
    for face in ("1 2 4", "1 2 -7", "1 2 999999999"):
        comm.Barrier()
        if comm.rank == 0:
            path.write_text(f"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf {face}\n")
        comm.Barrier()
        assert "has 1 triangle cells that name points which are not there, the first of them number" in refusal(path)
    points, cells = rectangle()
    for bad in (np.nan, np.inf, 1e200):
        points[3, 1] = bad
        line = refusal(write(points, ("triangle", cells)))
        assert (
            "has 1 points with a coordinate that is not a finite number of size 1e+100 at most, the first number 3"
            in (line)
        )


def cubes(kind: str, n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(n + 1.0)
    points = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    k = np.arange(len(points)).reshape(n + 1, n + 1, n + 1)
    corners = [k[i : n + i, j : n + j, m : n + m].ravel() for i, j, m in
               ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))]  # fmt: skip
    hexes = np.stack(corners, axis=1)
    kuhn = [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)]
    return points, hexes if kind == "hexahedron" else np.concatenate([hexes[:, list(t)] for t in kuhn])


@pytest.mark.parametrize("kind", ["tetra", "hexahedron"])
def test_the_same_in_three_dimensions(write, kind) -> None:
    points, cells = cubes(kind)

    def line(*meshes, **options):
        x, c = together(*meshes)
        return refusal(write(x, (kind, c)), 3, **options)

    mirrored = cells.copy()
    mirrored[::2] = mirrored[::2][:, [4, 5, 6, 7, 0, 1, 2, 3] if kind == "hexahedron" else [1, 0, 2, 3]]
    assert len(arrays(write(points, (kind, mirrored)), 3).cells) == len(cells)
    assert "(its cells form 2 parts) has 16 nodes that coincide" in line(
        (points, cells), (moved(points, 3, 0, 0), cells)
    )
    beside = write(*_solid(kind, together((points, cells), (moved(points, 3, 0, 0), cells))))
    assert len(arrays(beside, 3, merge=True).points) == 7 * 16
    assert "2 parts that do not touch" in line((points, cells), (moved(points, 4, 0, 0), cells))
    assert "has cells that overlap: " in line((points, cells), (moved(points, 2.4, 0.3, 0.2), cells))
    inner = line((points, cells), (0.2 * points + 1.1, cells))
    assert "has cells that overlap: " in inner
    assert kind == "tetra" or "overlap: 56 nodes of its boundary" in inner
    fine = (moved(0.5 * points, 3, 0, 0), cells)
    assert "hanging nodes" in line((points, cells), fine, merge=True)
    assert "duplicate cells" in line((points, np.concatenate([cells, cells[:1]])))
    if kind == "tetra":
        x = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, 1], [0.3, 0.3, -1], [0.3, 0.1, 2]], dtype=float)
        fan = np.array([[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5]])
        assert "has 1 faces that belong to three cells or more" in refusal(write(x, (kind, fan)), 3)
        assert "has 1 faces with two cells beside each other on one side" in refusal(write(x, (kind, fan[[0, 2]])), 3)
    mixed = write(points, ("tetra", cells[:1, :4]), ("wedge", cells[:1, [0, 1, 2, 3, 0, 1]]))
    assert "cells of kind wedge, which is not supported" in refusal(mixed, 3)
    surface = write(points, ("triangle", cells[:, :3]))
    assert "has no cells of dimension 3" in refusal(surface, 3)


def _solid(kind, mesh):
    return mesh[0], (kind, mesh[1])


def test_intervals(write) -> None:
    x = np.zeros((6, 3))
    x[:, 0] = [0, 1, 2, 2, 3, 4]
    lines = np.array([[0, 1], [2, 1], [3, 4], [4, 5]])
    assert "2 parts) has 1 nodes that coincide" in refusal(write(x, ("line", lines)), 1)
    assert len(arrays(write(x, ("line", lines)), 1, merge=True).points) == 5
    x[3, 0] = 1.5
    assert "cells that overlap: 2 nodes" in refusal(write(x, ("line", lines)), 1)
    x[:, 0] = np.arange(6)
    assert "that belong to three cells" in refusal(write(x, ("line", np.array([[0, 1], [1, 2], [1, 3]]))), 1)


def test_heaps_of_slivers_end_in_a_line(write) -> None:
    """30 000 triangles around a point, each as long as all: every node is near all of them."""
    t = np.linspace(0, 2 * np.pi, 30_000, endpoint=False)
    points = np.concatenate([[[0, 0, 0]], np.stack([np.cos(t), np.sin(t), 0 * t], axis=1)])
    k = np.arange(len(t))
    path = write(points, ("triangle", np.stack([0 * k, 1 + k, 1 + (k + 1) % len(t)], axis=1)))
    assert re.search(r"cannot be checked: up to \d{5} cells lie within a cell's length of a point", refusal(path))


def test_one_cell_and_holes(write) -> None:
    points, quads = grid(np.arange(4.0), np.arange(4.0))
    assert len(arrays(write(points, ("quad", np.delete(quads, 4, axis=0)))).cells) == 8
    holes = np.delete(quads, [4, 1], axis=0)
    assert len(arrays(write(points, ("quad", holes))).cells) == 7
    one = np.array([[-20.0, -12, 0], [20, -12, 0], [0, 22, 0]])
    path = write(one, ("triangle", np.array([[0, 1, 2]])))
    assert len(arrays(path).cells) == 1
    assert len(arrays(path, refine=3).cells) == 64
