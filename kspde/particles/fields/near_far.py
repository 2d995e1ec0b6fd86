r"""Fields of particles with singular kernels, j ≠ i, or narrow mollifiers: grids for the far part, neighbours' sums.

Kernels are fundamental solutions, mollified by Gaussians or not, powers or logarithms, split at a distance ρ
(:mod:`kspde.particles.fields.splitting`). A grid of about as many points as there are particles carries the far part of
the whole cloud, in free space (:mod:`kspde.particles.fields.free_space`).

Where particles are crowded, a sum over those closer than ρ would take long. There the kernel is split at ρ/2: the
difference of the two far parts ends at ρ, so that small periodic grids, *tiles* with a halo of ρ, carry it for the
targets in them. Tiles have tiles in turn (Jiang and Greengard, A dual-space multilevel kernel-splitting framework,
2023). The cost depends on the number of particles, hardly on where they are, nor on μ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError
from kspde.models import Field
from kspde.particles.fields.accuracy import grid_factors
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.cells import AROUND, Cells, candidates, cell_shape, crowded, put
from kspde.particles.fields.convolution import FastConvolution
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.free_space import doubled, sampled_factor
from kspde.particles.fields.near import Rest, add_pairs, work_shares
from kspde.particles.fields.splines import WINDOW, deposit, gather, gather_part, grids_for, reach_of
from kspde.particles.fields.splitting import Split, blur_of, edge_of, split
from kspde.particles.weights import own_and_factor
from kspde.runtime.compiled import on_threads, use_threads
from kspde.runtime.reductions import everyones, rows_of_all
from kspde.typing import Array, Indices

__all__ = ["LEAST_TOL", "POINTS_PER_PARTICLE", "NearFar"]

#: A particle takes the time of so many points of a grid for one field.
POINTS_PER_PARTICLE = {1: 50, 2: 100, 3: 1500}

#: Nodes that the window touches before and after a particle, and the factors of a grid for it.
_REACH, _factors = reach_of(WINDOW), partial(grid_factors, nodes=WINDOW)
#: The cloud's room to move before the grid is rebuilt, on each side, as a share of its size.
_SLACK = 0.04
#: The least tolerance, and the largest β for which one grid is enough: what the window allows.
LEAST_TOL, _ONE_GRID = 1e-7, 15.5
#: The least ρ/h: with cells of half the reach there are then no more cells than nodes.
_LEAST_REACH = 2.0
#: What is added to β with screening: there are more tiles, and errors are larger in them.
_MARGIN = 0.4
#: What stands for polynomials where there are tables: of the types that ``compact`` has, whose loops serve both.
_NONE = (np.zeros(0), None, np.zeros(0), None)
#: Grid points per particle, and at least. With a mollifier a pair takes three times as long.
_POINTS, _MOLLIFIED, _LEAST = {1: 2.0, 2: 3.0, 3: 4.0}, {1: 2.0, 2: 16.0, 3: 24.0}, 4096.0
#: With screening, by the least μh: as many times more points, and the time of a pair over that without; it gains a
#: tenth of the time.
_SCREENED = {0.7: (1.5, 1.6), 1e-6: (1.2, 1.3), 0.0: (1.0, 1.0)}
#: Particles that say how far the closest are apart, what more is allowed for while they move, and the change of −log
#: of their pull for which there is a new grid.
_SOME, _ORDERED, _WORTHWHILE = 300, 1.1, 0.5
#: The most particles whose fields are a sum over all pairs.
_FEW = 600
#: The width of a cloud whose volume is a number in every dimension.
_WIDEST = 1e100
#: Points per direction of a tile's periodic grid.
_TILE = {1: 256, 2: 96, 3: 96}
#: Sources in the cells around a target above which it is crowded; the time of a tile, and of a target and the sources
#: for it, in pairs.
_CROWDED, _TILE_COST, _PARTICLE_COST = 500, {1: 1e5, 2: 4e5, 3: 5e7}, 210.0
#: The deepest level: a cell's width is then that of the cloud over 2^40 or less.
_DEEPEST = 40


@dataclass(frozen=True)
class _Sums:
    """A field at targets: its values, if they are wanted, and gradients; and where a grid's values are written."""

    values: Array | None
    gradient: Array
    on_grid: Array

    @classmethod
    def zeros(cls, n: int, dimension: int, field: Field) -> _Sums:
        values, wanted = np.zeros(n), field.value or blur_of(field.kernel) > 0
        return cls(values if wanted else None, np.zeros((n, dimension)), values)

    def gather(self, how: Callable[..., None], nodes: list[Array], x: Array, lowers: list[Array], h: float) -> None:
        """Write the mean over grids with these lower corners."""
        how(self.on_grid, self.gradient, nodes[0], x, lowers[0], h, WINDOW)
        if len(nodes) > 1:
            other = _Sums(None, np.empty_like(self.gradient), np.empty_like(self.on_grid))
            other.gather(how, nodes[1:], x, lowers[1:], h)
            for mine, theirs in ((self.on_grid, other.on_grid), (self.gradient, other.gradient)):
                mine += theirs
                mine *= 0.5

    def add(self, rows: Indices, other: _Sums) -> None:
        self.gradient[rows] += other.gradient
        if self.values is not None:
            self.values[rows] += other.on_grid


