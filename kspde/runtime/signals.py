"""Signals that end a command: each is recorded, and raises KeyboardInterrupt unless results are being written.

They concern ``kspde.cli``, from its first line on; the library only holds them back while others begin. Nothing here
imports what takes time.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kspde.typing import Comm  # not at runtime: it imports numpy

__all__ = ["Stop", "held_back"]

#: The signals that end a command. Not every system has the last.
_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

#: Seconds after which a swallowed interrupt is raised again.
_AGAIN = 0.01


@contextmanager
def held_back() -> Iterator[None]:
    """Let the handlers of signals that end a program run after a block: an exception in it would crash a library."""
    if threading.current_thread() is not threading.main_thread():  # the only one where they run
        yield
        return
    came: list[int] = []
    before = {n: handler for n in _ENDING if callable(handler := signal.getsignal(n))}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


class Stop:
    """The signals to a command that ask it to end.

    Attributes:
        number: the number of the first signal on this rank; None before.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._held = False
        self._ours: list[int] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise KeyboardInterrupt in a block when a signal comes; ignored signals (``nohup``) stay ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.getsignal(n) for n in _ENDING if signal.getsignal(n) is not signal.SIG_IGN}
        pipe, hook = signal.signal(signal.SIGPIPE, signal.SIG_IGN), sys.unraisablehook

        def unraisable(what: sys.UnraisableHookArgs) -> None:
            """Raise an interrupt again that came in a destructor, which it cannot leave."""
            if isinstance(what.exc_value, KeyboardInterrupt) and self.number is not None:
                signal.signal(signal.SIGALRM, self._came)
                signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            else:
                hook(what)

        sys.unraisablehook = unraisable
        self._ours = list(before)
        self.take()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in {**before, signal.SIGPIPE: pipe}.items():
                # None stands for a handler that Python does not know: one of MPI's, which it had replaced.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            sys.unraisablehook = hook
            self._ours = []

    def take(self) -> None:
        """Take over the signals, again after a library has."""
        for number in self._ours:
            signal.signal(number, self._came)

    @contextmanager
    def kept_from_libraries(self) -> Iterator[None]:
        """Block signals while libraries begin, and take them over afterwards: MPI's own handlers would lose them.

        Threads that begin in the block never receive any.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._ours)
        try:
            yield
        finally:
            self.take()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def hold(self) -> None:
        """From now on only record the first signal, since results are being written; the second one is raised."""
        self._held = True

    def asked(self, comm: Comm) -> int | None:
        """Return the number of a signal that has come on some rank, the same on all; None without one. Collective."""
        return next((number for number in comm.allgather(self.number) if number is not None), None)

    def _came(self, number: int, frame: FrameType | None) -> None:
        first, self.number = self.number is None, self.number or number
        if not (first and self._held):
            raise KeyboardInterrupt
