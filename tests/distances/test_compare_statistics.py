"""Distances and intervals against closed forms."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, draws, gaussian
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import kspde
from kspde.distances import Estimate
from kspde.distances.registry import DISTANCES, DensityPair, OnGrid
from kspde.distances.resampling import (
    LAMBDAS,
    SHIFT,
    deviation_of_clouds,
    invert,
    node_counts,
    shift_away,
    weight_without_noise,
    without_noise,
)
from kspde.distances.smoothed import Reference
from kspde.distances.statistics import prediction, reach_of
from kspde.grids import Grid

ON_GRID = [formula for formula in DISTANCES.values() if isinstance(formula, OnGrid)]


def normal(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def test_two_gaussians_on_the_line() -> None:
    from scipy.special import ndtr

    x = np.linspace(-12, 12, 4001)
    step = x[1] - x[0]
    l1, l2, entropy, reverse = Reference(normal(x, 0.0, 1.0), step, 1e-40).distances(normal(x, 0.6, 1.0), ON_GRID)
    assert l1 == pytest.approx(2 * (2 * ndtr(0.3) - 1), rel=1e-5)
    # ∫(p − q)² of two Gaussians: 2 (N(0; 2) − N(0.6; 2)).
    assert l2**2 == pytest.approx(2 * (1 - np.exp(-(0.6**2) / 4)) / np.sqrt(4 * np.pi), rel=1e-9)
    assert entropy == pytest.approx(0.6**2 / 2, rel=1e-9)
    assert reverse == pytest.approx(0.6**2 / 2, rel=1e-9)
    _, _, entropy, reverse = Reference(normal(x, 0.0, 1.0), step, 1e-40).distances(normal(x, 0.2, 1.3), ON_GRID)
    assert entropy == pytest.approx(-np.log(1.3) + (1.3**2 + 0.2**2) / 2 - 0.5, rel=1e-9)
    assert reverse == pytest.approx(np.log(1.3) + (1 + 0.2**2) / (2 * 1.3**2) - 0.5, rel=1e-9)


def test_two_gaussians_in_the_plane() -> None:
    x = np.linspace(-9, 9, 361)
    a = normal(x, 0, 1.0)[:, None] * normal(x, 0, 1.0)
    b = normal(x, 0, 1.2)[:, None] * normal(x, 0, 1.2)
    l1, _, entropy, _ = Reference(a, (x[1] - x[0]) ** 2, 1e-40).distances(b, ON_GRID)
    # The two are equal on a circle: r² (1 − 1/1.2²) = 4 log 1.2.
    r2 = 4 * np.log(1.2) / (1 - 1 / 1.44)
    assert l1 == pytest.approx(2 * (np.exp(-r2 / 2.88) - np.exp(-r2 / 2)), rel=1e-3)
    assert entropy == pytest.approx(-2 * np.log(1.2) + 1.44 - 1, rel=1e-9)


def test_scale_does_not_matter() -> None:
    x = np.linspace(-9, 9, 500)
    u, k = normal(x, 0, 1), normal(x, 0.3, 1.1)
    step = x[1] - x[0]
    assert Reference(u, step, 1e-10).distances(k, ON_GRID) == pytest.approx(
        Reference(7 * u, step, 1e-10).distances(3 * k, ON_GRID)
    )


def test_clipping_is_reported() -> None:
    x = np.linspace(-10, 10, 2001)
    step = x[1] - x[0]
    u = normal(x, 0, 1) - 1e-9  # round-off of the wrong sign far out
    k = 0.9 * normal(x, 0, 1) + 0.1 * normal(x, 8.5, 0.1)
    reference = Reference(u, step, 1e-6)
    assert reference.density.min() > 0
    assert reference.clipped_mass(k) == pytest.approx(0.1, rel=1e-3)
    l1, _, entropy, _ = reference.distances(k, ON_GRID)
    assert l1 == pytest.approx(0.2, rel=1e-3)
    # A tenth of the mass meets the level 1e-6 · max u.
    level = 1e-6 * normal(np.zeros(1), 0, 1)[0]
    extra = 0.1 * (np.log(0.1 / level) - 0.5 * np.log(2 * np.pi * np.e * 0.1**2))
    assert entropy == pytest.approx(extra + 0.9 * np.log(0.9), rel=1e-3)


densities = arrays(np.float64, 30, elements=st.floats(0, 1)).filter(lambda a: a.sum() > 0.1)


@pytest.mark.one_rank
@given(densities, densities)
@settings(max_examples=200, deadline=None)
def test_csiszar_kullback_pinsker(u: np.ndarray, k: np.ndarray) -> None:
    l1, l2, entropy, reverse = Reference(u, 0.3, 1e-10).distances(k, ON_GRID)
    assert 0 <= l1 <= 2 + 1e-12
    assert l1**2 <= 2 * min(entropy, reverse) + 1e-12
    assert l1 <= l2 * np.sqrt(30 * 0.3) * (1 + 1e-12)  # Cauchy and Schwarz


@given(densities, st.floats(1e-9, 1e-3))
@settings(max_examples=100, deadline=None)
def test_entropies_of_nearly_equal_densities_do_not_cancel(u: np.ndarray, small: float) -> None:
    k = u * (1 + small * np.cos(np.arange(30)))
    reference = Reference(u, 0.3, 1e-10)
    _, _, entropy, _ = reference.distances(k, ON_GRID)
    x = reference.normalised(k) / reference.density - 1
    assert entropy == pytest.approx(0.3 * np.sum(reference.density * x**2) / 2, rel=1e-2 + 2 * small, abs=1e-15)


def test_a_contradiction_is_not_reported() -> None:
    u = normal(np.linspace(-5, 5, 101), 0, 1)
    pair = DensityPair(np.roll(u, 3), u, 0.1, log_ratio=np.zeros(101))  # what a mistake might do
    with pytest.raises(kspde.KspdeError, match="contradict Csiszar, Kullback and Pinsker"):
        DISTANCES["relative_entropy"].between(pair)


def test_identical_densities_have_no_distance() -> None:
    u = normal(np.linspace(-5, 5, 101), 0, 1)
    np.testing.assert_allclose(Reference(u, 0.1, 1e-10).distances(u, ON_GRID), 0, rtol=0, atol=1e-14)


def test_mass_without_particles_is_reported() -> None:
    x = np.linspace(-10, 10, 2001)
    u = 0.9 * normal(x, 0, 1) + 0.1 * normal(x, 8.0, 0.2)
    reference = Reference(u, x[1] - x[0], 1e-10)
    assert reference.uncovered_mass(normal(x, 0, 0.8)) == pytest.approx(0.1, rel=1e-3)
    assert reference.uncovered_mass(u) < 1e-9


def with_deviation(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Twenty draws for each λ that have these means and deviations exactly."""
    z = np.random.default_rng(0).normal(size=(20, 1))
    return mean + deviation * (z - z.mean()) / z.std(ddof=1)


