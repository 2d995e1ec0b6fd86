"""The errors that kspde raises, the class of its warnings, and checks of arguments.

A message names the value, what is valid, and the remedy, in one line. Checks return the value, or raise ``InputError``;
their first argument is the user's name for it.
"""

from __future__ import annotations

import difflib
import inspect
import math
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np

from kspde.typing import Array

__all__ = [
    "ON_BLOW_UP",
    "BlowUpError",
    "ConvergenceError",
    "InputError",
    "KspdeError",
    "KspdeWarning",
    "MissingBackendError",
    "called",
    "canonical_name",
    "check_callable",
    "check_choice",
    "check_finite",
    "check_flag",
    "check_integer",
    "check_later",
    "check_number",
    "check_scale",
    "check_scheme_name",
    "counted",
    "first_line",
    "place_of",
    "shortened",
    "shown",
]


#: What a run may do about a blow-up.
ON_BLOW_UP = ("stop", "warn", "ignore")

#: The largest number that a check lets pass: its square and its cube are finite too.
_LARGEST = 1e100

#: The longest message, and the longest value in one: users' files may hold keys and numbers of any length.
_LONGEST_LINE, _LONGEST_VALUE = 1500, 80

#: Where kspde's own files are.
_OURS = str(Path(__file__).parent)

#: The first integer that arrays and files cannot hold.
_INTEGERS_END = 1 << 63


class KspdeError(Exception):
    """Base of all errors that kspde raises on purpose. A message too long for a line loses its middle.

    Attributes:
        rank: the MPI rank on which the error arose, if that is another one.
    """

    rank: int | None = None

    def __init__(self, *words: object) -> None:
        super().__init__(*(shortened(w, _LONGEST_LINE) if isinstance(w, str) else w for w in words))


class InputError(KspdeError, ValueError):
    """A value given by the user is not valid."""


class ConvergenceError(KspdeError, RuntimeError):
    """A solve failed: the message names the step, t, dt, the reason and what to try.

    Attributes:
        diagnostics: what the run of a density has recorded so far, as ``Solution.diagnostics``, if anything.
        solution: the ``Solution`` up to the last accepted step, whose time is its ``t_end``; None if no step was
            accepted.
    """

    diagnostics: dict[str, Array] | None = None
    solution: Any = None

    def __reduce__(self) -> tuple[object, ...]:
        """Leave out the solution, which belongs to this process."""
        return type(self), self.args


class BlowUpError(ConvergenceError):
    """A density has concentrated until only the mesh, or the particles' mollifier, limits its peak."""


class MissingBackendError(KspdeError, ImportError):
    """A library that a backend needs is not installed."""


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class KspdeWarning(UserWarning):
    """A result should not be trusted in some respect, which the message names."""


def shown(value: object) -> str:
    """Return a value as messages show it: a number, or the ``repr`` of anything else, shortened."""
    try:
        text = str(value) if isinstance(value, (int, float, np.number, date, time)) else repr(value)
    except Exception:  # Python refuses to write integers of thousands of digits; a repr may do anything
        text = "an integer of thousands of digits" if isinstance(value, int) else f"a {type(value).__name__}"
    return shortened(" ".join(text.split()))


def counted(number: int, thing: str) -> str:
    """Return a number of things in words: 1 rank, 2,000 ranks."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def shortened(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Return a text, with an ellipsis in place of its middle if it is too long: its end is the remedy."""
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


def place_of(point: Iterable[float]) -> str:
    """Return a point as messages show it: (x, y)."""
    return f"({', '.join(f'{x:.6g}' for x in point)})"


def check_later(t_end: object, reached: float) -> float:
    """Return the final time of a run that is extended, after the time that it has reached."""
    t = check_number("t_end", t_end)
    if t <= reached * (1 + 1e-12):
        raise InputError(f"t_end = {t:g} is not after {reached:g}, where the run ends: give a later one")
    return t


def check_number(
    name: str, value: object, *, above: float | None = None, at_least: float | None = None, below: float | None = None
) -> float:
    """Return ``value`` as a finite float above, at least and below the given bounds, and at most 1e100 in size."""
    bounds = [f"{sign} {b:g}" for sign, b in ((">", above), (">=", at_least), ("<", below)) if b is not None]
    valid = " ".join(["a finite number", " and ".join(bounds)]).strip()
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputError(f"{name} = {shown(value)} is not a number: give {valid}")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if (
        not math.isfinite(number)
        or (above is not None and number <= above)
        or (at_least is not None and number < at_least)
        or (below is not None and number >= below)
    ):
        raise InputError(f"{name} = {shown(value)} is not valid: give {valid}")
    if abs(number) > _LARGEST:
        raise InputError(f"{name} = {shown(value)} is not valid: give {valid}, of size {_LARGEST:g} at most")
    return number


