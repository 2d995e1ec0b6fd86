r"""The positive schemes: degree 1, u ≥ 0 and exact mass for every step.

(In double precision for every step with :math:`\Delta t D \le 10^8 h^2`, h the size of the smallest cells: beyond it
rounding may cost more of the mass than a scaling by 1 ± 1e-8 puts right, and the run ends with one line that says so.)

**Positive, order 1.** D and b are frozen at the old time, and each species makes an implicit Euler step
:math:`S_{\Delta t}` with the fluxes of ``kspde.fem.schemes.transport``, where it is proved that u ≥ 0 and that mass is
kept. Fields that relax make an implicit Euler step with the new densities.

Where coefficients depend on a density at the same place (fields of ``kspde.Identity``), all species make the step
together with these at the new time (``kspde.fem.schemes.implicit``): again u ≥ 0 and exact mass for every step, also
for diffusion that vanishes with u, and no restriction of Δt by the mesh. The run's summary says how many of these steps
were made in substeps (``divided_steps``).

**Positive2, order 2.** With :math:`u_1 = S_{\Delta t} u^n` and :math:`u_2 = S_{\Delta t/2} S_{\Delta t/2} u^n`, whose
stages have the fluxes F_1, F_a and F_b, Richardson's extrapolation :math:`2 u_2 - u_1` has local error O(Δt³). On
:math:`\dot y = -\lambda y` its factor is :math:`2/(1 + z/2)^2 - 1/(1 + z)`, z = λΔt: between −.04 and 1, and 0 at
infinity. It may be negative. But it differs from :math:`u_2 \ge 0` by fluxes along edges,

.. math:: m\,(2 u_2 - u_1)_i = m_i u_{2,i} - \sum_j A_{ij}, \qquad
    A = \Delta t\,\big(\tfrac12 F_a(u_a) + \tfrac12 F_b(u_2) - F_1(u_1)\big) = -A^T ,

and the limiter of ``kspde.fem.schemes.extrapolation`` keeps these from taking more than there is: u ≥ 0 and exact mass
again, for every Δt, and the extrapolation unchanged if :math:`\sum_j A_{ij}^+ \le m_i u_{2,i}` at all nodes. Since A
= O(Δt²), that is so for small Δt where u is smooth and positive. In the tails of a Gaussian it is not: there u_1 > 2
u_2 at any Δt, but farther out for a smaller one; what the limiter holds back there (``held_back``) falls faster than
Δt². Each stage begins with a limited correction of the fitted fluxes ((3) of ``transport``), which makes it of order
2 in space for every Péclet number where the density is smooth. Fields that relax are extrapolated too; where u_1 and
u_2 give them the same sign they keep it.

**Growth.** r = r⁺ − r⁻ is frozen as D and b are, local fields in it too; r⁺ acts on the old density, r⁻ on the new one
(``transport``, (2)), in both Euler schemes. So u ≥ 0 for every Δt and both signs of r, and in place of the mass a
balance is exact: the mass is its initial value plus what the diagnostics record as ``growth``. Order 2 is that of the
extrapolation, as r⁺ and r⁻ are smooth where r does not change its sign. "For every Δt" does not mean that large steps
are useful: growth is approximated by 1 + Δt r⁺, and where r depends on u the density may overshoot the value at which
r = 0, and oscillate about it, unless Δt \|r\| is well below 1.

No other bound is enforced: that u ≤ 1 where b = (1 − u)∇c and r = 1 − u, say, holds as far as the mesh resolves u.

With ``tol`` the step is chosen so that :math:`u_2 - u_1`, the local error of the scheme of order 1, stays below ``tol``
times the L² norm of the initial density (with growth, the largest until then); u ≥ 0 does not depend on it. (Modified
Patankar-Runge-Kutta methods reach the same order with two systems per step, and were tried; but they do not damp: their
factor is −1/2 at infinity.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.fem.monitors.time_error import TimeError
from kspde.fem.monitors.trust import cell_peclet, warn_of_moments, warn_of_time_error, warn_of_upwind
from kspde.fem.schemes.base import Run, Scheme, march
from kspde.fem.schemes.step_control import FixedStep, StepControl
from kspde.typing import Array

__all__ = ["Positive", "Positive2"]


class _PositiveScheme(Scheme):
    positive = True

    @property
    def estimates_time_error(self) -> bool:
        """With a fixed step; step control knows its own errors."""
        return self.dt is not None

    def review(self, run: Run, table: dict[str, Array]) -> dict[str, Any]:
        """Warn of upwind fluxes, and of a fixed step that is too long."""
        peclet = cell_peclet(run.system, run.state.unknowns, run.state.t)
        if run.state.peclet is not None:
            peclet = np.maximum(peclet, run.state.peclet)
        warn_of_upwind(run.system, peclet, second=self.order == 2)
        if self.dt is not None:
            warn_of_time_error(run.system, self.dt, run.observer.times, table)
        return {"cell_peclet": float(peclet.max())}


@dataclass(frozen=True)
class Positive(_PositiveScheme):
    """Order 1, u ≥ 0 and exact mass, or balance of growth, for every step size and all data, on elements of degree 1.

    Attributes:
        dt: the fixed step; shorter ones occur where it does not divide the times to be saved.
    """

    name = "positive"
    order = 1
    node_bytes = (130.0, 390.0, 950.0)

    dt: float

    def integrate(self, run: Run) -> dict[str, Any]:
        """Integrate to ``run.t_end``, and return a summary. Collective."""
        return {"method": "positive, linearly implicit", **_integrate(run, 1, self.dt, None)}


@dataclass(frozen=True)
class Positive2(_PositiveScheme):
    """Order 2, u ≥ 0 and exact mass, or balance of growth, for every step size and all data, on elements of degree 1.

    Attributes:
        dt: the fixed step; shorter ones occur where it does not divide the times to be saved. Give this or ``tol``.
        tol: the tolerance of a controlled step: the local error of the scheme of order 1 stays below ``tol`` times the
            L² norm of the initial density, in L².
    """

    name = "positive-2"
    order = 2
    earlier = ("positive2",)
    node_bytes = (130.0, 460.0, 1200.0)

    dt: float | None = None
    tol: float | None = None

    def __repr__(self) -> str:
        return f"Positive2(dt={self.dt})" if self.tol is None else f"Positive2(tol={self.tol})"

    def integrate(self, run: Run) -> dict[str, Any]:
        """Integrate to ``run.t_end``, and return a summary. Collective."""
        return {"method": "positive, extrapolated and limited", **_integrate(run, 2, self.dt, self.tol)}


def _integrate(run: Run, order: int, dt: float | None, tol: float | None) -> dict[str, Any]:
    """Integrate with a fixed step or, for order 2, a tolerance, and return a summary. Collective."""
    from kspde.fem.schemes.extrapolation import PositiveSteps  # imports PETSc

    state = run.state
    with PositiveSteps(run.system, run.options, order) as steps:
        steps.begin(state.unknowns, state.t)
        if dt is not None:
            control = FixedStep(dt)
        else:
            steps.control(state, tol or 0.0)
            control = StepControl(state.dt or _first_step(run, tol or 0.0), 2, run.t_end)
        run.begin()
        if dt is not None:
            table = run.observer.recorder.table()
            steps.time_error = TimeError(order, dt, table["dt"][1:], np.atleast_1d(table["time_error"][-1]))
        march(run, steps, control)
        warn_of_moments(run.system, steps.moment_error(state.unknowns, state.t))
    summary: dict[str, Any] = {"dt": dt} if tol is None else {"tol": tol, "rejected_steps": control.rejected}
    summary |= {"steps": state.step, "linear_iterations": steps.iterations, **steps.local}
    if steps.time_error is not None:
        summary["time_error"] = float(np.max(steps.time_error.value))
    return summary if order == 1 else {**summary, "held_back": steps.held_back}


def _first_step(run: Run, tol: float) -> float:
    """Return a first step: the time in which the unknowns change by √tol of their norms. Collective."""
    system = run.system
    y = system.state(run.state.unknowns)
    norms, speeds = system.norms(y), system.norms(system.rate(y, run.state.t) / system.space.weights)
    moving = (speeds > 0) & (norms > 0)
    return float(np.sqrt(tol)) * float(np.min(norms[moving] / speeds[moving], initial=run.t_end))
