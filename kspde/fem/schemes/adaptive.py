r"""The adaptive scheme: the cheapest scheme with error control that a problem allows.

On a box it is the exponential integrator of ``kspde.fem.schemes.exponential`` (order 5), which needs a tenth of the
work of the Rosenbrock-W method on smooth densities. Lawson's methods lose their order, and do not stand still at a
steady state, where the diffusion coefficient varies by orders of magnitude: as soon as :math:`\inf D < \sup D / 10` the
run continues with the W-method of ``kspde.fem.schemes.rosenbrock`` (order 3). Measured on three Gaussians in the plane
with γ = e^(−αv), tol = 1e-6: at inf D/sup D = .7, .3, .06 the integrator took 9, 23, 35 steps of six evaluations and
its L¹ error was .01, .07, .7 times tol; the W-method 55, 89, 100 steps of four, and 1.2, .4, 2 times tol. Over long
times at inf D/sup D = 1e-8 the integrator took five times as many steps.

On other domains, and where PETSc options are given, it is the W-method throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kspde.fem.schemes.base import Run, ToleranceScheme, march
from kspde.fem.schemes.exponential import ORDER, ExponentialSteps
from kspde.fem.schemes.rosenbrock import integrate_rosenbrock
from kspde.fem.schemes.step_control import StepControl

__all__ = ["Adaptive", "integrate_exponential"]


@dataclass(frozen=True)
class Adaptive(ToleranceScheme):
    """The cheapest scheme with error control for any degree and domain (``kspde.fem.schemes.adaptive``).

    Attributes:
        tol: the tolerance: the local error of a step stays below ``tol`` times the norm of the initial density, in L².
    """

    name = "adaptive"
    order = 3
    node_bytes = (130.0, 0.0, 1200.0)

    tol: float = 1e-6

    def integrate(self, run: Run) -> dict[str, Any]:
        """Integrate to ``run.t_end``, and return a summary. Collective."""
        if run.options or run.state.handed_over or not run.system.has_spectrum:
            return integrate_rosenbrock(run, self.tol)
        first = integrate_exponential(run, self.tol)
        if run.state.t >= run.t_end or run.state.paused:
            return first
        changed = f"{first['method']}, from t = {run.state.t:.6g} " if run.state.step else ""
        second = integrate_rosenbrock(replace(run, started=lambda: None), self.tol)
        second["method"] = changed + second["method"]
        second["rejected_steps"] += first["rejected_steps"]
        return second


def integrate_exponential(run: Run, tol: float) -> dict[str, Any]:
    """Integrate to ``run.t_end``, or until D varies too much, and return a summary; errors as for ``Scheme``."""
    steps = ExponentialSteps(run.system, run.state, tol, run.t_end)
    control = StepControl(steps.first, ORDER, run.t_end)
    if run.state.handed_over:
        run.started()
    else:
        run.begin()
    march(run, steps, control)
    return {
        "method": "Lawson, Dormand-Prince 5(4)",
        "tol": tol,
        "steps": run.state.step,
        "rejected_steps": control.rejected,
    }
