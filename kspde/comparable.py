"""What may be compared with what, and how the two differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from kspde.domains import box_of_particles, check_same_space
from kspde.errors import InputError, check_choice
from kspde.kernels import resolve_mollifier
from kspde.models import Model
from kspde.problem import Problem
from kspde.protocols import ParticleCloud, Run, SolvedDensity
from kspde.runtime.random import Philox
from kspde.runtime.values import Difference
from kspde.runtime.values import differences as differences_of
from kspde.typing import Array, Mask

__all__ = [
    "Known",
    "bounds_of",
    "check_comparable",
    "check_species",
    "check_together",
    "clouds_in",
    "differences",
    "equally_weighted",
    "is_cloud",
    "is_solution",
    "known",
    "known_cloud",
    "mass_of",
    "own_weights",
]

#: The stream of random numbers that choose particles by their weights.
_DRAWN = 4

#: How a run was computed, by the names in its summary.
_NUMERICS = ("scheme", "tol", "dt", "include_self")

#: By how many standard deviations masses of random weights may differ.
_MOST_NOISE = 4.0


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one of two things that are compared. None stands for unknown.

    Attributes:
        what: what it is called in messages, such as "density" or "particles".
        dimension: d.
        mass: its mass.
        species: its name.
        t: the time.
        comm: the communicator.
        domain: the domain of a density, or that particles were given.
        run: the solution or the cloud.
        simulated: whether they are simulated particles.
        signed: whether it has both signs.
        variation: its total variation, ∫|u| or Σ|w|; None stands for the mass.
        mass_noise: the standard deviation of the mass of as many independent particles with such weights.
    """

    what: str
    dimension: int
    mass: float
    species: str | None = None
    t: float | None = None
    comm: Any = None
    domain: Any = None
    run: Run | None = None
    simulated: bool = False
    signed: bool = False
    variation: float | None = None
    mass_noise: float = 0.0

    @property
    def size(self) -> float:
        """The total variation."""
        return abs(self.mass) if self.variation is None else self.variation

    @property
    def eps(self) -> float | None:
        """The mollifier's ε."""
        return None if self.run is None else self.run.eps

    @property
    def grows(self) -> bool:
        """Whether its mass changes in time, so that a mass is a result."""
        return self.run is not None and self.run.model.has_growth


def known(run: Run, species: str, *, what: str, t: float | None = None) -> Known:
    """Return what is known of a species of a solution or a cloud, at time t or the final one."""
    return Known(
        what=what,
        dimension=run.model.dimension,
        mass=mass_of(run, species, t),
        species=species,
        t=float(run.t_end) if t is None else t,
        comm=run.comm,
        domain=getattr(run, "domain", None),
        run=run,
        simulated=hasattr(run, "ids_of"),
    )


def known_cloud(cloud: ParticleCloud, species: str) -> Known:
    """Return what is known of a species of a cloud, from its weights. Collective."""
    weights, about = own_weights(cloud, species), known(cloud, species, what="particles")
    if weights is None:
        return about
    sums = np.array([len(weights), weights.sum(), np.abs(weights).sum(), weights @ weights, (weights < 0).sum()])
    n, mass, size, square, negative = np.sum(cloud.comm.allgather(sums), axis=0).tolist()
    noise = math.sqrt(max(square - mass**2 / n, 0.0))
    return replace(about, mass=mass, variation=size, mass_noise=noise, signed=negative > 0)


def own_weights(cloud: ParticleCloud, species: str) -> Array | None:
    """Return the weights of this rank's particles of a species; None where all are equal and positive. Collective.

    Raises:
        InputError: a weight that is not finite, or none that is not 0; on every rank.
    """
    if not hasattr(cloud, "weights_of"):
        return None
    weights = np.asarray(cloud.weights_of(species), dtype=np.float64)
    ends = (weights.min(initial=np.inf), -weights.max(initial=-np.inf), -np.abs(weights).max(initial=0.0))
    low, high, largest = np.min(cloud.comm.allgather(ends), axis=0) * (1, -1, -1)
    if not 0 < largest < np.inf:
        raise InputError(f"the weights of {species!r} are at most {largest:g} in size: give finite ones that are not 0")
    return None if low > 0 and high - low <= 1e-12 * largest else weights


