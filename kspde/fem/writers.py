"""Solutions in one file for ParaView, pyvista and h5py: VTKHDF, with all nodes and all saved times.

The cells are VTK's Lagrange cells of the elements' degree, so that readers evaluate the same polynomials. DOLFINx's own
``dolfinx.io.vtkhdf`` writes one array, at the nodes of the geometry alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from kspde._version import __version__
from kspde.errors import InputError
from kspde.fem.snapshot import Snapshot
from kspde.problem import SCALING
from kspde.runtime.files import FILE_ERRORS, reason
from kspde.runtime.parallel import check_same, one_after_another, together
from kspde.runtime.provenance import provenance
from kspde.typing import Array, Comm

__all__ = ["write_vtkhdf"]

#: What files say of units.
_SCALING = f"{SCALING}; a density is mass per volume, so that its integral is the mass of the species"

#: The arrays of a grid, and what they hold.
_GRID = {
    "Points": "coordinates x, y, z of the nodes",
    "Connectivity": "numbers of the nodes of each cell, in VTK's order",
    "Types": "VTK's type of each cell",
}


def write_vtkhdf(
    path: str | Path, names: Sequence[str], snapshots: Sequence[Snapshot], parameters: Mapping[str, object]
) -> None:
    """Write functions at all nodes and times to a VTKHDF file, in place of an earlier one. Collective.

    The file is an UnstructuredGrid: a part for each grid that the times have, shared by the times on it, and an array
    of ``PointData`` for each function, whose rows at one time are contiguous. Rank 0 writes one rank's rows after
    another's.

    Args:
        path: the file.
        names: the names of densities and fields.
        snapshots: their values, in order of time.
        parameters: all parameters by name, JSON-ready: attributes of the file.

    Raises:
        InputError: the file cannot be written; on every rank.
    """
    from kspde.fem.vtk_grids import vtk_grid  # needs Basix
    from kspde.runtime.hdf5 import label_array, new_file, write_parameters

    comm = snapshots[0].space.comm
    times = np.array([snapshot.t for snapshot in snapshots])
    check_same(comm, "write_vtkhdf", path=str(path), times=times)
    grids = {space: vtk_grid(space) for space in dict.fromkeys(snapshot.space for snapshot in snapshots)}
    here = np.array([list(grids).index(snapshot.space) for snapshot in snapshots])
    points, cells, nodes = (
        np.array(sizes)
        for sizes in zip(*((g.points, g.cells, g.cells * g.corners) for g in grids.values()), strict=True)
    )
    of_times = points[here]
    size = 24 * points.sum() + 9 * cells.sum() + 8 * (nodes.sum() + len(names) * of_times.sum())
    with ExitStack() as stack:
        file: Any = None
        with together(comm):
            if comm.rank == 0:
                file = stack.enter_context(new_file(path, int(size)))
                write_parameters(file, parameters, provenance(comm), scaling=_SCALING, kspde_version=__version__)
                group = _new_group(file, points, cells, nodes)
                _write_steps(group.create_group("Steps"), times, here, points, cells, nodes)
                offsets = [np.arange(g.cells + 1) * g.corners for g in grids.values()]
                group["Offsets"] = np.concatenate(offsets)
                for name in names:
                    values = group.create_dataset(f"PointData/{name}", (int(of_times.sum()),), "f8")
                    label_array(values, f"{name} at the nodes, one time after another")
                    group[f"Steps/PointDataOffsets/{name}"] = _before(of_times)

        def write(array: str, start: int, local: Array) -> None:
            _write_rows(comm, path, None if file is None else file[f"VTKHDF/{array}"], start, local)

        for starts, grid in zip(zip(*map(_before, (points, nodes, cells)), strict=True), grids.values(), strict=True):
            for start, (name, rows) in zip(starts, grid.rows.items(), strict=True):
                write(name, start, rows)
        for start, snapshot in zip(_before(of_times), snapshots, strict=True):
            for name, nodal in snapshot.nodal().items():
                write(f"PointData/{name}", start, grids[snapshot.space].values(nodal))
        with together(comm):
            stack.close()


def _before(sizes: Array) -> Array:
    """Return what comes before each of some parts, whose sizes are given."""
    return np.cumsum(sizes) - sizes


def _new_group(file: Any, points: Array, cells: Array, nodes: Array) -> Any:
    """Make the group that VTK reads, with the sizes of the grids and room for their arrays. Rank-local."""
    from kspde.runtime.hdf5 import h5py, label_array

    group = file.create_group("VTKHDF")
    group.attrs["Version"] = (2, 0)
    group.attrs.create("Type", b"UnstructuredGrid", dtype=h5py.string_dtype("ascii", 16))
    for name, sizes in {"Points": points, "Cells": cells, "ConnectivityIds": nodes}.items():
        group[f"NumberOf{name}"] = sizes
    shapes = {"Points": (points.sum(), 3), "Connectivity": (nodes.sum(),), "Types": (cells.sum(),)}
    for (name, shape), kind in zip(shapes.items(), ("f8", "i8", "u1"), strict=True):
        label_array(group.create_dataset(name, shape, kind), _GRID[name])
    return group


def _write_steps(steps: Any, times: Array, here: Array, points: Array, cells: Array, nodes: Array) -> None:
    """Write the times, and which grid each of them has. Rank-local."""
    steps.attrs["NSteps"] = len(times)
    steps["Values"], steps["PartOffsets"], steps["NumberOfParts"] = times, here, np.ones_like(here)
    steps["PointOffsets"] = _before(points)[here]
    steps["CellOffsets"], steps["ConnectivityIdOffsets"] = (_before(sizes)[here][:, None] for sizes in (cells, nodes))


def _write_rows(comm: Comm, path: str | Path, array: Any, start: int, local: Array) -> None:
    """Write the rows of all ranks into an array of a file that rank 0 holds. Collective.

    Raises:
        InputError: they cannot be written; on every rank.
    """
    failed = None
    for block in one_after_another(comm, local):
        try:
            array[start : start + len(block)] = block
        except FILE_ERRORS as error:
            failed = error
        start += len(block)
    with together(comm):
        if failed is not None:
            raise InputError(f"cannot write {path}: {reason(failed)}")
