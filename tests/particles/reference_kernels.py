"""Yukawa × Gaussian and Yukawa × Matérn (order 2) as functions of distance: closed forms, and a quadrature in 2D.

With symbol χ/(k² + μ²) ĵ(k). In 1D the Gaussian case is the convolution of exp(−μ|x|) with a Gaussian; the Matérn case
follows by partial fractions, with a = 2/ε; 3D follows from 1D by K₃ = −K₁'/(2πr).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special
from scipy.interpolate import make_interp_spline


def kernel_and_slope(dimension, mollifier, eps, r, *, chi=8.0, mu=1.0):
    """Return K(r) and K'(r), shapes like r ≥ 0."""
    r = np.maximum(np.asarray(r, dtype=float), 1e-9 if dimension != 3 else 1e-4)
    if dimension == 2:
        return _plane(mollifier, eps, r, chi, mu)
    value, first, second = _line(mollifier, eps, r, chi, mu)
    if dimension == 1:
        return value, first
    return -first / (2 * np.pi * r), -second / (2 * np.pi * r) + first / (2 * np.pi * r**2)


def _line(mollifier, eps, r, chi, mu):
    if mollifier == "gaussian":
        factor = chi / (4 * mu)
        inner = factor * np.exp(mu**2 * eps**2 / 2 - mu * r) * special.erfc((mu * eps**2 - r) / (eps * np.sqrt(2)))
        outer = factor * np.exp(-(r**2) / (2 * eps**2)) * special.erfcx((mu * eps**2 + r) / (eps * np.sqrt(2)))
        density = np.exp(-(r**2) / (2 * eps**2)) / (eps * np.sqrt(2 * np.pi))
        value, first = inner + outer, mu * (outer - inner)
    else:
        a, first_part, second_part = _partial_fractions(eps, chi, mu)
        value = first_part * (np.exp(-mu * r) / (2 * mu) - np.exp(-a * r) / (2 * a))
        value += second_part * (1 + a * r) * np.exp(-a * r) / (4 * a**3)
        first = first_part * (np.exp(-a * r) - np.exp(-mu * r)) / 2 - second_part * r * np.exp(-a * r) / (4 * a)
        density = a / 4 * (1 + a * r) * np.exp(-a * r)
    return value, first, mu**2 * value - chi * density


def _plane(mollifier, eps, r, chi, mu):
    if mollifier == "matern":
        a, first, second = _partial_fractions(eps, chi, mu)
        value = first * (special.k0(mu * r) - special.k0(a * r)) / (2 * np.pi)
        value += second * r * special.k1(a * r) / (4 * np.pi * a)
        slope = first * (a * special.k1(a * r) - mu * special.k1(mu * r)) / (2 * np.pi)
        slope -= second * r * special.k0(a * r) / (4 * np.pi)
        return value, slope
    value, slope = _quadrature(eps, chi, mu, 16 * int(np.ceil(r.max() / 16)))
    return value(r), slope(r)


@lru_cache
def _quadrature(eps, chi, mu, reach):
    """Splines of degree 7 through (1/2π)∫ g(k²) J₀(kr) k dk and its derivative, on [0, reach]."""
    nodes, weights = np.polynomial.legendre.leggauss(200 + int(4 * reach / eps))
    k = 4.6 / eps * (nodes + 1)
    w = 4.6 / eps * weights * k * chi / (k**2 + mu**2) * np.exp(-0.5 * (eps * k) ** 2) / (2 * np.pi)
    r = np.linspace(0.0, reach, 1 + int(reach * 12 / eps))
    value, slope = np.empty_like(r), np.empty_like(r)
    for part in np.array_split(np.arange(len(r)), 1 + len(r) // 500):
        z = np.multiply.outer(r[part], k)
        value[part], slope[part] = special.j0(z) @ w, special.j1(z) @ (-k * w)
    return make_interp_spline(r, value, k=7), make_interp_spline(r, slope, k=7)


def _partial_fractions(eps, chi, mu):
    """χ/(k²+μ²)·a⁴/(k²+a²)² = A/(k²+μ²) − A/(k²+a²) + C/(k²+a²)²: return a, A, C."""
    a = 2 / eps
    return a, chi * a**4 / (a**2 - mu**2) ** 2, -chi * a**4 / (a**2 - mu**2)


def sums(dimension, mollifier, eps, points, sources, weight, **parameters):
    """Return Σ_j weight K(x − X_j) and its gradient at points x: shapes (n,), (n, d)."""
    difference = points[:, None, :] - sources[None, :, :]
    r = np.sqrt((difference**2).sum(axis=2))
    value, slope = kernel_and_slope(dimension, mollifier, eps, r, **parameters)
    direction = difference / np.maximum(r, 1e-300)[:, :, None]
    return weight * value.sum(axis=1), weight * (slope[:, :, None] * direction).sum(axis=1)
