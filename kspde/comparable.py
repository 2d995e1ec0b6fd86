"""What may be compared with what, and in what the two differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde.domains import check_no_walls
from kspde.errors import InputError
from kspde.models import Model
from kspde.protocols import ParticleCloud, Run, SolvedDensity

__all__ = [
    "Known",
    "check_comparable",
    "check_species",
    "check_together",
    "differences",
    "in_words",
    "known",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one of two things that are compared. What is None, or missing, is not known.

    Attributes:
        what: what it is called in messages, such as "density" or "particles".
        dimension: d.
        mass: its mass.
        species: its name.
        t: the time.
        comm: the communicator.
        model: the name of its model.
        parameters: the model's, by name.
        problem: by name what decides its law beside the model: ε, mollifier, initial density.
        numerics: by name how it was computed.
        domain: of a density, where it has one.
        simulated: whether they are simulated particles, which know no domain.
    """

    what: str
    dimension: int
    mass: float
    species: str | None = None
    t: float | None = None
    comm: Any = None
    model: str | None = None
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problem: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    numerics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    domain: Any = None
    simulated: bool = False


def known(run: Run, species: str, *, what: str, t: float | None = None) -> Known:
    """Return what is known of a species of a solution or a cloud, at time t or the final one."""
    model, about = run.model, _about(run)
    parameters: dict[str, Any] = {}
    if dataclasses.is_dataclass(model):
        parameters = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    problem: dict[str, Any] = {"eps": run.eps}
    if run.eps is not None:
        problem["mollifier"] = run.mollifier if isinstance(run.mollifier, str) else repr(run.mollifier)
    if "initial" in about:
        problem["initial"] = about["initial"]
    starts = getattr(run, "u0", {})
    if species in starts:
        problem["u0"] = starts[species]
    domain = getattr(run, "domain", None)
    numerics = {name: about[name] for name in ("scheme", "tol", "dt", "include_self") if name in about}
    if domain is not None:
        numerics = {"domain": domain, **numerics}
    return Known(
        what=what,
        dimension=model.dimension,
        mass=float(run.masses[species]),
        species=species,
        t=float(run.t_end) if t is None else t,
        comm=run.comm,
        model=type(model).__name__,
        parameters=parameters,
        problem=problem,
        numerics=numerics,
        domain=domain,
        simulated=hasattr(run, "ids_of"),
    )


def _about(run: Any) -> Mapping[str, Any]:
    return run.summary() if hasattr(run, "summary") else {}


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


def check_together(first: Known, second: Known, *, any_mass: bool = False) -> None:
    """Refuse two things that have no distance from each other.

    Raises:
        InputError: their dimensions, species, times, masses (unless ``any_mass``) or communicators differ, or one is a
            density between walls and the other are particles that know none.
    """
    if first.dimension != second.dimension:
        _refuse("dimension", first, second, first.dimension, second.dimension)
    if first.species is not None and second.species is not None and first.species != second.species:
        _refuse("species", first, second, first.species, second.species)
    timed = first.t is not None and second.t is not None
    if timed and not math.isclose(first.t or 0.0, second.t or 0.0, rel_tol=1e-9, abs_tol=1e-9 * (first.t or 0.0)):
        _refuse("t_end", first, second, first.t, second.t)
    if not any_mass and not math.isclose(first.mass, second.mass, rel_tol=1e-3):
        name = first.species or second.species
        what = "mass" if name is None else f"mass of {name}"
        _refuse(what, first, second, first.mass, second.mass, "or give normalise=True for their shapes alone")
    if first.comm is not None and second.comm is not None and first.comm.size != second.comm.size:
        _refuse("number of ranks", first, second, first.comm.size, second.comm.size)
    for one, other in ((first, second), (second, first)):
        if other.simulated and one.domain is not None:
            check_no_walls(one.domain)


def check_comparable(
    pde: SolvedDensity, cloud: ParticleCloud, species: str, *, t: float | None = None
) -> dict[str, tuple[Any, Any]]:
    """Return in what a solution and a cloud differ, at time t or the final one.

    Raises:
        InputError: they have no distance from each other, see :func:`check_together`, or particles have weights of
            their own.
    """
    check_unweighted(cloud, species)
    density, particles = known(pde, species, what="density", t=t), known(cloud, species, what="particles")
    check_together(density, particles)
    return differences(density, particles)


def check_unweighted(cloud: ParticleCloud, species: str) -> None:
    """Refuse particles with weights of their own.

    Raises:
        InputError: they have.
    """
    if species in getattr(cloud, "variations", ()):
        raise InputError(
            f"the particles of {species!r} have weights of their own: they are not draws from a density, and have no "
            f"distance from one; compare a cloud without weights"
        )


def differences(first: Known, second: Known) -> dict[str, tuple[Any, Any]]:
    """Return by name what both sides are known to have otherwise, with both values.

    How they were computed counts where both were computed in the same way: two densities, or two clouds.
    """
    out: dict[str, tuple[Any, Any]] = {}
    if not math.isclose(first.mass, second.mass, rel_tol=1e-3):
        out["mass"] = (first.mass, second.mass)
    parts = [(first.problem, second.problem)]
    if first.model is not None and second.model is not None:
        if first.model != second.model:
            out["model"] = (first.model, second.model)
        else:
            parts.insert(0, (first.parameters, second.parameters))
    if first.simulated == second.simulated:
        parts.append((first.numerics, second.numerics))
    for ours, theirs in parts:
        for name, value in ours.items():
            if name in theirs and not _same(value, theirs[name]):
                out |= _within(name, value, theirs[name])
    return out


def _within(name: str, a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two dataclasses of one kind differ, or the two values themselves."""
    if type(a) is not type(b) or not dataclasses.is_dataclass(a):
        return {name: (a, b)}
    out: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if not _same(one, other):
            out |= _within(f"{name}.{field.name}", one, other)
    return out


def in_words(value: Any) -> str:
    """Return a value in a few words."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    # The address of an object says nothing.
    return type(value).__name__ if " at 0x" in text else text


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-12)
    return bool(a == b)


def _refuse(what: str, first: Known, second: Known, a: Any, b: Any, otherwise: str = "") -> None:
    one, other = first.what, second.what
    if one == other:
        one, other = f"first {one}", f"second {other}"
    remedy = "compare two of the same" + (f", {otherwise}" if otherwise else "")
    raise InputError(f"{what} is {a} for the {one} and {b} for the {other}: {remedy}")
