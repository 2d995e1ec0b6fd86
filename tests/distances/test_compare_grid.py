"""Binning and smoothing against direct sums and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from kspde.grids import GaussianSmoother, Grid, deposit, mass_interval, shifted


def grid_of(dimension: int, points: int = 24) -> Grid:
    lower = np.array([-2.0, -1.5, -1.0])[:dimension]
    upper = np.array([2.5, 1.0, 1.75])[:dimension]
    return Grid.covering(lower, upper, [points, points - 5, points - 9][:dimension])


def at_points(grid: Grid) -> np.ndarray:
    return np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1)


def gaussian_at(x: np.ndarray, std: float) -> np.ndarray:
    return np.exp(-0.5 * (x**2).sum(axis=-1) / std**2) / (2 * np.pi * std**2) ** (x.shape[-1] / 2)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_deposit_shares_a_point_among_its_corners(dimension: int) -> None:
    grid = grid_of(dimension)
    points = np.random.default_rng(1).uniform(grid.lower, grid.upper, (50, dimension))
    hats = np.maximum(0, 1 - np.abs(at_points(grid)[..., None, :] - points) / grid.spacing)
    np.testing.assert_allclose(deposit(grid, points), hats.prod(axis=-1).sum(axis=-1), rtol=0, atol=1e-12)


def test_deposit_keeps_every_particle() -> None:
    grid = grid_of(2)
    points = np.random.default_rng(2).normal(0, 3, (200_003, 2))  # several chunks, many points outside
    total = deposit(grid, points)
    assert total.sum() == pytest.approx(len(points), rel=1e-12)
    assert total.min() >= 0
    inside = np.clip(points, grid.lower, grid.upper)
    np.testing.assert_allclose(total, deposit(grid, inside), rtol=0, atol=1e-9)
    assert deposit(grid, np.empty((0, 2))).sum() == 0


def test_deposit_on_the_first_and_last_points() -> None:
    grid = grid_of(1)
    total = deposit(grid, np.array([grid.lower, grid.upper]))
    assert total[0] == 1
    assert total[-1] == 1


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_moved_values_are_those_that_stood_there(dimension: int) -> None:
    """Multilinear functions are interpolated exactly; what comes from outside is 0."""
    grid = grid_of(dimension)
    shift = np.array([1.3, -2.4, 0.7])[:dimension] * grid.spacing
    x = at_points(grid)
    out = shifted(grid, (3 + x).prod(axis=-1), shift)
    inside = np.all((x - shift >= grid.lower) & (x - shift <= grid.upper), axis=-1)
    np.testing.assert_allclose(out[inside], (3 + x - shift).prod(axis=-1)[inside], rtol=1e-12)
    assert np.all(out[~inside] == 0)
    assert 0 < np.sum(~inside) < inside.sum()


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_smoothing_a_gaussian_adds_the_variances(dimension: int) -> None:
    grid = Grid.covering(np.full(dimension, -7.0), np.full(dimension, 7.5), [70, 75, 80][:dimension])
    x = at_points(grid)
    smooth = GaussianSmoother(grid, 0.8).smooth(gaussian_at(x, 0.6))
    np.testing.assert_allclose(smooth, gaussian_at(x, 1.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dimension", "points"), [(1, 200), (2, 80), (3, 50)])
def test_the_estimate_is_the_particles_kernel(dimension: int, points: int) -> None:
    grid = grid_of(dimension, points)
    h = 4 * float(grid.spacing.max())
    peak = (2 * np.pi * h**2) ** (-dimension / 2)
    smoother = GaussianSmoother(grid, h)
    for particle in np.random.default_rng(3).uniform(grid.lower, grid.upper, (10, 1, dimension)):
        direct = gaussian_at(at_points(grid) - particle, h)
        # A particle's offset in its cell leaves its variance wrong by −Δ²/6 to Δ²/12 in each direction.
        np.testing.assert_allclose(
            smoother.density(deposit(grid, particle)), direct, atol=1.1 * dimension / 12 / 4**2 * peak
        )


def test_the_estimate_of_many_is_the_sum_of_their_kernels() -> None:
    grid = grid_of(1, 200)
    h = 4 * float(grid.spacing.max())
    particles = np.random.default_rng(3).uniform(grid.lower, grid.upper, (4000, 1))
    direct = gaussian_at(at_points(grid)[..., None, :] - particles, h).sum(axis=-1)
    estimate = GaussianSmoother(grid, h).density(deposit(grid, particles))
    # Offsets of all kinds cancel; without dividing out the binning's transform the error is twice this.
    np.testing.assert_allclose(estimate, direct, atol=5e-4 * direct.max())


def test_dividing_out_the_binning_keeps_the_variance() -> None:
    grid = Grid.covering(np.array([-6.0]), np.array([6.0]), [121])
    particle = np.array([[0.05]])  # midway between two points, where linear binning widens most
    k = GaussianSmoother(grid, 0.3).density(deposit(grid, particle)) * grid.cell_volume
    x = grid.axes[0]
    second_moment = k @ (x - 0.05) ** 2
    # Binning adds (Δ/2)² here; the correction takes away its mean over all offsets, Δ²/6.
    assert second_moment == pytest.approx(0.3**2 + 0.1**2 / 4 - 0.1**2 / 6, rel=1e-6)


def test_nothing_wraps_around() -> None:
    grid = Grid.covering(np.array([0.0]), np.array([10.0]), [401])
    k = GaussianSmoother(grid, 0.5).density(deposit(grid, np.array([[10.0]])))
    assert np.abs(k[: 401 // 2]).max() < 1e-12


def test_interval_of_a_gaussian_marginal() -> None:
    x = np.linspace(-8, 8, 3201)
    low, high = mass_interval(x, np.exp(-0.5 * x**2), 1e-3)
    assert low == pytest.approx(-3.0902, abs=0.02)  # the normal quantile of 1e-3
    assert high == pytest.approx(3.0902, abs=0.02)
