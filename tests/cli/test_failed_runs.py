"""A solve that fails leaves what it has computed in DIR.failed, and DIR as it was."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kspde.cli.case import read_case

TWO_STEPS = ("tol = 1e-3", "tol = 1e-3\npetsc_options = { ts_max_steps = 2 }")


@pytest.mark.parametrize("command", ["run", pytest.param("compare", marks=pytest.mark.one_rank)])
def test_what_a_failed_solve_has_computed_is_kept(
    command: str, case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any
) -> None:
    path = case_file(*TWO_STEPS)
    target, failed = path.parent / "result", path.parent / "result.failed"
    for _ in range(2):  # the second replaces the first
        outcome = kspde_command(command, path, "--out", target)
        assert outcome.status == 3
        if comm.rank == 0:
            errors = [line for line in outcome.err.splitlines() if line.startswith("kspde: error: ")]
            assert len(errors) == 1
            for word in ("step 3", "t = ", "dt = ", "CONVERGED_ITS"):
                assert word in errors[0]
            assert errors[0].endswith(f"; what it has computed is in {failed}")
        else:
            assert outcome.err == ""
        assert not target.exists()
        summary = json.loads((failed / "summary.json").read_text(encoding="utf-8"))
        assert sorted(os.listdir(failed)) == summary["files"]
        assert {"density.vtkhdf", "density.png", "diagnostics.csv"} < set(summary["files"])
        assert "CONVERGED_ITS" in summary["failed"]
        assert summary["density"]["steps"] == 2
        with (failed / "diagnostics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 3
        assert float(rows[-1]["t"]) == summary["density"]["t_end"] < 0.05
        comm.Barrier()


@pytest.mark.usefixtures("without_pictures")
def test_other_files_in_its_place_are_spared(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any
) -> None:
    path = case_file(*TWO_STEPS)
    place = path.parent / "result.failed"
    if comm.rank == 0:
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    comm.Barrier()
    outcome = kspde_command("run", path, "--out", path.parent / "result")
    assert outcome.status == 3
    assert comm.rank or "; what it has computed is not kept (" in outcome.err
    assert os.listdir(place) == ["notes.txt"]


def test_a_case_says_what_to_do_about_a_blow_up(case_file: Callable[..., Path], refused: Callable[..., str]) -> None:
    assert "on_blow_up" not in read_case(case_file()).experiment.solve
    path = case_file("tol = 1e-3", 'tol = 1e-3\non_blow_up = "warn"')
    assert read_case(path).experiment.solve["on_blow_up"] == "warn"
    path = case_file("tol = 1e-3", 'tol = 1e-3\non_blow_up = "explode"')
    line = refused("run", path, "--out", path.parent / "result")
    assert 'density.on_blow_up = "explode" is not valid: give "stop", "warn" or "ignore"' in line
