"""The exponents of Wang, Li and Huang: their remarks, their hypotheses, and brute-force searches for the suprema."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from kspde import InputError, theory

pytestmark = pytest.mark.one_rank


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


def test_the_estimates_without_their_losses_by_hand() -> None:
    # θ = .3, α = .1, m = 4, p = 1: m(1 − 2θ) − 1 − 2α = .4, 4m + 4 = 20, m − 1 = 3.
    found = theory.improved_exponents(theta=0.3, alpha=0.1, m=4)
    assert found.gamma_terms == pytest.approx((1 / 30, 0.02, 0.15), rel=1e-15)
    assert found.eta_terms(0.019) == pytest.approx((0.4, 0.02, 2.62), rel=1e-14)
    # With a large m the first term counts: 2(θ − α) = .4, where the printed theorem has θ − 2α = .1.
    large = theory.improved_exponents(theta=0.3, alpha=0.1, m=40)
    assert large.eta_sup(0.019) == pytest.approx(0.4, rel=1e-15)
    assert theory.theorem1(theta=0.3, alpha=0.1, m=40).eta_sup(0.019) == pytest.approx(0.1, rel=1e-15)
    # Fourth moments: 4(θ − α) = .8; with the union over i instead of (2.6) one less.
    fourth = theory.improved_exponents(theta=0.3, alpha=0.1, m=40, p=2)
    assert fourth.eta_sup(0.019) == pytest.approx(0.8, rel=1e-15)
    assert theory.improved_exponents(theta=0.3, alpha=0.1, m=400, p=8, union=True).eta_sup(0.019) == pytest.approx(2.2)
    assert theory.improved_exponents(theta=0.3, alpha=0.1, m=40, union=True).eta_sup(0.019) < 0
    # α beyond θ/2, and the kernel's norms as they are: γ < α/2 = .1, (m − 1)/(2m + 2).
    sharp = theory.improved_exponents(theta=0.3, alpha=0.2, m=40, sharp=True)
    assert sharp.gamma_terms == pytest.approx((0.1, 39 / 82), rel=1e-15)
    assert sharp.eta_terms(0.09) == pytest.approx((0.2, 14.6, 39 - 82 * 0.09), rel=1e-13)
    # Theorem 2 at Remark 2's parameters: min{.2 − 6γ, η − 4γ} with η = .12, where β = 8 is N^−.02.
    second = theory.improved_exponents(theta=0.4, alpha=0.1, m=7)
    assert second.eta_sup(0.0025) == pytest.approx(0.12, rel=1e-14)
    assert second.entropy_rate(0.0025) == pytest.approx(0.11, rel=1e-14)
    assert theory.improved_exponents(theta=0.4, alpha=0.1, m=60).entropy_rate(0.0025) == pytest.approx(0.185)
    assert theory.improved_exponents(theta=0.4, alpha=0.2, m=60, sharp=True).entropy_rate(0.0025) == pytest.approx(0.39)


def test_the_bounds_of_the_terms_add_up_to_the_theorems() -> None:
    first, second = (theory.proof_bounds(theta=t, alpha=0.1, m=m) for t, m in ((0.3, 4), (0.4, 7)))
    assert first.order("s", 0.019) == pytest.approx(theory.theorem1(theta=0.3, alpha=0.1, m=4).eta_sup(0.019))
    assert second.order("gradients", 0.0025) == pytest.approx(0.11)  # Remark 2's, with η = .12
    assert second.gamma_sup == pytest.approx(0.00625)
    by_hand = {
        "i21": 0.4,  # 2(θ − α)
        "i22": 0.4,  # m(1 − 2θ) − 1 − 2α
        "i12": 0.3,  # 2α + η
        "p12": 0.1,  # η
        "j12": 1.0,
        "j13": 0.1,  # min(2α, η)
        "j11": 0.1,
    }
    assert {name: first.order(name, 0.0) for name in by_hand} == pytest.approx(by_hand)
    in_eps = {"i12": -6.0, "p11": -20.0, "j12": -4.0, "j13": -6.0, "p12": None, "i21": None}
    assert {name: first.order_in_eps(name) for name in in_eps} == in_eps
    assert first.order("j12", 0.019) == pytest.approx(1 - 4 * 0.019)
    assert {len(first.powers(name)) > 0 for name in theory.PROOF_TERMS} == {True}
    with pytest.raises(InputError, match=r"gamma = 0.02 is not valid: the proof asks for 0 <= gamma < 0.02"):
        first.order("s", 0.02)


@given(st.floats(0.01, 0.49), st.floats(0.01, 0.99), st.integers(1, 4), st.integers(0, 200), st.floats(0.01, 0.99))
def test_what_the_estimates_give(theta: float, share: float, p: int, more: int, where: float) -> None:
    """The error terms of (2.10)-(2.24) for S^2p are O(N^-η), and Gronwall's factor is bounded, written out."""
    alpha = share * theta
    m = int((1 + 2 * p * alpha) / (1 - 2 * theta)) + 1 + more
    for sharp, (sup, gradient, hessian) in ((False, (2, 2, 3)), (True, (0, 1, 2))):
        found = theory.improved_exponents(theta=theta, alpha=alpha, m=m, p=p, sharp=sharp)
        gamma = where * found.gamma_sup
        eta = found.eta_sup(gamma)
        assert eta > 0
        power_of_n = (
            2 * p * (hessian * gamma - alpha),
            2 * p * (alpha - theta) + eta,
            sup * gamma * 2 * p + 2 * p * alpha + sup * gamma * 2 * m + 2 * m * (theta - 0.5) + 1 + eta,
            gradient * gamma * 2 * p + gradient * gamma * 2 * m - m + 1 + eta,
        )
        assert max(power_of_n) <= 1e-9 * m * p
        assert max(power_of_n[1:]) >= -1e-9 * m * p  # and no larger η has it
    if 2 * alpha < theta and p == 1 and m > (1 + theta) / (1 - 2 * theta):
        printed = theory.theorem1(theta=theta, alpha=alpha, m=m)
        gamma = where * printed.gamma_sup
        improved = theory.improved_exponents(theta=theta, alpha=alpha, m=m)
        assert improved.eta_sup(gamma) >= printed.eta_sup(gamma)


