"""Files that a kill or a power cut must not spoil: forced to the disk under another name before they get their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.cli import main
from kspde.papers.studies.execute import write_record
from kspde.runtime.checkpoint import Checkpoint, CheckpointStore


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


def test_a_point_of_a_study_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, events: list[tuple[str, Path, bytes]]
) -> None:
    path = tmp_path.resolve() / "point.json"
    write_record(path, {"value": 0.1})
    assert [what for what, _, _ in events] == ["forced", "renamed", "named", "forced"]
    assert events[0][1] == events[1][1] != path
    assert not events[0][1].match("*.json")
    assert events[3][1] == path.parent  # the name itself
    assert [text for _, _, text in events[:3]] == [path.read_bytes()] * 3
    assert json.loads(path.read_text("utf-8")) == {"value": 0.1}


@pytest.mark.one_rank
def test_a_full_disk_spoils_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], largest_file: Callable[[int], Any], monkeypatch: Any
) -> None:
    """Answers in files are complete or as they were before, also where a link leads to them; a link stays one."""
    monkeypatch.chdir(tmp_path)
    Path("there.md").write_text("before")
    Path("ledger.md").symlink_to("there.md")
    Path("a-file").touch()
    with largest_file(100):
        for arguments, why in (
            (("ledger", "--out", "ledger.md"), "ledger.md cannot be written (File too large)"),
            (("init", "--out", "new.toml"), "new.toml cannot be written (File too large)"),
            (("init", "--out", "a-file/new.toml"), "a-file/new.toml cannot be written (Not a directory)"),
        ):
            assert main(arguments) == 2
            assert capfd.readouterr().err == f"kspde: error: {why}: give another --out\n"
    assert Path("ledger.md").read_text() == "before"
    assert sorted(os.listdir()) == ["a-file", "ledger.md", "there.md"]
    assert main(("ledger", "--out", "ledger.md")) == 0
    assert Path("ledger.md").is_symlink()
    assert "supported" in Path("there.md").read_text(encoding="utf-8")
