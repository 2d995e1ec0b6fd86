"""Values at nodes that belong to other ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["Ghosts"]

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int32]

#: Of these messages, on a communicator that its owner may use too.
_TAG = 32_691


class Ghosts:
    """Nodes of other ranks that this rank's rows of a matrix reach: behind its own, in the order of their numbers.

    Ranks own consecutive numbers. Each talks to those alone that it shares something with. All but
    ``local`` is collective.

    Args:
        comm: the communicator.
        first, last: this rank's nodes, in the matrix' numbers.
        columns: numbers of the nodes that are reached, this rank's own among them.
        places: where this rank's nodes stand in its arrays; in the order of their numbers if not given.

    Attributes:
        count: how many there are.
    """

    def __init__(self, comm: Any, first: int, last: int, columns: Indices, places: Indices | None = None) -> None:
        self._comm = comm
        self._places = np.arange(last - first, dtype=np.int32) if places is None else places
        self._first, self._owned = first, last - first
        self._numbers = np.unique(columns[(columns < first) | (columns >= last)])
        self.count = len(self._numbers)
        self._from: list[tuple[int, slice]] = []
        self._to: list[tuple[int, Indices]] = []
        if comm.size == 1:
            return
        ends = np.searchsorted(self._numbers, comm.allgather(last))
        starts = np.concatenate([[0], ends[:-1]])
        wanted = comm.alltoall([self._numbers[a:b] for a, b in zip(starts, ends, strict=True)])
        for rank, (a, b, numbers) in enumerate(zip(starts, ends, wanted, strict=True)):
            if b > a:
                self._from.append((rank, slice(int(a), int(b))))
            if len(numbers):
                self._to.append((rank, self._places[numbers - first]))

    def local(self, columns: Indices) -> Indices:
        """Return the places, in arrays with ghosts, of nodes given by their numbers. Rank-local."""
        places = (self._owned + np.searchsorted(self._numbers, columns)).astype(np.int32)
        own = columns - self._first
        inside = (own >= 0) & (own < self._owned)
        places[inside] = self._places[own[inside]]
        return places

    def __call__(self, owned: Values) -> Values:
        """Return values at this rank's nodes with those at the others behind them."""
        if self._comm.size == 1:
            return owned
        values = np.empty(self._owned + self.count, dtype=owned.dtype)
        values[: self._owned] = owned
        self.fill(values)
        return values

    def others(self, values: Values) -> Values:
        """Return the values at the others' nodes alone."""
        out = np.empty(self.count, dtype=values.dtype)
        requests = [self._comm.Irecv(out[part], rank, _TAG) for rank, part in self._from]
        sent = [values[places] for _, places in self._to]
        requests += [self._comm.Isend(part, rank, _TAG) for part, (rank, _) in zip(sent, self._to, strict=True)]
        MPI.Request.Waitall(requests)
        return out

    def fill(self, values: Values) -> None:
        """Set the values at the others' nodes to what they are there."""
        values[self._owned :] = self.others(values)

    def add(self, values: Values) -> None:
        """Add the values at the others' nodes to what is there; here they stay."""
        came = [np.empty(len(places), dtype=values.dtype) for _, places in self._to]
        requests = [self._comm.Irecv(part, rank, _TAG) for part, (rank, _) in zip(came, self._to, strict=True)]
        theirs = values[self._owned :]
        requests += [self._comm.Isend(theirs[part], rank, _TAG) for rank, part in self._from]
        MPI.Request.Waitall(requests)
        for part, (_, places) in zip(came, self._to, strict=True):
            values[places] += part
