"""MPI: the communicator, errors that all ranks share, arguments that all ranks must give alike, threads per rank."""

from __future__ import annotations

import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, KspdeError, MissingBackendError, first_line, shortened
from kspde.runtime.job import end_unless_all, launched, left_too_early, note_all_met, watch_the_end
from kspde.runtime.values import GLOBAL, digest_of, values_of
from kspde.typing import Array, Comm

__all__ = [
    "OneRank",
    "all_or_none",
    "alone",
    "check_same",
    "collective",
    "communicator",
    "communicator_of",
    "limited_threads",
    "on_all_ranks",
    "one_after_another",
    "same_on_all",
    "threads_per_rank",
    "together",
    "world",
]


class OneRank:
    """A process without an MPI library: the calls of ``COMM_SELF``, which return what this rank gives.

    ``pip install kspde`` brings mpi4py, which needs an MPI library to load. Particles, distances and studies on one
    process do without.

    Attributes:
        rank: 0.
        size: 1.
    """

    rank = 0
    size = 1

    def barrier(self) -> None:
        """Return at once."""

    def bcast(self, thing: Any, root: int = 0) -> Any:
        """Return the root's object."""
        return thing

    def gather(self, thing: Any, root: int = 0) -> list[Any]:
        """Return the objects of all ranks."""
        return [thing]

    allgather = gather

    def reduce(self, thing: Any, op: Any = None, root: int = 0) -> Any:
        """Return the sum, maximum, … over all ranks."""
        return thing

    allreduce = reduce

    def Allreduce(self, mine: Any, total: Any, op: Any = None) -> None:  # noqa: N802 (mpi4py's name)
        """Write the sum, maximum, … of all ranks' arrays into ``total``."""
        np.copyto(total, mine)

    def __repr__(self) -> str:
        return "OneRank()"


def world() -> Comm:
    """Return ``MPI.COMM_WORLD``, or a :class:`OneRank` if mpi4py finds no MPI library and there is one process.

    Raises:
        MissingBackendError: several processes were launched, but mpi4py finds no MPI library: each would believe that
            it is the only one.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if launched():
            raise MissingBackendError(
                f"mpi4py does not load ({first_line(error)}), so several ranks are not possible: install an MPI "
                'library, for example with pip install "kspde[fem]"'
            ) from None
        return OneRank()
    return MPI.COMM_WORLD


def alone() -> Comm:
    """Return ``MPI.COMM_SELF``, or a :class:`OneRank` if mpi4py finds no MPI library."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return OneRank()
    return MPI.COMM_SELF


def communicator(comm: Comm | None = None) -> Comm:
    """Return the communicator of a collective job: ``comm``, or all of MPI's ranks.

    From then on, at the latest, a rank that fails ends the whole job (``kspde.runtime.job``).

    Raises:
        InputError: ``comm`` is not a communicator.
        MissingBackendError: several processes were launched, but mpi4py finds no MPI library.
    """
    if comm is not None and not (hasattr(comm, "Allreduce") and comm):
        raise InputError(f"comm is a {type(comm).__name__}: give a communicator of mpi4py, and not MPI.COMM_NULL")
    everyone = world()
    if everyone.size > 1:
        watch_the_end()
    return everyone if comm is None else comm


@contextmanager
def all_or_none(comm: Comm) -> Iterator[None]:
    """Run a user's function, which may make collective calls: it raises on every rank, or its error ends the job.

    If it raises on some ranks only, the others continue, or wait inside it, and cannot be told. Without an error this
    costs nothing.
    """
    try:
        yield
    except Exception as error:
        if comm.size > 1 and not hasattr(error, "on_all_ranks"):
            end_unless_all(comm, error)
            vars(error)["on_all_ranks"] = True
        raise


def on_all_ranks(comm: Comm, error: BaseException | None) -> bool:
    """Return whether all ranks are known to have come here with this error, or without one.

    Collective work is then still possible, such as the destruction of PETSc objects.
    """
    return error is None or comm.size == 1 or isinstance(error, KspdeError) or hasattr(error, "on_all_ranks")


