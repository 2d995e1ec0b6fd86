"""When an adaptive scheme gives up: steps that are too short for the run to come to an end."""

from __future__ import annotations

__all__ = ["StepFloor"]

#: Shares of t_end: a step below the first is the end of a run, so many in a row below the second are, too.
SMALLEST, _SMALL, _MANY = 1e-12, 1e-8, 500


class StepFloor:
    """Watches the lengths of steps, accepted or not.

    Where a density becomes singular they fall for ever, geometrically or, with high degrees, like a power of the number
    of steps; a run whose steps stay below 1e-8 t_end would take 1e8 of them.

    Args:
        t_end: the final time.
    """

    def __init__(self, t_end: float) -> None:
        self.least = SMALLEST * t_end
        self._t_end = t_end
        self._short = 0

    def rejected(self, dt: float) -> bool:
        """Return whether a step that is to be tried after a rejected one is too short."""
        return dt < self.least

    def accepted(self, dt: float, t: float) -> str:
        """Return what is wrong with the next step after an accepted one that ended at t; nothing if it is long enough.

        Args:
            dt: the length that the error allows.
            t: the time it starts from.
        """
        if t >= self._t_end:
            return ""
        if dt < self.least or t + dt == t:
            return f"the steps have fallen below {SMALLEST:g} t_end"
        self._short = self._short + 1 if dt < _SMALL * self._t_end else 0
        return f"the last {_MANY} steps were shorter than {_SMALL:g} t_end" if self._short >= _MANY else ""
