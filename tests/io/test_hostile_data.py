"""Grids, tables of positions and meshes made to do harm: each gets one line, and nothing else happens."""

from __future__ import annotations

import base64
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import meshio
import numpy as np
import pytest

import kspde
from kspde.fem.meshes import safety as mesh_safety
from kspde.fem.meshes.build import mesh_arrays
from kspde.initial import read_grid
from kspde.runtime.hdf5 import h5py

pytestmark = pytest.mark.one_rank  # reading a file is a matter of one rank


class Evil:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("canary"),)


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return .npy data with a header of any kind."""
    text = header.encode("latin1")
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + data


def header(shape: str, descr: str = "'<f8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([[Evil(), 1], [2, 3]], dtype=object), allow_pickle=True)
    return file.getvalue()


def npz(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def altered(archive: bytes, offset: int, kind: str, value: int) -> bytes:
    """Return a .zip file whose directory says something else of its first member."""
    out = bytearray(archive)
    struct.pack_into(kind, out, archive.index(b"PK\x01\x02") + offset, value)
    return bytes(out)


def with_size(archive: bytes, size: int) -> bytes:
    return altered(archive, 24, "<I", size)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    first = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = [
        struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in (first, *chunks)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PIXELS = (b"IDAT", zlib.compress(bytes(12)))
ONES = npy(header("(3, 3)"), np.ones(9).tobytes())
GOOD = npz({"values.npy": ONES})

GRIDS: dict[str, bytes] = {
    "a pickle": pickle.dumps(Evil()),
    "a pickled array": pickled(),
    "a pickled array in a .npz file": npz({"values.npy": pickled()}),
    "a pickled extent": npz({"values.npy": ONES, "extent.npy": pickled()}),
    "10^15 entries": npy(header("(1000000000000000,)")),
    "10^15 entries by 10^15": npy(header("(1000000000000000, 1000000000000000)"), bytes(72)),
    "10^15 entries in a .npz file": npz({"values.npy": npy(header("(1000000000000000,)"))}),
    "a negative shape": npy(header("(-3, -3)"), bytes(72)),
    "a shape of nothing": npy(header("(0, 1000000000000000)")),
    "a shape of booleans": npy(header("(True, True)"), bytes(8)),
    "a shape of digits": npy(header(f"({'9' * 4000},)")),
    "a shape that is a call": npy(header("(__import__('os').system('touch canary'),)")),
    "a type that is a call": npy(header("(3, 3)", "__import__('os').system('touch canary')")),
    "objects": npy(header("(3, 3)", "'|O'"), bytes(72)),
    "objects in a record": npy(header("(3, 3)", "[('a', '|O')]"), bytes(72)),
    "records": npy(header("(3, 3)", "[('a', '<f8')]"), bytes(72)),
    "texts": npy(header("(3, 3)", "'<U2'"), bytes(72)),
    "no bytes each": npy(header("(3, 3)", "'|S0'")),
    "a terabyte each": npy(header("(3, 3)", "'|V1000000000000'")),
    "dates": npy(header("(3, 3)", "'<M8[s]'"), bytes(72)),
    "complex numbers": npy(header("(3, 3)", "'<c16'"), bytes(144)),
    "a deep header": npy("(" * 9000),
    "a deeper header": npy("[" * 60_000),
    "a header of four gigabytes": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "no header": b"\x93NUMPY\x01\x00",
    "a version from the future": npy(header("(3, 3)"), np.ones(9).tobytes(), b"\x09\x00"),
    "a version with names": npy(header("(3, 3)"), np.ones(9).tobytes(), b"\x03\x00"),
    "too few": npy(header("(3, 3)"), bytes(71)),
    "too many": npy(header("(3, 3)"), np.ones(9).tobytes() + b"x"),
    "nothing": b"",
    "a letter": b"P",
    "half a .zip file": GOOD[: len(GOOD) // 2],
    "an empty .zip file": npz({}),
    "a .zip file of text": npz({"values.txt": b"1 2 3"}),
    "a name above": npz({"../values.npy": ONES, "/etc/values.npy": ONES}),
    "an array that is none": npz({"values.npy": b"hello"}),
    "a size of four gigabytes": with_size(GOOD, 0xFFFFFFF0),
    "a size that is too small": with_size(GOOD, 100),
    "a bomb": with_size(npz({"values.npy": npy(header("(20000, 20000)"), bytes(10_000_000))}), 3_200_000_128),
    "a long bomb": npz({"values.npy": npy(header("(3, 3)"), bytes(50_000_000))}),
    "a bomb of another kind": npz({"values.npy": npy(header("(3, 3)"), bytes(5_000_000))}, zipfile.ZIP_LZMA),
    "an unknown compression": altered(GOOD, 10, "<H", 99),
    "a password": altered(GOOD, 8, "<H", 1),
    "an offset of four gigabytes": altered(GOOD, 42, "<I", 0xFFFFFFF0),
    "an image of 10^10 pixels": png(100_000, 100_000, PIXELS),
    "an image of 78 million pixels without data": png(60_000, 1300, PIXELS),
    "an image with a long text": png(3, 3, (b"zTXt", b"x\0\0" + zlib.compress(bytes(50_000_000))), PIXELS),
    "half an image": png(3, 3, PIXELS)[:45],
    "an image of no pixels": png(0, 3, PIXELS),
    "the beginning of a TIFF image": b"II*\0\xff\xff\xff\xff",
    "the beginning of a large TIFF image": b"II+\0\x08\0\0\0" + b"\xff" * 8,
    "an extent of texts": npz({"values.npy": ONES, "extent.npy": npy(header("(4,)", "'<U1'"), bytes(16))}),
    "an extent of 10^9 entries": npz({"values.npy": ONES, "extent.npy": npy(header("(1000000000,)"))}),
}  # fmt: skip

TABLES: dict[str, bytes] = {
    "a line of 20 megabytes": b"x,y\n" + b"1" * 20_000_000,
    "a first line of 20 megabytes": b"x," * 10_000_000,
    "a comment of 20 megabytes": b"#" * 20_000_000,
    "no end of a quote": b'x,y\n"' + b"1,2\n" * 500_000,
    "a field of a megabyte": b'x,y\n"' + b"1" * 1_000_000 + b'",2\n',
    "many columns": b",".join(b"c%d" % k for k in range(5_000)) + b"\n",
    "too many entries": b"x,y\n" + b"1," * 5_000 + b"\n",
    "nulls": b"\x00" * 1_000_000,
    "a null in a field": b"x,y\n1\x00,2\n",
    "bytes": bytes(range(256)) * 100,
    "another encoding": "x,y\n1,2\n".encode("utf-32"),
    "nothing": b"",
    "only comments": b"# x\n" * 100_000,
    "a formula": b"x,y\n=cmd|' /C calc'!A0,2\n",
    "a call": b"x,y\n__import__('os').system('touch canary'),2\n",
    "a huge number": b"x,y\n" + b"9" * 50_000 + b",1\n",
    "not a number": b"x,y\nnan,1\n",
    "infinity": b"x,y\n1e999,1\n",
    "underscores": b"x,y\n" + b"1_" * 30_000 + b",1\n",
}

#: Arrays that a mesh is put together from: two triangles.
POINTS = "4\n1 0 0 0\n2 1 0 0\n3 1 1 0\n4 0 1 0\n"
CELLS = "2\n1 2 2 0 1 1 2 3\n2 2 2 0 1 1 3 4\n"


def gmsh(nodes: str = POINTS, elements: str = CELLS, begin: str = "$MeshFormat\n2.2 0 8\n$EndMeshFormat\n") -> bytes:
    return f"{begin}$Nodes\n{nodes}$EndNodes\n$Elements\n{elements}$EndElements\n".encode()


SCRIPT = 'SystemCall "touch canary";\nPrintf("x") > "canary";\nSave "canary";\n'

GMSH: dict[str, bytes] = {
    "a script": SCRIPT.encode(),
    "a script after a comment": f"// $MeshFormat\n{SCRIPT}".encode(),
    "a script after a blank": f" $MeshFormat\n{SCRIPT}".encode(),
    "a script after a line": f"\n$MeshFormat\n{SCRIPT}".encode(),
    "a script after a mark": b"\xef\xbb\xbf$MeshFormat\n" + SCRIPT.encode(),
    "a script after another section": f"$Comments\n{SCRIPT}$EndComments\n".encode(),
    "a script of views": f"$PostFormat\n{SCRIPT}".encode(),
    "a script as the format": f"$MeshFormat\n{SCRIPT}".encode(),
    "a script in the format": f"$MeshFormat\n2.2 0 8\n{SCRIPT}$EndMeshFormat\n".encode(),
    "a script for points": gmsh(nodes=SCRIPT),
    "a script for cells": gmsh(elements=SCRIPT),
    "another file's name": b'Merge "/etc/passwd";\n',
    "an archive": b"\x1f\x8b\x08\x00" + b"x" * 100,
    "nothing": b"",
    "the format alone": b"$MeshFormat\n2.2 0 8\n$EndMeshFormat\n",
    "half a format": b"$MeshFormat",
    "a format from the future": gmsh(begin="$MeshFormat\n99.9 0 8\n$EndMeshFormat\n"),
    "no points": gmsh(nodes="0\n"),
    "no cells": gmsh(elements="0\n"),
    "points that are not there": gmsh(elements="1\n1 2 2 0 1 7 8 9\n"),
    "negative points": gmsh(elements="1\n1 2 2 0 1 -1 -2 -3\n"),
    "an unknown cell": gmsh(elements="1\n1 999 2 0 1 1 2 3\n"),
    "half the points": gmsh(nodes="4\n1 0 0 0\n2 1 0\n"),
    "a point that is not finite": gmsh(nodes="4\n1 nan 0 0\n2 1 0 0\n3 inf 1 0\n4 0 1 0\n"),
    "points twice": gmsh(elements="1\n1 2 2 0 1 1 1 1\n"),
}

XML = '<?xml version="1.0"?>'
BOMB = f"""{XML}<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{
    "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12))
}]>"""
EXTERNAL = f'{XML}<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


def xdmf(item: str, start: str = XML) -> bytes:
    return f"""{start}<Xdmf Version="3.0" xmlns:xi="http://www.w3.org/2001/XInclude"><Domain><Grid Name="mesh">
    <Geometry GeometryType="XY">{item}</Geometry>
    <Topology TopologyType="Triangle" NumberOfElements="1"><DataItem DataType="Int" Dimensions="1 3"
    Format="XML">0 1 2</DataItem></Topology></Grid></Domain></Xdmf>""".encode()


def item(form: str, text: str, dimensions: str = "3 2") -> str:
    return f'<DataItem DataType="Float" Dimensions="{dimensions}" Format="{form}" Precision="8">{text}</DataItem>'


def vtu(text: str, start: str = XML, kind: str = "ascii", attributes: str = "") -> bytes:
    return f"""{start}<VTKFile type="UnstructuredGrid" version="0.1" byte_order="LittleEndian" {attributes}>
    <UnstructuredGrid><Piece NumberOfPoints="3" NumberOfCells="1"><Points><DataArray type="Float64"
    NumberOfComponents="3" format="{kind}">{text}</DataArray></Points><Cells></Cells></Piece></UnstructuredGrid>
    </VTKFile>""".encode()


def compressed_bomb() -> bytes:
    data = zlib.compress(bytes(30_000_000))
    head = struct.pack("<IIII", 1, 1 << 15, 1 << 15, len(data))
    text = (base64.b64encode(head) + base64.b64encode(data)).decode()
    return vtu(text, kind="binary", attributes='header_type="UInt32" compressor="vtkZLibDataCompressor"')


MESHES: dict[str, tuple[str, bytes]] = {
    **{f"gmsh: {name}": (".msh", content) for name, content in GMSH.items()},
    "gmsh in capitals: a script": (".MSH", SCRIPT.encode()),
    "geo: a script": (".geo", SCRIPT.encode()),
    "opt: a script": (".opt", SCRIPT.encode()),
    "pos: a script": (".pos", SCRIPT.encode()),
    "unknown": (".py", b"open('canary', 'w')"),
    "pickle": (".pkl", pickle.dumps(Evil())),
    "no suffix": ("", gmsh()),
    "wkt": (".wkt", b"TIN (((" + b"0 0 0, " * 100_000),
    "xdmf: a device": (".xdmf", xdmf(item("Binary", "/dev/zero"))),
    "xdmf: a device, infinite": (".xdmf", xdmf(item("Binary", "/dev/zero", "1000000000000 2"))),
    "xdmf: a pipe": (".xdmf", xdmf(item("Binary", "pipe"))),
    "xdmf: a file above": (".xdmf", xdmf(item("HDF", "../secret.h5:/x"))),
    "xdmf: a file elsewhere": (".xmf", xdmf(item("HDF", "/etc/passwd:/x"))),
    "xdmf: a pipe as HDF5": (".xdmf", xdmf(item("HDF", "pipe:/x"))),
    "xdmf: no HDF5": (".xdmf", xdmf(item("HDF", "mesh.xdmf:/x"))),
    "xdmf: a folder": (".xdmf", xdmf(item("HDF", "folder:/x"))),
    "xdmf: nothing": (".xdmf", xdmf(item("HDF", ""))),
    "xdmf: links elsewhere": (".xdmf", xdmf(item("HDF", "external.h5:/x"))),
    "xdmf: an unknown format": (".xdmf", xdmf(item("TIFF", "x.tiff"))),
    "xdmf: an include": (".xdmf", xdmf('<xi:include href="/etc/passwd" parse="text"/>')),
    "xdmf: a bomb": (".xdmf", xdmf(item("XML", "&a11;"), BOMB)),
    "xdmf: an external entity": (".xdmf", xdmf(item("XML", "&a;"), EXTERNAL)),
    "xdmf: huge": (".xdmf", xdmf(item("XML", "0 0 1 0 0 1", "1000000000000000 2"))),
    "xdmf: no XML": (".xdmf", b"<" * 100_000),
    "vtu: a bomb": (".vtu", vtu("&a11;", BOMB)),
    "vtu: an external entity": (".vtu", vtu("&a;", EXTERNAL)),
    "vtu: a compressed bomb": (".vtu", compressed_bomb()),
    "vtu: deep": (".vtu", b"<a>" * 100_000),
    "xml: a bomb": (".xml", f"{BOMB}<dolfin><mesh celltype='&a11;'/></dolfin>".encode()),
    "svg: a bomb": (".svg", f"{BOMB}<svg>&a11;</svg>".encode()),
    "obj: points that are not there": (".obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
    "off: huge": (".off", b"OFF\n1000000000000 1000000000000 0\n0 0 0\n"),
    "ply: huge": (
        ".ply",
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1000000000000\nproperty double x\nproperty double y\n"
        b"element face 1\nproperty list uchar int vertex_indices\nend_header\n",
    ),
    "stl: huge": (".stl", bytes(80) + struct.pack("<I", 0xFFFFFFFF)),
    "vtk: huge": (
        ".vtk",
        b"# vtk DataFile Version 3.0\nx\nBINARY\nDATASET UNSTRUCTURED_GRID\nPOINTS 1000000000000 double\n",
    ),
    "medit: huge": (".mesh", b"MeshVersionFormatted 1\nDimension 2\nVertices\n1000000000000\n0 0 1\n"),
    "nastran: endless": (".bdf", b"CEND\nBEGIN BULK\n" + b"GRID," * 1000),
    "med: no HDF5": (".med", b"\x89HDF\r\n\x1a\n" + b"x" * 1000),
    "exodus: a text": (".exo", b"CDF\x01" + b"x" * 1000),
    "exodus: HDF5": (".e", b"\x89HDF\r\n\x1a\n" + bytes(1000)),
    "bytes": (".vtu", bytes(range(256)) * 1000),
}


def external_link(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/x")


def external_data(file: h5py.File) -> None:
    file.create_dataset("x", (10,), "u1", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


def virtual_data(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(10,), dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(10,))
    file.create_virtual_dataset("x", layout)


def huge_data(file: h5py.File) -> None:
    file.create_dataset("x", (10**15,), "f8", chunks=(1000,))


def huge_data_below(file: h5py.File) -> None:
    file.create_dataset("a/b/c/x", (10**6, 10**6), "f8", chunks=(1000, 1000), compression="gzip")
    file["a/b/again"] = file["a"]  # a circle of hard links


HDF5 = (external_link, soft_link, external_data, virtual_data, huge_data, huge_data_below)


@pytest.mark.parametrize("kind", GRIDS)
def test_grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "grid.npz"
    path.write_bytes(GRIDS[kind])

    def read() -> None:
        values, extent = read_grid(path)
        kspde.GridDensity(values, (0, 1, 0, 1) if extent is None else extent)

    hostile.refusal(read, tmp_path)


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cells.csv"
    path.write_bytes(TABLES[kind])
    line = hostile.refusal(lambda: kspde.observed_positions(path, bandwidth=0.3), tmp_path)
    assert len(line) < len(str(path)) + 400


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning:meshio")
@pytest.mark.parametrize("kind", MESHES)
def test_meshes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    hostile.traps(tmp_path)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        external_link(file)
    suffix, content = MESHES[kind]
    path = tmp_path / f"mesh{suffix}"
    path.write_bytes(content)
    hostile.refusal(lambda: mesh_arrays(kspde.MeshFile(path=path), 2), tmp_path)


@pytest.mark.parametrize("suffix", [".med", ".h5m", ".cgns", ".hmf"])
@pytest.mark.parametrize("make", HDF5)
def test_meshes_in_hdf5(tmp_path: Path, make: Callable[[Any], None], suffix: str) -> None:
    path = tmp_path / f"mesh{suffix}"
    with h5py.File(path, "w") as file:
        make(file)
    line = hostile.refusal(lambda: mesh_arrays(kspde.MeshFile(path=path), 2), tmp_path)
    assert any(words in line for words in ("it has a link", "is in another file", "it promises"))


def test_what_unpacks_to_more_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_safety, "MOST_UNPACKED", 10_000_000)  # of the bomb's 30 million
    path = tmp_path / "mesh.vtu"
    path.write_bytes(MESHES["vtu: a compressed bomb"][1])
    line = hostile.refusal(lambda: mesh_arrays(kspde.MeshFile(path=path), 2), tmp_path)
    assert "it unpacks to more than 1e+07 bytes" in line
    (tmp_path / "mesh.vol.gz").write_bytes(b"\x1f\x8b")
    packed = kspde.MeshFile(path=tmp_path / "mesh.vol.gz")
    assert "unpack it first" in hostile.refusal(lambda: mesh_arrays(packed, 2), tmp_path)


@pytest.mark.parametrize("suffix", [".xml", ".vtu", ".msh"])
def test_pipes_beside_a_mesh_are_not_opened(tmp_path: Path, suffix: str) -> None:
    for name in ("mesh_x.xml", "mesh.opt", "mesh.msh.opt", "mesh.h5"):
        os.mkfifo(tmp_path / name)
    kind = {".xml": "dolfin-xml", ".vtu": "vtu", ".msh": "gmsh22"}[suffix]
    path = tmp_path / f"mesh{suffix}"
    square = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    cells = [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))]
    # In the format's own directory a reader of it would wait for ever.
    meshio.write_points_cells(path, square if suffix != ".xml" else square[:, :2], cells, file_format=kind)
    assert len(mesh_arrays(kspde.MeshFile(path=path), 2).cells) == 2


def test_cells_without_end(tmp_path: Path) -> None:
    path = tmp_path / "mesh.vtu"
    x, y = (a.ravel() for a in np.meshgrid(np.arange(17.0), np.arange(17.0), indexing="ij"))
    corner = (17 * np.arange(16)[:, None] + np.arange(16)).ravel()
    cells = np.stack([corner, corner + 17, corner + 18, corner + 1], axis=1)
    meshio.write_points_cells(path, np.stack([x, y, 0 * x], axis=1), [("quad", cells)])
    line = hostile.refusal(lambda: mesh_arrays(kspde.MeshFile(path=path, refine=12), 2), tmp_path)
    assert line.startswith("refine = 12 is not valid: it makes 4.29e+09 cells of the 256 in ")
    with pytest.raises(kspde.InputError, match=r"resolution = 1000000 is not valid: give an integer >= 8 and <= 10000"):
        kspde.CallableDensity(lambda x: x[:, 0], half_width=1.0, resolution=10**6)


def test_names_of_meshes(tmp_path: Path) -> None:
    for trap in hostile.traps(tmp_path).values():
        path = tmp_path / trap
        hostile.refusal(lambda path=path: mesh_arrays(kspde.MeshFile(path=path), 2), tmp_path)
        hostile.refusal(lambda path=path: kspde.observed_positions(path, bandwidth=0.3), tmp_path)
        hostile.refusal(lambda path=path: read_grid(path), tmp_path)


def test_options_beside_a_mesh_are_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gmsh")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mesh.msh").write_bytes(gmsh())
    for name in ("mesh.msh.opt", ".gmshrc", ".gmsh-options"):
        (tmp_path / name).write_text(SCRIPT, encoding="utf-8")
    before = hostile.listing(tmp_path)
    assert len(mesh_arrays(kspde.MeshFile(path=tmp_path / "mesh.msh"), 2).cells) == 2
    assert hostile.listing(tmp_path) == before


def test_how_many_there_are() -> None:
    assert len(GRIDS) + len(TABLES) + len(MESHES) + 4 * len(HDF5) + 3 * 14 > 190
