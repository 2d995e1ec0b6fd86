"""What a study is: points in a space of parameters, a measure for each, and the rates to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kspde._version import __version__
from kspde.errors import check_integer, check_number
from kspde.papers.experiment import Experiment
from kspde.papers.studies.formulas import label_of
from kspde.papers.studies.measures import Measure
from kspde.papers.studies.promises import Promise

__all__ = ["GROWING", "NOISE_OF", "Finding", "Fit", "Point", "Precision", "Study"]

#: Parameters that tend to infinity: errors decay as they grow. All others tend to zero.
GROWING = frozenset({"cells", "n"})

#: The version whose random numbers all later ones draw: those of the shipped results.
NOISE_OF = "0.1.0"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a sweep.

    Attributes:
        swept: the values of the swept parameters, by their short names.
        parameters: all parameters that decide the result, ready for JSON.
        experiment: the problem, and how it is computed.
        measure: the measure.
    """

    swept: Mapping[str, Any]
    parameters: Mapping[str, Any]
    experiment: Experiment
    measure: Measure

    @property
    def key(self) -> str:
        """The hash of the parameters and of kspde's version, which names the point's file."""
        return self._hash(__version__)

    @property
    def seed(self) -> int:
        """The seed of the random numbers, a hash of the parameters so that no two points share noise."""
        return int(self._hash(NOISE_OF)[:8], 16)

    def _hash(self, version: str) -> str:
        text = json.dumps([version, dict(self.parameters)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def label(self) -> str:
        """The swept values in one line."""
        return label_of(self.swept, symbols=False)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A rate to fit: quantity ~ against^slope, for each value of the other swept parameters.

    Attributes:
        quantity: the name of a quantity of the measure.
        against: the short name of a swept parameter.
        where: the values of other swept parameters that the fit is restricted to.
        promises: what is promised of the rate.
        correction: whether the next power of a known expansion, in 1/n or in eps, dt, is fitted too.
        scale: "logarithmic" for a line through the logarithms, "linear" for weighted least squares of all values.
        constant: the order of decay at which the constant is fitted too, on the linear scale.
    """

    quantity: str
    against: str
    where: Mapping[str, Any] = field(default_factory=dict)
    promises: tuple[Promise, ...] = ()
    correction: bool = False
    scale: Literal["logarithmic", "linear"] = "logarithmic"
    constant: float | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A question that a study answers: a section of the handbook's chapter on findings.

    Attributes:
        question: the question, a line.
        source: who states something about it.
        statement: what is stated.
        answer: what was found, some sentences.
        unresolved: what stays open.
        shown: the quantities whose values are shown at each point.
    """

    question: str
    source: str
    statement: str
    answer: str
    unresolved: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The relative standard error that the replicas of each point are chosen for, before the run.

    Attributes:
        quantity: the quantity, a mean over replicas.
        relative: its standard error over its value, positive.
        pilot: the number of replicas of the pilot run, at least 4, and the fewest of the run.
    """

    quantity: str
    relative: float
    pilot: int = 16

    def __post_init__(self) -> None:
        check_number("relative", self.relative, above=0)
        check_integer("pilot", self.pilot, at_least=4)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A sweep.

    Attributes:
        name: the name.
        title: the title, one line.
        about: a description, some sentences.
        setting: "small" or "full".
        measure: the name of the measure.
        axes: the values of the swept parameters in order, by short name.
        points: one point for each combination of the values.
        fits: the rates to fit.
        command: the command that runs it.
        finding: the question that it answers; None for studies of rates alone.
        precision: what chooses the replicas of each point; None where the measure states them.
    """

    name: str
    title: str
    about: str
    setting: str
    measure: str
    axes: Mapping[str, tuple[Any, ...]]
    points: tuple[Point, ...]
    fits: tuple[Fit, ...]
    command: str
    finding: Finding | None = None
    precision: Precision | None = None

    def shard(self, i: int, n: int, seconds: Sequence[float] | None = None) -> Study:
        """Return the study with the points of the i-th of n parts only: those of place k with k mod n = i − 1.

        Args:
            i: the part, 1 to n.
            n: the number of parts.
            seconds: what each point takes, if that is known: then the longest point comes first, and each goes to the
                part that has the least to do.
        """
        costs = [1.0] * len(self.points) if seconds is None else seconds
        load, own = [0.0] * n, []
        for k in sorted(range(len(costs)), key=lambda k: -costs[k]):
            part = load.index(min(load))
            load[part] += costs[k]
            if part == i - 1:
                own.append(k)
        return replace(self, points=tuple(self.points[k] for k in sorted(own)))

    def described(self) -> dict[str, Any]:
        """Return the parameters that decide the study's results, ready for JSON."""
        return {
            "study": self.name,
            "setting": self.setting,
            "measure": self.measure,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "points": {p.key: dict(p.parameters) for p in self.points},
        }
