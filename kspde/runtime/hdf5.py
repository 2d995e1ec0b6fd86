"""h5py, imported so that it works beside DOLFINx (``from kspde.runtime.hdf5 import h5py``); complete files only.

``dolfinx.fem.petsc`` makes the symbols of its own HDF5 library global to the process. An h5py that is imported later
would call that library instead of the one it was built with, and fail or corrupt memory. Here the loader searches
h5py's own library first; after that, other modules may import h5py in the usual way.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kspde.errors import InputError
from kspde.runtime.files import FILE_ERRORS, MOST_DATA, check_regular, reason, reserve

__all__ = ["check_hdf5", "h5py", "is_hdf5", "new_file"]

#: The most groups and arrays in a file.
_MOST_PARTS = 10**6

_flags = sys.getdlopenflags()
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_LOCAL | getattr(os, "RTLD_DEEPBIND", 0))
try:
    import h5py
finally:
    sys.setdlopenflags(_flags)


def is_hdf5(path: str | Path) -> bool:
    """Return whether a file is HDF5, possibly behind a user block."""
    return bool(h5py.is_hdf5(path))


def check_hdf5(path: str | Path, most: int = MOST_DATA) -> None:
    """Raise for a file that leads to others, or that promises more than ``most`` bytes of arrays.

    An HDF5 file may hold links to other files, arrays that are stored in or composed of other files, and arrays that
    have a size but no data.

    Raises:
        OSError: it is not a regular file, or not HDF5.
        ValueError: it is such a file.
    """
    check_regular(path, most)
    total, seen = 0, set()
    with h5py.File(path, "r") as file:
        waiting = [file.id]
        while waiting:
            group = waiting.pop()
            for name in group:
                if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                    raise ValueError("it has a link that does not lead to a part of itself")
                part = h5py.h5o.open(group, name)
                address = h5py.h5o.get_info(part).addr
                if address in seen:
                    continue
                seen.add(address)
                if isinstance(part, h5py.h5g.GroupID):
                    waiting.append(part)
                elif isinstance(part, h5py.h5d.DatasetID):
                    total += _promised(part)
                if total > most or len(seen) > _MOST_PARTS:
                    raise ValueError(f"it promises {total:.3g} bytes in {len(seen)} parts")


def _promised(array: Any) -> int:
    """Return the bytes that an array takes in memory.

    Raises:
        ValueError: some of it is in another file.
    """
    plan = array.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise ValueError("an array of it is in another file")
    return math.prod(int(length) for length in array.shape) * int(array.dtype.itemsize)


@contextmanager
def new_file(path: str | Path, size: int) -> Iterator[Any]:
    """Write an HDF5 file that appears under its name when it is complete, in place of an earlier one. Rank-local.

    Args:
        path: the file.
        size: the bytes of all arrays that go into it.

    Raises:
        InputError: the file cannot be written; an earlier one is unchanged.
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
