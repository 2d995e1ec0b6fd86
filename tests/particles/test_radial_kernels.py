"""Kernels as functions of distance, and the splines of the mesh."""

from __future__ import annotations

import numpy as np
import pytest
from reference_kernels import kernel_and_slope
from scipy.interpolate import BSpline

import kspde
from kspde.kernels import resolve_mollifier
from kspde.particles.fields.accuracy import band, image_distance, spacing
from kspde.particles.fields.convolution import DenseConvolution, FastConvolution, corner_convolution
from kspde.particles.fields.splines import deposit, gather, gather_part
from kspde.radial import RadialTable, moment, profile

pytestmark = pytest.mark.one_rank


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("mollifier", ["gaussian", "matern"])
@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_profile_and_table_agree_with_closed_forms(d, mollifier, eps):
    kernel = kspde.Yukawa(strength=8.0) * resolve_mollifier(eps, mollifier)
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
    kernel = kspde.Yukawa(strength=8.0) * resolve_mollifier(0.5, mollifier)
    assert moment(kernel, d) == pytest.approx(kernel_and_slope(d, mollifier, 0.5, np.zeros(1))[0][0], rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3])
def test_splines_are_the_quintic_b_spline_in_every_direction(d, monkeypatch):
    monkeypatch.setattr("kspde.particles.fields.splines._PARTICLES", 15)  # 20 particles on both grids
    spline = BSpline.basis_element(np.arange(-3.0, 4.0), extrapolate=False)
    random = np.random.default_rng(d)
    shape, lower, h = (14, 15, 16)[:d], np.array([-0.3, 0.1, 2.0])[:d], 0.25
    nodes = [low + h * np.arange(m) for low, m in zip(lower, shape, strict=True)]
    x = lower + h * (4 + 5 * random.random((20, d)))
    x[0] = lower + 5 * h  # on a node

    def along(axis, what):
        return np.nan_to_num(what((x[:, axis, None] - nodes[axis]) / h))

    def product(*factors):
        out = factors[0]
        for factor in factors[1:]:
            out = out[..., None] * factor.reshape(len(x), *(1,) * (out.ndim - 1), -1)
        return out

    weights = product(*(along(axis, spline) for axis in range(d)))
    grids = np.full((2, *shape), np.nan)
    np.testing.assert_allclose(deposit(grids, x, lower, h, 0.5), 0.5 * weights.sum(axis=0), rtol=0, atol=1e-14)
    own = random.normal(size=len(x))
    expected = (own.reshape(-1, *(1,) * d) * weights).sum(axis=0)
    np.testing.assert_allclose(deposit(grids, x, lower, h, own), expected, rtol=0, atol=1e-14)
    c = random.normal(size=shape)
    axes = tuple(range(1, d + 1))
    values, same, gradient = np.empty(20), np.empty(20), np.empty((20, d))
    gather(values, None, c, x, lower, h)
    gather_part(same, gradient, c, x, lower, h)
    np.testing.assert_allclose(values, (weights * c).sum(axis=axes), rtol=0, atol=1e-14)
    np.testing.assert_allclose(same, values, rtol=0, atol=1e-15)
    for axis in range(d):
        slopes = product(
            *(along(b, spline.derivative() if a == b else spline) for a, b in ((axis, b) for b in range(d)))
        )
        np.testing.assert_allclose(gradient[:, axis], (slopes * c).sum(axis=axes) / h, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "corner"), [((12,), (5,)), ((12, 9), (5, 4)), ((12, 10), (12, 10)), ((6, 9, 10), (2, 5, 4))]
)
@pytest.mark.parametrize("batch", [64e6, 300.0])
@pytest.mark.parametrize("columns", [None, 3])
def test_fast_convolution_in_a_corner_is_the_periodic_one(shape, corner, batch, columns, monkeypatch):
    monkeypatch.setattr("kspde.particles.fields.convolution._BATCH", batch)
    random = np.random.default_rng(0)
    convolve = FastConvolution(shape, corner, columns or shape[-1] // 2 + 1, threads=2)
    kernels = {name: np.fft.rfftn(random.normal(size=shape)) for name in "ab"}
    held = convolve.modes[-1]
    factors = {name: kernel.real[..., :held].copy() for name, kernel in kernels.items()}
    sources = random.normal(size=corner)
    whole = np.zeros(shape)
    whole[tuple(slice(m) for m in corner)] = sources
    got = convolve(sources, factors)
    for name, factor in factors.items():
        modes = np.fft.rfftn(whole)
        modes[..., held:] = 0.0
        modes[..., :held] *= factor
        expected = np.fft.irfftn(modes, s=shape, axes=range(len(shape)))
        kept = tuple(slice(m) for m in corner[:-1])
        np.testing.assert_allclose(got[name], expected[kept], rtol=0, atol=1e-13)
    assert FastConvolution.bytes_needed(shape, corner, 2, held) > sum(f.nbytes for f in factors.values())


@pytest.mark.parametrize(
    ("shape", "corner", "columns"),
    [((20,), (5,), (11,)), ((21,), (12,), (7,)), ((40, 31), (13, 8), (9, 16)), ((12, 10, 14), (7, 6, 5), (7, 4, 8))],
)
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_dense_convolution_in_a_corner_is_the_periodic_one(shape, corner, columns, threads, monkeypatch):
    """With kernels that are even in every direction, up to the highest mode of an even number of points."""
    random = np.random.default_rng(0)
    if threads:
        monkeypatch.setattr("kspde.particles.fields.convolution._OPERATIONS", 0.0)
        monkeypatch.setattr("numba.get_num_threads", lambda: threads)
    convolve = DenseConvolution(shape, corner, columns)
    corner = convolve.corner
    assert convolve.modes == columns
    kernels = {name: random.normal(size=columns) for name in "ab"}
    sources = random.normal(size=corner)
    got = convolve(sources, kernels)
    # Points of a corner that is larger than the grid are the grid's points again.
    places = np.ix_(*(np.arange(inner) % m for inner, m in zip(corner, shape, strict=True)))
    whole = np.zeros(shape)
    np.add.at(whole, places, sources)
    for name, kernel in kernels.items():
        half = np.zeros(tuple(m // 2 + 1 for m in shape))
        half[tuple(slice(count) for count in columns)] = kernel
        factor = half[np.ix_(*(np.minimum(np.arange(m), m - np.arange(m)) for m in shape))]
        expected = np.fft.ifftn(factor * np.fft.fftn(whole)).real
        np.testing.assert_allclose(got[name], expected[places], rtol=0, atol=1e-13)


def test_the_faster_convolution_is_taken():
    small = corner_convolution((250, 250), (104, 96), (72, 72), threads=2)
    large = corner_convolution((2048, 2048), (900, 900), (616, 616), threads=2)
    assert isinstance(small, DenseConvolution)
    assert isinstance(large, FastConvolution)


def test_spacing_scales_with_eps_and_falls_with_the_tolerance():
    def kernel(eps):
        return kspde.Yukawa(screening=0.01) * kspde.GaussianMollifier(eps=eps)

    one = [spacing(kernel(0.1), 2, gradient=True, tol=tol) for tol in (1e-2, 1e-4, 1e-6)]
    ten = [spacing(kernel(1.0), 2, gradient=True, tol=tol) for tol in (1e-2, 1e-4, 1e-6)]
    assert one[0] > one[1] > one[2]
    np.testing.assert_allclose(np.array(ten) / np.array(one), 10, rtol=0.15)
    assert spacing(kernel(0.1), 2, gradient=False, tol=1e-6) > one[2]


@pytest.mark.parametrize("share", [1e-3, 1e-6, 1e-9])
def test_band_holds_all_but_a_share_of_the_kernel(share):
    # ∫ exp(−ε²k²/2) k dk beyond k is exp(−ε²k²/2) of the whole.
    kernel = kspde.GaussianMollifier(eps=0.2)
    expected = np.sqrt(-2 * np.log(share)) / 0.2
    assert band(kernel, 2, gradient=False, share=share) == pytest.approx(expected, rel=0.02)
    assert band(kernel, 2, gradient=True, share=share) > expected


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
