"""Machines on which something is missing or too old."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

#: Runs the command line where a module cannot be imported.
WITHOUT = """
import sys
sys.modules["{module}"] = None
from kspde.cli import main
sys.exit(max(main(arguments) for arguments in {commands}))
"""


@pytest.mark.parametrize("module", ["dolfinx", "petsc4py", "mpi4py.MPI"])
def test_without_a_library_one_line_says_how_to_install_it(
    shell: Callable[..., Any], small_case: Path, tmp_path: Path, module: str
) -> None:
    commands = [[command, "case.toml", "--out", "result"] for command in ("run", "compare")]
    done = shell("python", "-c", WITHOUT.format(module=module, commands=commands))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("kspde: error: ")
        assert 'pip install "kspde[fem]"' in line
    assert os.listdir(tmp_path) == ["case.toml"]


def test_without_mpi_there_is_still_help(shell: Callable[..., Any]) -> None:
    done = shell("python", "-c", WITHOUT.format(module="mpi4py", commands=[["--help"]]))
    assert done.returncode == 0
    assert "Usage: kspde" in done.stdout


@pytest.mark.parametrize(("version", "found"), [("3.11 ", "is 3.11"), ("", "does not run")])
def test_make_names_the_python_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, found: str
) -> None:
    old = tmp_path / "old python"
    old.write_text(f"#!/bin/sh\necho '{version}'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = subprocess.run(
        ["make", "-C", ROOT, "demo", "PYTHON=old python"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert f"kspde needs Python >= 3.12, but old python {found}:" in done.stderr
    assert done.stderr.count("\n") == 1
