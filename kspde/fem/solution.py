"""What a finite-element run returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kspde.domains import Domain
from kspde.errors import check_number
from kspde.fem.observer import State, between
from kspde.fem.semidiscretisation import SemiDiscrete
from kspde.fem.xdmf import merge_series
from kspde.initial import InitialDensity
from kspde.kernels import Kernel
from kspde.models import Model
from kspde.runtime.checkpoint import check_room
from kspde.runtime.parallel import check_same, together

__all__ = ["Solution"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Densities and fields at ``t_end`` and at saved times, and what was recorded on the way.

    Methods that return values at points or grids are collective: call them on every rank, with the same arguments.
    Points alone are each rank's own choice, any number of them: it gets the values there. They take a time t: ``t_end``
    unless given; other times must be saved, or lie between saved ones.

    Attributes:
        model: the model.
        domain: the domain.
        u0: the initial density of each species.
        initial: "u0" or "mollified": what the densities start from.
        t_end: the final time.
        eps: the mollifier's ε, None for the local equation.
        mollifier: the mollifier.
        diagnostics: per accepted step, name -> array: t, dt, mass, minimum, maximum, l2 (∫u²), second_moment (∫|x|²u),
            entropy (∫u log u), and the statistics asked for; shape (steps,), or (steps, species) but for t and dt where
            there are several species.
        timings: seconds: mesh, setup, loop.
        masses: the mass of each species.
        initial_mass_error: relative error of each species' discrete mass before it was scaled to the exact one.
        warnings: what Python's ``warnings`` were given on the way, line by line.
    """

    same_on_ranks: ClassVar[tuple[str, ...]] = (
        "model", "domain", "u0", "initial", "t_end", "eps", "mollifier", "times",
    )  # fmt: skip

    model: Model
    domain: Domain
    u0: dict[str, InitialDensity]
    initial: str
    t_end: float
    eps: float | None
    mollifier: str | Callable[..., Kernel]
    diagnostics: dict[str, Array]
    timings: dict[str, float]
    masses: dict[str, float]
    initial_mass_error: dict[str, float]
    warnings: tuple[str, ...] = ()
    _system: SemiDiscrete = field(repr=False)
    _states: list[tuple[float, Array, Array]] = field(repr=False)
    _scheme: dict[str, Any] = field(repr=False)

    @property
    def comm(self) -> Any:
        """The communicator."""
        return self._system.space.comm

    @property
    def species(self) -> tuple[str, ...]:
        """Names of the species."""
        return self.model.species

    @property
    def half_width(self) -> float:
        """The half-width of the smallest box around the origin that contains the domain."""
        return self._system.space.radius

    @property
    def bounds(self) -> Array:
        """The lowest and the highest coordinates of the domain, shape (2, d)."""
        return self._system.space.bounds

    @property
    def times(self) -> Array:
        """The saved times, the last of which is ``t_end``."""
        return np.array([state[0] for state in self._states])

    def at(self, t: float | None = None) -> State:
        """Return the state at time t: saved, or interpolated between saved ones (cubic Hermite, order 4).

        What is interpolated has the exact mass, but may be negative where u is close to 0, after a positive scheme too:
        save the times at which u ≥ 0 is needed.

        Raises:
            InputError: t is not between saved times.
        """
        t = self.t_end if t is None else check_number("t", t, at_least=0)
        return State(self._system, t, between(self._states, t))

    def evaluate(self, points: npt.ArrayLike, species: str | None = None, t: float | None = None) -> Array:
        """Return u at this rank's points, shape (n, d), n ≥ 0: shape (n,).

        Raises:
            InputError: wrong shape, points outside the domain, an unknown species, or a time that is not saved, on any
                rank.
        """
        return self._agreed(t).evaluate(points, species)

    def evaluate_signal(self, points: npt.ArrayLike, field: str | None = None, t: float | None = None) -> Array:
        """Return a field (the model's signal unless named) at this rank's points, shape (n, d), n ≥ 0: shape (n,).

        Raises:
            InputError: wrong shape, points outside the domain, an unknown field, or a time that is not saved, on any
                rank.
        """
        return self._agreed(t).evaluate_signal(points, field)

    def on_grid(
        self,
        axes: Sequence[npt.ArrayLike],
        species: str | None = None,
        t: float | None = None,
        *,
        outside: float | None = None,
    ) -> Array:
        """Return u on the tensor grid of d coordinate arrays: shape (len(axes[0]), ...), the same on every rank.

        Args:
            axes: the coordinates in each direction.
            species: which species, where there are several.
            t: the time.
            outside: the value outside the domain; without it points there are refused.
        """
        return self._agreed(t).on_grid(axes, species, outside=outside)

    def signal_on_grid(
        self,
        axes: Sequence[npt.ArrayLike],
        field: str | None = None,
        t: float | None = None,
        *,
        outside: float | None = None,
    ) -> Array:
        """Return a field (the model's signal unless named) on such a grid."""
        return self._agreed(t).signal_on_grid(axes, field, outside=outside)

    def function(self, species: str | None = None, t: float | None = None) -> Any:
        """Return u as a ``dolfinx.fem.Function`` on this solution's mesh. Collective."""
        return self._agreed(t).function(species)

    def write_vtx(self, path: str | Path) -> None:
        """Write all densities and fields at the saved times to an ADIOS2 .bp directory for ParaView. Collective."""
        from dolfinx import fem, io

        space = self._system.space
        check_same(space.comm, "write_vtx", path=str(path), times=self.times)
        self._check_room(path, len(space.mesh.geometry.x) + space.mass.size)
        # ParaView takes a Lagrange cell's nodes for equidistant ones.
        shown = fem.functionspace(space.mesh, space.plotting_element())
        names = [*self.species, *(f.name for f in self._system.fields)]
        functions = [fem.Function(shown, name=name) for name in names]
        with io.VTXWriter(space.comm, str(path), functions) as writer:
            for t in self.times:
                state = self.at(t)
                nodal = [state.density(s) for s in self.species] + [state.field(f.name) for f in self._system.fields]
                for function, values in zip(functions, nodal, strict=True):
                    function.interpolate(space.function(values))
                writer.write(t)

    def write_xdmf(self, path: str | Path) -> None:
        """Write all densities and fields at the saved times, at the mesh's vertices, to XDMF with HDF5. Collective."""
        import basix.ufl
        from dolfinx import fem, io

        space = self._system.space
        check_same(space.comm, "write_xdmf", path=str(path), times=self.times)
        self._check_room(path, len(space.mesh.geometry.x))
        vertices = fem.functionspace(space.mesh, basix.ufl.element("Lagrange", space.mesh.basix_cell(), 1))
        with io.XDMFFile(space.comm, str(path), "w") as file:
            file.write_mesh(space.mesh)
            for t in self.times:
                state = self.at(t)
                fields = {s: state.density(s) for s in self.species}
                fields |= {f.name: state.field(f.name) for f in self._system.fields}
                for name, values in fields.items():
                    function = fem.Function(vertices, name=name)
                    function.interpolate(space.function(values))
                    file.write_function(function, t)
        with together(space.comm):
            if space.comm.rank == 0:
                merge_series(path)

    def _check_room(self, path: str | Path, nodes: int) -> None:
        """Refuse files for which there is no room: ADIOS2 and HDF5 would end the process, or hang. Collective."""
        values = len(self.times) * (len(self.species) + len(self._system.fields)) + 3
        check_room(self.comm, path, int(8 * values * self._system.space.total(np.array([nodes]))[0]))

    def _agreed(self, t: float | None) -> State:
        """Return the state at time t; what is wrong with it on one rank, all ranks raise. Collective."""
        with together(self.comm):
            return self.at(t)

    def summary(self) -> dict[str, Any]:
        """Return what characterises the run, ready for JSON."""
        space = self._system.space
        return {
            **self._scheme,
            "t_end": self.t_end,
            "eps": self.eps,
            "mollifier": None if self.eps is None else _name(self.mollifier),
            "domain": str(self.domain),
            "nodes": space.nodes,
            "cells": space.cells,
            "degree": space.degree,
            "linear_solver": space.linear_solver,
            "initial_mass_error": self.initial_mass_error,
            "timings": self.timings,
            "warnings": list(self.warnings),
        }


def _name(mollifier: str | Callable[..., Kernel]) -> str:
    return mollifier if isinstance(mollifier, str) else repr(mollifier)
