"""The linear model: its density, the covariance of all particles by linear algebra, and entropies from particles."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose
from scipy.linalg import expm

import kspde
from kspde.papers.experiment import Experiment
from kspde.papers.studies.measures import Task
from kspde.papers.studies.measures.laws import LocalEntropy
from kspde.problem import Problem

T, STD, MASS = 0.5, 0.8, 1.3
MODEL = kspde.MeanAttraction(attraction=1.5, noise=0.5, confinement=0.4)


def gaussian(dimension, mass):
    return kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.3][:dimension]], stds=[STD], mass=mass)


def variance_at_rate(rate):
    return STD**2 * np.exp(-2 * rate * T) + 0.5 / rate * (1 - np.exp(-2 * rate * T))


@pytest.mark.one_rank
@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 7), (3, 7), (7, 7)])
def test_entropies_by_linear_algebra(k, n):
    drift = -(0.4 + 1.5 * MASS) * np.eye(n) + 1.5 * MASS / n
    # Van Loan: C(t) = e^{At} (s²) e^{Aᵀt} + ∫ e^{As} 2σ e^{Aᵀs} ds
    blocks = expm(np.block([[-drift, np.eye(n)], [np.zeros((n, n)), drift.T]]) * T)
    grow = blocks[n:, n:].T
    covariance = (STD**2 * grow @ grow.T + grow @ blocks[:n, n:])[:k, :k]
    ratio = covariance / variance_at_rate(0.4 + 1.5 * MASS)
    exact = np.trace(ratio) - k - np.linalg.slogdet(ratio)[1]  # ½ in each of two coordinates
    assert_allclose(MODEL.marginal_entropy(k, n=n, t=T, std=STD, mass=MASS), exact, rtol=1e-9, atol=1e-13)


def test_density_is_gaussian():
    model = kspde.MeanAttraction(attraction=1.5, noise=0.5, confinement=0.4, dimension=1)
    box = kspde.Box(half_width=8.0, cells=16, degree=6, dimension=1)
    pde = kspde.solve(model, gaussian(1, MASS), box, t_end=T, tol=1e-8)
    x, v = np.linspace(-3, 3, 41), variance_at_rate(0.4 + 1.5 * MASS)
    exact = MASS * np.exp(-((x - 0.5 * np.exp(-0.4 * T)) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
    assert_allclose(pde.on_grid([x]), exact, rtol=0, atol=1e-6)


@pytest.mark.one_rank
def test_local_entropies_from_particles():
    n = 40
    experiment = Experiment(
        problem=Problem.of(MODEL, gaussian(2, MASS), t_end=T),
        domain=kspde.Box(half_width=8.0, cells=10, degree=6),
        solve={"tol": 1e-6},
        simulate={"n": n, "dt": 0.025},
    )
    found = LocalEntropy(replicas=1500, degree=2).at(Task(experiment=experiment, seed=3, comm=MPI.COMM_SELF))
    r = variance_at_rate(0.4) / variance_at_rate(0.4 + 1.5 * MASS) - 1
    for k in (1, 2, 8):
        leading = (k * r / n) ** 2 / 2
        quantity = found[f"h_{k}"]
        # Euler's step and the next order in k/N are some per cent each.
        assert abs(quantity.value - leading) < 3 * quantity.error + 0.1 * leading < 0.5 * leading
    assert_allclose(MODEL.marginal_entropy(1, n=n, t=T, std=STD, mass=MASS), (r / n) ** 2 / 2, rtol=0.05)


@pytest.mark.one_rank
def test_bad_input():
    with pytest.raises(kspde.InputError, match="k = 8 is not valid"):
        MODEL.marginal_entropy(8, n=7, t=T, std=STD)
