"""Qi's Lemma 4.2 and the linear theory of a constant density, against an independent Fourier solution."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kspde import InputError, TwoBumps, theory


def two_bumps(k: np.ndarray) -> np.ndarray:
    """K̂ of two bumps at ±.9."""
    return TwoBumps(eps=1.0).in_dimension(1).symbol(np.square(k))


class Nonlocal:
    """∂_t u = ½∂_xx(ν²u), ν = (K_ε * u + b)/a, periodic on [−4, 4], by Fourier modes and Runge and Kutta's steps."""

    def __init__(self, modes: int, symbol, *, a: float, b: float, eps: float) -> None:
        self.a, self.b = a, b
        self.x = -4.0 + 8.0 / modes * np.arange(modes)
        self.k = 2 * np.pi * np.fft.rfftfreq(modes, 8.0 / modes)
        self.symbol = symbol(eps * self.k)

    def rate(self, u: np.ndarray) -> np.ndarray:
        volatility = (np.fft.irfft(self.symbol * np.fft.rfft(u), len(u)) + self.b) / self.a
        return np.fft.irfft(-0.5 * self.k**2 * np.fft.rfft(volatility**2 * u), len(u))

    def step(self, u: np.ndarray, dt: float) -> np.ndarray:
        one = self.rate(u)
        two = self.rate(u + dt / 2 * one)
        three = self.rate(u + dt / 2 * two)
        return u + dt / 6 * (one + 2 * two + 2 * three + self.rate(u + dt * three))


def bumps(k: np.ndarray) -> np.ndarray:
    """K̂ of the two bumps by Gauss and Legendre's rule, not by the function under test."""
    z, w = np.polynomial.legendre.leggauss(200)
    w = w * np.exp(-1 / (1 - z**2))
    return np.cos(np.outer(k, 0.9 + 0.1 * z)) @ w / w.sum()


def test_the_bound_of_lemma_4_2_fails_for_two_bumps() -> None:
    """a = b = 4, ε = .5, M = 1, b = 4M: sup u = 1.06638 at t = .0084."""
    system = Nonlocal(512, two_bumps, a=4.0, b=4.0, eps=0.5)
    u = 1 - 0.9 * (np.exp(-(((system.x - 0.45) / 0.15) ** 4)) + np.exp(-(((system.x + 0.45) / 0.15) ** 4)))
    assert 0.099 < u.min() < u.max() <= 1
    assert theory.LinearDriver(a=4.0, b=4.0).max_density > 1  # stable in the sense of the corrected condition, too
    dt, mass, peaks = 4e-5, u.sum(), []
    for _ in range(300):
        u = system.step(u, dt)
        peaks.append(u.max())
    assert max(peaks) == pytest.approx(1.06638, abs=5e-6)
    assert dt * (1 + int(np.argmax(peaks))) == pytest.approx(0.0084, abs=5e-5)
    assert u.sum() == pytest.approx(mass, rel=1e-12)


def test_a_gaussian_kernel_keeps_the_bound_there() -> None:
    system = Nonlocal(256, lambda k: np.exp(-(k**2) / 8), a=4.0, b=4.0, eps=0.5)
    u = 1 - 0.9 * (np.exp(-(((system.x - 0.45) / 0.15) ** 4)) + np.exp(-(((system.x + 0.45) / 0.15) ** 4)))
    for _ in range(120):
        u = system.step(u, 1e-4)
        assert u.max() < 1 + 1e-6


def test_the_symbol_of_two_bumps() -> None:
    k = np.linspace(0, 300, 301)
    assert two_bumps(k) == pytest.approx(bumps(k), abs=2e-6)
    assert two_bumps(np.zeros(1)) == pytest.approx(1.0, rel=1e-12)
    near = two_bumps(np.linspace(3.3, 3.7, 4001))
    assert near.min() == pytest.approx(-0.9904, abs=1e-4)
    with pytest.raises(InputError, match=r"centre = 0\.4"):
        TwoBumps(eps=1.0, centre=0.4)
    with pytest.raises(InputError, match="kernel on the line: the dimension is 2"):
        TwoBumps(eps=1.0).in_dimension(2)


