"""Result directories, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kspde._version import __version__
from kspde.cli.hidden import COMPANIONS, OWNER, OwnedDirectory, hidden_path, neighbours, remove_abandoned, token
from kspde.errors import InputError
from kspde.runtime.files import read_json, write_columns, write_whole, writing
from kspde.runtime.messages import warn
from kspde.runtime.parallel import together
from kspde.typing import Comm

__all__ = ["SUMMARY", "ResultDirectory", "write_csv", "write_json"]

#: The file that makes a directory a result of kspde; it lists the others.
SUMMARY = "summary.json"


class ResultDirectory:
    """A directory that appears under its name when everything in it has been written.

    A context manager, collective over ``comm``. Inside it, :attr:`path` is a hidden directory next to the final one.
    Leaving the context renames it; an error removes it. Whatever can be refused is refused on entering, before anything
    is computed. An empty mount point is filled instead, ``summary.json`` last.

    Args:
        target: the final directory.
        comm: the communicator.
        force: replace an existing result. Only a directory that is empty, or that holds what a ``summary.json`` of
            kspde lists and nothing else, is replaced.

    Raises:
        InputError: (on entering, on all ranks) the directory exists, or cannot be written.
    """

    def __init__(self, target: str | Path, comm: Comm, *, force: bool = False) -> None:
        self.target = Path(target)
        self.path = self.target  # until entered
        self._comm = comm
        self._force = force
        self._final = self.target
        self._owned: OwnedDirectory | None = None
        self._before: _Facts = {}

    def check(self) -> None:
        """Refuse what is refused on entering, before what takes time to import or to read."""
        with together(self._comm):
            if self._comm.rank == 0:
                self._checked()

    def __enter__(self) -> Self:
        """Make the hidden directory on rank 0."""
        try:
            with together(self._comm):
                if self._comm.rank == 0:
                    self._prepare()
            self.path, self._final = self._comm.bcast((self.path, self._final))
        except BaseException:  # a signal may come here too, and ``__exit__`` is not called then
            self.discard()
            raise
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
        if self._owned is not None:
            self._owned.release()
        if self.path != self.target:
            shutil.rmtree(self.path, ignore_errors=True)

    def write_summary(self, content: Mapping[str, object]) -> None:
        """Write summary.json, with the names of all files here, on the calling rank; to be written last."""
        listed = {"kspde": __version__, **content, "files": sorted({*os.listdir(self.path), SUMMARY} - {OWNER})}
        write_json(self.path / SUMMARY, listed)

    def _prepare(self) -> None:
        final = self._checked()
        try:
            # Known before it is made, so that ``discard`` finds it.
            self._final, self.path = final, hidden_path(final, f"{token()}.partial")
            self._owned = OwnedDirectory(self.path)
        except OSError as error:
            raise self._unwritable(error) from None
        other = self._owned.earlier_owner(neighbours(hidden_path(final, "*.partial")))
        if other is not None:
            raise InputError(f"another run ({other}) is writing {self.target}: wait for it, or give another --out")

    def _checked(self) -> Path:
        """Return where the result goes."""
        try:
            final = _resolved(self.target)
            if final.is_symlink():  # all that remains of a circle of links
                raise InputError(f"{self.target} is a link that leads to itself: give another --out")
            self._tidy_up(final)
            if final.is_dir():
                self._check_replaceable(final)
                self._before = _facts(final)
            elif final.exists():
                raise InputError(f"{self.target} is a file: give --out the name of a new directory")
            elif not final.parent.is_dir():
                raise InputError(
                    f"{self.target} cannot be written, there is no directory {final.parent}: create it first, "
                    "or give another --out"
                )
        except OSError as error:
            raise self._unwritable(error) from None
        return final

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.target} cannot be written ({error.strerror}): give another --out")

    def _tidy_up(self, final: Path) -> None:
        """Remove what runs that were killed have left; bring back a result that one was about to replace."""
        remove_abandoned(hidden_path(final, "*.partial"))
        for old in neighbours(hidden_path(final, "*.old")):
            if not final.exists():
                old.rename(final)
            elif _files_of_result(old) is not None and _files_of_result(final) is not None:
                shutil.rmtree(old, ignore_errors=True)

    def _check_replaceable(self, final: Path) -> None:
        present = set(os.listdir(final))
        if os.path.ismount(final):
            present -= {hidden_path(final, name).name for name in COMPANIONS} | {"lost+found"}
            if not present:
                return
        if not self._force:
            raise InputError(f"{self.target} exists: give another --out, or --force to replace it")
        if not present:
            return
        written = _files_of_result(final)
        if written is None:
            raise InputError(
                f"{self.target} is not a result of kspde (no {SUMMARY} of ours): --force spares it, give another --out"
            )
        if present - written:
            foreign = sorted(present - written)[0]
            raise InputError(f"{self.target} holds {foreign}, which is not part of the result: move it away first")

    def _publish(self) -> None:
        old = None
        if self._owned is not None:
            self._owned.release()
        try:
            if self.path.parent == self._final:
                self._fill()
                return
            if self._force and self._final.is_dir():
                if _facts(self._final) != self._before:
                    self._keep(self._final, self._final.with_name(f"{self._final.name}.{token()}.kept"))
                else:
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

    def _keep(self, path: Path, aside: Path) -> None:
        """Move away what has come or changed since the run began."""
        path.rename(aside)
        warn(f"{path} has changed during the run: what was there is kept in {aside}", self._comm)

    def _fill(self) -> None:
        """Move the files into the mount point; without its summary it is not a result."""
        now = _facts(self._final)
        changed = {Path(name).parts[0] for name, facts in now.items() if self._before.get(name) != facts}
        for name in sorted(changed & {*os.listdir(self.path), *(_files_of_result(self._final) or ())}):
            self._keep(self._final / name, self._final / f"{name}.{token()}.kept")
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


#: By path below a directory: size and time of change.
type _Facts = dict[str, tuple[int, int]]


def _facts(directory: Path) -> _Facts:
    """Return what tells whether the files below a directory have changed; hidden ones of ours are left out."""
    found: _Facts = {}
    for above, names, files in os.walk(directory):
        if Path(above) == directory:
            names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(above, name)
            with suppress(OSError):
                facts = path.lstat()
                found[str(path.relative_to(directory))] = (facts.st_size, facts.st_mtime_ns)
    return found


def _files_of_result(directory: Path) -> set[str] | None:
    """Return the names that the summary of a result lists; None where there is no such summary."""
    try:
        content = read_json(directory / SUMMARY)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or "kspde" not in content or not isinstance(content.get("files"), list):
        return None
    return {str(name) for name in content["files"]}


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write strict JSON: numpy's numbers as Python's, NaN and infinities as null."""
    text = json.dumps(_strict(content), indent=2, ensure_ascii=False, allow_nan=False)
    with writing(path):
        write_whole(path, f"{text}\n".encode())


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
    write_columns(path, flat)


def _resolved(path: Path) -> Path:
    """Return the path without links; Python 3.12 raises at a circle of them, later ones leave it as it is."""
    try:
        return path.resolve()
    except RuntimeError:
        return path.absolute()


def _strict(value: object) -> object:
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
