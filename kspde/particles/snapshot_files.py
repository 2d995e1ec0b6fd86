"""Files of the particles at saved times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kspde.errors import InputError, check_choice
from kspde.particles.cloud import DTYPES, Cloud
from kspde.runtime.parallel import together

__all__ = ["SnapshotFiles"]


@dataclass(frozen=True)
class SnapshotFiles:
    """Writes ``snapshot-<step>.h5`` into a directory at each saved time.

    Given as ``SaveAt(times=..., callback=SnapshotFiles("out"))``. A file has the layout of
    :meth:`Cloud.write` and appears under its name when it is complete; a run that is resumed
    replaces those written after its checkpoint.

    Attributes:
        directory: directory of the files; it is created where it is missing.
        dtype: type of the positions: "float64", or "float32" for half the size.

    Raises:
        InputError: an unknown dtype.
    """

    directory: str | Path
    dtype: Literal["float64", "float32"] = "float64"

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, DTYPES)

    def __call__(self, cloud: Cloud) -> None:
        """Write a file. Collective.

        Raises:
            InputError: it cannot be written; on every rank.
        """
        directory = Path(self.directory)
        path = directory / f"snapshot-{len(cloud.diagnostics['t']) - 1:010d}.h5"
        with together(cloud.comm):
            if cloud.comm.rank == 0:
                try:
                    directory.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise InputError(f"cannot make the directory {directory}: {error.strerror}") from None
        cloud.write(path, dtype=self.dtype)
