"""Arrays of all ranks: their rows gathered, their values reduced."""

from __future__ import annotations

from typing import Literal

import numpy as np

from kspde.typing import Array, Comm

__all__ = ["everyones", "gather_rows", "reduced"]


def reduced(comm: Comm, array: Array, op: Literal["SUM", "MAX", "MIN"] = "SUM") -> Array:
    """Reduce an array over all ranks in place, and return it. Collective."""
    if comm.size > 1:
        from mpi4py import MPI

        comm.Allreduce(MPI.IN_PLACE, array, op=getattr(MPI, op))
    return array


def everyones(rows: Array, comm: Comm) -> Array:
    """Return a copy of the rows of all ranks, in their order, on every rank. Collective."""
    return np.concatenate(comm.allgather(rows) if comm.size > 1 else [rows])


def gather_rows(local: Array, comm: Comm) -> Array | None:
    """Return the rows of all ranks, in their order, on rank 0; None elsewhere. Collective."""
    if comm.size == 1:
        return local.copy()
    sizes = np.array(comm.allgather(local.size))
    out = np.empty((int(sizes.sum()) // local.shape[1], local.shape[1])) if comm.rank == 0 else None
    comm.Gatherv(local, None if out is None else (out, sizes), root=0)
    return out
