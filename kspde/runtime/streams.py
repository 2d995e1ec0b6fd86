"""Standard output and error of the command, which may be closed, full, or read by nobody.

Nothing here imports what takes time.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

__all__ = ["complain", "guarded_streams", "silence", "unread", "unwritable"]


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Let a command print on any terminal, and keep its files from taking the place of a closed stream."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor, which is this one
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without χ still gets its line
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if unwritable(stream):
                silence(stream)


def unwritable(stream: TextIO | None) -> OSError | None:
    """Return the error that keeps printed text from being written; None without one."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        return error
    return None


def silence(stream: TextIO) -> None:
    """Discard a stream's output, with what it still holds: Python would complain at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def unread(error: OSError) -> bool:
    """Return whether an error only says that a reader has gone away (``| head``)."""
    return error.errno in (errno.EPIPE, errno.ESHUTDOWN)


def complain(text: str) -> None:
    """Print a line that begins with "kspde: error:" on standard error, if that is open."""
    line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(text.split()))
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"kspde: error: {line}\n")
        sys.stderr.flush()
