"""Runs that are stopped, and output that nobody reads."""

from __future__ import annotations

import json
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
def test_ctrl_c_leaves_nothing(
    start: Callable[..., Any], long_case: Path, tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    with start(*launcher, "kspde", "run", "case.toml", "--out", "result") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("kspde ")  # the hidden directory is there, the solve begins
        time.sleep(2)
        assert any(name.startswith(".result.") for name in os.listdir(tmp_path))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, err
    said = [line for line in err.splitlines() if not line.startswith(("[mpiexec@", "Abort("))]
    assert said == ["kspde: error: interrupted: nothing was written"]
    assert os.listdir(tmp_path) == ["case.toml"]


def test_sigterm_leaves_a_checkpoint(start: Callable[..., Any], long_case: Path, tmp_path: Path) -> None:
    with start("kspde", "run", "case.toml", "--out", "result") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("kspde ")
        time.sleep(4)
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "stopped by SIGTERM after step" in err
    assert "--resume" in err
    assert sorted(os.listdir(tmp_path)) == [".result.checkpoints", "case.toml"]
    assert len(list((tmp_path / ".result.checkpoints" / "density").iterdir())) == 1


def test_a_killed_run_is_resumed(
    start: Callable[..., Any], shell: Callable[..., Any], small_case: Path, tmp_path: Path
) -> None:
    """Killed in the density and in the particles, resumed on another number of ranks: the same result."""
    text = small_case.read_text("utf-8").replace("t_end = 0.05", "t_end = 0.4")
    text = (
        text.replace("tol = 1e-3", "tol = 1e-7").replace("n = 2_000", "n = 20_000").replace("dt = 0.01", "dt = 0.002")
    )
    small_case.write_text(text.replace("half_width = 9.0", "half_width = 14.0"), encoding="utf-8")
    assert shell("kspde", "compare", "case.toml", "--out", "undisturbed").returncode == 0
    arguments = ("compare", "case.toml", "--out", "result", "--checkpoint-every", "0")
    hidden = tmp_path / ".result.checkpoints"
    for stage, more in (("density", ()), ("particles", ("--resume",))):
        process = start("kspde", *arguments, *more)
        while not list(hidden.glob(f"{stage}/checkpoint-*.h5")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=30)
    refused = shell("kspde", *arguments)
    assert refused.returncode == 2
    assert "an interrupted run has left checkpoints" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = shell("mpirun", "-n", "2", "kspde", *arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert not hidden.exists()
    ours, theirs = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("result", "undisturbed"))
    assert ours["density"]["final"]["l2"] == pytest.approx(theirs["density"]["final"]["l2"], abs=1e-11)
    assert ours["distance"]["l1"]["value"] == pytest.approx(theirs["distance"]["l1"]["value"], rel=1e-8)
    nothing = shell("kspde", *arguments[:3], "other", "--resume")
    assert nothing.returncode == 2
    assert "there are no checkpoints in" in nothing.stderr


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
