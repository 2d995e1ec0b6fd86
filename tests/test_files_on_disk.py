"""Files that a kill or a power cut must not spoil: forced to the disk under another name before they get their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.papers.studies.execute import _write
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore, run_description


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path, bytes]]:
    """What is forced to the disk, and what is renamed to what, in order; with the content of files then."""
    seen: list[tuple[str, Path, bytes]] = []
    fsync, replace = os.fsync, Path.replace

    def content(path: Path) -> bytes:
        return path.read_bytes() if path.is_file() else b""

    def synced(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        seen.append(("forced", path, content(path)))
        fsync(handle)

    def renamed(self: Path, target: Any) -> Path:
        seen.append(("renamed", self, content(self)))
        out = replace(self, target)
        seen.append(("named", out, content(out)))
        return out

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    return seen


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    shared_tmp_path: Path, comm: Any, events: list[tuple[str, Path, bytes]]
) -> None:
    directory = shared_tmp_path.resolve()
    store = CheckpointStore(Checkpoint(directory), {"n": 1}, comm)
    path = store.write(4, parts={"x": np.arange(3.0)}, shared={})
    if comm.rank:
        assert events == []
        return
    assert [what for what, _, _ in events] == ["forced", "renamed", "named", "forced"]
    hidden = events[0][1]
    assert hidden == events[1][1]
    assert hidden.parent == directory
    assert not hidden.match("checkpoint-*.h5")  # what a search for checkpoints finds
    assert events[2][1] == path
    assert events[3][1] == directory  # the name itself
    whole = path.read_bytes()
    assert [text for _, _, text in events[:3]] == [whole] * 3  # nothing is written after the first


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ({"n": 1}, {"n": 1, "weights": "u: 5"}, 'weights = null there, "u: 5" here'),
        ({"n": 1, "weights": "u: 5"}, {"n": 1}, 'weights = "u: 5" there, null here'),
    ],
)
def test_a_problem_that_says_more_or_less_is_another_one(
    shared_tmp_path: Path, comm: Any, theirs: dict[str, Any], ours: dict[str, Any], words: str
) -> None:
    CheckpointStore(Checkpoint(shared_tmp_path), theirs, comm).write(1, parts={}, shared={})
    with pytest.raises(kspde.InputError, match=words):
        CheckpointStore(Checkpoint(shared_tmp_path), ours, comm).latest()


def test_every_species_and_its_mass_tell_runs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.arange(3.0), np.array([0.0, 1.0, 2.5])
    masses = {"a": 1.0, "b": 2.0}
    first = run_description("fem", "model", masses, [x, x], eps=0.3)
    assert run_description("fem", "model", dict(masses), [x.copy(), x.copy()], eps=0.3) == first
    others = [
        run_description("fem", "model", masses, [x, y], eps=0.3),
        run_description("fem", "model", masses, [y, x], eps=0.3),
        run_description("fem", "model", masses | {"b": 1.0}, [x, x], eps=0.3),
        run_description("fem", "model", masses, [x, x], eps=0.2),
        run_description("particles", "model", masses, [x, x], eps=0.3),
    ]
    assert all(other != first for other in others)

    # Where a function lies in memory is no property of the problem; its name is.
    def motility(v: Any) -> Any:
        return v

    def other_motility(v: Any) -> Any:
        return v

    here = [run_description("fem", (f,), masses, [x]) for f in (motility, other_motility)]
    again = FunctionType(motility.__code__, {}, "motility")
    again.__qualname__ = motility.__qualname__
    assert run_description("fem", (again,), masses, [x]) == here[0] != here[1]
    monkeypatch.setattr("kspde._version.__version__", "another")
    assert run_description("fem", "model", masses, [x, x], eps=0.3) != first


def test_a_point_of_a_study_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, events: list[tuple[str, Path, bytes]]
) -> None:
    path = tmp_path.resolve() / "point.json"
    _write(path, {"value": 0.1})
    assert [what for what, _, _ in events] == ["forced", "renamed", "named"]
    assert events[0][1] == events[1][1] != path
    assert not events[0][1].match("*.json")
    assert [text for _, _, text in events] == [path.read_bytes()] * 3
    assert json.loads(path.read_text("utf-8")) == {"value": 0.1}
