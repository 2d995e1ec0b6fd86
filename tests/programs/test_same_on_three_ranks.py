"""What a run returns and writes is the same on 1 and 3 ranks; on 1 and 2 ranks: tests/system/test_same_on_ranks.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import every_output
import numpy as np
from mpi4py import MPI

PROGRAM = Path(every_output.__file__)


#: What three ranks run: a suite's machine may have two cores.
THREE = (
    "box-positive-drift",
    "disk-adaptive-nested",
    "file-positive",
    "particles-drift",
)


def test_outputs_are_the_same_on_1_and_3_ranks(shell: Callable[..., Any], tmp_path: Path) -> None:
    # On one rank first: three at once would compile each loop three times.
    one = {name: every_output.outputs(name, tmp_path, MPI.COMM_SELF) for name in THREE}
    done = shell("mpirun", "-n", 3, "python", PROGRAM, tmp_path, *THREE, timeout=300)
    assert done.returncode == 0, done.stderr
    different = {}
    for name in THREE:
        with np.load(tmp_path / f"{name}.npz") as file:
            three = {key.replace("|", "/"): values for key, values in file.items()}
        if found := every_output.different(one[name], three):
            different[name] = found
    assert not different
