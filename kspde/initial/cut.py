"""Densities that are cut off at the edge of a domain."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from kspde.domains import Box, Disk, Domain
from kspde.errors import InputError, check_choice
from kspde.initial.base import InitialDensity, points_of
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["CutDensity"]

#: The least share of the mass that must be inside, and the accuracy of that share on a disk, which is asked and needed.
_LEAST, _ASKED, _NEEDED = 1e-3, 1e-8, 1e-4
#: The points that a share on a disk is checked by, and the standard errors that it may differ by.
_DRAWS, _SIGMAS = 1 << 14, 6.0
#: Random numbers of a density are those of steps below this.
_STEPS = 1 << 16


class CutDensity(InitialDensity):
    r"""A density within a domain, and zero outside: :math:`f\,u_0 1_\Omega`.

    Without it mass outside of a box is refused, and mass outside of a disk or a mesh is, or has a warning. Only a mesh
    knows the edge of a ``MeshFile``: there f follows from the mesh, and particles cannot be drawn.

    Args:
        density: u_0 ≥ 0.
        domain: Ω.
        keep: "mass" scales what is inside up to the mass that the density states, :math:`f = \int u_0 / \int_\Omega
            u_0`; "values" keeps the values, f = 1, so that the mass is what is inside.

    Attributes:
        lost: the share of the mass of u_0 that is cut off: exact on a box, by quadrature on a disk, nan on a mesh.

    Raises:
        InputError: a density of both signs, less than a thousandth of the mass inside, or values to keep on a mesh.
    """

    def __init__(self, density: InitialDensity, domain: Domain, *, keep: Literal["mass", "values"] = "mass") -> None:
        if not isinstance(density, InitialDensity):
            raise InputError(f"density is a {type(density).__name__}: give one such as kspde.GaussianMixture")
        if density.signed:
            raise InputError(f"density is a {type(density).__name__}, of both signs: only one >= 0 can be cut off")
        if not isinstance(domain, Domain):
            raise InputError(f"domain is a {type(domain).__name__}: give one such as kspde.Box")
        if domain.dimension not in (None, density.dimension):
            raise InputError(f"domain has dimension {domain.dimension}, the density {density.dimension}: give the same")
        self.density, self.domain, self.dimension = density, domain, density.dimension
        self.keep = check_choice("keep", keep, ("mass", "values"))
        self.by_mesh = not isinstance(domain, (Box, Disk))
        if self.by_mesh and keep == "values":
            raise InputError('keep = "values" is for a Box or a Disk: what the mass is inside, only the mesh knows')
        inside = math.nan if self.by_mesh else _share_in(density, domain)
        if inside < _LEAST:
            raise InputError(f"a share {inside:.2g} of the density's mass is in the domain: give one that holds it")
        self.lost = math.nan if self.by_mesh else max(0.0, 1.0 - inside)
        self.mass = density.mass * (1.0 if keep == "mass" else inside)
        self._factor = 1.0 / inside if keep == "mass" and not self.by_mesh else 1.0

    def __repr__(self) -> str:
        return f"CutDensity({self.density!r}, {self.domain!r}, keep={self.keep!r})"

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return f u_0 at points of shape (n, d), zero outside; on a mesh u_0."""
        points = points_of(x, self.dimension)
        return self.density(points) if self.by_mesh else np.where(self.domain.holds(points), self.at_nodes(points), 0.0)

    def at_nodes(self, x: Array) -> Array:
        """Return f u_0, also at nodes that lie outside of a circle because edges are straight."""
        return self._factor * self.density(x)

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the mass outside a box: on a disk by a sum over points where the box does not hold it."""
        own = self.domain.bounds
        if own is None:
            return 0.0
        if np.all(bounds[0] <= own[0]) and np.all(bounds[1] >= own[1]):
            return 0.0
        if isinstance(self.domain, Box):
            both = np.stack([np.maximum(bounds[0], own[0]), np.minimum(bounds[1], own[1])])
            share = 1.0 - self.density.mass_beyond(both) if np.all(both[0] < both[1]) else 0.0
            return max(0.0, 1.0 - share / (1.0 - self.lost))
        points, weights = _polar(cast(Disk, self.domain), 512)
        masses = weights * self.density(points)
        outside = np.any((points < bounds[0]) | (points > bounds[1]), axis=1)
        return float(masses[outside].sum() / masses.sum())

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw from u_0 until a point is inside; the k-th attempt has random numbers of its own.

        Raises:
            InputError: only the mesh knows what is inside.
        """
        out = np.empty((len(ids), self.dimension))
        waiting, attempt = np.arange(len(ids)), 0
        while len(waiting):
            points = self.density.sample(_Later(random, _STEPS * attempt), ids[waiting])
            inside = self.domain.holds(points)
            out[waiting[inside]] = points[inside]
            waiting, attempt = waiting[~inside], attempt + 1
        return out


class _Later:
    """Random numbers of later steps."""

    def __init__(self, random: RandomNumbers, by: int) -> None:
        self._random, self._by = random, by

    def uniforms(self, ids: Ids, step: int, count: int) -> Array:
        return self._random.uniforms(ids, step + self._by, count)

    def normals(self, ids: Ids, step: int, count: int) -> Array:
        return self._random.normals(ids, step + self._by, count)


def _share_in(density: InitialDensity, domain: Any) -> float:
    """Return the share of a density's mass in a box or a disk."""
    if isinstance(domain, Box):
        return 1.0 - density.mass_beyond(domain.bounds)
    share, change, n = math.inf, math.inf, 32
    while change > _ASKED and n <= 1024:
        points, weights = _polar(domain, n)
        before, share = share, float(weights @ density(points)) / density.mass
        change, n = abs(share - before), 2 * n
    if change > _NEEDED:
        raise InputError(f"the density's mass in the disk is {share:.4g} up to {change:.1g}: it is too rough to be cut")
    draws = density.reference_points(_DRAWS)  # peaks between a quadrature's points show there
    drawn = share if draws is None else float(np.mean(domain.holds(draws)))
    if abs(drawn - share) > _SIGMAS * math.sqrt(max(share * (1 - share), 1 / _DRAWS) / _DRAWS):
        raise InputError(
            f"the density's share in the disk is {share:.4g} by quadrature, {drawn:.4g} of {_DRAWS} points drawn from "
            "it: it has peaks too narrow to be cut"
        )
    return min(share, 1.0)


def _polar(disk: Disk, n: int) -> tuple[Array, Array]:
    """Return the points and the weights of a quadrature over a disk: Gauss's along n radii's halves, 2n angles."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    r, angle = 0.5 * disk.radius * (1 + nodes), np.pi / n * (np.arange(2 * n) + 0.5)
    points = disk.middle + (r[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).reshape(-1, 2)
    return points, np.repeat(0.5 * disk.radius * weights * r * np.pi / n, 2 * n)
