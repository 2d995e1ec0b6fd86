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
        ("callback", "particles", "LookupError: in the callback"),
        ("refused", "box", "kspde.errors.InputError: in the refused"),
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
    assert len(lines) == 8
    kinds = ("checkpoint of the density", "checkpoint of the particles", "vtkhdf", "states")
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


EARLY, DIFFERING = (Path(__file__).parent / name for name in ("early.py", "differing.py"))


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("positions", 1, "kspde.errors.InputError: positions is not an array of numbers: give one of shape (n, n)"),
        ("exit", 3, "SystemExit: 3"),
    ],
)
def test_a_rank_that_fails_before_the_first_collective_call_ends_the_job(
    shell: Callable[..., Any], how: str, status: int, words: str
) -> None:
    done = shell("mpirun", "-n", 2, "python", EARLY, how, timeout=60)
    assert done.returncode == status
    assert "kspde: rank 1 of 2 failed, and others did not" in done.stderr
    assert traceback_of(done.stderr, words)


def test_all_ranks_that_leave_alike_before_the_first_collective_call_just_leave(shell: Callable[..., Any]) -> None:
    done = shell("mpirun", "-n", 2, "python", EARLY, "words", timeout=60)
    assert done.returncode == 1
    assert sorted(done.stderr) == sorted("no data\n" * 2)  # the two ranks' letters may mix


def test_a_rank_that_leaves_in_good_order_while_others_wait_for_it_is_named(shell: Callable[..., Any]) -> None:
    done = shell("mpirun", "-n", 2, "python", EARLY, "leave", timeout=60)
    assert done.returncode == 1
    assert (
        "kspde: rank 1 of 2 has come to the end of its program, and rank 0 waits for it: make the same calls on every "
        "rank\n"
    ) in done.stderr


def test_what_one_rank_finds_wrong_in_a_collective_check_is_said_once(shell: Callable[..., Any]) -> None:
    done = shell("mpirun", "-n", 2, "python", EARLY, "points", timeout=60)
    assert done.returncode == 1
    assert traceback_of(done.stderr, "kspde.errors.InputError: points has shape (1, 3): give shape (n, 2), n >= 1")


def test_different_arguments_are_named_on_every_rank(shell: Callable[..., Any], tmp_path: Path) -> None:
    done = shell("mpirun", "-n", 3, "python", DIFFERING, tmp_path, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    told = dict(line.split(": ", 1) for line in lines)
    assert len(told) == len(lines) == 35  # each call told all ranks the same

    def differ(name: str, first: str, other: str, call: str = "solve") -> str:
        return f"{name} = {first} on rank 0 and {other} on rank 2: give {call} the same on every rank"

    expected = {
        "dt": differ("dt", "0.05", "0.04"),
        "scheme": differ("scheme", "'positive'", "'positive-2'"),
        "t_end": differ("t_end", "0.1", "-1"),
        "tol": differ("tol", "0.01", "0.001"),
        "eps": differ("eps", "None", "0.5"),
        "domain": differ("domain.cells", "8", "24"),
        "chi": differ("model.chi", "2", "3"),
        "motility": differ("model.motility.rate", "1", "2"),
        "saved times": differ("save.times[1]", "nothing", "0.07"),
        "statistics": differ("save.statistics[0]", "nothing", "'fisher_information'"),
        "petsc_options": differ("petsc_options.ts_max_steps", "5", "6"),
        "checkpoint": differ("checkpoint", "None", "Checkpoint"),
        "n": differ("n", "30", "31", "simulate"),
        "seed": differ("seed", "0", "1", "simulate"),
        "replica": differ("replica", "0", "1", "simulate"),
        "mean field": differ("mean_field", "None", "Solution", "simulate"),
        "call": "rank 0 calls solve and rank 2 simulate: make the same calls on every rank",
        "bandwidth": differ("bandwidth", "0.2", "0.3", "compare"),
        "distances": differ("distances[0]", "'l1'", "'nonsense'", "compare"),
        "density": differ("first", "Solution", "GaussianMixture", "compare"),
        "coupled": differ("replicas", "4", "5", "coupled_distance"),
        "entropy": differ("dt", "0.1", "0.05", "entropy_bound"),
        "liouville": differ("n", "2", "3", "liouville"),
        "grid": differ("axes[1]", "[-1.0, 0.0, 1.0]", "[-1.0, 0.0]", "on_grid"),
        "outside": "outside = 'x' is not a number: give a finite number",
        "time": differ("t", "0.05", "0.1", "evaluate"),
        "points": "points has shape (2, 3): give shape (n, 2), n >= 1",
        "signal": "field = 'ghost' is not valid: the model's fields are v",
        "function": "species = 'ghost' is not valid: give one of u",
        "file": "dtype = 'int' is not valid: give one of float32, float64",
        "species": "species = 'ghost' is not valid: give one of u",
    }
    assert {name: told[name] for name in expected} == expected
    assert told["unsaved time"].startswith("t = 7 is not between saved times")
    assert told["weights"].startswith("weights = an array of shape (30,), ")
    assert told["initial density"].startswith("u0.values = an array of shape (5, 5), ")
    assert told["vtkhdf"].endswith("other.vtkhdf' on rank 2: give write_vtkhdf the same on every rank")


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
    for name in ("conftest.py", "mpi_plugin.py"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    (tmp_path / "test_suite.py").write_text(SUITE, "utf-8")
    done = shell("mpirun", "-n", 2, "python", "-m", "pytest", "-q", "test_suite.py")
    assert done.returncode == 1
    assert "FAILED on rank 1: test_suite.py::test_that_fails_on_one (call)" in done.stderr
    assert "AssertionError: on one rank" in done.stderr
    assert "test_that_fails_on_one failed on rank 1, another rank is still in it: giving up" in done.stderr
    assert "test_that_fails_everywhere failed" not in done.stderr
