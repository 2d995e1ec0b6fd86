r"""A density as distances see it: of one species, at one time, of one particle or of a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kspde.domains import MeshFile
from kspde.errors import InputError
from kspde.grids import Array
from kspde.protocols import SolvedDensity

__all__ = ["CLIP", "View", "rows_in_order", "rows_of"]

#: A discrete density is trusted down to this fraction of its maximum; below, it is raised to it for logarithms.
CLIP = 1e-10


@dataclass(frozen=True, kw_only=True)
class View:
    r"""u on R^d, or its r-th tensor power :math:`u^{\otimes r}` on R^{rd}, the density of r independent particles.

    Attributes:
        values: u on a tensor grid in R^d, 0 outside the domain, the same on every rank. Collective.
        d: the dimension of u.
        half_width: half-width of the box around the origin that contains the domain; infinite without a domain.
        mass_of_one: ∫u.
        comm: the communicator.
        species: the name of u.
        r: 1 or 2.
        box: first and last coordinates of a box that holds all but a negligible part of the mass, shape (2, d), where
            one is known.
        edges: by direction the coordinates between which u is smooth, where they are known.
        clip: the fraction of its maximum down to which u is trusted.
    """

    values: Callable[[Sequence[Array]], Array]
    d: int
    half_width: float
    mass_of_one: float
    comm: Any
    species: str = "u"
    r: int = 1
    box: Array | None = None
    edges: tuple[Array, ...] = ()
    clip: float = CLIP

    @classmethod
    def of(cls, pde: SolvedDensity, species: str, *, t: float | None = None, r: int = 1) -> View:
        """Return the density of a species of a solution at time t, the final one unless given."""
        at: dict[str, Any] = {} if t is None else {"t": t}
        vertices = getattr(getattr(pde, "domain", None), "vertices", None)
        d = pde.model.dimension
        return cls(
            values=partial(_on_grid, pde, species, at),
            d=d,
            half_width=float(pde.half_width),
            mass_of_one=float(pde.masses[species]),
            comm=pde.comm,
            species=species,
            r=r,
            # Meshes may be anywhere; boxes and disks are about the origin.
            box=pde.bounds if isinstance(getattr(pde, "domain", None), MeshFile) else None,  # type: ignore[attr-defined]
            edges=() if vertices is None else (np.asarray(vertices, dtype=np.float64),) * d,
        )

    @property
    def dimension(self) -> int:
        """The dimension r d."""
        return self.r * self.d

    @property
    def mass(self) -> float:
        """The mass."""
        return self.mass_of_one**self.r

    @property
    def one(self) -> View:
        """The density of one particle."""
        return replace(self, r=1)

    def on_grid(self, axes: Sequence[Array]) -> Array:
        """Return the density on a tensor grid in R^{rd}, 0 outside the domain, the same on every rank. Collective."""
        out = self.values(axes[: self.d])
        for i in range(self.d, self.dimension, self.d):
            out = np.multiply.outer(out, self.values(axes[i : i + self.d]))
        return out


def _on_grid(pde: SolvedDensity, species: str, at: dict[str, Any], axes: Sequence[Array]) -> Array:
    return np.asarray(pde.on_grid(axes, species, outside=0.0, **at), dtype=np.float64)


def rows_of(points: Array, r: int) -> Array:
    r"""Return disjoint r-tuples of different particles, shape (⌊n/r⌋, r d), of points in the order of ids.

    Tuple i holds the particles ri, ..., ri + r − 1. The particles are exchangeable, so each tuple is a draw from the
    r-th marginal of their law; two tuples of one cloud are as dependent as two particles are.
    """
    n = len(points) // r
    return np.ascontiguousarray(points[: n * r].reshape(n, r * points.shape[1]))


def rows_in_order(points: Array, ids: Any, comm: Any) -> Array:
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
