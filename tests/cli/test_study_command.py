"""The commands "kspde study" and "kspde ledger"."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kspde.cli.study import ready_studies
from kspde.papers.studies import pictures

STUDY = """
title = "Tiny"
about = "Nothing to see."
t_end = 0.02
model = { kind = "signal-dependent-keller-segel", chi = 8.0 }
initial = { kind = "gaussian-mixture", weights = [1.0], means = [[0.0, 0.0]], stds = [1.0] }
domain = { kind = "box", half_width = 10.0, cells = 10, degree = 5 }
density = { tol = 1e-6 }
measure = { kind = "mollification" }

[sweep]
regularisation.eps = [0.2, 0.1, 0.05]

[[fits]]
quantity = "l1"
against = "eps"
promises = [{ kind = "order", value = 2.0, source = "Taylor", status = "expected" }]

[small]
sweep.regularisation.eps = [0.4, 0.2, 0.1]
"""


@pytest.fixture
def study_file(write_changed: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes the study with some things changed: old, new, old, new, ..."""
    return partial(write_changed, "mollification.toml", STUDY)


def test_a_study_and_a_ledger_of_it(
    study_file: Callable[..., Path],
    kspde_command: Callable[..., Any],
    shared_tmp_path: Path,
    comm: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "pictures_of", lambda *_: {})  # those of studies are looked at elsewhere
    path, out = study_file(), shared_tmp_path / "out"
    first = kspde_command("study", path, "--out", out)
    assert (first.status, first.err) == (0, "")
    again = kspde_command("study", path, "--out", out)
    quiet = kspde_command("study", path, "--out", out, "--quiet")
    assert (again.status, quiet.status, quiet.out) == (0, 0, "")
    refused = kspde_command("study", path, "--out", out, "--small")
    assert refused.status == 2
    if comm.rank == 0:
        assert "study mollification (full): Tiny" in first.out
        assert "3 points computed, 0 taken from an earlier run" in first.out
        assert "0 points computed, 3 taken from an earlier run" in again.out
        assert [line for line in first.out.splitlines() if "expected  supported" in line]
        (head,) = [line.split() for line in first.out.splitlines() if "promised" in line]
        assert head[:5] == ["quantity", "against", "at", "order", "95"]
        assert "constant" not in head  # no fit asks for one
        assert ("Not resolved: the promised order, less 5%" in first.out) == ("not resolved" in first.out)
        assert "holds this study with other parameters (setting = full there, small here)" in refused.err
    small = kspde_command("study", path, "--out", out, "--small", "--force")
    assert small.status == 0
    if comm.rank == 0:
        assert "1 point computed, 2 taken from an earlier run" in small.out
        assert json.loads((out / "summary.json").read_text("utf-8"))["setting"] == "small"

    for name in ("ledger.html", "ledger.md", "ledger.json"):
        assert kspde_command("ledger", "--results", out, "--out", shared_tmp_path / name).status == 0
    shown = kspde_command("ledger")
    assert (shown.status, shown.err) == (0, "")
    if comm.rank == 0:
        rows = json.loads((shared_tmp_path / "ledger.json").read_text("utf-8"))["rows"]
        assert {row["verdict"] for row in rows} <= {"supported", "contradicted", "not resolved", "not testable"}
        (measured,) = (row for row in rows if row["number"] == "(1.9) against (1.1)")
        assert measured["command"] == f"kspde study {path} --small --out DIR"
        markdown = (shared_tmp_path / "ledger.md").read_text("utf-8")
        assert markdown.count("\n| ") == len(rows) + 2
        html = (shared_tmp_path / "ledger.html").read_text("utf-8")
        assert html.count("<tr>") == len(rows) + 1
        assert "http" not in html
        assert "contradicted  Qi, Lemma 4.3" in shown.out


