"""h5py, imported so that it works beside DOLFINx (``from kspde.runtime.hdf5 import h5py``); labelled files.

``dolfinx.fem.petsc`` makes the symbols of its own HDF5 library global to the process. An h5py that is imported later
would call that library instead of the one it was built with, and fail or corrupt memory. Here the loader searches
h5py's own library first; after that, other modules may import h5py in the usual way.

The axes of an array in a file have names: each is attached to a dimension scale, as in netCDF, so that
``xarray.open_dataset(path, group=..., engine="h5netcdf")`` shows them. A scale without values, such as ``particle``,
only has a length: row i belongs to number i.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.runtime.files import FILE_ERRORS, MOST_DATA, check_regular, reserve, writing

__all__ = [
    "check_hdf5",
    "h5py",
    "is_hdf5",
    "label_array",
    "new_file",
    "write_array",
    "write_parameters",
    "write_points",
    "write_scale",
]

#: A file of h5py, or a part of one: h5py has no types.
H5 = Any

#: A value of an attribute.
type Scalar = bool | int | float | str

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


def _promised(array: H5) -> int:
    """Return the bytes that an array takes in memory.

    Raises:
        ValueError: some of it is in another file.
    """
    plan = array.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise ValueError("an array of it is in another file")
    return math.prod(int(length) for length in array.shape) * int(array.dtype.itemsize)


@contextmanager
def new_file(path: str | Path, size: int) -> Iterator[H5]:
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
        with writing(path, FILE_ERRORS):
            reserve(hidden, size)
            with h5py.File(hidden, "w") as file:
                yield file
            hidden.replace(path)
    finally:
        with suppress(OSError):
            hidden.unlink()


#: What netCDF names a dimension scale without values, followed by its length.
_WITHOUT_VALUES = "This is a netCDF dimension but not a netCDF variable."

#: Parameters without an attribute of their own: containers, digests, kernels that follow from other parameters.
_CONTAINERS, _DIGESTS, _DERIVED = (
    ("dict", "list", "tuple"),
    (".code", ".fingerprint"),
    ("regularised_fields", "moments", "kspde"),
)


def write_array(
    group: H5, name: str, data: npt.ArrayLike, long_name: str, *axes: str, units: str = "1", **attributes: Scalar
) -> None:
    """Write an array whose axes are attached to dimension scales. Rank-local.

    Args:
        group: the file, or a group of it.
        name: the array's name, below the group.
        data: the array; a list of str is written as such.
        long_name: what the array holds, in words.
        axes: the names of the axes, paths of scales: from the root with "/", otherwise beside the array. A scale
            that is missing is made, without values.
        units: the unit; "1" for what has none.
        attributes: further attributes.
    """
    dtype = h5py.string_dtype() if isinstance(data, list) else None
    label_array(group.create_dataset(name, data=data, dtype=dtype), long_name, *axes, units=units, **attributes)


def label_array(array: H5, long_name: str, *axes: str, units: str = "1", **attributes: Scalar) -> None:
    """Label an array of a file; arguments as for ``write_array``. Rank-local."""
    text = h5py.check_string_dtype(array.dtype) is not None
    write_attributes(array, {"long_name": long_name, **({} if text else {"units": units}), **attributes})
    group = array.parent
    for axis, (path, length) in enumerate(zip(axes, array.shape, strict=bool(axes))):
        if path not in group:
            scale = group.create_dataset(path, (length,), dtype="i1")  # takes no room: nothing is written
            scale.make_scale(f"{_WITHOUT_VALUES}{length:10d}")
        array.dims[axis].attach_scale(group[path])


def write_scale(group: H5, name: str, values: npt.ArrayLike, long_name: str) -> None:
    """Write a dimension scale with values: numbers, or a list of str. Rank-local."""
    write_array(group, name, values, long_name)
    group[name].make_scale(name.rsplit("/", 1)[-1])


def write_parameters(file: H5, parameters: Mapping[str, object], provenance: object, **attributes: Scalar) -> None:
    """Write what led to a file's arrays as its attributes. Rank-local.

    ``parameters`` and ``provenance`` are JSON with everything; each number or name among the parameters, apart from
    digests, is an attribute of its own as well.

    Args:
        file: the file.
        parameters: all parameters by name, JSON-ready.
        provenance: versions, machine and date, JSON-ready.
        attributes: further attributes, which precede parameters of the same names.
    """
    text = json.dumps(parameters)
    plain = {
        name: value
        for name, value in json.loads(text).items()
        if isinstance(value, (bool, int, float, str))
        and not (value in _CONTAINERS or name.endswith(_DIGESTS) or name.startswith(_DERIVED))
    }
    write_attributes(file, {**plain, **attributes, "parameters": text, "provenance": json.dumps(provenance)})


def write_attributes(part: H5, attributes: Mapping[str, Scalar]) -> None:
    """Write new attributes of a file, a group or an array, in half the time that ``part.attrs`` takes. Rank-local."""
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    for name, value in attributes.items():
        data = np.array(value, dtype=h5py.string_dtype() if isinstance(value, str) else None)
        kind = h5py.h5t.py_create(data.dtype, logical=True)
        h5py.h5a.create(part.id, name.encode(), kind, space).write(data)


def write_points(file: H5, points: npt.NDArray[np.float64], **values: npt.NDArray[Any]) -> None:
    """Write points, shape (n, d), and values at them as VTK's polygonal data: each point is a vertex."""
    n, group = len(points), file.create_group("VTKHDF")
    group.attrs["Version"] = (2, 0)
    group.attrs.create("Type", b"PolyData", dtype=h5py.string_dtype("ascii", 8))
    group["NumberOfPoints"] = np.array([n])
    group["Points"] = np.pad(points, ((0, 0), (0, 3 - points.shape[1])))
    for name in ("Vertices", "Lines", "Polygons", "Strips"):
        some = n if name == "Vertices" else 0
        group[f"{name}/NumberOfCells"] = group[f"{name}/NumberOfConnectivityIds"] = np.array([some])
        group[f"{name}/Connectivity"], group[f"{name}/Offsets"] = np.arange(some), np.arange(some + 1)
    for name, each in values.items():
        group[f"PointData/{name}"] = each
