"""The examples of CONTRIBUTING.md: made in a copy of the package, as a stranger would, and used there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kspde

PACKAGE = Path(kspde.__file__).parent
TEXT = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT[TEXT.index("## How to add") :], flags=re.MULTILINE | re.DOTALL)

PROGRAM = """
import json, kspde
from kspde.cli.case import read_case
from kspde.papers.ledger import claims, rows_of

case = read_case("mine.toml")
pde = case.experiment.density()
cloud = case.experiment.cloud()
options = {"t_end": 0.05, "eps": 0.4, "mollifier": "two-scales", "tol": 1e-8}
problem = case.experiment.problem
other = kspde.solve(problem.model, problem.u0, kspde.Box(half_width=6.0, cells=16), **options)
print(json.dumps({
    "model": type(problem.model).__name__,
    "domain": type(pde.domain).__name__,
    "scheme": pde.summary()["scheme"],
    "distances": list(kspde.compare(pde, cloud, **case.compare).by_name),
    "particles": cloud.summary()["scheme"],
    "near": kspde.compare(pde, other, distances=["hellinger"]).hellinger.value,
    "radius": float(cloud.statistics["largest_radius"][-1]),
    "verdict": [row.verdict for row in rows_of(claims(), {}) if row.number == "(10.43.19)"],
}))
"""


def once(text: str, old: str, new: str) -> str:
    assert text.count(f"\n{old}") == 1, f"CONTRIBUTING.md expects this line once; change the example there: {old}"
    return text.replace(f"\n{old}", f"\n{new}")


def make(root: Path, kind: str, block: str) -> None:
    """Make an example below the directory that holds the package."""
    if kind == "diff":
        for file, changes in re.findall(r"^--- (.*)\n((?:[ +-](?!--).*\n)*)", block, flags=re.MULTILINE):
            text = (root / file).read_text(encoding="utf-8")
            for old, added in re.findall(r"^([ -].*\n)((?:\+.*\n)*)", changes, flags=re.MULTILINE):
                kept = old[1:] if old.startswith(" ") else ""
                text = once(text, old[1:], kept + re.sub(r"^\+", "", added, flags=re.MULTILINE))
            (root / file).write_text(text, encoding="utf-8")
        return
    first, _, rest = block.partition("\n")
    found = re.fullmatch(r"# (in |at the end of |)([\w/.]+)(?:, above (\w+))?", first)
    assert found, f"CONTRIBUTING.md: {first}"
    where, file, name = found.groups()
    if not where:
        assert not (root / file).exists()
        (root / file).write_text(rest, encoding="utf-8")
    elif where == "in ":
        text = (root / file).read_text(encoding="utf-8")
        (start,) = re.findall(rf"^((?:#:.*\n)*(?:def )?{name}\b)", text, flags=re.MULTILINE)
        (root / file).write_text(once(text, start, f"{rest}\n\n{start}"), encoding="utf-8")
    else:
        (root / file).write_text(f"{(root / file).read_text(encoding='utf-8')}\n{rest}", encoding="utf-8")


@pytest.mark.one_rank
def test_what_is_added_as_described_is_found(tmp_path: Path) -> None:
    """One case file uses all of it: model, mollifier, schemes, domain, distance and statistic."""
    shutil.copytree(PACKAGE, tmp_path / "kspde")  # with compiled loops, which keep their times
    for kind, block in BLOCKS:
        make(tmp_path, kind, block)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "MPI", "HYD"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("near") < 5e-3
    assert 1.0 < found.pop("radius") < 5.0
    assert found == {
        "model": "ClassicalKellerSegel",
        "domain": "CubicBox",
        "scheme": "heun",
        "particles": "tamed",
        "distances": ["hellinger", "l1"],
        "verdict": ["supported"],
    }
