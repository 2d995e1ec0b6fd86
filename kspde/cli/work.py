"""The work that a command stands for, and how all ranks do it and agree on an exit status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kspde.errors import ConvergenceError, KspdeError
from kspde.runtime.checkpoint import StoppedError
from kspde.runtime.job import end_job, last_words, launched_rank
from kspde.runtime.parallel import communicator
from kspde.runtime.signals import Stop
from kspde.runtime.streams import complain

__all__ = ["BAD_INPUT", "Work", "carry_out"]

#: Exit statuses; an error in kspde itself has 1.
BAD_INPUT, FAILED_SOLVE = 2, 3


@dataclass(frozen=True)
class Work:
    """What a command does.

    Attributes:
        job: collective work, given the communicator and the signals received; returns a line if a signal has cut it
            short although its results are written.
        kept: returns what an interruption leaves, in words.
    """

    job: Callable[[Any, Stop], str | None]
    kept: Callable[[], str] = lambda: "nothing was written"


def carry_out(work: Work, stop: Stop) -> int:
    """Do collective work on all ranks and return the exit status.

    An error in kspde itself passes, as out of any script (``kspde.runtime.parallel.communicator``). The ranks have
    agreed on a KspdeError before it gets here. Should one not have, or be interrupted alone, it ends the others after a
    while: they may be waiting for it in a collective call.
    """
    try:
        with stop.kept_from_libraries():
            comm = communicator()
    except KspdeError as error:
        if launched_rank() == 0:
            complain(str(error))
        return BAD_INPUT
    try:
        line = work.job(comm, stop)
        if line is None:
            return 0
        number = stop.asked(comm)
        status = 128 + (number or 0)
    except BaseException as error:
        if stop.number is not None:  # whatever became of the KeyboardInterrupt on its way through PETSc
            line, status = f"interrupted: {work.kept()}", 128 + stop.number
        elif isinstance(error, StoppedError):
            line, status = str(error).replace("resume=True", "--resume"), 128 + error.number
        elif isinstance(error, KspdeError):
            line, status = str(error), FAILED_SOLVE if isinstance(error, ConvergenceError) else BAD_INPUT
        elif isinstance(error, MemoryError):
            line, status = f"out of memory ({error}): give fewer cells or particles, or a larger machine", BAD_INPUT
        else:
            raise
    everyone = last_words(comm, line)
    if everyone is None:
        complain(line if stop.number is not None else f"rank {comm.rank}: {line}")
        end_job(comm, status)
    elif line not in everyone[: comm.rank]:
        complain(line)
    return status
