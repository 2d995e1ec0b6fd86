"""Values at nodes that belong to other ranks."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI
from mpi4py.util.dtlib import from_numpy_dtype
from petsc4py import PETSc

from kspde.typing import Comm, Mask

__all__ = ["Ghosts"]

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int32]

#: MPI's type of a numpy type
_unit = cache(from_numpy_dtype)


class Ghosts:
    """Nodes of other ranks that this rank's rows of a matrix reach: behind its own, in the order of their numbers.

    Ranks own consecutive numbers. All methods but ``local`` are collective.

    Args:
        comm: the communicator.
        first, last: this rank's nodes, in the matrix's numbers.
        columns: numbers of the nodes that are reached, this rank's own among them.

    Attributes:
        count: how many there are.
    """

    def __init__(self, comm: Comm, first: int, last: int, columns: Indices) -> None:
        self._comm = comm
        self._first, self._owned = first, last - first
        self._places = np.arange(last - first, dtype=np.int32)
        self._numbers = np.unique(columns[(columns < first) | (columns >= last)])
        self.count = len(self._numbers)
        if comm.size > 1:
            firsts = np.array(comm.allgather(first))
            ranks = np.searchsorted(firsts, self._numbers, side="right") - 1
            self._connect(np.stack([ranks, self._numbers - firsts[ranks]], axis=1))

    def _connect(self, owners: npt.NDArray[Any]) -> None:
        """Make PETSc's star forest, given the rank that owns each ghost and its place there.

        (Half of what messages between arrays' parts took from Python: 12 against 19 µs to fill, on two ranks.)
        """
        self._owners = owners.astype(np.int32)
        self._forest = PETSc.SF().create(self._comm)
        self._forest.setGraph(self._owned, None, self._owners)
        self._forest.setUp()
        #: the place here of each ghost elsewhere
        self._reached = np.repeat(np.arange(self._owned), self._forest.computeDegree())

    def place(self, places: Indices) -> None:
        """Put this rank's nodes at these places of its arrays, instead of in the order of their numbers."""
        if self._comm.size > 1:
            owners = np.stack([self._owners[:, 0], self.others(places)], axis=1)
            self.free()
            self._connect(owners)
        self._places = places

    def part(self, chosen: Mask) -> Ghosts:
        """Return what fills the values at some of the ghosts alone, given whether each is one of them."""
        out = copy(self)
        if self._comm.size > 1:
            out._forest = self._forest.createEmbeddedLeafSF(np.flatnonzero(chosen).astype(np.int32))
        return out

    def local(self, columns: Indices) -> Indices:
        """Return the places, in arrays with ghosts, of nodes given by their numbers. Rank-local."""
        places = (self._owned + np.searchsorted(self._numbers, columns)).astype(np.int32)
        own = columns - self._first
        inside = (own >= 0) & (own < self._owned)
        places[inside] = self._places[own[inside]]
        return places

    def __call__(self, owned: Values) -> Values:
        """Return values at this rank's nodes followed by those at its ghosts."""
        return owned if self._comm.size == 1 else np.concatenate([owned, self.others(owned)])

    def others(self, values: Values) -> Values:
        """Return the values at the ghosts alone."""
        out = np.empty(self.count, dtype=values.dtype)
        self._receive(values, out)
        return out

    def fill(self, values: Values) -> None:
        """Set the values at the ghosts to those at their owners."""
        self._receive(values, values[self._owned :])

    def _receive(self, values: Values, out: Values) -> None:
        if self._comm.size > 1:
            unit, own = _unit(values.dtype), np.ascontiguousarray(values[: self._owned])
            self._forest.bcastBegin(unit, own, out, MPI.REPLACE)
            self._forest.bcastEnd(unit, own, out, MPI.REPLACE)

    def add(self, values: Values) -> None:
        """Add the values at the ghosts to those at their owners; at the ghosts they stay."""
        if self._comm.size > 1:
            unit, came = _unit(values.dtype), np.empty(len(self._reached), dtype=values.dtype)
            ghosts = values[self._owned :]
            self._forest.gatherBegin(unit, ghosts, came)  # PETSc adds no numbers of single precision
            self._forest.gatherEnd(unit, ghosts, came)
            np.add.at(values, self._reached, came)

    def free(self) -> None:
        """Free the PETSc objects."""
        if self._comm.size > 1:
            self._forest.destroy()
