r"""How far a solution is from the density of the equation: estimates of its errors in space, time and by truncation.

**Space.** The same problem is solved with the same scheme on a coarser mesh: for elements of degree 6 or more one of
lower degree, elsewhere one with cells 2.25 times as large. With the densities u and u₁ at ``t_end`` the error of u is

.. math:: e = \|u - u_1\|\,\frac{r}{1 - r}

if it is r times that of u₁ (Richardson). Errors of solutions are taken to be in the ratio of errors of interpolation,
which is known without another run: r is the geometric mean of that ratio for the initial densities, which are known on
both meshes, and for u, whose errors of interpolation on two coarser meshes are known, the mesh of u having the same
share of the errors of the next. Of the ratios in both norms the larger is taken; those of order 1 and p + 2 are bounds.

It is no less than what the mesh misses of the initial densities between those points, as peaks narrower than a cell,
and of their masses (:mod:`kspde.fem.unseen`).

**Time.** On the coarser mesh the problem is solved with ten times the tolerance, or twice the step. The difference of
the two densities is that of errors proportional to :math:`\mathrm{tol}^{q/(q+1)}`, or to :math:`\Delta t^q`. Where
steps are few, errors need not follow a larger tolerance: unless the difference is small beside the other errors, a
tenth of the tolerance takes its place, or less where that has the same steps. A coefficient's pulse in time that is
shorter than all steps is seen by none of these runs.

**Truncation.** On the coarser mesh the box is made wider by cells beyond its boundary, so that inside nothing but the
boundary changes. Where the mass in the outer tenth of a domain is far below the other errors, it is the estimate, and
on domains other than boxes always. Closed and periodic boxes are not truncated.

Where there are no coarser meshes, or they do not resolve the initial density, one with cells half as large takes their
place, where errors of elements of degree 1 are a quarter. That takes longer than the solve.

Norms are over points in all cells of the mesh of u, with the error of interpolation between nodes: L¹, and the maximum.
Together these solves take less time than the first where that takes seconds, and may take several times as long where
it takes less. Errors are those at ``t_end`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kspde.domains import Box, Domain
from kspde.errors import InputError, KspdeError
from kspde.fem.monitors.truncation import near_boundary
from kspde.fem.spaces import Space, build_space
from kspde.fem.unseen import unseen
from kspde.typing import Array

__all__ = ["DensityError", "ErrorParts", "estimated", "near_the_end", "sampled"]

#: The most points at which densities are compared: on boxes, where they are found by their coordinates, and elsewhere;
#: and the most values at nodes that are summed up for them.
_POINTS = {True: 20_000, False: 8_000}
_VALUES = 2_000_000
#: The least and the largest ratio of the errors on two meshes; that of order 1 to the power p + 2 is a bound below too.
_FASTEST, _SLOWEST = 0.03, 0.67
#: The share of steps that a larger tolerance leaves at most where errors follow it; the steps that are many; and the
#: share of the errors in space up to which those in time hardly count.
_FEWER, _MANY, _SMALL = 0.85, 20, 0.3
#: How often a tolerance that leaves the steps as they are is divided by ten.
_TENTHS = 4
#: That on a mesh and on one with cells half as large, for elements of degree 1.
_HALVED = 0.25
#: The share of other errors below which the mass near the boundary is not looked into.
_NEGLIGIBLE = 0.1
#: How much wider the box is.
_WIDER = 1.25
#: The golden ratio less 1, whose multiples are spread evenly.
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


@dataclass(frozen=True)
class ErrorParts:
    """The parts of an error, in the units of its norm; NaN where it cannot be estimated."""

    space: float = math.nan
    time: float = math.nan
    truncation: float = math.nan

    @property
    def total(self) -> float:
        """Their sum."""
        return self.space + self.time + self.truncation

    def over(self, unit: float) -> ErrorParts:
        """Return them in another unit."""
        return ErrorParts(self.space / unit, self.time / unit, self.truncation / unit)

    def __str__(self) -> str:
        return f"{self.total:.1e} (space {self.space:.1e}, time {self.time:.1e}, truncation {self.truncation:.1e})"


@dataclass(frozen=True)
class DensityError:
    """Estimates of a density's error at ``t_end``; for several species the sum in L¹, and the maximum of all.

    Attributes:
        l1: of ∫|u − exact|.
        maximum: of max|u − exact|.
        unknown: why there is none; empty where there is.
    """

    l1: ErrorParts = ErrorParts()
    maximum: ErrorParts = ErrorParts()
    unknown: str = ""

    def __str__(self) -> str:
        if self.unknown:
            return f"the density's error is not known: {self.unknown}"
        return f"L1 {self.l1}; maximum {self.maximum}"


def estimated(solution: Any, again: Callable[..., Any]) -> DensityError:
    """Return estimates of the error of what ``kspde.solve`` returned. Collective.

    Args:
        solution: the solution.
        again: solves the same problem on another domain by another scheme, and on a space of that domain if it is
            given one.
    """
    domain, scheme = solution.domain, solution.scheme
    space = solution.at().space
    points, weights = sampled(space)

    def at_points(there: Space, nodal: Array) -> Array:
        """Return what nodal values are at the points, which are found once in each space."""
        if there not in maps:
            maps[there] = there.evaluator(points, outside=0.0)
        return maps[there](nodal)

    def values(of: Any) -> Array:
        last = of.at()
        return np.array([at_points(last.space, last.density(name)) for name in of.species])

    def norms(difference: Array) -> Array:
        size = np.abs(difference)
        total, largest = np.array([(size @ weights).sum()]), np.array([size.max(initial=0.0)])
        return np.concatenate([space.total(total), space.maximum(largest)])

    def largest_at_start(name: str, nodal: Array) -> float:
        return float(norms(solution.u0[name](points) - at_points(space, nodal)[None])[1])

    def in_space() -> tuple[Any, Array, Array]:
        """Return a run on another mesh, or the solution, its values, and the errors in space."""
        if (meshes := domain.coarser()) is not None:
            k = 0 if meshes[0].degree < domain.degree else 1  # two degrees down take more time steps
            with suppress(InputError):  # it does not resolve the initial density
                coarse = again(meshes[k], scheme)
                there = values(coarse)
                spaces = [build_space(meshes[1 - k], space.dimension, space.comm, modal=False)]
                spaces.insert(k, coarse.at().space)
                ratio = _ratio(solution, spaces, k, points, u, at_points, norms)
                return coarse, there, norms(u - there) * ratio / (1.0 - ratio)
        return solution, u, norms(values(again(domain.finer(), scheme)) - u) / (1.0 - _HALVED)

    maps: dict[Space, Callable[[Array], Array]] = {}
    try:
        u = values(solution)
        base, there, spatial = in_space()
        hidden, share = unseen(space, solution.u0, solution.initial_mass_error, largest_at_start)
        spatial = np.maximum(spatial, np.maximum(hidden, share * norms(u)))
        steps = len(base.diagnostics["t"]) - 1
        cheaper, tighter = scheme.compared(solution.t_end)
        rough, seen, temporal, beyond, fewer = scheme, there, np.zeros(2), np.zeros(2), steps
        if cheaper is not None and (tighter is None or steps >= _MANY / 2):
            with nullcontext() if tighter is None else suppress(KspdeError):
                run = again(base.domain, cheaper[0], base.at().space)
                rough, seen, fewer = cheaper[0], values(run), len(run.diagnostics["t"]) - 1
                temporal = cheaper[1] * norms(seen - there)
        if domain.boundary == "decay":
            beyond = near_the_end(solution)
            wider = _extended(base.domain)
            if wider is not None and (beyond > _NEGLIGIBLE * (spatial + temporal)).any():
                beyond = norms(seen - values(again(wider, rough)))
        few = fewer < _MANY and (norms(seen - there) > _SMALL * (spatial + beyond)).any()
        if few or fewer > _FEWER * steps:
            for _ in range(_TENTHS):
                if tighter is None:
                    break
                temporal = tighter[1] * norms(values(again(base.domain, tighter[0], base.at().space)) - there)
                if temporal.all():
                    break
                _, tighter = tighter[0].compared(solution.t_end)
    except KspdeError as error:
        return DensityError(unknown=f"one of the runs that it takes failed: {error}")
    parts = np.stack([spatial, temporal, beyond], axis=1).tolist()
    return DensityError(ErrorParts(*parts[0]), ErrorParts(*parts[1]))


def _ratio(
    solution: Any,
    spaces: list[Space],
    k: int,
    points: Array,
    u: Array,
    at_points: Callable[[Space, Array], Array],
    norms: Callable[[Array], Array],
) -> float:
    """Return the errors on the mesh over those on a coarser one, from those of interpolation. Collective.

    Those of the initial densities are known on both. Those of the last densities are known on the coarser meshes, the
    first of which has about the same share of the errors of the second as the mesh of those of the first.

    Args:
        solution: the solution.
        spaces: those on the coarser meshes.
        k: which of them.
        points: where densities are compared.
        u: the last densities there.
        at_points: returns what nodal values of a space are there.
        norms: norms of differences there.
    """

    def share(values: Array, nodal: Callable[[Space], list[Array]], finer: Space, coarser: Space) -> float:
        errors = []
        for space in (finer, coarser):
            found = [at_points(space, each.reshape(space.mass.shape)) for each in nodal(space)]
            errors.append(norms(values - found))
        return float(np.max(errors[0] / np.maximum(errors[1], np.finfo(float).tiny)))

    def at_end(space: Space) -> list[Array]:
        evaluate = last.space.evaluator(space.points, outside=0.0)
        return [evaluate(last.density(name)) for name in solution.species]

    last, start = solution.at(), list(solution.u0.values())
    first = np.array([each(points) for each in start])
    by_start = share(first, lambda space: [each(space.points) for each in start], last.space, spaces[k])
    by_end = share(u, at_end, *spaces)
    fastest = max(_FASTEST, _SLOWEST ** (last.space.degree + 2))
    return float(min(max(math.sqrt(by_start * by_end ** (k + 1)), fastest ** (k + 1)), _SLOWEST ** (k + 1)))


def near_the_end(solution: Any) -> Array:
    """Return the mass in the outer tenth of the domain, and the most that it may be of a maximum. Collective."""
    last = solution.at()
    nodal = np.array([last.density(name) for name in solution.species])
    mass, share = near_boundary(last.space, nodal, list(solution.u0.values()))
    top = last.space.maximum(np.abs(nodal).reshape(len(nodal), -1).max(axis=1, initial=0.0))
    return np.array([mass.sum(), float(np.max(share * top))])


def _extended(domain: Domain) -> Domain | None:
    """Return a box with more cells beyond its boundary, and the same inside; None for other domains."""
    from kspde.fem.spaces.graded import with_vertices  # needs Basix

    if not isinstance(domain, Box):
        return None
    places = []
    for inside, half in zip(domain.directions, domain.half_widths, strict=True):
        width = inside[-1] - inside[-2]
        outside = inside[-1] + width * np.arange(1, 1 + math.ceil((_WIDER - 1.0) * half / width))
        places.append(np.concatenate([-outside[::-1], inside, outside]))
    return with_vertices(replace(domain, half_width=tuple(float(one[-1]) for one in places)), places)


def sampled(space: Space, finer: int = 1) -> tuple[Array, Array]:
    """Return points in this rank's cells, shape (n, d), and the weights of a quadrature over them, shape (n,).

    Args:
        space: the space.
        finer: by how many times there may be more points than for estimates.
    """
    import basix

    d, cell = space.dimension, getattr(basix.CellType, space.cell)
    most = finer * min(_POINTS[space.fills_box], _VALUES // (space.degree + 1) ** d)
    for order in range(2 * space.degree + 1, 2, -2):  # a cell's centre alone may be a node
        at, weights = basix.make_quadrature(cell, order)
        if space.cells * len(at) <= most:
            break
    shapes = basix.create_element(basix.ElementFamily.P, cell, 1).tabulate(1, at)[..., 0]
    every = max(1, int(space.cells * len(at) / most))
    # One of so many cells, by the golden ratio, so that no row or column of them has more than others.
    first = np.arange(0, space.own_cells, every)
    chosen = first + (every * (_GOLDEN * first / every % 1.0)).astype(int)
    corners = space.corners(chosen[chosen < space.own_cells])
    points = np.einsum("qv,nvd->nqd", shapes[0], corners).reshape(-1, d)
    slopes = np.einsum("aqv,nvd->nqda", shapes[1:], corners)
    return points, (every * weights * np.abs(np.linalg.det(slopes))).ravel()