@contextmanager
def together(comm: Comm, call: str = "") -> Iterator[Callable[..., None]]:
    """Run a rank-local block; what any rank raises, every rank raises.

    The block must not contain collective calls. Ranks on which it succeeds raise the error of the lowest rank on which
    it fails, so that no rank waits in a later collective call for one that has left. The block receives a function
    ``same``, which it calls with named values that must be the same on every rank: arguments of a collective call. The
    cost is a reduction of a few numbers. The job ends if a rank has left in the meantime.

    Args:
        comm: the communicator.
        call: the name of the call that takes these values, for the message.

    Raises:
        KspdeError: (or the rank's own error) the block failed on some rank.
        InputError: a value is not the same on every rank; it is named with two ranks' values.
    """
    told: dict[str, str] = {}

    def same(**values: object) -> None:
        if comm.size > 1:
            for name, value in values.items():
                told.update((k, repr(held)) for k, held in values_of(name, value).items() if not k.endswith(GLOBAL))

    mine: Exception | None = None
    try:
        yield same
    except Exception as error:
        mine = error
    if comm.size > 1:
        digest = digest_of(repr((call, told)).encode()) if call or told else 0
        well, *ends = _least(comm, [mine is None, digest, -digest])
        if not well:
            _raise_first(comm, mine)
        if ends[0] != -ends[1]:
            _raise_difference(comm, call, told)
    if mine is not None:
        raise mine


def check_same(comm: Comm, call: str, **values: object) -> None:
    """Raise unless the values are the same on every rank. Collective: one small reduction.

    Raises:
        InputError: a value differs: the first is named with two ranks' values; on every rank.
    """
    with together(comm, call) as same:
        same(**values)


