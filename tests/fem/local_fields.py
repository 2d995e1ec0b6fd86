"""Models whose fields are the densities themselves, for tests: the kernel with symbol 1."""

from dataclasses import dataclass

import numpy as np

import kspde
from kspde.initial import InitialDensity

__all__ = ["Barenblatt", "Crossing", "Identity", "Porous"]


class Identity(kspde.Kernel):
    """δ: its field is the density itself."""

    decay_rate = np.inf
    smoothing = 0.0
    resolvents = ()

    def symbol(self, lam):
        return np.ones_like(lam)


@dataclass(frozen=True, kw_only=True)
class Crossing(kspde.Model):
    """Cross-diffusion: ∂_t u_i = σΔu_i + div(Σ_j a_ij u_i ∇u_j)."""

    species = ("a", "b")

    @property
    def fields(self):
        return tuple(kspde.Field(name=s, kernel=Identity(), source=s, gradient=True) for s in self.species)

    def diffusion(self, species, c):
        return 0.1

    def drift(self, species, c):
        a, b = {"a": (2.0, 1.0), "b": (1.0, 3.0)}[species]
        return -a * c.gradient("a") - b * c.gradient("b")


@dataclass(frozen=True, kw_only=True)
class Porous(kspde.Model):
    """∂_t u = ½∂_xx(u²): D = u/2."""

    dimension: int = 1

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=Identity()),)

    def diffusion(self, species, c):
        return 0.5 * c["c"]


class Barenblatt(InitialDensity):
    """Its self-similar solution of mass 1, t^(−1/3) (C − x²/(6 t^(2/3)))_+ at a time t."""

    dimension = 1
    mass = 1.0

    def __init__(self, t: float = 1.0) -> None:
        self.t = t

    def __call__(self, x):
        c = (3.0 / (4.0 * np.sqrt(6.0))) ** (2.0 / 3.0)
        return self.t ** (-1 / 3) * np.maximum(c - x[:, 0] ** 2 / (6.0 * self.t ** (2 / 3)), 0.0)

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        raise NotImplementedError
