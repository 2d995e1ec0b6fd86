r"""The domain, the mesh and the tolerance that give a density to a wanted accuracy.

A run begins on a coarse mesh of a box that holds the initial density. While the outer tenth of the box has more of the
last density than the accuracy, a wider box takes its place. Then the error is estimated (:mod:`kspde.fem.error`),
relative to the mass in L¹ and to the maximum in the maximum norm. While the larger of the two is above the accuracy,
each part of it that is more than its share is made smaller by what causes it: space by more cells, as errors of
elements of degree p are taken to fall like :math:`h^p`, time by a lower tolerance, truncation by a wider box, as the
tails of a Gaussian would. The last run, which is the answer, and its estimate cost about as much as all before them.
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
    low, high = _holding(list(u0.values()), min(_OUTSIDE * accuracy, _MOST_OUTSIDE))
    return Box(
        half_width=_short(0.5 * float(np.max(high - low))), cells=_CELLS[dimension], degree=_DEGREE[dimension],
        dimension=dimension, centre=tuple((0.5 * (low + high)).tolist()), grading=_GRADING,
    )  # fmt: skip


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
