"""Confined gases with logarithmic and Riesz interactions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from kspde.errors import check_integer, check_number
from kspde.kernels import Kernel, Logarithm, LogPotential, Riesz
from kspde.models.base import Field, FieldValues, Model
from kspde.typing import Array

__all__ = ["Gas", "LogGas", "RieszGas"]


@dataclass(frozen=True, kw_only=True)
class Gas(Model):
    r"""Particles with a pair potential V in a harmonic trap: the gradient flow of a free energy.

    .. math::
        dX_i = \Big(-\kappa X_i - \tfrac mN\sum_{j\ne i}\nabla V(X_i - X_j)\Big)dt + \sqrt{2\sigma}\,dB_i, \qquad
        \partial_t u = \sigma\Delta u + \nabla\cdot\big(u(\kappa x + \nabla V * u)\big),

    m the mass of u. Every drift is minus the derivative of the energy by the position, so the Gibbs law
    :math:`\exp(-\tfrac1\sigma(\tfrac\kappa2\sum_i|x_i|^2 + \tfrac m{2N}\sum_{i\ne j}V(x_i - x_j)))` is invariant.

    Attributes:
        strength: g, of either sign: positive repels.
        noise: σ ≥ 0: the noise is √(2σ)dB.
        confinement: κ ≥ 0, the rate of the trap.
        dimension: d, 1, 2 or 3.
    """

    strength: float
    noise: float = 1.0
    confinement: float = 1.0
    dimension: int = 2

    def __post_init__(self) -> None:
        check_number("strength", self.strength)
        check_number("noise", self.noise, at_least=0)
        check_number("confinement", self.confinement, at_least=0)
        check_integer("dimension", self.dimension, at_least=1, at_most=3)

    @property
    @abstractmethod
    def potential(self) -> Kernel:
        """The pair potential V."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The potential c = V * u, of which the drift uses the gradient."""
        return (Field(name="c", kernel=self.potential, gradient=True, value=False),)

    def diffusion(self, species: str, c: FieldValues) -> float:
        """Return σ."""
        return self.noise

    def drift(self, species: str, c: FieldValues) -> Array:
        """Return −κx − ∇c."""
        return -self.confinement * c.points - c.gradient("c")

    @property
    def ordered(self) -> bool:
        """Whether the particles repel one another on a line."""
        return self.dimension == 1 and self.strength > 0

    def without_interaction(self) -> Self:
        """Return the model with g = 0: Ornstein-Uhlenbeck processes."""
        return replace(self, strength=0.0)

    def free_energy_density(self, densities: Mapping[str, Array], c: FieldValues) -> Array:
        r"""Return :math:`\sigma u\log u + \tfrac\kappa2|x|^2u + \tfrac12 u c`, whose integral the gas dissipates."""
        u = np.maximum(densities["u"], 0.0)
        entropy = self.noise * u * np.log(u, where=u > 0, out=np.zeros_like(u))
        trap = 0.5 * self.confinement * np.sum(c.points**2, axis=1)
        return np.asarray(entropy + u * (trap + 0.5 * c["c"]))


