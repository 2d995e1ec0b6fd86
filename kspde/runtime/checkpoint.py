"""Checkpoints of a run: files that a killed job resumes from.

A checkpoint is an HDF5 file ``checkpoint-<step>.h5``. Its first 512 bytes, which HDF5 skips, hold a checksum of the
rest, by which a damaged file is recognised; the file itself describes its problem, by which a foreign file is. Files
are written under a temporary name, forced to the disk, and renamed: a job that is killed while it writes leaves the
earlier ones as they were. The last two are kept. Arrays are stored as a whole, so that a run may resume on another
number of ranks.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, KspdeError, check_flag, check_number
from kspde.runtime.files import FILE_ERRORS, OVERHEAD, open_regular, publish, reason, reserve
from kspde.runtime.messages import warn
from kspde.runtime.parallel import one_after_another, together
from kspde.typing import Comm

__all__ = [
    "Checkpoint",
    "CheckpointFile",
    "CheckpointStore",
    "InMemory",
    "StoppedError",
]

Array = npt.NDArray[Any]

_BLOCK = 512
_MAGIC = b"kspde checkpoint, blake2b of the rest: "

#: How many checkpoints a directory keeps.
_KEPT = 2

#: The signals that ask for a checkpoint before the end; not every system has the second.
_STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class StoppedError(KspdeError, RuntimeError):
    """A run was told to stop (SIGTERM, SIGHUP) and wrote a checkpoint first.

    Attributes:
        number: the number of the signal.
    """

    number: int = signal.SIGTERM


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run writes checkpoints.

    Attributes:
        directory: the directory of the files, which all ranks must reach. It is created if it is missing.
        every: the wall time between two checkpoints, in seconds >= 0; 0 writes one after every step.
        at_end: whether ``solve`` writes one more at the end: with ``resume`` a run to a later ``t_end`` continues from
            it, in another process too.

    Raises:
        InputError: ``every`` is not a number >= 0, ``directory`` is not a path, or ``at_end`` is not True or False.
    """

    directory: str | Path
    every: float = 600.0
    at_end: bool = False

    def __post_init__(self) -> None:
        check_number("every", self.every, at_least=0)
        check_flag("at_end", self.at_end)
        if not isinstance(self.directory, (str, Path)):
            raise InputError(f"directory is a {type(self.directory).__name__}: give a path")

    @staticmethod
    def checked(checkpoint: object, resume: object) -> Checkpoint | None:
        """Return the arguments' checkpoint, once it and ``resume`` are known to be valid.

        Raises:
            InputError: another kind of object, or nothing to resume from.
        """
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            raise InputError(
                f"checkpoint is a {type(checkpoint).__name__}: give kspde.Checkpoint(directory, every=seconds)"
            )
        if check_flag("resume", resume) and checkpoint is None:
            raise InputError(
                "resume = True has nothing to resume from: give checkpoint, with the directory of the files"
            )
        return checkpoint


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A checkpoint that has been found good.

    Attributes:
        path: the file.
        step: the number of steps taken.
        shared: by name, the arrays that are the same on every rank.
    """

    path: Path
    step: int
    shared: Mapping[str, Array]

    def part(self, name: str, first: int, last: int) -> Array:
        """Return rows first:last of an array that was distributed over the ranks. Rank-local.

        Raises:
            InputError: the file cannot be read.
        """
        from kspde.runtime.hdf5 import h5py

        try:
            with h5py.File(self.path) as file:
                out = _numbers(file[f"parts/{name}"][first:last])
        except Exception as error:  # a forged file may fail anywhere
            raise InputError(f"cannot read checkpoint {self.path}: {reason(error)}") from None
        if len(out) != last - first:
            raise InputError(f"checkpoint {self.path} does not fit this run: {name} has too few rows")
        return out

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Blame the file for whatever goes wrong while a run is put into its state. Rank-local.

        Raises:
            InputError: for any other error.
        """
        try:
            yield
        except KspdeError:
            raise
        except Exception as error:  # a forged file may have the right checksum
            raise InputError(
                f"checkpoint {self.path} does not fit this run ({type(error).__name__}: {reason(error)}): remove it to "
                "start from the beginning"
            ) from None


