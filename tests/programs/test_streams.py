"""Standard output and error that are full or closed: one line where anybody can hear it, and no traceback."""

from __future__ import annotations

import os
import re
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


#: The command, in which no file grows beyond some bytes once MPI has begun.
LIMITED = """
import resource, sys
from kspde.cli import main
from mpi4py import MPI

sys.dont_write_bytecode = True  # it would be cut too
resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
sys.exit(main(["run", "case.toml", "--out", "result", "--quiet"]))
"""


def test_a_disk_that_is_full(start: Callable[..., Any], small_case: Path, tmp_path: Path) -> None:
    """One line, and nothing is left."""
    with start("mpirun", "-n", 2, "python", "-c", LIMITED) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.fullmatch(r"kspde: error: cannot write \S+: File too large\n", err)
    assert os.listdir(tmp_path) == ["case.toml"]


def test_a_directory_that_is_read_only(start: Callable[..., Any], small_case: Path) -> None:
    with start("kspde", "run", "case.toml", "--out", "/proc/result") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("kspde: error: /proc/result cannot be written (")
