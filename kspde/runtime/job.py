"""The end of a job of several ranks: a rank that fails alone ends the others, which would wait for it for ever.

Under MPI nobody notices that a rank has raised an exception, or left, while others wait for it in a collective call. So
every rank tells the others how it ends: its *last words*, a line that is empty where all went well.

1. ``import kspde`` calls :func:`watch_the_end` where a launcher has started several ranks. It puts a function before
   ``sys.excepthook``, registers one with ``atexit``, and takes a tool of ``sys.monitoring``.
2. A rank that ends sends its last words to rank 0, which answers with everyone's: :func:`last_words`. MPI begins then
   at the latest.
3. Where these do not come within some seconds, a rank that has failed prints its traceback and aborts the job. Where
   they do, one of the ranks that share an error prints it.
4. A rank that has come to a good end waits for the others as long as they take, as MPI itself would, and leaves a note
   for those that wait for it: :func:`left_too_early`.

Nothing here imports what takes time.
"""

from __future__ import annotations

import atexit
import faulthandler
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpi4py.MPI import Request

    from kspde.typing import Comm  # not at runtime: it imports numpy

__all__ = [
    "RankEnd",
    "end_job",
    "end_unless_all",
    "last_words",
    "launched",
    "launched_rank",
    "left_too_early",
    "note_all_met",
    "watch_the_end",
]

#: Seconds that a rank which has failed waits for the others' last words before it ends the job.
PATIENCE = 2.0

#: Seconds within which all ranks must begin with MPI where one has failed before.
_START = 20.0

#: Of last words, and of the note that a rank has left; every MPI library has tags up to 32 767.
_TAG, _LEFT = 32_693, 32_694

#: The longest last words.
_LONGEST = 4000

#: The id of the process that is a rank: processes that it starts inherit its environment.
_MARK = "KSPDE_RANK_PROCESS"

#: The last words of a rank that raises another rank's error: this, and what that rank says.
_COPY = "copy of: "

#: What launchers call the number of ranks: MPICH, Open MPI, MVAPICH; SLURM's own, where it starts ranks by PMIx.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def launched() -> bool:
    """Return whether a launcher's environment says that this process is one of several ranks, or was started by one."""
    names = (*_SIZES, "SLURM_NTASKS") if "PMIX_RANK" in os.environ else _SIZES
    values = [os.environ.get(name, "") for name in names]
    return any(value.isdigit() and int(value) > 1 for value in values)


def launched_rank() -> int:
    """Return this process's rank according to the launcher: help and usage errors need no MPI."""
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def watch_the_end() -> None:
    """From now on this rank ends the job if it fails alone: an uncaught exception, or a status that is not 0.

    Interactive shells and pytest, which catch everything, see no difference. To be called again after libraries have
    begun whose own end waits for all ranks: what is registered with ``atexit`` last comes first.
    """
    leave = _this_rank().leave
    atexit.unregister(leave)
    atexit.register(leave)


def note_all_met() -> None:
    """Record that all of MPI's ranks have met in a collective call: none of them belongs to another program."""
    _this_rank().met = True


@cache
def _this_rank() -> RankEnd:
    end = RankEnd(sys.excepthook)
    sys.excepthook = end.uncaught
    # Neither hook sees SystemExit, so watch frames that an exception unwinds.
    tool = next((number for number in (4, 3) if sys.monitoring.get_tool(number) is None), None)
    if tool is not None:  # else an exit on one rank alone goes unnoticed
        unwinding = sys.monitoring.events.PY_UNWIND
        sys.monitoring.use_tool_id(tool, "kspde")
        sys.monitoring.register_callback(tool, unwinding, end.unwound)
        sys.monitoring.set_events(tool, unwinding)
    return end


