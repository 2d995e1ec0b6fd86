"""Result directories: whole or not at all, on one rank and on two."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.cli.results import ResultDirectory, write_csv, write_json
from kspde.runtime.parallel import together
from kspde.runtime.provenance import provenance


def fill(results: ResultDirectory, comm: Any, text: str = "1", name: str = "numbers.txt") -> None:
    with together(comm):
        if comm.rank == 0:
            (results.path / name).write_text(text, encoding="utf-8")
            results.write_summary({"what": text})


def make(target: Path, comm: Any, text: str = "1", **options: Any) -> None:
    with ResultDirectory(target, comm, **options) as results:
        fill(results, comm, text)


def refusal(target: Path, comm: Any, **options: Any) -> str:
    with pytest.raises(kspde.InputError) as caught, ResultDirectory(target, comm, **options):
        pytest.fail("entered")
    return str(caught.value)


@pytest.fixture
def there(shared_tmp_path: Path, comm: Any) -> Any:
    """Return a function that lists the directory, hidden names too, when all ranks are done with it."""

    def names() -> list[str]:
        comm.Barrier()
        found = sorted(os.listdir(shared_tmp_path))
        comm.Barrier()
        return found

    return names


def test_appears_whole(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    target = shared_tmp_path / "result"
    with ResultDirectory(target, comm) as results:
        fill(results, comm)
        assert not target.exists()
        assert results.path.parent == shared_tmp_path
        assert "result" in results.path.name
    assert there() == ["result"]
    summary = json.loads((target / "summary.json").read_text(encoding="utf-8"))
    assert summary == {"kspde": kspde.__version__, "what": "1", "files": ["numbers.txt", "summary.json"]}


@pytest.mark.parametrize("error", [kspde.ConvergenceError("step 3"), KeyboardInterrupt()])
def test_leaves_nothing_after_an_error(shared_tmp_path: Path, comm: Any, there: Any, error: BaseException) -> None:
    def run() -> None:
        with ResultDirectory(shared_tmp_path / "result", comm) as results:
            fill(results, comm)
            comm.Barrier()
            raise error

    with pytest.raises(type(error)):
        run()
    assert there() == []


def test_leaves_nothing_when_a_signal_comes_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kspde.cli.hidden.fcntl.flock", interrupted)
    with pytest.raises(KeyboardInterrupt), ResultDirectory(tmp_path / "result", MPI.COMM_SELF):
        pytest.fail("entered")
    assert os.listdir(tmp_path) == []


def test_refuses_what_exists(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    target = shared_tmp_path / "result"
    make(target, comm)
    assert refusal(target, comm) == f"{target} exists: give another --out, or --force to replace it"
    assert (target / "numbers.txt").read_text() == "1"
    assert there() == ["result"]


def test_force_replaces_a_result(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    target = shared_tmp_path / "result"
    make(target, comm, "1")
    make(target, comm, "2", force=True)
    assert (target / "numbers.txt").read_text() == "2"
    assert there() == ["result"]


def test_force_keeps_the_old_result_when_the_new_one_fails(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    target = shared_tmp_path / "result"
    make(target, comm, "1")

    def fail() -> None:
        with ResultDirectory(target, comm, force=True):
            raise kspde.ConvergenceError("step 3")

    with pytest.raises(kspde.ConvergenceError):
        fail()
    assert (target / "numbers.txt").read_text() == "1"
    assert there() == ["result"]


def test_force_keeps_the_old_result_when_the_new_one_cannot_be_renamed(
    shared_tmp_path: Path, comm: Any, there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shared_tmp_path / "result"
    make(target, comm, "1")
    rename = Path.rename

    def once(self: Path, new: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(28, "No space left on device")
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(kspde.InputError, match=r"No space left on device\): the finished results are in .*partial$"):
        make(target, comm, "2", force=True)
    assert (target / "numbers.txt").read_text() == "1"
    (kept,) = set(there()) - {"result"}
    assert (shared_tmp_path / kept / "numbers.txt").read_text() == "2"


def test_force_replaces_an_empty_directory(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    target = shared_tmp_path / "result"
    target.mkdir(exist_ok=True)
    comm.Barrier()
    make(target, comm, force=True)
    assert sorted(os.listdir(target)) == ["numbers.txt", "summary.json"]
    assert there() == ["result"]


def test_fills_a_mount_point(shared_tmp_path: Path, comm: Any, there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's volume cannot be renamed."""
    target = shared_tmp_path / "out"
    target.mkdir(exist_ok=True)
    (target / ".checkpoints").mkdir(exist_ok=True)
    comm.Barrier()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target)
    inode = target.stat().st_ino

    def fail() -> None:
        with ResultDirectory(target, comm) as results:
            assert results.path.parent == target
            fill(results, comm)
            comm.Barrier()
            raise kspde.ConvergenceError("step 3")

    with pytest.raises(kspde.ConvergenceError):
        fail()
    comm.Barrier()
    assert os.listdir(target) == [".checkpoints"]
    comm.Barrier()
    make(target, comm, "1")
    assert "exists: give another --out, or --force" in refusal(target, comm)
    make(target, comm, "2", force=True)
    assert sorted(os.listdir(target)) == [".checkpoints", "numbers.txt", "summary.json"]
    assert (target / "numbers.txt").read_text() == "2"
    assert target.stat().st_ino == inode
    assert there() == ["out"]


