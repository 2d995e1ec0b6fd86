"""The values that define an object, by which objects are compared across ranks, runs and files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import math
from collections.abc import Buffer, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["GLOBAL", "Difference", "differences", "digest_of", "fingerprint", "in_words", "values_of"]

#: Arrays with more numbers are represented by a digest; objects inside objects are followed to this depth.
_FEW, _DEPTH = 9, 6


class Difference(NamedTuple):
    """A value that two objects do not share.

    Attributes:
        name: the name of the value, such as "chi" or "motility.alpha".
        ours: the first object's value.
        theirs: the second object's value.
    """

    name: str
    ours: object
    theirs: object

    def __str__(self) -> str:
        return f"{self.name} = {in_words(self.ours)} and {in_words(self.theirs)}"


class _Kind(str):
    """The name of a class or of a function, which stands for an object."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def values_of(name: str, thing: object) -> dict[str, object]:
    """Return the values that define an object, by name: ``{"model": "LocalSensing", "model.chi": 4}``.

    They are JSON-ready: None, booleans, numbers, strings, and lists of a few numbers; longer arrays are represented by
    a digest. A dataclass is defined by its fields, any other object by the arguments it was made with, as far as it
    keeps them under the same names; a class may name other attributes in ``same_on_ranks``. A function is defined by
    its name, its code, and the numbers it takes from its surroundings. The class of a user's object counts with its
    code.
    """
    return dict(_values(name, thing, 0))


def differences(name: str, ours: object, theirs: object) -> list[Difference]:
    """Return the values, as in :func:`values_of`, in which two objects differ; floats within 1e-12 are equal."""
    return list(_differences(name, ours, theirs, 0))


