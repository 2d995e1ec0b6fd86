"""MPI: the communicator, errors that all ranks share, threads per rank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kspde.errors import InputError, KspdeError, MissingBackendError

__all__ = ["limited_threads", "threads_per_rank", "together", "world"]


def world() -> Any:
    """Return ``MPI.COMM_WORLD``.

    Raises:
        MissingBackendError: mpi4py finds no MPI library.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MissingBackendError(
            f'mpi4py does not load ({error}): install an MPI library, for example with pip install "kspde[fem]"'
        ) from None
    return MPI.COMM_WORLD


@contextmanager
def together(comm: Any) -> Iterator[None]:
    """Run a rank-local block; what any rank raises, every rank raises.

    The block must not contain collective calls. Ranks where the block went well raise the error of the lowest rank
    that failed, so that none waits in a later collective call for a rank that has left.

    Raises:
        KspdeError: (or the rank's own error) when the block failed on any rank.
    """
    mine: Exception | None = None
    try:
        yield
    except Exception as error:
        mine = error
    words = None if mine is None else (isinstance(mine, KspdeError), type(mine), str(mine))
    everyone = comm.allgather(words) if comm.size > 1 else [words]
    if mine is not None:
        raise mine
    for rank, theirs in enumerate(everyone):
        if theirs is not None:
            ours, kind, text = theirs
            if ours:
                raise kind(text)
            raise InputError(f"rank {rank}: {kind.__name__}: {text}")


def threads_per_rank(comm: Any) -> int:
    """Return the cores this rank may keep busy: the machine's usable cores over the ranks that share them.

    An explicit ``OMP_NUM_THREADS`` wins. The launcher says how many ranks share the machine (MPICH, Open MPI, MVAPICH);
    where it does not, all ranks of ``comm`` are taken to.
    """

    def counted(*names: str) -> int | None:
        values = (os.environ.get(name, "") for name in names)
        return next((int(v) for v in values if v.isdigit() and int(v) > 0), None)

    ranks = counted("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE") or int(comm.size)
    return counted("OMP_NUM_THREADS") or max(1, len(os.sched_getaffinity(0)) // ranks)


@contextmanager
def limited_threads(comm: Any, *, useful: int | None = None) -> Iterator[None]:
    """Keep the BLAS libraries from using more threads than ``threads_per_rank``, or than the work has use for."""
    from threadpoolctl import threadpool_limits

    available = threads_per_rank(comm)
    with threadpool_limits(available if useful is None else min(useful, available)):
        yield
