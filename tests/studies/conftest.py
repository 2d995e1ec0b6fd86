"""A study of seconds, and what computes a study."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

from kspde.cli.console import Console
from kspde.cli.jobs import run_study
from kspde.cli.study import read_study
from kspde.papers.studies import Outcome, Study, open_directory, outcome_of, run_points
from kspde.runtime.signals import Stop

#: Coarse, short, and yet with a rate: the mollifier's error at small times is of order 2 in eps.
TINY = """
title = "A title with <angles> & an ampersand"
about = "First paragraph.\\n\\nSecond."
t_end = 0.02

[model]
kind = "signal-dependent-keller-segel"
chi = 8.0

[initial]
kind = "gaussian-mixture"
weights = [1.0]
means = [[0.0, 0.0]]
stds = [1.0]

[domain]
kind = "box"
half_width = 10.0
cells = 12
degree = 6

[density]
tol = 1e-8

[sweep]
regularisation.eps = [0.2, 0.1, 0.05]

[measure]
kind = "mollification"

[[fits]]
quantity = "l1"
against = "eps"
promises = [{ kind = "order", value = 2.0, source = "Taylor", status = "expected" }]

[small.sweep]
regularisation.eps = [0.2, 0.1]
"""


@pytest.fixture
def tiny_file(write_changed: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes the tiny study with some things changed: old, new, old, new, ..."""
    return partial(write_changed, "tiny.toml", TINY)


@pytest.fixture
def carried_out(shared_tmp_path: Path, comm: Any) -> Callable[..., Outcome]:
    """Return a function that computes a study, on all ranks, each point on one or more, and returns its outcome."""

    def run(study: Study, ranks_per_point: int = 1) -> Outcome:
        directory = shared_tmp_path / study.name
        open_directory(study, directory, comm)
        assert run_points(study, directory, comm, ranks_per_point=ranks_per_point) == (len(study.points), 0)
        return outcome_of(study, directory)

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny study, with all that is written at its end."""
    comm = MPI.COMM_WORLD
    directory = Path(comm.bcast(str(tmp_path_factory.mktemp("finished"))))
    file = directory / "tiny.toml"
    if comm.rank == 0:
        file.write_text(TINY, encoding="utf-8")
    comm.Barrier()
    run_study(read_study(file), directory / "out", comm, Console(comm, quiet=True), Stop())
    comm.Barrier()
    return directory / "out"