def in_words(value: object) -> str:
    """Return a value in a few words."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else repr(value)
    return type(value).__name__ if " at 0x" in text else text  # an address says nothing


def digest_of(*parts: Buffer) -> int:
    """Return a 56-bit digest of bytes."""
    digest = hashlib.blake2b(digest_size=7)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest())


def fingerprint(*arrays: npt.ArrayLike) -> str:
    """Return a short digest of arrays."""
    return f"{digest_of(*(np.ascontiguousarray(x).data for x in arrays)):014x}"


def _values(name: str, thing: object, depth: int) -> Iterator[tuple[str, object]]:
    plain = _plain(thing)
    if plain is not _HOLDS:
        yield name, plain
        return
    yield name, _kind(thing)
    if depth < _DEPTH:
        for part, held in _held(thing):
            yield from _values(f"{name}{part}", held, depth + 1)


def _differences(name: str, ours: object, theirs: object, depth: int) -> Iterator[Difference]:
    here, there = _plain(ours), _plain(theirs)
    both_hold = here is there is _HOLDS
    here, there = (_kind(x) if plain is _HOLDS else plain for x, plain in ((ours, here), (theirs, there)))
    if not _close(here, there):
        yield Difference(name, here, there)
    elif both_hold and not _equal(ours, theirs):
        if depth == _DEPTH:
            yield Difference(name, here, there)
            return
        parts, others = (dict(_state(thing)) for thing in (ours, theirs))
        for part in {**parts, **others}:
            yield from _differences(f"{name}{part}", parts.get(part), others.get(part), depth + 1)


def _close(here: object, there: object) -> bool:
    if isinstance(here, (int, float)) and isinstance(there, (int, float)):
        return math.isclose(here, there, rel_tol=1e-12)
    return bool(here == there)


def _equal(ours: object, theirs: object) -> bool:
    try:
        return bool(ours == theirs)
    except Exception:  # arrays inside, or a user's class
        return False


#: The end of the names of a function's global numbers, of which ranks may have their own: their number, for one.
GLOBAL = " (global)"

#: What ``_plain`` returns for an object that holds other values.
_HOLDS = object()


def _plain(thing: object) -> object:
    """Return a value that holds no others, JSON-ready; ``_HOLDS`` for an object that does."""
    if isinstance(thing, np.generic):
        thing = thing.item()
    if isinstance(thing, float):
        if not math.isfinite(thing):
            return _Kind(thing)
        return int(thing) if thing.is_integer() and abs(thing) < 2**53 else thing  # 1.0 is as good as 1
    if thing is None or isinstance(thing, (bool, int, str)):
        return thing
    if isinstance(thing, (complex, bytes)):
        return _Kind(repr(thing))
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        if thing.size < _FEW:
            return thing.tolist()
        return _Kind(f"an array of shape {thing.shape}, digest {fingerprint(thing)},")
    if isinstance(thing, type):
        return _Kind(f"{thing.__module__}.{thing.__qualname__}")
    return str(thing) if hasattr(thing, "__fspath__") else _HOLDS


def _kind(thing: object) -> _Kind:
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if isinstance(name, str) and callable(thing):  # a function, also one of numpy's or numba's
        return _Kind(f"{getattr(thing, '__module__', None)}.{name}")
    return _Kind(type(thing).__name__)


def _held(thing: object) -> Iterable[tuple[str, object]]:
    """Return the values that an object holds, each with the end of its name."""
    if isinstance(thing, Mapping):
        return [(f".{key}" if isinstance(key, str) else f"[{key!r}]", thing[key]) for key in sorted(thing, key=repr)]
    if isinstance(thing, (set, frozenset)):
        return [(f"[{i}]", part) for i, part in enumerate(sorted(thing, key=repr))]
    if isinstance(thing, (list, tuple)):
        array = _array(thing) if len(thing) >= _FEW else None
        if array is not None:
            return [("", array)]
        return [(f"[{i}]", part) for i, part in enumerate(thing)]
    if isinstance(thing, functools.partial):
        return [(".func", thing.func), (".args", thing.args), (".keywords", thing.keywords)]
    if inspect.ismethod(thing):
        return [(".__self__", thing.__self__)]
    if inspect.isfunction(thing):
        variables = inspect.getclosurevars(thing)
        around = [(f".{k}", x) for k, x in sorted(variables.nonlocals.items())]
        around += [(f".{k}{GLOBAL}", x) for k, x in sorted(variables.globals.items())]
        numbers = [(name, x) for name, x in around if not isinstance(x, type) and _plain(x) is not _HOLDS]
        return [(".code", _code_of(thing)), *numbers]
    names = getattr(type(thing), "same_on_ranks", None)
    if names is None and dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing) if field.init and not field.name.startswith("_")]
    held = _arguments(thing) if names is None else ((name, getattr(thing, name, None)) for name in names)
    return [*((f".{name}", part) for name, part in held), *_code_of_class(type(thing))]


def _state(thing: object) -> Iterable[tuple[str, object]]:
    """Return ``_held``, or all attributes of an object that need not keep its arguments as they were."""
    declared = dataclasses.is_dataclass(thing) or hasattr(type(thing), "same_on_ranks")
    if declared or not hasattr(thing, "__dict__") or inspect.isroutine(thing):
        return _held(thing)
    return [*((f".{name}", part) for name, part in vars(thing).items()), *_code_of_class(type(thing))]


def _array(thing: Sequence[object]) -> npt.NDArray[Any] | None:
    """Return the array that a long list stands for; None where it holds anything but numbers."""
    try:
        array = np.asarray(thing)
    except ValueError:  # rows of several lengths
        return None
    return array if array.dtype.kind in "biufc" else None


def _arguments(thing: object) -> Iterator[tuple[str, object]]:
    """Return the arguments that an object was made with, as far as it keeps them."""
    try:
        names = list(inspect.signature(type(thing)).parameters)
    except (TypeError, ValueError):  # written in C
        return
    kept = getattr(thing, "__dict__", {})
    for name in names:
        for attribute in (name, f"_{name}"):
            if attribute in kept:
                yield name, kept[attribute]
                break


def _code_of_class(kind: type) -> list[tuple[str, str]]:
    """Return the code of a user's class, by digest; nothing for classes of kspde, whose version counts."""
    code = _digest_of_class(kind)
    return [(".code", code)] if code else []


@functools.cache
def _digest_of_class(kind: type) -> str:
    words = []
    for owner in kind.__mro__:
        if owner.__module__.split(".")[0] not in ("builtins", "kspde", "abc", "typing"):
            for name, member in sorted(vars(owner).items()):
                for attribute in ("fget", "__func__", "func"):  # of a property, a class method, a cached property
                    member = getattr(member, attribute, None) or member
                if inspect.isfunction(member):
                    words.append(f"{name}: {_words_of(member.__code__, member.__doc__)}")
            words.append(vars(owner).get("code_digest", ""))  # of the whole file, where it is known
    return f"{digest_of(*(word.encode() for word in words)):014x}" if any(words) else ""


def _code_of(function: FunctionType) -> str:
    return f"{digest_of(_words_of(function.__code__, function.__doc__).encode()):014x}"


def _words_of(part: object, doc: str | None = None) -> str:
    """Return the content of a code object, or of a constant in it, the same in every process."""
    if isinstance(part, CodeType):
        constants = [_words_of(c) for c in part.co_consts if doc is None or c != doc]
        return repr((part.co_code, part.co_names, constants))
    return repr(sorted(map(repr, part))) if isinstance(part, frozenset) else repr(part)
