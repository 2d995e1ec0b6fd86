r"""Fundamental solutions split into what a grid resolves and what ends at a distance.

K is the fundamental solution of :math:`s^{-1}(\mu^2 - \Delta)`. Kaiser and Bessel's bump

.. math:: \Psi(x) \propto I_0\big(\beta\sqrt{1 - |x|^2/\rho^2}\big),\quad |x| < \rho, \qquad
    \hat\Psi(\lambda) \propto y^{-d/2} I_{d/2}(y),\quad y^2 = \beta^2 - \rho^2\lambda,

has a transform that is of order :math:`e^{-\beta}` beyond the wavenumber β/ρ: no function that ends at ρ does with a
shorter band, up to a few percent, and a Gaussian takes almost twice as much. By Newton's theorem
:math:`F_\rho = K * \Psi / \hat\Psi(-\mu^2)` is K beyond ρ. So the rest K − F ends there, and so does the difference of
two F, at the larger ρ.

With u the regular solution of :math:`\Delta u = \mu^2 u`, u(0) = 1, the rest is

.. math:: R(r) = \Big(K(r) \int_r^\rho u \Psi\,dV - u(r) \int_r^\rho K \Psi\,dV\Big) \Big/ \int_0^\rho u \Psi\,dV.

F is an entire function of :math:`t = (r/\rho)^2`, so that both R and R'/r are a polynomial in t plus the singular part
of K, which is :math:`t^{(2-d)/2}` (in the plane log t) times a power series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kspde.kernels import Kernel
from kspde.typing import Array

__all__ = ["DEGREE", "SERIES", "Split"]

#: The degree of the polynomials, and the number of coefficients of the power series.
DEGREE, SERIES = 17, 10
#: The largest μρ for which they are accurate.
_LONGEST = 3.0


@dataclass(frozen=True)
class Split:
    """A kernel split at a distance.

    Attributes:
        kernel: K, a fundamental solution.
        dimension: d.
        reach: ρ.
        decay: β.
    """

    kernel: Kernel
    dimension: int
    reach: float
    decay: float

    @property
    def accurate(self) -> bool:
        """Whether the rest is a polynomial and a power series of few terms."""
        return self.kernel.decay_rate * self.reach <= _LONGEST

    def share(self, lam: Array) -> Array:
        """Return Ψ̂(λ)/Ψ̂(−μ²): F has the symbol g(λ) times that."""
        own = self._transform(np.array(-(self.kernel.decay_rate**2)))
        return np.asarray(self._transform(lam) / own)

    def _transform(self, lam: Array) -> Array:
        from scipy.special import i1, j1, spherical_in, spherical_jn

        square = self.decay**2 - self.reach**2 * np.asarray(lam, dtype=np.float64)
        y = np.maximum(np.sqrt(np.abs(square)), 1e-3)  # both are 1 + O(y²) times the same number
        if self.dimension == 1:
            above, below = np.sinh(np.where(square > 0, y, 0.0)) / y, np.sin(y) / y
        elif self.dimension == 2:
            above, below = i1(np.where(square > 0, y, 0.0)) / y, j1(y) / y
        else:
            above, below = spherical_in(1, np.where(square > 0, y, 0.0)) / y, spherical_jn(1, y) / y
        return np.where(square > 0, above, below)

    @cached_property
    def near(self) -> tuple[Array, Array, Array, Array]:
        r"""For R'/r and for R the coefficients of a polynomial in 2t − 1, and of a power series B in t.

        R is the polynomial and :math:`B(t) t^{(2-d)/2}`, in the plane B(t) log t; R'/r is the polynomial and
        :math:`B(t) t^{-d/2}`, in the plane :math:`B_0/t + (B_1 + B_2 t + \dots) \log t`.
        """
        d, n = self.dimension, DEGREE + 1
        t = 0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * n) + 0.5) / (2 * n))
        value, slope = self._rest(self.reach * np.sqrt(t))
        series = self._series()
        k = np.arange(SERIES)
        if d == 2:
            slope_series = np.append(series[0], (k * series)[1:])
            singular = np.log(t) * (t[:, None] ** k @ series)
            singular_slope = series[0] / t + np.log(t) * (t[:, None] ** k[:-1] @ slope_series[1:])
        else:
            slope_series = series * (k + 0.5 * (2 - d))
            singular = t ** (0.5 * (2 - d)) * (t[:, None] ** k @ series)
            singular_slope = t ** (-0.5 * d) * (t[:, None] ** k @ slope_series)
        scale = 2 / self.reach**2
        polynomials = [
            np.polynomial.polynomial.polyfit(2 * t - 1, each, DEGREE)
            for each in (slope / (self.reach * np.sqrt(t)) - scale * singular_slope, value - singular)
        ]
        return polynomials[0], scale * slope_series, polynomials[1], series

    def _series(self) -> Array:
        """Return B, K = B(t) φ(t) + entire, with φ = √t, log t or 1/√t."""
        d, k = self.dimension, np.arange(SERIES)
        strength = float(self.kernel.symbol(np.array(1.0))) * (1 + self.kernel.decay_rate**2)
        z2 = (self.kernel.decay_rate * self.reach) ** 2
        factorial = np.cumprod(np.append(1.0, k[1:]))
        if d == 2:
            return -strength / (4 * math.pi) * (z2 / 4) ** k / factorial**2
        odd = np.array([math.factorial(2 * j + (d == 1)) for j in k])
        front = -0.5 * strength * self.reach if d == 1 else strength / (4 * math.pi * self.reach)
        return front * z2**k / odd

    def _rest(self, r: Array) -> tuple[Array, Array]:
        """Return R and R' at distances 0 < r < ρ."""
        from scipy.special import i0, i1

        d, mu = self.dimension, self.kernel.decay_rate

        def regular(r: Array) -> tuple[Array, Array]:
            z = mu * r
            if d == 1:
                return np.cosh(z), mu * np.sinh(z)
            if d == 2:
                return i0(z), mu * i1(z)
            small = z < 1e-3
            safe = np.where(small, 1.0, z)
            slope = np.where(small, z / 3, (safe * np.cosh(safe) - np.sinh(safe)) / safe**2)
            return np.where(small, 1 + z**2 / 6, np.sinh(safe) / safe), mu * slope

        nodes, weights = np.polynomial.legendre.leggauss(200)

        def integrals(lower: Array) -> tuple[Array, Array]:
            """Return those of uΨ and KΨ from ``lower`` to ρ, up to a common factor."""
            width = 0.5 * (self.reach - lower)[:, None]
            r = lower[:, None] + width * (nodes + 1)
            bump = width * weights * r ** (d - 1)
            bump *= i0(self.decay * np.sqrt(np.maximum(1 - (r / self.reach) ** 2, 0.0)))
            return (bump * regular(r)[0]).sum(axis=1), (bump * self.kernel.profile(r, d)).sum(axis=1)

        whole = integrals(np.zeros(1))[0]
        ours, theirs = (each / whole for each in integrals(r))
        u, slope = regular(r)
        value = self.kernel.profile(r, d) * ours - u * theirs
        return value, self.kernel.slope(r, d) * ours - slope * theirs
