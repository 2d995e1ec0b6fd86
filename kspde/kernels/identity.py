"""The local density as a field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kspde.errors import check_number
from kspde.kernels.base import Kernel
from kspde.typing import Array

__all__ = ["Identity"]


@dataclass(frozen=True, kw_only=True)
class Identity(Kernel):
    r"""Dirac's δ times ``strength``: its field is the density at the same place, :math:`c = su`.

    On finite elements that is the nodal density itself, and the positive schemes take it at the new time. Particles
    need a mollifier, with which the kernel is :math:`s j^\varepsilon`.

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
