"""Values at nodes that belong to other ranks."""

from __future__ import annotations

from copy import copy
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

    Attributes:
        count: how many there are.
    """

    def __init__(self, comm: Any, first: int, last: int, columns: Indices) -> None:
        self._comm = comm
        self._places = np.arange(last - first, dtype=np.int32)
        self._first, self._owned = first, last - first
        self._numbers = np.unique(columns[(columns < first) | (columns >= last)])
        self.count = len(self._numbers)
        #: what comes from each rank, as places behind this rank's own, and what goes to it
        self._from: list[tuple[int, Any]] = []
        self._to: list[tuple[int, Any]] = []
        if comm.size == 1:
            return
        ends = np.searchsorted(self._numbers, comm.allgather(last))
        starts = np.concatenate([[0], ends[:-1]])
        wanted = comm.alltoall([self._numbers[a:b] for a, b in zip(starts, ends, strict=True)])
        for rank, (a, b, numbers) in enumerate(zip(starts, ends, wanted, strict=True)):
            if b > a:
                self._from.append((rank, np.arange(a, b)))
            if len(numbers):
                self._to.append((rank, self._places[numbers - first]))

    def place(self, places: Indices) -> None:
        """Let this rank's nodes stand at these places of its arrays, not in the order of their numbers. Rank-local."""
        self._places = places
        self._to = [(rank, places[own]) for rank, own in self._to]

    def part(self, own: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_]) -> Ghosts:
        """Return what fills the values at some of the nodes alone. Rank-local.

        Args:
            own: whether each of this rank's nodes, at its place, is one of them.
            others: whether each of the others is, the same as ``own`` there.
        """
        out = copy(self)
        out._from = [(rank, part[others[part]]) for rank, part in self._from if np.any(others[part])]
        out._to = [(rank, places[own[places]]) for rank, places in self._to if np.any(own[places])]
        return out

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
        self._receive(values, out)
        return out

    def fill(self, values: Values) -> None:
        """Set the values at the others' nodes to what they are there."""
        self._receive(values, values[self._owned :])

    def _receive(self, values: Values, out: Values) -> None:
        came = [np.empty(len(part), dtype=values.dtype) for _, part in self._from]
        sent = [values[places] for _, places in self._to]
        self._exchange(sent, [rank for rank, _ in self._to], came, [rank for rank, _ in self._from])
        for part, (_, where) in zip(came, self._from, strict=True):
            out[where] = part

    def add(self, values: Values) -> None:
        """Add the values at the others' nodes to what is there; here they stay."""
        came = [np.empty(len(places), dtype=values.dtype) for _, places in self._to]
        theirs = values[self._owned :]
        sent = [theirs[part] for _, part in self._from]
        self._exchange(sent, [rank for rank, _ in self._from], came, [rank for rank, _ in self._to])
        for part, (_, places) in zip(came, self._to, strict=True):
            values[places] += part

    def _exchange(self, sent: list[Values], receivers: list[int], came: list[Values], senders: list[int]) -> None:
        if len(receivers) == 1 and receivers == senders:  # one call takes half the time
            self._comm.Sendrecv(sent[0], receivers[0], _TAG, came[0], senders[0], _TAG)
            return
        requests = [self._comm.Irecv(part, rank, _TAG) for part, rank in zip(came, senders, strict=True)]
        requests += [self._comm.Isend(part, rank, _TAG) for part, rank in zip(sent, receivers, strict=True)]
        MPI.Request.Waitall(requests)
