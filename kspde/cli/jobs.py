"""The two jobs of the command line: a density; a density, particles and their distance. Each fills a directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from kspde.cli import report
from kspde.cli.case import Case
from kspde.cli.console import Console
from kspde.cli.restarts import Restarts
from kspde.cli.results import ResultDirectory, failed_path, write_csv
from kspde.distances import compare
from kspde.domains import check_no_walls
from kspde.errors import ConvergenceError, InputError
from kspde.fem import solve
from kspde.particles import simulate
from kspde.plots import densities as pictures
from kspde.radial import check_bounded
from kspde.runtime.parallel import together
from kspde.runtime.provenance import provenance
from kspde.runtime.signals import Stop

__all__ = ["compare_case", "run_case"]

#: Names of pictures that were drawn, and of those that were not.
type _Pictures = tuple[list[str], list[str]]


def run_case(
    case: Case, results: ResultDirectory, restarts: Restarts, comm: Any, console: Console, stop: Stop
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
    case: Case, results: ResultDirectory, restarts: Restarts, comm: Any, console: Console, stop: Stop
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
            kernels = {k: case.simulate_options[k] for k in ("eps", "mollifier") if k in case.simulate_options}
            for f in case.model.regularised_fields(**kernels):
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


def _solve(case: Case, restarts: Restarts, comm: Any, console: Console, clock: _Clock, stage: str = "density") -> Any:
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
