"""The cases that kspde ships, run small."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kspde
from kspde.cli import main
from kspde.cli.case import read_case

ROOT = Path(__file__).parents[2]


def shrink(text: str) -> str:
    """Return a case with fewer cells, particles and draws."""
    for old, new in (("cells = 32", "cells = 24"), ("tol = 1e-6", "tol = 1e-4"), ("n = 50_000", "n = 5_000")):
        assert old in text
        text = text.replace(old, new)
    return text + "\n[compare]\nreplicas = 4\n"


def test_observed_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "demos" / "data", tmp_path / "data")
    (tmp_path / "cells.toml").write_text(shrink((ROOT / "demos" / "observed_cells.toml").read_text("utf-8")), "utf-8")
    capfd.readouterr()
    assert main(["compare", "cells.toml", "--out", "cells"]) == 0
    assert capfd.readouterr().err == ""
    summary = json.loads((tmp_path / "cells" / "summary.json").read_text("utf-8"))
    assert summary["parameters"]["initial"]["path"] == "data/observed_cells.csv"
    assert summary["density"]["final"]["mass"] == pytest.approx(1.0, abs=1e-11)
    # 5000 points smoothed with the best bandwidth are some percent away from what they were drawn from.
    assert 0.02 < summary["distance"]["l1"]["value"] < 0.15


def test_demo(
    shell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = shell("kspde", "demo")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads((tmp_path / "demo-output" / "summary.json").read_text("utf-8"))
    assert summary["particles"]["n"] == 100_000
    final = summary["density"]["final"]
    # Fourier solution of (1.9), Gaussian mollifier: ∫u² is not tabulated; mass and the second moment's growth are.
    assert final["mass"] == pytest.approx(1.0, abs=1e-12)
    assert 0.002 < summary["distance"]["l1"]["value"] < 0.05
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    assert main(["demo"]) == 2
    assert capfd.readouterr().err == (
        "kspde: error: demo-output exists: give another --out, or --force to replace it\n"
    )


def test_populations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_case(ROOT / "kspde" / "cases" / "shigesada-kawasaki-teramoto.toml").experiment.problem.model
    assert isinstance(model, kspde.ShigesadaKawasakiTeramoto)
    assert model.entropy_weights == pytest.approx((1.0, 1.25))
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "kspde" / "cases" / "cross-diffusion.toml").read_text("utf-8")
    smaller = {
        "cells = 96": "cells = 24",
        "n = 20_000": "n = 400",
        "t_end = 0.4": "t_end = 0.04",
        "eps = 0.3": "eps = 0.9",
    }
    for old, new in smaller.items():
        assert old in text
        text = text.replace(old, new)
    Path("case.toml").write_text(text, "utf-8")
    assert main(["compare", "case.toml", "--out", "populations", "--quiet"]) == 0
    summary = json.loads(Path("populations/summary.json").read_text("utf-8"))
    assert summary["density"]["final"]["mass"] == pytest.approx([1.0, 1.5], rel=1e-12)
    assert summary["distance"]["species"] == "u1"
    assert summary["distance"]["l1"]["value"] < 0.4
