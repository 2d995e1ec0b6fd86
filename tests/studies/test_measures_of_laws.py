"""Measures of laws and of logarithms, against closed forms, and the checks that rest on them."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose
from reduced_studies import reduced

import kspde
from kspde.distances.statistics import Estimate, squared_mean, squared_norm
from kspde.papers.experiment import Experiment
from kspde.papers.ledger import point_checks
from kspde.papers.studies.measures import Task, measured
from kspde.papers.studies.measures.laws import FreeEnergy, LocalEntropy
from kspde.papers.studies.measures.logarithms import Logarithms, ScoreNorm
from kspde.problem import Problem

pytestmark = pytest.mark.one_rank


def test_logarithms_of_a_vortex():
    t, nu, share = 0.5, 0.1, 1e-4
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.6], mass=3.0)
    experiment = Experiment(
        problem=Problem.of(kspde.ViscousVortices(viscosity=nu), u0, t_end=t),
        domain=kspde.Box(half_width=5.0, cells=14, degree=6),
        solve={"tol": 1e-7},
    )
    found = measured(Logarithms(share=share, points=301), Task(experiment=experiment, seed=0, comm=MPI.COMM_SELF))
    s2 = 0.36 + 2 * nu * t
    most = 2 * s2 * np.log(1 / share)  # |x|² at the rim
    early, late = (1 + np.log1p(t)) / (1 + t), 1 / (1 + t) ** 2
    assert_allclose(found["gradient_1"].value, most / s2**2 / (early + late * most), rtol=0.02)
    assert_allclose(found["hessian_1"].value, np.sqrt(2) / s2 / early, rtol=0.01)
    assert_allclose(found["gradient_3"].value, np.sqrt(most) / s2 / (1 + np.sqrt(t) + np.sqrt(most)), rtol=0.02)
    assert_allclose(found["hessian_3"].value, np.sqrt(2) / s2 / (1 + t), rtol=0.01)
    c = found["tails_1"].value  # at the centre or at the rim
    needed = [np.log((1 + t) / (2 * np.pi * s2)) - x / (2 * s2) + x / (8 * t + c) for x in (0.0, most)]
    assert_allclose(max(needed), np.log(c), atol=2e-3)


def test_the_score_of_an_algebraic_density_in_its_norm():
    """u₀ ∝ (1 + r²)^−3: (log u₀)' = −6r/(1 + r²), and (log u₀)'' = −6(1 − r²)/(1 + r²)²."""
    experiment = Experiment(
        problem=Problem.of(
            kspde.SignalDependentKellerSegel(chi=8.0), kspde.AlgebraicDensity(power=3.0), t_end=1e-6, eps=0.3
        ),
        domain=kspde.Box(half_width=40.0, cells=14, degree=8, grading=5.0),
        solve={"tol": 1e-8},
    )
    found = measured(ScoreNorm(q=4.0, radius=6.0), Task(experiment=experiment, seed=0, comm=MPI.COMM_SELF))
    r = np.linspace(1e-6, 6.0, 40_001)
    slope, second = 6 * r / (1 + r**2), 6 * (1 - r**2) / (1 + r**2) ** 2
    first = np.trapezoid(2 * np.pi * r * slope**4, r)
    other = np.trapezoid(2 * np.pi * r * (second**2 + (slope / r) ** 2) ** 2, r)
    assert_allclose(found["gradient"].value, first**0.25, rtol=2e-3)
    assert_allclose(found["hessian"].value, other**0.25, rtol=2e-3)
    assert_allclose(found["score_norm"].value, (first + other) ** 0.25, rtol=2e-3)
    assert_allclose([found["sup"].value, found["ratio"].value], [3.0, 1.0], rtol=2e-3)


