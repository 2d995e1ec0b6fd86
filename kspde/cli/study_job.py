"""The job of ``kspde study``: fill a directory with the results of a study."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from kspde._version import __version__
from kspde.cli.console import Console
from kspde.cli.results import SUMMARY, write_json, writing
from kspde.papers.studies import Outcome, Study, open_directory, outcome_of, run_points
from kspde.papers.studies.execute import vacated
from kspde.papers.studies.report import html_report, rate_rows
from kspde.runtime.parallel import together
from kspde.runtime.provenance import provenance
from kspde.runtime.signals import Stop

__all__ = ["run_study"]


def run_study(study: Study, directory: Path, comm: Any, console: Console, stop: Stop, *, force: bool = False) -> None:
    """Compute what is missing of a study and write its table, rates, pictures and report. Collective.

    Args:
        study: the study.
        directory: new, or what an earlier run of the same study left.
        comm: the communicator.
        console: what is said goes there.
        stop: holds back a signal while results are written.
        force: go on in a directory of the same study with other parameters.

    Raises:
        InputError: the directory is not to be used, or a point is refused.
        ConvergenceError: a solve failed.
    """
    start = time.perf_counter()
    open_directory(study, directory, comm, force=force)
    console.say(f"kspde {__version__}, study {study.name} ({study.setting}): {study.title}")
    with console.progress("points") as progress, vacated(directory, comm):
        computed, kept = run_points(study, directory, comm, progress)
    seconds = time.perf_counter() - start
    console.say(f"  {computed} points computed, {kept} taken from an earlier run   {seconds:.1f} s")
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


def write_results(outcome: Outcome, directory: Path, about: dict[str, Any]) -> None:
    """Write table.csv, table.h5, the pictures, report.html and summary.json. On one rank."""
    from kspde.papers.studies.pictures import pictures_of
    from kspde.papers.studies.table import write_csv_table, write_hdf5_table

    study = outcome.study
    write_csv_table(outcome, directory / "table.csv")
    write_hdf5_table(outcome, directory / "table.h5")
    pictures = pictures_of(outcome.rates, study.measure)
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
    columns = ("quantity", "against", "at", "order", "95 % interval", "promised", "status", "verdict")
    rows = [columns, *(row[: len(columns)] for row in rate_rows(outcome.rates))]
    widths = [max(len(row[k]) for row in rows) for k in range(len(columns))]
    return ["", *("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)]
