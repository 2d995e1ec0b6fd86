"""Schemes in time of the density equation, by name. A new one is a file, and a line here."""

from __future__ import annotations

from typing import Any

from kspde.errors import InputError, check_scheme_name, shown
from kspde.fem.schemes.adaptive import Adaptive
from kspde.fem.schemes.base import Scheme
from kspde.fem.schemes.positive import Positive, Positive2
from kspde.fem.schemes.rosenbrock import Rosenbrock

__all__ = ["SCHEMES", "Adaptive", "Positive", "Positive2", "Rosenbrock", "Scheme", "scheme_of"]

#: By name.
SCHEMES: dict[str, type[Scheme]] = {kind.name: kind for kind in (Adaptive, Rosenbrock, Positive, Positive2)}


def scheme_of(scheme: Any, *, tol: float | None = None, dt: float | None = None) -> Scheme:
    """Return a scheme: as given, or by its name with ``tol`` or ``dt`` beside it.

    Raises:
        InputError: an unknown name, or a ``tol`` or ``dt`` that is not valid, missing or without effect.
    """
    if not isinstance(scheme, Scheme):
        return SCHEMES[check_scheme_name(scheme, SCHEMES)].of(tol, dt)
    for name, value in (("tol", tol), ("dt", dt)):
        if value is not None:
            raise InputError(f"{name} = {shown(value)} has no effect beside scheme = {scheme}: leave it out")
    return scheme
