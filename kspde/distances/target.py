r"""The target density: what particles are compared with, of one particle or of a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kspde.comparable import bounds_of, mass_of
from kspde.grids import Ends, Grid, mass_grid
from kspde.protocols import SolvedDensity
from kspde.typing import Array, Comm

__all__ = ["CLIP", "Target"]

#: A discrete density is trusted down to this fraction of its maximum; below, it is raised to it for logarithms.
CLIP = 1e-10

#: The ends of a box, by its boundary.
ENDS: dict[str, Ends] = {"neumann": "even", "periodic": "periodic"}


@dataclass(frozen=True, kw_only=True)
class Target:
    r"""The target density u on R^d, or :math:`u^{\otimes r}` on R^{rd}, the density of r independent particles.

    Attributes:
        values: u on a tensor grid in R^d, 0 outside the domain, the same on every rank. Collective.
        box_of_one: first and last coordinates of a box that holds all but a negligible part of the mass, shape (2, d).
        bounded: whether this box holds the domain, so that u is 0 outside.
        mass_of_one: ∫u.
        comm: the communicator.
        r: 1 or 2.
        edges: per direction the coordinates between which u is smooth, where they are known.
        clip: the fraction of its maximum down to which u is trusted.
        signed: whether u has both signs.
        ends: what is beyond the box: nothing, mirror images, or the torus again.
    """

    values: Callable[[Sequence[Array]], Array]
    box_of_one: Array
    bounded: bool = True
    mass_of_one: float
    comm: Comm
    r: int = 1
    edges: tuple[Array, ...] = ()
    clip: float = CLIP
    signed: bool = False
    ends: Ends = "open"

    @classmethod
    def of(
        cls, pde: SolvedDensity, species: str, *, t: float | None = None, r: int = 1, signed: bool = False
    ) -> Target:
        """Return the density of a species of a solution at time t, the final one unless given."""
        at: dict[str, Any] = {} if t is None else {"t": t}
        domain = getattr(pde, "domain", None)

        def values(axes: Sequence[Array]) -> Array:
            return np.asarray(pde.on_grid(axes, species, outside=0.0, **at), dtype=np.float64)

        return cls(
            values=values,
            box_of_one=bounds_of(pde),
            mass_of_one=mass_of(pde, species, t),
            comm=pde.comm,
            r=r,
            signed=signed,
            ends="open" if domain is None else ENDS.get(domain.boundary if domain.structured else "", "open"),
            edges=() if domain is None else domain.edges,
        )

    @property
    def modulus(self) -> Target:
        """The absolute value of a signed density, whose mass is not known; any other density itself."""
        if not self.signed:
            return self
        return replace(self, values=lambda axes: np.abs(self.values(axes)), mass_of_one=np.nan, signed=False)

    @property
    def d(self) -> int:
        """The dimension of u."""
        return int(self.box_of_one.shape[1])

    @property
    def dimension(self) -> int:
        """The dimension r d."""
        return self.r * self.d

    @property
    def mass(self) -> float:
        """The mass."""
        return self.mass_of_one**self.r

    @property
    def box(self) -> Array:
        """A box that holds all but a negligible part of the mass, shape (2, r d)."""
        return np.tile(self.box_of_one, self.r)

    @property
    def domain(self) -> Array:
        """A box that holds the domain, shape (2, r d); infinite where there is none."""
        return self.box if self.bounded else np.outer((-np.inf, np.inf), np.ones(self.dimension))

    def mass_grid(self) -> Grid:
        """Return a grid in R^d over the mass of u. Collective.

        Raises:
            InputError: u has no mass.
        """
        return mass_grid(self.values, self.box_of_one, self.ends)

    def on_grid(self, axes: Sequence[Array]) -> Array:
        """Return the density on a tensor grid in R^{rd}, 0 outside the domain, the same on every rank. Collective."""
        out = self.values(axes[: self.d])
        for i in range(self.d, self.dimension, self.d):
            out = np.multiply.outer(out, self.values(axes[i : i + self.d]))
        return out
