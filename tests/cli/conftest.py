"""The command line inside the test's own process, on all of its ranks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kspde.cli import main
from kspde.plots import densities as pictures

#: The demo's case with a coarse mesh, a short time and few particles.
SMALL = (
    (Path(__file__).parents[1] / "stated.toml")
    .read_text(encoding="utf-8")
    .replace("t_end = 0.5 ", "t_end = 0.05")
    .replace("half_width = 14.0", "half_width = 9.0")
    .replace("cells = 32", "cells = 12")
    .replace("tol = 1e-6", "tol = 1e-3")
    .replace("n = 100_000", "n = 500")
    .replace("replicas = 20", "replicas = 2")
)


@dataclass(frozen=True)
class Outcome:
    """What a command did on this rank: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def kspde_command(capfd: pytest.CaptureFixture[str], comm: Any) -> Callable[..., Outcome]:
    """Return a function that runs the command line, on all ranks."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        comm.Barrier()
        status = main([str(a) for a in arguments])
        comm.Barrier()
        return Outcome(status, *capfd.readouterr())

    return run


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: what is looked at is elsewhere."""
    for name in (name for name in pictures.__all__ if name.startswith("plot_")):
        monkeypatch.setattr(pictures, name, lambda *_, **__: None)


@pytest.fixture
def small_case() -> str:
    """The text of the small case."""
    return SMALL


@pytest.fixture
def case_file(write_changed: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes the small case with some things changed: old, new, old, new, ..."""
    return partial(write_changed, "case.toml", SMALL)


@pytest.fixture
def refused(kspde_command: Callable[..., Outcome], shared_tmp_path: Path, comm: Any) -> Callable[..., str]:
    """Return a function that runs a command that must fail, and returns the one line it fails with.

    The line must stand on rank 0's standard error alone, and nothing may be left beside the case file.
    """

    def present() -> list[str]:
        return sorted({*os.listdir(shared_tmp_path)} - {"__pycache__"})  # of a package that a test puts there

    def run(*arguments: object, status: int = 2) -> str:
        before = present()
        outcome = kspde_command(*arguments)
        assert present() == before
        assert outcome.status == status
        if comm.rank == 0:
            assert outcome.err.startswith("kspde: error: ")
            assert outcome.err.count("\n") == 1
        else:
            assert outcome.err == ""
        line: str = comm.bcast(outcome.err)
        return line.removeprefix("kspde: error: ").rstrip("\n").replace(f"{shared_tmp_path}/", "")

    return run
