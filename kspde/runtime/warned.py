"""Warnings: one way out of every computation, into Python's ``warnings`` and into what the computation returns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, cast

from kspde.errors import ConvergenceError, KspdeWarning

__all__ = ["keeping_warnings", "noted", "warn"]

#: What a warning passes over to find the line of the user's that led to it.
_OURS = (str(Path(__file__).parents[1]),)

#: The lists that now take note of warnings, innermost last.
_notes: list[list[str]] = []


def warn(line: str, comm: Any) -> None:
    """Warn in one line, on rank 0 of ``comm``: elsewhere it does nothing. Not collective.

    Python shows it at the line of the user's program, as a :class:`kspde.errors.KspdeWarning`. The results of functions
    that are decorated by :func:`keeping_warnings` have it too, whatever Python's filters hide.
    """
    if comm.rank != 0:
        return
    for notes in _notes:
        if line not in notes:
            notes.append(line)
    warnings.warn(line, KspdeWarning, skip_file_prefixes=_OURS, stacklevel=2)


@contextmanager
def noted() -> Iterator[list[str]]:
    """Take note of the warnings of a block, each once, on the rank that gives them."""
    notes: list[str] = []
    _notes.append(notes)
    try:
        yield notes
    finally:
        _notes.pop()


def keeping_warnings[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Let a collective function's result, a dataclass with a ``comm``, have its warnings on every rank.

    What a ``ConvergenceError`` carries has them on rank 0.
    """

    @wraps(function)
    def keep(*args: P.args, **kwargs: P.kwargs) -> R:
        with noted() as lines:
            try:
                result: Any = function(*args, **kwargs)
            except ConvergenceError as error:
                if error.solution is not None:
                    error.solution = replace(error.solution, warnings=tuple(lines))
                raise
        return cast(R, replace(result, warnings=result.comm.bcast(tuple(lines))))

    return keep
