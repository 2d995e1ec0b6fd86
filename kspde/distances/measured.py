"""The three kinds of comparison, each packed into a ``Distance``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from kspde.comparable import Known, check_together, check_unweighted, differences, known
from kspde.distances.clouds import cloud_distances
from kspde.distances.integrals import density_distances
from kspde.distances.points import ON_POINTS, scattered_distances
from kspde.distances.result import Distance, Estimates, Floor
from kspde.distances.sides import DensitySide, ParticleSide
from kspde.distances.smoothed import smoothed_distances
from kspde.distances.statistics import ON_GRID
from kspde.distances.target import View, rows_in_order, rows_of
from kspde.errors import InputError
from kspde.grids import Array
from kspde.protocols import ParticleCloud
from kspde.runtime.messages import warn
from kspde.runtime.parallel import threads_per_rank, together

__all__ = [
    "Options",
    "Pair",
    "between_clouds",
    "between_densities",
    "check_clouds",
    "of_particles",
    "warn_of_shared_noise",
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``compare`` was asked for; it describes them."""

    bandwidth: float | None
    resolution: int | None
    replicas: int
    neighbours: int
    wasserstein: str
    seed: int

    def check_unused(self, *, r: int, states: Any = None, but: Collection[str] = ()) -> None:
        """Refuse what has a meaning for a density and particles only.

        Raises:
            InputError: it is given.
        """
        given = {
            "bandwidth": self.bandwidth is not None,
            "resolution": self.resolution is not None,
            'wasserstein = "exact"': self.wasserstein == "exact",
            "r = 2": r != 1,
            "states": states is not None,
        }
        for name, present in given.items():
            if present and name not in but:
                raise InputError(f"{name} has no effect here, it is for a density and particles: leave it out")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a ``Distance`` says of its two sides, whatever they are.

    Attributes:
        species: the species.
        mass: the mass of the first.
        eps: ε of both, None without or where they differ.
        t: the time, None where none is known.
        differs: see ``Distance``.
        comm: the communicator.
    """

    species: str
    mass: float
    eps: float | None
    t: float | None
    differs: Mapping[str, tuple[Any, Any]]
    comm: Any

    @classmethod
    def of(
        cls, a: DensitySide | ParticleSide, b: DensitySide | ParticleSide, *, comm: Any, any_mass: bool, any_time: bool
    ) -> Self:
        """Return it for two sides.

        Args:
            a: the first.
            b: the second.
            comm: the communicator.
            any_mass: whether their masses may differ.
            any_time: whether the final times of two densities may.

        Raises:
            InputError: the sides have no distance from each other.
        """
        free = any_time and isinstance(b, DensitySide)
        everyone = [[replace(k, t=None) if free else k for k in (side.known, *side.others)] for side in (a, b)]
        for one in everyone[0]:
            for other in everyone[1]:
                check_together(one, other, any_mass=any_mass)
        first, second = a.known, b.known
        differs: dict[str, tuple[Any, Any]] = {}
        for one in everyone[0]:
            for other in everyone[1]:
                differs = differences(one, other) | differs
        eps = first.problem.get("eps", second.problem.get("eps"))
        return cls(
            species=first.species or second.species or "u",
            mass=first.mass,
            eps=None if "eps" in differs else eps,
            t=first.t if first.t is not None else second.t,
            differs=differs,
            comm=comm,
        )

    def at(self, t: float | None) -> Self:
        """Return it at another time; None for this one."""
        return self if t is None else replace(self, t=t)

    def common(self) -> dict[str, Any]:
        """Return arguments of ``Distance``."""
        return {
            "species": self.species,
            "mass": self.mass,
            "eps": self.eps,
            "t_end": self.t,
            "differs": self.differs,
            "comm": self.comm,
        }


def between_densities(first: View, second: View, names: Collection[str], pair: Pair) -> Distance:
    """Return the distances between two densities. Collective."""
    found = density_distances(first, second, names)
    return Distance(
        by_name=found.measured,
        kind="densities",
        axes=found.axes,
        density_pde=found.first,
        density_particles=found.second,
        clipped_mass=found.clipped_mass,
        uncovered_mass=found.uncovered_mass,
        clip_level=max(first.clip, second.clip),
        wasserstein="line" if first.d == 1 else "sliced",
        **pair.common(),
    )


def between_clouds(
    first: Sequence[ParticleCloud],
    second: Sequence[ParticleCloud],
    names: Collection[str],
    options: Options,
    pair: Pair,
) -> Distance:
    """Return the distances between two sets of clouds. Collective.

    Raises:
        InputError: fewer than two particles, clouds of one side of different sizes, or no grid resolves the bandwidth.
    """
    comm = pair.comm
    rows, counts = [], []
    for clouds in (first, second):
        mine = [_finite(cloud, pair.species, comm) for cloud in clouds]
        counts.append(_equally_many(mine, 2, comm))
        rows.append(np.concatenate([rows_in_order(points, ids, comm) for points, ids in mine]))
    found = cloud_distances(
        rows[0],
        rows[1],
        names,
        bandwidth=options.bandwidth,
        resolution=options.resolution,
        replicas=options.replicas,
        seed=options.seed,
        comm=comm,
        threads=threads_per_rank(comm),
    )
    return Distance(
        by_name=found.measured,
        kind="clouds",
        floor=Floor(by_name=found.floor, replicas=options.replicas),
        debiased=Estimates(by_name=found.debiased),
        bandwidth=found.bandwidth,
        axes=found.axes,
        density_pde=found.first,
        density_particles=found.second,
        n=counts[1],
        clouds=len(second),
        first_n=counts[0],
        first_clouds=len(first),
        wasserstein="line" if rows[0].shape[1] == 1 else "sliced",
        seed=options.seed,
        **pair.common(),
    )


def of_particles(
    view: View, clouds: Sequence[ParticleCloud], names: Collection[str], options: Options, pair: Pair
) -> Distance:
    """Return the distances of particles from a density. Collective.

    Raises:
        InputError: fewer than two particles, clouds of different sizes, or no grid resolves the bandwidth.
    """
    comm = pair.comm
    mine = [_finite(each, pair.species, comm) for each in clouds]
    n = _equally_many(mine, 2 * view.r, comm)
    on_points = [name for name in names if name in ON_POINTS]
    rows: list[Array] = []
    if on_points or view.r > 1:
        rows = [rows_of(rows_in_order(points, ids, comm), view.r) for points, ids in mine]
    draws: dict[str, Any] = {"replicas": options.replicas, "seed": options.seed}
    draws |= {"comm": comm, "threads": threads_per_rank(comm)}
    smoothed = scattered = None
    if set(names) & set(ON_GRID):
        local = (
            [all_rows[comm.rank :: comm.size] for all_rows in rows] if view.r > 1 else [points for points, _ in mine]
        )
        grid: dict[str, Any] = {"bandwidth": options.bandwidth, "resolution": options.resolution}
        smoothed = smoothed_distances(view, local, n // view.r, **grid, **draws)
    exact = options.wasserstein == "exact" and view.dimension > 1
    if on_points:
        if options.neighbours >= len(rows[0]) * len(rows):
            raise InputError(f"neighbours = {options.neighbours} is not valid: give fewer than the points")
        scattered = scattered_distances(
            view, rows, names=on_points, exact=exact, neighbours=options.neighbours, **draws
        )
    parts = [part for part in (smoothed, scattered) if part is not None]
    nothing = np.zeros(0)
    return Distance(
        by_name={name: value for part in parts for name, value in part.measured.items()},
        kind="particles",
        floor=Floor(
            by_name={name: value for part in parts for name, value in part.floor.items()}, replicas=options.replicas
        ),
        debiased=Estimates(by_name={name: value for part in parts for name, value in part.debiased.items()}),
        smoothing=smoothed.smoothing if smoothed else {},
        bandwidth=smoothed.bandwidth if smoothed else None,
        clipped_mass=smoothed.clipped_mass if smoothed else None,
        uncovered_mass=smoothed.uncovered_mass if smoothed else None,
        axes=smoothed.axes if smoothed else (),
        density_pde=smoothed.density if smoothed else nothing,
        density_particles=smoothed.estimate if smoothed else nothing,
        r=view.r,
        n=n,
        clouds=len(clouds),
        wasserstein="exact" if exact else "line" if view.dimension == 1 else "sliced",
        neighbours=options.neighbours,
        seed=options.seed,
        **pair.common(),
    )


def check_clouds(
    density: Known, t: float | None, clouds: Sequence[Any], species: str, *, any_mass: bool = False
) -> None:
    """Refuse clouds that have no distance from a density at time t.

    Raises:
        InputError: see ``check_together``, or particles have weights of their own.
    """
    for cloud in clouds:
        check_unweighted(cloud, species)
        check_together(replace(density, t=t), known(cloud, species, what="particles"), any_mass=any_mass)


def warn_of_shared_noise(first: Sequence[Any], second: Sequence[Any], comm: Any) -> None:
    """Warn where two clouds are not independent of each other: the floor takes them to be."""
    runs = [{(cloud.seed, cloud.replica) for cloud in side if hasattr(cloud, "replica")} for side in (first, second)]
    for seed, replica in sorted(runs[0] & runs[1]):
        warn(
            f"both sides have particles with seed = {seed} and replica = {replica}, which share starting points and "
            f"noise: they are nearer to each other than the floor of independent ones; simulate one with another seed",
            comm,
        )


def _equally_many(clouds: Sequence[tuple[Array, Any]], least: int, comm: Any) -> int:
    """Return how many particles each cloud has, over all ranks."""
    counts = [int(comm.allreduce(len(points))) for points, _ in clouds]
    if min(counts) < least:
        raise InputError(f"the cloud has {min(counts)} particles: a distance with its interval needs at least {least}")
    if len(set(counts)) > 1:
        raise InputError(f"the clouds have {', '.join(map(str, counts))} particles: give clouds of equally many")
    return counts[0]


def _finite(cloud: ParticleCloud, species: str, comm: Any) -> tuple[Array, Any]:
    """Return this rank's positions and ids.

    Raises:
        InputError: a position is not finite, on any rank.
    """
    points, ids = np.asarray(cloud.of(species), dtype=np.float64), np.asarray(cloud.ids_of(species))
    with together(comm):
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(bad):
            raise InputError(f"particle {ids[bad[0]]} is at {tuple(points[bad[0]].tolist())}: give finite positions")
    return points, ids