class RankEnd:
    """How this process ends, if it is one of several ranks.

    Args:
        print_error: prints an uncaught exception.

    Attributes:
        status: that the outermost frame was left with.
        text: the traceback that belongs to it.
        met: whether all of MPI's ranks have met.
    """

    def __init__(self, print_error: Callable[..., object]) -> None:
        self.status, self.text, self.met = 0, "", False
        self._print_error = print_error
        self._settled = False
        self.process = os.getpid()
        self._is_rank = os.environ.setdefault(_MARK, str(self.process)) == str(self.process)

    def uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Print an uncaught exception, once if all ranks have it; end the job if this rank alone has it."""
        self._settled = True
        if self._alone() or not _begun():
            self._print_error(kind, error, trace)  # before this rank waits for others to begin with MPI
            if not self._alone() and (comm := _begin()) is not None:
                _end_unless_said(comm, _words_of(error), "", 1)
            return
        comm = _world()
        if _is_mine(_words_of(error), end_unless_all(comm, error), comm.rank):
            self._print_error(kind, error, trace)

    def unwound(self, code: object, offset: int, error: BaseException) -> None:
        """Record what leaves the outermost frame of the main thread."""
        if sys._getframe(1).f_back is None and threading.current_thread() is threading.main_thread():
            left = error.code if isinstance(error, SystemExit) else 1
            self.status = left if isinstance(left, int) else int(left is not None)
            self.text = "".join(traceback.format_exception(error))

    def leave(self) -> None:
        """Tell the others that this rank leaves, or end the job if it has failed alone."""
        if self._settled or self._alone() or not (_begun() or self.status):
            return
        comm = _begin()
        if comm is None or comm.size == 1:
            return
        if self.status:
            _end_unless_said(comm, self.text, self.text, self.status)
        else:
            last_words(comm, "", leaving=self.met)

    def _alone(self) -> bool:
        """Return whether there is no other rank to speak to: in a child process, or after the end of MPI."""
        if os.getpid() != self.process:
            return True
        if _begun():
            from mpi4py import MPI

            return bool(MPI.Is_finalized())
        return not (self._is_rank and launched())


def _begun() -> bool:
    """Return whether MPI has begun."""
    found = sys.modules.get("mpi4py.MPI")
    return found is not None and bool(found.Is_initialized())


def _world() -> Comm:
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _begin() -> Comm | None:
    """Return all ranks, after MPI has begun; None without an MPI library. Ranks that begin too late end the job."""
    if _begun():
        return _world()
    with open(os.devnull, "w") as nowhere:
        sys.stderr.flush()
        faulthandler.dump_traceback_later(_START, exit=True, file=nowhere)  # the launcher then ends the others
        try:
            return _world()
        except (ImportError, RuntimeError):
            return None
        finally:
            faulthandler.cancel_dump_traceback_later()


def end_unless_all(comm: Comm, error: BaseException) -> list[str]:
    """Return all ranks' last words once every rank has an error; otherwise end the job with this one's traceback."""
    return _end_unless_said(comm, _words_of(error), "".join(traceback.format_exception(error)), 1)


def _end_unless_said(comm: Comm, said: str, text: str, status: int) -> list[str]:
    everyone = last_words(comm, said)
    if everyone is None:
        colon = ":" if text else ""
        sys.stderr.write(f"kspde: rank {comm.rank} of {comm.size} failed, and others did not{colon}\n{text}")
        end_job(comm, status)
    return everyone or []


def _words_of(error: BaseException) -> str:
    """Return an error's last words: its line, or whose copy it is (``kspde.runtime.parallel.together``)."""
    original = getattr(error, "copy_of", None)
    return "".join(traceback.format_exception_only(error)) if original is None else _COPY + original


def _is_mine(said: str, everyone: list[str], rank: int) -> bool:
    """Return whether this rank is the one that prints an error: the first that has it, originals before copies."""
    said = said[-_LONGEST:]
    if said.startswith(_COPY) and said.removeprefix(_COPY) in everyone:
        return False
    return said not in everyone[:rank]


def last_words(comm: Comm, said: str, *, leaving: bool = False) -> list[str] | None:
    """Return all ranks' last words once every rank has sent its own; None if some do not within some seconds.

    The messages are point-to-point: others may be in a collective call. A rank that is ``leaving`` in good order waits
    as long as it takes, and leaves a note for those that may wait for it.
    """
    said = said[-_LONGEST:]
    deadline = time.monotonic() + PATIENCE
    if comm.rank:
        sent = [comm.isend(None, 0, _LEFT)] if leaving else []
        sent.append(comm.isend(said, 0, _TAG))
        # Rank 0 answers when the slowest has come, or ends the job.
        if not _until(math.inf if leaving else deadline + PATIENCE, lambda: comm.iprobe(0, _TAG)):
            return None
        everyone: list[str] = comm.recv(source=0, tag=_TAG)
        _take_notes(comm, 0)
        _complete(sent)
        return everyone
    heard: dict[int, str] = {0: said}

    def listen() -> bool:
        for rank in range(1, comm.size):
            if rank not in heard and comm.iprobe(rank, _TAG):
                heard[rank] = comm.recv(source=rank, tag=_TAG)
                _take_notes(comm, rank)
        return len(heard) == int(comm.size)

    if not _until(deadline, listen):
        if not leaving:
            return None
        notes = [comm.isend(None, rank, _LEFT) for rank in set(range(comm.size)) - set(heard)]
        _until(math.inf, listen)
        _complete(notes)
    everyone = [heard[rank] for rank in range(comm.size)]
    _complete([comm.isend(everyone, rank, _TAG) for rank in range(1, comm.size)])
    return everyone


def _complete(sent: list[Request]) -> None:
    """Wait until messages are taken, but not long: a rank that has waited too long takes none."""
    _until(time.monotonic() + PATIENCE, lambda: all(request.Test() for request in sent))


def _take_notes(comm: Comm, rank: int) -> None:
    """Take a rank's note that it has left: MPI does not end well with messages that nobody takes."""
    while comm.iprobe(rank, _LEFT):
        comm.recv(source=rank, tag=_LEFT)


def left_too_early(comm: Comm) -> None:
    """End the job if a rank of ``comm``, which this one waits for, has come to the end of its program."""
    everyone = _world()
    ranks = comm.group.Translate_ranks(list(range(comm.size)), everyone.group)
    for rank in ranks if everyone.rank == 0 else {0} & set(ranks):
        if rank != everyone.rank and everyone.iprobe(rank, _LEFT):
            sys.stderr.write(
                f"kspde: rank {rank} of {everyone.size} has come to the end of its program, and rank {everyone.rank} "
                "waits for it: make the same calls on every rank\n"
            )
            end_job(everyone, 1)


def _until(deadline: float, condition: Callable[[], object]) -> bool:
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def end_job(comm: Comm, status: int) -> None:
    """End all ranks, once the launcher has had time to pass on what this one wrote."""
    sys.stderr.flush()
    time.sleep(0.3)
    comm.Abort(status)
    os._exit(status)  # Abort may return, and leave the rest to the launcher
