"""Signals that end a command: each is noted, and raised as KeyboardInterrupt or put off while results are written.

A library has no business with them; ``kspde.cli`` has, from its first line on. Nothing here imports what takes time.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Stop"]

#: Those that end a command. The last is not on every system.
_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

#: Seconds after which an interrupt that was swallowed is raised again.
_AGAIN = 0.01


class Stop:
    """What a command knows of signals that are to end it.

    Attributes:
        number: of the first that came on this rank; None before.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._held = False
        self._ours: list[int] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise KeyboardInterrupt in a block when a signal comes; one that is ignored (``nohup``) stays so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.getsignal(n) for n in _ENDING if signal.getsignal(n) is not signal.SIG_IGN}
        pipe, hook = signal.signal(signal.SIGPIPE, signal.SIG_IGN), sys.unraisablehook

        def unraisable(what: Any) -> None:
            """See to it that an interrupt in a destructor, where it goes no further, comes again."""
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
                # None is a handler that Python does not know: one of MPI's, which it then had replaced.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            sys.unraisablehook = hook
            self._ours = []

    def take(self) -> None:
        """Take the signals over, again after a library has done so."""
        for number in self._ours:
            signal.signal(number, self._came)

    @contextmanager
    def kept_from_libraries(self) -> Iterator[None]:
        """Let signals wait in a block, and take them over after it: MPI, when it begins, has handlers that lose them.

        Threads that begin in the block never receive any.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._ours)
        try:
            yield
        finally:
            self.take()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def hold(self) -> None:
        """From now on the first signal is noted only: results are being written. The second one is raised."""
        self._held = True

    def asked(self, comm: Any) -> int | None:
        """Return the number of a signal that has come on any rank, the same on all; None without. Collective."""
        return next((number for number in comm.allgather(self.number) if number is not None), None)

    def _came(self, number: int, frame: Any) -> None:
        first, self.number = self.number is None, self.number or number
        if not (first and self._held):
            raise KeyboardInterrupt
