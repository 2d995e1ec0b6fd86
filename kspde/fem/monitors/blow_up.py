r"""A monitor of densities that blow up: a peak that only the mesh limits.

On a mesh nothing is infinite: the schemes concentrate a mass in a node and continue, with a peak of the order of
mass/h^d that says more about the mesh than about the equation. The monitor is cheap, and distinguishes such a peak from
one that is merely narrow:

- it has **grown**, to at least ``GROWTH`` times the smallest maximum that the density has had so far; coarse initial
  data that stay as they are, or spread, do not count;
- it is **as narrow as a peak can be**: at most 2^d nodes of its surroundings, those of one cell, exceed half its
  height. (For a Gaussian with the standard deviation of a mesh width it is 2.4, 4.4 and 7 nodes, in d = 1, 2, 3.)

Where the model has growth, what counts is the maximum per mass: a peak that grows as the whole does is not a blow-up.
What elements leave below 0 may grow too, until there is no mass: that is recognised where u is so low that it is none
of a decay to 0.

Where no coefficient depends on a field the equation is linear, and nothing blows up: a structure that narrow is a
layer, such as the drift builds at a wall, and not a reason to stop.

Until a density has grown, each step costs one comparison; afterwards, one pass over its nodal values and a reduction
of a few numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kspde.errors import BlowUpError, place_of
from kspde.fem.spaces.base import Space
from kspde.runtime.messages import warn
from kspde.typing import Array

__all__ = ["Monitor"]

#: Growth above which a maximum is examined.
GROWTH = 2.0
#: Share of the first maximum that is far below 0.
_FAR_BELOW = 0.01
#: Surroundings of a peak, in mean widths of its node's cell: they hold the neighbours in cells of aspect ratio 6.
_NEAR = 4.0
#: Maxima below this share of the modulus are those of round-off, where a density is negative.
_ROUND_OFF = 1e-6
#: An estimated time error that may explain the peak.
_UNSTABLE = 0.3


class Monitor:
    """Examines the peaks of all species after each step.

    Args:
        space: the space.
        species: the names of the species.
        action: "stop", "warn" (once per species) or "ignore".
        growing: whether masses change.
    """

    def __init__(self, space: Space, species: tuple[str, ...], action: str, *, growing: bool = False) -> None:
        self._growing = growing
        self._space = space
        self._species = species
        self._action = action
        self._lowest = np.full(len(species), np.inf)
        self._first: Array | None = None
        self._reported: set[str] = set()

    def move(self, space: Space) -> None:
        """Continue on another grid."""
        self._space = space

    def restore(self, maxima: Array, masses: Array) -> None:
        """Continue from the maxima and masses of all steps so far, shape (steps, species)."""
        self._lowest, self._first = self._heights(maxima, masses).min(axis=0), maxima[0]

    def _heights(self, maxima: Array, masses: Array) -> Array:
        return maxima / np.maximum(masses, 1e-300) if self._growing else maxima

    def look(self, step: int, t: float, densities: Array, row: Mapping[str, Array]) -> None:
        """Examine the densities after a step, given its diagnostics. Collective.

        Raises:
            BlowUpError: a peak is limited by the mesh, and the action is "stop".
        """
        maxima, masses = row["maximum"], row["mass"]
        heights = self._heights(maxima, masses)
        self._lowest = np.minimum(self._lowest, heights)
        self._first = maxima if self._first is None else self._first
        if self._action == "ignore":
            return
        for i, name in enumerate(self._species):
            if self._growing and not masses[i] > 0:
                self._look_below(i, step, t, row)
                continue
            if heights[i] < GROWTH * self._lowest[i] or name in self._reported or not maxima[i] > 0:
                continue
            if maxima[i] < _ROUND_OFF * -row["minimum"][i]:  # a density of the other sign
                continue
            nodes, share, where = self._peak(densities[i].ravel(), float(maxima[i]), float(masses[i]))
            if nodes > 2**self._space.dimension:
                continue
            place = place_of(where)
            before = self._lowest[i] * maxima[i] / heights[i]
            words = (
                f"the peak of {name}, {maxima[i]:.6g} at {place}, is limited by the mesh in step {step} at t = "
                f"{t:.6g}: it has grown from {before:.6g}, and exceeds half its height in {nodes} "
                f"node{'s' * (nodes > 1)}, with {share:.2g} of the mass"
            )
            if row["time_error"][i] > _UNSTABLE:
                words += (
                    f"; the step is too long, with a time error near {min(row['time_error'][i], 1.0):.0%} of the mass"
                )
            if self._action == "stop":
                raise BlowUpError(
                    f"{words}. What follows would depend on the mesh: end earlier, use a finer mesh or a larger eps, "
                    'or continue with on_blow_up = "warn"'
                )
            self._reported.add(name)
            warn(f"{words}. What follows depends on the mesh", self._space.comm)

    def _look_below(self, i: int, step: int, t: float, row: Mapping[str, Array]) -> None:
        """Raise or warn, once, where a species has no mass since it is far below 0 somewhere."""
        name, low = self._species[i], float(row["minimum"][i])
        if self._first is None or -low < _FAR_BELOW * self._first[i] or name in self._reported:
            return
        words = (
            f"the mass of {name} is {row['mass'][i]:.3g} in step {step} at t = {t:.6g}, where u is as low as {low:.3g}"
            ": growth acts on what elements leave below 0 too"
        )
        if self._action == "stop":
            raise BlowUpError(f'{words}; use degree=1 and scheme="positive-2", which keeps u >= 0, or a finer mesh')
        self._reported.add(name)
        warn(words, self._space.comm)

    def _peak(self, u: Array, maximum: float, mass: float) -> tuple[int, float, Array]:
        """Return how many nodes around a maximum exceed half of it, their share of the mass, and where it is."""
        space = self._space
        highest = int(np.argmax(u)) if len(u) else -1
        mine = (u[highest] if len(u) else -np.inf) >= maximum
        owner = -int(space.maximum(np.array([-(space.comm.rank if mine else space.comm.size)]))[0])
        place = None
        if space.comm.rank == owner:
            width = space.mass.ravel()[highest] ** (1.0 / space.dimension)
            place = (space.points[highest], width)
        centre, width = space.comm.bcast(place, root=owner)
        high = np.flatnonzero(u > 0.5 * maximum)
        near = high[np.max(np.abs(space.points[high] - centre), axis=1, initial=0.0) <= _NEAR * width]
        count, held = space.total(np.array([float(len(near)), np.vdot(space.mass.ravel()[near], u[near])]))
        return int(count), float(held) / mass, centre