@dataclass(frozen=True)
class _Part:
    """The targets and sources of a tile, or of the whole cloud at level 0, and the sums to add to."""

    field: Field
    level: int
    targets: Cells
    sources: Cells
    weights: float | Array
    sums: _Sums


class NearFar(FieldEvaluator):
    """Fields by near and far parts; see :class:`~kspde.particles.fields.base.FieldEvaluator` for the arguments.

    The error is relative to the largest gradient, and to the largest value, at the particles, if screening leaves 1e-11
    or more of the pull of neighbours where they are crowded.

    Attributes:
        least: the least ρ, where mollifiers have ended; 0 without them.
        spacing: the spacing h of the grid of the whole cloud, after the first update.
        shape: its points per direction.
        tiles: the number of tiles at the last evaluation.
        known: the particles of all ranks at the next update, by source, where they are known before it.

    Raises:
        InputError: a tolerance below 1e-7.
    """

    pairwise = True

    def __init__(self, fields: tuple[Field, ...], **options: Any) -> None:
        super().__init__(fields, **options)
        if self.tol < LEAST_TOL:
            raise InputError(
                f"field_tol = {self.tol:g} is below {LEAST_TOL:g}, the least that the mesh keeps for singular kernels "
                '(its window of eight nodes has errors of 2e-8): give a larger one, or method = "direct"'
            )
        self._threads = use_threads(self.comm)
        self._decay = max(6.0, math.log(1.0 / self.tol) + 0.5)
        edge = max((edge_of(f.kernel, self._decay) for f in self.active), default=0.0)
        self._decay += edge
        # The grid's Nyquist wavenumber over β/ρ. Both are as measured, on even clouds and on small dense clusters.
        digits = math.log10(1e-6 / self.tol)
        self._finer = 1.5 + 0.05 * max(digits, -3.0) + 0.15 * edge
        # Of a mean over two grids, half a node apart, the aliases of one node are gone: errors of windows are squared.
        self._shifts = (0.0,) if self._decay <= _ONE_GRID else (0.0, 0.5)
        self._few = DirectSum(fields, **options)
        self._direct = False
        self._sources = tuple(dict.fromkeys(field.source for field in self.active))
        self.shape: tuple[int, ...] = ()
        self.tiles = 0
        self.known: Mapping[str, Array] = {}
        blur = max((blur_of(f.kernel) for f in self.active), default=0.0)
        self.least = blur * math.sqrt(2 * math.log(100 / self.tol))  # e^(−ρ²/2σ²) is then tol/100
        self._screening = 0.0 if blur else min((f.kernel.decay_rate for f in self.active), default=0.0)

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Sort all particles into cells, and compute the far part of every field on the grid. Collective."""
        if not self.active:
            return
        counts = rows_of_all({name: positions[name] for name in self._sources}, self.comm)
        self._direct = max(counts.values()) <= _FEW and not self.least
        if self._direct:
            self._few.update(positions, extent)
            return
        if not float(extent.size.max()) < _WIDEST:
            raise InputError(
                f"the cloud is {float(extent.size.max()):.3g} wide, more than {_WIDEST:g}: check for particles far away"
            )
        n, known, self.known = max(counts.values()), self.known, {}
        everyone = {
            name: known[name] if name in known else everyones(positions[name], self.comm) for name in self._sources
        }
        if not self.shape or not extent.within(self._inner):
            self._build(extent, n, float(extent.size.max()) * n ** (-1 / self.dimension))
        self._sort(everyone)
        apart = max(self._closest(cells) for cells in self._cells.values())
        if apart > self._apart or self._lost(_ORDERED * apart) < self._lost(self._apart) - _WORTHWHILE:
            self._build(extent, n, _ORDERED * apart)
            self._sort(everyone)
        self._everyone = everyone
        self._sorted_weights: dict[str, float | Array] = {}
        self._coefficients: dict[str, list[Array]] = {}
        for source, cells in self._cells.items():
            own, factor = own_and_factor(self.weights[source], self.comm)
            self._sorted_weights[source] = factor if own is None else own[cells.order] * factor
            n, rank, size = len(cells.x), self.comm.rank, self.comm.size
            mine = slice(n * rank // size, n * (rank + 1) // size)
            weights = self._sorted_weights[source]
            some = weights[mine] if isinstance(weights, np.ndarray) else weights
            factors = {f.name: self._factors[f.name] for f in self.active if f.source == source}
            for lower in self._lowers:
                nodes = deposit(self._grids, cells.x[mine], lower, self.spacing, some, self.comm, WINDOW)
                for name, coefficients in self._convolve(nodes, factors).items():
                    self._coefficients.setdefault(name, []).append(coefficients)

    def sorted_cells(self) -> Mapping[str, Cells]:
        """Return the particles of all sources, unless they are few."""
        return {} if self._direct or not self.active else self._cells

    def _points(self, n: int) -> float:
        per_particle = _MOLLIFIED if self.least else _POINTS
        return max(_LEAST, float(per_particle[self.dimension] * n))

    def bytes_for(self, n: int) -> float:
        """Return about what bytes the grids for n particles take: nodes in free space, a kernel and its product."""
        return float(8.0 * 2**self.dimension * self._points(n) * (2 + len(self.active)))

    def reach(self, level: int) -> float:
        """Return ρ at a level of tiles, 0 for the grid of the whole cloud."""
        return float(self._per_reach(level) * self.spacing * 0.5**level)

    def _per_reach(self, level: int) -> float:
        """Return ρ/h: √(β² + μ²ρ²) is what β is without screening, and ``_lost``."""
        z = self._screening * self.spacing * 0.5**level
        return max(_LEAST_REACH, (self._decay + self._lost(self._apart)) / math.hypot(math.pi / self._finer, z))

    def _lost(self, apart: float) -> float:
        """Return −log of what screening at least leaves of the pull of the closest particles, so far apart."""
        z = self._screening * apart
        return z - 0.25 * math.log1p(z) + _MARGIN * min(1.0, z)

    def _closest(self, cells: Cells) -> float:
        """Return the median distance to the nearest neighbour where particles are crowded, 0 without screening."""
        if not self._screening:
            return 0.0
        from scipy.spatial import cKDTree

        most = np.diff(cells.starts).argmax()
        first = max(0, int(cells.starts[most : most + 2].sum() - _SOME) // 2)
        some = cells.x[first : first + _SOME]
        return float(np.median(cKDTree(some).query(some, 2)[0][:, 1]))

    def _sort(self, everyone: Mapping[str, Array]) -> None:
        inner, width = self._inner, self.reach(0) / AROUND
        shape = cell_shape(inner.size, width)
        self._cells = {source: Cells.of(x, inner.lower, shape, width) for source, x in everyone.items()}

    def summary(self) -> dict[str, Any]:
        """Return the data of the grid, if there is one."""
        if not self.shape or self._direct:
            return {}
        grid = {"modes": list(self.shape), "spacing": self.spacing, "reach": self.reach(0), "threads": self._threads}
        return {**grid, "tiles": self.tiles}

    def state(self) -> dict[str, Array]:
        """Return what the grid was built for."""
        few = {f"few.{key}": value for key, value in self._few.state().items()}
        if not self.shape:
            return few
        built = {"n": np.array([self._built_for]), "apart": np.array([self._apart])}
        return {**few, "lower": self._built.lower, "upper": self._built.upper, **built}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Build the grid for that."""
        self._few.restore({key.removeprefix("few."): v for key, v in state.items() if key.startswith("few.")})
        if "n" in state:
            self._build(Extent(state["lower"], state["upper"]), int(state["n"][0]), float(state["apart"][0]))

    def _build(self, extent: Extent, n: int, apart: float) -> None:
        self._built, self._built_for, self._apart, d = extent, n, apart, self.dimension
        size = np.maximum(extent.size, 1e-3 * float(extent.size.max()) or 1.0)
        self._inner = inner = extent.widened(_SLACK * size + 1e-12)
        size = inner.size
        # Points of the cube around the cloud's box, so that thin clouds have no wide padding.
        points = self._points(n)
        ends = sum(_REACH) + 1 + len(self._shifts)
        h = float((0.5 * (size + size.max())).prod() / points) ** (1 / d)
        more, self._pair_cost = next(found for z, found in _SCREENED.items() if self._screening * h >= z)
        self.spacing = h / more ** (1 / d)  # which ρ/h depends on
        h = self.spacing = max(self.spacing, self.least / self._per_reach(0))
        corner = tuple(math.ceil(m) + ends for m in size / h)
        self._deepest = _DEEPEST
        while self.least and self._deepest > 0 and self.reach(self._deepest) < self.least:
            self._deepest -= 1
        self.shape = doubled(corner)
        self._lowers = [inner.lower - (_REACH[0] + shift) * h for shift in self._shifts]
        self._convolve = FastConvolution(self.shape, corner, self.shape[-1] // 2 + 1, threads=self._threads)
        self._grids = grids_for(self._threads, corner)
        self._tile_factors: dict[tuple[str, int], Array] = {}
        self._splits: dict[tuple[str, int], Split] = {}
        self._rests: dict[tuple[str, int], Rest] = {}
        self._factors = {
            f.name: sampled_factor(
                self._split(f, 0).far,
                _factors,
                corner,
                spacing=h,
                decay=self._decay,
                threads=self._threads,
            )
            for f in self.active
        }

    def _split(self, field: Field, level: int) -> Split:
        key = (field.name, level)
        if key not in self._splits:
            decay = math.pi / self._finer * self._per_reach(level)
            self._splits[key] = split(field.kernel, self.dimension, self.reach(level), decay)
        return self._splits[key]

    def _rest(self, part: _Part) -> Rest:
        key = (part.field.name, part.level)
        if key not in self._rests:
            halves = self._split(part.field, part.level)
            near = halves.near(0.1 * self.tol * math.exp(-self._lost(self._apart)))
            polynomials, terms = near or (_NONE, 0)
            octaves = None if near else halves.octaves
            self._rests[key] = Rest(halves.reach, polynomials, halves.excess, halves.power, (0,) * terms, octaves)
        return self._rests[key]

    def _tile_factor(self, field: Field, level: int) -> Array:
        """Return the transform of the difference of the far parts of a level and the one above, on a tile."""
        key = (field.name, level)
        if key not in self._tile_factors:
            d, m = self.dimension, _TILE[self.dimension]
            indices = [np.minimum(np.arange(m), m - np.arange(m))] * (d - 1) + [np.arange(m // 2 + 1)]
            lam, factor = _factors([2 * np.pi / m * k for k in indices], self.spacing / 2**level)
            lam = np.maximum(lam, 1e-6 / self.reach(level) ** 2)  # where the symbol is singular the difference is not
            own, above = self._split(field, level), self._split(field, level - 1)
            self._tile_factors[key] = own.kernel.symbol(lam) * (own.share(lam) - above.share(lam)) * factor
        return self._tile_factors[key]

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        if self._direct:
            self._few._evaluate(field, x, values, gradient)
            return
        self.tiles = 0
        cells = self._cells[field.source]
        same = np.array_equal(x, self._everyone[field.source])
        targets = cells if same else Cells.of(x, cells.lower, cells.shape, cells.width)
        sums = _Sums.zeros(len(x), self.dimension, field)
        sums.gather(gather, self._coefficients[field.name], targets.x, self._lowers, self.spacing)
        self._add_near(_Part(field, 0, targets, cells, self._sorted_weights[field.source], sums), on_threads)
        if sums.values is not None:
            values[targets.order] = sums.values
        if gradient is not None:
            put(gradient, targets.order, sums.gradient)

    def _add_near(self, part: _Part, run: Callable[..., Any]) -> None:
        """Add what is nearer than the reach of the part's level: by tiles for crowded targets, by pairs for others."""
        targets, d = part.targets, self.dimension
        count = candidates(targets.starts, part.sources.starts, part.sources.shape)
        few = int(_CROWDED / self._pair_cost) if part.level < self._deepest else len(part.sources.x)
        side = self.spacing * 0.5 ** (part.level + 1) * self._tile_nodes(part.level + 1)
        shape = cell_shape(np.float64(targets.width) * targets.shape[:d], side)
        cost = np.array([_TILE_COST[d], _PARTICLE_COST]) / self._pair_cost
        names, rows, first, wanted, left = crowded(
            targets.x, targets.starts, count, few, targets.lower, side, shape, cost
        )
        self._add_pairs(part, count, np.flatnonzero(left), wanted, run)
        corners = targets.lower + side * np.stack(np.unravel_index(names, shape), axis=1)[:, :d]
        run(lambda k: self._add_tile(part, corners[k], rows[first[k] : first[k + 1]]), len(names))

    def _add_pairs(
        self, part: _Part, count: Indices, cells: Indices, wanted: npt.NDArray[np.bool_], run: Callable[..., Any]
    ) -> None:
        if not len(cells):
            return
        targets, sources, sums = part.targets, part.sources, part.sums
        shares = work_shares(count, targets.starts, cells) if run is on_threads else [cells]
        add_pairs(
            run, shares, count, targets, wanted, sources, part.weights, self._rest(part), sums.values, sums.gradient
        )

    def _tile_nodes(self, level: int) -> int:
        """The nodes of a tile that are neither its halo's, on either side, nor the window's."""
        return _TILE[self.dimension] - 2 * math.ceil(2 * self._per_reach(level - 1)) - sum(_REACH) - 5

    def _add_tile(self, whole: _Part, low: Array, rows: Indices) -> None:
        """Add to the targets ``rows``, in the tile with the corner ``low``, what is nearer than the part's reach."""
        from scipy import fft

        d, m, level = self.dimension, _TILE[self.dimension], whole.level + 1
        h, halo, width = self.spacing * 0.5**level, self.reach(whole.level), self.reach(level) / AROUND
        self.tiles += 1
        first, last = low - halo, low + h * self._tile_nodes(level) + halo
        found = whole.sources.within(first, last)
        shape = cell_shape(last - first, width)
        sources = Cells.of(np.take(whole.sources.x, found, axis=0), first, shape, width)
        targets = Cells.of(np.take(whole.targets.x, rows, axis=0), first, shape, width)
        weights = whole.weights[found[sources.order]] if isinstance(whole.weights, np.ndarray) else whole.weights
        lowers = [first - (_REACH[0] + shift) * h for shift in self._shifts]
        nodes = [deposit(np.empty((1, *(m,) * d)), sources.x, lower, h, weights, None, WINDOW) for lower in lowers]
        nodes = [fft.irfftn(fft.rfftn(one) * self._tile_factor(whole.field, level), s=(m,) * d) for one in nodes]
        sums = _Sums.zeros(len(rows), d, whole.field)
        sums.gather(gather_part, nodes, targets.x, lowers, h)
        self._add_near(_Part(whole.field, level, targets, sources, weights, sums), _one_by_one)
        whole.sums.add(rows[targets.order], sums)


def _one_by_one(work: Callable[[int], None], tasks: int) -> None:
    for task in range(tasks):
        work(task)
