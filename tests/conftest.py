"""Fixtures for a suite that runs on one rank and under mpirun."""

from __future__ import annotations

from pathlib import Path

import pytest
from mpi4py import MPI

import kspde


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
