"""What hostile files have in common: a line of bounded length, nothing run, nothing written, nothing waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kspde

#: The longest line that refuses a file; paths of temporary directories are in it.
LONGEST = 1500


def refusal(call: Callable[[], Any], directory: Path) -> str:
    """Return the one line that refuses what is in a directory, in which nothing must have changed."""
    before = listing(directory)
    with pytest.raises(kspde.InputError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line, line
    assert len(line) <= LONGEST, line
    assert listing(directory) == before, line
    return line


def listing(directory: Path) -> set[tuple[str, int]]:
    """Return all names in a directory, with the sizes of files."""
    return {(str(path), path.lstat().st_size) for path in directory.rglob("*")}


def traps(directory: Path) -> dict[str, str]:
    """Make what must not be opened in a directory; return names for it, by kind."""
    os.mkfifo(directory / "pipe")
    (directory / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(directory)  # such names are short
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
    (directory / "circle").symlink_to(directory / "circle")
    (directory / "to_pipe").symlink_to(directory / "pipe")
    (directory / "to_zero").symlink_to("/dev/zero")
    (directory / "huge").touch()
    os.truncate(directory / "huge", 1 << 40)  # a hole: it takes no room
    return {
        "pipe": "pipe",
        "folder": "folder",
        "socket": "socket",
        "circle of links": "circle",
        "link to a pipe": "to_pipe",
        "link to a device": "to_zero",
        "device": "/dev/zero",
        "other device": "/dev/random",
        "terabyte": "huge",
        "nothing": "none",
        "null in the name": "a\x00b",
        "long name": "n" * 5000,
        "memory": "/proc/self/mem",
        "no name": "",
    }