def test_suprema_of_the_estimates_by_brute_force() -> None:
    theta, share, m = np.meshgrid(
        np.linspace(0.01, 0.499, 150),
        np.concatenate((np.geomspace(1e-4, 0.02, 12), np.linspace(0.03, 0.999, 80))),
        np.geomspace(2, 1e7, 60).astype(int),
        indexing="ij",
    )
    alpha = share * theta
    surplus = m * (1 - 2 * theta) - 1 - 2 * alpha
    allowed = surplus > 0
    for sharp in (False, True):
        limits = theory.ImprovedLimits(sharp=sharp)
        bounds = [alpha / 2, (m - 1) / (2 * m + 2)] if sharp else [alpha / 3, surplus / (4 * m + 4)]
        gamma = np.where(allowed, np.minimum(*bounds), 0)
        assert 0.98 * limits.gamma < gamma.max() < limits.gamma
        eta = np.where(gamma > 0, np.minimum(2 * (theta - alpha), surplus), 0)
        assert 0.98 * limits.eta < eta.max() < limits.eta
        assert 0.98 * limits.entropy_rate < np.minimum(2 * alpha, eta).max() < limits.entropy_rate
        near = np.abs(theta - 0.3).argmin() // theta[0].size
        at_theta = limits.at_theta(float(theta[near, 0, 0]))
        assert gamma[near].max() == pytest.approx(at_theta[0], rel=0.01)
        assert eta[near].max() == pytest.approx(at_theta[1], rel=0.01)
        at = 0.04
        loss = surplus - (0 if sharp else (4 * m + 4) * at)
        there = np.where(gamma > at, np.minimum(2 * (theta - alpha), loss), 0)
        assert limits.eta_sup(at) - 0.03 < there.max() < limits.eta_sup(at)
    assert theory.ImprovedLimits().at_theta(0.3) == pytest.approx((0.1, 0.6), rel=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.3}, "alpha = 0.3 is not valid: give a finite number > 0 and < 0.3"),
        ({"theta": 0.5}, "theta = 0.5 is not valid"),
        ({"m": 3}, r"m = 3 is not valid: .* m > \(1 \+ 2 p alpha\)/\(1 - 2 theta\) = 3, at least 4"),
        ({"p": 0}, "p = 0 is not valid"),
    ],
)
def test_improved_exponents_outside_their_bounds(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        theory.improved_exponents(**({"theta": 0.3, "alpha": 0.1, "m": 4} | arguments))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"gamma = 0.02 is not valid: these estimates ask for 0 < gamma < 0.02"):
        theory.improved_exponents(theta=0.3, alpha=0.1, m=4).eta_sup(0.02)
