"""Values at points that each rank chooses: points go to the ranks that own their cells, and answers come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.typing import Array, Comm, Indices

__all__ = ["CellSearch", "Exchange", "share"]

#: The cells around a point are distinguished by the components of their centres in this direction: their *places*.
_DIRECTION = np.array([1.0, np.sqrt(2.0), np.sqrt(3.0)])


class Exchange:
    """Sends rows to other ranks, and returns one answer to each, any number of times. All its methods are collective.

    Args:
        comm: the communicator.
        wanted: for each rank, the indices of this rank's rows that it receives; a row may go to several ranks, or none.

    Attributes:
        index: the row that each answer belongs to; answers come rank by rank.
    """

    def __init__(self, comm: Comm, wanted: Sequence[Indices]) -> None:
        self._comm = comm
        self.index = np.concatenate(wanted)
        self._sent = np.array([len(rows) for rows in wanted], dtype=np.int64)
        self._received = self._sent.copy()
        if comm.size > 1:
            comm.Alltoall(self._sent, self._received)

    def forth(self, rows: Array) -> Array:
        """Send rows, shape (n, k); return those that this rank receives."""
        return self._passed(rows[self.index], self._sent, self._received)

    def back(self, answers: Array) -> Array:
        """Send the answers to the rows received; return those to the rows sent, shape (len(index),)."""
        return self._passed(answers[:, None], self._received, self._sent)[:, 0]

    def _passed(self, rows: Array, sent: Indices, received: Indices) -> Array:
        if self._comm.size == 1:
            return rows
        width = rows.shape[1]
        out = np.empty((int(received.sum()), width))
        there, here = ((counts * width).tolist() for counts in (sent, received))
        self._comm.Alltoallv((np.ascontiguousarray(rows), there), (out, here))
        return out


def share(comm: Comm, n: int) -> slice:
    """Return this rank's share of n rows."""
    return slice(comm.rank * n // comm.size, (comm.rank + 1) * n // comm.size)


class CellSearch:
    """Finds the cells of points. Collective.

    Args:
        mesh: the DOLFINx mesh.
        radius: the size of the domain.
    """

    def __init__(self, mesh: Any, radius: float) -> None:
        from dolfinx import geometry

        self._mesh = mesh
        self._dimension = mesh.topology.dim
        self._tree = geometry.bb_tree(mesh, self._dimension, padding=1e-10 * radius)
        corners = mesh.geometry.x[:, : self._dimension]
        room = 1e-9 * radius  # more than the padding of the tree
        low, high = corners.min(axis=0, initial=np.inf) - room, corners.max(axis=0, initial=-np.inf) + room
        self._extents = mesh.comm.allgather((low, high))

    def ranks(self, points: Array) -> list[Indices]:
        """Return, for each rank, the points, shape (n, d), that its cells may contain. Rank-local."""
        return [np.flatnonzero(np.all((points >= low) & (points <= high), axis=1)) for low, high in self._extents]

    def find(self, points: Array) -> tuple[Indices, npt.NDArray[np.int32], Array]:
        """Return the points in this rank's cells, and for each the cell of lowest place, and the place. Rank-local."""
        from dolfinx import geometry

        if not len(points):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0)
        where = np.zeros((len(points), 3))
        where[:, : self._dimension] = points
        candidates = geometry.compute_collisions_points(self._tree, where)
        hits = geometry.compute_colliding_cells(self._mesh, candidates, where)
        found = np.flatnonzero(np.diff(hits.offsets))
        corners = self._mesh.geometry.dofmaps[0][hits.array]
        places = self._mesh.geometry.x[corners].mean(axis=1) @ _DIRECTION
        order = np.lexsort((places, np.repeat(np.arange(len(points)), np.diff(hits.offsets))))
        first = order[hits.offsets[found]]
        return found, hits.array[first], places[first]
