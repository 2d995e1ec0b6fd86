"""Fields of the whole space for any kernel and on any mesh: potentials of Gaussians, wherever they sit."""

import math

import meshio
import numpy as np
import pytest
from mpi4py import MPI
from potentials import Potential
from scipy.special import dawsn, exp1, hyp1f1

import kspde
from kspde.fem import backend

backend.require()

from kspde.fem.semidiscretisation import Semidiscretisation  # noqa: E402
from kspde.fem.spaces import build_space  # noqa: E402

MASS = 2.5


def riesz(s, d, std, r):
    """|x|^(−s) * N(0, σ²) and its slope."""
    a, b, z = 0.5 * s, 0.5 * d, -0.5 * (r / std) ** 2
    factor = math.gamma(b - a) / math.gamma(b) * (2 * std**2) ** -a
    return factor * hyp1f1(a, b, z), -factor * a / b * r / std**2 * hyp1f1(a + 1, b + 1, z)


def logarithm(std, r):
    """−(log r² + E₁(r²/2σ²))/4π and its slope, in the plane."""
    z = 0.5 * r**2 / std**2
    return -(2 * np.log(r) + exp1(z)) / (4 * np.pi), np.expm1(-z) / (2 * np.pi * r)


def line_logarithm(std, r):
    """−log|x| * N(0, σ²) on the line, −log(√2 σ) + γ/2 + log 2 − 2∫D over (0, z), z = r/√2σ, and its slope."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    z = r / (math.sqrt(2) * std)
    integral = 0.5 * z * (dawsn(np.multiply.outer(0.5 * z, nodes + 1)) @ weights)
    constant = 0.5 * np.euler_gamma + math.log(2) - math.log(math.sqrt(2) * std)
    return constant - 2 * integral, -math.sqrt(2) * dawsn(z) / std


def yukawa(mu, std, r):
    """∫ (4πt)^(−1) exp(−r²/4t − μ²(t − σ²/2)) dt over t > σ²/2, in log t, and its slope, in the plane."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(np.log(0.5 * std**2), np.log(45 / mu**2), 80)
    t = np.exp((edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (nodes + 1)).ravel())
    w = (0.5 * np.diff(edges)[:, None] * weights).ravel() / (4 * np.pi) * np.exp(-(mu**2) * (t - 0.5 * std**2))
    waves = np.exp(-np.multiply.outer(r**2, 0.25 / t))
    return waves @ w, -r * (waves @ (w / (2 * t)))


