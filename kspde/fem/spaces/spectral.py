"""Fields on a box in its modes, by their symbols."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.fem.spaces.base import FieldOperator
from kspde.fem.spaces.tensor import Robin, TensorLaplacian
from kspde.kernels import Kernel
from kspde.typing import Array

__all__ = ["SymbolOperator"]

#: In place of λ = 0, where λ g(λ) has a limit.
_TINY = 1e-30


class SymbolOperator(FieldOperator):
    """K * u as a pointwise factor in the modal space of the field's boundary condition.

    Args:
        laplacian: −Δ with that condition.
        kernel: K.
        robin: the condition's coefficient, or one for each direction.
        name: the field's.

    Raises:
        InputError: the symbol is not finite on the spectrum.
    """

    def __init__(self, laplacian: TensorLaplacian, kernel: Kernel, robin: Robin, name: str) -> None:
        self.key = robin
        self._laplacian = laplacian
        eigenvalues = self._laplacian.eigenvalues
        # Without decay and without an outside only u minus its mean has a field.
        constant = eigenvalues == 0.0 if kernel.decay_rate == 0.0 else np.zeros(eigenvalues.shape, dtype=bool)
        self._factors = np.where(constant, 0.0, kernel.symbol(np.where(constant, 1.0, eigenvalues)))
        self._constant, self._source = constant, _TINY * float(kernel.symbol(np.full(1, _TINY))[0])
        # Denormal numbers slow matrix products down ten times.
        self._factors[np.abs(self._factors) < 1e-40 * np.abs(self._factors).max(initial=0.0)] = 0.0
        self._rate = kernel.relaxation_rate**2
        self._stiff = self._laplacian.eigenvalues + self._rate
        if not np.all(np.isfinite(self._factors)):
            raise InputError(f"the symbol of field {name!r} is not finite on the spectrum of the Laplacian")

    def prepare(self, nodal: Array, state: Array | None) -> Any:
        """Return the modal coefficients of u; with Neumann's condition they are the state."""
        if state is not None and self.key == 0.0:
            return state
        return self._laplacian.transform(nodal)

    def apply(self, prepared: Any, gradient: bool) -> tuple[Array, Array | None]:
        """Multiply and transform back."""
        value = self._laplacian.back(self._factors * prepared, derived=gradient)
        return value.ravel(), self._laplacian.gradient(value) if gradient else None

    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes. Collective."""
        return self._laplacian.gradient(nodal)

    def state(self, nodal: Array) -> Array:
        """Return the modal coefficients. Collective."""
        return self._laplacian.transform(nodal)

    def nodal(self, state: Array) -> Array:
        """Return the nodal values. Collective."""
        return self._laplacian.back(state)

    def relaxation(self, prepared: Array, state: Array) -> Array:
        """Return (Λ + ρ²)(g û − ĉ)."""
        out = self._stiff * (self._factors * prepared - state)
        return np.where(self._constant, self._source * prepared, out)  # on a line some ranks hold no modes

    def spectrum(self) -> tuple[Array, Array]:
        """Return Λ + ρ²."""
        first, others = self._laplacian.separated
        return first + self._rate, others

    def relaxation_solve(self, shift: float, tau: float, rhs: Array) -> Array:
        """Divide."""
        return rhs / (shift + self._stiff / tau)
