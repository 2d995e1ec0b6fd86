r"""What a run starts from: ids of particles, their memory, and starting points drawn from :math:`u_0`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kspde.errors import InputError, check_integer
from kspde.initial import InitialDensity
from kspde.kernels import Kernel
from kspde.particles.fields import METHODS
from kspde.particles.schemes import Scheme
from kspde.runtime.parallel import together
from kspde.runtime.random import Philox
from kspde.typing import Array, Comm, Ids

__all__ = ["Seed", "bytes_of_particles", "local_ids"]

#: Streams of a seed: ζ_i, the noise that moves the particles, and the shift that mollifies ζ_i.
_ZETA, _NOISE, _SHIFT = 0, 1, 2


@dataclass(frozen=True)
class Seed:
    """The random numbers of a run; runs with one seed and different replicas are independent.

    Attributes:
        seed: an integer >= 0.
        replica: an integer >= 0.

    Raises:
        InputError: a value that is not valid.
    """

    seed: int
    replica: int = 0

    def __post_init__(self) -> None:
        check_integer("replica", self.replica, at_least=0, at_most=(1 << 32) - 1)
        check_integer("seed", self.seed, at_least=0)

    @property
    def noise(self) -> Philox:
        """The random numbers that move the particles."""
        return self._stream(_NOISE)

    def _stream(self, kind: int) -> Philox:
        return Philox(self.seed, (kind, self.replica) if self.replica else (kind,))

    def starting_points(
        self, densities: Mapping[str, InitialDensity], ids: Mapping[str, Ids], mollifier: Kernel | None, comm: Comm
    ) -> dict[str, Array]:
        """Return this rank's starting points by species, shape (n_local, d). Collective.

        They are ζ_i drawn from the densities, plus a draw from the mollifier if there is one; the ζ_i are the same
        either way.

        Raises:
            InputError: the density, or the mollifier, cannot be drawn from; on every rank.
        """
        zeta, shift = self._stream(_ZETA), self._stream(_SHIFT)
        points: dict[str, Array] = {}
        with together(comm):
            for name, density in densities.items():
                x = np.ascontiguousarray(density.sample(zeta, ids[name]), dtype=np.float64)
                points[name] = x if mollifier is None else x + mollifier.draw(shift, ids[name], density.dimension)
        return points

    def signed_weights(self, density: InitialDensity, ids: Ids, n: int, comm: Comm) -> Array:
        """Return the weights of this rank's starting points drawn from a signed density, of n in all. Collective.

        Raises:
            InputError: the density does not say them.
        """
        with together(comm):
            if not hasattr(density, "weights_of_draws"):
                raise InputError(f"u0 = {density!r} has both signs: give weights, of the points that are drawn from it")
            return np.asarray(density.weights_of_draws(self._stream(_ZETA), ids, n))


def local_ids(counts: Mapping[str, int], comm: Comm) -> dict[str, Ids]:
    """Split the ids into contiguous ranges, one per rank; those of one species follow those of another."""
    out: dict[str, Ids] = {}
    offset = 0
    for name, count in counts.items():
        first, last = (count * r // comm.size for r in (comm.rank, comm.rank + 1))
        out[name] = np.arange(offset + first, offset + last, dtype=np.uint64)
        offset += count
    return out


def bytes_of_particles(n: float, dimension: int, scheme: type[Scheme], method: str, *, mean_field: bool) -> float:
    """Return about how many bytes n particles take beside grids, and mean-field particles if they move beside them.

    The constants are measured: tests/benchmarks/memory.py.
    """
    vectors = scheme.vectors * (1.75 if mean_field else 1.0)
    return n * (8.0 + 8.0 * dimension * vectors + METHODS[method].bytes_per_particle)