def check_scale(name: str, value: object) -> float:
    """Return ``value``, a length or a mass, as a number > 0 of whose powers none is 0."""
    number = check_number(name, value, above=0)
    if number * _LARGEST < 1:
        raise InputError(f"{name} = {shown(value)} is not valid: give a finite number >= {1 / _LARGEST:g}")
    return number


def check_integer(name: str, value: object, *, at_least: int, at_most: int | None = None) -> int:
    """Return ``value`` as an int within bounds, and below what arrays and files can hold."""
    valid = f"an integer >= {at_least}" + (f" and <= {at_most}" if at_most is not None else "")
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{name} = {shown(value)} is not an integer: give {valid}")
    if value < at_least or (at_most is not None and value > at_most):
        raise InputError(f"{name} = {shown(value)} is not valid: give {valid}")
    if value >= _INTEGERS_END:
        raise InputError(f"{name} = {shown(value)} is not valid: give {valid} and < 2^63")
    return int(value)


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return ``value``, one of ``choices``; a message suggests the closest."""
    if not isinstance(value, str) or value not in choices:
        close = difflib.get_close_matches(value[:100], choices, n=1, cutoff=0.8) if isinstance(value, str) else []
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"{name} = {shown(value)} is not valid: give one of {', '.join(sorted(choices))}{meant}")
    return str(value)


def canonical_name(value: object, registry: Mapping[str, object]) -> Any:
    """Return the current name if ``value`` is an ``earlier`` name of a registered class; otherwise ``value`` itself."""
    earlier = {old: name for name, kind in registry.items() for old in getattr(kind, "earlier", ())}
    return earlier.get(value, value) if isinstance(value, str) else value


def check_scheme_name(value: object, schemes: Mapping[str, type]) -> str:
    """Return the name of one of ``schemes``, given by that or an earlier name.

    A scheme's class, and a scheme for the other backend, have messages of their own.
    """
    if isinstance(value, type) and value in schemes.values():
        argument = next(iter(inspect.signature(value).parameters))
        raise InputError(
            f"scheme = {value.__name__} is a class: give an object, such as kspde.{value.__name__}({argument}=...)"
        )
    if function := getattr(type(value), "scheme_of", None):
        raise InputError(
            f"scheme = {shown(value)} is a scheme of kspde.{function}: give one of {', '.join(sorted(schemes))}"
        )
    return check_choice("scheme", canonical_name(value, schemes), schemes)


def check_callable(name: str, value: object, arguments: str) -> None:
    """Raise unless ``value`` is None or a function; ``arguments`` says what a function is called with."""
    if value is not None and not callable(value):
        raise InputError(f"{name} = {shown(value)} is not a function: give one of {arguments}")


def called(label: str, form: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a user's function of arrays returns.

    Args:
        label: the user's name for it.
        form: its arguments and values, for messages.
        function: the function.
        *arguments: its arguments.

    Raises:
        InputError: it does not take these arguments, or does with arrays what is defined for numbers alone.
    """
    try:
        return function(*arguments)
    except KspdeError:
        raise
    except (TypeError, ValueError) as error:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(_OURS)]
        place = f", {Path(frames[0].filename).name}, line {frames[0].lineno}" if frames else ""
        raise InputError(
            f"{label} raised {type(error).__name__} ({first_line(error)}{place}): give {form}, with numpy's functions "
            "of arrays (np.exp, np.where) in place of math.exp or if"
        ) from error


def check_flag(name: str, value: object) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} = {shown(value)} is not valid: give True or False")
    return bool(value)


def check_finite(name: str, value: object, shape: tuple[int | None, ...]) -> Array:
    """Return ``value`` as a finite float64 array of the given shape, in which None stands for any length >= 1."""
    wanted = "(" + ", ".join("n" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
    try:
        array = np.asarray(value).astype(np.float64, casting="same_kind")  # keeps imaginary parts from being dropped
    except Exception:  # an object's own conversion may raise anything
        raise InputError(f"{name} is not an array of numbers: give one of shape {wanted}") from None
    if array.ndim != len(shape) or any(
        n == 0 or (want is not None and n != want) for n, want in zip(array.shape, shape, strict=False)
    ):
        free = ", n >= 1" if None in shape else ""
        raise InputError(f"{name} has shape {array.shape}: give shape {wanted}{free}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = tuple(bad[0].tolist())
        raise InputError(f"{name} has {array[index]} at index {index}: give finite numbers")
    return array
