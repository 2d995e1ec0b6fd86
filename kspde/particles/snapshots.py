"""States on disk: a callback for ``SaveAt`` that writes the positions at the saved times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kspde.errors import InputError, check_choice
from kspde.particles.cloud import Cloud
from kspde.runtime.parallel import together

__all__ = ["StateFiles"]


@dataclass(frozen=True)
class StateFiles:
    """Writes ``state-<step>.h5`` into a directory at each saved time.

    Given as ``SaveAt(times=..., callback=StateFiles("out"))``. A file has the layout of
    :meth:`~kspde.particles.cloud.Cloud.write`, and appears under its name when it is complete; a run that is resumed
    replaces those after its checkpoint.

    Attributes:
        directory: of the files; it is created where it is missing.
        dtype: "float64", or "float32" for half the size.

    Raises:
        InputError: an unknown dtype.
    """

    directory: str | Path
    dtype: str = "float64"

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, ("float32", "float64"))

    def __call__(self, cloud: Cloud) -> None:
        """Write a file. Collective.

        Raises:
            InputError: it cannot be written; on every rank.
        """
        directory = Path(self.directory)
        path = directory / f"state-{len(cloud.diagnostics['t']) - 1:010d}.h5"
        hidden = path.with_name(f".{path.name}")
        with together(cloud.comm):
            if cloud.comm.rank == 0:
                try:
                    directory.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise InputError(f"cannot make the directory {directory}: {error.strerror}") from None
        cloud.write(hidden, dtype=self.dtype)
        with together(cloud.comm):
            if cloud.comm.rank == 0:
                hidden.replace(path)
