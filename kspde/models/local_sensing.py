"""Signal-dependent motility (local sensing)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kspde.errors import check_number
from kspde.kernels import Yukawa
from kspde.models.base import Array, Field, FieldValues, Model

__all__ = ["SignalDependentKellerSegel"]


@dataclass(frozen=True, kw_only=True)
class SignalDependentKellerSegel(Model):
    r"""The signal-dependent Keller-Segel system of Wang, Li and Huang.

    .. math::
        \partial_t u = \Delta\big((e^{-v} + 1) u\big), \qquad -\Delta v + \mu^2 v = \chi u
        \quad\text{on } \mathbb R^2, \tag{1.1}

    for a probability density u (μ = 1 in the paper). With ``eps`` the backends regularise it to their (1.9), where
    :math:`\chi u` becomes :math:`\chi u * j^\varepsilon`, and to their particles (1.3),

    .. math:: dX_i = \big(2 e^{-a_i} + 2\big)^{1/2} dB_i, \qquad a_i = \frac1N \sum_{j=1}^N \Phi^\varepsilon(X_i - X_j),

    with j = i included and :math:`\Phi^\varepsilon = \Phi * j^\varepsilon`, Φ the Yukawa potential of strength χ.

    Attributes:
        chi: χ ≥ 0. Their Lemma 1 asks for χ < 4/c_* ≈ 23.4.
        mu: the screening μ > 0, an inverse length.

    Raises:
        InputError: a value out of range.
    """

    chi: float
    mu: float = 1.0

    def __post_init__(self) -> None:
        check_number("chi", self.chi, at_least=0)
        check_number("mu", self.mu, above=0)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The signal v = Φ * u."""
        return (Field(name="v", kernel=Yukawa(strength=self.chi, screening=self.mu)),)

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return the motility γ(v) = e^(−v) + 1."""
        return np.exp(-c["v"]) + 1.0
