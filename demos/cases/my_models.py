"""A model of your own for case files: kspde run … --models demos/cases/my_models.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import kspde


@dataclass(frozen=True, kw_only=True)
class TrappedRepulsion(kspde.Model):
    """Cells in a trap that avoid each other: ∂_t u = DΔu + ∇·(u(κ(x − x_0) + a∇c)), −Δc + c = u.

    Repulsion moves no centre of mass, so that of u approaches x_0 like e^(−κt).

    Attributes:
        a: the strength a ≥ 0 of the repulsion.
        kappa: the rate κ ≥ 0 of the trap.
        diffusivity: the diffusion coefficient D > 0.
        centre: the centre x_0 of the trap.
    """

    kind: ClassVar = "trapped-repulsion"

    a: float
    kappa: float = 1.0
    diffusivity: float = 0.1
    centre: Sequence[float] = (0.0, 0.0)

    @property
    def fields(self):
        """The field c."""
        return (kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True),)

    def diffusion(self, species, c):
        """Return D."""
        return self.diffusivity

    def drift(self, species, c):
        """Return −κ(x − x_0) − a∇c."""
        return -self.kappa * (c.points - self.centre) - self.a * c.gradient("c")
