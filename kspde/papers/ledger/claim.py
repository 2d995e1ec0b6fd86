r"""The ledger: each quantitative claim beside its measured or computed value.

**The rule of the verdicts.**

- A promised rate is judged by the fitted order and its 95 % interval, as :mod:`kspde.papers.studies.outcome` says:
  supported where the interval's lower end reaches the promise (less 5 % of it), contradicted where its upper end does
  not, else not resolved.
- A promised inequality between numbers, or a printed number, is judged by a ratio (left side over right side, or
  computed over printed) with its interval: supported where the upper end is at most 1, contradicted where the lower
  end is greater than 1, else not resolved. For a printed number the ratio is its distance from the computed one over
  half a unit of its last digit.
- Not testable: no study measures it here, for the reason given; or the results at hand do not contain it.

*Supported* never means proved: it is said of the parameters that were computed. What a source prints and what its proof
gives may differ; then the row says both, with a verdict on each, and the erratum says what is right.

**One measurement, one row.** No two rows rest on the same computation or on the same fit: what else is promised of a
fitted quantity, or follows from it by a formula (the L¹ bound √(2H) from the bound on H), stands in the same row.
:func:`kspde.papers.studies.outcome.by_chance` says how many rows chance alone would contradict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kspde.papers.studies.formulas import number, symbol_of
from kspde.papers.studies.outcome import verdict

__all__ = ["Across", "Check", "Claim", "Computed", "NotTestable", "Rated", "Ratio", "Row", "rows_of"]

#: The summaries of studies by name.
Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a computation found.

    Attributes:
        value: in words, with its meaning.
        ratio: what is judged: at most 1 where the claim holds.
        interval: of the ratio; both ends the ratio itself where it is exact.
    """

    value: str
    ratio: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Rated:
    """Evidence: a rate that a study fits.

    Attributes:
        study: its name.
        quantity: what is fitted.
        against: the parameter.
        order: the promised order.
        group: values of other swept parameters.
        also: other orders that are promised of the same quantity, with who promises: each gets its verdict in words.
    """

    study: str
    quantity: str
    against: str
    order: float
    group: Mapping[str, Any]
    also: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Evidence: a ratio of measured numbers, at every point of a study.

    Attributes:
        study: its name.
        check: a point's quantities (name -> {"value", "interval"}) and swept values -> what is found there; the worst
            point is judged.
        group: values of swept parameters that points are restricted to.
    """

    study: str
    check: Callable[[Mapping[str, Any], Mapping[str, Any]], Check]
    group: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Across:
    """Evidence: what all points of a study say together.

    Attributes:
        study: its name.
        check: the quantities (name -> {"value", "interval", "error", "replicas"}) and swept values of the points ->
            what is found.
        group: values of swept parameters that points are restricted to.
    """

    study: str
    check: Callable[[Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]], Check]
    group: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Computed:
    """Evidence: a computation that needs no study.

    Attributes:
        check: computes it.
        command: shows the number too.
    """

    check: Callable[[], Check]
    command: str = "kspde ledger"


@dataclass(frozen=True, kw_only=True)
class NotTestable:
    """No evidence.

    Attributes:
        reason: why.
    """

    reason: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A quantitative claim.

    Attributes:
        source: the authors.
        number: of the statement.
        promised: what it says.
        evidence: what is held against it.
        erratum: what is wrong in it, "" where nothing is known to be.
    """

    source: str
    number: str
    promised: str
    evidence: Rated | Ratio | Across | Computed | NotTestable
    erratum: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the ledger.

    Attributes:
        source: the authors.
        number: of the statement.
        promised: what it says.
        measured: the value, or why there is none.
        interval: the 95 % interval, "" where there is none.
        command: what reproduces it, with the setting that was run.
        verdict: see the module.
        erratum: what is wrong in the source.
    """

    source: str
    number: str
    promised: str
    measured: str
    interval: str
    command: str
    verdict: str
    erratum: str


def rows_of(claims: Sequence[Claim], results: Results) -> list[Row]:
    """Return the ledger's rows.

    Args:
        claims: the claims.
        results: the summaries of studies by name, as ``kspde study`` writes them.
    """
    return [_row(claim, results) for claim in claims]


def _row(claim: Claim, results: Results) -> Row:
    evidence = claim.evidence
    found = ("", "", "", "not testable")
    if isinstance(evidence, NotTestable):
        found = (evidence.reason, "", "", "not testable")
    elif isinstance(evidence, Computed):
        found = _judged(evidence.check(), evidence.command)
    elif evidence.study not in results:
        found = (f"no results of the study {evidence.study} are at hand", "", "", "not testable")
    elif isinstance(evidence, Rated):
        found = _rated(evidence, results[evidence.study])
    else:
        found = _from_points(evidence, results[evidence.study])
    measured, interval, command, judged = found
    return Row(
        source=claim.source,
        number=claim.number,
        promised=claim.promised,
        measured=measured,
        interval=interval,
        command=command,
        verdict=judged,
        erratum=claim.erratum,
    )


def _rated(evidence: Rated, summary: Mapping[str, Any]) -> tuple[str, str, str, str]:
    for rate in summary["rates"]:
        same = rate["quantity"] == evidence.quantity and rate["against"] == evidence.against
        if not same or any(rate["group"].get(name) != value for name, value in evidence.group.items()):
            continue
        where = f"{symbol_of(evidence.against)} = {number(min(rate['x']))} to {number(max(rate['x']))}"
        command = summary["command"]
        if rate["order"] is None:
            values = ", ".join(f"{value:.2g}" for value in rate["values"])
            stated = f"no rate: the values {values} for {where} are not told from zero"
            return stated, "", command, "not resolved"
        low, high = rate["interval"]
        low, high = (float("-inf") if low is None else low), (float("inf") if high is None else high)
        others = "".join(f"; {who}, order {order:g}: {verdict((low, high), order)}" for who, order in evidence.also)
        return (
            f"order {rate['order']:.3f} for {where}{others}",
            f"[{low:.3f}, {high:.3f}]",
            command,
            verdict((low, high), evidence.order),
        )
    return f"the results of {evidence.study} at hand do not contain it", "", summary["command"], "not testable"


def _from_points(evidence: Ratio | Across, summary: Mapping[str, Any]) -> tuple[str, str, str, str]:
    points = [
        (point["quantities"], point["swept"])
        for point in summary["points"]
        if all(point["swept"].get(name) == value for name, value in evidence.group.items())
    ]
    if not points:
        return f"the results of {evidence.study} at hand do not contain it", "", summary["command"], "not testable"
    if isinstance(evidence, Across):
        return _judged(evidence.check(points), summary["command"])
    checks = [evidence.check(quantities, swept) for quantities, swept in points]
    return _judged(max(checks, key=lambda check: check.interval[1]), summary["command"])


def _judged(check: Check, command: str) -> tuple[str, str, str, str]:
    low, high = check.interval
    judged = "supported" if high <= 1.0 else "contradicted" if low > 1.0 else "not resolved"
    interval = "" if low == high else f"ratio in [{low:.3g}, {high:.3g}]"
    return check.value, interval, command, judged
