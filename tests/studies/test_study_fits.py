"""Fitted rates against power laws with known slopes, and how often their intervals hold them."""

from __future__ import annotations

import numpy as np
import pytest

from kspde.studies import fit_rate, verdict
from kspde.studies.outcome import FittedRate
from kspde.studies.quantities import fraction, given, mean
from kspde.studies.study import Fit

X = np.array([100.0, 200.0, 500.0, 1000.0, 3000.0])


def test_a_power_law_is_found_exactly() -> None:
    rate = fit_rate(X, 3.0 * X**-0.7)
    assert rate is not None
    assert rate.slope == pytest.approx(-0.7, abs=1e-12)
    assert rate.constant == pytest.approx(3.0, rel=1e-10)
    assert rate.interval[1] - rate.interval[0] < 1e-10
    np.testing.assert_allclose(rate.local, -0.7)
    assert rate.misfit is None


def test_the_interval_of_deterministic_values_is_that_of_linear_regression() -> None:
    from scipy.stats import linregress, t

    y = X**-1.0 * (1 + 20 / X)
    rate = fit_rate(X, y)
    reference = linregress(np.log(X), np.log(y))
    assert rate is not None
    reach = t.ppf(0.975, len(X) - 2) * reference.stderr
    assert rate.slope == pytest.approx(reference.slope, rel=1e-12)
    assert rate.interval == pytest.approx((reference.slope - reach, reference.slope + reach), rel=1e-9)


@pytest.mark.parametrize("replicas", [8, 32])
def test_intervals_hold_the_slope_in_95_per_cent_of_experiments(replicas: int) -> None:
    rng = np.random.default_rng(replicas)
    truth, scatter = 2.0 * X**-0.5, np.array([0.1, 0.3, 0.2, 0.4, 0.3])
    held, repetitions = 0, 500
    for _ in range(repetitions):
        samples = [mean(m * (1 + s * rng.standard_normal(replicas))) for m, s in zip(truth, scatter, strict=True)]
        rate = fit_rate(X, [q.value for q in samples], [q.error for q in samples], [replicas] * len(X))
        assert rate is not None
        held += rate.interval[0] <= -0.5 <= rate.interval[1]
    assert 0.92 <= held / repetitions <= 0.985


def test_values_that_do_not_lie_on_a_line_widen_the_interval() -> None:
    y, errors = X**-1.0 * (1 + 100 / X), 1e-6 * X**-1.0
    rate, straight = fit_rate(X, y, errors), fit_rate(X, X**-1.0, errors)
    assert rate is not None
    assert straight is not None
    assert rate.misfit is not None
    assert straight.misfit is not None
    assert rate.misfit < 1e-6 < 0.5 < straight.misfit
    assert rate.interval[1] - rate.interval[0] > 1e3 * (straight.interval[1] - straight.interval[0])


def test_degrees_of_freedom_are_those_of_welch() -> None:
    """Two points: a slope is the difference of two means of logarithms, and its interval that of Welch's test."""
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(3)
    low, high = 1.0 + 1e-6 * rng.normal(size=3), 2.0 + 8e-6 * rng.normal(size=5)
    found = [mean(low), mean(high)]
    rate = fit_rate([1.0, np.e], [q.value for q in found], [q.error for q in found], [3, 5])
    assert rate is not None
    reference = ttest_ind(np.log(high), np.log(low), equal_var=False).confidence_interval(0.95)
    half = 0.5 * (reference.high - reference.low)
    assert rate.slope == pytest.approx(np.log(2.0), abs=1e-5)
    assert rate.interval[1] - rate.slope == pytest.approx(half, rel=1e-4)
    assert rate.slope - rate.interval[0] == pytest.approx(half, rel=1e-4)


