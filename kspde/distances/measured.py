"""What was measured: distances by name, with their intervals and floors from draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from kspde.distances.registry import DISTANCES, Formula
from kspde.distances.resampling import Replicas, deviation_of_clouds, invert, without_noise
from kspde.distances.statistics import Estimate, prediction, reach_of
from kspde.distances.target import CLIP
from kspde.errors import InputError
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["Estimates", "Family", "Floor", "Measured"]


class _NotMeasuredError(InputError, AttributeError):
    """An attribute for a distance that was not measured: ``hasattr`` is False."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Estimates:
    r"""Numbers by the name of a distance, each with its 95 % interval.

    Every distance of ``kspde.distances.registry.DISTANCES`` is also an attribute: ``distance.l1`` is
    ``distance["l1"]``. With k the particles' density estimate (or the second density) and u the density, they are

    - ``l1``: :math:`\int |k - u|`;
    - ``l2``: :math:`(\int (k - u)^2)^{1/2}`;
    - ``relative_entropy``: :math:`H(k|u) = \int k \log(k/u)`;
    - ``reverse_relative_entropy``: :math:`H(u|k) = \int u \log(u/k)`;
    - ``wasserstein1``: W_1 of μ_N and u, itself in one dimension or by optimal plans, sliced otherwise;
    - ``wasserstein2``: W_2, likewise;
    - ``energy``: the energy distance 2E|X − Y| − E|X − X'| − E|Y − Y'| of μ_N and u, a squared metric;
    - ``relative_entropy_knn``: H(p|u) from nearest neighbours, with neither grid nor bandwidth; it may be negative.

    Attributes:
        by_name: the estimates.
    """

    by_name: Mapping[str, Estimate] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of one distance.

        Raises:
            InputError: it was not measured.
        """
        if name not in self.by_name:
            raise InputError(f"{name} was not measured: give distances = (..., {name!r}) to compare")
        return self.by_name[name]

    def __getattr__(self, name: str) -> Estimate:
        """Return the estimate of the distance of this name."""
        if name not in DISTANCES:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
        try:
            return self[name]
        except InputError as error:  # hasattr asks
            raise _NotMeasuredError(str(error)) from None

    def __dir__(self) -> list[str]:
        """Return all attributes, the measured distances among them."""
        return [*super().__dir__(), *self.by_name]

    def __repr__(self) -> str:
        """Return the estimates by name, a line each."""
        return "\n".join(f"{DISTANCES[name].title:<30}{estimate}" for name, estimate in self.by_name.items())

    def summary(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        return {name: estimate.summary() for name, estimate in self.by_name.items()}

    def joined(self, other: Estimates) -> Self:
        """Return these estimates and others."""
        return replace(self, by_name={**self.by_name, **other.by_name})

    def only(self, names: Sequence[str]) -> Self:
        """Return the estimates of these names, as far as there are any, in this order."""
        return replace(self, by_name={name: self.by_name[name] for name in names if name in self.by_name})


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Floor(Estimates):
    """The distances of particles whose law is the density itself, or of two sets of particles of one law.

    For a density and particles: those of as many independent draws from the density. For two sets of particles: those
    after all particles are dealt out to the two anew, at random. Two densities have none. Values are means over the
    replicas; an interval holds one more such distance with probability 95 %.

    Attributes:
        replicas: how many clouds were drawn.
    """

    replicas: int = 0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Measured(Estimates):
    """The numbers of a :class:`kspde.distances.result.Distance`, which describes the attributes."""

    floor: Floor = field(default_factory=Floor)
    debiased: Estimates = field(default_factory=Estimates)
    smoothing: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    clipped_mass: float | None = None
    uncovered_mass: float | None = None
    clip_level: float = CLIP
    axes: tuple[Array, ...] = ()
    density_pde: Array = field(default_factory=lambda: np.zeros(0))
    density_particles: Array = field(default_factory=lambda: np.zeros(0))

    def with_points(self, points: Measured) -> Self:
        """Return these distances and those of the points themselves."""
        floor, debiased = points.floor.joined(self.floor), self.debiased.joined(points.debiased)
        return replace(self.joined(points), floor=floor, debiased=debiased)

    def asked(self, names: Sequence[str]) -> Self:
        """Return these distances alone, in this order; what the bandwidth does to u in L¹ is told with all of them."""
        smoothing = {name: self.smoothing[name] for name in dict.fromkeys((*names, "l1")) if name in self.smoothing}
        floor, debiased = self.floor.only(names), self.debiased.only(names)
        return replace(self.only(names), floor=floor, debiased=debiased, smoothing=smoothing)


class Family(ABC):
    """Distances of particles, and of draws along the family of :mod:`kspde.distances.resampling`: (formulas,).

    Attributes:
        formulas: which.
        clouds: the number of clouds whose mean is compared.
        replicas: the clouds drawn.
        bare: the distances of the family without noise, shape (λ, formulas), where they are defined.
        floors_by_roots: whether the floors of squared distances are found from their roots.
    """

    formulas: Sequence[Formula]
    replicas: Replicas
    clouds: int = 1
    bare: Array | None = None
    floors_by_roots: bool = False

    @abstractmethod
    def here(self) -> Array:
        """Return the distances of the particles."""

    @abstractmethod
    def floor(self, replica: int) -> Array:
        """Return the distances of as many draws from u."""

    @abstractmethod
    def along(self, replica: int) -> Array:
        """Return the distances of as many draws for each λ, shape (λ, formulas)."""

    def single(self, replica: int) -> Array:
        """Return the distances of as many draws, from near the particles' own λ, as one cloud has particles."""
        raise NotImplementedError

    def cloud(self, i: int) -> Array:
        """Return the distances of one cloud."""
        raise NotImplementedError

    def measured(self) -> Measured:
        """Return the distances of the particles with their intervals and floors. Collective."""
        formulas, replicas = self.formulas, self.replicas
        with together(replicas.comm):
            here = self.here()
        floors, curves = replicas.each(self.floor), replicas.each(self.along)
        ratios = np.ones(len(formulas))
        if self.clouds > 1:
            singles, each = replicas.each(self.single), replicas.each(self.cloud, self.clouds)
            ratios = deviation_of_clouds(each, singles, [formula.squared for formula in formulas])
        quantile = reach_of(replicas.count, self.clouds)
        found, floor, debiased = {}, {}, {}
        for i, formula in enumerate(formulas):
            name, squared = formula.name, formula.squared
            value, draws, ratio = float(here[i]), curves[:, :, i], float(ratios[i])
            found[name] = invert(value, draws, quantile * ratio, squared=squared)
            floor[name] = prediction(floors[:, i], squared=squared and self.floors_by_roots)
            if self.bare is not None and formula.debiases:
                bare = self.bare[:, i]
                debiased[name] = without_noise(value, draws, bare, quantile, ratio=ratio, squared=squared)
        return Measured(
            by_name=found,
            floor=Floor(by_name=floor, replicas=replicas.count),
            debiased=Estimates(by_name=debiased),
        )
