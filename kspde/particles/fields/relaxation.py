r"""What fields that relax have in common on every grid: a step of their modes, and initial fields that are given.

:mod:`kspde.particles.fields.relaxing` derives the step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError
from kspde.models import Field
from kspde.runtime.messages import warn
from kspde.typing import Array, Comm

__all__ = ["MOST", "check_self_included", "interpolate", "rise_weight", "step_weights", "warn_of_coarse"]

#: The most grid points that an initial field is given, and the error above which the run warns.
MOST, _COARSE = 8_000_000, 1e-3


def check_self_included(include_self: bool) -> None:
    """Raise if particles are not to feel themselves.

    Raises:
        InputError: they are not.
    """
    if not include_self:
        raise InputError(
            "include_self = False has no meaning where a field has tau > 0, since particles meet what they left "
            "behind: use include_self = True"
        )


def step_weights(squared: Array, field: Field, dt: float) -> tuple[Array, Array]:
    """Return e^(−a) and (1 − e^(−a))/a, a = (λ + ρ²) dt/τ, of modes with these λ."""
    # Equal steps differ by rounding; the factors must not depend on which came first.
    a = (squared + field.kernel.relaxation_rate**2) * (float(f"{dt:.12g}") / field.tau)
    return np.exp(-a), np.divide(-np.expm1(-a), a, out=np.ones_like(a), where=a > 0)


def rise_weight(squared: Array, field: Field, dt: float) -> Array:
    """Return (a − 1 + e^(−a))/a², with which a source that rises in a step counts, of fields without screening."""
    a = squared * (float(f"{dt:.12g}") / field.tau)
    series = 0.5 - a / 6 + a**2 / 24 - a**3 / 120
    return np.divide(a + np.expm1(-a), a**2, out=series, where=a > 0.01)


def interpolate(modes: Array | npt.NDArray[np.complex128], phases: Sequence[Array]) -> None:
    """Turn the modes of values at grid points into those of the coefficients of the splines through them, in place."""
    for axis, phase in enumerate(phases):
        through = (33.0 + 26.0 * np.cos(phase) + np.cos(2.0 * phase)) / 60.0
        modes /= through.reshape(-1, *(1,) * (len(phases) - 1 - axis))


def warn_of_coarse(error: float, spacing: float, comm: Comm) -> None:
    """Warn where a grid reproduces an initial field with a large error, relative to its maximum."""
    if error > _COARSE:
        warn(
            f"the grid of spacing {spacing:.3g} reproduces the initial field only up to {error:.2g} of its maximum: "
            "give a smoother one",
            comm,
        )
