"""Fitted rates against power laws with known slopes, and how often their intervals hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kspde.papers.studies import fit_power_law, verdict
from kspde.papers.studies.outcome import Rate
from kspde.papers.studies.power_law import fit_constant
from kspde.papers.studies.quantities import fraction, given, mean
from kspde.papers.studies.study import Fit

pytestmark = pytest.mark.one_rank

X = np.array([100.0, 200.0, 500.0, 1000.0, 3000.0])


def test_a_power_law_is_found_exactly() -> None:
    rate = fit_power_law(X, 3.0 * X**-0.7)
    assert rate is not None
    assert rate.slope == pytest.approx(-0.7, abs=1e-12)
    assert rate.constant == pytest.approx(3.0, rel=1e-10)
    assert rate.interval[1] - rate.interval[0] < 1e-10
    np.testing.assert_allclose(rate.local, -0.7)
    assert rate.misfit is None


def test_the_interval_of_deterministic_values_is_that_of_linear_regression() -> None:
    from scipy.stats import linregress, t

    y = X**-1.0 * (1 + 20 / X)
    rate = fit_power_law(X, y)
    reference = linregress(np.log(X), np.log(y))
    assert rate is not None
    reach = t.ppf(0.975, len(X) - 2) * reference.stderr
    assert rate.slope == pytest.approx(reference.slope, rel=1e-12)
    assert rate.interval == pytest.approx((reference.slope - reach, reference.slope + reach), rel=1e-9)


@pytest.mark.parametrize("scale", ["logarithmic", "linear"])
@pytest.mark.parametrize("replicas", [8, 32])
def test_intervals_hold_the_slope_in_95_per_cent_of_experiments(replicas: int, scale: Any) -> None:
    rng = np.random.default_rng(replicas)
    truth, scatter = 2.0 * X**-0.5, np.array([0.1, 0.3, 0.2, 0.4, 0.3])
    held, repetitions = 0, 500
    for _ in range(repetitions):
        samples = [mean(m * (1 + s * rng.standard_normal(replicas))) for m, s in zip(truth, scatter, strict=True)]
        values, errors, draws = [q.value for q in samples], [q.error for q in samples], [replicas] * len(X)
        rate = fit_power_law(X, values, errors, draws, scale=scale)
        assert rate is not None
        held += rate.interval[0] <= -0.5 <= rate.interval[1]
    assert 0.92 <= held / repetitions <= 0.985


def test_the_interval_of_the_constant_holds_it_and_another_order_does_not_fit() -> None:
    rng = np.random.default_rng(5)
    truth, scatter, replicas = 2.0 * X**-0.5, np.array([0.1, 0.3, 0.2, 0.4, 0.3]), 64
    held = fitted = 0
    for _ in range(500):
        samples = [mean(m * (1 + s * rng.standard_normal(replicas))) for m, s in zip(truth, scatter, strict=True)]
        measured = [q.value for q in samples], [q.error for q in samples], [replicas] * len(X)
        found, wrong = fit_constant(X, *measured, -0.5), fit_constant(X, *measured, -1.0)
        assert found is not None
        assert wrong is not None
        held += found.interval[0] <= 2.0 <= found.interval[1]
        assert found.misfit is not None
        assert wrong.misfit is not None
        fitted += found.misfit > 0.01
        assert wrong.misfit < 1e-10
        assert wrong.interval[1] - wrong.interval[0] > 0.3 * wrong.value  # that of the residuals
    assert 0.92 <= held / 500 <= 0.985
    assert fitted > 0.96 * 500
    assert fit_constant(X, truth, np.zeros(5), np.full(5, np.inf), -0.5) is None


def test_values_that_do_not_lie_on_a_line_widen_the_interval() -> None:
    y, errors = X**-1.0 * (1 + 100 / X), 1e-6 * X**-1.0
    rate, straight = fit_power_law(X, y, errors), fit_power_law(X, X**-1.0, errors)
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
    rate = fit_power_law([1.0, np.e], [q.value for q in found], [q.error for q in found], [3, 5])
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
    rate = fit_power_law(X, y, errors * y)
    assert rate is not None
    assert rate.misfit == pytest.approx(chi2.sf(square, len(X) - 2), rel=1e-5)


def test_a_misfit_never_narrows_the_interval() -> None:
    """Three accurate values off the line of others that are not, but happen to lie on it: these limit the slope."""
    x = np.geomspace(1.0, 100.0, 13)
    e = np.where(np.abs(np.arange(13) - 6) < 2, 1e-4, 0.2)
    y = x**-1.0 * np.exp(np.where(e < 0.1, [0, 0, 0, 0, 0, 1e-3, -1e-3, 1e-3, 0, 0, 0, 0, 0], 0.0))
    rate = fit_power_law(x, y, e * y)
    assert rate is not None
    assert rate.misfit is not None
    assert rate.misfit < 1e-9
    u = np.log(x) - np.log(x).mean()
    assert rate.interval[1] - rate.slope == pytest.approx(1.959964 * np.sqrt(u**2 @ e**2) / (u @ u), rel=1e-6)


def test_values_near_zero_are_fitted_as_they_are() -> None:
    from scipy.optimize import curve_fit

    errors = np.array([0.01, 0.01, 0.01, 2.0, 2.0]) / X
    y = 1.0 / X + errors * np.array([0.5, -1.0, 0.3, -1.4, 0.8])  # the fourth is negative
    rate = fit_power_law(X, y, errors)
    assert rate is not None
    assert (rate.used, rate.left_out) == (5, 0)
    reference, _ = curve_fit(lambda x, c, q: c * (x / 300) ** q, X, y, (1 / 300, -1.0), sigma=errors)
    assert rate.slope == pytest.approx(reference[1], abs=1e-5)
    assert rate.constant == pytest.approx(reference[0] * 300 ** -reference[1], rel=1e-4)
    assert rate.at(X)[0] == pytest.approx(rate.constant * X[0] ** rate.slope)

    def squares(q: float) -> float:  # the least over C
        w, f = errors**-2.0, X**q
        return float(w @ y**2 - (w @ (f * y)) ** 2 / (w @ f**2))

    for end in rate.interval:  # 1.96² above the minimum: the errors are known
        assert squares(end) - squares(rate.slope) == pytest.approx(1.959964**2, rel=1e-4)
    assert np.isnan(rate.local[2:]).all()
    assert rate.misfit is not None


def test_values_that_are_all_noise_have_no_rate() -> None:
    noise = np.array([0.3, -0.8, 0.5, 0.1, -0.4])
    assert fit_power_law(X, noise, np.ones(5)) is None
    # One value that is seen and an upper limit on the others: a decay whose slope has no lower end.
    one = fit_power_law(X, [10.0, 0.1, -0.2, 0.1, 0.0], np.ones(5))
    assert one is not None
    assert one.interval[0] == -np.inf
    assert one.interval[1] < -1.0


def test_small_values_do_not_bias_a_rate() -> None:
    """E = 1/N with errors that grow to it: leaving out what is below 2 s would find a shallower decay."""
    rng = np.random.default_rng(5)
    truth, scatter = 1.0 / X, np.array([0.0005, 0.0005, 0.0005, 0.0005, 0.0005])
    held, slopes, repetitions = 0, [], 250
    for _ in range(repetitions):
        samples = [mean(m + s * 4 * rng.standard_normal(16)) for m, s in zip(truth, scatter, strict=True)]
        rate = fit_power_law(X, [q.value for q in samples], [q.error for q in samples], [16] * len(X))
        assert rate is not None
        held += rate.interval[0] <= -1.0 <= rate.interval[1]
        slopes.append(rate.slope)
    assert 0.92 <= held / repetitions <= 0.99
    assert np.median(slopes) == pytest.approx(-1.0, abs=0.02)


def test_the_next_term_of_an_expansion() -> None:
    y = 3.0 * X**-2.0 * np.exp(40.0 / X)
    rate = fit_power_law(X, y, 1e-3 * y, [1000] * 5, correction=-1)
    assert rate is not None
    assert rate.slope == pytest.approx(-2.0, abs=1e-9)
    assert rate.correction == pytest.approx((40.0, -1), rel=1e-8)
    assert rate.at(X) == pytest.approx(y, rel=1e-8)
    assert rate.summary()["correction"][1] == -1
    plain = fit_power_law(X, y, 1e-3 * y, [1000] * 5)
    assert plain is not None
    assert plain.slope < -2.05
    assert plain.correction is None
    # The variance of the slope, c·(s/y)² with c from the normal equations of three columns.
    design = np.stack([np.ones(5), np.log(X), 1 / X], axis=1)
    c = np.linalg.inv(design.T @ design) @ design.T
    half = 1.9601 * 1e-3 * np.sqrt(np.sum(c[1] ** 2))
    assert rate.interval[1] - rate.slope == pytest.approx(half, rel=2e-3)
    # A second moment of a sum of N terms with one other among them: ((N − 1) V + W)/N², exactly.
    second = ((X - 1) * 2.0 + 7.0) / X**2
    found = fit_power_law(X, second, correction=-1)
    assert found is not None
    assert found.slope == pytest.approx(-1.0, abs=1e-4)
    assert abs(fit_power_law(X, second).slope + 1.0) > 5e-3


def test_values_near_zero_off_any_power_law_widen_the_interval() -> None:
    y = np.array([0.9, 0.8, 0.3, 0.1, 0.0])
    wide, narrow = (fit_power_law(X, y, np.full(5, s)) for s in (0.03, 0.3))
    assert wide is not None
    assert narrow is not None
    assert wide.misfit is not None
    assert wide.misfit < 0.01
    # The same sums of squares but for a factor: what is allowed above the minimum is 1.96² of minimum/(K − 2).
    f = X**wide.slope
    least = np.sum((y - (f @ y) / (f @ f) * f) ** 2)
    for end in wide.interval:
        g = X**end
        there = np.sum((y - (g @ y) / (g @ g) * g) ** 2)
        assert there == pytest.approx(least * (1 + 1.959964**2 / 3), rel=1e-4)


def test_exact_zeros_are_left_out() -> None:
    rate = fit_power_law(X, [1.0, 0.1, 0.01, 0.001, 0.0])
    assert rate is not None
    assert (rate.used, rate.left_out) == (4, 1)
    assert fit_power_law(X, np.zeros(5)) is None
    y, errors = 1.0 / X, 0.01 / X
    assert fit_power_law(X[:2], y[:2]) is None  # nothing tells how sure a line through two exact values is
    two = fit_power_law(X[:2], y[:2], errors[:2], [16, 16])
    assert two is not None
    assert two.slope == pytest.approx(-1.0)


def test_means_fractions_and_given_intervals() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5
    assert found.interval == pytest.approx((2.5 - 3.182446 * 0.6454972, 2.5 + 3.182446 * 0.6454972), rel=1e-6)
    assert fraction([0] * 20).error > 0  # what is not seen in 20 is not known to be impossible
    assert fraction([0] * 20).interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)), rel=1e-9)  # Clopper-Pearson
    assert fraction([1] * 20).interval == pytest.approx((0.025 ** (1 / 20), 1.0), rel=1e-9)
    assert given(1.0, (0.0, 1.959964 * 2)).error == pytest.approx(1.0)


@pytest.mark.parametrize(("against", "power"), [("n", -0.5), ("cells", -0.5), ("eps", 0.5), ("dt", 0.5)])
def test_an_order_is_how_fast_a_quantity_falls(against: str, power: float) -> None:
    """Like N^(−1/2), or like ε^(1/2): order 1/2, with the interval the right way round."""
    rate = fit_power_law(X, X**power * (1 + 10 / X), 0.02 * X**power)
    assert rate is not None
    low, high = rate.interval
    fit = Fit(quantity="q", against=against, where={}, promises=())
    fitted = Rate(fit=fit, group={}, x=tuple(X), values=(), law=rate, promises=())
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
