"""Distances and intervals against closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import kspde
from kspde.distances import Estimate
from kspde.distances.resampling import LAMBDAS, invert
from kspde.distances.statistics import Reference, interval, prediction, reach_of


def normal(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def test_two_gaussians_on_the_line() -> None:
    from scipy.special import ndtr

    x = np.linspace(-12, 12, 4001)
    step = x[1] - x[0]
    l1, l2, entropy, reverse = Reference(normal(x, 0.0, 1.0), step, 1e-40).distances(normal(x, 0.6, 1.0))
    assert l1 == pytest.approx(2 * (2 * ndtr(0.3) - 1), rel=1e-5)
    # ∫(p − q)² of two Gaussians: 2 (N(0; 2) − N(0.6; 2)).
    assert l2**2 == pytest.approx(2 * (1 - np.exp(-(0.6**2) / 4)) / np.sqrt(4 * np.pi), rel=1e-9)
    assert entropy == pytest.approx(0.6**2 / 2, rel=1e-9)
    assert reverse == pytest.approx(0.6**2 / 2, rel=1e-9)
    _, _, entropy, reverse = Reference(normal(x, 0.0, 1.0), step, 1e-40).distances(normal(x, 0.2, 1.3))
    assert entropy == pytest.approx(-np.log(1.3) + (1.3**2 + 0.2**2) / 2 - 0.5, rel=1e-9)
    assert reverse == pytest.approx(np.log(1.3) + (1 + 0.2**2) / (2 * 1.3**2) - 0.5, rel=1e-9)


def test_two_gaussians_in_the_plane() -> None:
    x = np.linspace(-9, 9, 361)
    a = normal(x, 0, 1.0)[:, None] * normal(x, 0, 1.0)
    b = normal(x, 0, 1.2)[:, None] * normal(x, 0, 1.2)
    l1, _, entropy, _ = Reference(a, (x[1] - x[0]) ** 2, 1e-40).distances(b)
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
    l1, _, entropy, _ = reference.distances(k)
    assert l1 == pytest.approx(0.2, rel=1e-3)
    # A tenth of the mass meets the level 1e-6 · max u.
    level = 1e-6 * normal(np.zeros(1), 0, 1)[0]
    extra = 0.1 * (np.log(0.1 / level) - 0.5 * np.log(2 * np.pi * np.e * 0.1**2))
    assert entropy == pytest.approx(extra + 0.9 * np.log(0.9), rel=1e-3)


densities = arrays(np.float64, 30, elements=st.floats(0, 1)).filter(lambda a: a.sum() > 0.1)


@given(densities, densities)
@settings(max_examples=200, deadline=None)
def test_csiszar_kullback_pinsker(u: np.ndarray, k: np.ndarray) -> None:
    l1, l2, entropy, reverse = Reference(u, 0.3, 1e-10).distances(k)
    assert 0 <= l1 <= 2 + 1e-12
    assert l1**2 <= 2 * min(entropy, reverse) + 1e-12
    assert l1 <= l2 * np.sqrt(30 * 0.3) * (1 + 1e-12)  # Cauchy and Schwarz


@given(densities, st.floats(1e-9, 1e-3))
@settings(max_examples=100, deadline=None)
def test_entropies_of_nearly_equal_densities_do_not_cancel(u: np.ndarray, small: float) -> None:
    k = u * (1 + small * np.cos(np.arange(30)))
    reference = Reference(u, 0.3, 1e-10)
    _, _, entropy, _ = reference.distances(k)
    x = reference.normalised(k) / reference.density - 1
    assert entropy == pytest.approx(0.3 * np.sum(reference.density * x**2) / 2, rel=1e-2 + 2 * small, abs=1e-15)


def test_a_contradiction_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    u = normal(np.linspace(-5, 5, 101), 0, 1)
    reference = Reference(u, 0.1, 1e-10)
    monkeypatch.setattr(reference, "_log", reference._log + 1.0)  # what a mistake might do
    with pytest.raises(kspde.KspdeError, match="contradict Csiszar, Kullback and Pinsker"):
        reference.distances(np.roll(u, 3))


def test_identical_densities_have_no_distance() -> None:
    u = normal(np.linspace(-5, 5, 101), 0, 1)
    np.testing.assert_allclose(Reference(u, 0.1, 1e-10).distances(u), 0, atol=1e-14)


def test_mass_without_particles_is_reported() -> None:
    x = np.linspace(-10, 10, 2001)
    u = 0.9 * normal(x, 0, 1) + 0.1 * normal(x, 8.0, 0.2)
    reference = Reference(u, x[1] - x[0], 1e-10)
    assert reference.uncovered_mass(normal(x, 0, 0.8)) == pytest.approx(0.1, rel=1e-3)
    assert reference.uncovered_mass(u) < 1e-9


def test_interval_solves_its_equation() -> None:
    """The ends are where the distance to θ is t standard deviations, the variance linear in the mean."""
    rng = np.random.default_rng(0)
    near, far = rng.normal(1.0, 0.1, 40), rng.normal(3.0, 0.3, 40)
    slope = (far.var(ddof=1) - near.var(ddof=1)) / (far.mean() - near.mean())
    for theta in (1.5, 2.0, 3.5):
        estimate = interval(theta, near, far, 2.0)
        for end in estimate.interval:
            variance = near.var(ddof=1) + slope * max(0.0, end - near.mean())
            assert (theta - end) ** 2 == pytest.approx(4 * variance, rel=1e-9)
    below = interval(0.5, near, far, 2.0)
    assert below.interval == pytest.approx((0.5 - 2 * near.std(ddof=1), 0.5 + 2 * near.std(ddof=1)))
    assert interval(0.05, near, far, 2.0).interval[0] == 0.0


def test_inverting_the_family() -> None:
    """With m(λ) = √(g² + c), s constant, the interval is θ ± t s, and g comes back from it."""
    g, c, s = LAMBDAS * 2.0, 0.25, 0.1
    m = np.sqrt(g**2 + c)
    theta = float(np.sqrt(0.8**2 + c))  # on a node: the interpolation is exact there
    measured, bare = invert(theta, m, np.full(6, s), g, 2.0)
    assert bare.value == pytest.approx(0.8)
    assert measured.interval == pytest.approx((theta - 0.2, theta + 0.2), rel=1e-6)
    _, nothing = invert(0.5, m, np.full(6, s), g, 2.0)  # as far as draws from u are on average
    assert nothing.value == pytest.approx(0, abs=1e-9)
    assert nothing.interval[0] == 0
    beyond, _ = invert(5.0, m, np.full(6, s), g, 2.0)
    assert beyond.interval == pytest.approx((4.8, 5.2))


def test_quantiles_of_student() -> None:
    assert reach_of(20) == pytest.approx(2.093024, rel=1e-6)  # 19 degrees of freedom
    assert reach_of(21, clouds=11) == pytest.approx(2.570582, rel=1e-6)  # 1/(2/20 + 1/10) = 5


def test_prediction_by_hand() -> None:
    estimate = prediction(np.array([10.0, 12.0, 14.0]))
    assert estimate.value == 12
    reach = 4.302653 * 2 * np.sqrt(4 / 3)  # t quantile with 2 degrees of freedom, standard deviation 2
    assert estimate.interval == pytest.approx((12 - reach, 12 + reach), rel=1e-6)


def test_estimate_prints_the_digits_it_supports() -> None:
    assert str(Estimate(0.123456, (0.1213, 0.1256))) == "0.1235 [0.1213, 0.1256]"
    assert str(Estimate(0.5, (0.2, 0.8))) == "0.50 [0.20, 0.80]"
    assert json.loads(json.dumps(Estimate(0.5, (0.2, 0.8)).summary())) == {"value": 0.5, "interval": [0.2, 0.8]}
