"""Everything that a run returns and writes is the same on 1, 2 and 3 ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import every_output
import numpy as np

PROGRAM = Path(every_output.__file__)


#: What three ranks run: a suite's machine may have two cores.
THREE = (
    "box-adaptive-tau",
    "box-positive-drift",
    "disk-adaptive-multigrid",
    "disk-adaptive-nested",
    "file-positive",
    "particles",
    "particles-drift",
)


def allowed(key: str) -> float:
    """Return the difference allowed: sup |∇log u| divides the round-off in u by a u of 1e-12."""
    return 1e-5 if key.endswith("log_gradient") else 1e-9


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference, relative to the larger of 1 and the values."""
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return np.inf
    finite = np.isfinite(one)
    scale = max(1.0, float(np.abs(one[finite]).max(initial=0.0)))
    return float(np.abs(one - other)[finite].max(initial=0.0)) / scale


def test_every_output_is_the_same_on_1_2_and_3_ranks(shell: Callable[..., Any], tmp_path: Path) -> None:
    for ranks in (1, 2, 3):
        (tmp_path / str(ranks)).mkdir()
    every_output.main(tmp_path / "1", [])
    for ranks, names in ((2, ()), (3, THREE)):
        done = shell("mpirun", "-n", ranks, "python", PROGRAM, tmp_path / str(ranks), *names, timeout=300)
        assert done.returncode == 0, done.stderr
    cases = sorted((tmp_path / "1").glob("*.npz"))
    assert len(cases) == 16
    different: dict[str, float] = {}
    for case in cases:
        with np.load(case) as file:
            one = dict(file)
        assert len(one) > 20
        for ranks in (2, 3) if case.stem in THREE else (2,):
            with np.load(tmp_path / str(ranks) / case.name) as file:
                other = dict(file)
            assert set(one) == set(other)
            for key, values in one.items():
                if not (found := distance(values, other[key])) < allowed(key):
                    different[f"{case.stem} on {ranks} ranks: {key}"] = found
    assert not different
