"""What a run says: lines on standard output, warnings and a progress bar, from rank 0."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde._version import __version__
from kspde.distances.result import NAMES
from kspde.errors import InputError
from kspde.runtime.streams import silence, unread

if TYPE_CHECKING:
    from kspde.cli.case import Case

__all__ = ["Console", "density_line", "distance_lines", "heading", "particles_line"]


class Console:
    """The terminal, or the file, that rank 0 writes to.

    Args:
        comm: the communicator; all ranks but 0 are silent.
        quiet: say nothing on rank 0 either.

    Attributes:
        warnings: the lines that were warned of, or would have been; empty on all ranks but 0.
    """

    def __init__(self, comm: Any, *, quiet: bool = False) -> None:
        self._silent = quiet or comm.rank != 0
        self._deaf = False  # standard output is closed or full
        self._here = comm.rank == 0
        self.warnings: list[str] = []

    def say(self, text: str = "") -> None:
        """Print a line. A reader that has gone away (``| head``) does not end the run, nor does a full device."""
        error = self._print(text)
        if error is not None and not unread(error):
            self.warn(f"standard output cannot be written ({error.strerror}): the results do not depend on it")

    def answer(self, text: str) -> None:
        """Print what a command was asked for.

        Raises:
            InputError: it cannot be written. On rank 0 alone, after which there is nothing left to do.
        """
        error = self._print(text)
        if error is not None and not unread(error):
            raise InputError(f"standard output cannot be written ({error.strerror})")

    def _print(self, text: str) -> OSError | None:
        if self._silent or self._deaf:
            return None
        try:
            print(text, flush=True)
        except OSError as error:
            self._deaf = True
            silence(sys.stdout)
            return error
        return None

    def warn(self, text: str) -> None:
        """Print a line that begins with "warning:" on standard error, once for each text."""
        line = " ".join(text.split())
        if not self._here or line in self.warnings:
            return
        self.warnings.append(line)
        if not self._silent:
            with suppress(OSError, AttributeError):  # full, or closed
                sys.stderr.write(f"warning: {line}\n")
                sys.stderr.flush()

    @contextmanager
    def hearing_warnings(self) -> Iterator[None]:
        """Warn of what Python is warned of in a block, by whichever library."""

        def show(message: Warning | str, *where: Any, **more: Any) -> None:
            self.warn(str(message))

        logger = logging.getLogger("kspde")
        level = logger.level
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            if self._silent:
                logger.setLevel(logging.ERROR)
            try:
                yield
            finally:
                logger.setLevel(level)

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[float], None]]:
        """Return a function that moves a progress bar to a fraction done; there is a bar on a terminal only."""
        if self._silent or sys.stderr is None or not sys.stderr.isatty():
            yield lambda fraction: None
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{label:<11}", total=1.0)
            yield lambda fraction: bar.update(task, completed=fraction)


def heading(case: Case, comm: Any) -> str:
    """Return the line a run begins with: which system, on how many ranks."""
    parts = [str(case.model), f"t_end = {case.content.t_end:g}"]
    if case.content.regularisation is not None:
        parts.insert(1, f"eps = {case.content.regularisation.eps:g} ({case.content.regularisation.mollifier})")
    return f"kspde {__version__} on {_counted(comm.size, 'rank')}: {', '.join(parts)}"


def density_line(pde: Any, seconds: float, stage: str = "density") -> str:
    """Return the line that follows a density's solve: the case's own, or what it is compared against."""
    about = pde.summary()
    masses = np.array([pde.masses[s] for s in pde.species])
    drift = float(np.max(np.abs(pde.diagnostics["mass"][-1] / masses - 1)))
    work = f"{about['nodes']:,} nodes, {_counted(about['steps'], 'time step')}, mass kept to {drift:.0e}"
    return f"  {stage:<10} {work:<58} {seconds:7.2f} s"


def particles_line(cloud: Any, seconds: float) -> str:
    """Return the line that follows the simulation of the particles."""
    work = f"{cloud.n:,} particles, {_counted(len(cloud.diagnostics['t']) - 1, 'time step')}, seed {cloud.seed}"
    return f"  particles  {work:<58} {seconds:7.2f} s"


def distance_lines(distance: Any, seconds: float) -> list[str]:
    """Return the distances, beside their floors where they have any, and what they mean."""
    how = "quadrature"
    if distance.bandwidth is not None:
        how = f"kernel density estimate, bandwidth {distance.bandwidth:.3g}"
    lines = [f"  distance   {how:<58} {seconds:7.2f} s", ""]
    between = {"particles": "particles to density", "densities": "second density to first"}[distance.kind]
    beside = f"floor: {_draws(distance)} from the density" if distance.floor.by_name else ""
    lines.append(f"  {'':<26} {between:<34} {beside}".rstrip())
    for name in distance.by_name:
        floor = distance.floor.by_name.get(name, "")
        lines.append(f"  {NAMES[name]:<26} {distance.in_words(name):<34} {floor}".rstrip())
    if "l1" in distance.smoothing:
        lines.append(f"  {'smoothing alone, L1':<26} {distance.bandwidth_bias:.2g}")
    if "l1" in distance.debiased.by_name:
        lines.append(f"  {'without noise, L1':<26} {distance.debiased.l1}")
    if distance.differs:
        lines += ["", f"  They differ in {distance.differences}."]
    if distance.floor.by_name:
        lines += ["", f"  {_verdict(distance)}"]
    return lines


def _verdict(distance: Any) -> str:
    if distance.above_floor:
        return f"The L1 distance is above its floor: larger than {_draws(distance)} from the density would give."
    return f"The L1 distance is not distinguishable from that of {_draws(distance)} from the density."


def _draws(distance: Any) -> str:
    return f"{distance.n:,} independent draws"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
