r"""What is measured of the particles at saved times, without storing their positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kspde.errors import InputError, check_choice
from kspde.models.base import Array
from kspde.particles.fields.base import FieldEvaluator
from kspde.particles.run import Run
from kspde.particles.system import System, gather_rows
from kspde.runtime.parallel import threads_per_rank, together
from kspde.runtime.saving import SaveAt

__all__ = ["STATISTICS", "Saves"]

#: Bins of a histogram.
BINS = 64


@dataclass(frozen=True)
class _Context:
    """What a statistic may look at."""

    particles: System
    twins: System | None
    #: Makes an evaluator of the fields of an empirical measure.
    own_fields: Callable[[], FieldEvaluator]


def _sum(comm: Any, values: Array) -> Array:
    out: Array = np.ascontiguousarray(values, dtype=np.float64)
    if comm.size > 1:
        from mpi4py import MPI

        comm.Allreduce(MPI.IN_PLACE, out, op=MPI.SUM)
    return out


def moments(context: _Context) -> dict[str, Array]:
    """Return ``covariance``, (species, d, d), ``third_moment`` and ``fourth_moment``, (species, d), all central.

    They are those of the probability measure μ/∫dμ, whatever the mass (the diagnostics' ``second_moment`` is not
    central, and an integral over μ itself): with weights w_j ≥ 0 sums Σ_j w_j f(X_j − mean) / Σ_j w_j.
    """
    system = context.particles
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


def _weights(system: System, species: str) -> tuple[Array | float, float]:
    """Return weights that multiply rows, and their sum: 1 and n where all are equal."""
    own = system.own_weights(species)
    if own is None:
        return 1.0, system.counts[species]
    return own[:, None], float(_sum(system.comm, own.sum(keepdims=True))[0])


def minimal_distance(context: _Context) -> dict[str, Array]:
    """Return ``minimal_distance``, min |X_i − X_j| over i ≠ j of a species, (species,); inf for one particle.

    Rank 0 builds a k-d tree of all of them.
    """
    system = context.particles
    out = np.full(len(system.positions), np.inf)
    for i, (name, local) in enumerate(system.positions.items()):
        x = gather_rows(local, system.comm)
        with together(system.comm):
            if x is not None and system.counts[name] > 1:
                from scipy.spatial import cKDTree

                distance, _ = cKDTree(x).query(x, k=2, workers=threads_per_rank(system.comm))
                out[i] = distance[:, 1].min()
    return {"minimal_distance": np.asarray(system.comm.bcast(out))}


def histogram(context: _Context) -> dict[str, Array]:
    """Return ``histogram``, (species, d, bins), the counts of each coordinate, and ``histogram_edges``.

    Particles with weights of their own count with these: a bin has what the measure Σ_j w_j δ_{X_j} gives it. The bins
    divide the extent of all particles at that time.
    """
    system = context.particles
    extent = system.seen.extent
    counts, edges = [], []
    for name, x in system.positions.items():
        own = system.own_weights(name)
        for axis in range(x.shape[1]):
            low, high = float(extent.lower[axis]), float(extent.upper[axis])
            edge = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
            counts.append(_sum(system.comm, np.histogram(x[:, axis], edge, weights=own)[0].astype(np.float64)))
            edges.append(edge)
    shape = (len(system.positions), system.model.dimension, -1)
    return {
        "histogram": np.array(counts).reshape(shape),
        "histogram_edges": np.array(edges).reshape(shape),
    }


def field_fluctuations(context: _Context) -> dict[str, Array]:
    r"""Return moments of the fields' fluctuation at the mean-field particles, by field, over particles of all species.

    .. math:: F_i = \sum_j w_j K^\varepsilon(\bar X_i - \bar X_j) - K^\varepsilon * u^\varepsilon(\bar X_i)

    is what the law of large numbers of Wang, Li and Huang's Lemma 2 bounds, :math:`E|F|^{2m} \le C(m) N^{-m}`:
    ``fluctuation_moments``, (fields, 2), the means of F² and F⁴, and ``fluctuation_maximum``, (fields,). ∇K is not
    looked at.
    """
    system = context.twins
    if system is None:
        raise InputError('statistics = "field_fluctuations" needs mean_field: give what kspde.solve returned')
    own = context.own_fields()
    own.update(system.positions, system.seen.extent)
    powers = np.zeros((len(own.fields), 2))
    largest = np.zeros(len(own.fields))
    for name, x in system.positions.items():
        here, there = own.at(name, x), system.at(name, x)
        for i, f in enumerate(own.fields):
            square = np.square(here[f.name] - there[f.name])
            powers[i] += square.sum(), np.square(square).sum()
            largest[i] = max(largest[i], math.sqrt(square.max(initial=0.0)))
    if system.comm.size > 1:
        from mpi4py import MPI

        system.comm.Allreduce(MPI.IN_PLACE, largest, op=MPI.MAX)
    return {
        "fluctuation_moments": _sum(system.comm, powers) / sum(system.counts.values()),
        "fluctuation_maximum": largest,
    }


#: By name: a collective function of the context that returns arrays whose first axis is that of species, or of fields.
STATISTICS: dict[str, Callable[[_Context], dict[str, Array]]] = {
    "moments": moments,
    "minimal_distance": minimal_distance,
    "histogram": histogram,
    "field_fluctuations": field_fluctuations,
}


@dataclass
class Saves:
    """Takes the statistics at the saved times, and calls the user's function.

    Attributes:
        save: what is wanted.
        steps: the steps after which, ascending.
        own_fields: makes an evaluator of the fields of an empirical measure.
        snapshot: makes what the user's function is called with.
        name: names its arrays in a checkpoint.
    """

    save: SaveAt
    steps: Sequence[int]
    own_fields: Callable[[], FieldEvaluator]
    snapshot: Callable[[Run], Any]
    name: str = "saves"
    _rows: dict[str, list[Array]] = field(default_factory=dict)

    def look(self, run: Run) -> None:
        """Take them where it is time. Collective."""
        if run.step not in self.steps:
            return
        twins = run.systems.get("mean_field")
        if twins is not None and "field_fluctuations" in self.save.statistics:
            twins.prepare(run.t)
        context = _Context(run.particles, twins, self.own_fields)
        found = {"t": np.array(run.t)}
        for name in self.save.statistics:
            found |= STATISTICS[name](context)
        for name, value in found.items():
            rows = self._rows.setdefault(name, [])
            if len(rows) != self.steps.index(run.step) or (rows and np.shape(rows[-1]) != value.shape):
                raise InputError(
                    "statistics of the checkpoint do not fit this run: remove it to start from the beginning"
                )
            rows.append(value)
        if self.save.callback is not None:
            self.save.callback(self.snapshot(run))

    def state(self) -> Mapping[str, Array]:
        """Return all rows so far."""
        return {name: np.array(rows) for name, rows in self._rows.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take the rows.

        Raises:
            ValueError: they are not as many as have been taken until now.
        """
        counts = {len(rows) for rows in state.values()}
        if len(counts) > 1 or max(counts, default=0) > len(self.steps):
            raise ValueError("statistics of other times")
        self._rows = {name: list(rows) for name, rows in state.items()}

    def result(self) -> dict[str, Array]:
        """Return by name an array over the saved times; without the axis of species, or fields, when there is one."""
        out = self.state()
        return {name: rows[:, 0] if rows.ndim > 1 and rows.shape[1] == 1 else rows for name, rows in out.items()}


def check_statistics(save: Any, *, mean_field: bool, relaxing: bool) -> SaveAt | None:
    """Return ``save`` after a look at it.

    Raises:
        InputError: no SaveAt, an unknown statistic, or one that needs a mean field where there is none, or fields
            without memory where some have one.
    """
    if save is None:
        return None
    checked = SaveAt.checked(save)
    for name in checked.statistics:
        check_choice("statistics", name, STATISTICS)
    if "field_fluctuations" in checked.statistics and not mean_field:
        raise InputError('statistics = "field_fluctuations" needs mean_field: give what kspde.solve returned')
    if "field_fluctuations" in checked.statistics and relaxing:
        raise InputError(
            'statistics = "field_fluctuations" is the law of large numbers at one time, which says nothing of a field '
            "with tau > 0: leave it out"
        )
    return checked
