"""Errors that all ranks share, last words, and the threads of a rank."""

from __future__ import annotations

import _thread
import os
import signal
from concurrent.futures import BrokenExecutor
from functools import partial
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest

import kspde
from kspde.runtime.job import RankEnd, last_words
from kspde.runtime.parallel import (
    all_or_none,
    check_same,
    collective,
    communicator,
    limited_threads,
    on_all_ranks,
    same_on_all,
    threads_per_rank,
    together,
)
from kspde.runtime.values import values_of
from kspde.runtime.workers import Workers


class StrangeError(Exception):
    """An error of the user's own."""


@pytest.fixture
def apart(comm):
    """A communicator whose messages meet no others."""
    own = comm.Dup()
    yield own
    own.Free()


def fail_on(rank, comm, error):
    with together(comm):
        if comm.rank == rank:
            raise error


def test_what_the_last_rank_raises_all_raise(comm):
    last = comm.size - 1
    with pytest.raises(kspde.MissingBackendError, match=r"^not here$") as caught:
        fail_on(last, comm, kspde.MissingBackendError("not here"))
    assert caught.value.rank == (None if comm.rank == last else last)
    # The class of a user's own error need not be known elsewhere.
    kind, words = (StrangeError, "odd") if comm.rank == last else (kspde.InputError, f"rank {last}: StrangeError: odd")
    with pytest.raises(kind, match=f"^{words}$") as caught:
        fail_on(last, comm, StrangeError("odd"))
    assert on_all_ranks(comm, caught.value)


class Thing:
    """Something of the user's own, which keeps what it was made with."""

    def __init__(self, rate, name="thing") -> None:
        self._rate, self.name = rate, name
        self.calls = object()


def power(exponent):
    return lambda x: x**exponent


def test_things_are_described_by_what_they_hold():
    value = {"b": [1.0, np.float32(0.5)], "a": Thing(3), "f": power(2), "x": np.arange(4.0), "p": partial(power, 3)}
    assert values_of("v", value) == {
        "v": "dict",
        "v.a": "Thing",
        "v.a.code": values_of("v", Thing(0))["v.code"],
        "v.a.rate": 3,
        "v.a.name": "thing",
        "v.b": "list",
        "v.b[0]": 1,
        "v.b[1]": 0.5,
        "v.f": f"{__name__}.power.<locals>.<lambda>",
        "v.f.code": values_of("v", power(3))["v.code"],
        "v.f.exponent": 2,
        "v.p": "partial",
        "v.p.func": f"{__name__}.power",
        "v.p.args": "tuple",
        "v.p.func.code": values_of("v", power)["v.code"],
        "v.p.args[0]": 3,
        "v.p.keywords": "dict",
        "v.x": [0.0, 1.0, 2.0, 3.0],
    }
    for one, other in (
        (np.arange(50.0), np.arange(50.0) + 1e-15),
        (np.zeros((4, 5)), np.zeros((5, 4))),
        (list(range(20)), list(range(1, 21))),
        ([[i, i] for i in range(20)], [[i, i + 1] for i in range(20)]),
        (kspde.GridDensity(np.ones((9, 9)), (-1, 1, -1, 1)), kspde.GridDensity(np.ones((9, 9)), (-1, 1, -1, 2))),
        (kspde.SaveAt(times=[1.0]), kspde.SaveAt(times=[2.0])),
        (kspde.Box(half_width=8.0, cells=8), kspde.Box(half_width=8.0, cells=9)),
    ):
        assert values_of("v", one) == values_of("v", one)
        assert values_of("v", one) != values_of("v", other)


def test_what_goes_round_in_circles_ends():
    thing = Thing(0)
    thing._rate = [thing]
    assert len(values_of("v", thing)) < 100


def test_values_that_differ_are_named(comm):
    with together(comm, "it") as same:
        same(a=1, b=[2.0, 3.0])
    check_same(comm, "it", order={"x": 1, "y": 2} if comm.rank else {"y": 2, "x": 1})
    assert same_on_all(comm, np.arange(3.0))
    if comm.size == 1:
        return
    assert not same_on_all(comm, np.arange(3.0) + comm.rank)
    assert not same_on_all(comm, np.zeros((2, 3) if comm.rank else (3, 2)))
    line = "^b = 0 on rank 0 and 1 on rank 1: give it the same on every rank$"
    with pytest.raises(kspde.InputError, match=line) as caught:
        check_same(comm, "it", a=1, b=comm.rank)
    assert on_all_ranks(comm, caught.value)

    def fail() -> None:
        with together(comm, "it") as same:
            same(b=comm.rank)
            if comm.rank:
                raise kspde.InputError("bad")

    with pytest.raises(kspde.InputError, match=r"^bad$"):  # comes first
        fail()
    functions = [lambda x: x, lambda x: 2 * x]
    with pytest.raises(kspde.InputError, match=r"^the code of weights differs between rank 0 and rank 1: give it the"):
        check_same(comm, "it", weights=functions[min(comm.rank, 1)])
    with pytest.raises(kspde.InputError, match=r"^rank 0 calls f0 and rank 1 f1: make the same calls"):
        check_same(comm, f"f{comm.rank}", a=1)


