r"""The ledger: each quantitative claim beside its measured or computed value.

**The rule of the verdicts.**

- A promised rate is judged by the fitted order and its 95 % interval, as :mod:`kspde.papers.studies.outcome` says:
  supported where the interval's lower end reaches the promise (less 5 % of it), contradicted where its upper end does
  not, else not resolved.
- A promised inequality between numbers, or a printed number, is judged by a ratio (left side over right side, or
  computed over printed) with its interval: supported where the upper end is at most 1, contradicted where the lower
  end is greater than 1, else not resolved. For a printed number the ratio is its distance from the computed one over
  half a unit of its last digit.
- An expected constant is supported where its interval lies within 5 % of it, contradicted where it does not meet
  that range, else not resolved.
- Not testable: no study measures it here, for the reason given; or the results at hand do not contain it.

*Supported* never means proved: it refers to the parameters that were computed. What a source prints and what its proof
gives may differ; then the row says both, with a verdict on each, and the erratum says what is right.

**One measurement, one row.** No two rows rest on the same computation or on the same fit: whatever else is promised of
a fitted quantity, or follows from it by a formula (the L¹ bound √(2H) from the bound on H), stands in the same row.
:func:`kspde.papers.studies.outcome.by_chance` says how many rows chance alone would contradict.

The claims are in ``claims.toml``: adding one is adding a table there, and a function in
:mod:`kspde.papers.ledger.checks` or :mod:`kspde.papers.ledger.point_checks` where it needs a computation of its own.
"""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from string import Template
from typing import Any, ClassVar, NamedTuple, Protocol

from kspde.papers import theory
from kspde.papers.ledger import checks, point_checks
from kspde.papers.ledger.point_checks import LOG_SLOPE, Check, PointValues
from kspde.papers.studies.formulas import symbol_of, text_of
from kspde.papers.studies.outcome import TOLERANCE, verdict

__all__ = [
    "Claim",
    "Computed",
    "MeasuredConstant",
    "MeasuredRate",
    "MeasuredRatio",
    "NotTestable",
    "Row",
    "claims",
    "rows_of",
]

#: The summaries of studies by name, as ``kspde study`` writes them.
Results = Mapping[str, Mapping[str, Any]]


class Found(NamedTuple):
    """What the evidence says: the value or why there is none, its interval, the command that shows it, the verdict."""

    measured: str
    interval: str = ""
    command: str = ""
    verdict: str = "not testable"


class Evidence(Protocol):
    """What is held against a claim."""

    def found(self, results: Results) -> Found:
        """Return what it says, given the summaries of studies."""
        ...


@dataclass(frozen=True)
class NotTestable:
    """No evidence.

    Attributes:
        reason: why.
    """

    reason: str

    def found(self, results: Results) -> Found:
        """Return the reason."""
        return Found(self.reason)


@dataclass(frozen=True)
class Computed:
    """Evidence: a computation that needs no study.

    Attributes:
        check: computes it.
        command: the command that shows the number too.
    """

    check: Callable[[], Check]
    command: str = "kspde ledger"

    def found(self, results: Results) -> Found:
        """Compute it."""
        return _judged(self.check(), self.command)


@dataclass(frozen=True, kw_only=True)
class _Fitted(ABC):
    """Evidence: what a study fits to a quantity.

    Attributes:
        study: the name of the study.
        quantity: the quantity.
        against: the parameter.
        at: the values of other swept parameters.
    """

    study: str
    quantity: str
    against: str
    at: Mapping[str, Any] = field(default_factory=dict)

    #: The entry of a rate that is judged.
    part: ClassVar[str]

    def found(self, results: Results) -> Found:
        """Look it up."""
        if self.study not in results:
            return _without_results(self.study)
        command = results[self.study]["command"]
        for rate in results[self.study]["rates"]:
            same = (rate["quantity"], rate["against"]) == (self.quantity, self.against)
            if same and _agree(rate["group"], self.at) and self.part in rate:
                where = f"{symbol_of(self.against)} = {text_of(min(rate['x']))} to {text_of(max(rate['x']))}"
                return self._says(rate, where)._replace(command=command)
        return Found(f"the results of {self.study} at hand do not contain it", command=command)

    @abstractmethod
    def _says(self, rate: Mapping[str, Any], where: str) -> Found:
        """Return what a rate says, fitted where the words tell."""


@dataclass(frozen=True, kw_only=True)
class MeasuredRate(_Fitted):
    """Evidence: a rate that a study fits.

    Attributes:
        order: the promised order.
        also: other orders that are promised of the same quantity, with their authors; each gets its verdict in words.
    """

    part = "order"

    order: float
    also: tuple[tuple[str, float], ...] = ()

    def _says(self, rate: Mapping[str, Any], where: str) -> Found:
        if rate["order"] is None:
            values = ", ".join(f"{value:.2g}" for value in rate["values"])
            stated = f"no rate: the values {values} for {where} are statistically indistinguishable from zero"
            return Found(stated, verdict="not resolved")
        low, high = rate["interval"]
        ends = (float("-inf") if low is None else low, float("inf") if high is None else high)
        others = "".join(f"; {who}, order {order:g}: {verdict(ends, order)}" for who, order in self.also)
        stated = f"order {rate['order']:.3f} for {where}{others}"
        return Found(stated, f"[{ends[0]:.3f}, {ends[1]:.3f}]", verdict=verdict(ends, self.order))


