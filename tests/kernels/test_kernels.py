"""Kernels as functions of distance, and their symbols, against quadrature; draws; polynomials for meshes."""

import math

import numpy as np
import pytest
from scipy.special import j0

import kspde
from kspde.errors import InputError
from kspde.kernels import Kernel
from kspde.particles.fields.short_range import ScreenedKernel
from kspde.radial import RadialTable, profile, quadrature
from kspde.runtime.random import Philox

pytestmark = pytest.mark.one_rank

WAVES = {1: np.cos, 2: j0, 3: lambda z: np.sinc(z / np.pi)}
SURFACE = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}
BUMPS = [kspde.CompactBump(eps=0.7), kspde.CompactBump(eps=0.7, power=3), kspde.SmoothBump(eps=0.7)]
OTHERS = [
    kspde.Yukawa(strength=-1.5, screening=1.3),
    kspde.Identity(strength=-2.0) * kspde.GaussianMollifier(eps=0.4),
    kspde.MaternMollifier(eps=0.4),
    kspde.MaternMollifier(eps=0.4, order=3),
]


def rule(dimension, end):
    """Points on (0, end) that crowd at both ends, and weights that include the surface of the spheres."""
    edges = end * np.concatenate((np.geomspace(1e-12, 0.1, 60), np.linspace(0.1, 1, 120)[1:]))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    r = (edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (nodes + 1)).ravel()
    return r, (0.5 * np.diff(edges)[:, None] * weights).ravel() * SURFACE[dimension] * r ** (dimension - 1)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("kernel", BUMPS + OTHERS, ids=repr)
def test_the_symbol_is_the_transform_of_the_profile(kernel, dimension):
    r, w = rule(dimension, 0.7 if kernel in BUMPS else 30.0)
    values = w * kernel.profile(r, dimension)
    for k in (0.0, 0.6, 3.0, 17.0):
        symbol = kernel.in_dimension(dimension).symbol(np.array([k**2]))[0]
        assert abs(symbol - values @ WAVES[dimension](k * r)) < 1e-9


def test_two_bumps_on_the_line():
    kernel = kspde.TwoBumps(eps=0.7, centre=0.6).in_dimension(1)
    z, w = np.polynomial.legendre.leggauss(200)
    w = w * np.exp(-1 / (1 - z**2))
    r = 0.7 * (0.6 + 0.4 * z)  # of the right bump
    k = np.array([0.0, 2.0, 7.0, 40.0])
    exact = np.cos(np.outer(k, r)) @ w / w.sum()
    np.testing.assert_allclose(kernel.symbol(k**2), exact, rtol=0, atol=1e-9)
    np.testing.assert_allclose(kernel.profile(r, 1), np.exp(-1 / (1 - z**2)) / (0.56 * w.sum()), rtol=0, atol=1e-9)
    h = 1e-6
    slopes = (kernel.profile(r + h, 1) - kernel.profile(r - h, 1)) / (2 * h)
    np.testing.assert_allclose(kernel.slope(r, 1), slopes, rtol=0, atol=1e-6)
    drawn = kernel.draw(Philox(5, (2,)), np.arange(40_000, dtype=np.uint64), 1)[:, 0]
    assert np.abs(np.cos(np.outer(k, drawn)).mean(axis=1) - exact).max() < 4 / 200
    assert abs(drawn.mean()) < 4 * 0.45 / 200


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("kernel", [*BUMPS[:2], *OTHERS[1:]], ids=repr)
def test_quadrature_of_the_symbol_is_the_profile(kernel, dimension):
    r = np.array([[0.9, 0.1], [0.3, 0.1], [0.7, 0.69]])
    exact = kernel.profile(r, dimension)
    found = Kernel.profile(kernel, r, dimension)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-9 * abs(kernel.profile(np.zeros(1), dimension)[0]))


@pytest.mark.parametrize("kernel", [*BUMPS, kspde.Identity(strength=-2.0) * BUMPS[1]], ids=repr)
def test_bumps_end_with_closed_forms(kernel):
    r, h = np.linspace(0.01, 0.68, 40), 1e-6
    for dimension in (1, 2, 3):
        slope = (kernel.profile(r + h, dimension) - kernel.profile(r - h, dimension)) / (2 * h)
        steepest = np.abs(slope).max()
        np.testing.assert_allclose(kernel.slope(r, dimension), slope, rtol=0, atol=1e-7 * steepest)
        assert np.all(kernel.slope(np.array([0.7, 0.9]), dimension) == 0)
        assert kernel.support == 0.7
        assert (kernel * kspde.Yukawa()).support == np.inf
        table = RadialTable(kernel.in_dimension(dimension), dimension, 3.0, tol=1e-8, slope=True)
        assert np.all(table.coefficients[-1] == 0)
        assert table.step * (len(table.coefficients) - 1) == pytest.approx(0.7**0.5)


