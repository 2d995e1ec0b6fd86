"""The exponents of Wang, Li and Huang: their remarks, their hypotheses, and brute-force searches for the suprema."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from kspde import InputError, theory


def test_remark_1() -> None:
    promise = theory.theorem1(theta=0.3, alpha=0.1, m=4)
    assert promise.gamma_terms == pytest.approx((1 / 30, 0.02), rel=1e-15)
    assert round(promise.gamma_terms[0], 3) == 0.033  # as printed
    assert promise.gamma_sup == 0.02
    assert promise.eta_terms(0.019) == (0.1, 0.02)
    assert promise.eta_sup(0.019) == 0.02


def test_remark_2() -> None:
    promise = theory.theorem2(theta=0.4, alpha=0.1, m=7)
    assert promise.gamma_terms == pytest.approx((1 / 35, 0.00625), rel=1e-15)
    assert (round(promise.gamma_terms[0], 3), round(promise.gamma_terms[1], 3)) == (0.029, 0.006)  # as printed
    assert promise.gamma_sup == 0.00625
    assert promise.eta_terms(0.0025) == (0.2, 0.12)
    assert promise.beta_terms(0.0025, 0.03) == (74.0, 8.0)
    assert promise.beta_sup(0.0025, 0.03) == 8.0
    assert promise.l1_exponent(0.0025, 0.03) == 4.0
    assert promise.entropy_rate_sup == 0.2


def test_gammas_that_the_second_theorem_allows_in_print_alone() -> None:
    promise = theory.theorem2(theta=0.4, alpha=0.1, m=7)
    assert promise.gamma_nonempty == pytest.approx(0.2 / 37, rel=1e-15)
    inside = 0.999 * promise.gamma_nonempty
    assert promise.beta_sup(inside, 0.5 * (5 * inside + promise.eta_sup(inside))) > 1
    with pytest.raises(InputError, match=r"leaves no eta: give gamma < 0.0054"):
        promise.beta_sup(0.006, 0.0301)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"theta": 0.5}, r"theta = 0.5 is not valid: Theorem 1 asks for 0 < theta < 1/2"),
        ({"theta": 0.0}, "theta = 0.0"),
        ({"theta": float("nan")}, "theta = nan"),
        ({"alpha": 0.15}, r"alpha = 0.15 is not valid: Theorem 1 asks for 0 < alpha < theta/2, 0 < alpha < 0.15"),
        ({"alpha": "x"}, "alpha = 'x' is not a number"),
        ({"m": 3}, r"m = 3 is not valid: Theorem 1 asks for an integer m > \(1 \+ theta\)/\(1 - 2 theta\) = 3.25"),
        ({"m": 4.0}, "m = 4.0 is not an integer"),
    ],
)
def test_violated_hypotheses_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        theory.theorem1(**({"theta": 0.3, "alpha": 0.1, "m": 4} | arguments))  # type: ignore[arg-type]


def test_the_two_theorems_differ_at_the_bound_on_m() -> None:
    # (1 + 0.4)/(1 - 0.8) is 7 exactly, and 7.000000000000002 in floating point.
    assert theory.theorem2(theta=0.4, alpha=0.1, m=7).m == 7
    with pytest.raises(InputError, match=r"m = 7 is not valid: Theorem 1 asks for an integer m > .* = 7$"):
        theory.theorem1(theta=0.4, alpha=0.1, m=7)
    with pytest.raises(InputError, match=r"m = 6 is not valid: Theorem 2 asks for an integer m >= "):
        theory.theorem2(theta=0.4, alpha=0.1, m=6)


@pytest.mark.parametrize(
    ("gamma", "eta", "message"),
    [
        (0.00625, 0.03, r"gamma = 0.00625 is not valid: \(1.12\) asks for 0 < gamma < 0.00625"),
        (0.0, 0.03, "gamma = 0.0 is not valid"),
        (0.0025, 0.0125, "eta = 0.0125 is not valid: Theorem 2 asks for 5 gamma < eta, 0.0125 < eta < 0.12"),
        (0.0025, 0.12, "eta = 0.12 is not valid"),
    ],
)
def test_exponents_outside_their_bounds(gamma: float, eta: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        theory.theorem2(theta=0.4, alpha=0.1, m=7).beta_sup(gamma, eta)


@given(st.floats(0.01, 0.49), st.floats(0.01, 0.99), st.integers(0, 200), st.floats(0.01, 0.99))
def test_what_the_proof_needs(theta: float, share: float, more: int, where: float) -> None:
    """The error terms of (2.26) are O(N^-eta), written out as the proof does, at the promised exponents."""
    alpha = 0.5 * share * theta
    m = int((1 + theta) / (1 - 2 * theta)) + 1 + more
    promise = theory.theorem1(theta=theta, alpha=alpha, m=m)
    gamma = where * promise.gamma_sup
    eta = promise.eta_sup(gamma)
    assert eta > 0
    power_of_n = (
        6 * gamma - 2 * alpha,
        2 * alpha - theta + eta,
        (4 * m + 4) * gamma - m + 1 + eta,
        (4 * m + 4) * gamma + 2 * alpha + m * (2 * theta - 1) + 1 + eta,
    )
    assert max(power_of_n) <= 1e-9 * m


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All (θ, α, m) of a grid that reaches into the corners, with m up to a million."""
    theta = np.concatenate((np.linspace(0.01, 0.499, 110), 0.5 - np.geomspace(1e-4, 1e-3, 5)))[:, None, None]
    share = np.concatenate((np.geomspace(1e-4, 0.01, 9), np.linspace(0.02, 0.98, 97), 1 - np.geomspace(1e-4, 0.01, 9)))
    m = np.unique(np.geomspace(2, 1e6, 60).astype(int))[None, None, :]
    theta, alpha, m = np.broadcast_arrays(theta, 0.5 * share[None, :, None] * theta, m)
    admissible = m > (1 + theta) / (1 - 2 * theta)
    return theta[admissible], alpha[admissible], m[admissible].astype(float)


