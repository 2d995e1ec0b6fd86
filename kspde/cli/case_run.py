"""The jobs of a case file, each of which fills a directory: a density; a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from kspde.cli import report
from kspde.cli.case import Case
from kspde.cli.console import Console
from kspde.cli.hidden import RunCheckpoints, failed_path
from kspde.cli.results import ResultDirectory, write_csv
from kspde.comparable import check_species
from kspde.distances import Distance, compare
from kspde.domains import check_same_space
from kspde.errors import ConvergenceError, InputError
from kspde.fem import backend
from kspde.fem.solution import Solution
from kspde.particles import Cloud, SnapshotFiles
from kspde.particles.fields import FieldOptions
from kspde.plots import densities as pictures
from kspde.plots.style import wait_for_pictures
from kspde.runtime.following import State
from kspde.runtime.parallel import limited_threads, together
from kspde.runtime.provenance import provenance
from kspde.runtime.saving import SaveAt
from kspde.runtime.signals import Stop
from kspde.typing import Comm

__all__ = ["CaseRun"]

#: Names of pictures that were drawn, and of those that a signal has left no time for.
type _Pictures = tuple[list[str], list[str]]


class _Clock:
    """Wall times of named stages, in seconds, of all blocks of a stage together."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def all(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self._start}


@dataclass(frozen=True, kw_only=True)
class CaseRun:
    """A case that is computed and written to a directory. Its methods are collective.

    Attributes:
        case: the case.
        results: the directory.
        checkpoints: those of the run.
        comm: the communicator.
        console: where it says what it does.
        stop: holds back a signal while results are written.
    """

    case: Case
    results: ResultDirectory
    checkpoints: RunCheckpoints
    comm: Comm
    console: Console
    stop: Stop
    clock: _Clock = field(default_factory=_Clock)

    def run(self) -> _Pictures:
        """Solve the density equation and write the density; what a solve that fails has computed is in DIR.failed."""
        self.console.say(report.heading(self.case, self.comm))
        pde = self._solve(self.case, "density")
        self.stop.hold()
        return self._write_run(pde)

    def compare(self) -> _Pictures:
        """Solve the density equation, simulate the particles and measure the distance between the two.

        With ``compare.against`` the density is another case's; without [particles] this case's own is compared with it.
        """
        case, reference = self.case, self.case.against or self.case
        _check_comparable(case, reference)
        self.console.say(report.heading(case, self.comm))
        times = case.compare.get("times") or [case.compare.get("t", case.experiment.problem.t_end)]
        summary: dict[str, Any] = {"command": "compare", **_stated(case)}
        cloud: Cloud | None = None
        snapshots: SnapshotFiles | None = None
        if case.against is not None:
            summary["against"] = {"file": str(reference.path), **_stated(reference)}
        if case.experiment.simulate is None:
            first = self._solve(reference, "against", times)
            pde = self._solve(case, "density", times)
            summary["against"]["density"] = _described(first)
        else:
            pde = first = self._solve(reference, "density", times)
            cloud, snapshots = self._simulate(case.compare.get("times"))
            summary |= {"seed": cloud.seed, "particles": cloud.summary()}
        with self.clock("pictures"):
            pictures.plot_diagnostics(pde, self.results.path / "diagnostics.png", cloud=cloud)
        with self.clock("distance"), case.naming("compare"):
            distance = compare(first, pde if cloud is None else cloud, snapshots=snapshots, **case.compare)
        self.console.say("\n".join(report.distance_lines(distance, self.clock.seconds["distance"])))
        self.stop.hold()
        with self._drawing(_pictures_of(distance, case.compare.get("distances")), "diagnostics.png") as drawn:
            self._write_density(pde)
            if cloud is None:
                first.write_vtkhdf(self.results.path / "against.vtkhdf")
            else:
                cloud.write(self.results.path / "particles.h5")
        self._finish(summary | {"density": _described(pde), "distance": distance.summary()})
        return drawn

    def _solve(self, case: Case, stage: str, times: Sequence[float] = ()) -> Solution:
        """Return a density that is saved at given times too."""
        with together(self.comm):  # what the backend lacks is no fault of the case
            backend.require(mesh=case.experiment.domain.needs_mesh)
        # A solve for an accuracy is a series of runs, and has neither checkpoints nor callbacks.
        one_run = "accuracy" not in case.experiment.solve
        options = self.checkpoints.options(stage) if one_run else {}
        if set(times) - {case.experiment.problem.t_end}:
            options["save"] = _also_at(times, case.experiment.solve.get("save", SaveAt()))
        with self._keeping(case), self.clock(stage), self._followed(stage) as follow, case.naming("density"):
            if one_run:
                options["callback"] = [*case.experiment.solve.get("callback", ()), follow]
            pde = case.experiment.density(comm=self.comm, **options)
        self.console.say("\n".join(report.density_lines(case, pde, self.clock.seconds[stage], stage)))
        return pde

    def _simulate(self, times: Sequence[float] | None) -> tuple[Cloud, SnapshotFiles | None]:
        """Return the particles at the end, and where those at given times are."""
        case, files = self.case, None
        options = self.checkpoints.options("particles")
        if times is not None:
            files = SnapshotFiles(self.checkpoints.path / "snapshots")
            options["save"] = replace(
                _also_at(times, (case.experiment.simulate or {}).get("save", SaveAt())), callback=files
            )
        with self.clock("particles"), self._followed("particles") as callback, case.naming("particles"):
            cloud = case.experiment.cloud(callback=callback, comm=self.comm, **options)
        self.console.say(report.particles_line(cloud, self.clock.seconds["particles"]))
        return cloud, files

    @contextmanager
    def _followed(self, stage: str) -> Iterator[Callable[[State], None]]:
        """Return a callback by which the console says how far a stage is."""
        with self.console.progress(stage) as tell:
            yield lambda now: tell(now.t / now.t_end, now.where)

    @contextmanager
    def _keeping(self, case: Case) -> Iterator[None]:
        """Write what a solve that fails in the block has computed to DIR.failed, and let its error say so."""
        try:
            yield
        except ConvergenceError as error:
            if error.solution is None or len(error.solution.diagnostics["t"]) < 2:
                raise
            target = failed_path(self.results.target)
            try:
                with ResultDirectory(target, self.comm, force=True) as failed:
                    replace(self, case=case, results=failed)._write_run(error.solution, failed=str(error))
            except InputError as problem:
                kept = f"what it has computed is not kept ({problem})"
            else:
                kept = f"what it has computed is in {target}"
            raise type(error)(f"{error}; {kept}") from None

    def _write_run(self, pde: Solution, **more: Any) -> _Pictures:
        several = len(pde.species) > 1
        plots: dict[str, Callable[[Path], object]] = {
            f"density_{s}.png" if several else "density.png": partial(pictures.plot_density, pde, species=s)
            for s in pde.species
        }
        with self._drawing(plots | {"diagnostics.png": partial(pictures.plot_diagnostics, pde)}) as drawn:
            self._write_density(pde)
        self._finish({"command": "run", **more, **_stated(self.case), "density": _described(pde)})
        return drawn

    def _write_density(self, pde: Solution) -> None:
        pde.write_vtkhdf(self.results.path / "density.vtkhdf")
        with together(self.comm):
            if self.comm.rank == 0:
                write_csv(self.results.path / "diagnostics.csv", pde.diagnostics, pde.species)

    @contextmanager
    def _drawing(self, plots: Mapping[str, Callable[[Path], object]], *begun: str) -> Iterator[_Pictures]:
        """Draw pictures until a signal comes, after those that are ``begun``, while a block writes other files."""
        drawn: list[str] = [*begun]
        missing = list(plots)
        with self.clock("pictures"):
            while missing and not self.stop.asked(self.comm):
                plots[missing[0]](self.results.path / missing[0])
                drawn.append(missing.pop(0))
            with limited_threads(self.comm, useful=1):  # others draw meanwhile: a second thread would be waited for
                yield drawn, missing
            wait_for_pictures()

    def _finish(self, summary: Mapping[str, Any]) -> None:
        about = {"warnings": self.console.warnings, **provenance(self.comm), "wall_times": self.clock.all()}
        with together(self.comm):
            if self.comm.rank == 0:
                self.results.write_summary({**summary, **about})


