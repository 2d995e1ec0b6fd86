r"""Fields with a dynamics of their own, advanced with the particles on a periodic grid.

A field with τ > 0 solves, mode by mode, with the kernel's relaxation rate ρ and λ = \|k\|²,

.. math:: \tau\,\partial_t \hat c = -(\lambda + \rho^2)\,(\hat c - \hat s), \qquad \hat s(t) = \hat K \hat\mu^N(t),

for the Yukawa potential :math:`\tau\partial_t c = \Delta c - \rho^2 c + \chi\mu^N`. With :math:`a = (\lambda + \rho^2)
h/\tau` a step of length h is exact for a source that is linear in time between two deposits:

.. math::
    \hat c(t+h) = \hat s(t+h) + e^{-a}\,(\hat c(t) - \hat s(t)) - \frac{1-e^{-a}}a\,(\hat s(t+h) - \hat s(t)).

The sources come from the same splines, with the same factors on the grid, as those of
:mod:`kspde.particles.fields.particle_mesh`, so that particles at rest have the field of τ = 0. The initial field is
:math:`c(0) = K * \mu^N_0`, that of particles that have always been where they start; its expectation is the initial
field :math:`K * u_0` of the density. A field that starts from a given density is sampled at the grid points and
interpolated by the same splines, on a grid that is refined until it reproduces the density between its points.

*Images.* The field is what the particles have deposited since t = 0, wherever they were: :math:`\int_0^\infty
\frac1\tau e^{-\rho^2 s/\tau} G_{s/\tau}\,ds` over heat kernels G is the Yukawa potential, so that, with a positive
mollifier, a source in the past contributes at any distance at most what a source at rest does. The box therefore
holds all places where particles have been, and the padding is twice that of a field without memory: at the middle of
the padding the field is below the tolerance, and it is cut there when the grid is enlarged. Enlarging keeps the spacing
and the grid points, so that nothing is interpolated.

*Without screening*, ρ = 0, :math:`K * \mu^N` has no place on a periodic grid, but what has been deposited since t = 0
has: it has spread as far as heat does, and the padding grows with it. The modes then follow :math:`\hat\jmath =
\lambda\hat s`,

.. math::
    \hat c(t+h) = e^{-a}\hat c(t) + \frac h\tau\Bigl(\frac{1-e^{-a}}a\,\hat\jmath(t)
    + \frac{a - 1 + e^{-a}}{a^2}\,(\hat\jmath(t+h) - \hat\jmath(t))\Bigr),

from an initial field that is given: that of an equilibrium would have to be known everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError
from kspde.initial import InitialDensity
from kspde.kernels import Yukawa
from kspde.models import Field
from kspde.particles.fields.accuracy import grid_factors, image_distance, spacing
from kspde.particles.fields.base import Extent, FieldEvaluator, check_resolved, too_large
from kspde.particles.fields.relaxation import (
    MOST,
    check_self_included,
    interpolate,
    rise_weight,
    step_weights,
    warn_of_coarse,
)
from kspde.particles.fields.splines import SPLINE, deposit, gather, gather_part, grids_for, reach_of
from kspde.radial import is_zero
from kspde.runtime.compiled import use_threads
from kspde.typing import Array

__all__ = ["RelaxingFields"]

#: Nodes that a spline touches before and after a particle.
REACH = reach_of(SPLINE)
#: The cloud's room to move before the grid is enlarged, on each side, as a share of its extent plus the padding.
_SLACK = 0.1
#: Points at which its splines are checked, and points per direction of the grid that its support is looked for on.
_CHECKED, _LOOK = 1_000_000, {1: 4096, 2: 512, 3: 64}

Modes = npt.NDArray[np.complex128]


class RelaxingFields(FieldEvaluator):
    """Fields some of which relax; see :class:`~kspde.particles.fields.base.FieldEvaluator` for the other arguments.

    Args:
        fields: the regularised fields.
        others: the class of the evaluator of the fields that do not relax, or a function that makes it.
        memory_limit: the bytes that the grids of one rank may take.

    Attributes:
        spacing: the grid spacing h, the same in each direction.
        padding: the least distance between places where particles have been and their periodic images.
        shape: the number of grid points per direction, after the first update.

    Raises:
        InputError: a kernel that decays too fast or too slowly, or is unbounded, or one without screening and without
            an initial field.
    """

    def __init__(
        self,
        fields: tuple[Field, ...],
        *,
        others: Callable[..., FieldEvaluator],
        memory_limit: float,
        include_self: bool,
        **options: Any,
    ) -> None:
        check_self_included(include_self)
        super().__init__(fields, include_self=True, **options)
        still = tuple(f for f in fields if f.tau == 0)
        self._others = others(still, include_self=True, **options) if still else None
        self._relaxing = tuple(f for f in self.active if f.tau > 0)
        for f in self._relaxing:
            if not math.isfinite(f.kernel.decay_rate):
                raise InputError(
                    f"field {f.name!r} has tau > 0 and a kernel that decays faster than any exponential, so that it "
                    f"forgets nothing: give it a kernel such as Yukawa, or tau = 0"
                )
            if f.kernel.decay_rate == 0 and not (f.kernel.factors[0].fundamental and f.start is not None):
                raise InputError(
                    f"field {f.name!r} has tau > 0 and a kernel without screening, and starts from an equilibrium that "
                    f"no grid holds: give particles an initial field (v0), or screening (mu > 0), or tau = 0"
                )
        self.memory_limit = memory_limit
        self.shape: tuple[int, ...] = ()
        self._threads = use_threads(self.comm)
        d, tol = self.dimension, self.tol
        self._starts = {f.name: f.start for f in self._relaxing if f.start is not None}
        #: By field, the error of the splines between the grid points at the start, relative to the maximum.
        self.start_error: dict[str, float] = {}
        if self._relaxing:
            # What is left of an initial field spreads no farther than the Yukawa potential.
            kernels = [f.kernel for f in self._relaxing if not is_zero(f.kernel)]
            potentials = [Yukawa(screening=f.kernel.relaxation_rate) for f in self._relaxing if f.start is not None]
            bounds = [spacing(f.kernel, d, gradient=f.gradient, tol=tol) for f in self._relaxing if f.kernel in kernels]
            self.spacing = min(bounds, default=1.0 / (max((k.screening for k in potentials), default=1.0) or 1.0))
            screened = [kernel for kernel in (*kernels, *potentials) if kernel.decay_rate > 0]
            self._far = max((image_distance(kernel, d, tol) for kernel in screened), default=0.0)
            #: How far mollifiers reach, of fields without screening.
            self._cores = {
                f.name: sum(image_distance(part, d, tol) for part in f.kernel.factors[1:])
                for f in self._relaxing
                if _unscreened(f)
            }
            self._far = max(self._far, self._front(0.0))
            self.padding = 2 * max(self._far, 12 * self.spacing)
        #: By field, the transforms of its spline coefficients and of its source's, at time ``_at``.
        self._modes: dict[str, Modes] = {}
        self._sources: dict[str, Modes] = {}
        self._coefficients: dict[str, Array] = {}
        self._at = self._shown = math.nan

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Advance the fields to time ``t``, at which the particles have these positions. Collective.

        Raises:
            InputError: the grid would take more than ``memory_limit``; on every rank.
        """
        if not self.shape and self._starts:
            self._resolve_starts(extent)
        if not self._prepared(positions, extent):
            return
        if self._at != self.t:
            fresh = self._deposited(positions)
            if not self._modes:
                self._modes = {name: modes.copy() for name, modes in fresh.items()} | self._given()
            else:
                for f in self._relaxing:
                    decay, lag = self._weights(f, self.t - self._at)
                    modes, before = self._modes[f.name], self._sources[f.name]
                    if _unscreened(f):
                        modes *= decay
                        modes += self._since(f, lag, before)
                        modes += self._since(
                            f, rise_weight(self._squared, f, self.t - self._at), fresh[f.name] - before
                        )
                        continue
                    modes -= before
                    modes *= decay
                    modes += fresh[f.name]
                    modes -= lag * (fresh[f.name] - before)
            self._sources, self._at = fresh, self.t
        self._show(self._modes)

    def update_stage(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take positions within a step: the relaxing fields keep the source of its beginning. Collective.

        This is the stage of an unknown without noise of :mod:`kspde.particles.schemes.weak2`.
        """
        if not self._prepared(positions, extent) or self._shown == self.t:
            return
        stage: dict[str, Modes] = {}
        for f in self._relaxing:
            decay, lag = self._weights(f, self.t - self._at)
            source = self._sources[f.name]
            if _unscreened(f):
                stage[f.name] = decay * self._modes[f.name] + self._since(f, lag, source)
            else:
                stage[f.name] = source + decay * (self._modes[f.name] - source)
        self._show(stage)

    def _since(self, field: Field, weights: Array, source: Modes) -> Modes:
        """Return what a source has added since the last update."""
        return np.asarray((self.t - self._at) / field.tau * weights * source)

    def _front(self, t: float) -> float:
        """Return how far heat has spread by ``t`` from what fields without screening have been given."""
        spread = 4.0 * math.log(8 * self.dimension / self.tol)
        return max(
            (math.sqrt(spread * t / f.tau) + self._cores[f.name] for f in self._relaxing if _unscreened(f)), default=0.0
        )

    def _prepared(self, positions: Mapping[str, Array], extent: Extent) -> bool:
        """Update the fields that do not relax, cover the extent, and return whether any field relaxes. Collective."""
        if self._others is not None:
            self._others.t = self.t
            self._others.update(positions, extent)
        if self._relaxing:
            self._cover(extent)
        return bool(self._relaxing)

    @property
    def in_parts(self) -> bool:
        """As for the fields that do not relax."""
        return self._others is None or self._others.in_parts

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        if self._others is not None and field not in self._relaxing:
            self._others._evaluate(field, x, values, gradient)
            return
        take = gather_part if self.in_parts else gather
        take(values, gradient, self._coefficients[field.name], x, self._lower, self.spacing)

    def summary(self) -> dict[str, Any]:
        """Return the grids' data."""
        others = {} if self._others is None else self._others.summary()
        if not self.shape:
            return others
        grid = {"modes": list(self.shape), "spacing": self.spacing, "padding": self.padding, "threads": self._threads}
        if self.start_error:
            grid["start_error"] = dict(self.start_error)
        return {**others, "relaxing": grid} if others else grid

    def state(self) -> dict[str, Array]:
        """Return the grid, the modes, the sources, and the state of the other fields."""
        out = {} if self._others is None else {f"others.{name}": a for name, a in self._others.state().items()}
        if self.shape:
            out |= {
                "at": np.array([self._at]),
                "spacing": np.array([self.spacing]),
                **({"far": np.array([self._far])} if self._cores else {}),
                "start_error": np.array(list(self.start_error.values())),
                "lower": self._lower,
                "inner": np.stack((self._inner.lower, self._inner.upper)),
                "shape": np.array([self.shape, self._corner], dtype=np.float64),
            }
            out |= {f"modes.{name}": modes.view(np.float64) for name, modes in self._modes.items()}
            out |= {f"sources.{name}": modes.view(np.float64) for name, modes in self._sources.items()}
        return out

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore what ``state`` returned."""
        if self._others is not None:
            mark = "others."
            self._others.restore({k.removeprefix(mark): a for k, a in state.items() if k.startswith(mark)})
        if self._relaxing:
            self._at, self._lower = float(state["at"][0]), state["lower"]
            if self._cores:
                self._far = float(state["far"][0])
                if not self._front(self._at) <= self._far < math.inf:
                    raise ValueError(f"a field that has spread to {self._far}")
            self._set_spacing(self._saved_spacing(state))
            self.start_error = dict(zip(self._starts, state["start_error"].tolist(), strict=True))
            self._inner = Extent(*state["inner"])
            shape, corner = state["shape"].astype(int).tolist()
            self._check_grid(shape, corner)
            self._set_grid(tuple(shape), tuple(corner))
            half = (*shape[:-1], shape[-1] // 2 + 1)
            for held, name in ((self._modes, "modes"), (self._sources, "sources")):
                for f in self._relaxing:
                    held[f.name] = np.ascontiguousarray(state[f"{name}.{f.name}"]).view(np.complex128).reshape(half)

    def _check_grid(self, shape: Sequence[int], corner: Sequence[int]) -> None:
        """Raise a ValueError unless ``_cover`` can have made this grid: the compiled loops do not check its bounds."""
        h, low, high = self.spacing, self._inner.lower, self._inner.upper
        sizes = np.array([shape, corner], dtype=np.float64)
        whole = np.array([self._lower + REACH[0] * h - low, high - self._lower - (sizes[1] - REACH[1] - 1) * h])
        if sizes.shape != (2, self.dimension) or whole.shape != sizes.shape or not np.all(sizes[0] >= sizes[1]):
            raise ValueError(f"a grid of shape {shape}")
        if not np.all(whole <= 1e-6 * h) or 8.0 * math.prod(shape) > self.memory_limit:
            raise ValueError(f"a grid of shape {shape} around {low}, {high}")

    def _set_spacing(self, h: float) -> None:
        self.spacing, self.padding = h, 2 * max(self._far, 12 * h)

    def _saved_spacing(self, state: Mapping[str, Array]) -> float:
        """Return the spacing of a checkpoint, which may be that of the kernel halved several times."""
        saved = float(state["spacing"][0])
        halvings = math.log2(self.spacing / saved) if 0 < saved < math.inf else math.nan
        if not (halvings == 0 if not self._starts else 0 <= halvings <= 60 and halvings.is_integer()):
            raise ValueError(f"a spacing of {saved}")
        return saved

    def _resolve_starts(self, extent: Extent) -> None:
        """Make a grid around particles and initial fields, fine enough for these. Collective.

        Raises:
            InputError: it would take more than ``memory_limit``.
        """
        for start in self._starts.values():
            box = _support(start, self.tol)
            extent = Extent(np.minimum(extent.lower, box.lower), np.maximum(extent.upper, box.upper))
        while True:
            self._cover(extent)
            self.start_error = {name: self._error_of(name, modes) for name, modes in self._given().items()}
            worst = max(self.start_error.values())
            if worst <= self.tol or math.prod(2 * m for m in self.shape) > MOST:
                break
            self._set_spacing(0.5 * self.spacing)
            self.shape = ()
        warn_of_coarse(worst, self.spacing, self.comm)

    def _given(self) -> dict[str, Modes]:
        """Return by field the transforms of the spline coefficients of the initial fields that are given."""
        from scipy import fft

        out: dict[str, Modes] = {}
        for name, start in self._starts.items():
            axes = [low + self.spacing * np.arange(m) for low, m in zip(self._lower, self._corner, strict=True)]
            points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)
            values = np.zeros(self.shape)
            values[tuple(map(slice, self._corner))] = np.asarray(start(points)).reshape(self._corner)
            modes = fft.rfftn(values, workers=self._threads)
            interpolate(modes, self._phases)
            out[name] = modes
        return out

    def _error_of(self, name: str, modes: Modes) -> float:
        """Return the error of the splines of an initial field half-way between grid points."""
        from scipy import fft

        coefficients = fft.irfftn(modes, s=self.shape, workers=self._threads)
        skip = max(1, math.ceil((math.prod(self._corner) / _CHECKED) ** (1 / self.dimension)))
        axes = [
            low + self.spacing * (np.arange(REACH[0], m - REACH[1], skip) + 0.5)
            for low, m in zip(self._lower, self._corner, strict=True)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)
        found, exact = np.empty(len(points)), np.asarray(self._starts[name](points))
        gather(found, None, coefficients, points, self._lower, self.spacing)
        return float(np.abs(found - exact).max() / (np.abs(exact).max() or 1.0))

    def _deposited(self, positions: Mapping[str, Array]) -> dict[str, Modes]:
        """Return by field the transforms of the spline coefficients of particles at rest there. Collective."""
        from scipy import fft

        out: dict[str, Modes] = {}
        for source in dict.fromkeys(f.source for f in self._relaxing):
            nodes = deposit(self._grids, positions[source], self._lower, self.spacing, self.weights[source], self.comm)
            modes = fft.rfftn(nodes, s=self.shape, workers=self._threads)
            for f in self._relaxing:
                if f.source == source:
                    out[f.name] = modes * self._factors[f.name]
        return out

    def _show(self, modes: Mapping[str, Modes]) -> None:
        """Compute the spline coefficients of the fields at time ``t``."""
        from scipy import fft

        self._coefficients = {name: fft.irfftn(one, s=self.shape, workers=self._threads) for name, one in modes.items()}
        self._shown = self.t

    def _weights(self, field: Field, dt: float) -> tuple[Array, Array]:
        """Return e^(−a) and (1 − e^(−a))/a on the half-complex grid."""
        key = (field.tau, field.kernel.relaxation_rate, float(f"{dt:.12g}"))  # equal steps differ by rounding
        if key not in self._kept:
            while len(self._kept) >= 2 * len(self._relaxing):
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = step_weights(self._squared, field, dt)
        return self._kept[key]

    def _cover(self, extent: Extent) -> None:
        """Make the grid, or enlarge it, so that it holds the extent."""
        outgrown = self._front(self.t) > self._far
        if outgrown:
            self._far = self._front(2.0 * self.t)
            self._set_spacing(self.spacing)
        if self.shape and extent.within(self._inner) and not outgrown:
            return
        check_resolved(extent, self.spacing, self.tol)
        h, inner = self.spacing, extent.widened(_SLACK * (extent.size + 0.5 * self.padding))
        old = (self.shape, self._corner, self._lower) if self.shape else None
        first = inner.lower - REACH[0] * h
        if old is not None:
            # Old grid points are points of the new grid.
            first = old[2] - h * np.ceil(np.maximum(old[2] - first, 0.0) / h)
            inner = Extent(first + REACH[0] * h, np.maximum(inner.upper, self._inner.upper))
        corner = tuple(math.ceil(m) + sum(REACH) + 2 for m in np.minimum(inner.size / h, 1e15))
        shape = self._allowed(corner, extent)
        self._inner, self._lower = inner, first
        self._set_grid(shape, corner)
        if old is not None:
            self._transfer(*old)

    def _allowed(self, corner: tuple[int, ...], extent: Extent) -> tuple[int, ...]:
        """Return the number of grid points per direction, unless they take more than ``memory_limit``."""
        from scipy import fft

        wanted = [m + min(self.padding / self.spacing, 1e15) for m in corner]
        # Per field: modes, sources, factors and coefficients; then decay, lag and two transforms; the threads' grids.
        each = 28.0 * len(self._relaxing) + 40.0
        needed = each * math.prod(wanted) + 8.0 * self._threads * math.prod(corner)
        if needed > self.memory_limit:
            raise too_large(
                "the fields with tau > 0 of a cloud of size {}",
                extent.size,
                wanted,
                f"spacing {self.spacing:.3g}, padding {self.padding:.3g}",
                needed=needed,
                limit=self.memory_limit,
                advice="give a larger eps or field_tol",
            )
        return tuple(int(fft.next_fast_len(math.ceil(m), real=True)) for m in wanted)

    def _set_grid(self, shape: tuple[int, ...], corner: tuple[int, ...]) -> None:
        self.shape, self._corner = shape, corner
        self._grids = grids_for(self._threads, corner)
        self._kept: dict[tuple[float, float, float], tuple[Array, Array]] = {}
        indices = [np.abs(np.fft.fftfreq(m, 1 / m)) for m in shape[:-1]] + [np.fft.rfftfreq(shape[-1], 1 / shape[-1])]
        self._phases = phases = [2 * np.pi * index / m for index, m in zip(indices, shape, strict=True)]
        self._squared, factor = grid_factors(phases, self.spacing)
        self._factors = {f.name: _source(f, self._squared) * factor for f in self._relaxing}

    def _transfer(self, shape: tuple[int, ...], corner: tuple[int, ...], lower: Array) -> None:
        """Move modes and sources from a smaller grid, given by its data, with 0 at the new points.

        Values in the padding belong to the nearer side of the cloud.
        """
        from scipy import fft

        there, here = [], []
        shifts = np.rint((lower - self._lower) / self.spacing).astype(int)
        for m, inner, shift, size in zip(shape, corner, shifts, self.shape, strict=True):
            unwrapped = np.arange(m) - (m - inner) // 2
            there.append(unwrapped % m)
            here.append((unwrapped + shift) % size)
        for held in (self._modes, self._sources):
            for name, modes in held.items():
                larger = np.zeros(self.shape)
                values = fft.irfftn(modes, s=shape, workers=self._threads)
                larger[np.ix_(*here)] = values[np.ix_(*there)]
                held[name] = fft.rfftn(larger, workers=self._threads)
        self._shown = math.nan


def _unscreened(field: Field) -> bool:
    return field.kernel.decay_rate == 0


def _source(field: Field, squared: Array) -> Array:
    """Return K's symbol, or λ times it without screening."""
    if not _unscreened(field):
        return field.kernel.symbol(squared)
    squared = np.where(squared == 0, 1e-30, squared)
    return np.asarray(field.kernel.symbol(squared) * squared)


def _support(density: InitialDensity, tol: float) -> Extent:
    """Return a box outside of which an initial field is below ``tol`` of its maximum, as far as a grid shows."""
    d, low, reach = density.dimension, 0.0, density.reach(0.01 * tol)
    for _ in range(20):
        middle = 0.5 * (low + reach)
        low, reach = (middle, reach) if density.mass_outside(middle) > 0.01 * tol else (low, middle)
    axis = np.linspace(-reach, reach, _LOOK[d])
    cell = float(axis[1] - axis[0])
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)
    values = np.asarray(density(grid))
    inside = grid[values > 0.01 * tol * values.max(initial=0.0)]
    if not abs(values.sum() * cell**d / density.mass - 1.0) < 1e-3 or not len(inside):  # too narrow for this grid
        return Extent(np.full(d, -reach), np.full(d, reach))
    return Extent(inside.min(axis=0) - cell, inside.max(axis=0) + cell)
