"""One process without an MPI library: the calls of a communicator that make sense on a single rank.

``pip install kspde`` brings mpi4py, which needs an MPI library to load. Particles, distances and studies on one process
need none of it: where mpi4py does not load, :func:`kspde.runtime.parallel.world` returns a :class:`OneRank`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["OneRank"]


class OneRank:
    """What mpi4py's ``COMM_SELF`` answers; every collective call returns what this rank gave.

    Attributes:
        rank: 0.
        size: 1.
    """

    rank = 0
    size = 1

    def barrier(self) -> None:
        """Wait for nobody."""

    def bcast(self, thing: Any, root: int = 0) -> Any:
        """Return the root's object, which is this rank's."""
        return thing

    def gather(self, thing: Any, root: int = 0) -> list[Any]:
        """Return the objects of all ranks."""
        return [thing]

    allgather = gather

    def reduce(self, thing: Any, op: Any = None, root: int = 0) -> Any:
        """Return the sum, maximum, … over all ranks: one number's is itself."""
        return thing

    allreduce = reduce

    def Allreduce(self, mine: Any, total: Any, op: Any = None) -> None:  # noqa: N802 (mpi4py's name)
        """Write the sum, maximum, … of all ranks' arrays."""
        np.copyto(total, mine)

    def __repr__(self) -> str:
        return "OneRank()"
