r"""Fields in a closed or periodic box by particle mesh: those of the box's own Green function.

With :math:`\partial_n c = 0` on the walls, c is the field of the particles and of all their mirror images,
:math:`c = \sum_j w_j \sum_{\text{images } y} K(x - y)`: a series of cosines in coordinates from the lower corner, as
those of the particles in a torus twice as wide. A torus has the plain Fourier series. Particles are deposited with
B-splines of order 6, or in space with a window of eight nodes, on a grid that divides the box;
what falls outside is reflected, or wrapped, onto it, and a cosine (Fourier) transform and its inverse apply the
kernels' symbols, with the factors of :mod:`kspde.particles.fields.particle_mesh`: no padding, no images to cut off.
A field with τ > 0 advances mode by mode as in :mod:`kspde.particles.fields.relaxing`.

A kernel without decay, :math:`-\Delta c = u`, has no field of its own mass here: c is that of u minus its mean, with
mean 0. Grid points of closed boxes lie half a spacing inside the walls, so that an even function is one of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kspde.initial import InitialDensity
from kspde.kernels.base import Derived
from kspde.models import Field
from kspde.particles.fields.accuracy import coarsest, grid_factors
from kspde.particles.fields.base import Extent, FieldEvaluator, too_large
from kspde.particles.fields.relaxation import MOST, check_self_included, interpolate, step_weights, warn_of_coarse
from kspde.particles.fields.splines import SPLINE, Nodes, deposit, gather_part, grids_for
from kspde.particles.region import Region
from kspde.runtime.compiled import use_threads
from kspde.typing import Array

__all__ = ["BoxMesh"]

#: Nodes that splines, or windows, of particles within half a spacing of the box touch outside of it, before and after.
_MARGINS = (4, 8)


@dataclass(frozen=True, kw_only=True)
class _WithoutMean(Derived):
    """A kernel without the modes below a λ, for one without decay: a box has none there but the constants."""

    least: float

    def symbol(self, lam: Array) -> Array:
        """Return g, or 0."""
        lam = np.asarray(lam, dtype=np.float64)
        return np.where(lam < self.least, 0.0, self.kernel.symbol(np.maximum(lam, self.least)))


class BoxMesh(FieldEvaluator):
    """Fields on a grid of the box; see :class:`~kspde.particles.fields.base.FieldEvaluator` for other arguments.

    Args:
        fields: the regularised fields.
        region: the box.

    Attributes:
        points: the number of grid points of each direction.
        spacing: the largest grid spacing.
        start_error: by field that starts from a given one, the error of its splines relative to its maximum.

    Raises:
        InputError: the grid would take more than ``memory_limit``.
    """

    def __init__(self, fields: tuple[Field, ...], *, region: Region, **options: Any) -> None:
        lowest = (0.5 * np.pi / float(region.sides.max())) ** 2
        super().__init__(
            tuple(
                replace(f, kernel=_WithoutMean(kernel=f.kernel, least=lowest)) if f.kernel.decay_rate == 0 else f
                for f in fields
            ),
            **options,
        )
        self.region = region
        self._threads = use_threads(self.comm)
        self._relaxing = tuple(f for f in self.active if f.tau > 0)
        if self._relaxing:
            check_self_included(not self._own)
        #: By relaxing field, its modes and its source's, at time ``_at``; ``_shown`` is the time of its coefficients.
        self._modes: dict[str, Array] = {}
        self._sources: dict[str, Array] = {}
        self._coefficients: dict[str, Array] = {}
        self._at = self._shown = math.nan
        self._starts = {f.name: f.start for f in self._relaxing if f.start is not None}
        self.start_error: dict[str, float] = {}
        if self.active:
            least, self._kind = self.grid_needed(self.active, region, self.dimension, self.tol)
            self._make(least)
            self._resolve_starts()

    @staticmethod
    def grid_needed(
        fields: tuple[Field, ...], region: Region, dimension: int, tol: float
    ) -> tuple[tuple[int, ...], Nodes]:
        """Return the numbers of grid points by direction for a tolerance, and what to deposit with."""
        kernels = [(f.kernel, f.gradient) for f in fields if f.kernel.smoothing > 0]
        if not kernels:
            return (16,) * dimension, SPLINE
        splines = any(f.start is not None for f in fields)  # of which interpolate() knows
        finest, nodes = coarsest(kernels, dimension, tol, splines=splines)
        return tuple(max(16, math.ceil(side / finest)) for side in region.sides), nodes

    @staticmethod
    def bytes_needed(points: float, fields: int, threads: int) -> float:
        """Return the bytes that a number of grid points takes for a number of fields."""
        return points * (40.0 * fields + 8.0 * threads + 48.0)

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Compute the fields of positions at time ``t``, to which relaxing fields advance. Collective."""
        if not self.active:
            return
        fresh = self._deposited(positions, self.active)
        if self._relaxing and self._at != self.t:
            if not self._modes:
                self._modes = {f.name: fresh[f.name] for f in self._relaxing} | self._given()
            else:
                for f in self._relaxing:
                    decay, lag = step_weights(self._squared, f, self.t - self._at)
                    new, old = fresh[f.name], self._sources[f.name]
                    self._modes[f.name] = new + decay * (self._modes[f.name] - old) - lag * (new - old)
            self._sources, self._at = {f.name: fresh[f.name] for f in self._relaxing}, self.t
        self._show(fresh | self._modes)

    def update_stage(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take positions within a step: relaxing fields keep the source of its beginning. Collective."""
        shown = self._deposited(positions, [f for f in self.active if f.tau == 0])
        if self._shown != self.t:
            for f in self._relaxing:
                source, decay = self._sources[f.name], step_weights(self._squared, f, self.t - self._at)[0]
                shown[f.name] = source + decay * (self._modes[f.name] - source)
        self._show(shown)

    @property
    def in_parts(self) -> bool:
        """Always."""
        return True

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        """Write a field, evenly extended beyond walls."""
        turned = None
        if self.region.leaves(x):
            x = x.copy()
            turned = self.region.turned(x)
        self._gather(values, gradient, self._coefficients[field.name], x, self._kind)
        if turned is not None and gradient is not None:
            gradient *= turned

    def _gather(
        self, values: Array, gradient: Array | None, coefficients: Array, x: Array, nodes: Nodes = SPLINE
    ) -> None:
        """Write what the spline with these coefficients is at positions inside, and its gradient if wanted."""
        x = x if self._units is None else x / self._units
        gather_part(values, gradient, coefficients, x, self._lower, self._step, nodes)
        if self._units is not None and gradient is not None:
            gradient /= self._units

    def summary(self) -> dict[str, Any]:
        """Return the grid's data."""
        if not self.active:
            return {}
        more = {"start_error": dict(self.start_error)} if self.start_error else {}
        return {"modes": list(self.points), "spacing": self.spacing, "threads": self._threads, **more}

    def state(self) -> dict[str, Array]:
        """Return the modes of relaxing fields and of their sources."""
        if not self._relaxing:
            return {}
        held = {"modes": self._modes, "sources": self._sources}
        arrays = {
            f"{kind}.{name}": modes.view(np.float64) for kind, each in held.items() for name, modes in each.items()
        }
        return {"at": np.array([self._at]), **arrays}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore what ``state`` returned.

        Raises:
            ValueError: modes of another grid.
        """
        if self._relaxing:
            self._at = float(state["at"][0])
            for kind, held in (("modes", self._modes), ("sources", self._sources)):
                for f in self._relaxing:
                    found: Array = np.ascontiguousarray(state[f"{kind}.{f.name}"]).view(self._squared_type)
                    held[f.name] = found.reshape(self._squared.shape)

    def _make(self, least: Sequence[int]) -> None:
        """Make the grid with at least so many points by direction, unless they take too much memory."""
        from scipy import fft

        needed = self.bytes_needed(math.prod(map(float, least)), len(self.active), self._threads)
        if needed > self.memory_limit:
            raise too_large(
                f"the fields in a box of size {{}} to relative accuracy {self.tol:g}",
                self.region.sides,
                [float(n) for n in least],
                f"spacing {float((self.region.sides / least).max()):.3g}",
                needed=needed,
                limit=self.memory_limit,
                advice="give a larger eps, field_tol or memory_limit",
            )
        periodic = self.region.periodic
        self.points = tuple(int(fft.next_fast_len(n, real=True)) for n in least)
        h = self.region.sides / self.points
        self.spacing = float(h.max())
        self._corner = self.region.bounds[0] + (0.0 if periodic else 0.5 * h)
        #: the units of coordinates, None where h is one for all directions; there are the corner and h in these
        self._units = None if np.all(h == h[0]) else h
        self._lower = (self._corner - _MARGINS[0] * h) / (1.0 if self._units is None else h)
        self._step = float(h[0]) if self._units is None else 1.0
        self._grids = grids_for(self._threads, tuple(m + sum(_MARGINS) for m in self.points))
        *others, last = self.points
        waves = [2 * np.pi * np.abs(np.fft.fftfreq(m)) for m in others] + [2 * np.pi * np.fft.rfftfreq(last)]
        self._phases = waves if periodic else [np.pi * np.arange(m) / m for m in self.points]
        self._squared, factor = grid_factors(self._phases, h, self._kind)
        self._squared_type: Any = np.complex128 if periodic else np.float64
        self._factors = {f.name: f.kernel.symbol(self._squared) * factor for f in self.active}

    def _transform(self, nodes: Array) -> Array:
        from scipy import fft

        transform = fft.rfftn if self.region.periodic else fft.dctn
        return np.asarray(transform(nodes, workers=self._threads))

    def _back(self, modes: Array) -> Array:
        """Return values at the nodes, and at those around the box."""
        from scipy import fft

        if self.region.periodic:
            nodes = fft.irfftn(modes, s=self.points, workers=self._threads)
            return np.pad(nodes, _MARGINS, mode="wrap")
        return np.pad(fft.idctn(modes, workers=self._threads), _MARGINS, mode="symmetric")

    def _deposited(self, positions: Mapping[str, Array], fields: Any) -> dict[str, Array]:
        """Return by field the modes of its spline coefficients for particles at rest there. Collective."""
        out: dict[str, Array] = {}
        for source in dict.fromkeys(f.source for f in fields):
            x, weights = positions[source], self.weights[source]
            x = x if self._units is None else x / self._units
            nodes = deposit(self._grids, x, self._lower, self._step, weights, self.comm, self._kind)
            for axis in range(self.dimension):
                nodes = self._inside(np.moveaxis(nodes, axis, 0))
                nodes = np.moveaxis(nodes, 0, axis)
            modes = self._transform(nodes)
            out |= {f.name: self._factors[f.name] * modes for f in fields if f.source == source}
        return out

    def _inside(self, nodes: Array) -> Array:
        """Return what is deposited along the first axis with that outside of the box at its images inside."""
        (before, after), m = _MARGINS, len(nodes) - sum(_MARGINS)
        out = nodes[before : before + m].copy()
        if self.region.periodic:
            out[m - before :] += nodes[:before]
            out[:after] += nodes[before + m :]
        else:
            out[:before] += nodes[before - 1 :: -1]
            out[m - after :] += nodes[: before + m - 1 : -1]
        return out

    def _show(self, modes: Mapping[str, Array]) -> None:
        self._coefficients |= {name: self._back(each) for name, each in modes.items()}
        self._shown = self.t

    def _nodes(self, shift: float) -> Array:
        """Return grid points, shifted by a share of the spacing in each direction, shape (n, d)."""
        steps = self.region.sides / self.points
        axes = [x + h * (shift + np.arange(m)) for x, h, m in zip(self._corner, steps, self.points, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)

    def _given(self) -> dict[str, Array]:
        """Return by field the modes of the spline coefficients of the initial fields that are given."""
        out: dict[str, Array] = {}
        for name, start in self._starts.items():
            modes = self._transform(self._sampled(start, 0.0).reshape(self.points))
            interpolate(modes, self._phases)
            out[name] = modes
        return out

    def _sampled(self, start: InitialDensity, shift: float) -> Array:
        points = self._nodes(shift)
        self.region.fold(points)
        return np.asarray(start(points), dtype=np.float64)

    def _resolve_starts(self) -> None:
        """Make a grid that is fine enough for the initial fields that are given."""
        while self._starts:
            for name, modes in self._given().items():
                found, exact = np.empty(math.prod(self.points)), self._sampled(self._starts[name], 0.5)
                points = self._nodes(0.5)
                self.region.fold(points)
                self._gather(found, None, self._back(modes), points)
                self.start_error[name] = float(np.abs(found - exact).max() / (np.abs(exact).max() or 1.0))
            worst = max(self.start_error.values())
            if worst <= self.tol or 2**self.dimension * math.prod(self.points) > MOST:
                break
            self._make([2 * m for m in self.points])
        if self._starts:
            warn_of_coarse(worst, self.spacing, self.comm)
