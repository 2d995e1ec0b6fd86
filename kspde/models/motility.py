r"""Motilities γ(v) > 0 with γ' ≤ 0: how a signal slows the cells down.

A motility is any function of an array v that uses numpy only; these are the families in the literature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from kspde.errors import InputError, check_number
from kspde.models.tabulated import Table, read_table, warn_of_increase
from kspde.typing import Array

__all__ = [
    "MOTILITIES",
    "AlgebraicMotility",
    "ExponentialMotility",
    "Motility",
    "OnePlusExponentialMotility",
    "TabulatedMotility",
]


class Motility(Protocol):
    """A function v ↦ γ(v), applied to arrays."""

    def __call__(self, v: Array) -> Array:
        """Return γ(v), in the shape of v."""
        ...


@dataclass(frozen=True, kw_only=True)
class OnePlusExponentialMotility:
    """γ(v) = 1 + e^(−v)."""

    def __call__(self, v: Array) -> Array:
        """Return γ(v)."""
        return np.exp(-v) + 1.0


@dataclass(frozen=True, kw_only=True)
class ExponentialMotility:
    """γ(v) = e^(−αv).

    Attributes:
        alpha: the rate α ≥ 0.

    Raises:
        InputError: α is negative or not finite.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, at_least=0)

    def __call__(self, v: Array) -> Array:
        """Return γ(v)."""
        return np.exp(-self.alpha * v)


@dataclass(frozen=True, kw_only=True)
class AlgebraicMotility:
    """γ(v) = (1 + v)^(−k), v > −1.

    Attributes:
        k: the power k ≥ 0.

    Raises:
        InputError: k is negative or not finite.
    """

    k: float = 1.0

    def __post_init__(self) -> None:
        check_number("k", self.k, at_least=0)

    def __call__(self, v: Array) -> Array:
        """Return γ(v)."""
        return (1.0 + v) ** (-self.k)


@dataclass(frozen=True, repr=False)
class TabulatedMotility:
    """γ(v) by monotone cubic interpolation of a table: see :class:`kspde.models.tabulated.Table`.

    A signal beyond the table ends a run. A γ that increases somewhere gets a warning: the theory of local sensing asks
    for γ' ≤ 0.

    Attributes:
        v: the signals, increasing.
        gamma: the motilities γ > 0 there.

    Raises:
        InputError: v does not increase, γ is not positive, or the two are of different lengths.
    """

    v: Sequence[float]
    gamma: Sequence[float]

    def __post_init__(self) -> None:
        table = self._table
        object.__setattr__(self, "v", table.points)
        object.__setattr__(self, "gamma", table.values)
        bad = next((i for i, value in enumerate(self.gamma) if value <= 0), None)
        if bad is not None:
            raise InputError(f"gamma = {self.gamma[bad]:g} in row {bad + 1} is not valid: give motilities > 0")
        warn_of_increase(table, "the theory of local sensing asks for gamma' <= 0")

    @classmethod
    def from_csv(cls, path: str | Path) -> TabulatedMotility:
        """Return γ(v) by monotone cubic interpolation of a .csv file.

        Args:
            path: a .csv file with two columns, v and gamma, with or without their names in the first row.

        Raises:
            InputError: it cannot be read, or holds something else.
        """
        return cls(*read_table(path, ("v", "gamma")))

    def __repr__(self) -> str:
        return f"TabulatedMotility({len(self.v)} rows, v from {self.v[0]:g} to {self.v[-1]:g})"

    def __call__(self, v: Array) -> Array:
        """Return γ(v)."""
        return self._table(v)

    @cached_property
    def _table(self) -> Table:
        return Table(self.v, self.gamma, ("v", "gamma"))


#: Motilities by name.
MOTILITIES: dict[str, Callable[..., Motility]] = {
    "one-plus-exponential": OnePlusExponentialMotility,
    "exponential": ExponentialMotility,
    "algebraic": AlgebraicMotility,
    "table": TabulatedMotility.from_csv,
}
