"""A simulation between ``simulate``'s checked arguments and the cloud that it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.particles.cloud import Cloud
from kspde.particles.collapse import Collapse
from kspde.particles.coupling import CouplingRecorder
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import FieldEvaluator
from kspde.particles.mean_field import MeanFieldEvaluator
from kspde.particles.observers import Progress, Recorder
from kspde.particles.resume import CheckpointWriter
from kspde.particles.run import Observer, Run, schedule
from kspde.particles.schemes import Scheme
from kspde.particles.start import Seed, check_particles, local_ids
from kspde.particles.statistics import STATISTICS, StatisticsRecorder
from kspde.particles.system import System
from kspde.particles.weights import GivenWeights, everyones, particle_weights
from kspde.problem import Problem
from kspde.protocols import SolvedDensity
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore
from kspde.runtime.saving import SaveAt
from kspde.typing import Array

__all__ = ["Setup", "Simulation"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What ``simulate`` is to do, checked.

    Attributes:
        problem: the problem.
        mollifier: name of the mollifier.
        counts: number of particles by species.
        scheme: the scheme in time.
        seed: the random numbers.
        fields: how fields are computed.
        mean_field: the density whose fields move the mean-field particles, if there are any.
        save: what to save on the way.
        on_blow_up: what to do about particles that collapse.
        progress: function that is called after every step.
        comm: the communicator.
    """

    problem: Problem
    mollifier: str
    counts: Mapping[str, int]
    scheme: Scheme
    seed: Seed
    fields: FieldOptions
    mean_field: SolvedDensity | None
    save: SaveAt | None
    on_blow_up: str
    progress: Callable[[float], None] | None
    comm: Any

    @cached_property
    def _stops(self) -> tuple[float, ...]:
        return (self.problem.t_end,) if self.save is None else self.save.until(self.problem.t_end)

    @cached_property
    def times(self) -> Array:
        """The times of all steps."""
        return schedule(self.problem.t_end, self.scheme.dt, self._stops)

    @cached_property
    def saved_steps(self) -> list[int]:
        """The numbers of the steps after which to save."""
        return [] if self.save is None else [int(np.abs(self.times - t).argmin()) for t in self._stops]

    def details(self) -> dict[str, Any]:
        """Return what a summary says of the numerics."""
        return {
            "scheme": self.scheme.name,
            "steps": len(self.times) - 1,
            "dt_given": self.scheme.dt,
            "initial": self.problem.initial,
            "method": self.fields.method,
            "field_tol": self.fields.field_tol,
            "include_self": self.fields.include_self,
        }


