"""Positive schemes where coefficients depend on the local density: implicit steps, by Newton's method."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from local_fields import Barenblatt
from mpi4py import MPI
from numpy.testing import assert_allclose

import kspde
from kspde.fem import backend

backend.require()

from kspde.fem.schemes.extrapolation import PositiveSteps  # noqa: E402
from kspde.fem.schemes.transport import fitted, fitted_ends  # noqa: E402
from kspde.fem.semidiscretisation import Semidiscretisation  # noqa: E402
from kspde.fem.spaces.box import BoxSpace  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Cross(kspde.Model):
    """∂_t u_i = σ_iΔu_i + div(Σ_j a_ij u_i ∇u_j), or with ``skt`` Δ(u_i(σ_i + Σ_j a_ij u_j)), and a nonlocal drift."""

    a: tuple[tuple[float, ...], ...]
    sigma: tuple[float, ...]
    skt: bool = False
    chi: float = 0.0
    tau: float = 0.0
    strength: float = 1.0
    dimension: int = 2

    @property
    def species(self):
        return tuple("abc"[: len(self.sigma)])

    @property
    def fields(self):
        kernel = kspde.Identity(strength=self.strength)
        local = [kspde.Field(name=s, kernel=kernel, source=s, gradient=not self.skt) for s in self.species]
        wide = kspde.Yukawa(strength=self.chi)
        return (
            (*local, kspde.Field(name="v", kernel=wide, source="a", gradient=True, tau=self.tau))
            if self.chi
            else (*local,)
        )

    def diffusion(self, species, c):
        i = self.species.index(species)
        if not self.skt:
            return self.sigma[i]
        return self.sigma[i] + sum(a * c[s] for a, s in zip(self.a[i], self.species, strict=True)) / self.strength

    def drift(self, species, c):
        i = self.species.index(species)
        b = c.gradient("v") if self.chi else None
        if not self.skt:
            own = sum(-a * c.gradient(s) for a, s in zip(self.a[i], self.species, strict=True)) / self.strength
            b = own if b is None else b + own
        return b


@dataclass(frozen=True, kw_only=True)
class Porous(kspde.Model):
    """∂_t u = ½∂_xx(u²)."""

    dimension: int = 1

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Identity()),)

    def diffusion(self, species, c):
        return 0.5 * c["c"]


STRONG = Cross(a=((2.0, 1.0), (1.0, 3.0)), sigma=(0.1, 0.1))
START = {
    "a": kspde.GaussianMixture(weights=[1.0], means=[[-0.4, 0.0]], stds=[0.5]),
    "b": kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.2]], stds=[0.5], mass=1.5),
}
POINTS = np.array([(0.0, 0.0), (-0.8, 0.3), (0.7, 0.2), (1.5, -1.0)])
#: A Fourier solution, 64² to 128².
VALUES = np.array([(0.25177, 0.27800, 0.07972, 0.00033), (0.28865, 0.09928, 0.35869, 0.04510)])


def at_points(pde, points=POINTS) -> np.ndarray:
    """The densities there, (species, points)."""
    return np.array([pde.evaluate(points, species=s) for s in pde.problem.model.species])


def box(cells: int, **more) -> kspde.Box:
    return kspde.Box(**{"half_width": 6.0, "cells": cells, "degree": 1, "grading": 1.5} | more)


@pytest.mark.one_rank
def test_strong_cross_diffusion(comm):
    """Values of the strong case; order 2 in space and time; positive, exact mass, an entropy that decays."""
    errors = []
    for cells, dt in ((24, 0.04), (48, 0.02)):
        pde = kspde.solve(STRONG, START, t_end=0.2, domain=box(cells), scheme="positive-2", dt=dt, comm=comm)
        errors.append(np.abs(at_points(pde) - VALUES).max())
        table = pde.diagnostics
        assert table["minimum"].min() >= 0
        assert_allclose(table["mass"], [[1.0, 1.5]] * len(table["t"]), rtol=1e-12)
        assert np.all(np.diff(table["entropy"].sum(axis=1)) < 0)
        assert pde.summary()["divided_steps"] == 0
    assert errors[1] < 6e-3
    assert errors[0] > 2.5 * errors[1]  # from 48 to 96 cells 4.1


@pytest.mark.parametrize(("scheme", "dt"), [("positive", 0.5), ("positive", 50.0), ("positive-2", 5.0)])
def test_long_steps(comm, scheme, dt):
    """Any step: what was explicit grew to .97 and 2.30."""
    pde = kspde.solve(STRONG, START, t_end=2 * dt, domain=box(24), scheme=scheme, dt=dt, comm=comm)
    table = pde.diagnostics
    assert table["minimum"].min() >= 0
    assert_allclose(table["mass"], [[1.0, 1.5]] * 3, rtol=1e-12)
    assert np.all(np.diff(table["entropy"].sum(axis=1)) < 0)
    assert np.all(np.diff(table["maximum"], axis=0) < 0)


@pytest.mark.one_rank
def test_barenblatt(comm):
    """A degenerate equation from t = 1 to 8: at most 200 controlled steps, no negative value, the front's place."""
    pde = kspde.solve(
        Porous(),
        Barenblatt(1.0),
        t_end=7.0,
        domain=kspde.Box(dimension=1, half_width=5.0, cells=512, degree=1, grading=0.0),
        scheme="positive-2",
        tol=1e-4,
        comm=comm,
    )
    x = np.linspace(-5.0, 5.0, 513)[:, None]
    exact = Barenblatt(8.0)(x)
    u = pde.evaluate(x)
    assert pde.summary()["steps"] <= 200
    assert pde.diagnostics["minimum"].min() >= 0
    assert np.abs(u - exact).sum() * 10 / 512 < 6e-5
    assert_allclose(u.max(), 0.227140, rtol=0, atol=2e-5)
    assert u[np.abs(x[:, 0]) > 3.4].max() < 1e-8


