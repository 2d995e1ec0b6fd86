"""The two sides of a comparison: densities and particles, however they were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.comparable import Known, check_species, is_cloud, is_solution, known, known_cloud, own_weights
from kspde.distances.quadrature import converged, over_box, uniform_edges
from kspde.distances.target import Target
from kspde.distances.weighted import effective_number
from kspde.domains import Domain
from kspde.errors import InputError, check_finite, check_number, counted
from kspde.initial import InitialDensity, checked_values
from kspde.protocols import ParticleCloud, SolvedDensity
from kspde.runtime.parallel import together
from kspde.runtime.random import Philox
from kspde.runtime.reductions import everyones
from kspde.typing import Array, Comm, Ids, Mask

__all__ = ["DensitySide", "ParticleSide", "Sample", "Side", "in_order", "rows_of", "samples_of", "sides_of"]

#: A density without a domain is searched for where this many draws are, and half as far again on either side.
_DRAWS = 65_536

#: Initial densities and functions are exact, so they are trusted down to the smallest numbers.
_TINY = 1e-290

#: A density of which nothing else is known is signed if more than this share of it is negative.
_NEGATIVE = 0.01


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

    @property
    def signed(self) -> bool:
        """Whether the density, or a cloud, has both signs."""
        return any(each.signed for each in self.everyone)

    @property
    def weighted(self) -> bool:
        """Whether particles have weights of their own."""
        return any(each.variation is not None for each in self.everyone)


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
        return Target.of(pde, name, t=None if at_end else when, r=r, signed=signed)

    u0, signed = getattr(pde, "u0", {}).get(name), True  # until it is known
    about = known(pde, name, what="density", t=t)
    if u0 is None or u0.signed:
        size, negative = _parts(target(t, 1))
        signed = u0 is not None or negative > _NEGATIVE * size
        about = replace(about, signed=signed, variation=size if signed else None)
    else:
        signed = False
    return DensitySide(everyone=[about], target=target)


def _parts(target: Target) -> tuple[float, float]:
    """Return ∫|u| and the size of the negative part, to the accuracy of a coarse grid. Collective."""
    grid = target.modulus.mass_grid()
    values = target.values(grid.axes) * grid.cell_volume
    return float(np.abs(values).sum()), float(-values[values < 0].sum())


def _particles(clouds: Sequence[ParticleCloud], species: str | None) -> ParticleSide:
    name = check_species(clouds[0].model, species)
    for cloud in clouds:
        check_species(cloud.model, name)
    return ParticleSide(everyone=[known_cloud(cloud, name) for cloud in clouds], clouds=list(clouds))


def _initial(density: InitialDensity, comm: Comm) -> DensitySide:
    points = density.sample(Philox(0), np.arange(_DRAWS, dtype=np.uint64))
    lower, upper = points.min(axis=0), points.max(axis=0)
    reach = 0.5 * (upper - lower)
    box, mass = np.stack([lower - reach, upper + reach]), float(density.mass)
    about = Known(what="initial density", dimension=density.dimension, mass=mass, comm=comm, signed=density.signed)
    side = _exact(about, density, box, bounded=False)
    if density.signed:
        about = replace(about, variation=_parts(side.target(None, 1))[0])
    return replace(side, everyone=[about])


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
            out[here] = checked_values(function, points[here], signed=True)
        return out

    def total(nodes: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
        values = _on_axes(inside, nodes)
        return np.array([reduce(np.matmul, reversed(weights), each) for each in (values, np.abs(values))])

    with together(comm):
        mass, size = (float(each) for each in converged(over_box(box, uniform_edges(box)), total)[0])
        if size <= 0:
            raise InputError(f"the function has no mass on {domain}: give one that is not 0")
    about = Known(what="function", dimension=box.shape[1], mass=mass, comm=comm, domain=domain)
    if mass < size * (1 - 1e-12):
        about = replace(about, signed=True, variation=size)
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
        signed=about.signed,
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


@dataclass(frozen=True)
class Sample:
    """This rank's particles of a cloud, or tuples of them.

    Attributes:
        points: their positions, shape (n_local, D).
        weights: their weights, shape (n_local,); None where all are equal.
        ids: their ids; those of tuples are their numbers, in the order of ids.
    """

    points: Array
    weights: Array | None = None
    ids: Ids | None = None

    @property
    def total(self) -> Array:
        """The sum of the points, each as often as its weight says, shape (D,)."""
        return np.asarray(self.points.sum(axis=0) if self.weights is None else self.weights @ self.points)

    @property
    def modulus(self) -> Sample:
        """The same with the absolute values of the weights."""
        return self if self.weights is None else replace(self, weights=np.abs(self.weights))

    @property
    def size(self) -> float:
        """The sum of the weights."""
        return float(len(self.points) if self.weights is None else self.weights.sum())

    @property
    def effective(self) -> float:
        """The effective number of the particles."""
        return effective_number(self.weights, len(self.points))

    @property
    def squares(self) -> Array:
        """The squares of the weights, shape (n_local,)."""
        return np.ones(len(self.points)) if self.weights is None else self.weights**2

    @classmethod
    def joined(cls, samples: Sequence[Sample]) -> Sample:
        """Return all particles of some samples, all of which have weights, or none."""
        weights = [sample.weights for sample in samples if sample.weights is not None]
        points = np.concatenate([sample.points for sample in samples])
        return cls(points, np.concatenate(weights) if weights else None)

    def weighted(self, weight: float = 1.0) -> Sample:
        """Return the same with weights, one and the same where there are none."""
        return self if self.weights is not None else replace(self, weights=np.full(len(self.points), weight))

    def part(self, rows: slice | Mask) -> Sample:
        """Return some of the rows."""
        return Sample(self.points[rows], None if self.weights is None else self.weights[rows])

    def over(self, unit: float) -> Sample:
        """Return the same with weights divided by a unit."""
        return self if self.weights is None else replace(self, weights=self.weights / unit)


def rows_of(points: Array, r: int) -> Array:
    r"""Return disjoint r-tuples of different particles, shape (⌊n/r⌋, r d), of points in the order of ids.

    Tuple i holds the particles ri, ..., ri + r − 1. The particles are exchangeable, so each tuple is a draw from the
    r-th marginal of their law; two tuples of one cloud are as dependent as two particles are.
    """
    n = len(points) // r
    return np.ascontiguousarray(points[: n * r].reshape(n, r * points.shape[1]))


def in_order(sample: Sample, comm: Comm, r: int = 1) -> Sample:
    """Return all ranks' particles in the order of their ids, or r-tuples of them, on every rank. Collective.

    The weight of a tuple is the product of its particles'.

    Raises:
        InputError: there are none.
    """
    ids = everyones(np.asarray(sample.ids), comm)
    if not len(ids):
        raise InputError("the cloud has no particles: a distance needs at least 2")
    order = np.argsort(ids, kind="stable")
    points = everyones(np.asarray(sample.points, dtype=np.float64), comm)[order]
    if sample.weights is None:
        return Sample(rows_of(points, r))
    weights = rows_of(everyones(sample.weights, comm)[order][:, None], r).prod(axis=1)
    return Sample(rows_of(points, r), weights)


def samples_of(side: ParticleSide, least: int, comm: Comm) -> tuple[list[Sample], int]:
    """Return this rank's particles of each cloud, and how many each has over all ranks. Collective.

    Either all clouds have weights of their own, or none.

    Raises:
        InputError: fewer than ``least``, clouds of different sizes, or a position that is not finite, on any rank.
    """
    out, species = [], side.known.species or "u"
    for cloud in side.clouds:
        points, ids = np.asarray(cloud.of(species), dtype=np.float64), np.asarray(cloud.ids_of(species))
        with together(comm):
            bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
            if len(bad):
                raise InputError(
                    f"particle {ids[bad[0]]} is at {tuple(points[bad[0]].tolist())}: give finite positions"
                )
        out.append(Sample(points, own_weights(cloud, species), ids))
    counts = [int(comm.allreduce(len(sample.points))) for sample in out]
    if min(counts) < least:
        raise InputError(
            f"the cloud has {counted(min(counts), 'particle')}: a distance with its interval needs at least {least}"
        )
    if len(set(counts)) > 1:
        raise InputError(f"the clouds have {', '.join(map(str, counts))} particles: give clouds of equally many")
    n = counts[0]
    if any(sample.weights is not None for sample in out):
        out = [sample.weighted(about.mass / n) for sample, about in zip(out, side.everyone, strict=True)]
    return out, n