def test_a_study_says_what_its_runs_warned_of(
    study_file: Callable[..., Path],
    kspde_command: Callable[..., Any],
    shared_tmp_path: Path,
    comm: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "pictures_of", lambda *_: {})
    path, out = study_file("chi = 8.0", "chi = 30.0", "0.05]", "1.5]"), shared_tmp_path / "out"
    outcome = kspde_command("study", path, "--out", out)
    assert outcome.status == 0
    chi, eps = (
        "chi = 30: outside the hypotheses of Wang, Li and Huang's Lemma 1, which asks for chi < 4/c_* = 23.4018",
        "eps = 1.5: outside the hypotheses of Wang, Li and Huang's (1.3), which asks for 0 < eps < 1 "
        "(at 1 of 3 points)",
    )
    assert outcome.err == (f"warning: {chi}\nwarning: {eps}\n" if comm.rank == 0 else "")
    assert json.loads((out / "summary.json").read_text("utf-8"))["warnings"] == [chi, eps]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (['title = "Tiny"', 'titel = "Tiny"'], "titel is not a key of a study file: did you mean title?"),
        (["chi = 8.0", "chi = -8.0"], "model.chi = -8.0 is not valid: give a finite number >= 0"),
        (["chi = 8.0", "chj = 8.0"], "model.chj is not a key of [model]: did you mean chi?"),
        (["regularisation.eps = [0.2", "regularisation.epz = [0.2"], "regularisation.epz is not a key of"),
        (["[0.2, 0.1, 0.05]", "[0.2, -0.1]"], "regularisation.eps = -0.1 is not valid: give a finite number > 0"),
        (["[0.2, 0.1, 0.05]", "[]"], "sweep.regularisation.eps = [] is not valid: give different values"),
        (["[0.2, 0.1, 0.05]", "[0.2, 0.2]"], "sweep.regularisation.eps = [0.2, 0.2] is not valid: give different"),
        (["[0.2, 0.1, 0.05]", "0.2"], "sweep.regularisation.eps = 0.2 is not valid: give an array of values"),
        (["[0.2, 0.1, 0.05]", "{ c = 1.0 }"], "sweep.regularisation.eps is not valid: a law is eps = {c = "),
        (
            ["[0.2, 0.1, 0.05]", "{ c = 0.0, gamma = 0.1 }"],
            "sweep.regularisation.eps.c = 0.0 is not valid: give a finite number > 0",
        ),
        (['"mollification"', '"molification"'], 'measure.kind = "molification" is not valid: give "coupling" or'),
        (
            ['{ kind = "mollification" }', '{ kind = "coupling", replicas = 4, alpha = 0.1 }'],
            'measure "coupling" needs particles: give [particles] n and dt',
        ),
        (
            ['{ kind = "mollification" }', '{ kind = "coupling", replicas = 4 }'],
            "measure.alpha is missing: give the exponent α of the distance cN^-α",
        ),
        (
            ['quantity = "l1"', 'quantity = "sup"'],
            "fits[0].quantity = 'sup' is not measured: \"mollification\" has l1, l2",
        ),
        (['against = "eps"', 'against = "n"'], "fits[0].against = 'n' is not swept: give one of eps"),
        (["value = 2.0", "valeu = 2.0"], "fits[0].promises[0].valeu is not a key of [fits[0].promises[0]]: did you"),
        (['kind = "order", value = 2.0', 'kind = "ordr", value = 2.0'], 'fits[0].promises[0].kind = "ordr" is not'),
        (
            [
                '{ kind = "order", value = 2.0, source = "Taylor", status = "expected" }',
                '{ kind = "theorem1", theta = 0.3, alpha = 0.2, m = 4 }',
            ],
            "fits[0].promises[0]: alpha = 0.2 is not valid: Theorem 1 asks for 0 < alpha < theta/2",
        ),
        (["tol = 1e-6", "tol = 1e-6, times = [0.01]"], "density.times has no effect in a study: leave it out"),
        (["[sweep]", "[particles]\nn = 5\ndt = 0.1\n[sweep]"], '[particles] has no effect with measure "mollif'),
        (["[sweep]", "[compare]\nreplicas = 5\n[sweep]"], "compare is not a key of a study file"),
    ],
)
def test_a_bad_study_gets_one_line(
    study_file: Callable[..., Path],
    kspde_command: Callable[..., Any],
    shared_tmp_path: Path,
    comm: Any,
    changes: list[str],
    line: str,
) -> None:
    outcome = kspde_command("study", study_file(*changes), "--out", shared_tmp_path / "out")
    assert outcome.status == 2
    if comm.rank == 0:
        assert outcome.err.count("\n") == 1
        found = outcome.err.removeprefix("kspde: error: ").replace(f"{shared_tmp_path}/mollification.toml: ", "")
        assert found.startswith(line)
    else:
        assert outcome.err == ""


def test_a_study_that_is_refused_at_its_first_point_leaves_nothing(
    study_file: Callable[..., Path], refused: Callable[..., str], shared_tmp_path: Path
) -> None:
    path = study_file("half_width = 10.0", "half_width = 1.0")
    line = refused("study", path, "--out", shared_tmp_path / "out")
    assert line.startswith("at eps = 0.2: a share 0.")
    assert "lies outside [-1, 1]^2: enlarge half_width" in line


def test_other_mistakes(
    study_file: Callable[..., Path], refused: Callable[..., str], shared_tmp_path: Path, comm: Any
) -> None:
    out = shared_tmp_path / "out"
    line = refused("study", "theorem3", "--out", out)
    names = ", ".join(ready_studies())
    assert line.startswith(f"theorem3 is neither a study file nor a ready-made study: these are {names}")
    assert refused("study", shared_tmp_path / "no.toml", "--out", out).startswith("no.toml: cannot be read")
    path = study_file("[small]\nsweep.regularisation.eps = [0.4, 0.2, 0.1]\n", "")
    assert refused("study", path, "--out", out, "--small") == (
        "mollification.toml: [small] is missing: give it, or leave out --small"
    )
    assert refused("study", path, "--out", path) == "mollification.toml is a file: give --out the name of a directory"
    comm.Barrier()
    if comm.rank == 0:
        os.mkdir(out)
        (out / "mine").write_text("precious", encoding="utf-8")
    comm.Barrier()
    assert refused("study", path, "--out", out) == "out exists and holds no study: give another --out"
    assert refused("ledger", "--results", out).startswith("out holds no result of a study: give a directory that")
    for study, line in (
        ("mollification", "out holds no result of a study: give a directory that kspde study has finished"),
        ("mine", "out holds the study mine, which no claim of the ledger asks for: give results of coupling-eps"),
    ):
        comm.Barrier()
        if comm.rank == 0:
            summary = {"study": study, "command": "kspde study", "rates": 3, "points": []}
            (out / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        comm.Barrier()
        assert refused("ledger", "--results", out).startswith(line)
    assert refused("ledger", "--out", shared_tmp_path / "ledger.pdf").startswith(
        "--out ledger.pdf is not valid: give a file that ends in .html, .md, .json"
    )
    assert "cannot be written" in refused("ledger", "--out", shared_tmp_path / "no" / "ledger.md")
