"""The mean integrated squared error of a Gaussian has a closed form (Fryer, 1976)."""

from __future__ import annotations

import numpy as np
import pytest

from kspde.distances.bandwidth import IntegratedSquaredError, grid_for
from kspde.grids import Grid


def closed_form(h: np.ndarray | float, std: float, n: int, d: int) -> np.ndarray | float:
    return (4 * np.pi) ** (-d / 2) * (
        (std**2 + h**2) ** (-d / 2) * (1 - 1 / n)
        - 2 * (std**2 + h**2 / 2) ** (-d / 2)
        + std ** (-float(d))
        + h ** (-float(d)) / n
    )


def error_of(std: float, n: int, d: int, centre: float = 0.0) -> IntegratedSquaredError:
    points = {1: 400, 2: 120, 3: 60}[d]
    grid = Grid.covering(np.full(d, centre - 6 * std), np.full(d, centre + 7 * std), [points] * d)
    x = np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1)
    u = np.exp(-0.5 * ((x - centre) ** 2).sum(axis=-1) / std**2)
    return IntegratedSquaredError(grid, u / (u.sum() * grid.cell_volume), n)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_error_of_a_gaussian(d: int) -> None:
    error = error_of(0.7, 1000, d)
    for h in (0.02, 0.1, 0.4, 1.5):
        assert error(h) == pytest.approx(closed_form(h, 0.7, 1000, d), rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [20, 1000, 1_000_000])
def test_minimiser_for_a_gaussian(d: int, n: int) -> None:
    h = np.exp(np.linspace(np.log(1e-3), np.log(5), 400_001))
    expected = h[np.argmin(closed_form(h, 0.7, n, d))]
    assert error_of(0.7, n, d).minimise() == pytest.approx(expected, rel=2e-4)


def test_the_place_of_the_density_does_not_matter() -> None:
    """Wherever it is, the search begins at its standard deviation."""
    assert error_of(0.7, 1000, 1, centre=-1e5).minimise() == pytest.approx(error_of(0.7, 1000, 1).minimise(), rel=1e-5)


def test_the_global_valley_is_found() -> None:
    """Two narrow peaks far apart: the standard deviation of the whole says nothing about the bandwidth."""
    grid = Grid.covering(np.array([-12.0]), np.array([12.0]), [6001])
    x = grid.axes[0]
    u = np.exp(-0.5 * ((x - 10) / 0.05) ** 2) + np.exp(-0.5 * ((x + 10) / 0.05) ** 2)
    error = IntegratedSquaredError(grid, u / (u.sum() * grid.cell_volume), 10_000)
    # Each peak is a Gaussian of half the mass: bias² 2·(¼·), so the minimiser is the one of n/2 points.
    h = np.exp(np.linspace(np.log(1e-3), np.log(1), 200_001))
    expected = h[np.argmin(closed_form(h, 0.05, 5_000, 1))]
    assert error.minimise() == pytest.approx(expected, rel=2e-3)


def test_the_longest_direction_has_the_resolution_asked_for() -> None:
    """Whatever rounding makes of its length."""
    for length in np.random.default_rng(1).uniform(1.0, 20.0, 1000):
        assert grid_for(np.zeros(2), np.array([length, 0.3 * length]), 1.0, 400).shape == (400, 121)
