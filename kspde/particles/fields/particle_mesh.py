r"""Fields by particle mesh: deposit, multiply and gather on a uniform periodic grid.

Particles are deposited with B-splines of order 6, or in space with a window of eight nodes, the grid is transformed,
multiplied by :math:`g(|k|^2)` over their own transforms, transformed back
(:mod:`kspde.particles.fields.convolution`), and gathered with the same functions; their derivative gives the gradient.
The box follows the cloud, with room for it to move and padding that keeps the periodic images apart; spacing and
padding follow from the kernel and the tolerance
(:mod:`kspde.particles.fields.accuracy`). Where such a grid would take more memory than allowed, the kernels are split:
a coarser grid carries what it resolves, and a sum over neighbours the rest (:mod:`kspde.particles.fields.short_range`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from kspde.models import Field
from kspde.particles.fields.accuracy import band, coarsest, grid_factors, image_distance
from kspde.particles.fields.base import Extent, FieldEvaluator, check_resolved, too_large
from kspde.particles.fields.convolution import FastConvolution, corner_convolution
from kspde.particles.fields.free_space import doubled, free_space_factor
from kspde.particles.fields.short_range import ScreenedKernel, ShortRangeSum, longest_screen
from kspde.particles.fields.splines import deposit, gather, gather_part, grids_for, reach_of
from kspde.runtime.compiled import use_threads
from kspde.runtime.limits import check_memory
from kspde.typing import Array

__all__ = ["ParticleMesh"]

#: The cloud's room to move before the box is rebuilt, on each side, as a share of its extent plus the padding.
_SLACK = 0.04
#: The longest screen, as a multiple of the cloud's size.
_WIDEST = 5.0
#: The image distance over log(1/tol) times the cloud's size, and over the grid spacing, from which on it is in free
#: space.
_FREE, _FARTHEST = 0.25, 2e4
#: The share of the limit that grids of split kernels may take: transforms should take no longer than the neighbours.
_SHARE = 0.25


class ParticleMesh(FieldEvaluator):
    """Fields on a grid; see :class:`~kspde.particles.fields.base.FieldEvaluator` for the arguments.

    Attributes:
        spacing: the grid spacing h, the same in each direction.
        padding: the least distance between the cloud and its periodic images.
        shape: the number of grid points per direction, after the first update.
        screen: the length s that splits the kernels; 0 when the grid carries all of them.
        free: whether the grid is in free space, without images, which would be too far away.
    """

    def __init__(self, fields: tuple[Field, ...], **options: Any) -> None:
        super().__init__(fields, **options)
        self.shape: tuple[int, ...] = ()
        self._threads = use_threads(self.comm)
        self._short_range: ShortRangeSum | None = None
        self._sources = tuple(dict.fromkeys(field.source for field in self.active))
        self.free = False
        if self.active:
            self._slowest = min(f.kernel.decay_rate for f in self.active)
            first = [f.kernel.factors[0] for f in self.active]
            #: whether what decays most slowly has a truncated symbol in each kernel: else its images are kept away
            self._truncates = all(k.fundamental or k.decay_rate == 0.0 for k in first)
            self._screen(0.0)

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Deposit all particles and compute the spline coefficients of every field. Collective.

        Raises:
            InputError: the grid would take more than ``memory_limit``; on every rank.
        """
        if not self.active:
            return
        if not self.shape or not extent.within(self._inner):
            self._build(extent)
            self._check_memory(sum(len(positions[source]) for source in self._sources), extent)
        if self._short_range is not None:
            self._short_range.update({source: positions[source] for source in self._sources}, extent, self.comm)
        for source in self._sources:
            x, weights = positions[source], self.weights[source]
            nodes = deposit(self._grids, x, self._lower, self.spacing, weights, self.comm, self._kind)
            factors = {f.name: self._factors[f.name] for f in self.active if f.source == source}
            self._coefficients.update(self._convolve(nodes, factors))

    @property
    def in_parts(self) -> bool:
        """True unless there is a sum over neighbours."""
        return self._short_range is None

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        if self._short_range is None:
            gather_part(values, gradient, self._coefficients[field.name], x, self._lower, self.spacing, self._kind)
            return
        gather(values, gradient, self._coefficients[field.name], x, self._lower, self.spacing, self._kind)
        self._short_range.add(field, x, values, gradient)

    def summary(self) -> dict[str, Any]:
        """Return the grid's data."""
        if not self.shape:
            return {}
        near = self._short_range
        split = {} if near is None else {"screen": self.screen, "reach": near.reach, "pairs": near.pairs}
        grid = {"modes": list(self.shape), "spacing": self.spacing, "padding": self.padding, "threads": self._threads}
        return {**grid, **split}

    def state(self) -> dict[str, Array]:
        """Return the extent for which the box was built."""
        return {"lower": self._built.lower, "upper": self._built.upper} if self.shape else {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Build the box for that extent."""
        if state:
            self._build(Extent(state["lower"], state["upper"]))

    def _screen(self, scale: float) -> None:
        """Choose the grid's kernels, spacing and padding for a screen length, 0 for none."""
        d, self.screen = self.dimension, scale
        self._short_range = None
        self._kernels = {
            f.name: ScreenedKernel(kernel=f.kernel, scale=scale) if scale else f.kernel for f in self.active
        }
        self.spacing, self._kind = coarsest([(self._kernels[f.name], f.gradient) for f in self.active], d, self.tol)
        self._grid_factors = partial(grid_factors, nodes=self._kind)
        # A grid that is fine enough for splines has many modes that a mollified kernel has not.
        share = 0.005 * self.tol
        self._band = max(band(self._kernels[f.name], d, gradient=f.gradient, share=share) for f in self.active)
        reach = math.log(1 / self.tol) / max(self._slowest, 1e-300)
        self.free = self.free or (self._truncates and reach > _FARTHEST * self.spacing)
        # The nodes of a spline, or of the window, on either side.
        self.padding = 12 * self.spacing
        if not self.free:
            self.padding = max(self.padding, *(image_distance(k, d, self.tol) for k in self._kernels.values()))

    def _build(self, extent: Extent) -> None:
        check_resolved(extent, self.spacing, self.tol)
        self._built = extent
        free = self.in_free_space(extent.size)
        if self.screen or free != self.free:
            self.free = free
            self._screen(0.0)
        if self.bytes_for(extent.size) > self.memory_limit:
            self._split(extent.size)
        self._set_box(extent.widened(_SLACK * (extent.size + self.padding)))

    def _check_memory(self, n: int, extent: Extent) -> None:
        """Raise if the grid and the sums over neighbours do not fit into the machine. Collective.

        Raises:
            InputError: on every rank.
        """
        near = 0.0 if self._short_range is None else ShortRangeSum.bytes_per_particle * self.comm.allreduce(n)
        needed = self.bytes_for(extent.size) + near
        modes = " × ".join(map(str, self.shape))
        check_memory(f"the fields on a grid of {modes}", needed, self.comm, "give a larger eps, or fewer particles")

    def _split(self, size: Array) -> None:
        """Choose the shortest screen whose grid fits.

        Raises:
            InputError: no screen does.
        """
        refusal = too_large(
            f"the fields of a cloud of size {{}} to relative accuracy {self.tol:g}",
            size,
            self.points_for((1 + 2 * _SLACK) * size + 2 * _SLACK * self.padding),
            f"spacing {self.spacing:.3g}, padding {self.padding:.3g}",
            needed=self.bytes_for(size),
            limit=self.memory_limit,
            advice='give a larger eps or field_tol, method = "direct" for some thousand particles',
        )
        scale = 2.0 * self.spacing
        screens = [longest_screen(f.kernel, self.tol) for f in self.active]
        # With a screen longer than the cloud the grid would have nothing to do.
        longest = min((s for s in screens if s > 0), default=float(size.max()))
        longest = min(longest, _WIDEST * float(size.max()))
        while self.bytes_for(size) > _SHARE * self.memory_limit:
            scale *= 1.25
            if scale > longest:
                raise refusal
            self._screen(scale)
        self._short_range = ShortRangeSum(self.active, self.dimension, scale, weights=self.weights, tol=self.tol)

    def in_free_space(self, size: Array) -> bool:
        """Return whether the grid for a cloud of a given size is in free space: images would be far away."""
        return self._truncates and self._slowest * float(size.max()) < _FREE * math.log(1 / self.tol)

    def points_for(self, inner: Array) -> Array:
        """Return the number of grid points per direction that a box for the cloud and the padding takes."""
        if self.free:
            return 2.0 * np.array(self._corner(inner))
        return np.minimum((inner + self.padding) / self.spacing, 1e15)

    def _corner(self, inner: Array) -> tuple[int, ...]:
        # The nodes that splines, or windows, of particles in the inner box touch, and one more for rounding.
        return tuple(math.ceil(m) + sum(reach_of(self._kind)) + 1 for m in np.minimum(inner / self.spacing, 1e15))

    def bytes_for(self, size: Array) -> float:
        """Return the bytes that the grids for a cloud of a given size take."""
        inner = size + 2 * _SLACK * (size + self.padding)
        shape, corner = tuple(math.ceil(m) for m in self.points_for(inner)), self._corner(inner)
        grids = 8.0 * self._threads * math.prod(corner)
        return grids + FastConvolution.bytes_needed(shape, corner, len(self.active), self._columns(shape[-1]))

    def _columns(self, points: int) -> int:
        """Return the number of modes of the kernels along a direction with a number of points."""
        few = math.ceil(self._band * points * self.spacing / (2 * np.pi)) + 1
        return points // 2 + 1 if self.free else min(points // 2 + 1, few)

    def _set_box(self, inner: Extent) -> None:
        from scipy import fft

        self._inner, corner = inner, self._corner(inner.size)
        self.shape = tuple(int(fft.next_fast_len(math.ceil(m), real=True)) for m in self.points_for(inner.size))
        if self.free:
            self.shape = doubled(corner)
        self._lower = inner.lower - reach_of(self._kind)[0] * self.spacing
        columns = tuple(self._columns(m) for m in self.shape)
        self._convolve = corner_convolution(self.shape, corner, columns, threads=self._threads)
        self._grids = grids_for(self._threads, self._convolve.corner)
        self._coefficients: dict[str, Array] = {}
        self._factors: dict[str, Array] = {}
        if self.free:
            self._set_free_space(corner)
            return
        indices = [(np.arange(count), m) for m, count in zip(self.shape, self._convolve.modes, strict=True)]
        squared, factor = self._grid_factors(
            [2 * np.pi * np.minimum(k, np.abs(m - k)) / m for k, m in indices], self.spacing
        )
        self._factors = {name: kernel.symbol(squared) * factor for name, kernel in self._kernels.items()}

    def _set_free_space(self, corner: tuple[int, ...]) -> None:
        h, modes = self.spacing, self._convolve.modes
        # Where the mollifiers, the screen and the inverse of the splines end.
        mollifiers = [[image_distance(k, self.dimension, self.tol) for k in f.kernel.factors[1:]] for f in self.active]
        support = max(map(sum, mollifiers)) + 8 * self.screen + 12 * h
        for name, kernel in self._kernels.items():
            whole = free_space_factor(
                partial(kernel.truncated_symbol, dimension=self.dimension),
                self._grid_factors,
                corner,
                spacing=h,
                support=support,
                threads=self._threads,
            )
            self._factors[name] = whole[tuple(slice(m) for m in modes)]
