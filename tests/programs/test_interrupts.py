"""Runs that are stopped, and output that nobody reads."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def long_case(small_case: Path) -> Path:
    """A case that takes minutes."""
    text = small_case.read_text("utf-8")
    small_case.write_text(
        text.replace("t_end = 0.05", "t_end = 100.0")
        .replace("half_width = 9.0", "half_width = 200.0")
        .replace("tol = 1e-3", 'scheme = "positive"\ndt = 1e-4')
        .replace("degree = 4", "degree = 1")
        .replace("cells = 12", "cells = 100\ngrading = 5.0"),
        encoding="utf-8",
    )
    return small_case


@pytest.mark.parametrize("launcher", [(), ("mpirun", "-n", "2")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing(
    start: Callable[..., Any], long_case: Path, tmp_path: Path, launcher: tuple[str, ...], number: signal.Signals
) -> None:
    if launcher and number == signal.SIGTERM:
        return  # mpirun kills its processes at once
    program = [*launcher, "kspde", "run", "case.toml", "--out", "result"]
    with start(*program) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("kspde ")  # the hidden directory is there, the solve begins
        time.sleep(2)
        assert any(name.startswith(".result.") for name in os.listdir(tmp_path))
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    said = [line for line in err.splitlines() if not line.startswith(("[mpiexec@", "Abort("))]
    assert said == ["kspde: error: interrupted: nothing was written"]
    assert os.listdir(tmp_path) == ["case.toml"]


def test_a_reader_that_goes_away_does_not_end_the_run(
    start: Callable[..., Any], small_case: Path, tmp_path: Path
) -> None:
    with start("kspde", "run", "case.toml", "--out", "result") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0
    assert (tmp_path / "result" / "summary.json").exists()


def test_a_progress_bar_on_a_terminal_only(start: Callable[..., Any], small_case: Path) -> None:
    ours, theirs = pty.openpty()
    with start("kspde", "run", "case.toml", "--out", "result", stderr=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.stdout is not None
        out = process.stdout.read()
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"density" in shown
    assert "\x1b" not in out
    assert "%" not in out


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed
        return b""
