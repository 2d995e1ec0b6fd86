r"""The defect c_i of :mod:`kspde.evidence.entropy` at particles, and what follows from it there, for any model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.matrices import as_matrices, eigenvalue_ends, product_of
from kspde.models import FieldValues, Model
from kspde.models.coefficients import diffusion_of, drift_of, moment_integrand
from kspde.typing import Array

__all__ = ["STEP", "cumulative", "defect", "inverse_form", "production", "transport"]

#: Relative step of the differences that differentiate D; their error is its square.
STEP = 1e-4


def production(
    model: Model, species: str, own: FieldValues, known: FieldValues, score: Array, weight: float = 0.0
) -> Array:
    r"""Return :math:`\frac14 c\cdot D^{-1}c` at particles, (n,); arguments and errors as for ``defect``. Rank-local."""
    c, diffusion = defect(model, species, own, known, score, weight)
    return 0.25 * inverse_form(c, diffusion)


def inverse_form(c: Array, diffusion: Array) -> Array:
    """Return c·D⁻¹c, shape (n,), for vectors (n, d) and diagonals (n, d) or matrices (n, d, d)."""
    if diffusion.ndim == 2:
        return np.asarray(np.sum(c * c / diffusion, axis=1))
    return np.asarray(np.sum(c * np.linalg.solve(diffusion, c[..., None])[..., 0], axis=1))


def defect(
    model: Model, species: str, own: FieldValues, known: FieldValues, score: Array, weight: float = 0.0
) -> tuple[Array, Array]:
    """Return c, shape (n, d), and D, positive definite, at particles of a species. Rank-local.

    D has the shape (n, d, d), or (n, d) where it is diagonal.

    Args:
        model: the model.
        species: the species.
        own: the fields of the empirical measure at the particles, with gradients, and its moments.
        known: the fields of the density there, with gradients, and its moments.
        score: ∇log u there, shape (n, d).
        weight: the weight w of the particles in the moments.

    Raises:
        InputError: D depends on gradients of fields, or is not positive definite.
    """
    try:
        diffusion, slope = _diffusion(model, species, own, weight)
        there, slope_there = _diffusion(model, species, known, 0.0)
    except InputError as error:
        raise InputError(
            f"the diffusion coefficient of species {species!r} cannot be differentiated: {error} (the entropy bound "
            "needs a D of position, fields and moments alone, not of their gradients)"
        ) from None
    if diffusion.ndim != there.ndim:
        diffusion, there = (as_matrices(each, *score.shape) for each in (diffusion, there))
    difference = diffusion - there
    c = slope - slope_there + product_of(difference, score)
    drifts = [drift_of(model, species, values) for values in (own, known)]
    if drifts[0] is not None and drifts[1] is not None:
        c -= drifts[0] - drifts[1]
    least = eigenvalue_ends(diffusion)[0]
    if not np.all(least > 0):
        raise InputError(
            f"the diffusion coefficient of species {species!r} is {least.min():g} at a particle: the entropy "
            "bound divides by it, so it must be > 0"
        )
    return c, diffusion


def transport(model: Model, species: str, known: FieldValues, score: Array) -> Array:
    r"""Return the velocity of the density, :math:`\bar b - \nabla\cdot\bar D - \bar D\nabla\log u`, (n, d)."""
    diffusion, slope = _diffusion(model, species, known, 0.0)
    drift = drift_of(model, species, known)
    return (0.0 if drift is None else drift) - slope - product_of(diffusion, score)


def cumulative(rates: Array, times: Array) -> Array:
    """Return the trapezoidal integrals from 0 to each of the times along the last axis."""
    steps = 0.5 * np.diff(times) * (rates[..., 1:] + rates[..., :-1])
    return np.concatenate([np.zeros_like(rates[..., :1]), np.cumsum(steps, axis=-1)], axis=-1)


def _diffusion(model: Model, species: str, c: FieldValues, weight: float) -> tuple[Array, Array]:
    """Return D, of shape (n, d) where it is diagonal, else (n, d, d), and ∇·D, its total derivative in x, (n, d).

    Position and fields move together, x by ±h e_a and every field by ±h ∂_a c: that is the chain rule, for any model.
    The moments of the species follow, by ``weight`` times the gradient of φ. Differences are central.
    """
    n, d = c.points.shape

    def at(**changes: Any) -> Array:
        value = diffusion_of(model, species, replace(c, gradients={}, **changes))
        return value if value.ndim > 1 else np.repeat(np.broadcast_to(value, (n,))[:, None], d, axis=1)

    value, divergence = at(), np.zeros((n, d))

    def add(derivative: Array, axis: int) -> None:
        """Add the derivative of D along an axis, in D's shape."""
        if derivative.ndim == 2:
            divergence[:, axis] += derivative[:, axis]
        else:
            divergence[:] += derivative[:, :, axis]

    steps = STEP * np.eye(d)
    for axis, step in enumerate(steps):
        ends = [
            at(
                points=c.points + sign * step,
                values={name: field + sign * STEP * c.gradients[name][:, axis] for name, field in c.values.items()},
            )
            for sign in (-1, 1)
        ]
        add((ends[1] - ends[0]) / (2 * STEP), axis)
    for moment in (m for m in model.moments if m.source == species and weight):
        both = [[moment_integrand(moment, c.points + sign * step) for sign in (-1, 1)] for step in steps]
        slopes = [weight * (high - low) / (2 * STEP) for low, high in both]
        now = np.asarray(c.moments[moment.name], dtype=np.float64)
        for index in np.ndindex(now.shape):
            h = STEP * max(1.0, float(np.abs(now).max()))
            change = np.zeros(now.shape)
            change[index] = h
            high, low = (at(moments={**c.moments, moment.name: now + sign * change}) for sign in (1, -1))
            derivative = (high - low) / (2 * h)
            for axis in range(d):
                along = slopes[axis][(slice(None), *index)]
                add(derivative * along.reshape(-1, *(1,) * (derivative.ndim - 1)), axis)
    return value, divergence
