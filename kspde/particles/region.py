r"""A closed or periodic box that particles live in.

**Walls.** A step ends outside with a probability; what lies outside is reflected at the walls, coordinate by coordinate
(the symmetrised Euler scheme: Bossy, Gobet and Talay, J. Appl. Probab. 41, 2004, of weak order 1 for reflection along
the conormal, which for a D that is a number, or diagonal, is the normal). The fields are those of the box's own Green
function, :math:`\partial_n c = 0`, that is of the particles and all their mirror images, with the period 4L. They are
even in every wall, and smooth where the kernel is. Where D and b depend on the position through such fields alone (and
on moments and time), D is even and b is reflected with the particles, so that a step in the whole space in the fields
of all images, folded into the box, has the law of a reflected step: :math:`f(X)` of the reflected particle is
:math:`\bar f(Y)`, f extended evenly, of particles Y that see no wall, with smooth coefficients. A scheme keeps its weak
order there, 2 included. Where b or the normal slope of D do not vanish at a wall, as with a drift that is given as a
function of the position, their even extension has a jump or a kink there, which a share :math:`O(\sqrt h)` of the
particles meets; these err by O(h) in position, and the mean of a function with :math:`\partial_n f = 0`, as the
backward equation's are, by O(h²) per step: weak order 1 is what any scheme is sure of.

**Tori.** Positions are wrapped into the box after every step; moments, histograms and distances to densities are those
of wrapped positions, while pairs and coupled particles are as far apart as on the torus.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from kspde.domains import Box, Domain, box_in_words, box_of_particles
from kspde.errors import InputError
from kspde.models.coefficients import refuse_flow_between_walls
from kspde.problem import Problem
from kspde.runtime.compiled import compiled
from kspde.typing import Array, Indices

__all__ = ["Region", "region_of"]


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box with walls, or a torus.

    Attributes:
        box: the closed or periodic box.
    """

    box: Box

    @property
    def periodic(self) -> bool:
        """Whether it is a torus."""
        return self.box.boundary == "periodic"

    @cached_property
    def bounds(self) -> Array:
        """The lowest and the highest coordinates, shape (2, d)."""
        return self.box.bounds

    @cached_property
    def sides(self) -> Array:
        """The lengths of the sides, shape (d,)."""
        return 2.0 * self.box.half_widths

    def summary(self) -> dict[str, Any]:
        """Return the box as arguments of ``Box``."""
        about = {} if self.box.centre is None else {"centre": self.box.centre}
        return {"half_width": self.box.half_width, **about, "boundary": self.box.boundary}

    def leaves(self, x: Array) -> bool:
        """Return whether any of the positions, shape (n, d), is outside."""
        return bool(len(x) and (np.any(x.min(axis=0) < self.bounds[0]) or np.any(x.max(axis=0) > self.bounds[1])))

    def fold(self, x: Array) -> None:
        """Bring positions, shape (n, d), into the region, in place."""
        _fold(x, self.bounds, self.periodic, None)

    def fold_axis(self, x: Array, a: int) -> None:
        """Bring coordinates along one direction into the region, in place."""
        _fold(x[:, None], self.bounds[:, a : a + 1], self.periodic, None)

    def turned(self, x: Array) -> Array:
        """Do the same, and return by coordinate −1 where directions are reversed and 1 elsewhere, shape (n, d)."""
        signs = np.ones(x.shape)
        _fold(x, self.bounds, self.periodic, signs)
        return signs

    def difference(self, x: Array, y: Array) -> Array:
        """Return x − y, on a torus the short way round."""
        out = x - y
        return out - self.sides * np.round(out / self.sides) if self.periodic else out

    def images(self, x: Array, reach: float) -> tuple[Array, Indices]:
        """Return the points x and all their images within a distance of the box, and whose images they are."""
        shells = np.ceil(reach / self.sides).astype(int)
        everything, whose = [x], [np.arange(len(x))]
        for cell in product(*(range(-n, n + 1) for n in shells)):
            if any(cell):
                odd = np.array(cell) % 2 == 1
                y = np.where(odd & (not self.periodic), self.bounds.sum(axis=0) - x, x) + self.sides * np.array(cell)
                near = np.flatnonzero(np.all((y >= self.bounds[0] - reach) & (y <= self.bounds[1] + reach), axis=1))
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
    box = box_of_particles(domain)
    if box is None:
        return None
    if box.dimension != problem.model.dimension:
        raise InputError(
            f"domain has dimension {box.dimension}, the model {problem.model.dimension}: give Box(dimension=...)"
        )
    if box.boundary == "neumann":
        refuse_flow_between_walls(problem.model)
    for name, density in problem.u0.items():
        outside = density.mass_beyond(box.bounds)
        if outside > 1e-6:
            raise InputError(
                f"a share {outside:.3g} of the initial mass of {name} lies outside of the domain, "
                f"{box_in_words(box.bounds)}: enlarge half_width until less than 1e-6 does"
            )
    return Region(box=box)


@compiled
def _fold(x: Array, bounds: Array, periodic: bool, signs: Array | None) -> None:
    for a in range(x.shape[1]):
        low, high = bounds[0, a], bounds[1, a]
        side = high - low
        for i in range(x.shape[0]):
            v = x[i, a]
            if low <= v < high or (v == high and not periodic):
                continue
            turns = np.floor((v - low) / side)
            v -= side * turns
            if not periodic and turns % 2.0 == 1.0:
                v = (low + high) - v
                if signs is not None:
                    signs[i, a] = -1.0
            x[i, a] = min(max(v, low), high) if np.isfinite(v) else v
