"""Densities and fields at one time, and how they are collected over a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_finite, check_number
from kspde.fem.diagnostics import Recorder
from kspde.fem.monitors.blow_up import Monitor
from kspde.fem.semidiscretisation import SemiDiscrete
from kspde.runtime.parallel import all_or_none, together
from kspde.runtime.saving import SaveAt

__all__ = ["Observer", "State"]

Array = npt.NDArray[np.float64]


class State:
    """The densities of all species and the fields at one time.

    All methods are collective: call them on every rank, with the same arguments. Points alone are each rank's own
    choice: it gives any number of them, also none (shape (0, d)), and gets the values there. Where all ranks give the
    same points they share the work.

    Attributes:
        t: the time.
    """

    def __init__(self, system: SemiDiscrete, t: float, unknowns: Array) -> None:
        self.t = t
        self._system = system
        self._unknowns = unknowns

    def evaluate(self, points: npt.ArrayLike, species: str | None = None) -> Array:
        """Return u at this rank's points, shape (n, d): shape (n,).

        Raises:
            InputError: wrong shape, points outside the domain, or an unknown species, on any rank.
        """
        return self._evaluated("evaluate", points, self.density, species=species)

    def evaluate_signal(self, points: npt.ArrayLike, field: str | None = None) -> Array:
        """Return a field (the model's signal unless named) at this rank's points, shape (n, d): shape (n,).

        Raises:
            InputError: wrong shape, points outside the domain, or an unknown field, on any rank.
        """
        return self._evaluated("evaluate_signal", points, self._nodal_field, field=field)

    def evaluate_gradient(self, points: npt.ArrayLike, species: str | None = None) -> Array:
        """Return ∇u at this rank's points: shape (n, d). It is the L² projection of the elementwise gradient.

        Raises:
            InputError: as for ``evaluate``.
        """
        return self._evaluated("evaluate_gradient", points, self.density, slope=True, species=species)

    def evaluate_signal_gradient(self, points: npt.ArrayLike, field: str | None = None) -> Array:
        """Return ∇c of a field (the model's signal unless named) at this rank's points: shape (n, d), likewise.

        Raises:
            InputError: as for ``evaluate_signal``.
        """
        return self._evaluated("evaluate_signal_gradient", points, self._nodal_field, slope=True, field=field)

    def evaluate_w(self, points: npt.ArrayLike, species: str | None = None) -> Array:
        """Return w = D u, D the diffusion coefficient, at this rank's points, shape (n, d): shape (n,).

        Raises:
            InputError: as for ``evaluate``, or a model with one diffusion coefficient a direction.
        """
        return self._evaluated("evaluate_w", points, self._w, species=species)

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
        given = self._agreed("on_grid", axes, species=species, outside=outside)
        return self._system.space.on_grid(self.density(species), given, outside)

    def signal_on_grid(
        self, axes: Sequence[npt.ArrayLike], field: str | None = None, *, outside: float | None = None
    ) -> Array:
        """Return a field (the model's signal unless named) on such a grid."""
        given = self._agreed("signal_on_grid", axes, field=field, outside=outside)
        return self._system.space.on_grid(self._nodal_field(field), given, outside)

    def function(self, species: str | None = None) -> Any:
        """Return u as a ``dolfinx.fem.Function`` on the solution's mesh."""
        with together(self._system.space.comm, "function") as same:
            name = self._species(species)
            same(t=self.t, species=name)
        return self._system.space.function(self.density(name), name)

    def density(self, species: str | None = None) -> Array:
        """Return this rank's nodal values of a species.

        Raises:
            InputError: an unknown species, or none given where there are several.
        """
        nodal: Array = self._unknowns[self._system.model.species.index(self._species(species))]
        return nodal

    def field(self, name: str | None = None) -> Array:
        """Return this rank's nodal values of a field, the model's signal unless named. Collective.

        Raises:
            InputError: an unknown field.
        """
        with together(self._system.space.comm, "field") as same:
            name = self._field(name)
            same(t=self.t, name=name)
        return self._nodal_field(name)

    def _evaluated(
        self, call: str, points: npt.ArrayLike, nodal: Callable[..., Array], *, slope: bool = False, **name: str | None
    ) -> Array:
        """Return at points the function with the nodal values of a species or field, or its gradient. Collective."""
        space = self._system.space
        with together(space.comm, call) as same:
            where = self._points(points)
            self._known(**name)
            same(t=self.t, **name)
        at = space.evaluator(where)
        values = nodal(*name.values())
        if not slope:
            return at(values)
        return np.stack([at(part.reshape(space.mass.shape)) for part in space.gradient(values).T], axis=1)

    def _agreed(self, call: str, axes: Sequence[npt.ArrayLike], **given: Any) -> list[Array]:
        """Return the axes of a grid. Collective."""
        space = self._system.space
        with together(space.comm, call) as same:
            if len(axes) != space.dimension:
                raise InputError(f"axes has {len(axes)} coordinate arrays: give {space.dimension}")
            found = [check_finite(f"axes[{a}]", x, (None,)) for a, x in enumerate(axes)]
            outside = given["outside"]
            given["outside"] = None if outside is None else check_number("outside", outside)
            self._known(**{name: value for name, value in given.items() if name != "outside"})
            same(t=self.t, axes=found, **given)
        return found

    def _known(self, **name: str | None) -> None:
        """Refuse a species or a field that there is not."""
        for kind, value in name.items():
            (self._species if kind == "species" else self._field)(value)

    def _species(self, name: str | None) -> str:
        names = self._system.model.species
        if name is None and len(names) > 1:
            raise InputError(f"species is not given: give one of {', '.join(names)}")
        name = names[0] if name is None else name
        if name not in names:
            raise InputError(f"species = {name!r} is not valid: give one of {', '.join(names)}")
        return name

    def _field(self, name: str | None) -> str:
        name = name or self._system.model.signal
        names = [f.name for f in self._system.fields]
        if name not in names:
            raise InputError(f"field = {name!r} is not valid: the model's fields are {', '.join(names) or 'none'}")
        return name

    def _nodal_field(self, name: str | None) -> Array:
        values = self._system.field_values(self._unknowns)
        return values[self._field(name)].reshape(self._system.space.mass.shape)

    def _w(self, species: str | None) -> Array:
        density = self.density(species)
        c = self._system.field_values(self._unknowns)
        diffusion, _ = self._system.coefficients(self._species(species), c)
        if diffusion.ndim == 2:
            raise InputError("w = D u is not one function: the model has one diffusion coefficient a direction")
        return diffusion.reshape(density.shape) * density

    def _points(self, points: npt.ArrayLike) -> Array:
        dimension = self._system.space.dimension
        if getattr(points, "shape", None) == (0, dimension):
            return np.zeros((0, dimension))
        return check_finite("points", points, (None, dimension))


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
