"""``[compare] against``: the local density, another case's, and two densities."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kspde
from kspde.cli.case import read_case
from kspde.papers import experiment

#: The section of the small case.
REGULARISATION = (
    "[regularisation]                  # without this section: no mollifier, chi u itself\n"
    'eps = 0.3\nmollifier = "gaussian"\n'
)

LOCAL = 'replicas = 2\nagainst = "local"'


def summary_of(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "summary.json").read_text("utf-8"))
    return content


@pytest.mark.one_rank
def test_particles_against_the_local_density(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], shared_tmp_path: Path, comm: Any
) -> None:
    """(1.3) with ε against (1.1): the density has no mollifier, and what differs is said everywhere."""
    path, target = case_file("replicas = 2", LOCAL, "eps = 0.3", "eps = 0.5"), shared_tmp_path / "result"
    outcome = kspde_command("compare", path, "--out", target)
    assert (outcome.status, outcome.err) == (0, "")
    assert sorted(name for name in os.listdir(target) if name.endswith(".png")) == [
        "densities.png",
        "diagnostics.png",
        "difference.png",
    ]
    summary = summary_of(target)
    assert summary["density"]["eps"] is None
    assert summary["particles"]["eps"] == 0.5
    assert summary["distance"]["differs"] == {"eps": [None, 0.5]}
    assert summary["against"]["file"] == str(path)
    assert summary["parameters"]["compare"]["against"] == "local"
    case = read_case(path)
    local = kspde.solve(domain=case.experiment.domain, tol=1e-3, **case.experiment.problem.local.arguments)
    cloud = case.experiment.cloud()
    distance = kspde.compare(local, cloud, replicas=2)
    assert summary["distance"]["l1"]["value"] == pytest.approx(distance.l1.value, rel=1e-9)
    if comm.rank == 0:
        assert "They differ in eps (none for the density, 0.5 for the particles)." in outcome.out
        assert "not distinguishable from that of 500 independent draws" in outcome.out


@pytest.mark.one_rank
@pytest.mark.usefixtures("without_pictures")
def test_against_another_case(
    case_file: Callable[..., Path],
    write_changed: Callable[..., Path],
    small_case: str,
    kspde_command: Callable[..., Any],
    shared_tmp_path: Path,
    comm: Any,
) -> None:
    """χ = 8 against χ = 20: particles against its density, and without [particles] the two densities."""
    write_changed("other.toml", small_case, "chi = 8.0", "chi = 20.0")
    against = 'against = "other.toml"'
    path = case_file("replicas = 2", f"replicas = 2\n{against}")
    assert kspde_command("compare", path, "--out", shared_tmp_path / "particles").status == 0
    summary = summary_of(shared_tmp_path / "particles")
    assert summary["distance"]["differs"] == {"chi": [20.0, 8.0]}
    assert summary["against"]["parameters"]["model"]["chi"] == 20.0

    particles = "[particles]\nn = 500\ndt = 0.01\nseed = 1\n"
    path = case_file(particles, "", "replicas = 2", against)
    outcome = kspde_command("compare", path, "--out", shared_tmp_path / "densities")
    assert (outcome.status, outcome.err) == (0, "")
    summary = summary_of(shared_tmp_path / "densities")
    assert summary["distance"]["kind"] == "densities"
    assert summary["distance"]["differs"] == {"chi": [20.0, 8.0]}
    assert {"against.vtkhdf", "density.vtkhdf"} < set(summary["files"])
    assert "particles.h5" not in summary["files"]
    own, other = read_case(path), read_case(shared_tmp_path / "other.toml")
    runs = [case.experiment.density() for case in (other, own)]
    expected = kspde.compare(*runs)
    assert summary["distance"]["l1"]["value"] == pytest.approx(expected.l1.value, rel=1e-9)
    assert summary["distance"]["relative_entropy"]["value"] == pytest.approx(expected.relative_entropy.value, rel=1e-7)
    if comm.rank == 0:
        assert "second density to first" in outcome.out
        assert "quadrature error" in outcome.out
        assert "floor" not in outcome.out


@pytest.mark.parametrize(
    ("other", "own", "line"),
    [
        (("t_end = 0.05", "t_end = 0.1"), (), "has t_end = 0.1, this case 0.05: give both the same"),
        (
            ("[0.6, 0.5, 0.7]", "[0.6, 0.5, 0.7]\nmass = 3.0"),
            (),
            "has mass = 3.0, this case 1.0: give both the same, or give compare.normalise = true",
        ),
        (("chi = 8.0", "chi = -1"), (), "other.toml: model.chi"),
        (
            ("degree = 4\n", 'degree = 4\nboundary = "neumann"\n'),
            (),
            'boundary = "neumann", the particles on the whole space: give kspde.simulate the density\'s domain',
        ),
        ((), ('"other.toml"', '"none.toml"'), "none.toml: cannot be read"),
        (
            (),
            ("[particles]\nn = 500\ndt = 0.01\nseed = 1\n", ""),
            "compare.replicas has no effect between two densities",
        ),
        (
            (),
            ("[particles]\nn = 500\ndt = 0.01\nseed = 1\n", "", "replicas = 2", "t = 9.0"),
            "compare.t = 9 is not valid: give a time in [0, 0.05]",
        ),
        (
            (),
            (
                '"other.toml"',
                '"local"',
                REGULARISATION,
                "",
            ),
            'compare.against = "local" has no effect',
        ),
    ],
)
def test_refused_before_anything_is_computed(
    case_file: Callable[..., Path],
    write_changed: Callable[..., Path],
    small_case: str,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    other: tuple[str, ...],
    own: tuple[str, ...],
    line: str,
) -> None:
    def too_late(*_: Any, **__: Any) -> None:
        pytest.fail("computed before it was refused")

    monkeypatch.setattr(experiment, "solve", too_late)
    monkeypatch.setattr(experiment, "simulate", too_late)
    write_changed("other.toml", small_case, *other)
    path = case_file("replicas = 2", 'replicas = 2\nagainst = "other.toml"', *own)
    assert line in refused("compare", path, "--out", path.parent / "result")
