"""Values on a grid from files: arrays, images, tables. Nothing is unpickled or evaluated."""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_choice, check_integer, first_line, shortened, shown
from kspde.runtime.files import MOST_TEXT, open_regular

__all__ = ["check_delimiter", "is_image", "read_grid"]

#: The most bytes of a file of values, and of the values in it.
_MOST = 1 << 31
#: The first bytes of PNG and of TIFF files, and the most pixels.
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PIXELS = 80_000_000
#: Entries of a TIFF file's header: bits and kinds of values, whether 0 is white; two of the kinds.
_BITS, _KIND, _WHITE = 258, 339, 262
_UNSIGNED, _SIGNED = 1, 2
#: Names of files that are tables of numbers.
_TABLES = (".csv", ".tsv", ".txt")

Channel = Literal["luminance", "red", "green", "blue"]
_CHANNELS: tuple[Channel, ...] = ("luminance", "red", "green", "blue")


def is_image(path: str | Path) -> bool:
    """Return whether a file's name is that of an image: rows come from the top."""
    return Path(path).suffix.lower() in (".png", ".tif", ".tiff")


def check_delimiter(delimiter: object) -> str:
    """Return what separates the entries of a row: one character."""
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"#':
        raise InputError(f'delimiter = {shown(delimiter)} is not valid: give one character, such as ";" or a tab')
    return delimiter


def read_grid(
    path: str | Path,
    *,
    channel: Channel | None = None,
    page: int | None = None,
    delimiter: str = ",",
    skip_rows: int = 0,
) -> tuple[npt.NDArray[np.generic], Sequence[float] | None]:
    """Return (values, extent or None) from a file.

    It is a .npy file, a .npz file with ``values`` and, perhaps, ``extent``, a PNG or TIFF image, or, by its name (.csv,
    .tsv, .txt), a table with a row of numbers per line. Rows of an image come from the top: give ``GridDensity`` the
    orientation "image". Its values are the file's own, of 8, 16 or 32 bits.

    Args:
        path: the file.
        channel: of a colour image "red", "green", "blue" or "luminance", .299 R + .587 G + .114 B.
        page: of an image of several pages, the number of one from 0 on.
        delimiter: of a table, what separates the entries of a row.
        skip_rows: of a table, how many lines at its beginning are no rows.

    Raises:
        InputError: the file is missing, of another kind, damaged or too large, or lacks ``values``; a colour image
            without a channel, or of several pages without one.
    """
    check_integer("skip_rows", skip_rows, at_least=0)
    check_delimiter(delimiter)
    try:
        file = open_regular(path, _MOST)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    with file:
        try:
            start = file.read(8)
            image = start.startswith(_IMAGES)
            if image != is_image(path):  # the name says where the first row is
                raise InputError("images are named .png, .tif or .tiff, and other files are not: rename it")
            for name, given in (("channel", channel), ("page", page)):
                if given is not None and not image:
                    raise InputError(f"{name} = {given} is for PNG and TIFF images: give one, or leave it out")
            if image:
                return _image(file, channel, page), None
            if Path(path).suffix.lower() in _TABLES:
                return _table(file, delimiter, skip_rows), None
            if start[:2] != b"PK":
                return _array(file, os.fstat(file.fileno()).st_size), None
            names, arrays = _arrays(file)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except Exception:  # a damaged or forged file may fail anywhere
            raise InputError(
                f"{path} is not a .npy or .npz file of numbers, a PNG or TIFF image, or a table named .csv, .tsv or "
                ".txt, or is damaged: write one with numpy.save or savez"
            ) from None
    if "values" not in arrays:
        raise InputError(
            f"{path} has arrays {shortened(', '.join(names)) if names else '(none)'}: it must have one called values"
        )
    return arrays["values"], arrays["extent"].ravel().tolist() if "extent" in arrays else None


