"""Solutions in files for ParaView: ADIOS2 (.bp) and XDMF with HDF5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from kspde._version import __version__
from kspde.fem.snapshot import Snapshot
from kspde.fem.spaces.base import Space
from kspde.problem import SCALING
from kspde.runtime.files import check_room
from kspde.runtime.parallel import check_same, together
from kspde.runtime.provenance import provenance

__all__ = ["write_vtx", "write_xdmf"]


def write_vtx(path: str | Path, space: Space, names: Sequence[str], snapshots: Sequence[Snapshot]) -> None:
    """Write functions at the nodes to an ADIOS2 .bp directory. Collective.

    Args:
        path: the directory.
        space: the space.
        names: the names of densities and fields.
        snapshots: their values, in order of time.
    """
    from dolfinx import fem, io

    _check("write_vtx", path, space, names, snapshots, len(space.mesh.geometry.x) + space.mass.size)
    # ParaView takes a Lagrange cell's nodes to be equidistant.
    shown = fem.functionspace(space.mesh, space.plotting_element())
    functions = {name: fem.Function(shown, name=name) for name in names}
    with io.VTXWriter(space.comm, str(path), list(functions.values())) as writer:
        for snapshot in snapshots:
            for name, function in snapshot.all_functions(space).items():
                functions[name].interpolate(function)
            writer.write(snapshot.t)


def write_xdmf(
    path: str | Path,
    space: Space,
    names: Sequence[str],
    snapshots: Sequence[Snapshot],
    parameters: Mapping[str, object],
) -> None:
    """Write functions at the mesh's vertices to XDMF with HDF5; arguments as for ``write_vtx``. Collective.

    The arrays of the HDF5 file are ``Mesh/mesh/geometry`` (vertex, coordinate), ``Mesh/mesh/topology`` (cell, corner)
    and ``Function/<name>/<time>`` (vertex, component); their axes are dimension scales. ``parameters``, JSON-ready, are
    attributes of the file.
    """
    import basix.ufl
    from dolfinx import fem, io

    _check("write_xdmf", path, space, names, snapshots, len(space.mesh.geometry.x))
    vertices = fem.functionspace(space.mesh, basix.ufl.element("Lagrange", space.mesh.basix_cell(), 1))
    with io.XDMFFile(space.comm, str(path), "w") as file:
        file.write_mesh(space.mesh)
        for snapshot in snapshots:
            for name, function in snapshot.all_functions(space).items():
                at_vertices = fem.Function(vertices, name=name)
                at_vertices.interpolate(function)
                file.write_function(at_vertices, snapshot.t)
    with together(space.comm):
        if space.comm.rank == 0:
            _merge_series(path)
            _label(Path(path).with_suffix(".h5"), parameters, provenance(space.comm))


def _label(path: Path, parameters: Mapping[str, object], about: Mapping[str, object]) -> None:
    """Name the axes of the arrays that DOLFINx has written, and add their meaning and the parameters. On one rank."""
    from kspde.runtime.hdf5 import h5py, label_array, write_parameters

    with h5py.File(path, "r+") as file:
        write_parameters(file, parameters, about, scaling=_SCALING, kspde_version=__version__)
        mesh = file["Mesh/mesh"]
        label_array(mesh["geometry"], "coordinates of the vertices", "/vertex", "/coordinate")
        label_array(mesh["topology"], "numbers of the vertices of each cell", "/cell", "/corner")
        for name, series in file["Function"].items():
            for values in series.values():
                label_array(values, f"{name} at the vertices", "/vertex", "/component")


#: What files say of units.
_SCALING = f"{SCALING}; a density is mass per volume, so that its integral is the mass of the species"


def _check(
    call: str, path: str | Path, space: Space, names: Sequence[str], snapshots: Sequence[Snapshot], nodes: int
) -> None:
    """Refuse files for which there is no room: ADIOS2 and HDF5 would end the process, or hang. Collective."""
    check_same(space.comm, call, path=str(path), times=np.array([snapshot.t for snapshot in snapshots]))
    values = len(snapshots) * len(names) + 3
    check_room(space.comm, path, int(8 * values * space.total(np.array([nodes]))[0]))


def _merge_series(path: str | Path) -> None:
    """Rewrite the XML of an XDMF file of DOLFINx as one time series with all functions on each of its grids.

    DOLFINx writes one series per function, whose grids include the mesh by XPointer. ParaView's first XDMF reader fails
    at such an inclusion, and meshio keeps the last series only. The HDF5 file beside it stays as it is. On one rank.

    Raises:
        OSError: the file cannot be read or written.
    """
    tree = ElementTree.parse(path)
    domain = tree.getroot().find("Domain")
    if domain is None:
        raise OSError(f"{path} has no Domain")
    mesh, *series = domain.findall("Grid")
    merged = ElementTree.Element("Grid", Name="solution", GridType="Collection", CollectionType="Temporal")
    for grids in zip(*(one.findall("Grid") for one in series), strict=True):
        grid = ElementTree.SubElement(merged, "Grid", Name=mesh.get("Name", "mesh"), GridType="Uniform")
        grid.extend(grids[0].findall("Time"))
        grid.extend(deepcopy(part) for part in mesh if part.tag in ("Topology", "Geometry"))
        for one in grids:
            grid.extend(one.findall("Attribute"))
    for item in merged.iter("DataItem"):
        if item.get("NumberType") is None:  # readers would take it for single precision
            item.set("NumberType", "Float")
            item.set("Precision", "8")
    for old in (mesh, *series):
        domain.remove(old)
    domain.append(merged)
    ElementTree.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)
