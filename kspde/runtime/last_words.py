"""The end of a job of several ranks: one that fails alone tells the others, which would wait for it for ever.

Under MPI a rank that raises an exception, or leaves, is not noticed by those that wait for it in a collective call. So
each rank has *last words* before it ends: where not all come to say theirs within some seconds, one that has failed
prints its traceback and ends the job. Ranks that wait in ``kspde.runtime.parallel.together`` also hear of others whose
programs have come to a good end too early.

It begins with ``import kspde`` where a launcher's environment says that there are several ranks, and MPI with the first
collective call, or when a rank has failed before that. Nothing here imports what takes time.
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
from typing import Any

from kspde.runtime.launcher import launched

__all__ = ["end_job", "end_others", "end_unless_all", "last_words", "left_too_early", "note_all_met", "watch_the_end"]

#: Seconds that a rank which fails waits for the others to come to an end as well, before it ends the job.
_PATIENCE = 2.0

#: Seconds within which all ranks must begin with MPI where one has failed before.
_START = 20.0

#: Of last words, and of the note that a rank has left; every MPI library has tags up to 32 767.
_TAG, _LEFT = 32_693, 32_694

#: The id of the process that is a rank: those that it starts have its environment.
_MARK = "KSPDE_RANK_PROCESS"

#: What a rank says that raises another one's error: this, and what that one says.
_COPY = "copy of: "


def watch_the_end() -> None:
    """From now on a rank that fails alone ends the job.

    It fails by an exception that nothing catches, or by leaving with a status that is not 0. Interactive shells and
    pytest, which catch all, see no difference. To be called again after libraries have begun whose own end, which comes
    before that of what began earlier, waits for all ranks.
    """
    leave = _watch().leave
    atexit.unregister(leave)
    atexit.register(leave)


def note_all_met() -> None:
    """Take note that all of MPI's ranks have been in a collective call of kspde together."""
    _watch().met = True


@cache
def _watch() -> _LastWords:
    return _LastWords()


class _LastWords:
    """What a process of a job of several ranks does before it ends: the excepthook, and what runs at exit.

    Python tells neither of a ``SystemExit``; its monitoring does, when the outermost frame is left by one.
    """

    def __init__(self) -> None:
        self._before, sys.excepthook = sys.excepthook, self
        self._process = os.getpid()
        self._rank_itself = os.environ.setdefault(_MARK, str(self._process)) == str(self._process)
        self._said = False
        self._failed: tuple[int, str] = (0, "")
        #: whether all of MPI's ranks are known to come to their last words: none is another program's
        self.met = False
        tool = next((number for number in (4, 3) if sys.monitoring.get_tool(number) is None), None)
        if tool is not None:  # else an exit on one rank alone is not noticed
            unwinding = sys.monitoring.events.PY_UNWIND
            sys.monitoring.use_tool_id(tool, "kspde")
            sys.monitoring.register_callback(tool, unwinding, self._unwound)
            sys.monitoring.set_events(tool, unwinding)

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Say what an exception that nothing catches has to say, on one rank if all have it."""
        self._said = True
        if self._alone() or not _begun():
            self._before(kind, error, trace)  # before it waits for others to begin with MPI
            if not self._alone() and (comm := _begin()) is not None:
                _end_unless_said(comm, _said_of(error), "", 1)
            return
        everyone = end_unless_all(_world(), error)
        if _mine_to_say(_said_of(error), everyone, _world().rank):
            self._before(kind, error, trace)

    def _unwound(self, code: Any, offset: int, error: BaseException) -> None:
        """Take note of what leaves the outermost frame."""
        if sys._getframe(1).f_back is None and threading.current_thread() is threading.main_thread():
            code = error.code if isinstance(error, SystemExit) else 1
            status = code if isinstance(code, int) else int(code is not None)
            self._failed = (status, "".join(traceback.format_exception(error)))

    def leave(self) -> None:
        """Let others that fail know that this rank is not waited for, or end them if it fails alone."""
        status, text = self._failed
        if self._said or self._alone() or not (_begun() or status):
            return
        comm = _begin()
        if comm is None or comm.size == 1:
            return
        if status:
            _end_unless_said(comm, text, text, status)
            return
        last_words(comm, "", leaving=self.met)

    def _alone(self) -> bool:
        """Return whether there are no other ranks to speak to: in a child process, or after the end of MPI."""
        if os.getpid() != self._process:
            return True
        if _begun():
            from mpi4py import MPI

            return bool(MPI.Is_finalized())
        return not (self._rank_itself and launched())


def _begun() -> bool:
    """Return whether MPI has begun."""
    found = sys.modules.get("mpi4py.MPI")
    return found is not None and bool(found.Is_initialized())


def _world() -> Any:
    from kspde.runtime.parallel import world

    return world()


def _begin() -> Any:
    """Return all ranks, where MPI has to begin first: others that do not within some seconds end the job.

    None where there is no MPI library.
    """
    if _begun():
        return _world()
    with open(os.devnull, "w") as nowhere:
        sys.stderr.flush()
        faulthandler.dump_traceback_later(_START, exit=True, file=nowhere)  # the launcher then ends the others
        try:
            return _world()
        except ImportError:
            return None
        finally:
            faulthandler.cancel_dump_traceback_later()


def end_unless_all(comm: Any, error: BaseException) -> list[str]:
    """Return what all ranks say, once all have come to an error; else end the job with this one's traceback."""
    return _end_unless_said(comm, _said_of(error), "".join(traceback.format_exception(error)), 1)