def _also_at(times: Sequence[float], save: SaveAt) -> SaveAt:
    return replace(save, times=sorted({*save.times, *times}))  # type: ignore[misc]


def _check_comparable(case: Case, reference: Case) -> None:
    """Refuse what ``compare`` or ``simulate`` would, before the density is solved, which may take long."""
    for each in (case, reference):
        if "callback" in each.experiment.solve:
            raise InputError(
                f"{each.path}: density.stop has no effect on a comparison, which is made at given times: leave it out, "
                "or use kspde run"
            )
    if case.experiment.simulate is None:
        if case.against is None:
            raise InputError(
                f"{case.path}: [particles] is missing: a comparison needs particles.n and particles.dt, or "
                "compare.against with another density"
            )
        return
    with reference.naming("domain"):
        check_same_space(reference.experiment.domain, case.experiment.domain)
    problem = case.experiment.problem
    with case.naming("compare"):
        check_species(problem.model, case.compare.get("species"))
    with case.naming("particles"):
        how = FieldOptions(include_self=case.experiment.simulate.get("include_self"))
        how.includes_self(problem.fields, problem.model.dimension)


def _pictures_of(distance: Distance, chosen: Sequence[str] | None) -> dict[str, Callable[[Path], object]]:
    """Return what is drawn of a comparison, by file name: over time the chosen distances, or the leading ones."""
    plots: dict[str, Callable[[Path], object]] = {}
    if distance.axes:
        plots["densities.png"] = partial(pictures.plot_densities, distance)
        plots["difference.png"] = partial(pictures.plot_difference, distance)
    if distance.over_time is not None:
        plots["over_time.png"] = partial(distance.over_time.plot, names=chosen)
    return plots


def _stated(case: Case) -> dict[str, Any]:
    """Return what a case states, and where its model comes from unless it is kspde's."""
    return {"parameters": case.parameters(), **({"model_origin": dict(case.origin)} if case.origin else {})}


def _described(pde: Solution) -> dict[str, Any]:
    return {**pde.summary(), "final": {name: values[-1] for name, values in pde.diagnostics.items()}}
