r"""Adaptive time stepping with PETSc TS: a Rosenbrock-W method whose matrix is constant.

A W-method keeps its order with any matrix J in place of the derivative of the right-hand side; J here is that of
:math:`\bar D \Delta`, :math:`\bar D = \sup D`, so that the matrix of the linear systems changes with the step only, and
on a box they are pointwise divisions in modal space. On the modes of :math:`D\Delta` with :math:`0 \le D \le
\bar D` the default, PETSc's ``ra34pw2`` (Rang and Angermann, BIT 45, 2005: four stages, order 3), then has an
amplification factor at most 1 for every step: the factor of :math:`\dot y = -(1 - r)\lambda y`, J = −λ, is bounded by
1 for all λ·dt ≥ 0 and all r from −1/2 to 1. (Those of PETSc's ``arkimex`` methods with the same splitting are not:
their completion leaves :math:`r \lambda\,dt` unfiltered.) Drift and the dependence of D on the fields are of lower
order in space.

The local error of a step is kept below ``tol`` times the norm of the initial density, in L². The system of a stage is
solved to a residual that is small compared with the state the solution is added to.

Where the model has growth, its integral over space and time is an unknown too, for each species: so that the mass is
its initial value plus this, to round-off. The step control does not look at it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.errors import BlowUpError, ConvergenceError
from kspde.fem.backend import Petsc, apply_options, require
from kspde.fem.coefficients import CoefficientError
from kspde.fem.petsc_options import W_METHODS
from kspde.fem.schemes.base import CONCENTRATES, Run, ToleranceScheme, failing, follow_growth, row_tolerances
from kspde.fem.schemes.step_control import StepFloor
from kspde.runtime.parallel import on_all_ranks
from kspde.typing import Array

__all__ = ["Rosenbrock", "integrate_rosenbrock"]

#: Below this tolerance stages are solved more accurately, in proportion: the step control must not see their residuals.
_FINE = 1e-5
#: The tolerance of an unknown that the step control does not look at.
_ANY = 1e300


@dataclass(frozen=True)
class Rosenbrock(ToleranceScheme):
    """PETSc's TS with a Rosenbrock-W method of order 3, for any degree and domain (``kspde.fem.schemes.rosenbrock``).

    Attributes:
        tol: the tolerance: the local error of a step stays below ``tol`` times the norm of the initial density, in L².
    """

    name = "rosenbrock"
    order = 3
    node_bytes = (205.0, 0.0, 1200.0)

    tol: float = 1e-6

    def integrate(self, run: Run) -> dict[str, Any]:
        """Integrate to ``run.t_end``, and return a summary. Collective."""
        return integrate_rosenbrock(run, self.tol)


def integrate_rosenbrock(run: Run, tol: float) -> dict[str, Any]:
    """Integrate to ``run.t_end`` with step control, and return a summary; arguments and errors as for ``Scheme``."""
    integration = _Integration(run, tol)
    try:
        return integration.solve()
    finally:
        integration.free(sys.exception())


class _PausedError(Exception):
    """Ends PETSc's loop where the run pauses."""


