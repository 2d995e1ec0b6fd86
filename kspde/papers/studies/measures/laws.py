r"""Measures of laws: the modulated free energy, and the entropy of few of many particles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar, Literal

import numpy as np

from kspde.distances.statistics import squared_mean, squared_norm
from kspde.distances.target import Target
from kspde.errors import check_choice, check_integer
from kspde.evidence import modulated_free_energy
from kspde.evidence.entropy import BoundOverTime
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.measures.particles import ensemble_of, particles_of
from kspde.papers.studies.quantities import Meaning, Quantity, given
from kspde.protocols import SolvedDensity
from kspde.runtime.reductions import everyones
from kspde.typing import Array

__all__ = ["FreeEnergy", "LocalEntropy"]


@dataclass(frozen=True, kw_only=True)
class FreeEnergy(Measure):
    r"""The modulated free energy at the end, between its two curves, and the bound on H that follows.

    See :func:`kspde.modulated_free_energy`. Nothing has to be mollified.

    Attributes:
        replicas: the number of independent systems, at least 4.
        saves: the number of intervals of the sums over time.
        scheme: the scheme of the particles.
    """

    name: ClassVar = "free-energy"
    mollified: ClassVar = False
    quantities: ClassVar = {
        "entropy": Meaning("bound on H_N/N", "Bound on the relative entropy H_N of the N-particle law, per particle"),
        "total_entropy": Meaning("bound on H_N", "Bound on the relative entropy H_N of the N-particle law"),
        "free_energy": Meaning("bound on H_N/N + E F_N/(2σ)", "Bound on the modulated free energy per particle"),
        "energy": Meaning("E F_N/(2σ)", "Modulated energy, which the modulated free energy exceeds by H_N/N"),
    }

    replicas: int
    saves: int = 10
    scheme: Literal["euler-maruyama", "weak-2"] = "euler-maruyama"

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, at_least=4)
        check_integer("saves", self.saves, at_least=1)
        check_choice("scheme", self.scheme, ("euler-maruyama", "weak-2"))

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities."""
        found = modulated_free_energy(
            task.density(saves=self.saves), replicas=self.replicas, scheme=self.scheme, **particles_of(task)
        )

        def quantity(curve: BoundOverTime, factor: float = 1.0) -> Quantity:
            low, high = curve.at_end.interval
            return given(factor * curve.at_end.value, (factor * low, factor * high))

        return {
            "entropy": quantity(found.entropy),
            "total_entropy": quantity(found.entropy, found.n),
            "free_energy": quantity(found.bound),
            "energy": quantity(found.energy),
        }


