"""Densities with the tails of a power."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_integer, check_number, check_scale
from kspde.initial.base import InitialDensity, points_of
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["AlgebraicDensity"]


class AlgebraicDensity(InitialDensity):
    r"""The density :math:`u_0 = C (1 + |x|^2/s^2)^{-k}`, a multivariate t distribution of 2k − d degrees of freedom.

    For k > 2 in the plane it satisfies all that Wang, Li and Huang's Lemma 1 asks of an initial density:
    :math:`\nabla\log u_0 = -2kx/(s^2 + |x|^2)` is in :math:`W^{1,q}` for every q > 2, and :math:`|x|^2 u_0` integrable.
    No sum of Gaussians, nor any density that vanishes somewhere, satisfies the first.

    Args:
        power: the power k > d/2; the second moment is finite for k > d/2 + 1.
        scale: the length s > 0.
        dimension: the dimension d, one of 1, 2, 3.
        mass: the total mass.

    Raises:
        InputError: a value out of range.
    """

    def __init__(self, *, power: float, scale: float = 1.0, dimension: int = 2, mass: float = 1.0) -> None:
        self.dimension = check_integer("dimension", dimension, at_least=1, at_most=3)
        self.power = check_number("power", power, above=0)
        if self.power <= 0.5 * dimension:
            raise InputError(f"power = {power:g} is not valid: give more than {0.5 * dimension:g}, for a finite mass")
        self.scale = check_scale("scale", scale)
        self.mass = check_scale("mass", mass)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={getattr(self, name):g}" for name in ("power", "scale", "dimension", "mass"))
        return f"AlgebraicDensity({parts})"

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u_0 at points of shape (n, d)."""
        square = np.square(points_of(x, self.dimension) / self.scale).sum(axis=1)
        logarithm = math.lgamma(self.power) - math.lgamma(self._shape) - 0.5 * self.dimension * math.log(math.pi)
        factor = self.mass * math.exp(logarithm) / self.scale**self.dimension
        return np.asarray(factor * (1.0 + square) ** -self.power)

    @property
    def _shape(self) -> float:
        """A point is s Z/√(2G), with Z normal and G of a gamma distribution of this shape."""
        return self.power - 0.5 * self.dimension

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the mass outside the box, a mean over G."""
        from scipy.special import erfc, gammainc, gammaln

        log_g = np.linspace(-60.0, math.log(60.0 + 4 * self._shape), 20_001)
        g = np.exp(log_g)
        weights = np.exp(self._shape * log_g - g - gammaln(self._shape)) * (log_g[1] - log_g[0])
        inside = np.zeros_like(g)  # its logarithm
        for low, high in bounds.T:
            beside = 0.5 * (erfc(high / self.scale * np.sqrt(g)) + erfc(-low / self.scale * np.sqrt(g)))
            inside += np.log1p(-np.minimum(beside, 1 - 1e-16))
        outside = -np.expm1(inside)
        return min(1.0, float(weights @ outside + gammainc(self._shape, g[0])))  # smaller ones are far beyond

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw G, then a normal point scaled by it."""
        from scipy.special import gammaincinv

        g = gammaincinv(self._shape, random.uniforms(ids, 0, 1)[:, 0])
        return np.asarray(self.scale * random.normals(ids, 1, self.dimension) / np.sqrt(2 * g)[:, None])
