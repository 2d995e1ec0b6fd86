r"""Mollifiers of compact support: :math:`V^\eta(x) = \eta^{-d} V(|x|/\eta)`, where V vanishes outside the unit ball.

Their transforms are functions of :math:`\eta|k|` that depend on the dimension and change sign: these kernels are not
positive definite.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

import numpy as np

from kspde.errors import InputError, check_integer, check_number, check_scale
from kspde.kernels.base import Dimensioned, ResolventPolynomial
from kspde.radial import spherical_wave
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["Bump", "CompactBump", "SmoothBump", "TwoBumps"]

#: The largest error of ``resolvents``, and the degree that is tried first.
_ERROR, _FIRST_DEGREE = 1e-6, 32
#: SmoothBump's transform is tabulated up to z = _END, beyond which it is below 1e-16, by polynomials on panels.
_END, _PANELS, _DEGREE = 1600.0, 200, 24
#: The points that SmoothBump's distribution of radii is tabulated at.
_RADII = 20_001


@dataclass(frozen=True, kw_only=True)
class Bump(Dimensioned):
    """A density of compact support, by its profile and transform for the radius 1.

    Attributes:
        eps: η > 0, the radius of the support.
    """

    decay_rate = math.inf

    eps: float

    def __post_init__(self) -> None:
        check_scale("eps", self.eps)

    @abstractmethod
    def unit_profile(self, r: Array, dimension: int) -> Array:
        """Return V, of integral 1, at distances r ≥ 0."""

    @abstractmethod
    def unit_slope(self, r: Array, dimension: int) -> Array:
        """Return dV/dr at distances r ≥ 0."""

    @abstractmethod
    def unit_transform(self, z: Array, dimension: int) -> Array:
        """Return the transform of V at wavenumbers z ≥ 0."""

    @abstractmethod
    def unit_radii(self, u: Array, dimension: int) -> Array:
        """Return the inverse of the distribution function of |x| under V, at 0 < u < 1."""

    def symbol(self, lam: Array) -> Array:
        """Return the transform of V at η√λ."""
        return self.unit_transform(self.eps * np.sqrt(lam), self._d)

    def profile(self, r: Array, dimension: int) -> Array:
        """Return V^η."""
        return self.unit_profile(np.asarray(r) / self.eps, dimension) / self.eps**dimension

    def slope(self, r: Array, dimension: int) -> Array:
        """Return dV^η/dr."""
        return self.unit_slope(np.asarray(r) / self.eps, dimension) / self.eps ** (dimension + 1)

    def draw(self, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
        """Return draws: radii by the inverse of their distribution function, in uniform directions."""
        direction = random.normals(ids, step, dimension)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        radii = self.unit_radii(random.uniforms(ids, step, 1)[:, 0], dimension)
        return np.asarray(self.eps * radii[:, None] * direction)

    @property
    def support(self) -> float:
        """η."""
        return self.eps

    @property
    def oscillation(self) -> float:
        """η."""
        return self.eps

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """An interpolant in one resolvent, within 1e-6 of the symbol for all λ; p(1) = 1 conserves mass.

        In s = 1/(1 + η²λ/m²), m its degree: 96 and 112 for the smooth bump in d = 3 and 2, 64 for power 4. The matrices
        are close to the mass matrix, so that each solve takes few iterations.
        """
        degree, chebyshev = _interpolant(replace(self, eps=1.0).in_dimension(self._d))
        return (ResolventPolynomial(tau=(self.eps / degree) ** 2, chebyshev=chebyshev, error=_ERROR),)


@dataclass(frozen=True, kw_only=True)
class CompactBump(Bump):
    r"""The mollifier :math:`C\,(1 - |x/\eta|^2)_+^p/\eta^d`, of p − 1 continuous derivatives.

    Chen, Daus and Jüngel's :math:`V^\eta`. Its symbol :math:`\Gamma(\nu + 1)(2/z)^\nu J_\nu(z)`, :math:`z = \eta|k|`,
    :math:`\nu = d/2 + p`, changes sign: it is not positive definite.

    Attributes:
        eps: η > 0, the radius of the support (the standard deviation is η/√(d + 2p + 2)).
        power: p, from 3 to 50.

    Raises:
        InputError: a value out of range.
    """

    power: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("power", self.power, at_least=3, at_most=50)

    def __str__(self) -> str:
        """Return the name in ``MOLLIFIERS``, with the power unless that is 4."""
        return "compact-bump" if self.power == 4 else f"compact-bump of power {self.power}"

    @property
    def smoothing(self) -> float:
        """ν + 1/2."""
        return 0.5 * self._d + self.power + 0.5

    def unit_profile(self, r: Array, dimension: int) -> Array:
        """Return C (1 − r²)^p."""
        return np.asarray(self._constant(dimension) * np.maximum(1 - r**2, 0.0) ** self.power)

    def unit_slope(self, r: Array, dimension: int) -> Array:
        """Return −2pC r (1 − r²)^(p − 1)."""
        p = self.power
        return np.asarray(-2 * p * self._constant(dimension) * r * np.maximum(1 - r**2, 0.0) ** (p - 1))

    def _constant(self, dimension: int) -> float:
        half, p = 0.5 * dimension, self.power
        return float(math.exp(math.lgamma(half + p + 1) - math.lgamma(p + 1)) / math.pi**half)

    def unit_transform(self, z: Array, dimension: int) -> Array:
        """Return Γ(ν + 1) (2/z)^ν J_ν(z), by its series where z < 1."""
        from scipy.special import hyp0f1, jv

        nu = 0.5 * dimension + self.power
        near, far = np.minimum(z, 1.0), np.maximum(z, 1.0)
        tail = np.exp(math.lgamma(nu + 1) + nu * np.log(2 / far)) * jv(nu, np.minimum(far, 1e8))
        return np.asarray(np.where(z < 1.0, hyp0f1(nu + 1, -0.25 * near**2), tail))

    def unit_radii(self, u: Array, dimension: int) -> Array:
        """Return √B, where B has the Beta distribution of parameters d/2 and p + 1."""
        from scipy.special import betaincinv

        return np.asarray(np.sqrt(betaincinv(0.5 * dimension, self.power + 1.0, u)))


@dataclass(frozen=True, kw_only=True)
class SmoothBump(Bump):
    r"""The mollifier :math:`C\exp(-1/(1 - |x/\eta|^2))/\eta^d` on the ball of radius η, infinitely differentiable.

    Its symbol, tabulated once to 1e-12, changes sign: it is not positive definite.

    Attributes:
        eps: η > 0, the radius of the support (the standard deviation is .398η, .361η, .334η in dimension 1, 2, 3).

    Raises:
        InputError: ε is not positive and finite.
    """

    smoothing = math.inf

    def __str__(self) -> str:
        """Return the name in ``MOLLIFIERS``."""
        return "bump"

    def unit_profile(self, r: Array, dimension: int) -> Array:
        """Return C exp(−1/(1 − r²))."""
        x, w = _rule(dimension)
        return _bump(r) / float(w @ _bump(x))

    def unit_slope(self, r: Array, dimension: int) -> Array:
        """Return −2r V/(1 − r²)²."""
        return np.asarray(-2 * r * self.unit_profile(r, dimension) / np.maximum(1 - np.square(r), 1e-3) ** 2)

    def unit_transform(self, z: Array, dimension: int) -> Array:
        """Return the tabulated transform, by Clenshaw's recurrence; 0 beyond the table."""
        table = _table(dimension)
        t = np.minimum(z, _END) * (_PANELS / _END)
        panel = np.minimum(t.astype(np.int64), _PANELS - 1)
        s = 2 * (t - panel) - 1
        now, after = np.zeros_like(s), np.zeros_like(s)
        for row in table[:0:-1]:
            now, after = 2 * s * now - after + row[panel], now
        return np.where(z < _END, s * now - after + table[0][panel], 0.0)

    def unit_radii(self, u: Array, dimension: int) -> Array:
        """Return the inverse of the tabulated distribution function."""
        r = np.linspace(0.0, 1.0, _RADII)
        density = _bump(r) * r ** (dimension - 1)
        below = np.cumsum(density) - 0.5 * (density + density[0])
        return np.asarray(np.interp(u, below / below[-1], r))


