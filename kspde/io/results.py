"""Result directories, written whole or not at all."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kspde import __version__
from kspde.errors import InputError
from kspde.files import read_json
from kspde.parallel import threads_per_rank, together

__all__ = ["SUMMARY", "ResultDirectory", "hidden_path", "provenance", "write_csv", "write_json"]

#: The file that makes a directory a result of kspde; it lists the others.
SUMMARY = "summary.json"
#: Hidden companions of a result directory that outlive a run.
_COMPANIONS = ("checkpoints",)


def hidden_path(target: Path, name: str) -> Path:
    """Return where a hidden companion of a result directory lives: beside it, or in it if it is a mount point.

    A mount point, such as a container's volume, cannot be replaced, and what is beside it is not kept.
    """
    if os.path.ismount(target):
        return target / f".{name}"
    return target.parent / f".{target.name}.{name}"


class ResultDirectory:
    """A directory that appears under its name when everything in it has been written.

    A context manager, collective over ``comm``. Inside, :attr:`path` is a hidden directory beside the final one;
    leaving renames it, leaving by an error removes it. All that can be refused is refused on entering, before anything
    is computed. An empty mount point is filled instead, ``summary.json`` last.

    Args:
        target: the final directory.
        comm: the communicator.
        force: replace an existing result. Only a directory that is empty, or that holds what a ``summary.json`` of
            kspde lists and nothing else, is replaced.

    Raises:
        InputError: (on entering, on all ranks) the directory exists, or cannot be written.
    """

    def __init__(self, target: str | Path, comm: Any, *, force: bool = False) -> None:
        self.target = Path(target)
        self.path = self.target  # until entered
        self._comm = comm
        self._force = force
        self._final = self.target

    def __enter__(self) -> Self:
        """Make the hidden directory on rank 0."""
        with together(self._comm):
            if self._comm.rank == 0:
                self._prepare()
        self.path, self._final = self._comm.bcast((self.path, self._final))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Rename the hidden directory, or remove it after an error."""
        if kind is not None:
            self.discard()
            return
        with together(self._comm):  # also: every rank has finished writing
            pass
        with together(self._comm):
            if self._comm.rank == 0:
                self._publish()

    def discard(self) -> None:
        """Remove the hidden directory. Not collective: a rank that is about to end the job calls it alone."""
        if self.path != self.target:
            shutil.rmtree(self.path, ignore_errors=True)

    def write_summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json, with the names of all files here, on the calling rank; to be written last."""
        listed = {"kspde": __version__, **content, "files": sorted({*os.listdir(self.path), SUMMARY})}
        write_json(self.path / SUMMARY, listed)

    def _prepare(self) -> None:
        try:
            final = _resolved(self.target)
            if final.is_symlink():  # what is left of a circle of links
                raise InputError(f"{self.target} is a link that leads to itself: give another --out")
            if final.is_dir():
                self._check_replaceable(final)
            elif final.exists():
                raise InputError(f"{self.target} is a file: give --out the name of a new directory")
            elif not final.parent.is_dir():
                raise InputError(
                    f"{self.target} cannot be written, there is no directory {final.parent}: create it first, "
                    "or give another --out"
                )
            hidden = hidden_path(final, f"{secrets.token_hex(4)}.partial")
            hidden.mkdir()
        except OSError as error:
            raise InputError(f"{self.target} cannot be written ({error.strerror}): give another --out") from None
        self._final, self.path = final, hidden

    def _check_replaceable(self, final: Path) -> None:
        present = set(os.listdir(final))
        if os.path.ismount(final):
            present -= {hidden_path(final, name).name for name in _COMPANIONS} | {"lost+found"}
            if not present:
                return
        if not self._force:
            raise InputError(f"{self.target} exists: give another --out, or --force to replace it")
        if not present:
            return
        written = _files_of_result(final)
        if written is None:
            raise InputError(
                f"{self.target} is no result of kspde (no {SUMMARY} of ours): --force spares it, give another --out"
            )
        if present - written:
            foreign = sorted(present - written)[0]
            raise InputError(f"{self.target} holds {foreign}, which is not part of the result: move it away first")

    def _publish(self) -> None:
        old = None
        try:
            if self.path.parent == self._final:
                self._fill()
                return
            if self._force and self._final.is_dir():
                old = self.path.with_suffix(".old")
                self._final.rename(old)
            self.path.rename(self._final)
        except OSError as error:
            if old is not None and old.is_dir():
                old.rename(self._final)
            raise InputError(
                f"{self.target} cannot be written ({error.strerror}): the finished results are in {self.path}"
            ) from None
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def _fill(self) -> None:
        """Move the files into the mount point; without its summary it is no result."""
        present = set(os.listdir(self._final)) & (_files_of_result(self._final) or set())
        for name in sorted(present, key=lambda name: name != SUMMARY):
            path = self._final / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        for name in sorted(os.listdir(self.path), key=lambda name: name == SUMMARY):
            (self.path / name).rename(self._final / name)
        self.path.rmdir()


def _files_of_result(directory: Path) -> set[str] | None:
    """Return the names that the summary of a result lists; None where there is no such summary."""
    try:
        content = read_json(directory / SUMMARY)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or "kspde" not in content or not isinstance(content.get("files"), list):
        return None
    return {str(name) for name in content["files"]}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON: numpy's numbers as Python's, NaN and infinities as null."""
    text = json.dumps(_strict(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_csv(path: Path, columns: Mapping[str, npt.NDArray[Any]], labels: Sequence[str]) -> None:
    """Write arrays over the time steps as columns, with all digits.

    Args:
        path: the file.
        columns: name -> shape (steps,), or (steps, k).
        labels: names of the k entries; the column of the j-th is called ``name[labels[j]]``.
    """
    flat: dict[str, list[float]] = {}
    for name, values in columns.items():
        array = np.asarray(values)
        if array.ndim == 1:
            flat[name] = array.tolist()
        else:
            flat |= {f"{name}[{label}]": array[:, j].tolist() for j, label in enumerate(labels)}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(flat)
        writer.writerows(zip(*flat.values(), strict=True))


def provenance(comm: Any) -> dict[str, Any]:
    """Return what a result depends on beside its parameters: versions, machine, ranks, threads, date. Collective."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ranks": comm.size,
        "threads_per_rank": threads_per_rank(comm),
        "versions": _versions(),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
    }


def _resolved(path: Path) -> Path:
    """Return the path without links; Python 3.12 raises at a circle of them, later ones leave it as it is."""
    try:
        return path.resolve()
    except RuntimeError:
        return path.absolute()


def _versions() -> dict[str, str]:
    versions = {"kspde": __version__, "python": platform.python_version()}
    # Asked of the modules that ran: the distributions have different names in the wheel, in conda and in containers.
    for name in ("dolfinx", "h5py", "mpi4py", "numba", "numpy", "scipy"):
        if name in sys.modules:
            versions[name] = str(sys.modules[name].__version__)
    if "petsc4py.PETSc" in sys.modules:
        versions["petsc"] = ".".join(str(n) for n in sys.modules["petsc4py.PETSc"].Sys.getVersion())
    if "mpi4py.MPI" in sys.modules:  # not where one process runs without an MPI library
        versions["mpi"] = " ".join(sys.modules["mpi4py.MPI"].Get_library_version().split("\n")[0].strip("\0").split())
    return versions


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _strict(value: Any) -> Any:
    """Return a value that strict JSON can say: numpy to Python, NaN and infinities to null."""
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _strict(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_strict(v) for v in value]
    if isinstance(value, np.generic):
        return _strict(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)
