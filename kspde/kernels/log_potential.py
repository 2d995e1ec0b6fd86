"""The fundamental solution of Laplace's equation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kspde.errors import check_number
from kspde.kernels.base import Kernel
from kspde.radial import spherical_wave
from kspde.typing import Array

__all__ = ["SURFACE", "LogPotential", "ball"]

#: The derivative of the fundamental solution is −r^(1−d) over the surface of the unit sphere.
SURFACE = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}


@dataclass(frozen=True, kw_only=True)
class LogPotential(Kernel):
    r"""The logarithmic potential: :math:`c = K * u` solves :math:`-\Delta c = s u` on :math:`\mathbb R^d`.

    Symbol :math:`s/\lambda`. :math:`K(x) = -\frac s{2\pi}\log|x|` in the plane, :math:`-\frac s2|x|` on the line and
    :math:`\frac s{4\pi|x|}` in space. Its fields need the whole space: particles, or a domain with ``boundary =
    "decay"``.

    Attributes:
        strength: s, any finite number (negative repels).
    """

    decay_rate = 0.0
    smoothing = 2.0
    fundamental: ClassVar[bool] = True

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_number("strength", self.strength)

    def symbol(self, lam: Array) -> Array:
        """Return s/λ."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.strength / np.asarray(lam)

    def profile(self, r: Array, dimension: int) -> Array:
        """Return −s r/2, −s log(r)/(2π) or s/(4πr)."""
        with np.errstate(divide="ignore"):
            power = -r if dimension == 1 else -np.log(r) if dimension == 2 else 1 / np.asarray(r)
        return np.asarray(self.strength / SURFACE[dimension] * power)

    def slope(self, r: Array, dimension: int) -> Array:
        """Return −s/2, −s/(2πr) or −s/(4πr²)."""
        with np.errstate(divide="ignore"):
            return np.asarray(-self.strength / SURFACE[dimension] * np.asarray(r, dtype=np.float64) ** (1 - dimension))

    def blurred(self, r: Array, dimension: int, std: float, *, slope: bool = False) -> Array:
        r"""Return K * G, or its slope.

        :math:`-\frac s{4\pi}(\log r^2 + E_1(z^2))` in the plane, :math:`z = r/(\sqrt2\sigma)`.
        """
        from scipy.special import erf, exp1, gammainc

        r = np.asarray(r, dtype=np.float64)
        z = r / (math.sqrt(2) * std)
        safe = np.maximum(z, 1e-8)
        factor = self.strength / SURFACE[dimension]
        if slope:  # by Newton's theorem the slope of K times the mass within r
            inside = gammainc(0.5 * dimension, safe**2) / (math.sqrt(2) * std * safe) ** (dimension - 1)
            return np.asarray(-factor * np.where(z > 0, inside, 0.0))
        if dimension == 1:
            return np.asarray(-factor * (r * erf(z) + math.sqrt(2 / math.pi) * std * np.exp(-(z**2))))
        if dimension == 3:
            return np.asarray(factor * erf(safe) / (math.sqrt(2) * std * safe))
        return np.asarray(-0.5 * factor * (np.log(2 * std**2) + 2 * np.log(safe) + exp1(safe**2)))

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        """Return s(1 − w(kR))/λ plus K(R) times the transform of the ball, w the spherical wave, k = √λ."""
        z = np.sqrt(lam) * radius
        near = z < 1e-2
        rest = (1 - spherical_wave(dimension, z)) / np.where(near, 1.0, z) ** 2
        d = dimension
        series = (1 - z**2 / (4 * (d + 2)) * (1 - z**2 / (6 * (d + 4)))) / (2 * d)
        rim = self.profile(np.array(radius), d) * radius**d * ball(d, z)
        return np.asarray(self.strength * radius**2 * np.where(near, series, rest) + rim)


def ball(dimension: int, z: Array) -> Array:
    """Return the transform of the indicator function of the unit ball."""
    from scipy.special import j1, spherical_jn

    if dimension == 1:
        return 2 * np.sinc(z / np.pi)
    safe = np.maximum(z, 1e-12)
    return np.asarray(2 * math.pi * j1(safe) / safe if dimension == 2 else 4 * math.pi * spherical_jn(1, safe) / safe)