def test_squares_of_means_by_the_jackknife():
    random = np.random.default_rng(1)
    samples = 0.3 + random.normal(size=(400, 2))
    found = squared_mean(samples)
    total = samples.sum(axis=0)
    exact = (total @ total - np.sum(samples**2)) / (400 * 399)
    assert_allclose(found.mean(), exact, rtol=1e-10)
    left = np.array([squared_mean(np.delete(samples, k, axis=0)).mean() for k in range(5)])
    assert_allclose(400 * exact - 399 * left, found[:5], rtol=1e-8)
    assert_allclose(squared_norm(samples).value, exact, rtol=1e-10)
    far = samples + 3.0  # where both intervals are the same
    assert_allclose(squared_norm(far).interval, Estimate.of_mean(squared_mean(far)).interval, rtol=0.01)


@pytest.mark.parametrize(("mean", "dimension"), [(0.0, 1), (1.0, 1), (2.0, 1), (1.0, 3), (0.0, 30)])
def test_the_interval_of_a_squared_mean_holds_near_0(mean, dimension):
    """Those of the jackknife hold .79 to .99 of the times; by both formulas of the covariance, n < d and n > d."""
    random, count, runs = np.random.default_rng(1), 24, 500
    held = []
    for _ in range(runs):
        samples = random.normal(size=(count, dimension))
        samples[:, 0] += mean / np.sqrt(count)
        low, high = squared_norm(samples).interval
        held.append(low <= mean**2 / count <= high)
    assert abs(np.mean(held) - 0.95) < 0.035


def test_a_large_sample_widens_the_interval_of_a_squared_mean_little():
    """It is part of the mean that it meets: with itself there the interval was 15 times as wide."""
    samples = 0.05 * np.random.default_rng(2).normal(size=(300, 3))
    samples[:, 0] += 0.02
    low, high = squared_norm(samples).interval
    samples[7, 2] += 8.0
    wider = squared_norm(samples).interval
    assert wider[1] - wider[0] < 2.5 * (high - low)


def test_small_studies_run():
    study = reduced("log-gas-marginals", lambda n, **_: n == 16, options={"replicas": 40}, t_end=0.1)
    point = study.points[0]
    task = Task(experiment=point.experiment, seed=3, comm=MPI.COMM_SELF)
    assert isinstance(point.measure, LocalEntropy)
    found = measured(point.measure, task)
    assert set(found) == {"h_1", "h_2", "h_8", "h_pairs"}
    for k in (2, 8):
        pairs = k * (k - 1) * found["h_pairs"].value
        assert_allclose(found[f"h_{k}"].value, k * found["h_1"].value + pairs, rtol=1e-9, atol=1e-15)


def test_free_energies_of_a_study():
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.2]], stds=[0.7])
    experiment = Experiment(
        problem=Problem.of(kspde.LogGas(strength=1.0, noise=0.5), u0, t_end=0.04),
        domain=kspde.Box(half_width=6.0, cells=8, degree=5),
        solve={"tol": 1e-4},
        simulate={"n": 6, "dt": 0.02},
    )
    found = measured(FreeEnergy(replicas=5, saves=2), Task(experiment=experiment, seed=3, comm=MPI.COMM_SELF))
    assert_allclose(found["total_entropy"].value, 6 * found["entropy"].value)
    assert_allclose(found["entropy"].value, found["free_energy"].value - found["energy"].value, rtol=1e-9)


def point(quantity, value, **swept):
    return {quantity: {"value": value, "error": 0.01 * value, "replicas": 100}}, swept


def test_checks_on_points():
    points = [
        point("total_entropy", value, t_end=t, n=n) for n, t, value in ((5, 1, 1), (5, 4, 2), (9, 1, 1), (9, 4, 5))
    ]
    found = point_checks.growth(points)
    assert found.ratio == 1.25
    assert found.interval[0] > 1
    assert "N = 9" in found.value
    points = [point("tails_1", value, t_end=t) for t, value in ((1.0, 2.0), (4.0, 1.5), (2.0, 1.0))]
    assert point_checks.tails_1(points).ratio == 0.75
