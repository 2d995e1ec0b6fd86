"""Checks of a mesh file before a reader sees it: it must be data, self-contained, and fit into memory.

gmsh executes a file that is not a mesh as a script of its language, which can start programs, and the options in a file
beside the mesh; XDMF files name other files; HDF5 files may contain parts of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from kspde.errors import InputError
from kspde.runtime.files import MOST_TEXT, check_regular, open_regular, read_regular

__all__ = ["MOST_UNPACKED", "Unpacking", "alone", "check_mesh_file", "is_freefem"]

#: How a file begins that gmsh reads as a mesh.
_GMSH = (b"$MeshFormat", b"$NOD")

#: Formats with parts in other files beside the one that is named.
_IN_PARTS = (".xdmf", ".xmf", ".node", ".ele")

#: Bytes that the parts of a file may unpack to.
MOST_UNPACKED = 1 << 32


def check_mesh_file(path: Path) -> None:
    """Refuse a file that a reader must not see.

    Raises:
        OSError: it is not a regular file, or too large.
        InputError: it is not a mesh, or refers to other files.
    """
    from kspde.runtime.hdf5 import is_hdf5

    kind = path.suffix.lower()
    with open_regular(path) as file:
        begin = file.read(16)
    if kind == ".msh" and not begin.startswith(_GMSH) and not is_freefem(path):
        raise InputError(
            f"{path} is neither gmsh's .msh, which begins with $MeshFormat, nor FreeFem's, which begins with three "
            "numbers: save it anew as one of them"
        )
    if kind == ".gz":
        raise InputError(f"{path} is packed: unpack it first")
    if is_hdf5(path):
        _check_hdf5(path)
    if kind in (".xdmf", ".xmf"):
        _check_xdmf(path)


@contextmanager
def alone(path: Path) -> Iterator[Path]:
    """Yield another name of a mesh file, in a directory where readers find nothing beside it.

    Raises:
        InputError: there is no place for temporary files.
    """
    if path.suffix.lower() in _IN_PARTS:
        yield path
        return
    try:
        temporary = TemporaryDirectory()
    except OSError as error:
        raise InputError(f"{path} is read from a temporary directory ({error.strerror}): set TMPDIR to one") from None
    with temporary as directory:
        link = Path(directory) / f"mesh{path.suffix}"
        if path.suffix.lower() == ".xml":  # its reader follows links, and looks for data files there
            copyfile(path, link)
        else:
            link.symlink_to(path.absolute())
        try:
            yield link
        except Exception as error:
            error.args = tuple(str(word).replace(str(link), str(path)) for word in error.args)
            raise


class Unpacking:
    """A stand-in for the module zlib or lzma that raises where a small file would unpack to a very large one.

    Args:
        module: the module.
    """

    def __init__(self, module: Any) -> None:
        self._new = module.decompressobj if hasattr(module, "decompressobj") else module.LZMADecompressor
        self._left = MOST_UNPACKED

    def decompress(self, data: bytes) -> bytes:
        """Return unpacked data.

        Raises:
            ValueError: there are too many.
        """
        out: bytes = self._new().decompress(data, self._left + 1)
        self._left -= len(out)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MOST_UNPACKED:.3g} bytes")
        return out


def is_freefem(path: Path) -> bool:
    """Return whether a file begins as FreeFem's plane meshes do, with the numbers of points, triangles and edges."""
    with open_regular(path) as file:
        words = file.readline(80).split()
    return len(words) == 3 and all(word.isdigit() for word in words)


def _check_hdf5(path: Path) -> None:
    from kspde.runtime.hdf5 import check_hdf5

    try:
        check_hdf5(path)
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a mesh ({error}): save it anew, all in one file") from None


def _check_xdmf(path: Path) -> None:
    """Refuse a file that names others than HDF5 files in the same directory.

    Raises:
        InputError: it does, or is not XML.
    """
    try:
        root = ElementTree.fromstring(read_regular(path, MOST_TEXT))
    except ElementTree.ParseError as error:
        raise InputError(f"{path} cannot be read as a mesh ({error}): it is not XML") from None
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
