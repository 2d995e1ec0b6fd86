r"""Fields of the empirical measure at the particles.

.. math:: c(x) = \sum_j w_j K(x - X_j)

over the particles X_j of the field's source species, each of weight mass/N or of a weight of its own. The evaluators
are :class:`~kspde.particles.fields.particle_mesh.ParticleMesh`, the fastest, with
:class:`~kspde.particles.fields.near_far.NearFar` for kernels that are singular at the origin or narrowly mollified,
:class:`~kspde.particles.fields.nufft.NonuniformFFT`, and :class:`~kspde.particles.fields.direct.DirectSum`, a sum
over all pairs. Fields with a dynamics of their own are
:class:`~kspde.particles.fields.relaxing.RelaxingFields`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from kspde.errors import ConvergenceError, InputError, place_of
from kspde.models import Field, FieldValues, Moment
from kspde.models.coefficients import moment_integrand
from kspde.particles.fields.cells import Cells
from kspde.particles.fields.close_pairs import ClosePairs
from kspde.radial import WAVENUMBERS, check_bounded, check_not_local, is_bounded, is_zero, moment, radial_weights
from kspde.runtime.compiled import in_blocks
from kspde.runtime.parallel import together
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm

__all__ = ["MEMORY_LIMIT", "Extent", "FieldEvaluator", "check_resolved", "too_large", "weighted_sum"]

#: The bytes that the grids, or the modes, of one rank may take unless the user says otherwise.
MEMORY_LIMIT = 4e9


@dataclass(frozen=True)
class Extent:
    """Two corners, of shape (d,), of the smallest box that holds the particles of all species and ranks, or of another.

    Attributes:
        lower: its lower corner.
        upper: its upper corner.
    """

    lower: Array
    upper: Array

    @property
    def size(self) -> Array:
        """The lengths of the sides, shape (d,)."""
        return self.upper - self.lower

    def within(self, box: Extent) -> bool:
        """Return whether another box holds this one."""
        return bool(np.all(self.lower >= box.lower) and np.all(self.upper <= box.upper))

    def joined(self, other: Extent) -> Extent:
        """Return the box of both."""
        return Extent(np.minimum(self.lower, other.lower), np.maximum(self.upper, other.upper))

    def widened(self, by: Array | float) -> Extent:
        """Return this box with room on each side."""
        return Extent(self.lower - by, self.upper + by)


def check_resolved(extent: Extent, spacing: float, tol: float) -> None:
    """Raise if positions are so far from the origin that they are rounded by more than ``tol`` of a grid's spacing.

    Raises:
        InputError: such positions.
    """
    farthest = max(float(np.abs(extent.lower).max()), float(np.abs(extent.upper).max()))
    if np.finfo(np.float64).eps * farthest > tol * spacing:
        raise InputError(
            f"particles lie up to {farthest:.3g} from the origin, where positions are rounded by more than "
            f"{tol:g} of the fields' grid spacing {spacing:.3g}: move the origin, or check for particles far away"
        )


def too_large(
    what: str, size: Array, modes: Iterable[float], grid: str, *, needed: float, limit: float, advice: str
) -> InputError:
    """Return the error of a grid that does not fit: ``needed`` and ``limit`` are bytes, ``grid`` says what it has."""
    cloud, wanted = (
        " × ".join(f"{number:{form}}" for number in numbers) for numbers, form in ((size, ".4g"), (modes, ".0f"))
    )
    return InputError(
        f"{what.format(cloud)} need {wanted} modes ({grid}) and {needed / 1e9:.3g} GB per rank, but the limit is "
        f"{limit / 1e9:.3g} GB: {advice}, or check for particles far away"
    )


class FieldEvaluator(ABC):
    """An evaluator of fields at the particles: call ``update`` with all positions, then ``at`` for each species.

    Args:
        fields: the regularised fields.
        dimension: the dimension d.
        weights: the weights w_j by species, of either sign: one for all its particles, or this rank's, shape
            (n_local,). Mapping and arrays may be overwritten before an update.
        tol: the error allowed at the particles, relative to the supremum over space of the field, and of its gradient;
            where weights have both signs, relative to the field of their absolute values. With a singular kernel these
            are infinite, and the error is relative to the largest at the particles.
        include_self: whether a particle of the source species feels itself, as printed in Wang, Li and Huang's (1.3).
        comm: the MPI communicator.
        memory_limit: the bytes that the grids, or the modes, of one rank may take.
        moments: the moments that the coefficients use.

    Raises:
        InputError: a kernel that is unbounded at the origin, unless the evaluator is ``pairwise`` and leaves j = i out.
    """

    #: Whether singular kernels are possible, without j = i: pairs at the same place then add nothing.
    pairwise: ClassVar[bool] = False
    #: The bytes per particle that are needed beside grids.
    bytes_per_particle: ClassVar[float] = 0.0
    #: The time of the positions: fields that are given as functions of time, or relax, depend on it.
    t: float = 0.0

    def __init__(
        self,
        fields: tuple[Field, ...],
        *,
        dimension: int,
        weights: Mapping[str, float | Array],
        tol: float,
        include_self: bool,
        comm: Comm,
        memory_limit: float = MEMORY_LIMIT,
        moments: tuple[Moment, ...] = (),
    ) -> None:
        for field in fields:
            check_not_local(field.name, field.kernel)
            if include_self or not self.pairwise:
                check_bounded(field.name, field.kernel, dimension, gradient=field.gradient)
        self.fields = fields
        #: The fields that do not vanish identically.
        self.active = tuple(field for field in fields if field.start is not None or not is_zero(field.kernel))
        self.dimension = dimension
        self.weights = weights
        self.tol = tol
        self.comm = comm
        self.memory_limit = memory_limit
        #: The fields with values: those of singular kernels are computed only if coefficients use them, and those of
        #: potentials that grow are known up to a constant.
        self._valued = tuple(
            f.name
            for f in fields
            if f.value or (is_bounded(f.kernel, dimension, gradient=f.gradient) and not f.kernel.grows(dimension))
        )
        #: By field K(0), what a particle of weight 1 adds to the field at its own place, where that is not wanted.
        self._own: dict[str, float] = {}
        if not include_self:
            bounded = [f for f in self.active if is_bounded(f.kernel, dimension, gradient=f.gradient)]
            self._own = {f.name: moment(f.kernel, dimension) for f in bounded}
        #: By species and field K''(0), where the field's gradient is computed and K has second derivatives at 0.
        self._curvatures: dict[str, dict[str, float]] = {}
        for f in self.active:
            if f.gradient and f.tau == 0 and f.kernel.smoothing > dimension + 2:
                curvature = -float(radial_weights(f.kernel, dimension) @ WAVENUMBERS**2) / dimension
                self._curvatures.setdefault(f.source, {})[f.name] = curvature
        #: What bounds the displacements of close pairs in a time step; None for fields as they are.
        self.close: ClosePairs | None = None
        self.moments = moments
        #: Their values at time ``t``.
        self.moment_values: dict[str, Array] = {}
        self._buffers: dict[tuple[str, str], Array] = {}

    @property
    def own_slopes(self) -> dict[str, dict[str, float | Array]]:
        """By species and field w_i K''(0), where the field's gradient is computed and K has second derivatives at 0.

        A particle's own share of the gradient changes at this rate as it leaves the place that was deposited.
        """
        return {s: {name: k * self.weights[s] for name, k in each.items()} for s, each in self._curvatures.items()}

    @property
    def singular(self) -> tuple[Field, ...]:
        """The fields whose gradients are singular where two particles meet."""
        return tuple(
            f
            for f in self.active
            if f.gradient and f.tau == 0 and not is_bounded(f.kernel, self.dimension, gradient=True)
        )

    @property
    def summed(self) -> tuple[Moment, ...]:
        """The moments in which these particles have shares."""
        return self.moments

    @abstractmethod
    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take new positions of all species, each (n_local, d). Collective."""

    def update_stage(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take positions within a step, which later updates do not depend on. Collective."""
        self.update(positions, extent)

    def sorted_cells(self) -> Mapping[str, Cells]:
        """Return by species the particles of all ranks at the last update, sorted, where they are. Rank-local."""
        return {}

    def update_moments(self, positions: Mapping[str, Array]) -> None:
        """Compute the moments at time ``t``: Σ_j w_j φ(X_j) over particles of all ranks at these positions. Collective.

        Raises:
            ConvergenceError: a moment is not finite; on every rank.
        """
        if not self.moments:
            return
        with together(self.comm):
            sums = [weighted_sum(m, positions[m.source], self.weights[m.source]) for m in self.moments]
        total = reduced(self.comm, np.concatenate([np.ravel(own) for own in sums]))
        if not np.all(np.isfinite(total)):
            with together(self.comm):
                for m in self.moments:
                    _refuse_infinite(m, positions[m.source])
            raise ConvergenceError("the sum of a moment over the particles is not finite: check the model's moments")
        parts = np.split(total, np.cumsum([own.size for own in sums])[:-1])
        self.moment_values = {
            m.name: part.reshape(own.shape) for m, own, part in zip(self.moments, sums, parts, strict=True)
        }

    @abstractmethod
    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        """Write a field at positions x, self-interaction included, and its gradient unless that is None."""

    @property
    def in_parts(self) -> bool:
        """Whether ``_evaluate`` runs on the calling thread, so that several threads may call it at once."""
        return False

    def at(self, species: str, x: Array) -> FieldValues:
        """Return all fields at the particles of a species, x of shape (n_local, d). Rank-local.

        The arrays are overwritten by the next call for the same species.
        """
        values = {f.name: self._buffer(species, f.name, (len(x),)) for f in self.fields}
        gradients = {f.name: self._buffer(species, f"∇{f.name}", x.shape) for f in self.fields if f.gradient}
        whole = FieldValues(x, values, gradients, self.t, self.moment_values)
        if self.in_parts:
            in_blocks(lambda rows: self._fill(species, rows, whole.part(rows)), len(x))
        else:
            self._fill(species, slice(None), whole)
        return self._known(whole)

    def parts(self, species: str, x: Array) -> Callable[[slice], FieldValues]:
        """Return a function of a slice of the particles that returns their fields, from any thread. Rank-local."""
        if not self.in_parts:
            return self.at(species, x).part

        return lambda rows: self.part(species, x, rows)

    def part(self, species: str, x: Array, rows: slice) -> FieldValues:
        """Return the fields at some of the particles, in arrays of their own. Rank-local."""
        here = np.ascontiguousarray(x[rows])
        gradients = {f.name: np.empty(here.shape) for f in self.fields if f.gradient}
        values = {f.name: np.empty(len(here)) for f in self.fields}
        c = FieldValues(here, values, gradients, self.t, self.moment_values)
        self._fill(species, rows, c)
        return self._known(c)

    def _known(self, c: FieldValues) -> FieldValues:
        """Return the fields without the values that are not computed."""
        return replace(c, values={name: c.values[name] for name in self._valued})

    def _fill(self, species: str, rows: slice, c: FieldValues) -> None:
        """Write the fields at the particles ``rows`` of a species, at the positions in ``c``."""
        for field in self.fields:
            value, gradient = c.values[field.name], c.gradients.get(field.name)
            if field in self.active:
                self._evaluate(field, c.points, value, gradient)
                if self.close is not None and gradient is not None:
                    self.close.add(field.name, species, c.points, gradient)
                if field.source == species and field.name in self._own:
                    weights = self.weights[species]
                    value -= self._own[field.name] * (weights[rows] if isinstance(weights, np.ndarray) else weights)
            else:
                value[:] = 0.0
                if gradient is not None:
                    gradient[:] = 0.0

    def summary(self) -> dict[str, Any]:
        """Return the data of the last evaluation, JSON-ready."""
        return {}

    def state(self) -> dict[str, Array]:
        """Return what the next update depends on besides the positions, for a checkpoint."""
        return {}

    def restore(self, state: Mapping[str, Array]) -> None:  # noqa: B027 - not all have a state
        """Restore what ``state`` returned, before the first update."""

    def _buffer(self, species: str, name: str, shape: tuple[int, ...]) -> Array:
        if (species, name) not in self._buffers or self._buffers[species, name].shape != shape:
            self._buffers[species, name] = np.empty(shape)
        return self._buffers[species, name]


def weighted_sum(moment: Moment, x: Array, weights: float | Array) -> Array:
    """Return Σ_j w_j φ(x_j) over this rank's particles of a species. Rank-local."""
    if not len(x):
        return np.zeros(moment_integrand(moment, x).shape[1:])

    def part(rows: slice) -> Array:
        values = moment_integrand(moment, x[rows])
        own = weights[rows] if isinstance(weights, np.ndarray) else np.full(len(values), weights)
        return np.asarray(np.tensordot(own, values, 1))  # a twentieth of the time of ``sum``

    return np.asarray(sum(in_blocks(part, len(x))))


def _refuse_infinite(moment: Moment, x: Array) -> None:
    """Raise a ConvergenceError for a particle at which φ is not finite. Rank-local."""
    values = moment_integrand(moment, x)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = place_of(x[bad[0, 0]])
        raise ConvergenceError(
            f"the function of moment {moment.name!r} is {values[tuple(bad[0])]:g} at the particle at {place}: give "
            "a function that is finite"
        )
