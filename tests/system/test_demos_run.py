"""Each demo runs as it stands, with a pinned number."""

import runpy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DEMOS = Path(__file__).parents[2] / "demos"


def run(name: str) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return runpy.run_path(str(DEMOS / name))


def test_truncation() -> None:
    table = run("truncation.py")["table"]
    assert table[14.0, "decay"][0] < 5e-6
    assert table[14.0, "neumann"][0] < 5e-6
    assert table[7.0, "decay"][1] < 0.2 * table[7.0, "neumann"][1]
    assert table[5.0, "decay"][2] > 1e-3  # the mass itself is at the wall


def test_disk_and_mesh() -> None:
    names = run("disk_and_mesh.py")
    assert names["errors"]["triangle"] < 2e-3
    assert names["errors"]["quadrilateral"] < 1e-4
    assert names["coarse"].diagnostics["minimum"].min() >= 0
    assert names["centre"][-1] == pytest.approx(1 / (12 * np.pi), rel=0.05)
    assert names["steps"][0] > 0.5  # it went on, it did not begin anew
    assert names["difference"] < 1e-10


def test_time_step() -> None:
    table = run("time_step.py")["table"]
    for at_zero, wide_zero, _, _, _ in table.values():
        assert np.all(np.abs(at_zero) < 2.25 * wide_zero)  # of two standard errors
    bias = {key: row[2] for key, row in table.items()}
    wide = max(row[3][0] for row in table.values())
    assert bias["euler-maruyama", 1] == pytest.approx([-0.185, 0.0020], abs=3 * wide)
    assert 1.7 < bias["euler-maruyama", 1][0] / bias["euler-maruyama", 2][0] < 2.6
    assert 1.7 < bias["euler-maruyama", 2][0] / bias["euler-maruyama", 4][0] < 2.7
    assert 2.0 < bias["weak-2", 1][0] / bias["weak-2", 2][0] < 6.0
    assert abs(bias["weak-2", 4][0]) < wide
    assert np.all(np.abs(bias["weak-2", 1]) < 0.3 * np.abs(bias["euler-maruyama", 1]))


def test_entropy_bound() -> None:
    names = run("entropy_bound.py")
    for n, bound in names["bounds"].items():
        assert 0.008 < n * bound.value[-1] < 0.025
        near = names["coupled"][n]
        assert near.l1.interval[1] < bound.l1(1).interval[1][-1]
        assert near.l1.interval[1] < 0.2 * near.plain_floor
    assert names["exact"][2].entropy[-1] == pytest.approx(0.001613, rel=1e-2)
    for n, law in names["exact"].items():
        assert law.entropy[-1] < law.bound[-1]
        low, high = names["sampled"][n].interval
        assert 0.85 * low[-1] < law.bound[-1] < 1.15 * high[-1]
