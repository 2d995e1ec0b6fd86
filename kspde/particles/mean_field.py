r"""The mean-field particles of Wang, Li and Huang's (1.8): their fields are a known density's, not the cloud's.

.. math:: d\bar X_i = b\,dt + \sqrt{2 D}\,dB_i, \qquad c(\bar X_i) = (K^\varepsilon * u^\varepsilon)(\bar X_i, t),

with the same starting points and the same Brownian motions B_i as the interacting particles X_i. The fields come from a
solved density through a small protocol: they are sampled on a uniform grid once for every time, and interpolated by
splines of order 6. The grid is refined until the splines reproduce the fields between the grid points.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.domains import check_no_walls
from kspde.errors import InputError, check_choice, check_number
from kspde.initial import InitialDensity
from kspde.models import Field, Model
from kspde.models.base import Array
from kspde.particles.fields.base import Extent, FieldEvaluator, check_resolved
from kspde.particles.fields.splines import gather_part
from kspde.particles.saved_times import SavedTimes
from kspde.protocols import SolvedDensity

if TYPE_CHECKING:
    from kspde.particles.run import Run

__all__ = ["Coupling", "CouplingHistory", "KnownFields", "check_mean_field"]

#: Nodes around the particles, so that the spline's conditions at the grid's edge have died out: by 0.43 a node.
_MARGIN = 16
#: The least number of nodes across the particles, and the most on the whole grid.
_COARSE, _MOST = 32, 2_100_000
#: Room for the particles to move before the grid is laid anew, as a share of their extent.
_SLACK = 0.1
#: Points per direction at which the splines are checked every time.
_CHECKS = 48


def check_mean_field(
    mean_field: Any,
    model: Model,
    t_end: float,
    *,
    fields: tuple[Field, ...],
    densities: Mapping[str, InitialDensity],
    initial: str,
    differs: Any,
) -> None:
    """Refuse what is no solution up to ``t_end`` of the particles' own problem, up to what is meant to differ.

    What a mean field does not say of itself is not checked.

    Args:
        mean_field: the mean field.
        model: the particles' model.
        t_end: their final time.
        fields: their regularised fields.
        densities: their initial densities, by species.
        initial: "u0" or "mollified".
        differs: names of what may differ: "eps" (the mollifier too), "initial" (the density particles start from too).

    Raises:
        InputError: another kind of object, another problem, a solution between walls, or one that ends earlier.
    """
    for name in ("signal_on_grid", "model", "t_end"):
        if not hasattr(mean_field, name):
            raise InputError(
                f"mean_field is a {type(mean_field).__name__} without {name}: give what kspde.solve returned"
            )
    if isinstance(differs, str) or not isinstance(differs, Collection):
        raise InputError(f"mean_field_differs = {differs!r} is not valid: give a tuple of names")
    for name in differs:
        check_choice("mean_field_differs", name, ("eps", "initial"))
    if mean_field.model != model:
        raise InputError(f"mean_field solves {mean_field.model}: the particles' model is {model}; solve that one")
    if getattr(mean_field, "domain", None) is not None:
        check_no_walls(mean_field.domain)
    if mean_field.t_end < t_end * (1 - 1e-12):
        raise InputError(f"mean_field ends at t = {mean_field.t_end:g}: t_end = {t_end:g} needs a longer solution")
    if "eps" not in differs and hasattr(mean_field, "eps"):
        theirs = model.regularised_fields(mean_field.eps, getattr(mean_field, "mollifier", "gaussian"))
        for f, g in zip(fields, theirs, strict=True):
            if f.kernel != g.kernel:
                raise InputError(
                    f"mean_field has the kernel {g.kernel} in field {f.name!r}, the particles {f.kernel}: give both "
                    f'the same eps and mollifier, or mean_field_differs = ("eps",) if that is meant'
                )
    if "initial" in differs:
        return
    remedy = 'or mean_field_differs = ("initial",) if that is meant'
    if getattr(mean_field, "initial", initial) != initial:
        raise InputError(
            f"mean_field starts from initial = {mean_field.initial!r}, the particles from {initial!r}: give both the "
            f"same, {remedy}"
        )
    for name, density in densities.items():
        if density != getattr(mean_field, "u0", densities)[name]:
            raise InputError(
                f"mean_field starts from another u0 of species {name!r} than the particles: give both the same, "
                f"{remedy}"
            )


class KnownFields(FieldEvaluator):
    """Fields of a known density; see :class:`~kspde.particles.fields.base.FieldEvaluator` for the other arguments.

    Attributes:
        error: by field, the largest deviation of the splines from the density's own field between the nodes, over all
            times, relative to the supremum of the field over the grid.
        saved: the times at which the density was saved, and the error of the fields between them.
        spacing: h of the grid now.
    """

    def __init__(self, fields: tuple[Field, ...], *, source: SolvedDensity, **options: Any) -> None:
        super().__init__(fields, include_self=True, **options)
        self.own_slopes = {}  # no particle has a share in them
        self._source = source
        self.error = {field.name: 0.0 for field in self.active}
        self.saved = SavedTimes(source, self.active)
        self.spacing = 0.0
        self.shape: tuple[int, ...] = ()
        self._at = math.nan

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Sample the fields at time ``t`` on a grid that covers the extent. Collective.

        Raises:
            InputError: the grid leaves the domain where the density is known; on every rank.
        """
        if not self.active:
            return
        fresh = not self.shape or np.any(extent.lower < self._inner[0]) or np.any(extent.upper > self._inner[1])
        if fresh:
            self._build(extent, self.spacing or float((extent.upper - extent.lower).max()) / _COARSE or 1.0)
        elif self._at == self.t:
            return
        self._at = self.t
        errors = self._sample_or_nothing()
        while (errors is None or max(errors.values()) > self.tol) and np.prod(2.0 * np.array(self.shape)) < _MOST:
            self._build(extent, 0.5 * self.spacing)
            errors = self._sample_or_nothing()
        if errors is None:
            errors = self._sample()
        self.error = {name: max(self.error[name], e) for name, e in errors.items()}
        self.saved.look(self.t, *self._inner)

    @property
    def in_parts(self) -> bool:
        """Always."""
        return True

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        gather_part(values, gradient, self._coefficients[field.name], x, self._lower, self.spacing)

    def summary(self) -> dict[str, Any]:
        """Return the grid's data and the measured error."""
        return {
            "nodes": list(self.shape),
            "spacing": self.spacing,
            "error": dict(self.error),
            "time_error": dict(self.saved.error),
        }

    def state(self) -> dict[str, Array]:
        """Return what the next update depends on besides the positions."""
        if not self.shape:
            return {}
        errors = [[e[f.name] for f in self.active] for e in (self.error, self.saved.error)]
        return {
            "lower": self._lower,
            "shape": np.array(self.shape, dtype=np.float64),
            "spacing": np.array([self.spacing]),
            "inner": np.stack(self._inner),
            "error": np.array(errors),
            "interval": np.array([self.saved.interval], dtype=np.float64),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned."""
        if state:
            self._lower, self._inner = state["lower"], (state["inner"][0], state["inner"][1])
            self.shape = tuple(int(m) for m in state["shape"])
            self.spacing = float(state["spacing"][0])
            size = np.ceil((self._inner[1] - self._inner[0]) / self.spacing) + 2 * _MARGIN + 1
            corner = self._inner[0] - _MARGIN * self.spacing
            if not np.array_equal(size, state["shape"]) or not np.array_equal(corner, self._lower):
                raise ValueError(f"a grid of shape {self.shape}")  # the compiled loops do not look at its bounds
            if len(self.shape) != self.dimension or not math.prod(self.shape) < 2 * _MOST:
                raise ValueError(f"a grid of shape {self.shape}")
            for errors, row in zip((self.error, self.saved.error), state["error"], strict=True):
                errors.update({f.name: float(e) for f, e in zip(self.active, row, strict=True)})
            self.saved.interval = int(state["interval"][0])

    def _build(self, extent: Extent, spacing: float) -> None:
        check_resolved(extent, spacing, self.tol)
        slack = _SLACK * (extent.upper - extent.lower) + 2 * spacing
        self._inner = (extent.lower - slack, extent.upper + slack)
        self.spacing = spacing
        self._lower = self._inner[0] - _MARGIN * spacing
        size = np.ceil((self._inner[1] - self._inner[0]) / spacing) + 2 * _MARGIN + 1
        self.shape = tuple(int(m) for m in size)

    def _sample_or_nothing(self) -> dict[str, float] | None:
        """Return the errors, or None where the grid leaves the domain: a finer one has a narrower margin."""
        try:
            return self._sample()
        except InputError:
            return None

    def _sample(self) -> dict[str, float]:
        """Set the splines' coefficients at time t; return their errors between the nodes."""
        from scipy.ndimage import spline_filter

        axes = [low + self.spacing * np.arange(m) for low, m in zip(self._lower, self.shape, strict=True)]
        # Every few cells one midpoint, where a spline deviates most.
        checks = []
        for axis in axes:
            inner = axis[_MARGIN : len(axis) - _MARGIN]
            checks.append(inner[:: max(1, len(inner) // _CHECKS)] + 0.5 * self.spacing)
        points = np.stack(np.meshgrid(*checks, indexing="ij"), axis=-1).reshape(-1, self.dimension)
        self._coefficients: dict[str, Array] = {}
        errors = {}
        for f in self.active:
            try:
                values = self._source.signal_on_grid(axes, field=f.name, t=self.t)
                exact = self._source.signal_on_grid(checks, field=f.name, t=self.t)
            except InputError as error:
                box = " × ".join(f"[{axis[0]:.4g}, {axis[-1]:.4g}]" for axis in axes)
                raise InputError(
                    f"{error} (the mean-field particles need the field at t = {self.t:.6g} on {box}: solve on a domain "
                    f"that holds it, and save the states that lead there)"
                ) from None
            self._coefficients[f.name] = np.ascontiguousarray(spline_filter(values, order=5, mode="mirror"))
            found = np.empty(len(points))
            self._evaluate(f, points, found, None if not f.gradient else np.empty_like(points))
            errors[f.name] = float(np.abs(found - exact.ravel()).max() / (np.abs(values).max() or 1.0))
        return errors


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """The distance between interacting particles and their mean-field twins.

    Attributes:
        t: the times, shape (times,).
        distance: max_i |X_i − X̄_i| over the particles of a species, shape (times, species).
        n: by species the number of particles.
        field_error: by field the measured error of the mean-field particles' field, in space and in time together,
            relative to the field's supremum: what may lie between X̄ and the twins of the density that was solved for,
            beside that density's own error.
    """

    t: Array
    distance: Array
    n: Mapping[str, int]
    field_error: Mapping[str, float] = field(default_factory=dict)

    @property
    def supremum(self) -> float:
        """max_i sup_t |X_i − X̄_i| over all species, t running over the steps."""
        return float(self.distance.max())

    def stopping_time(self, alpha: float) -> float:
        """Return τ_α, the first t with max_i |X_i − X̄_i| ≥ N^(−α) for a species; ``inf`` when there is none.

        Raises:
            InputError: alpha ≤ 0.
        """
        check_number("alpha", alpha, above=0)
        levels = np.array([float(n) ** -alpha for n in self.n.values()])
        late = np.flatnonzero(np.any(self.distance >= levels, axis=1))
        return float(self.t[late[0]]) if len(late) else math.inf


class CouplingHistory:
    """Notes the distance of the twins after every step."""

    name = "coupling"

    def __init__(self, species: tuple[str, ...], steps: int) -> None:
        self._species = species
        self._distance = np.full((steps + 1, len(species)), np.nan)

    def look(self, run: Run) -> None:
        """Note the distance. Collective."""
        here, there = run.systems["particles"], run.systems["mean_field"]
        row = np.zeros(len(self._species))
        for i, name in enumerate(self._species):
            x = here.positions[name]
            if len(x):
                row[i] = math.sqrt(float(np.square(x - there.positions[name]).sum(axis=1).max()))
        if here.comm.size > 1:
            from mpi4py import MPI

            here.comm.Allreduce(MPI.IN_PLACE, row, op=MPI.MAX)
        self._distance[run.step] = row

    def state(self) -> Mapping[str, Array]:
        """Return the distances."""
        return {"distance": self._distance}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take the distances."""
        self._distance = state["distance"]

    def result(self, run: Run, n: Mapping[str, int]) -> Coupling:
        """Return them up to now, with their times."""
        here = slice(0, run.step + 1)
        errors = run.systems["mean_field"].evaluator.summary()
        total = {name: e + errors["time_error"][name] for name, e in errors["error"].items()}
        return Coupling(t=run.times[here], distance=self._distance[here], n=dict(n), field_error=total)
