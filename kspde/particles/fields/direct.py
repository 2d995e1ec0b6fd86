"""Fields by a sum over all pairs, to check the mesh with: O(N²)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde.models import Field
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.pairs import sum_all
from kspde.particles.weights import everyones, own_and_factor
from kspde.radial import RadialTable
from kspde.runtime.compiled import use_threads
from kspde.typing import Array

__all__ = ["DirectSum"]


class DirectSum(FieldEvaluator):
    """Fields by a sum over all pairs, the kernels tabulated by distance to a hundredth of the tolerance.

    Args:
        fields: the regularised fields.
        group: where the particles are many small systems, the size of one: particles ``group``·k to ``group``·k +
            ``group`` − 1 of each species interact, and a rank holds whole systems. None: all with all.
        **options: as for :class:`~kspde.particles.fields.base.FieldEvaluator`.
    """

    def __init__(self, fields: tuple[Field, ...], *, group: int | None = None, **options: Any) -> None:
        super().__init__(fields, **options)
        use_threads(self.comm)
        self._group = group
        self._all: dict[str, Array] = {}
        self._all_weights: dict[str, tuple[Array | None, float]] = {}
        self._reach = -1.0
        self._tables: dict[tuple[str, bool], RadialTable] = {}

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Gather all particles on every rank, and tabulate the kernels up to the cloud's diameter. Collective."""
        for source in dict.fromkeys(field.source for field in self.active):
            self._all[source] = self._gathered(positions[source])
            if source not in self._all_weights:
                self._all_weights[source] = own_and_factor(self.weights[source], self._gathered)
        diameter = float(np.linalg.norm(extent.upper - extent.lower))
        if diameter > self._reach:
            self._tabulate(1.3 * diameter or 1.0)

    def state(self) -> dict[str, Array]:
        """Return how far the tables reach."""
        return {"reach": np.array([self._reach])} if self._tables else {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Tabulate as far."""
        if state:
            self._tabulate(float(state["reach"][0]))

    def _gathered(self, rows: Array) -> Array:
        return everyones(rows, self.comm) if self._group is None else rows.copy()

    def _tabulate(self, reach: float) -> None:
        self._reach = reach
        for field in self.active:
            for slope in (False, True)[: 1 + field.gradient]:
                self._tables[field.name, slope] = RadialTable(
                    field.kernel, self.dimension, reach, tol=0.01 * self.tol, slope=slope
                )

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        sources = self._all[field.source]
        group = self._group or len(sources)
        table, slopes = (self._tables[field.name, slope] for slope in (False, gradient is not None))
        out = np.empty((0, self.dimension)) if gradient is None else gradient
        tables = (table.coefficients, table.step, slopes.coefficients, slopes.step)
        sum_all(values, out, x, sources, group, *tables, *self._all_weights[field.source])
