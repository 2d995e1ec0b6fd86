"""Disks and mesh files: the same numbers as everywhere, and what a bad mesh is told."""

from pathlib import Path

import meshio
import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.kernels import ResolventPolynomial

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
ELLIPSE = Path(__file__).parents[2] / "meshes" / "ellipse.msh"
POINTS = [(0, 0), (1, 0.5), (-1.2, 0.3), (3, 3), (0.2, 1.5)]
LOCAL = [0.05184776299, 0.04279991812, 0.05054805073, 0.00262050833, 0.03981133375]
SIGNAL = [0.28191758947, 0.24423257953, 0.26849104102, 0.03875557966, 0.23620730600]
GAUSSIAN = [0.05171478469, 0.04273380520, 0.05035283773, 0.00262494082, 0.03978966595]
MATERN = [0.05171651037, 0.04273471602, 0.05035714148, 0.00262489554, 0.03978929038]


@pytest.mark.one_rank
@pytest.mark.parametrize(
    "kernel",
    [
        kspde.Yukawa(strength=3.0, screening=0.7),
        kspde.MaternMollifier(eps=0.4, order=3),
        kspde.GaussianMollifier(eps=0.3),
        kspde.Yukawa(strength=-2.0) * kspde.GaussianMollifier(eps=0.2),
    ],
)
def test_resolvents_make_up_the_symbol(kernel) -> None:
    lam = np.concatenate([[0.0], np.logspace(-4, 8, 2000)])
    product = np.prod([part(lam) for part in kernel.resolvents], axis=0)
    error = sum(part.error for part in kernel.resolvents)
    scale = np.abs(kernel.symbol(np.zeros(1)))[0]
    assert np.abs(product - kernel.symbol(lam)).max() <= (error + 1e-13) * scale
    assert product[0] == pytest.approx(kernel.symbol(np.zeros(1))[0], rel=1e-13)  # masses are kept
    assert all(isinstance(part, ResolventPolynomial) and part.tau > 0 for part in kernel.resolvents)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, LOCAL, marks=pytest.mark.one_rank),
        pytest.param({"eps": 0.3}, GAUSSIAN, marks=pytest.mark.one_rank),
        ({"eps": 0.3, "mollifier": "matern"}, MATERN),
    ],
    ids=["local", "gaussian", "matern"],
)
def test_quadrilaterals_of_degree_four(mixture, options, expected) -> None:
    disk = kspde.Disk(radius=14.0, size=0.7, rim_size=3.0, cell="quadrilateral", degree=4)
    pde = kspde.solve(MODEL, mixture, disk, t_end=0.5, tol=1e-4, **options)
    assert np.abs(pde.evaluate(POINTS) - expected).max() < 1e-4
    assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-12


@pytest.mark.one_rank
def test_triangles_converge_with_order_two(mixture) -> None:
    """Against the box's density at many points; that one agrees with the Fourier solution to 1e-7."""
    axis = np.linspace(-6.0, 6.0, 41)
    exact = kspde.solve(MODEL, mixture, kspde.Box(half_width=14.0, cells=20, degree=6), t_end=0.5, tol=1e-6)
    errors = []
    for size in (0.28, 0.14, 0.07):
        disk = kspde.Disk(radius=14.0, size=size, rim_size=10 * size)
        pde = kspde.solve(MODEL, mixture, disk, t_end=0.5, tol=1e-4)
        u, v = (f(pde) - f(exact) for f in (lambda p: p.on_grid([axis] * 2), lambda p: p.signal_on_grid([axis] * 2)))
        errors.append((np.abs(u).sum() * 0.3**2, np.abs(v).max()))
        assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-12
    ratios = np.array(errors[:-1]) / errors[1:]
    assert np.all((ratios > 3.0) & (ratios < 5.5)), f"{errors}"
    assert errors[-1][0] < 4e-3
    assert errors[-1][1] < 2e-3


@pytest.mark.one_rank
def test_positive_scheme_on_a_disk(mixture) -> None:
    disk = kspde.Disk(radius=14.0, size=0.1, rim_size=1.5)
    for dt in (0.02, 5.0):
        pde = kspde.solve(MODEL, mixture, disk, t_end=0.5 if dt < 1 else 20.0, scheme="positive", dt=dt)
        assert np.all(pde.diagnostics["minimum"] >= 0)
        assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-12
        if dt < 1:
            assert np.abs(pde.evaluate(POINTS) - LOCAL).max() < 3e-3


