"""The command line under mpirun, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_same_numbers_on_one_rank_and_on_two(shell: Callable[..., Any], undisturbed: Path, tmp_path: Path) -> None:
    shutil.copy(undisturbed / "case.toml", tmp_path)
    done = shell("mpirun", "-n", 2, "kspde", "compare", "case.toml", "--out", "result")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("L1 distance  ") == 1
    assert sorted(os.listdir(tmp_path)) == ["case.toml", "result"]
    one, two = (json.loads((at / "result" / "summary.json").read_text("utf-8")) for at in (undisturbed, tmp_path))
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert one["files"] == two["files"]
    for name, value in one["density"]["final"].items():
        assert two["density"]["final"][name] == pytest.approx(value, rel=1e-9, abs=1e-12)
    for distance in ("l1", "relative_entropy"):
        assert two["distance"][distance]["value"] == pytest.approx(one["distance"][distance]["value"], rel=1e-9)
        floor = one["distance"]["floor"][distance]["value"]
        assert two["distance"]["floor"][distance]["value"] == pytest.approx(floor, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "case.toml", "--out", "."], "kspde: error: . exists: give another --out, or --force to replace it"),
        # typer 0.19 writes a colon, later ones quotation marks.
        (["run", "case.toml", "--nonsense"], "kspde: error: no such option:? '?--nonsense"),
    ],
)
def test_an_error_is_said_once(
    shell: Callable[..., Any], small_case: Path, tmp_path: Path, arguments: list[str], line: str
) -> None:
    done = shell("mpirun", "-n", 2, "kspde", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.match(line, done.stderr)
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["case.toml"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ("replicas = 2", "replicas = 3"),
            "kspde: error: case.compare.replicas = 2 on rank 0 and 3 on rank 1: give kspde compare the same on every "
            "rank",
        ),
        (None, "kspde: error: other.toml: cannot be read (No such file or directory): give the path of a case file"),
    ],
)
def test_ranks_that_find_different_cases_are_told(
    shell: Callable[..., Any], small_case: Path, tmp_path: Path, change: tuple[str, str] | None, line: str
) -> None:
    if change is not None:
        (tmp_path / "other.toml").write_text(small_case.read_text("utf-8").replace(*change), encoding="utf-8")
    before = sorted(os.listdir(tmp_path))
    one, other = (("-n", 1, "kspde", "compare", case, "--out", "result") for case in ("case.toml", "other.toml"))
    done = shell("mpirun", *one, ":", *other, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{line}\n")
    assert sorted(os.listdir(tmp_path)) == before


def test_help_is_said_once(shell: Callable[..., Any]) -> None:
    done = shell("mpirun", "-n", 2, "kspde", "--help")
    assert done.returncode == 0
    assert done.stdout.count("Usage:") == 1


#: Runs the command line with a solver that goes wrong on rank 1, while rank 0 waits for it.
BROKEN = """
import sys, kspde.cli, kspde.papers.experiment, kspde.runtime.job
from mpi4py import MPI

def solve(*arguments, **options):
    if MPI.COMM_WORLD.rank == 1:
        raise {error}
    MPI.COMM_WORLD.Barrier()

kspde.papers.experiment.solve = solve
kspde.runtime.job.PATIENCE = 0.5
sys.exit(kspde.cli.main(["run", "case.toml", "--out", "result"]))
"""


def test_an_unexpected_error_on_one_rank_ends_the_job(
    shell: Callable[..., Any], small_case: Path, tmp_path: Path
) -> None:
    done = shell("mpirun", "-n", 2, "python", "-c", BROKEN.format(error="ZeroDivisionError('by rank 1')"))
    assert done.returncode == 1
    assert "kspde: rank 1 of 2 failed, and others did not:\nTraceback" in done.stderr
    assert "ZeroDivisionError: by rank 1" in done.stderr
    assert os.listdir(tmp_path) == ["case.toml"]


def test_an_error_that_one_rank_alone_raises_ends_the_job(
    shell: Callable[..., Any], small_case: Path, tmp_path: Path
) -> None:
    done = shell("mpirun", "-n", 2, "python", "-c", BROKEN.format(error="kspde.InputError('no agreement')"))
    assert done.returncode == 2
    assert "kspde: error: rank 1: case.toml: no agreement" in done.stderr
    assert os.listdir(tmp_path) == ["case.toml"]


#: Ranks that solve each for itself, of which one needs PETSc.
EACH_FOR_ITSELF = """
import kspde
from mpi4py import MPI

box = kspde.Box(half_width=8.0, cells=10, degree=4)
model = kspde.SignalDependentKellerSegel(chi=1.0)
u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.2, 0.2]], stds=[0.7])
scheme = ("adaptive", "rosenbrock")[MPI.COMM_WORLD.rank]
pde = kspde.solve(model, u0, box, t_end=0.01, tol=1e-2, scheme=scheme, comm=MPI.COMM_SELF)
print(f"{pde.evaluate([[0.0, 0.0]])[0]:.3f}", flush=True)
"""


def test_ranks_that_solve_for_themselves_need_not_all_use_petsc(shell: Callable[..., Any]) -> None:
    done = shell("mpirun", "-n", 2, "python", "-c", EACH_FOR_ITSELF, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    one, other = done.stdout.split()
    assert one == other
