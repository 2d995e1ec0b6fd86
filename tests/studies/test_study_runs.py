"""Studies that go on where they were stopped, and what they write."""

from __future__ import annotations

import csv
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.cli.console import Console
from kspde.cli.jobs import run_study
from kspde.cli.study import read_study
from kspde.papers.studies import execute, open_directory, run_points
from kspde.papers.studies.measures import Task
from kspde.runtime.hdf5 import h5py
from kspde.runtime.signals import Stop


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, comm: Any) -> Callable[[], int]:
    """Return a function that says how many points have been measured, on all ranks together."""
    calls = []
    measured = execute.measured

    def counting(*arguments: Any) -> Any:
        calls.append(arguments)
        return measured(*arguments)

    monkeypatch.setattr(execute, "measured", counting)
    return lambda: sum(comm.allgather(len(calls)))


def files(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (directory / "points").glob("*.json")}


def test_finished_points_are_not_repeated(
    tiny_file: Callable[..., Path],
    shared_tmp_path: Path,
    counted: Callable[[], int],
    comm: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study, out = read_study(tiny_file()), shared_tmp_path / "out"
    finished = execute.write_record

    def stopping(path: Path, content: Any) -> None:
        # What a kill leaves: some points finished, one half written under its temporary name.
        if "quantities" in content and content["swept"]["eps"] == 0.05:
            path.with_name(f".{path.name}.1").write_text("{", encoding="utf-8")
            raise kspde.ConvergenceError("stopped here")
        finished(path, content)

    monkeypatch.setattr(execute, "write_record", stopping)
    open_directory(study, out, comm)
    with pytest.raises(kspde.ConvergenceError, match="stopped here"):
        run_points(study, out, comm)
    comm.Barrier()
    assert counted() == 3
    before = files(out)
    assert len(before) == 2

    monkeypatch.setattr(execute, "write_record", finished)
    shares: list[float] = []
    open_directory(study, out, comm)
    assert run_points(study, out, comm, shares.append) == (1, 2)
    comm.Barrier()
    assert counted() == 4
    assert before.items() <= files(out).items()
    assert shares == ([1.0] if comm.rank == 0 else [])
    assert run_points(study, out, comm) == (0, 3)
    assert counted() == 4


def test_points_keep_where_they_come_from(tiny_file: Callable[..., Path], shared_tmp_path: Path, comm: Any) -> None:
    """A finished study that is run again, elsewhere, knows where its points were computed."""
    study, out = read_study(tiny_file()), shared_tmp_path / "out"
    run_study(study, out, comm, Console(comm, quiet=True), Stop())
    comm.Barrier()
    if comm.rank == 0:  # as if one of them came from another machine
        path = sorted((out / "points").glob("*.json"))[0]
        record = json.loads(path.read_text("utf-8"))
        assert record["provenance"]["ranks"] == comm.size
        assert record["provenance"]["versions"]["kspde"] == kspde.__version__
        record["provenance"].update(ranks=64, date="2020-02-20T00:00:00+00:00")
        record["provenance"]["machine"]["host"] = "elsewhere"
        path.write_text(json.dumps(record), "utf-8")
    comm.Barrier()
    run_study(study, out, comm, Console(comm, quiet=True), Stop())
    comm.Barrier()
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    found = [(point["provenance"]["machine"]["host"], point["provenance"]["ranks"]) for point in summary["points"]]
    assert sorted(found, key=str).count(("elsewhere", 64)) == 1
    assert found.count((platform.node(), comm.size)) == 2
    assert all(point["seed"] is None or point["seed"] >= 0 for point in summary["points"])
    assert "1 on elsewhere, 64 ranks" in summary["provenance"]["points"]
    assert "1 on elsewhere, 64 ranks" in (out / "report.html").read_text("utf-8")


def test_a_damaged_point_is_computed_again(tiny_file: Callable[..., Path], shared_tmp_path: Path, comm: Any) -> None:
    study, out = read_study(tiny_file(), small=True), shared_tmp_path / "out"
    open_directory(study, out, comm)
    assert run_points(study, out, comm) == (2, 0)
    path = out / "points" / f"{study.points[0].key}.json"
    whole = path.read_text(encoding="utf-8")
    comm.Barrier()
    if comm.rank == 0:
        path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    comm.Barrier()
    assert run_points(study, out, comm) == (1, 1)
    comm.Barrier()
    assert json.loads(path.read_text("utf-8"))["quantities"] == json.loads(whole)["quantities"]


def test_a_changed_study_is_refused_by_name_or_completed(
    tiny_file: Callable[..., Path], shared_tmp_path: Path, comm: Any
) -> None:
    out = shared_tmp_path / "out"
    first = read_study(tiny_file())
    open_directory(first, out, comm)
    assert run_points(first, out, comm) == (3, 0)
    finer = read_study(tiny_file("cells = 12", "cells = 13"))
    with pytest.raises(kspde.InputError, match=r"other parameters \(domain.cells = 12 there, 13 here\)"):
        open_directory(finer, out, comm)
    longer = read_study(tiny_file("[0.2, 0.1, 0.05]", "[0.2, 0.1, 0.05, 0.15]"))
    with pytest.raises(kspde.InputError, match=r"eps = \[0.2, 0.1, 0.05\] there, \[0.2, 0.1, 0.05, 0.15\] here"):
        open_directory(longer, out, comm)
    open_directory(longer, out, comm, force=True)
    assert run_points(longer, out, comm) == (1, 3)
    comm.Barrier()
    with pytest.raises(kspde.InputError, match="holds no study"):
        open_directory(first, out / "points", comm)
    comm.Barrier()
    if comm.rank == 0:
        about = json.loads((out / "study.json").read_text("utf-8"))
        (out / "study.json").write_text(json.dumps(about | {"study": "other"}), encoding="utf-8")
    comm.Barrier()
    with pytest.raises(kspde.InputError, match="holds the study other, not tiny: give another --out"):
        open_directory(first, out, comm, force=True)


def test_a_point_that_fails_is_named_on_every_rank(
    tiny_file: Callable[..., Path], shared_tmp_path: Path, comm: Any
) -> None:
    study = read_study(tiny_file("half_width = 10.0", "half_width = 1.0"))
    open_directory(study, shared_tmp_path / "out", comm)
    with pytest.raises(kspde.InputError, match=r"^at eps = 0\.\d+: "):
        run_points(study, shared_tmp_path / "out", comm)


def test_a_full_disk_loses_no_point(
    tiny_file: Callable[..., Path],
    shared_tmp_path: Path,
    comm: Any,
    largest_file: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The point that could not be written is computed again by the same command; nothing of it is left."""
    study, out = read_study(tiny_file(), small=True), shared_tmp_path / "out"
    open_directory(study, out, comm)
    finished = execute.write_record

    def on_a_full_disk(*arguments: Any) -> None:
        with largest_file(100):
            finished(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(execute, "write_record", on_a_full_disk)
        with pytest.raises(kspde.InputError, match=r"out cannot be written \(File too large\): make room"):
            run_points(study, out, comm)
    comm.Barrier()
    assert list((out / "points").iterdir()) == []
    comm.Barrier()
    assert run_points(study, out, comm) == (2, 0)


def test_the_result_is_the_same_on_any_number_of_ranks(
    tiny_file: Callable[..., Path], shared_tmp_path: Path, comm: Any
) -> None:
    # An own computation of one point, on this rank alone.
    study, out = read_study(tiny_file(), small=True), shared_tmp_path / "out"
    point = study.points[0]
    alone = point.measure.at(Task(experiment=point.experiment, seed=point.seed, comm=MPI.COMM_SELF))
    for ranks, more in ((1, study), (comm.size, replace(study, points=(point,)))):
        open_directory(study, out / str(ranks), comm)
        run_points(more, out / str(ranks), comm, ranks_per_point=ranks)
        comm.Barrier()
        record = execute.read_point(out / str(ranks), point)
        assert record is not None
        assert record["quantities"]["l1"].value == pytest.approx(alone["l1"].value, rel=1e-10)
    with pytest.raises(kspde.InputError, match=f"ranks_per_point = 9 is more than the {comm.size} of this run"):
        run_points(study, out / "1", comm, ranks_per_point=9)


@pytest.mark.one_rank
def test_executors_on_whose_ranks_petsc_cannot_start_are_refused(
    tiny_file: Callable[..., Path], tmp_path: Path, comm: Any
) -> None:
    from mpi4py.futures import MPIPoolExecutor

    study = read_study(tiny_file())
    for run in (run_study, run_points):
        with pytest.raises(kspde.InputError, match="executor is a MPIPoolExecutor, on whose ranks alone PETSc cannot"):
            run(study, tmp_path / "out", comm, executor=MPIPoolExecutor())
    assert not (tmp_path / "out").exists()


class Eager:
    """An executor that returns what the function does, or less."""

    def __init__(self, returned: object) -> None:
        self.returned = returned

    def submit(self, function: Any, point: Any, ranks: int) -> object:
        return self.returned


@pytest.mark.one_rank
@pytest.mark.parametrize("returned", [None, {"l1": 0.1}, object()])
def test_executors_that_return_no_future_are_refused(
    tiny_file: Callable[..., Path], tmp_path: Path, comm: Any, returned: object
) -> None:
    study, out = read_study(tiny_file()), tmp_path / "out"
    open_directory(study, out, comm)
    with pytest.raises(kspde.InputError, match=r"^executor is a Eager, whose submit returned .*: give one that ret"):
        run_points(study, out, comm, executor=Eager(returned))
    assert not files(out)


class Losing:
    """An executor that loses the worker of one point."""

    def __init__(self, own: ProcessPoolExecutor) -> None:
        self.submit_to = own.submit

    def submit(self, function: Any, point: Any, ranks: int) -> Future[Any]:
        if point.swept["eps"] != 0.1:
            return self.submit_to(function, point, ranks)
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("killed"))
        return future


@pytest.mark.one_rank
def test_executors_and_shards_in_any_order_make_one_run(
    tiny_file: Callable[..., Path], tmp_path: Path, finished: Path, comm: Any
) -> None:
    study, out = read_study(tiny_file()), tmp_path / "out"
    open_directory(study, out, comm)
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        with pytest.raises(kspde.ConvergenceError, match=r"^at eps = 0\.1: its worker is lost \(killed\)"):
            run_points(study, out, comm, executor=Losing(pool))
        assert len(files(out)) == 2
        assert run_points(study.shard(2, 2), out, comm, executor=pool) == (1, 0)  # eps = 0.1
        (out / "points" / f"{study.points[2].key}.json").unlink()
        assert run_points(study.shard(1, 2), out, comm, executor=pool) == (1, 1)
    assert run_points(study, out, comm) == (0, 3)
    for point in study.points:
        found, serial = (execute.read_point(directory, point) for directory in (out, finished))
        assert found is not None
        assert serial is not None
        assert all(found[name] == serial[name] for name in ("swept", "seed", "quantities"))


@pytest.mark.one_rank
def test_threads_compute_one_point_at_a_time(
    tiny_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comm: Any
) -> None:
    """They share PETSc, and what warns of one point would be said of another."""
    study, out = read_study(tiny_file()), tmp_path / "out"
    open_directory(study, out, comm)
    at_work: list[int] = []

    def measured(measure: Any, task: Task) -> dict[str, Any]:
        at_work.append(task.seed)
        assert at_work == [task.seed]
        warnings.warn(f"of {task.seed}", UserWarning, stacklevel=1)
        time.sleep(0.05)
        at_work.remove(task.seed)
        return {}

    monkeypatch.setattr(execute, "measured", measured)
    with ThreadPoolExecutor(3) as pool:
        assert run_points(study, out, comm, executor=pool) == (3, 0)
    records = [json.loads(path.read_text("utf-8")) for path in (out / "points").iterdir()]
    assert all(record["warnings"] == [f"of {record['seed']}"] for record in records)


@pytest.mark.one_rank
def test_shards_are_parts_of_like_cost(tiny_file: Callable[..., Path]) -> None:
    study: Any = replace(read_study(tiny_file()), points=tuple(range(10)))
    assert [study.shard(i, 3).points for i in (1, 2, 3)] == [(0, 3, 6, 9), (1, 4, 7), (2, 5, 8)]
    costs = [1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0, 16.0, 16.0]
    parts = [study.shard(i, 4, costs).points for i in (1, 2, 3, 4)]
    assert sorted(k for part in parts for k in part) == list(range(10))
    assert sorted(sum(costs[k] for k in part) for part in parts) == [15.0, 15.0, 16.0, 16.0]
    assert study.shard(11, 11).points == ()


def summary_of(directory: Path) -> Any:
    return json.loads((directory / "summary.json").read_text("utf-8"))


def test_tables_report_and_summary(finished: Path, comm: Any) -> None:
    out = finished
    if comm.rank:
        return
    assert sorted(os.listdir(out)) == [
        "l1-eps.png",
        "points",
        "report.html",
        "study.json",
        "summary.json",
        "table.csv",
        "table.h5",
    ]
    with (out / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["eps"], row["quantity"]) for row in rows] == [
        (str(eps), name) for eps in (0.2, 0.1, 0.05) for name in ("l1", "l2")
    ]
    with h5py.File(out / "table.h5") as file:
        assert {name.decode() for name in file["table/quantity"][()]} == {"l1", "l2"}
        np.testing.assert_array_equal(file["table/value"][()], [float(row["value"]) for row in rows])
        assert file["table/row"].is_scale
        for name, column in file["table"].items():
            if name != "row":
                assert column.dims[0][0] == file["table/row"]
                assert column.attrs["long_name"]
                unit = {"seconds": "s", "quantity": None}.get(name, "1")
                assert column.attrs.get("units") == unit
        assert file.attrs["study"] == summary_of(out)["study"]
        assert len(json.loads(file.attrs["parameters"])["points"]) == 3
        assert set(json.loads(file.attrs["quantities"])) == {"l1", "l2"}
        for group in file["samples"].values():
            assert json.loads(group.attrs["provenance"])["versions"]["kspde"] == kspde.__version__
            assert set(group.attrs) >= {"eps", "seed"}
    summary = summary_of(out)
    (rate,) = summary["rates"]
    assert rate["order"] == pytest.approx(2.0, abs=0.05)
    assert [p["verdict"] for p in rate["promises"]] == ["supported"]
    assert summary["points"][0]["quantities"]["l1"]["value"] == float(rows[0]["value"])
    assert summary["provenance"]["versions"]["kspde"] == kspde.__version__


def test_the_report_loads_nothing(finished: Path, comm: Any) -> None:
    from html.parser import HTMLParser

    if comm.rank:
        return
    found: list[tuple[str, str | None]] = []
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img"):
                open_tags.append(tag)
            assert tag not in ("script", "link", "iframe", "object")
            found.extend((name, value) for name, value in attributes if name in ("src", "href", "srcset"))

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    text = (finished / "report.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == text.count("<figcaption>Points are measured values with 95 % intervals")
    assert 'name="viewport"' in text
    assert "@media (prefers-color-scheme: dark)" in text
    Reader().feed(text)
    assert open_tags == []
    assert [name for name, _ in found] == ["src"]
    assert all(value is not None and value.startswith("data:image/png;base64,") for _, value in found)
    assert "url(" not in text
    assert "@import" not in text
    assert "<h1>A title with &lt;angles&gt; &amp; an ampersand</h1>" in text
    assert "<p>First paragraph.</p>" in text


def test_a_law_ties_eps_to_the_number_of_particles(tiny_file: Callable[..., Path]) -> None:
    path = tiny_file(
        "regularisation.eps = [0.2, 0.1, 0.05]",
        "particles.n = [100, 400]\nregularisation.eps = { c = 0.3, gamma = [0.1, 0.2] }",
        "[sweep]",
        "[particles]\nn = 1\ndt = 0.01\n\n[sweep]",
        'kind = "mollification"',
        'kind = "fluctuations"\nreplicas = 4',
        'quantity = "l1"',
        'quantity = "moment_1"',
        'against = "eps"',
        'against = "n"',
    )
    study = read_study(path)
    assert study.axes == {"n": (100, 400), "gamma": (0.1, 0.2)}
    for point in study.points:
        expected = 0.3 * point.swept["n"] ** -point.swept["gamma"]
        assert point.swept["eps"] == point.experiment.problem.eps == pytest.approx(expected)
        assert (point.experiment.simulate or {})["n"] == point.swept["n"]


def test_the_key_is_that_of_all_parameters(tiny_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    point = read_study(tiny_file()).points[0]
    keys = {point.key}
    for change in (("t_end = 0.02", "t_end = 0.03"), ("chi = 8.0", "chi = 8.1"), ("tol = 1e-8", "tol = 1e-7")):
        keys.add(read_study(tiny_file(*change)).points[0].key)
    monkeypatch.setattr("kspde.papers.studies.study.__version__", "another")
    keys.add(point.key)
    assert len(keys) == 5