def test_inverting_the_family() -> None:
    """With m(λ) = √(g² + c), s constant, the interval is θ ± t s, and g comes back from θ."""
    g, c, s = LAMBDAS * 4.0, 0.25, 0.1
    m = np.sqrt(g**2 + c)
    draws = with_deviation(m, np.full(len(g), s))
    theta = float(np.sqrt(2.0**2 + c))  # on a node: the interpolation is exact there
    measured = invert(theta, draws, 2.0)
    assert measured.interval == pytest.approx((theta - 0.2, theta + 0.2), rel=1e-6)
    assert without_noise(theta, draws, g, 2.0).value == pytest.approx(2.0)
    near = invert(0.5, draws, 2.0)  # as far as draws from u are on average
    assert near.interval[0] == pytest.approx(0.3)
    nothing = without_noise(0.5, draws, g, 2.0)
    assert nothing.value == pytest.approx(0, abs=1e-9)
    assert nothing.interval[0] == 0
    assert invert(9.0, draws, 2.0).interval == pytest.approx((8.8, 9.2))


@pytest.mark.parametrize("squared", [False, True])
def test_without_noise_a_distance_is_kept_where_its_draws_predict_what_was_measured(squared: bool) -> None:
    """At the ends of the prediction interval m̂ ± t s √(1 + 1/R) of the draws at λ, an end without noise is g(λ)."""
    g, m, s = 1.0 + 3 * LAMBDAS, 2.0 + LAMBDAS, 0.05 + 0.05 * LAMBDAS
    draws = with_deviation(m, s) ** (2 if squared else 1)
    for k in (1, 2, 3):
        low, high = prediction(np.sqrt(draws[:, k]) if squared else draws[:, k]).interval
        below, above = (
            without_noise(end ** (2 if squared else 1), draws, g, reach_of(20), squared=squared).interval
            for end in (low, high)
        )
        assert above[0] == pytest.approx(g[k], rel=1e-9)
        assert below[1] == pytest.approx(g[k], rel=1e-9)


