"""The user's request for snapshots and statistics, the same for both backends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_callable, check_finite, shown

__all__ = ["SaveAt"]


@dataclass(frozen=True, kw_only=True)
class SaveAt:
    """Times of snapshots, statistics beyond the usual ones, and a function that is called.

    Attributes:
        times: the times of the snapshots, increasing in [0, t_end]; steps end exactly there.
        statistics: further statistics, which depend on the backend: names, or objects where they have arguments, such
            as ``kspde.particles.statistics.Histogram(bins=32)``.
        callback: a function that is called with the snapshot at each of these times, on every rank.

    Raises:
        InputError: times that are not finite, negative or not increasing.
    """

    same_on_ranks: ClassVar[tuple[str, ...]] = ("times", "statistics")

    times: npt.ArrayLike = ()
    statistics: tuple[str | Any, ...] = ()
    callback: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        given = self.times
        none = given.size == 0 if isinstance(given, np.ndarray) else isinstance(given, (list, tuple)) and not given
        times = np.zeros(0) if none else check_finite("times", given, (None,))
        if times.size and (times[0] < 0 or np.any(np.diff(times) <= 0)):
            raise InputError(f"times = {shown(times.tolist())} are not valid: give increasing times >= 0")
        object.__setattr__(self, "times", tuple(times.tolist()))
        if not isinstance(self.statistics, Collection) or isinstance(self.statistics, (str, bytes, np.ndarray)):
            raise InputError(f"statistics = {shown(self.statistics)} is not valid: give a tuple of names")
        if not all(isinstance(one, str) or is_dataclass(one) for one in self.statistics):
            raise InputError(
                f"statistics = {shown(self.statistics)} is not valid: give names, or objects such as "
                "kspde.particles.statistics.Histogram(bins=32)"
            )
        object.__setattr__(self, "statistics", tuple(self.statistics))
        check_callable("callback", self.callback, "one argument, the snapshot")

    @classmethod
    def checked(cls, save: Any) -> SaveAt:
        """Return the argument ``save``, or a request for nothing if it is None.

        Raises:
            InputError: it is something else.
        """
        if save is not None and not isinstance(save, cls):
            raise InputError(f"save is a {type(save).__name__}: give kspde.SaveAt(times=...)")
        return save if save is not None else cls()

    def after(self, reached: float, earlier: SaveAt | None, saved: Sequence[float]) -> SaveAt:
        """Return the request of a run and its extension, for which this one is.

        Args:
            reached: the time at which the extension begins.
            earlier: what the run was asked for, if anything.
            saved: the times that it has saved.

        Raises:
            InputError: times that are over, or other statistics.
        """
        times: tuple[float, ...] = tuple(self.times)  # type: ignore[arg-type]
        if times and times[0] <= reached:
            raise InputError(f"times begin at {times[0]:g}: the run has reached {reached:g}, give later times")
        statistics = self.statistics if earlier is None else earlier.statistics
        if self.statistics and self.statistics != statistics:
            raise InputError(
                f"statistics = {shown(self.statistics)} are not those of the run that is extended, "
                f"{shown(statistics)}: leave them out"
            )
        return replace(self, times=(*saved, *times), statistics=statistics)

    def until(self, t_end: float) -> tuple[float, ...]:
        """Return the times, followed by the end.

        Raises:
            InputError: a time after ``t_end``.
        """
        times: tuple[float, ...] = tuple(self.times)  # type: ignore[arg-type]
        if times and times[-1] > t_end * (1 + 1e-12):
            raise InputError(f"times reach {times[-1]:g}, after t_end = {t_end:g}: give times in [0, t_end]")
        return (*(t for t in times if t < t_end * (1 - 1e-12)), t_end)
