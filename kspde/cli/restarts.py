"""Where the command line keeps the checkpoints of a run until its results are complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kspde.cli.console import Console
from kspde.cli.results import hidden_path
from kspde.errors import InputError, check_number
from kspde.runtime.checkpoint import Checkpoint
from kspde.runtime.parallel import together

__all__ = ["Restarts"]

#: The stages of a run, each with a directory of its own.
_STAGES = ("density", "against", "particles")


class Restarts:
    """The hidden directory ``.DIR.checkpoints`` beside the result directory DIR (``.checkpoints`` in a mount point).

    A context manager, collective over ``comm``: it is removed when the run has succeeded, and kept, if there is a
    checkpoint in it, when the run has not.

    Args:
        target: the result directory.
        comm: the communicator.
        console: is told that there is nothing to resume.
        every: seconds of wall time between two checkpoints.
        resume: go on from the newest ones; from the beginning where there are none, so that a job which is started
            again and again can always ask for it.
        force: discard those of an earlier run.

    Raises:
        InputError: (on entering, on all ranks) an earlier run has left checkpoints and it is not said what to do with
            them, something else is in their place, or ``every`` is negative.
    """

    def __init__(self, target: Path, comm: Any, console: Console, *, every: float, resume: bool, force: bool) -> None:
        self.path = hidden_path(target, "checkpoints")
        self._comm = comm
        self._console = console
        self._every = every
        self._resume = resume
        self._force = force

    def __enter__(self) -> Self:
        """Look at what an earlier run has left."""
        with together(self._comm):
            check_number("--checkpoint-every", self._every, at_least=0)
            if self._comm.rank == 0:
                for place in (self.path, *(self.path / stage for stage in _STAGES)):
                    if os.path.lexists(place) and not place.is_dir():
                        raise InputError(f"{place} is in the place of the checkpoints' directory: move it away first")
                left = _checkpoints_in(self.path)
                if self._resume and not left:
                    self._console.warn(f"no checkpoint in {self.path}: --resume starts from the beginning")
                if left and not self._resume:
                    if not self._force:
                        raise InputError(
                            f"an interrupted run has left checkpoints in {self.path}: --resume goes on from them, "
                            "--force discards them"
                        )
                    shutil.rmtree(self.path, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the directory after a success, and after a failure that left no checkpoint."""
        if self._comm.rank == 0 and (kind is None or not _checkpoints_in(self.path)):
            shutil.rmtree(self.path, ignore_errors=True)

    @staticmethod
    def left(target: Path) -> bool:
        """Return whether a run into ``target`` has left checkpoints."""
        return _checkpoints_in(hidden_path(target, "checkpoints"))

    def options(self, stage: str) -> dict[str, Any]:
        """Return the keyword arguments of a stage's backend: "density", "against" or "particles"."""
        return {"checkpoint": Checkpoint(self.path / stage, every=self._every), "resume": self._resume}


def _checkpoints_in(path: Path) -> bool:
    return any(path.glob("*/checkpoint-*.h5"))