def collective[**P, R](
    *, own: Collection[str] = (), rows: Collection[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a collective function: arguments that are not the same on every rank are refused on every rank.

    Its other checks then fail on every rank, or on none. The cost is one small reduction per call.

    Args:
        own: the arguments that each rank may choose.
        rows: the arguments that may be arrays of which each rank has its own rows.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = {name: value for name, value in bound.arguments.items() if name != "comm"}
            comm = bound.arguments.get("comm")
            comm = communicator(communicator_of(given.values()) if comm is None else comm)
            if comm.size > 1:
                told = {name: value for name, value in given.items() if name not in own}
                told |= {name: _without_rows(given[name]) for name in rows}
                check_same(comm, function.__name__, **told)
            return function(*args, **kwargs)

        return checked

    return decorate


def communicator_of(values: Iterable[object]) -> Comm | None:
    """Return the communicator of the first value that has one; None if none has."""
    for value in values:
        for each in value if isinstance(value, (list, tuple)) else (value,):
            comm = getattr(each, "comm", None)
            if hasattr(comm, "Allreduce"):
                return comm
    return None


def _without_rows(value: object) -> object:
    """Return what ranks must have in common: a run itself, or the class of an array of rows."""
    if isinstance(value, (list, tuple)) and all(hasattr(each, "same_on_ranks") for each in value):
        return value
    return value if hasattr(value, "same_on_ranks") or callable(value) else type(value)


def same_on_all(comm: Comm, array: npt.NDArray[Any]) -> bool:
    """Return whether all ranks have the same array. Collective: one small reduction."""
    digest = digest_of(repr((array.shape, array.dtype)).encode(), np.ascontiguousarray(array).data)
    least, most = _least(comm, [digest, -digest])
    return least == -most


#: Seconds after which a rank that waits for others checks that they are still there, and no longer spins.
_LOOK = 1.0


def _least(comm: Comm, numbers: Sequence[int]) -> list[int]:
    """Return the minimum of each number over all ranks. Collective; ends the job if a rank has left."""
    from mpi4py import MPI

    mine = np.array(numbers, dtype=np.int64)
    least = np.empty_like(mine)
    request = comm.Iallreduce(mine, least, op=MPI.MIN)
    look = time.monotonic() + _LOOK
    pause = 0.0
    while not request.Test():
        if pause:
            time.sleep(pause)
        if time.monotonic() > look:
            left_too_early(comm)
            look, pause = time.monotonic() + _LOOK, 1e-3
    if comm.size == MPI.COMM_WORLD.size:
        note_all_met()
    return [int(number) for number in least]


def _raise_first(comm: Comm, mine: Exception | None) -> None:
    """Raise this rank's error, or that of the lowest rank that has one. Collective."""
    # Other ranks need not know the class of a user's own error: they get its name.
    words = None
    if mine is not None:
        line = "".join(traceback.format_exception_only(mine))
        words = (type(mine) if isinstance(mine, KspdeError) else type(mine).__name__, str(mine), line)
    for rank, theirs in enumerate(comm.allgather(words)):
        if mine is not None:
            vars(mine)["on_all_ranks"] = True
            raise mine
        if theirs is not None:
            kind, text, line = theirs
            error = InputError(f"rank {rank}: {kind}: {text}") if isinstance(kind, str) else kind(text)
            error.rank = rank
            vars(error).update(on_all_ranks=True, copy_of=line)
            raise error


def _raise_difference(comm: Comm, call: str, told: dict[str, str]) -> None:
    """Raise an error that names the first value that differs. Collective."""
    first, *others = comm.allgather((call, told))
    for rank, other in enumerate(others, start=1):
        line = _difference(first, other, rank)
        if line is not None:  # else only the order of the names differs
            error = InputError(line)
            vars(error)["on_all_ranks"] = True
            raise error


def _difference(first: tuple[str, dict[str, str]], other: tuple[str, dict[str, str]], rank: int) -> str | None:
    """Return a line about a rank that does not make the same call as rank 0, or not with the same values."""
    call, told = first
    if other[0] != call:
        return f"rank 0 calls {call} and rank {rank} {other[0]}: make the same calls on every rank"
    name = next((name for name in (*told, *other[1]) if told.get(name) != other[1].get(name)), None)
    if name is None:
        return None
    if name.endswith(".code"):  # of a function, or of a user's class: the digests say nothing to users
        owner = name.removesuffix(".code")
        return f"the code of {owner} differs between rank 0 and rank {rank}: give {call} the same on every rank"
    here, there = (shortened(values.get(name, "nothing")) for values in (told, other[1]))
    return f"{name} = {here} on rank 0 and {there} on rank {rank}: give {call} the same on every rank"


def threads_per_rank(comm: Comm) -> int:
    """Return the number of cores that this rank may keep busy: its share of the machine's usable cores.

    An explicit ``OMP_NUM_THREADS`` wins. The launcher says how many ranks share the machine (MPICH, Open MPI, MVAPICH);
    otherwise all ranks of ``comm`` are assumed to.
    """

    def counted(*names: str) -> int | None:
        values = (os.environ.get(name, "") for name in names)
        return next((int(v) for v in values if v.isdigit() and int(v) > 0), None)

    ranks = counted("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE") or int(comm.size)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS
    return counted("OMP_NUM_THREADS") or max(1, usable // ranks)


def one_after_another(comm: Comm, mine: Array) -> Iterator[Array]:
    """Yield every rank's array on rank 0, in the order of ranks, and nothing elsewhere. Collective.

    Rank 0 holds one at a time, and must take them all: the other ranks wait until theirs is taken.
    """
    if comm.rank > 0:
        comm.send(np.ascontiguousarray(mine), dest=0)
        return
    yield mine
    for rank in range(1, comm.size):
        yield comm.recv(source=rank)


@contextmanager
def limited_threads(comm: Comm, *, useful: int | None = None) -> Iterator[None]:
    """Limit the BLAS libraries to ``threads_per_rank`` threads, or to ``useful`` ones if these are fewer."""
    available = threads_per_rank(comm)
    with _libraries(len(sys.modules)).limit(limits=available if useful is None else min(useful, available)):
        yield


@lru_cache(maxsize=1)
def _libraries(modules: int) -> Any:
    """Return what limits the libraries that are loaded; they come with modules."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
