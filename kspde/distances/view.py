r"""The density that particles are measured against: of one species, at one time, of one particle or of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.distances.checks import DensitySolution
from kspde.distances.grid import Array
from kspde.errors import InputError

__all__ = ["View", "rows_in_order", "rows_of"]


@dataclass(frozen=True, kw_only=True)
class View:
    r"""u on R^d, or its r-th tensor power :math:`u^{\otimes r}` on R^{rd}, the density of r independent particles.

    Attributes:
        pde: the density, from ``kspde.solve``.
        species: which one.
        t: the time; None for the final one.
        r: 1 or 2.
    """

    pde: DensitySolution
    species: str
    t: float | None = None
    r: int = 1

    @property
    def dimension(self) -> int:
        """The dimension r d."""
        return self.r * self.pde.model.dimension

    @property
    def half_width(self) -> float:
        """Half-width of the box that contains the domain."""
        return float(self.pde.half_width)

    @property
    def mass(self) -> float:
        """The mass."""
        return float(self.pde.masses[self.species]) ** self.r

    @property
    def comm(self) -> Any:
        """The communicator."""
        return self.pde.comm

    @property
    def one(self) -> View:
        """The density of one particle."""
        return View(pde=self.pde, species=self.species, t=self.t)

    def on_grid(self, axes: Sequence[Array]) -> Array:
        """Return the density on a tensor grid in R^{rd}, 0 outside the domain, the same on every rank. Collective."""
        d = self.pde.model.dimension
        at: dict[str, Any] = {} if self.t is None else {"t": self.t}
        parts = [
            np.asarray(self.pde.on_grid(axes[i : i + d], self.species, outside=0.0, **at), dtype=np.float64)
            for i in range(0, self.dimension, d)
        ]
        out = parts[0]
        for part in parts[1:]:
            out = np.multiply.outer(out, part)
        return out


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
