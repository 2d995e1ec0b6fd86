"""Jobs in which one rank fails: they end, in seconds, with a message and a status that is not 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAILING = Path(__file__).parent / "failing.py"
ROOT = Path(__file__).parents[1]

ENDED = "kspde: rank 1 of 2 failed, and others did not:\n"


def traceback_of(stderr: str, words: str) -> bool:
    """Return whether there is one traceback, and it ends with these words."""
    return stderr.count("Traceback (most recent call last)") == 1 and stderr.splitlines().count(words) == 1


@pytest.mark.parametrize(
    ("what", "where", "words"),
    [
        ("progress", "disk", "MemoryError: in the progress"),
        ("callback", "box-positive", "LookupError: in the callback"),
        ("callback", "particles", "LookupError: in the callback"),
        ("error", "alone", "OSError: in the script"),
    ],
)
def test_an_exception_on_one_rank_ends_the_job(shell: Callable[..., Any], what: str, where: str, words: str) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, what, where)
    assert done.returncode == 1
    assert ENDED in done.stderr
    assert traceback_of(done.stderr, words)


def test_a_models_function_that_fails_on_one_rank_is_agreed_on(shell: Callable[..., Any]) -> None:
    """Every rank ends by itself, and the rank where it failed says why."""
    done = shell("mpirun", "-n", 2, "python", FAILING, "motility", "disk-positive")
    assert done.returncode == 1
    assert ENDED not in done.stderr
    assert traceback_of(done.stderr, "ZeroDivisionError: in the motility")


def test_a_disk_that_is_full_on_one_rank_is_refused_on_all(shell: Callable[..., Any], tmp_path: Path) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, "full", tmp_path)
    assert done.returncode == 1
    lines = done.stdout.lower().splitlines()
    assert len(lines) == 10
    kinds = ("checkpoint of the density", "checkpoint of the particles", "vtx", "xdmf", "states")
    for kind, line, again in zip(kinds, lines[::2], lines[1::2], strict=True):
        assert line == again
        assert line.startswith(f"{kind}: cannot write")
        assert "file too large" in line
    # The last one is not caught: it is said once.
    assert ENDED not in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert done.stderr.count("kspde.errors.InputError: cannot write") == 1


@pytest.mark.parametrize(
    ("how", "status", "words"), [("exit", 3, "SystemExit: 3"), ("words", 1, "SystemExit: no data")]
)
def test_an_exit_on_one_rank_ends_the_job(shell: Callable[..., Any], how: str, status: int, words: str) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, how, "alone")
    assert done.returncode == status
    assert ENDED in done.stderr
    assert words in done.stderr.splitlines()
    assert "in leave" in done.stderr


@pytest.mark.parametrize("which", ["all", "free"])
def test_an_exit_on_one_rank_that_no_other_waits_for_is_none_of_the_others_business(
    shell: Callable[..., Any], which: str
) -> None:
    done = shell("mpirun", "-n", 2, "python", FAILING, "exit", which)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize(("how", "status"), [("at once", 3), ("killed", 9)])
def test_a_rank_that_is_gone_at_once_ends_the_job(shell: Callable[..., Any], how: str, status: int) -> None:
    # The launcher sees to it; there is nobody left to say why but itself.
    assert shell("mpirun", "-n", 2, "python", FAILING, how, "alone").returncode == status


#: In a suite under mpirun: the second test fails alike on both ranks, the third leaves rank 0 waiting.
SUITE = """
from mpi4py import MPI

def test_that_both_begin_with():
    pass

def test_that_fails_everywhere():
    assert False

def test_that_fails_on_one():
    assert MPI.COMM_WORLD.rank == 0, "on one rank"
    MPI.COMM_WORLD.Barrier()
"""


def test_a_failed_assertion_on_one_rank_ends_the_suite(
    shell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSPDE_TEST_PATIENCE", "2")
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_suite.py").write_text(SUITE, "utf-8")
    done = shell("mpirun", "-n", 2, "python", "-m", "pytest", "-q", "test_suite.py")
    assert done.returncode == 1
    assert "FAILED on rank 1: test_suite.py::test_that_fails_on_one (call)" in done.stderr
    assert "AssertionError: on one rank" in done.stderr
    assert "test_that_fails_on_one failed on rank 1, another rank is still in it: giving up" in done.stderr
    assert "test_that_fails_everywhere failed" not in done.stderr
