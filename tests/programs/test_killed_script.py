"""A script that is killed and terminated, and resumes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kspde

#: Runs what is below.
SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from test_killed_script import solve
solve(sys.argv[1])
"""


def solve(directory: str | Path) -> kspde.Solution:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.0]], stds=[0.6])
    checkpoint = kspde.Checkpoint(directory, every=0.0)
    return kspde.solve(
        kspde.SignalDependentKellerSegel(chi=8.0), u0, kspde.Box(half_width=9.0, cells=16, degree=4), t_end=0.5,
        tol=1e-6, eps=0.3, scheme="rosenbrock", checkpoint=checkpoint, resume=True,
    )  # fmt: skip


def test_killed_and_terminated_processes_resume(start: Callable[..., Any], tmp_path: Path) -> None:
    """Killed while a checkpoint is being written, terminated when one has been written."""
    (tmp_path / "run.py").write_text(SCRIPT.format(here=str(Path(__file__).parent)), encoding="utf-8")
    one, directory = solve(tmp_path / "undisturbed"), tmp_path / "killed"
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = {path.name for path in directory.glob("checkpoint-*.h5")}
        process = start("python", "run.py", directory.name)
        while process.poll() is None and {path.name for path in directory.glob("checkpoint-*.h5")} <= before:
            time.sleep(0.001)
        while number == signal.SIGKILL and process.poll() is None and not any(directory.glob(f".*.{process.pid}")):
            pass
        process.send_signal(number)
        _, words = process.communicate(timeout=120)
        if process.returncode:  # it may have been faster
            assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 1)
            assert number == signal.SIGKILL or "stopped by SIGTERM after step" in words
    other = solve(tmp_path / "killed")
    assert abs(one.evaluate([[0.0, 0.0]])[0] - other.evaluate([[0.0, 0.0]])[0]) < 1e-10
    np.testing.assert_allclose(one.diagnostics["t"], other.diagnostics["t"], rtol=1e-9)
