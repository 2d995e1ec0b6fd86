"""Powers of the Laplacian as kernels, to differentiate kernels by their symbols."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError
from kspde.kernels import Kernel, ResolventPolynomial

__all__ = ["LaplacianPower"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LaplacianPower(Kernel):
    """The operator (a − Δ)^p: symbol (a + λ)^p. It makes sense convolved with a kernel that is smooth enough.

    Attributes:
        power: p.
        shift: a ≥ 0.
    """

    power: float
    shift: float = 0.0

    def symbol(self, lam: Array) -> Array:
        """Return (a + λ)^p."""
        out: Array = (self.shift + lam) ** self.power
        return out

    @property
    def decay_rate(self) -> float:
        """Infinite: it acts locally, or almost."""
        return math.inf

    @property
    def smoothing(self) -> float:
        """−2p: it takes derivatives away."""
        return -2.0 * self.power

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """None.

        Raises:
            InputError: always; a differential operator is no polynomial in resolvents.
        """
        raise InputError(f"(a - Laplacian)^{self.power:g} has no resolvents: convolve with smoother kernels instead")