@pytest.mark.one_rank
@pytest.mark.parametrize("skt", [False, True])
@pytest.mark.parametrize("strength", [1.0, -2.0])
def test_sum_of_species(comm, skt, strength):
    """With all a_ij = k and equal σ the sum of the species solves an equation of its own, w_t = σΔw + Δ(kw²/2, kw²)."""
    k, options = 0.7, {"t_end": 0.3, "scheme": "positive", "dt": 0.03, "comm": comm}
    domain = kspde.Box(dimension=1, half_width=6.0, cells=200, degree=1, grading=0.0)
    starts = [
        kspde.GaussianMixture(weights=[1.0], means=[[m]], stds=[s], mass=mass)
        for m, s, mass in ((-0.5, 0.5, 1.0), (0.6, 0.4, 2.0))
    ]
    both = kspde.GaussianMixture(weights=[1 / 3, 2 / 3], means=[[-0.5], [0.6]], stds=[0.5, 0.4], mass=3.0)
    model = Cross(a=((k, k), (k, k)), sigma=(0.2, 0.2), skt=skt, dimension=1, strength=strength)
    pair = kspde.solve(model, dict(zip("ab", starts, strict=True)), domain=domain, **options)
    one = kspde.solve(replace(model, a=((k,),), sigma=(0.2,)), {"a": both}, domain=domain, **options)
    x = np.linspace(-3.0, 3.0, 31)[:, None]
    # Exponential fitting and D at the nodes are linear in the species: the sums agree at each step
    assert_allclose(at_points(pair, x).sum(axis=0), at_points(one, x)[0], rtol=0, atol=1e-8)


@pytest.mark.one_rank
@pytest.mark.parametrize("tau", [0.0, 0.5])
def test_beside_nonlocal_fields(comm, tau):
    """Fields that are not local are frozen in a step, and extrapolated: order 2 in time."""
    model = replace(STRONG, chi=4.0, tau=tau)
    options = {"t_end": 0.2, "domain": box(16), "comm": comm}
    values = [at_points(kspde.solve(model, START, scheme="positive-2", dt=dt, **options)) for dt in (0.02, 0.01, 0.005)]
    assert np.abs(values[0] - values[1]).max() > 3.1 * np.abs(values[1] - values[2]).max()


