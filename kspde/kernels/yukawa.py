"""The Yukawa potential."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kspde.errors import check_number
from kspde.kernels.base import Kernel, ResolventPolynomial
from kspde.typing import Array

__all__ = ["Yukawa"]


@dataclass(frozen=True, kw_only=True)
class Yukawa(Kernel):
    r"""The Yukawa potential: :math:`c = K * u` solves :math:`-\Delta c + \mu^2 c = \chi u` on :math:`\mathbb R^d`.

    Symbol :math:`\chi / (\lambda + \mu^2)`. In two dimensions :math:`K(x) = \chi K_0(\mu |x|) / (2\pi)`: Wang, Li and
    Huang's :math:`\Phi = \chi\tilde\Phi` (their display before (1.4)).

    Attributes:
        strength: χ, any finite number (negative repels).
        screening: μ > 0, an inverse length.

    Raises:
        InputError: a value out of range.
    """

    smoothing = 2.0  # the symbol is O(1/λ)

    strength: float = 1.0
    screening: float = 1.0

    def __post_init__(self) -> None:
        check_number("strength", self.strength)
        check_number("screening", self.screening, above=0)

    def symbol(self, lam: Array) -> Array:
        """Return χ / (λ + μ²)."""
        return self.strength / (lam + self.screening**2)

    def profile(self, r: Array, dimension: int) -> Array:
        """Return χ e^(−μr)/(2μ), χ K₀(μr)/(2π) or χ e^(−μr)/(4πr)."""
        from scipy.special import k0

        mu = self.screening
        if dimension == 1:
            return np.asarray(self.strength / (2 * mu) * np.exp(-mu * r))
        with np.errstate(divide="ignore"):
            out = k0(mu * r) / (2 * math.pi) if dimension == 2 else np.exp(-mu * r) / (4 * math.pi * r)
        return np.asarray(self.strength * out)

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """(χ/μ²) s with τ = 1/μ²: one solve, exact."""
        half = 0.5 * self.strength / self.screening**2
        return (ResolventPolynomial(tau=self.screening**-2, chebyshev=(half, half), decay_rate=self.screening),)

    @property
    def decay_rate(self) -> float:
        """The screening μ."""
        return self.screening
