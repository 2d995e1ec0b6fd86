"""XDMF as its readers want it: one time series, all functions on each of its grids.

DOLFINx writes one series a function, whose grids include the mesh by XPointer. ParaView's first XDMF reader ends at
such an inclusion, and meshio keeps the last series only.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["merge_series"]


def merge_series(path: str | Path) -> None:
    """Rewrite the XML of an XDMF file of DOLFINx; the HDF5 file beside it stays as it is. On one rank.

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