def test_arguments_of_a_collective_function(comm):
    @collective(own=("progress",), rows=("points",))
    def function(points, *, dt=0.1, progress=None, comm=None):
        return dt

    assert function(np.zeros(comm.rank), progress=comm.rank, dt=0.1) == function(np.zeros(3)) == 0.1
    if comm.size > 1:
        with pytest.raises(kspde.InputError, match=r"^dt = 0 on rank 0 and 1 on rank 1: give function the same"):
            function(np.zeros(2), dt=comm.rank, comm=comm)


def test_a_communicator_of_ones_own(comm, apart):
    assert communicator(apart) is apart
    assert communicator() == comm


def test_each_rank_keeps_its_own_error(comm):
    with pytest.raises(StrangeError, match=f"^of {comm.rank}$"), together(comm):
        raise StrangeError(f"of {comm.rank}")
    with together(comm):
        pass
    assert comm.allreduce(1) == comm.size  # nobody is left behind in a collective call


def test_which_errors_all_ranks_are_known_to_have(comm):
    assert on_all_ranks(comm, None)
    assert on_all_ranks(comm, kspde.InputError("bad"))
    assert on_all_ranks(comm, StrangeError()) == (comm.size == 1)
    assert on_all_ranks(SimpleNamespace(size=1), StrangeError())
    assert not on_all_ranks(SimpleNamespace(size=2), StrangeError())


def test_a_users_error_on_all_ranks_is_agreed_on(apart):
    for error in (StrangeError("everywhere"), kspde.InputError("everywhere")):
        with pytest.raises(type(error)) as caught, all_or_none(apart):
            raise error
        assert caught.value is error
        assert on_all_ranks(apart, error)


def test_last_words_of_all(apart, monkeypatch):
    monkeypatch.setattr("kspde.runtime.job.PATIENCE", 5.0)
    said = last_words(apart, f"{'x' * 5000} rank {apart.rank}")
    assert [line.lstrip("x") for line in said] == [f" rank {rank}" for rank in range(apart.size)]
    assert {len(line) for line in said} == {4000}


def test_a_rank_that_does_not_come_is_not_waited_for(apart, monkeypatch):
    monkeypatch.setattr("kspde.runtime.job.PATIENCE", 0.05)
    if apart.size > 1:
        if apart.rank == 0:
            assert last_words(apart, "alone") is None
        apart.Barrier()
        if apart.rank == 1:
            assert last_words(apart, "alone") is None
        apart.Barrier()
        if apart.rank == 0:  # takes what is left of it
            assert apart.recv(source=1, tag=32_693) == "alone"


class Ending(RankEnd):
    """Rank 1 of 2 at its end; ``everyone`` is what the ranks turn out to say."""

    def __init__(self, monkeypatch, everyone) -> None:
        monkeypatch.setenv("PMI_SIZE", "2")
        monkeypatch.setenv("KSPDE_RANK_PROCESS", str(os.getpid()))
        self.printed: list[str] = []
        super().__init__(lambda *error: self.printed.append(str(error[1])))
        self.met = True
        self.exchanged: list[str] = []
        self.ended: list[int] = []

        def exchange(comm, said, *, leaving=False):
            self.exchanged.append(said)
            self.leaving = leaving
            return everyone

        monkeypatch.setattr("kspde.runtime.job.last_words", exchange)
        monkeypatch.setattr("kspde.runtime.job.end_job", lambda comm, status: self.ended.append(status))
        monkeypatch.setattr("kspde.runtime.job._world", lambda: SimpleNamespace(rank=1, size=2))

    def meet(self, error) -> None:
        self.uncaught(type(error), error, None)


def test_what_all_ranks_raise_is_said_once(monkeypatch):
    line = "ValueError: everywhere\n"
    for everyone, printed in (([line, line], []), (["ValueError: elsewhere\n", line], ["everywhere"])):
        ending = Ending(monkeypatch, everyone)
        ending.meet(ValueError("everywhere"))
        ending.leave()  # all is said
        assert (ending.printed, ending.exchanged, ending.ended) == (printed, [line], [])


