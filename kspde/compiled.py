"""Loops compiled by numba: the decorators, and the threads they run on.

One place for the flags: every function is cached on disk, so that only the first run after an installation compiles.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, cast

import numba
from numba.core import types
from numba.extending import intrinsic

from kspde.parallel import threads_per_rank

__all__ = ["BLOCK", "compiled", "compiled_parallel", "in_blocks", "inlined", "prange", "use_threads", "widest_vectors"]

# Between compiled loops other threads have work, the transforms' and those of in_blocks: OpenMP's must not spin
# meanwhile, by default for milliseconds. Read when its library is loaded, at the first parallel loop.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

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


def _widest_vectors(typing: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite's own add() knows no attributes with a value.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), emit


#: Called in a compiled function: its loops become vectors as wide as the processor has. By default LLVM keeps to half
#: of AVX-512's, which pays only where there is little arithmetic.
widest_vectors: Callable[[], None] = intrinsic(_widest_vectors)


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
    threads = min(int(numba.get_num_threads()), max(1, -(-n // BLOCK)))

    def share(thread: int) -> None:
        first, last = n * thread // threads, n * (thread + 1) // threads
        count = max(1, -(-(last - first) // BLOCK))
        for j in range(count):
            block = slice(first + (last - first) * j // count, first + (last - first) * (j + 1) // count)
            if block.start < block.stop:
                work(block)

    if threads == 1:
        share(0)
        return
    # One task a thread: handing one over costs as much as thousands of particles.
    waiting = [_pool(threads).submit(share, thread) for thread in range(1, threads)]
    errors: list[BaseException] = []
    try:
        share(0)
    except Exception as error:
        errors.append(error)
    errors += [error for error in (each.exception() for each in waiting) if error is not None]
    if errors:
        raise errors[0]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kspde")
