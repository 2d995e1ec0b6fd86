"""The interface of an initial density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kspde.domains import box_in_words
from kspde.errors import InputError
from kspde.runtime.values import digest_of, values_of
from kspde.typing import Array, Ids, RandomNumbers

__all__ = [
    "InitialDensity",
    "cell_means",
    "densities_by_species",
    "over_cells",
    "points_of",
]


#: The points drawn from a density that show whether a mesh resolves it.
_PROBES = 4096


class InitialDensity(ABC):
    """A non-negative density u_0 on R^d, or a ``signed`` one."""

    mass: float
    dimension: int

    #: Whether the density has both signs.
    signed: bool = False
    #: Whether a mesh cuts the density off, and scales what is inside up to its mass.
    by_mesh: bool = False

    @property
    def variation(self) -> float:
        """The total variation ∫|u_0|, or a bound of it where the density is signed: the mass."""
        return self.mass

    @abstractmethod
    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u_0 at points ``x`` of shape (n, d): shape (n,)."""

    def at_nodes(self, x: Array) -> Array:
        """Return u_0 at a mesh's nodes, shape (n, d); one that is cut off counts those at the edge as inside."""
        return self(x)

    def mass_outside(self, half_width: float) -> float:
        """Return the share of the mass outside [−half_width, half_width]^d, in [0, 1].

        A density defines this or ``mass_beyond``, which other boxes need.
        """
        return self.mass_beyond(np.outer((-half_width, half_width), np.ones(self.dimension)))

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the mass outside a box, in [0, 1].

        Args:
            bounds: the box's lowest and highest coordinates, shape (2, d).

        Raises:
            InputError: only ``mass_outside`` is defined, and the box is not one of its.
        """
        half = float(bounds[1, 0])
        if type(self).mass_outside is InitialDensity.mass_outside:
            raise NotImplementedError(f"{type(self).__name__} defines neither mass_outside nor mass_beyond")
        if not np.all(bounds == np.array([[-half], [half]])):
            raise InputError(
                f"the domain is {box_in_words(bounds)}, and the {type(self).__name__} knows its mass outside of boxes "
                "of one half_width about the origin only: give it a method mass_beyond(bounds)"
            )
        return self.mass_outside(half)

    def reach(self, share: float) -> float:
        """Return a power of 2, the least from 1 on with at most a share of the mass outside [−reach, reach]^d."""
        reach = 1.0
        while self.mass_outside(reach) > share and reach < 1e15:
            reach *= 2.0
        return reach

    @abstractmethod
    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw one point per particle id from u_0/mass: shape (len(ids), d), a function of the ids alone."""

    def reference_points(self, n: int) -> Array | None:
        """Return n points drawn from the density, the same in every process; None where it cannot be sampled."""
        try:
            return self.sample(_Reference(), np.arange(n, dtype=np.uint64))
        except Exception:  # a density for finite elements only need not be one that can be sampled
            return None

    def probes(self) -> Array | None:
        """Return points where the density has mass, narrow peaks among them; None if it cannot be sampled."""
        return self.reference_points(_PROBES)

    def fingerprint(self) -> str:
        """Return a digest of some points drawn from the density, and of its values there to nine digits."""
        points = self.reference_points(64)
        if points is None:
            points = np.random.default_rng(0).normal(size=(256, self.dimension))
        try:
            values = self(points)
        except NotImplementedError:  # nor need one for particles only have values
            values = np.zeros(0)
        found = [*np.ravel(points), *values]
        return f"{digest_of(*(f'{value:.9g} '.encode() for value in found)):014x}"

    def __eq__(self, other: object) -> bool:
        """Return whether two densities of one class are defined by the same values."""
        return type(self) is type(other) and (
            self is other or (values_of("", self) == values_of("", other) and self.fingerprint() == other.fingerprint())
        )

    def __hash__(self) -> int:
        return hash((type(self), self.dimension, self.mass))


class _Reference:
    """The same random numbers in every process: what densities are compared by."""

    def uniforms(self, ids: Ids, step: int, count: int) -> Array:
        return np.random.default_rng((0, step)).random((int(ids.max()) + 1, count))[ids.astype(np.intp)]

    def normals(self, ids: Ids, step: int, count: int) -> Array:
        return np.random.default_rng((1, step)).standard_normal((int(ids.max()) + 1, count))[ids.astype(np.intp)]


def densities_by_species(species: Sequence[str], dimension: int, u0: object) -> dict[str, InitialDensity]:
    """Return the initial density of each species, in the order of ``species``.

    Args:
        species: the model's species.
        dimension: the model's dimension.
        u0: an ``InitialDensity``, a mapping with one for every species, or what ``kspde.solve`` has returned.

    Raises:
        InputError: something else, a missing or unknown species, or a density of another dimension.
    """
    if hasattr(u0, "as_initial"):  # an earlier solution
        u0 = {name: u0.as_initial(name) for name in u0.species}  # type: ignore[attr-defined]
    if isinstance(u0, InitialDensity) and len(species) == 1:
        u0 = {species[0]: u0}
    if not isinstance(u0, Mapping):
        raise InputError(
            f"u0 is a {type(u0).__name__}: give an initial density such as kspde.GaussianMixture or "
            "kspde.CallableDensity"
            + (f", one for each of {', '.join(species)} in a dictionary" if len(species) > 1 else "")
        )
    if set(u0) != set(species):
        raise InputError(f"u0 has species {', '.join(map(str, u0)) or 'none'}: give {', '.join(species)}")
    for name, u in u0.items():
        if not isinstance(u, InitialDensity):
            raise InputError(f"u0[{name!r}] is a {type(u).__name__}: give a density such as kspde.GaussianMixture")
        if u.dimension != dimension:
            raise InputError(f"u0 has dimension {u.dimension}, the model {dimension}: give a density on R^{dimension}")
    return {name: u0[name] for name in species}


def points_of(x: npt.ArrayLike, dimension: int) -> Array:
    """Return ``x`` as an array of points, shape (n, d).

    Raises:
        InputError: another shape.
    """
    points = np.asarray(x, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != dimension:
        raise InputError(f"points have shape {points.shape}: give shape (n, {dimension})")
    return points


def cell_means(values: Array) -> Array:
    """Return the mean over the corners of each cell of a grid: a multilinear function's mean over the cell."""
    return over_cells(lambda a, b: 0.5 * (a + b), values)


def over_cells(combine: Callable[[Array, Array], Array], values: Array) -> Array:
    """Return what the values at the corners of each cell of a grid combine to, one direction after the other."""
    for axis in range(values.ndim):
        a = np.moveaxis(values, axis, 0)
        values = np.moveaxis(combine(a[1:], a[:-1]), 0, axis)
    return values
