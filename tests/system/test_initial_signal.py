"""Signals with τ > 0 that start from a given density, in both backends, against Hankel transforms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import j0

import kspde
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import Extent
from kspde.runtime.parallel import world

CHI, MU, TAU = 3.0, 1.4, 0.7
WHERE = np.array([0.5, -0.3])
V0 = kspde.GaussianMixture(weights=[1.0], means=[WHERE], stds=[0.6], mass=2.2)
U0 = kspde.GaussianMixture(weights=[1.0], means=[WHERE], stds=[0.5], mass=1.7)
K, WEIGHTS = (a for a in np.polynomial.legendre.leggauss(400))
K, WEIGHTS = 15.0 * (K + 1.0), 15.0 * WEIGHTS


def left(t):
    """e^(−(k² + μ²)t/τ): what is left of a difference from equilibrium."""
    return np.exp(-(K**2 + MU**2) * t / TAU)


def radial(transform, r):
    return j0(np.multiply.outer(r, K)) @ (WEIGHTS * K * transform) / (2 * np.pi)


def signal(r, t, chi):
    """Return v at a distance from the centre where u keeps its place."""
    equilibrium = chi * 1.7 * np.exp(-0.125 * K**2) / (K**2 + MU**2)
    return radial(equilibrium + left(t) * (2.2 * np.exp(-0.18 * K**2) - equilibrium), r)


def still(v):
    """Hardly any motility: u stays where it is."""
    return 1e-9 + 0.0 * v


POINTS = WHERE + np.array([[0.0, 0.0], [0.4, 0.1], [-0.8, 0.6], [1.5, -1.0], [-2.0, -1.0]])
DISTANCES = np.linalg.norm(POINTS - WHERE, axis=1)


@pytest.mark.parametrize("chi", [0.0, CHI])
def test_a_density_s_signal_starts_as_it_is_given(chi: float) -> None:
    model = kspde.LocalSensing(motility=still, chi=chi, mu=MU, tau=TAU, v0=V0)
    box = kspde.Box(half_width=8.0, cells=12, degree=6)
    save = kspde.SaveAt(times=[0.0, 0.3])
    pde = kspde.solve(model, U0, box, t_end=0.3, tol=1e-7, save=save)
    assert pde.at(0.0).evaluate_signal(POINTS) == pytest.approx(V0(POINTS), abs=1e-5)
    assert pde.at(0.3).evaluate_signal(POINTS) == pytest.approx(signal(DISTANCES, 0.3, chi), abs=2e-5)


@pytest.mark.one_rank
def test_a_signal_on_a_disk() -> None:
    model = kspde.LocalSensing(motility=still, chi=CHI, mu=MU, tau=TAU, v0=V0)
    pde = kspde.solve(model, U0, kspde.Disk(radius=7.0, size=0.25), t_end=0.3, tol=1e-4)
    assert pde.at(0.3).evaluate_signal(POINTS) == pytest.approx(signal(DISTANCES, 0.3, CHI), abs=1e-2)


@pytest.mark.parametrize("chi", [0.0, CHI])
def test_the_particles_too(chi: float) -> None:
    eps = 0.3
    model = kspde.LocalSensing(motility=still, chi=chi, mu=MU, tau=TAU, v0=V0)
    fields = model.regularised_fields(kspde.GaussianMollifier(eps=eps))
    comm = world()
    mine = POINTS[comm.rank :: comm.size]
    evaluator = FieldOptions().evaluator(fields, dimension=2, weights={"u": 1.7 / len(POINTS)}, comm=comm)
    for t in (0.0, 0.1, 0.3):
        evaluator.t = t
        evaluator.update({"u": mine}, Extent(POINTS.min(axis=0), POINTS.max(axis=0)))
        found = evaluator.at("u", mine)["v"]
        own = chi * 1.7 / len(POINTS) * np.exp(-0.5 * eps**2 * K**2) / (K**2 + MU**2) * (1 - left(t))
        pairs = np.linalg.norm(mine[:, None] - POINTS, axis=2)
        expected = radial(left(t) * 2.2 * np.exp(-0.18 * K**2), np.linalg.norm(mine - WHERE, axis=1))
        expected += sum(radial(own, distance) for distance in pairs.T)
        assert found == pytest.approx(expected, abs=3e-6)
    assert max(evaluator.summary()["start_error"].values()) <= 1e-6
    resumed = FieldOptions().evaluator(fields, dimension=2, weights={"u": 1.7 / len(POINTS)}, comm=comm)
    resumed.restore({name: values.copy() for name, values in evaluator.state().items()})
    for each in (evaluator, resumed):
        each.t = 0.4
        each.update({"u": mine}, Extent(POINTS.min(axis=0), POINTS.max(axis=0)))
    np.testing.assert_array_equal(resumed.at("u", mine)["v"], evaluator.at("u", mine)["v"])
    assert resumed.summary() == evaluator.summary()


def test_mean_field_particles_see_it() -> None:
    model = kspde.LocalSensing(motility=kspde.ExponentialMotility(alpha=1.0), chi=CHI, mu=MU, tau=TAU, v0=V0)
    box = kspde.Box(half_width=8.0, cells=12, degree=5)
    save = kspde.SaveAt(times=[0.0, 0.1, 0.2])
    pde = kspde.solve(model, U0, box, t_end=0.2, tol=1e-6, eps=0.4, save=save)
    options = {"n": 2000, "t_end": 0.2, "dt": 0.05, "eps": 0.4}
    cloud = kspde.simulate(model, U0, mean_field=pde, **options)
    assert 0 < cloud.coupling.supremum < 0.05
    other = kspde.LocalSensing(motility=model.motility, chi=CHI, mu=MU, tau=TAU)
    with pytest.raises(kspde.InputError, match="mean_field solves"):
        kspde.simulate(other, U0, mean_field=pde, **options)


def test_starts_that_have_no_meaning() -> None:
    with pytest.raises(kspde.InputError, match="v0 has no effect with tau = 0: give tau > 0, or leave it out"):
        kspde.LocalSensing(motility=still, chi=1.0, v0=V0)
    with pytest.raises(kspde.InputError, match="start of field 'c' is a float: give a density such as"):
        kspde.Field(name="c", kernel=kspde.Yukawa(), tau=1.0, start=2.0)
    line = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[1.0])
    model = kspde.LocalSensing(motility=still, chi=1.0, tau=1.0, v0=line)
    with pytest.raises(kspde.InputError, match="start of field 'v' has dimension 1, the model 2"):
        kspde.solve(model, U0, kspde.Box(half_width=6.0, cells=8), t_end=0.1)
    wide = kspde.GaussianMixture(weights=[1.0], means=[WHERE], stds=[4.0])
    model = kspde.LocalSensing(motility=still, chi=1.0, tau=1.0, v0=wide)
    with pytest.raises(kspde.InputError, match="of the initial mass of field v lies outside"):
        kspde.solve(model, U0, kspde.Box(half_width=6.0, cells=8, degree=4), t_end=0.1)
