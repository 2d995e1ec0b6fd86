"""The jobs of the command line, each of which fills a directory: a density; a comparison; a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from kspde._version import __version__
from kspde.cli import report
from kspde.cli.case import Case
from kspde.cli.console import Console
from kspde.cli.hidden import RunCheckpoints, failed_path
from kspde.cli.results import SUMMARY, ResultDirectory, write_csv, write_json, writing
from kspde.distances import compare
from kspde.domains import check_no_walls
from kspde.errors import ConvergenceError, InputError
from kspde.fem.solve import solve
from kspde.papers.studies import Outcome, Study, open_directory, outcome_of, run_points
from kspde.papers.studies.execute import vacated
from kspde.papers.studies.report import html_report, rate_rows, write_csv_table, write_hdf5_table
from kspde.particles import simulate
from kspde.plots import densities as pictures
from kspde.problem import Problem
from kspde.radial import check_bounded
from kspde.runtime.parallel import together
from kspde.runtime.provenance import provenance
from kspde.runtime.signals import Stop

__all__ = ["compare_case", "run_case", "run_study"]

#: Names of pictures that were drawn, and of those that were not.
type _Pictures = tuple[list[str], list[str]]


def run_case(
    case: Case, results: ResultDirectory, restarts: RunCheckpoints, comm: Any, console: Console, stop: Stop
) -> _Pictures:
    """Solve the density equation of a case and write it. Collective.

    Returns:
        The names of the pictures, and of those that a signal has left no time for.

    Raises:
        InputError: the case is not valid.
        ConvergenceError: the solve failed; what it has computed is in DIR.failed.
        MissingBackendError: DOLFINx is missing.
    """
    clock = _Clock()
    console.say(report.heading(case, comm))
    with _keeping(case, results, comm, console, stop, clock):
        pde = _solve(case, restarts, comm, console, clock)
    stop.hold()
    return _write_run(case, pde, results, comm, console, stop, clock)


def _write_run(
    case: Case,
    pde: Any,
    results: ResultDirectory,
    comm: Any,
    console: Console,
    stop: Stop,
    clock: _Clock,
    **more: Any,
) -> _Pictures:
    """Write a density with its pictures. Collective."""
    _write_density(pde, results, comm)
    drawn = _draw(
        {
            "density.png": partial(pictures.plot_density, pde),
            "diagnostics.png": partial(pictures.plot_diagnostics, pde),
        },
        results,
        comm,
        stop,
        clock,
    )
    summary = {"command": "run", **more, "parameters": case.parameters(), "density": _described(pde)}
    _finish(results, comm, console, summary, clock)
    return drawn


@contextmanager
def _keeping(
    case: Case, results: ResultDirectory, comm: Any, console: Console, stop: Stop, clock: _Clock
) -> Iterator[None]:
    """Write what a solve that fails in the block has computed to DIR.failed, and let its error say so. Collective."""
    try:
        yield
    except ConvergenceError as error:
        if error.solution is None or len(error.solution.diagnostics["t"]) < 2:
            raise
        target = failed_path(results.target)
        try:
            with ResultDirectory(target, comm, force=True) as failed:
                _write_run(case, error.solution, failed, comm, console, stop, clock, failed=str(error))
        except InputError as problem:
            kept = f"what it has computed is not kept ({problem})"
        else:
            kept = f"what it has computed is in {target}"
        raise type(error)(f"{error}; {kept}") from None


def compare_case(
    case: Case, results: ResultDirectory, restarts: RunCheckpoints, comm: Any, console: Console, stop: Stop
) -> _Pictures:
    """Solve a case's density equation, simulate its particles, measure how far they are apart. Collective.

    With ``compare.against`` the density is another case's; without [particles] this case's own is compared with it.

    Returns:
        The names of the pictures, and of those that a signal has left no time for.

    Raises:
        InputError: the case is not valid, or has neither [particles] nor compare.against.
        ConvergenceError: the solve failed; what it has computed is in DIR.failed.
        MissingBackendError: DOLFINx is missing.
    """
    reference = case.against or case
    if case.simulate_options is None:
        if case.against is None:
            raise InputError(
                f"{case.path}: [particles] is missing: a comparison needs particles.n and particles.dt, or "
                "compare.against with another density"
            )
    else:
        with reference.naming("domain"):
            check_no_walls(reference.domain)
        with case.naming("particles"):  # before the density is solved, which may take long
            stated = {k: v for k, v in case.simulate_options.items() if k in ("t_end", "eps", "mollifier", "initial")}
            for f in Problem.of(case.model, case.u0, **stated).fields:
                check_bounded(f.name, f.kernel, case.model.dimension, gradient=f.gradient)
    clock = _Clock()
    console.say(report.heading(case, comm))
    summary: dict[str, Any] = {"command": "compare", "parameters": case.parameters()}
    if case.against is not None:
        summary["against"] = {"file": str(reference.path), "parameters": reference.parameters()}
    if case.simulate_options is None:
        with _keeping(reference, results, comm, console, stop, clock):
            first = _solve(reference, restarts, comm, console, clock, "against")
        with _keeping(case, results, comm, console, stop, clock):
            pde = second = _solve(case, restarts, comm, console, clock)
        summary["against"]["density"] = _described(first)
    else:
        with _keeping(reference, results, comm, console, stop, clock):
            pde = first = _solve(reference, restarts, comm, console, clock)
        with clock("particles"), console.progress("particles") as progress, case.naming("particles"):
            options = {**case.simulate_options, **restarts.options("particles")}
            second = simulate(case.model, case.u0, progress=progress, comm=comm, **options)
        console.say(report.particles_line(second, clock.seconds["particles"]))
        summary |= {"seed": second.seed, "particles": second.summary()}
    with clock("distance"), case.naming("compare"):
        distance = compare(first, second, **case.compare_options)
    console.say("\n".join(report.distance_lines(distance, clock.seconds["distance"])))
    stop.hold()
    _write_density(pde, results, comm)
    if case.simulate_options is None:
        first.write_vtx(results.path / "against.bp")
    else:
        second.write(results.path / "particles.h5")
    cloud = None if case.simulate_options is None else second
    plots = {
        "densities.png": partial(pictures.plot_densities, distance),
        "difference.png": partial(pictures.plot_difference, distance),
        "diagnostics.png": partial(pictures.plot_diagnostics, pde, cloud=cloud),
    }
    drawn = _draw(plots, results, comm, stop, clock)
    summary |= {"density": _described(pde), "distance": distance.summary()}
    _finish(results, comm, console, summary, clock)
    return drawn


def _draw(
    plots: Mapping[str, Callable[[Path], None]], results: ResultDirectory, comm: Any, stop: Stop, clock: _Clock
) -> _Pictures:
    """Draw pictures until a signal comes. Collective."""
    drawn: list[str] = []
    with clock("pictures"):
        for name, plot in plots.items():
            if stop.asked(comm):
                break
            plot(results.path / name)
            drawn.append(name)
    return drawn, [name for name in plots if name not in drawn]


class _Clock:
    """Wall times of named stages, in seconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start

    def all(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self._start}


def _solve(
    case: Case, restarts: RunCheckpoints, comm: Any, console: Console, clock: _Clock, stage: str = "density"
) -> Any:
    with clock(stage), console.progress(stage) as progress, case.naming("density"):
        options = {**case.solve_options, **restarts.options(stage)}
        pde = solve(case.model, case.u0, case.domain, progress=progress, comm=comm, **options)
    console.say(report.density_line(pde, clock.seconds[stage], stage))
    return pde


def _write_density(pde: Any, results: ResultDirectory, comm: Any) -> None:
    pde.write_vtx(results.path / "density.bp")
    with together(comm):
        if comm.rank == 0:
            write_csv(results.path / "diagnostics.csv", pde.diagnostics, pde.species)


def _described(pde: Any) -> dict[str, Any]:
    last = {name: values[-1] for name, values in pde.diagnostics.items()}
    return {**pde.summary(), "final": last}


def _finish(results: ResultDirectory, comm: Any, console: Console, summary: dict[str, Any], clock: _Clock) -> None:
    summary = {**summary, "warnings": console.warnings, **provenance(comm), "wall_times": clock.all()}
    with together(comm):
        if comm.rank == 0:
            results.write_summary(summary)


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
