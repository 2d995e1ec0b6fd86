"""Fields by several evaluators: a particle mesh for bounded kernels, near and far parts for singular ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde.models import Field
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.cells import Cells
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.near_far import NearFar
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.radial import is_bounded
from kspde.typing import Array

__all__ = ["PartedFields"]

#: The most particles that are summed over all pairs.
_FEW = 4000
#: The size of the cloud over the grid spacing above which tabulating a kernel takes long.
_WIDE = 4000.0


class PartedFields(FieldEvaluator):
    """Fields by the evaluators that suit them; see :class:`~kspde.particles.fields.base.FieldEvaluator` for arguments.

    Few particles are summed over all pairs where a mesh would take longer; and singular kernels that are neither
    fundamental solutions nor powers nor logarithms are.
    """

    pairwise = True

    def __init__(self, fields: tuple[Field, ...], **options: Any) -> None:
        super().__init__(fields, **options)
        kinds: dict[type[FieldEvaluator], list[Field]] = {}
        for f in self.active:
            split = f.kernel.fundamental or f.kernel.homogeneity is not None
            kind: type[FieldEvaluator] = NearFar if split else DirectSum
            if is_bounded(f.kernel, self.dimension, gradient=f.gradient):
                kind = ParticleMesh
            kinds.setdefault(kind, []).append(f)
        self._parts = {kind.__name__: kind(tuple(some), **options) for kind, some in kinds.items()}
        mesh = tuple(kinds.get(ParticleMesh, ()))
        self._pairs = DirectSum(mesh, **options) if mesh else None
        self._of: dict[str, FieldEvaluator] = {}

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take new positions for all fields. Collective."""
        counts = [self.comm.allreduce(len(x)) for x in positions.values()]
        for part in self._parts.values():
            few = isinstance(part, ParticleMesh) and self._is_few(part, max(counts), extent)
            chosen = self._pairs if few and self._pairs is not None else part
            chosen.update(positions, extent)
            self._of |= {f.name: chosen for f in part.fields}

    def _is_few(self, mesh: ParticleMesh, n: int, extent: Extent) -> bool:
        """Return whether sums over all pairs, with tables up to the cloud's size, replace a grid in free space."""
        wide = float(extent.size.max()) > _WIDE * mesh.spacing or not mesh.in_free_space(extent.size)
        return not wide and n <= _FEW and n**2 < float(np.prod(mesh.points_for(extent.size)))

    def sorted_cells(self) -> Mapping[str, Cells]:
        """Return those of an evaluator that sorts them."""
        return {name: cells for part in self._parts.values() for name, cells in part.sorted_cells().items()}

    @property
    def in_parts(self) -> bool:
        """Whether that is so for all fields."""
        return all(part.in_parts for part in self._of.values())

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        self._of[field.name]._evaluate(field, x, values, gradient)

    def summary(self) -> dict[str, Any]:
        """Return the data of all evaluators."""
        return {key: value for part in self._parts.values() for key, value in part.summary().items()}

    @property
    def _all(self) -> dict[str, FieldEvaluator]:
        return self._parts if self._pairs is None else {**self._parts, "pairs": self._pairs}

    def state(self) -> dict[str, Array]:
        """Return those of all evaluators."""
        return {f"{name}.{key}": value for name, part in self._all.items() for key, value in part.state().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore all evaluators."""
        for name, part in self._all.items():
            part.restore({key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")})
