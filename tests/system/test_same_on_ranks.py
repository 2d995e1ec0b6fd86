"""Everything that a run returns and writes is the same on one rank of this job as on all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import every_output
import pytest
from mpi4py import MPI

CASES = (*every_output.DENSITIES, *every_output.CLOUDS) if MPI.COMM_WORLD.size > 1 else ()


@pytest.mark.parametrize("name", CASES)
def test_every_output_is_the_same(name: str, comm: Any, shared_tmp_path: Path, tmp_path: Path) -> None:
    alone = every_output.outputs(name, tmp_path, MPI.COMM_SELF)  # each rank its own
    shared = every_output.checked(name, shared_tmp_path, comm)
    if comm.rank == 0:  # which alone reads the files of a shared run
        assert not every_output.different(alone, shared)
