"""Loops compiled by numba: the decorators, and the threads they run on.

One place for the flags: every function is cached on disk, so that only the first run after an installation compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, cast

import numba

from kspde.parallel import threads_per_rank

__all__ = ["BLOCK", "compiled", "compiled_parallel", "in_blocks", "inlined", "prange", "use_threads"]

#: Particles whose temporaries stay in a core's cache.
BLOCK = 16_384

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


def in_blocks(work: Callable[[slice], None], n: int) -> None:
    """Call ``work`` with blocks of ``range(n)``, on the threads that compiled loops use.

    For work that is numpy between compiled functions that are not parallel themselves. What the lowest block raises is
    raised, after all have ended.
    """
    threads = int(numba.get_num_threads())
    # As many for each thread.
    count = -(-n // (threads * BLOCK)) * threads if n > BLOCK else min(n, 1)
    blocks = [slice(n * j // count, n * (j + 1) // count) for j in range(count)]
    if min(threads, count) <= 1:
        for block in blocks:
            work(block)
        return
    waiting = [_pool(threads).submit(work, block) for block in blocks]
    errors = [error for error in (each.exception() for each in waiting) if error is not None]
    if errors:
        raise errors[0]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kspde")
