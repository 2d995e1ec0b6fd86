"""What particles take of memory, estimated before anything is sampled.

The constants are bytes beyond what the libraries take, measured (tests/benchmarks/memory.py, whose table holds
estimates beside measured peaks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde.runtime.limits import check_memory

__all__ = ["NEAR", "bytes_of_particles", "check_particles"]

#: Vectors of a particle: starting point, position, and those of a step.
_VECTORS = {"euler-maruyama": 4.0, "weak-2": 13.0}
#: Bytes of a particle that non-uniform transforms take.
_TRANSFORMED = 62.0
#: Bytes that sums over neighbours take on each rank, for each particle of all ranks: sorted copies, cells (counted, not
#: measured: there are few particles where such sums are affordable).
NEAR = 80.0


def bytes_of_particles(n: float, dimension: int, scheme: str, method: str, *, twins: bool) -> float:
    """Return about how many bytes n particles take, without grids.

    Args:
        n: how many.
        dimension: of space.
        scheme: of ``simulate``.
        method: of ``simulate``.
        twins: whether mean-field particles move beside them.
    """
    vectors = _VECTORS[scheme] + (0.75 * _VECTORS[scheme] if twins else 0.0)
    return n * (8.0 + 8.0 * dimension * vectors + (_TRANSFORMED if method == "finufft" else 0.0))


def check_particles(
    counts: Mapping[str, int], dimension: int, scheme: str, method: str, comm: Any, *, twins: bool
) -> None:
    """Refuse particles that do not fit into memory. Collective.

    Raises:
        InputError: they do not; on every rank.
    """
    n = float(np.sum([float(count) for count in counts.values()]))
    needed = bytes_of_particles(n, dimension, scheme, method, twins=twins)
    check_memory(f"n = {n:.10g} particles", needed / comm.size, comm, "give fewer")