def test_a_mount_point_has_its_summary_last(shared_tmp_path: Path, comm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is killed while it fills one leaves no summary, old or new, of files that are not there."""
    target = shared_tmp_path / "out"
    target.mkdir(exist_ok=True)
    comm.Barrier()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target)
    make(target, comm, "1")
    events: list[tuple[str, str]] = []
    rename, unlink = Path.rename, Path.unlink

    def renamed(self: Path, new: Path) -> Path:
        events.append(("in", Path(new).name))
        return rename(self, new)

    def unlinked(self: Path, missing_ok: bool = False) -> None:
        events.append(("out", self.name))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "unlink", unlinked)
    with ResultDirectory(target, comm, force=True) as results:
        fill(results, comm, "2", name="zeros.txt")
    if comm.rank == 0:
        assert events == [
            ("out", "summary.json"),
            ("out", "numbers.txt"),
            ("in", "zeros.txt"),
            ("in", "summary.json"),
        ]


@pytest.mark.parametrize("summary", [None, "{}", "[1]", "not json", '{"kspde": "0.1.0"}'])
def test_force_spares_what_is_no_result(shared_tmp_path: Path, comm: Any, summary: str | None) -> None:
    target = shared_tmp_path / "thesis"
    if comm.rank == 0:
        target.mkdir()
        (target / "chapter1.tex").write_text("x")
        if summary is not None:
            (target / "summary.json").write_text(summary)
    comm.Barrier()
    assert "is not a result of kspde" in refusal(target, comm, force=True)
    assert (target / "chapter1.tex").read_text() == "x"


def test_force_spares_a_result_with_files_of_others(shared_tmp_path: Path, comm: Any) -> None:
    target = shared_tmp_path / "result"
    make(target, comm)
    if comm.rank == 0:
        (target / "notes.txt").write_text("x")
    comm.Barrier()
    line = refusal(target, comm, force=True)
    assert line == f"{target} holds notes.txt, which is not part of the result: move it away first"
    assert (target / "notes.txt").exists()


def test_refuses_places_that_cannot_hold_it(shared_tmp_path: Path, comm: Any) -> None:
    missing = shared_tmp_path / "none" / "result"
    assert f"there is no directory {missing.parent}: create it first" in refusal(missing, comm)
    file = shared_tmp_path / "file"
    file.touch()
    assert "is a file" in refusal(file, comm)
    assert "cannot be written" in refusal(file / "result", comm)
    assert "File name too long" in refusal(shared_tmp_path / ("x" * 250), comm)
    # Not even root creates files in /proc.
    assert refusal(Path("/proc/result"), comm).startswith("/proc/result cannot be written (")


def test_summary_is_strict_json(shared_tmp_path: Path, comm: Any) -> None:
    with ResultDirectory(shared_tmp_path / "result", comm) as results, together(comm):
        if comm.rank == 0:
            results.write_summary(
                {
                    "nan": float("nan"),
                    "inf": np.float64("inf"),
                    "array": np.array([[1.5, np.nan]]),
                    "integer": np.int32(3),
                    "flag": np.bool_(True),
                    "tuple": (1, None, "χ"),
                    "path": Path("a"),
                }
            )

    def refuse(constant: str) -> None:
        pytest.fail(constant)

    text = (shared_tmp_path / "result" / "summary.json").read_text(encoding="utf-8")
    read = json.loads(text, parse_constant=refuse)
    del read["kspde"], read["files"]
    assert read == {
        "nan": None,
        "inf": None,
        "array": [[1.5, None]],
        "integer": 3,
        "flag": True,
        "tuple": [1, None, "χ"],
        "path": "a",
    }


def test_csv_has_all_digits_and_a_column_for_each_species(tmp_path: Path) -> None:
    t = np.array([0.0, 0.1 + 0.2])
    mass = np.array([[1.0, 2.0], [1 / 3, 4.0]])
    write_csv(tmp_path / "d.csv", {"t": t, "mass": mass}, ("a", "b"))
    write_csv(tmp_path / "one.csv", {"t": t, "mass": mass[:, 0]}, ("u",))
    rows = list(csv.reader((tmp_path / "d.csv").open(newline="")))
    assert rows[0] == ["t", "mass[a]", "mass[b]"]
    np.testing.assert_array_equal(np.array(rows[1:], dtype=float), np.column_stack([t, mass]))
    assert (tmp_path / "one.csv").read_text().splitlines()[0] == "t,mass"


def test_provenance(comm: Any) -> None:
    said = provenance(comm)
    assert said["ranks"] == comm.size
    assert said["threads_per_rank"] >= 1
    assert said["versions"]["kspde"] == kspde.__version__
    assert said["versions"]["numpy"] == np.__version__
    assert said["machine"]["processor"]
    assert said["date"].endswith("+00:00")


def left_by(target: Path, name: str, host: str | None) -> Path:
    """Make what a killed run has left: its process is no more, nor is its lock."""
    path = target.with_name(f".{target.name}.{name}.partial")
    path.mkdir()
    (path / "pictures").mkdir()
    if host is not None:
        (path / ".owner").write_text(json.dumps({"host": host, "process": 1}), encoding="utf-8")
    return path


def test_what_a_killed_run_has_left_is_removed(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    """But not what is another host's, holds finished results, or belongs to another result."""
    target = shared_tmp_path / "result"
    if comm.rank == 0:
        left_by(target, "0123abcd", platform.node())
        left_by(target, "0123abce", "elsewhere")
        left_by(target, "0123abcf", None)
        left_by(shared_tmp_path / "other", "0123abcd", platform.node())
        left_by(target, "mine", platform.node())
    comm.Barrier()
    make(target, comm)
    kept = [".other.0123abcd.partial", ".result.0123abce.partial", ".result.0123abcf.partial", ".result.mine.partial"]
    assert there() == [*kept, "result"]
    assert sorted(os.listdir(target)) == ["numbers.txt", "summary.json"]


def test_two_runs_into_one_directory(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    target = shared_tmp_path / "result"
    with ResultDirectory(target, comm) as results:
        line = refusal(target, comm)
        assert re.fullmatch(
            rf"another run \(process \d+ on {re.escape(platform.node())}\) is writing {re.escape(str(target))}: "
            "wait for it, or give another --out",
            line,
        )
        fill(results, comm)
    assert there() == ["result"]


def test_a_result_that_was_about_to_be_replaced_comes_back(shared_tmp_path: Path, comm: Any, there: Any) -> None:
    """Killed between two renames."""
    target = shared_tmp_path / "result"
    make(target, comm, "1")
    if comm.rank == 0:
        target.rename(shared_tmp_path / ".result.0123abcd.old")
    comm.Barrier()
    assert "exists: give another --out, or --force" in refusal(target, comm)
    make(target, comm, "2", force=True)
    assert there() == ["result"]


@pytest.mark.parametrize("name", ["notes.txt", "numbers.txt", "plots/mine.txt"])
def test_force_keeps_what_has_come_or_changed_during_the_run(
    shared_tmp_path: Path, comm: Any, there: Any, name: str
) -> None:
    target = shared_tmp_path / "result"
    make(target, comm, "1")

    def replace() -> None:
        with ResultDirectory(target, comm, force=True) as results:
            if comm.rank == 0:
                (target / name).parent.mkdir(exist_ok=True)
                (target / name).write_text("not yours", encoding="utf-8")
            fill(results, comm, "2")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        replace()
    _, kept = there()
    assert re.fullmatch(r"result\.[0-9a-f]{8}\.kept", kept)
    assert (shared_tmp_path / kept / name).read_text("utf-8") == "not yours"
    assert (target / "numbers.txt").read_text() == "2"
    said = [str(w.message) for w in caught if issubclass(w.category, kspde.KspdeWarning)]
    line = f"{target} has changed during the run: what was there is kept in {shared_tmp_path / kept}"
    assert said == ([line] if comm.rank == 0 else [])


def test_a_mount_point_keeps_what_has_come_during_the_run(
    shared_tmp_path: Path, comm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shared_tmp_path / "out"
    target.mkdir(exist_ok=True)
    comm.Barrier()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ResultDirectory(target, comm) as results:
            if comm.rank == 0:
                (target / "numbers.txt").write_text("not yours", encoding="utf-8")
            fill(results, comm, "1")
    names = sorted(os.listdir(target))
    assert names[0] == "numbers.txt"
    assert names[2] == "summary.json"
    assert (target / names[1]).read_text("utf-8") == "not yours"


def test_a_full_disk_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "open", full)
    for write in (lambda path: write_json(path, {}), lambda path: write_csv(path, {}, ())):
        with pytest.raises(kspde.InputError, match=r"cannot write .*file: No space left on device$"):
            write(tmp_path / "file")
