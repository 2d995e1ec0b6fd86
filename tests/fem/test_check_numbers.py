"""Densities and signals against a Fourier solution (256² modes, all digits right) and against exact ones."""

import numpy as np
import pytest
from mpi4py import MPI

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
POINTS = [(0, 0), (1, 0.5), (-1.2, 0.3), (3, 3), (0.2, 1.5)]
LOCAL = {
    "u": [0.05184776299, 0.04279991812, 0.05054805073, 0.00262050833, 0.03981133375],
    "v": [0.28191758947, 0.24423257953, 0.26849104102, 0.03875557966, 0.23620730600],
}
GAUSSIAN = {
    "u": [0.05171478469, 0.04273380520, 0.05035283773, 0.00262494082, 0.03978966595],
    "v": [0.27562341526, 0.23964398810, 0.26204465566, 0.03958384770, 0.23235210767],
}
MATERN = {"u": [0.05171651037, 0.04273471602, 0.05035714148, 0.00262489554, 0.03978929038]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, LOCAL), ({"eps": 0.3}, GAUSSIAN), ({"eps": 0.3, "mollifier": "matern"}, MATERN)],
    ids=["local", "gaussian", "matern"],
)
def test_density_and_signal(mixture, options, expected) -> None:
    box = kspde.Box(half_width=14.0, cells=32, degree=4)
    pde = kspde.solve(MODEL, mixture, box, t_end=0.5, tol=1e-6, **options)
    assert np.abs(pde.evaluate(POINTS) - expected["u"]).max() < 3e-7
    if "v" in expected:
        assert np.abs(pde.evaluate_signal(POINTS) - expected["v"]).max() < 5e-7
    assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-12


def test_integrals_and_all_digits(mixture) -> None:
    box = kspde.Box(half_width=14.0, cells=20, degree=8)
    pde = kspde.solve(MODEL, mixture, box, t_end=0.5, tol=2e-8)
    assert np.abs(pde.evaluate(POINTS) - LOCAL["u"]).max() < 2e-8
    assert np.abs(pde.evaluate_signal(POINTS) - LOCAL["v"]).max() < 2e-8
    final = {name: values[-1] for name, values in pde.diagnostics.items()}
    assert final["l2"] == pytest.approx(0.02756984981, abs=1e-8)
    assert final["second_moment"] == pytest.approx(6.02630631068, abs=1e-7)
    assert final["entropy"] == pytest.approx(-3.89437989801, abs=1e-7)
    assert final["t"] == 0.5
    assert np.sum(pde.diagnostics["dt"]) == pytest.approx(0.5, rel=1e-12)


def heat(t: float, points: np.ndarray) -> np.ndarray:
    """The solution for χ = 0: γ = 2, so N(m, s²I) becomes N(m, (s² + 4t)I)."""
    variance = 0.5**2 + 4 * t
    return np.exp(-np.sum((points - [0.3, -0.2]) ** 2, axis=1) / (2 * variance)) / (2 * np.pi * variance)


def test_without_interaction_the_density_is_a_gaussian() -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, -0.2]], stds=[0.5])
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    box = kspde.Box(half_width=14.0, cells=24, degree=6)
    pde = kspde.solve(model, u0, box, t_end=0.5, tol=1e-7)
    points = np.random.default_rng(1).uniform(-4, 4, (50, 2))
    assert np.abs(pde.evaluate(points) - heat(0.5, points)).max() < 1e-7
    # ∫|x|²u grows at rate 2·d·γ = 8 exactly, but for what leaves the box.
    moments = pde.diagnostics["second_moment"]
    np.testing.assert_allclose(moments, moments[0] + 8 * pde.diagnostics["t"], rtol=1e-7)


def test_mass_scales_the_density_and_its_signal(mixture) -> None:
    """With mass m and χ/m the signal, hence the motility, is that of mass 1 and χ."""
    double = kspde.GaussianMixture(weights=mixture.weights, means=mixture.means, stds=mixture.stds, mass=2.0)
    box = kspde.Box(half_width=14.0, cells=12, degree=4)
    one = kspde.solve(MODEL, mixture, box, t_end=0.1, tol=1e-6)
    two = kspde.solve(kspde.SignalDependentKellerSegel(chi=4.0), double, box, t_end=0.1, tol=1e-6)
    np.testing.assert_allclose(two.evaluate(POINTS), 2 * one.evaluate(POINTS), rtol=1e-12)


def test_every_number_is_the_same_on_any_number_of_ranks(mixture) -> None:
    box = kspde.Box(half_width=14.0, cells=13, degree=3)
    for options in ({"tol": 1e-5}, {"scheme": "positive", "dt": 0.05}):
        if "dt" in options:
            box = kspde.Box(half_width=14.0, cells=40, degree=1)
        ours = kspde.solve(MODEL, mixture, box, t_end=0.2, eps=0.3, **options)
        alone = kspde.solve(MODEL, mixture, box, t_end=0.2, eps=0.3, comm=MPI.COMM_SELF, **options)
        np.testing.assert_allclose(ours.evaluate(POINTS), alone.evaluate(POINTS), rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.evaluate_signal(POINTS), alone.evaluate_signal(POINTS), rtol=0, atol=1e-12)
        axes = [np.linspace(-5, 5, 7), np.linspace(-4, 4, 5)]
        np.testing.assert_allclose(ours.on_grid(axes), alone.on_grid(axes), rtol=0, atol=1e-12)
        for name, values in ours.diagnostics.items():
            np.testing.assert_allclose(values, alone.diagnostics[name], rtol=1e-9, atol=1e-12, err_msg=name)
