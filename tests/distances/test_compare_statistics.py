"""Distances and intervals against closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kspde.distances import Estimate
from kspde.distances.statistics import Reference, jackknife, prediction


def normal(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def test_two_gaussians_on_the_line() -> None:
    from scipy.special import ndtr

    x = np.linspace(-12, 12, 4001)
    step = x[1] - x[0]
    l1, entropy = Reference(normal(x, 0.0, 1.0), step, 1e-300).distances(normal(x, 0.6, 1.0))
    assert l1 == pytest.approx(2 * (2 * ndtr(0.3) - 1), rel=1e-5)
    assert entropy == pytest.approx(0.6**2 / 2, rel=1e-9)
    _, entropy = Reference(normal(x, 0.0, 1.0), step, 1e-300).distances(normal(x, 0.2, 1.3))
    assert entropy == pytest.approx(-np.log(1.3) + (1.3**2 + 0.2**2) / 2 - 0.5, rel=1e-9)


def test_two_gaussians_in_the_plane() -> None:
    x = np.linspace(-9, 9, 361)
    a = normal(x, 0, 1.0)[:, None] * normal(x, 0, 1.0)
    b = normal(x, 0, 1.2)[:, None] * normal(x, 0, 1.2)
    l1, entropy = Reference(a, (x[1] - x[0]) ** 2, 1e-300).distances(b)
    # The two are equal on a circle: r² (1 − 1/1.2²) = 4 log 1.2.
    r2 = 4 * np.log(1.2) / (1 - 1 / 1.44)
    assert l1 == pytest.approx(2 * (np.exp(-r2 / 2.88) - np.exp(-r2 / 2)), rel=1e-3)
    assert entropy == pytest.approx(-2 * np.log(1.2) + 1.44 - 1, rel=1e-9)


def test_scale_does_not_matter() -> None:
    x = np.linspace(-9, 9, 500)
    u, k = normal(x, 0, 1), normal(x, 0.3, 1.1)
    step = x[1] - x[0]
    assert Reference(u, step, 1e-10).distances(k) == pytest.approx(Reference(7 * u, step, 1e-10).distances(3 * k))


def test_clipping_is_reported() -> None:
    x = np.linspace(-10, 10, 2001)
    step = x[1] - x[0]
    u = normal(x, 0, 1) - 1e-9  # round-off of the wrong sign far out
    k = 0.9 * normal(x, 0, 1) + 0.1 * normal(x, 8.5, 0.1)
    reference = Reference(u, step, 1e-6)
    assert reference.density.min() > 0
    assert reference.clipped_mass(k) == pytest.approx(0.1, rel=1e-3)
    l1, entropy = reference.distances(k)
    assert l1 == pytest.approx(0.2, rel=1e-3)
    # A tenth of the mass meets the level 1e-6 · max u.
    level = 1e-6 * normal(np.zeros(1), 0, 1)[0]
    extra = 0.1 * (np.log(0.1 / level) - 0.5 * np.log(2 * np.pi * np.e * 0.1**2))
    assert entropy == pytest.approx(extra + 0.9 * np.log(0.9), rel=1e-3)


densities = arrays(np.float64, 30, elements=st.floats(0, 1)).filter(lambda a: a.sum() > 0.1)


@given(densities, densities)
@settings(max_examples=200, deadline=None)
def test_csiszar_kullback_pinsker(u: np.ndarray, k: np.ndarray) -> None:
    l1, entropy = Reference(u, 0.3, 1e-10).distances(k)
    assert 0 <= l1 <= 2 + 1e-12
    assert l1**2 <= 2 * entropy + 1e-12


def test_identical_densities_have_no_distance() -> None:
    u = normal(np.linspace(-5, 5, 101), 0, 1)
    l1, entropy = Reference(u, 0.1, 1e-10).distances(u)
    assert l1 == pytest.approx(0, abs=1e-14)
    assert entropy == pytest.approx(0, abs=1e-14)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    from scipy.stats import t

    y = np.random.default_rng(0).normal(5, 2, 30)
    left_out = (y.sum() - y) / 29
    low, high = jackknife(float(y.mean()), left_out, [1] * 30).interval
    reach = t.ppf(0.975, 29) * y.std(ddof=1) / np.sqrt(30)
    assert (low, high) == pytest.approx((y.mean() - reach, y.mean() + reach))


def test_jackknife_of_a_mean_with_unequal_groups() -> None:
    rng = np.random.default_rng(1)
    sizes = [3, 4, 4, 5, 8, 3, 4, 9]
    variances = []
    for _ in range(2000):
        y = rng.normal(100, 2, sum(sizes))
        sums = np.add.reduceat(y, np.append(0, np.cumsum(sizes)[:-1]))
        left_out = (y.sum() - sums) / (len(y) - np.array(sizes))
        estimate = jackknife(float(y.mean()), left_out, sizes)
        variances.append(((estimate.interval[1] - estimate.value) / 2.364624) ** 2)  # t quantile, 7 degrees of freedom
    assert np.mean(variances) == pytest.approx(4 / sum(sizes), rel=0.05)


def test_jackknife_does_not_go_below_zero() -> None:
    assert jackknife(0.1, np.array([0.0, 0.2]), [1, 1]).interval[0] == 0.0


def test_prediction_by_hand() -> None:
    estimate = prediction(np.array([10.0, 12.0, 14.0]))
    assert estimate.value == 12
    reach = 4.302653 * 2 * np.sqrt(4 / 3)  # t quantile with 2 degrees of freedom, standard deviation 2
    assert estimate.interval == pytest.approx((12 - reach, 12 + reach), rel=1e-6)


def test_estimate_prints_the_digits_it_supports() -> None:
    assert str(Estimate(0.123456, (0.1213, 0.1256))) == "0.1235 [0.1213, 0.1256]"
    assert str(Estimate(0.5, (0.2, 0.8))) == "0.50 [0.20, 0.80]"
    assert json.loads(json.dumps(Estimate(0.5, (0.2, 0.8)).summary())) == {"value": 0.5, "interval": [0.2, 0.8]}
