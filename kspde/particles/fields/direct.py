"""Fields by a sum over all pairs, in O(N²) operations, to check the particle mesh with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.models import Field
from kspde.particles.fields.accuracy import image_distance
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.pairs import OctaveTables, PairTables, octave_tables, pair_tables, sum_all, sum_singular
from kspde.particles.region import Region
from kspde.particles.weights import own_and_factor
from kspde.radial import is_bounded
from kspde.runtime.compiled import use_threads
from kspde.runtime.parallel import alone
from kspde.runtime.reductions import everyones
from kspde.typing import Array

__all__ = ["DirectSum"]


class DirectSum(FieldEvaluator):
    """Fields by a sum over all pairs, the kernels tabulated by distance to a hundredth of the tolerance, or better.

    Args:
        fields: the regularised fields.
        group: the size of one system where the particles are many small ones: particles ``group``·k to ``group``·k +
            ``group`` − 1 of each species interact, and a rank holds whole systems. None: all interact.
        region: the closed or periodic box, whose images are summed over as far as the kernels reach.
        **options: those of :class:`~kspde.particles.fields.base.FieldEvaluator`.
    """

    pairwise = True

    def __init__(
        self, fields: tuple[Field, ...], *, group: int | None = None, region: Region | None = None, **options: Any
    ) -> None:
        super().__init__(fields, **options)
        self._region, self._far = region, 0.0
        if region is not None and self.active:
            if any(not f.kernel.decay_rate > 0 for f in self.active):
                raise InputError(
                    'method = "direct" has no end of images of a kernel without decay: use method = "mesh"'
                )
            self._far = max(image_distance(f.kernel, self.dimension, 0.1 * self.tol) for f in self.active)
        use_threads(self.comm)
        self._group = group
        self._all: dict[str, Array] = {}
        self._all_weights: dict[str, tuple[Array | None, float]] = {}
        self._reach = -1.0
        self._tables: dict[str, PairTables] = {}
        self._octaves: dict[str, OctaveTables] = {}

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Gather all particles on every rank, and tabulate the kernels up to the cloud's diameter. Collective."""
        comm = self.comm if self._group is None else alone()
        for source in dict.fromkeys(field.source for field in self.active):
            self._all[source] = everyones(positions[source], comm)
            self._all_weights[source] = own_and_factor(self.weights[source], comm)
            if self._region is not None:
                self._all[source], whose = self._region.images(self._all[source], self._far)
                own, factor = self._all_weights[source]
                self._all_weights[source] = None if own is None else own[whose], factor
        diameter = float(np.linalg.norm(extent.size))
        if self._region is not None:
            diameter = float(np.linalg.norm(self._region.sides + self._far))
        if diameter > self._reach:
            self._tabulate(1.3 * diameter or 1.0)

    def state(self) -> dict[str, Array]:
        """Return the distance up to which the kernels are tabulated."""
        return {"reach": np.array([self._reach])} if self._reach > 0 else {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Tabulate the kernels up to that distance."""
        if state:
            self._tabulate(float(state["reach"][0]))

    def _tabulate(self, reach: float) -> None:
        self._reach, d = reach, self.dimension
        for f in self.active:
            if is_bounded(f.kernel, d, gradient=f.gradient):
                self._tables[f.name] = pair_tables(f.kernel, d, reach, tol=0.01 * self.tol, gradient=f.gradient)
            else:
                self._octaves[f.name] = octave_tables(
                    partial(f.kernel.profile, dimension=d), partial(f.kernel.slope, dimension=d), reach
                )

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        sources = self._all[field.source]
        group, weights = self._group or len(sources), self._all_weights[field.source]
        if field.name in self._tables:
            sum_all(values, gradient, x, sources, group, *self._tables[field.name], *weights)
        else:
            sum_singular(values, gradient, x, sources, group, *self._octaves[field.name], *weights)