@dataclass(frozen=True, kw_only=True)
class TwoBumps(SmoothBump):
    r"""The mollifier on the line that is half a smooth bump at each of ±cη, of half-width (1 − c)η: V(0) = 0.

    :math:`V(y) \propto \exp(-1/(1 - z^2))`, z = (|y| − c)/(1 − c), |z| < 1, with the symbol
    :math:`\cos(c\,\eta k)\hat B((1 - c)\eta k)`, B the smooth bump. Its least value is near −1 for c near 1 and above
    −1/2 at c = 1/2: a density is seen where it is not.

    Attributes:
        eps: η > 0, the radius of the support.
        centre: c, at least 1/2 (the bumps touch at 0) and below 1.

    Raises:
        InputError: a value out of range, or another dimension than 1.
    """

    centre: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("centre", self.centre, at_least=0.5, below=1)

    def __str__(self) -> str:
        """Return the name in ``MOLLIFIERS``, with the centre unless that is .9."""
        return "two-bumps" if self.centre == 0.9 else f"two-bumps at {self.centre:g} eps"

    def in_dimension(self, dimension: int) -> Self:
        """Return the kernel in dimension 1."""
        if dimension != 1:
            raise InputError(f"{self} is a kernel on the line: the dimension is {dimension}")
        return super().in_dimension(dimension)

    def unit_profile(self, r: Array, dimension: int) -> Array:
        """Return V at r ≥ 0."""
        half = 1 - self.centre
        return super().unit_profile(np.abs(r - self.centre) / half, 1) / (2 * half)

    def unit_slope(self, r: Array, dimension: int) -> Array:
        """Return dV/dr at r ≥ 0."""
        half = 1 - self.centre
        s = (r - self.centre) / half
        return np.asarray(-2 * s / half * self.unit_profile(r, 1) / np.maximum(1 - s**2, 1e-3) ** 2)

    def unit_transform(self, z: Array, dimension: int) -> Array:
        """Return cos(cz)B̂((1 − c)z)."""
        return np.asarray(np.cos(self.centre * z) * super().unit_transform((1 - self.centre) * z, 1))

    def unit_radii(self, u: Array, dimension: int) -> Array:
        """Return c plus 1 − c times a draw of B, by the inverse of its distribution function."""
        away = super().unit_radii(np.abs(2 * u - 1), 1)
        return np.asarray(self.centre + (1 - self.centre) * np.sign(2 * u - 1) * away)


