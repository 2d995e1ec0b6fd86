"""Run the points of a study side by side, and none of them twice.

Each finished point is one JSON file in ``DIR/points``, named by the hash of its parameters and of kspde's version,
written under a temporary name, forced to the disk and renamed: a job that is killed loses at most the points that it is
computing. Under mpirun rank 0 hands points to the other ranks (``mpi4py.futures.MPICommExecutor``), each of which
computes on its own communicator; give mpirun one rank more than there are cores. On one rank the points run one after
the other, with all of its threads.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kspde._version import __version__
from kspde.errors import InputError, KspdeError, shortened
from kspde.fem import backend
from kspde.papers.studies.measures import Task, measured
from kspde.papers.studies.quantities import from_record
from kspde.papers.studies.study import Point, Study
from kspde.runtime.files import publish, read_json
from kspde.runtime.parallel import alone, together
from kspde.runtime.provenance import provenance
from kspde.typing import Comm

__all__ = ["PILOT", "POINTS", "STUDY", "open_directory", "read_point", "run_points", "vacated", "write_record"]

#: The file that describes the study of a directory, and the directory of finished points.
STUDY, POINTS = "study.json", "points"
#: The directory of a pilot run, in that of its study.
PILOT = "pilot"


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
    if directory.is_dir() and set(os.listdir(directory)) - {PILOT}:
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
    study: Study, directory: Path, comm: Comm, progress: Callable[[float], None] | None = None
) -> tuple[int, int]:
    """Compute the points that have no file yet. Collective.

    Args:
        study: the study.
        directory: the directory, opened by ``open_directory``.
        comm: the communicator.
        progress: called on rank 0 with the share of points that are finished.

    Returns:
        The number of points that were computed, and of those that were there.

    Raises:
        InputError: a point is not valid for its measure; the message names it, on every rank.
        ConvergenceError: a solve failed; on every rank.
        MissingBackendError: DOLFINx is not installed.
    """
    backend.require()  # collective: PETSc is initialised on all ranks together
    missing: list[Point] = []
    with together(comm, "run_points") as same:
        same(study=study.described(), directory=str(directory))
        if comm.rank == 0:
            missing = [point for point in study.points if read_point(directory, point) is None]
    total = len(study.points)
    done = total - len(missing)
    failure: Exception | None = None

    def finished() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done / total)

    if comm.size == 1:
        for point in missing:
            _compute(point, directory, 1)
            finished()
    else:
        failure = _spread(missing, directory, comm, finished)
    with together(comm):
        if failure is not None:
            raise failure
    counts: tuple[int, int] = comm.bcast((len(missing), total - len(missing)))
    return counts


def _spread(missing: Sequence[Point], directory: Path, comm: Comm, finished: Callable[[], None]) -> Exception | None:
    """Hand points to the other ranks; return the error that one of them raised. Collective."""
    from concurrent.futures import as_completed

    from mpi4py.futures import MPICommExecutor

    failure: Exception | None = None
    with MPICommExecutor(comm, root=0) as executor:
        if executor is not None:
            futures = [executor.submit(_compute, point, directory, int(comm.size)) for point in missing]
            try:
                for future in as_completed(futures):
                    future.result()
                    finished()
            except Exception as error:
                failure = error
            finally:
                for future in futures:
                    future.cancel()
    return failure


def _compute(point: Point, directory: Path, ranks: int) -> None:
    """Measure one point on this process, in a job of that many ranks, and write its file."""
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            task = Task(experiment=point.experiment, seed=point.seed, comm=alone())
            found = measured(point.measure, task)
        except KspdeError as error:
            raise type(error)(f"at {point.label}: {error}" if point.swept else str(error)) from None
    record = {
        "kspde": __version__,
        "swept": dict(point.swept),
        "parameters": dict(point.parameters),
        "seed": point.seed,
        "seconds": time.perf_counter() - begin,
        "density_seconds": sum(task.spent),
        "provenance": {**provenance(task.comm), "ranks": ranks},
        "warnings": sorted({str(warning.message) for warning in caught}),
        "quantities": {name: quantity.record() for name, quantity in found.items()},
    }
    write_record(_file(directory, point), record)


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
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    with hidden.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
    publish(hidden, path)