def test_without_noise_the_error_of_the_mean_is_that_of_the_draws_whatever_clouds_do() -> None:
    """Deviation ρ s of θ and s/√R of m̂: t s √(ρ² + 1/R) in all, and for m̂ alone where clouds do not vary."""
    g, m = 4 * LAMBDAS, 1.0 + 2 * LAMBDAS
    draws = with_deviation(m, np.full(len(m), 0.1))
    for ratio in (2.0, 1.0, 0.0):
        reach = 2.5 * 0.1 * np.sqrt(ratio**2 + 1 / 20)
        interval = without_noise(m[2], draws, g, 2.5, ratio=ratio).interval
        assert interval == pytest.approx((g[2] - 2 * reach, g[2] + 2 * reach), rel=1e-9)  # dg/dm = 2
        assert invert(m[2], draws, 2.5 * ratio).interval == pytest.approx(
            (m[2] - 0.25 * ratio, m[2] + 0.25 * ratio), rel=1e-9
        )


def test_the_ends_have_the_deviation_of_what_they_test() -> None:
    """Deviation proportional to the mean, s = m/10: the ends are the m with |θ − m| = 2 m/10."""
    m = 1.0 + 2 * LAMBDAS
    measured = invert(2.0, with_deviation(m, m / 10), 2.0)
    assert measured.interval == pytest.approx((2 / 1.2, 2 / 0.8), rel=1e-9)


def test_squares_are_compared_by_their_roots() -> None:
    """Roots a(λ) with deviation s: the mean of the square is a² + s²(1 − 1/R), at nodes (1.5) and between (1.7)."""
    a, s = 1.0 + LAMBDAS, 0.05
    squares = with_deviation(a, np.full(len(a), s)) ** 2
    low, high = invert(1.6**2, squares, 2.0, squared=True).interval
    assert low == pytest.approx(1.5**2 + 0.95 * s**2, rel=1e-9)
    assert high == pytest.approx(1.7**2 + 0.95 * s**2, rel=2e-5)  # linear between nodes, m(λ) is off by 5e-3


def test_deviations_of_clouds_are_compared_on_the_same_scale() -> None:
    """Values 1, 4, 9 against 1, 9, 25: deviations 4.0415 and 12.220 themselves, 1 and 2 of their roots."""
    clouds, draws = np.array([[1.0, 4.0, 9.0]] * 2).T, np.array([[1.0, 9.0, 25.0]] * 2).T
    assert deviation_of_clouds(clouds, draws, [False, True]) == pytest.approx([4.0415 / 12.220, 0.5], rel=1e-4)


def test_where_the_family_is_not_monotone_the_interval_is_the_wider_one() -> None:
    """Ends m ± .2 with a dip: from below θ = 1.5 is reached at λ = .1375 first, from above left at λ = .5625 last."""
    draws = with_deviation(np.array([0.2, 2.2, 1.2, 3.2, 4.2]), np.full(5, 0.1))
    assert invert(1.5, draws, 2.0).interval == pytest.approx((0.2 + 0.55 * 2.0, 2.2 + 0.25), rel=1e-9)


def test_the_interval_holds_the_value() -> None:
    """Deviations of clouds that happen to be tiny: E a² is above the square of the mean of a all the same."""
    squares = with_deviation(1.0 + LAMBDAS, np.full(len(LAMBDAS), 0.05)) ** 2
    low, high = invert(1.6**2, squares, 0.01, squared=True).interval
    assert low == 1.6**2 < high


@pytest.mark.parametrize("squared", [False, True])
def test_the_interval_of_a_norm_covers_where_noise_may_hide_it(squared: bool) -> None:
    """|δ + ξ| in the plane with |δ| = 2, ξ standard normal: E|δ + ξ|² = 6, E|δ + ξ| = √(π/2) L_{1/2}(−2)."""
    from scipy.special import ive

    # L_{1/2}(−x) = (1 + x) e^(−x/2) I_0(x/2) + x e^(−x/2) I_1(x/2), at x = |δ|²/2.
    truth = 6.0 if squared else float(np.sqrt(np.pi / 2) * (3 * ive(0, 1.0) + 2 * ive(1, 1.0)))
    rng = np.random.default_rng(3)
    covered = np.zeros(2)
    for _ in range(600):
        x, noise = np.array([2.0, 0.0]) + rng.normal(size=2), rng.normal(size=(20, 1, 2))
        theta = float(np.linalg.norm(x)) ** (2 if squared else 1)
        moved = x + np.array([np.copysign(SHIFT, x[0]), 0.0])
        for i, end in enumerate((moved, x)):
            draws = np.linalg.norm(noise + LAMBDAS[:, None] * end, axis=2) ** (2 if squared else 1)
            low, high = invert(theta, draws, 2.093, squared=squared).interval
            covered[i] += low <= truth <= high
    assert covered[0] / 600 >= 0.93
    assert covered[1] / 600 < 0.93  # ended at what was measured, the family misses the truth above it


