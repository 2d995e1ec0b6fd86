"""What was measured: distances by name, with their intervals and floors from draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np

from kspde.distances.registry import Formula
from kspde.distances.resampling import Replicas, deviation_of_clouds, invert, without_noise
from kspde.distances.statistics import Estimate, prediction, reach_of
from kspde.distances.target import CLIP
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["Measured"]


class _Family(Protocol):
    """Distances of particles, and of draws along the family of :mod:`kspde.distances.resampling`, shape (formulas,)."""

    #: The distances of the family without noise, shape (λ, formulas), where they are defined.
    bare: Array | None

    def here(self) -> Array:
        """Return the distances of the particles."""
        ...

    def floor(self, replica: int) -> Array:
        """Return the distances of as many draws from u."""
        ...

    def along(self, replica: int) -> Array:
        """Return the distances of as many draws for each λ, shape (λ, formulas)."""
        ...

    def single(self, replica: int) -> Array:
        """Return the distances of as many draws, from near the particles' own λ, as one cloud has particles."""
        ...

    def cloud(self, i: int) -> Array:
        """Return the distances of one cloud."""
        ...


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured; :class:`kspde.distances.result.Distance` describes the attributes."""

    by_name: Mapping[str, Estimate] = field(default_factory=dict)
    floor: Mapping[str, Estimate] = field(default_factory=dict)
    debiased: Mapping[str, Estimate] = field(default_factory=dict)
    smoothing: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    clipped_mass: float | None = None
    uncovered_mass: float | None = None
    clip_level: float = CLIP
    axes: tuple[Array, ...] = ()
    first: Array = field(default_factory=lambda: np.zeros(0))
    second: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(
        cls,
        formulas: Sequence[Formula],
        values: Array,
        draws: Array,
        floor: Mapping[str, Estimate],
        quantile: float,
        *,
        ratios: Array | None = None,
        bare: Array | None = None,
    ) -> Measured:
        """Return distances with the intervals of :mod:`kspde.distances.resampling`.

        Args:
            formulas: which.
            values: of each, shape (formulas,).
            draws: distances of draws from the family, shape (R, λ, formulas).
            floor: by name.
            quantile: Student's t.
            ratios: of the clouds' deviations to those of draws, where there are several clouds, shape (formulas,).
            bare: distances of the family without noise, where estimates without noise are wanted, shape (λ, formulas).
        """
        found, debiased = {}, {}
        for i, formula in enumerate(formulas):
            value, drawn, squared = float(values[i]), draws[:, :, i], formula.squared
            ratio = 1.0 if ratios is None else float(ratios[i])
            found[formula.name] = invert(value, drawn, quantile * ratio, squared=squared)
            if bare is not None and formula.debiases:
                estimate = without_noise(value, drawn, bare[:, i], quantile, ratio=ratio, squared=squared)
                debiased[formula.name] = estimate
        return cls(by_name=found, debiased=debiased, floor=floor)

    @classmethod
    def along(cls, family: _Family, formulas: Sequence[Formula], clouds: int, replicas: Replicas) -> Measured:
        """Return the distances of particles with their intervals and floors. Collective."""
        with together(replicas.comm):
            here = family.here()
        floors = replicas.each(family.floor)
        curves = replicas.each(family.along)
        ratios = None
        if clouds > 1:
            singles, each = replicas.each(family.single), replicas.each(family.cloud, clouds)
            ratios = deviation_of_clouds(each, singles, [formula.squared for formula in formulas])
        floor = {formula.name: prediction(floors[:, i]) for i, formula in enumerate(formulas)}
        quantile = reach_of(replicas.count, clouds)
        return cls.of(formulas, here, curves, floor, quantile, ratios=ratios, bare=family.bare)

    def joined(self, other: Measured) -> Measured:
        """Return both; no more than one of them may have a grid."""
        grid = other if other.axes else self
        merged = {name: getattr(grid, name) for name in (each.name for each in fields(Measured))}
        for name in ("by_name", "floor", "debiased", "smoothing"):
            merged[name] = {**getattr(self, name), **getattr(other, name)}
        return Measured(**merged)
