"""h5py, imported so that it works beside DOLFINx (``from kspde.hdf5 import h5py``), and files written whole.

``dolfinx.fem.petsc`` makes the symbols of its own HDF5 library global to the process. An h5py that is imported later
would call that library instead of the one it was built with, and fail or corrupt memory. Here it is told to look into
its own library first; after that, other modules may import it in the usual way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kspde.checkpoint import FILE_ERRORS, reason, reserve
from kspde.errors import InputError

__all__ = ["h5py", "new_file"]

_flags = sys.getdlopenflags()
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_LOCAL | getattr(os, "RTLD_DEEPBIND", 0))
try:
    import h5py
finally:
    sys.setdlopenflags(_flags)


@contextmanager
def new_file(path: str | Path, size: int) -> Iterator[Any]:
    """Write an HDF5 file that appears under its name when it is complete, in place of an earlier one. Rank-local.

    Args:
        path: of the file.
        size: bytes of all arrays that go into it.

    Raises:
        InputError: the file cannot be written; an earlier one is as it was.
    """
    path = Path(path)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        reserve(hidden, size)
        with h5py.File(hidden, "w") as file:
            yield file
        hidden.replace(path)
    except FILE_ERRORS as error:
        raise InputError(f"cannot write {path}: {reason(error)}") from None
    finally:
        with suppress(OSError):
            hidden.unlink()
