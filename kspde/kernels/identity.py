"""The local density as a field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kspde.errors import check_number
from kspde.kernels.base import Kernel, ResolventPolynomial
from kspde.typing import Array

__all__ = ["Identity"]


@dataclass(frozen=True, kw_only=True)
class Identity(Kernel):
    r"""Dirac's δ times ``strength``: its field is the density at the same place, :math:`c = su`.

    On finite elements that is the nodal density itself, and the positive schemes take it at the new time.

    Attributes:
        strength: s, any finite number.
    """

    decay_rate = math.inf
    smoothing = 0.0
    local: ClassVar[bool] = True

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_number("strength", self.strength)

    def symbol(self, lam: Array) -> Array:
        """Return s."""
        return np.full_like(lam, self.strength)

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """No solve where s = 1."""
        return () if self.strength == 1.0 else (ResolventPolynomial(tau=1.0, chebyshev=(self.strength, 0.0)),)

    def __mul__(self, other: Kernel) -> Kernel:
        """Return the other kernel where s = 1, else the convolution."""
        return other if self.strength == 1.0 else super().__mul__(other)
