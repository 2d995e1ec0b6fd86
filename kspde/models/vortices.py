"""Viscous point vortices and the vorticity equation on the plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kspde.errors import check_flag, check_number
from kspde.kernels import LogPotential
from kspde.models.base import Field, FieldValues, Model
from kspde.typing import Array

__all__ = ["ViscousVortices"]

_SIGNS = {"positive": 1.0, "negative": -1.0}


@dataclass(frozen=True, kw_only=True)
class ViscousVortices(Model):
    r"""Vortices that carry one another along, with viscosity: the vorticity equation of a plane flow.

    .. math::
        \partial_t\omega + (K * \omega)\cdot\nabla\omega = \nu\Delta\omega, \qquad
        dX_i = \sum_{j\ne i}\Gamma_j K(X_i - X_j)\,dt + \sqrt{2\nu}\,dB_i, \qquad
        K(x) = \frac{x^\perp}{2\pi|x|^2},\ x^\perp = (-x_2, x_1),

    so that the flow turns counter-clockwise around positive vorticity. The velocity is
    :math:`K * \omega = (\partial_y\psi, -\partial_x\psi)` with the stream function of :math:`-\Delta\psi = \omega`. The
    circulations Γ_j are the particles' weights: m/N where all are equal, m the integral of ω; of either sign with
    ``weights=``, with a :class:`~kspde.SignedMixture`, or as two species. (Marchioro and Pulvirenti, Comm. Math. Phys.
    84, 1982; Fournier, Hauray and Mischler, J. Eur. Math. Soc. 16, 2014.)

    **Identities** on the whole plane, for every N: :math:`E\sum_i\Gamma_i|X_i|^2` grows at the rate
    :math:`4\nu\sum\Gamma_i`, as :math:`\int|x|^2\omega` at :math:`4\nu\int\omega`; the centre of vorticity
    :math:`\sum\Gamma_iX_i` is a martingale, and rests where ν = 0, as does the Hamiltonian
    :math:`-\frac1{4\pi}\sum_{i\ne j}\Gamma_i\Gamma_j\log|X_i - X_j|`. Exact solution, Lamb and Oseen's vortex: a
    Gaussian of variance s² in each coordinate becomes one of s² + 2νt.

    Attributes:
        viscosity: ν ≥ 0. A density needs cells as small as the layers that ν leaves: it warns of its Péclet number.
        two_signs: whether there are two species, "positive" and "negative", whose densities are the positive and the
            negative vorticity, both ≥ 0; each has its own initial density. False: one species "u", whose density ω may
            have both signs.

    Raises:
        InputError: a value out of range.
    """

    viscosity: float
    two_signs: bool = False

    def __post_init__(self) -> None:
        check_number("viscosity", self.viscosity, at_least=0)
        check_flag("two_signs", self.two_signs)

    @property
    def species(self) -> tuple[str, ...]:  # type: ignore[override]
        """The species: "u", or "positive" and "negative"."""
        return tuple(_SIGNS) if self.two_signs else ("u",)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The stream function, or the shares of both signs in it."""
        shares = (
            {f"psi_{name}": (name, sign) for name, sign in _SIGNS.items()} if self.two_signs else {"psi": ("u", 1.0)}
        )
        return tuple(
            Field(name=name, kernel=LogPotential(strength=sign), source=source, gradient=True, value=False)
            for name, (source, sign) in shares.items()
        )

    def diffusion(self, species: str, c: FieldValues) -> float:
        """Return ν."""
        return self.viscosity

    def drift(self, species: str, c: FieldValues) -> Array:
        """Return the velocity of the flow."""
        velocity: Array = np.add.reduce([c.perp(field.name) for field in self.fields])
        return velocity
