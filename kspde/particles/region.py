r"""A closed or periodic box that particles live in.

**Walls.** A step ends outside with a probability; what lies outside is reflected at the walls, coordinate by coordinate
(the symmetrised Euler scheme: Bossy, Gobet and Talay, J. Appl. Probab. 41, 2004, of weak order 1 for reflection along
the conormal, which for a D that is a number, or diagonal, is the normal). The fields are those of the box's own Green
function, :math:`\partial_n c = 0`, that is of the particles and all of their mirror images, with period 4L. They are
even in every wall, and smooth where the kernel is. Where D and b depend on the position through such fields alone (and
on moments and time), D is even and b is reflected with the particles, so that a step in the whole space in the fields
of all images, folded into the box, has the law of a reflected step: :math:`f(X)` of the reflected particle is
:math:`\bar f(Y)`, f extended evenly, of particles Y that see no wall, with smooth coefficients. A scheme keeps its weak
order there, 2 included. Where b or the normal slope of D do not vanish at a wall, as with a drift that is given as a
function of the position, their even extension has a jump or a kink there, which a share :math:`O(\sqrt h)` of the
particles meets; these err by O(h) in position, and the mean of a function with :math:`\partial_n f = 0`, as the
backward equation's are, by O(h²) per step: weak order 1 is what any scheme is sure of.

**Tori.** Positions are wrapped into [−L, L) after every step; moments, histograms and distances to densities are those
of wrapped positions, while pairs and coupled particles are as far apart as on the torus.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from kspde.domains import Domain
from kspde.errors import InputError
from kspde.models.coefficients import refuse_flow_between_walls
from kspde.problem import Problem
from kspde.runtime.compiled import compiled
from kspde.typing import Array, Indices

__all__ = ["Region", "region_of"]


@dataclass(frozen=True, kw_only=True)
class Region:
    """The box [−L, L]^d with walls, or a torus.

    Attributes:
        half_width: L.
        periodic: whether it is a torus.
    """

    half_width: float
    periodic: bool

    @property
    def side(self) -> float:
        """The length 2L of a side."""
        return 2.0 * self.half_width

    def summary(self) -> dict[str, Any]:
        """Return the box as arguments of ``Box``."""
        return {"half_width": self.half_width, "boundary": "periodic" if self.periodic else "neumann"}

    def fold(self, x: Array) -> None:
        """Bring positions, shape (n, d), into the region, in place."""
        _fold(x, self.half_width, self.periodic, None)

    def turned(self, x: Array) -> Array:
        """Do the same, and return by coordinate −1 where directions are reversed and 1 elsewhere, shape (n, d)."""
        signs = np.ones(x.shape)
        _fold(x, self.half_width, self.periodic, signs)
        return signs

    def difference(self, x: Array, y: Array) -> Array:
        """Return x − y, on a torus the short way round."""
        out = x - y
        return out - self.side * np.round(out / self.side) if self.periodic else out

    def images(self, x: Array, reach: float) -> tuple[Array, Indices]:
        """Return the points x and all their images within a distance of the box, and whose images they are."""
        shells = int(np.ceil(reach / self.side))
        everything, whose = [x], [np.arange(len(x))]
        for cell in product(range(-shells, shells + 1), repeat=x.shape[1]):
            if any(cell):
                odd = np.array(cell) % 2 == 1
                y = np.where(odd & (not self.periodic), -x, x) + self.side * np.array(cell)
                near = np.flatnonzero(np.all(np.abs(y) <= self.half_width + reach, axis=1))
                everything.append(y[near])
                whose.append(near)
        return np.concatenate(everything), np.concatenate(whose)


def region_of(domain: object, problem: Problem) -> Region | None:
    """Return what a domain is to the particles of a problem: None for the whole space.

    Raises:
        InputError: no domain, one of another dimension, walls that are not those of a box, or mass outside.
    """
    if domain is None:
        return None
    if not isinstance(domain, Domain):
        raise InputError(f"domain is a {type(domain).__name__}: give a kspde.Box, or nothing for the whole space")
    box = domain.for_particles()
    if box is None:
        return None
    if box.dimension != problem.model.dimension:
        raise InputError(
            f"domain has dimension {box.dimension}, the model {problem.model.dimension}: give Box(dimension=...)"
        )
    if box.boundary == "neumann":
        refuse_flow_between_walls(problem.model)
    for name, density in problem.u0.items():
        outside = density.mass_outside(box.half_width)
        if outside > 1e-6:
            raise InputError(
                f"a share {outside:.3g} of the initial mass of {name} lies outside of the domain: enlarge half_width = "
                f"{box.half_width:g} until less than 1e-6 does"
            )
    return Region(half_width=box.half_width, periodic=box.boundary == "periodic")


@compiled
def _fold(x: Array, half: float, periodic: bool, signs: Array | None) -> None:
    side = 2.0 * half
    for i in range(x.shape[0]):
        for a in range(x.shape[1]):
            v = x[i, a]
            if -half <= v < half or (v == half and not periodic):
                continue
            turns = np.floor((v + half) / side)
            v -= side * turns
            if not periodic and turns % 2.0 == 1.0:
                v = -v
                if signs is not None:
                    signs[i, a] = -1.0
            x[i, a] = min(max(v, -half), half) if np.isfinite(v) else v