class _Integration:
    """PETSc's TS on the semidiscretisation, from ``run.state`` to the end. A vector holds this rank's state."""

    def __init__(self, run: Run, tol: float) -> None:
        require()
        from petsc4py import PETSc

        self._run, self._tol = run, tol
        self._system, self._space = run.system, run.system.space
        self._first_step = run.state.step
        self._stepping = {k: v for k, v in run.options.items() if k.startswith(("ts_", "snes_"))}
        linear = {k: v for k, v in run.options.items() if k not in self._stepping}
        state = run.system.state(run.state.unknowns)
        self._shape, self._size = state.shape, state.size
        grown = np.zeros(0) if run.state.growth is None else run.state.growth
        #: the first error of ours: PETSc replaces one that passes through it by an error code
        self._error: BaseException | None = None
        self._rejections = 0
        self._floor = StepFloor(run.t_end)
        self._accuracy = min(1.0, tol / _FINE)
        self._solve_stage: Callable[[float, Array, Array, Array], Array] = run.system.solver(linear)
        self._shift = 1.0
        self._y = PETSc.Vec().createMPI((state.size + len(grown), None), comm=self._space.comm)
        self._y.array[:] = np.concatenate([state.ravel(), grown])  # every rank has its own copy of what has grown
        self._residual, self._tolerances = self._y.duplicate(), self._y.duplicate()
        # PETSc wants a matrix; only the preconditioner, which inverts it, is ever applied.
        sizes = self._y.getSizes()
        self._jacobian = PETSc.Mat().createPython((sizes, sizes), self, comm=self._space.comm)
        self._jacobian.setUp()
        self._ts = PETSc.TS().create(comm=self._space.comm)
        self._set_scales(state)

    def _set_scales(self, state: Array) -> None:
        """Set D̄, the norms that tolerances refer to, the tolerances, and the first step."""
        at, system, weights = self._run.state, self._system, self._space.weights
        slope = system.rate(state, at.t)
        bounds, _ = system.diffusion_range(at.unknowns, at.t)
        at.bounds = bounds if at.bounds is None else at.bounds
        at.norms = system.norms(state) if at.norms is None else at.norms
        self._sizes = self._accuracy * system.sizes(state)
        self._set_tolerances(at.norms)
        speeds = system.norms(slope / weights)
        moving = speeds > 0
        t_end = self._run.t_end
        first = 0.01 * float(np.min(at.norms[moving] / speeds[moving], initial=100.0 * t_end))
        self._first = min(t_end, first) if at.dt is None else at.dt

    def _set_tolerances(self, norms: Array) -> None:
        allowed = row_tolerances(self._tol, norms) / np.sqrt(self._y.getSize())
        allowed = allowed.reshape(-1, *(1,) * (len(self._shape) - 1))
        weights = np.broadcast_to(self._space.weights, self._shape)
        self._tolerances.array[: self._size] = (allowed / np.sqrt(weights)).ravel()
        self._tolerances.array[self._size :] = _ANY

    def solve(self) -> dict[str, Any]:
        """Integrate to the end."""
        from petsc4py import PETSc

        run, ts = self._run, self._ts
        self._configure()
        run.started()
        try:
            ts.solve(self._y)
        except PETSc.Error as error:
            if not isinstance(self._error, _PausedError):
                self._raise_first(str(error).strip().splitlines()[-1])
        paused = isinstance(self._error, _PausedError)
        if not paused and (ts.getConvergedReason() < 0 or ts.getTime() < run.t_end * (1 - 1e-12)):
            names = {v: k for k, v in vars(PETSc.TS.ConvergedReason).items() if isinstance(v, int)}
            self._raise_first(str(names.get(ts.getConvergedReason(), ts.getConvergedReason())))
        return {
            "method": f"{ts.getType()} {run.options.get('ts_rosw_type', W_METHODS[0])}",
            "tol": self._tol,
            "steps": ts.getStepNumber(),
            "rejected_steps": ts.getStepRejections(),
        }

    def _configure(self) -> None:
        from petsc4py import PETSc

        ts, start, times = self._ts, self._run.state, self._run.observer.times
        ts.setType("rosw")
        ts.setIFunction(self._guarded(self._implicit), self._residual)
        ts.setIJacobian(self._guarded(self._matrix), self._jacobian, self._jacobian)
        ts.setMonitor(self._guarded(self._accept))
        ts.setTime(start.t)
        ts.setStepNumber(start.step)
        ts.setTimeSpan([start.t, *(t for t in times if t > start.t)])
        ts.setMaxSteps(10**7)
        ts.setExactFinalTime(PETSc.TS.ExactFinalTime.MATCHSTEP)
        ts.setTimeStep(self._first)
        ts.setTolerances(rtol=0.0, atol=self._tolerances)
        ts.setErrorIfStepFails(False)
        ts.setSolution(self._y)
        snes = ts.getSNES()
        snes.setType("ksponly")
        snes.getKSP().setType("preonly")
        snes.getKSP().getPC().setType("python")
        snes.getKSP().getPC().setPythonContext(self)
        apply_options(ts, self._stepping, {"ts_rosw_type": W_METHODS[0], "ts_adapt_dt_min": self._floor.least})

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except BaseException as error:
                self._error = self._error or error
                raise

        return call

    def _implicit(self, ts: Petsc, t: float, y: Petsc, dy: Petsc, out: Petsc) -> None:
        """Set M dy − rate(y)."""
        if ts.getStepRejections() > self._rejections:
            self._rejections = ts.getStepRejections()
            self._system.forget_diffusion()
        rate = self._system.rate(self._state(y.array_r), t)
        np.subtract(self._space.weights * self._state(dy.array_r), rate, out=self._state(out.array))
        if len(y.array_r) > self._size:
            out.array[self._size :] = dy.array_r[self._size :] - self._system.grown[-1]

    def _state(self, array: Array) -> Array:
        """Return the state in a vector's array."""
        return array[: self._size].reshape(self._shape)

    def _matrix(self, ts: Petsc, t: float, y: Petsc, dy: Petsc, shift: float, mat: Petsc, pre: Petsc) -> bool:
        self._shift = shift
        return True

    def _accept(self, ts: Petsc, step: int, t: float, y: Petsc) -> None:
        """Record a step: PETSc's monitor, which is also called at the start."""
        if self._first_step and step == self._first_step:
            return  # recorded before the checkpoint
        run, at, dt = self._run, self._run.state, ts.getTimeStep()
        grown, y = y.array_r[self._size :], self._state(y.array_r)
        unknowns = self._system.nodal(y)
        if step:
            # PETSc takes steps of its least length before it gives up; those that a saved time cuts short say nothing.
            if t not in run.observer.times and (words := self._floor.accepted(0.5 * (t - at.t), t)):
                raise ConvergenceError(words)
            with failing(step + 1, t, dt, ""):
                at.bounds, lowest = self._system.diffusion_range(unknowns, t)
                self._system.refuse_backward(unknowns, t, at.bounds, lowest, self._tol)
                if at.growth is not None:
                    at.unknowns = unknowns
                    self._set_tolerances(follow_growth(self._system, at, self._system.norms(y)))
            self._sizes = self._accuracy * self._system.sizes(y)
        at.step, at.t, at.dt, at.unknowns = step, t, dt, unknowns
        if at.growth is not None:
            at.growth = grown.copy()
        if step:
            run.record()
        else:
            run.observer(at)
        if at.paused:
            raise _PausedError

    def apply(self, pc: Petsc, x: Petsc, y: Petsc) -> None:
        """Solve with the W-method's matrix: PETSc's preconditioner."""
        self._guarded(self._apply)(self._state(x.array_r), self._state(y.array))
        y.array[self._size :] = x.array_r[self._size :] / self._shift

    def _apply(self, rhs: Array, out: Array) -> None:
        bounds = self._run.state.bounds
        assert bounds is not None
        out[:] = self._solve_stage(self._shift, bounds, rhs, self._sizes)

    def _raise_first(self, reason: str) -> None:
        """Raise the first error of ours; step, t and dt are added to a failed step's reason only.

        Raises:
            ConvergenceError: (or ours) always.
        """
        error, ts = self._error, self._ts
        if error is not None and (
            isinstance(error, (BlowUpError, CoefficientError)) or not isinstance(error, ConvergenceError)
        ):
            raise error from None
        with failing(ts.getStepNumber() + 1, ts.getTime(), ts.getTimeStep(), CONCENTRATES):
            raise ConvergenceError(str(error) if error is not None else reason)

    def free(self, error: BaseException | None) -> None:
        """Free the PETSc objects, and drop the linear systems while ranks can agree."""
        self._solve_stage = _freed
        self._error = None  # its frames hold PETSc objects, which hold this one: no collector sees that
        if on_all_ranks(self._space.comm, error):
            for thing in (self._ts, self._jacobian, self._tolerances, self._residual, self._y):
                thing.destroy()


def _freed(*args: Any) -> Array:
    raise RuntimeError("the solve is over")