@dataclass(frozen=True, kw_only=True)
class MeasuredRatio:
    """Evidence: a ratio that follows from the points of a study.

    Attributes:
        study: the name of the study.
        check: computes the ratio from the points' quantities and swept values.
        at: the values of swept parameters that points are restricted to.
    """

    study: str
    check: Callable[[Sequence[PointValues]], Check]
    at: Mapping[str, Any] = field(default_factory=dict)

    def found(self, results: Results) -> Found:
        """Compute the ratio."""
        if self.study not in results:
            return _without_results(self.study)
        summary = results[self.study]
        points = [(p["quantities"], p["swept"]) for p in summary["points"] if _agree(p["swept"], self.at)]
        if not points:
            return Found(f"the results of {self.study} at hand do not contain it", command=summary["command"])
        return _judged(self.check(points), summary["command"])


@dataclass(frozen=True, kw_only=True)
class MeasuredConstant(_Fitted):
    """Evidence: the constant that a study fits at a known order, beside the number that is expected.

    Attributes:
        expected: the number.
    """

    part = "constant"

    expected: float

    def _says(self, rate: Mapping[str, Any], where: str) -> Found:
        low, high = rate["constant"]["interval"]
        least, most = ((1 + side * TOLERANCE) * self.expected for side in (-1, 1))
        judged = "supported" if least <= low and high <= most else "not resolved"
        if high < least or low > most:
            judged = "contradicted"
        return Found(f"{rate['constant']['value']:.3f} for {where}", f"[{low:.3f}, {high:.3f}]", verdict=judged)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A quantitative claim.

    Attributes:
        source: the authors.
        number: the number of the statement.
        promised: what it says.
        evidence: what is held against it.
        erratum: what is wrong in it, "" where nothing is known to be.
    """

    source: str
    number: str
    promised: str
    evidence: Evidence
    erratum: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the ledger.

    Attributes:
        source: the authors.
        number: the number of the statement.
        promised: what it says.
        measured: the value, or why there is none.
        interval: the 95 % interval, "" where there is none.
        command: the command that reproduces it, with the setting that was run.
        verdict: "supported", "contradicted", "not resolved" or "not testable".
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


def rows_of(listed: Sequence[Claim], results: Results) -> list[Row]:
    """Return the ledger's rows.

    Args:
        listed: the claims.
        results: the summaries of studies by name, as ``kspde study`` writes them.
    """
    return [
        Row(
            source=claim.source,
            number=claim.number,
            promised=claim.promised,
            erratum=claim.erratum,
            **claim.evidence.found(results)._asdict(),
        )
        for claim in listed
    ]


@cache
def claims() -> tuple[Claim, ...]:
    """Return the claims of all sources, in their order."""
    text = (resources.files("kspde") / "papers" / "ledger" / "claims.toml").read_text(encoding="utf-8")
    numbers = _numbers()
    return tuple(_claim(source, entry, numbers) for source, its in tomllib.loads(text).items() for entry in its)


def _numbers() -> dict[str, float]:
    """Return the numbers that claims refer to by name: what the theorems give at the parameters of the studies."""
    one, two = theory.theorem1(theta=0.3, alpha=0.1, m=4), theory.theorem2(theta=0.4, alpha=0.1, m=7)
    gamma_1, gamma_2, eta_2 = 0.019, 0.0025, 0.03
    beta = two.beta_sup(gamma_2, eta_2)
    return {
        "critical_strength": theory.critical_strength(),
        "eta": one.eta_sup(gamma_1),
        "eta_kept": theory.improved_exponents(theta=0.3, alpha=0.1, m=40).eta_sup(gamma_1),
        "beta": beta,
        "entropy_rate": gamma_2 * beta,
        "entropy_rate_kept": theory.improved_exponents(theta=0.4, alpha=0.1, m=60).entropy_rate(gamma_2),
        "l1_rate": gamma_2 * beta / 2,
        "remark_rate": 8 * gamma_2,
        "log_slope": LOG_SLOPE,
    }


def _claim(source: str, entry: Mapping[str, Any], numbers: Mapping[str, float]) -> Claim:
    printed = {name: f"{value:g}" for name, value in numbers.items()}
    return Claim(
        source=entry.get("source", source),
        number=entry["number"],
        promised=Template(entry["promised"]).substitute(printed),
        evidence=_evidence(entry, numbers),
        erratum=Template(entry.get("erratum", "")).substitute(printed),
    )


def _evidence(entry: Mapping[str, Any], numbers: Mapping[str, float]) -> Evidence:
    if "not_testable" in entry:
        return NotTestable(entry["not_testable"])
    if "computed" in entry:
        return Computed(getattr(checks, entry["computed"]), entry.get("command", "kspde ledger"))
    at = entry.get("at", {})
    if "points" in entry:
        points = entry["points"]
        return MeasuredRatio(study=points["study"], check=getattr(point_checks, points["check"]), at=at)

    if "constant" in entry:
        return MeasuredConstant(**entry["constant"], at=at)

    def order(given: float | str) -> float:
        return numbers[given] if isinstance(given, str) else given

    also = tuple((who, order(theirs)) for who, theirs in entry.get("also", ()))
    return MeasuredRate(**(entry["rate"] | {"order": order(entry["rate"]["order"])}), at=at, also=also)


def _without_results(study: str) -> Found:
    return Found(f"no results of the study {study} are at hand")


def _agree(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(values.get(name) == value for name, value in wanted.items())


def _judged(check: Check, command: str) -> Found:
    low, high = check.interval
    judged = "supported" if high <= 1.0 else "contradicted" if low > 1.0 else "not resolved"
    return Found(check.value, "" if low == high else f"ratio in [{low:.3g}, {high:.3g}]", command, judged)