def test_suprema_of_the_first_theorem_by_brute_force() -> None:
    theta, alpha, m = _grid()
    surplus = m * (1 - 2 * theta) - 2 * alpha - 1
    gamma = np.minimum(alpha / 3, surplus / (4 * m + 4))
    limits = theory.Theorem1Limits()
    assert 0.99 * limits.gamma < gamma.max() < limits.gamma
    best = np.argmax(gamma)
    assert theta[best] == pytest.approx(3 / 8, abs=0.005)
    eta = np.minimum(theta - 2 * alpha, surplus - (4 * m + 4) * 1e-9)
    assert 0.99 * limits.eta < eta.max() < limits.eta
    assert 0.99 * limits.alpha < alpha.max() < limits.alpha
    for at in (0.002, 0.02, 0.05):
        allowed = gamma > at
        eta = np.minimum(theta - 2 * alpha, surplus - (4 * m + 4) * at)[allowed]
        assert limits.eta_sup(at) - 0.012 < eta.max() < limits.eta_sup(at)
    with pytest.raises(InputError, match=r"gamma = 0.0625 is not valid"):
        limits.eta_sup(1 / 16)


def test_suprema_of_the_second_theorem_by_brute_force() -> None:
    theta, alpha, m = _grid()
    surplus = m * (1 - 2 * theta) - 2 * alpha - 1
    printed = np.minimum(2 * alpha / 7, surplus / (4 * m + 4))
    limits = theory.Theorem2Limits()
    # The printed bounds on gamma alone go to 1/18; a search over gamma for which eta exists ends at 1/28.
    assert 0.99 / 18 < printed.max() < 1 / 18
    possible = 0.0
    for gamma in np.linspace(0.5, 1.3, 161) * limits.gamma:
        eta = np.minimum(theta - 2 * alpha, surplus - (4 * m + 4) * gamma)
        if np.any((gamma < printed) & (5 * gamma < eta)):
            possible = gamma
    assert 0.98 * limits.gamma < possible < limits.gamma
    for gamma in (1e-6, 0.004, 0.02):
        eta = np.minimum(theta - 2 * alpha, surplus - (4 * m + 4) * gamma)
        allowed = (gamma < printed) & (5 * gamma < eta)
        beta = np.minimum(2 * alpha / gamma - 6, eta / gamma - 4)[allowed].max()
        assert beta < limits.beta_sup(gamma)
        assert gamma * beta > gamma * limits.beta_sup(gamma) - 0.01
    assert 1e-6 * limits.beta_sup(1e-6) == pytest.approx(limits.entropy_rate, abs=1e-5)
    assert limits.l1_rate == limits.entropy_rate / 2


@given(st.floats(0.05, 0.48), st.floats(0.05, 0.95), st.integers(0, 100))
def test_where_the_second_theorem_is_not_empty(theta: float, share: float, more: int) -> None:
    m = int((1 + theta) / (1 - 2 * theta)) + 1 + more
    promise = theory.theorem2(theta=theta, alpha=0.5 * share * theta, m=m)
    assert promise.gamma_nonempty <= promise.gamma_sup
    below, above = 0.999 * promise.gamma_nonempty, 1.001 * promise.gamma_nonempty
    assert promise.eta_sup(below) > 5 * below
    if above < promise.gamma_sup:
        assert promise.eta_sup(above) < 5 * above
    rate = below * 1e-6 * promise.beta_sup(below * 1e-6, promise.eta_sup(below * 1e-6) * (1 - 1e-9))
    assert rate == pytest.approx(promise.entropy_rate_sup, rel=1e-3)
