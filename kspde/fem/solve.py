"""The finite-element backend's entry point."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from kspde.domains import Box, Domain
from kspde.errors import (
    ON_BLOW_UP,
    ConvergenceError,
    InputError,
    check_callable,
    check_choice,
    check_later,
)
from kspde.fem import backend
from kspde.fem.accuracy import accurate, check_accuracy, first_box
from kspde.fem.memory import check_run
from kspde.fem.monitors.truncation import warn_of_decay, warn_of_outside, warn_of_truncation, warn_of_wide_mollifier
from kspde.fem.observer import Crossing, Observer, RunState
from kspde.fem.petsc_options import checked_options
from kspde.fem.regrid import Regrid, Regridding, blow_up
from kspde.fem.resume import CheckpointWriter
from kspde.fem.resume import resume as resume_from
from kspde.fem.schemes import Scheme, scheme_of
from kspde.fem.schemes.base import Run
from kspde.fem.semidiscretisation import Semidiscretisation, initial_densities, mollified
from kspde.fem.snapshot import Knot
from kspde.fem.solution import Solution
from kspde.fem.spaces import Space, build_space
from kspde.initial import InitialDensity
from kspde.kernels import Mollifier
from kspde.models import Model
from kspde.models.coefficients import refuse_flow_between_walls
from kspde.papers.theory.hypotheses import warn_outside_hypotheses
from kspde.problem import Problem
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore
from kspde.runtime.following import Callback, Followers, Stopped
from kspde.runtime.messages import keeping_warnings, recorded, warn
from kspde.runtime.parallel import all_or_none, collective, communicator, limited_threads, together
from kspde.runtime.saving import SaveAt
from kspde.typing import Array, Comm

__all__ = ["solve"]

#: The relative error of a density's discrete mass above which a mesh is too coarse, and one whose error is estimated.
_TOO_COARSE, _COARSE = 2e-2, 0.2
#: The share of a step to which the time of an event is located.
_LOCATED = 1e-9
#: Grids that an initial density may need one after the other.
_GRIDS = 8


@keeping_warnings
@collective(own=("progress", "callback"))
def solve(
    model: Model,
    u0: InitialDensity | Mapping[str, InitialDensity],
    domain: Domain | None = None,
    *,
    t_end: float,
    accuracy: float | None = None,
    tol: float | None = None,
    eps: float | None = None,
    mollifier: Mollifier = "gaussian",
    initial: str = "u0",
    scheme: str | Scheme = "adaptive",
    dt: float | None = None,
    regrid: Regrid | None = None,
    petsc_options: Mapping[str, Any] | None = None,
    save: SaveAt | None = None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    on_blow_up: Literal["stop", "warn", "ignore"] = "stop",
    progress: Callable[[float], None] | None = None,
    callback: Callback | Sequence[Callback] | None = None,
    comm: Comm = None,
) -> Solution:
    r"""Solve a model's density equation by finite elements. Collective.

    .. math:: \partial_t u_i = \Delta(D_i u_i) - \nabla\cdot(b_i u_i) + r_i u_i

    with the model's D, b and growth r, with no flux of u through the boundary, and with the fields' condition of
    ``domain.boundary``.

    Args:
        model: the model.
        u0: the initial density; with several species, a mapping with one per species. A constant ū in a closed Box,
            ``boundary="neumann"``, is ``GridDensity(np.ones((2, 2)), (-L, L, -L, L), mass=ū * (2 * L)**2)``; other
            densities must vanish outside the domain. An earlier solution, on any mesh, stands for its densities at its
            ``t_end`` (``Solution.as_initial``).
        domain: the truncated domain; None with ``accuracy``.
        t_end: final time > 0.
        accuracy: the largest relative error at ``t_end``, of the mass in L¹ and of the maximum: box, mesh and tolerance
            are chosen by it, from estimates of the error (``kspde.fem.accuracy``), and are the solution's ``domain``
            and ``scheme``. Without it ``Solution.error`` tells the error of what was given.
        tol: tolerance of a scheme that is given by its name, 1e-6 unless given: the local error of a step stays below
            ``tol`` times the L² norm of the initial data, in L² (with growth, times the largest norm until then). With
            "positive-2" the step may be controlled too, by the local error of its scheme of order 1: give ``tol`` in
            place of ``dt``. Errors of all steps add up: where it was measured, the maximum error at the end is 1 to 300
            ``tol`` of the maximum (the most for ``LandauMaxwell``), and proportional to ``tol``.
        eps: ε > 0 of the mollified system, in which every kernel K is replaced by K * j^ε; None for the local one.
        mollifier: "gaussian", "matern" (order 2), "bump", "compact-bump", "two-bumps", a kernel, or a callable: see
            ``kspde.kernels.resolve_mollifier``.
        initial: "u0", or "mollified": from u_0 * j^ε. Wang, Li and Huang start the particles (1.8) from u_0 but the
            density (1.9) from u_0 * j^ε; only where both start alike does the relative entropy start from 0.
        scheme: a scheme, such as ``kspde.Positive2(dt=1e-3)``, or its name with ``tol`` or ``dt`` beside it: "adaptive"
            (any degree and domain; on a Box an exponential integrator of order 5 while sup D < 10 inf D, otherwise
            PETSc's TS, see ``kspde.fem.schemes.adaptive``), "rosenbrock" (PETSc's TS throughout, order 3), "positive"
            (order 1) or "positive-2" (order 2), both on elements of degree 1 and with u ≥ 0 and exact mass (with
            growth, an exact balance) for every step and all data, see ``kspde.fem.schemes.positive``. The first two
            warn where u < −10 ``tol`` max u.
        dt: the fixed step of a scheme that takes one and is given by its name.
        regrid: a request for grids that follow the peaks of densities towards a blow-up, such as
            ``kspde.Regrid(peak=1e6)``, on a Box and with step control. The run ends at that maximum, before ``t_end``,
            and its summary says when the density blows up.
        petsc_options: options of the TS ("adaptive", which is then "rosenbrock") or KSP (positive schemes) object,
            without the leading dash, from the list in ``kspde.fem.petsc_options``; none of them runs code or opens a
            file.
        save: times at which snapshots are saved in addition to ``t_end``, further statistics (among them
            ``fisher_information``, ``log_gradient`` and ``free_energy``), and a callback that is given the ``Snapshot``
            at each of these times (with ``accuracy`` those of the last run, after it). Between them a solution is
            interpolated, which does not keep u ≥ 0.
        checkpoint: where and how often a checkpoint is written; SIGTERM or SIGHUP then writes one more and stops.
        resume: whether to continue from the newest checkpoint of this very problem, on any number of ranks; a run
            without one starts at t = 0, so that a job which is started repeatedly can always ask for it.
        on_blow_up: what to do about a density that has grown until only the mesh limits its peak, which is then no
            longer that of the equation (``kspde.fem.monitors.blow_up``): "stop" ends the run with a ``BlowUpError``,
            "warn" warns and continues, "ignore" does not look. Unlike for ``simulate`` the default is "stop":
            what the mesh limits no longer approximates u.
        progress: called on every rank after every step with t/t_end.
        callback: a function, or several, called on every rank after every step with the ``State`` of the run: time,
            step, newest diagnostics, and the ``Snapshot`` of densities and fields (``kspde.runtime.following``). A run
            in which one returns True, or raises ``kspde.Stop("why")``, ends there, with a ``Solution`` whose
            ``stopped`` says why and when. Ready ones: ``kspde.SteadyState(1e-6)``; ``kspde.Event("maximum", 1e3)``,
            which locates the time at which a diagnostic, or a function of the state, has a value;
            ``kspde.Progress()``, lines with step, time and the time left.
        comm: the MPI communicator, ``MPI.COMM_WORLD`` unless given.

    Raises:
        InputError: a value is not valid, or not the same on every rank, mass of u0 lies outside the domain, the mesh
            does not resolve u0, or the model's coefficients have no meaning: a wrong shape, values that are not real
            numbers, D < 0 in the initial fields.
        StoppedError: SIGTERM or SIGHUP came, and a checkpoint has been written.
        ConvergenceError: a step failed, or led to D < 0; the message names step, t, dt and reason. The error holds what
            was computed until then, as ``diagnostics`` and ``solution``. It is a ``BlowUpError`` where a density blew
            up.
        MissingBackendError: DOLFINx is not installed.
    """
    problem = Problem.of(model, u0, t_end=t_end, eps=eps, mollifier=mollifier, initial=initial)
    if accuracy is not None:
        refused = {"domain": domain, "tol": tol, "dt": dt, "regrid": regrid, "checkpoint": checkpoint}
        check_accuracy(accuracy, scheme, {name: given for name, given in refused.items() if given is not None})
        if callback is not None:
            raise InputError(f"callback follows one run, and accuracy = {accuracy} takes several: leave one out")
        domain = first_box(problem.u0, problem.model.dimension, accuracy)
    elif domain is None:
        raise InputError("domain is not given: give a kspde.Box, kspde.Disk or kspde.MeshFile, or accuracy=1e-3")
    request = _Request(
        problem=problem,
        domain=domain,
        scheme=scheme_of(scheme, tol=tol, dt=dt),
        regrid=regrid,
        mollifier=mollifier,
        petsc_options=checked_options(petsc_options),
        save=SaveAt.checked(save),
        checkpoint=checkpoint,
        resume=resume,
        on_blow_up=on_blow_up,
        progress=progress,
        followers=Followers(callback),
        comm=communicator(comm),
    )
    request.check()
    with together(request.comm):
        backend.require()
    backend.destroy_dropped(request.comm)
    warn_outside_hypotheses(request.problem.model, request.problem.u0, request.problem.eps, request.comm)
    return request.solution() if accuracy is None else request.accurate_solution(accuracy)


@dataclass(frozen=True, kw_only=True)
class _Request:
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

    def solution(self, earlier: _Earlier | None = None) -> Solution:
        """Build the semidiscretisation, unless an earlier run has, integrate, and return the solution.

        Raises:
            ConvergenceError: with the solution until then.
        """
        # Below some 500 nodes per direction a second BLAS thread gains nothing, and spins where cores are shared.
        with limited_threads(self.comm, useful=1 if self.domain.nodes_per_direction <= 500 else None):
            return self._solution(earlier)

    def _solution(self, earlier: _Earlier | None) -> Solution:
        problem, scheme = self.problem, self.scheme
        clock = _Clock()
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
            scheme.estimates_time_error,
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

        def packaged(knots: list[Knot], details: dict[str, Any]) -> Solution:
            more = {} if regridding is None else {"regrids": [move._asdict() for move in regridding.moves]}
            solved = replace(problem, t_end=knots[-1].t)
            reached = replace(run.state, unknowns=knots[-1].unknowns, paused=False)
            until_now = _Earlier(run.system, reached, observer.recorder.table(), knots)
            return Solution(
                problem=solved,
                domain=self.domain,
                scheme=scheme,
                mollifier=self.mollifier,
                diagnostics=observer.recorder.table(),
                timings=clock.timings,
                initial_mass_error=mass_errors,
                stopped=observer.stopped,
                _system=knots[-1].system,
                _knots=knots,
                _details=details | more,
                _again=self._no_estimate or partial(self._again, solved),
                _extended=partial(self._extended, None if "failed" in details else until_now),
            )

        try:
            with store or nullcontext():
                details = self._integrated(run)
        except ConvergenceError as error:
            clock.lap("loop")
            if knots := observer.until_now():
                error.solution = packaged(knots, {"steps": observer.recorder.steps, "failed": str(error)})
                error.diagnostics = error.solution.diagnostics
            raise
        clock.lap("loop")
        table, knots = observer.recorder.table(), observer.until_now()
        last = knots[-1]
        if self.domain.boundary == "decay" and (earlier is not None or not self.estimated):
            first = start if last.system is system else last.unknowns
            warn_of_truncation(last.system, self.domain, problem.u0, first, last.unknowns, table)
        details |= scheme.review(run, table)
        return packaged(knots, details if regridding is None else details | self._blow_up(table))

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

    def _extended(self, earlier: _Earlier | None, t_end: float, save: SaveAt | None, **options: Any) -> Solution:
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
    def _no_estimate(self) -> str:
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

    def _unfollowed(self, **changes: Any) -> _Request:
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

    def _integrated(self, run: Run) -> dict[str, Any]:
        """Integrate, on one grid after the other, and return the scheme's summary."""
        state, observer = run.state, run.observer
        if state.step:
            observer.arrive(state)
        details = self.scheme.integrate(run)
        regridding = observer.regridding
        while regridding is not None and state.paused and not (regridding.reached or observer.ends):
            run.system, state.unknowns = regridding.moved(run.system, state.unknowns, state.t)
            observer.move(run.system, state.unknowns)
            run.writer.system = run.system
            state.paused, state.norms = False, None
            observer.arrive(state)
            for name, value in self.scheme.integrate(run).items():
                if name == "held_back":
                    details[name] = max(details[name], value)
                elif name not in ("steps", "tol"):
                    details[name] = details[name] + value if isinstance(value, int) else value
        if observer.crossing is not None:
            self._locate(run, observer.crossing)
        details["steps"] = state.step
        return details

    def _locate(self, run: Run, crossing: Crossing) -> None:
        """Take a step again that has passed events, to earlier times, until it ends at the first. Collective."""
        from scipy.optimize import brentq

        observer, before, events = run.observer, crossing.before, self.followers.events
        table = observer.recorder.table()

        def reached(t: float) -> RunState:
            """Return where the scheme gets at time t."""
            own = Observer(run.system, t, SaveAt(), None, "ignore", self.scheme.estimates_time_error)
            state = replace(before)
            if before.step:
                own.restore(table, [], before.unknowns)
            self.scheme.integrate(
                replace(run, state=state, observer=own, writer=CheckpointWriter(None, run.system, own))
            )
            return state

        known = {before.t: crossing.values, crossing.t: crossing.after}

        def value(t: float, i: int) -> float:
            if t not in known:
                known[t] = observer.values_at(reached(t))
            return float(known[t][i])

        t, passed, chosen = crossing.t, self.followers.passed(crossing.values, crossing.after), 0
        while passed:
            chosen = passed[0]
            t = brentq(value, before.t, t, args=(chosen,), xtol=max(_LOCATED * (t - before.t), 1e-15 * t))
            value(t, chosen)
            passed = [i for i in self.followers.passed(crossing.values, known[t]) if i != chosen]
        vars(run.state).update(vars(reached(t)))
        observer.crossing, observer.stopped = None, Stopped(str(events[chosen]), t)
        observer(run.state)

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
        return CheckpointStore(self.checkpoint, described, self.comm)

    def _first_state(
        self,
        store: CheckpointStore | None,
        system: Semidiscretisation,
        observer: Observer,
        start: Array,
        earlier: _Earlier | None,
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
class _Earlier:
    """What a finished run leaves to one that extends it."""

    system: Semidiscretisation
    state: RunState
    table: dict[str, Array]
    knots: list[Knot]


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.timings[name], self._last = now - self._last, now