def test_the_misfit_is_that_of_a_weighted_line() -> None:
    from scipy.optimize import curve_fit
    from scipy.stats import chi2

    errors = np.array([0.02, 0.1, 0.05, 0.03, 0.2])
    y = X**-0.5 * np.exp(errors * np.array([0.5, -1.5, 1.0, -0.7, 2.0]))
    line, _ = curve_fit(lambda u, a, b: a + b * u, np.log(X), np.log(y), sigma=errors, absolute_sigma=True)
    square = float(np.sum(((np.log(y) - line[0] - line[1] * np.log(X)) / errors) ** 2))
    rate = fit_rate(X, y, errors * y)
    assert rate is not None
    assert rate.misfit == pytest.approx(chi2.sf(square, len(X) - 2), rel=1e-5)


def test_a_misfit_never_narrows_the_interval() -> None:
    """Three accurate values off the line of others that are not, but happen to lie on it: these limit the slope."""
    x = np.geomspace(1.0, 100.0, 13)
    e = np.where(np.abs(np.arange(13) - 6) < 2, 1e-4, 0.3)
    y = x**-1.0 * np.exp(np.where(e < 0.1, [0, 0, 0, 0, 0, 1e-3, -1e-3, 1e-3, 0, 0, 0, 0, 0], 0.0))
    rate = fit_rate(x, y, e * y)
    assert rate is not None
    assert rate.misfit is not None
    assert rate.misfit < 1e-9
    u = np.log(x) - np.log(x).mean()
    assert rate.interval[1] - rate.slope == pytest.approx(1.959964 * np.sqrt(u**2 @ e**2) / (u @ u), rel=1e-6)


def test_values_lost_in_noise_are_left_out() -> None:
    y = 1.0 / X
    errors = np.array([0.01, 0.01, 0.01, 2.0, 2.0]) * y
    rate = fit_rate(X, y, errors)
    assert rate is not None
    assert (rate.used, rate.left_out) == (3, 2)
    assert fit_rate(X, np.zeros(5)) is None
    assert fit_rate(X[:2], y[:2]) is None  # nothing tells how sure a line through two exact values is
    two = fit_rate(X[:2], y[:2], errors[:2], [16, 16])
    assert two is not None
    assert two.slope == pytest.approx(-1.0)


def test_means_fractions_and_given_intervals() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5
    assert found.interval == pytest.approx((2.5 - 3.182446 * 0.6454972, 2.5 + 3.182446 * 0.6454972), rel=1e-6)
    assert fraction([0] * 20).interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)), rel=1e-9)  # Clopper-Pearson
    assert fraction([1] * 20).interval == pytest.approx((0.025 ** (1 / 20), 1.0), rel=1e-9)
    assert given(1.0, (0.0, 1.959964 * 2)).error == pytest.approx(1.0)


@pytest.mark.parametrize(("against", "power"), [("n", -0.5), ("cells", -0.5), ("eps", 0.5), ("dt", 0.5)])
def test_an_order_is_how_fast_a_quantity_falls(against: str, power: float) -> None:
    """Like N^(−1/2), or like ε^(1/2): order 1/2, with the interval the right way round."""
    rate = fit_rate(X, X**power * (1 + 10 / X), 0.02 * X**power)
    assert rate is not None
    low, high = rate.interval
    fit = Fit(quantity="q", against=against, where={}, promises=())
    fitted = FittedRate(fit=fit, group={}, x=tuple(X), values=(), rate=rate, promises=())
    assert fitted.order is not None
    order, ends = fitted.order
    assert order == pytest.approx(0.5, abs=0.05)
    assert ends == ((-high, -low) if power < 0 else (low, high))
    assert ends[0] < order < ends[1]


@pytest.mark.parametrize(
    ("interval", "promised", "word"),
    [
        ((0.6, 0.8), 0.5, "supported"),
        ((0.48, 0.8), 0.5, "supported"),
        ((0.3, 0.8), 0.5, "not resolved"),
        ((0.3, 0.4), 0.5, "contradicted"),
        (None, 0.5, "not resolved"),
        ((-0.1, 0.1), 0.0, "not resolved"),
        ((float("-inf"), float("inf")), 1.0, "not resolved"),
    ],
)
def test_the_rule_of_the_verdicts(interval: tuple[float, float] | None, promised: float, word: str) -> None:
    assert verdict(interval, promised) == word
