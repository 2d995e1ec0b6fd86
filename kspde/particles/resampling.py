r"""Resampling: weights that growth has made too different become equal again.

Particles whose weights are small are computed for nothing. N new particles, each of weight mass/N, take the positions
of old ones: that of particle j is taken :math:`N w_j / \sum_k w_k` times in the mean, so that the expectation of the
empirical measure does not change. It is the user's choice: new particles with one ancestor begin at one place, and have
independent noise from there on.

To add one, write its class here and name it in ``RESAMPLINGS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kspde.errors import InputError, check_choice, check_number
from kspde.particles.system import System
from kspde.runtime.random import Philox
from kspde.runtime.reductions import everyones

__all__ = ["RESAMPLINGS", "Resampling", "SystematicResampling", "resampling_of"]

#: The part of a seed's stream of noise that is not a particle's.
_RESAMPLING = 3


class Resampling(ABC):
    """A way to resample.

    Attributes:
        name: what ``simulate(resampling=...)`` calls it where its arguments keep their defaults.
    """

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, system: System, step: int) -> bool:
        """Resample the species that need it after a step, in place; return whether one did. Collective."""


@dataclass(frozen=True)
class SystematicResampling(Resampling):
    r"""Systematic resampling: of particle j there are ⌊N w_j/Σw⌋ or ⌈N w_j/Σw⌉ new ones.

    New particle k has the ancestor whose interval of the cumulated weights holds (k + U)/N, with one uniform U (Douc,
    Cappé and Moulines, Comparison of resampling schemes for particle filtering, ISPA 2005); they are then renumbered at
    random.
    All is a function of the seed, the step and the weights, whatever the number of ranks.

    Attributes:
        effective_share: the share :math:`(\sum w)^2/(N \sum w^2)` of effective particles below which a species is
            resampled, in (0, 1).

    Raises:
        InputError: another number.
    """

    effective_share: float = 0.5

    name = "systematic"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "effective_share", check_number("effective_share", self.effective_share, above=0, below=1)
        )

    def __call__(self, system: System, step: int) -> bool:
        """Resample the species that need it; see :meth:`Resampling.__call__`. Collective."""
        poor = [name for name, share in system.seen.effective.items() if share < self.effective_share]
        for name in poor:
            x, w, n = system.positions[name], system.changing_weights[name], system.counts[name]
            everyone, weights = everyones(x, system.comm), everyones(w, system.comm)
            species = list(system.positions).index(name)
            random = Philox(system.noise.seed, (*system.noise.stream, _RESAMPLING, species))
            uniforms = random.uniforms(np.arange(n + 1, dtype=np.uint64), step, 1)[:, 0]
            cumulated = np.cumsum(weights)
            ancestors = np.searchsorted(cumulated, (np.arange(n) + uniforms[n]) * (cumulated[-1] / n), side="right")
            ancestors = np.minimum(ancestors, n - 1)[np.argsort(uniforms[:n], kind="stable")]
            first = system.first_row(name)
            x[:] = everyone[ancestors[first : first + len(x)]]
            w[:] = cumulated[-1] / n
        return bool(poor)


#: Classes by the name that ``simulate(resampling=...)`` accepts.
RESAMPLINGS: dict[str, type[Resampling]] = {each.name: each for each in (SystematicResampling,)}


def resampling_of(given: Any, *, growing: bool, coupled: bool) -> Resampling | None:
    """Return a way to resample, given as an object or by its name; None of None.

    Args:
        given: the argument.
        growing: whether weights change in time.
        coupled: whether mean-field particles move beside the particles.

    Raises:
        InputError: an unknown name, or no use for it.
    """
    if given is None:
        return None
    made = given if isinstance(given, Resampling) else RESAMPLINGS[check_choice("resampling", given, RESAMPLINGS)]()
    if not growing:
        raise InputError(f"resampling = {made.name!r} has no effect on a model without growth: leave it out")
    if coupled:
        raise InputError(
            f"resampling = {made.name!r} would part particles from the mean-field particles with the same noise: leave "
            "it, or mean_field, out"
        )
    return made
