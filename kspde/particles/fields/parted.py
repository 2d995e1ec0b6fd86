"""Fields by several evaluators: a particle mesh for bounded kernels, near and far parts for singular or narrow ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde.models import Field
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.cells import AROUND, Cells
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.near_far import LEAST_TOL, POINTS_PER_PARTICLE, NearFar
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.fields.short_range import MOST_PAIRS
from kspde.particles.fields.splitting import blur_of
from kspde.radial import is_bounded
from kspde.runtime.reductions import everyones, rows_of_all
from kspde.typing import Array

__all__ = ["PartedFields"]

#: The most particles that are summed over all pairs.
_FEW = 4000
#: The size of the cloud over the grid spacing above which tabulating a kernel takes long.
_WIDE = 4000.0
#: Seconds on one core: per point and transform of a grid; by near and far parts, above a grid's time, per particle,
#: and per pair within a mollifier's reach.
_POINT, _NEAR, _PAIR = 15e-9, {d: 4e-8 * points for d, points in POINTS_PER_PARTICLE.items()}, 1e-8
#: Cells per direction, for counting pairs.
_MOST_CELLS = 1e6


class PartedFields(FieldEvaluator):
    """Fields by the evaluators that suit them; see :class:`~kspde.particles.fields.base.FieldEvaluator` for arguments.

    Few particles are summed over all pairs where a mesh would take longer; and singular kernels that are neither
    fundamental solutions nor powers nor logarithms are. Fundamental solutions that are mollified by Gaussians have near
    and far parts where a mesh would take longer, as for narrow mollifiers.
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
        narrow = bool(mesh) and self.tol >= LEAST_TOL and all(blur_of(f.kernel) for f in mesh)
        self._near = NearFar(mesh, **options) if narrow else None
        self._of: dict[str, FieldEvaluator] = {}

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take new positions for all fields. Collective."""
        counts = rows_of_all(positions, self.comm)
        for part in self._parts.values():
            chosen = part
            if isinstance(part, ParticleMesh):
                if self._pairs is not None and self._is_few(part, max(counts.values()), extent):
                    chosen = self._pairs
                elif self._near is not None and self._is_narrow(self._near, part, positions, counts, extent):
                    chosen = self._near
            chosen.update(positions, extent)
            self._of |= {f.name: chosen for f in part.fields}

    def _is_few(self, mesh: ParticleMesh, n: int, extent: Extent) -> bool:
        """Return whether sums over all pairs, with tables up to the cloud's size, replace a grid in free space."""
        wide = float(extent.size.max()) > _WIDE * mesh.spacing or not mesh.in_free_space(extent.size)
        if self._near is not None and _PAIR * n > _NEAR[self.dimension]:
            return False  # near and far parts take less time
        return not wide and n <= _FEW and n**2 < float(np.prod(mesh.points_for(extent.size)))

    def _is_narrow(
        self,
        near: NearFar,
        mesh: ParticleMesh,
        positions: Mapping[str, Array],
        counts: Mapping[str, int],
        extent: Extent,
    ) -> bool:
        """Return whether near and far parts take less time than a grid, or a grid does not fit. Collective."""
        d, size, fields = self.dimension, extent.size, len(near.fields)
        farthest = max(float(np.abs(extent.lower).max()), float(np.abs(extent.upper).max()))
        if not np.finfo(np.float64).eps * farthest < self.tol * near.least:
            return False  # positions are rounded by too much: a mesh refuses them
        sources = {f.source for f in near.fields}
        n = sum(counts[name] for name in sources)
        points = float(np.prod(mesh.points_for(size)))
        seconds = _POINT * points * (1 + fields) - _NEAR[d] * n * fields
        if seconds < 0 or near.bytes_for(n) > self.memory_limit:
            return False
        if mesh.bytes_for(size) > self.memory_limit:
            seconds = _PAIR * MOST_PAIRS
        # Pairs of particles within a mollifier's reach, of which no part is on a grid.
        width = np.maximum(0.5 * near.least, size / _MOST_CELLS)
        shape = np.floor(size / width).astype(np.int64) + 1
        pairs = 0.0
        everyone = {name: everyones(positions[name], self.comm) for name in sorted(sources)}
        for x in everyone.values():
            cells = ((x - extent.lower) / width).astype(np.int64)
            places = np.ravel_multi_index(tuple(np.clip(cells, 0, shape - 1).T), tuple(shape))
            held = np.unique(places, return_counts=True)[1].astype(np.float64)
            pairs += (2 * AROUND + 1) ** d * float(held @ held)
        near.known = everyone if _PAIR * pairs * fields < seconds else {}
        return bool(near.known)

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
        """Return the data of the evaluators of the last update."""
        return {key: value for part in dict.fromkeys(self._of.values()) for key, value in part.summary().items()}

    @property
    def _all(self) -> dict[str, FieldEvaluator]:
        more = {"pairs": self._pairs, "near": self._near}
        return {**self._parts, **{name: part for name, part in more.items() if part is not None}}

    def state(self) -> dict[str, Array]:
        """Return those of all evaluators."""
        return {f"{name}.{key}": value for name, part in self._all.items() for key, value in part.state().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore all evaluators."""
        for name, part in self._all.items():
            part.restore({key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")})
