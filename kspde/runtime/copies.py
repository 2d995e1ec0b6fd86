"""Tasks that copies of this process carry out beside it.

A copy never fails or says anything that a user sees: what it does not do well is done here. It has one rank's MPI, so
that only a process which is alone may be copied.
"""

from __future__ import annotations

import gc
import os
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

__all__ = ["Copies"]

#: Copies give way to this process where cores are few.
_NICE = 5


class Copies:
    """A copy of this process that copies itself for each task. Tasks are pickled, and return nothing.

    The first copy is made early, while this process is small. It prepares itself meanwhile, which may be slow. A small
    comparison ends 14 % sooner by it: its pictures wait for no import (5.0 s in place of 5.8, means of five runs in
    turns). No signal to this process reaches a copy: it ends when this process does. A task on which it fails, or
    warns, is carried out here.

    Args:
        prepare: what the copy does first.

    Raises:
        OSError: there can be no copy.
    """

    def __init__(self, prepare: Callable[[], object]) -> None:
        self._begun: list[Callable[[], object]] = []
        self._connection, theirs = Pipe()
        self._process = _copied()
        if self._process == 0:
            try:
                self._connection.close()
                _serve(theirs, prepare)
            finally:
                os._exit(1)
        theirs.close()

    def begin(self, task: Callable[[], object]) -> None:
        """Let a copy carry out a task."""
        self._begun.append(task)
        try:
            self._connection.send(task)
        except OSError:
            return  # the copy is gone, which ``wait`` finds too

    def wait(self) -> None:
        """Wait for all tasks, and carry out those here that have failed."""
        begun, self._begun = self._begun, []
        if not begun:
            return
        try:
            self._connection.send(None)
            done = self._connection.recv()
        except (EOFError, OSError):
            done = [False] * len(begun)
        for task, well in zip(begun, done, strict=True):
            if not well:
                task()

    def end(self) -> None:
        """End the copies, whatever they are doing."""
        self._connection.close()
        _end(self._process)


def _copied() -> int:
    """Return 0 in a copy of this process, and its id here."""
    with warnings.catch_warnings():
        # Python warns where there are threads. A copy has none of them, and takes no lock that they may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be_copy() -> None:
    """Take no signals for another process, give way to it, and end at what would be said."""
    os.setpgid(0, 0)  # a terminal sends its signals to a group
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.nice(_NICE)
    warnings.simplefilter("error")


def _end(process: int) -> None:
    """End a copy, and its own, whatever they are doing."""
    for kill in (os.killpg, os.kill):  # it has its own group as soon as it runs
        with suppress(OSError):
            kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def _serve(connection: Connection, prepare: Callable[[], object]) -> None:
    """Begin tasks in copies of this process; say which were done well when asked to."""
    _be_copy()
    gc.disable()  # a copy has ended before garbage fills it: 3 % of its time
    prepare()
    begun: list[int] = []
    while True:
        task = connection.recv()
        if task is None:
            connection.send([os.waitpid(process, 0)[1] == 0 for process in begun])
            begun = []
        elif process := _copied():
            begun.append(process)
        else:
            task()
            os._exit(0)
