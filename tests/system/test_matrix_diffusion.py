"""Diffusion matrices in both backends: exact Gaussians, stationary laws, orders of the schemes for particles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from scipy.linalg import expm

import kspde
from kspde.matrices import eigenvalue_ends, symmetric_roots
from kspde.particles.fields.direct import DirectSum
from kspde.particles.system import System
from kspde.runtime.parallel import alone

MASS, MEAN, T = 1.7, np.array([0.4, -0.3]), 0.5
TURN = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
ROTATED = TURN @ np.diag([1.0, 0.2]) @ TURN.T
START = kspde.GaussianMixture(weights=[1.0], means=[MEAN], stds=[0.8], mass=MASS)
SPREAD = 0.64 * np.eye(2) + 2 * T * ROTATED
BOX = kspde.Box(half_width=9.0, cells=10, degree=7)


@dataclass(frozen=True, kw_only=True)
class Free(kspde.Model):
    """Free diffusion, D as it is given."""

    d: tuple[tuple[float, ...], ...] = tuple(map(tuple, ROTATED))

    @property
    def fields(self):
        return ()

    def diffusion(self, species, c):
        return np.broadcast_to(np.array(self.d), (*c.points.shape, 2) if len(self.d) == 2 else c.points.shape)


def density(x, mean, spread):
    y = x - mean
    size = np.einsum("na,ab,nb->n", y, np.linalg.inv(spread), y)
    return np.exp(-0.5 * size) / (2 * np.pi * np.sqrt(np.linalg.det(spread)))


@pytest.mark.parametrize("scheme", ["adaptive", "rosenbrock"])
def test_a_gaussian_widens_along_rotated_axes(scheme: str) -> None:
    pde = kspde.solve(Free(), START, BOX, t_end=T, tol=1e-6, scheme=scheme)
    x = np.stack(np.meshgrid(*[np.linspace(-2.5, 2.5, 11)] * 2), axis=-1).reshape(-1, 2)
    assert pde.at().evaluate(x) == pytest.approx(MASS * density(x, MEAN, SPREAD), abs=3e-6)
    assert pde.diagnostics["mass"][-1] == pytest.approx(MASS, abs=1e-12)
    assert pde.diagnostics["second_moment"][-1] == pytest.approx(MASS * (np.trace(SPREAD) + MEAN @ MEAN), abs=1e-5)


@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_particles_spread_along_them(scheme: str) -> None:
    n = 20_000
    options = {"n": n, "t_end": T, "dt": 0.1, "scheme": scheme, "seed": 4}
    cloud = kspde.simulate(Free(), START, **options, save=kspde.SaveAt(times=[T], statistics=("moments",)))
    bound = 4 * np.sqrt((np.outer(np.diag(SPREAD), np.diag(SPREAD)) + SPREAD**2) / n)
    assert np.all(np.abs(cloud.statistics["covariance"][-1] - SPREAD) < bound)
    # A matrix that is a number, or a diagonal, moves particles as the number does.
    plain = kspde.simulate(Free(d=((0.3, 0.3),)), START, **options).of("u")
    assert kspde.simulate(Free(d=((0.3, 0.0), (0.0, 0.3))), START, **options).of("u") == pytest.approx(plain, abs=1e-12)


@dataclass(frozen=True, kw_only=True)
class Stationary(kspde.Model):
    """A matrix D = .3 I + .4 q⊗q that turns with x, q = (cos θ, sin θ), θ = x + y/2, and the drift ∇·(D G)/G.

    The Gaussian G is stationary.
    """

    @property
    def fields(self):
        return ()

    def diffusion(self, species, c):
        angle = c.points @ np.array([1.0, 0.5])
        q = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return 0.3 * np.eye(2) + 0.4 * q[:, :, None] * q[:, None]

    def drift(self, species, c):
        angle = c.points @ np.array([1.0, 0.5])
        q, turned = (np.stack(p, axis=1) for p in ((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
        slope = np.array([1.0, 0.5])
        divergence = 0.4 * (turned * (q @ slope)[:, None] + q * (turned @ slope)[:, None])
        return divergence - np.einsum("nab,nb->na", self.diffusion(species, c), c.points - MEAN) / 0.64


def test_a_matrix_that_depends_on_the_place() -> None:
    pde = kspde.solve(Stationary(), START, BOX, t_end=T, tol=1e-6)
    x = np.stack(np.meshgrid(*[np.linspace(-2.0, 2.0, 9)] * 2), axis=-1).reshape(-1, 2)
    assert pde.at().evaluate(x) == pytest.approx(MASS * density(x, MEAN, 0.64 * np.eye(2)), abs=1e-5)
    n = 20_000
    save = kspde.SaveAt(times=[T], statistics=("moments",))
    cloud = kspde.simulate(Stationary(), START, n=n, t_end=T, dt=0.05, scheme="weak-2", seed=2, save=save)
    assert cloud.statistics["covariance"][-1] == pytest.approx(0.64 * np.eye(2), abs=4 * 0.64 * np.sqrt(2 / n))


class Nodes:
    """Normals at the nodes of a Gauss-Hermite rule, one particle per node."""

    def __init__(self, count: int) -> None:
        x, w = np.polynomial.hermite_e.hermegauss(6)
        self.points = np.array(list(product(x, repeat=count)))
        self.weights = np.array([np.prod(each) for each in product(w / w.sum(), repeat=count)])

    def normals(self, ids, step, count):
        return self.points[ids.astype(int)]


def system_of(model, x, noise, moments=()):
    evaluator = DirectSum(
        (), dimension=x.shape[1], weights={"u": 1.0}, tol=1e-6, include_self=True, comm=alone(), moments=moments
    )
    ids = {"u": np.arange(len(x), dtype=np.uint64)}
    system = System(
        model=model,
        evaluator=evaluator,
        positions={"u": x},
        ids=ids,
        counts={"u": len(x)},
        noise=noise,
        comm=alone(),
    )
    system.observe()
    system.prepare(0.0)
    return system


@dataclass(frozen=True, kw_only=True)
class Turning(kspde.Model):
    """D = .2 I + .5 (|x|²I − x⊗x) + .3 x⊗x and b = −x, in the plane: polynomials of degree 4 stay such."""

    @property
    def fields(self):
        return ()

    def diffusion(self, species, c):
        x = c.points
        square = np.sum(x * x, axis=1)[:, None, None] * np.eye(2)
        return 0.2 * np.eye(2) + 0.5 * square - 0.2 * x[:, :, None] * x[:, None]

    def drift(self, species, c):
        return -c.points


@pytest.mark.one_rank
def test_one_step_of_weak_2_has_all_moments_to_third_order() -> None:
    powers = [(i, j) for i in range(5) for j in range(5) if i + j <= 4]
    index = {m: k for k, m in enumerate(powers)}
    generator = np.zeros((len(powers), len(powers)))
    for (i, j), row in index.items():
        # D_xx = .2 + .3 x² + .5 y², D_xy = −.2 xy, D_yy = .2 + .5 x² + .3 y²
        generator[row, row] += -(i + j) + 0.3 * (i * (i - 1) + j * (j - 1)) - 0.4 * i * j
        for di, dj, weight in (
            (-2, 0, 0.2 * i * (i - 1)),
            (0, -2, 0.2 * j * (j - 1)),
            (-2, 2, 0.5 * i * (i - 1)),
            (2, -2, 0.5 * j * (j - 1)),
        ):
            if weight:
                generator[row, index[i + di, j + dj]] += weight
    nodes, start = Nodes(4), np.array([0.7, -0.4])
    at_start = np.array([start[0] ** i * start[1] ** j for i, j in powers])
    errors = []
    for h in (0.04, 0.02):
        x = np.tile(start, (len(nodes.points), 1))
        kspde.Weak2(h).advance(system_of(Turning(), x, nodes), 0, 0.0, h)
        found = np.array([nodes.weights @ (x[:, 0] ** i * x[:, 1] ** j) for i, j in powers])
        errors.append(np.abs(found - expm(h * generator) @ at_start))
    assert np.all(errors[1] < errors[0] / 6 + 1e-9)
    assert errors[0].max() < 2e-3


@dataclass(frozen=True, kw_only=True)
class OfItself(kspde.Model):
    """A single particle on the line with D = (1 + M)/2, M = Σ w X² = X²: dX = √(1 + X²) dB."""

    dimension: int = 1

    @property
    def fields(self):
        return ()

    @property
    def moments(self):
        return (kspde.Moment(name="m", function=lambda x: x**2),)

    def diffusion(self, species, c):
        return 0.5 * (1 + float(c.moment("m")[0]))


@pytest.mark.one_rank
def test_a_particle_moves_its_share_of_a_moment_along() -> None:
    nodes, start, errors = Nodes(2), 0.8, []
    for h in (0.04, 0.02):
        found = np.zeros(2)
        for k, weight in enumerate(nodes.weights):
            one = replace_points(nodes, k)
            x = np.full((1, 1), start)
            kspde.Weak2(h).advance(system_of(OfItself(), x, one, OfItself().moments), 0, 0.0, h)
            found += weight * np.array([x[0, 0] ** 2, x[0, 0] ** 4])
        generator = np.array([[0.0, 0, 0], [1, 1, 0], [0, 6, 6]])  # of 1, X², X⁴
        errors.append(np.abs(found - (expm(h * generator) @ [1, start**2, start**4])[1:]))
    assert np.all(errors[1] < errors[0] / 6)
    assert errors[0].max() < 2e-3


def replace_points(nodes: Nodes, k: int) -> Nodes:
    one = Nodes.__new__(Nodes)
    one.points = nodes.points[k : k + 1]
    return one


@pytest.mark.one_rank
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_symmetric_roots(d: int) -> None:
    rng = np.random.default_rng(d)
    turns = np.linalg.qr(rng.normal(size=(300, d, d)))[0]
    values = rng.uniform(0.0, 2.0, size=(300, d)) ** 8  # some nearly singular
    values[:10] = 0.0
    values[10:20] = 1.3
    values[20:30, 0] = 0.0
    values[30:40, 1:] = 0.0
    matrices = np.einsum("nab,nb,ncb->nac", turns, values, turns)
    matrices = 0.5 * (matrices + np.swapaxes(matrices, 1, 2))
    entries = np.ascontiguousarray(np.moveaxis(matrices, 0, 2))
    roots = np.empty_like(entries)
    assert symmetric_roots(entries, 3.0, roots) == -1
    roots = np.moveaxis(roots, 2, 0)
    size = values.max(axis=1)[:, None, None] + 1e-300
    np.testing.assert_allclose(roots @ roots / size, 3.0 * matrices / size, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(roots, np.swapaxes(roots, 1, 2))
    assert np.all(np.linalg.eigvalsh(roots)[:, 0] >= -1e-12 * np.sqrt(size[:, 0, 0]))
    lowest, highest = eigenvalue_ends(matrices)
    np.testing.assert_allclose([lowest, highest], [values.min(axis=1), values.max(axis=1)], atol=1e-12 * size.max())


@pytest.mark.parametrize(
    ("d", "words"),
    [
        (((1.0, 2.0), (2.0, 1.0)), r"the diffusion matrix of species 'u' at .* has the eigenvalue -1: it must be"),
        (((1.0, 0.2), (0.1, 1.0)), r"the diffusion matrix of species 'u' at .* is not symmetric: its entries are 0\.2"),
        (((1.0, np.nan), (0.1, 1.0)), "the diffusion matrix of species 'u' at .* has the entry nan: it must be"),
    ],
)
def test_matrices_without_meaning_are_refused(d: tuple[tuple[float, ...], ...], words: str) -> None:
    with pytest.raises(kspde.InputError, match=words):
        kspde.solve(Free(d=d), START, BOX, t_end=0.1)
    for scheme in ("euler-maruyama", "weak-2"):
        with pytest.raises(kspde.ConvergenceError, match=words):
            kspde.simulate(Free(d=d), START, n=9, t_end=0.1, dt=0.1, scheme=scheme)


@pytest.mark.one_rank
def test_matrices_are_refused_where_they_have_no_scheme() -> None:
    with pytest.raises(kspde.InputError, match=r"needs a kspde\.Box"):
        kspde.solve(Free(), START, kspde.Disk(radius=8.0, size=0.5), t_end=0.1)
    low = replace(BOX, cells=40, degree=1)
    with pytest.raises(kspde.InputError, match="has a diffusion matrix, which the positive schemes do not take"):
        kspde.solve(Free(), START, low, t_end=0.1, scheme="positive", dt=0.05)


def test_weak_order_2_takes_matrices_of_moments() -> None:
    # Its correction moves the numbers of a symmetric moment one by one. P' = 4Λm(tr P I − 2P): Landau's equation.
    u0 = kspde.GaussianMixture(weights=[0.5, 0.5], means=[[1.0, 1.0], [3.0, 1.0]], stds=[0.7, 0.7], mass=2.0)
    n, spread, t = 20_000, np.diag([1.49, 0.49]), 0.5
    model, save = kspde.LandauMaxwell(rate=1 / 16), kspde.SaveAt(times=[t], statistics=("moments",))
    cloud = kspde.simulate(model, u0, n=n, t_end=t, dt=0.1, scheme="weak-2", seed=3, save=save)
    half = 0.5 * np.trace(spread) * np.eye(2)
    exact = half + (spread - half) * np.exp(-8 * 2.0 / 16 * t)
    found = cloud.statistics["covariance"][-1]
    np.testing.assert_allclose(found, exact, rtol=0, atol=4 * exact.max() * np.sqrt(2 / n))
