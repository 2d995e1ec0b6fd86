"""Replicas chosen by a pilot run, other seeds, and whether two results agree."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reduced_studies import reduced

import kspde
from kspde.cli.commands import study as study_command
from kspde.cli.jobs import cost_lines
from kspde.cli.study import read_study, ready_studies
from kspde.papers.studies import Precision, Study, agreement_of, planned
from kspde.papers.studies.quantities import mean
from kspde.runtime.files import read_json

SHIPPED = Path(__file__).parents[2] / "kspde" / "papers" / "studies" / "results"


def cut_down() -> Study:
    return reduced("lemma2", lambda n, **_: n in (50, 100), options={"replicas": 8}, t_end=0.01, dt=0.01)


def test_replicas_are_those_that_the_stated_error_takes(shared_tmp_path: Path, comm: Any) -> None:
    from kspde.papers.studies import open_directory, outcome_of, run_points

    relative = 0.05
    study = replace(cut_down(), precision=Precision(quantity="moment_1", relative=relative, pilot=16))
    plan = planned(study, shared_tmp_path, comm)
    assert [point.parameters["measure"]["replicas"] for point in plan.study.points] == list(plan.replicas)
    assert len({point.seed for point in plan.study.points} | {point.seed for point in study.points}) == 4
    assert planned(study, shared_tmp_path, comm).replicas == plan.replicas  # the pilot run is found again
    assert min(plan.replicas) > 16
    for point, replicas, seconds in zip(study.points, plan.replicas, plan.seconds, strict=True):  # u is solved once
        (record,) = (
            r for r in map(read_json, (shared_tmp_path / "pilot" / "points").iterdir()) if r["swept"] == point.swept
        )
        once = record["density_seconds"]
        assert 0 < once < record["seconds"]
        np.testing.assert_allclose(seconds, once + (record["seconds"] - once) * replicas / 16, rtol=1e-12)
    open_directory(plan.study, shared_tmp_path, comm)  # it holds the pilot run already, as for the command
    run_points(plan.study, shared_tmp_path, comm)
    for record, replicas in zip(outcome_of(plan.study, shared_tmp_path).records, plan.replicas, strict=True):
        found = record["quantities"]["moment_1"]
        assert len(found.samples) == replicas
        assert relative / 2 < found.error / found.value < 2 * relative  # the pilot's s has an error of 18 %


@pytest.mark.one_rank
def test_a_pilot_run_has_the_replicas_that_its_measure_takes(shared_tmp_path: Path, comm: Any) -> None:
    changes = ["measure.reference=tilted", "precision={quantity='entropy', relative=0.5}"]
    with pytest.raises(kspde.InputError, match=r"precision\.pilot = 16 is not valid: give an integer >= 32"):
        read_study("theorem2", small=True, changes=changes)
    study = reduced(
        "theorem2",
        lambda n, **_: n == 64,
        options={"reference": "tilted", "replicas": 32, "saves": 2, "coupled": False},
        t_end=0.06,
        dt=0.03,
        n=8,
    )
    plan = planned(
        replace(study, precision=Precision(quantity="entropy", relative=0.5, pilot=32)), shared_tmp_path, comm
    )
    assert plan.replicas[0] >= 32


@pytest.mark.one_rank
def test_other_seeds_are_other_points_of_the_same_study() -> None:
    own, other = (read_study("lemma2", small=True, seed=seed) for seed in (0, 7))
    assert not {point.seed for point in own.points} & {point.seed for point in other.points}
    assert other.command == "kspde study lemma2 --small --seed 7 --out DIR"
    assert [point.swept for point in own.points] == [point.swept for point in other.points]


def result(rng: np.random.Generator, shift: float = 0.0) -> dict[str, Any]:
    points = []
    for n in (10, 20, 40):
        found = mean(1.0 / n + shift / n + 0.3 / n * rng.standard_normal(16))
        entry = {"value": found.value, "error": found.error, "replicas": 16}
        exact = {"value": 2.0 * n, "error": 0.0, "replicas": 0}
        points.append({"swept": {"n": n}, "seed": int(rng.integers(1 << 30)), "quantities": {"y": entry, "z": exact}})
    return {"study": "x", "points": points}


@pytest.mark.one_rank
def test_results_of_one_law_agree_and_others_do_not() -> None:
    rng = np.random.default_rng(3)
    agreed = sum(agreement_of(result(rng), result(rng)).agrees for _ in range(400))
    assert 0.975 * 400 < agreed < 400
    shifted = agreement_of(result(rng), result(rng, shift=0.6))
    assert not shifted.agrees
    assert shifted.compared == 3
    assert shifted.z > 3
    one = result(rng)
    other = result(rng)
    other["points"][0]["quantities"]["z"]["value"] += 1e-3
    assert not agreement_of(one, other).agrees
    with pytest.raises(ValueError, match="other seeds"):
        agreement_of(one, copy.deepcopy(one))
    one["fixed"] = {"t_end": 0.5, "particles": {"n": 10}, "measure": {"kind": "coupling", "replicas": 16}}
    other["fixed"] = {"t_end": 0.5, "particles": {"n": 20}, "measure": {"kind": "coupling", "replicas": 32}}
    agreement_of(one, other)
    other["fixed"]["model"] = {"chi": 8.0}
    with pytest.raises(kspde.InputError, match=r"have other parameters \(model.chi = None and 8.0\): give those"):
        agreement_of(one, other)


@pytest.mark.one_rank
def test_every_shipped_result_keeps_its_seeds_versions_and_time() -> None:
    before_points_kept_theirs, seconds = {"pde-convergence", "theorem2"}, 0.0  # versions, of the whole run alone
    for path in SHIPPED.glob("*.json"):
        summary = json.loads(path.read_text(encoding="utf-8"))
        assert summary["provenance"]["versions"]["kspde"]
        assert len({point["seed"] for point in summary["points"]}) == len(summary["points"]), path.stem
        if path.stem not in before_points_kept_theirs:
            for point in summary["points"]:
                assert {"kspde", "numpy", "dolfinx"} <= set(point["provenance"]["versions"]), path.stem
        seconds += sum(point["seconds"] for point in summary["points"])
    assert seconds < 6 * 3600  # one machine, all by "kspde study all"


@pytest.mark.one_rank
def test_what_studies_cost_is_said_beforehand() -> None:
    seconds = [
        sum(point["seconds"] for point in json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))["points"])
        for name in ("lemma2", "theorem2")
    ]
    lines = cost_lines(["lemma2", "theorem2"])
    assert lines[:2] == [
        f"{name}: its shipped result took {time:.0f} s of one process"
        for name, time in zip(("lemma2", "theorem2"), seconds, strict=True)
    ]
    assert lines[2:] == [f"2 studies: {sum(seconds) / 3600:.1f} h of one process together"]
    assert len(cost_lines(["lemma2"])) == 1
    assert not cost_lines(["mine.toml"])
    assert ", ".join(ready_studies()) in str(study_command.__doc__)
