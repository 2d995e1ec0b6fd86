"""Files that users name, or that lie where kspde looks: only regular files of a sensible size are opened.

A name may lead to a pipe, a device or a directory, and a file may be larger than memory. Anything else than a regular
file of a sensible size raises an ``OSError`` whose ``strerror`` says so.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from io import BufferedReader
from pathlib import Path
from typing import Any

from kspde.errors import InputError, shortened

__all__ = [
    "FILE_ERRORS",
    "MOST_DATA",
    "MOST_TEXT",
    "OVERHEAD",
    "check_regular",
    "open_regular",
    "publish",
    "read_json",
    "read_regular",
    "reason",
    "reserve",
    "shipped",
    "write_columns",
    "write_whole",
    "writing",
]

#: What h5py raises when a file cannot be written: RuntimeError when it is closed.
FILE_ERRORS = (OSError, RuntimeError)

#: The most bytes that a file takes beside its arrays.
OVERHEAD = 1 << 16

#: The most bytes of a file of numbers, and of a text that is read as a whole.
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
        OSError: there is none, it is not regular, or it has more than ``most`` bytes.
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
    # It may have been replaced since; opening a pipe without O_NONBLOCK waits for a writer.
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
    if len(content) > most:  # some system files claim to be empty
        raise OSError(errno.EFBIG, _too_large(len(content), most))
    return content


def read_json(path: str | Path, most: int = MOST_TEXT) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: as for ``check_regular``.
        ValueError: it is not JSON, or nested too deeply.
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


def reserve(path: Path, size: int) -> None:
    """Reserve ``size`` bytes, and some overhead, in a file of this name."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size + OVERHEAD)
        elif shutil.disk_usage(path.parent).free < size + OVERHEAD:  # macOS
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def publish(hidden: Path, path: Path) -> None:
    """Force a complete file to the disk and give it its name: a job that is killed before leaves what was there."""
    for part in (hidden, path.parent):
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if part is hidden:
            hidden.replace(path)


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file that is complete, or, where that fails, as it was before.

    Raises:
        OSError: it cannot be written.
    """
    final = Path(os.path.realpath(path))  # a link still leads to it
    hidden = final.with_name(f".{final.name[:200]}.{secrets.token_hex(6)}")  # shards may write the same
    try:
        hidden.write_bytes(content)
        publish(hidden, final)
    except BaseException:
        with suppress(OSError):
            hidden.unlink()
        raise


@contextmanager
def writing(path: str | Path, errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Say in one line that a file, or what is in a directory, cannot be written.

    Raises:
        InputError: one of ``errors`` has been raised.
    """
    try:
        yield
    except errors as error:
        raise InputError(f"cannot write {path}: {reason(error)}") from None


def write_columns(path: str | Path, columns: Mapping[str, Sequence[object]]) -> None:
    """Write a table of comma-separated values, with all digits.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    with writing(path):
        write_whole(path, text.getvalue().encode())


def reason(error: Exception) -> str:
    """Return in one line why a file cannot be read or written."""
    words = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
    return shortened(words, 200)


def shipped(folder: str, suffix: str) -> dict[str, Path]:
    """Return the files of a folder that comes with kspde: name without its suffix -> path, in alphabetical order."""
    return {path.stem: path for path in sorted(Path(str(resources.files("kspde") / folder)).glob(f"*{suffix}"))}