def _bump(r: Array) -> Array:
    # exp(−1/(1 − r²)) underflows before 1 − r² reaches 1e-3.
    return np.where(r < 1, np.exp(-1 / np.maximum(1 - np.square(r), 1e-3)), 0.0)


def _rule(dimension: int) -> tuple[Array, Array]:
    """Return points on [0, 1], and weights that include the surface of the spheres of those radii."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    x = ((np.arange(100)[:, None] + 0.5 * (nodes + 1)) / 100).ravel()
    surface = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}[dimension]
    return x, np.tile(weights / 200, 100) * surface * x ** (dimension - 1)


@cache
def _table(dimension: int) -> Array:
    """Return the Chebyshev coefficients of SmoothBump's transform on each panel, shape (degree + 1, panels)."""
    x, w = _rule(dimension)
    w = w * _bump(x)
    s = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
    z = (np.arange(_PANELS) + 0.5 * (s[:, None] + 1)) * (_END / _PANELS)
    values = np.stack([spherical_wave(dimension, np.multiply.outer(row, x)) @ w for row in z])
    return np.asarray(np.polynomial.chebyshev.chebfit(s, values / w.sum(), _DEGREE))


@cache
def _interpolant(unit: Bump) -> tuple[int, tuple[float, ...]]:
    """Return degree and coefficients of the first polynomial in s that is close enough."""
    z = np.concatenate((np.linspace(0, 80, 4001), np.geomspace(80, 1e4, 2000)))
    exact = unit.symbol(z**2)
    degree, error = _FIRST_DEGREE, math.inf
    while error > _ERROR:
        nodes = np.cos(np.pi * np.arange(degree, -1, -1) / degree)
        s = np.maximum(0.5 * (1 + nodes), 1e-14)
        values = unit.symbol(degree**2 * (1 / s - 1))
        chebyshev = tuple(np.polynomial.chebyshev.chebfit(nodes, values, degree).tolist())
        error = float(np.abs(ResolventPolynomial(tau=degree**-2, chebyshev=chebyshev)(z**2) - exact).max())
        degree += 16
    return degree - 16, chebyshev
