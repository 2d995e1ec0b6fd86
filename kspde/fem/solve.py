"""The finite-element backend's entry point."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.domains import Box, Disk, Domain
from kspde.errors import (
    ON_BLOW_UP,
    ConvergenceError,
    InputError,
    check_callable,
    check_choice,
    check_flag,
    check_number,
    shown,
)
from kspde.fem import backend
from kspde.fem.petsc_options import checked_options
from kspde.initial import InitialDensity, densities_by_species
from kspde.kernels import Kernel, mollifier_kernel
from kspde.models import Model
from kspde.papers.theory.hypotheses import warn_outside_hypotheses
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore
from kspde.runtime.counts import check_steps
from kspde.runtime.parallel import collective, communicator, limited_threads, together
from kspde.runtime.saving import SaveAt
from kspde.runtime.warned import keeping_warnings

if TYPE_CHECKING:
    from kspde.fem.solution import Solution
    from kspde.fem.spaces.base import Space

__all__ = ["solve"]


@keeping_warnings
@collective(own=("progress",))
def solve(
    model: Model,
    u0: InitialDensity | Mapping[str, InitialDensity],
    domain: Domain,
    *,
    t_end: float,
    tol: float | None = None,
    eps: float | None = None,
    mollifier: str | Callable[..., Kernel] = "gaussian",
    initial: str = "u0",
    scheme: str = "adaptive",
    dt: float | None = None,
    petsc_options: Mapping[str, Any] | None = None,
    save: SaveAt | None = None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    on_blow_up: str = "stop",
    progress: Callable[[float], None] | None = None,
    comm: Any = None,
) -> Solution:
    r"""Solve a model's density equation by finite elements. Collective.

    .. math:: \partial_t u_i = \Delta(D_i u_i) - \nabla\cdot(b_i u_i)

    with no flux of u through the boundary and the fields' condition of ``domain.boundary``.

    Args:
        model: the model.
        u0: the initial density; with several species, a mapping with one for each. A constant ū in a closed Box,
            ``boundary="neumann"``, is ``GridDensity(np.ones((2, 2)), (-L, L, -L, L), mass=ū * (2 * L)**2)``; other
            densities must vanish outside the domain.
        domain: the truncated domain.
        t_end: final time > 0.
        tol: tolerance of the adaptive schemes, 1e-6 unless given: the local error of a step stays below ``tol`` times
            the L² norm of the initial data, in L². With "positive2" the step may be controlled too, by the local error
            of its scheme of order 1: give ``tol`` in place of ``dt``.
        eps: ε > 0 of the mollified system, in which every kernel K is replaced by K * j^ε; None for the local one.
        mollifier: "gaussian", "matern" (order 2), or a callable as for ``kspde.kernels.mollifier_kernel``.
        initial: "u0", or "mollified": from u_0 * j^ε. Wang, Li and Huang start the particles (1.8) from u_0 but the
            density (1.9) from u_0 * j^ε; only where both start alike does the relative entropy start from 0.
        scheme: "adaptive" (any degree and domain; on a Box an exponential integrator of order 5 while sup D < 10 inf D,
            else and elsewhere PETSc's TS, see ``kspde.fem.schemes.adaptive``), "rosenbrock" (PETSc's TS throughout,
            order 3), "positive" (order 1) or "positive2" (order 2), both of degree 1 and with u ≥ 0 and exact mass for
            every step and all data, see ``kspde.fem.schemes.positive``. Where the others find u < −10 ``tol`` max u,
            they warn.
        dt: the fixed step of the positive schemes.
        petsc_options: options of the TS (adaptive, which is then "rosenbrock") or KSP (positive schemes) object,
            without the leading dash: those of the list in ``kspde.fem.petsc_options``, none that runs code or opens a
            file.
        save: times at which states are saved beside ``t_end``, further statistics (``fisher_information``,
            ``log_gradient``, ``free_energy``), and a callback that is given a ``State`` at each of these times. Between
            them a solution is interpolated, which does not keep u ≥ 0.
        checkpoint: where and how often the state is written to disk; SIGTERM or SIGHUP then writes one more and stops.
        resume: go on from the newest checkpoint of this very problem, on any number of ranks; from the beginning if
            there is none yet, so that a job which is started again and again can always ask for it.
        on_blow_up: what to do about a density that has grown until only the mesh limits its peak, which is then no
            longer that of the equation (``kspde.fem.monitors.blow_up``): "stop" ends the run with a ``BlowUpError``,
            "warn" warns and goes on, "ignore" does not look.
        progress: called on every rank after every step with t/t_end.
        comm: the MPI communicator, ``MPI.COMM_WORLD`` unless given.

    Raises:
        InputError: a value is not valid, or not the same on every rank, mass of u0 lies outside the domain, the mesh
            does not resolve u0, or the model's coefficients have no meaning: another shape, no real numbers, D < 0 in
            the initial fields.
        StoppedError: SIGTERM or SIGHUP came, and a checkpoint has been written.
        ConvergenceError: a step failed, or led to a D < 0; the message names step, t, dt and reason. The error holds
            what was computed until then, as ``diagnostics`` and ``solution``; a ``BlowUpError`` where a density blew
            up.
        MissingBackendError: DOLFINx is not installed.
    """
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}: give a kspde model such as SignalDependentKellerSegel")
    if not isinstance(domain, Domain):
        raise InputError(f"domain is a {type(domain).__name__}: give a kspde.Box, kspde.Disk or kspde.MeshFile")
    if isinstance(domain, (Box, Disk)) and domain.dimension != model.dimension:
        raise InputError(
            f"domain has dimension {domain.dimension}, the model {model.dimension}: give Box(dimension=...)"
        )
    densities = densities_by_species(model.species, model.dimension, u0)
    t_end = check_number("t_end", t_end, above=0)
    fields = model.regularised_fields(eps, mollifier)
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise InputError(f"checkpoint is a {type(checkpoint).__name__}: give kspde.Checkpoint(directory)")
    if check_flag("resume", resume) and checkpoint is None:
        raise InputError("resume=True needs checkpoint=kspde.Checkpoint(directory): give where to go on from")
    check_choice("initial", initial, ("u0", "mollified"))
    if initial == "mollified" and eps is None:
        raise InputError('initial = "mollified" needs a mollifier: give eps')
    check_choice("on_blow_up", on_blow_up, ON_BLOW_UP)
    check_choice("scheme", scheme, ("adaptive", "rosenbrock", "positive", "positive2"))
    tol, dt = _step_control(scheme, tol, dt, t_end)
    options = checked_options(petsc_options)
    save = SaveAt.checked(save)
    save.until(t_end)
    check_callable("progress", progress, "one argument, t/t_end")
    if scheme.startswith("positive") and domain.degree != 1:
        raise InputError(f"degree = {domain.degree} is not valid for the positive schemes: use a domain with degree=1")
    comm = communicator(comm)
    with together(comm):
        backend.require()
    backend.destroy_dropped(comm)
    warn_outside_hypotheses(model, densities, eps, comm)

    from kspde.fem.memory import check_run
    from kspde.fem.monitors import trust
    from kspde.fem.monitors.truncation import warn_of_decay, warn_of_outside, warn_of_truncation
    from kspde.fem.observer import Observer
    from kspde.fem.resume import Position, Restart, description
    from kspde.fem.schemes.adaptive import solve_adaptive
    from kspde.fem.schemes.positive import solve_positive
    from kspde.fem.schemes.rosenbrock import solve_rosenbrock
    from kspde.fem.semidiscretisation import SemiDiscrete, initial_densities, mollified
    from kspde.fem.solution import Solution

    # Below some 500 nodes a direction a second BLAS thread gains nothing, and spins where cores are shared.
    small = not isinstance(domain, Box) or domain.cells * domain.degree < 500
    with limited_threads(comm, useful=1 if small else None):
        start = time.perf_counter()
        parts = {"parts": len(model.species) + len(fields), "saved": len(model.species) * len(save.until(t_end))}
        check_run(domain, model.dimension, scheme, comm, **parts)
        space = _space(domain, model.dimension, comm)
        if not isinstance(domain, Box):  # now they are known
            check_run(domain, model.dimension, scheme, comm, nodes=space.nodes, **parts)
        meshed = time.perf_counter()
        nodal, mass_errors = initial_densities(space, densities)
        if initial == "mollified" and eps is not None:
            nodal = mollified(space, nodal, mollifier_kernel(eps, mollifier))
        system = SemiDiscrete(model, fields, space)
        started_from = system.start(nodal)
        warn_of_outside(system, densities)
        warn_of_decay(system, started_from)
        observer = Observer(system, t_end, save, progress, on_blow_up, time_error=dt is not None)
        ready = meshed
        store = None
        if checkpoint is not None:
            facts: dict[str, Any] = {
                "domain": domain,
                "fields": fields,
                "t_end": t_end,
                "scheme": scheme,
                "tol": tol,
                "dt": dt,
            }
            facts |= {"initial": initial, "times": observer.times, "petsc_options": options}
            store = CheckpointStore(checkpoint, description(model, densities, **facts), comm)
        restart = Restart(store, system, observer)
        start_at = (restart.latest() if resume else None) or Position(unknowns=started_from)
        if start_at.step:
            observer.latest = start_at.unknowns
        else:
            system.refuse_at_start(start_at.unknowns)

        def started() -> None:
            nonlocal ready
            ready = time.perf_counter()

        shared: dict[str, Any] = {
            "t_end": t_end,
            "options": options,
            "observer": observer,
            "restart": restart,
            "started": started,
        }

        def solution(until: float, states: list[Any], details: dict[str, Any]) -> Solution:
            return Solution(
                model=model,
                domain=domain,
                u0=densities,
                initial=initial,
                t_end=until,
                eps=eps,
                mollifier=mollifier,
                diagnostics=observer.recorder.table(),
                timings={"mesh": meshed - start, "setup": ready - meshed, "loop": time.perf_counter() - ready},
                masses={name: u.mass for name, u in densities.items()},
                initial_mass_error=mass_errors,
                _system=system,
                _states=states,
                _scheme={"scheme": scheme, "initial": initial, **details},
            )

        try:
            with store or nullcontext():
                if scheme.startswith("positive"):
                    order = 1 if scheme == "positive" else 2
                    details = solve_positive(system, start_at, order=order, dt=dt, tol=tol, **shared)
                elif tol is not None:
                    integrate = solve_adaptive if scheme == "adaptive" else solve_rosenbrock
                    details = integrate(system, start_at, tol=tol, **shared)
        except ConvergenceError as error:
            if states := observer.until_now():
                failed = {"steps": observer.recorder.steps, "failed": str(error)}
                error.solution = solution(states[-1][0], states, failed)
                error.diagnostics = error.solution.diagnostics
            raise
        if tol is not None and not scheme.startswith("positive"):
            details["negative"] = trust.negative_values(model.species, tol, observer.recorder.table())
        peclet = np.zeros(1)
        if observer.latest is not None and (scheme.startswith("positive") or details["negative"]):
            peclet = trust.cell_peclet(system, observer.latest)
            details["cell_peclet"] = float(peclet.max())
        pde = solution(t_end, observer.states, details)
    if domain.boundary == "decay":
        warn_of_truncation(system, domain, densities, started_from, observer.states[-1][1], pde.diagnostics)
    if details.get("negative"):
        trust.warn_of_negative_values(details["negative"], details["cell_peclet"], comm)
    elif scheme.startswith("positive"):
        trust.warn_of_upwind(system, peclet)
    if dt is not None:
        trust.warn_of_time_error(system, dt, observer.times, pde.diagnostics)
    return pde


def _step_control(scheme: str, tol: float | None, dt: float | None, t_end: float) -> tuple[float | None, float | None]:
    """Return the tolerance or the fixed step of a scheme; the other one is None.

    Raises:
        InputError: a value is not valid, missing, or without effect, or there are too many steps.
    """
    if scheme == "positive" and tol is not None:
        raise InputError(f"tol = {shown(tol)} has no effect on the positive scheme: leave it out and give dt")
    if scheme == "positive" and dt is None:
        raise InputError("dt is not given: the positive scheme needs a step > 0")
    if scheme == "positive2" and tol is None and dt is None:
        raise InputError("neither dt nor tol is given: positive2 needs a fixed step > 0, or a tolerance")
    if scheme == "positive2" and tol is not None and dt is not None:
        raise InputError(f"dt = {shown(dt)} has no effect beside tol = {shown(tol)}: leave one of them out")
    if not scheme.startswith("positive"):
        if dt is not None:
            raise InputError(
                f'dt = {shown(dt)} has no effect on the adaptive scheme: leave it out, or use scheme="positive2"'
            )
        tol = 1e-6 if tol is None else tol
    if tol is not None:
        tol = check_number("tol", tol, above=0, below=1)
    if dt is not None:
        dt = check_number("dt", dt, above=0)
        check_steps(t_end, dt)
    return tol, dt


def _space(domain: Domain, dimension: int, comm: Any) -> Space:
    if isinstance(domain, Box):
        from kspde.fem.spaces.box import BoxSpace

        return BoxSpace(domain, comm)
    from kspde.fem.spaces.mesh import MeshSpace

    return MeshSpace(domain, dimension, comm)
