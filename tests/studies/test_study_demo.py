"""The demo of a study of one's own."""

import runpy
from pathlib import Path

from mpi4py import MPI


def test_studies() -> None:
    names = runpy.run_path(str(Path(__file__).parents[2] / "demos" / "09_studies.py"))
    MPI.COMM_WORLD.Barrier()
    low, high = names["interval"]
    assert 0.8 < names["order"] < 1.2
    assert low < names["order"] < high
    assert high - low < 0.5
