"""Fields of the whole space on a box: exact potentials of Gaussians, wherever they sit, on any number of ranks."""

from functools import cache

import numpy as np
import pytest
from mpi4py import MPI
from potentials import Potential
from scipy.special import exp1

import kspde
from kspde.fem import backend
from kspde.initial import InitialDensity

backend.require()

from kspde.fem.semidiscretisation import Semidiscretisation  # noqa: E402
from kspde.fem.spaces import build_space  # noqa: E402
from kspde.fem.spaces.slabs import Slabs  # noqa: E402
from kspde.fem.spaces.tensor import Axis  # noqa: E402
from kspde.fem.spaces.whole_space import _FarField, _Sources  # noqa: E402

MASS = 2.5


def exact(mu, variance, d, r):
    """K * N(0, σ²) and its slope, ∫ (4πs)^(−d/2) exp(−r²/4s − μ²(s − σ²/2)) ds over s > σ²/2 in log s."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(np.log(0.5 * variance), np.log(45 / mu**2), 80)
    s = np.exp((edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (nodes + 1)).ravel())
    w = (0.5 * np.diff(edges)[:, None] * weights).ravel() * s * (4 * np.pi * s) ** (-0.5 * d)
    w *= np.exp(-(mu**2) * (s - 0.5 * variance))
    waves = np.exp(-np.multiply.outer(r**2, 0.25 / s))
    return waves @ w, -r * (waves @ (w / (2 * s)))


def unscreened(variance, r):
    """−(log r² + E₁(r²/2σ²))/4π and −(1 − exp(−r²/2σ²))/2πr."""
    z = 0.5 * r**2 / variance
    return -(2 * np.log(r) + exp1(z)) / (4 * np.pi), np.expm1(-z) / (2 * np.pi * r)


@cache
def space_of(box, d):
    return build_space(box, d, MPI.COMM_WORLD)


def error(model, box, centre, std, mu, eps=0.0):
    """The largest errors of c and of ∇c at all nodes, relative to their maxima."""
    space = space_of(box, model.dimension)
    mollifier = kspde.GaussianMollifier(eps=eps) if eps else None
    system = Semidiscretisation(model, model.regularised_fields(mollifier), space)
    d, x = model.dimension, space.points - np.array(centre)
    r = np.maximum(np.linalg.norm(x, axis=1), 1e-12)
    u = MASS * np.exp(-0.5 * (r / std) ** 2) / (2 * np.pi * std**2) ** (0.5 * d)
    c = system.field_values(u.reshape(1, *space.mass.shape), 0.0)
    rim = np.flatnonzero(space.reach(space.points) == 1)
    sample = np.concatenate((np.arange(0, len(r), 1 + len(r) // 1000), rim[:: 1 + len(rim) // 500]))
    variance = std**2 + eps**2
    value, slope = unscreened(variance, r[sample]) if mu == 0 else exact(mu, variance, d, r[sample])
    gradient = (slope / r[sample])[:, None] * x[sample]
    found = [(c["c"][sample], MASS * value), (c.gradient("c")[sample], MASS * gradient)]
    sizes = np.array([[np.abs(a - b).max(), np.abs(b).max()] for a, b in found])
    sizes = space.maximum(sizes)
    return sizes[:, 0] / sizes[:, 1]


@pytest.mark.parametrize(
    ("mu", "centre", "eps"),
    [
        *((0.0, centre, 0.0) for centre in ((0, 0), (3, 2), (6, -5))),
        (0.1, (6, -5), 0.3),
        *((mu, centre, 0.0) for mu, centre in ((0.1, (3, 2)), (0.01, (6, -5)), (1e-3, (6, -5)))),
    ],
)
def test_the_plane(mu, centre, eps):
    box = kspde.Box(half_width=14.0, cells=32, degree=8, grading=0.0)
    kernel = kspde.Yukawa(screening=mu)
    value, gradient = error(Potential(kernel), box, centre, 0.7, mu, eps)
    assert value < 1e-9
    assert gradient < 1e-8


def test_a_rectangle_off_the_origin():
    box = kspde.Box(half_width=(14.0, 5.0), cells=(32, 12), centre=(30.0, -20.0), degree=8, grading=0.0)
    value, gradient = error(Potential(kspde.LogPotential()), box, (36.0, -19.6), 0.6, 0.0)
    assert value < 1e-8
    assert gradient < 1e-6


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "cells", "shares"), [(2, 32, (0.5, 0.65, 0.875)), (3, 20, (0.65,))])
def test_charges_at_few_points(d, cells, shares):
    """They make the same fluxes through the sides as charges at the nodes, as far out as there are any."""
    axis = Axis(np.linspace(-14.0, 14.0, cells + 1), 4)
    far = _FarField(
        [axis] * d, Slabs(MPI.COMM_SELF, (len(axis),) * d, [0, len(axis)]), np.full(d, 14.0), kspde.LogPotential()
    )
    for share in shares:
        held = np.flatnonzero(np.abs(axis.nodes) <= 14.0 * share)
        ends = np.concatenate([held[:1], held[-1:], held[:: len(held) // 4]])
        nodal = np.zeros((len(axis),) * d)
        nodal[np.ix_(*[ends] * d)] = np.random.default_rng(3).normal(size=(len(ends),) * d)
        few, every = far._where(nodal), _Sources(far, 1.0)
        assert few.charges(nodal).size < len(held) ** d
        expected = every.fluxes(every.charges(nodal))
        assert np.abs(few.fluxes(few.charges(nodal)) - expected).max() < 1e-11 * np.abs(expected).max(), share


@pytest.mark.parametrize(("d", "mu"), [(1, 0.1), (3, 0.1), pytest.param(3, 1e-3, marks=pytest.mark.one_rank)])
def test_the_line_and_space(d, mu):
    box = kspde.Box(half_width=6.0, cells=7 if d == 3 else 24, degree=6, dimension=d, grading=1.0)
    value, gradient = error(Potential(kspde.Yukawa(screening=mu), d), box, (1.2, -0.8, 0.5)[:d], 0.7, mu)
    assert value < (1e-4 if d == 3 else 1e-8)
    assert gradient < (1e-2 if d == 3 else 1e-5)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (3.0, 2.0), (6.0, -5.0)])
@pytest.mark.parametrize("mass", [4 * np.pi, 8 * np.pi, 16 * np.pi])
def test_the_second_moment(mass, centre):
    """d/dt ∫|x|²u = 4M(1 − M/8π) for ∂_t u = Δu − ∇·(u∇c), −Δc = u, in every step."""
    u0 = kspde.GaussianMixture(weights=(1.0,), means=(centre,), stds=(0.7,), mass=mass)
    box = kspde.Box(half_width=14.0, cells=24, degree=8, grading=1.0)
    pde = kspde.solve(kspde.KellerSegel(chi=1.0), u0, box, t_end=0.02, tol=1e-7)
    t, second = pde.diagnostics["t"], pde.diagnostics["second_moment"]
    slopes = np.diff(second) / np.diff(t)
    np.testing.assert_allclose(slopes / (4 * mass), 1 - mass / (8 * np.pi), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("mu", "centre"), [(0.0, (6, -5)), pytest.param(1e-3, (3, 2), marks=pytest.mark.one_rank)])
def test_the_disk(mu, centre):
    disk = kspde.Disk(radius=14.0, size=1.2, cell="quadrilateral", degree=6)
    value, gradient = error(Potential(kspde.Yukawa(screening=mu)), disk, centre, 0.7, mu)
    assert value < 5e-6
    assert gradient < 5e-4


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("size", "rim_size", "centre", "bounds"),
    [(0.2, None, (2.0, -1.0), (1e-8, 1e-8)), (0.1, 0.5, (0.0, 0.0), (3e-3, 6e-3)), (0.1, 0.5, (2, -1), (3e-3, 6e-3))],
)
def test_a_disk_of_triangles(size, rim_size, centre, bounds):
    """On a lattice sums over nodes are as good as integrals; elsewhere their error is O(h²)."""
    disk = kspde.Disk(radius=8.0, size=size, rim_size=rim_size)
    found = error(Potential(kspde.LogPotential()), disk, centre, 0.7, 0.0)
    assert found[0] < bounds[0], found
    assert found[1] < bounds[1], found


@pytest.mark.parametrize(("size", "rim_size", "bound"), [(0.2, None, 1e-9), (0.3, 1.0, 0.01)])
def test_the_second_moment_on_triangles(size, rim_size, bound):
    mass = 8 * np.pi
    u0 = kspde.GaussianMixture(weights=(1.0,), means=((1.5, -1.0),), stds=(0.7,), mass=mass)
    disk = kspde.Disk(radius=8.0, size=size, rim_size=rim_size)
    pde = kspde.solve(kspde.KellerSegel(chi=1.0), u0, disk, t_end=0.02, tol=1e-5)
    t, second = pde.diagnostics["t"], pde.diagnostics["second_moment"]
    assert abs(second[-1] - second[0]) / t[-1] / (4 * mass) < bound
    assert any("does not resolve" in line for line in pde.warnings) == (rim_size is not None)


class Profile(InitialDensity):
    """8/(1 + r²)², cut off at the rim of a disk."""

    dimension = 2

    def __init__(self, radius):
        self.mass = 8 * np.pi * radius**2 / (1 + radius**2)

    def __call__(self, x):
        return 8 / (1 + np.sum(np.square(x), axis=1)) ** 2

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        raise NotImplementedError


def test_the_stationary_profile_on_a_disk():
    """What is missing outside the disk has no field inside; a mass that the polygon lacks would make it collapse."""
    disk, u0 = kspde.Disk(radius=14.0, size=0.6, rim_size=2.5, cell="quadrilateral", degree=8), Profile(14.0)
    pde = kspde.solve(kspde.KellerSegel(chi=1.0), u0, disk, t_end=1.0, tol=1e-7)
    r, angles = np.meshgrid(13.5 * np.linspace(0, 1, 60) ** 2, np.arange(8.0))
    points = np.stack([(r * np.cos(angles)).ravel(), (r * np.sin(angles)).ravel()], axis=1)
    assert np.abs(pde.evaluate(points) - u0(points)).max() < 8e-6
    assert pde.warnings[-1].endswith("decays too slowly for any domain; enlarge radius to see what that changes")


@pytest.mark.one_rank
def test_the_stationary_profile_in_a_box():
    """The corners' share of what is missing outside has a field inside: too small a one to be seen."""
    profile, box = Profile(14.0), kspde.Box(half_width=14.0, cells=20, degree=8)
    x, w = np.polynomial.legendre.leggauss(300)
    x, w = 14 * np.sinh(6 * x) / np.sinh(6), w * 84 * np.cosh(6 * x) / np.sinh(6)
    inside = w @ profile(np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)).reshape(300, 300) @ w
    u0 = kspde.CallableDensity(profile, half_width=14.0, tail=1e-2, resolution=600, mass=float(inside))
    assert abs(u0.lost / (8 * np.pi - inside) - 1) < 0.02
    pde = kspde.solve(kspde.KellerSegel(chi=1.0), u0, box, t_end=1.0, tol=1e-7)
    points = np.stack(np.meshgrid(*[14 * np.sinh(np.linspace(-4, 4, 61)) / np.sinh(4)] * 2), axis=-1).reshape(-1, 2)
    assert np.abs(pde.evaluate(points) - profile(points)).max() < 8e-6
