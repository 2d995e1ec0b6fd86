"""Checkpoint files: what is written is found again, and nothing else."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import kspde
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore, _digest
from kspde.runtime.hdf5 import h5py

PROBLEM = {"model": "test", "seed": 1, "n": {"u": 11}}


def rows(comm, n=11):
    first, last = n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size
    return first, last, np.arange(2.0 * n).reshape(n, 2)[first:last]


def write(directory, comm, steps=(3,), problem=PROBLEM):
    store = CheckpointStore(Checkpoint(directory), problem, comm)
    store.latest()
    for step in steps:
        store.write(step, parts={"x": rows(comm)[2] + step}, shared={"history": np.full((2, 3), float(step))})
    return store


def names(directory, comm):
    comm.barrier()
    found = sorted(os.listdir(directory))
    comm.barrier()
    return found


def test_what_is_written_is_found_and_two_are_kept(shared_tmp_path, comm):
    directory = shared_tmp_path / "made" / "here"
    assert CheckpointStore(Checkpoint(directory), PROBLEM, comm).latest() is None
    write(directory, comm, steps=(3, 7, 12))
    assert names(directory, comm) == ["checkpoint-0000000007.h5", "checkpoint-0000000012.h5"]
    saved = CheckpointStore(Checkpoint(directory), PROBLEM, comm).latest()
    assert saved.step == 12
    assert np.array_equal(saved.shared["history"], np.full((2, 3), 12.0))
    first, last, x = rows(comm)
    assert np.array_equal(saved.part("x", first, last), x + 12)
    assert np.array_equal(saved.part("x", 2, 9), np.arange(22.0).reshape(11, 2)[2:9] + 12)
    # A file that HDF5's own tools read.
    with h5py.File(saved.path) as file:
        assert file.attrs["step"] == 12
    comm.barrier()
    write(directory, comm, steps=(13,))
    assert names(directory, comm) == ["checkpoint-0000000012.h5", "checkpoint-0000000013.h5"]


def test_a_file_is_forced_to_the_disk_before_it_gets_its_name(shared_tmp_path, comm, monkeypatch):
    """Room first, then the whole file with its checksum, then the name, then the directory: a crash leaves no half."""
    store = write(shared_tmp_path, comm, steps=(3,))
    path = shared_tmp_path / "checkpoint-0000000003.h5"
    done = []

    def fsync(handle, real=os.fsync):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            done.append("directory")
        else:
            assert os.pread(handle, 16, 0) == b"kspde checkpoint"  # the head is not in Python's buffer any more
            done.append("file")
        real(handle)

    def replace(mine, other, real=Path.replace):
        assert (mine.parent, other) == (path.parent, path)
        assert mine != path
        assert path.exists()
        done.append("name")
        return real(mine, other)

    def reserve(handle, first, size):
        assert size >= 2 * 800_000  # what all ranks have
        done.append("room")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(os, "posix_fallocate", reserve)
    first, last, x = rows(comm, 50_000)
    store.write(3, parts={"x": x + 1}, shared={"history": np.zeros(100_000)})
    assert done == (["room", "file", "name", "directory"] if comm.rank == 0 else [])
    np.testing.assert_array_equal(store.latest().part("x", first, last), x + 1)


def test_a_step_written_twice_costs_no_other(shared_tmp_path, comm):
    write(shared_tmp_path, comm, steps=(3, 7, 7))
    assert names(shared_tmp_path, comm) == ["checkpoint-0000000003.h5", "checkpoint-0000000007.h5"]


def test_every_byte_counts_in_the_checksum():
    zeros = bytearray(5 << 20)
    before = _digest(io.BytesIO(zeros))
    zeros[-1] = 1
    assert _digest(io.BytesIO(zeros)) != before


def test_types_are_kept(shared_tmp_path, comm):
    store = CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm)
    ids = np.arange(comm.rank, comm.rank + 1, dtype=np.uint64)
    store.write(1, parts={"ids": ids, "f": ids.astype(np.float32)}, shared={"one": np.array(1.5)})
    saved = CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm).latest()
    assert saved.part("ids", 0, comm.size).dtype == np.uint64
    assert saved.part("f", 0, comm.size).tolist() == list(range(comm.size))
    assert saved.shared["one"] == 1.5


@pytest.mark.parametrize("damage", ["cut", "byte", "head", "empty", "text"])
def test_a_damaged_file_is_named_and_the_one_before_is_used(shared_tmp_path, comm, damage):
    write(shared_tmp_path, comm, steps=(3, 7))
    path = shared_tmp_path / "checkpoint-0000000007.h5"
    if comm.rank == 0:
        whole = bytearray(path.read_bytes())
        if damage == "byte":
            whole[len(whole) // 2] ^= 1
        elif damage == "head":
            whole[45] ^= 1
        path.write_bytes({"cut": whole[:-100], "empty": b"", "text": b"hello"}.get(damage, bytes(whole)))
    comm.barrier()
    store = CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm)
    if comm.rank == 0:
        with pytest.warns(UserWarning, match=r"checkpoint .*checkpoint-0000000007\.h5 is damaged"):
            saved = store.latest()
    else:
        saved = store.latest()
    assert saved.step == 3
    # The next one takes the damaged one's place, not the good one's.
    store.write(9, parts={}, shared={})
    store.write(10, parts={}, shared={})
    assert names(shared_tmp_path, comm) == ["checkpoint-0000000009.h5", "checkpoint-0000000010.h5"]


def test_damaged_files_alone_are_refused_by_name(shared_tmp_path, comm):
    write(shared_tmp_path, comm, steps=(3, 7))
    if comm.rank == 0:
        for path in shared_tmp_path.iterdir():
            path.write_bytes(path.read_bytes()[:-1])
    comm.barrier()
    with pytest.raises(kspde.InputError, match=r"0007\.h5 is damaged .*: there is no good one before it, remove it"):
        CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm).latest()
    assert len(names(shared_tmp_path, comm)) == 2


def test_a_foreign_file_is_refused_by_name(shared_tmp_path, comm):
    write(shared_tmp_path, comm, steps=(3,))
    other = {**PROBLEM, "seed": 2}
    with pytest.raises(
        kspde.InputError, match=r"checkpoint-0000000003\.h5 is of another problem \(seed = 1 there, 2 here\)"
    ):
        CheckpointStore(Checkpoint(shared_tmp_path), other, comm).latest()
    assert names(shared_tmp_path, comm) == ["checkpoint-0000000003.h5"]


def test_a_foreign_file_beside_a_good_one_stays(shared_tmp_path, comm):
    """What one problem has more than the other tells them apart, too."""
    more = {**PROBLEM, "eps": 0.3}
    write(shared_tmp_path, comm, steps=(3,), problem=more)
    for problem, words in ((PROBLEM, "eps = 0.3 there, null here"), (more | {"dt": 1}, "dt = null there, 1 here")):
        with pytest.raises(kspde.InputError, match=words):
            CheckpointStore(Checkpoint(shared_tmp_path), problem, comm).latest()
    CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm).write(5, parts={}, shared={})
    store = CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm)
    if comm.rank == 0:
        with pytest.warns(UserWarning, match="0003.h5 is of another problem .*: it is not used"):
            assert store.latest().step == 5
    else:
        assert store.latest().step == 5
    for step in (6, 7):
        store.write(step, parts={}, shared={})
    assert names(shared_tmp_path, comm) == [f"checkpoint-000000000{step}.h5" for step in (3, 6, 7)]


def test_what_is_no_checkpoint_is_said(shared_tmp_path, comm):
    if comm.rank == 0:
        (shared_tmp_path / "checkpoint-0000000003.h5").write_text("notes")
    comm.barrier()
    with pytest.raises(kspde.InputError, match=r"damaged \(it does not begin like one\)"):
        CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm).latest()


def test_a_full_disk_is_said_on_every_rank(shared_tmp_path, comm, monkeypatch):
    store = write(shared_tmp_path, comm, steps=(3,))

    def full(handle, first, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(kspde.InputError, match=r"cannot write checkpoint .*0005\.h5: No space left on device"):
        store.write(5, parts={"x": rows(comm)[2]}, shared={})
    assert names(shared_tmp_path, comm) == ["checkpoint-0000000003.h5"]


def test_a_write_that_fails_leaves_the_others(shared_tmp_path, comm):
    store = write(shared_tmp_path, comm, steps=(3,))
    if comm.rank == 0:  # no file can take the place of a directory
        (shared_tmp_path / "checkpoint-0000000005.h5").mkdir()
    comm.barrier()
    with pytest.raises(kspde.InputError, match=r"cannot write checkpoint .*checkpoint-0000000005\.h5"):
        store.write(5, parts={"x": rows(comm)[2]}, shared={})
    assert names(shared_tmp_path, comm) == ["checkpoint-0000000003.h5", "checkpoint-0000000005.h5"]
    if comm.rank == 0:
        (shared_tmp_path / "checkpoint-0000000005.h5").rmdir()
    comm.barrier()
    assert CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm).latest().step == 3


def test_when_one_is_due(shared_tmp_path, comm):
    assert CheckpointStore(Checkpoint(shared_tmp_path, every=0), PROBLEM, comm).due()
    store = CheckpointStore(Checkpoint(shared_tmp_path, every=3600), PROBLEM, comm)
    assert not store.due()
    before = signal.getsignal(signal.SIGTERM)
    with store:
        if comm.rank == comm.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        assert store.due()
        assert store.stopping
    assert signal.getsignal(signal.SIGTERM) is before
    failed, other = [], CheckpointStore(Checkpoint(shared_tmp_path), PROBLEM, comm)

    def elsewhere():
        try:
            with other:
                pass
        except ValueError as error:  # signal works in the main thread only
            failed.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert not failed


def test_a_clock_that_has_not_moved(shared_tmp_path, comm, monkeypatch):
    """every=0 is after every step, however coarse the clock; what was written counts from its end."""
    clock = Clock(comm)
    monkeypatch.setattr("kspde.runtime.checkpoint.time", clock)
    assert CheckpointStore(Checkpoint(shared_tmp_path, every=0), PROBLEM, comm).due()
    store = CheckpointStore(Checkpoint(shared_tmp_path, every=10), PROBLEM, comm)
    clock.now += 10.0 if comm.rank == 0 else 0.0  # the others' clocks do not count
    assert store.due()
    store.write(1, parts={}, shared={})
    clock.now += 9.0 if comm.rank == 0 else 99.0
    assert not store.due()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"directory": 3}, "directory is a int: give a path"),
        ({"directory": "x", "every": -1.0}, "every = -1.0 is not valid"),
        ({"directory": "x", "every": "10"}, "every = '10' is not a number"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(kspde.InputError, match=message):
        Checkpoint(**arguments)


def test_a_directory_that_cannot_be_made(comm):
    with pytest.raises(kspde.InputError, match="cannot make the directory /proc/nowhere"):
        CheckpointStore(Checkpoint("/proc/nowhere"), PROBLEM, comm)


class Clock:
    """Wall time that passes as it is told, differently on each rank: what rank 0's clock says counts."""

    def __init__(self, comm) -> None:
        self.now = 1000.0 * comm.rank

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("backend", ["density", "particles"])
def test_checkpoints_follow_wall_time(shared_tmp_path, comm, monkeypatch, backend):
    """With steps of 3 s and one checkpoint every 10 s, every fourth step writes one: 3, 6, 9, 12 ≥ 10."""
    clock = Clock(comm)
    monkeypatch.setattr("kspde.runtime.checkpoint.time", clock)
    written = []
    write = CheckpointStore.write

    def noted(store, step, **arrays):
        written.append(step)
        return write(store, step, **arrays)

    monkeypatch.setattr(CheckpointStore, "write", noted)
    steps = []

    def progress(done: float) -> None:
        steps.append(done)
        # Rank 1's clock is slow, and that of a third rank stands still.
        clock.now += {0: 3.0, 1: 0.5}.get(comm.rank, 0.0)

    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.8])
    model = kspde.SignalDependentKellerSegel(chi=1.0)
    checkpoint = Checkpoint(shared_tmp_path, every=10.0)
    if backend == "density":
        box = kspde.Box(half_width=6.0, cells=24, degree=1)
        kspde.solve(
            model, u0, box, t_end=0.2, scheme="positive", dt=0.01, progress=progress, checkpoint=checkpoint
        )  # fmt: skip
        assert steps[0] == 0.0  # the start is reported too, and takes its 3 s
        expected = [3, 7, 11, 15, 19]
    else:
        kspde.simulate(
            model, u0, n=50, t_end=0.2, dt=0.01, eps=0.5, progress=progress, checkpoint=checkpoint
        )  # fmt: skip
        expected = [4, 8, 12, 16]
    assert written == expected
    assert comm.allgather(written) == [expected] * comm.size
    assert names(shared_tmp_path, comm) == [f"checkpoint-{step:010d}.h5" for step in expected[-2:]]


@pytest.mark.parametrize("backend", ["density", "particles"])
def test_checkpoints_at_an_interval_of_real_time(shared_tmp_path, comm, monkeypatch, backend):
    """Steps that take 20 ms, a checkpoint every 100 ms: at most one in five steps, and some."""
    written = []
    write = CheckpointStore.write

    def noted(store, step, **arrays):
        written.append(step)
        return write(store, step, **arrays)

    monkeypatch.setattr(CheckpointStore, "write", noted)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.8])
    model = kspde.SignalDependentKellerSegel(chi=1.0)
    options = {
        "t_end": 0.3,
        "dt": 0.01,
        "checkpoint": Checkpoint(shared_tmp_path, every=0.1),
        "progress": lambda done: time.sleep(0.02),
    }
    begin = time.monotonic()
    if backend == "density":
        kspde.solve(model, u0, kspde.Box(half_width=6.0, cells=24, degree=1), scheme="positive", **options)
    else:
        kspde.simulate(model, u0, n=50, eps=0.5, **options)
    assert 2 <= len(written) <= (time.monotonic() - begin) / 0.1
    assert comm.allgather(written) == [written] * comm.size
    assert len(names(shared_tmp_path, comm)) == 2
