"""What a study is: points in a space of parameters, what is measured at each, and the rates to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kspde._version import __version__
from kspde.domains import Domain
from kspde.initial import InitialDensity
from kspde.models import Model
from kspde.papers.studies.formulas import label_of
from kspde.papers.studies.promises import Promise

__all__ = ["GROWING", "Fit", "Point", "Problem", "Study"]

#: Parameters whose limit is infinity: errors decay as they grow. All others go to zero.
GROWING = frozenset({"cells", "n"})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A system to compute with.

    Attributes:
        model: the model.
        u0: the initial density.
        domain: the truncated plane.
        solve: keyword arguments of ``kspde.solve`` beyond these, ``t_end`` among them.
        simulate: keyword arguments of ``kspde.simulate``; empty where there are no particles.
    """

    model: Model
    u0: InitialDensity
    domain: Domain
    solve: Mapping[str, Any]
    simulate: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a sweep.

    Attributes:
        swept: the values of the swept parameters, by their short names.
        parameters: all that decides the result, ready for JSON.
        problem: the system.
        measure: the name of the measure.
        options: the measure's keyword arguments.
    """

    swept: Mapping[str, Any]
    parameters: Mapping[str, Any]
    problem: Problem
    measure: str
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A hash of the parameters and of kspde's version: the name of its file."""
        text = json.dumps([__version__, dict(self.parameters)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def seed(self) -> int:
        """The seed of its random numbers: from the hash, so that no two points share noise."""
        return int(self.key[:8], 16)

    @property
    def label(self) -> str:
        """The swept values in a line."""
        return label_of(self.swept, symbols=False)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A rate to fit: quantity ~ against^slope, for each value of the other swept parameters.

    Attributes:
        quantity: what the measure returns under this name.
        against: the short name of a swept parameter.
        where: values of other swept parameters that the fit is restricted to.
        promises: what is promised of the rate.
        correction: whether the next power of a known expansion, in 1/n or in eps, dt, is fitted beside the rate.
    """

    quantity: str
    against: str
    where: Mapping[str, Any] = field(default_factory=dict)
    promises: tuple[Promise, ...] = ()
    correction: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """A sweep.

    Attributes:
        name: what it is called.
        title: a line.
        about: some sentences.
        setting: "small" or "full".
        measure: the name of the measure.
        axes: the swept parameters by short name, with their values in order.
        points: one for each combination.
        fits: the rates to fit.
        command: the command that runs it.
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

    def described(self) -> dict[str, Any]:
        """Return what decides its results, ready for JSON."""
        return {
            "study": self.name,
            "setting": self.setting,
            "measure": self.measure,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "points": {p.key: dict(p.parameters) for p in self.points},
        }
