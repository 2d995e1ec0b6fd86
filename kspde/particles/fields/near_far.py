r"""Fields of particles with singular kernels, j ≠ i: grids for the far part, sums over neighbours for the rest.

Kernels are fundamental solutions, split at a distance ρ (:mod:`kspde.particles.fields.splitting`). A grid of about as
many points as there are particles carries the far part of the whole cloud. It is in free space: the kernel is truncated
where no two particles are, so that its symbol is smooth (Vico, Greengard and Ferrando, J. Comput. Phys. 323 (2016)),
and brought once from a grid that is wide enough for that to one twice as wide as the cloud.

Where particles are crowded, a sum over those closer than ρ would take long. There the kernel is split at ρ/2: the
difference of the two far parts ends at ρ, so that small periodic grids, *tiles* with a halo of ρ, carry it for the
targets in them. Tiles have tiles in turn (Jiang and Greengard, A dual-space multilevel kernel-splitting framework,
2023). The cost depends on the number of particles, hardly on where they are, nor on μ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.models import Field
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.convolution import FastConvolution
from kspde.particles.fields.near import AROUND, add_cells, candidates, cell_order, collect
from kspde.particles.fields.splines import WINDOW, WINDOW_DECAY, WINDOW_REACH, deposit, gather, gather_part, grids_for
from kspde.particles.fields.splitting import Split
from kspde.particles.reductions import everyones
from kspde.particles.weights import own_and_factor
from kspde.runtime.compiled import on_threads, use_threads
from kspde.typing import Array, Indices

__all__ = ["NearFar"]

#: The cloud's room to move before the grid is rebuilt, on each side, as a share of its size.
_SLACK = 0.04
#: Grid points per particle, and at least.
_POINTS, _LEAST = {1: 2.0, 2: 1.2, 3: 4.0}, 4096.0
#: The grid's Nyquist wavenumber over β/ρ.
_FINER = 1.35
#: Points per direction of a tile's periodic grid.
_TILE = {1: 256, 2: 96, 3: 96}
#: Candidates per target above which it is crowded; the time of a tile, of its sources and of its targets, in pairs.
_CROWDED, _TILE_COST, _SOURCE_COST, _TARGET_COST = 300, {1: 1e5, 2: 4e5, 3: 5e7}, 60.0, 90.0
#: The deepest level: a cell's width is then that of the cloud over 2^40 or less.
_DEEPEST = 40


@dataclass(frozen=True)
class _Cells:
    """Positions sorted by cells of half the reach."""

    x: Array
    order: Indices
    starts: Indices
    shape: Indices
    lower: Array
    width: float

    @classmethod
    def of(cls, x: Array, lower: Array, shape: Indices, width: float) -> _Cells:
        order, starts = cell_order(x, lower, 1.0 / width, shape)
        return cls(x[order], order, starts, shape, lower, width)

    def within(self, low: Array, high: Array) -> Indices:
        """Return the indices of the sorted positions in a box."""
        d = self.x.shape[1]
        first, last = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        for corner, out in ((low, first), (high, last)):
            out[:d] = np.clip(np.floor((corner - self.lower) / self.width), 0, self.shape[:d] - 1)
        found: Indices = collect(self.x, self.starts, self.shape, first, last, low, high)
        return found


def _shape(size: Array, width: float) -> Indices:
    shape = np.ones(3, dtype=np.int64)
    shape[: len(size)] = np.floor(size / width).astype(np.int64) + 1
    return shape


class NearFar(FieldEvaluator):
    """Fields by near and far parts; see :class:`~kspde.particles.fields.base.FieldEvaluator` for the arguments.

    Attributes:
        spacing: the spacing h of the grid of the whole cloud, after the first update.
        shape: its points per direction.
        tiles: the number of tiles at the last evaluation.
    """

    def __init__(self, fields: tuple[Field, ...], **options: Any) -> None:
        super().__init__(fields, **options)
        self._threads = use_threads(self.comm)
        self._decay = math.log(1.0 / self.tol) + 2.5
        self._per_reach = _FINER * self._decay / math.pi  # ρ/h
        self._sources = tuple(dict.fromkeys(field.source for field in self.active))
        self.shape: tuple[int, ...] = ()
        self.tiles = 0

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Sort all particles into cells, and compute the far part of every field on the grid. Collective."""
        if not self.active:
            return
        counts = {name: self.comm.allreduce(len(positions[name])) for name in self._sources}
        if not self.shape or not extent.within(self._inner):
            self._build(extent, max(counts.values()))
        self._cells: dict[str, _Cells] = {}
        self._sorted_weights: dict[str, float | Array] = {}
        self._coefficients: dict[str, Array] = {}
        inner = self._inner
        for source in self._sources:
            everyone = everyones(positions[source], self.comm)
            width = self.reach(0) / AROUND
            cells = _Cells.of(everyone, inner.lower, _shape(inner.size, width), width)
            own, factor = own_and_factor(self.weights[source], lambda w: everyones(w, self.comm))
            self._cells[source] = cells
            self._sorted_weights[source] = factor if own is None else own[cells.order] * factor
            n, rank, size = len(everyone), self.comm.rank, self.comm.size
            mine = slice(n * rank // size, n * (rank + 1) // size)
            weights = self._sorted_weights[source]
            nodes = deposit(
                self._grids,
                cells.x[mine],
                self._lower,
                self.spacing,
                weights[mine] if isinstance(weights, np.ndarray) else weights,
                self.comm,
                WINDOW,
            )
            factors = {f.name: self._factors[f.name] for f in self.active if f.source == source}
            self._coefficients.update(self._convolve(nodes, factors))

    def reach(self, level: int) -> float:
        """Return ρ at a level of tiles, 0 for the grid of the whole cloud."""
        return self._per_reach * self.spacing / 2**level

    def summary(self) -> dict[str, Any]:
        """Return the data of the grid."""
        if not self.shape:
            return {}
        grid = {"modes": list(self.shape), "spacing": self.spacing, "reach": self.reach(0), "threads": self._threads}
        return {**grid, "tiles": self.tiles}

    def state(self) -> dict[str, Array]:
        """Return the extent for which the grid was built, and its spacing."""
        return {"lower": self._inner.lower, "upper": self._inner.upper} if self.shape else {}

    def _build(self, extent: Extent, n: int) -> None:
        from scipy import fft

        d = self.dimension
        size = np.maximum(extent.size, 1e-3 * float(extent.size.max()) or 1.0)
        self._inner = inner = extent.widened(_SLACK * size + 1e-12)
        size = inner.size
        # Points of the cube around the cloud's box, so that thin clouds have no wide padding.
        points = max(_LEAST, _POINTS[d] * n)
        ends = sum(WINDOW_REACH) + 2
        self.spacing = float((0.5 * (size + size.max())).prod() / points) ** (1 / d)
        h = self.spacing
        corner = tuple(math.ceil(m) + ends for m in size / h)
        # The kernel must be right as far as two nodes are apart, and the splines' inverse takes some more.
        support = self.reach(0) + 8 * h
        radius = h * math.hypot(*corner) + support
        wide = [2 * int(fft.next_fast_len(math.ceil(0.5 * (c + (radius + support) / h)), real=True)) for c in corner]
        self.shape = tuple(2 * int(fft.next_fast_len(c, real=True)) for c in corner)
        self._lower = inner.lower - WINDOW_REACH[0] * h
        self._convolve = FastConvolution(self.shape, corner, self.shape[-1] // 2 + 1, threads=self._threads)
        self._grids = grids_for(self._threads, corner)
        self._factors: dict[str, Array] = {}
        self._tile_factors: dict[tuple[str, int], Array] = {}
        self._splits: dict[tuple[str, int], Split] = {}
        lam, factor = _modes([np.arange(m // 2 + 1) for m in wide], wide, h)
        for f in self.active:
            symbol = np.empty(lam.shape)
            split = self._split(f, 0)

            def part(j: int) -> None:
                rows = slice(len(lam) * j // 16, len(lam) * (j + 1) // 16)
                symbol[rows] = f.kernel.truncated_symbol(lam[rows], radius, d) * split.share(lam[rows]) * factor[rows]

            on_threads(part, 16)
            kernel = fft.dctn(symbol, type=1, workers=self._threads) / math.prod(wide)
            narrow = np.zeros([m // 2 + 1 for m in self.shape])
            kept = tuple(slice(min(a, b)) for a, b in zip(narrow.shape, kernel.shape, strict=True))
            narrow[kept] = kernel[kept]
            transform = fft.dctn(narrow, type=1, workers=self._threads)
            folded = [np.minimum(np.arange(m), m - np.arange(m)) for m in self.shape[:-1]]
            self._factors[f.name] = transform[np.ix_(*folded, np.arange(self.shape[-1] // 2 + 1))]

    def _split(self, field: Field, level: int) -> Split:
        key = (field.name, level)
        if key not in self._splits:
            self._splits[key] = Split(field.kernel, self.dimension, self.reach(level), self._decay)
        return self._splits[key]

    def _tile_factor(self, field: Field, level: int) -> Array:
        """Return the transform of the difference of the far parts of a level and the one above, on a tile."""
        key = (field.name, level)
        if key not in self._tile_factors:
            d, m = self.dimension, _TILE[self.dimension]
            indices = [np.minimum(np.arange(m), m - np.arange(m))] * (d - 1) + [np.arange(m // 2 + 1)]
            lam, factor = _modes(indices, [m] * d, self.spacing / 2**level)
            lam = np.maximum(lam, 1e-6 / self.reach(level) ** 2)  # where the symbol is singular the difference is not
            share = self._split(field, level).share(lam) - self._split(field, level - 1).share(lam)
            self._tile_factors[key] = field.kernel.symbol(lam) * share * factor
        return self._tile_factors[key]

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        self.tiles = 0
        cells = self._cells[field.source]
        targets = _Cells.of(x, cells.lower, cells.shape, cells.width)
        own_values, own_gradient = np.zeros(len(x)), np.zeros(x.shape)
        gather(own_values, own_gradient, self._coefficients[field.name], targets.x, self._lower, self.spacing, WINDOW)
        size = self._inner.size
        self._add_level(field, 0, targets, cells, self._sorted_weights[field.source], own_values, own_gradient, size)
        values[targets.order] = own_values
        if gradient is not None:
            gradient[targets.order] = own_gradient

    def _add_level(
        self,
        field: Field,
        level: int,
        targets: _Cells,
        sources: _Cells,
        weights: float | Array,
        values: Array,
        gradient: Array,
        size: Array,
    ) -> None:
        """Add what is nearer than the reach of a level."""
        count = candidates(targets.starts, sources.starts, sources.shape)
        wanted = np.ones(len(targets.x), dtype=np.bool_)
        children: list[Any] = []
        split = self._split(field, level)
        if level < _DEEPEST:
            children = self._crowded(level, targets, sources, count, wanted, forced=not split.accurate)
        cells = np.flatnonzero(count)
        run = on_threads if level == 0 else _one_by_one
        if wanted.any():
            self._add_near(split, cells, count, targets, wanted, sources, weights, values, gradient, run)

        def child(k: int) -> None:
            self._add_tile(field, level + 1, *children[k], targets, sources, weights, values, gradient)

        run(child, len(children))

    def _add_near(
        self,
        split: Split,
        cells: Indices,
        count: Indices,
        targets: _Cells,
        wanted: Array,
        sources: _Cells,
        weights: float | Array,
        values: Array,
        gradient: Array,
        run: Any,
    ) -> None:
        polynomial, series, value_polynomial, value_series = split.near
        small = np.abs(series[1:]).max() <= 0.1 * self.tol * abs(series[0])
        work = np.cumsum(count[cells] * np.diff(targets.starts)[cells])
        tasks = int(min(64, 1 + work[-1] // 1_000_000)) if run is on_threads else 1
        cuts = np.searchsorted(work, work[-1] * np.arange(1, tasks) / tasks)
        parts = np.split(cells, cuts)
        buffers = (np.empty(1),) * self.dimension

        def part(j: int) -> None:
            add_cells(
                None,
                gradient,
                parts[j],
                targets.x,
                targets.starts,
                wanted,
                buffers,
                sources.x,
                sources.starts,
                sources.shape,
                weights,
                1.0 / split.reach,
                polynomial,
                series,
                value_polynomial,
                value_series,
                None if small else (0,),
            )

        run(part, tasks)

    def _crowded(
        self, level: int, targets: _Cells, sources: _Cells, count: Indices, wanted: Array, *, forced: bool
    ) -> list[tuple[Array, Indices]]:
        """Return the tiles of the next level that are worth their cost, with their targets, no longer wanted here."""
        d = self.dimension
        per_target = np.repeat(count, np.diff(targets.starts))
        crowded = np.flatnonzero(per_target > _CROWDED)
        if not len(crowded):
            return []
        h = self.spacing / 2 ** (level + 1)
        side = h * self._tile_nodes()
        places = np.floor((targets.x[crowded] - targets.lower) / side).astype(np.int64)
        shape = places.max(axis=0) + 1
        tile = np.ravel_multi_index(tuple(places.T), tuple(shape))
        order = np.argsort(tile, kind="stable")
        tile, crowded = tile[order], crowded[order]
        names, first = np.unique(tile, return_index=True)
        pairs = np.add.reduceat(per_target[crowded].astype(float), first)
        out = []
        for name, rows, cost in zip(names, np.split(crowded, first[1:]), pairs, strict=True):
            # Half of a crowded target's candidates are in the tile or its halo, by a guess.
            if forced or 0.75 * cost > _TILE_COST[d] + (_TARGET_COST + 2 * _SOURCE_COST) * len(rows):
                low = targets.lower + side * np.array(np.unravel_index(name, tuple(shape)))
                out.append((low, rows))
                wanted[rows] = False
        return out

    def _tile_nodes(self) -> int:
        """Return the nodes of a tile that are not its halo's, on either side, nor the window's."""
        return _TILE[self.dimension] - 2 * math.ceil(2 * self._per_reach) - sum(WINDOW_REACH) - 5

    def _add_tile(
        self,
        field: Field,
        level: int,
        low: Array,
        rows: Indices,
        targets: _Cells,
        sources: _Cells,
        weights: float | Array,
        values: Array,
        gradient: Array,
    ) -> None:
        from scipy import fft

        d, m, h = self.dimension, _TILE[self.dimension], self.spacing / 2**level
        self.tiles += 1
        halo = self.reach(level - 1)
        high = low + h * self._tile_nodes()
        mine = sources.within(low - halo, high + halo)
        x, y = sources.x[mine], targets.x[rows]
        own = weights[mine] if isinstance(weights, np.ndarray) else weights
        corner = low - halo - WINDOW_REACH[0] * h
        grid = np.zeros((1, *(m,) * d))
        nodes = deposit(grid, x, corner, h, own, None, WINDOW)
        modes = fft.rfftn(nodes)
        modes *= self._tile_factor(field, level)
        nodes = fft.irfftn(modes, s=(m,) * d)
        here_values, here_gradient = np.zeros(len(y)), np.zeros(y.shape)
        gather_part(here_values, here_gradient, nodes, y, corner, h, WINDOW)
        width = self.reach(level) / AROUND
        start = low - halo
        shape = _shape(high + halo - start, width)
        finer = _Cells.of(x, start, shape, width)
        aims = _Cells.of(y, start, shape, width)
        here_values, here_gradient = here_values[aims.order], here_gradient[aims.order]
        if isinstance(own, np.ndarray):
            own = own[finer.order]
        self._add_level(field, level, aims, finer, own, here_values, here_gradient, high - low)
        where = rows[aims.order]
        values[where] += here_values
        gradient[where] += here_gradient


def _one_by_one(work: Any, tasks: int) -> None:
    for task in range(tasks):
        work(task)


def _modes(indices: list[Indices], points: list[int], h: float) -> tuple[Array, Array]:
    """Return |k|² and the windows' factor for modes of periodic grids of so many points per direction."""
    squared, factor = np.zeros(1), np.ones(1)
    for k, m in zip(np.ix_(*indices), points, strict=True):
        phase = 2 * np.pi / m * k
        squared = squared + (phase / h) ** 2
        factor = factor * _window_factor(phase) / h
    return squared, factor


def _window_factor(phase: Array) -> Array:
    """Return φ̂²/S² of the window φ, S = Σ_m φ̂(kh + 2πm)²: see :mod:`kspde.particles.fields.accuracy`."""
    total = sum(_window_transform(phase + 2 * np.pi * m) ** 2 for m in range(-3, 4))
    return np.asarray(_window_transform(phase) ** 2 / total**2)


def _window_transform(phase: Array) -> Array:
    from scipy.special import i0

    square = WINDOW_DECAY**2 - (3.5 * phase) ** 2
    y = np.maximum(np.sqrt(np.abs(square)), 1e-6)
    bump = np.where(square > 0, np.sinh(np.where(square > 0, y, 0.0)), np.sin(y)) / y
    return np.asarray(np.sinc(phase / (2 * np.pi)) * bump * 7 / i0(WINDOW_DECAY))


_ = InputError
