"""Markers, the order of tests, and fixtures, for a suite that runs on one rank and under mpirun (mpi_plugin.py)."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

import kspde

pytest_plugins = ["mpi_plugin"]

#: Directories that processes of pytest-xdist begin with: what takes longest must not be left for the end. The programs
#: compile the loops over particles meanwhile, which fem does without.
_FIRST = ("programs", "fem", "system")

#: The files of ``make check``, some from every room: all others are marked slow, or programs. A few tests in these
#: files are marked slow by themselves.
QUICK = {
    "test_bad_input.py",
    "test_case_file.py",
    "test_checkpoint.py",
    "test_cloud.py",
    "test_compare.py",
    "test_compare_bandwidth.py",
    "test_compare_grid.py",
    "test_compare_statistics.py",
    "test_face.py",
    "test_files_on_disk.py",
    "test_foreign_values.py",
    "test_forms.py",
    "test_imports.py",
    "test_initial_densities.py",
    "test_limits.py",
    "test_model_fields.py",
    "test_parallel.py",
    "test_problem.py",
    "test_quick.py",
    "test_radial_kernels.py",
    "test_random.py",
    "test_signals.py",
    "test_scheme_objects.py",
    "test_solve_input.py",
    "test_start.py",
    "test_statistics.py",
    "test_study_fits.py",
    "test_tensor_laplacian.py",
    "test_theory_command.py",
    "test_theory_conditions.py",
    "test_theory_constant.py",
    "test_theory_hypotheses.py",
    "test_theory_norms.py",
    "test_theory_volatility.py",
    "test_messages.py",
    "test_words.py",
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark whole programs, and whatever ``make check`` leaves out."""
    if item.path.parent.name == "programs":
        item.add_marker("programs")
    elif item.path.name not in QUICK:
        item.add_marker("slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let processes of pytest-xdist begin with the directories that take longest."""
    if hasattr(config, "workerinput"):
        order = {name: place for place, name in enumerate(_FIRST)}
        items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out files in turn, so that their fixtures are made once, and all whole programs to one process.

    Programs are jobs of two and three ranks: they must not meet each other on few cores.
    """
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "programs" if "programs/" in file else file

    config.option.loadscopereorder = False  # it would leave files of few and long tests for the end
    return Files(config, log)


@pytest.fixture
def comm() -> MPI.Comm:
    """The communicator that the code under test uses."""
    return MPI.COMM_WORLD


@pytest.fixture
def shared_tmp_path(tmp_path: Path, comm: MPI.Comm) -> Path:
    """A temporary directory that is the same on every rank."""
    return Path(comm.bcast(str(tmp_path)))


@pytest.fixture
def largest_file() -> Callable[[int], AbstractContextManager[None]]:
    """Return a function that makes a context in which the system refuses files of more bytes, as a full disk would."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def mixture() -> kspde.GaussianMixture:
    """The three Gaussians of the check numbers."""
    return kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )


@pytest.fixture
def write_changed(shared_tmp_path: Path, comm: Any) -> Callable[..., Path]:
    """Return a function that writes a text to a file, with some things changed: old, new, old, new, ..."""

    def write(name: str, text: str, *changes: str) -> Path:
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new, 1)
        path = shared_tmp_path / name
        comm.Barrier()
        if comm.rank == 0:
            path.write_text(text, encoding="utf-8")
        comm.Barrier()
        return path

    return write
