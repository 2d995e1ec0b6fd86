"""Whole programs, started from the suite's run on one rank: a job of MPI cannot start another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

from kspde.cli import main
from kspde.runtime.messages import COMPILING

collect_ignore_glob = ["test_*.py"] if MPI.COMM_WORLD.size > 1 else []

BIN = Path(sys.executable).parent

#: Seconds after which a program hangs, also on a slow machine where others are at work and numba has yet to compile.
LIMIT = 300.0

#: The demo's case, coarse and short: about half a second.
SMALL = (
    (Path(__file__).parents[1] / "stated.toml")
    .read_text(encoding="utf-8")
    .replace("t_end = 0.5 ", "t_end = 0.05")
    .replace("half_width = 14.0", "half_width = 9.0")
    .replace("cells = 32", "cells = 12")
    .replace("tol = 1e-6", "tol = 1e-3")
    .replace("n = 100_000", "n = 2_000")
    .replace("replicas = 20", "replicas = 2")
)


def environment() -> dict[str, str]:
    """Return a user's environment, with this Python's programs found first.

    It has nothing of what an MPI launcher leaves there, and not the number of threads that the suite is given.
    """
    foreign = ("PMI", "MPI", "OMPI", "HYD", "SLURM", "OMP_NUM_THREADS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    # mpirun looks its programs up by name, and no virtual environment need be active.
    return kept | {"PATH": f"{BIN}{os.pathsep}{kept.get('PATH', os.defpath)}"}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a case of some tens of steps, and what ``kspde compare`` writes for it on one rank."""
    directory = tmp_path_factory.mktemp("undisturbed")
    text = SMALL.replace("t_end = 0.05", "t_end = 0.2").replace("tol = 1e-3", "tol = 1e-6")
    (directory / "case.toml").write_text(text, encoding="utf-8")
    assert main(["compare", str(directory / "case.toml"), "--out", str(directory / "result"), "--quiet"]) == 0
    return directory


@pytest.fixture
def small_case(tmp_path: Path) -> Path:
    """The small case as a file."""
    path = tmp_path / "case.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a program of this environment in a temporary directory."""

    def run(program: str, *arguments: object, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN / program), *map(str, arguments)],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        done.stderr = done.stderr.replace(f"{COMPILING}\n", "")  # of whichever test comes first
        return done

    return run


class Program(subprocess.Popen[str]):
    """A program that a test which fails does not wait for."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            self.kill()
        super().__exit__(kind, error, trace)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Program]:
    """Return a function that starts a program of this environment in a temporary directory."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the suite runs in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(program: str, *arguments: object, **options: object) -> Program:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return Program(
            [str(BIN / program), *map(str, arguments)], cwd=tmp_path, env=environment(), text=True, **streams
        )

    return run
