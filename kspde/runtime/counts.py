"""Runs that could not end: refused by their number of steps, with the estimate, before anything is computed.

A step of either backend takes microseconds at the very least, and a particle's share of it some ten nanoseconds. The
limits leave room for months on a large machine.
"""

from __future__ import annotations

from kspde.errors import InputError, shown

__all__ = ["MOST_POINTS", "MOST_REPLICAS", "MOST_STEPS", "MOST_WORK", "check_steps", "check_work"]

#: Steps of a run, points of a study, and particles times steps times repetitions.
MOST_STEPS, MOST_POINTS, MOST_WORK = 10**8, 10**4, 10**16

#: Repetitions of one thing.
MOST_REPLICAS = 10**6


def check_steps(t_end: float, dt: float) -> float:
    """Return about how many steps of length ``dt`` lead to ``t_end``.

    Raises:
        InputError: more than 1e8.
    """
    steps = t_end / dt
    if steps > MOST_STEPS:
        raise InputError(
            f"dt = {dt:g} makes {steps:.3g} steps to t_end = {t_end:g}: give a larger dt, for at most {MOST_STEPS:.0e} "
            "steps"
        )
    return max(1.0, steps)


def check_work(n: int, *, steps: float = 1.0, replicas: int = 1) -> None:
    """Refuse particles, steps and repetitions whose product is beyond reach.

    Raises:
        InputError: more than 1e16 moves of a particle.
    """
    work = float(n) * steps * replicas
    if work > MOST_WORK:
        factors = [f"n = {shown(n)}", *([f"{steps:.3g} steps"] if steps > 1 else [])]
        factors += [f"replicas = {shown(replicas)}"] if replicas > 1 else []
        raise InputError(
            f"{' with '.join(factors)} would move particles {work:.1e} times: give fewer, for at most {MOST_WORK:.0e}"
        )
