"""The two sides of a comparison: densities and particles, however they were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.comparable import Known, check_species, check_unweighted, known
from kspde.distances.quadrature import converged, over_box, uniform_edges
from kspde.distances.target import View
from kspde.domains import Box, Disk
from kspde.errors import InputError, check_finite, check_number
from kspde.grids import Array
from kspde.initial import InitialDensity, checked_values
from kspde.protocols import ParticleCloud
from kspde.runtime.parallel import communicator, together
from kspde.runtime.random import Philox

__all__ = ["DensitySide", "ParticleSide", "side_of"]

#: A density without a domain is looked at where this many draws are, and half as far again on either side.
_DRAWS = 65_536

#: Nothing that is computed here looks below the smallest numbers.
_TINY = 1e-290


@dataclass(frozen=True, kw_only=True)
class DensitySide:
    """A density.

    Attributes:
        known: what is known of it.
        view: from a time (None for the final one) and r.
        others: nothing.
    """

    known: Known
    view: Callable[[float | None, int], View]
    others: Sequence[Known] = ()


@dataclass(frozen=True, kw_only=True)
class ParticleSide:
    """Particles: one cloud, or several of equally many.

    Attributes:
        known: what is known of them.
        others: what is known of the other clouds.
        clouds: the clouds.
    """

    known: Known
    clouds: Sequence[ParticleCloud]
    others: Sequence[Known] = ()


def side_of(
    given: Any, *, name: str, species: str | None, t: float | None, mass: float, domain: Any, comm: Any
) -> DensitySide | ParticleSide:
    """Return a side of a comparison.

    Args:
        given: a solution, an initial density, a function, a cloud, several clouds, or positions.
        name: what the argument is called.
        species: which one, where there are several.
        t: the time of a solution, None for the final one.
        mass: of positions.
        domain: of a function.
        comm: the communicator where ``given`` has none.

    Raises:
        InputError: something else, or a value that is not valid.
    """
    if _is_solution(given):
        return _solution(given, species, t)
    if isinstance(given, InitialDensity):
        return _initial(given, comm)
    if _is_cloud(given):
        return _particles([given], species)
    if callable(given):
        return _function(given, domain, comm)
    if isinstance(given, Sequence) and not isinstance(given, str) and not len(given):
        raise InputError(f"{name} is an empty sequence: give at least one cloud")
    if isinstance(given, Sequence) and not isinstance(given, str):
        if all(_is_cloud(each) for each in given):
            return _particles(given, species)
        if all(isinstance(each, np.ndarray) and each.ndim == 2 for each in given):
            return _positions(name, given, mass, comm)
    if isinstance(given, (np.ndarray, Sequence)) and not isinstance(given, str):
        return _positions(name, [given], mass, comm)
    raise InputError(
        f"{name} is a {type(given).__name__}: give a density (what kspde.solve returned, an initial density, or a "
        f"function with domain=...), particles (what kspde.simulate returned, or several), or (n, d) positions"
    )


def _is_solution(given: Any) -> bool:
    return all(hasattr(given, name) for name in ("on_grid", "half_width", "model", "masses", "t_end"))


def _is_cloud(given: Any) -> bool:
    return all(hasattr(given, name) for name in ("of", "ids_of", "model", "masses", "t_end"))


def _solution(pde: Any, species: str | None, t: float | None) -> DensitySide:
    name = check_species(pde.model, species)

    def view(at: float | None, r: int) -> View:
        when = t if at is None else at
        at_end = when is None or abs(when - pde.t_end) <= 1e-9 * pde.t_end
        return View.of(pde, name, t=None if at_end else when, r=r)

    return DensitySide(known=known(pde, name, what="density", t=t), view=view)


def _particles(clouds: Sequence[Any], species: str | None) -> ParticleSide:
    name = check_species(clouds[0].model, species)
    about = []
    for cloud in clouds:
        check_species(cloud.model, name)
        check_unweighted(cloud, name)
        about.append(known(cloud, name, what="particles"))
    return ParticleSide(known=about[0], others=about[1:], clouds=list(clouds))


def _initial(density: InitialDensity, comm: Any) -> DensitySide:
    points = density.sample(Philox(0), np.arange(_DRAWS, dtype=np.uint64))
    lower, upper = points.min(axis=0), points.max(axis=0)
    reach = 0.5 * (upper - lower)
    box = np.stack([lower - reach, upper + reach])

    def values(axes: Sequence[Array]) -> Array:
        return on_axes(density, axes)

    view = View(
        values=values,
        d=density.dimension,
        half_width=np.inf,
        mass_of_one=float(density.mass),
        comm=comm,
        box=box,
        edges=uniform_edges(box),
        clip=_TINY,
    )
    about = Known(what="initial density", dimension=density.dimension, mass=float(density.mass), comm=comm)
    return DensitySide(known=about, view=partial(_at_any_time, view))


def _function(function: Callable[[Array], npt.ArrayLike], domain: Any, comm: Any) -> DensitySide:
    if not isinstance(domain, (Box, Disk)):
        was = "is not given" if domain is None else f"is a {type(domain).__name__}"
        raise InputError(
            f"a function is given, and domain {was}: give a kspde.Box or kspde.Disk that it is a density on"
        )
    half_width = domain.half_width if isinstance(domain, Box) else domain.radius
    radius = np.inf if isinstance(domain, Box) else domain.radius
    d = domain.dimension

    def inside(points: Array) -> Array:
        out = np.zeros(len(points))
        here = (np.abs(points) <= half_width).all(axis=1) & (np.square(points).sum(axis=1) <= radius**2)
        if here.any():
            out[here] = checked_values(function, points[here])
        return out

    def values(axes: Sequence[Array]) -> Array:
        return on_axes(inside, axes)

    box = np.outer((-1.0, 1.0), np.full(d, half_width))
    edges = uniform_edges(box)
    with together(comm):
        total = converged(over_box(box, edges), lambda nodes, volume: np.array([_sum(values(nodes), volume)])).value[0]
        if total <= 0:
            raise InputError(f"the function has no mass on {domain}: give one with a positive integral")
    view = View(
        values=values,
        d=d,
        half_width=half_width,
        mass_of_one=float(total),
        comm=comm,
        box=box,
        edges=edges,
        clip=_TINY,
    )
    about = Known(what="function", dimension=d, mass=float(total), comm=comm, domain=domain)
    return DensitySide(known=about, view=partial(_at_any_time, view))


def _at_any_time(view: View, t: float | None, r: int) -> View:
    return replace(view, r=r)


def on_axes(density: Callable[[Array], npt.ArrayLike], axes: Sequence[Array]) -> Array:
    """Return a function's values on a tensor grid."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return np.asarray(density(points.reshape(-1, len(axes))), dtype=np.float64).reshape(points.shape[:-1])


