"""Populations that avoid each other: cross-diffusion in a drift, and in the diffusion coefficient."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kspde.errors import InputError, check_finite, check_integer
from kspde.kernels import Identity
from kspde.models.base import Field, FieldValues, Model
from kspde.typing import Array

__all__ = ["CrossDiffusion", "ShigesadaKawasakiTeramoto"]


@dataclass(frozen=True, kw_only=True)
class _Populations(Model):
    """Species that interact through their local densities c_j = u_j, or V^η * u_j, with a matrix a_ij.

    Attributes:
        a: the interactions a_ij, a row per species that moves and a column per species that it meets.
        sigma: the diffusion coefficients σ_i > 0, one per species.
        dimension: the dimension d of space.
        species: the names of the species, "u1", "u2", … unless given.

    Raises:
        InputError: a value out of range, or sizes that do not match.
    """

    a: Sequence[Sequence[float]]
    sigma: Sequence[float]
    dimension: int = 2
    species: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sigma = check_finite("sigma", self.sigma, (None,))
        if np.any(sigma <= 0):
            raise InputError(f"sigma has {sigma.min():g}: give numbers > 0")
        n = len(sigma)
        a = check_finite("a", self.a, (None, None))
        if a.shape != (n, n):
            raise InputError(
                f"sigma has {n} number{'' if n == 1 else 's'} and a has shape {a.shape}: give one sigma per species, "
                "and a with a row and a column per species"
            )
        check_integer("dimension", self.dimension, at_least=1)
        if not isinstance(self.species, tuple | list) or len(self.species) not in (0, n):
            raise InputError(f"species = {self.species!r} is not valid: give {n} names, one per sigma, or none")
        for name, value in (
            ("a", tuple(map(tuple, a.tolist()))),
            ("sigma", tuple(sigma.tolist())),
            ("species", tuple(self.species) or tuple(f"u{i + 1}" for i in range(n))),
        ):
            object.__setattr__(self, name, value)

    def _interacting(self, *, gradient: bool) -> tuple[Field, ...]:
        met = np.any(np.array(self.a) != 0, axis=0)
        return tuple(
            Field(name=f"c_{name}", kernel=Identity(), source=name, gradient=gradient)
            for name, needed in zip(self.species, met, strict=True)
            if needed
        )

    def _row(self, species: str) -> list[tuple[float, str]]:
        """Return the a_ij ≠ 0 of a species, with the names of the fields c_j."""
        row = self.a[self.species.index(species)]
        return [(a, f"c_{name}") for a, name in zip(row, self.species, strict=True) if a]

    def _sigma(self, species: str) -> float:
        return self.sigma[self.species.index(species)]

    @property
    @abstractmethod
    def entropy_weights(self) -> tuple[float, ...] | None:
        """The π_i > 0 with which the entropy decays, None where there are none."""

    @property
    def has_free_energy(self) -> bool:
        """Whether there are ``entropy_weights``."""
        return self.entropy_weights is not None

    def free_energy_density(self, densities: Mapping[str, Array], c: FieldValues) -> Array:
        """Return the integrand Σ_i π_i u_i (log u_i − 1) of the entropy."""
        if self.entropy_weights is None:
            return super().free_energy_density(densities, c)
        out = np.zeros(len(c.points))
        for weight, name in zip(self.entropy_weights, self.species, strict=True):
            u = np.maximum(densities[name], 0.0)
            out += weight * u * (np.log(u, where=u > 0, out=np.zeros_like(u)) - 1.0)
        return out


@dataclass(frozen=True, kw_only=True)
class CrossDiffusion(_Populations):
    r"""The cross-diffusion system of Chen, Daus and Jüngel.

    .. math:: \partial_t u_i - \sigma_i\Delta u_i = \nabla\cdot\Big(\sum_j a_{ij}\,u_i\nabla u_j\Big) \tag{1}

    is (1) of *Rigorous mean-field limit and cross-diffusion*. With ``eps`` = η the backends regularise it to its (4),
    with :math:`\nabla V_{ij}^\eta * u_j` in place of :math:`a_{ij}\nabla u_j`, where :math:`V_{ij} = a_{ij}V`,
    :math:`V^\eta(x) = \eta^{-d}V(x/\eta)` and V is the mollifier (there of compact support, "bump" or "compact-bump"),
    and to its particles (2). A mean field moves others beside them, with the same starting points and noise:

    .. math::
        dX_i &= -\sum_j a_{ij}\frac1N\sum_\ell\nabla V^\eta(X_i - X_j^\ell)\,dt + \sqrt{2\sigma_i}\,dW_i, \tag{2} \\
        d\bar X_i &= -\sum_j a_{ij}\nabla V^\eta * u_{\eta,j}(\bar X_i)\,dt + \sqrt{2\sigma_i}\,dW_i, \tag{3} \\
        d\hat X_i &= -\sum_j a_{ij}\nabla u_j(\hat X_i)\,dt + \sqrt{2\sigma_i}\,dW_i. \tag{5}

    (3) is ``simulate(..., eps=eta, mean_field=pde)`` with ``pde = solve(..., eps=eta)``; (5) with the local density,
    ``pde = solve(...)``, and ``mean_field_differs=("eps",)``; both solved with ``save=SaveAt(times=...)`` from 0 on.

    **Entropy.** Where a + aᵀ is positive semidefinite, ∫Σ u_i (log u_i − 1) decays for (1), and for (4) if V's symbol
    is nowhere negative (a Gaussian's; a compact bump's changes sign). It falls at the rate
    :math:`\sum_i\sigma_i\int|\nabla u_i|^2/u_i + \sum_{ij}a_{ij}\int\nabla u_i\cdot\nabla V^\eta * u_j`. The paper
    prints 4a₁₁a₂₂ > (a₁₂ + a₂₁)² for two species, which needs a₁₁ > 0 too.

    **Order in η.** Their (10) promises ‖u_η − u‖ ≤ Cη. For symmetric V, as theirs are, the order is 2:
    :math:`V^\eta * u = u + O(\eta^2)`. :mod:`kspde.papers.theory.cross_diffusion` has their conditions and errata.

    **The best η.** N particles in (2) are closest to (5), and V^η * μ_N to u in L², at a range of order N^{−1/(d+4)},
    the drift at a point at N^{−1/(d+6)}: the study cross-diffusion-range and its measure say what is proved of it.

    A negative a_ij attracts. The local system (1) is then a backward heat equation where the matrix σ_iδ_ij + u_i a_ij
    has an eigenvalue with negative real part; ``solve`` refuses it there.
    """

    @property
    def fields(self) -> tuple[Field, ...]:
        """The densities c_j = u_j with gradients, of the species that others meet."""
        return self._interacting(gradient=True)

    def diffusion(self, species: str, c: FieldValues) -> float:
        """Return σ_i."""
        return self._sigma(species)

    def drift(self, species: str, c: FieldValues) -> Array | None:
        """Return −Σ_j a_ij ∇c_j."""
        row = self._row(species)
        return np.asarray(-sum(a * c.gradient(name) for a, name in row)) if row else None

    @property
    def entropy_weights(self) -> tuple[float, ...] | None:
        """1 for each species where a + aᵀ is positive semidefinite, else None."""
        a = np.array(self.a)
        least = np.linalg.eigvalsh(a + a.T).min()
        return (1.0,) * len(a) if least >= -1e-12 * np.abs(a).max() else None


@dataclass(frozen=True, kw_only=True)
class ShigesadaKawasakiTeramoto(_Populations):
    r"""The population model of Shigesada, Kawasaki and Teramoto (J. Theor. Biol. 79, 1979), without reactions.

    .. math:: \partial_t u_i = \Delta\Big(u_i\big(\sigma_i + \sum_j a_{ij} u_j\big)\Big).

    With ``eps`` = η the diffusion coefficient is :math:`\sigma_i + \sum_j a_{ij} V^\eta * u_j`, where V is the
    mollifier, and the particles interact moderately:

    .. math:: dX_i = \Big(2\sigma_i + 2\sum_j a_{ij}\frac1N\sum_\ell V^\eta(X_i - X_j^\ell)\Big)^{1/2} dW_i

    (a particle meets itself, unless ``include_self=False``). One species with a = ((k,),) is the porous-medium equation
    with linear diffusion, ∂_t u = Δ(u(σ + ku)).

    **Entropy.** Where a_ij ≥ 0 and π_i a_ij = π_j a_ji for some π_i > 0 (two species: a₁₂ and a₂₁ both positive, or
    both 0), ∫Σ π_i u_i (log u_i − 1) decays for the local system, at the rate
    :math:`\int\sum_i\pi_i(\sigma_i + 2a_{ii}u_i)|\nabla u_i|^2/u_i
    + \sum_{i<j}\pi_i a_{ij}\,u_i u_j|\nabla\log(u_i u_j)|^2`.
    """

    @property
    def fields(self) -> tuple[Field, ...]:
        """The densities c_j = u_j of the species that others meet."""
        return self._interacting(gradient=False)

    def diffusion(self, species: str, c: FieldValues) -> Array | float:
        """Return σ_i + Σ_j a_ij c_j."""
        return self._sigma(species) + sum(a * c[name] for a, name in self._row(species))

    @property
    def entropy_weights(self) -> tuple[float, ...] | None:
        """The π_i of detailed balance, 1 for the first of the species that meet, else None."""
        a = np.array(self.a)
        weights = np.zeros(len(a))
        for first in range(len(a)):
            reached = [] if weights[first] else [first]
            weights[first] = weights[first] or 1.0
            while reached:
                i = reached.pop()
                for j in np.flatnonzero((a[i] > 0) & (a[:, i] > 0) & (weights == 0)).tolist():
                    weights[j] = weights[i] * a[i, j] / a[j, i]
                    reached.append(j)
        flow = weights[:, None] * a
        balanced = np.all(a >= 0) and np.allclose(flow, flow.T, rtol=1e-12, atol=0)
        return tuple(weights.tolist()) if balanced else None