def errors(kernel, domain, centre, std, exact, eps=0.0):
    """The largest errors of c and of ∇c at nodes, relative to their maxima."""
    model = Potential(kernel, len(centre))
    space = build_space(domain, model.dimension, MPI.COMM_WORLD)
    mollifier = kspde.GaussianMollifier(eps=eps) if eps else None
    system = Semidiscretisation(model, model.regularised_fields(mollifier), space)
    x = space.points - np.array(centre)
    r = np.maximum(np.linalg.norm(x, axis=1), 1e-6)
    u = MASS * np.exp(-0.5 * (r / std) ** 2) / (2 * np.pi * std**2) ** (0.5 * model.dimension)
    c = system.field_values(u.reshape(1, *space.mass.shape), 0.0)
    few = slice(None, None, 1 + len(r) // 1000)
    value, slope = (MASS * part for part in exact(math.hypot(std, eps), r[few]))
    gradient = (slope / r[few])[:, None] * x[few]
    found = [(c["c"][few], value), (c.gradient("c")[few], gradient)]
    sizes = space.maximum(np.array([[np.abs(a - b).max(initial=0.0), np.abs(b).max(initial=0.0)] for a, b in found]))
    return sizes[:, 0] / sizes[:, 1]


BOX = kspde.Box(half_width=14.0, cells=32, degree=8, grading=0.0)


@pytest.mark.parametrize(
    ("s", "centre", "eps"),
    [
        pytest.param(0.5, (0, 0), 0.0, marks=pytest.mark.one_rank),
        (0.5, (6, -5), 0.0),
        pytest.param(1.0, (3, 2), 0.0, marks=pytest.mark.one_rank),
        pytest.param(1.0, (6, -5), 0.3, marks=pytest.mark.one_rank),
        pytest.param(1.5, (6, -5), 0.0, marks=pytest.mark.one_rank),
    ],
)
def test_riesz_potentials_on_a_box(s, centre, eps):
    found = errors(kspde.Riesz(s=s), BOX, centre, 0.7, lambda std, r: riesz(s, 2, std, r), eps)
    assert np.all(found < 1e-8), found


@pytest.mark.one_rank
@pytest.mark.parametrize("d", [1, 3])
def test_riesz_potentials_on_the_line_and_in_space(d):
    box = kspde.Box(half_width=6.0, cells=7 if d == 3 else 24, degree=6, grading=0.0, dimension=d)
    found = errors(kspde.Riesz(s=0.5 * d), box, (1.2, -0.8, 0.5)[:d], 0.7, lambda std, r: riesz(0.5 * d, d, std, r))
    assert found[0] < (1e-4 if d == 3 else 1e-8), found
    assert found[1] < (1e-3 if d == 3 else 1e-7), found


@pytest.mark.one_rank
@pytest.mark.parametrize("centre", [0.0, 6.0])
@pytest.mark.parametrize(("cells", "degree"), [(32, 8), (2000, 1)])
def test_the_logarithm_on_the_line(centre, cells, degree):
    box = kspde.Box(half_width=14.0, cells=cells, degree=degree, grading=0.0, dimension=1)
    found = errors(kspde.Logarithm(), box, (centre,), 0.7, line_logarithm)
    assert np.all(found < 1e-8), found


@pytest.fixture
def mesh_file(tmp_path_factory):
    """A square of half-width 9 with cells that are not all alike."""

    def write(kind, n):
        path = MPI.COMM_WORLD.bcast(str(tmp_path_factory.mktemp("mesh") / "square.vtk"))
        if MPI.COMM_WORLD.rank == 0:
            x = np.linspace(-9.0, 9.0, n + 1)
            points = np.stack([*(part.ravel() for part in np.meshgrid(x, x, indexing="ij")), np.zeros(len(x) ** 2)])
            inner = np.all(np.abs(points) < 8.99, axis=0)
            points[:2, inner] += np.random.default_rng(1).uniform(-1.5, 1.5, (2, inner.sum())) / n
            corner = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)[:-1, :-1].ravel()
            cells = np.stack([corner, corner + n + 1, corner + n + 2, corner + 1], axis=1)
            if kind == "triangle":
                cells = np.concatenate([cells[:, [0, 1, 2]], cells[:, [0, 2, 3]]])
            meshio.write(path, meshio.Mesh(points.T, [(kind, cells)]))
        MPI.COMM_WORLD.barrier()
        return path

    return write


@pytest.mark.parametrize(
    ("kind", "n", "degree", "value", "gradient"),
    [("quad", 24, 6, 1e-6, 2e-5), pytest.param("triangle", 90, 1, 2e-3, 2e-2, marks=pytest.mark.one_rank)],
)
def test_the_plane_on_any_mesh(mesh_file, kind, n, degree, value, gradient):
    domain = kspde.MeshFile(path=mesh_file(kind, n), degree=degree)
    centre = (3.0, 2.0)
    cases = [(kspde.LogPotential(), logarithm)]
    cases += [(kspde.Yukawa(screening=mu), lambda std, r, mu=mu: yukawa(mu, std, r)) for mu in (0.1, 1e-3)]
    cases += [(kspde.Riesz(s=1.0), lambda std, r: riesz(1.0, 2, std, r))]
    for kernel, exact in cases:
        found = errors(kernel, domain, centre, 0.7, exact)
        assert found[0] < value, (kernel, found)
        assert found[1] < gradient, (kernel, found)


def test_the_second_moment_on_a_mesh(mesh_file):
    mass = 16 * np.pi
    u0 = kspde.GaussianMixture(weights=(1.0,), means=((2.0, -1.0),), stds=(0.7,), mass=mass)
    domain = kspde.MeshFile(path=mesh_file("quad", 24), degree=6)
    pde = kspde.solve(kspde.KellerSegel(chi=1.0), u0, domain, t_end=0.001, tol=1e-6)
    t, second = pde.diagnostics["t"], pde.diagnostics["second_moment"]
    assert abs((second[-1] - second[0]) / t[-1] / (4 * mass) + 1) < 1e-5
    assert pde.warnings == ()


@pytest.mark.one_rank
def test_what_a_mesh_does_not_resolve_is_said(mesh_file):
    domain = kspde.MeshFile(path=mesh_file("triangle", 30), degree=1)
    with pytest.warns(kspde.KspdeWarning, match="does not resolve the source of c"):
        errors(kspde.LogPotential(), domain, (3.0, 2.0), 0.4, logarithm)


@pytest.mark.one_rank
def test_a_closed_mesh_has_no_potential_without_screening(mesh_file):
    domain = kspde.MeshFile(path=mesh_file("triangle", 8), boundary="neumann")
    with pytest.raises(kspde.InputError, match="give a screening"):
        errors(kspde.LogPotential(), domain, (0.0, 0.0), 2.0, logarithm)