def test_on_triangles(comm):
    """A disk, with a D that depends on two species."""
    model = Cross(a=((1.0, 0.5), (2.0, 0.3)), sigma=(0.05, 0.2), skt=True)
    fine, coarse = (
        kspde.solve(
            model,
            START,
            t_end=0.2,
            domain=kspde.Disk(radius=5.0, size=h, rim_size=4 * h),
            scheme="positive-2",
            dt=0.02,
            comm=comm,
        )
        for h in (0.12, 0.24)
    )
    square = kspde.solve(model, START, t_end=0.2, domain=box(64), scheme="positive-2", dt=0.02, comm=comm)
    errors = [np.abs(at_points(pde) - at_points(square)).max() for pde in (fine, coarse)]
    assert fine.diagnostics["minimum"].min() >= 0
    assert errors[0] < 4e-3
    assert errors[0] < errors[1]


@pytest.mark.parametrize("model", [STRONG, replace(STRONG, chi=4.0, tau=0.5)], ids=["local", "nonlocal"])
def test_same_on_ranks(comm, model):
    """One rank and several give the same values, to the tolerance of the nonlinear systems."""
    options = {"t_end": 0.1, "domain": box(24), "scheme": "positive-2", "dt": 0.05}
    alone = kspde.solve(model, START, comm=MPI.COMM_SELF, **options)
    assert_allclose(at_points(kspde.solve(model, START, comm=comm, **options)), at_points(alone), rtol=1e-9, atol=1e-12)


@pytest.mark.one_rank
def test_random_systems():
    """Random systems in 1D, steps from 1e-4 to 1e4, with and without a parabolic matrix: no failure, u ≥ 0, masses."""
    rng = np.random.default_rng(0)
    divided = 0
    for k in range(24):
        n, cells, kind = rng.integers(1, 4), int(rng.integers(30, 130)), k % 4
        g = rng.normal(size=(n, n))
        a = (g @ g.T, g @ g.T + 4 * (np.triu(g, 1) - np.triu(g, 1).T), 3 * np.abs(g), np.abs(g))[kind]
        sigma = 10 ** rng.uniform(-3, 0, n)
        model = Cross(a=tuple(map(tuple, a)), sigma=tuple(sigma), skt=kind == 3, dimension=1)
        domain = kspde.Box(dimension=1, half_width=3.0, cells=cells, degree=1, grading=0.0)
        space = BoxSpace(domain, MPI.COMM_SELF)
        widths, centres = rng.uniform(0.1, 0.6, (n, 1)), rng.uniform(-1.5, 1.5, (n, 1))
        u = rng.uniform(0.3, 2.0, (n, 1)) * np.exp(-(((space.points[:, 0] - centres) / widths) ** 2) / 2)
        u = u.reshape(n, *space.mass.shape)
        with PositiveSteps(Semidiscretisation(model, model.fields, space), {}, 1 + k % 2) as stepper:
            stepper.begin(u)
            new, _ = stepper.step(u, 10 ** rng.uniform(-4, 4))
            divided += stepper.local["divided_steps"]
        assert new.min() >= 0
        assert_allclose(space.integral(*new), space.integral(*u), rtol=1e-12)
    assert divided > 0  # substeps are tried too


@pytest.mark.one_rank
def test_slopes_of_the_fitted_flux():
    """Derivatives of q/(1 − e^(−q/d)) against differences, and their limits as d → 0."""
    q = np.concatenate([-np.geomspace(1e-8, 30.0, 40), np.geomspace(1e-8, 30.0, 40)])
    d, h = np.full(80, 0.7), 1e-5
    values = np.vectorize(fitted)
    by_q, by_d = values(q, d)[1:]
    assert_allclose(by_q, (values(q + h, d)[0] - values(q - h, d)[0]) / (2 * h), rtol=0, atol=1e-7)
    assert_allclose(by_d, (values(q, d + h)[0] - values(q, d - h)[0]) / (2 * h), rtol=0, atol=1e-7)
    for tail, head in ((0.7, 0.7), (0.7, 0.2)):
        assert_allclose([fitted_ends(x, tail, head) for x in q], [(fitted(x, tail), fitted(-x, head)) for x in q])
    with np.errstate(divide="ignore"):
        _, by_q, by_d = values(np.array([-1.0, 0.0, 1.0]), np.zeros(3))
    assert_allclose(by_q, [0.0, 0.5, 1.0], atol=1e-300)
    assert_allclose(by_d, [0.0, 1.0, 0.0], atol=1e-290)
