"""The local density as a field: its nodal values, never through transforms or linear systems.

Where a scheme leaves u below 0 by its error, coefficients see 0: a D that vanishes with u must not become negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.fem.spaces.base import FieldOperator, Space
from kspde.kernels import Kernel
from kspde.typing import Array

__all__ = ["InstantOperator", "LocalOperator"]


class InstantOperator(FieldOperator):
    """A field without an equation in time.

    Args:
        space: the space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes of a field with these values: shape (n, d). Collective."""
        return self._space.gradient(nodal)

    def state(self, nodal: Array) -> Array:
        """Return the density's state. Collective."""
        return self._space.state(nodal)

    def nodal(self, state: Array) -> Array:
        """Return the nodal values of such a state. Collective."""
        return self._space.nodal(state)

    def relaxation(self, prepared: Any, state: Array) -> Array:
        """Refuse: fields that relax have the operator of their equation."""
        raise InputError(f"a field of {type(self).__name__} does not relax")

    def relaxation_solve(self, shift: float, tau: float, rhs: Array) -> Array:
        """Refuse, likewise."""
        raise InputError(f"a field of {type(self).__name__} does not relax")


class LocalOperator(InstantOperator):
    """u ↦ s max(u, 0), for a kernel that is ``local``.

    Args:
        space: the space.
        kernel: s δ.

    Attributes:
        strength: s.
    """

    key = "local"

    def __init__(self, space: Space, kernel: Kernel) -> None:
        super().__init__(space)
        self.strength = float(kernel.symbol(np.zeros(1))[0])

    def prepare(self, nodal: Array, state: Array | None) -> Array:
        """Return the nodal values."""
        return nodal

    def apply(self, prepared: Array, gradient: bool) -> tuple[Array, Array | None]:
        """Return s max(u, 0), and s times the space's nodal gradient of u. Collective."""
        c = self.strength * np.maximum(prepared, 0.0)
        return c.ravel(), self._space.gradient(self.strength * prepared) if gradient else None
