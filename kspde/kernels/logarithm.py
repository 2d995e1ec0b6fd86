"""The logarithm in every dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kspde.errors import check_number
from kspde.kernels.base import Dimensioned
from kspde.kernels.log_potential import SURFACE, ball
from kspde.typing import Array

__all__ = ["Logarithm"]

#: z = r/(√2σ) from which the mean of a logarithm over a Gaussian is its asymptotic series, and that series' terms.
_FAR, _TERMS = 7.0, 20


@dataclass(frozen=True, kw_only=True)
class Logarithm(Dimensioned):
    r"""The logarithm :math:`K(x) = -g\log|x|`, whatever the dimension: the limit s → 0 of :math:`g(|x|^{-s} - 1)/s`.

    .. math:: \hat K(k) = g\,2^{d-1}\pi^{d/2}\,\Gamma(d/2)\,|k|^{-d},

    which is gπ/|k| on the line, 2πg/|k|² in the plane (``LogPotential(strength=2πg)``) and 2π²g/|k|³ in
    space. Its potentials grow at infinity: fields with it have ``value=False``.

    Attributes:
        strength: g, any finite number.
    """

    decay_rate = 0.0
    homogeneity: ClassVar[float | None] = 0.0

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_number("strength", self.strength)

    def symbol(self, lam: Array) -> Array:
        """Return the symbol above, λ = |k|²."""
        half = 0.5 * self._d
        factor = self.strength * 2 ** (self._d - 1) * math.pi**half * math.gamma(half)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(factor * np.asarray(lam, dtype=np.float64) ** -half)

    @property
    def smoothing(self) -> float:
        """The order d."""
        return self._d

    def profile(self, r: Array, dimension: int) -> Array:
        """Return −g log r."""
        with np.errstate(divide="ignore"):
            return np.asarray(-self.strength * np.log(r))

    def slope(self, r: Array, dimension: int) -> Array:
        """Return −g/r."""
        with np.errstate(divide="ignore"):
            return np.asarray(-self.strength / np.asarray(r, dtype=np.float64))

    def blurred(self, r: Array, dimension: int, std: float, *, slope: bool = False) -> Array:
        r"""Return K * G; its slope is :math:`-\frac{g r}{d\sigma^2} M(1, d/2 + 1, -r^2/2\sigma^2)`.

        M is Kummer's function; :math:`K * G(0) = -\frac g2(\log 2\sigma^2 + \psi(d/2))`, ψ the digamma function.
        """
        from scipy.special import digamma, hyp1f1

        half, r = 0.5 * dimension, np.asarray(r, dtype=np.float64)
        z = r / (math.sqrt(2) * std)
        if slope:
            return np.asarray(-self.strength * r / (dimension * std**2) * hyp1f1(1.0, half + 1, -(z**2)))
        nodes, weights = np.polynomial.legendre.leggauss(64)
        t = 0.5 * (nodes + 1)
        near = np.minimum(z, _FAR)[..., None] * t
        inside = np.minimum(z, _FAR) * ((near * hyp1f1(1.0, half + 1, -(near**2))) @ weights) / dimension
        far = np.maximum(z, _FAR)
        outside, term = np.log(far * math.sqrt(2) * std), (dimension - 2) / (4 * far**2)
        for k in range(1, _TERMS):  # e^(σ²Δ/2) log r
            outside, term = outside + term, term * k * (2 * k + 2 - dimension) / (2 * far**2 * (k + 1))
        mean = np.where(z < _FAR, 0.5 * (math.log(2 * std**2) + float(digamma(half))) + inside, outside)
        return np.asarray(-self.strength * mean)

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        r"""Return :math:`K(R)` times the transform of the ball :math:`|x| < R` plus :math:`g|S^{d-1}|R^d F(kR)`.

        :math:`F(z)` is :math:`\mathrm{Si}(z)/z`, :math:`(1 - J_0(z))/z^2` or :math:`(\mathrm{Si}(z) - \sin z)/z^3`.
        """
        from scipy.special import j0, sici

        d, z = dimension, np.sqrt(np.asarray(lam, dtype=np.float64)) * radius
        small, large = np.minimum(z, 1.0), np.maximum(z, 1.0)
        if d == 2:
            exact = (1 - j0(large)) / large**2
        else:
            exact = (sici(large)[0] - (np.sin(large) if d == 3 else 0.0)) / large**d
        series, term = np.zeros_like(z), np.ones_like(z)
        for m in range(12):
            series += term / (d + 2 * m) ** 2
            term = term * (-0.25 * small**2) / ((m + 1) * (0.5 * d + m))
        whole = SURFACE[d] * np.where(z < 1.0, series, exact) - math.log(radius) * ball(d, z)
        return np.asarray(self.strength * radius**d * whole)
