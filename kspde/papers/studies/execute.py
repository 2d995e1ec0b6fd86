"""Run the points of a study side by side, and none of them twice.

Each finished point is one JSON file in ``DIR/points``, named by the hash of its parameters and of kspde's version,
written under a temporary name, forced to the disk and renamed: a job that is killed loses at most the points that it is
computing. Nothing else in a point's file depends on which process computes it, nor do its seeds.

Points are computed one after the other by all ranks together, where there are no more than ``ranks_per_point``; by an
executor of ``concurrent.futures``; or under mpirun by groups of ranks, to whose first ones rank 0 hands them out
(``mpi4py.futures.MPICommExecutor``): then give mpirun one rank more than there are cores. Rank 0 writes the files.

A point that fails loses only its own result, and so does one whose process is killed, if the executor survives it.
"""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from kspde._version import __version__
from kspde.errors import ConvergenceError, InputError, KspdeError, check_integer, first_line, shortened, shown
from kspde.fem import backend
from kspde.papers.studies.measures import Task, measured
from kspde.papers.studies.quantities import from_record
from kspde.papers.studies.study import Point, Study
from kspde.runtime.files import read_json, reason, write_whole
from kspde.runtime.messages import warn
from kspde.runtime.parallel import all_or_none, alone, together
from kspde.runtime.provenance import provenance
from kspde.typing import Comm

__all__ = [
    "PILOT",
    "POINTS",
    "STUDY",
    "check_executor",
    "open_directory",
    "read_point",
    "run_points",
    "vacated",
    "write_record",
]

#: The file that describes the study of a directory, and the directory of finished points.
STUDY, POINTS = "study.json", "points"
#: The directory of a pilot run, in that of its study.
PILOT = "pilot"
#: Seconds between two looks at an executor's futures.
_PAUSE = 0.02


def open_directory(study: Study, directory: Path, comm: Comm, *, force: bool = False) -> None:
    """Make the directory of a study's results, or reuse the one that an earlier run left. Collective.

    Args:
        study: the study.
        directory: the directory of its results.
        comm: the communicator.
        force: whether to reuse a directory of the same study with other points; points that are the same are kept.

    Raises:
        InputError: the directory holds something else or another study, or cannot be written; on every rank.
    """
    with together(comm, "open_directory") as same:
        same(study=study.described(), directory=str(directory), force=force)
        if comm.rank == 0:
            try:
                _open(study, directory, force)
            except OSError as error:
                raise InputError(f"{directory} cannot be written ({error.strerror}): give another --out") from None


def _open(study: Study, directory: Path, force: bool) -> None:
    described = json.loads(json.dumps(study.described()))
    about = directory / STUDY
    # Several shards may begin at once: each finds what another has made so far.
    if directory.is_dir() and {name for name in os.listdir(directory) if name[0] != "."} - {PILOT, POINTS}:
        try:
            theirs = read_json(about)
            named = str(theirs["study"])
            differs = _difference(theirs, described) if theirs != described else ""
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise InputError(f"{directory} exists and holds no study: give another --out") from None
        if named != study.name:
            raise InputError(f"{directory} holds the study {named}, not {study.name}: give another --out")
        if differs and not force:
            raise InputError(
                f"{directory} holds this study with other parameters ({differs}): give another --out, or --force to "
                "compute what has changed and keep the rest"
            )
    elif directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file: give --out the name of a directory")
    (directory / POINTS).mkdir(parents=True, exist_ok=True)
    write_record(about, described)