def mass_of(run: Run, species: str, t: float | None = None) -> float:
    """Return the mass of a species of a solution or a cloud, at time t or the final one."""
    at_times = None if t is None else getattr(run, "masses_at", None)
    return float((run.masses if at_times is None else at_times(t))[species])


def equally_weighted(cloud: ParticleCloud, species: str) -> Mask | None:
    r"""Return which of this rank's particles represent a species by equal weights; None where all do. Collective.

    Where their weights w_j differ, grown or given, particle j is kept with the probability \|w_j\| / max \|w\|: those
    that are kept are draws from the normalised (variation of the) measure. The choice depends on weights and ids alone.
    """
    weights = own_weights(cloud, species)
    if weights is None:
        return None
    sizes = np.abs(weights)
    largest = max(cloud.comm.allgather(float(sizes.max(initial=0.0))))
    shares = Philox(0, _DRAWN).uniforms(np.asarray(cloud.ids_of(species)), 0, 1)[:, 0]
    return np.asarray(shares * largest < sizes * (1.0 + 1e-12))


def is_solution(given: object) -> TypeGuard[SolvedDensity]:
    """Return whether something answers as what ``solve`` returns does."""
    return all(hasattr(given, name) for name in ("on_grid", "half_width", "model", "masses", "t_end"))


def is_cloud(given: object) -> TypeGuard[ParticleCloud]:
    """Return whether something answers as what ``simulate`` returns does."""
    return all(hasattr(given, name) for name in ("of", "ids_of", "model", "masses", "t_end"))


def clouds_in(snapshots: Any, remedy: str) -> Sequence[ParticleCloud]:
    """Return the clouds of ``kspde.Snapshots``, or of a list; none of None.

    Raises:
        InputError: something else; give the remedy.
    """
    clouds = getattr(snapshots, "clouds", () if snapshots is None else snapshots)
    if not isinstance(clouds, (list, tuple)) or not all(is_cloud(each) for each in clouds):
        raise InputError(f"snapshots is a {type(snapshots).__name__}: give {remedy}")
    return clouds


def bounds_of(pde: SolvedDensity) -> Array:
    """Return the lowest and the highest coordinates of a solution's domain, shape (2, d).

    A mesh that misses the box of its domain by less than a hundredth, as a disk's does, has that.
    """
    ideal = getattr(getattr(pde, "domain", None), "bounds", None)
    if ideal is None:
        ideal = np.outer((-1.0, 1.0), np.full(pde.model.dimension, pde.half_width))
    bounds: Array = getattr(pde, "bounds", ideal)
    near = 0.005 * float(np.max(ideal[1] - ideal[0]))
    return ideal if np.allclose(bounds, ideal, rtol=0, atol=near) else bounds


def check_species(model: Model, species: str | None) -> str:
    """Return the species to compare: the given one, or the only one.

    Raises:
        InputError: no such species, or none given where there are several.
    """
    if species is None:
        if len(model.species) > 1:
            raise InputError(f"species is not given: give one of {', '.join(model.species)}")
        return model.species[0]
    return check_choice("species", species, model.species)


def check_together(first: Known, second: Known, *, any_mass: bool = False) -> None:
    """Refuse two things that have no distance from each other.

    Raises:
        InputError: their dimensions, species, times, masses (unless ``any_mass``, or one grows) or communicators
            differ, or a density and particles live in different places. Masses may differ by as much as the sums of
            random weights do.
    """
    if first.dimension != second.dimension:
        _refuse("dimension", first, second, first.dimension, second.dimension)
    if first.species is not None and second.species is not None and first.species != second.species:
        _refuse("species", first, second, first.species, second.species)
    timed = first.t is not None and second.t is not None
    if timed and not math.isclose(first.t or 0.0, second.t or 0.0, rel_tol=1e-9, abs_tol=1e-9 * (first.t or 0.0)):
        _refuse("t_end", first, second, first.t, second.t)
    noise = _MOST_NOISE * math.hypot(first.mass_noise, second.mass_noise)
    same = _same_mass(first, second) or abs(first.mass - second.mass) <= noise
    if any_mass and (first.signed or second.signed):
        raise InputError(
            "normalise = True divides each side by its mass, which has no meaning for signed measures: leave it out"
        )
    if not (any_mass or first.grows or second.grows or same):
        name = first.species or second.species
        what = "mass" if name is None else f"mass of {name}"
        shapes = "" if first.signed or second.signed else "or give normalise=True for their shapes alone"
        _refuse(what, first, second, first.mass, second.mass, shapes)
    if first.comm is not None and second.comm is not None and first.comm.size != second.comm.size:
        _refuse("number of ranks", first, second, first.comm.size, second.comm.size)
    for one, other in ((first, second), (second, first)):
        if other.simulated and not one.simulated and one.domain is not None:
            check_same_space(one.domain, other.domain)


