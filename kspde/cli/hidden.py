"""Hidden directories beside a result directory: results being written, and the checkpoints of a run.

A directory being written holds a file that names host and process, locked while the process lives: however the process
ends, the system releases the lock. So a locked file means that somebody is at work; an unlocked one, on this host, that
nobody is. A directory without the file holds finished results, or is not ours.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kspde.cli.console import Console
from kspde.errors import InputError, check_number
from kspde.runtime.checkpoint import Checkpoint
from kspde.runtime.parallel import together
from kspde.typing import Comm

__all__ = [
    "COMPANIONS",
    "OWNER",
    "OwnedDirectory",
    "RunCheckpoints",
    "failed_path",
    "hidden_path",
    "neighbours",
    "remove_abandoned",
    "token",
]

#: The file in a directory that says whose it is.
OWNER = ".owner"
#: Companions of a result directory that outlive a run.
COMPANIONS = ("checkpoints", "failed")
#: The stages of a run, each with a directory of checkpoints of its own.
_STAGES = ("density", "against", "particles")


def hidden_path(target: Path, name: str) -> Path:
    """Return where a hidden companion of a result directory lives: beside it, or in it if it is a mount point.

    A mount point, such as a container's volume, cannot be replaced, and what is beside it is not kept.
    """
    if os.path.ismount(target):
        return target / f".{name}"
    return target.parent / f".{target.name}.{name}"


def failed_path(target: Path) -> Path:
    """Return where a failed run keeps what it has computed: DIR.failed beside DIR, or .failed in a mount point."""
    if os.path.ismount(target):
        return hidden_path(target, "failed")
    return Path(f"{os.path.abspath(target) if target.name in ('', '..') else target}.failed")


def token() -> str:
    """Return eight hexadecimal digits."""
    return secrets.token_hex(4)


class OwnedDirectory:
    """A new directory that belongs to this process until it is released.

    Args:
        path: its path.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        new = path / f"{OWNER}.new"
        self._file: Any = new.open("w", encoding="utf-8")
        with suppress(OSError):  # a file system without locks: others then take it for somebody's
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        json.dump({"host": platform.node(), "process": os.getpid()}, self._file)
        self._file.flush()
        os.replace(new, path / OWNER)

    def earlier_owner(self, others: Iterator[Path]) -> str | None:
        """Return who is at work in an older one of the other directories, in words; None if nobody is."""
        mine = _age(self.path)
        for other in others:
            words = _at_work(other)
            if other != self.path and words is not None and _age(other) < mine:
                return words
        return None

    def release(self) -> None:
        """Give it up: it is complete, or about to be removed."""
        with suppress(OSError):
            os.unlink(self.path / OWNER)
        self._file.close()


def neighbours(pattern: Path) -> Iterator[Path]:
    """Yield the directories named like a path in which ``*`` stands for eight hexadecimal digits."""
    before, _, after = pattern.name.partition("*")
    form = re.compile(re.escape(before) + "[0-9a-f]{8}" + re.escape(after))
    with suppress(OSError):
        for name in sorted(os.listdir(pattern.parent)):
            if form.fullmatch(name) and (path := pattern.parent / name).is_dir() and not path.is_symlink():
                yield path


def remove_abandoned(pattern: Path) -> None:
    """Remove the directories whose process on this host has ended.

    Locks of other hosts may be unknown here, so their unlocked directories stay.
    """
    for path in neighbours(pattern):
        if _at_work(path) is None and _owner(path).get("host") == platform.node():
            shutil.rmtree(path, ignore_errors=True)


def _at_work(path: Path) -> str | None:
    """Return who is known to be at work in a directory, in words."""
    try:
        with (path / OWNER).open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except OSError:
        who = _owner(path)
        return f"process {who.get('process')} on {who.get('host')}"
    return None


def _owner(path: Path) -> dict[str, Any]:
    try:
        who = json.loads((path / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return who if isinstance(who, dict) else {}


def _age(path: Path) -> tuple[int, str]:
    try:
        return (path / OWNER).stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name


class RunCheckpoints:
    """The directory ``.DIR.checkpoints`` beside the result directory DIR (``.checkpoints`` in a mount point).

    A context manager, collective over ``comm``. The directory is removed after a success, and after a failure that left
    no checkpoint in it.

    Args:
        target: the result directory.
        comm: the communicator.
        console: where a run that finds nothing to resume says so.
        every: seconds of wall time between two checkpoints.
        resume: whether to resume from the newest ones; without any the run starts from the beginning, so that a job
            that is started again and again can always ask for it.
        force: whether to discard those of an earlier run.
        keep: whether to keep them after a success, the last one that of the end.

    Raises:
        InputError: (on entering, on all ranks) an earlier run has left checkpoints, and neither ``resume`` nor
            ``force`` is given; something else is in their place; or ``every`` is negative.
    """

    def __init__(
        self, target: Path, comm: Comm, console: Console, *, every: float, resume: bool, force: bool, keep: bool = False
    ) -> None:
        self.path = hidden_path(target, "checkpoints")
        self._keep = keep
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
                left = _any_checkpoint(self.path)
                if self._resume and not left:
                    self._console.warn(f"no checkpoint in {self.path}: --resume starts from the beginning")
                if left and not self._resume and not self._force:
                    raise InputError(
                        f"an earlier run has left checkpoints in {self.path}: --resume continues from them, "
                        "--force discards them"
                    )
                if not left or not self._resume:
                    shutil.rmtree(self.path, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the directory unless a failed run needs it."""
        if self._comm.rank == 0 and ((kind is None and not self._keep) or not _any_checkpoint(self.path)):
            shutil.rmtree(self.path, ignore_errors=True)

    @staticmethod
    def left(target: Path) -> bool:
        """Return whether a run into ``target`` has left checkpoints."""
        return _any_checkpoint(hidden_path(target, "checkpoints"))

    def options(self, stage: str) -> dict[str, Any]:
        """Return the keyword arguments of a stage's backend: "density", "against" or "particles"."""
        return {
            "checkpoint": Checkpoint(self.path / stage, every=self._every, at_end=self._keep),
            "resume": self._resume,
        }


def _any_checkpoint(path: Path) -> bool:
    return any(path.glob("*/checkpoint-*.h5"))
