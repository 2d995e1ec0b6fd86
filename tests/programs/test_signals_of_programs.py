"""Signals at any moment: one line, the usual status, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: The command, with Python telling of each module that it has imported.
COMMAND = ("-X", "importtime", "-c", "import sys, kspde.cli; sys.exit(kspde.cli.main(sys.argv[1:]))")
RUN = ("run", "case.toml", "--out", "result")

#: The command with a first picture that is drawn until a signal comes.
SLOW_PICTURE = """
import os, signal, sys
from kspde.cli import main
from kspde.plots import densities as pictures

ours, theirs = os.pipe()
os.set_blocking(theirs, False)
signal.set_wakeup_fd(theirs)

def draw(pde, path, species):
    os.write(1, b"drawing\\n")
    os.read(ours, 1)

pictures.plot_density = draw
sys.exit(main(["run", "case.toml", "--out", "result", "--quiet"]))
"""


def said(err: str) -> list[str]:
    """Return what the command said, without what Python and the launcher add."""
    return [line for line in err.splitlines() if not line.startswith(("import time:", "[mpiexec@", "Abort("))]


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    _, err = process.communicate(timeout=120)
    return process.returncode, said(err)


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("numpy", signal.SIGINT),
        ("kspde.cli.commands", signal.SIGHUP),  # MPI is about to begin
        ("mpi4py.MPI", signal.SIGHUP),
        ("basix.cell", signal.SIGTERM),
    ],
)
def test_while_it_starts(
    start: Callable[..., Any], small_case: Path, tmp_path: Path, module: str, number: signal.Signals
) -> None:
    with start("python", *COMMAND, *RUN) as process:
        while (line := process.stderr.readline()) and line.split("|")[-1].strip() != module:
            pass
        process.send_signal(number)
        assert ended(process) == (128 + number, ["kspde: error: interrupted: nothing was written"])
    assert os.listdir(tmp_path) == ["case.toml"]


def test_before_the_first_step(start: Callable[..., Any], small_case: Path, tmp_path: Path) -> None:
    with start("kspde", *RUN) as process:
        assert process.stdout.readline().startswith("kspde ")  # the mesh is about to be built
        process.send_signal(signal.SIGHUP)
        assert ended(process) == (128 + signal.SIGHUP, ["kspde: error: interrupted: nothing was written"])
    assert os.listdir(tmp_path) == ["case.toml"]


def test_while_pictures_are_drawn_the_results_are_kept(
    start: Callable[..., Any], small_case: Path, tmp_path: Path
) -> None:
    with start("mpirun", "-n", 2, "python", "-c", SLOW_PICTURE) as process:
        for _ in range(2):
            assert process.stdout.readline() == "drawing\n"
        process.terminate()
        line = "kspde: error: interrupted: result holds the results, without diagnostics.png"
        assert ended(process) == (128 + signal.SIGTERM, [line])
    assert sorted(os.listdir(tmp_path)) == ["case.toml", "result"]
    assert sorted(os.listdir(tmp_path / "result")) == ["density.vtkhdf", "diagnostics.csv", "summary.json"]