@pytest.mark.parametrize("kernel", BUMPS, ids=repr)
def test_bumps_change_sign_and_have_mass_one(kernel):
    for dimension in (1, 2, 3):
        bound = kernel.in_dimension(dimension)
        assert abs(bound.symbol(np.zeros(1))[0] - 1) < 1e-14
        assert bound.symbol(np.linspace(0, 60, 400) ** 2).min() < -1e-3
        assert np.all(kernel.profile(np.array([0.7, 0.8]), dimension) == 0)
        # ∫|x|²V = −Δ of the transform at 0 = −2d dg/dλ
        r, w = rule(dimension, 0.7)
        slope = (bound.symbol(np.array([1e-4]))[0] - 1) / 1e-4
        assert abs(w * r**2 @ kernel.profile(r, dimension) + 2 * dimension * slope) < 1e-5


def test_the_variance_of_the_compact_bump():
    for dimension in (1, 2, 3):
        r, w = rule(dimension, 0.7)
        for power in (3, 4):
            second = w * r**2 @ kspde.CompactBump(eps=0.7, power=power).profile(r, dimension)
            assert abs(second / dimension - 0.49 / (dimension + 2 * power + 2)) < 1e-12


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("kernel", BUMPS, ids=repr)
def test_draws_have_the_symbol_as_characteristic_function(kernel, dimension):
    x = kernel.draw(Philox(5, (2,)), np.arange(100_000, dtype=np.uint64), dimension)
    assert np.linalg.norm(x, axis=1).max() <= 0.7
    for k in (2.0, 7.0):
        symbol = kernel.in_dimension(dimension).symbol(np.array([k**2]))[0]
        assert abs(np.cos(k * x).mean(axis=0) - symbol).max() < 0.008  # 3.6 deviations of at most 1/√2


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("kernel", BUMPS, ids=repr)
def test_polynomials_for_meshes_are_within_their_error(kernel, dimension):
    bound = kernel.in_dimension(dimension)
    (part,) = bound.resolvents
    lam = np.geomspace(1e-3, 1e7, 4000)
    assert part.error == 1e-6
    assert abs(part(np.zeros(1))[0] - 1) < 1e-12
    assert np.abs(part(lam) - bound.symbol(lam)).max() < 1.05e-6


def test_the_identity_is_the_unit_of_convolution():
    bump = kspde.CompactBump(eps=0.5)
    assert kspde.Identity() * bump is bump
    assert bump * kspde.Identity() is bump
    product = (bump * kspde.Identity(strength=-2.0)).in_dimension(2)
    lam, r = np.linspace(0, 500, 30), np.linspace(0, 0.6, 7)
    np.testing.assert_array_equal(product.symbol(lam), -2 * bump.in_dimension(2).symbol(lam))
    np.testing.assert_array_equal(product.profile(r, 2), -2 * bump.profile(r, 2))
    assert not product.local
    (one,), (twice,) = bump.in_dimension(2).resolvents, product.resolvents
    np.testing.assert_allclose(twice(lam), -2 * one(lam))


def test_what_is_refused():
    with pytest.raises(InputError, match=r"eps = 0.0 is not valid"):
        kspde.SmoothBump(eps=0.0)
    with pytest.raises(InputError, match=r"power = 2 is not valid"):
        kspde.CompactBump(eps=1.0, power=2)
    with pytest.raises(InputError, match=r"dimension of bump = 4 is not valid"):
        kspde.SmoothBump(eps=1.0).in_dimension(4)
    with pytest.raises(InputError, match=r"take .in_dimension\(d\) first"):
        kspde.CompactBump(eps=1.0).symbol(np.ones(1))
    with pytest.raises(InputError, match="cannot relax"):
        kspde.Field(name="c", kernel=kspde.Identity(), tau=1.0)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(("screening", "eps"), [(1.0, 0.3), (2.5, 0.05), (0.01, 0.3)])
def test_a_blurred_yukawa_potential_and_its_rest_are_those_of_the_quadrature(dimension, screening, eps):
    kernel = kspde.Yukawa(strength=-8.0, screening=screening) * kspde.GaussianMollifier(eps=eps)
    rest = ScreenedKernel(kernel=kernel, scale=4 * eps, rest=True)
    r = np.concatenate(([0.0], np.geomspace(1e-4, 20.0, 60)))
    for each in (kernel, rest):
        assert kernel.closed
        for slope in (False, True):
            exact = quadrature(each, dimension, r, tol=1e-11, slope=slope)
            found = profile(each, dimension, r, tol=1e-11, slope=slope)
            assert np.abs(found - exact).max() < 1e-8 * np.abs(exact).max()


def test_tables_of_narrow_kernels_take_no_quadrature():
    kernel = kspde.Yukawa(strength=8.0) * kspde.GaussianMollifier(eps=2e-5)
    table = RadialTable(kernel, 2, 20.0, tol=1e-7)  # minutes by quadrature
    root = np.sqrt(np.geomspace(1e-9, 19.0, 200))
    cell = (root / table.step).astype(int)
    found = np.sum(table.coefficients[cell] * (root - cell * table.step)[:, None] ** np.arange(6), axis=1)
    far = root**2 > 2e-4
    exact = kspde.Yukawa(strength=8.0).profile(root[far] ** 2, 2)  # ten widths away, up to (eps/r)^2 e^(-r^2/2eps^2)
    assert np.abs(found[far] - exact).max() < 1e-6 * found.max()
    assert abs(found[0] - kernel.profile(root[:1] ** 2, 2)[0]) < 1e-6 * found.max()
