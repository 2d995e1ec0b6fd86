"""What a run says while it runs: lines on standard output, warnings and a progress bar, from rank 0."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from kspde.errors import InputError
from kspde.runtime.following import Progress, opened
from kspde.runtime.streams import silence, unread
from kspde.typing import Comm

__all__ = ["Console"]


class Console:
    """The terminal, or the file, that rank 0 writes to.

    Args:
        comm: the communicator; all ranks but 0 are silent.
        quiet: say nothing on rank 0 either.
        log: a file to which all that is said is added, each line with the date, also where it is not printed.

    Raises:
        InputError: the log cannot be written. On rank 0 alone.

    Attributes:
        warnings: the lines that were warned of, or would have been; empty on all ranks but 0.
    """

    def __init__(self, comm: Comm, *, quiet: bool = False, log: Path | None = None) -> None:
        self._log = opened(log) if log is not None and comm.rank == 0 else None
        self._silent = quiet or comm.rank != 0
        self._deaf = False  # standard output is closed or full
        self._here = comm.rank == 0
        self.warnings: list[str] = []

    def say(self, text: str = "") -> None:
        """Print a line. A reader that has gone away (``| head``) does not end the run, nor does a full device."""
        error = self._print(text)
        if error is not None and not unread(error):
            self.warn(f"standard output cannot be written ({error.strerror}): the results do not depend on it")

    def answer(self, text: str) -> None:
        """Print what a command was asked for.

        Raises:
            InputError: it cannot be written. On rank 0 alone, after which there is nothing left to do.
        """
        error = self._print(text)
        if error is not None and not unread(error):
            raise InputError(f"standard output cannot be written ({error.strerror})")

    def _note(self, text: str) -> None:
        """Add lines to the log; a device that is full does not end the run."""
        if self._log is not None:
            now = datetime.now().isoformat(" ", "seconds")
            with suppress(OSError):
                self._log.writelines(f"{now}  {line}\n" for line in text.splitlines() if line)
                self._log.flush()

    def _print(self, text: str) -> OSError | None:
        self._note(text)
        if self._silent or self._deaf:
            return None
        try:
            print(text, flush=True)
        except OSError as error:
            self._deaf = True
            silence(sys.stdout)
            return error
        return None

    def warn(self, text: str) -> None:
        """Print a line that begins with "warning:" on standard error, once for each text."""
        line = " ".join(text.split())
        if not self._here or line in self.warnings:
            return
        self.warnings.append(line)
        self._note(f"warning: {line}")
        if not self._silent:
            with suppress(OSError, AttributeError):  # full, or closed
                sys.stderr.write(f"warning: {line}\n")
                sys.stderr.flush()

    @contextmanager
    def hearing_warnings(self) -> Iterator[None]:
        """Warn of what Python is warned of in a block, by whichever library; the log has what ends it."""

        def show(message: Warning | str, *where: Any, **more: Any) -> None:
            self.warn(str(message))

        logger = logging.getLogger("kspde")
        level = logger.level
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            if self._silent:
                logger.setLevel(logging.ERROR)
            try:
                yield
            except BaseException as error:
                self._note(f"ended by {type(error).__name__}: {error}")
                raise
            finally:
                logger.setLevel(level)

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[..., None]]:
        """Return a function that is told the fraction done, and where the run is in words.

        On a terminal it moves a bar; elsewhere, and in the log, it adds a line now and then (``kspde.Progress``).
        """
        lines = Progress()

        def tell(fraction: float, words: str = "") -> None:
            line = lines.line(fraction, words) if self._here else ""
            if line:
                (self._note if terminal else self.say)(f"  {label:<11}{line}")

        terminal = not self._silent and sys.stderr is not None and sys.stderr.isatty()
        if not terminal:
            yield tell
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Bars(*columns, console=Terminal(stderr=True), transient=True) as bars:
            task = bars.add_task(f"{label:<11}", total=1.0)

            def move(fraction: float, words: str = "") -> None:
                bars.update(task, completed=fraction)
                tell(fraction, words)

            yield move
