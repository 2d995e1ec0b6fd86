"""Schemes in time of the particle system. To add one, write its class in a file here and name it in ``SCHEMES``."""

from typing import Any

from kspde.errors import InputError, check_scheme_name, shown
from kspde.particles.schemes.base import Scheme
from kspde.particles.schemes.euler import EulerMaruyama
from kspde.particles.schemes.pair_rotation import PairRotation
from kspde.particles.schemes.weak2 import Weak2

__all__ = ["SCHEMES", "EulerMaruyama", "PairRotation", "Scheme", "Weak2", "scheme_of"]

#: Classes by the name that ``simulate(scheme=...)`` accepts.
SCHEMES: dict[str, type[Scheme]] = {scheme.name: scheme for scheme in (EulerMaruyama, Weak2, PairRotation)}


def scheme_of(scheme: Any, dt: Any) -> Scheme:
    """Return a scheme given as an object, or by its name with ``dt`` beside it.

    Raises:
        InputError: an unknown name, dt missing or out of range, or dt given beside an object that has its own.
    """
    if isinstance(scheme, Scheme):
        if dt is not None:
            raise InputError(f"dt = {shown(dt)} has no effect beside scheme = {scheme}: leave it out")
        return scheme
    name = check_scheme_name(scheme, SCHEMES)
    if dt is None:
        raise InputError(f"dt is not given: scheme = {name!r} needs a time step > 0, such as dt = 0.01")
    return SCHEMES[name](dt)
