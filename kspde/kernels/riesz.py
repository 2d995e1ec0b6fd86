"""Riesz potentials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from kspde.errors import InputError, check_number
from kspde.kernels.base import Dimensioned
from kspde.kernels.log_potential import SURFACE
from kspde.radial import spherical_wave
from kspde.typing import Array

__all__ = ["Riesz"]

#: The transform of the truncated kernel: by its series up to _SERIES, then by polynomials of degree _DEGREE on panels.
_SERIES, _PANEL, _DEGREE = 4.0, 2.0, 20


@dataclass(frozen=True, kw_only=True)
class Riesz(Dimensioned):
    r"""The Riesz potential :math:`K(x) = q|x|^{-s}`, 0 < s < d.

    .. math:: \hat K(k) = q\,\pi^{d/2}\,2^{d-s}\,\frac{\Gamma((d-s)/2)}{\Gamma(s/2)}\,\lambda^{(s-d)/2}.

    For s ≥ d − 1 its gradient is not locally integrable: that of a field is then the gradient of K * u, for smooth u.

    Attributes:
        s: the power, between 0 and d.
        strength: q, any finite number.

    Raises:
        InputError: a value out of range; s ≥ d as soon as the dimension is known.
    """

    decay_rate = 0.0

    s: float
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_number("s", self.s, above=0)
        check_number("strength", self.strength)

    def in_dimension(self, dimension: int) -> Self:
        """Return the potential in dimension 1, 2 or 3.

        Raises:
            InputError: s ≥ d.
        """
        bound = super().in_dimension(dimension)
        if not self.s < dimension:
            raise InputError(f"s = {self.s:g} of {self!r} is not below the dimension {dimension}: give 0 < s < d")
        return bound

    def symbol(self, lam: Array) -> Array:
        """Return the symbol above."""
        d = self._d
        reciprocal = 0.5 * self.s / math.gamma(1.0 + 0.5 * self.s)  # of Γ(s/2), which overflows for tiny s
        factor = math.pi ** (0.5 * d) * 2 ** (d - self.s) * math.gamma(0.5 * (d - self.s)) * reciprocal
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.asarray(lam, dtype=np.float64) ** (0.5 * (self.s - d))
        return np.asarray(self.strength * factor * power)

    @property
    def homogeneity(self) -> float:  # type: ignore[override]
        """The power s."""
        return self.s

    @property
    def smoothing(self) -> float:
        """The order d − s."""
        return self._d - self.s

    def profile(self, r: Array, dimension: int) -> Array:
        """Return q r^(−s)."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.strength * np.asarray(r, dtype=np.float64) ** -self.s)

    def slope(self, r: Array, dimension: int) -> Array:
        """Return −q s r^(−s − 1)."""
        with np.errstate(divide="ignore"):
            return np.asarray(-self.strength * self.s * np.asarray(r, dtype=np.float64) ** (-self.s - 1))

    def blurred(self, r: Array, dimension: int, std: float, *, slope: bool = False) -> Array:
        r"""Return K * G, :math:`q\frac{\Gamma((d-s)/2)}{\Gamma(d/2)}(2\sigma^2)^{-s/2}M(s/2, d/2, -r^2/2\sigma^2)`.

        M is Kummer's function.
        """
        from scipy.special import hyp1f1

        a, b, r = 0.5 * self.s, 0.5 * dimension, np.asarray(r, dtype=np.float64)
        factor = self.strength * math.gamma(b - a) / math.gamma(b) * (2 * std**2) ** -a
        z = -0.5 * (r / std) ** 2
        if slope:
            return np.asarray(-factor * a / b * r / std**2 * hyp1f1(a + 1, b + 1, z))
        return np.asarray(factor * hyp1f1(a, b, z))

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        r"""Return :math:`q|S^{d-1}|R^{d-s}F(kR)`, :math:`z^{d-s}F(z) = \int_0^z t^{d-1-s}w(t)\,dt`, w the wave."""
        power = dimension - self.s
        values = _primitive(dimension, power, np.sqrt(np.asarray(lam, dtype=np.float64)) * radius)
        return np.asarray(self.strength * SURFACE[dimension] * radius**power * values)


def _primitive(dimension: int, power: float, z: Array) -> Array:
    """Return z^(−a) ∫_0^z t^(a−1) w(t) dt, a the power, at z ≥ 0."""

    def series(x: Array) -> Array:
        out, term = np.zeros_like(x), np.ones_like(x)
        for m in range(30):
            out += term / (power + 2 * m)
            term = term * (-0.25 * x**2) / ((m + 1) * (0.5 * dimension + m))
        return out

    out = series(np.minimum(z, _SERIES))
    far = z > _SERIES
    if not np.any(far):
        return out
    polynomial = np.polynomial.chebyshev
    count = max(1, math.ceil((float(z.max()) - _SERIES) / _PANEL))
    s = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
    t = _SERIES + _PANEL * (np.arange(count) + 0.5 * (s[:, None] + 1))
    primitive = polynomial.chebint(polynomial.chebfit(s, t ** (power - 1) * spherical_wave(dimension, t), _DEGREE))
    primitive *= 0.5 * _PANEL
    primitive[0] -= polynomial.chebval(-1.0, primitive)
    ends = np.cumsum(polynomial.chebval(1.0, primitive))
    primitive[0] += np.append(0.0, ends[:-1]) + float(series(np.array([_SERIES]))[0]) * _SERIES**power
    x = (z[far] - _SERIES) / _PANEL
    panel = np.minimum(x.astype(np.int64), count - 1)
    x = 2 * (x - panel) - 1
    now, after = np.zeros_like(x), np.zeros_like(x)
    for row in primitive[:0:-1]:  # Clenshaw's recurrence
        now, after = 2 * x * now - after + row[panel], now
    out[far] = (x * now - after + primitive[0][panel]) * z[far] ** -power
    return out
