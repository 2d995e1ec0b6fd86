"""The command "kspde theory", and the warnings of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kspde

WARNING = (
    "warning: chi = 30: outside the hypotheses of Wang, Li and Huang's Lemma 1, which asks for chi < 4/c_* = 23.4018"
)


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells behind each label of the tables."""
    cells = ([c.strip() for c in line.split("  ") if c.strip()] for line in text.splitlines())
    return {line[0]: line[1:] for line in cells if line}


def test_promises_without_a_case(kspde_command: Callable[..., Any], comm: Any) -> None:
    outcome = kspde_command("theory")
    assert (outcome.status, outcome.err) == (0, "")
    if comm.rank != 0:
        assert outcome.out == ""
        return
    found = rows(outcome.out)
    assert found["c_* = 2/‖Q‖₂²"] == ["0.170927073"]
    assert found["θ = 0.3, α = 0.1, m = 4 (Remark 1): γ <"] == ["min(0.0333333, 0.02)", "min(0.033, 0.02)"]
    assert found["η = 0.03: β ≤"] == ["min(74, 8)", "min(74, 8)"]
    assert found["L¹ distance ≤ C ε^(β/2)"] == ["ε^4", "ε^8"]
    assert found["over all θ, α, m: γ <"] == ["0.0357143"]
    assert found["0.02"][0] == "20.368"
    assert found["power of ε, the bounds"] == ["0", "-2", "-3"]
    assert found["θ = 0.3: sup γ"] == ["0.05", "0.1", "0.15"]
    assert found["θ = 0.3: sup η"] == ["0.3", "0.6", "0.6"]
    assert found["over θ: sup γ"] == ["0.0625", "0.1", "0.25"]
    assert found["over θ: sup η"] == ["0.5", "1", "1"]
    assert found["relative entropy in N, moments of any order"] == ["none", "N^−1", "N^−1"]
    assert found["constant ū unstable from ū/b, K_ε two bumps"] == ["1.0195", "never"]
    assert found["stability: M_∞/b <"] == ["0.366025", "0.5"]
    assert found["critical mass χM/D, −Δφ = 2πu"] == ["4", "8π"]
    assert "Hypotheses" not in outcome.out


def test_hypotheses_of_a_case(case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any) -> None:
    outcome = kspde_command("theory", case_file("chi = 8.0", "chi = 30.0", "eps = 0.3", "eps = 0.4"))
    assert (outcome.status, outcome.err) == (0, "")
    if comm.rank == 0:
        assert outcome.out.startswith("Hypotheses: SignalDependentKellerSegel(chi=30.0, mu=1.0)\n")
        assert "violated  chi < 4/c_* = 23.4018 (Wang, Li and Huang's Lemma 1)" in outcome.out
        assert "holds     0 < eps < 1" in outcome.out
        assert "violated  grad log u0 in W^{1,q}" in outcome.out
        assert "it would be gamma = 0.147" in outcome.out  # log(1/0.4)/log 500
        # Norms of the case's kernel: ∫|Φ^ε| = 30 is part of the first.
        assert {"0.4", "0.2", "0.1", "0.05", "0.025"} < set(rows(outcome.out))
        assert float(rows(outcome.out)["0.025"][0]) == pytest.approx(30 * (1 + 1.5708 * (1 - 0.0199)), rel=1e-3)


def test_a_case_without_a_signal_has_no_norms(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any
) -> None:
    outcome = kspde_command("theory", case_file("chi = 8.0", "chi = 0.0"))
    assert outcome.status == 0
    assert ("Gagliardo" in outcome.out) == (comm.rank == 0)
    assert "W^{1,∞}" not in outcome.out


def test_norms_that_take_too_long_are_left_out(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise kspde.InputError("the kernel's symbol decays as |k|^-6: give a larger eps")

    monkeypatch.setattr(kspde.theory, "mollified_norms", refused)
    outcome = kspde_command("theory", case_file())
    assert (outcome.status, outcome.err) == (0, "")
    if comm.rank == 0:
        assert "  Not computed: the kernel's symbol decays as |k|^-6" in outcome.out
        assert "By Young's inequality (1.5) holds for every j" in outcome.out
        assert outcome.out.endswith("What the papers promise of other models: kspde theory, without a file.\n")
        assert "Chen, Daus" not in outcome.out
        assert "Qi" not in outcome.out


def test_a_bad_case_is_refused(case_file: Callable[..., Path], refused: Callable[..., str]) -> None:
    line = refused("theory", case_file("chi = 8.0", "chi = -1.0"))
    assert line == "case.toml: model.chi = -1.0 is not valid: give a finite number >= 0"


@pytest.mark.one_rank
@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_runs_warn_outside_the_hypotheses(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], shared_tmp_path: Path, comm: Any
) -> None:
    path = case_file("chi = 8.0", "chi = 30.0")
    for command in ("run", "compare"):
        outcome = kspde_command(command, path, "--out", shared_tmp_path / command)
        assert outcome.status == 0
        assert outcome.err == (f"{WARNING}\n" if comm.rank == 0 else "")
    log = shared_tmp_path / "run.log"
    assert kspde_command("run", path, "--out", shared_tmp_path / "quiet", "--quiet", "--log", log).err == ""
    said = log.read_text("utf-8")
    assert WARNING in said
    assert "All numbers" in said
    line = [WARNING.removeprefix("warning: ")]
    for name in ("run", "compare", "quiet"):  # said or not
        summary = json.loads((shared_tmp_path / name / "summary.json").read_text("utf-8"))
        assert (summary["warnings"], summary["density"]["warnings"]) == (line, line)
        assert summary.get("particles", {"warnings": line})["warnings"] == line
        assert summary.get("distance", {"warnings": []})["warnings"] == []


def test_norms_are_those_of_potentials(kspde_command: Callable[..., Any], comm: Any) -> None:
    # The bounds on Φ^ε are of a Yukawa potential, and not of the mollified density itself, which grows faster.
    case = Path(__file__).parents[2] / "kspde" / "cases" / "cross-diffusion.toml"
    outcome = kspde_command("theory", case)
    assert outcome.status == 0
    assert "Φ^ε = Φ * j^ε" not in outcome.out
    if comm.rank == 0:
        assert "Chen, Daus" in outcome.out
        assert "Gagliardo" not in outcome.out
