"""Arrays over a tensor grid, split over ranks by rows, and the transpose that splits them by columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.typing import Comm

__all__ = ["Slabs"]


class Slabs:
    """Rows of a d-dimensional array split over ranks, and the transpose that splits its second direction instead.

    Args:
        comm: the communicator.
        shape: global shape; a one-dimensional array counts as (n, 1).
        starts: first row of each rank and, last, the number of rows.
        columns: the same of the second direction after the transpose; even parts unless given.
    """

    def __init__(
        self, comm: Comm, shape: Sequence[int], starts: Sequence[int], columns: npt.NDArray[np.int64] | None = None
    ) -> None:
        self.comm = comm
        full = tuple(shape) if len(shape) > 1 else (shape[0], 1)
        self.rows = np.asarray(starts)
        self.columns = np.linspace(0, full[1], comm.size + 1).astype(int) if columns is None else columns
        self.rest = full[2:]
        r = comm.rank
        self.first, self.last = int(self.rows[r]), int(self.rows[r + 1])
        self.shape = (self.last - self.first, *full[1:])
        self.modal = slice(int(self.columns[r]), int(self.columns[r + 1]))
        self.modal_shape = (full[0], self.modal.stop - self.modal.start, *self.rest)
        depth = int(np.prod(self.rest))
        self._by_rows = np.diff(self.rows) * self.modal_shape[1] * depth
        self._by_columns = np.diff(self.columns) * self.shape[0] * depth

    def with_columns(self, columns: npt.NDArray[np.int64]) -> Slabs:
        """Return the slabs of an array with other columns."""
        if columns is self.columns:
            return self
        return Slabs(self.comm, (int(self.rows[-1]), int(columns[-1]), *self.rest), self.rows.tolist(), columns)

    def transpose(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array split by columns, shape ``modal_shape``. Collective."""
        if self.comm.size == 1:
            return x
        parts = [x[:, a:b].ravel() for a, b in zip(self.columns[:-1], self.columns[1:], strict=True)]
        out = np.empty(self.modal_shape, dtype=x.dtype)
        self.comm.Alltoallv([np.concatenate(parts), self._by_columns], [out, self._by_rows])
        return out

    def transpose_back(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array split by rows, shape ``shape``. Collective."""
        if self.comm.size == 1:
            return x
        flat = np.empty(int(np.prod(self.shape)), dtype=x.dtype)
        self.comm.Alltoallv([np.ascontiguousarray(x), self._by_rows], [flat, self._by_columns])
        out = np.empty(self.shape, dtype=x.dtype)
        start = 0
        for a, b, count in zip(self.columns[:-1], self.columns[1:], self._by_columns, strict=True):
            out[:, a:b] = flat[start : start + count].reshape(self.shape[0], b - a, *self.rest)
            start += count
        return out