def test_draws_come_from_as_far_away_as_the_particles_are_without_noise() -> None:
    """‖p_λ − u‖² = λ² ‖μ − u‖² is to be ‖μ − u‖² without what independent draws add to it."""
    u, mu = np.random.default_rng(4).normal(size=(2, 30))
    gap = float(np.sum((mu - u) ** 2))
    weight = weight_without_noise(0.7 * gap, gap)
    assert np.sum(((1 - weight) * u + weight * mu - u) ** 2) == pytest.approx(0.3 * gap)
    assert weight_without_noise(1.1 * gap, gap) == weight_without_noise(0.1, 0.0) == 0.0


def test_many_draws_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kspde.distances.resampling._CHUNK", 1000)
    probabilities = np.array([0.1, 0.0, 0.4, 0.2, 0.3, 0.0])
    counts = node_counts(np.cumsum(7.0 * probabilities), (2, 3), 2500, np.random.default_rng(5))
    uniforms = np.random.default_rng(5).random(2500)
    expected = np.histogram(uniforms, np.concatenate([[0.0], np.cumsum(probabilities)]))[0]
    np.testing.assert_array_equal(counts, expected.reshape(2, 3))


@pytest.mark.parametrize("r", [1, 2])
def test_the_particles_are_moved_along_the_principal_axis(r: int) -> None:
    """A Gaussian with deviation 2 along (3, 4)/5 and 1 across, mean (1, 0)."""
    x = np.linspace(-13, 15, 57)
    grid = Grid(axes=(x, x - 1))
    points = np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1) - np.array([1.0, 0.0])
    along, across = points @ np.array([0.6, 0.8]), points @ np.array([-0.8, 0.6])
    density = np.exp(-(along**2) / 8 - across**2 / 2)
    density /= density.sum() * grid.cell_volume
    axis = np.tile([0.6, 0.8], r) / np.sqrt(r)
    for side in (1.0, -1.0):
        means = np.tile([1.0, 0.0], r) + np.outer([side * 0.01], axis)
        assert shift_away(grid, density, r, means, 400) == pytest.approx(side * SHIFT * 2 / 20 * axis, rel=1e-6)
    # Clouds whose means differ by more than independent draws' would: the standard error of 1 and 2.
    means = np.tile([1.0, 0.0], r) + np.outer([1.0, 2.0], axis)
    assert shift_away(grid, density, r, means, 400) == pytest.approx(SHIFT * np.sqrt(0.5) / np.sqrt(2) * axis, rel=1e-6)


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


def test_the_noise_of_smoothed_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """N E‖K_h * (μ_N − u)‖² = ∫K_h² − ∫(K_h * u)², (4πs²)^(−1/2) for a Gaussian: with s = h, and with s² = 1 + h²."""
    pde, told = KnownDensity(density=gaussian(dimension=1)), []

    def noted(noise: float, gap: float) -> float:
        told.append(noise)
        return weight_without_noise(noise, gap)

    monkeypatch.setattr("kspde.distances.smoothed.weight_without_noise", noted)
    kspde.compare(pde, KnownCloud(draws(pde.density, 50, 1), pde), bandwidth=0.3, replicas=2)
    one, both = (1 / np.sqrt(4 * np.pi * s2) for s2 in (0.3**2, 1 + 0.3**2))
    assert told == [pytest.approx((one - both) / 50, rel=1e-4)]


def test_values_and_what_is_left_without_noise_share_quantile_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    """t of 4 draws and 3 clouds, times the clouds' deviation over the draws', and for both the same draws."""
    with_noise: list[tuple[Any, ...]] = []
    without: list[tuple[Any, ...]] = []

    def inverted(theta: float, curves: np.ndarray, reach: float, *, squared: bool) -> Estimate:
        with_noise.append((theta, reach, squared, curves.tolist()))
        return invert(theta, curves, reach, squared=squared)

    def bared(
        theta: float, curves: np.ndarray, bare: np.ndarray, quantile: float, *, ratio: float, squared: bool
    ) -> Estimate:
        assert quantile == reach_of(4, 3)
        assert ratio != 1
        without.append((theta, quantile * ratio, squared, curves.tolist()))
        return without_noise(theta, curves, bare, quantile, ratio=ratio, squared=squared)

    monkeypatch.setattr("kspde.distances.measured.invert", inverted)
    monkeypatch.setattr("kspde.distances.measured.without_noise", bared)
    pde = KnownDensity(density=gaussian(dimension=1))
    kspde.compare(pde, [KnownCloud(draws(pde.density, 50, seed), pde) for seed in range(3)], replicas=4)
    assert with_noise == without
    assert len(without) == 4
