"""A volatility that depends on the density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kspde.errors import InputError
from kspde.kernels import Identity
from kspde.models.base import Field, FieldValues, Model
from kspde.models.drivers import DRIVERS, Driver, volatility_of
from kspde.typing import Array

__all__ = ["DensityDependentVolatility"]


@dataclass(frozen=True, kw_only=True)
class DensityDependentVolatility(Model):
    r"""Particles on the line whose volatility depends on the density where they are: Qi's (7), with a driver h.

    .. math::
        \partial_t u = \tfrac12\,\partial_{xx}\big(\nu^2 u\big), \qquad h(t, x, \nu) = u(t, x). \tag{7}

    With ``eps`` the backends replace u in :math:`h(t, x, \nu) = u` by :math:`K_\varepsilon * u`, his (9), where
    :math:`K_\varepsilon` is the mollifier, and by the particles' :math:`K_\varepsilon * \mu^N` in his (4),

    .. math:: dM_i = \nu_i\,dW_i, \qquad h(t, M_i, \nu_i) = \frac1N \sum_j K_\varepsilon(M_i - M_j),

    for mass 1; in general :math:`\mu^N` has the mass of u.

    Attributes:
        driver: the driver h, an increasing function of ν ≥ 0, such as ``LinearDriver(a=1.0, b=2.0)``, or a function of
            a time t and arrays x and ν that uses numpy only.

    Raises:
        InputError: no function.
    """

    dimension = 1
    registries: ClassVar = {"driver": DRIVERS}

    driver: Driver

    def __post_init__(self) -> None:
        if not callable(self.driver):
            raise InputError(
                f"driver is a {type(self.driver).__name__}: give a function of t, x and nu, such as "
                "kspde.LinearDriver(a=1.0, b=2.0)"
            )

    @property
    def fields(self) -> tuple[Field, ...]:
        """The density itself, or mollified."""
        return (Field(name="density", kernel=Identity()),)

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return ν²/2."""
        return 0.5 * volatility_of(self.driver, c.t, c.points[:, 0], c["density"]) ** 2