@dataclass(frozen=True, kw_only=True)
class LogGas(Gas):
    r"""The log gas, with the pair potential :math:`V(x) = -g\log|x|` in every dimension; on the line, Dyson's gas.

    .. math::
        dX_i = \Big(-\kappa X_i + \frac{gm}N\sum_{j\ne i}\frac{X_i - X_j}{|X_i - X_j|^2}\Big)dt
        + \sqrt{2\sigma}\,dB_i,

    m the mass, 1 unless the initial density has another: weights are m/N.

    **Second moment.** Since :math:`x\cdot\nabla V = -g`, before any collapse and for every N,

    .. math:: \frac{d}{dt}E|X|^2 = -2\kappa E|X|^2 + gm\frac{N - 1}N + 2d\sigma,

    for the mean :math:`|X|^2` over the particles, which tends to :math:`(gm\frac{N-1}N + 2d\sigma)/(2\kappa)` if κ > 0;
    :math:`I = \int|x|^2u` obeys :math:`\dot I = -2\kappa I + gm^2 + 2d\sigma m`.

    **On the line**, two particles that repel never meet if g ≥ Nσ/m; otherwise they meet and part again, in the same
    order. As σ → 0 the density in equilibrium tends to the semicircle of radius :math:`\sqrt{2gm/\kappa}`. At σ = 0
    particles rest at :math:`\sqrt{gm/(N\kappa)}` times the zeros of Hermite's polynomial :math:`H_N` (Stieltjes).

    **Attraction.** The free energy is bounded below if gm > −2dσ, by the logarithmic inequality of Hardy, Littlewood
    and Sobolev; for gm < −2dσ and κ = 0 the moment I would become negative: the density blows up. A run warns of it.
    In the plane this is the Keller-Segel system of χ = −2πg, D = σ. Clusters of k particles stick together where
    k ≥ :math:`2dN\sigma/(|g|m)`.

    Attributes:
        strength: g, of either sign: positive repels.
        noise: σ ≥ 0: the noise is √(2σ)dB.
        confinement: κ ≥ 0, the rate of the trap.
        dimension: d, 1, 2 or 3.

    Raises:
        InputError: a value out of range.
    """

    @property
    def potential(self) -> Kernel:
        """The potential −g log|x|."""
        if self.dimension == 2:
            return LogPotential(strength=2 * math.pi * self.strength)
        return Logarithm(strength=self.strength)


@dataclass(frozen=True, kw_only=True)
class RieszGas(Gas):
    r"""The Riesz gas, with the pair potential :math:`V(x) = g|x|^{-s}`, 0 < s < d.

    .. math::
        dX_i = \Big(-\kappa X_i + \frac{gsm}N\sum_{j\ne i}\frac{X_i - X_j}{|X_i - X_j|^{s+2}}\Big)dt
        + \sqrt{2\sigma}\,dB_i,

    m the mass: weights are m/N. V is homogeneous, :math:`x\cdot\nabla V = -sV`, so that the mean :math:`|X|^2` over the
    particles obeys

    .. math::
        \frac{d}{dt}E|X|^2 = -2\kappa E|X|^2 + 2d\sigma + \frac{sm}{N^2}\,E\sum_{i\ne j}V(X_i - X_j),

    and :math:`I = \int|x|^2u` obeys :math:`\dot I = -2\kappa I + 2d\sigma m + s\iint V(x - y)u(x)u(y)`. In equilibrium
    :math:`2\kappa E|X|^2 = 2d\sigma + \frac{sm}{N^2}E\sum_{i\ne j}V(X_i - X_j)`.

    For s ≥ d − 1 the gradient of V is not locally integrable. Densities take :math:`\nabla(V * u)`, defined for
    smooth u, and particles that repel never meet. Steps of dt do not resolve how they part, though: what they leave out
    of the repulsion falls like dt^((d − s)/(s + 2)) only (measured in d = 1, s = .5, N = 500: 4 % of the growth of
    :math:`E|X|^2` at dt = .005 to .04; with eps = .05 none), of which a run without ``eps`` warns. Particles that
    attract, g < 0, stick together where two of them meet, whatever s: a run without ``eps`` warns of it.

    Attributes:
        strength: g, of either sign: positive repels.
        s: the power, between 0 and d.
        noise: σ ≥ 0: the noise is √(2σ)dB.
        confinement: κ ≥ 0, the rate of the trap.
        dimension: d, 1, 2 or 3.

    Raises:
        InputError: a value out of range.
    """

    s: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("s", self.s, above=0, below=self.dimension)

    @property
    def potential(self) -> Kernel:
        """The potential g|x|^(−s)."""
        return Riesz(s=self.s, strength=self.strength)
