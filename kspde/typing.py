"""Arrays by their content, communicators, and random numbers as densities and kernels use them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Comm", "Ids", "Indices", "Mask", "RandomNumbers"]

#: Real numbers in double precision.
Array = npt.NDArray[np.float64]
#: Positions in other arrays, as numpy returns them.
Indices = npt.NDArray[np.int64]
#: True and false.
Mask = npt.NDArray[np.bool_]
#: Ids of particles, from which their random numbers are made.
Ids = npt.NDArray[np.uint64]
#: A communicator of mpi4py, which has no types, or a ``kspde.runtime.parallel.OneRank``.
Comm = Any


class RandomNumbers(Protocol):
    """Random numbers that depend only on (stream, particle id, step), not on the rank that asks."""

    def uniforms(self, ids: Ids, step: int, count: int) -> Array:
        """Return independent uniforms in (0, 1), shape (len(ids), count)."""
        ...

    def normals(self, ids: Ids, step: int, count: int) -> Array:
        """Return independent standard normals, shape (len(ids), count)."""
        ...
