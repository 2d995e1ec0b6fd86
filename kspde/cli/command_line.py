"""How a command line is carried out, and how its errors become a line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path

from kspde.cli.commands import app
from kspde.cli.work import BAD_INPUT, Work, carry_out
from kspde.runtime.job import launched_rank
from kspde.runtime.signals import Stop
from kspde.runtime.streams import complain, silence, unread, unwritable

__all__ = ["run"]

#: The variable by which a shell asks for completions.
_COMPLETE = "_KSPDE_COMPLETE"


def run(arguments: Sequence[str] | None, stop: Stop) -> int:
    """Carry out a command and return the exit status.

    Args:
        arguments: what follows ``kspde``; None takes them from ``sys.argv``.
        stop: of this process, watching.
    """
    rank = launched_rank()
    try:
        with nullcontext() if rank == 0 else _no_output():
            work = app(args=arguments, prog_name="kspde", standalone_mode=False)
            if stop.number is not None:  # typer makes a status of it
                raise KeyboardInterrupt
            if isinstance(work, Work):
                return carry_out(work, stop)
            if (error := unwritable(sys.stdout)) is not None:
                raise error
    except OSError as error:  # of what is printed: the help, the version
        silence(sys.stdout)
        if unread(error):
            return 0
        if rank == 0:
            complain(f"standard output cannot be written ({error.strerror})")
        return BAD_INPUT
    except Exception as error:
        if _COMPLETE in os.environ and isinstance(error, (KeyError, ValueError)):  # typer reads what a shell sets
            if rank == 0:
                complain(f"{_COMPLETE} is set without the words that a shell's completion gives: unset it")
            return BAD_INPUT
        # Typer's usage errors: the class to catch differs between its versions.
        if not hasattr(error, "format_message"):
            raise
        if rank == 0:
            complain(f"{_lower(error.format_message().replace('Value error, ', ''))} (kspde --help explains)")
        return BAD_INPUT
    return 0


@contextmanager
def _no_output() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")
