"""What a time-stepping scheme of the particle system promises, and how it takes a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kspde.errors import ConvergenceError, InputError, check_number
from kspde.matrices import as_matrices, fault, symmetric_roots
from kspde.models import Model
from kspde.particles.observation import Tallies
from kspde.particles.region import Region
from kspde.particles.system import System
from kspde.typing import Array, Ids

__all__ = ["Scheme", "bad_diffusion", "matrix_roots"]


@dataclass(frozen=True)
class Scheme(ABC):
    """A scheme that moves all particles by steps of at most ``dt``.

    Attributes:
        dt: the largest time step > 0.
        name: what ``simulate(scheme=...)`` calls the scheme.
        earlier: other spellings of the name, which are accepted.
        scheme_of: the function whose schemes these are.
        weak_order: order in dt of the error of expectations of smooth functions.
        strong_order: order in dt of E|X − X_exact| with the same Brownian motions.
        field_evaluations: number of times per step that the fields of all particles are computed.
        vectors: number of vectors per particle in memory: starting point, position, and those of a step.
        source: where the scheme comes from.
        confined: whether its stages, if there are any, stay in a closed or periodic box (``System.turned``); where they
            do not, such a domain is refused.
        grows: whether it changes weights by the model's growth (``System.growth``); a model that has growth is refused
            otherwise.

    Raises:
        InputError: dt is not a finite number > 0.
    """

    dt: float

    name: ClassVar[str]
    earlier: ClassVar[tuple[str, ...]] = ()
    scheme_of: ClassVar[str] = "simulate"
    weak_order: ClassVar[float]
    strong_order: ClassVar[float]
    field_evaluations: ClassVar[int]
    vectors: ClassVar[float]
    source: ClassVar[str]
    grows: ClassVar[bool] = False
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt", check_number("dt", self.dt, above=0))

    def check(self, model: Model, *, weighted: bool, mean_field: bool) -> None:
        """Raise unless the scheme moves a model's particles, with weights of their own or a mean field if so stated.

        Raises:
            InputError: says what the scheme needs; here, no growth unless the scheme ``grows``.
        """
        if model.has_growth and not self.grows:
            raise InputError(
                f"scheme = {self.name!r} does not change weights, as the growth of {model} must: use "
                'scheme="euler-maruyama" or "weak-2"'
            )

    def check_region(self, region: Region | None) -> None:
        """Raise unless the scheme moves particles in a region.

        Raises:
            InputError: it is not ``confined``.
        """
        if region is not None and not self.confined:
            raise InputError(
                f'scheme = {self.name!r} knows neither walls nor tori: use scheme="euler-maruyama" or "weak-2", or '
                "the whole space"
            )

    @abstractmethod
    def advance(self, system: System, step: int, t: float, h: float) -> Tallies | None:
        """Move the particles, whose fields are prepared at t, to t + h. Collective.

        Returns:
            The tallies of the new positions for ``System.observe``, or None where the scheme does not take them.

        Raises:
            InputError: the model returned a diffusion or drift of a wrong shape or type.
            ConvergenceError: a diffusion coefficient that is negative or not finite, or a stage that is not finite; on
                all ranks.
        """


def bad_diffusion(species: str, value: float, particle: int) -> ConvergenceError:
    """Return the error for a diffusion coefficient that is negative or not finite."""
    return ConvergenceError(
        f"the diffusion coefficient of species {species!r} is {value:g} at particle {particle}: it must be >= 0 and "
        f"finite; check the model's parameters, or give a smaller dt"
    )


def matrix_roots(species: str, diffusion: Array, factor: float, ids: Ids, dimension: int) -> Array:
    """Return √(factor D) of particles, shape (n, d, d), for D of shape (n, d) or (n, d, d). Rank-local.

    Raises:
        ConvergenceError: names a particle whose D is not symmetric, positive semidefinite and finite.
    """
    matrices = as_matrices(diffusion, len(ids), dimension)
    entries = np.ascontiguousarray(np.moveaxis(matrices, 0, 2))
    roots = np.empty_like(entries)
    bad = symmetric_roots(entries, factor, roots)
    if bad >= 0:
        raise ConvergenceError(
            f"the diffusion matrix of species {species!r} at particle {ids[bad]} {fault(matrices[bad])}: it must be "
            "symmetric, positive semidefinite and finite; check the model's parameters, or give a smaller dt"
        )
    return np.moveaxis(roots, 2, 0)
