"""The checkpoints that an interrupted run of the command line has left, and the next run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kspde
from kspde.cli.console import Console
from kspde.cli.hidden import RunCheckpoints


def entered(target: Path, comm: Any, **options: bool) -> RunCheckpoints:
    return RunCheckpoints(target, comm, Console(comm, quiet=True), every=60.0, **options)


@pytest.fixture
def left(shared_tmp_path: Path, comm: Any) -> Path:
    """A checkpoint with many steps behind it, beside the directory that was to hold the result."""
    path = shared_tmp_path / ".result.checkpoints" / "density" / "checkpoint-0000000900.h5"
    if comm.rank == 0:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    comm.Barrier()
    return path


def test_a_run_that_begins_again_leaves_none_of_the_earlier_ones(left: Path, comm: Any) -> None:
    """Else --resume would go on from them later: they have more steps than what the second run has written."""
    target = left.parents[2] / "result"
    with pytest.raises(kspde.InputError, match="an earlier run has left checkpoints"):
        entered(target, comm, resume=False, force=False).__enter__()
    assert left.exists()
    comm.Barrier()
    with entered(target, comm, resume=False, force=True) as restarts:
        comm.Barrier()
        assert not left.exists()
        assert restarts.options("density")["resume"] is False


def test_a_run_that_goes_on_finds_them_and_keeps_them_until_it_succeeds(left: Path, comm: Any) -> None:
    def fail() -> None:
        with entered(left.parents[2] / "result", comm, resume=True, force=False) as restarts:
            options = restarts.options("density")
            assert options["resume"] is True
            assert Path(options["checkpoint"].directory) == left.parent
            comm.Barrier()
            raise kspde.ConvergenceError("step 901")

    with pytest.raises(kspde.ConvergenceError):
        fail()
    comm.Barrier()
    assert left.exists()
    comm.Barrier()
    with entered(left.parents[2] / "result", comm, resume=True, force=False):
        comm.Barrier()
    comm.Barrier()
    assert not left.parents[1].exists()
