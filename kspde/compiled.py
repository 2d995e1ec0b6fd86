"""Loops compiled by numba: the decorators, and the threads they run on.

One place for the flags: every function is cached on disk, so that only the first run after an installation compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba

from kspde.parallel import threads_per_rank

__all__ = ["compiled", "compiled_parallel", "inlined", "prange", "use_threads"]

prange = numba.prange

#: Fused multiply-add and reordered sums, but NaN and infinity keep their meaning: the checks for them rely on it.
_FASTMATH = {"contract", "reassoc"}


def compiled[F: Callable[..., Any]](function: F) -> F:
    """Compile a function that other compiled functions call."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FASTMATH)(function))


def inlined[F: Callable[..., Any]](function: F) -> F:
    """Compile a scalar function into each of its callers: a loop around a call would not vectorise."""
    return cast(F, numba.njit(cache=True, inline="always", error_model="numpy", fastmath=_FASTMATH)(function))


def compiled_parallel[F: Callable[..., Any]](function: F) -> F:
    """Compile a function whose ``prange`` loops run on several threads."""
    return cast(F, numba.njit(cache=True, parallel=True, error_model="numpy", fastmath=_FASTMATH)(function))


def use_threads(comm: Any) -> int:
    """Let compiled loops use the cores this rank owns; return their number. Collective at its first call."""
    threads = min(threads_per_rank(comm), int(numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(threads)
    return threads
