"""What somebody else has put where results are taken up: in a study's directory, a result's, the current one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
from mpi4py import MPI

import kspde
from kspde.cli.ledger import read_results
from kspde.cli.study import read_study
from kspde.papers.studies import open_directory
from kspde.papers.studies.execute import POINTS, STUDY, read_point

pytestmark = pytest.mark.one_rank  # files are read on one rank

#: What stands where a JSON file of a study or a result is expected.
CONTENTS: dict[str, bytes] = {
    "deep": b"[" * 100_000,
    "deep tables": b'{"a":' * 100_000,
    "null": b"null",
    "a list": b"[1]",
    "a number": b"3",
    "a huge number": b'{"study": ' + b"9" * 5_000 + b"}",
    "a text": b'"mollification"',
    "nothing": b"",
    "bytes": bytes(range(256)),
    "not a number": b'{"study": NaN}',
    "no keys": b"{}",
    "a name that is a list": b'{"study": ["mollification"], "axes": 3, "points": []}',
    "a name that is half a letter": b'{"study": "\\ud800"}',
    "a name that is a page": b'{"study": "\\u001b[31m<script>alert(1)</script>"}',
    "a long name": b'{"study": "' + b"x" * 300_000 + b'"}',
    "axes that are a list": b'{"study": "mollification", "setting": "small", "axes": [1], "points": {"a": 1}}',
    "points that are numbers": b'{"study": "mollification", "setting": "small", "axes": {}, "points": {"a": 1}}',
    "a pickle": b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_directories_of_others(tmp_path: Path, kind: str) -> None:
    study = read_study("mollification", small=True)
    for name in (STUDY, "summary.json"):
        (tmp_path / name).write_bytes(CONTENTS[kind])
    line = hostile.refusal(lambda: open_directory(study, tmp_path, MPI.COMM_SELF), tmp_path)
    assert "give another --out" in line
    assert "holds" in hostile.refusal(lambda: read_results([tmp_path]), tmp_path)


def test_names_that_lead_elsewhere(tmp_path: Path) -> None:
    study = read_study("mollification", small=True)
    for kind, trap in hostile.traps(tmp_path).items():
        if "\x00" in trap or len(trap) > 1000 or trap in ("none", ""):
            continue
        directory = tmp_path / "here"
        directory.mkdir()
        for name in (STUDY, "summary.json"):
            (directory / name).symlink_to(tmp_path / trap)
        hostile.refusal(lambda: open_directory(study, directory, MPI.COMM_SELF), tmp_path)  # noqa: B023
        hostile.refusal(lambda: read_results([directory]), tmp_path)  # noqa: B023
        for name in (STUDY, "summary.json"):
            (directory / name).unlink()
        directory.rmdir()
        assert kind


#: Changes of a finished point's record that make it none.
RECORDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no parameters": lambda record: record.pop("parameters"),
    "other parameters": lambda record: record["parameters"].update(t_end=2.0),
    "nothing swept": lambda record: record.pop("swept"),
    "another sweep": lambda record: record.update(swept=[1]),
    "no time": lambda record: record.update(seconds="x"),
    "no seed": lambda record: record.update(seed=None),
    "no quantities": lambda record: record.pop("quantities"),
    "a list of quantities": lambda record: record.update(quantities=[1]),
    "a quantity that is a number": lambda record: record.update(quantities={"l1": 3}),
    "a value that is a text": lambda record: record["quantities"]["l1"].update(value="<script>"),
    "a value that is true": lambda record: record["quantities"]["l1"].update(value=True),
    "an interval of one": lambda record: record["quantities"]["l1"].update(interval=[1.0]),
    "samples that are texts": lambda record: record["quantities"]["l1"].update(samples=["x"]),
    "warnings that are numbers": lambda record: record.update(warnings=[1]),
    "no warnings": lambda record: record.pop("warnings"),
}


def test_records_of_points_that_somebody_has_made_up(tmp_path: Path) -> None:
    point = read_study("mollification", small=True).points[0]
    (tmp_path / POINTS).mkdir()
    path = tmp_path / POINTS / f"{point.key}.json"
    good = {
        "swept": dict(point.swept),
        "parameters": dict(point.parameters),
        "seed": 1,
        "seconds": 0.5,
        "warnings": [],
        "quantities": {"l1": {"value": 1.0, "interval": [0.5, 1.5], "error": 0.1, "samples": []}},
    }
    path.write_text(json.dumps(good), encoding="utf-8")
    found = read_point(tmp_path, point)
    assert found is not None
    assert found["quantities"]["l1"].interval == (0.5, 1.5)
    for kind, change in RECORDS.items():
        record = json.loads(json.dumps(good))
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")
        assert read_point(tmp_path, point) is None, kind
    for kind, content in CONTENTS.items():
        path.write_bytes(content)
        assert read_point(tmp_path, point) is None, kind
    path.unlink()
    os.mkfifo(path)
    assert read_point(tmp_path, point) is None


def test_options_of_numba_in_the_current_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / ".numba_config.yaml").write_text(f"cache_dir: {tmp_path}\n", encoding="utf-8")
    path = os.pathsep.join([str(Path(kspde.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", "import kspde; kspde.simulate"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "InputError: .numba_config.yaml in the current directory would set options" in done.stderr.splitlines()[-1]
