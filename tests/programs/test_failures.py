"""Jobs in which one rank fails: they end, in seconds, with a message and a status that is not 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAILING = Path(__file__).parent / "failing.py"
ROOT = Path(__file__).parents[1]

ENDED = "kspde: rank 1 of 2 failed, and others did not:\n"


@pytest.mark.parametrize(
    ("what", "where", "words"),
    [
        ("motility", "disk-positive", "ZeroDivisionError: in the motility"),
        ("progress", "disk", "MemoryError: in the progress"),
        ("callback", "disk-positive", "LookupError: in the callback"),
        ("callback", "particles", "LookupError: in the callback"),
        ("script", "box", "OSError: in the script"),
    ],
)
def test_an_exception_on_one_rank_ends_the_job(
    shell: Callable[..., Any], tmp_path: Path, what: str, where: str, words: str
) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, what, where, tmp_path, timeout=60)
    assert done.returncode == 1
    # A model's function is agreed on: every rank ends by itself, and the rank where it failed says why.
    assert (ENDED in done.stderr) == (what != "motility")
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert sum(line == words for line in done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("what", "where", "words"),
    [
        ("checkpoint", "box-positive", "cannot write checkpoint"),
        ("vtx", "box", "cannot write"),
        ("file", "particles", "cannot write"),
    ],
)
def test_a_disk_that_is_full_on_one_rank_is_said_once(
    shell: Callable[..., Any], tmp_path: Path, what: str, where: str, words: str
) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, what, where, tmp_path, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert f"kspde.errors.InputError: {words}" in done.stderr
    assert "file too large" in done.stderr.lower()


@pytest.mark.parametrize(
    ("how", "status", "words"), [("exit", 3, "SystemExit: 3"), ("words", 1, "SystemExit: no data")]
)
def test_an_exit_on_one_rank_ends_the_job(shell: Callable[..., Any], how: str, status: int, words: str) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, how, "alone", timeout=60)
    assert done.returncode == status
    assert ENDED in done.stderr
    assert words in done.stderr.splitlines()
    assert "in leave" in done.stderr


@pytest.mark.parametrize("which", ["all", "free"])
def test_an_exit_on_one_rank_that_no_other_waits_for_is_none_of_the_others_business(
    shell: Callable[..., Any], which: str
) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, "exit", which, timeout=60)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize(("how", "status"), [("at once", 3), ("killed", 9)])
def test_a_rank_that_is_gone_at_once_ends_the_job(shell: Callable[..., Any], how: str, status: int) -> None:
    # The launcher sees to it; there is nobody left to say why but itself.
    assert shell("mpirun", "-n", 2, "python", FAILING, how, "alone", timeout=60).returncode == status


#: In a suite under mpirun: the first test fails alike on both ranks, the second leaves rank 0 waiting.
SUITE = """
from mpi4py import MPI

def test_that_fails_everywhere():
    assert False

def test_that_fails_on_one():
    assert MPI.COMM_WORLD.rank == 0, "on one rank"
    MPI.COMM_WORLD.Barrier()
"""


def test_a_failed_assertion_on_one_rank_ends_the_suite(
    shell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSPDE_TEST_PATIENCE", "1")
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_suite.py").write_text(SUITE, "utf-8")
    done = shell("mpirun", "-n", 2, "python", "-m", "pytest", "-q", "test_suite.py", timeout=60)
    assert done.returncode == 1
    assert "FAILED on rank 1: test_suite.py::test_that_fails_on_one (call)" in done.stderr
    assert "AssertionError: on one rank" in done.stderr
    assert "test_that_fails_on_one failed on rank 1, another rank is still in it: giving up" in done.stderr
    assert "test_that_fails_everywhere failed" not in done.stderr
