"""What may be compared with what."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kspde.distances.grid import Array
from kspde.errors import InputError
from kspde.models import Model

__all__ = ["DensitySolution", "ParticleCloud", "Run", "check_comparable", "check_species"]


class Run(Protocol):
    """What a solution and a cloud have in common."""

    @property
    def model(self) -> Model:
        """The model."""
        ...

    @property
    def eps(self) -> float | None:
        """The mollifier's ε, None for the unregularised system."""
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
        """Mass of each species."""
        ...

    @property
    def comm(self) -> Any:
        """The communicator."""
        ...


class DensitySolution(Run, Protocol):
    """What is read of a solution: the density on a tensor grid, and what it is the density of."""

    @property
    def half_width(self) -> float:
        """Half-width of the smallest box around the origin that contains the domain."""
        ...

    def on_grid(
        self, axes: Any, species: str | None = None, t: float | None = None, *, outside: float | None = None
    ) -> Array:
        """Return u at time t, ``t_end`` unless given, on a tensor grid, the same on every rank."""
        ...


class ParticleCloud(Run, Protocol):
    """What is read of a cloud: this rank's positions and ids, and what they are particles of."""

    def ids_of(self, species: str) -> npt.NDArray[np.uint64]:
        """Return this rank's particle ids of a species, shape (n_local,)."""
        ...

    def of(self, species: str) -> Array:
        """Return this rank's positions of a species, shape (n_local, d)."""
        ...


def check_species(model: Model, species: str | None) -> str:
    """Return the species to compare: the given one, or the only one.

    Raises:
        InputError: no such species, or none given where there are several.
    """
    if species is None:
        if len(model.species) > 1:
            raise InputError(f"species is not given: give one of {', '.join(model.species)}")
        return model.species[0]
    if species not in model.species:
        raise InputError(f"species = {species!r} is not valid: give one of {', '.join(model.species)}")
    return species


def check_comparable(pde: DensitySolution, cloud: ParticleCloud, species: str, *, t: float | None = None) -> None:
    """Refuse a density and a cloud that do not belong together, at time t or the final one.

    Raises:
        InputError: their models, parameters, ε, mollifiers, times, masses or communicators differ, or particles have
            weights of their own.
    """
    if species in getattr(cloud, "variations", ()):
        raise InputError(
            f"the particles of {species!r} have weights of their own: they are no draws from a density, and have no "
            f"distance to one; compare a cloud without weights"
        )
    if pde.model.dimension != cloud.model.dimension:
        _refuse("dimension", pde.model.dimension, cloud.model.dimension)
    if type(pde.model) is not type(cloud.model):
        _refuse("model", type(pde.model).__name__, type(cloud.model).__name__)
    if pde.model is not cloud.model:
        if not dataclasses.is_dataclass(pde.model):
            if pde.model != cloud.model:
                _refuse("model", pde.model, cloud.model)
        else:
            for field in dataclasses.fields(pde.model):
                theirs, ours = getattr(pde.model, field.name), getattr(cloud.model, field.name)
                if not _same(theirs, ours):
                    _refuse(field.name, theirs, ours)
    if not _same(pde.eps, cloud.eps):
        _refuse("eps", pde.eps, cloud.eps)
    if pde.eps is not None and _mollifier(pde) != _mollifier(cloud):
        _refuse("mollifier", _mollifier(pde), _mollifier(cloud))
    t_end = pde.t_end if t is None else t
    if not math.isclose(t_end, cloud.t_end, rel_tol=1e-9, abs_tol=1e-9 * pde.t_end):
        _refuse("t_end", t_end, cloud.t_end)
    if not math.isclose(pde.masses[species], cloud.masses[species], rel_tol=1e-3):
        _refuse(f"mass of {species}", pde.masses[species], cloud.masses[species])
    if pde.comm.size != cloud.comm.size:
        _refuse("number of ranks", pde.comm.size, cloud.comm.size)


def _mollifier(run: Run) -> str:
    return run.mollifier if isinstance(run.mollifier, str) else repr(run.mollifier)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-12)
    return bool(a == b)


def _refuse(what: str, density: Any, particles: Any) -> None:
    raise InputError(f"{what} is {density} for the density and {particles} for the particles: compare two of the same")
