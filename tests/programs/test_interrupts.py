"""Runs that are stopped, and output that nobody reads."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kspde.cli import main


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


def wait_for_checkpoint(directory: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a run takes its time steps."""
    while not list(directory.glob("checkpoint-*.h5")):
        assert process.poll() is None
        time.sleep(0.01)


def errors(err: str) -> list[str]:
    """Return what was said, without what the launcher adds, and MPICH of messages that a signal has cut off."""
    return [line for line in err.splitlines() if not line.startswith(("[mpiexec@", "Abort(", "MPICH: Builtin"))]


def test_ctrl_c_leaves_nothing(start: Callable[..., Any], long_case: Path, tmp_path: Path) -> None:
    with start("kspde", "run", "case.toml", "--out", "result") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("kspde ")  # the hidden directory is there, the solve begins
        assert any(name.startswith(".result.") for name in os.listdir(tmp_path))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert err.splitlines() == ["kspde: error: interrupted: nothing was written"]
    assert os.listdir(tmp_path) == ["case.toml"]


def test_ctrl_c_leaves_the_checkpoints(start: Callable[..., Any], long_case: Path, tmp_path: Path) -> None:
    command = ("mpirun", "-n", 2, "kspde", "run", "case.toml", "--out", "result", "--checkpoint-every", 0)
    with start(*command) as process:
        wait_for_checkpoint(tmp_path / ".result.checkpoints" / "density", process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert errors(err) == ["kspde: error: interrupted: --resume continues from the last checkpoint"]
    assert sorted(os.listdir(tmp_path)) == [".result.checkpoints", "case.toml"]


def test_sigterm_leaves_a_checkpoint(start: Callable[..., Any], long_case: Path, tmp_path: Path) -> None:
    with start("kspde", "run", "case.toml", "--out", "result", "--checkpoint-every", 0) as process:
        wait_for_checkpoint(tmp_path / ".result.checkpoints" / "density", process)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "stopped by SIGTERM after step" in err
    assert "--resume" in err
    assert sorted(os.listdir(tmp_path)) == [".result.checkpoints", "case.toml"]
    assert 1 <= len(list((tmp_path / ".result.checkpoints" / "density").iterdir())) <= 2


#: Runs the command line until a checkpoint of a stage is written, but has not got its name; there it is killed.
KILLED = """
import os, signal, sys
import kspde.runtime.checkpoint
from kspde.cli import main

stage, left, *arguments = sys.argv[1:]
left = int(left)
seal = kspde.runtime.checkpoint._seal

def killed(path):
    global left
    left -= stage in path.parts
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    seal(path)

kspde.runtime.checkpoint._seal = killed
sys.exit(main(arguments))
"""


#: The command without its pictures: what is looked at is elsewhere.
WITHOUT_PICTURES = """
import sys
from kspde.cli import main
from kspde.plots import densities

for name in densities.__all__:
    if name.startswith("plot_"):
        setattr(densities, name, lambda *_, **__: None)
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_is_resumed(
    shell: Callable[..., Any],
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Killed in the density and in the particles, resumed on another number of ranks: the same result."""
    shutil.copy(undisturbed / "case.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ("compare", "case.toml", "--out", "result", "--checkpoint-every", "0")
    hidden = tmp_path / ".result.checkpoints"
    for stage, steps, more in (("density", 4, ()), ("particles", 9, ("--resume",))):
        assert shell("python", "-c", KILLED, stage, steps, *arguments, *more).returncode == -signal.SIGKILL
        assert len(list((hidden / stage).glob("checkpoint-*.h5"))) == 2
    capfd.readouterr()
    assert main(list(arguments)) == 2
    refused = capfd.readouterr().err
    assert "an earlier run has left checkpoints" in refused
    assert len(refused.splitlines()) == 1
    done = shell("mpirun", "-n", "2", "python", "-c", WITHOUT_PICTURES, *arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert not hidden.exists()
    ours, theirs = (json.loads((at / "result" / "summary.json").read_text()) for at in (tmp_path, undisturbed))
    assert ours["density"]["steps"] == theirs["density"]["steps"] > 4
    assert ours["density"]["final"]["l2"] == pytest.approx(theirs["density"]["final"]["l2"], abs=1e-11)
    assert ours["distance"]["l1"]["value"] == pytest.approx(theirs["distance"]["l1"]["value"], rel=1e-8)


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


def test_a_progress_bar_on_a_terminal_only(
    start: Callable[..., Any], small_case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
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