@dataclass(frozen=True, kw_only=True)
class InMemory(CheckpointFile):
    """A checkpoint that has not been written.

    Attributes:
        parts: by name, the rows that this rank reads.
    """

    path: Path = Path()
    parts: Mapping[str, Array]

    def part(self, name: str, first: int, last: int) -> Array:
        """Return this rank's rows."""
        return self.parts[name]

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Do nothing: there is no file to blame."""
        yield


class CheckpointStore:
    """The checkpoint files of one problem, and a context in which SIGTERM and SIGHUP ask for a checkpoint.

    Args:
        checkpoint: where and how often checkpoints are written.
        problem: the values that decide the result, JSON-ready; the number of ranks is not one of them.
        comm: the communicator.
        longer: whether a checkpoint of a run to an earlier ``t_end`` is of this problem too, whatever its saved times.

    Attributes:
        at_end: whether one is wanted at the end.
        stopping: the number of a signal that has come, as all ranks know since the last ``due``; None without one.

    Raises:
        InputError: the directory cannot be made; on every rank.
    """

    def __init__(
        self, checkpoint: Checkpoint, problem: Mapping[str, object], comm: Comm, *, longer: bool = False
    ) -> None:
        self.comm = comm
        self.at_end = checkpoint.at_end
        self._longer = longer
        self.stopping: int | None = None
        self._directory = Path(checkpoint.directory)
        self._every = float(checkpoint.every)
        self._problem = json.loads(json.dumps(dict(problem)))
        self._known: list[Path] = []
        self._last = time.monotonic()
        self._asked: int | None = None
        self._before: dict[int, Any] = {}
        with together(comm):
            if comm.rank == 0:
                try:
                    self._directory.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise InputError(f"cannot make the directory {self._directory}: {error.strerror}") from None

    def __enter__(self) -> CheckpointStore:
        """Take over the signals, which only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            ignored = signal.SIG_IGN  # by nohup
            taken = [number for number in _STOPPING if signal.getsignal(number) is not ignored]
            self._before = {number: signal.signal(number, self._ask) for number in taken}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back; one that came after the last ``due`` goes to the earlier handler."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if kind is None and self._asked is not None and self.stopping is None:
            signal.raise_signal(self._asked)

    def due(self) -> bool:
        """Return whether a checkpoint is due, the same on every rank. Collective."""
        time_is_up = self.comm.rank == 0 and time.monotonic() >= self._last + self._every
        mine = (self._asked, time_is_up)
        everyone = [mine] if self.comm.size == 1 else self.comm.allgather(mine)
        self.stopping = next((asked for asked, _ in everyone if asked), None)
        return self.stopping is not None or any(up for _, up in everyone)

    def write(self, step: int, *, parts: Mapping[str, Array], shared: Mapping[str, Array]) -> Path:
        """Write a checkpoint and remove all but the last two. Collective.

        Args:
            step: the number of steps taken.
            parts: this rank's rows of arrays that are distributed over the ranks in their order.
            shared: arrays that are the same on every rank.

        Raises:
            InputError: the file cannot be written; on every rank.
        """
        path = self._directory / f"checkpoint-{step:010d}.h5"
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        size = self.comm.reduce(sum(value.nbytes for value in parts.values()))
        file: Any = None
        failed: list[Exception] = []

        @contextmanager
        def attempt() -> Iterator[None]:
            """Continue after an error: rank 0 receives what it is sent even if it cannot write."""
            try:
                yield
            except FILE_ERRORS as error:
                failed.append(error)

        if self.comm.rank == 0:
            from kspde.runtime.hdf5 import h5py

            with attempt():
                reserve(hidden, size + sum(value.nbytes for value in shared.values()))
                file = h5py.File(hidden, "w", userblock_size=_BLOCK)
                file.attrs.update(step=step, problem=json.dumps(self._problem))
                for name, value in shared.items():
                    file.create_dataset(f"shared/{name}", data=value)
        for name, value in parts.items():
            rows = self.comm.gather(len(value))
            with attempt():
                if rows is not None and not failed:  # on rank 0
                    data = file.create_dataset(f"parts/{name}", (sum(rows), *value.shape[1:]), value.dtype)
            first = 0
            for part in one_after_another(self.comm, value):
                with attempt():
                    if not failed:
                        data[first : first + len(part)] = part
                first += len(part)
        with together(self.comm):
            if self.comm.rank == 0:
                self._finish(file, hidden, path, failed)
        self._last = time.monotonic()
        return path

    def _finish(self, file: Any, hidden: Path, path: Path, failed: list[Exception]) -> None:
        """Close a file and give it its name, and remove the oldest. Rank-local.

        Raises:
            InputError: it cannot be written.
        """
        try:
            if file is not None:
                file.close()
            if failed:
                raise failed[0]
            _seal(hidden)
            publish(hidden, path)
        except FILE_ERRORS as error:
            with suppress(OSError):
                hidden.unlink()
            raise InputError(f"cannot write checkpoint {path}: {reason(error)}") from None
        self._known = [p for p in self._known if p != path] + [path]
        for old in self._known[:-_KEPT]:
            with suppress(OSError):
                old.unlink()
        self._known = self._known[-_KEPT:]

    def stopped(self, step: int, t: float, path: Path) -> StoppedError:
        """Return the error of a run that ends here because a signal has come; its checkpoint is written."""
        number = self.stopping or signal.SIGTERM
        error = StoppedError(
            f"stopped by {signal.Signals(number).name} after step {step}, t = {t:.6g}: {path} holds the state, "
            "resume=True continues from there"
        )
        error.number = number
        return error

    def latest(self) -> CheckpointFile | None:
        """Return the newest good checkpoint of this problem; None if there are no checkpoints. Collective.

        A file that is damaged, or of another problem, is named in a warning and skipped for an earlier one.

        Raises:
            InputError: all checkpoints are damaged or of another problem; on every rank.
        """
        found: CheckpointFile | None = None
        with together(self.comm):
            if self.comm.rank == 0:
                unfit: list[tuple[str, str]] = []
                for path in sorted(self._directory.glob("checkpoint-*.h5")):
                    try:
                        saved = _read(path, self._problem, self._longer)
                    except _DamagedError as error:
                        remedy = "there is no good one before it, remove it to start from the beginning"
                        unfit.append((f"checkpoint {path} is damaged ({error})", remedy))
                        self._known.append(path)
                    except _ForeignError as error:
                        remedy = "give another directory, or that problem"
                        unfit.append((f"checkpoint {path} is of another problem ({error})", remedy))
                    else:
                        found = saved
                        self._known.append(path)
                if found is None and unfit:
                    raise InputError(": ".join(unfit[-1]))
                for line, _ in unfit:
                    warn(f"{line}: it is not used", self.comm)
        return self.comm.bcast(found) if self.comm.size > 1 else found

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = number