@contextmanager
def vacated(directory: Path, comm: Comm) -> Iterator[None]:
    """Remove what ``open_directory`` made if the work fails before any point is finished."""
    try:
        yield
    except BaseException:
        if comm.rank == 0 and not any((directory / POINTS).glob("*.json")):
            with suppress(OSError):
                (directory / POINTS).rmdir()
                (directory / STUDY).unlink()
                directory.rmdir()
        raise


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return the first difference of two descriptions, by name."""
    tables = [
        tuple(
            {name: study.get(name) for name in ("setting", "measure")} | study.get("axes", {})
            for study in (theirs, ours)
        ),
        *zip(theirs.get("points", {}).values(), ours["points"].values(), strict=False),
    ]
    for before, now in tables:
        there, here = _flat(before), _flat(now)
        for name in {**there, **here}:
            if there.get(name) != here.get(name):
                return f"{name} = {_short(there.get(name))} there, {_short(here.get(name))} here"
    return "another version of kspde"


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in table.items():
        out |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return out


def _short(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else shortened(json.dumps(value))


def run_points(
    study: Study,
    directory: Path,
    comm: Comm,
    progress: Callable[[float], None] | None = None,
    *,
    executor: Any = None,
    ranks_per_point: int = 1,
) -> tuple[int, int]:
    """Compute the points that have no file yet. Collective.

    Args:
        study: the study.
        directory: the directory, opened by ``open_directory``.
        comm: the communicator.
        progress: called on rank 0 with the share of points that are finished.
        executor: what computes points, on one rank: :class:`kspde.runtime.workers.Workers`, or an executor of
            ``concurrent.futures``, of Dask (``Client.get_executor()``), of submitit. Threads of one process take turns.
        ranks_per_point: the number of ranks that compute a point together.

    Returns:
        The number of points that were computed, and of those that were there.

    Raises:
        InputError: a point is not valid for its measure; the message names it, on every rank. The other points are
            finished, here and below. Or there are fewer ranks than ``ranks_per_point``.
        ConvergenceError: a solve failed, or the process that computed a point is lost; on every rank.
        MissingBackendError: DOLFINx is not installed.
    """
    check_executor(executor)
    backend.require()  # collective: PETSc is initialised on all ranks together
    places: list[int] = []
    with together(comm, "run_points") as same:
        same(study=study.described(), directory=str(directory), ranks_per_point=ranks_per_point)
        _check_means(comm, executor, ranks_per_point)
        if comm.rank == 0:
            places = [k for k, point in enumerate(study.points) if read_point(directory, point) is None]
    missing = [study.points[k] for k in comm.bcast(places)]
    total, computed = len(study.points), 0
    lost: dict[str, Exception] = {}
    failure: Exception | None = None
    everyone = executor is None and comm.size == ranks_per_point
    try:
        with closing(_found(missing, comm, executor, ranks_per_point)) as results:
            for point, found in results:
                if isinstance(found, Exception):
                    lost[point.label] = found
                    continue
                with together(comm if everyone else alone()):
                    if comm.rank == 0:
                        try:
                            write_record(_file(directory, point), found)
                        except OSError as error:
                            raise InputError(
                                f"{directory} cannot be written ({reason(error)}): make room, and the same command "
                                "computes what is missing"
                            ) from None
                computed += 1
                if progress is not None and comm.rank == 0:
                    progress((total - len(missing) + computed) / total)
    except Exception as error:
        failure = error
    with together(comm):
        if failure is not None:
            raise failure
        if lost:
            raise _first_of(lost, [point.label for point in missing])
    return len(missing), total - len(missing)


def check_executor(executor: Any) -> None:
    """Refuse what is not an executor, before anything collective: ranks that serve mpi4py's come to none of it.

    Raises:
        InputError: what it is, and the remedy.
    """
    kind = type(executor)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise InputError(f"executor is a {kind.__name__}: give one with a method submit")
    if kind.__module__.startswith("mpi4py."):
        raise InputError(
            f"executor is a {kind.__name__}, on whose ranks alone PETSc cannot start: leave it out, mpirun with "
            "ranks_per_point hands out the points"
        )


def _check_means(comm: Comm, executor: Any, ranks_per_point: int) -> None:
    """Refuse what cannot compute points; say which ranks have nothing to do."""
    check_integer("ranks_per_point", ranks_per_point, at_least=1)
    if executor is not None and (comm.size > 1 or ranks_per_point > 1):
        raise InputError("an executor is for one rank: leave out mpirun and ranks_per_point, or the executor")
    if ranks_per_point > comm.size:
        raise InputError(
            f"ranks_per_point = {ranks_per_point} is more than the {comm.size} of this run: give mpirun as many, or "
            "one more than a multiple"
        )
    idle = (comm.size - 1) % ranks_per_point if comm.size > ranks_per_point else 0
    if idle:
        warn(
            f"{idle} of {comm.size} ranks have nothing to do: rank 0 hands out points to groups of {ranks_per_point}, "
            f"give mpirun {comm.size - idle} ranks, or {comm.size - idle + ranks_per_point}",
            comm,
        )


#: What computing a point returns: its record, or why there is none.
type _Found = dict[str, Any] | Exception


def _found(points: Sequence[Point], comm: Comm, executor: Any, ranks_per_point: int) -> Generator[tuple[Point, _Found]]:
    """Compute points, and yield what each gives: on all ranks where these compute together, else on rank 0.

    Collective.
    """
    if executor is None and comm.size == ranks_per_point:
        for point in points:
            yield point, _compute(point, comm, comm.size)
        return
    with _groups(comm, ranks_per_point) if executor is None else nullcontext(executor) as pool:
        if pool is None:  # this rank has computed its part
            return
        waiting: dict[int, Any] = {}
        try:
            with getattr(pool, "batch", nullcontext)():  # submitit's, for one job array
                for k, point in enumerate(points):
                    waiting[k] = _submitted(pool, point, int(comm.size))
            while waiting:
                ready = [k for k, future in waiting.items() if future.done()]
                for k in ready:
                    yield points[k], _result(points[k], waiting.pop(k))
                if not ready:
                    time.sleep(_PAUSE)
        finally:
            for future in waiting.values():
                future.cancel()


def _submitted(pool: Any, point: Point, ranks: int) -> Any:
    """Return the future of a point.

    Raises:
        InputError: the executor returns something else.
    """
    try:
        future = pool.submit(_compute_here, point, ranks)
    except Exception as error:  # it is broken already
        broken: Future[_Found] = Future()
        broken.set_exception(error)
        return broken
    if not all(callable(getattr(future, name, None)) for name in ("done", "result", "cancel")):
        raise InputError(
            f"executor is a {type(pool).__name__}, whose submit returned {shown(future)}: give one that returns "
            "futures, with methods done, result and cancel"
        )
    return future


def _result(point: Point, future: Any) -> _Found:
    try:
        found: _Found = future.result()
    except Exception as error:  # not of the point, whose own are returned
        kind = "" if isinstance(error, BrokenExecutor) else f"{type(error).__name__}: "
        why = shortened(f"{kind}{first_line(error)}", 160)
        return ConvergenceError(f"{_at(point)}its worker is lost ({why}): the same command computes what is missing")
    return found


def _first_of(lost: Mapping[str, Exception], order: Sequence[str]) -> Exception:
    """Return the error of the first point in order that has one, which names the others too."""
    first, *others = sorted(lost, key=order.index)
    error = lost[first]
    if others:
        more = shortened("; ".join(others), 300)
        error.args = (f"{error} (without result too: {more})",)
    return error


#: PETSc and the list of warnings belong to a process, and its threads (also a Dask worker's) share them.
_one_at_a_time = threading.Lock()

#: The ranks that this one computes points with: of its group, under mpirun.
_group: Comm | None = None


@contextmanager
def _groups(comm: Comm, size: int) -> Iterator[Any]:
    """Return on rank 0 an executor that the other ranks serve, in groups; return None there afterwards. Collective."""
    global _group
    from mpi4py import MPI
    from mpi4py.futures import MPICommExecutor

    number, place = divmod(comm.rank - 1, size)
    at_work = comm.rank == 0 or number < (comm.size - 1) // size
    group = comm.Split(number + 1 if at_work else MPI.UNDEFINED, comm.rank)
    first = comm.rank == 0 or (at_work and place == 0)
    leaders = comm.Split(0 if first else MPI.UNDEFINED, comm.rank)
    try:
        if first:
            _group = group
            with MPICommExecutor(leaders, root=0) as executor:
                yield executor
            if comm.rank:
                group.bcast(None)
        else:
            while at_work and (task := group.bcast(None)) is not None:
                _compute(task[0], group, task[1])
            yield None
    finally:
        _group = None
        for each in (group, leaders):
            if each != MPI.COMM_NULL:
                each.Free()


def _compute_here(point: Point, ranks: int) -> _Found:
    """Compute a point on this worker: a process, or the first rank of a group."""
    with _one_at_a_time:
        if _group is not None:
            _group.bcast((point, ranks))
        return _compute(point, _group or alone(), ranks)


def _compute(point: Point, comm: Comm, ranks: int) -> _Found:
    """Measure one point, in a job of that many ranks; return its record, or its error. Collective."""
    begin = time.perf_counter()
    task = Task(experiment=point.experiment, seed=point.seed, comm=comm)
    try:
        with warnings.catch_warnings(record=True) as caught, all_or_none(comm):
            warnings.simplefilter("always", UserWarning)
            found = measured(point.measure, task)
    except (KspdeError, MemoryError) as error:
        return type(error)(f"{_at(point)}{error}")
    except Exception as error:  # a class of its own may not come back from another process
        bug = RuntimeError(f"{_at(point)}{type(error).__name__}: {first_line(error)}")
        bug.add_note("".join(traceback.format_exception(error)))
        return bug
    return {
        "kspde": __version__,
        "swept": dict(point.swept),
        "parameters": dict(point.parameters),
        "seed": point.seed,
        "seconds": time.perf_counter() - begin,
        "density_seconds": sum(task.spent),
        "provenance": {**provenance(comm), "ranks": ranks},
        "warnings": sorted({str(warning.message) for warning in caught}),
        "quantities": {name: quantity.record() for name, quantity in found.items()},
    }


def _at(point: Point) -> str:
    return f"at {point.label}: " if point.swept else ""


def read_point(directory: Path, point: Point) -> dict[str, Any] | None:
    """Return the record of a finished point; None where its file is missing or damaged."""
    try:
        record = read_json(_file(directory, point))
        same = all(
            record[name] == json.loads(json.dumps(dict(values)))
            for name, values in (("parameters", point.parameters), ("swept", point.swept))
        )
        numbers = isinstance(record["seconds"], (int, float)) and isinstance(record["seed"], int)
        record.setdefault("density_seconds", 0.0)  # points of earlier versions
        if not (same and numbers and all(isinstance(line, str) for line in record["warnings"])):
            return None
        record["quantities"] = {name: from_record(entry) for name, entry in record["quantities"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    out: dict[str, Any] = record
    return out


def _file(directory: Path, point: Point) -> Path:
    return directory / POINTS / f"{point.key}.json"


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON under a temporary name, force it to the disk, rename it."""
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
