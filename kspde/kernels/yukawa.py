"""The Yukawa potential."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kspde.errors import check_number
from kspde.kernels.base import Kernel, ResolventPolynomial
from kspde.kernels.log_potential import SURFACE, LogPotential
from kspde.radial import spherical_wave
from kspde.typing import Array

__all__ = ["Yukawa"]


@dataclass(frozen=True, kw_only=True)
class Yukawa(Kernel):
    r"""The Yukawa potential: :math:`c = K * u` solves :math:`-\Delta c + \mu^2 c = \chi u` on :math:`\mathbb R^d`.

    Symbol :math:`\chi / (\lambda + \mu^2)`. In two dimensions :math:`K(x) = \chi K_0(\mu |x|) / (2\pi)`: Wang, Li and
    Huang's :math:`\Phi = \chi\tilde\Phi` (their display before (1.4)).

    Attributes:
        strength: χ, any finite number (negative repels).
        screening: μ ≥ 0, an inverse length; 0 is the logarithmic potential and its twins.

    Raises:
        InputError: a value out of range.
    """

    smoothing = 2.0  # the symbol is O(1/λ)
    fundamental: ClassVar[bool] = True

    strength: float = 1.0
    screening: float = 1.0

    def __post_init__(self) -> None:
        check_number("strength", self.strength)
        check_number("screening", self.screening, at_least=0)

    def symbol(self, lam: Array) -> Array:
        """Return χ / (λ + μ²)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.strength / (np.asarray(lam) + self.screening**2)

    def profile(self, r: Array, dimension: int) -> Array:
        """Return χ e^(−μr)/(2μ), χ K₀(μr)/(2π) or χ e^(−μr)/(4πr)."""
        from scipy.special import k0

        mu = self.screening
        if mu == 0:
            return self._unscreened.profile(r, dimension)
        if dimension == 1:
            return np.asarray(self.strength / (2 * mu) * np.exp(-mu * r))
        with np.errstate(divide="ignore"):
            out = k0(mu * r) / (2 * math.pi) if dimension == 2 else np.exp(-mu * r) / (4 * math.pi * r)
        return np.asarray(self.strength * out)

    def slope(self, r: Array, dimension: int) -> Array:
        """Return −χ e^(−μr)/2, −χμ K₁(μr)/(2π) or −χ (1 + μr) e^(−μr)/(4πr²)."""
        from scipy.special import k1

        mu, r = self.screening, np.asarray(r, dtype=np.float64)
        if mu == 0:
            return self._unscreened.slope(r, dimension)
        with np.errstate(divide="ignore"):
            if dimension == 2:
                return np.asarray(-self.strength * mu * k1(mu * r) / (2 * math.pi))
            power = 0.5 if dimension == 1 else (1 + mu * r) / (4 * math.pi * r**2)
            return np.asarray(-self.strength * power * np.exp(-mu * r))

    def blurred(self, r: Array, dimension: int, std: float, *, slope: bool = False) -> Array:
        r"""Return K * G, or its slope.

        The heat semigroup gives :math:`\chi e^{\mu^2\sigma^2/2}\int_{\sigma^2/2}^\infty (4\pi t)^{-d/2} e^{-r^2/4t -
        \mu^2 t}\,dt`, whose integrand is smooth in log t on the scale 1, however small σ is.
        """
        mu = self.screening
        if mu == 0:
            return self._unscreened.blurred(r, dimension, std, slope=slope)
        nodes, weights = np.polynomial.legendre.leggauss(16)
        first, last = math.log(0.5 * std**2), math.log(0.5 * std**2 + 40 / mu**2)
        edges = np.linspace(first, last, 2 + int(last - first))
        t = np.exp(edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (nodes + 1)).ravel()
        w = (0.5 * np.diff(edges)[:, None] * weights).ravel() * t
        w *= self.strength * np.exp(mu**2 * (0.5 * std**2 - t)) / (4 * math.pi * t) ** (0.5 * dimension)
        square = np.square(np.ravel(r))
        parts = np.array_split(square, 1 + len(square) * len(t) // 4_000_000)
        w, rate = (-w / (2 * t) if slope else w), -0.25 / t
        out = np.concatenate([np.exp(np.multiply.outer(part, rate)) @ w for part in parts]).reshape(np.shape(r))
        return np.asarray(out * r if slope else out)

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        r"""Return in the plane :math:`\chi(1 + kR J_1(kR)K_0(\mu R) - \mu R J_0(kR)K_1(\mu R))/(\lambda + \mu^2)`.

        :math:`\chi(1 + e^{-\mu R}(\frac k\mu\sin kR - \cos kR))/(\lambda + \mu^2)` on the line and :math:`\chi(1 -
        e^{-\mu R}(\cos kR + \frac\mu k\sin kR))/(\lambda + \mu^2)` in space; a quadrature where kR and μR are small.
        """
        from scipy.special import j0, j1, k0, k1

        mu, lam = self.screening, np.asarray(lam, dtype=np.float64)
        if mu == 0:
            return self._unscreened.truncated_symbol(lam, radius, dimension)
        x, z = mu * radius, np.sqrt(lam) * radius
        near = z**2 + x**2 < 1
        if dimension == 1:
            top = 1 + math.exp(-x) * (z / x * np.sin(z) - np.cos(z))
        elif dimension == 2:
            top = 1 + z * j1(z) * k0(x) - x * j0(z) * k1(x)
        else:
            top = 1 - math.exp(-x) * (np.cos(z) + x * np.sinc(z / np.pi))
        out = np.asarray(self.strength * top / np.where(near, 1.0, lam + mu**2))
        if np.any(near):
            nodes, weights = np.polynomial.legendre.leggauss(16)
            edges = radius * np.append(0.0, 3.0 ** np.arange(-34.0, 1.0))
            r = (edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (nodes + 1)).ravel()
            w = (0.5 * np.diff(edges)[:, None] * weights).ravel() * SURFACE[dimension] * r ** (dimension - 1)
            waves = spherical_wave(dimension, np.multiply.outer(np.sqrt(lam[near]), r))
            out[near] = waves @ (w * self.profile(r, dimension))
        return out

    @property
    def _unscreened(self) -> LogPotential:
        return LogPotential(strength=self.strength)

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """(χ/μ²) s with τ = 1/μ²: one solve, exact."""
        if self.screening == 0:
            return super().resolvents
        half = 0.5 * self.strength / self.screening**2
        return (ResolventPolynomial(tau=self.screening**-2, chebyshev=(half, half), decay_rate=self.screening),)

    @property
    def decay_rate(self) -> float:
        """The screening μ."""
        return self.screening
