"""What ``solve`` is asked for: checked, built, integrated and packaged, once or several times."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kspde.domains import Box, Domain
from kspde.errors import ON_BLOW_UP, ConvergenceError, InputError, check_callable, check_choice, check_later
from kspde.fem.accuracy import accurate
from kspde.fem.integrate import integrated
from kspde.fem.memory import check_run
from kspde.fem.monitors.truncation import warn_of_decay, warn_of_outside, warn_of_truncation, warn_of_wide_mollifier
from kspde.fem.observer import Observer, RunState
from kspde.fem.regrid import Regrid, Regridding, blow_up
from kspde.fem.resume import CheckpointWriter
from kspde.fem.resume import resume as resume_from
from kspde.fem.schemes import Scheme
from kspde.fem.schemes.base import Run
from kspde.fem.semidiscretisation import Semidiscretisation, initial_densities, mollified
from kspde.fem.snapshot import Knot
from kspde.fem.solution import Solution
from kspde.fem.spaces import Space, build_space
from kspde.kernels import Mollifier
from kspde.models.coefficients import refuse_flow_between_walls
from kspde.problem import Problem
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore
from kspde.runtime.following import Followers
from kspde.runtime.messages import recorded, warn
from kspde.runtime.parallel import all_or_none, limited_threads
from kspde.runtime.saving import SaveAt
from kspde.typing import Array, Comm

__all__ = ["Request"]

#: The relative error of a density's discrete mass above which a mesh is too coarse, and one whose error is estimated.
_TOO_COARSE, _COARSE = 2e-2, 0.2
#: Grids that an initial density may need one after the other.
_GRIDS = 8


@dataclass(frozen=True, kw_only=True)
class Request:
    """What ``solve`` is asked for; all methods but ``check`` are collective.

    Attributes:
        estimated: whether its error is estimated: coarse meshes may be tried, and truncation is not warned of.
        space: that of the domain where it is known.
    """

    problem: Problem
    domain: Domain
    scheme: Scheme
    regrid: Regrid | None
    mollifier: Mollifier
    petsc_options: dict[str, Any]
    save: SaveAt
    checkpoint: Checkpoint | None
    resume: bool
    on_blow_up: str
    progress: Callable[[float], None] | None
    followers: Followers
    comm: Comm
    estimated: bool = False
    space: Space | None = None

    def check(self) -> None:
        """Refuse arguments that are not valid, by themselves or with others.

        Raises:
            InputError: the value, what is valid, and the remedy.
        """
        domain, dimension = self.domain, self.problem.model.dimension
        if not isinstance(domain, Domain):
            raise InputError(f"domain is a {type(domain).__name__}: give a kspde.Box, kspde.Disk or kspde.MeshFile")
        if domain.dimension not in (None, dimension):
            raise InputError(f"domain has dimension {domain.dimension}, the model {dimension}: give Box(dimension=...)")
        if domain.boundary == "neumann":
            refuse_flow_between_walls(self.problem.model)
        Checkpoint.checked(self.checkpoint, self.resume)
        check_choice("on_blow_up", self.on_blow_up, ON_BLOW_UP)
        check_callable("progress", self.progress, "one argument, t/t_end")
        self.save.until(self.problem.t_end)
        self.scheme.check(domain, self.problem.t_end)
        signed = [name for name, u in self.problem.u0.items() if u.signed]
        if signed and (self.scheme.positive or self.problem.mollified_start is not None):
            what = f'scheme = "{self.scheme.name}"' if self.scheme.positive else 'initial = "mollified"'
            raise InputError(f"{what} keeps densities >= 0, and that of {signed[0]} has both signs: give another one")
        if self.regrid is not None:
            if not isinstance(self.regrid, Regrid):
                raise InputError(f"regrid is a {type(self.regrid).__name__}: give kspde.Regrid(peak=...)")
            self.regrid.check(domain, self.scheme.tol)
            if self.checkpoint is not None and self.checkpoint.at_end:
                raise InputError("at_end = True has no effect with regrid, whose runs end at their peak: leave it out")

    def solution(self, earlier: Earlier | None = None) -> Solution:
        """Build the semidiscretisation, unless an earlier run has, integrate, and return the solution.

        Raises:
            ConvergenceError: with the solution until then.
        """
        # Below some 500 nodes per direction a second BLAS thread gains nothing, and spins where cores are shared.
        with limited_threads(self.comm, useful=1 if self.domain.nodes_per_direction <= 500 else None):
            return self._solution(earlier)

    def _solution(self, earlier: Earlier | None) -> Solution:
        built = self._built(earlier)
        run, observer = built.run, built.run.observer
        try:
            with built.store or nullcontext():
                details = integrated(run, self.scheme, self.followers)
        except ConvergenceError as error:
            built.clock.lap("loop")
            if knots := observer.until_now():
                details = {"steps": observer.recorder.steps, "failed": str(error)}
                error.solution = self._packaged(built, knots, details)
                error.diagnostics = error.solution.diagnostics
            raise
        built.clock.lap("loop")
        table, knots = observer.recorder.table(), observer.until_now()
        last = knots[-1]
        if self.domain.boundary == "decay" and (earlier is not None or not self.estimated):
            first = built.start if last.system is built.system else last.unknowns
            warn_of_truncation(last.system, self.domain, self.problem.u0, first, last.unknowns, table)
        details |= self.scheme.review(run, table)
        return self._packaged(built, knots, details if self.regrid is None else details | self._blow_up(table))

    def _built(self, earlier: Earlier | None) -> _Built:
        """Return a run that is ready to begin. Collective."""
        problem, clock = self.problem, _Clock()
        system = Semidiscretisation(problem.model, problem.fields, self._space()) if earlier is None else earlier.system
        clock.lap("mesh")
        regridding = None
        if self.regrid is not None and isinstance(self.domain, Box):
            regridding = Regridding(self.regrid, self.domain)
        system, start, mass_errors = self._start(system, regridding)
        warn_of_outside(system, problem.u0)
        warn_of_decay(system, self.domain, start, problem.t_end)
        warn_of_wide_mollifier(system, self.domain, problem.mollifier, start[: len(problem.u0)])
        observer = Observer(
            system,
            problem.t_end,
            self.save,
            self.progress,
            self.on_blow_up,
            self.scheme.estimates_time_error,
            regridding,
            self.followers,
        )
        store = self._store(observer)
        state, resumed = self._first_state(store, system, observer, start, earlier)
        run = Run(
            system=resumed,
            state=state,
            observer=observer,
            writer=CheckpointWriter(store, resumed, observer),
            options=self.petsc_options,
            started=lambda: clock.lap("setup"),
        )
        return _Built(run, store, system, start, mass_errors, clock)

    def _packaged(self, built: _Built, knots: list[Knot], details: dict[str, Any]) -> Solution:
        """Return the solution until the last knot, with what its summary says in addition."""
        run, observer, last = built.run, built.run.observer, knots[-1]
        problem = replace(self.problem, t_end=last.t)
        earlier = None
        if "failed" not in details:
            reached = replace(run.state, unknowns=last.unknowns, paused=False)
            earlier = Earlier(run.system, reached, observer.recorder.table(), knots)
        if observer.regridding is not None:
            details = details | {"regrids": [move._asdict() for move in observer.regridding.moves]}
        return Solution(
            problem=problem,
            domain=self.domain,
            scheme=self.scheme,
            mollifier=self.mollifier,
            diagnostics=observer.recorder.table(),
            timings=built.clock.timings,
            initial_mass_error=built.mass_errors,
            stopped=observer.stopped,
            _system=last.system,
            _knots=knots,
            _details=details,
            _again=self.no_estimate or partial(self._again, problem),
            _extended=partial(self._extended, earlier),
        )

    def accurate_solution(self, accuracy: float) -> Solution:
        """Return a solution whose estimated error is within an accuracy. Its snapshots are then handed to ``save``.

        Raises:
            ConvergenceError: it was not reached.
        """
        warnings: list[str] = []
        trial = replace(self, save=replace(self.save, callback=None), estimated=True)

        def run(domain: Domain, scheme: Scheme) -> Solution:
            with recorded(said=False) as lines:
                found = replace(trial, domain=domain, scheme=scheme).solution()
            warnings[:] = lines
            return found

        assert isinstance(self.domain, Box)
        solution: Solution = accurate(run, self.domain, accuracy)
        for line in warnings:
            warn(line, self.comm)
        if self.save.callback is not None:
            for t in self.save.until(self.problem.t_end):
                with all_or_none(self.comm):
                    self.save.callback(solution.at(t))
        return solution

    def _extended(self, earlier: Earlier | None, t_end: float, save: SaveAt | None, **options: Any) -> Solution:
        """Continue a finished run, by ``Solution.extend``. Collective."""
        if earlier is None or self.regrid is not None:
            what = "a run that failed" if earlier is None else "a run with regrid, which ends at its peak,"
            raise InputError(f"{what} cannot be extended: solve again")
        reached, new = earlier.state.t, SaveAt.checked(save)
        problem = replace(self.problem, t_end=check_later(t_end, reached))
        request = replace(
            self, problem=problem, save=new.after(reached, self.save, [k.t for k in earlier.knots]), **options
        )
        request.check()
        return request.solution(earlier)

    @property
    def no_estimate(self) -> str:
        """Why the error of its solution is not estimated; empty where it is."""
        if self.regrid is not None:
            return "its grids followed the peaks, and coarser ones would follow them elsewhere"
        options = self.petsc_options
        if options.get("ts_adapt_type") == "none" or {"ts_adapt_dt_min", "ts_adapt_dt_max"} & set(options):
            return "petsc_options decide on its time steps, which do not follow another tolerance"
        return ""

    def _again(self, problem: Problem, domain: Domain, scheme: Scheme, space: Space | None = None) -> Solution:
        """Solve the problem on another domain, or its space, by another scheme, for an estimate of the error."""
        more = {"problem": problem, "domain": domain, "scheme": scheme, "space": space, "estimated": True}
        with recorded(said=False):
            return self._unfollowed(regrid=None, **more).solution()

    def _unfollowed(self, **changes: Any) -> Request:
        """Return a request for another run, with other attributes, which the user neither follows nor gets."""
        plain: dict[str, Any] = {"save": SaveAt(), "checkpoint": None, "resume": False, "on_blow_up": "ignore"}
        return replace(self, **plain, progress=None, followers=Followers(None), **changes)

    def _blow_up(self, table: dict[str, Array]) -> dict[str, Any]:
        """Return what a summary says of a blow-up, after a coarser run if that is wanted. Collective."""
        regrid, coarser = self.regrid, None
        assert regrid is not None
        if regrid.coarser_run:
            scheme = replace(self.scheme, tol=min(10.0 * (self.scheme.tol or 0.0), 0.1))
            request = self._unfollowed(scheme=scheme, regrid=regrid.coarser(self.domain.degree))
            with suppress(ConvergenceError):
                coarser = request.solution().diagnostics
        found = blow_up(table, coarser)
        return {"blow_up": None if found is None else asdict(found)}

    def _start(
        self, system: Semidiscretisation, regridding: Regridding | None
    ) -> tuple[Semidiscretisation, Array, dict[str, float]]:
        """Return the semidiscretisation, the unknowns at t = 0, and the errors of their masses. Collective."""
        problem = self.problem
        for left in reversed(range(_GRIDS)):
            nodal, errors = initial_densities(system.space, problem.u0, off=_COARSE if self.estimated else _TOO_COARSE)
            if problem.mollified_start is not None:
                nodal = mollified(system.space, nodal, problem.mollified_start)
            better = regridding.at_start(system, nodal) if regridding is not None and left else None
            if better is None:
                break
            system = better
        return system, system.start(nodal), errors

    def _space(self) -> Space:
        """Build the space, unless it is known or would not fit into memory."""
        if self.space is not None:
            return self.space
        model = self.problem.model
        sizes = {
            "parts": len(model.species) + len(self.problem.fields),
            "saved": len(model.species) * len(self.save.until(self.problem.t_end)),
            "coupled": len(model.species) * any(f.kernel.local for f in self.problem.fields),
        }
        check_run(self.domain, model.dimension, self.scheme, self.comm, **sizes)
        space = build_space(self.domain, model.dimension, self.comm, modal=not self.scheme.positive)
        if not self.domain.structured:  # its nodes were not known
            check_run(self.domain, model.dimension, self.scheme, self.comm, nodes=space.nodes, **sizes)
        return space

    def _store(self, observer: Observer) -> CheckpointStore | None:
        if self.checkpoint is None:
            return None
        settings = {"domain": self.domain, "scheme": self.scheme, "petsc_options": self.petsc_options}
        settings |= {} if self.regrid is None else {"regrid": self.regrid}
        described = self.problem.describe(backend="fem", times=observer.times, **settings)
        return CheckpointStore(self.checkpoint, described, self.comm, longer=self.regrid is None)

    def _first_state(
        self,
        store: CheckpointStore | None,
        system: Semidiscretisation,
        observer: Observer,
        start: Array,
        earlier: Earlier | None,
    ) -> tuple[RunState, Semidiscretisation]:
        """Return where the run resumes, or starts, and the semidiscretisation on its grid there."""
        found = resume_from(store, system, observer) if store is not None and self.resume else None
        if found is not None:
            return found
        if earlier is not None:
            *knots, last = earlier.knots
            last = last._replace(slopes=observer.slopes(last.unknowns, last.t))  # a single one has none
            observer.restore(earlier.table, [*knots, last], last.unknowns)
            return replace(earlier.state), system
        system.refuse_at_start(start)
        growth = np.zeros(len(system.model.species)) if system.model.has_growth else None
        return RunState(unknowns=start, growth=growth), system


@dataclass(frozen=True)
class Earlier:
    """What a finished run leaves to one that extends it."""

    system: Semidiscretisation
    state: RunState
    table: dict[str, Array]
    knots: list[Knot]


@dataclass(frozen=True)
class _Built:
    """A run, and what its solution is told of: the grid and the unknowns at t = 0, and the errors of their masses."""

    run: Run
    store: CheckpointStore | None
    system: Semidiscretisation
    start: Array
    mass_errors: dict[str, float]
    clock: _Clock


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.timings[name], self._last = now - self._last, now
