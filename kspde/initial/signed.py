"""Signed Gaussian mixtures, such as vortices of either circulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_finite
from kspde.initial.base import InitialDensity
from kspde.initial.mixture import GaussianMixture
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["SignedMixture"]


class SignedMixture(InitialDensity):
    r"""Gaussians of either sign, :math:`\omega_0 = \sum_j \Gamma_j\, G(\cdot - m_j; s_j)`; their mass may be 0.

    Particles are drawn from :math:`\sum_j |\Gamma_j| G(\cdot - m_j; s_j)`, with the weight :math:`\pm\sum_j
    |\Gamma_j|/N` of the sign of the Gaussian that they were drawn from.

    Args:
        circulations: the integrals Γ_j of the Gaussians, of either sign and not 0, shape (k,).
        means: the means m_j, shape (k, d).
        stds: the standard deviations s_j > 0 in each coordinate, shape (k,).

    Raises:
        InputError: wrong shapes, non-finite numbers, Γ_j = 0, s_j ≤ 0.
    """

    signed = True

    def __init__(self, *, circulations: npt.ArrayLike, means: npt.ArrayLike, stds: npt.ArrayLike) -> None:
        self.circulations = check_finite("circulations", circulations, (None,))
        sizes = np.abs(self.circulations)
        if not len(sizes) or sizes.min() == 0:
            raise InputError("circulations are none, or contain 0: give the integral of each Gaussian")
        total = float(sizes.sum())
        self._modulus = GaussianMixture(weights=sizes / total, means=means, stds=stds, mass=total)
        self.means, self.stds, self.dimension = self._modulus.means, self._modulus.stds, self._modulus.dimension
        self.mass = float(self.circulations.sum())

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={getattr(self, name).tolist()}" for name in ("circulations", "means", "stds"))
        return f"SignedMixture({parts})"

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return ω_0 at points of shape (n, d)."""
        return self._modulus.summed(x, self.circulations)

    @property
    def variation(self) -> float:
        """The sum of all |Γ_j|, at least ∫|ω_0|."""
        return self._modulus.mass

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the total variation of all Gaussians outside the box."""
        return self._modulus.mass_beyond(bounds)

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw a Gaussian by its size, then a point from it."""
        return self._modulus.sample(random, ids)

    def probes(self) -> Array | None:
        """Return those of the Gaussians without their signs."""
        return self._modulus.probes()

    def weights_of_draws(self, random: RandomNumbers, ids: Ids, n: int) -> Array:
        """Return the weights of the same draws, of n in all: shape (len(ids),)."""
        signs = np.sign(self.circulations)[self._modulus.chosen(random, ids)]
        return signs * (self._modulus.mass / n)
