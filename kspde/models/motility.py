r"""Motilities γ(v) > 0 with γ' ≤ 0: how a signal slows the cells down.

A motility is any function of an array v that uses numpy only; these are the families in the literature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kspde.errors import check_number
from kspde.typing import Array

__all__ = ["MOTILITIES", "AlgebraicMotility", "ExponentialMotility", "Motility", "OnePlusExponentialMotility"]


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


#: Motilities by name.
MOTILITIES: dict[str, Callable[..., Motility]] = {
    "one-plus-exponential": OnePlusExponentialMotility,
    "exponential": ExponentialMotility,
    "algebraic": AlgebraicMotility,
}
