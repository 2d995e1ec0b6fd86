"""The ground state and the Gagliardo-Nirenberg constant."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from kspde import InputError, theory

pytestmark = pytest.mark.one_rank


def test_published_value() -> None:
    assert theory.ground_state().mass == pytest.approx(11.700897, abs=5e-7)
    assert theory.gagliardo_nirenberg_constant() == pytest.approx(0.170927, abs=5e-7)
    assert theory.gagliardo_nirenberg_constant() * theory.ground_state().mass == pytest.approx(2, rel=1e-12)
    assert theory.critical_strength() == pytest.approx(23.4018, abs=5e-5)
    assert theory.ground_state() is theory.ground_state()


def test_pohozaev_identities() -> None:
    assert np.abs(theory.ground_state().pohozaev_residuals).max() < 1e-11


def test_against_shooting() -> None:
    """Q(0) between the heights that fall below zero and those that turn up before, and ‖Q‖₂² along that orbit."""

    def equation(r: float, y: np.ndarray) -> list[float]:
        return [y[1], y[0] - y[0] ** 3 - y[1] / r, 2 * np.pi * r * y[0] ** 2]

    def shot(height: float, end: float) -> object:
        start = 1e-4
        second = 0.5 * (height - height**3)
        first = [height + 0.5 * second * start**2, second * start, np.pi * start**2 * height**2]
        crosses = lambda r, y: y[0]  # noqa: E731
        turns = lambda r, y: y[1] + 1e-12  # noqa: E731
        crosses.terminal = turns.terminal = True  # type: ignore[attr-defined]
        return solve_ivp(equation, (start, end), first, "DOP853", rtol=1e-12, atol=1e-14, events=(crosses, turns))

    height = brentq(lambda h: 1.0 if len(shot(h, 30.0).t_events[0]) else -1.0, 2.0, 2.5, xtol=1e-12)
    state = theory.ground_state()
    assert state.q[0] == pytest.approx(height, abs=1e-9)
    assert state.q.min() >= 0
    assert np.all(np.diff(state.q) < 0)
    assert state.mass == pytest.approx(shot(height, 10.0).y[2, -1], abs=1e-6)


def test_the_ground_state_attains_the_constant_and_trial_functions_do_not() -> None:
    state = theory.ground_state()
    coefficients = np.polynomial.chebyshev.chebfit(2 * (state.r / state.r[-1]) ** 2 - 1, state.q, 200)
    slope = np.polynomial.chebyshev.chebder(coefficients)
    reach = float(state.r[-1])

    def profile(r: np.ndarray) -> np.ndarray:
        return np.polynomial.chebyshev.chebval(2 * (r / reach) ** 2 - 1, coefficients)

    def derivative(r: np.ndarray) -> np.ndarray:
        return np.polynomial.chebyshev.chebval(2 * (r / reach) ** 2 - 1, slope) * 4 * r / reach**2

    best = theory.gagliardo_nirenberg_constant()
    assert theory.gagliardo_nirenberg_quotient(profile, derivative, reach=reach) == pytest.approx(best, rel=1e-9)
    gaussian = theory.gagliardo_nirenberg_quotient(
        lambda r: np.exp(-(r**2) / 2), lambda r: -r * np.exp(-(r**2) / 2), reach=12.0
    )
    assert gaussian == pytest.approx(1 / (2 * np.pi), rel=1e-12)
    sech = theory.gagliardo_nirenberg_quotient(lambda r: 1 / np.cosh(r), lambda r: -np.tanh(r) / np.cosh(r), reach=40.0)
    assert gaussian < sech < best
    for size in (-0.2, 0.05, 0.3):  # the quotient is stationary at Q, and a maximum
        bent = theory.gagliardo_nirenberg_quotient(
            lambda r, s=size: profile(r) + s * np.exp(-(r**2)),
            lambda r, s=size: derivative(r) - 2 * s * r * np.exp(-(r**2)),
            reach=reach,
        )
        assert best * (1 - size**2) < bent < best


def test_a_function_that_vanishes_is_refused() -> None:
    with pytest.raises(InputError, match="does not vanish"):
        theory.gagliardo_nirenberg_quotient(np.zeros_like, np.zeros_like, reach=1.0)
