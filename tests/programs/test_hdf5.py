"""h5py and DOLFINx bring two HDF5 libraries into one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
{imports}
import numpy as np
from mpi4py import MPI
from dolfinx import io, mesh

values = np.arange(200.0).reshape(100, 2)
for _ in range(2):
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("zipped", data=values, compression="gzip")
        file["zipped"].attrs["text"] = "χ"
    with h5py.File("a.h5") as file:
        assert np.array_equal(file["zipped"][...], values)
        assert file["zipped"].attrs["text"] == "χ"
    square = mesh.create_unit_square(MPI.COMM_SELF, 2, 2)
    with io.XDMFFile(MPI.COMM_SELF, "a.xdmf", "w") as file:
        file.write_mesh(square)
    with io.XDMFFile(MPI.COMM_SELF, "a.xdmf", "r") as file:
        assert len(file.read_mesh().geometry.x) == 9
"""


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_both_libraries_work_in_either_order(tmp_path: Path, order: tuple[int, int]) -> None:
    lines = ("from kspde.fem import backend; backend.require()", "from kspde.runtime.hdf5 import h5py")
    program = PROGRAM.format(imports="\n".join(lines[i] for i in order))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
