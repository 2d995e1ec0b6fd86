"""Integral quantities of the densities, recorded after every accepted step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from kspde.errors import InputError, called, check_choice
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.models import Model
from kspde.typing import Array

__all__ = ["DIAGNOSTICS", "GROWTH", "STATISTICS", "TIME_ERROR", "Recorder", "Statistic"]

#: Names and meanings, in the order of the columns of diagnostics.csv.
DIAGNOSTICS = {
    "t": "time",
    "dt": "length of the step that ended at t; 0 at the start",
    "mass": "∫u",
    "minimum": "smallest nodal value of u",
    "maximum": "largest nodal value of u",
    "l2": "∫u²",
    "second_moment": "∫|x|²u",
    "entropy": "∫u log u, where u > 0",
    "boundary_mass": "∫u over the outer tenth of the domain, beyond .9 of the way from its centre to its boundary",
}

#: Recorded beside them with a fixed step (``kspde.fem.monitors.time_error``).
TIME_ERROR = {"time_error": "estimate of the time error of u in L¹, as a share of its mass"}

#: Recorded beside them where the model has growth: the mass is its initial value plus this.
GROWTH = {"growth": "∫∫ r u dx dt from the start to t, r the growth per capita"}

#: Below this density logarithmic gradients are round-off.
_TINY = 1e-12


class Recorder:
    """Collects the diagnostics of all species, the same on every rank.

    Args:
        system: the semidiscretisation.
        statistics: names among ``STATISTICS``.
        time_error: whether the time error is recorded.

    Raises:
        InputError: an unknown name, or a free energy of a model that has none.
    """

    def __init__(
        self, system: Semidiscretisation, statistics: tuple[str, ...] = (), *, time_error: bool = False
    ) -> None:
        for name in statistics:
            STATISTICS[check_choice("statistics", name, STATISTICS)].check(system.model)
        self.move(system)
        self._statistics = statistics
        more = (TIME_ERROR if time_error else {}) | (GROWTH if system.model.has_growth else {})
        self._names = [*list(DIAGNOSTICS)[2:], *more, *statistics]
        #: t, dt and the values of all names and species, one array per step
        self._rows: list[Array] = []

    def move(self, system: Semidiscretisation) -> None:
        """Continue on another grid."""
        space = system.space
        self._system = system
        self._radius2 = np.sum(space.points**2, axis=1).reshape(space.mass.shape)
        self._rim = space.rim.reshape(space.mass.shape)

    @property
    def steps(self) -> int:
        """The number of steps recorded; the first row is the start."""
        return len(self._rows) - 1

    def row(
        self, t: float, dt: float, unknowns: Array, time_error: Array | None = None, growth: Array | None = None
    ) -> dict[str, Array]:
        """Return the diagnostics of nodal unknowns: t, dt, and name -> one value per species. Collective."""
        space = self._system.space
        densities = _densities(self._system, unknowns)
        integrands = []
        for u in densities:
            positive = np.maximum(u, 0.0)
            logarithm = np.log(positive, where=positive > 0, out=np.zeros_like(positive))
            integrands += [u, u * u, self._radius2 * u, positive * logarithm, self._rim * u]
        mass, l2, moment, entropy, rim = space.integral(*integrands).reshape(len(densities), -1).T
        ends = np.array([[-u.min(initial=np.inf), u.max(initial=-np.inf)] for u in densities])
        extremes = space.maximum(ends)
        row = {
            "t": np.array([t]),
            "dt": np.array([dt]),
            "mass": mass,
            "minimum": -extremes[:, 0],
            "maximum": extremes[:, 1],
            "l2": l2,
            "second_moment": moment,
            "entropy": entropy,
            "boundary_mass": rim,
            "time_error": np.zeros(len(densities)) if time_error is None else time_error,
            "growth": np.zeros(len(densities)) if growth is None else growth,
        }
        row |= {name: STATISTICS[name](self._system, unknowns, t) for name in self._statistics}
        return row

    @property
    def names(self) -> tuple[str, ...]:
        """What is recorded of a row."""
        return ("t", "dt", *self._names)

    def add(self, row: Mapping[str, Array]) -> None:
        """Record a row."""
        self._rows.append(np.concatenate([row[name] for name in self.names]))

    def restore(self, table: Mapping[str, Array]) -> None:
        """Continue from the rows of a table.

        Raises:
            ValueError: it has other columns.
        """
        steps = len(table["t"])
        columns = [np.reshape(table[name], (steps, -1)) for name in ("t", "dt", *self._names)]
        rows = np.concatenate(columns, axis=1)
        if rows.shape[1] != 2 + len(self._names) * len(self._system.model.species):
            raise ValueError(f"diagnostics of shape {rows.shape}")
        self._rows = [row.copy() for row in rows]

    def table(self) -> dict[str, Array]:
        """Return name -> values: shape (steps,), or (steps, species) but for t and dt where there are several."""
        rows = np.array(self._rows)
        table = {"t": rows[:, 0], "dt": rows[:, 1]}
        species = len(self._system.model.species)
        for k, name in enumerate(self._names):
            values = rows[:, 2 + k * species : 2 + (k + 1) * species]
            table[name] = values[:, 0] if species == 1 else values
        return table


class Statistic(ABC):
    """A statistic of the densities, recorded at every step on demand. To add one, name its class in ``STATISTICS``."""

    name: ClassVar[str]

    def check(self, model: Model) -> None:  # noqa: B027 - most always have a meaning
        """Raise an ``InputError`` where the statistic has no meaning for a model."""

    @abstractmethod
    def __call__(self, system: Semidiscretisation, unknowns: Array, t: float) -> Array:
        """Return one value per species. Collective."""


class FisherInformation(Statistic):
    """∫|∇u|²/u, where u > 1e-12 and u is above the noise, 100 times its most negative value."""

    name = "fisher_information"

    def __call__(self, system: Semidiscretisation, unknowns: Array, t: float) -> Array:
        parts = []
        for u in _densities(system, unknowns):
            floor = _floor(system, u)
            slope = np.sum(_log_slopes(system, u, floor) ** 2, axis=1).reshape(system.space.mass.shape)
            parts.append(np.where(u > floor, u * slope, 0.0))
        return system.space.integral(*parts)


class LogGradient(Statistic):
    """sup |∇log u|, over the cells in which u exceeds the bounds of ``FisherInformation`` everywhere."""

    name = "log_gradient"

    def __call__(self, system: Semidiscretisation, unknowns: Array, t: float) -> Array:
        largest = []
        for u in _densities(system, unknowns):
            floor = _floor(system, u)
            slope = _log_slopes(system, u, floor)
            # Where a node of the same cell is at the floor, the slope depends on the floor.
            other = _log_slopes(system, u, 0.5 * floor)
            inside = np.all(np.abs(slope - other) <= 1e-6 * (1.0 + np.abs(slope)), axis=1) & (u.ravel() > floor)
            largest.append(np.sqrt(np.max(np.sum(slope**2, axis=1), where=inside, initial=0.0)))
        return system.space.maximum(np.array(largest))


class FreeEnergy(Statistic):
    """The model's free energy, where it has one; the same for all species."""

    name = "free_energy"

    def check(self, model: Model) -> None:
        """Refuse a model that has none."""
        if not model.has_free_energy:
            raise InputError(f"statistics: free_energy is not defined for {type(model).__name__}: leave it out")

    def __call__(self, system: Semidiscretisation, unknowns: Array, t: float) -> Array:
        c = system.field_values(unknowns, t)
        densities = _densities(system, unknowns)
        flat = {name: u.ravel() for name, u in zip(system.model.species, densities, strict=True)}
        density = called("free_energy_density", "a function of arrays", system.model.free_energy_density, flat, c)
        return np.repeat(system.space.integral(np.reshape(density, system.space.mass.shape)), len(densities))


#: All statistics by name.
STATISTICS: dict[str, Statistic] = {each.name: each for each in (FisherInformation(), LogGradient(), FreeEnergy())}


def _densities(system: Semidiscretisation, unknowns: Array) -> Array:
    return unknowns[: len(system.model.species)]


def _floor(system: Semidiscretisation, u: Array) -> float:
    """Return the density below which logarithms are round-off or noise. Collective."""
    return max(_TINY, 100.0 * float(system.space.maximum(np.array([-u.min(initial=0.0)]))[0]))


def _log_slopes(system: Semidiscretisation, u: Array, floor: float) -> Array:
    """Return ∇log max(u, floor) at the local nodes, shape (n, d). Collective.

    The logarithm of a tail is smooth where the tail is not: on a Gaussian it is a polynomial.
    """
    return system.space.gradient(np.log(np.maximum(u, floor)))
