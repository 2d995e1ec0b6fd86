"""Fixtures for a suite that runs on one rank and under mpirun."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from mpi4py import MPI

import kspde

#: Directories that processes of pytest-xdist begin with: what takes longest must not be left for the end. The programs
#: compile the loops over particles meanwhile, which fem does without.
_FIRST = ("programs", "fem", "system")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to one rank what is marked so: each case's linear algebra is tested on several ranks elsewhere."""
    if MPI.COMM_WORLD.size > 1:
        alone = [item for item in items if item.get_closest_marker("one_rank")]
        config.hook.pytest_deselected(items=alone)
        items[:] = [item for item in items if item not in alone]
    if hasattr(config, "workerinput"):  # pytest-xdist's
        order = {name: place for place, name in enumerate(_FIRST)}
        items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out files in turn, so that their fixtures are made once, and all whole programs to one process.

    Programs are jobs of two and three ranks: they must not meet each other on few cores.
    """
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "programs" if "programs/" in file else file

    config.option.loadscopereorder = False  # it would leave files of few and long tests for the end
    return Files(config, log)


# The ranks must try the same examples, or they meet in different collective calls.
# A slow machine is not the tests' fault.
hypothesis.settings.register_profile(
    "ranks",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ranks")

#: Seconds that a rank which has failed a test waits for the others to end it.
_PATIENCE = float(os.environ.get("KSPDE_TEST_PATIENCE", "30"))


class _Agreement:
    """Ends the job when a test has failed on one rank and another one is still in it: it waits there for ever."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()
        self._said: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            text = f"\nFAILED on rank {self._comm.rank}: {report.nodeid} ({report.when})\n{report.longreprtext}\n"
            self._said.append(text)
            if self._comm.rank:  # the others leave their reports to rank 0, which may not have this one
                self._say(text)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and self._comm.rank:
            self._say(f"\nFAILED on rank {self._comm.rank}: {report.nodeid}\n{report.longreprtext}\n")

    def pytest_internalerror(self, excrepr: Any) -> None:
        self._say(f"\nFAILED on rank {self._comm.rank}: {excrepr}\n")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Meet the other ranks after each test."""
        outcome = yield
        met, deadline = self._comm.Ibarrier(), time.monotonic() + _PATIENCE
        while not met.Test():
            if self._said and time.monotonic() > deadline:
                if self._comm.rank == 0:
                    self._say(self._said[-1])
                self._say(f"\n{item.nodeid} failed on rank {self._comm.rank}, another rank is still in it: giving up\n")
                time.sleep(0.3)
                MPI.COMM_WORLD.Abort(1)
            time.sleep(1e-4)
        self._said.clear()
        return outcome

    def _say(self, text: str) -> None:
        sys.__stderr__.write(text)
        sys.__stderr__.flush()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Leave the report to rank 0, and let ranks meet after each test."""
    if MPI.COMM_WORLD.size > 1:
        config.pluginmanager.register(_Agreement())
        # hypothesis also tries the constants of all modules that it finds loaded: the ranks must have the same ones.
        for module in pkgutil.walk_packages(kspde.__path__, "kspde."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    if MPI.COMM_WORLD.rank > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the terminal reporter is about to be given it


@pytest.fixture
def comm() -> MPI.Comm:
    """The communicator that the code under test uses."""
    return MPI.COMM_WORLD


@pytest.fixture
def shared_tmp_path(tmp_path: Path, comm: MPI.Comm) -> Path:
    """A temporary directory that is the same on every rank."""
    return Path(comm.bcast(str(tmp_path)))


@pytest.fixture
def mixture() -> kspde.GaussianMixture:
    """The three Gaussians of the check numbers."""
    return kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )


@pytest.fixture
def write_changed(shared_tmp_path: Path, comm: Any) -> Callable[..., Path]:
    """Return a function that writes a text to a file, with some things changed: old, new, old, new, ..."""

    def write(name: str, text: str, *changes: str) -> Path:
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new, 1)
        path = shared_tmp_path / name
        comm.Barrier()
        if comm.rank == 0:
            path.write_text(text, encoding="utf-8")
        comm.Barrier()
        return path

    return write
