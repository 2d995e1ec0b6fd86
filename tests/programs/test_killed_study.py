"""A study that is killed for good goes on, and repeats no point."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STUDY = """
title = "Killed"
about = "Six points of some tenths of a second each."
t_end = 0.3
model = { kind = "signal-dependent-keller-segel", chi = 8.0 }
initial = { kind = "gaussian-mixture", weights = [1.0], means = [[0.0, 0.0]], stds = [1.0] }
domain = { kind = "box", half_width = 10.0, cells = 14, degree = 6 }
density = { tol = 1e-7 }
measure = { kind = "mollification" }
sweep = { regularisation.eps = [0.4, 0.3, 0.2, 0.15, 0.1, 0.05] }
"""


def test_a_killed_study_goes_on(shell: Callable[..., Any], start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    points = tmp_path / "out" / "points"
    process = start("kspde", "study", "study.toml", "--out", "out")
    deadline = time.monotonic() + 100
    while not list(points.glob("[!.]*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    before = {path.name: path.stat().st_mtime_ns for path in points.glob("[!.]*.json")}
    assert 1 <= len(before) < 6
    assert not (tmp_path / "out" / "summary.json").exists()

    done = shell("mpirun", "-n", 2, "kspde", "study", "study.toml", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    computed = f"{6 - len(before)} point" + "s" * (len(before) != 5)
    assert f"{computed} computed, {len(before)} taken from an earlier run" in done.stdout
    after = {path.name: path.stat().st_mtime_ns for path in points.glob("[!.]*.json")}
    assert len(after) == 6
    assert before.items() <= after.items()
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["points"]) == 6


def test_an_interrupted_study_says_what_it_keeps(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    out = tmp_path / "out"
    process = start("mpirun", "-n", 2, "kspde", "study", "study.toml", "--out", "out")
    deadline = time.monotonic() + 100
    while not list(out.glob("points/[!.]*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    # The rank that hears of it first may be any.
    assert said.count("interrupted: finished points are kept, the same command continues") == 1
    assert not (out / "summary.json").exists()
