r"""What a run starts from: ids of particles, their memory, and starting points drawn from :math:`u_0`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kspde.errors import InputError, check_choice, check_finite, check_integer, counted
from kspde.grids import coordinate_names
from kspde.initial import InitialDensity, RandomNumbers, read_grid, read_positions
from kspde.kernels import Kernel
from kspde.particles.fields import METHODS
from kspde.particles.schemes import Scheme
from kspde.runtime.files import FILE_ERRORS, reason
from kspde.runtime.parallel import together
from kspde.runtime.random import Philox
from kspde.runtime.reductions import everyones
from kspde.typing import Array, Comm, Ids

__all__ = ["GivenPositions", "Seed", "bytes_of_particles", "given_positions", "local_ids"]

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
        self,
        densities: Mapping[str, InitialDensity | GivenPositions],
        ids: Mapping[str, Ids],
        mollifier: Kernel | None,
        comm: Comm,
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


@dataclass(frozen=True)
class GivenPositions:
    """Starting points that are given, in place of a density: row i is that of the particle with the id ``first`` + i.

    Attributes:
        points: shape (n, d).
        first: the id of the first particle.
    """

    points: Array
    first: int

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.points.shape[1])

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Return the points of some particles."""
        return self.points[ids.astype(np.intp) - self.first]


def given_positions(given: Any, counts: Mapping[str, int], dimension: int, seed: Seed) -> dict[str, Array]:
    """Return starting points by species, the same on every rank. Collective where a cloud is given.

    Those of a run with the same seed are refused: they depend on the noise that would move them again.

    Args:
        given: by species, or for the only one, an array of shape (n, d), or the path of a .csv file whose first row has
            x, y, z, of a .npy file, or of a file of ``Cloud.write``; a path of the last kind, or a cloud, for all.
        counts: the number of particles of each species.
        dimension: d.
        seed: that of the run which starts there.

    Raises:
        InputError: positions of a run with that seed, of other species, another number of them, values that are not
            finite, or a file that cannot be read.
    """
    if not isinstance(given, Mapping):
        if len(counts) > 1 and not (hasattr(given, "weights_of") or str(given).endswith(".h5")):
            raise InputError(f"positions are those of one species: give a dictionary with {', '.join(counts)}")
        given = dict.fromkeys(counts, given)
    if set(given) != set(counts):
        raise InputError(f"positions has species {', '.join(map(str, given)) or 'none'}: give {', '.join(counts)}")
    points: dict[str, Array] = {}
    for name, n in counts.items():
        source = given[name]
        if hasattr(source, "weights_of"):  # a cloud
            check_choice("species of positions", name, source.species)
            _check_seed(seed, source.seed, source.replica)
            source = everyones(source.of(name), source.comm)
        elif isinstance(source, (str, Path)):
            source = _read(Path(source), name, dimension, seed)
        points[name] = check_finite("positions", source, (None, dimension))
        if len(points[name]) != n:
            raise InputError(
                f"n = {n}, and positions has {counted(len(points[name]), 'particle')} of {name!r}: give the same number"
            )
    return points


def _check_seed(seed: Seed, *theirs: object) -> None:
    if theirs == (seed.seed, seed.replica):
        raise InputError(
            f"positions are those of a run with the same seed = {seed.seed}, whose noise would move the particles a "
            "second time: give another seed or replica, or extend that run"
        )


def _read(path: Path, species: str, dimension: int, seed: Seed) -> Array:
    if path.suffix != ".h5":
        found = read_grid(path)[0] if path.suffix == ".npy" else read_positions(path, coordinate_names(dimension))
        return np.asarray(found)
    from kspde.runtime.hdf5 import check_hdf5, h5py

    try:
        check_hdf5(path)
        with h5py.File(path) as file:
            if f"positions/{species}" in file:
                _check_seed(seed, *(np.asarray(file.attrs.get(name)).tolist() for name in ("seed", "replica")))
                return np.asarray(file[f"positions/{species}"][()], dtype=np.float64)
    except FILE_ERRORS as error:
        raise InputError(f"cannot read positions from {path}: {reason(error)}") from None
    raise InputError(f"{path} has no positions of {species!r}: give a file of Cloud.write with that species")


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
