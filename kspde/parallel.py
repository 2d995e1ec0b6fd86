"""MPI: the communicator, errors that all ranks share, the end of a job in which one rank fails, threads per rank."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import Any

import numpy as np

from kspde.errors import InputError, KspdeError, MissingBackendError, first_line
from kspde.one_rank import OneRank

__all__ = [
    "all_or_none",
    "alone",
    "communicator",
    "end_job",
    "last_words",
    "limited_threads",
    "on_all_ranks",
    "threads_per_rank",
    "together",
    "world",
]

#: Seconds that a rank which fails waits for the others to come to an end as well, before it ends the job.
_PATIENCE = 2.0

#: Of the messages of failing ranks; every MPI library has tags up to 32 767.
_TAG = 32_693


#: What launchers call the number of ranks: MPICH, PMIx and Open MPI, MVAPICH, SLURM's srun.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def world() -> Any:
    """Return ``MPI.COMM_WORLD``, or a :class:`OneRank` where mpi4py finds no MPI library on a single process.

    Raises:
        MissingBackendError: several processes were launched, but mpi4py finds no MPI library: each would take itself
            for the only one.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        launched = [os.environ.get(name, "") for name in _SIZES]
        if any(size.isdigit() and int(size) > 1 for size in launched):
            raise MissingBackendError(
                f"mpi4py does not load ({first_line(error)}), so several ranks are not possible: install an MPI "
                'library, for example with pip install "kspde[fem]"'
            ) from None
        return OneRank()
    return MPI.COMM_WORLD


def alone() -> Any:
    """Return ``MPI.COMM_SELF``, or a :class:`OneRank` where mpi4py finds no MPI library."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return OneRank()
    return MPI.COMM_SELF


def communicator(comm: Any = None) -> Any:
    """Return the communicator of a collective job: ``comm``, or all of MPI's ranks.

    From then on a rank that fails ends the whole job, as under ``python -m mpi4py``, where the others would wait for it
    for ever: by an exception that nothing catches, or by leaving with a status that is not 0. Interactive shells and
    pytest, which catch all, see no difference.

    Raises:
        InputError: ``comm`` is no communicator.
        MissingBackendError: several processes were launched, but mpi4py finds no MPI library.
    """
    if comm is not None and not (hasattr(comm, "Allreduce") and comm):
        raise InputError(f"comm is a {type(comm).__name__}: give a communicator of mpi4py, and not MPI.COMM_NULL")
    everyone = world()
    if everyone.size > 1:
        _watch_the_end()
    return everyone if comm is None else comm


@cache
def _watch_the_end() -> _LastWords:
    return _LastWords()


class _LastWords:
    """What a process of a job of several ranks does before it ends: the excepthook, and what runs at exit.

    Python tells neither of a ``SystemExit``; its monitoring does, when the outermost frame is left by one.
    """

    def __init__(self) -> None:
        self._before, sys.excepthook = sys.excepthook, self
        self._process = os.getpid()
        self._said = False
        self._failed: tuple[int, str] = (0, "")
        atexit.register(self._leave)
        tool = next((number for number in (4, 3) if sys.monitoring.get_tool(number) is None), None)
        if tool is not None:  # else an exit on one rank alone is not noticed
            unwinding = sys.monitoring.events.PY_UNWIND
            sys.monitoring.use_tool_id(tool, "kspde")
            sys.monitoring.register_callback(tool, unwinding, self._unwound)
            sys.monitoring.set_events(tool, unwinding)

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Say what an exception that nothing catches has to say, on one rank if all have it."""
        said = [] if self._over() else _end_unless_all(world(), error)
        self._said = True
        # What all ranks raise is said once, by the rank where it arose.
        if not (isinstance(error, KspdeError) and error.rank is not None) and _last_line(error) not in said:
            self._before(kind, error, trace)

    def _unwound(self, code: Any, offset: int, error: BaseException) -> None:
        """Take note of what leaves the outermost frame."""
        if sys._getframe(1).f_back is None and threading.current_thread() is threading.main_thread():
            code = error.code if isinstance(error, SystemExit) else 1
            status = code if isinstance(code, int) else int(code is not None)
            self._failed = (status, "".join(traceback.format_exception(error)))

    def _leave(self) -> None:
        """Let others that fail know that this rank is not waited for, or end them if it fails alone."""
        if self._said or self._over():
            return
        comm = world()
        status, text = self._failed
        if last_words(comm, text if status else "") is None and status:
            _end_others(comm, text, status)

    def _over(self) -> bool:
        from mpi4py import MPI

        return bool(MPI.Is_finalized()) or os.getpid() != self._process


@contextmanager
def all_or_none(comm: Any) -> Iterator[None]:
    """Run a user's function, which may make collective calls: it raises on every rank, or its error ends the job.

    Where it raises on some ranks only, the others go on, or wait inside it, and cannot be told. Costs nothing where all
    goes well.
    """
    try:
        yield
    except Exception as error:
        if not on_all_ranks(comm, error):
            _end_unless_all(comm, error)
            vars(error)["on_all_ranks"] = True
        raise


