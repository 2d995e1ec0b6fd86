"""Fields by several evaluators: a particle mesh for bounded kernels, near and far parts for singular ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kspde.models import Field
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.near_far import NearFar
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.radial import is_bounded
from kspde.typing import Array

__all__ = ["PartedFields"]


class PartedFields(FieldEvaluator):
    """Fields without j = i; see :class:`~kspde.particles.fields.base.FieldEvaluator` for the arguments.

    Singular kernels that are not fundamental solutions are summed over all pairs.
    """

    pairwise = True

    def __init__(self, fields: tuple[Field, ...], **options: Any) -> None:
        super().__init__(fields, **options)
        parts: dict[type[FieldEvaluator], list[Field]] = {}
        for f in self.active:
            kind: type[FieldEvaluator] = NearFar if f.kernel.fundamental else DirectSum
            if is_bounded(f.kernel, self.dimension, gradient=f.gradient):
                kind = ParticleMesh
            parts.setdefault(kind, []).append(f)
        self._parts = {kind.__name__: kind(tuple(some), **options) for kind, some in parts.items()}
        self._of = {f.name: part for part in self._parts.values() for f in part.fields}

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take new positions for all fields. Collective."""
        for part in self._parts.values():
            part.update(positions, extent)

    @property
    def in_parts(self) -> bool:
        """Whether that is so for all fields."""
        return all(part.in_parts for part in self._parts.values())

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        self._of[field.name]._evaluate(field, x, values, gradient)

    def summary(self) -> dict[str, Any]:
        """Return the data of all evaluators."""
        return {key: value for part in self._parts.values() for key, value in part.summary().items()}

    def state(self) -> dict[str, Array]:
        """Return those of all evaluators."""
        return {f"{name}.{key}": value for name, part in self._parts.items() for key, value in part.state().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore all evaluators."""
        for name, part in self._parts.items():
            part.restore({key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")})
