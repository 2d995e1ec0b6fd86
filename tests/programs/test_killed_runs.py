"""Simulations that are killed and resume exactly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kspde.runtime.hdf5 import h5py

SCRIPT = """
import sys
import numpy as np
import kspde

u0 = kspde.GaussianMixture(weights=(0.6, 0.4), means=((-1.2, 0.3), (1.3, -0.2)), stds=(0.6, 0.5))
cloud = kspde.simulate(
    kspde.SignalDependentKellerSegel(chi=8.0), u0, n=1000, t_end=0.5, dt=1 / 300, eps=0.3, seed=6,
    save=kspde.SaveAt(times=np.linspace(0, 0.5, 6), statistics=("moments", "minimal_distance")),
    checkpoint=kspde.Checkpoint(sys.argv[1], every=0), resume=True,
    progress=lambda fraction: print(fraction, flush=True),
)
cloud.write(sys.argv[2])
"""


@pytest.fixture
def launch(tmp_path: Path, start: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts the script."""
    (tmp_path / "run.py").write_text(SCRIPT, encoding="utf-8")
    return lambda *arguments: start("python", "run.py", *arguments)


def contents(path: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_killed_runs_end_as_one_that_was_not(launch: Callable[..., Any], tmp_path: Path) -> None:
    """Killed right after a step, and while a checkpoint is being written."""
    whole = launch("checkpoints_whole", "whole.h5")  # beside the others: a process is slow to start
    for steps, writing in ((37, False), (22, True)):
        with launch("checkpoints", "pieces.h5") as process:
            assert process.stdout is not None
            for _ in range(steps):
                process.stdout.readline()
            while writing and not any(tmp_path.glob(f"checkpoints/.checkpoint-*.{process.pid}")):
                assert process.poll() is None
            process.kill()
            assert process.wait() == -signal.SIGKILL
    last = launch("checkpoints", "pieces.h5")
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert float(out.split()[0]) > 0.05  # it resumed from a checkpoint
    _, err = whole.communicate(timeout=120)
    assert whole.returncode == 0, err
    one, other = contents(tmp_path / "whole.h5"), contents(tmp_path / "pieces.h5")
    assert set(one) == set(other)
    assert {"positions/u", "statistics/covariance", "statistics/minimal_distance", "diagnostics/mean"} <= set(one)
    for name, values in one.items():
        np.testing.assert_array_equal(other[name], values, err_msg=name)


def test_sigterm_stops_with_one_line_and_a_checkpoint(launch: Callable[..., Any], tmp_path: Path) -> None:
    with launch("checkpoints", "pieces.h5") as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("kspde.runtime.checkpoint.StoppedError: stopped by SIGTERM after step ")
    names = sorted(os.listdir(tmp_path / "checkpoints"))
    assert 1 <= len(names) <= 2
    assert names[-1].removesuffix(".h5") in err
