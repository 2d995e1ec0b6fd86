"""A density of an earlier solution as an initial density, for another model, domain or scheme."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError
from kspde.fem.snapshot import Snapshot
from kspde.fem.spaces import build_space
from kspde.initial import GridDensity, InitialDensity
from kspde.initial.base import points_of
from kspde.runtime.checkpoint import InMemory
from kspde.runtime.parallel import alone
from kspde.runtime.reductions import everyones
from kspde.runtime.values import fingerprint
from kspde.typing import Array, Comm, Ids, RandomNumbers

__all__ = ["EarlierDensity"]

#: Points per direction of the grid that particles are drawn from.
_GRID = {1: 8193, 2: 1025, 3: 129}


class EarlierDensity(InitialDensity):
    """A density, or a field, of a snapshot: its own polynomials within its domain, and 0 outside.

    Every rank holds all of it, on a space of its own, so that points need no other rank. Where it is not ``signed``,
    what elements leave below 0 is cut off. Particles are drawn from a multilinear interpolant.

    Args:
        snapshot: the snapshot. Collective.
        name: of the density or field.
        nodal: its nodal values on this rank.
        modal: whether the space is that of a scheme in modes.
        signed: whether it has both signs.
        comm: the communicator of the snapshot.
    """

    same_on_ranks: ClassVar[tuple[str, ...]] = ("name", "t", "mass", "digest")

    def __init__(self, snapshot: Snapshot, name: str, nodal: Array, *, modal: bool, signed: bool, comm: Comm) -> None:
        space = snapshot.space
        self.name, self.t, self.signed, self.dimension = name, snapshot.t, signed, space.dimension
        rows = {**space.labels(), "nodal": nodal.reshape(len(nodal), -1) if nodal.ndim > 1 else nodal}
        parts = {key: everyones(part, comm) for key, part in rows.items()}
        self.digest = fingerprint(parts["nodal"])
        self._space = build_space(space.domain, space.dimension, alone(), modal=modal)
        self._nodal = self._space.read(InMemory(step=0, shared={}, parts=parts), "nodal")
        if not signed:
            self._nodal = np.maximum(self._nodal, 0.0)
        self.mass, self._size = self._space.integral(self._nodal, np.abs(self._nodal)).tolist()

    def __repr__(self) -> str:
        return f"EarlierDensity({self.name} at t = {self.t:g}, mass={self.mass:g})"

    @property
    def variation(self) -> float:
        """∫|u|."""
        return float(self._size)

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u at points of shape (n, d), 0 outside the domain."""
        values = self._space.evaluate(self._nodal, points_of(x, self.dimension), 0.0)
        return values if self.signed else np.maximum(values, 0.0)

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the mass at nodes outside the box, which has none of a domain that it holds."""
        own = self._space.domain.bounds
        if own is not None and np.all(bounds[0] <= own[0]) and np.all(bounds[1] >= own[1]):
            return 0.0
        outer = np.any((self._space.points < bounds[0]) | (self._space.points > bounds[1]), axis=1)
        held = np.abs(self._space.mass * self._nodal).ravel()
        return float(held[outer].sum() / self._size)

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw points from the multilinear interpolant."""
        if self.signed:
            raise InputError("particles cannot be drawn from an earlier density of both signs: give positions")
        return self._grid.sample(random, ids)

    def probes(self) -> Array | None:
        """Return None: drawing points takes a fine grid, and the density has no peaks that its own mesh did not see."""
        return None

    @cached_property
    def _grid(self) -> GridDensity:
        low, high = self._space.bounds
        axes = [np.linspace(a, b, _GRID[self.dimension]) for a, b in zip(low, high, strict=True)]
        values = np.maximum(self._space.on_grid(self._nodal, axes, 0.0), 0.0)
        return GridDensity(values, np.stack([low, high], axis=1).ravel().tolist(), mass=self.mass)
