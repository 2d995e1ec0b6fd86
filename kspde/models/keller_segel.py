"""The classical Keller-Segel system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from kspde.errors import check_number
from kspde.initial import InitialDensity
from kspde.kernels import Yukawa
from kspde.models.base import Field, FieldValues, Model, check_start
from kspde.typing import Array

__all__ = ["KellerSegel"]


@dataclass(frozen=True, kw_only=True)
class KellerSegel(Model):
    r"""Cells that climb the gradient of the signal that they emit: the classical Keller-Segel system, on the plane.

    .. math::
        \partial_t u = D\Delta u - \chi\nabla\cdot(u\nabla c), \qquad \tau\partial_t c = \Delta c - \mu^2 c + u.

    For τ = 0 it is parabolic-elliptic. On the whole plane and without screening, μ = 0, a mass M then has
    :math:`\frac{d}{dt}\int |x|^2 u = 4M(D - \chi M/(8\pi))`: below :math:`8\pi D/\chi` it spreads, above it blows up in
    finite time (Blanchet, Dolbeault and Perthame, Electron. J. Differential Equations 44, 2006), and in each point
    where it does, 8πD/χ collects. The particles are :math:`dX_i = \chi\nabla c\,dt + \sqrt{2D}\,dB_i`.

    Attributes:
        chi: the sensitivity χ ≥ 0.
        mu: the screening μ ≥ 0 of the signal, an inverse length.
        tau: the relaxation time τ ≥ 0 of the signal, 0 if it is always in equilibrium.
        diffusion: D > 0.
        v0: the initial signal if τ > 0; None: in equilibrium with the initial density.

    Raises:
        InputError: a value out of range.
    """

    chi: float
    mu: float = 0.0
    tau: float = 0.0
    diffusion: float = 1.0  # type: ignore[assignment]  # one number in place of a method
    v0: InitialDensity | None = None

    def __post_init__(self) -> None:
        check_number("chi", self.chi, at_least=0)
        check_number("mu", self.mu, at_least=0)
        check_number("tau", self.tau, at_least=0)
        check_number("diffusion", self.diffusion, above=0)
        check_start("v0", self.v0, self.tau)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The signal c = K * u, K the Yukawa or logarithmic potential, or the signal that relaxes to it."""
        kernel = Yukawa(screening=self.mu)
        return (Field(name="c", kernel=kernel, gradient=True, value=False, tau=self.tau, start=self.v0),)

    def drift(self, species: str, c: FieldValues) -> Array:
        """Return χ∇c."""
        return self.chi * c.gradient("c")

    def without_interaction(self) -> KellerSegel:
        """Return the model with χ = 0."""
        return replace(self, chi=0.0)

    def free_energy_density(self, densities: Mapping[str, Array], c: FieldValues) -> Array:
        r"""Return D u log u − (χ/2) u c for τ = 0, and D u log u − χ u c + (χ/2)(|∇c|² + μ²c²) for τ > 0.

        The equations are :math:`\partial_t u = \nabla\cdot(u\nabla\,\delta F/\delta u)` and
        :math:`\chi\tau\partial_t c = -\delta F/\delta c`, so F falls at the rate
        :math:`\int u|\nabla(D\log u - \chi c)|^2 + \chi\tau\int (\partial_t c)^2`. Without screening on the plane c,
        and with it F, is known up to a constant.
        """
        u = np.maximum(densities["u"], 0.0)
        entropy = self.diffusion * u * np.log(u, where=u > 0, out=np.zeros_like(u))
        if self.tau == 0.0:
            return np.asarray(entropy - 0.5 * self.chi * u * c["c"])
        signal = np.sum(c.gradient("c") ** 2, axis=1) + self.mu**2 * c["c"] ** 2
        return np.asarray(entropy + self.chi * (0.5 * signal - u * c["c"]))
