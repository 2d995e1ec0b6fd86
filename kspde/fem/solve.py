"""The finite-element backend's entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from kspde.domains import Domain
from kspde.errors import InputError
from kspde.fem import backend
from kspde.fem.accuracy import check_accuracy, first_box
from kspde.fem.petsc_options import checked_options
from kspde.fem.regrid import Regrid
from kspde.fem.request import Request
from kspde.fem.schemes import Scheme, scheme_of
from kspde.fem.solution import Solution
from kspde.initial import InitialDensity
from kspde.kernels import Mollifier
from kspde.models import Model
from kspde.papers.theory.hypotheses import warn_outside_hypotheses
from kspde.problem import Problem
from kspde.runtime.checkpoint import Checkpoint
from kspde.runtime.following import Callback, Followers
from kspde.runtime.messages import keeping_warnings
from kspde.runtime.parallel import collective, communicator, together
from kspde.runtime.saving import SaveAt
from kspde.typing import Comm

__all__ = ["solve"]


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
            ``tol`` times the norm of the initial density, in L² (with growth, times the largest norm until then). With
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
            without one starts at t = 0, so that a job which is started repeatedly can always ask for it. A checkpoint
            of a run to an earlier ``t_end``, also one of its end (``Checkpoint(..., at_end=True)``), serves too: as
            ``Solution.extend``, from another process.
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
        MissingBackendError: a library that the domain or the scheme needs is not installed: DOLFINx, or Basix on a Box
            and one process.
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
    request = Request(
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
    if accuracy is not None and request.no_estimate:
        raise InputError(f"accuracy = {accuracy} needs estimates of errors, and {request.no_estimate}: leave one out")
    with together(request.comm):
        backend.require(mesh=domain.needs_mesh)
    backend.destroy_dropped(request.comm)
    warn_outside_hypotheses(request.problem.model, request.problem.u0, request.problem.eps, request.comm)
    return request.solution() if accuracy is None else request.accurate_solution(accuracy)
