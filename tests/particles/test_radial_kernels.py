"""Kernels as functions of distance, and the splines of the mesh."""

from __future__ import annotations

import numpy as np
import pytest
from reference_kernels import kernel_and_slope
from scipy.interpolate import BSpline

import kspde
from kspde.kernels import mollifier_kernel
from kspde.particles.accuracy import image_distance, spacing
from kspde.particles.splines import _slopes, _weights
from kspde.radial import RadialTable, moment, profile


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("mollifier", ["gaussian", "matern"])
@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_profile_and_table_agree_with_closed_forms(d, mollifier, eps):
    kernel = kspde.Yukawa(strength=8.0) * mollifier_kernel(eps, mollifier)
    r = np.sort(np.random.default_rng(0).random(60) * 12.0) + 1e-3
    for slope in (False, True):
        exact = kernel_and_slope(d, mollifier, eps, r)[slope]
        largest = np.abs(kernel_and_slope(d, mollifier, eps, np.linspace(1e-3, 3.0, 500))[slope]).max()
        tol = 1e-6 if slope and mollifier == "matern" else 1e-9
        assert np.abs(profile(kernel, d, r, tol=tol, slope=slope) - exact).max() <= 10 * tol * largest
        table = RadialTable(kernel, d, 13.0, tol=tol, slope=slope)
        cell = (np.sqrt(r) / table.step).astype(int)
        t = np.sqrt(r) - cell * table.step
        got = sum(table.coefficients[cell, power] * t**power for power in range(6))
        assert np.abs(got - exact).max() <= 10 * tol * largest


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("mollifier", ["gaussian", "matern"])
def test_value_at_the_origin(d, mollifier):
    kernel = kspde.Yukawa(strength=8.0) * mollifier_kernel(0.5, mollifier)
    assert moment(kernel, d) == pytest.approx(kernel_and_slope(d, mollifier, 0.5, np.zeros(1))[0][0], rel=1e-7)


def test_spline_weights_are_the_quintic_b_spline():
    spline = BSpline.basis_element(np.arange(-3.0, 4.0), extrapolate=False)
    for t in np.append(np.random.default_rng(0).random(20), 0.0):
        nodes = np.arange(-2, 4)
        np.testing.assert_allclose(_weights(t), np.nan_to_num(spline(t - nodes)), atol=1e-15)
        np.testing.assert_allclose(_slopes(t), np.nan_to_num(spline.derivative()(t - nodes)), atol=1e-14)
        assert sum(_weights(t)) == pytest.approx(1.0, abs=1e-15)


def test_spacing_scales_with_eps_and_falls_with_the_tolerance():
    def kernel(eps):
        return kspde.Yukawa(screening=0.01) * kspde.GaussianMollifier(eps=eps)

    one = [spacing(kernel(0.1), 2, gradient=True, tol=tol) for tol in (1e-2, 1e-4, 1e-6)]
    ten = [spacing(kernel(1.0), 2, gradient=True, tol=tol) for tol in (1e-2, 1e-4, 1e-6)]
    assert one[0] > one[1] > one[2]
    np.testing.assert_allclose(np.array(ten) / np.array(one), 10, rtol=0.15)
    assert spacing(kernel(0.1), 2, gradient=False, tol=1e-6) > one[2]


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9])
def test_images_are_as_far_as_the_screening_asks(tol):
    # The marginal of a Yukawa kernel is exp(−μ|x|)/(2μ) whatever the dimension: 2d exp(−μR) = tol/2.
    kernel = kspde.Yukawa(screening=2.0) * kspde.GaussianMollifier(eps=0.01)
    for d in (1, 2, 3):
        assert image_distance(kernel, d, tol) == pytest.approx(np.log(4 * d / tol) / 2.0, rel=0.05)


def test_a_kernel_that_does_not_decay_is_refused():
    class Flat(kspde.GaussianMollifier):
        decay_rate = 0.0

    with pytest.raises(kspde.InputError, match="does not decay exponentially"):
        image_distance(Flat(eps=1.0), 2, 1e-6)