def on_all_ranks(comm: Any, error: BaseException | None) -> bool:
    """Return whether all ranks are known to have come here with this error, or without one.

    Then collective work is still possible: PETSc objects can be freed, for one.
    """
    return error is None or comm.size == 1 or isinstance(error, KspdeError) or hasattr(error, "on_all_ranks")


def _end_unless_all(comm: Any, error: BaseException) -> list[str]:
    """Return what ranks below this one said, once all ranks have come here; else end the job with a traceback."""
    everyone = last_words(comm, _last_line(error))
    if everyone is None:
        _end_others(comm, "".join(traceback.format_exception(error)), 1)
    return (everyone or [])[: comm.rank]


def _end_others(comm: Any, text: str, status: int) -> None:
    sys.stderr.write(f"kspde: rank {comm.rank} of {comm.size} failed, and others did not:\n{text}")
    end_job(comm, status)


def _last_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error))


def last_words(comm: Any, said: str) -> list[str] | None:
    """Return what all ranks say, once all have come here; None when they do not within some seconds.

    For a rank that cannot know whether the others have come to an end as well: point-to-point, so that it meets no
    collective call that they may be in.
    """
    said = said[-4000:]
    deadline = time.monotonic() + _PATIENCE
    if comm.rank:
        comm.isend(said, 0, _TAG)
        deadline += _PATIENCE  # rank 0 answers when the slowest has come, or ends the job
        if not _until(deadline, lambda: comm.iprobe(0, _TAG)):
            return None
        everyone: list[str] = comm.recv(source=0, tag=_TAG)
        return everyone
    heard: dict[int, str] = {0: said}

    def listen() -> bool:
        for rank in range(1, comm.size):
            if rank not in heard and comm.iprobe(rank, _TAG):
                heard[rank] = comm.recv(source=rank, tag=_TAG)
        return len(heard) == int(comm.size)

    if not _until(deadline, listen):
        return None
    everyone = [heard[rank] for rank in range(comm.size)]
    answers = [comm.isend(everyone, rank, _TAG) for rank in range(1, comm.size)]
    _until(deadline, lambda: all(answer.Test() for answer in answers))  # who has waited too long takes none
    return everyone


def _until(deadline: float, condition: Callable[[], Any]) -> bool:
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def end_job(comm: Any, status: int) -> None:
    """End all ranks, once the launcher has had time to pass on what this one wrote."""
    sys.stderr.flush()
    time.sleep(0.3)
    comm.Abort(status)
    os._exit(status)  # it may return, and leave the rest to the launcher


@contextmanager
def together(comm: Any) -> Iterator[None]:
    """Run a rank-local block; what any rank raises, every rank raises.

    The block must not contain collective calls. Ranks where the block went well raise the error of the lowest rank
    that failed, so that none waits in a later collective call for a rank that has left. Where all goes well it costs
    the reduction of one number.

    Raises:
        KspdeError: (or the rank's own error) when the block failed on any rank.
    """
    mine: Exception | None = None
    try:
        yield
    except Exception as error:
        mine = error
    if comm.size > 1:
        failures = np.array([mine is not None], dtype=np.int64)
        total = np.empty_like(failures)
        comm.Allreduce(failures, total)
        if total[0]:
            _raise_first(comm, mine)
    if mine is not None:
        raise mine


def _raise_first(comm: Any, mine: Exception | None) -> None:
    """Raise the own error, or that of the lowest rank which has one. Collective."""
    # The class of an error of the user's own need not be known elsewhere: its name is.
    words = None if mine is None else (type(mine) if isinstance(mine, KspdeError) else type(mine).__name__, str(mine))
    for rank, theirs in enumerate(comm.allgather(words)):
        if mine is not None:
            vars(mine)["on_all_ranks"] = True
            raise mine
        if theirs is not None:
            kind, text = theirs
            error = InputError(f"rank {rank}: {kind}: {text}") if isinstance(kind, str) else kind(text)
            error.rank = rank
            raise error


def threads_per_rank(comm: Any) -> int:
    """Return the cores this rank may keep busy: the machine's usable cores over the ranks that share them.

    An explicit ``OMP_NUM_THREADS`` wins. The launcher says how many ranks share the machine (MPICH, Open MPI, MVAPICH);
    where it does not, all ranks of ``comm`` are taken to.
    """

    def counted(*names: str) -> int | None:
        values = (os.environ.get(name, "") for name in names)
        return next((int(v) for v in values if v.isdigit() and int(v) > 0), None)

    ranks = counted("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE") or int(comm.size)
    return counted("OMP_NUM_THREADS") or max(1, _usable_cores() // ranks)


def _usable_cores() -> int:
    """Return the cores this process may run on; where the system does not say (macOS), the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


@contextmanager
def limited_threads(comm: Any, *, useful: int | None = None) -> Iterator[None]:
    """Keep the BLAS libraries from using more threads than ``threads_per_rank``, or than the work has use for."""
    from threadpoolctl import threadpool_limits

    available = threads_per_rank(comm)
    with threadpool_limits(available if useful is None else min(useful, available)):
        yield
