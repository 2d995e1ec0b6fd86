"""Arrays of all ranks: their rows gathered, their values reduced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kspde.typing import Array, Comm

__all__ = ["everyones", "gather_rows", "reduced", "rows_of_all"]


def reduced[T: npt.NDArray[Any]](comm: Comm, array: T, op: Literal["SUM", "MAX", "MIN"] = "SUM") -> T:
    """Reduce an array over all ranks in place, and return it. Collective."""
    if comm.size > 1:
        from mpi4py import MPI

        comm.Allreduce(MPI.IN_PLACE, array, op=getattr(MPI, op))
    return array


def everyones(rows: npt.NDArray[Any], comm: Comm) -> npt.NDArray[Any]:
    """Return a copy of the rows of all ranks, in their order, on every rank. Collective."""
    if comm.size == 1:
        return rows.copy()
    sizes = _sizes(rows, comm)
    out = np.empty((int(sizes.sum()) // math.prod(rows.shape[1:]), *rows.shape[1:]), rows.dtype)
    comm.Allgatherv(np.ascontiguousarray(rows), (out, sizes))
    return out


def gather_rows(local: Array, comm: Comm) -> Array | None:
    """Return the rows of all ranks, in their order, on rank 0; None elsewhere. Collective."""
    if comm.size == 1:
        return local.copy()
    sizes = _sizes(local, comm)
    out = np.empty((int(sizes.sum()) // local.shape[1], local.shape[1])) if comm.rank == 0 else None
    comm.Gatherv(local, None if out is None else (out, sizes), root=0)
    return out


def rows_of_all(arrays: Mapping[str, Array], comm: Comm) -> dict[str, int]:
    """Return how many rows all ranks have of each array. Collective."""
    return dict(zip(arrays, reduced(comm, np.array([len(each) for each in arrays.values()])).tolist(), strict=True))


def _sizes(array: npt.NDArray[Any], comm: Comm) -> npt.NDArray[np.int64]:
    """Return the numbers of all ranks' entries. Collective."""
    sizes = np.empty(comm.size, dtype=np.int64)
    comm.Allgather(np.array([array.size]), sizes)
    return sizes
