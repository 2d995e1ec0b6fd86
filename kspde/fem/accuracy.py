r"""The domain, the mesh and the tolerance that give a density to a wanted accuracy.

A run begins on a coarse mesh of a box that holds the initial density, graded from the width of its core where its tails
are heavy. While the outer tenth of the box has more of the last density than the accuracy, a wider box takes its place.
Then the error is estimated (:mod:`kspde.fem.error`), relative to the mass in L¹ and to the maximum in the maximum norm.
While the larger of the two is above the accuracy, each part of it that is more than its share is made smaller by what
causes it: space by more cells, as errors of elements of degree p are taken to fall like :math:`h^p`, time by a lower
tolerance, truncation by a wider box, as the tails of a Gaussian would. The last run, which is the answer, and its
estimate cost about as much as all before them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import numpy as np

from kspde.domains import Box
from kspde.errors import ConvergenceError, InputError, check_number, shown
from kspde.fem.error import ErrorParts, near_the_end
from kspde.fem.schemes import Adaptive
from kspde.initial import InitialDensity
from kspde.typing import Array

__all__ = ["accurate", "check_accuracy", "first_box"]

#: The first mesh, by dimension: cells per direction, and the degree; its grading; the first tolerance in accuracies.
_CELLS, _DEGREE, _GRADING, _TOL = {1: 12, 2: 6, 3: 6}, {1: 8, 2: 8, 3: 5}, 2.0, 0.3
#: The share of the initial mass that may lie outside the box, in accuracies, and at most.
_OUTSIDE, _MOST_OUTSIDE = 1e-2, 5e-7
#: The width of the box that holds it, in units that its sides are multiples of.
_UNITS = 32
#: The least accuracy: that of the estimates, and of tolerances.
_FINEST = 1e-9
#: The most runs, and how many of them may fail.
_RUNS, _FAILURES = 13, 6
#: The share of the accuracy that each part is brought to, and that it may have.
_AIM, _SHARE = 0.2, 0.33
#: Errors of masses, in accuracies, that count; by what share two are the same; the points that they would show at, and
#: at most; the share of them that errors there have at most where they do not.
_MASS, _SAME, _HITS, _MOST_DRAWN, _SEEN = 0.1, 0.02, 10, 10**6, 0.2
#: The width of a box, in those of the densities' core, above which its cells grow faster: a Gaussian's is 4 to 11.
_HEAVY = 12.0
#: The steps by which the core is found, and its least width, in those of the box; the largest grading; the share of a
#: mass that solves refuse outside of a box.
_INWARDS, _NARROWEST, _STRONGEST, _LOST = 0.7, 1e-14, 19.9, 1e-6


def check_accuracy(accuracy: object, scheme: object, beside: Mapping[str, object]) -> None:
    """Refuse an accuracy that is not valid, or what it chooses given beside it.

    Raises:
        InputError: the value, what is valid, and the remedy.
    """
    check_number("accuracy", accuracy, at_least=_FINEST, below=1)
    beside = dict(beside) if scheme == "adaptive" else {**beside, "scheme": scheme}
    for name, given in beside.items():
        raise InputError(f"{name} = {shown(given)} has no effect beside accuracy = {accuracy}: leave one of them out")


def first_box(u0: Mapping[str, InitialDensity], dimension: int, accuracy: float) -> Box:
    """Return a coarse box that holds the initial densities: a cube about the middle of the least box that does."""
    densities = list(u0.values())
    low, high = _holding(densities, min(_OUTSIDE * accuracy, _MOST_OUTSIDE))
    return Box(
        half_width=_short(0.5 * float(np.max(high - low))), cells=_CELLS[dimension], degree=_DEGREE[dimension],
        dimension=dimension, centre=tuple((0.5 * (low + high)).tolist()), grading=_grading(densities, low, high),
    )  # fmt: skip


def _grading(densities: Sequence[InitialDensity], low: Array, high: Array) -> float:
    """Return the grading of a box: where tails are heavy, cells grow from the width of the densities' core, L/sinh(a).

    The core is the least cube about the middle that holds half of a mass.

    Raises:
        InputError: they are too heavy for any grading, or for any box.
    """
    middle, half = 0.5 * (low + high), 0.5 * float(np.max(high - low))

    def core(u: InitialDensity) -> float:
        width = half
        while width > _NARROWEST * half:
            inner = _INWARDS * width * np.ones(len(middle))
            if u.mass_beyond(np.stack([middle - inner, middle + inner])) > 0.5:
                break
            width *= _INWARDS
        return width

    width = min(map(core, densities))
    grading = math.asinh(half / width)
    if grading > _STRONGEST or any(u.mass_beyond(np.stack([low, high])) > _LOST for u in densities):
        raise InputError(
            f"the initial density's tails are too heavy for an accuracy: half of its mass is within {width:.3g} of the "
            f"middle, and it reaches beyond {half:.3g}; give a domain instead, and kspde.CutDensity(u0, domain)"
        )
    return _short(grading) if half > _HEAVY * width else _GRADING


def accurate(run: Callable[[Box, Adaptive], Any], box: Box, accuracy: float) -> Any:
    """Return the first solution whose estimated relative error is at most ``accuracy``. Collective.

    Args:
        run: solves the problem in a box.
        box: the first one.
        accuracy: the largest relative error.

    Raises:
        ConvergenceError: it was not reached; the error holds the last solution.
        KspdeError: the problem cannot be solved, or its error not estimated.
    """
    tol, aim, most, failures, solution = min(_TOL * accuracy, 1e-2), _AIM * accuracy, _SHARE * accuracy, 0, None
    masses: Mapping[str, float] = {}
    for _ in range(_RUNS):
        try:
            solution = run(box, Adaptive(tol=tol))
            if (outside := _outside(solution)) > accuracy:  # no estimate is needed to know that the box is too small
                wider = _factor(outside, aim)
                box = _of_width(box, wider, math.sqrt(wider))
                continue
            parts = _relative(solution)
        except (ConvergenceError, InputError) as failed:
            failures += 1
            if failures > _FAILURES and isinstance(failed, InputError):  # whose remedy is for those who give a domain
                raise InputError(f"accuracy = {accuracy:g}: give a domain and a scheme. On {box} {failed}") from failed
            if failures > _FAILURES:
                raise
            box = replace(box, cells=_even(1.5 * float(np.max(box.cells))))
            continue
        if parts.total <= accuracy:
            return solution
        more, wider = 1.0, 1.0
        if parts.space > most:
            _refuse_other_masses(solution, accuracy, masses)
            masses = solution.initial_mass_error
            more = min(max((parts.space / aim) ** (1.0 / box.degree), 1.1), 1.6)
        if parts.time > most:
            tol = _short(tol * max((aim / parts.time) ** 1.3, 1e-2))
        if parts.truncation > most:
            wider = _factor(parts.truncation, aim)
            more *= math.sqrt(wider)
        box = _of_width(box, wider, more)
    error = ConvergenceError(
        f"accuracy = {accuracy:g} was not reached in {_RUNS} runs, the last on {box}: give a larger one, or a domain "
        "and a scheme for this density"
    )
    if solution is not None:
        error.solution, error.diagnostics = solution, solution.diagnostics
    raise error


def _refuse_other_masses(solution: Any, accuracy: float, before: Mapping[str, float]) -> None:
    """Refuse a density that has another mass than it states: the same on two meshes that miss none of it. Collective.

    Points drawn from it would show what they miss: some of them lie there.

    Raises:
        InputError: both masses, and the remedy.
    """
    space = solution.at().space
    for name, u in solution.u0.items():
        off = solution.initial_mass_error[name]
        if u.signed or abs(off) < _MASS * accuracy or abs(off - before.get(name, 0.0)) > _SAME * abs(off):
            continue
        drawn = u.reference_points(min(math.ceil(_HITS / abs(off)), _MOST_DRAWN))
        if drawn is None or len(drawn) * abs(off) < _HITS:
            continue
        nodal, values = u.at_nodes(space.points).reshape(space.mass.shape), u(drawn)
        wrong = np.nan_to_num(np.abs(space.evaluate(nodal, drawn, np.nan) - values))
        if np.mean(np.minimum(wrong / values, 1.0)) < _SEEN * abs(off):
            raise InputError(
                f"accuracy = {accuracy:g}: u0 of {name} integrates to {u.mass * (1 + off):.6g}, and its mass is "
                f"{u.mass:g}: the sum over its grid is off; give a larger resolution, or a smaller half_width"
            )


def _of_width(box: Box, wider: float, more: float) -> Box:
    """Return a cube about the same centre, wider and of more cells by two factors."""
    return replace(
        box, half_width=_short(wider * cast(float, box.half_width)), cells=_even(more * float(np.max(box.cells)))
    )


def _outside(solution: Any) -> float:
    """Return what is in the outer tenth of the box at last, relative in the norm where it is more. Collective."""
    return float(np.max(near_the_end(solution) / _units(solution)))


def _units(solution: Any) -> tuple[float, float]:
    """Return what errors in L¹ and in the maximum norm are relative to: the mass, and the largest maximum."""
    mass = sum(abs(u.variation) for u in solution.u0.values())
    return mass, float(abs(solution.diagnostics["maximum"][-1]).max())


def _factor(outside: float, aim: float) -> float:
    """Return by which factor a box is to be wider for tails of a Gaussian to fall from one share to another."""
    return min(max(math.sqrt(math.log(aim) / math.log(min(outside, 0.5))), 1.1), 2.0)


def _even(cells: float) -> int:
    """Return a number of cells with a vertex at the centre."""
    return 2 * math.ceil(cells / 2)


def _short(number: float) -> float:
    """Return a number with three digits."""
    return float(f"{number:.3g}")


def _relative(solution: Any) -> ErrorParts:
    """Return the parts of the larger of the two relative errors.

    Raises:
        ConvergenceError: there is no estimate.
    """
    found = solution.error
    if found.unknown:
        raise ConvergenceError(str(found))
    relative: list[ErrorParts] = [
        part.over(unit) for part, unit in zip((found.l1, found.maximum), _units(solution), strict=True)
    ]
    return max(relative, key=lambda parts: parts.total)


def _holding(densities: Sequence[InitialDensity], share: float) -> Array:
    """Return the lowest and the highest coordinates of a box outside of which at most a share of each mass lies.

    Beyond each of the 2d sides lies at most that share over 2d. Sides are multiples of a power of 2 below 1/32 of the
    largest width, so that a density moved by such a multiple has the same box, moved. Densities that know their mass
    outside of cubes about the origin alone have such a cube.
    """
    d = densities[0].dimension
    reach = max(u.reach(share / (4 * d)) for u in densities)
    ends, unit = np.outer((-reach, reach), np.ones(d)), 2.0 * reach
    whole = ends.copy()

    def held(side: int, a: int, x: float) -> bool:
        bounds = whole.copy()
        bounds[side, a] = x
        return all(u.mass_beyond(bounds) <= share / (2 * d) for u in densities)

    with suppress(InputError):
        while np.max(ends[1] - ends[0]) < _UNITS * unit:
            unit /= 2
            for a, (side, inwards) in itertools.product(range(d), ((0, unit), (1, -unit))):
                if held(side, a, ends[side, a] + inwards):
                    ends[side, a] += inwards
    return ends
