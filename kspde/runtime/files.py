"""Files that users name, or that lie where kspde looks: opened only where that must come to an end.

A name may lead to a pipe, a device or a directory, and a file may hold more than memory does. What is not a regular
file of a sensible size is an ``OSError`` whose ``strerror`` says so.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

__all__ = ["MOST_DATA", "MOST_TEXT", "check_regular", "open_regular", "read_json", "read_regular"]

#: Bytes of a file of numbers, and of a text that is read as a whole.
MOST_DATA, MOST_TEXT = 1 << 33, 1 << 28

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_regular(path: str | Path, most: int = MOST_DATA) -> int:
    """Return the size of a regular file.

    Raises:
        OSError: there is none, it is something else, or it has more than ``most`` bytes.
    """
    try:
        found = os.stat(path)
    except ValueError:  # a null character
        raise OSError(errno.EINVAL, "no file has such a name") from None
    return _checked(found, most)


def open_regular(path: str | Path, most: int = MOST_DATA) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: as for ``check_regular``.
    """
    check_regular(path, most)
    # It may have become another since; opening a pipe without this flag waits for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    try:
        _checked(os.fstat(handle), most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: str | Path, most: int = MOST_TEXT) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: as for ``check_regular``.
    """
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # the size of some files of the system is said to be 0
        raise OSError(errno.EFBIG, _too_large(len(content), most))
    return content


def read_json(path: str | Path, most: int = MOST_TEXT) -> Any:
    """Return what a JSON file holds.

    Raises:
        OSError: as for ``check_regular``.
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(read_regular(path, most))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _checked(found: os.stat_result, most: int) -> int:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        kind = next((words for test, words in _KINDS if test(found.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file")
    if found.st_size > most:
        raise OSError(errno.EFBIG, _too_large(found.st_size, most))
    return found.st_size


def _too_large(size: int, most: int) -> str:
    return f"{size:.3g} bytes, more than the {most:.3g} that are read"
