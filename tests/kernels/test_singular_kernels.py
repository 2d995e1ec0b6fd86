"""Kernels of the whole space: logarithmic, Riesz and weakly screened potentials against quadrature."""

import numpy as np
import pytest
from scipy.special import j0

import kspde

pytestmark = pytest.mark.one_rank

WAVES = {1: np.cos, 2: j0, 3: lambda z: np.sinc(z / np.pi)}
SURFACE = {1: 2.0, 2: 2 * np.pi, 3: 4 * np.pi}
SINGULAR = [
    kspde.LogPotential(strength=-1.5),
    kspde.Yukawa(strength=2.0, screening=0.0),
    kspde.Yukawa(screening=0.3),
    kspde.Yukawa(screening=1e-5),
    kspde.Riesz(s=0.6, strength=-2.0),
    kspde.Logarithm(strength=1.5),
]
CONVOLVED = [
    (kspde.LogPotential(strength=2.0), kspde.GaussianMollifier(eps=0.4)),
    (kspde.Yukawa(strength=2.0, screening=0.0), kspde.MaternMollifier(eps=0.4, order=3)),
    (kspde.Riesz(s=0.6), kspde.CompactBump(eps=0.7)),
    (kspde.Logarithm(), kspde.GaussianMollifier(eps=0.4)),
    (kspde.Logarithm(), kspde.CompactBump(eps=0.7)),
    (kspde.Riesz(s=0.6), kspde.GaussianMollifier(eps=0.4)),
]


def rule(end):
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = end * np.append(0.0, np.concatenate((2.0 ** np.arange(-110.0, -2), np.linspace(0.25, 1, 20))))
    r = (edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (nodes + 1)).ravel()
    return r, (0.5 * np.diff(edges)[:, None] * weights).ravel()


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", SINGULAR, ids=repr)
def test_the_truncated_symbol(kernel, d):
    radius = 3.0
    r, w = rule(radius)
    values = w * SURFACE[d] * r ** (d - 1) * kernel.profile(r, d)
    k = np.array([0.0, 1e-6, 1e-3, 0.1, 0.3, 0.34, 1.0, 1.4, 7.0, 30.0])
    exact = WAVES[d](np.multiply.outer(k, r)) @ values
    found = kernel.truncated_symbol(k**2, radius, d)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * np.abs(exact).max())
    mollified = (kernel * kspde.GaussianMollifier(eps=0.2)).truncated_symbol(k**2, radius, d)
    np.testing.assert_allclose(mollified, exact * np.exp(-0.02 * k**2), rtol=0, atol=1e-12 * np.abs(exact).max())


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", SINGULAR, ids=repr)
def test_slopes(kernel, d):
    r, h = np.array([0.2, 1.0, 4.0]), 1e-3
    values = [kernel.profile(r + k * h, d) for k in (-2, -1, 1, 2)]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    np.testing.assert_allclose(kernel.slope(r, d), slope, rtol=1e-7 if kernel.decay_rate != 1e-5 else 1e-5)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("mollifier", [None, kspde.GaussianMollifier(eps=0.4)])
def test_weak_screening_tends_to_none(mollifier, d):
    """The slope, and the kernel less its value at a point: by μ² but for a logarithm, on a line by μ."""
    r = np.array([0.1, 0.5, 2.0, 6.0])
    small = (0.0, 1e-3, 1e-5)
    kernels = [kspde.Yukawa(screening=mu) * mollifier if mollifier else kspde.Yukawa(screening=mu) for mu in small]
    for kernel, mu in zip(kernels[1:], small[1:], strict=True):
        error = 1e-9 + 20 * (mu**2 * np.log(1 / mu) if d == 2 else mu)
        np.testing.assert_allclose(kernel.slope(r, d), kernels[0].slope(r, d), rtol=0, atol=error)
        values = [each.profile(r, d) - each.profile(np.ones(1), d) for each in (kernel, kernels[0])]
        np.testing.assert_allclose(*values, rtol=0, atol=error)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "mollifier"), CONVOLVED, ids=repr)
def test_mollified(kernel, mollifier, d):
    """K * j by a quadrature in spheres about the point; its derivative by a difference."""
    whole, h = kernel * mollifier, 1e-4
    near, w = rule(0.7)
    far, v = rule(8.0)
    rho, w = np.concatenate((near, 0.7 + far)), np.concatenate((w, v))
    for x in (0.0, 0.3, 1.1):
        if d == 1:
            mean = 0.5 * (mollifier.profile(np.abs(x - rho), 1) + mollifier.profile(x + rho, 1))
        else:
            nodes, weights = np.polynomial.legendre.leggauss(120)
            cosines = nodes if d == 3 else np.cos(0.5 * np.pi * (nodes + 1))
            squares = x**2 + rho[:, None] ** 2 - 2 * x * np.multiply.outer(rho, cosines)
            mean = mollifier.profile(np.sqrt(np.maximum(squares, 0.0)), d) @ weights / 2
        exact = (w * SURFACE[d] * rho ** (d - 1) * kernel.profile(rho, d)) @ mean
        found = whole.profile(np.array([x, x + h, abs(x - h)]), d)
        assert abs(found[0] - exact) < 1e-7
        assert abs(whole.slope(np.array([x]), d)[0] - (found[1] - found[2]) / (2 * h)) < 1e-6


@pytest.mark.parametrize("d", [1, 2, 3])
def test_potentials_that_grow_have_no_value(d):
    class Attracted(kspde.Model):
        dimension = d
        value = True
        kernel = kspde.LogPotential()

        @property
        def fields(self):
            return (kspde.Field(name="c", kernel=self.kernel, gradient=True, value=self.value),)

        def diffusion(self, species, c):
            return 1.0

    model = Attracted()
    for model.kernel in (kspde.LogPotential(), kspde.Yukawa(screening=0.0) * kspde.GaussianMollifier(eps=0.1)):
        if d < 3:
            with pytest.raises(kspde.InputError, match=r"grows at infinity in dimension ., so that c itself"):
                model.regularised_fields()
        else:
            model.regularised_fields()
    for model.kernel in (kspde.Riesz(s=0.1), kspde.Riesz(s=0.9), kspde.Yukawa(screening=1e-8)):
        model.regularised_fields()
    model.value = False
    for model.kernel in (kspde.LogPotential(), kspde.Riesz(s=1e-308)):
        assert model.regularised_fields()[0].kernel.decay_rate == 0.0
    model.kernel = kspde.Riesz(s=float(d))
    with pytest.raises(kspde.InputError, match=f"not below the dimension {d}"):
        model.regularised_fields()
