"""Following a run: what callbacks see of it, what ends it early, and lines that say how far it has come."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO

import numpy as np

from kspde.errors import InputError, check_callable, check_choice, check_number, shortened, shown
from kspde.runtime.parallel import all_or_none, together
from kspde.typing import Array, Comm

__all__ = [
    "STOPS",
    "Callback",
    "Event",
    "Followers",
    "Progress",
    "State",
    "SteadyState",
    "Stop",
    "Stopped",
    "duration",
    "opened",
]

#: Seconds until the first line of progress, the factor by which intervals grow, and the longest one.
_FIRST, _GROWTH, _LONGEST = 10.0, 1.5, 600.0


class Stop(Exception):  # noqa: N818 - it is not an error
    """Raised in a callback to end the run there, with a valid result; its text is the reason."""


@dataclass(frozen=True)
class Stopped:
    """Why a run has ended before its final time.

    Attributes:
        reason: in words.
        t: when: the result's ``t_end``, but for an event of particles, which lies within the last step.
    """

    reason: str
    t: float

    def __str__(self) -> str:
        return f"{self.reason} at t = {self.t:.6g}"


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a run stands after a step, as its callbacks see it: the same on every rank.

    Attributes:
        t: the time.
        step: the number of steps taken.
        dt: the length of the last one.
        t_end: the final time.
        diagnostics: the newest row of the result's ``diagnostics``: by name a number, or one for each species.
        comm: the communicator.
    """

    t: float
    step: int
    dt: float
    t_end: float
    diagnostics: Mapping[str, Any]
    comm: Comm
    _species: tuple[str, ...]
    _snapshot: Callable[[], Any]
    _change: Callable[[], float] | None = None

    @property
    def where(self) -> str:
        """Step and time, as lines of progress say them."""
        return f"step {self.step}, t = {self.t:.6g} of {self.t_end:g}"

    @property
    def numbers(self) -> dict[str, Any]:
        """The diagnostics that are numbers, by name; where there are several species, such as "maximum[u1]"."""
        found: dict[str, Any] = {}
        for name, value in self.diagnostics.items():
            if np.ndim(value) == 0:
                found[name] = value
            elif np.shape(value) == (len(self._species),) and len(self._species) > 1:
                found |= {f"{name}[{species}]": each for species, each in zip(self._species, value, strict=True)}
        return found

    @property
    def snapshot(self) -> Any:
        """The densities and fields (``solve``) or the cloud (``simulate``), whose arrays are the run's own."""
        return self._snapshot()

    @property
    def change(self) -> float:
        r"""How fast densities changed in the last step: the largest ∫|u(t) − u(t − dt)| / (dt ∫|u(t)|). Collective.

        Over all species and relaxing fields; ∞ at the start.

        Raises:
            InputError: the run is one of particles, which are never at rest.
        """
        if self._change is None:
            raise InputError("particles are never at rest: stop at an Event of their diagnostics instead")
        return self._change() if self.dt > 0 else math.inf


#: A function of the state; True, or a ``Stop`` that it raises, ends the run.
Callback = Callable[[State], object]


@dataclass(frozen=True)
class Event:
    """A callback that ends the run where a function of the state has a value, such as ``Event("maximum", 1e3)``.

    The function is looked at after each step; where it has passed the value in between, the time is found.
    A density takes that step again, to earlier times, until it ends where the function has the value, to 1e-9 of the
    step: its ``t_end`` is as accurate as the scheme, and what is returned is the scheme's own result there. Of several
    events the first counts. Particles have no path within a step: they end after it, and ``stopped.t`` is the linear
    interpolation, within the step. A run that begins at the value leaves it without passing it: that does not count.

    Attributes:
        what: the name of a diagnostic, or a function of the ``State`` that returns a number. Collective.
            Where there are several species, ``"maximum[u1]"`` is that of one.
        value: the value.
        crossing: "rising" or "falling" where only that counts.

    Raises:
        InputError: a value that is not valid.
    """

    what: str | Callable[[State], float]
    value: float = 0.0
    crossing: Literal["either", "rising", "falling"] = "either"

    def __post_init__(self) -> None:
        if not isinstance(self.what, str) and not callable(self.what):
            raise InputError(
                f"what = {shown(self.what)} is not valid: give the name of a diagnostic, or a function of the state"
            )
        check_number("value", self.value)
        check_choice("crossing", self.crossing, ("either", "rising", "falling"))

    def __str__(self) -> str:
        name = self.what if isinstance(self.what, str) else getattr(self.what, "__name__", "the event's function")
        return f"{'the event' if name == '<lambda>' else name} = {self.value:g}"

    def __call__(self, state: State) -> float:
        """Return by how much the function exceeds the value. Collective.

        Raises:
            InputError: an unknown diagnostic, or a function that does not return a finite number.
        """
        if isinstance(self.what, str):
            numbers = state.numbers
            check_choice("the event's what", self.what, [*numbers])
            return float(numbers[self.what]) - self.value
        found = self.what(state)
        try:
            number = check_number("", np.reshape(found, ())[()])
        except (ValueError, TypeError):  # several numbers, or none
            raise InputError(
                f"the function of an event returns {shown(found)} at t = {state.t:.6g}: return a finite number, "
                'such as lambda state: state.diagnostics["maximum"].max()'
            ) from None
        return number - self.value

    def passed(self, before: float, now: float) -> bool:
        """Return whether a step has passed the value."""
        rising, falling = before < 0 <= now, before > 0 >= now
        return {"either": rising or falling, "rising": rising, "falling": falling}[self.crossing]


