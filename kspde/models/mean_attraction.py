r"""Particles that are drawn to their mean: the linear model, whose laws are Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kspde.errors import check_integer, check_number
from kspde.models.base import FieldValues, Model, Moment
from kspde.typing import Array

__all__ = ["MeanAttraction"]


def _one(x: Array) -> Array:
    return np.ones(len(x))


def _position(x: Array) -> Array:
    return x


@dataclass(frozen=True, kw_only=True)
class MeanAttraction(Model):
    r"""Particles in a harmonic trap that attract one another by linear forces.

    .. math::
        dX_i = \Big(-\kappa X_i + \frac{gm}N\sum_j (X_j - X_i)\Big)dt + \sqrt{2\sigma}\,dB_i, \qquad
        \partial_t u = \sigma\Delta u + \nabla\cdot\Big(u\Big(\kappa x + g\int(x - y)u(y)\,dy\Big)\Big),

    m the mass of u. The drift is linear: from Gaussians all laws are Gaussian, with exact entropies. Let particles
    start independently with the variance s² in each coordinate. Their mean, times √N, relaxes at the rate κ, and the
    N − 1 directions orthogonal to it at the rate κ + gm, as the density does:

    .. math::
        \lambda_1(t) = s^2e^{-2\kappa t} + \tfrac\sigma\kappa(1 - e^{-2\kappa t}), \qquad
        \lambda_2(t) \text{ the same with } \kappa + gm.

    The covariance of k particles is :math:`\lambda_2I + \frac{\lambda_1-\lambda_2}N 11^T` in each coordinate, that of
    the density :math:`\lambda_2`, so that the relative entropy of the law of k particles to :math:`\bar u^{\otimes k}`,
    :math:`\bar u = u/m`, is

    .. math::
        H_k = \frac d2\Big(\frac{kr}N - \log\big(1 + \tfrac{kr}N\big)\Big) \simeq \frac{d\,r^2}4\,\frac{k^2}{N^2},
        \qquad r = \frac{\lambda_1}{\lambda_2} - 1,

    of order k²/N² (Lacker, Probab. Math. Phys. 4, 2023, on this example), where subadditivity gives k/N only.

    Attributes:
        attraction: g, of either sign: positive attracts.
        noise: σ ≥ 0.
        confinement: κ ≥ 0, the rate of the trap.
        dimension: d, 1, 2 or 3.

    Raises:
        InputError: a value out of range.
    """

    attraction: float
    noise: float = 1.0
    confinement: float = 1.0
    dimension: int = 2

    def __post_init__(self) -> None:
        check_number("attraction", self.attraction)
        check_number("noise", self.noise, at_least=0)
        check_number("confinement", self.confinement, at_least=0)
        check_integer("dimension", self.dimension, at_least=1, at_most=3)

    @property
    def fields(self) -> tuple[()]:
        """None: the drift depends on moments alone."""
        return ()

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The mass and ∫x u."""
        return Moment(name="mass", function=_one), Moment(name="first", function=_position)

    def diffusion(self, species: str, c: FieldValues) -> float:
        """Return σ."""
        return self.noise

    def drift(self, species: str, c: FieldValues) -> Array:
        """Return −κx + g∫(y − x)u(y)dy."""
        rate = self.confinement + self.attraction * c.moment("mass")
        return np.asarray(self.attraction * c.moment("first") - rate * c.points)

    def marginal_entropy(self, k: int, *, n: int, t: float, std: float, mass: float = 1.0) -> float:
        """Return H_k, the relative entropy of the law of k of N particles to that of k independent ones.

        Args:
            k: the number of particles.
            n: N.
            t: the time.
            std: the standard deviation s > 0 of each coordinate at t = 0.
            mass: m.

        Raises:
            InputError: a value out of range.
        """
        check_integer("k", k, at_least=1, at_most=check_integer("n", n, at_least=1))
        check_number("t", t, at_least=0)
        check_number("std", std, above=0)

        def variance(rate: float) -> float:
            grown = 2 * t if rate == 0 else -math.expm1(-2 * rate * t) / rate
            return std**2 * math.exp(-2 * rate * t) + self.noise * grown

        whole = variance(self.confinement)
        share = k / n * (whole / variance(self.confinement + self.attraction * mass) - 1.0)
        return 0.5 * self.dimension * (share - math.log1p(share))
