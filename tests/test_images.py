"""Images of every kind: the values that the file has, or one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kspde
from kspde.initial import read_grid

pytestmark = pytest.mark.one_rank

RANDOM = np.random.default_rng(3)


def write_png(path: Path, values: np.ndarray, kind: int) -> None:
    """Write values of 16 bits; ``kind`` is the header's: 2 colours, 4 grey and alpha, 6 colours and alpha."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    size = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    parts = [(b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    )


def write_tiff(path: Path, values: np.ndarray, black: int = 1, packed: bool = False) -> None:
    """Write values in one strip; ``black`` is 0 where the least value is white, 2 for colours."""
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    data = zlib.compress(data) if packed else data
    samples = values.shape[2] if values.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    entries = [(256, values.shape[1]), (257, values.shape[0]), (258, 8 * values.itemsize), (259, 8 if packed else 1)]
    entries += [(262, black), (273, 8), (277, samples), (278, values.shape[0]), (279, len(data)), (339, kind)]
    end = 8 + len(data) + 2 + 12 * len(entries) + 4
    header, beyond = struct.pack("<H", len(entries)), b""
    for number, value in entries:
        each = number in (258, 339) and samples > 1
        header += struct.pack("<HHII", number, 3, samples if each else 1, end + len(beyond) if each else value)
        beyond += struct.pack("<H", value) * samples if each else b""
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + header + b"\0" * 4 + beyond)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4"])
def test_values_of_a_tiff_file(tmp_path, dtype):
    """They are the file's, up to the largest that its type has."""
    top = 1e30 if dtype == "f4" else np.iinfo(dtype).max
    values = (RANDOM.random((4, 6)) * top).astype(dtype)
    values[0, 0] = top
    write_tiff(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.tif")[0], values)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "L", "P", "I;16"])
def test_hidden_pixels_have_no_values(tmp_path, mode):
    """What a transparent pixel hides does not count as seen; where none is, its values are the file's."""
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    channel = "red" if mode in ("RGBA", "P") else None
    for hidden in (False, True):
        if mode in ("LA", "RGBA"):
            alpha = np.where(hidden & (values == 5), 254, 255).astype(np.uint8)
            Image.fromarray(np.stack([values] * (len(mode) - 1) + [alpha], axis=-1)).save(tmp_path / "a.png")
        else:
            image = Image.fromarray(values.astype(np.uint16) if mode == "I;16" else values)
            (image.convert(mode) if mode == "P" else image).save(tmp_path / "a.png", transparency=5 if hidden else 99)
        if hidden:
            with pytest.raises(kspde.InputError, match=r"a.png: the image has transparent pixels: save it without"):
                read_grid(tmp_path / "a.png", channel=channel)
        else:
            np.testing.assert_array_equal(read_grid(tmp_path / "a.png", channel=channel)[0], values)


def test_images_that_would_be_read_wrongly(tmp_path):
    """Colours lose no bits, signs and white are not guessed, and no name says another order of rows."""
    deep = (RANDOM.random((4, 6, 4)) * 4095).astype(np.uint16)
    for kind, samples in ((2, 3), (4, 2), (6, 4)):
        write_png(tmp_path / f"{kind}.png", deep[..., :samples], kind)
    write_tiff(tmp_path / "c.tif", deep[..., :3], black=2)
    write_tiff(tmp_path / "z.tif", deep[..., :3], black=2, packed=True)
    for name in ("2.png", "4.png", "6.png", "c.tif", "z.tif"):
        with pytest.raises(kspde.InputError, match=f"{name}: the image is in colours of 16 bits: save one of them"):
            read_grid(tmp_path / name, channel="green")
    write_tiff(tmp_path / "i.tif", np.arange(-6, 6, dtype=np.int8).reshape(3, 4))
    with pytest.raises(kspde.InputError, match="signed values of 8 bits: save them as others"):
        read_grid(tmp_path / "i.tif")
    write_tiff(tmp_path / "w.tif", deep[..., 0], black=0)
    with pytest.raises(kspde.InputError, match="in the image 0 is white: save it with 0 for black"):
        read_grid(tmp_path / "w.tif")
    (tmp_path / "i.tif").rename(tmp_path / "i.dat")
    np.save(tmp_path / "values.npy", deep)
    (tmp_path / "values.npy").rename(tmp_path / "values.png")
    for name in ("i.dat", "values.png"):
        with pytest.raises(kspde.InputError, match=r"images are named .png, .tif or .tiff, and other files are not"):
            read_grid(tmp_path / name)


@pytest.mark.parametrize("size", [1e308, 1e-320])
def test_the_largest_and_the_least_values(size):
    """Sums of them overflow, and their inverses; the density does not."""
    u = kspde.GridDensity(np.full((3, 3), size), (0.0, 1.0, 0.0, 1.0), mass=2.0)
    np.testing.assert_allclose(u([[0.5, 0.3]]), 2.0, rtol=1e-14)
