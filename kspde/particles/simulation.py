"""A simulation between ``simulate``'s checked arguments and the cloud that it returns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from kspde.domains import Domain
from kspde.errors import ON_BLOW_UP, InputError, check_callable, check_choice, check_later, place_of
from kspde.initial import InitialDensity
from kspde.models import Field
from kspde.particles.cloud import Cloud
from kspde.particles.collapse import Clusters, Collapse
from kspde.particles.coupling import CouplingRecorder
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import FieldEvaluator
from kspde.particles.fields.close_pairs import order_of_bias
from kspde.particles.mean_field import MeanFieldEvaluator, check_mean_field
from kspde.particles.region import Region
from kspde.particles.resampling import Resampling
from kspde.particles.resume import CheckpointWriter, Reached
from kspde.particles.resume import resume as resume_from
from kspde.particles.run import Following, Observer, Progress, Recorder, Run, schedule
from kspde.particles.schemes import Scheme
from kspde.particles.start import GivenPositions, Seed, bytes_of_particles, local_ids
from kspde.particles.statistics import StatisticsRecorder, check_statistics, statistics_of
from kspde.particles.system import System
from kspde.particles.weights import GivenWeights, ParticleWeights, particle_weights
from kspde.problem import Problem
from kspde.protocols import SolvedDensity
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore
from kspde.runtime.following import Followers
from kspde.runtime.limits import check_memory, check_steps
from kspde.runtime.messages import warn
from kspde.runtime.parallel import limited_threads, together
from kspde.runtime.reductions import everyones
from kspde.runtime.saving import SaveAt
from kspde.typing import Array, Comm, Ids

__all__ = ["Simulation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """What ``simulate`` is to do, checked; its particles, what moves them and what records them.

    Its attributes are the arguments of ``simulate``, some put together in ``problem``, ``seed`` and ``fields``. The run
    is built when it is first asked for. Collective.
    """

    problem: Problem
    mollifier: str
    counts: Mapping[str, int]
    positions: Mapping[str, Array] | None
    given_weights: GivenWeights | Mapping[str, GivenWeights] | None
    scheme: Scheme
    domain: Domain | None
    region: Region | None
    seed: Seed
    fields: FieldOptions
    mean_field: SolvedDensity | None
    mean_field_differs: Sequence[str]
    resampling: Resampling | None
    save: SaveAt | None
    on_blow_up: str
    checkpoint: Checkpoint | None
    progress: Callable[[float], None] | None
    followers: Followers
    comm: Comm
    times_until_now: Array | None = None

    def carried_out(self, begin: float, *, resume: bool, reached: Reached | None = None) -> Cloud:
        """Return the particles at the end, from where checkpoints are, or a shorter run has ended. Collective.

        Args:
            begin: when the set-up began.
            resume: whether to continue from the newest checkpoint.
            reached: where a shorter run has ended.
        """
        run, store = self.run, self.store
        found = store.latest() if store is not None else None
        if found is not None and resume:
            reached = None
            resume_from(run, found)
        if reached is not None:
            resume_from(run, reached.copy())
        run.start()
        if run.step and self._following is not None:
            self._following.arrive(run)
        ready = time.perf_counter()
        # Several threads of BLAS lose to one on a step's small products: 3D, 1e4 particles, 33 to 175 ms against 10.
        with limited_threads(self.comm, useful=1), store or nullcontext():
            run.finish()
        cloud = self.cloud({"setup": ready - begin, "loop": time.perf_counter() - ready})
        return replace(cloud, _extended=partial(replace(self)._extended, Reached.by(run)))

    def _extended(
        self, reached: Reached, t_end: float, save: SaveAt | None, mean_field: Any, resume: bool, **options: Any
    ) -> Cloud:
        """Continue a finished run, by ``Cloud.extend``. Collective."""
        begin, t = time.perf_counter(), float(reached.times[-1])
        problem = replace(self.problem, t_end=check_later(t_end, t))
        if self.mean_field is None and mean_field is not None:
            raise InputError("mean_field is given, and the run had none: simulate again")
        mean_field = self.mean_field if mean_field is None else mean_field
        check_mean_field(mean_field, problem, self.mean_field_differs, self.domain)
        if save is not None or self.save is not None:
            saved = [] if self.save is None else [s for s in self._stops if s <= t * (1 + 1e-12)]
            save = SaveAt.checked(save).after(t, self.save, saved)
            check_statistics(save, problem.fields, mean_field=mean_field is not None)
            save.until(problem.t_end)
        Checkpoint.checked(options["checkpoint"], resume)
        check_callable("progress", options["progress"], "one argument, t/t_end")
        check_choice("on_blow_up", options["on_blow_up"], ON_BLOW_UP)
        check_steps(problem.t_end, self.scheme.dt)
        options |= {"save": save, "mean_field": mean_field, "times_until_now": reached.times}
        return replace(self, problem=problem, **options).carried_out(begin, resume=resume, reached=reached)

    @cached_property
    def run(self) -> Run:
        """The run, at its start.

        Raises:
            InputError: particles that do not fit into memory or cannot be drawn, weights or kernels that are not valid.
        """
        observers: list[Observer | None] = [*self._recorders.values(), self._coupling, self._statistics]
        if self.problem.eps is not None and self.problem.fields and self.on_blow_up != "ignore":
            observers.append(Collapse(self.problem.model.species, self.problem.eps, self.on_blow_up))
        observers.append(self._clusters)
        self._warn_of_bias(self._systems["particles"].evaluator.singular)
        observers.append(None if self.progress is None else Progress(self.progress))
        observers.append(self._following)
        observers.append(None if self.store is None else CheckpointWriter(self.store))
        if self.resampling is not None and self._weights.signed:
            raise InputError(
                f"resampling = {self.resampling.name!r} needs weights >= 0, and some of {self._weights.signed[0]!r} "
                "are negative: leave it out"
            )
        return Run(
            self._systems,
            scheme=self.scheme,
            times=self._times,
            observers=[o for o in observers if o],
            resampling=self.resampling,
        )

    @cached_property
    def _following(self) -> Following | None:
        return Following(self.followers, self._recorders["particles"], self.cloud) if self.followers else None

    @cached_property
    def _clusters(self) -> Clusters | None:
        singular = len(self._systems["particles"].evaluator.singular)
        return Clusters(self.counts, singular, self.on_blow_up) if singular else None

    def _warn_of_bias(self, singular: tuple[Field, ...]) -> None:
        """Warn of kernels so singular that a time step hardly bounds what it leaves out of close pairs. Collective."""
        for f in singular:
            order = order_of_bias(f, self.problem.model.dimension)
            if order is not None:
                warn(
                    f"the gradient of the kernel of {f.name} is not integrable where particles meet: what steps of dt "
                    f"leave out of their repulsion falls like dt^{order:.2g} only, and may be some percent; give eps",
                    self.comm,
                )

    @cached_property
    def store(self) -> CheckpointStore | None:
        """The checkpoints, if there are any."""
        return None if self.checkpoint is None else CheckpointStore(self.checkpoint, self._description(), self.comm)

    def cloud(self, timings: Mapping[str, float] | None = None) -> Cloud:
        """Return the particles after the steps taken so far; they share the run's arrays."""
        timings = timings or {}
        return self._cloud(
            "particles",
            {**self._details(), **({} if self._clusters is None else {"left_out": self._clusters.left_out})},
            timings=timings,
            statistics={} if self._statistics is None else self._statistics.statistics(),
            mean_field=None if self.mean_field is None else self._cloud("mean_field", {}, timings=timings),
            coupling=None if self._coupling is None else self._coupling.coupling(self.run),
        )

    def _cloud(self, label: str, details: Mapping[str, Any], **recorded: Any) -> Cloud:
        run, system = self.run, self._systems[label]
        ended = {} if run.stopped is None else {"steps": run.step}
        weights, seen = self._weights_of[label], system.seen
        return Cloud(
            problem=replace(self.problem, t_end=run.t) if ended else self.problem,
            mollifier=self.mollifier,
            t_end=run.t,
            dt=float(np.diff(run.times).max()),
            seed=self.seed.seed,
            replica=self.seed.replica,
            comm=self.comm,
            counts=self.counts,
            masses=seen.masses or weights.masses,
            variations={name: seen.variations.get(name, size) for name, size in weights.variations.items()},
            diagnostics=self._recorders[label].diagnostics(run),
            domain=self.domain,
            _positions=system.positions,
            _ids=system.ids,
            _weights=weights.each,
            stopped=run.stopped,
            _details={**details, **ended, **system.evaluator.summary()},
            **recorded,
        )

    @cached_property
    def _stops(self) -> tuple[float, ...]:
        return (self.problem.t_end,) if self.save is None else self.save.until(self.problem.t_end)

    @cached_property
    def _times(self) -> Array:
        return schedule(self.problem.t_end, self.scheme.dt, self._stops, self.times_until_now)

    @cached_property
    def _saved_steps(self) -> list[int]:
        return [] if self.save is None else [int(np.abs(self._times - t).argmin()) for t in self._stops]

    @cached_property
    def _starts(self) -> tuple[dict[str, Ids], dict[str, Array]]:
        """The ids and starting points of this rank's particles."""
        n = sum(map(float, self.counts.values()))
        options = (self.problem.model.dimension, type(self.scheme), self.fields.method)
        needed = bytes_of_particles(n, *options, mean_field=self.mean_field is not None)
        check_memory(f"n = {n:.10g} particles", needed / self.comm.size, self.comm, "give fewer")
        ids = local_ids(self.counts, self.comm)
        sources: dict[str, InitialDensity | GivenPositions] = dict(self.problem.u0)
        first = 0
        for name, x in (self.positions or {}).items():
            sources[name] = GivenPositions(x, first)
            first += len(x)
        points = self.seed.starting_points(sources, ids, self.problem.mollified_start, self.comm)
        if self.region is not None:
            for x in points.values():
                self._fold(x, self.region)
        return ids, points

    def _fold(self, x: Array, region: Region) -> None:
        """Bring starting points into the region; refuse given ones that walls would reflect. Collective."""
        before = x.copy()
        region.fold(x)
        with together(self.comm):
            outside = np.flatnonzero(np.any(x != before, axis=1))
            if self.positions is not None and not region.periodic and len(outside):
                raise InputError(f"positions has {place_of(before[outside[0]])}, outside the box: give a larger one")

    @property
    def _given(self) -> GivenWeights | Mapping[str, GivenWeights] | None:
        """The given weights, and by species those of particles drawn from signed densities."""
        given = self.given_weights
        if given is not None and not isinstance(given, Mapping):
            return given
        own = {name: u for name, u in self.problem.u0.items() if u.signed and name not in (given or {})}
        if own and self.positions is not None:
            raise InputError(f"u0 has both signs: give the weights of the given positions of {', '.join(own)}")
        weights: dict[str, GivenWeights] = {}
        for name, u in own.items():
            signed = self.seed.signed_weights(u, self._starts[0][name], self.counts[name], self.comm)
            weights[name] = partial(_whatever_the_points, signed)
        return {**weights, **(given or {})} or None

    @cached_property
    def _weights(self) -> ParticleWeights:
        masses, zeta = self.problem.masses, self._starts[1]
        growing = self.problem.model.has_growth
        weights = particle_weights(
            self._given, zeta, counts=self.counts, masses=masses, comm=self.comm, growing=growing
        )
        for statistic in statistics_of(self.save):
            statistic.check_weights(weights)
        for name, size in weights.variations.items() if self.mean_field is not None else ():
            if abs(weights.masses[name] - masses[name]) > 1e-9 * size:
                raise InputError(
                    f"weights of {name!r} sum to {weights.masses[name]:.12g}, the mean field's density has mass "
                    f"{masses[name]:.12g}: scale the weights to that mass, or leave mean_field out"
                )
        return weights

    @cached_property
    def _weights_of(self) -> dict[str, ParticleWeights]:
        """The weights of the particles, and of the mean-field particles, which change by other growth."""
        return {"particles": self._weights, **({} if self.mean_field is None else {"mean_field": self._weights.copy()})}

    @cached_property
    def _systems(self) -> dict[str, System]:
        (ids, zeta), model = self._starts, self.problem.model
        evaluators = {"particles": self._own_fields("particles")}
        if self.mean_field is not None:
            evaluators["mean_field"] = MeanFieldEvaluator(
                self.problem.fields,
                source=self.mean_field,
                moments=model.moments,
                dimension=model.dimension,
                weights=self._weights_of["mean_field"].each,
                tol=self.fields.field_tol,
                comm=self.comm,
                region=self.region,
            )
        return {
            label: System(
                model=model,
                evaluator=evaluator,
                positions={name: x.copy() for name, x in zeta.items()},
                ids=ids,
                counts=self.counts,
                noise=self.seed.noise,
                comm=self.comm,
                weights=self._weights_of[label],
                region=self.region,
            )
            for label, evaluator in evaluators.items()
        }

    def _own_fields(self, label: str) -> FieldEvaluator:
        """Return a new evaluator of the fields and moments of particles, or of mean-field particles."""
        model = self.problem.model
        return self.fields.evaluator(
            self.problem.fields,
            moments=model.moments,
            dimension=model.dimension,
            weights=self._weights_of[label].each,
            comm=self.comm,
            region=self.region,
        )

    @cached_property
    def _recorders(self) -> dict[str, Recorder]:
        species, dimension = self.problem.model.species, self.problem.model.dimension
        steps, growing = len(self._times) - 1, self.problem.model.has_growth
        given = {"growing": growing, "weighted": bool(self._weights.variations)}
        return {label: Recorder(label, species, dimension, steps, **given) for label in self._systems}

    @cached_property
    def _coupling(self) -> CouplingRecorder | None:
        species, steps = self.problem.model.species, len(self._times) - 1
        return None if self.mean_field is None else CouplingRecorder(species, steps)

    @cached_property
    def _statistics(self) -> StatisticsRecorder | None:
        if self.save is None:
            return None
        label = "particles" if self.mean_field is None else "mean_field"
        return StatisticsRecorder(
            self.save, self._saved_steps, lambda: self._own_fields(label), lambda run: self.cloud()
        )

    def _details(self) -> dict[str, Any]:
        """Return what a summary says of the numerics."""
        return {
            "scheme": self.scheme.name,
            "steps": len(self._times) - 1,
            "dt_given": self.scheme.dt,
            "initial": self.problem.initial,
            "method": self.fields.method,
            "field_tol": self.fields.field_tol,
            "include_self": self.fields.includes_self(self.problem.fields, self.problem.model.dimension),
            **({} if self.resampling is None else {"resampling": str(self.resampling)}),
            **({} if self.region is None else self.region.summary()),
            **({} if self.positions is None else {"start": "given positions"}),
        }

    def _description(self) -> dict[str, Any]:
        """Return what decides the result, for checkpoints. Collective."""
        own = self._weights
        mean_field: Any = self.mean_field
        if mean_field is not None:
            mean_field = getattr(mean_field, "problem", [float(mean_field.t_end), getattr(mean_field, "eps", None)])
        return self.problem.describe(
            backend="particles",
            counts=self.counts,
            seed=self.seed.seed,
            replica=self.seed.replica,
            **self._details(),
            times=self._times,
            saves=self._saved_steps,
            statistics=statistics_of(self.save),
            weights={name: everyones(np.asarray(own.each[name]), self.comm) for name in own.variations},
            mean_field=mean_field,
            **({} if self.positions is None else {"positions": self.positions}),
        )


def _whatever_the_points(weights: Array, points: Array) -> Array:
    """Return weights as a function of the starting points that they belong to."""
    return weights
