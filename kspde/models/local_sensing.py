"""Signal-dependent motility (local sensing)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from kspde.errors import InputError, called, check_number
from kspde.initial import InitialDensity
from kspde.kernels import Yukawa
from kspde.models.base import Field, FieldValues, Model, check_start
from kspde.models.motility import MOTILITIES, ExponentialMotility, Motility, OnePlusExponentialMotility
from kspde.typing import Array

__all__ = ["LocalSensing", "SignalDependentKellerSegel"]


@dataclass(frozen=True, kw_only=True)
class LocalSensing(Model):
    r"""Cells whose motility depends on the signal that they emit: Wang, Li and Huang's (1.2), on the plane.

    .. math::
        \partial_t u = \Delta\big(\gamma(v) u\big), \qquad \tau\partial_t v - \Delta v + \mu^2 v = \chi u.

    (There χ = μ = 1.) With ``eps`` the backends replace :math:`\chi u` by :math:`\chi u * j^\varepsilon`. The particles
    are :math:`dX_i = \sqrt{2\gamma(v)}\,dB_i`, with the signal v of the empirical measure.

    Attributes:
        motility: the motility γ, a function of an array v that uses numpy only, such as
            ``ExponentialMotility(alpha=1.0)``.
        chi: the strength χ ≥ 0 of the signal.
        mu: the screening μ > 0, an inverse length.
        tau: the relaxation time τ ≥ 0 of the signal, 0 if it is always in equilibrium.
        v0: the initial signal v₀ if τ > 0; None: in equilibrium with the initial density.

    Raises:
        InputError: a value out of range.
    """

    registries: ClassVar = {"motility": MOTILITIES}

    motility: Motility
    chi: float
    mu: float = 1.0
    tau: float = 0.0
    v0: InitialDensity | None = None

    def __post_init__(self) -> None:
        if not callable(self.motility):
            raise InputError(
                f"motility is a {type(self.motility).__name__}: give a function of v, such as "
                "kspde.ExponentialMotility(alpha=1.0)"
            )
        check_number("chi", self.chi, at_least=0)
        check_number("mu", self.mu, above=0)
        check_number("tau", self.tau, at_least=0)
        check_start("v0", self.v0, self.tau)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The signal v = Φ * u, or the signal that relaxes to it."""
        kernel = Yukawa(strength=self.chi, screening=self.mu)
        return (Field(name="v", kernel=kernel, tau=self.tau, start=self.v0),)

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return the motility γ(v)."""
        return np.asarray(called("motility", "a function of an array v", self.motility, c["v"]))

    def without_interaction(self) -> LocalSensing:
        """Return the model with χ = 0."""
        return replace(self, chi=0.0)

    @property
    def has_free_energy(self) -> bool:
        """Whether γ is exponential and τ = 0."""
        return isinstance(self.motility, ExponentialMotility) and self.tau == 0

    def free_energy_density(self, densities: Mapping[str, Array], c: FieldValues) -> Array:
        r"""Return u log u − (α/2) u v, for γ = e^(−αv) and τ = 0.

        There :math:`\partial_t u = \nabla\cdot(u e^{-\alpha v} \nabla(\log u - \alpha v))` and v is a symmetric linear
        function of u, so :math:`F = \int u \log u - \tfrac\alpha2 u v` falls at the rate
        :math:`\int u e^{-\alpha v} |\nabla(\log u - \alpha v)|^2`.
        """
        if not isinstance(self.motility, ExponentialMotility) or self.tau != 0:
            return super().free_energy_density(densities, c)
        u = np.maximum(densities["u"], 0.0)
        logarithm = np.log(u, where=u > 0, out=np.zeros_like(u))
        return u * (logarithm - 0.5 * self.motility.alpha * c["v"])


@dataclass(frozen=True, kw_only=True)
class SignalDependentKellerSegel(LocalSensing):
    r"""The signal-dependent Keller-Segel system of Wang, Li and Huang.

    .. math::
        \partial_t u = \Delta\big((e^{-v} + 1) u\big), \qquad -\Delta v + \mu^2 v = \chi u
        \quad\text{on } \mathbb R^2, \tag{1.1}

    for a probability density u (μ = 1 in the paper). With ``eps`` the backends regularise it to their (1.9), where
    :math:`\chi u` becomes :math:`\chi u * j^\varepsilon`, and to their particles (1.3),

    .. math:: dX_i = \big(2 e^{-a_i} + 2\big)^{1/2} dB_i, \qquad a_i = \frac1N \sum_{j=1}^N \Phi^\varepsilon(X_i - X_j),

    with j = i included and :math:`\Phi^\varepsilon = \Phi * j^\varepsilon`, Φ the Yukawa potential of strength χ.

    Attributes:
        chi: the strength χ ≥ 0 of the signal. Their Lemma 1 asks for χ < 4/c_* ≈ 23.4.
        mu: the screening μ > 0, an inverse length.

    Raises:
        InputError: a value out of range.
    """

    motility: Motility = field(default_factory=OnePlusExponentialMotility, init=False, repr=False)
    tau: float = field(default=0.0, init=False, repr=False)
    v0: InitialDensity | None = field(default=None, init=False, repr=False)
