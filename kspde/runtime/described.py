"""What arguments are, in words that are the same on every rank where the arguments are."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["described", "digest_of"]

#: Arrays with more numbers are described by a digest, and things within things no further than so deep.
_FEW, _DEPTH = 9, 6


def described(name: str, value: Any) -> dict[str, str]:
    """Return names and words for a value and what it holds: ``{"model": "Local", "model.chi": "4"}``.

    Numbers, texts and arrays are described by what they are, functions by their names and by the numbers that they have
    from around them, dataclasses by their fields, other objects by the arguments they were made with, so far as they
    keep them under the same names. A class may name other attributes in ``same_on_ranks``.
    """
    return dict(_parts(name, value, 0))


def digest_of(*parts: Any) -> int:
    """Return a number of 56 bits that tells bytes from others."""
    digest = hashlib.blake2b(digest_size=7)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest())


def _parts(name: str, value: Any, depth: int) -> Iterable[tuple[str, str]]:
    plain = _plain(value)
    if plain is not None or depth > _DEPTH:
        yield name, plain or _kind(value)
        return
    yield name, _kind(value)
    for part, held in _held(value):
        yield from _parts(f"{name}{part}", held, depth + 1)


def _plain(value: Any) -> str | None:
    """Return words for what holds nothing."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # 1.0 is as good as 1
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        if value.size < _FEW:
            return f"{value.tolist()}"
        return f"an array of shape {value.shape}, digest {digest_of(np.ascontiguousarray(value).data):014x},"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "__fspath__"):
        return repr(str(value))
    return None


def _kind(value: Any) -> str:
    if inspect.isroutine(value):
        return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', '')}"
    return type(value).__name__


def _held(value: Any) -> Iterable[tuple[str, Any]]:
    """Return what a value holds, with the end of its name."""
    if isinstance(value, Mapping):
        return [(f".{key}" if isinstance(key, str) else f"[{key!r}]", value[key]) for key in sorted(value, key=repr)]
    if isinstance(value, (set, frozenset)):
        return [(f"[{i}]", part) for i, part in enumerate(sorted(value, key=repr))]
    if isinstance(value, (list, tuple)):
        array = _array(value) if len(value) >= _FEW else None
        if array is not None:
            return [("", array)]
        return [(f"[{i}]", part) for i, part in enumerate(value)]
    if isinstance(value, functools.partial):
        return [(".func", value.func), (".args", value.args), (".keywords", value.keywords)]
    if inspect.ismethod(value):
        return [(".__self__", value.__self__)]
    if inspect.isfunction(value):
        around = inspect.getclosurevars(value).nonlocals
        return [(f".{name}", part) for name, part in sorted(around.items()) if _plain(part) is not None]
    names = getattr(type(value), "same_on_ranks", None)
    if names is None and dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init and not field.name.startswith("_")]
    if names is not None:
        return [(f".{name}", getattr(value, name, None)) for name in names]
    return [(f".{name}", part) for name, part in _arguments(value)]


def _array(value: Any) -> Any:
    """Return the array that a long list stands for; None where it holds anything else than numbers."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        return None
    return array if array.dtype.kind in "biufc" else None


def _arguments(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the arguments that an object was made with, so far as it keeps them."""
    try:
        names = list(inspect.signature(type(value)).parameters)
    except (TypeError, ValueError):  # written in C
        return
    kept = getattr(value, "__dict__", {})
    for name in names:
        for attribute in (name, f"_{name}"):
            if attribute in kept:
                yield name, kept[attribute]
                break