def test_ranks_agree(mixture) -> None:
    disk = kspde.Disk(radius=12.0, size=0.1, rim_size=1.5)
    for options in ({"tol": 1e-4}, {"scheme": "positive", "dt": 0.05}):
        ours = kspde.solve(MODEL, mixture, disk, t_end=0.1, eps=0.3, **options)
        alone = kspde.solve(MODEL, mixture, disk, t_end=0.1, eps=0.3, comm=MPI.COMM_SELF, **options)
        # The origin is 2e-7 from a vertex, so near that any cell around it has it, whose planes differ by 1e-9 there.
        for f, g in ((ours.evaluate, alone.evaluate), (ours.evaluate_signal, alone.evaluate_signal)):
            np.testing.assert_allclose(f(POINTS), g(POINTS), rtol=0, atol=1e-10)


def cotangent_weights(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return K_ij of each edge {i, j} of triangles: −½ the cotangents of the angles opposite, summed."""
    count = len(points)
    keys, weights = [], []
    for k in range(3):
        a, b, c = (cells[:, (k + m) % 3] for m in range(3))
        e, f = points[b] - points[a], points[c] - points[a]
        keys.append(np.minimum(b, c) * count + np.maximum(b, c))
        weights.append(-0.5 * np.sum(e * f, axis=1) / np.abs(e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]))
    _, edge = np.unique(np.concatenate(keys), return_inverse=True)
    return np.bincount(edge, weights=np.concatenate(weights))


def area(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    x, y = points[cells].transpose(2, 0, 1)
    return 0.5 * np.abs(np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1))


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("size", "rim_size", "refine"), [(0.3, 1.7, 1), (0.4, 1.6, 2), (0.9, 0.9, 3), (1.0, 0.3, 2), (0.25, 0.6, 1)]
)
def test_refined_disks_are_delaunay_and_round(size, rim_size, refine) -> None:
    """No stiffness entry off the diagonal is positive; all points of the rim on the circle; cells of the size asked."""
    from kspde.fem.meshes.build import mesh_arrays

    sizes = {"size": size / 2**refine, "rim_size": rim_size / 2**refine}
    mesh = mesh_arrays(kspde.Disk(radius=6.0, refine=refine, **sizes), 2)
    kind, points, cells = mesh.kind, mesh.points, mesh.cells
    assert kind == "triangle"
    assert cotangent_weights(points, cells).max() < 1e-12
    areas = area(points, cells)
    assert areas.min() > 0
    # n points on the circle make a polygon short by a share 2π²/3 · n⁻² when they are equally spaced.
    rim = int(np.sum(np.abs(np.linalg.norm(points, axis=1) - 6.0) < 1e-12))
    assert 0 < 1 - areas.sum() / (36 * np.pi) < 1.5 * 2 * np.pi**2 / 3 / rim**2
    coarse = mesh_arrays(kspde.Disk(radius=6.0, **sizes), 2)
    once_points, once = coarse.points, coarse.cells
    assert 0.6 < len(cells) / len(once) < 1.6
    assert len(once_points) > 100


@pytest.mark.one_rank
def test_lawsons_flips_make_a_delaunay_mesh() -> None:
    """A sheared grid, all diagonals the wrong way."""
    from kspde.fem.meshes.build import _flipped

    n = 12
    x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    points = np.stack([x + 1.7 * y, 1.0 * y], axis=-1).reshape(-1, 2)
    corner = (x * n + y)[:-1, :-1].ravel()
    cells = np.concatenate([
        np.stack([corner, corner + n, corner + n + 1], axis=1), np.stack([corner, corner + n + 1, corner + 1], axis=1)
    ])  # fmt: skip
    assert cotangent_weights(points, cells).max() > 0.1
    flipped = _flipped(points, cells)
    assert area(points, flipped).sum() == pytest.approx(area(points, cells).sum(), rel=1e-12)
    _, count = np.unique(
        np.sort(flipped[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0, return_counts=True
    )
    assert count.max() == 2
    interior = cotangent_weights(points, flipped)[count == 2]
    assert interior.max() < 1e-12


@pytest.mark.one_rank
def test_a_refined_mesh_gives_the_same_numbers(mixture) -> None:
    """The same cell sizes, meshed at once or coarsely and split: errors of the same size, not the same mesh."""
    errors = []
    for refine in (0, 2):
        disk = kspde.Disk(radius=14.0, size=0.15, rim_size=1.5, refine=refine)
        pde = kspde.solve(MODEL, mixture, disk, t_end=0.5, tol=1e-4)
        errors.append(np.abs(pde.evaluate(POINTS) - LOCAL).max())
        positive = kspde.solve(MODEL, mixture, disk, t_end=0.02, scheme="positive", dt=0.01)
        assert positive.diagnostics["minimum"].min() >= 0
    assert max(errors) < 4e-4
    quads = kspde.Disk(radius=14.0, size=0.7, rim_size=3.0, refine=1, cell="quadrilateral", degree=4)
    assert np.abs(kspde.solve(MODEL, mixture, quads, t_end=0.5, tol=1e-4).evaluate(POINTS) - LOCAL).max() < 1e-4


def test_refined_mesh_files(shared_tmp_path, comm) -> None:
    """Every cell becomes 2^d, in one, two and three dimensions, and the volume stays."""
    from kspde.fem.backend import require

    require()
    from kspde.fem.spaces.mesh import MeshSpace

    ellipse = kspde.MeshFile(path=ELLIPSE)
    coarse, fine = (MeshSpace(m, 2, comm) for m in (ellipse, kspde.MeshFile(path=ELLIPSE, refine=2)))
    assert fine.cells == 16 * coarse.cells
    np.testing.assert_allclose(fine.integral(np.ones(len(fine.points))), coarse.integral(np.ones(len(coarse.points))))
    for kind in ("line", "tetra", "hexahedron"):
        path = shared_tmp_path / f"{kind}.vtk"
        if comm.rank == 0:
            points, cells = cube(kind) if kind != "line" else (np.linspace([-4.0, 0, 0], [4.0, 0, 0], 13), None)
            cells = np.stack([np.arange(12), np.arange(1, 13)], axis=1) if cells is None else cells
            meshio.write(path, meshio.Mesh(points, [(kind, cells)]))
        comm.Barrier()
        dimension = 1 if kind == "line" else 3
        space = MeshSpace(kspde.MeshFile(path=path, refine=1), dimension, comm)
        assert space.cells == {"line": 24, "tetra": 6 * 12**3 * 8, "hexahedron": 24**3}[kind]
        assert space.integral(np.ones(len(space.points)))[0] == pytest.approx(8.0**dimension, rel=1e-12)


@pytest.mark.parametrize("boundary", ["decay", "neumann"])
def test_the_decay_condition_is_the_planes(boundary) -> None:
    """A narrow source in a small disk: with "decay" its signal is the plane's, with "neumann" it is not."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.3])
    disk = kspde.Disk(radius=2.5, size=0.06, rim_size=0.12, boundary=boundary)
    pde = kspde.solve(kspde.SignalDependentKellerSegel(chi=1.0), u0, disk, t_end=1e-6, tol=1e-3)
    from scipy.integrate import quad
    from scipy.special import j0

    exact = [
        quad(lambda k, r=r: k * j0(k * r) * np.exp(-0.045 * k * k) / (1 + k * k), 0, 40)[0] / (2 * np.pi)
        for r in (0.5, 2.0)
    ]
    error = np.abs(pde.evaluate_signal([[0.5, 0.0], [0.0, 2.0]]) - exact).max()
    assert error < 5e-4 if boundary == "decay" else error > 1e-2


def test_mesh_files_of_several_formats(shared_tmp_path, comm) -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.7])
    vtk = shared_tmp_path / "ellipse.vtk"
    if comm.rank == 0:
        mesh = meshio.read(ELLIPSE)
        meshio.write(vtk, meshio.Mesh(mesh.points, [("triangle", mesh.cells_dict["triangle"])]))
    comm.Barrier()
    values = []
    for path in (ELLIPSE, str(vtk)):
        pde = kspde.solve(MODEL, u0, kspde.MeshFile(path=path), t_end=0.05, tol=1e-4)
        values.append(pde.evaluate([[0.0, 0.0], [2.0, 1.0]]))
        assert abs(pde.diagnostics["mass"][-1] - 1) < 1e-12
    np.testing.assert_allclose(values[0], values[1], rtol=0, atol=1e-10)
    with pytest.raises(kspde.InputError, match=r"1 of 1 points lie outside the mesh, the first at \(3\.9, 2\.9\)"):
        pde.evaluate([[3.9, 2.9]])


