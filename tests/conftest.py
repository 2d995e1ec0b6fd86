"""Fixtures for a suite that runs on one rank and under mpirun."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from mpi4py import MPI

import kspde

# The ranks must try the same examples, or they meet in different collective calls.
hypothesis.settings.register_profile("ranks", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("ranks")


class _FailuresOnly:
    """What a rank other than 0 says: its failures, at once, since the other ranks may wait for it for ever."""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._say(f"{report.nodeid} ({report.when})\n{report.longreprtext}")

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._say(f"{report.nodeid}\n{report.longreprtext}")

    def pytest_internalerror(self, excrepr: Any) -> None:
        self._say(str(excrepr))

    def _say(self, text: str) -> None:
        sys.__stderr__.write(f"\nFAILED on rank {MPI.COMM_WORLD.rank}: {text}\n")
        sys.__stderr__.flush()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Leave the report to rank 0."""
    if MPI.COMM_WORLD.rank > 0:
        config.pluginmanager.register(_FailuresOnly())
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
