"""The content of case and study files: TOML, with limits on its size, and values that a command line replaces."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kspde.errors import InputError, shown
from kspde.runtime.files import read_regular

__all__ = ["merged", "read_toml", "with_changes"]

#: Bytes of a case file, the levels of its tables and arrays, and the parts of a dotted key: tomllib's time grows with
#: their square.
_MOST, _LEVELS, _PARTS = 1 << 20, 12, 24

#: A key of more parts; where it begins in the middle of one, the search does not.
_LONG_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % _PARTS  # noqa: UP031
)

#: A key, and a value that needs no quotes, of ``--set``.
_KEY, _WORD = re.compile(r"[\w-]+(\.[\w-]+)*"), re.compile(r"[A-Za-z][\w.-]*(/[\w.-]+)*")

#: A number without a digit before or after its point, up to which there are a sign and digits.
_BARE_POINT = re.compile(r"(?<![\w.\"'+-])([+-]?)(\.\d+|\d+\.(?!\d))((?:[eE][+-]?\d+)?)(?![\w.\"'])")


def read_toml(path: Path, what: str = "a case file") -> dict[str, Any]:
    """Return the content of a TOML file.

    Args:
        path: the file.
        what: the name of such files in messages.

    Raises:
        InputError: it cannot be read, or is not TOML.
    """
    try:
        text = read_regular(path, _MOST).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8: {what} is a TOML text, save it in UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give the path of {what}") from None
    return _parsed(text, f"{path}: not {what}", f"{path}: not a TOML file")


def with_changes(content: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a file's content with other values in the place of its own, or beside them.

    Args:
        content: the content.
        changes: such as "model.chi=12": a dotted key, and what may follow it in TOML, or a word without its quotes.

    Raises:
        InputError: a change is not a key and a value.
    """
    for change in changes:
        where = f"--set {shown(change)} is not valid"
        key, _, value = (part.strip() for part in change.partition("="))
        if not _KEY.fullmatch(key) or not value or "\n" in value or len(change) > _MOST:
            raise InputError(f"{where}: give a key and a value, such as model.chi=12")
        if _WORD.fullmatch(value) and value not in ("true", "false", "inf", "nan"):
            value = f'"{value}"'
        found = _parsed(f"{key} = {value}", where, f"{where} in TOML")
        before, content = content, merged(content, found)
        if content == before and _empty(found):
            raise InputError(f"{where}: an empty table leaves the file's as it is; give its keys, or change the file")
    return content


def _parsed(text: str, unlike: str, not_toml: str) -> dict[str, Any]:
    """Return the content of a TOML text; messages begin with ``unlike`` or ``not_toml``."""
    long = _LONG_KEY.search(text)
    if long:
        raise InputError(f"{unlike}: a key of more than {_PARTS} parts, {shown(long[0])}")
    try:
        content = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{not_toml}: nested too deeply") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise InputError(f"{not_toml}: {error}{_remedy(text, error)}") from None
    if _deeper(content, _LEVELS):
        raise InputError(f"{unlike}: nested more than {_LEVELS} levels deep")
    return content


def _remedy(text: str, error: ValueError) -> str:
    """Return what to write, where the line of an error has a number without a digit beside its point."""
    at = re.search(r"at line (\d+)", str(error))
    lines = text.split("\n")
    found = _BARE_POINT.search(lines[int(at[1]) - 1] if at and int(at[1]) <= len(lines) else "")
    if found is None:
        return ""
    sign, number, power = found.groups()
    whole, _, part = number.partition(".")
    return f"; numbers have digits on both sides of the point, {sign}{whole or 0}.{part or 0}{power}"


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables merged into tables; anything else takes the place of what was there."""
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def _empty(content: Any) -> bool:
    """Return whether what a key is set to is a table without keys."""
    while isinstance(content, dict) and len(content) == 1:
        content = next(iter(content.values()))
    return bool(content == {})


def _deeper(content: Any, levels: int) -> bool:
    """Return whether tables and arrays are nested more than so many levels deep."""
    below: list[Any] = [content]
    for _ in range(levels + 1):
        below = [
            inner
            for outer in below
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(below)
