"""Processes of this machine as an executor: one that is killed loses what it computes, and nothing else.

The pool of ``concurrent.futures`` is broken for good when one of its processes is killed, with all that waits for it.
Here each process belongs to a thread, which gives it one call after the other, and starts another one in its place.

Nothing here imports what takes time: a process is told the number of its threads before its libraries begin.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

__all__ = ["Workers"]

#: What MPI launchers leave in the environment of a rank: a worker is none.
_LAUNCHERS = ("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")

#: Seconds after which a worker that has nothing to do is not waited for.
_PATIENCE = 5.0


class Workers(Executor):
    """A number of processes, each with its share of this machine's cores, or with ``OMP_NUM_THREADS`` threads.

    Functions and their arguments are pickled. A program that makes one begins with ``if __name__ == "__main__":``,
    since the processes import it.

    Args:
        count: the number of processes.
        prepare: a function that each process calls first.
        arguments: its arguments.
    """

    def __init__(self, count: int, prepare: Callable[..., object] | None = None, *arguments: object) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._begin = (max(1, cores // count), prepare, arguments)
        self._threads = ThreadPoolExecutor(count)
        self._own = threading.local()
        self._started: list[tuple[BaseProcess, Connection]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the future result of a call; a BrokenExecutor is raised there if its process is killed."""
        return self._threads.submit(self._call, function, args, kwargs)

    def _call(self, *task: Any) -> Any:
        connection = getattr(self._own, "connection", None) or self._start()
        try:
            connection.send(task)
            well, answer = connection.recv()
        except (EOFError, OSError):
            self._own.connection = None
            raise BrokenExecutor("its process was killed") from None
        if well:
            return answer
        raise answer

    def _start(self) -> Connection:
        context = get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, *self._begin), daemon=True)
        process.start()
        theirs.close()
        self._started.append((process, mine))
        self._own.connection = mine
        return mine

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: when they have done what was submitted, or at once with ``cancel_futures``."""
        if cancel_futures:
            for process, _ in self._started:
                process.kill()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        if wait or cancel_futures:
            for process, connection in self._started:
                connection.close()
                process.join(_PATIENCE)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was submitted, unless the block has ended by an error."""
        self.shutdown(cancel_futures=kind is not None)


def _serve(
    connection: Connection, threads: int, prepare: Callable[..., object] | None, arguments: tuple[object, ...]
) -> None:
    """Carry out calls in a process of its own until the other end of the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first process ends the others
    for name in [name for name in os.environ if name.startswith(_LAUNCHERS)]:
        del os.environ[name]
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if prepare is not None:
        prepare(*arguments)
    try:
        while True:
            function, args, kwargs = connection.recv()
            try:
                answer = True, function(*args, **kwargs)
            except Exception as error:
                answer = False, error
            connection.send(answer)
    except (EOFError, OSError):
        return
