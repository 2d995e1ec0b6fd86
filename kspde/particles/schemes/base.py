"""Time-stepping schemes as data: what each promises, where it comes from, and the function that takes a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kspde.models.base import Array
from kspde.particles.observation import Tallies
from kspde.particles.schemes.euler import euler_maruyama
from kspde.particles.schemes.weak2 import weak_second_step
from kspde.particles.system import System
from kspde.runtime.parallel import together

__all__ = ["SCHEMES", "Scheme"]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A scheme.

    Attributes:
        name: what ``simulate`` calls it.
        weak_order: order in dt of the error of expectations of smooth functions.
        strong_order: order in dt of E|X − X_exact| with the same Brownian motions.
        field_evaluations: how often a step computes the fields of all particles.
        source: where it comes from.
        advance: (system, step, t, dt) moves the particles, whose fields are prepared at t, to t + dt, and returns what
            it tallied of their new positions for ``System.observe``, or None. Collective; it raises ConvergenceError on
            all ranks together.
    """

    name: str
    weak_order: float
    strong_order: float
    field_evaluations: int
    source: str
    advance: Callable[[System, int, float, float], Tallies | None]


def _euler_maruyama(system: System, step: int, t: float, dt: float) -> Tallies:
    tallies: dict[str, list[Array]] = {}
    with together(system.comm):
        for name, x in system.positions.items():
            tallies[name] = euler_maruyama(
                system.model,
                name,
                system.evaluator.parts(name, x),
                x,
                system.ids[name],
                step=step,
                dt=dt,
                noise=system.noise,
                weights=system.own_weights(name),
            )
    return tallies


_ALL = (
    Scheme(
        name="euler-maruyama",
        weak_order=1.0,
        strong_order=0.5,
        field_evaluations=1,
        source="Maruyama, Rend. Circ. Mat. Palermo 4 (1955); Kloeden and Platen, Numerical Solution of Stochastic "
        "Differential Equations (1992), sections 10.2 and 14.1",
        advance=_euler_maruyama,
    ),
    Scheme(
        name="weak-2",
        weak_order=2.0,
        strong_order=0.5,
        field_evaluations=3,
        source="Kloeden and Platen, Numerical Solution of Stochastic Differential Equations (1992), section 14.2 "
        "(after Talay), with iterated integrals of rank 2: kspde.particles.schemes.weak2",
        advance=weak_second_step,
    ),
)

#: By name.
SCHEMES = {scheme.name: scheme for scheme in _ALL}
