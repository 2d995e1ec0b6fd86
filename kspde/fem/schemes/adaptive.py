r"""The adaptive scheme: the cheapest stepper with control of the error that a problem allows.

On a box it is the exponential integrator of ``kspde.fem.schemes.exponential`` (order 5), which needs a tenth of the
work of the Rosenbrock-W method on smooth densities. Lawson's methods lose their order, and do not stand still at a
steady state, where the diffusion coefficient varies by orders of magnitude: as soon as :math:`\inf D < \sup D / 10` the
run goes on with the W-method of ``kspde.fem.schemes.rosenbrock`` (order 3). Measured on three Gaussians in the plane
with γ = e^(−αv), tol = 1e-6: at inf D/sup D = .7, .3, .06 the integrator took 9, 23, 35 steps of six evaluations and
its L¹ error was .01, .07, .7 times tol; the W-method 55, 89, 100 steps of four, and 1.2, .4, 2 times tol. Over long
times at inf D/sup D = 1e-8 the integrator took five times as many steps.

On other domains, and where PETSc options are given, it is the W-method throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kspde.fem.observer import Observer
from kspde.fem.resume import Position, Restart
from kspde.fem.schemes.exponential import solve_exponential
from kspde.fem.schemes.rosenbrock import solve_rosenbrock
from kspde.fem.semidiscretisation import SemiDiscrete

__all__ = ["solve_adaptive"]


def solve_adaptive(
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
    """Integrate from ``start`` to ``t_end``; arguments, result and errors are those of ``solve_rosenbrock``."""
    shared: dict[str, Any] = {"t_end": t_end, "tol": tol, "observer": observer, "restart": restart, "started": started}
    if options or start.handed_over or not system.space.modal:
        return solve_rosenbrock(system, start, options=options, **shared)
    position, first = solve_exponential(system, start, **shared)
    if position.t >= t_end:
        return first
    second = solve_rosenbrock(system, position, options=options, **{**shared, "started": lambda: None})
    if not position.step:
        return second
    return {
        **second,
        "method": f"{first['method']}, from t = {position.t:.6g} {second['method']}",
        "rejected_steps": first["rejected_steps"] + second["rejected_steps"],
    }