@pytest.mark.parametrize("density", [0.9, 1.5])
def test_growth_of_a_wave_on_a_constant(density: float) -> None:
    """a = 2, b = 1, ε = .3, mode 15 of [−4, 4]: εk = 3.53, near π/.9, where K̂ is least."""
    driver, eps = theory.LinearDriver(a=2.0, b=1.0), 0.3
    system = Nonlocal(64, bumps, a=2.0, b=1.0, eps=eps)
    mode = 15
    k = system.k[mode]
    rate = float(driver.growth_rate(density, k, system.symbol[mode]))
    by_hand = -(k**2) / 8 * ((density + 1) ** 2 + 2 * density * (density + 1) * bumps(np.array([eps * k]))[0])
    assert rate == pytest.approx(by_hand, rel=1e-12)
    u = density + 1e-7 * np.cos(k * system.x)
    before = abs(np.fft.rfft(u)[mode])
    for _ in range(50):
        u = system.step(u, 1e-4)
    assert math.log(abs(np.fft.rfft(u)[mode]) / before) / 5e-3 == pytest.approx(rate, rel=1e-4)
    assert (rate > 0) == (density > driver.unstable_from(system.symbol[mode]))


@pytest.mark.parametrize("density", [0.9, 1.5])
def test_the_linear_theory_is_the_spectrum_of_the_linearised_equation(density: float) -> None:
    """All eigenvalues of the derivative of (9) at a constant on a torus, by differences of its Fourier solution."""
    system, size = Nonlocal(64, bumps, a=2.0, b=1.0, eps=0.3), 1e-6
    unit = size * np.eye(64)
    jacobian = np.stack([(system.rate(density + e) - system.rate(density - e)) / (2 * size) for e in unit], axis=1)
    rates = theory.LinearDriver(a=2.0, b=1.0).growth_rate(density, system.k, two_bumps(0.3 * system.k))
    expected = np.sort(np.concatenate((rates, rates[1:-1])))  # cosines and sines
    found = np.linalg.eigvals(jacobian)
    assert np.abs(found.imag).max() < 1e-5
    np.testing.assert_allclose(np.sort(found.real), expected, rtol=1e-5, atol=1e-5)
    assert (found.real.max() > 0.01) == (density > 1.03)


def test_from_which_density_a_constant_is_unstable() -> None:
    driver = theory.LinearDriver(a=3.0, b=2.0)
    least = two_bumps(np.linspace(3.3, 3.7, 4001)).min()
    assert driver.unstable_from(least) / 2.0 == pytest.approx(1.0195, abs=1e-4)
    k = np.linspace(0, 20, 2001)
    symbol = two_bumps(k)
    for factor, unstable in ((0.99, False), (1.01, True)):
        density = factor * driver.unstable_from(least)
        assert (driver.growth_rate(density, k, symbol).max() > 0) == unstable
        assert (2 * density / (density + 2) * -least > 1) == unstable
    # Never for a positive-definite kernel, nor for the local equation.
    assert driver.unstable_from(0.0) == driver.unstable_from(-0.5) == math.inf
    assert np.all(driver.growth_rate(1e6, k, np.exp(-(k**2))) <= 0)
    # In ε the rate scales as ε^−2.
    one, half = (driver.growth_rate(5.0, k / e, symbol).max() for e in (1.0, 0.5))
    assert half == pytest.approx(4 * one, rel=1e-12)
    with pytest.raises(InputError, match=r"least_symbol = -1\.5"):
        driver.unstable_from(-1.5)
    with pytest.raises(InputError, match="density = -1"):
        driver.growth_rate(-1.0, k, symbol)