class _DamagedError(Exception):
    """A file is not as it was written."""


class _ForeignError(Exception):
    """A file is of another problem."""


def _read(path: Path, problem: Mapping[str, Any], longer: bool = False) -> CheckpointFile:
    from kspde.runtime.hdf5 import check_hdf5, h5py

    try:
        with open_regular(path) as raw:
            head = raw.read(_BLOCK)
            if not head.startswith(_MAGIC):
                raise _DamagedError("it does not begin like one")
            if _digest(raw) != head[len(_MAGIC) :].split(b"\n")[0].decode("ascii", "replace"):
                raise _DamagedError("its checksum is wrong")
        check_hdf5(path, os.stat(path).st_size + OVERHEAD)  # nothing is compressed
        with h5py.File(path) as file:
            theirs = dict(json.loads(file.attrs["problem"]))
            shared = {name: _numbers(data[()]) for name, data in file["shared"].items()} if "shared" in file else {}
            step = int(file.attrs["step"])
        if step < 0:
            raise _DamagedError(f"its step is {step}")
    except _DamagedError:
        raise
    except Exception as error:  # a forged file may fail anywhere
        raise _DamagedError(reason(error)) from None
    earlier = longer and isinstance(end := theirs.get("t_end"), (int, float)) and end < problem["t_end"]
    for key in sorted({*theirs, *problem}):
        if earlier and key.partition("[")[0] in ("t_end", "times"):
            continue
        if theirs.get(key) != problem.get(key):
            raise _ForeignError(f"{key} = {_short(theirs.get(key))} there, {_short(problem.get(key))} here")
    return CheckpointFile(path=path, step=step, shared=shared)


def _numbers(found: object) -> Array:
    """Return an array of real numbers from a file.

    Raises:
        TypeError: it holds something else.
    """
    array = np.asarray(found)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an array of {array.dtype}")
    return array


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _digest(raw: BufferedIOBase) -> str:
    return hashlib.file_digest(raw, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def _seal(path: Path) -> None:
    """Write the checksum into the block that HDF5 skips."""
    with path.open("r+b") as raw:
        raw.seek(_BLOCK)
        digest = _digest(raw)
        raw.seek(0)
        raw.write(_MAGIC + digest.encode("ascii") + b"\n")
