r"""The distance between a density and a cloud of particles, with its uncertainty and its floor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kspde.distances.checks import DensitySolution, ParticleCloud, check_comparable, check_species
from kspde.distances.grid import Array, GaussianSmoother, deposit
from kspde.distances.region import MOST, bounding_box, check_mass, common_grid
from kspde.distances.resampling import independent_draws, left_out_distances
from kspde.distances.statistics import Estimate, Reference, jackknife, prediction
from kspde.errors import InputError, check_integer, check_number
from kspde.parallel import threads_per_rank, together

__all__ = ["Distance", "Floor", "compare"]

#: u is clipped from below at this fraction of its maximum, for the logarithm.
_CLIP = 1e-10


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The distance that the same number of independent draws from the density itself has from it.

    Attributes:
        l1: mean over the replicas; its interval holds one more such draw with probability 95 %.
        relative_entropy: the same.
        replicas: how many clouds were drawn.
    """

    l1: Estimate
    relative_entropy: Estimate
    replicas: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Distance:
    r"""How far the particles' density estimate k = K_h * μ_N is from the density u, both of mass 1.

    Attributes:
        l1: :math:`\int |k - u|`.
        relative_entropy: :math:`H(k|u) = \int k \log(k/u)`.
        floor: both for independent draws from u: a distance inside the floor's interval is not resolved.
        bandwidth: h.
        bandwidth_bias: :math:`\int |K_h * u - u|`, what smoothing alone does to u.
        clipped_mass: share of k where u was below ``clip_level`` times its maximum and raised to it.
        clip_level: that fraction.
        axes: coordinates of the common grid.
        density_pde: u/mass on it.
        density_particles: k on it.
        species: the species compared.
        mass: its mass, which both densities are divided by.
        n: N.
        eps: ε of both, or None.
        t_end: the time.
        seed: seed of the floor's draws.
        comm: the communicator.
    """

    l1: Estimate
    relative_entropy: Estimate
    floor: Floor
    bandwidth: float
    bandwidth_bias: float
    clipped_mass: float
    clip_level: float
    axes: tuple[Array, ...]
    density_pde: Array
    density_particles: Array
    species: str
    mass: float
    n: int
    eps: float | None
    t_end: float
    seed: int
    comm: Any

    @property
    def above_floor(self) -> bool:
        """Whether the L¹ distance exceeds the floor's interval: independent draws do so once in forty times."""
        return self.l1.value > self.floor.l1.interval[1]

    def __str__(self) -> str:
        """Return the distances beside their floors, in a few lines."""
        verdict = "above its floor" if self.above_floor else "not above its floor"
        return (
            f"L1 distance       {self.l1}, floor {self.floor.l1}: {verdict}\n"
            f"relative entropy  {self.relative_entropy}, floor {self.floor.relative_entropy}\n"
            f"bandwidth         {self.bandwidth:.4g}, which alone moves the density by {self.bandwidth_bias:.4g} in L1"
        )

    def plot(self, path: str | Path) -> None:
        """Write a picture (PNG, or what the suffix says): both densities and their difference. Collective.

        Raises:
            InputError: the file cannot be written.
        """
        from kspde.distances.pictures import plot_distance

        plot_distance(self, path)

    def summary(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        return {
            "species": self.species,
            "mass": self.mass,
            "n": self.n,
            "eps": self.eps,
            "t_end": self.t_end,
            "l1": self.l1.summary(),
            "relative_entropy": self.relative_entropy.summary(),
            "floor": {
                "l1": self.floor.l1.summary(),
                "relative_entropy": self.floor.relative_entropy.summary(),
                "replicas": self.floor.replicas,
                "seed": self.seed,
            },
            "above_floor": self.above_floor,
            "bandwidth": self.bandwidth,
            "bandwidth_bias": self.bandwidth_bias,
            "clipped_mass": self.clipped_mass,
            "clip_level": self.clip_level,
            "grid": [len(axis) for axis in self.axes],
        }


def compare(
    pde: DensitySolution,
    cloud: ParticleCloud,
    *,
    species: str | None = None,
    bandwidth: float | None = None,
    replicas: int = 20,
    resolution: int | None = None,
    seed: int = 0,
) -> Distance:
    r"""Return the distance between a density and a cloud of particles of the same model, at their final time.

    Both are put on one uniform grid, scaled to mass 1: u by evaluation, the particles by the kernel density estimate

    .. math:: k = K_h * \mu_N, \qquad \mu_N = \frac1N \sum_i \delta_{X_i},

    with the Gaussian K_h of standard deviation h. Distances are sums over that grid. The grid covers the mass of u and
    all particles, several bandwidths around them, inside the domain; a particle outside counts at the nearest boundary
    point.

    - **Bandwidth.** By default the h that minimises the exact mean integrated squared error of N independent draws from
      u (:class:`kspde.distances.bandwidth.IntegratedSquaredError`).
    - **Intervals.** 95 %, for the expectation of the statistic at this N and h, by a delete-a-group jackknife over
      particle ids (:func:`kspde.distances.statistics.jackknife`). By Efron and Stein's inequality it is conservative
      for independent particles; interacting ones are so only in the limit.
    - **Floor.** Even independent draws from u have k ≠ u, by noise and by smoothing. ``replicas`` clouds of N points
      are drawn from the multilinear interpolant of u on the grid and treated in the same way. A distance inside the
      floor's interval says no more than that the particles are not told from independent draws.

    Collective; all results are the same on every rank, and on any number of ranks up to round-off.

    Args:
        pde: the density, from ``kspde.solve``.
        cloud: the particles, from ``kspde.simulate``.
        species: which one, where the model has several.
        bandwidth: h > 0, a length; None chooses it.
        replicas: clouds drawn for the floor, at least 2.
        resolution: grid points in the longest direction; None takes a few a bandwidth.
        seed: of the floor's draws.

    Raises:
        InputError: a value out of range; a grid that cannot resolve the bandwidth; a density and a cloud that differ in
            model, parameters, ε, mollifier, time or mass; fewer than two particles.
    """
    name = check_species(pde.model, species)
    check_comparable(pde, cloud, name)
    if bandwidth is not None:
        bandwidth = check_number("bandwidth", bandwidth, above=0)
    check_integer("replicas", replicas, at_least=2)
    check_integer("seed", seed, at_least=0)
    dimension = pde.model.dimension
    if resolution is not None:
        check_integer("resolution", resolution, at_least=16, at_most=4 * MOST[dimension])
    comm = cloud.comm
    threads = threads_per_rank(comm)

    points, ids = np.asarray(cloud.of(name), dtype=np.float64), np.asarray(cloud.ids_of(name))
    with together(comm):
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(bad):
            raise InputError(f"particle {ids[bad[0]]} is at {tuple(points[bad[0]].tolist())}: give finite positions")
    n = comm.allreduce(len(points))
    if n < 2:
        raise InputError(f"the cloud has {n} particles: a distance with its interval needs at least 2")

    grid, h = common_grid(pde, name, bounding_box(points, comm, dimension), n, bandwidth, resolution)
    values = np.asarray(pde.on_grid(grid.axes, name, outside=0.0), dtype=np.float64)
    check_mass(float(values.sum()) * grid.cell_volume, pde.masses[name], grid)
    reference = Reference(values, grid.cell_volume, _CLIP)
    smoother = GaussianSmoother(grid, h)

    total = _summed(deposit(grid, points), comm)
    estimate = np.maximum(smoother.density(total, threads) / n, 0.0)
    estimate /= estimate.sum() * grid.cell_volume
    left_out, sizes = left_out_distances(reference, smoother, points, ids, total, n, comm, threads)
    draws = independent_draws(reference, smoother, n, replicas, seed, comm, threads)
    here = reference.distances(estimate)
    return Distance(
        l1=jackknife(here[0], left_out[:, 0], sizes),
        relative_entropy=jackknife(here[1], left_out[:, 1], sizes),
        floor=Floor(l1=prediction(draws[:, 0]), relative_entropy=prediction(draws[:, 1]), replicas=replicas),
        bandwidth=h,
        bandwidth_bias=float(np.abs(smoother.smooth(reference.density, threads) - reference.density).sum())
        * grid.cell_volume,
        clipped_mass=reference.clipped_mass(estimate),
        clip_level=_CLIP,
        axes=grid.axes,
        density_pde=reference.density,
        density_particles=estimate,
        species=name,
        mass=pde.masses[name],
        n=n,
        eps=pde.eps,
        t_end=pde.t_end,
        seed=seed,
        comm=comm,
    )


def _summed(mine: Array, comm: Any) -> Array:
    if comm.size > 1:
        from mpi4py import MPI

        comm.Allreduce(MPI.IN_PLACE, mine)
    return mine
