"""Densities and fields at one time, and how they are collected over a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_finite
from kspde.fem.blow_up import Monitor
from kspde.fem.diagnostics import Recorder
from kspde.fem.operators import SemiDiscrete
from kspde.output import SaveAt
from kspde.parallel import all_or_none

__all__ = ["Observer", "State"]

Array = npt.NDArray[np.float64]


class State:
    """The densities of all species and the fields at one time.

    All methods are collective: call them on every rank, with the same arguments.

    Attributes:
        t: the time.
    """

    def __init__(self, system: SemiDiscrete, t: float, unknowns: Array) -> None:
        self.t = t
        self._system = system
        self._unknowns = unknowns

    def evaluate(self, points: npt.ArrayLike, species: str | None = None) -> Array:
        """Return u at points of shape (n, d): shape (n,), the same on every rank.

        Raises:
            InputError: wrong shape, points outside the domain, or an unknown species.
        """
        return self._system.space.evaluate(self.density(species), self._points(points))

    def evaluate_signal(self, points: npt.ArrayLike, field: str | None = None) -> Array:
        """Return a field (the model's signal unless named) at points of shape (n, d).

        Raises:
            InputError: wrong shape, points outside the domain, or an unknown field.
        """
        return self._system.space.evaluate(self.field(field), self._points(points))

    def evaluate_gradient(self, points: npt.ArrayLike, species: str | None = None) -> Array:
        """Return ∇u at points of shape (n, d): shape (n, d). It is the L² projection of the elementwise gradient.

        Raises:
            InputError: as for ``evaluate``.
        """
        return self._slope(self.density(species), self._points(points))

    def evaluate_signal_gradient(self, points: npt.ArrayLike, field: str | None = None) -> Array:
        """Return ∇c of a field (the model's signal unless named) at points of shape (n, d): shape (n, d), likewise.

        Raises:
            InputError: as for ``evaluate_signal``.
        """
        return self._slope(self.field(field), self._points(points))

    def evaluate_w(self, points: npt.ArrayLike, species: str | None = None) -> Array:
        """Return w = D u, D the diffusion coefficient, at points of shape (n, d).

        Raises:
            InputError: as for ``evaluate``, or a model with one diffusion coefficient a direction.
        """
        where = self._points(points)
        density = self.density(species)
        c = self._system.field_values(self._unknowns)
        diffusion, _ = self._system.coefficients(species or self._system.model.species[0], c)
        if diffusion.ndim == 2:
            raise InputError("w = D u is not one function: the model has one diffusion coefficient a direction")
        return self._system.space.evaluate(diffusion.reshape(density.shape) * density, where)

    def on_grid(
        self, axes: Sequence[npt.ArrayLike], species: str | None = None, *, outside: float | None = None
    ) -> Array:
        """Return u on the tensor grid of d coordinate arrays: shape (len(axes[0]), ...), the same on every rank.

        Args:
            axes: the coordinates in each direction.
            species: which species, where there are several.
            outside: the value outside the domain; without it points there are refused.

        Raises:
            InputError: points outside the domain, or an unknown species.
        """
        return self._system.space.on_grid(self.density(species), self._axes(axes), outside)

    def signal_on_grid(
        self, axes: Sequence[npt.ArrayLike], field: str | None = None, *, outside: float | None = None
    ) -> Array:
        """Return a field (the model's signal unless named) on such a grid."""
        return self._system.space.on_grid(self.field(field), self._axes(axes), outside)

    def function(self, species: str | None = None) -> Any:
        """Return u as a ``dolfinx.fem.Function`` on the solution's mesh."""
        return self._system.space.function(self.density(species), species or self._system.model.species[0])

    def density(self, species: str | None = None) -> Array:
        """Return this rank's nodal values of a species.

        Raises:
            InputError: an unknown species, or none given where there are several.
        """
        names = self._system.model.species
        if species is None and len(names) > 1:
            raise InputError(f"species is not given: give one of {', '.join(names)}")
        species = species or names[0]
        if species not in names:
            raise InputError(f"species = {species!r} is not valid: give one of {', '.join(names)}")
        nodal: Array = self._unknowns[names.index(species)]
        return nodal

    def field(self, name: str | None = None) -> Array:
        """Return this rank's nodal values of a field, the model's signal unless named.

        Raises:
            InputError: an unknown field.
        """
        name = name or self._system.model.signal
        names = [f.name for f in self._system.fields]
        if name not in names:
            raise InputError(f"field = {name!r} is not valid: the model's fields are {', '.join(names) or 'none'}")
        return self._system.field_values(self._unknowns)[name].reshape(self._system.space.mass.shape)

    def _slope(self, nodal: Array, points: Array) -> Array:
        space = self._system.space
        slopes = space.gradient(nodal)
        return np.stack([space.evaluate(slope.reshape(space.mass.shape), points) for slope in slopes.T], axis=1)

    def _points(self, points: npt.ArrayLike) -> Array:
        return check_finite("points", points, (None, self._system.space.dimension))

    def _axes(self, axes: Sequence[npt.ArrayLike]) -> list[Array]:
        dimension = self._system.space.dimension
        if len(axes) != dimension:
            raise InputError(f"axes has {len(axes)} coordinate arrays: give {dimension}")
        return [check_finite(f"axes[{a}]", x, (None,)) for a, x in enumerate(axes)]


class Observer:
    """Is told of every accepted step: records diagnostics, saves states, reports progress.

    Args:
        system: the semi-discrete system.
        t_end: the final time.
        save: what to save.
        progress: called with t/t_end.
        on_blow_up: what to do about a peak that the mesh limits: "stop", "warn" or "ignore".
        time_error: whether there is an estimate of the time error at each step.

    Attributes:
        recorder: the diagnostics.
        times: the times at which states are saved; the last is ``t_end``.
        states: the saved (t, unknowns, time derivatives), in order.
        latest: the unknowns after the last accepted step; None before the first.
    """

    def __init__(
        self,
        system: SemiDiscrete,
        t_end: float,
        save: SaveAt,
        progress: Callable[[float], None] | None,
        on_blow_up: str = "stop",
        time_error: bool = False,
    ) -> None:
        self.recorder = Recorder(system, save.statistics, time_error=time_error)
        self.times = save.until(t_end)
        self.states: list[tuple[float, Array, Array]] = []
        self._system = system
        self._t_end = t_end
        self._callback = save.callback
        self._progress = progress
        if on_blow_up == "stop" and not system.fields:
            on_blow_up = "warn"  # a linear equation's solution does not blow up
        self._monitor = Monitor(system.space, system.model.species, on_blow_up)
        self._last = 0.0
        self.latest: Array | None = None

    def restore(self, table: Mapping[str, Array], states: list[tuple[float, Array, Array]]) -> None:
        """Take up what was recorded before a checkpoint."""
        self.recorder.restore(table)
        self.states = states
        self._last = float(table["t"][-1])
        self._monitor.restore(np.reshape(table["maximum"], (len(table["t"]), -1)))

    @property
    def next_time(self) -> float:
        """The next time at which a state is due."""
        return self.times[min(len(self.states), len(self.times) - 1)]

    def __call__(self, t: float, unknowns: Array, time_error: Array | None = None) -> None:
        """Take note of the unknowns at an accepted time, or at the start. Collective.

        Raises:
            BlowUpError: a density has blown up.
        """
        row = self.recorder.record(t, t - self._last, unknowns, time_error)
        self._last, self.latest = t, unknowns
        if len(self.states) < len(self.times) and t >= self.next_time - 1e-12 * self._t_end:
            self.states.append((self.next_time, unknowns.copy(), self._slopes(unknowns)))
            if self._callback is not None:
                with all_or_none(self._system.space.comm):
                    self._callback(State(self._system, t, unknowns))
        if self._progress is not None:
            with all_or_none(self._system.space.comm):
                self._progress(t / self._t_end)
        densities = unknowns[: len(self._system.model.species)]
        self._monitor.look(self.recorder.steps, t, densities, row)

    def until_now(self) -> list[tuple[float, Array, Array]]:
        """Return the saved states and, last, that of the last accepted step, if there was one. Collective."""
        if self.latest is None or (self.states and self.states[-1][0] >= self._last):
            return self.states
        return [*self.states, (self._last, self.latest, self._slopes(self.latest))]

    def _slopes(self, unknowns: Array) -> Array:
        """Return the time derivatives, which interpolation needs; there is none with a single saved state."""
        if len(self.times) == 1:
            return np.zeros_like(unknowns)
        slopes = self._system.rate(self._system.state(unknowns)) / self._system.space.weights
        return self._system.nodal(slopes)


def between(states: Sequence[tuple[float, Array, Array]], t: float) -> Array:
    """Return the unknowns at a time between saved states, by cubic Hermite interpolation.

    With h the distance of the saved times its error is at most h⁴/384 sup |∂_t⁴u|. Masses are kept, signs are not.

    Raises:
        InputError: no saved states on both sides of t.
    """
    times = np.array([s[0] for s in states])
    exact = np.flatnonzero(np.abs(times - t) <= 1e-12 * times[-1])
    if len(exact):
        return states[int(exact[0])][1]
    if not times[0] < t < times[-1]:
        saved = f"{times[0]:g} to {times[-1]:g}" if len(times) > 1 else f"{times[0]:g} alone"
        raise InputError(
            f"t = {t:.12g} is not between saved states ({saved}): give save=kspde.SaveAt(times=...) to solve"
        )
    k = int(np.searchsorted(times, t)) - 1
    (t0, u0, du0), (t1, u1, du1) = states[k], states[k + 1]
    h = t1 - t0
    s = (t - t0) / h
    a, b = (1 + 2 * s) * (1 - s) ** 2, s**2 * (3 - 2 * s)
    return a * u0 + b * u1 + h * s * (1 - s) * ((1 - s) * du0 - s * du1)
