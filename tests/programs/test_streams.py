"""Standard output and error that are full or closed: one line where anybody can hear it, and no traceback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FULL = "(No space left on device)"


@pytest.fixture
def full() -> Any:
    """A device that is full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as device:
        yield device


@pytest.mark.parametrize("arguments", [("theory",), ("--help",)])
def test_an_answer_that_cannot_be_written_is_an_error(
    start: Callable[..., Any], full: Any, arguments: tuple[str, ...]
) -> None:
    with start("kspde", *arguments, stdout=full) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (2, f"kspde: error: standard output cannot be written {FULL}\n")


def test_a_run_does_not_depend_on_it(start: Callable[..., Any], full: Any, small_case: Path, tmp_path: Path) -> None:
    with start("kspde", "run", "case.toml", "--out", "result", stdout=full) as process:
        _, err = process.communicate(timeout=60)
    line = f"warning: standard output cannot be written {FULL}: the results do not depend on it\n"
    assert (process.returncode, err) == (0, line)
    assert (tmp_path / "result" / "summary.json").exists()


def test_errors_that_nobody_can_hear(start: Callable[..., Any], full: Any, tmp_path: Path) -> None:
    with start("kspde", "run", "missing.toml", "--out", "result", stderr=full, stdout=full) as process:
        process.communicate(timeout=60)
    assert process.returncode == 2


def test_closed_streams(start: Callable[..., Any], tmp_path: Path) -> None:
    """And no file of a run's takes their place."""
    close = "import os, sys; [os.close(k) for k in (0, 1, 2)]; os.execvp(sys.argv[1], sys.argv[1:])"
    with start("python", "-c", close, "kspde", "theory") as process:
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_a_reader_that_goes_away(start: Callable[..., Any]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with start("kspde", "theory", stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
