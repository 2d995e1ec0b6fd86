"""Orders of convergence, two-sided, with a bound on the error itself."""

from dataclasses import dataclass

import numpy as np
import pytest

import kspde

pytestmark = pytest.mark.one_rank

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
AXIS = np.linspace(-9, 9, 121)


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    """The density at T = 0.2 on a grid; its points agree with the Fourier solution in test_check_numbers.py."""
    box = kspde.Box(half_width=14.0, cells=20, degree=10)
    return kspde.solve(MODEL, three_gaussians(), box, t_end=0.2, tol=1e-8).on_grid([AXIS, AXIS])


def three_gaussians() -> kspde.GaussianMixture:
    return kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )


def l1_error(exact: np.ndarray, **options) -> float:
    return error_and_steps(exact, **options)[0]


def error_and_steps(exact: np.ndarray, **options) -> tuple[float, int]:
    box = kspde.Box(half_width=14.0, cells=options.pop("cells"), degree=options.pop("degree"))
    pde = kspde.solve(MODEL, three_gaussians(), box, t_end=0.2, **options)
    error = np.abs(pde.on_grid([AXIS, AXIS]) - exact).sum() * (AXIS[1] - AXIS[0]) ** 2
    return float(error), pde.summary()["steps"]


# degree, cells, order, L1 error on the finer mesh
TABLE = [(1, (48, 96), 2, 3e-3), (2, (24, 48), 3, 4e-4), (4, (12, 24), 5, 2e-5)]


@pytest.mark.parametrize(("degree", "cells", "order", "bound"), TABLE)
def test_order_in_space(exact, degree, cells, order, bound) -> None:
    coarse, fine = (l1_error(exact, cells=n, degree=degree, tol=1e-6) for n in cells)
    rate = np.log2(coarse / fine)
    assert order - 0.4 < rate < order + 1.2, f"degree {degree}: errors {coarse:.3e}, {fine:.3e}, rate {rate:.2f}"
    assert fine < bound


TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def test_tolerance_in_error_out(exact) -> None:
    """The adaptive scheme, here an integrator of order 5, stays far below its tolerance."""
    for tol in TOLERANCES:
        error = l1_error(exact, cells=16, degree=8, tol=tol)
        assert error < max(0.1 * tol, 1e-7), f"tol {tol:g}: L1 error {error:.3e}"


def test_tolerance_in_error_out_with_petsc(exact) -> None:
    tolerances = TOLERANCES[:-1]
    runs = [error_and_steps(exact, cells=16, degree=8, tol=tol, scheme="rosenbrock") for tol in tolerances]
    errors, steps = np.array(runs).T
    assert np.all(errors < tolerances), f"tol {tolerances}: L1 errors {errors}"
    assert_proportional(tolerances, errors, steps)


@dataclass(frozen=True, kw_only=True)
class Line(kspde.SignalDependentKellerSegel):
    """The same in dimension 1."""

    dimension = 1


def assert_proportional(tolerances, errors, steps) -> None:
    """The embedded method of order 2 has a local error ~ h³, kept below tol: h ~ tol^(1/3), and the error is ~ h³."""
    assert np.polyfit(np.log(tolerances), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.1)
    assert np.polyfit(np.log(tolerances), np.log(steps), 1)[0] == pytest.approx(-1 / 3, abs=0.05)


def test_the_error_of_the_w_method_is_proportional_to_the_tolerance() -> None:
    u0 = kspde.GaussianMixture(weights=(0.6, 0.4), means=((-0.8,), (0.9,)), stds=(0.6, 0.5))
    box = kspde.Box(half_width=8.0, cells=14, degree=6, dimension=1)
    axis = np.linspace(-6, 6, 241)
    exact = kspde.solve(Line(chi=8.0), u0, box, t_end=0.25, tol=1e-10).on_grid([axis])
    tolerances, errors, steps = 10.0 ** np.array([-4.5, -5.5, -6.5]), [], []
    for tol in tolerances:
        pde = kspde.solve(Line(chi=8.0), u0, box, t_end=0.25, tol=tol, scheme="rosenbrock")
        errors.append(np.abs(pde.on_grid([axis]) - exact).sum() * 0.05)
        steps.append(pde.summary()["steps"])
    assert_proportional(tolerances, errors, steps)


def test_order_in_time_of_a_fixed_step(exact) -> None:
    """With the step control off the W-method has order 3."""
    errors = []
    for steps in (10, 20, 40):
        options = {"ts_adapt_type": "none", "ts_time_step": 0.2 / steps}
        errors.append(l1_error(exact, cells=16, degree=8, tol=1e-3, petsc_options=options))
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((rates > 2.6) & (rates < 3.6)), f"errors {errors}, rates {rates}"
    assert errors[-1] < 2e-5


def test_order_in_time_of_the_positive_scheme(exact) -> None:
    finest = [l1_error(exact, cells=160, degree=1, scheme="positive", dt=dt) for dt in (0.04, 0.02)]
    rate = np.log2(finest[0] / finest[1])
    assert 0.8 < rate < 1.3, f"errors {finest}, rate {rate:.2f}"
    assert finest[1] < 2.5e-2
