"""The effective diffusion matrix: what is refused, and the steps of schemes that bound its eigenvalues."""

from dataclasses import dataclass

import numpy as np
import pytest
from local_fields import Barenblatt
from numpy.testing import assert_allclose

import kspde

U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3]], stds=[0.8])
LINE = kspde.Box(dimension=1, half_width=6.0, cells=60, degree=1, grading=0.0)
SCHEMES = {"adaptive": {"tol": 1e-4}, "rosenbrock": {"tol": 1e-4}, "positive": {"dt": 0.05}, "positive-2": {"dt": 0.05}}


@dataclass(frozen=True, kw_only=True)
class Pull(kspde.Model):
    """∂_t u = σΔu + ∇·((pull x + a∇c)u), c = u: the effective diffusion is σ + a u."""

    a: float
    sigma: float = 0.4
    pull: float = 0.0
    dimension: int = 1
    strength: float = 1.0

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Identity(strength=self.strength), gradient=True),)

    def diffusion(self, species, c):
        return self.sigma

    def drift(self, species, c):
        return -self.pull * c.points - self.a / self.strength * c.gradient("c")


@dataclass(frozen=True, kw_only=True)
class Porous(kspde.Model):
    """∂_t u = Δ(D u), D = u/2 or, with ``turns``, u(1 − u): then (uD)' = u(2 − 3u)."""

    dimension: int = 1
    turns: bool = False

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Identity()),)

    def diffusion(self, species, c):
        return c["c"] * (1 - c["c"]) if self.turns else 0.5 * c["c"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("strength", [1.0, -3.0])
def test_refused_at_start(comm, scheme, strength):
    """σ − u < 0 for u = .4948 at .2 and .4, the nodes nearest to the maximum."""
    with pytest.raises(
        kspde.InputError, match=r"effective diffusion coefficient is -0\.0948 at \(0\.[24]\).*>= 0.*eps.*\(t = 0\)"
    ):
        kspde.solve(Pull(a=-1.0, strength=strength), U0, LINE, t_end=0.1, scheme=scheme, comm=comm, **SCHEMES[scheme])


def test_refused_systems(comm):
    """Matrices that are not normal: real eigenvalues in a plane, and D that falls with u."""
    model = kspde.CrossDiffusion(a=((1.0, 3.0), (3.0, 1.0)), sigma=(0.1, 0.1))
    u0 = dict.fromkeys(model.species, kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.0]], stds=[0.5]))
    domain = kspde.Box(half_width=4.0, cells=16, degree=1, grading=0.0)
    top = 1 / (2 * np.pi * 0.25)  # .1 + u(1 ± 3) there
    with pytest.raises(kspde.InputError, match=r"matrix has the eigenvalue (-\S+) at \(0\.5, ") as caught:
        kspde.solve(model, u0, domain, t_end=0.1, scheme="adaptive", comm=comm)
    assert_allclose(float(str(caught.value).split("eigenvalue ")[1].split()[0]), 0.1 - 2 * top, rtol=1e-2)
    narrow = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[0.45])
    with pytest.raises(kspde.InputError, match=r"effective diffusion coefficient is -0\.\d+ at \((|-)0\)"):
        kspde.solve(Porous(turns=True), narrow, LINE, t_end=0.1, scheme="positive", dt=0.1, comm=comm)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_refused_later(comm, scheme):
    """A pull concentrates u until σ − u < 0."""
    wide = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[1.2])
    with pytest.raises(kspde.ConvergenceError, match=r"step \d+ at t = 0\.\d+.*effective diffusion coefficient is -"):
        kspde.solve(Pull(a=-1.0, pull=2.0), wide, LINE, t_end=2.0, scheme=scheme, comm=comm, **SCHEMES[scheme])


@pytest.mark.one_rank
@pytest.mark.parametrize(("a", "steps"), [(((1.0, 0.5), (0.3, 2.0)), 10), (((1.0, 6.0), (-5.0, 2.0)), 100)])
def test_steps_of_the_adaptive_scheme(comm, a, steps):
    """Local repulsion, then a rotation of the species too: the mesh does not limit the steps."""
    model = kspde.CrossDiffusion(a=a, sigma=(0.02, 0.05), dimension=1)
    u0 = {
        s: kspde.GaussianMixture(weights=[1.0], means=[[m]], stds=[0.5])
        for s, m in zip(model.species, (-0.4, 0.5), strict=True)
    }
    x = np.linspace(-4, 4, 65)[:, None]

    def final(cells, **scheme):
        domain = kspde.Box(dimension=1, half_width=6.0, cells=cells, degree=1, grading=0.0)
        pde = kspde.solve(model, u0, domain, t_end=0.1, comm=comm, **scheme)
        return pde.summary(), np.array([pde.evaluate(x, s) for s in model.species])

    (coarse, _), (fine, values) = (final(cells, scheme="adaptive", tol=1e-3) for cells in (120, 240))
    taken = [run["steps"] + run["rejected_steps"] for run in (coarse, fine)]
    assert max(taken) < min(1.2 * min(taken), steps)
    assert np.abs(values - final(240, scheme="positive-2", dt=0.01)[1]).max() < 0.07


@pytest.mark.one_rank
def test_diffusion_that_vanishes_with_the_density(comm):
    """Barenblatt's solution, whose front the scheme undershoots: D there is 0, not negative."""
    domain = kspde.Box(dimension=1, half_width=5.0, cells=256, degree=1, grading=0.0)
    pde = kspde.solve(Porous(), Barenblatt(1.0), domain, t_end=7.0, scheme="adaptive", tol=1e-4, comm=comm)
    x = np.linspace(-5, 5, 257)[:, None]
    assert np.abs(pde.evaluate(x) - Barenblatt(8.0)(x)).sum() * 10 / 256 < 1e-3
    assert pde.summary()["steps"] < 200
