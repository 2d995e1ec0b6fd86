"""The README's scripts run as they stand, and its case file is the built-in one."""

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CASES = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def run(script: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(directory)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(script, "README.md", "exec"), names)  # our own text
    return names


def test_first_script(shared_tmp_path, monkeypatch, comm) -> None:
    names = run(SCRIPTS[0], shared_tmp_path, monkeypatch)
    distance = names["distance"]
    for estimate in (distance.l1, distance.relative_entropy, distance.floor.l1, distance.floor.relative_entropy):
        low, high = estimate.interval
        assert 0 < low < estimate.value < high
    # A pinned value: the same on every number of ranks.
    assert distance.l1.value == pytest.approx(0.0294, abs=2e-4)
    assert not distance.above_floor
    comm.Barrier()
    assert (shared_tmp_path / "distance.png").stat().st_size > 10_000


def test_disks_and_saved_states(shared_tmp_path, monkeypatch, comm) -> None:
    if comm.rank == 0:
        (shared_tmp_path / "meshes").symlink_to(ROOT / "meshes")
    comm.Barrier()
    names = run(SCRIPTS[1], shared_tmp_path, monkeypatch)
    assert abs(names["settled"].diagnostics["mass"][-1] - 1) < 1e-12
    assert names["pde"].times.tolist() == [0.0, 0.1, 0.2]
    assert len(names["pde"].diagnostics["fisher_information"]) == len(names["pde"].diagnostics["t"])
    assert names["positive"].diagnostics["minimum"].min() >= 0
    comm.Barrier()
    assert (shared_tmp_path / "density.bp").is_dir()


def test_own_model(shared_tmp_path, monkeypatch, capsys) -> None:
    names = run(SCRIPTS[2], shared_tmp_path, monkeypatch)
    pde, cloud = names["pde"], names["cloud"]
    assert abs(pde.diagnostics["mass"][-1] - 1) < 1e-12
    # ∫|x|²u and the particles' mean |X|² agree within four standard errors of N(0, s²I)-like clouds.
    moment = pde.diagnostics["second_moment"][-1]
    assert abs(cloud.diagnostics["second_moment"][-1] - moment) < 4 * moment / cloud.n**0.5 + 0.02
    assert re.match(r"0\.\d+ \[0\.\d+, 0\.\d+\]", capsys.readouterr().out)


def test_case_file_is_the_built_in_one() -> None:
    built_in = (resources.files("kspde") / "cases" / "demo.toml").read_text(encoding="utf-8")
    assert tomllib.loads(CASES[0]) == tomllib.loads(built_in)
