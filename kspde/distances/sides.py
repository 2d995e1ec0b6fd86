"""The two sides of a comparison: densities and particles, however they were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.comparable import Known, check_species, check_unweighted, equally_weighted, is_cloud, is_solution, known
from kspde.distances.quadrature import converged, over_box, uniform_edges
from kspde.distances.target import Target
from kspde.domains import Domain
from kspde.errors import InputError, check_finite, check_number
from kspde.initial import InitialDensity, checked_values
from kspde.protocols import ParticleCloud, SolvedDensity
from kspde.runtime.parallel import together
from kspde.runtime.random import Philox
from kspde.typing import Array, Comm, Ids

__all__ = ["DensitySide", "ParticleSide", "Side", "points_of", "rows_in_order", "rows_of", "sides_of"]

#: A density without a domain is searched for where this many draws are, and half as far again on either side.
_DRAWS = 65_536

#: Initial densities and functions are exact, so they are trusted down to the smallest numbers.
_TINY = 1e-290


@dataclass(frozen=True, kw_only=True)
class Side:
    """A side of a comparison.

    Attributes:
        everyone: what is known of the density, or of each cloud.
    """

    everyone: Sequence[Known]

    @property
    def known(self) -> Known:
        """What is known of the density, or of the first cloud."""
        return self.everyone[0]


@dataclass(frozen=True, kw_only=True)
class DensitySide(Side):
    """A density; ``target`` returns the target density at a time (None for the final one) for r particles."""

    target: Callable[[float | None, int], Target]


@dataclass(frozen=True, kw_only=True)
class ParticleSide(Side):
    """Particles: one cloud, or several of equally many."""

    clouds: Sequence[ParticleCloud]


def sides_of(
    first: object, second: object, *, species: str | None, t: float | None, mass: float, domain: object, comm: Comm
) -> tuple[Side, Side]:
    """Return the two sides of a comparison, a density before particles, from arguments of ``compare``. Collective.

    Raises:
        InputError: a side of another kind, or a value that is not valid.
    """

    def side(given: object, name: str) -> Side:
        if is_solution(given):
            return _solution(given, species, t)
        if isinstance(given, InitialDensity):
            return _initial(given, comm)
        if is_cloud(given):
            return _particles([given], species)
        if callable(given):
            return _function(given, domain, comm)
        if isinstance(given, (np.ndarray, Sequence)) and not isinstance(given, str):
            several = [] if isinstance(given, np.ndarray) else given
            if several is given and not len(given):
                raise InputError(f"{name} is an empty sequence: give at least one cloud")
            if several and all(is_cloud(each) for each in several):
                return _particles(several, species)
            arrays = several and all(isinstance(each, np.ndarray) and each.ndim == 2 for each in several)
            return _positions(name, several if arrays else [given], mass, comm)
        raise InputError(
            f"{name} is a {type(given).__name__}: give a density (what kspde.solve returned, an initial density, or a "
            f"function with domain=...), particles (what kspde.simulate returned, or several), or (n, d) positions"
        )

    a, b = side(first, "first"), side(second, "second")
    if domain is not None and "function" not in (a.known.what, b.known.what):
        raise InputError("domain is given, and neither side is a function: leave it out")
    if t is not None and not any(is_solution(given) for given in (first, second)):
        raise InputError("t is given, and neither side is a solution: leave it out")
    return (b, a) if isinstance(a, ParticleSide) and isinstance(b, DensitySide) else (a, b)


def _solution(pde: SolvedDensity, species: str | None, t: float | None) -> DensitySide:
    name = check_species(pde.model, species)
    if t is not None and t > pde.t_end * (1 + 1e-9):
        raise InputError(f"t = {t:g} is not valid: give a time in [0, {pde.t_end:g}]")

    def target(at: float | None, r: int) -> Target:
        when = t if at is None else at
        at_end = when is None or abs(when - pde.t_end) <= 1e-9 * pde.t_end
        return Target.of(pde, name, t=None if at_end else when, r=r)

    return DensitySide(everyone=[known(pde, name, what="density", t=t)], target=target)


def _particles(clouds: Sequence[ParticleCloud], species: str | None) -> ParticleSide:
    name = check_species(clouds[0].model, species)
    for cloud in clouds:
        check_species(cloud.model, name)
        check_unweighted(cloud, name)
    return ParticleSide(everyone=[known(cloud, name, what="particles") for cloud in clouds], clouds=list(clouds))


def _initial(density: InitialDensity, comm: Comm) -> DensitySide:
    points = density.sample(Philox(0), np.arange(_DRAWS, dtype=np.uint64))
    lower, upper = points.min(axis=0), points.max(axis=0)
    reach = 0.5 * (upper - lower)
    box, mass = np.stack([lower - reach, upper + reach]), float(density.mass)
    about = Known(what="initial density", dimension=density.dimension, mass=mass, comm=comm)
    return _exact(about, density, box, bounded=False)


def _function(function: Callable[[Array], npt.ArrayLike], domain: object, comm: Comm) -> DensitySide:
    if not isinstance(domain, Domain) or domain.bounds is None:
        was = "is not given" if domain is None else f"is a {type(domain).__name__}"
        raise InputError(
            f"a function is given, and domain {was}: give a kspde.Box or kspde.Disk that it is a density on"
        )
    box = domain.bounds

    def inside(points: Array) -> Array:
        out, here = np.zeros(len(points)), domain.holds(points)
        if here.any():
            out[here] = checked_values(function, points[here])
        return out

    def total(nodes: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
        return np.array([reduce(np.matmul, reversed(weights), _on_axes(inside, nodes))])

    with together(comm):
        mass = float(converged(over_box(box, uniform_edges(box)), total)[0][0])
        if mass <= 0:
            raise InputError(f"the function has no mass on {domain}: give one with a positive integral")
    about = Known(what="function", dimension=box.shape[1], mass=mass, comm=comm, domain=domain)
    return _exact(about, inside, box)


def _exact(about: Known, density: Callable[[Array], npt.ArrayLike], box: Array, *, bounded: bool = True) -> DensitySide:
    """Return a density that is known exactly and does not change in time."""
    target = Target(
        values=partial(_on_axes, density),
        box_of_one=box,
        bounded=bounded,
        mass_of_one=about.mass,
        comm=about.comm,
        edges=uniform_edges(box),
        clip=_TINY,
    )
    return DensitySide(everyone=[about], target=lambda t, r: replace(target, r=r))


def _on_axes(density: Callable[[Array], npt.ArrayLike], axes: Sequence[Array]) -> Array:
    """Return a function's values on a tensor grid."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return np.asarray(density(points.reshape(-1, len(axes))), dtype=np.float64).reshape(points.shape[:-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Positions:
    """Positions as a cloud gives them: this rank's, with their ids."""

    points: Array
    ids: Ids
    comm: Comm

    def of(self, species: str) -> Array:
        return self.points

    def ids_of(self, species: str) -> Ids:
        return self.ids


