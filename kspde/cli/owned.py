"""Hidden directories that results are written to, and who is at it: what a killed run leaves is told from one's work.

In such a directory lies a file that names host and process, locked as long as the process lives: the system takes the
lock back, however it ends. A directory whose file is locked is somebody's; one whose file is not, on this host, is
nobody's. A directory without the file holds finished results, or is none of ours.
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
from typing import Any

__all__ = ["OWNER", "Owned", "neighbours", "remove_left", "token"]

#: The file in a directory that says whose it is.
OWNER = ".owner"


class Owned:
    """A new hidden directory, owned by this process until it is released.

    Args:
        path: of the directory.

    Attributes:
        path: of the directory.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        new = path / f"{OWNER}.new"
        self._file: Any = new.open("w", encoding="utf-8")
        with suppress(OSError):  # a file system without locks: then it is taken for somebody's
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        json.dump({"host": platform.node(), "process": os.getpid()}, self._file)
        self._file.flush()
        os.replace(new, path / OWNER)

    def earlier_one(self, others: Iterator[Path]) -> str | None:
        """Return who is at an older one of the other directories, in words; None if nobody is."""
        mine = _age(self.path)
        for other in others:
            words = _at_work(other)
            if other != self.path and words is not None and _age(other) < mine:
                return words
        return None

    def release(self) -> None:
        """Own it no more: it is complete, or about to be removed."""
        with suppress(OSError):
            os.unlink(self.path / OWNER)
        self._file.close()


def neighbours(pattern: Path) -> Iterator[Path]:
    """Return the directories whose names are as a path's, with eight hexadecimal digits for ``*``."""
    before, _, after = pattern.name.partition("*")
    form = re.compile(re.escape(before) + "[0-9a-f]{8}" + re.escape(after))
    with suppress(OSError):
        for name in sorted(os.listdir(pattern.parent)):
            if form.fullmatch(name) and (path := pattern.parent / name).is_dir() and not path.is_symlink():
                yield path


def remove_left(pattern: Path) -> None:
    """Remove the directories of processes of this host that are no more.

    Another host's lock may not be known here: what is not locked is nobody's, perhaps, and stays.
    """
    for path in neighbours(pattern):
        if _at_work(path) is None and _owner(path).get("host") == platform.node():
            shutil.rmtree(path, ignore_errors=True)


def token() -> str:
    """Return eight hexadecimal digits."""
    return secrets.token_hex(4)


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
