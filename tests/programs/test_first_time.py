"""The first run after an installation says that it compiles, the next ones say nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kspde.runtime.messages import COMPILING

#: Two forms of DOLFINx's.
FORMS = """
import ufl
from kspde.fem import backend
backend.require()
from dolfinx import fem, mesh
from mpi4py import MPI
from kspde.fem.forms import compiled

line = mesh.create_unit_interval(MPI.COMM_WORLD, 4)
v = ufl.TestFunction(fem.functionspace(line, ("Lagrange", 1)))
compiled(v * ufl.dx)
compiled(2 * v * ufl.dx)
"""


def test_compilation_is_announced_once(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "program.py").write_text(FORMS, encoding="utf-8")
    for said in (f"{COMPILING}\n", ""):
        with start("mpirun", "-n", 2, "python", "program.py") as process:
            assert process.communicate(timeout=120) == ("", said)
        assert process.returncode == 0
