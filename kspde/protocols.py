"""What functions read of a solved density, or of a cloud of particles, that they are given.

``kspde.solve`` returns a :class:`SolvedDensity` and ``kspde.simulate`` a :class:`ParticleCloud`; a user's objects with
these attributes serve as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kspde.initial import InitialDensity
from kspde.models import Model
from kspde.problem import Problem
from kspde.typing import Array, Comm, Ids

__all__ = ["ParticleCloud", "Run", "SolvedDensity"]


class Run(Protocol):
    """What a solved density and a cloud have in common."""

    @property
    def model(self) -> Model:
        """The model."""
        ...

    @property
    def eps(self) -> float | None:
        """The mollifier's ε; None for the system that is not regularised."""
        ...

    @property
    def mollifier(self) -> Any:
        """The mollifier: its name, or a callable or its representation."""
        ...

    @property
    def t_end(self) -> float:
        """The final time."""
        ...

    @property
    def masses(self) -> Mapping[str, float]:
        """The mass of each species."""
        ...

    @property
    def comm(self) -> Comm:
        """The communicator."""
        ...


class SolvedDensity(Run, Protocol):
    """A density that solves a model's equation: its values and its fields on tensor grids, over time."""

    @property
    def problem(self) -> Problem:
        """The problem that it solves."""
        ...

    @property
    def u0(self) -> Mapping[str, InitialDensity]:
        """The initial density of each species."""
        ...

    @property
    def initial(self) -> str:
        """Whether it starts from u_0 ("u0") or from u_0 * j^ε ("mollified")."""
        ...

    @property
    def times(self) -> Array:
        """The saved times."""
        ...

    @property
    def diagnostics(self) -> Mapping[str, Array]:
        """By name what was recorded at each time step."""
        ...

    @property
    def half_width(self) -> float:
        """The half-width of the smallest box around the origin that contains the domain."""
        ...

    def on_grid(
        self, axes: Any, species: str | None = None, t: float | None = None, *, outside: float | None = None
    ) -> Array:
        """Return u at time t, ``t_end`` unless given, on a tensor grid, the same on every rank. Collective."""
        ...

    def signal_on_grid(
        self, axes: Any, field: str | None = None, t: float | None = None, *, outside: float | None = None
    ) -> Array:
        """Return a field on such a grid. Collective."""
        ...

    def moment(self, name: str, t: float | None = None) -> Array:
        """Return a moment of the model at time t, ``t_end`` unless given, shape () or (k, ...). Collective."""
        ...


class ParticleCloud(Run, Protocol):
    """Particles at one time, spread over the ranks."""

    def ids_of(self, species: str) -> Ids:
        """Return the ids of this rank's particles of a species, shape (n_local,)."""
        ...

    def of(self, species: str) -> Array:
        """Return the positions of this rank's particles of a species, shape (n_local, d)."""
        ...
