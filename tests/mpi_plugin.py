"""A pytest plugin for suites under mpirun: the ranks run the same tests in step, and rank 0 reports.

A rank that waits in a collective call for one that has failed would wait for ever: after each test the ranks meet, and
where one has failed and another does not come within KSPDE_TEST_PATIENCE seconds, the job ends with the failure's text.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from mpi4py import MPI

import kspde

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

#: Seconds for which a rank that has failed a test waits for the others to end it.
_PATIENCE = float(os.environ.get("KSPDE_TEST_PATIENCE", "30"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Leave the report to rank 0, and let the ranks meet after each test."""
    if MPI.COMM_WORLD.size > 1:
        config.pluginmanager.register(Agreement())
        # hypothesis also tries the constants of all modules that it finds loaded: the ranks must have the same ones.
        for module in pkgutil.walk_packages(kspde.__path__, "kspde."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    if MPI.COMM_WORLD.rank > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the terminal reporter is about to be given it


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests marked ``one_rank`` to the run on one rank."""
    if MPI.COMM_WORLD.size > 1:
        alone = [item for item in items if item.get_closest_marker("one_rank")]
        config.hook.pytest_deselected(items=alone)
        items[:] = [item for item in items if item not in alone]


class Agreement:
    """Ends the job when a test has failed on one rank and another rank does not end it."""

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
