"""What a finite-element run returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.domains import Domain
from kspde.errors import InputError, check_finite
from kspde.fem.operators import SemiDiscrete
from kspde.kernels import Kernel
from kspde.models import Model

__all__ = ["Solution"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Densities and fields at ``t_end``, and what was recorded on the way.

    Methods that return values at points or grids are collective: call them on every rank, with the same arguments.

    Attributes:
        model: the model.
        domain: the domain.
        t_end: the final time.
        eps: the mollifier's ε, None for the local equation.
        mollifier: the mollifier.
        diagnostics: per accepted step, name -> array: t, dt, mass, minimum, maximum, l2 (∫u²), second_moment (∫|x|²u),
            entropy (∫u log u); shape (steps,), or (steps, species) but for t and dt where there are several species.
        timings: seconds: mesh, setup, loop.
        initial_mass_error: relative error of each species' discrete mass before it was scaled to the exact one.
    """

    model: Model
    domain: Domain
    t_end: float
    eps: float | None
    mollifier: str | Callable[..., Kernel]
    diagnostics: dict[str, Array]
    timings: dict[str, float]
    masses: dict[str, float]
    initial_mass_error: dict[str, float]
    _system: SemiDiscrete = field(repr=False)
    _densities: Array = field(repr=False)
    _scheme: dict[str, Any] = field(repr=False)

    @property
    def comm(self) -> Any:
        """The communicator."""
        return self._system.space.comm

    @property
    def species(self) -> tuple[str, ...]:
        """Names of the species."""
        return self.model.species

    def evaluate(self, points: npt.ArrayLike, species: str | None = None) -> Array:
        """Return u at points of shape (n, d): shape (n,), the same on every rank.

        Raises:
            InputError: wrong shape, points outside the domain, or an unknown species.
        """
        return self._system.space.evaluate(self._density(species), self._points(points))

    def evaluate_signal(self, points: npt.ArrayLike, field: str | None = None) -> Array:
        """Return a field (the model's signal unless named) at points of shape (n, d).

        Raises:
            InputError: wrong shape, points outside the domain, or an unknown field.
        """
        return self._system.space.evaluate(self._field(field), self._points(points))

    def on_grid(self, axes: Sequence[npt.ArrayLike], species: str | None = None) -> Array:
        """Return u on the tensor grid of d coordinate arrays: shape (len(axes[0]), ...), the same on every rank."""
        return self._system.space.on_grid(self._density(species), self._axes(axes))

    def signal_on_grid(self, axes: Sequence[npt.ArrayLike], field: str | None = None) -> Array:
        """Return a field (the model's signal unless named) on the tensor grid of d coordinate arrays."""
        return self._system.space.on_grid(self._field(field), self._axes(axes))

    def function(self, species: str | None = None) -> Any:
        """Return u as a ``dolfinx.fem.Function`` on this solution's mesh. Collective."""
        return self._system.space.function(self._density(species), species or self.species[0])

    def write_vtx(self, path: str | Path) -> None:
        """Write all densities and fields at ``t_end`` to an ADIOS2 .bp directory for ParaView. Collective."""
        from dolfinx import fem, io

        space = self._system.space
        shown = fem.functionspace(space.mesh, space.plotting_element())
        functions = []
        names = [(name, self._density(name)) for name in self.species]
        names += [(f.name, self._field(f.name)) for f in self._system.fields]
        for name, nodal in names:
            function = fem.Function(shown, name=name)
            function.interpolate(space.function(nodal))
            functions.append(function)
        with io.VTXWriter(space.comm, str(path), functions) as writer:
            writer.write(self.t_end)

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
            "initial_mass_error": self.initial_mass_error,
            "timings": self.timings,
        }

    def _density(self, species: str | None) -> Array:
        if species is None:
            if len(self.species) > 1:
                raise InputError(f"species is not given: give one of {', '.join(self.species)}")
            species = self.species[0]
        if species not in self.species:
            raise InputError(f"species = {species!r} is not valid: give one of {', '.join(self.species)}")
        nodal: Array = self._densities[self.species.index(species)]
        return nodal

    def _field(self, name: str | None) -> Array:
        name = name or self.model.signal
        names = [f.name for f in self._system.fields]
        if name not in names:
            raise InputError(f"field = {name!r} is not valid: the model's fields are {', '.join(names) or 'none'}")
        return self._system.field_values(self._densities)[name].reshape(self._system.space.mass.shape)

    def _points(self, points: npt.ArrayLike) -> Array:
        return check_finite("points", points, (None, self.model.dimension))

    def _axes(self, axes: Sequence[npt.ArrayLike]) -> list[Array]:
        if len(axes) != self.model.dimension:
            raise InputError(f"axes has {len(axes)} coordinate arrays: give {self.model.dimension}")
        return [check_finite(f"axes[{a}]", x, (None,)) for a, x in enumerate(axes)]


def _name(mollifier: str | Callable[..., Kernel]) -> str:
    return mollifier if isinstance(mollifier, str) else repr(mollifier)
