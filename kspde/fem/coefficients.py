"""Values of coefficients without meaning: D < 0, a backward heat equation, and values that are not finite."""

from __future__ import annotations

import numpy as np

from kspde.errors import ConvergenceError, place_of
from kspde.fem.spaces.base import Space
from kspde.matrices import eigenvalue_ends, fault
from kspde.typing import Array

__all__ = ["CoefficientError", "checked", "checked_growth"]

#: A negative D of at most this share of the maximum is rounding.
_ROUNDING = 1e-12
#: The largest D or |b|: products with it stay finite.
_LARGEST = 1e100


class CoefficientError(ConvergenceError):
    """A coefficient has a value without meaning; the message names the species, the value and the place."""


def checked(space: Space, species: str, diffusion: Array, drift: Array | None, *, share: float = _ROUNDING) -> Array:
    """Return D with rounding below 0 removed. Collective.

    Args:
        space: the space.
        species: whose coefficients they are.
        diffusion: D at this rank's nodes, shape (n,), (n, d) or (n, d, d).
        drift: b there, shape (n, d), or None.
        share: the share of its maximum that D, or an eigenvalue of it, may lie below 0.

    Raises:
        CoefficientError: D is lower, or not symmetric, or D or b is not finite, or larger than 1e100; the worst value,
            on every rank.
    """
    if diffusion.ndim == 3:
        checked(space, species, _checked_matrices(space, species, diffusion, share), drift)
        return diffusion
    senseless = not bool(np.all(np.abs(diffusion) <= _LARGEST) and (drift is None or np.all(np.abs(drift) <= _LARGEST)))
    ends = np.array([float(senseless), 0.0, 0.0])
    if not senseless:
        ends[1:] = diffusion.max(initial=0.0), -diffusion.min(initial=0.0)
    ends = space.maximum(ends)
    if ends[0] or ends[2] > share * ends[1]:
        found = space.comm.allgather(_worst(space.points, species, diffusion, drift))
        raise CoefficientError(max(found)[1])
    return diffusion if ends[2] == 0.0 else np.maximum(diffusion, 0.0)


def _checked_matrices(space: Space, species: str, matrices: Array, share: float) -> Array:
    """Return the largest eigenvalues of matrices D that are symmetric and positive semidefinite. Collective."""
    size = np.max(np.abs(matrices), axis=(1, 2), initial=0.0)
    skew = np.max(np.abs(matrices - np.swapaxes(matrices, 1, 2)), axis=(1, 2), initial=0.0)
    with np.errstate(invalid="ignore"):
        lowest, highest = eigenvalue_ends(matrices)
    sound = (size <= _LARGEST) & (skew <= _ROUNDING * size)
    bad = np.where(sound, np.maximum(-lowest, 0.0), np.inf)
    worst, largest = space.maximum(np.array([bad.max(initial=0.0), np.max(highest, where=sound, initial=0.0)]))
    if not worst <= share * largest:
        line = ""
        if len(bad):
            i = int(np.argmax(bad))
            place = place_of(space.points[i])
            line = (
                f"the diffusion matrix of species {species!r} at {place} {fault(matrices[i])}: it must be symmetric, "
                f"positive semidefinite and at most {_LARGEST:g} in size; check the model's parameters"
            )
        raise CoefficientError(max(space.comm.allgather((float(bad.max(initial=-1.0)), line)))[1])
    return highest


def _worst(points: Array, species: str, diffusion: Array, drift: Array | None) -> tuple[float, str]:
    """Return the size of the worst violation, and a line about it."""
    worst = (-1.0, "")
    for name, values, valid in (
        ("diffusion coefficient", diffusion, ">= 0, finite"),
        ("drift", np.zeros((0, 1)) if drift is None else drift, "finite"),
    ):
        size = np.abs(values)
        bad = np.where(size <= _LARGEST, 0.0 if name == "drift" else np.maximum(-values, 0.0), np.inf)
        if bad.size == 0 or not bad.max() > max(worst[0], 0.0):
            continue
        index = np.unravel_index(int(np.argmax(bad)), bad.shape)
        place = place_of(points[index[0]])
        worst = (
            float(bad.max()),
            f"the {name} of species {species!r} is {values[index]:.6g} at {place}: it must be {valid} and at most "
            f"{_LARGEST:g} in size; check the model's parameters",
        )
    return worst


def checked_growth(space: Space, species: str, growth: Array | None) -> Array | None:
    """Return r at this rank's nodes, shape (n,), or None without growth. Collective.

    Raises:
        CoefficientError: r is not finite, or larger than 1e100; one place, on every rank.
    """
    worst: str | None = None
    if growth is not None:
        bad = np.flatnonzero(~(np.abs(growth) <= _LARGEST))
        if len(bad):
            place = place_of(space.points[bad[0]])
            worst = (
                f"the growth of species {species!r} is {growth[bad[0]]:.6g} at {place}: it must be finite and at "
                f"most {_LARGEST:g} in size; check the model's parameters"
            )
    found = [line for line in space.comm.allgather(worst) if line is not None]
    if found:
        raise CoefficientError(found[0])
    return growth
