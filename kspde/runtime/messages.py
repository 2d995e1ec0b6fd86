"""What a computation tells its user: warnings, which its result holds too, and that it compiles."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, cast

from kspde.errors import ConvergenceError, KspdeWarning
from kspde.typing import Comm

__all__ = ["COMPILING", "keeping_warnings", "recorded", "say_compiling", "warn"]

#: The files that a warning skips to find the user's line that led to it.
_OURS = (str(Path(__file__).parents[1]),)

#: The lists that now record warnings, innermost last, and whether those are given too.
_records: list[tuple[list[str], bool]] = []


def warn(line: str, comm: Comm) -> None:
    """Warn in one line on rank 0 of ``comm``; elsewhere do nothing. Not collective.

    Python shows a :class:`kspde.errors.KspdeWarning` at the line of the user's program. The results of functions that
    are decorated by :func:`keeping_warnings` hold the line too, whatever Python's filters hide.
    """
    if comm.rank != 0:
        return
    for lines, said in reversed(_records):
        if line not in lines:
            lines.append(line)
        if not said:
            return
    warnings.warn(line, KspdeWarning, skip_file_prefixes=_OURS, stacklevel=2)


@contextmanager
def recorded(*, said: bool = True) -> Iterator[list[str]]:
    """Record the warnings of a block, each once, on the rank that gives them.

    Args:
        said: whether they are given too; not those of a run that a user has not asked for.
    """
    lines: list[str] = []
    _records.append((lines, said))
    try:
        yield lines
    finally:
        _records.pop()


def keeping_warnings[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a collective function: its result, a dataclass with a ``comm``, holds its warnings on every rank.

    The solution of a ``ConvergenceError`` holds them on rank 0.
    """

    @wraps(function)
    def keep(*args: P.args, **kwargs: P.kwargs) -> R:
        with recorded() as lines:
            try:
                result: Any = function(*args, **kwargs)
            except ConvergenceError as error:
                if error.solution is not None:
                    error.solution = replace(error.solution, warnings=tuple(lines))
                raise
        return cast(R, replace(result, warnings=result.comm.bcast(tuple(lines))))

    return keep


#: What is said when code is compiled.
COMPILING = "kspde: compiling (first time only)"

_said = threading.Lock()


def say_compiling() -> None:
    """Say on standard error, on rank 0 and once per process, that compilation has begun: it takes seconds.

    By Python's logger "kspde", as a warning: silenced by ``logging.getLogger("kspde").setLevel("ERROR")``.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if (mpi is None or mpi.COMM_WORLD.rank == 0) and _said.acquire(blocking=False):
        logging.getLogger("kspde").warning(COMPILING)
