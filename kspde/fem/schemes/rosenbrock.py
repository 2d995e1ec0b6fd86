r"""Adaptive time stepping with PETSc TS: a Rosenbrock-W method whose matrix is constant.

A W-method keeps its order with any matrix J in place of the derivative of the right-hand side; J here is that of
:math:`\bar D \Delta`, :math:`\bar D = \sup D`, so that the matrix of the linear systems changes with the step only, and
on a box they are pointwise divisions in modal space. On the modes of :math:`D\Delta` with :math:`0 \le D \le
\bar D` the default, PETSc's ``ra34pw2`` (Rang and Angermann, BIT 45, 2005: four stages, order 3), then has an
amplification factor at most 1 for every step: the factor of :math:`\dot y = -(1 - r)\lambda y`, J = −λ, is bounded by
1 for all λ·dt ≥ 0 and all r from −1/2 to 1. (Those of PETSc's ``arkimex`` methods with the same splitting are not:
their completion leaves :math:`r \lambda\,dt` unfiltered.) Drift and the dependence of D on the fields are of lower
order in space.

The local error of a step is kept below ``tol`` times the L² norm of the initial data, in L². A stage's system is solved
to a residual that is small beside that of the state it is added to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import BlowUpError, ConvergenceError
from kspde.fem.backend import apply_options
from kspde.fem.coefficients import CoefficientError
from kspde.fem.schemes.step_control import StepFloor
from kspde.fem.observer import Observer
from kspde.fem.petsc_options import W_METHODS
from kspde.fem.resume import Position, Restart
from kspde.fem.semidiscretisation import SemiDiscrete, row_tolerances
from kspde.runtime.parallel import on_all_ranks

__all__ = ["solve_rosenbrock"]

Array = npt.NDArray[np.float64]

#: Below this tolerance stages are solved as much more accurately: the step control is not to see their residuals.
_FINE = 1e-5


def solve_rosenbrock(
    system: SemiDiscrete,
    start: Position,
    *,
    t_end: float,
    tol: float,
    options: dict[str, Any],
    observer: Observer,
    restart: Restart,
    started: Callable[[], None],
) -> dict[str, Any]:
    """Integrate from 0 to ``t_end``.

    Args:
        system: the semi-discrete system.
        start: where to begin: at t = 0, or at a checkpoint.
        t_end: the final time.
        tol: the tolerance.
        options: PETSc options of the TS.
        observer: is told of the start and of every accepted step.
        restart: writes checkpoints.
        started: is called when the set-up is over.

    Returns:
        A summary; the observer has the densities.

    Raises:
        InputError: PETSc does not know an option.
        ConvergenceError: the step control gave up.
    """
    from petsc4py import PETSc

    space = system.space
    stepping = {name: value for name, value in options.items() if name.startswith(("ts_", "snes_"))}
    linear = {name: value for name, value in options.items() if name not in stepping}
    state = system.state(start.unknowns)
    shape = state.shape
    y = PETSc.Vec().createMPI((state.size, None), comm=space.comm)
    y.array[:] = state.ravel()
    residual = y.duplicate()
    tolerances = y.duplicate()
    failure: list[BaseException] = []
    solver = _Shifted(system.solver(linear), shape, failure)
    # PETSc wants a matrix; only the preconditioner, which inverts it, is ever applied.
    jacobian = PETSc.Mat().createPython((y.getSizes(), y.getSizes()), solver, comm=space.comm)
    jacobian.setUp()

    slope = system.rate(state)
    bounds, _ = system.diffusion_range()
    solver.bounds = bounds if start.bounds is None else start.bounds
    accuracy = min(1.0, tol / _FINE)
    solver.sizes = accuracy * system.sizes(state)
    norms = system.norms(state) if start.norms is None else start.norms
    speeds = system.norms(slope / space.weights)
    allowed = row_tolerances(tol, norms) / np.sqrt(y.getSize())
    tolerances.array[:] = (
        allowed.reshape(-1, *(1,) * (state.ndim - 1)) / np.sqrt(np.broadcast_to(space.weights, shape))
    ).ravel()
    first = 0.01 * float(np.min(norms[speeds > 0] / speeds[speeds > 0], initial=100.0 * t_end))
    ts = PETSc.TS().create(comm=space.comm)
    position = replace(start, norms=norms)
    floor = StepFloor(t_end)

    rejections = 0

    def implicit(ts: Any, t: float, y: Any, dy: Any, out: Any) -> None:
        nonlocal rejections
        if ts.getStepRejections() > rejections:
            rejections = ts.getStepRejections()
            system.forget_diffusion()
        rate = system.rate(y.array_r.reshape(shape))
        np.subtract(space.weights * dy.array_r.reshape(shape), rate, out=out.array.reshape(shape))

    def matrix(ts: Any, t: float, y: Any, dy: Any, shift: float, mat: Any, pre: Any) -> bool:
        solver.shift = shift
        return True

    def monitor(ts: Any, step: int, t: float, y: Any) -> None:
        if start.step and step == start.step:
            return  # PETSc begins by showing where it starts; that has been recorded before the checkpoint
        if step:
            # PETSc takes steps of its least length before it gives up; those that a saved time cuts short say nothing.
            if t not in observer.times and (words := floor.accepted(0.5 * (t - position.t), t)):
                raise ConvergenceError(words)
            solver.bounds, lowest = system.diffusion_range()
            try:
                system.refuse_backward(system.nodal(y.array_r.reshape(shape)), solver.bounds, lowest, tol)
            except CoefficientError as error:
                raise error.at(step + 1, t, ts.getTimeStep()) from None
            solver.sizes = accuracy * system.sizes(y.array_r.reshape(shape))
        position.step, position.t, position.dt, position.bounds = step, t, ts.getTimeStep(), solver.bounds
        position.unknowns = system.nodal(y.array_r.reshape(shape))
        observer(t, position.unknowns)
        if step:
            restart.look(position)

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        # PETSc replaces an exception that passes through it by an error code: keep the first.
        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except BaseException as error:
                failure.append(error)
                raise

        return call

    try:
        ts.setType("rosw")
        ts.setIFunction(guarded(implicit), residual)
        ts.setIJacobian(guarded(matrix), jacobian, jacobian)
        ts.setMonitor(guarded(monitor))
        ts.setTime(start.t)
        ts.setStepNumber(start.step)
        ts.setTimeSpan([start.t, *(t for t in observer.times if t > start.t)])
        ts.setMaxSteps(10**7)
        ts.setExactFinalTime(PETSc.TS.ExactFinalTime.MATCHSTEP)
        ts.setTimeStep(min(t_end, first) if start.dt is None else start.dt)
        ts.setTolerances(rtol=0.0, atol=tolerances)
        ts.setErrorIfStepFails(False)
        ts.setSolution(y)
        snes = ts.getSNES()
        snes.setType("ksponly")
        snes.getKSP().setType("preonly")
        snes.getKSP().getPC().setType("python")
        snes.getKSP().getPC().setPythonContext(solver)
        apply_options(ts, stepping, {"ts_rosw_type": W_METHODS[0], "ts_adapt_dt_min": floor.least})
        started()
        try:
            ts.solve(y)
        except PETSc.Error as error:
            # What a step's failure is to be called by is added to its reason only; StoppedError is no failure.
            if failure and (
                isinstance(failure[0], (BlowUpError, CoefficientError)) or not isinstance(failure[0], ConvergenceError)
            ):
                raise failure[0] from None
            if failure:
                raise ConvergenceError(_failed(ts, str(failure[0]))) from None
            raise ConvergenceError(_failed(ts, str(error).strip().splitlines()[-1])) from None
        if ts.getConvergedReason() < 0 or ts.getTime() < t_end * (1 - 1e-12):
            raise ConvergenceError(_failed(ts, _reason(ts)))
        summary = {
            "method": f"{ts.getType()} {options.get('ts_rosw_type', W_METHODS[0])}",
            "tol": tol,
            "steps": ts.getStepNumber(),
            "rejected_steps": ts.getStepRejections(),
        }
    finally:
        solver.release()
        if on_all_ranks(space.comm, sys.exception()):
            for thing in (ts, jacobian, tolerances, residual, y):
                thing.destroy()
    return summary


class _Shifted:
    """PETSc preconditioner that solves with the W-method's matrix."""

    def __init__(
        self, solve: Callable[[float, Array, Array, Array], Array], shape: tuple[int, ...], failure: list[BaseException]
    ) -> None:
        self._solve = solve
        self._failure = failure
        self._shape = shape
        self.shift = 1.0
        self.bounds: Array = np.ones(1)
        self.sizes: Array = np.zeros(1)

    def release(self) -> None:
        """Drop the systems while ranks can agree: those that go when PETSc destroys this are never freed."""
        self._solve = _released

    def apply(self, pc: Any, x: Any, y: Any) -> None:
        rhs, out = x.array_r.reshape(self._shape), y.array.reshape(self._shape)
        try:
            out[:] = self._solve(self.shift, self.bounds, rhs, self.sizes)
        except BaseException as error:
            self._failure.append(error)
            raise


def _released(*args: Any) -> Array:
    raise RuntimeError("the solve is over")


def _reason(ts: Any) -> str:
    from petsc4py import PETSc

    names = {v: k for k, v in vars(PETSc.TS.ConvergedReason).items() if isinstance(v, int)}
    return str(names.get(ts.getConvergedReason(), ts.getConvergedReason()))


def _failed(ts: Any, reason: str) -> str:
    return (
        f"the solve failed in step {ts.getStepNumber() + 1} at t = {ts.getTime():.6g} "
        f"with dt = {ts.getTimeStep():.3g}: {reason}. The density may concentrate, or the coefficients are not finite: "
        'try a finer mesh, a larger eps, or scheme="positive"'
    )