@dataclass(frozen=True, kw_only=True)
class LocalEntropy(Measure):
    r"""The leading part of the entropies H_k of the laws of k = 1, 2, 8 of N particles at the end, by polynomials.

    H_k is the relative entropy to the law of k mean-field particles. With polynomials φ_j, of degree 1 to ``degree``,
    orthonormal in the space :math:`L^2(\bar u)` of the law :math:`\bar u` of a mean-field particle, the law of k
    particles has the coefficients :math:`a_j = E\varphi_j(X_1)` and :math:`b_{jl} = E\varphi_j(X_1)\varphi_l(X_2)`, of
    order 1/N, and from three particles on smaller ones. With :math:`H = \tfrac12\chi^2 + O(\chi^3)`

    .. math:: H_k \simeq \tfrac12\Big(k\sum_j a_j^2 + \tbinom k2\sum_{jl} b_{jl}^2\Big) + O(N^{-3}),

    less what higher degrees would add: k H_1 and, for each of k(k − 1) ordered pairs, a quarter of
    :math:`\sum b_{jl}^2`, ``h_pairs``. (Where all laws are Gaussian, degree 2 gives the :math:`dr^2k^2/(4N^2)` of
    :class:`kspde.MeanAttraction`.) In k this is a polynomial whatever the numbers, and no fit in k says
    more: where H_1 = C_1/N² and h_pairs = C/N², H_k ≤ max(C_1, C) k²/N² for all k ≪ N.

    The same of mean-field particles with the same noise, which is 0 on average, is subtracted. Squares of means over
    replicas are estimated without bias, by products of different replicas, with intervals that hold near 0. Lacker's,
    and Feng and Wang's, local estimates promise H_k ≤ C k²/N²; subadditivity alone, H_k ≤ (k/N) H_N, gives order 1 in
    N.

    Attributes:
        replicas: the number of independent systems, at least 4.
        degree: the largest total degree of the polynomials.
        saves: the number of intervals between the snapshots that the mean field is interpolated from.
    """

    name: ClassVar = "local-entropy"
    quantities: ClassVar = {
        **{
            f"h_{k}": Meaning(f"H_{k}", f"Relative entropy of the law of {k} of N particles, its leading part")
            for k in (1, 2, 8)
        },
        "h_pairs": Meaning("(H_k − k H_1)/(k(k − 1))", "The same of k particles, what their pairs add, for each"),
    }

    replicas: int
    degree: int = 4
    saves: int = 25

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, at_least=4)
        check_integer("degree", self.degree, at_least=1, at_most=12)
        check_integer("saves", self.saves, at_least=1)

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities."""
        ensemble = ensemble_of(task, self.replicas, self.saves)
        n = check_integer("n", ensemble.n, at_least=8)
        ensemble.run()
        basis = _Polynomials(ensemble.pde, self.degree)
        coefficients = []
        for label in ("particles", "mean_field"):
            (x,) = ensemble.systems[label].positions.values()
            values = basis.at(x).reshape(-1, n, basis.count)
            sums = values.sum(axis=1)
            pairs = np.einsum("rj,rl->rjl", sums, sums) - np.einsum("rij,ril->rjl", values, values)
            own = sums / n, pairs.reshape(-1, basis.count**2) / (n * (n - 1))
            coefficients.append([everyones(each, ensemble.comm) for each in own])
        (one, two), (one_free, two_free) = coefficients
        first, second = one - one_free, two - two_free
        entropies = {
            f"h_{k}": _squared(np.hstack([np.sqrt(0.5 * k) * first, np.sqrt(0.25 * k * (k - 1)) * second]))
            for k in (1, 2, 8)
        }
        return {**entropies, "h_pairs": _squared(0.5 * second)}


def _squared(samples: Array) -> Quantity:
    """Return |E sample|²; its samples are the jackknife's."""
    found = squared_norm(samples)
    return replace(given(found.value, found.interval), samples=tuple(squared_mean(samples).tolist()))


class _Polynomials:
    """Polynomials that are orthonormal for a density's law at its end, and orthogonal to 1."""

    def __init__(self, pde: SolvedDensity, degree: int) -> None:
        (species,) = pde.model.species
        target = Target.of(pde, species)
        grid = target.mass_grid()
        mass = np.maximum(target.on_grid(grid.axes), 0.0).ravel()
        mass /= mass.sum()
        points = np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1).reshape(len(mass), -1)
        self._centre = mass @ points
        self._scale = np.sqrt(mass @ np.square(points - self._centre))
        d = pde.model.dimension
        self._powers = sorted((p for p in product(range(degree + 1), repeat=d) if sum(p) <= degree), key=sum)
        values = self._raw(points)
        # Rows of the inverse of the Gram matrix's root orthonormalise, lower degrees first: the first row is 1.
        self._rows = np.linalg.inv(np.linalg.cholesky(values.T @ (mass[:, None] * values)))[1:]
        self.count = len(self._rows)

    def at(self, x: Array) -> Array:
        """Return the values at points (n, d), shape (n, polynomials)."""
        return np.asarray(self._raw(x) @ self._rows.T)

    def _raw(self, x: Array) -> Array:
        """Return products of Hermite's polynomials."""
        z = (x - self._centre) / self._scale
        alone = np.polynomial.hermite_e.hermevander(z, max(map(max, self._powers)))
        return np.stack([np.prod(alone[:, range(len(p)), p], axis=1) for p in self._powers], axis=1)
