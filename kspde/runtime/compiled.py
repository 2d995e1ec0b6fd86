"""Loops compiled by numba: the decorators, and the threads that run them.

The flags are in one place. Every function is cached on disk, so that only the first run after an installation compiles.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast

from kspde.errors import InputError

if os.path.exists(".numba_config.yaml"):  # numba would read it, and could be made to run code
    raise InputError(
        ".numba_config.yaml in the current directory would set options of numba: give them as environment variables "
        "NUMBA_..., or work in another directory"
    )

import numba
from numba.core import event, types
from numba.extending import intrinsic

from kspde.runtime.messages import say_compiling
from kspde.runtime.parallel import threads_per_rank
from kspde.typing import Comm

__all__ = [
    "apart",
    "compiled",
    "compiled_in_order",
    "compiled_parallel",
    "in_blocks",
    "in_shares",
    "inlined",
    "inlined_early",
    "inlined_only",
    "on_threads",
    "prange",
    "use_threads",
    "widest_vectors",
]

# Between compiled loops other threads work, those of transforms and of on_threads: OpenMP's must not spin meanwhile, by
# default for milliseconds. The variable is read when the library is loaded, at the first parallel loop.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

#: The most particles of a block, so that temporaries stay in a core's cache; the fewest, so that the interpreter's part
#: stays small; and between the two the number of blocks per thread, so that a faster thread takes more of them.
BLOCK, _LEAST, _FEW = 32_768, 2_048, 2

#: The least number of pairs of particles that is worth another thread, a few tenths of a millisecond.
_PAIRS = 5e4

prange = numba.prange

#: Objects of numba and llvmlite, which have no types.
_Llvm = Any

#: Fused multiply-add and reordered sums are allowed; NaN and infinity keep their meaning, since checks rely on it.
_FASTMATH = {"contract", "reassoc"}


class _Announcement(event.Listener):  # type: ignore[misc]
    """Announces functions of kspde that numba compiles, not those that it finds on the disk."""

    def on_start(self, event: _Llvm) -> None:
        if str(event.data["dispatcher"].py_func.__module__).startswith("kspde."):
            say_compiling()

    def on_end(self, event: _Llvm) -> None:
        """Do nothing."""


event.register("numba:compile", _Announcement())


def _loops[F: Callable[..., object]](function: F, **options: Any) -> F:
    """Compile a function without numba's wrapper for C, which nobody calls: what is inlined is compiled into each."""
    options = {"fastmath": _FASTMATH} | options
    return cast(F, numba.njit(cache=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function))


def compiled[F: Callable[..., object]](function: F) -> F:
    """Compile a function that other compiled functions call."""
    return _loops(function, nogil=True)


def compiled_in_order[F: Callable[..., object]](function: F) -> F:
    """Compile a function without reordering its sums: short sums are slower as vectors."""
    return _loops(function, nogil=True, fastmath={"contract"})


def inlined[F: Callable[..., object]](function: F) -> F:
    """Compile a function into each of its callers: a loop with a call would not vectorise.

    LLVM does it; inlined by numba itself, loops take two to three times as long to compile.
    """
    return _loops(function, forceinline=True)


def inlined_only[F: Callable[..., object]](function: F) -> F:
    """As ``inlined``, without the wrapper for Python: for functions that compiled ones alone call.

    A call from Python would crash.
    """
    return _loops(function, forceinline=True, no_cpython_wrapper=True)


def inlined_early[F: Callable[..., object]](function: F) -> F:
    """As ``inlined``, by numba itself, which knows constants among the arguments when it infers types.

    Sums over all pairs by tables take two thirds of the time so.
    """
    return _loops(function, inline="always")


def compiled_parallel[F: Callable[..., object]](function: F) -> F:
    """Compile a function whose ``prange`` loops run on several threads."""
    return _loops(function, parallel=True)


def _widest_vectors(typing: _Llvm) -> _Llvm:
    def emit(context: _Llvm, builder: _Llvm, signature: _Llvm, arguments: _Llvm) -> _Llvm:
        # llvmlite's own add() knows no attributes with a value.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), emit


#: To be called in a compiled function: its loops then use the processor's widest vectors. By default LLVM uses half of
#: AVX-512's width, which pays only if there is little arithmetic.
widest_vectors: Callable[[], None] = intrinsic(_widest_vectors)


def use_threads(comm: Comm) -> int:
    """Let compiled loops use this rank's cores, and return their number. Collective at its first call."""
    threads = min(threads_per_rank(comm), int(numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(threads)
    return threads


def on_threads[R](work: Callable[[int], R], tasks: int) -> list[R]:
    """Return ``work`` of 0, ..., ``tasks`` − 1, done by as many threads as loops may use, each as it becomes free.

    For compiled functions that are not parallel themselves, and numpy between them; tasks must not call it. The calling
    thread does every task that no other has begun: it does not wait for threads that take long to wake up. The error of
    the lowest task that fails is raised, after the tasks that were begun have ended.
    """
    done: dict[int, R] = {}
    failed: dict[int, BaseException] = {}
    waiting = count()
    ended: SimpleQueue[int] = SimpleQueue()

    def take() -> None:
        while not failed and (task := next(waiting)) < tasks:
            try:
                done[task] = work(task)
            except BaseException as error:
                failed[task] = error
            ended.put(task)

    for thread in range(min(int(numba.get_num_threads()), tasks) - 1):
        _inbox(thread, os.getpid()).put(take)
    take()
    left = 0
    while next(waiting) < tasks:  # after an error: no thread is to begin these
        left += 1
    for _ in range(tasks - left):
        ended.get()
    if failed:
        raise failed[min(failed)]
    return [done[task] for task in range(tasks)]


def in_blocks[R](work: Callable[[slice], R], n: int) -> list[R]:
    """Return ``work`` of blocks of ``range(n)``, by ``on_threads``; they depend on n and the number of threads."""
    few = _FEW * max(2, int(numba.get_num_threads()))
    size = min(BLOCK, max(_LEAST, -(-n // few)))
    blocks = -(-n // size)
    return on_threads(lambda j: work(slice(n * j // blocks, n * (j + 1) // blocks)), blocks)


def in_shares(work: Callable[[int, int], object], n: int, pairs: float) -> None:
    """Call ``work(first, last)`` for shares of ``range(n)``, by ``on_threads``; each element takes so many pairs."""
    threads = int(numba.get_num_threads())
    shares = min(n, 1 if threads == 1 else 4 * threads, 1 + int(n * pairs / _PAIRS))
    on_threads(lambda k: work(n * k // shares, n * (k + 1) // shares), shares)


def apart[R](work: Callable[[], R]) -> R:
    """Return ``work()``, done by the first of the threads of ``on_threads``, or raise its error.

    For libraries whose allocations would fragment the heap of the main thread.
    """
    done: SimpleQueue[tuple[R | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:
            done.put((None, error))

    _inbox(0, os.getpid()).put(run)
    result, error = done.get()
    if error is not None:
        raise error
    return cast(R, result)


@cache
def _inbox(thread: int, process: int) -> SimpleQueue[Callable[[], None]]:
    """Return the queue where a thread waits for work: a hand-over takes a third of the time of an executor's."""
    inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def serve() -> None:
        while True:
            inbox.get()()

    Thread(target=serve, name=f"kspde-{thread}", daemon=True).start()
    return inbox