def test_one_rank_says_what_others_raise_as_copies(monkeypatch):
    """The rank where it arose, which has a traceback to tell; a copy's rank only if that one is silent."""
    line = "kspde.errors.InputError: bad\n"
    copy = f"copy of: {line}"
    for original, everyone, printed in (
        (None, [copy, line], ["bad"]),
        (None, [line, line], []),
        (line, [line, copy], []),
        (line, ["", copy], ["bad"]),
        (line, [copy, copy], []),
    ):
        ending, error = Ending(monkeypatch, everyone), kspde.InputError("bad")
        if original is not None:
            error.copy_of = original
        ending.meet(error)
        assert (ending.printed, ending.exchanged) == (printed, [everyone[1]])


def test_a_rank_that_fails_alone_ends_the_job(monkeypatch, capsys):
    ending = Ending(monkeypatch, None)
    ending.meet(ValueError("alone"))
    assert ending.ended == [1]
    assert capsys.readouterr().err == "kspde: rank 1 of 2 failed, and others did not:\nValueError: alone\n"
    for everyone, failed, ended in ((None, (3, "exit"), [3]), (["", ""], (3, "exit"), []), (None, (0, ""), [])):
        ending = Ending(monkeypatch, everyone)
        ending.status, ending.text = failed
        ending.leave()
        assert (ending.exchanged, ending.ended) == ([failed[1]], ended)
        assert ending.leaving == (failed[0] == 0)  # who waits for this rank is told


def test_after_the_end_of_mpi_or_in_a_forked_process_nothing_is_exchanged(monkeypatch):
    for where in ("fork", "finalized"):
        ending = Ending(monkeypatch, None)
        ending.status, ending.text = 3, "exit"
        with monkeypatch.context() as patch:
            if where == "fork":
                ending.process += 1
            else:
                patch.setattr("mpi4py.MPI.Is_finalized", lambda: True)
            ending.leave()
            ending.meet(ValueError("late"))
        assert (ending.exchanged, ending.ended, ending.printed) == ([], [], ["late"])


def test_the_status_a_program_is_left_with(monkeypatch):
    ending = Ending(monkeypatch, None)
    for error, status in ((SystemExit(3), 3), (SystemExit("no data"), 1), (SystemExit(), 0), (OSError("lost"), 1)):
        with monkeypatch.context() as patch:
            patch.setattr("sys._getframe", lambda depth: SimpleNamespace(f_back=None))  # the outermost
            ending.unwound(None, 0, error)
        assert ending.status == status
        assert str(error) in ending.text


def test_an_exit_that_is_caught_or_of_another_thread_is_none(monkeypatch):
    words = Ending(monkeypatch, None)
    words.unwound(None, 0, SystemExit(7))  # out of a frame that is not the outermost
    ended = SimpleQueue()

    def elsewhere() -> None:  # an outermost frame
        words.unwound(None, 0, SystemExit(7))
        ended.put(None)

    _thread.start_new_thread(elsewhere, ())
    ended.get(timeout=10)
    assert (words.status, words.text) == (0, "")


@pytest.mark.parametrize(
    ("environment", "size", "threads"),
    [
        ({}, 1, 8),
        ({}, 3, 2),
        ({}, 20, 1),
        ({"MPI_LOCALNRANKS": "4"}, 3, 2),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "8"}, 16, 1),
        ({"MV2_COMM_WORLD_LOCAL_SIZE": "2"}, 16, 4),
        ({"OMP_NUM_THREADS": "5", "MPI_LOCALNRANKS": "4"}, 3, 5),
        ({"OMP_NUM_THREADS": "0"}, 2, 4),
        ({"OMP_NUM_THREADS": "4,2"}, 2, 4),
    ],
)
def test_threads_of_a_rank(monkeypatch, environment, size, threads):
    for name in ("OMP_NUM_THREADS", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    assert threads_per_rank(SimpleNamespace(size=size)) == threads


def test_matrix_products_keep_to_the_ranks_threads(comm, monkeypatch):
    from threadpoolctl import threadpool_info

    def most() -> int:
        np.ones((2, 2)) @ np.ones((2, 2))
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    before = most()
    for allowed, useful, threads in (("1", None, 1), ("2", None, 2), ("2", 1, 1), ("1", 2, 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
        with limited_threads(comm, useful=useful):
            assert most() == threads
    assert most() == before


@pytest.mark.one_rank
def test_a_process_that_is_killed_loses_its_own_call_alone():
    with Workers(1, os.putenv, "OMP_NUM_THREADS", "1") as workers:
        calls = ((abs, -1), (signal.raise_signal, signal.SIGKILL), (abs, -2), (int, "x"), (os.getenv, "PMI_RANK"))
        one, killed, two, wrong, rank = [workers.submit(*call) for call in calls]
    assert (one.result(), two.result(), rank.result()) == (1, 2, None)
    with pytest.raises(BrokenExecutor, match="was killed"):
        killed.result()
    with pytest.raises(ValueError, match="'x'"):
        wrong.result()
