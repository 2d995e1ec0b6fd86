"""The Matérn mollifiers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kspde.errors import check_integer, check_scale
from kspde.kernels.base import Kernel, ResolventPolynomial
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["MaternMollifier"]


@dataclass(frozen=True, kw_only=True)
class MaternMollifier(Kernel):
    r"""The Matérn probability density of order m: symbol :math:`(1 + \varepsilon^2 \lambda / (2m))^{-m}`.

    Like the Gaussian, its limit as m → ∞, it has variance ε² in each coordinate; it is positive, and m Helmholtz solves
    apply it exactly.

    Attributes:
        eps: ε > 0, a length.
        order: m ≥ 2.

    Raises:
        InputError: a value out of range.
    """

    eps: float
    order: int = 2

    def __post_init__(self) -> None:
        check_scale("eps", self.eps)
        check_integer("order", self.order, at_least=2)

    def __str__(self) -> str:
        """Return the name in ``MOLLIFIERS``, with the order unless that is 2."""
        return "matern" if self.order == 2 else f"matern of order {self.order}"

    def symbol(self, lam: Array) -> Array:
        """Return (1 + ε²λ/(2m))^(−m)."""
        return (1.0 + self.eps**2 * lam / (2 * self.order)) ** (-self.order)

    def profile(self, r: Array, dimension: int) -> Array:
        """Return 2^(1−m) ρ^d z^ν K_ν(z) / ((2π)^(d/2) Γ(m)), with ν = m − d/2, z = ρr and ρ the decay rate."""
        from scipy.special import kv

        m, rho = self.order, self.decay_rate
        nu = m - 0.5 * dimension
        z = np.maximum(rho * r, 1e-10)
        factor = 2.0 ** (1 - m) * rho**dimension / ((2 * math.pi) ** (0.5 * dimension) * math.gamma(m))
        return np.asarray(factor * z**nu * kv(nu, z))

    def draw(self, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
        r"""Return draws from a mixture of Gaussians.

        Their variance is :math:`(\varepsilon^2/m)\,\Gamma` with a Gamma distribution of shape m:
        :math:`E e^{-\lambda\varepsilon^2\Gamma/(2m)} = (1 + \varepsilon^2\lambda/(2m))^{-m}`.
        """
        gamma = -np.log(random.uniforms(ids, step, self.order)).sum(axis=1)
        radius = self.eps * np.sqrt(gamma / self.order)
        return np.asarray(radius[:, None] * random.normals(ids, step, dimension))

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """s^m with τ = ε²/(2m): m solves, exact."""
        power = np.polynomial.chebyshev.poly2cheb(np.polynomial.polynomial.polypow([0.5, 0.5], self.order))
        return (ResolventPolynomial(tau=self.eps**2 / (2 * self.order), chebyshev=tuple(power.tolist())),)

    @property
    def decay_rate(self) -> float:
        """√(2m)/ε."""
        return math.sqrt(2 * self.order) / self.eps

    @property
    def smoothing(self) -> float:
        """2m."""
        return 2.0 * self.order
