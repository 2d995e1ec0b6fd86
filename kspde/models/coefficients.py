"""A model's coefficients as both backends take them: real arrays of one of the shapes that have a meaning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kspde.errors import InputError, called
from kspde.models.base import FieldValues, Model, Moment
from kspde.typing import Array

__all__ = ["coefficients", "diffusion_of", "drift_of", "growth_of", "moment_integrand", "refuse_flow_between_walls"]


def coefficients(model: Model, species: str, c: FieldValues) -> tuple[Array, Array | None]:
    """Return D, in one of the forms of ``diffusion_of``, and the drift, (n, d) or None. Rank-local.

    The values are not checked: which are valid, and how messages name the place, depends on the backend.

    Raises:
        InputError: the model returned another shape, or values that are not real numbers, or is not written for arrays.
    """
    return diffusion_of(model, species, c), drift_of(model, species, c)


def diffusion_of(model: Model, species: str, c: FieldValues, *, scalar: bool = False) -> Array:
    """Return D alone, of shape (1,) for a number, (n,), (n, d) or (n, d, d). Rank-local.

    ``kspde.matrices.as_matrices`` makes matrices of all of them.

    Args:
        model: the model.
        species: whose D it is.
        c: the fields.
        scalar: whether a D that depends on the direction is refused.

    Raises:
        InputError: as for ``coefficients``.
    """
    n, d = c.points.shape
    stated = _of(model.diffusion, species, c) if callable(model.diffusion) else model.diffusion
    diffusion = np.atleast_1d(_real(f"diffusion({species!r}, c)", stated))
    valid = [(1,), (n,)] if scalar else [(1,), (n,), (n, d), (n, d, d)]
    if diffusion.shape not in valid:
        more = "" if scalar else f", {(n, d)} for one coefficient per direction, or {(n, d, d)} for matrices"
        raise InputError(
            f"diffusion({species!r}, c) returned shape {diffusion.shape}: return a number or shape ({n},){more}"
        )
    return diffusion if diffusion.ndim == 3 else np.ascontiguousarray(diffusion)  # matrices may come by entries


def drift_of(model: Model, species: str, c: FieldValues) -> Array | None:
    """Return the drift alone, as ``coefficients`` does. Rank-local."""
    returned = _of(model.drift, species, c)
    if returned is None:
        return None
    drift = _real(f"drift({species!r}, c)", returned)
    if drift.shape != c.points.shape:
        raise InputError(f"drift({species!r}, c) returned shape {drift.shape}: return {c.points.shape} or None")
    return np.ascontiguousarray(drift)


def growth_of(model: Model, species: str, c: FieldValues) -> Array | None:
    """Return the growth rate r, of shape (n,), or None without growth; not checked as in ``coefficients``. Rank-local.

    Raises:
        InputError: the model returned another shape, or values that are not real numbers.
    """
    returned = _of(model.growth, species, c)
    if returned is None:
        return None
    n = len(c.points)
    growth = _real(f"growth({species!r}, c)", returned)
    if growth.shape not in ((n,), (1,), ()):
        raise InputError(
            f"growth({species!r}, c) returned shape {growth.shape}: return a number, shape ({n},), or None"
        )
    return np.ascontiguousarray(np.broadcast_to(growth, (n,)))


def moment_integrand(moment: Moment, points: Array) -> Array:
    """Return φ at points, shape (n, ...). Rank-local.

    Raises:
        InputError: another shape, or values that are not real numbers.
    """
    label, form = f"the function of moment {moment.name!r}", "a function of points (n, d) that returns (n,)"
    values = _real(label, called(label, form, moment.function, points))
    if values.ndim == 0 or len(values) != len(points):
        raise InputError(
            f"the function of moment {moment.name!r} returned shape {values.shape} for {len(points)} points: return "
            f"({len(points)},), or ({len(points)}, k, ...) for several numbers"
        )
    return values


def _of(method: Callable[[str, FieldValues], object], species: str, c: FieldValues) -> object:
    name = method.__name__
    return called(f"{name}({species!r}, c)", f"{name}(self, species, c) of c's arrays", method, species, c)


def _real(label: str, returned: object) -> Array:
    try:
        array = np.asarray(returned)
    except ValueError:  # rows of unequal lengths
        raise InputError(f"{label} did not return an array: return real numbers") from None
    if not np.can_cast(array.dtype, np.float64, casting="same_kind"):  # an imaginary part is not dropped
        raise InputError(f"{label} returned values of type {array.dtype}: return real numbers")
    return array.astype(np.float64, copy=False)


class _BetweenWallsError(Exception):
    """A drift asked for the velocity of a stream function."""


class _BetweenWalls(FieldValues):
    """Fields that have no ``perp``."""

    def perp(self, name: str) -> Array:
        raise _BetweenWallsError(name)


def refuse_flow_between_walls(model: Model) -> None:
    """Raise if drifts use ``FieldValues.perp``: for a closed box, whose fields have no slope at its walls.

    A flow does not cross a wall where its stream function is constant there, and not where that has no slope.

    Raises:
        InputError: names the field.
    """
    points = np.zeros((1, model.dimension))
    values = {f.name: np.ones(1) for f in model.fields}
    slopes = {f.name: np.ones((1, model.dimension)) for f in model.fields if f.gradient}
    moments = {m.name: np.ones(np.shape(moment_integrand(m, points))[1:]) for m in model.moments}
    for species in model.species:
        try:
            model.drift(species, _BetweenWalls(points, values, slopes, 0.0, moments))
        except _BetweenWallsError as asked:
            raise InputError(
                f"the drift of {species} is the flow of the stream function {asked}, which would have to be constant "
                'on the walls of boundary = "neumann": fields have no slope there; give "periodic" or "decay"'
            ) from None
        except Exception:  # made-up values: whatever else is wrong shows with the real ones
            continue