def check_comparable(
    pde: SolvedDensity, cloud: ParticleCloud, species: str, *, t: float | None = None
) -> dict[str, tuple[Any, Any]]:
    """Return the differences between a solution and a cloud, at time t or the final one. Collective.

    Raises:
        InputError: they have no distance from each other, see :func:`check_together`.
    """
    density, particles = known(pde, species, what="density", t=t), known_cloud(cloud, species)
    check_together(density, particles)
    return differences(density, particles)


def differences(first: Known, second: Known) -> dict[str, tuple[Any, Any]]:
    """Return by name what is known to differ between two sides, with both values.

    How they were computed counts where both were computed in the same way: two densities, or two clouds.
    """
    found: dict[str, tuple[Any, Any]] = {}
    if not _same_mass(first, second):
        found["mass"] = (first.mass, second.mass)
    if first.run is None or second.run is None:
        return found
    starts = _start(first), _start(second)
    if starts[0] != starts[1]:
        found["start"] = starts
    ours, theirs = _problem(first.run), _problem(second.run)
    unknown = () if ours.u0 and theirs.u0 else ("u0", "initial")
    parts = ours.differences(theirs, ignore=("t_end", *unknown))
    if first.simulated == second.simulated:
        here, there = _numerics(first), _numerics(second)
        for name in (name for name in here if name in there):
            parts += differences_of(name, here[name], there[name])
    return found | dict(_in_users_words(part) for part in parts)


def _in_users_words(part: Difference) -> tuple[str, tuple[Any, Any]]:
    """Return a difference's name and both values; of code, only whose it is: digests mean nothing to users."""
    if part.name.split(".")[-1] != "code":
        return part.name, (part.ours, part.theirs)
    return part.name.removesuffix("code").removesuffix(".") or "model", ("its code", "its code")


def _problem(run: Any) -> Problem:
    """Return the problem that a run solved, as far as it is known."""
    if hasattr(run, "problem"):
        found: Problem = run.problem
        return found
    try:
        mollifier = None if run.eps is None else resolve_mollifier(run.eps, run.mollifier, run.model.dimension)
    except InputError:  # an object that only describes its mollifier
        mollifier = None
    return Problem(
        model=run.model,
        u0=getattr(run, "u0", {}),
        t_end=float(run.t_end),
        eps=run.eps,
        mollifier=mollifier,
        initial=getattr(run, "initial", "u0"),
    )


def _start(side: Known) -> str:
    """Return what a run started from; only particles may start elsewhere than in the initial density."""
    about = side.run.summary() if side.simulated and hasattr(side.run, "summary") else {}  # type: ignore[union-attr]
    return str(about.get("start", "u0"))


def _numerics(side: Known) -> Mapping[str, Any]:
    """Return how a run was computed, by name."""
    about = side.run.summary() if hasattr(side.run, "summary") else {}  # type: ignore[union-attr]
    domain = {} if side.domain is None else {"domain": side.domain}
    if side.simulated:  # to particles it is a region
        box = None if side.domain is None else box_of_particles(side.domain)
        domain = {
            "boundary": "none" if box is None else box.boundary,
            "half_width": box and box.half_width,
            "centre": box and box.centre,
        }
    return domain | {name: about[name] for name in _NUMERICS if name in about}


def _same_mass(first: Known, second: Known) -> bool:
    return abs(first.mass - second.mass) <= 1e-3 * max(first.size, second.size)


def _refuse(what: str, first: Known, second: Known, a: Any, b: Any, otherwise: str = "") -> None:
    one, other = first.what, second.what
    if one == other:
        one, other = f"first {one}", f"second {other}"
    remedy = "compare two of the same" + (f", {otherwise}" if otherwise else "")
    raise InputError(f"{what} is {a} for the {one} and {b} for the {other}: {remedy}")
