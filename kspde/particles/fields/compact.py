r"""Fields of kernels that end at a distance η, such as :math:`V^\eta`: sums over neighbours, or a grid if it is faster.

A grid resolves the sphere where the kernel ends, and is as fine everywhere: the symbol decays slowly. The sum over
neighbours has the kernel's closed form, exact to round-off: as a function of :math:`t = (r/\eta)^2` a polynomial for
:class:`~kspde.kernels.bumps.CompactBump` of power at most 13; for others tables by octaves of t, or of 1 − t for a
kernel that ends with all derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from kspde.kernels import Kernel
from kspde.models import Field
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.box_mesh import BoxMesh
from kspde.particles.fields.cells import AROUND, Cells, candidates, cell_shape, cell_width
from kspde.particles.fields.near import Rest, add_pairs, work_shares
from kspde.particles.fields.pairs import octave_tables
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.fields.short_range import ShortRangeSum, check_pairs
from kspde.particles.fields.splitting import DEGREE
from kspde.particles.region import Region
from kspde.particles.weights import own_and_factor
from kspde.runtime.compiled import on_threads, use_threads
from kspde.runtime.limits import check_memory
from kspde.runtime.reductions import everyones, rows_of_all
from kspde.typing import Array

__all__ = ["CompactFields", "NeighbourSum", "is_compact"]

#: Seconds on one core: per pair, by polynomials or by tables; per point and transform of a grid, and per particle. A
#: grid that is followed for some dozens of steps takes half as long again to build.
_PAIR, _BY_TABLES, _POINT, _PARTICLE, _BUILDING = 2e-9, 6e-9, 15e-9, 2e-7, 1.5

#: What to do about too many pairs.
_BEYOND = ", and a grid takes more than memory_limit: give fewer particles or a smaller eps"


def is_compact(field: Field) -> bool:
    """Return whether a field is a sum over neighbours."""
    return field.tau == 0 and bool(np.isfinite(field.kernel.support))


def _rest(kernel: Kernel, dimension: int) -> Rest:
    """Return a kernel's closed form, as pairs in cells take it."""
    reach = kernel.support

    def value(t: Array) -> Array:
        return kernel.profile(reach * np.sqrt(t), dimension)

    def slope(t: Array) -> Array:  # dK/dr / r
        r = reach * np.sqrt(t)
        return kernel.slope(r, dimension) / r

    t = 0.5 - 0.5 * np.cos(np.pi * (np.arange(4 * DEGREE) + 0.5) / (4 * DEGREE))
    exact = slope(t), value(t)
    found = [np.polynomial.polynomial.polyfit(2 * t - 1, each, DEGREE) for each in exact]
    errors = [
        np.abs(np.polynomial.polynomial.polyval(2 * t - 1, c) - each).max() / np.abs(each).max()
        for c, each in zip(found, exact, strict=True)
    ]
    octaves, from_end = None, math.isinf(kernel.smoothing)
    if max(errors) > 1e-12 and from_end:
        octaves = octave_tables(lambda s: value(1 - s**2), lambda s: slope(1 - s**2) * s, 1.0 - 1e-9)
    elif max(errors) > 1e-12:
        octaves = octave_tables(lambda s: value(s**2), lambda s: slope(s**2) * s, 1.0 - 1e-9)
    slopes, values = (np.asarray(c, dtype=np.float64) for c in found)
    middle = -float(value(np.zeros(1))[0])
    return Rest(reach, (slopes, None, values, None), middle, octaves=octaves, from_end=from_end)