def _image(file: BinaryIO, channel: Channel | None, page: int | None) -> npt.NDArray[np.generic]:
    """Return the values of an image, ``values[row, column]``."""
    from PIL import Image

    if channel is not None:
        check_choice("channel", channel, _CHANNELS)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are checked here, and of odd entries of headers
        try:
            opened = Image.open(file, formats=("PNG", "TIFF"))
        except Image.DecompressionBombError:
            raise InputError(f"the image has too many pixels: give at most {_PIXELS:.2g}") from None
        with opened as image:
            pages = getattr(image, "n_frames", 1)
            if page is None and pages > 1:
                raise InputError(f"the image has {pages} pages: give page, one of 0 to {pages - 1}")
            if page is not None:
                image.seek(check_integer("page", page, at_least=0, at_most=pages - 1))
            width, height = image.size
            if width * height > _PIXELS:
                raise InputError(f"the image has {width} x {height} pixels: give at most {_PIXELS:.2g}")
            grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
            if not grey and ";16" in str(image.tile):  # Pillow would leave out the lower half of each
                raise InputError("the image is in colours of 16 bits: save one of them in grey, or by numpy.save")
            if not _opaque(image):
                raise InputError("the image has transparent pixels: save it without, in grey")
            if grey:
                if channel is not None:
                    raise InputError(f"channel = {channel} is for colour images, and this one is grey: leave it out")
                return _grey(image.convert("L") if image.mode == "LA" else image)
            if channel is None:
                raise InputError(
                    f"the image is in colour ({image.mode}): give channel, one of {', '.join(_CHANNELS)}, or save it "
                    "in grey"
                )
            colours = np.asarray(image.convert("RGB"), dtype=np.float64)
    if channel == "luminance":
        return np.asarray(colours @ (0.299, 0.587, 0.114))
    return np.asarray(colours[..., ("red", "green", "blue").index(channel)])


def _opaque(image: Any) -> bool:
    """Return whether an image has no transparent pixel."""
    if not image.has_transparency_data:
        return True
    if image.mode.startswith("I;16"):
        return not np.any(np.asarray(image) == image.info["transparency"])
    return bool(image.convert("RGBA").getchannel("A").getextrema()[0] == 255)


def _grey(image: Any) -> npt.NDArray[np.generic]:
    """Return the values of an image without colours, with what Pillow leaves out of a TIFF file's header."""
    header = getattr(image, "tag_v2", {})
    bits, kind = (header.get(number, (1,))[0] for number in (_BITS, _KIND))
    if bits == 8 and kind == _SIGNED:
        raise InputError("the image has signed values of 8 bits: save them as others, or by numpy.save")
    if image.mode != "L" and header.get(_WHITE) == 0:
        raise InputError("in the image 0 is white: save it with 0 for black")
    values = np.asarray(image)
    return values.view(np.uint32) if bits == 32 and kind == _UNSIGNED and values.dtype == np.int32 else values


def _table(file: BinaryIO, delimiter: str, skip_rows: int) -> npt.NDArray[np.generic]:
    """Return the numbers of a table, a row per line; text after # does not count."""
    file.seek(0)
    data = file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise InputError(f"the table has more than {MOST_TEXT:.2g} bytes: save the values by numpy.save")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of no rows
            text = io.StringIO(data.decode("utf-8-sig"))
            separator: Any = None if delimiter == " " else delimiter
            found = np.loadtxt(text, delimiter=separator, skiprows=skip_rows, ndmin=2)
    except (ValueError, OverflowError) as error:  # also what is not UTF-8
        raise InputError(f"not a table of numbers with the delimiter {delimiter!r}: {first_line(error)}") from None
    return found[:, 0] if found.shape[1] == 1 else found


def _arrays(file: BinaryIO) -> tuple[list[str], dict[str, npt.NDArray[np.generic]]]:
    """Return the names of all arrays of a .npz file, and the arrays that define a density."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        for name in ("values", "extent"):
            if name in names:
                entry = archive.getinfo(f"{name}.npy")
                if entry.file_size > _MOST:  # a small file may hold it compressed
                    raise InputError(f"{name} would take {entry.file_size:.3g} bytes: give at most {_MOST:.3g}")
                with archive.open(entry) as member:
                    arrays[name] = _array(member, entry.file_size)
    return names, arrays


def _array(file: IO[bytes], size: int) -> npt.NDArray[np.generic]:
    """Return the array in .npy data of a known size; nothing is unpickled, or allocated because a header says so."""
    file.seek(0)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, columns_first, dtype = readers[version](file)
    count = math.prod(shape)
    if dtype.hasobject or file.tell() + count * dtype.itemsize != size:
        raise ValueError("the header promises something else")
    return np.frombuffer(file.read(), dtype, count).reshape(shape, order="F" if columns_first else "C")
