r"""What a study found: its table, its rates, and a verdict on each promise.

**The rule of the verdicts.** A promise of order p says that a quantity is at most a constant times the p-th power of
N^(−1), ε, dt or h, for some constant. Of a finite range of parameters one can say how fast the quantity decays there:
with the fitted order q and its 95 % interval [q₋, q₊] (:mod:`kspde.papers.studies.power_law`) the promise is

- *supported* when q₋ ≥ p − τ: it decays at least as fast as promised;
- *contradicted* when q₊ < p − τ: it decays more slowly, over this range;
- *not resolved* otherwise, and where no rate can be fitted.

τ is 5 % of p, since no finite range is asymptotic. A slower decay over a finite range does not disprove an asymptotic
statement, and a faster one does not prove it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kspde.papers.studies.execute import read_point
from kspde.papers.studies.formulas import label_of
from kspde.papers.studies.measures import MEASURES
from kspde.papers.studies.power_law import Constant, PowerLaw, fit_constant, fit_power_law
from kspde.papers.studies.quantities import Meaning, Quantity, given
from kspde.papers.studies.study import GROWING, Fit, Study
from kspde.tables import table_of

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["NOT_RESOLVED", "TOLERANCE", "Outcome", "Promised", "Rate", "by_chance", "outcome_of", "rates_of", "verdict"]

#: τ as a share of the promised order.
TOLERANCE = 0.05

NOT_RESOLVED = (
    f"Not resolved: the promised order, less {TOLERANCE:.0%}, lies inside the 95 % interval, so that these runs decide "
    "neither for it nor against it; more replicas or a wider range of values may."
)


def verdict(interval: tuple[float, float] | None, promised: float) -> str:
    """Return "supported", "contradicted" or "not resolved" for the interval of a fitted order.

    Args:
        interval: the interval of the order; None where there is none.
        promised: p.
    """
    if interval is None:
        return "not resolved"
    least = promised - TOLERANCE * abs(promised)
    if interval[0] >= least:
        return "supported"
    return "contradicted" if interval[1] < least else "not resolved"


def by_chance(count: int) -> str:
    """Return a sentence on what chance alone does to verdicts that rest on 95 % intervals.

    One end of such an interval is on the wrong side with probability 2.5 %; that often a true promise is contradicted,
    and a false one supported. Expected numbers add up whether or not the measurements are independent (those of a study
    share its runs).

    Args:
        count: the number of measured numbers judged by an interval, each counted once whatever is promised of it.
    """
    if count == 0:
        return "Nothing is judged by an interval."
    judged = "1 measured number is" if count == 1 else f"{count} measured numbers are"
    return (
        f"{judged} judged by a 95 % interval. If all that is promised holds, at most {0.025 * count:.2g} of them are "
        "expected to be contradicted by chance (2.5 % of each), and to see one or more has a probability of at most "
        f"{100 * min(1.0, 0.025 * count):.0f} %. A promise that fails is supported by chance as rarely."
    )


@dataclass(frozen=True, kw_only=True)
class Promised:
    """A promise at a group of points.

    Attributes:
        order: the order p.
        source: where the promise is stated.
        status: "proved", "improved", "printed" or "expected".
        verdict: "supported", "contradicted" or "not resolved".
    """

    order: float
    source: str
    status: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The fitted order of a quantity at a group of points, with what is promised of it.

    Attributes:
        fit: the fit.
        group: the values of the other swept parameters.
        x: the abscissae.
        values: the quantities there.
        law: the power law; None where the values determine none.
        promises: what is promised there, with verdicts.
        constant: the constant at the order that the fit names; None where it names none, or nothing has an error.
    """

    fit: Fit
    group: Mapping[str, Any]
    x: tuple[float, ...]
    values: tuple[Quantity, ...]
    law: PowerLaw | None
    promises: tuple[Promised, ...] = ()
    constant: Constant | None = None

    @property
    def order(self) -> tuple[float, tuple[float, float]] | None:
        """The order of decay and its interval; None without a power law."""
        if self.law is None:
            return None
        low, high = self.law.interval
        if self.fit.against in GROWING:
            return -self.law.slope, (-high, -low)
        return self.law.slope, (low, high)

    @property
    def label(self) -> str:
        """The group in words."""
        return label_of(self.group, symbols=False)

    def judged(self) -> Rate:
        """Return the rate with the promises of its fit that cover the group, and their verdicts."""
        interval = self.order[1] if self.order else None
        orders = ((promise.order(self.group), promise) for promise in self.fit.promises)
        promises = (
            Promised(order=p, source=promise.source, status=promise.status, verdict=verdict(interval, p))
            for p, promise in orders
            if p is not None
        )
        return replace(self, promises=tuple(promises))

    def summary(self) -> dict[str, Any]:
        """Return the rate ready for JSON."""
        return {
            "quantity": self.fit.quantity,
            "against": self.fit.against,
            "group": dict(self.group),
            "x": list(self.x),
            "values": [q.value for q in self.values],
            "intervals": [list(q.interval) for q in self.values],
            "order": self.order[0] if self.order else None,
            "interval": list(self.order[1]) if self.order else None,
            "rate": self.law.summary() if self.law else None,
            "promises": [asdict(promise) for promise in self.promises],
            **({"constant": asdict(self.constant)} if self.constant else {}),
        }

    @classmethod
    def from_summary(cls, entry: Mapping[str, Any]) -> Rate:
        """Return the rate that ``summary`` described."""
        return cls(
            fit=Fit(quantity=entry["quantity"], against=entry["against"]),
            group=entry["group"],
            x=tuple(entry["x"]),
            values=tuple(given(v, ends) for v, ends in zip(entry["values"], entry["intervals"], strict=True)),
            law=PowerLaw.from_summary(entry["rate"]) if entry["rate"] else None,
            promises=tuple(Promised(**promise) for promise in entry["promises"]),
            constant=Constant(**made) if (made := entry.get("constant")) else None,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study with the records of all of its points.

    Attributes:
        study: the study.
        records: the points' records, in their order.
        rates: the fitted rates.
    """

    study: Study
    records: tuple[Mapping[str, Any], ...]
    rates: tuple[Rate, ...]

    @property
    def quantities(self) -> Mapping[str, Meaning]:
        """The meaning of each measured quantity, by name."""
        present = self.records[0]["quantities"]
        return {name: what for name, what in MEASURES[self.study.measure].quantities.items() if name in present}

    @property
    def warnings(self) -> tuple[str, ...]:
        """The runs' warnings, each line once, with the number of points it concerns unless it concerns all."""
        counts = Counter(line for record in self.records for line in record["warnings"])
        total = len(self.records)
        return tuple(
            line if count == total else f"{line} (at {count} of {total} points)"
            for line, count in sorted(counts.items())
        )

    @property
    def origins(self) -> tuple[str, ...]:
        """Where and when the points were computed, in words: several entries where runs have shared them."""
        known = [record["provenance"] for record in self.records if "provenance" in record]
        counts = Counter(
            (p["machine"]["host"], p["ranks"], p["threads_per_rank"], p["versions"]["kspde"], p["date"][:10])
            for p in known
        )
        return tuple(
            f"{count} on {host}, {ranks} ranks with {threads} threads each, kspde {version}, {day}"
            for (host, ranks, threads, version, day), count in sorted(counts.items())
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the tidy table: one row per point and quantity."""
        for record in self.records:
            for name, quantity in record["quantities"].items():
                yield {
                    **record["swept"],
                    "quantity": name,
                    "value": quantity.value,
                    "low": quantity.interval[0],
                    "high": quantity.interval[1],
                    "error": quantity.error,
                    "replicas": len(quantity.samples),
                    "seconds": record["seconds"],
                }

    def to_pandas(self) -> DataFrame:
        """Return the table as one of pandas: a row per point and quantity.

        Raises:
            MissingBackendError: pandas is not installed.
        """
        return table_of(self.rows())


def outcome_of(study: Study, directory: Path) -> Outcome:
    """Return the outcome of a study all of whose points are finished."""
    records = [read_point(directory, point) for point in study.points]
    done = tuple(record for record in records if record is not None)
    if len(done) < len(records):
        raise ValueError(f"{len(records) - len(done)} points are missing")
    rates = tuple(rate for fit in study.fits for rate in _fitted(study, fit, done))
    return Outcome(study=study, records=done, rates=rates)


def rates_of(summary: Mapping[str, Any]) -> list[Rate]:
    """Return the rates in a study's summary.

    Args:
        summary: the content of ``summary.json``.
    """
    return [Rate.from_summary(entry) for entry in summary["rates"]]


def _fitted(study: Study, fit: Fit, records: tuple[Mapping[str, Any], ...]) -> Iterator[Rate]:
    """Return the rates of a fit, one for each combination of the other swept parameters."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    others = [name for name in study.axes if name != fit.against]
    towards = -1 if fit.against in GROWING else 1
    for record in records:
        swept = record["swept"]
        if all(swept.get(name) == value for name, value in fit.where.items()):
            groups.setdefault(tuple(swept[name] for name in others), []).append(record)
    for values, members in groups.items():
        found = tuple(record["quantities"][fit.quantity] for record in members)
        x = tuple(float(record["swept"][fit.against]) for record in members)
        values_with_errors = (
            [q.value for q in found],
            [q.error for q in found],
            [float(len(q.samples)) if q.samples else float("inf") for q in found],
        )
        correction = towards if fit.correction else None
        law = fit_power_law(x, *values_with_errors, correction=correction, scale=fit.scale)
        constant = None if fit.constant is None else fit_constant(x, *values_with_errors, towards * fit.constant)
        group = dict(zip(others, values, strict=True))
        yield Rate(fit=fit, group=group, x=x, values=found, law=law, constant=constant).judged()
