r"""Grids that follow the peaks of densities towards a blow-up, and what the run then says of it.

After each step the nodes across every peak are counted (``kspde.fem.spaces.graded``); where they are fewer than
``Regrid.nodes_per_peak`` the densities move to a box with cells for twice as many. Tolerances then refer to the norms
at that time, so that steps become shorter with the time in which the peaks grow.

**The time of blow-up** T is extrapolated from the times t₂ < t₁ < t₀ at which the maximum passed a quarter and a half
of its last value, and reached it. If 1/max u is a power :math:`(T - t)^p`, then

.. math:: \frac{T - t_1}{T - t_0} = \frac{T - t_2}{T - t_1} = 2^{1/p} .

For the classical Keller-Segel system p falls to 1 as t → T, with logarithms. With p = 1 the equation gives a T that is
too early, and with the power that t₂, t₁ and t₀ show (Aitken's extrapolation) one that is too late: these are the ends
of the interval, each moved outwards by the error of T.

**The error.** Near a blow-up an error of u acts like a shift of time, and so it is best seen as one: the time at which
the density passes the last maximum differs by it from that of the same run with ten times the tolerance and two thirds
of the nodes across a peak. It moves the ends of the interval outwards, and times (d/dt) log max u it is the relative
error of the maximum. (That of the coarser run: it is an upper estimate.) Tolerances of single steps say less, since the
excess of mass that drives a collapse is small: an error of 1e-6 in each of 80 steps has led to one of 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from kspde.domains import Box, Domain
from kspde.errors import InputError, check_flag, check_integer, check_number
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.spaces import build_space
from kspde.typing import Array

__all__ = ["BlowUp", "Move", "Regrid", "Regridding", "blow_up"]

#: Nodes across a peak unless given, for elements of degree 1 and of higher ones.
_NODES = (32, 10)


@dataclass(frozen=True, kw_only=True)
class Regrid:
    """A request for grids that follow the peaks of densities, and where to end.

    Attributes:
        peak: the maximum of a density at which the run ends, before ``t_end``: no grid reaches a blow-up.
        nodes_per_peak: the fewest nodes across a peak, in each direction at half its height; where fewer cross one, the
            densities move to a box with cells for twice as many. 10 unless given, 32 for elements of degree 1.
        coarser_run: whether a coarser run follows for estimates of errors, which takes about half as long again.

    Raises:
        InputError: a value out of range.
    """

    peak: float
    nodes_per_peak: int | None = None
    coarser_run: bool = True

    def __post_init__(self) -> None:
        check_flag("coarser_run", self.coarser_run)
        check_number("peak", self.peak, above=0)
        if self.nodes_per_peak is not None:
            check_integer("nodes_per_peak", self.nodes_per_peak, at_least=4, at_most=1000)

    def coarser(self, degree: int) -> Regrid:
        """Return the request for the coarser run, on elements of a degree."""
        return replace(self, nodes_per_peak=max(4, self.fewest(degree) * 2 // 3), coarser_run=False)

    def fewest(self, degree: int) -> int:
        """Return the fewest nodes across a peak."""
        return self.nodes_per_peak or _NODES[degree > 1]

    def check(self, domain: Domain, tol: float | None) -> None:
        """Refuse a domain without axes, and steps that cannot become shorter.

        Raises:
            InputError: what is wrong, and the remedy.
        """
        if not isinstance(domain, Box):
            raise InputError(f"regrid is given for a {type(domain).__name__}: only a kspde.Box can be graded")
        if domain.period is not None:
            raise InputError('regrid is given for a periodic Box, which cannot be graded: give boundary="neumann"')
        if tol is None:
            raise InputError(
                'regrid is given for a fixed step, which a blow-up outruns: give tol, with scheme="adaptive" or '
                '"positive-2"'
            )


@dataclass(frozen=True, kw_only=True)
class BlowUp:
    """The blow-up towards which a run has followed a density (``kspde.fem.regrid``).

    Attributes:
        time: the extrapolated time of blow-up: from t to it, the geometric mean of the times to the interval's ends.
        interval: where it lies.
        t: the time at which the run ended.
        maximum: the maximum of the density then.
        error: the estimated relative error of that maximum; None without a comparison.
    """

    time: float
    interval: tuple[float, float]
    t: float
    maximum: float
    error: float | None


class Move(NamedTuple):
    """A change of the grid.

    Attributes:
        t: when.
        nodes: the number of nodes after it.
        maximum: the largest value then.
    """

    t: float
    nodes: float
    maximum: float


class Regridding:
    """What a run does for a ``Regrid``.

    Args:
        regrid: the request.
        domain: the box.

    Attributes:
        moves: the changes of the grid so far.
        reached: whether a density has reached the peak at which the run ends.
    """

    def __init__(self, regrid: Regrid, domain: Box) -> None:
        self.regrid = regrid
        self.moves: list[Move] = []
        self.reached = False
        self._domain = domain
        self._fewest = regrid.fewest(domain.degree)

    def due(self, system: Semidiscretisation, unknowns: Array, maxima: Array) -> bool:
        """Return whether the run pauses: at its end, or for another grid. Collective."""
        self.reached = bool(np.max(maxima) >= self.regrid.peak)
        return self.reached or self._domain_for(system, unknowns) is not None

    def _domain_for(self, system: Semidiscretisation, unknowns: Array) -> Box | None:
        """Return the box that the densities need; None if they are well where they are. Collective."""
        from kspde.fem.spaces.graded import graded, peaks  # needs Basix

        densities = unknowns[: len(system.model.species)]
        found = [peak for u in densities for peak in peaks(system.space, u)]
        if all(peak.nodes >= self._fewest for peak in found):
            return None
        return graded(self._domain, found, 2.0 * self._fewest)

    def at_start(self, system: Semidiscretisation, densities: Array) -> Semidiscretisation | None:
        """Return the semidiscretisation on the grid that initial densities need; None if it is this one. Collective."""
        domain = self._domain_for(system, densities)
        return None if domain is None else self._on(system, domain)

    def _on(self, system: Semidiscretisation, domain: Box) -> Semidiscretisation:
        """Return the same semidiscretisation on another box. Collective."""
        space = build_space(domain, system.model.dimension, system.space.comm)
        return Semidiscretisation(system.model, system.fields, space)

    def restored(self, system: Semidiscretisation, grids: Sequence[tuple[Array, ...]]) -> list[Semidiscretisation]:
        """Return the semidiscretisations on grids given by their vertices, one object for equal ones. Collective."""
        from kspde.fem.spaces.graded import with_vertices

        made = {_bytes(system.space.domain.directions): system}
        for grid in grids:
            if _bytes(grid) not in made:
                made[_bytes(grid)] = self._on(system, with_vertices(self._domain, grid))
        return [made[_bytes(grid)] for grid in grids]

    def moved(self, system: Semidiscretisation, unknowns: Array, t: float) -> tuple[Semidiscretisation, Array]:
        """Return the semidiscretisation on a new grid, and the unknowns there. Collective."""
        from kspde.fem.spaces.graded import moved

        domain = self._domain_for(system, unknowns)
        assert domain is not None
        new = self._on(system, domain)
        there = moved(system.space, new.space, unknowns, len(system.model.species))
        self.moves.append(Move(t, float(new.space.nodes), float(new.space.maximum(np.array([there.max()]))[0])))
        return new, there


def _bytes(grid: Sequence[Array]) -> tuple[bytes, ...]:
    return tuple(vertices.tobytes() for vertices in grid)


def blow_up(table: Mapping[str, Array], coarser: Mapping[str, Array] | None) -> BlowUp | None:
    """Return what a run says of a blow-up; None where no maximum has grown fourfold without falling in between.

    Args:
        table: its diagnostics.
        coarser: those of the coarser run, if there is one.
    """
    own = _ascent(table)
    if own is None:
        return None
    time_of, heights = own
    t2, t1, t0 = (float(time_of(heights[-1] - np.log(factor))) for factor in (4.0, 2.0, 1.0))
    shift, error = 0.0, None
    if coarser is not None and (other := _ascent(coarser)) is not None:
        common = min(heights[-1], other[1][-1])
        shift = abs(float(time_of(common)) - float(other[0](common)))
        error = shift / float(time_of(heights[-1], 1))
    last, ratio = t0 - t1, (t1 - t2) / (t0 - t1)
    longest = last / max(min(ratio, 2.0) - 1.0, 1e-3)
    return BlowUp(
        time=t0 + float(np.sqrt(last * longest)),
        interval=(t0 + last - shift, t0 + longest + shift),
        t=t0,
        maximum=float(np.exp(heights[-1])),
        error=error,
    )


def _ascent(table: Mapping[str, Array]) -> tuple[Any, Array] | None:
    """Return a spline of the time as a function of log max u over the last ascent, and its places."""
    from scipy.interpolate import make_interp_spline

    maxima = np.reshape(table["maximum"], (len(table["t"]), -1))
    heights = np.log(np.maximum(maxima[:, int(np.argmax(maxima[-1]))], 1e-300))
    falls = np.flatnonzero(np.diff(heights) <= 0)
    first = int(falls[-1]) + 1 if len(falls) else 0
    heights, t = heights[first:], table["t"][first:]
    if len(t) < 4 or heights[-1] - heights[0] < np.log(4.0):
        return None
    return make_interp_spline(heights, t, k=3), heights
