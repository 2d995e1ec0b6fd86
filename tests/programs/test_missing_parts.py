"""Machines on which something is missing or too old."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

#: Runs the command line where a module cannot be imported.
WITHOUT = """
import sys
sys.modules["{module}"] = None
from kspde.cli import main
sys.exit(max(main(arguments) for arguments in {commands}))
"""


DISK = """
t_end = 0.01

[model]
kind = "signal-dependent-keller-segel"
chi = 8.0

[initial]
kind = "gaussian-mixture"
weights = [1.0]
means = [[0.3, 0.0]]
stds = [0.6]

[domain]
kind = "disk"
radius = 10.0
size = 0.5
rim_size = 2.0

[density]
tol = 1e-2

[particles]
n = 100
dt = 0.01
"""


@pytest.fixture
def cases(small_case: Path, tmp_path: Path) -> Path:
    """The directory of a case on a box, and of one on a disk, which needs DOLFINx."""
    (tmp_path / "disk.toml").write_text(DISK)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "case"), [("dolfinx", "disk"), ("petsc4py", "disk"), ("basix", "case"), ("mpi4py.MPI", "disk")]
)
def test_without_a_library_one_line_says_how_to_install_it(
    shell: Callable[..., Any], cases: Path, module: str, case: str
) -> None:
    commands = [[command, f"{case}.toml", "--out", "result"] for command in ("run", "compare")]
    done = shell("python", "-c", WITHOUT.format(module=module, commands=commands))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("kspde: error: ")
        assert 'pip install "kspde[fem]"' in line
    assert set(os.listdir(cases)) == {"case.toml", "disk.toml"}


def test_a_box_on_one_process_needs_neither_dolfinx_nor_petsc_nor_mpi(
    shell: Callable[..., Any], small_case: Path, tmp_path: Path
) -> None:
    found = []
    for module in ("dolfinx", "petsc4py", "mpi4py.MPI", "no_such_module"):
        done = shell(
            "python", "-c", WITHOUT.format(module=module, commands=[["compare", "case.toml", "--out", module]])
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / module / "density.vtkhdf").exists()
        found.append(json.loads((tmp_path / module / "summary.json").read_text())["distance"])
    assert all(one == found[-1] for one in found)


#: What a script does on one process: particles, their law's estimate, a file.
PARTICLES = """
import sys
sys.modules["mpi4py.MPI"] = {mpi}
import numpy as np
import kspde

model = kspde.SignalDependentKellerSegel(chi=8.0)
u0 = kspde.GaussianMixture(weights=(1.0,), means=((2.0, -1.0),), stds=(0.5,), mass=3.0)
save = kspde.SaveAt(times=[0.05], statistics=("moments", "minimal_distance"))
cloud = kspde.simulate(model, u0, n=200, t_end=0.1, dt=0.01, eps=0.3, seed=1, save=save)
cloud.write("cloud.h5")
print(repr(float(np.abs(cloud.positions).sum())))
"""


def test_particles_need_no_mpi_library_on_one_process(shell: Callable[..., Any], tmp_path: Path) -> None:
    found = []
    for mpi in ("None", 'sys.modules.get("mpi4py.MPI") or __import__("mpi4py.MPI").MPI'):
        done = shell("python", "-c", PARTICLES.format(mpi=mpi))
        assert done.returncode == 0, done.stderr
        found.append(float(done.stdout))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-13)
    assert os.listdir(tmp_path) == ["cloud.h5"]


def test_several_processes_without_an_mpi_library_are_refused(shell: Callable[..., Any]) -> None:
    # Each of them would take itself for the only one.
    launched = 'import os; os.environ["PMI_SIZE"] = "2"'
    done = shell("python", "-c", launched + PARTICLES.format(mpi="None"))
    assert done.returncode != 0
    assert "so several ranks are not possible: install an MPI library" in done.stderr.splitlines()[-1]


def test_without_a_compiler_one_line_says_what_to_install(
    shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, cases: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no form is compiled already
    monkeypatch.setenv("CC", "no-such-compiler")
    done = shell("kspde", "run", "disk.toml", "--out", "result")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("kspde: error: DOLFINx cannot compile a form (")
    assert "no-such-compiler" in last
    assert "install a C compiler" in last
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("name", ["dolfinx_jit_options.json", "ffcx_options.json"])
def test_a_directory_gives_the_compiler_no_options(shell: Callable[..., Any], cases: Path, name: str) -> None:
    (cases / name).write_text('{"cffi_extra_compile_args": ["-fplugin=/tmp/code.so"]}')
    done = shell("kspde", "run", "disk.toml", "--out", "result")
    assert done.returncode == 2
    assert done.stderr.startswith(f"kspde: error: {name} in the current directory would set compiler options: ")
    assert set(os.listdir(cases)) == {"case.toml", "disk.toml", name}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ('dolfinx.__version__ = "0.9.0"', "DOLFINx 0.9.0 is too old: kspde needs 0.11 or newer"),
        ("petsc4py.PETSc.ScalarType = complex", "this PETSc has complex numbers"),
    ],
)
def test_a_backend_that_would_fail_later_is_refused(
    shell: Callable[..., Any], cases: Path, change: str, line: str
) -> None:
    program = f"""
import dolfinx_solver, dolfinx.fem.petsc, petsc4py.PETSc
{change}
from kspde.cli import main
import sys
sys.exit(main(["run", "disk.toml", "--out", "result"]))
"""
    done = shell("python", "-c", program)
    assert done.returncode == 2
    assert done.stderr.startswith(f"kspde: error: {line}")
    assert done.stderr.count("\n") == 1


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
