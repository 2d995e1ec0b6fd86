"""Functions of one number given by a table, such as one that was measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kspde.errors import InputError, check_finite, shown
from kspde.runtime.files import open_regular, reason
from kspde.runtime.messages import warn
from kspde.runtime.parallel import world
from kspde.typing import Array

__all__ = ["Table", "check_increasing", "read_table", "warn_of_increase"]

#: The most bytes of a file; how far outside a table the ends count, as a share of its length: what fields are off by.
_MOST, _MARGIN = 1 << 24, 1e-4


@dataclass(frozen=True)
class Table:
    """The monotone cubic interpolant (PCHIP, Fritsch and Carlson) of values at increasing points.

    It is continuously differentiable, monotone wherever the values are, and nowhere outside the range of the two values
    beside a point. Beyond its ends it is refused: what was not measured is not known. A ten-thousandth of the length,
    the error of a computed field, is allowed, where the value at the end counts.

    Attributes:
        points: the points, at least two.
        values: the values there.
        names: what both are called in messages.

    Raises:
        InputError: columns of different lengths, numbers that are not finite, or points that do not increase.
    """

    points: Sequence[float]
    values: Sequence[float]
    names: tuple[str, str]

    def __post_init__(self) -> None:
        columns = [check_finite(n, x, (None,)) for n, x in zip(self.names, (self.points, self.values), strict=True)]
        (x, y), (first, second) = columns, self.names
        if len(x) != len(y) or len(x) < 2:
            raise InputError(f"{first} has {len(x)} numbers and {second} {len(y)}: give as many, at least 2")
        check_increasing(first, x)
        object.__setattr__(self, "points", tuple(x.tolist()))
        object.__setattr__(self, "values", tuple(y.tolist()))

    def __call__(self, x: Array) -> Array:
        """Return the values at x, in its shape; where x is not finite it stays so.

        Raises:
            InputError: an x outside the table.
        """
        first, last = self.points[0], self.points[-1]
        margin = _MARGIN * (last - first)
        outside = np.isfinite(x) & ((x < first - margin) | (x > last + margin))
        if np.any(outside):
            value = np.asarray(x)[outside].flat[0]
            raise InputError(
                f"{self.names[0]} = {value:.6g} is outside the table of {self.names[1]}, which reaches from {first:g} "
                f"to {last:g}: give it more rows"
            )
        return np.asarray(self._interpolant(np.clip(x, first, last)))

    @cached_property
    def _interpolant(self) -> Callable[[Array], Array]:
        from scipy.interpolate import PchipInterpolator

        made: Callable[[Array], Array] = PchipInterpolator(self.points, self.values)
        return made


def check_increasing(name: str, values: Array) -> None:
    """Raise unless every value is larger than the one before.

    Raises:
        InputError: names the first that is not.
    """
    bad = np.flatnonzero(np.diff(values) <= 0)
    if len(bad):
        i = int(bad[0])
        raise InputError(
            f"{name} = {values[i + 1]:g} in row {i + 2} follows {values[i]:g}: give increasing numbers, each once"
        )


def warn_of_increase(table: Table, because: str) -> None:
    """Warn on rank 0 where values increase, and say why they should not. Not collective."""
    x, y = table.points, table.values
    i = next((i for i in range(len(y) - 1) if y[i + 1] > y[i]), None)
    if i is not None:
        first, second = table.names
        warn(
            f"{second} increases from {y[i]:g} to {y[i + 1]:g} between {first} = {x[i]:g} and {x[i + 1]:g}: {because}",
            world(),
        )


def read_table(path: str | Path, names: tuple[str, str]) -> tuple[list[float], list[float]]:
    """Return the columns of a .csv file of two, with or without a first row of their names, in either order then.

    Lines that begin with # are left out. Nothing is evaluated.

    Args:
        path: the file.
        names: the names of the columns.

    Raises:
        InputError: it cannot be read, or a row is not two numbers.
    """
    try:
        with io.TextIOWrapper(open_regular(path, _MOST), newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(line for line in file if line.strip() and line[0] != "#"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8, save it so") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    head = [cell.strip() for cell in rows[0]] if rows else []
    named = bool(head) and not any(map(_is_number, head))
    if named and sorted(head) != sorted(names):
        raise InputError(f"{path} has columns {shown(', '.join(head))}: it must have {' and '.join(names)}")
    columns: tuple[list[float], list[float]] = ([], [])
    for i, row in enumerate(rows[named:]):
        if len(row) != 2 or not all(map(_is_number, row)):
            raise InputError(
                f"{path}, data row {i + 1} is {shown(','.join(row))}: give two numbers, {' and '.join(names)}, "
                "separated by a comma"
            )
        for column, cell in zip(columns, row, strict=True):
            column.append(float(cell))
    return columns[::-1] if named and head[0] == names[1] else columns


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