def _end_unless_said(comm: Any, said: str, text: str, status: int) -> list[str]:
    everyone = last_words(comm, said)
    if everyone is None:
        end_others(comm, text, status)
    return everyone or []


def end_others(comm: Any, text: str, status: int) -> None:
    """End the job with a line that says why, and a text."""
    sys.stderr.write(f"kspde: rank {comm.rank} of {comm.size} failed, and others did not{':' if text else ''}\n{text}")
    end_job(comm, status)


def _said_of(error: BaseException) -> str:
    """Return an error's last words: its line, or whose copy it is (``kspde.runtime.parallel.together``)."""
    original = getattr(error, "copy_of", None)
    return "".join(traceback.format_exception_only(error)) if original is None else _COPY + original


def _mine_to_say(said: str, everyone: list[str], rank: int) -> bool:
    """Return whether no other rank says the same: the first of those that do so of their own, or else of all."""
    said = said[-_LONGEST:]
    if said.startswith(_COPY) and said.removeprefix(_COPY) in everyone:
        return False
    return said not in everyone[:rank]


#: Characters of last words.
_LONGEST = 4000


def last_words(comm: Any, said: str, *, leaving: bool = False) -> list[str] | None:
    """Return what all ranks say, once all have come here; None when they do not within some seconds.

    For a rank that cannot know whether the others have come to an end as well: point-to-point, so that it meets no
    collective call that they may be in. A rank that is ``leaving`` in good order waits as long as it takes, as it would
    at the end of MPI, and lets those know that may wait for it.
    """
    said = said[-_LONGEST:]
    patient = time.monotonic() + _PATIENCE
    if comm.rank:
        if leaving:
            comm.isend(None, 0, _LEFT)
        comm.isend(said, 0, _TAG)
        # Rank 0 answers when the slowest has come, or ends the job.
        if not _until(math.inf if leaving else patient + _PATIENCE, lambda: comm.iprobe(0, _TAG)):
            return None
        everyone: list[str] = comm.recv(source=0, tag=_TAG)
        _forget(comm, 0)
        return everyone
    heard: dict[int, str] = {0: said}

    def listen() -> bool:
        for rank in range(1, comm.size):
            if rank not in heard and comm.iprobe(rank, _TAG):
                heard[rank] = comm.recv(source=rank, tag=_TAG)
                _forget(comm, rank)
        return len(heard) == int(comm.size)

    if not _until(patient, listen):
        if not leaving:
            return None
        for rank in set(range(comm.size)) - set(heard):
            comm.isend(None, rank, _LEFT)
        _until(math.inf, listen)
    everyone = [heard[rank] for rank in range(comm.size)]
    answers = [comm.isend(everyone, rank, _TAG) for rank in range(1, comm.size)]
    # Who has waited too long takes none.
    _until(time.monotonic() + _PATIENCE, lambda: all(answer.Test() for answer in answers))
    return everyone


def _forget(comm: Any, rank: int) -> None:
    """Take the note that a rank has left: MPI does not come to a good end with messages that nobody takes."""
    while comm.iprobe(rank, _LEFT):
        comm.recv(source=rank, tag=_LEFT)


def left_too_early(comm: Any) -> None:
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