def _checked(name: str, given: object) -> Array:
    if isinstance(given, np.ndarray) and given.ndim == 2 and not len(given):  # this rank has none
        return np.empty(given.shape)
    points = check_finite(name, given, (None, None))
    if points.shape[1] > 3:
        raise InputError(f"{name} has shape {points.shape}: give positions of shape (n, d), d = 1, 2 or 3")
    return points


def _positions(name: str, given: Sequence[object], mass: float, comm: Comm) -> ParticleSide:
    """Return (n, d) positions as particles. Every rank gives its own, or all give the same. Collective."""
    check_number("mass", mass, above=0)
    clouds: list[Any] = []
    for each in given:
        with together(comm):
            own = _checked(name, each)
        shapes = comm.allgather((own.shape, blake2b(own.tobytes()).digest() if comm.size > 1 else b""))
        counts = [shape[0] for shape, _ in shapes]
        if len({shape[1] for shape, _ in shapes}) > 1:
            raise InputError(
                f"{name} has positions of different dimensions on different ranks: give the same everywhere"
            )
        if comm.size > 1 and len(set(shapes)) == 1:
            ids = np.arange(comm.rank, len(own), comm.size, dtype=np.uint64)
            clouds.append(_Positions(points=own[comm.rank :: comm.size], ids=ids, comm=comm))
        else:
            first = sum(counts[: comm.rank])
            clouds.append(_Positions(points=own, ids=np.arange(first, first + len(own), dtype=np.uint64), comm=comm))
    about = Known(what="positions", dimension=clouds[0].points.shape[1], mass=float(mass), comm=comm)
    return ParticleSide(everyone=[about] * len(clouds), clouds=clouds)


def rows_of(points: Array, r: int) -> Array:
    r"""Return disjoint r-tuples of different particles, shape (⌊n/r⌋, r d), of points in the order of ids.

    Tuple i holds the particles ri, ..., ri + r − 1. The particles are exchangeable, so each tuple is a draw from the
    r-th marginal of their law; two tuples of one cloud are as dependent as two particles are.
    """
    n = len(points) // r
    return np.ascontiguousarray(points[: n * r].reshape(n, r * points.shape[1]))


def rows_in_order(points: Array, ids: Ids, comm: Comm) -> Array:
    """Return all ranks' points in the order of their ids, on every rank. Collective.

    Raises:
        InputError: there are none.
    """
    parts = comm.allgather((np.asarray(ids), np.asarray(points, dtype=np.float64)))
    everything = np.concatenate([part[1] for part in parts])
    if not len(everything):
        raise InputError("the cloud has no particles: a distance needs at least 2")
    order = np.argsort(np.concatenate([part[0] for part in parts]), kind="stable")
    return np.ascontiguousarray(everything[order])


def points_of(side: ParticleSide, least: int, comm: Comm) -> tuple[list[tuple[Array, Ids]], int]:
    """Return this rank's positions and ids of each cloud, and how many particles each has over all ranks. Collective.

    Of particles whose weights have grown those that ``equally_weighted`` chooses.

    Raises:
        InputError: fewer than ``least``, clouds of different sizes, or a position that is not finite, on any rank.
    """
    out, species = [], side.known.species or "u"
    for cloud in side.clouds:
        points, ids = np.asarray(cloud.of(species), dtype=np.float64), np.asarray(cloud.ids_of(species))
        if side.known.grows and (chosen := equally_weighted(cloud, species)) is not None:
            points, ids = points[chosen], ids[chosen]
        with together(comm):
            bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
            if len(bad):
                raise InputError(
                    f"particle {ids[bad[0]]} is at {tuple(points[bad[0]].tolist())}: give finite positions"
                )
        out.append((points, ids))
    counts = [int(comm.allreduce(len(points))) for points, _ in out]
    if min(counts) < least:
        raise InputError(f"the cloud has {min(counts)} particles: a distance with its interval needs at least {least}")
    if len(set(counts)) > 1 and side.known.grows:  # as many of each, the first by id
        out = [_first(min(counts), *each, comm) for each in out]
    elif len(set(counts)) > 1:
        raise InputError(f"the clouds have {', '.join(map(str, counts))} particles: give clouds of equally many")
    return out, min(counts)


def _first(n: int, points: Array, ids: Ids, comm: Comm) -> tuple[Array, Ids]:
    """Return the first n of all ranks' particles by id, this rank's part of them. Collective."""
    last = np.sort(np.concatenate(comm.allgather(ids)))[n - 1]
    return points[ids <= last], ids[ids <= last]
