"""What a mesh file must be before a reader sees it: data, in itself, of a size that memory holds.

gmsh executes what is no mesh as a script of its language, which can start programs, and the options in a file beside
the mesh; XDMF files name other files; HDF5 files may have parts of others in them.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from kspde.errors import InputError
from kspde.files import MOST_TEXT, check_regular, open_regular, read_regular

__all__ = ["check_mesh_file"]

#: How a file begins that gmsh reads as a mesh, and one that is HDF5.
_GMSH, _HDF5 = (b"$MeshFormat", b"$NOD"), b"\x89HDF\r\n\x1a\n"


def check_mesh_file(path: Path) -> None:
    """Refuse a file that a reader must not see.

    Raises:
        OSError: it is no regular file, or too large.
        InputError: it is no mesh, or leads to other files.
    """
    kind = path.suffix.lower()
    with open_regular(path) as file:
        begin = file.read(16)
    if kind == ".msh" and not begin.startswith(_GMSH):
        raise InputError(f"{path} is not a mesh of gmsh: it must begin with $MeshFormat; save it anew, as .msh")
    if begin.startswith(_HDF5):
        _check_hdf5(path)
    if kind in (".xdmf", ".xmf"):
        _check_xdmf(path)


def _check_hdf5(path: Path) -> None:
    from kspde.hdf5 import check_hdf5

    try:
        check_hdf5(path)
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a mesh ({error}): save it anew, all in one file") from None


def _check_xdmf(path: Path) -> None:
    """Refuse what names files other than HDF5 files in the same directory.

    Raises:
        InputError: it does, or is no XML.
    """
    try:
        root = ElementTree.fromstring(read_regular(path, MOST_TEXT))
    except ElementTree.ParseError as error:
        raise InputError(f"{path} cannot be read as a mesh ({error}): it is no XML") from None
    for item in root.iter():
        if "include" in item.tag.lower():
            raise InputError(f"{path} includes another file, which is not read: save it anew, all in one file")
        form = item.get("Format", "XML").upper() if item.tag == "DataItem" else "XML"
        if form == "XML":
            continue
        name = (item.text or "").strip().split(":")[0]
        if form != "HDF" or Path(name).name != name or not name:
            raise InputError(
                f"{path} names {name[:60]!r}, which is not read: its data must be in itself or an HDF5 file beside it"
            )
        try:
            check_regular(path.parent / name)
            _check_hdf5(path.parent / name)
        except OSError as error:
            raise InputError(f"{path} names {name[:60]!r}, which cannot be read ({error.strerror or error})") from None
