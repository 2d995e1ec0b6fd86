"""The lengths of steps: fixed, or controlled by the local error; and when an adaptive run gives up."""

from __future__ import annotations

import math

from kspde.errors import ConvergenceError

__all__ = ["FixedStep", "StepControl", "StepFloor"]

#: A new step is ``_SAFETY`` times what the error allows, and within these factors of the last one.
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0
#: Relative rounding of a step's length.
_ROUNDING = 1e-9
#: Shares of t_end: a step below the first ends the run, and so do ``_MANY`` consecutive ones below the second.
SMALLEST, _SMALL, _MANY = 1e-12, 1e-8, 500


class StepFloor:
    """Recognises steps that are too short for the run to come to an end.

    Where a density becomes singular they shrink for ever, geometrically or, with high degrees, like a power of the
    number of steps; a run whose steps stay below 1e-8 t_end would take 1e8 of them.

    Args:
        t_end: the final time.
    """

    def __init__(self, t_end: float) -> None:
        self.least = SMALLEST * t_end
        self._t_end = t_end
        self._short = 0

    def rejected(self, dt: float) -> bool:
        """Return whether ``dt``, to be tried after a rejected step, is too short."""
        return dt < self.least

    def accepted(self, dt: float, t: float) -> str:
        """Return what is wrong with the next step, of length ``dt`` from ``t``; "" if it is long enough."""
        if t >= self._t_end:
            return ""
        if dt < self.least or t + dt == t:
            return f"the steps have fallen below {SMALLEST:g} t_end"
        self._short = self._short + 1 if dt < _SMALL * self._t_end else 0
        return f"the last {_MANY} steps were shorter than {_SMALL:g} t_end" if self._short >= _MANY else ""


class FixedStep:
    """Steps of one length ``dt``, shorter where it does not divide the time up to the next snapshot.

    Attributes:
        rejected: the number of rejected steps.
        natural: the length of the next step, for checkpoints; None where it is fixed.
    """

    def __init__(self, dt: float) -> None:
        self.dt = dt
        self.rejected = 0
        self.natural: float | None = None

    def length(self, due: float) -> float:
        """Return the length of the next step, at most ``due``; no sliver shorter than rounding is left."""
        return due if due < self.dt * (1 + _ROUNDING) else self.dt

    def accepts(self, error: float, tau: float) -> bool:
        """Return whether a step of length ``tau`` is accepted, and choose the next length.

        Args:
            error: its local error, in units of what is allowed; NaN, from coefficients that are not finite or a step
                far too long, rejects it.
            tau: its length.
        """
        return True

    def refuse_short(self, t: float, *, accepted: bool) -> None:
        """Refuse a next step from ``t`` that is too short.

        Raises:
            ConvergenceError: the reason.
        """


class StepControl(FixedStep):
    """Steps whose local error, O(dt^``order``), stays below what is allowed; the first has length ``dt``."""

    def __init__(self, dt: float, order: int, t_end: float) -> None:
        super().__init__(dt)
        self.natural = dt
        self._power = -1.0 / order
        self._floor = StepFloor(t_end)

    def length(self, due: float) -> float:
        """Return the length of the next step: two equal ones rather than a full one and a sliver."""
        full = super().length(due)
        return 0.5 * due if full < due < 2.0 * self.dt else full

    def accepts(self, error: float, tau: float) -> bool:
        """Return whether the error is at most 1, and choose the next length by its size."""
        change = _SAFETY * max(error, 1e-12) ** self._power if math.isfinite(error) else _SHRINK
        change = min(_GROW, max(_SHRINK, change))
        if not error <= 1.0:
            self.rejected += 1
            self.dt = tau * min(change, 0.9)
            return False
        # A step that was cut short says little about the next one.
        self.natural = self.dt = max(self.dt, tau * change) if tau < self.dt else tau * change
        return True

    def refuse_short(self, t: float, *, accepted: bool) -> None:
        """Refuse a next step from ``t`` that is too short."""
        words = self._floor.accepted(self.dt, t) if accepted else ""
        if not accepted and self._floor.rejected(self.dt):
            words = "the error stays above tol for every step"
        if words:
            raise ConvergenceError(words)
