"""Densities and fields at one time, saved or interpolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_choice, check_finite, check_number
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.spaces.base import Space
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["Knot", "Snapshot", "interpolated"]


class Knot(NamedTuple):
    """The unknowns at a saved time, their time derivatives, which interpolation needs, and where they are nodal values.

    The semidiscretisations of a run's snapshots differ where it has changed its grid.
    """

    t: float
    unknowns: Array
    slopes: Array
    system: Semidiscretisation


def interpolated(knots: Sequence[Knot], t: float) -> Snapshot:
    """Return the snapshot at a time between saved ones, by cubic Hermite interpolation.

    With h the distance of the saved times its error is at most h⁴/384 sup |∂_t⁴u|. Masses are kept where nothing grows,
    signs are not.

    Raises:
        InputError: t is not between saved times, or the grid has changed between them.
    """
    times = np.array([knot.t for knot in knots])
    exact = np.flatnonzero(np.abs(times - t) <= 1e-12 * times[-1])
    if len(exact):
        knot = knots[int(exact[0])]
        return Snapshot(knot.system, t, knot.unknowns)
    if not times[0] < t < times[-1]:
        saved = f"{times[0]:g} to {times[-1]:g}" if len(times) > 1 else f"{times[0]:g} alone"
        raise InputError(
            f"t = {t:.12g} is not between saved times ({saved}): give save=kspde.SaveAt(times=...) to solve"
        )
    k = int(np.searchsorted(times, t)) - 1
    (t0, u0, du0, system), (t1, u1, du1, after) = knots[k], knots[k + 1]
    if after is not system:
        raise InputError(
            f"t = {t:.12g} lies between the saved times {t0:g} and {t1:g}, and the grid has changed in between: give "
            "it to solve as one of save=kspde.SaveAt(times=...)"
        )
    h = t1 - t0
    s = (t - t0) / h
    a, b = (1 + 2 * s) * (1 - s) ** 2, s**2 * (3 - 2 * s)
    return Snapshot(system, t, a * u0 + b * u1 + h * s * (1 - s) * ((1 - s) * du0 - s * du1))


class Snapshot:
    """The densities of all species and the fields at one time.

    All methods are collective: call them on every rank, with the same arguments. Only points are each rank's own
    choice: any number of them, also none (shape (0, d)); the rank gets the values there. Where all ranks give the same
    points they share the work.

    Attributes:
        t: the time.
        unknowns: the nodal unknowns on this rank.
    """

    def __init__(self, system: Semidiscretisation, t: float, unknowns: Array) -> None:
        self.t = t
        self._system = system
        self.unknowns = unknowns

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
        """Return ∇u, the L² projection of the elementwise gradient, at this rank's points: shape (n, d).

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
            InputError: as for ``evaluate``, or the model has one diffusion coefficient per direction.
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
        return self._gridded("on_grid", axes, outside, self.density, species=species)

    def signal_on_grid(
        self, axes: Sequence[npt.ArrayLike], field: str | None = None, *, outside: float | None = None
    ) -> Array:
        """Return a field (the model's signal unless named) on such a grid."""
        return self._gridded("signal_on_grid", axes, outside, self._nodal_field, field=field)

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
        nodal: Array = self.unknowns[self._system.model.species.index(self._species(species))]
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

    def moment(self, name: str) -> Array:
        """Return a moment of the model, ∫φu: shape () or (k, ...). Collective.

        Raises:
            InputError: an unknown moment.
        """
        with together(self._system.space.comm, "moment") as same:
            check_choice("moment", name, {m.name for m in self._system.model.moments})
            same(t=self.t, name=name)
        return self._system.moments(self.unknowns)[name]

    def interaction(self, field: str | None = None) -> float:
        """Return ∫c u of a field, the model's signal unless named, and the density it comes from. Collective.

        Raises:
            InputError: an unknown field.
        """
        values = self.field(field)
        source = next(f.source for f in self._system.fields if f.name == self._field(field))
        return float(self._system.space.integral(values * self.density(source))[0])

    @property
    def space(self) -> Space:
        """The space that densities and fields lie in."""
        return self._system.space

    def nodal(self) -> dict[str, Array]:
        """Return this rank's nodal values of every density and field, by name. Collective."""
        system = self._system
        c = system.field_values(self.unknowns, self.t)
        densities = dict(zip(system.model.species, self.unknowns, strict=False))
        return densities | {f.name: c[f.name].reshape(self.space.mass.shape) for f in system.fields}

    def _evaluated(
        self, call: str, points: npt.ArrayLike, nodal: Callable[..., Array], *, slope: bool = False, **name: str | None
    ) -> Array:
        """Return at points the function with the nodal values of a species or field, or its gradient."""
        space = self._system.space
        with together(space.comm, call) as same:
            if getattr(points, "shape", None) == (0, space.dimension):
                where = np.zeros((0, space.dimension))
            else:
                where = check_finite("points", points, (None, space.dimension))
            self._check_known(**name)
            same(t=self.t, **name)
        at = space.evaluator(where)
        values = nodal(*name.values())
        if not slope:
            return at(values)
        return np.stack([at(part.reshape(space.mass.shape)) for part in space.gradient(values).T], axis=1)

    def _gridded(
        self,
        call: str,
        axes: Sequence[npt.ArrayLike],
        outside: float | None,
        nodal: Callable[..., Array],
        **name: str | None,
    ) -> Array:
        """Return the function with the nodal values of a species or field on a grid."""
        space = self._system.space
        with together(space.comm, call) as same:
            if len(axes) != space.dimension:
                raise InputError(f"axes has {len(axes)} coordinate arrays: give {space.dimension}")
            given = [check_finite(f"axes[{a}]", x, (None,)) for a, x in enumerate(axes)]
            outside = None if outside is None else check_number("outside", outside)
            self._check_known(**name)
            same(t=self.t, axes=given, outside=outside, **name)
        return space.on_grid(nodal(*name.values()), given, outside)

    def _check_known(self, **name: str | None) -> None:
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
        values = self._system.field_values(self.unknowns, self.t)
        return values[self._field(name)].reshape(self._system.space.mass.shape)

    def _w(self, species: str | None) -> Array:
        density = self.density(species)
        c = self._system.field_values(self.unknowns, self.t)
        diffusion, _ = self._system.coefficients(self._species(species), c)
        if diffusion.ndim > 1:
            raise InputError("w = D u is not one function: the model's diffusion coefficient depends on the direction")
        return diffusion.reshape(density.shape) * density