def _sum(values: Array, weights: Sequence[Array]) -> float:
    for weight in reversed(weights):
        values = values @ weight
    return float(values)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Positions:
    """Positions as a cloud gives them: this rank's, with their numbers."""

    points: Array
    ids: npt.NDArray[np.uint64]
    comm: Any
    variations: dict[str, float] = field(default_factory=dict)

    def of(self, species: str) -> Array:
        return self.points

    def ids_of(self, species: str) -> npt.NDArray[np.uint64]:
        return self.ids


def _positions(name: str, given: Sequence[Any], mass: float, comm: Any) -> ParticleSide:
    """Return (n, d) positions as particles. Every rank gives its own, or all give the same. Collective."""
    check_number("mass", mass, above=0)
    clouds: list[Any] = []
    for each in given:
        with together(comm):
            own = check_positions(name, each)
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
    return ParticleSide(known=about, others=[about] * (len(clouds) - 1), clouds=clouds)


def check_positions(name: str, given: Any) -> Array:
    """Return positions of shape (n, d).

    Raises:
        InputError: another shape, another dimension than 1, 2, 3, or numbers that are not finite.
    """
    if isinstance(given, np.ndarray) and given.ndim == 2 and not len(given):  # this rank has none
        return np.empty(given.shape)
    points = check_finite(name, given, (None, None))
    if points.shape[1] > 3:
        raise InputError(f"{name} has shape {points.shape}: give positions of shape (n, d), d = 1, 2 or 3")
    return points


def communicator_of(*given: Any) -> Any:
    """Return the communicator of the first that has one, or that of all ranks."""
    for each in given:
        first = each[0] if isinstance(each, (list, tuple)) and each else each
        if getattr(first, "comm", None) is not None:
            return first.comm
    return communicator()