class Simulation:
    """The particles of a setup, what moves them and what records them. Collective.

    Args:
        setup: the setup.
        weights: weights as given to ``simulate``.
        checkpoint: checkpoints as given to ``simulate``.

    Attributes:
        run: the run, at its start.
        store: the checkpoints, if there are any.

    Raises:
        InputError: particles that do not fit into memory, cannot be drawn, or whose weights or kernels are not valid.
    """

    def __init__(
        self,
        setup: Setup,
        weights: GivenWeights | Mapping[str, GivenWeights] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._setup = setup
        problem, comm, with_mean_field = setup.problem, setup.comm, setup.mean_field is not None
        dimension, method = problem.model.dimension, setup.fields.method
        check_particles(setup.counts, dimension, type(setup.scheme), method, comm, mean_field=with_mean_field)
        ids = local_ids(setup.counts, comm)
        zeta = setup.seed.starting_points(problem.u0, ids, problem.mollified_start, comm)
        self._weights = particle_weights(weights, zeta, counts=setup.counts, masses=problem.masses, comm=comm)
        self._check_weights()
        systems = {
            label: System(
                model=problem.model,
                evaluator=evaluator,
                positions={name: x.copy() for name, x in zeta.items()},
                ids=ids,
                counts=setup.counts,
                noise=setup.seed.noise,
                comm=comm,
                weights=self._weights,
            )
            for label, evaluator in self._evaluators().items()
        }
        species, steps = problem.model.species, len(setup.times) - 1
        self._recorders = {label: Recorder(label, species, dimension, steps) for label in systems}
        self._coupling = CouplingRecorder(species, steps) if with_mean_field else None
        self._statistics = (
            None
            if setup.save is None
            else StatisticsRecorder(setup.save, setup.saved_steps, self._own_fields, lambda run: self.cloud())
        )
        self.store = None if checkpoint is None else CheckpointStore(checkpoint, self._description(), comm)
        self.run = Run(systems, scheme=setup.scheme, times=setup.times, observers=[*self._observers()])

    def cloud(self, timings: Mapping[str, float] | None = None) -> Cloud:
        """Return the particles after the steps taken so far; they share the run's arrays."""
        coupled = self._coupling is not None
        return self._cloud(
            "particles",
            self._setup.details(),
            timings=timings or {},
            statistics={} if self._statistics is None else self._statistics.statistics(),
            mean_field=self._cloud("mean_field", {}, timings=timings or {}) if coupled else None,
            coupling=None if self._coupling is None else self._coupling.coupling(self.run),
        )

    def _cloud(self, label: str, details: Mapping[str, Any], **recorded: Any) -> Cloud:
        setup, run, system = self._setup, self.run, self.run.systems[label]
        return Cloud(
            problem=setup.problem,
            mollifier=setup.mollifier,
            t_end=run.t,
            dt=float(np.diff(run.times).max()),
            seed=setup.seed.seed,
            replica=setup.seed.replica,
            comm=setup.comm,
            counts=setup.counts,
            masses=self._weights.masses,
            variations=self._weights.variations,
            diagnostics=self._recorders[label].diagnostics(run),
            _positions=system.positions,
            _ids=system.ids,
            _weights=self._weights.each,
            _details={**details, **system.evaluator.summary()},
            **recorded,
        )

    def _evaluators(self) -> dict[str, FieldEvaluator]:
        setup, out = self._setup, {"particles": self._own_fields()}
        if setup.mean_field is not None:
            out["mean_field"] = MeanFieldEvaluator(
                setup.problem.fields,
                source=setup.mean_field,
                dimension=setup.problem.model.dimension,
                weights=self._weights.each,
                tol=setup.fields.field_tol,
                comm=setup.comm,
            )
        return out

    def _own_fields(self) -> FieldEvaluator:
        """Return a new evaluator of the fields of an empirical measure."""
        problem = self._setup.problem
        return self._setup.fields.evaluator(
            problem.fields, dimension=problem.model.dimension, weights=self._weights.each, comm=self._setup.comm
        )

    def _observers(self) -> list[Observer]:
        setup = self._setup
        observers: list[Observer | None] = [*self._recorders.values(), self._coupling, self._statistics]
        if setup.problem.eps is not None and setup.problem.fields and setup.on_blow_up != "ignore":
            observers.append(Collapse(setup.problem.model.species, setup.problem.eps, setup.on_blow_up))
        if setup.progress is not None:
            observers.append(Progress(setup.progress))
        if self.store is not None:
            observers.append(CheckpointWriter(self.store))
        return [observer for observer in observers if observer is not None]

    def _description(self) -> dict[str, Any]:
        """Return what decides the result, for checkpoints. Collective."""
        setup, weights = self._setup, self._weights
        mean_field: Any = setup.mean_field
        if mean_field is not None:
            mean_field = getattr(mean_field, "problem", [float(mean_field.t_end), getattr(mean_field, "eps", None)])
        return setup.problem.describe(
            backend="particles",
            counts=setup.counts,
            seed=setup.seed.seed,
            replica=setup.seed.replica,
            **setup.details(),
            times=setup.times,
            saves=setup.saved_steps,
            statistics=() if setup.save is None else setup.save.statistics,
            weights={name: everyones(np.asarray(weights.each[name]), setup.comm) for name in weights.variations},
            mean_field=mean_field,
        )

    def _check_weights(self) -> None:
        """Raise an InputError where statistics, or the mean field, have no meaning for the weights."""
        setup, weights = self._setup, self._weights
        for name in () if setup.save is None else setup.save.statistics:
            STATISTICS[name].check_weights(weights)
        for name, size in weights.variations.items() if setup.mean_field is not None else ():
            mass = setup.problem.masses[name]
            if abs(weights.masses[name] - mass) > 1e-9 * size:
                raise InputError(
                    f"weights of {name!r} sum to {weights.masses[name]:.12g}, the mean field's density has mass "
                    f"{mass:.12g}: scale the weights to that mass, or leave mean_field out"
                )
