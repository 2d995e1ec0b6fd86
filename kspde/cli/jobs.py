"""The job of a study, which fills a directory with its points, table, pictures and report."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kspde._version import __version__
from kspde.cli.console import Console
from kspde.cli.ledger import read_results
from kspde.cli.results import SUMMARY, write_json
from kspde.errors import counted
from kspde.papers.studies import Outcome, Study, open_directory, outcome_of, planned, run_points
from kspde.papers.studies.execute import check_executor, vacated
from kspde.papers.studies.outcome import NOT_RESOLVED
from kspde.papers.studies.pictures import pictures_of, pictures_of_values
from kspde.papers.studies.report import filled, html_report, rate_rows, write_csv_table, write_hdf5_table
from kspde.runtime.files import writing
from kspde.runtime.parallel import communicator, together
from kspde.runtime.provenance import provenance
from kspde.runtime.signals import Stop
from kspde.typing import Comm

__all__ = ["cost_lines", "run_study"]


def cost_lines(names: Sequence[str]) -> list[str]:
    """Return what the shipped results of studies took, by name, and together: what their full settings cost."""
    spent = {
        name: sum(point["seconds"] for point in summary["points"])
        for name, summary in read_results([]).items()
        if name in names
    }
    lines = [f"{name}: its shipped result took {seconds:.0f} s of one process" for name, seconds in spent.items()]
    if len(lines) > 1:
        lines.append(f"{len(lines)} studies: {sum(spent.values()) / 3600:.1f} h of one process together")
    return lines


def run_study(
    study: Study,
    directory: str | Path,
    comm: Comm | None = None,
    console: Console | None = None,
    stop: Stop | None = None,
    *,
    force: bool = False,
    shard: tuple[int, int] | None = None,
    **means: Any,
) -> None:
    """Compute the missing points of a study; write its table, rates, pictures and report. Collective.

    Args:
        study: the study.
        directory: a new one, or that of an earlier run of the same study.
        comm: the communicator, all ranks unless given.
        console: where the run says what it does, standard output unless given.
        stop: holds back a signal while results are written.
        force: whether to continue in a directory of the same study with other parameters.
        shard: (i, n) for the i-th of n parts of the points: nothing else is written, until a run without it.
        **means: what computes the points: ``executor`` or ``ranks_per_point``, as for
            :func:`kspde.papers.studies.run_points`.
    """
    start = time.perf_counter()
    check_executor(means.get("executor"))
    directory, comm = Path(directory), communicator(comm)
    console, stop = console or Console(comm), stop or Stop()
    console.say(f"kspde {__version__}, study {study.name} ({study.setting}): {study.title}")
    open_directory(study, directory, comm, force=force)
    total = len(study.points)
    if shard is not None:
        study = study.shard(*shard, _costs(study))
        console.say(f"  shard {shard[0]} of {shard[1]}: {len(study.points)} of {total} points")
    with nullcontext() if shard else vacated(directory, comm):  # what other shards may be using
        if study.precision is not None:
            study = _planned(study, directory, comm, console, **means)
        with console.progress("points") as progress:
            computed, kept = run_points(study, directory, comm, progress, **means)
    seconds = time.perf_counter() - start
    console.say(f"  {counted(computed, 'point')} computed, {kept} taken from an earlier run   {seconds:.1f} s")
    if shard is not None:
        return
    about = provenance(comm)
    stop.hold()
    with together(comm):
        if comm.rank == 0:
            outcome = outcome_of(study, directory)
            for line in outcome.warnings:
                console.warn(line)
            counts = {"points_computed": computed, "points_kept": kept, "points": "; ".join(outcome.origins)}
            with writing(directory):
                write_results(outcome, directory, {**about, **counts})
            for line in _lines(outcome):
                console.say(line)


def _costs(study: Study) -> list[float] | None:
    """Return what each point took in the results that come with kspde; None where one is not among them."""
    known = read_results([]).get(study.name, {"points": []})["points"]
    seconds = {json.dumps(point["swept"]): float(point["seconds"]) for point in known}
    found = [seconds.get(json.dumps(dict(point.swept)), 0.0) for point in study.points]
    return found if all(found) else None


def _planned(study: Study, directory: Path, comm: Comm, console: Console, **means: Any) -> Study:
    """Return the study with the replicas that its precision asks for; say what they cost."""
    plan = planned(study, directory, comm, **means)
    for point, replicas, seconds in zip(plan.study.points, plan.replicas, plan.seconds, strict=True):
        console.say(f"  {point.label}: {counted(replicas, 'replica')}, about {seconds:.0f} s")
    console.say(f"  by the pilot run, about {sum(plan.seconds):.0f} s of one process")
    return plan.study


def write_results(outcome: Outcome, directory: Path, about: dict[str, Any]) -> None:
    """Write table.csv, table.h5, the pictures, report.html and summary.json. On one rank."""
    study = outcome.study
    write_csv_table(outcome, directory / "table.csv")
    write_hdf5_table(outcome, directory / "table.h5")
    pictures = pictures_of(outcome.rates, study.measure) | pictures_of_values(study, outcome.records)
    for name, picture in pictures.items():
        (directory / name).write_bytes(picture)
    (directory / "report.html").write_text(html_report(outcome, pictures, about), encoding="utf-8")
    write_json(
        directory / SUMMARY,
        {
            "kspde": __version__,
            "command": study.command,
            "study": study.name,
            "setting": study.setting,
            "title": study.title,
            "measure": study.measure,
            "axes": {name: list(values) for name, values in study.axes.items()},
            "fixed": dict(study.points[0].parameters),
            "rates": [rate.summary() for rate in outcome.rates],
            "points": [
                {
                    "swept": record["swept"],
                    "seconds": record["seconds"],
                    "seed": record["seed"],
                    "provenance": record.get("provenance"),
                    "quantities": {
                        name: {
                            "value": q.value,
                            "interval": list(q.interval),
                            "error": q.error,
                            "replicas": len(q.samples),
                        }
                        for name, q in record["quantities"].items()
                    },
                }
                for record in outcome.records
            ],
            "warnings": list(outcome.warnings),
            "provenance": about,
        },
    )


def _lines(outcome: Outcome) -> list[str]:
    if not outcome.rates:
        return [""]
    columns = ("quantity", "against", "at", "order", "95 % interval", "constant", "promised", "status", "verdict")
    rows = filled([columns, *(row[: len(columns)] for row in rate_rows(outcome.rates))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["", *("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)]
    if any("not resolved" in row for row in rows):
        lines += ["", f"  {NOT_RESOLVED}"]
    return lines
