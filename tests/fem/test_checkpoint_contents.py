"""When a density run writes checkpoints, what is in them, and what is read from them."""

from __future__ import annotations

import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import kspde
from kspde.fem.observer import RunState
from kspde.fem.resume import CheckpointWriter, resume
from kspde.fem.snapshot import Knot
from kspde.problem import Problem
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore, StoppedError


class Rows:
    """A space of three nodes a rank."""

    def __init__(self, comm) -> None:
        self.comm = comm

    def labels(self):
        return {"label": np.arange(3) + 3 * self.comm.rank}

    def read(self, saved, name):
        first = 3 * self.comm.rank
        np.testing.assert_array_equal(saved.part("label", first, first + 3), self.labels()["label"])
        return saved.part(name, first, first + 3)


class Records:
    """An observer with two saved times behind it and two before it."""

    def __init__(self) -> None:
        self.times, self.next_time = (0.0, 0.1, 0.5, 1.0), 0.5
        self.knots = [Knot(t, np.full((2, 3), t), np.full((2, 3), -1.0 - t), None) for t in (0.0, 0.1)]
        self.regridding = None
        self.now = 0.2
        times = (0.0, 0.05, 0.1, 0.15)
        self.recorder = SimpleNamespace(table=lambda: {"mass": np.ones(5), "t": np.array([*times, self.now])})

    def restore(self, table, knots, latest) -> None:
        self.restored = (table, knots)


class Checkpoints:
    """A writer and what it needs; one unknown is a density, the other a field that relaxes."""

    def __init__(self, directory, comm, every=0.0) -> None:
        model = SimpleNamespace(species=("u",))
        self.system = SimpleNamespace(space=Rows(comm), model=model, relaxing=("v",))
        self.observer = Records()
        self.store = CheckpointStore(Checkpoint(directory, every=every), {"model": "test"}, comm)
        self.write = CheckpointWriter(self.store, self.system, self.observer)

    def latest(self):
        found = resume(self.store, self.system, self.observer)
        return None if found is None else found[0]


def state(comm, **changes):
    unknowns = np.arange(6.0).reshape(2, 3) + 10 * comm.rank
    bounds, norms = np.array([2.0]), np.array([3.0, 4.0])
    return replace(RunState(step=4, t=0.2, unknowns=unknowns, dt=0.05, bounds=bounds, norms=norms), **changes)


@pytest.fixture
def checkpoints(shared_tmp_path, comm):
    return Checkpoints(shared_tmp_path, comm)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dt": None},
        {"bounds": None, "norms": None},
        {"handed_over": True},
        {"t": 0.4, "dt": 0.1 * (1 - 1e-9)},
    ],
    ids=["all", "no length", "no bounds", "handed over", "just before a saved time"],
)
def test_what_is_written_is_read(checkpoints, comm, changes) -> None:
    written = state(comm, **changes)
    assert checkpoints.latest() is None
    checkpoints.observer.now = written.t
    checkpoints.write(written)
    found = checkpoints.latest()
    for name in ("step", "t", "dt", "handed_over"):
        assert getattr(found, name) == getattr(written, name)
    for name in ("unknowns", "bounds", "norms"):
        theirs = getattr(written, name)
        np.testing.assert_array_equal(getattr(found, name), theirs) if theirs is not None else None
        assert (getattr(found, name) is None) == (theirs is None)
    table, knots = checkpoints.observer.restored
    expected = {"mass": [1.0] * 5, "t": [0.0, 0.05, 0.1, 0.15, written.t]}
    assert {name: values.tolist() for name, values in table.items()} == expected
    for (t, unknowns, slopes, _), expected in zip(knots, checkpoints.observer.knots, strict=True):
        assert t == expected[0]
        np.testing.assert_array_equal(unknowns, expected[1])
        np.testing.assert_array_equal(slopes, expected[2])


@pytest.mark.parametrize(
    ("changes", "next_time", "written"),
    [
        ({"t": 1.0}, 1.0, False),  # the end
        ({"t": 1.0 - 1e-13}, 1.0, False),
        ({"t": 0.46}, 0.5, False),  # the next step is cut short: its natural length would be lost
        ({"t": 0.44}, 0.5, True),
        ({"t": 0.45}, 0.5, False),  # up to rounding at the saved time
        ({"t": 0.46, "dt": None}, 0.5, True),
        ({"t": 0.96}, 1.0, True),  # the last step's length is not needed afterwards
    ],
)
def test_when_one_is_written(checkpoints, comm, changes, next_time, written) -> None:
    checkpoints.observer.next_time, checkpoints.observer.now = next_time, changes["t"]
    checkpoints.observer.times = tuple(t for t in (0.0, 0.1, 0.5, 1.0) if t <= 0.1 or t >= next_time)
    checkpoints.write(state(comm, **changes))
    assert (checkpoints.latest() is not None) == written


def test_none_that_is_not_due_or_has_no_place(shared_tmp_path, comm) -> None:
    checkpoints = Checkpoints(shared_tmp_path, comm, every=1000.0)
    checkpoints.write(state(comm))
    assert checkpoints.latest() is None
    CheckpointWriter(None, checkpoints.system, checkpoints.observer)(state(comm))
    assert checkpoints.latest() is None


def test_a_run_that_is_told_to_stop_says_where_it_is(checkpoints, comm) -> None:
    expected = r"SIGTERM after step 4, t = 0\.2: .*0004\.h5 holds the state, resume=True"
    with checkpoints.store:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedError, match=expected):
            checkpoints.write(state(comm))
    assert checkpoints.latest().step == 4


def test_a_part_that_is_missing_is_said_on_every_rank(checkpoints, comm) -> None:
    shared = {"saved": np.array([0.0, 0.1]), "t": np.array(0.2), "handed_over": np.array(False)}
    checkpoints.store.write(7, parts={"label": np.arange(3) + 3 * comm.rank}, shared=shared)
    with pytest.raises(kspde.InputError, match="cannot read checkpoint"):
        checkpoints.latest()


def test_a_file_that_one_rank_cannot_read_is_given_up_by_all(checkpoints, comm) -> None:
    checkpoints.write(state(comm))

    def unreadable(saved, name):
        raise kspde.InputError("cannot read it")

    if comm.rank == comm.size - 1:
        checkpoints.system.space.read = unreadable
    with pytest.raises(kspde.InputError, match="cannot read it"):
        checkpoints.latest()


def test_problems_are_distinguished() -> None:
    def described(mean=0.3, mass=1.0, chi=8.0, eps=0.3, dt=0.2, **settings):
        u0 = kspde.GaussianMixture(weights=[1.0], means=[[mean, 0.0]], stds=[0.6], mass=mass)
        model = kspde.SignalDependentKellerSegel(chi=chi)
        return Problem.of(model, u0, t_end=1.0, eps=eps).describe(scheme=kspde.Positive(dt), **settings)

    assert described() == described()
    others = (described(mean=0.3 + 1e-9), described(mass=1.5), described(chi=7.0), described(eps=0.2))
    for other in (*others, described(domain=kspde.Disk(radius=1.0, size=0.1)), described(dt=0.1)):
        assert other != described()
    assert described(mass=1.5)["u0.u.mass"] == 1.5
