"""Statistics of the particles, taken at saved times without storing positions.

To add one, write its class here and name it in ``STATISTICS``; its attributes are its arguments.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kspde.errors import InputError, check_choice, check_integer
from kspde.models import Field
from kspde.particles.fields.base import FieldEvaluator
from kspde.particles.run import Observer, Run
from kspde.particles.system import System
from kspde.particles.weights import ParticleWeights
from kspde.runtime.parallel import threads_per_rank, together
from kspde.runtime.reductions import gather_rows, reduced
from kspde.runtime.saving import SaveAt
from kspde.typing import Array, Comm

__all__ = ["STATISTICS", "Statistic", "StatisticsRecorder", "check_statistics", "statistics_of"]


class Statistic(ABC):
    """A statistic of the particles at one time.

    Attributes:
        name: what ``SaveAt(statistics=...)`` calls it where its arguments keep their defaults.
        arrays: what each array is, in words, followed by the names of its axes, for the files of a cloud.
    """

    name: ClassVar[str]
    arrays: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def check(self, fields: Sequence[Field], *, mean_field: bool) -> None:  # noqa: B027 - most always have a meaning
        """Raise an ``InputError`` where the statistic has no meaning for these fields, or needs a mean field."""

    def check_weights(self, weights: ParticleWeights) -> None:  # noqa: B027
        """Raise an ``InputError`` where the statistic has no meaning for these weights."""

    @abstractmethod
    def __call__(self, run: Run, own_fields: Callable[[], FieldEvaluator]) -> dict[str, Array]:
        """Return arrays by name, whose first axis is that of species, or of fields. Collective.

        Args:
            run: the run at a saved time.
            own_fields: makes an evaluator of the fields of an empirical measure.
        """


@dataclass(frozen=True)
class Moments(Statistic):
    """``covariance``, (species, d, d), ``third_moment`` and ``fourth_moment``, (species, d), all central.

    They are those of the probability measure μ/∫dμ, whatever the mass (the diagnostics' ``second_moment`` is not
    central, and an integral over μ itself): with weights w_j ≥ 0 sums Σ_j w_j f(X_j − mean) / Σ_j w_j.
    """

    name = "moments"
    arrays: ClassVar = {
        "covariance": ("covariance of the normalised measure", "species", "coordinate", "other_coordinate"),
        "third_moment": ("central third moment of the normalised measure", "species", "coordinate"),
        "fourth_moment": ("central fourth moment of the normalised measure", "species", "coordinate"),
    }

    def check_weights(self, weights: ParticleWeights) -> None:
        """Refuse weights of both signs."""
        if weights.signed:
            raise InputError(
                f'statistics = "moments" are central moments, which have no meaning with weights < 0 (species '
                f"{weights.signed[0]!r}): leave them out; diagnostics hold the first two moments of the measure"
            )

    def __call__(self, run: Run, own_fields: Callable[[], FieldEvaluator]) -> dict[str, Array]:
        system = run.particles
        covariance, third, fourth = [], [], []
        for name, x in system.positions.items():
            y = x - system.seen.mean[name]
            w, total = _weights(system, name)
            covariance.append(_sum(system.comm, (w * y).T @ y) / total)
            third.append(_sum(system.comm, (w * y**3).sum(axis=0)) / total)
            fourth.append(_sum(system.comm, (w * y**4).sum(axis=0)) / total)
        return {
            "covariance": np.array(covariance),
            "third_moment": np.array(third),
            "fourth_moment": np.array(fourth),
        }


@dataclass(frozen=True)
class MinimalDistance(Statistic):
    """``minimal_distance``, min |X_i − X_j| over i ≠ j of a species, (species,); inf for a single particle.

    Rank 0 builds a k-d tree of all particles.
    """

    name = "minimal_distance"
    arrays: ClassVar = {"minimal_distance": ("least distance of two particles of the species", "species")}

    def __call__(self, run: Run, own_fields: Callable[[], FieldEvaluator]) -> dict[str, Array]:
        system = run.particles
        out = np.full(len(system.positions), np.inf)
        for i, (name, local) in enumerate(system.positions.items()):
            x = gather_rows(local, system.comm)
            with together(system.comm):
                if x is not None and system.counts[name] > 1:
                    from scipy.spatial import cKDTree

                    torus = system.region if system.region is not None and system.region.periodic else None
                    if torus is not None:
                        x = np.mod(x - torus.bounds[0], torus.sides)
                    tree = cKDTree(x, boxsize=None if torus is None else torus.sides)
                    distance, _ = tree.query(x, k=2, workers=threads_per_rank(system.comm))
                    out[i] = distance[:, 1].min()
        return {"minimal_distance": np.asarray(system.comm.bcast(out))}


@dataclass(frozen=True)
class Histogram(Statistic):
    """``histogram``, (species, d, bins), the counts of each coordinate, and ``histogram_edges``.

    Particles with their own weights count with these: a bin holds its share of the measure Σ_j w_j δ_{X_j}. The bins
    divide the extent of all particles at that time.

    Attributes:
        bins: number of bins, 1 to 1 000 000.

    Raises:
        InputError: another number.
    """

    name = "histogram"
    arrays: ClassVar = {
        "histogram": ("number of particles, or weight, per bin of a coordinate", "species", "coordinate", "bin"),
        "histogram_edges": ("ends of the bins of a coordinate", "species", "coordinate", "edge"),
    }
    bins: int = 64

    def __post_init__(self) -> None:
        check_integer("bins", self.bins, at_least=1, at_most=10**6)

    def __call__(self, run: Run, own_fields: Callable[[], FieldEvaluator]) -> dict[str, Array]:
        system = run.particles
        extent = system.seen.extent
        counts, edges = [], []
        for name, x in system.positions.items():
            own = system.own_weights(name)
            for axis in range(x.shape[1]):
                low, high = float(extent.lower[axis]), float(extent.upper[axis])
                edge = np.linspace(low, high if high > low else low + 1.0, self.bins + 1)
                counts.append(_sum(system.comm, np.histogram(x[:, axis], edge, weights=own)[0].astype(np.float64)))
                edges.append(edge)
        shape = (len(system.positions), system.model.dimension, -1)
        return {"histogram": np.array(counts).reshape(shape), "histogram_edges": np.array(edges).reshape(shape)}


@dataclass(frozen=True)
class FieldFluctuations(Statistic):
    r"""Moments of the fields' fluctuation at the mean-field particles, by field, over particles of all species.

    .. math:: F_i = \sum_j w_j K^\varepsilon(\bar X_i - \bar X_j) - K^\varepsilon * u^\varepsilon(\bar X_i)

    is what the law of large numbers of Wang, Li and Huang's Lemma 2 bounds, :math:`E|F|^{2m} \le C(m) N^{-m}`:
    ``fluctuation_moments``, (fields, 2), the means of F² and F⁴, and ``fluctuation_maximum``, (fields,). ∇K does not
    enter.
    """

    name = "field_fluctuations"
    arrays: ClassVar = {
        "fluctuation_moments": ("means of F^2 and F^4 over the particles", "field", "power"),
        "fluctuation_maximum": ("maximum of |F| over the particles", "field"),
    }

    def check(self, fields: Sequence[Field], *, mean_field: bool) -> None:
        """Refuse runs without a mean field, and fields with memory."""
        if not mean_field:
            raise InputError('statistics = "field_fluctuations" needs mean_field: give what kspde.solve returned')
        if any(f.tau > 0 for f in fields):
            raise InputError(
                'statistics = "field_fluctuations" is the law of large numbers at one time, which says nothing of a '
                "field with tau > 0: leave it out"
            )

    def __call__(self, run: Run, own_fields: Callable[[], FieldEvaluator]) -> dict[str, Array]:
        system = run.systems["mean_field"]
        system.prepare(run.t)
        own = own_fields()
        own.update(system.positions, system.seen.extent)
        powers = np.zeros((len(own.fields), 2))
        largest = np.zeros(len(own.fields))
        for name, x in system.positions.items():
            here, there = own.at(name, x), system.at(name, x)
            for i, f in enumerate(own.fields):
                square = np.square(here[f.name] - there[f.name])
                powers[i] += square.sum(), np.square(square).sum()
                largest[i] = max(largest[i], math.sqrt(square.max(initial=0.0)))
        return {
            "fluctuation_moments": _sum(system.comm, powers) / sum(system.counts.values()),
            "fluctuation_maximum": reduced(system.comm, largest, "MAX"),
        }


#: Classes by the name that ``SaveAt(statistics=...)`` accepts.
STATISTICS: dict[str, type[Statistic]] = {
    statistic.name: statistic for statistic in (Moments, MinimalDistance, Histogram, FieldFluctuations)
}


def statistics_of(save: SaveAt | None) -> tuple[Statistic, ...]:
    """Return the statistics to save, as objects.

    Raises:
        InputError: an unknown statistic, or two of one name.
    """
    found: dict[str, Statistic] = {}
    for given in () if save is None else save.statistics:
        own: Statistic | None = given if isinstance(given, Statistic) else None
        statistic = own or STATISTICS[check_choice("statistics", given, STATISTICS)]()
        if found.setdefault(statistic.name, statistic) != statistic:
            raise InputError(f"statistics has {found[statistic.name]} and {statistic}: give one of them")
    return tuple(found.values())


def check_statistics(save: Any, fields: Sequence[Field], *, mean_field: bool) -> SaveAt | None:
    """Return ``save``, checked.

    Raises:
        InputError: not a SaveAt, or a statistic that is unknown, has no meaning here, or shares its name with another.
    """
    if save is None:
        return None
    checked = SaveAt.checked(save)
    for statistic in statistics_of(checked):
        statistic.check(fields, mean_field=mean_field)
    return checked


class StatisticsRecorder(Observer):
    """Records statistics after some steps, and passes the snapshot to the user's function."""

    name = "statistics"

    def __init__(
        self,
        save: SaveAt,
        steps: Sequence[int],
        own_fields: Callable[[], FieldEvaluator],
        snapshot: Callable[[Run], Any],
    ) -> None:
        super().__init__()
        self._callback, self._statistics = save.callback, statistics_of(save)
        self._steps, self._own_fields, self._snapshot = steps, own_fields, snapshot

    def __call__(self, run: Run) -> None:
        """Record the statistics where it is time. Collective."""
        if run.step not in self._steps:
            return
        found = {"t": np.array(run.t)}
        for statistic in self._statistics:
            found |= statistic(run, self._own_fields)
        count = self._steps.index(run.step)
        known = self.recorded or {name: value[None][:0] for name, value in found.items()}
        if {name: rows.shape for name, rows in known.items()} != {name: (count, *a.shape) for name, a in found.items()}:
            raise InputError("statistics of the checkpoint do not fit this run: remove it to start from the beginning")
        self.recorded = {name: np.concatenate([known[name], value[None]]) for name, value in found.items()}
        if self._callback is not None:
            self._callback(self._snapshot(run))

    def statistics(self) -> dict[str, Array]:
        """Return by name an array over the saved times; without the axis of species, or fields, where there is one."""
        return {name: a[:, 0] if a.ndim > 1 and a.shape[1] == 1 else a for name, a in self.recorded.items()}


def _weights(system: System, species: str) -> tuple[Array | float, float]:
    """Return weights that multiply rows, and their sum: 1 and n where all are equal."""
    own = system.own_weights(species)
    if own is None:
        return 1.0, system.counts[species]
    return own[:, None], float(_sum(system.comm, own.sum(keepdims=True))[0])


def _sum(comm: Comm, values: Array) -> Array:
    return reduced(comm, np.ascontiguousarray(values, dtype=np.float64))
