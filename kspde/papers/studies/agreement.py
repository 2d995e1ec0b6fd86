r"""Whether two results of a study agree: each number that both measured, with seeds of their own.

Two means with standard errors :math:`s_1, s_2` differ by :math:`z = |y_1 - y_2|/\sqrt{s_1^2 + s_2^2}`, and by chance
as far with probability p, by Student's t with Welch and Satterthwaite's degrees of freedom. Of m comparisons the least
p is multiplied by m (Bonferroni), which holds whatever their dependence: the quantities of a point share its runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kspde.errors import InputError, shown
from kspde.papers.studies.formulas import label_of

__all__ = ["Agreement", "agreement_of"]

#: The level: low, since the results of some twenty studies are compared at a time.
_LEVEL = 0.01
#: The relative difference up to which numbers without an error agree: those of solvers within their tolerances.
_EXACT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The comparison of two results.

    Attributes:
        compared: the number m of comparisons of numbers with errors.
        worst: the quantity and the point whose values differ most.
        z: the difference there, in standard errors.
        probability: m times the probability of a difference as large by chance, at most 1.
        inexact: the largest relative difference of numbers without errors.
    """

    compared: int
    worst: str
    z: float
    probability: float
    inexact: float

    @property
    def agrees(self) -> bool:
        """Whether chance explains the differences at the level 1 %, and numbers without errors are the same."""
        return self.probability >= _LEVEL and self.inexact <= _EXACT


def agreement_of(first: Mapping[str, Any], second: Mapping[str, Any]) -> Agreement:
    """Return how two summaries of one study agree.

    Raises:
        InputError: they state other parameters.
        ValueError: no point of the same parameters has other seeds in both.
    """
    from scipy.special import stdtr

    ours, theirs = _stated(first), _stated(second)
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            values = f"{name} = {shown(ours.get(name))} and {shown(theirs.get(name))}"
            raise InputError(f"the results have other parameters ({values}): give those of a study with other seeds")
    worst, compared, inexact = (2.0, "", 0.0), 0, 0.0
    for label, a, b in _pairs(first, second):
        variances = [entry["error"] ** 2 for entry in (a, b)]
        total = sum(variances)
        if total == 0.0:
            inexact = max(inexact, abs(a["value"] - b["value"]) / max(abs(a["value"]), 1e-300))
            continue
        compared += 1
        z = abs(a["value"] - b["value"]) / math.sqrt(total)
        lost = sum(v**2 / (e["replicas"] - 1) for v, e in zip(variances, (a, b), strict=True) if e["replicas"] > 1)
        p = 2 * float(stdtr(total**2 / lost if lost else math.inf, -z))
        worst = min(worst, (p, label, z))
    if not worst[1] and not inexact:
        raise ValueError("the results have no number of the same parameters with other seeds")
    p, label, z = worst
    return Agreement(compared=compared, worst=label, z=z, probability=min(1.0, p * compared), inexact=inexact)


def _stated(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return by dotted name what all points of a result have in common, but for the number of replicas."""
    out: dict[str, Any] = {}
    tables: list[tuple[str, Any]] = [("", result.get("fixed", {}))]
    swept = {name for point in result["points"] for name in point["swept"]} | {"replicas"}
    while tables:
        name, value = tables.pop()
        if isinstance(value, Mapping):
            tables += [(f"{name}.{key}" if name else key, inner) for key, inner in value.items() if key not in swept]
        else:
            out[name] = value
    return out


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    theirs = {_place(point): point for point in second["points"]}
    for point in first["points"]:
        other = theirs.get(_place(point))
        if other is None or other["seed"] == point["seed"]:
            continue
        for name, entry in point["quantities"].items():
            if name in other["quantities"]:
                yield f"{name} at {label_of(point['swept'], symbols=False)}", entry, other["quantities"][name]


def _place(point: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(point["swept"].items()))