def cube(kind: str) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-4.0, 4.0, 13)
    points = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    n = np.arange(13**3).reshape(13, 13, 13)
    corners = [n[i : 12 + i, j : 12 + j, k : 12 + k].ravel() for i, j, k in
               ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))]  # fmt: skip
    hexes = np.stack(corners, axis=1)
    if kind == "hexahedron":
        return points, hexes
    kuhn = [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)]
    return points, np.concatenate([hexes[:, list(t)] for t in kuhn])


@pytest.mark.parametrize(("kind", "degree", "bound"), [("tetra", 1, 3e-2), ("hexahedron", 2, 5e-3)])
def test_three_dimensions(shared_tmp_path, comm, kind, degree, bound) -> None:
    class Heat(kspde.Model):
        dimension = 3
        fields = ()

        def diffusion(self, species, c):
            return 0.1

    path = shared_tmp_path / "cube.vtk"
    if comm.rank == 0:
        points, cells = cube(kind)
        meshio.write(path, meshio.Mesh(points, [(kind, cells)]))
    comm.Barrier()
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0, 0.0]], stds=[0.75])
    pde = kspde.solve(Heat(), u0, kspde.MeshFile(path=path, degree=degree), t_end=0.1, tol=1e-4)
    variance = 0.75**2 + 0.02
    assert abs(pde.evaluate([[0.0, 0.0, 0.0]])[0] * (2 * np.pi * variance) ** 1.5 - 1) < bound
    if degree == 1:
        positive = kspde.solve(Heat(), u0, kspde.MeshFile(path=path), t_end=1.0, scheme="positive", dt=0.5)
        assert positive.diagnostics["minimum"].min() >= 0


SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.02, 0]], dtype=float)
BAD_MESHES = [
    ([("line", [[0, 1], [1, 2]])], r"has no cells of dimension 2 \(2 line\): give a mesh of triangles or quadril"),
    ([("triangle", [[0, 1, 2]]), ("quad", [[0, 1, 2, 3]])], r"mixes cells of dimension 2 \(1 triangle, 1 quad\)"),
    ([("triangle", [[0, 1, 2], [0, 2, 3], [2, 0, 1]])], r"1 duplicate cells, the first at \(0\.6667, 0\.3333\)"),
    (
        [("triangle", [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 1, 4]])],
        "2 edges with two cells beside each other on one side",
    ),
    ([("quad", [[0, 1, 3, 2]])], r"1 quad cells that are flat, twisted or not convex, the first at \(0\.5, 0\.5\)"),
]


@pytest.mark.parametrize(("cells", "words"), BAD_MESHES)
def test_bad_meshes(mixture, shared_tmp_path, comm, cells, words) -> None:
    path = shared_tmp_path / "bad.vtk"
    if comm.rank == 0:
        meshio.write(path, meshio.Mesh(SQUARE, [(kind, np.array(c)) for kind, c in cells]))
    comm.Barrier()
    with pytest.raises(kspde.InputError, match=words) as caught:
        kspde.solve(MODEL, mixture, kspde.MeshFile(path=path), t_end=0.1)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_files_and_arguments(mixture, shared_tmp_path, comm) -> None:
    broken, header, nodes, text = (shared_tmp_path / f"broken.{kind}" for kind in ("xdmf", "ply", "mdpa", "wkt"))
    if comm.rank == 0:
        broken.write_text("not a mesh")
        header.write_text("ply\nformat ascii 1.0\nelement vertex 4\n")  # their readers seek the next line for ever
        nodes.write_text("Begin Nodes\n 1 0.0 0.0 0.0\n")
        text.write_text("TIN (((0.12345 0.12345, 0.12345 0.12345,")  # a regular expression would take for ever
    comm.Barrier()
    for domain, words in (
        (kspde.MeshFile(path="nowhere.msh"), "'nowhere.msh' is not a file"),
        (kspde.MeshFile(path=broken), "broken.xdmf cannot be read as a mesh"),
        (kspde.MeshFile(path=header), r"broken.ply cannot be read as a mesh \(the file ends too early\)"),
        (kspde.MeshFile(path=nodes), r"broken.mdpa cannot be read as a mesh \(the file ends too early\)"),
        (kspde.MeshFile(path=text), "broken.wkt cannot be read as a mesh: give gmsh's .msh, or"),
        (kspde.MeshFile(path=ELLIPSE, degree=2), "degree = 2 is not valid on triangle cells"),
    ):
        with pytest.raises(kspde.InputError, match=words) as caught:
            kspde.solve(MODEL, mixture, domain, t_end=0.1)
        assert "\n" not in str(caught.value)
    for options, words in (
        ({"radius": -1.0, "size": 0.1}, "radius = -1"),
        ({"radius": 1.0, "size": 2.0}, "size = 2 is not valid: give a cell size <= radius"),
        ({"radius": 1.0, "size": 0.1, "cell": "hexagon"}, "cell = 'hexagon'"),
        ({"radius": 1.0, "size": 0.1, "refine": -1}, "refine = -1"),
        ({"radius": 1.0, "size": 0.1, "refine": 4}, "refine = 4 is not valid: it begins with cells of size 1.6"),
        ({"radius": 1.0, "size": 0.1, "degree": 2}, "degree = 2 is not valid on triangles"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            kspde.Disk(**options)


def test_positive_scheme_refuses_a_mesh_that_is_not_delaunay(shared_tmp_path, comm) -> None:
    """Two flat triangles share their long edge: the angles opposite it sum to more than π."""
    path = shared_tmp_path / "flat.vtk"
    if comm.rank == 0:
        points = np.array([[-2, 0, 0], [2, 0, 0], [0, 0.3, 0], [0, -0.3, 0]], dtype=float)
        meshio.write(path, meshio.Mesh(points, [("triangle", np.array([[0, 1, 2], [1, 0, 3]]))]))
    comm.Barrier()
    with pytest.raises(kspde.InputError, match=r"the mesh has 1 edges .* the worst at \(.*\): use a Delaunay mesh"):
        kspde.solve(MODEL, _Uniform(1.0 / 1.2), kspde.MeshFile(path=path), t_end=0.1, scheme="positive", dt=0.1)


def test_a_density_is_cut_off_at_the_edge_of_a_mesh(comm) -> None:
    """The ellipse x²/16 + y²/9 < 1 holds a share 1 − e^(−1/2) of the Gaussian with its shape."""
    from kspde.fem.semidiscretisation import initial_densities
    from kspde.fem.spaces.mesh import MeshSpace

    domain = kspde.MeshFile(path=ELLIPSE)
    space = MeshSpace(domain, 2, comm)
    u0 = kspde.CallableDensity(
        lambda x: np.exp(-(x[:, 0] ** 2 / 16 + x[:, 1] ** 2 / 9) / 2) / (24 * np.pi), half_width=30.0, mass=1.0
    )
    cut = kspde.CutDensity(u0, domain)
    nodal, errors = initial_densities(space, {"u": cut})
    assert errors == {"u": 0.0}
    assert space.integral(nodal[0])[0] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(nodal[0], u0(space.points) / (1 - np.exp(-0.5)), rtol=0.02)
    with pytest.raises(kspde.InputError, match="only the mesh"):
        kspde.simulate(MODEL, cut, n=10, t_end=0.1, dt=0.1, eps=0.5)
    with pytest.raises(kspde.InputError, match="only the mesh"):
        kspde.CutDensity(u0, domain, keep="values")


class _Uniform(kspde.initial.InitialDensity):
    """A constant: what a domain cuts out of it has the mass it has."""

    dimension = 2

    def __init__(self, value: float) -> None:
        self.mass = 1.0
        self._value = value

    def __call__(self, x):
        return np.full(len(x), self._value)

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        raise NotImplementedError