class NeighbourSum(FieldEvaluator):
    """Fields by sums over neighbours; see :class:`~kspde.particles.fields.base.FieldEvaluator` for other arguments.

    Args:
        fields: the regularised fields, of kernels with a ``support``.
        region: the closed or periodic box, whose images are neighbours too.

    Attributes:
        reach: the largest support.
        pairs: the number of pairs in cells around, of all ranks, at the last update.
    """

    def __init__(self, fields: tuple[Field, ...], *, region: Region | None = None, **options: Any) -> None:
        super().__init__(fields, **options)
        self._region = region
        self._rests = {f.name: _rest(f.kernel, self.dimension) for f in self.active}
        self.reach = max((f.kernel.support for f in self.active), default=0.0)
        self.pairs = 0.0
        self._cells: dict[str, Cells] = {}
        self._weights: dict[str, float | Array] = {}
        use_threads(self.comm)

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Gather all particles on every rank and sort them into cells. Collective.

        Raises:
            InputError: they do not fit into memory; on every rank.
        """
        self.pairs = 0.0
        everyone = sum(rows_of_all(positions, self.comm).values())
        if not self._cells:
            what = f"sorting {everyone} particles on every rank"
            check_memory(what, ShortRangeSum.bytes_per_particle * everyone, self.comm, "give fewer")
        for source in dict.fromkeys(f.source for f in self.active):
            x = everyones(positions[source], self.comm)
            own, factor = own_and_factor(self.weights[source], self.comm)
            around, n = extent, len(x)
            if self._region is not None:
                around = Extent(*self._region.bounds).widened(self.reach)
                x, whose = self._region.images(x, self.reach)
                own = None if own is None else own[whose]
            width = cell_width(around.size, self.reach, len(x), AROUND)
            cells = Cells.of(x, around.lower, cell_shape(around.size, width), width)
            self._cells[source] = cells
            self._weights[source] = factor if own is None else own[cells.order]
            targets = cells if self._region is None else self._targets(x[:n], cells)
            count = candidates(targets.starts, cells.starts, cells.shape)
            per_target = float(count @ np.diff(targets.starts).astype(float)) / n
            self.pairs += per_target * everyone * sum(f.source == source for f in self.active)

    @property
    def around(self) -> float:
        """The width of the cells around a particle."""
        return (2 * AROUND + 1) / AROUND * self.reach

    def seconds(self, pairs: float) -> float:
        """Return the time that so many pairs take a core of each rank."""
        by_tables = any(rest.octaves is not None for rest in self._rests.values())
        return (_BY_TABLES if by_tables else _PAIR) * pairs / float(self.comm.size)

    def _targets(self, x: Array, cells: Cells) -> Cells:
        return Cells.of(x, cells.lower, cells.shape, cells.width)

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        turned = None
        if self._region is not None and self._region.leaves(x):
            x = x.copy()
            turned = self._region.turned(x)
        sources, rest = self._cells[field.source], self._rests[field.name]
        targets = self._targets(x, sources)
        count = candidates(targets.starts, sources.starts, sources.shape)
        value, slope = np.zeros(len(x)), None if gradient is None else np.zeros(x.shape)
        wanted = np.ones(len(x), dtype=np.bool_)
        shares = work_shares(count, targets.starts, np.flatnonzero(count)) if np.any(count) else []

        weights = self._weights[field.source]
        add_pairs(on_threads, shares, count, targets, wanted, sources, weights, rest, value, slope)
        values[targets.order] = value
        if gradient is not None and slope is not None:
            gradient[targets.order] = slope
            if turned is not None:
                gradient *= turned

    def summary(self) -> dict[str, Any]:
        """Return the reach and the number of pairs."""
        return {"reach": self.reach, "pairs": self.pairs}


class CompactFields(FieldEvaluator):
    """Fields some of which have compact kernels; see :class:`~kspde.particles.fields.base.FieldEvaluator`.

    Args:
        fields: the regularised fields.
        others: a function that makes the evaluator of the other fields.
        region: the closed or periodic box.

    Raises:
        InputError: as ``others``.
    """

    pairwise = True

    def __init__(
        self,
        fields: tuple[Field, ...],
        *,
        others: Callable[..., FieldEvaluator],
        region: Region | None = None,
        **options: Any,
    ) -> None:
        super().__init__(fields, **options)
        self._region = region
        rest = tuple(f for f in fields if not is_compact(f))
        self._compact = tuple(f for f in self.active if is_compact(f))
        self._rest = others(rest, **options) if rest else None
        self._near = NeighbourSum(self._compact, region=region, **options)
        self._chosen: FieldEvaluator = self._near
        #: A function of the cloud's size that returns the points of a grid, and its bytes.
        self._grid: Callable[[Array], tuple[float, float]]
        if region is None:
            mesh = ParticleMesh(self._compact, **options)
            self._make_mesh: Callable[[], FieldEvaluator] = lambda: mesh
            self._grid = lambda size: (float(np.prod(mesh.points_for(size))), mesh.bytes_for(size))
        else:
            points = float(np.prod(BoxMesh.grid_needed(self._compact, region, self.dimension, self.tol)[0]))
            needed = BoxMesh.bytes_needed(points, len(self._compact), use_threads(self.comm))
            self._make_mesh = partial(BoxMesh, self._compact, region=region, **options)
            self._grid = lambda size: (points, needed)

    @cached_property
    def _mesh(self) -> FieldEvaluator:
        return self._make_mesh()

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Choose between neighbours and a grid, and take new positions of all species. Collective.

        Raises:
            InputError: neither is affordable; on every rank.
        """
        if self._rest is not None:
            self._rest.t = self.t
            self._rest.update(positions, extent)
        self._choose(positions, extent)

    def update_stage(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take positions within a step. Collective."""
        if self._rest is not None:
            self._rest.t = self.t
            self._rest.update_stage(positions, extent)
        self._choose(positions, extent)

    def _choose(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Update the sum over neighbours, or a grid if there is one that fits and is faster. Collective."""
        if not self._compact:
            return
        near, fields = self._near, len(self._compact)
        n = float(sum(rows_of_all(positions, self.comm).values()))
        size = extent.size if self._region is None else self._region.sides
        points, needed = self._grid(size)
        fits = needed <= self.memory_limit
        grid = _BUILDING * (_POINT * points * (1 + fields) + _PARTICLE * n * (1 + fields) / self.comm.size)
        # At least as many pairs as of particles spread evenly.
        room = size if self._region is not None else size + near.around
        fewest = n**2 * fields * float(np.prod(near.around / room))
        faster = fits and grid < near.seconds(fewest)
        if not faster:
            check_pairs(fewest, near.reach, self.comm, _BEYOND)
            near.update(positions, extent)
            faster = fits and grid < near.seconds(near.pairs)
        self._chosen = self._mesh if faster else near
        if faster:
            self._mesh.update(positions, extent)
        else:
            check_pairs(near.pairs, near.reach, self.comm, _BEYOND)

    def sorted_cells(self) -> Mapping[str, Cells]:
        """Return those of the other fields."""
        return {} if self._rest is None else self._rest.sorted_cells()

    @property
    def in_parts(self) -> bool:
        """Whether that is so for all fields."""
        return self._chosen.in_parts and (self._rest is None or self._rest.in_parts)

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        evaluator = self._chosen if is_compact(field) or self._rest is None else self._rest
        evaluator._evaluate(field, x, values, gradient)

    def summary(self) -> dict[str, Any]:
        """Return the data of both evaluators."""
        return {**({} if self._rest is None else self._rest.summary()), **self._chosen.summary()}

    @property
    def _parts(self) -> dict[str, FieldEvaluator]:
        own = {"grid": self._mesh} if self._region is None else {}  # in a region it has no state
        return own if self._rest is None else {"rest": self._rest, **own}

    def state(self) -> dict[str, Array]:
        """Return those of the other fields and of the grid."""
        return {f"{name}.{key}": value for name, part in self._parts.items() for key, value in part.state().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore them."""
        for name, part in self._parts.items():
            part.restore({key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")})