@dataclass(frozen=True)
class SteadyState:
    """A callback that ends a run of ``solve`` once its densities hardly change: ``State.change`` is at most ``tol``.

    It cannot distinguish a stable state from one that is left slowly: give a time ``after`` which it looks.

    Attributes:
        tol: the share of its mass that a density may change by per unit of time.
        after: the time from which it looks.

    Raises:
        InputError: a value that is not valid.
    """

    tol: float
    after: float = 0.0

    def __post_init__(self) -> None:
        check_number("tol", self.tol, above=0)
        check_number("after", self.after)

    def __call__(self, state: State) -> None:
        """Stop a run that changes little. Collective.

        Raises:
            Stop: it does.
        """
        if state.t >= self.after and (change := state.change) <= self.tol:
            raise Stop(f"steady state, a change of {change:.2g} per unit of time,")


#: What a case file can stop a density at, by kind.
STOPS: dict[str, type[Event | SteadyState]] = {"event": Event, "steady-state": SteadyState}


class Followers:
    """The callbacks of a run.

    Args:
        callback: one, or a sequence of them.

    Attributes:
        events: those that are located.

    Raises:
        InputError: something else.
    """

    def __init__(self, callback: Callback | Sequence[Callback] | None) -> None:
        given = () if callback is None else tuple(callback) if isinstance(callback, (list, tuple)) else (callback,)
        for each in given:
            check_callable("callback", each, "one argument, the state, or a list of them")
        self.events = tuple(each for each in given if isinstance(each, Event))
        self._functions = tuple(each for each in given if not isinstance(each, Event))

    def __bool__(self) -> bool:
        return bool(self.events or self._functions)

    def values(self, state: State) -> Array:
        """Return the values of all events, those of rank 0. Collective."""
        if not self.events:
            return np.zeros(0)
        with all_or_none(state.comm):
            values = np.array([event(state) for event in self.events])
        return values if state.comm.size == 1 else np.asarray(state.comm.bcast(values))

    def passed(self, before: Array, now: Array) -> list[int]:
        """Return the numbers of the events that a step has passed, given the values before and after it."""
        return [i for i, event in enumerate(self.events) if event.passed(before[i], now[i])]

    def stop(self, state: State) -> Stopped | None:
        """Call all functions, and return why the run ends here: the first reason of any rank. Collective."""
        reason: str | None = None
        for function in self._functions:
            name = getattr(function, "__name__", type(function).__name__)
            with all_or_none(state.comm):
                try:
                    asked = f"stopped by {name}" if _ends(name, function(state)) else None
                except Stop as stop:
                    asked = str(stop) or f"stopped by {name}"
            reason = reason or asked
        if self._functions and state.comm.size > 1:
            reason = next((each for each in state.comm.allgather(reason) if each), None)
        return None if reason is None else Stopped(reason, state.t)


def _ends(name: str, answer: object) -> bool:
    """Return whether a callback's answer is True, also numpy's."""
    if isinstance(answer, np.ndarray) and answer.dtype == bool:
        raise InputError(
            f"{name} returns {shown(answer)}, one for each of several numbers: return True to end the run, such as "
            "by .any() or .all()"
        )
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def duration(seconds: float) -> str:
    """Return a time in words: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Progress:
    """A callback that writes lines with step, time, and an estimate of the time left, for runs without a terminal.

    The first comes after ten seconds, and intervals grow to ten minutes; the last is that of the end. On rank 0 alone;
    every line is flushed. The estimate takes the time left as proportional to t: steps that become longer make it late.

    Args:
        file: the path of a file that lines are appended to; standard error unless given.
        label: what lines begin with.
    """

    same_on_ranks: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, file: str | Path | None = None, *, label: str = "kspde") -> None:
        if file is not None and not isinstance(file, (str, os.PathLike)):
            raise InputError(f"file = {shown(file)} is not valid: give the path of a file, or None for standard error")
        self.label, self._path = label, file
        self._file: TextIO | None = None
        self._began: tuple[float, float] | None = None
        self._interval = self._due = _FIRST

    def __call__(self, state: State) -> None:
        """Write a line if it is time for one. Collective.

        Raises:
            InputError: the file cannot be written; on every rank.
        """
        if self._began is None:
            with together(state.comm):
                if state.comm.rank == 0 and self._path is not None:
                    self._file = opened(self._path)
        line = self.line(state.t / state.t_end, state.where)
        if line and state.comm.rank == 0:
            with suppress(OSError):  # a full device does not end the run
                print(f"{self.label}: {line}", file=self._file or sys.stderr, flush=True)

    def line(self, done: float, words: str = "") -> str:
        """Return a line about a run of which a share is done, if it is time for one; else "". Rank-local."""
        now = time.monotonic()
        start, first = self._began = self._began or (now, done)
        seconds = now - start
        ends = done >= 1.0 and (self._file is not None or self._interval > _FIRST)
        if seconds < self._due and not ends:
            return ""
        self._interval = min(self._interval * _GROWTH, _LONGEST)
        self._due = seconds + self._interval
        left = seconds * (1.0 - done) / (done - first) if done > first else math.nan
        about = f", about {duration(left)} left" if done < 1.0 and left < math.inf else ""
        return f"{words}{', ' * bool(words)}{done:.0%} after {duration(seconds)}{about}"


def opened(path: str | Path) -> TextIO:
    """Open a log file, to which lines are added. Rank-local.

    Raises:
        InputError: it cannot be written.
    """
    try:
        # Opening a pipe without O_NONBLOCK waits for a reader.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
        # Unbuffered: what a full device refuses is not tried again when the file is closed.
        return TextIOWrapper(FileIO(handle, "a"), encoding="utf-8", write_through=True)
    except OSError as error:
        why = error.strerror
    except ValueError:  # a null character
        why = "no file has such a name"
    raise InputError(f"the log file {shortened(str(path))} cannot be written ({why}): give another one")
