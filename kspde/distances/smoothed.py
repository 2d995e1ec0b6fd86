r"""Distances of kernel density estimates on a grid: L¹, L², and the relative entropies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.distances.region import bounding_box, check_mass, common_grid
from kspde.distances.resampling import (
    LAMBDAS,
    away,
    deviation_of_clouds,
    invert,
    node_counts,
    replicated,
    weight_without_noise,
    without_noise,
)
from kspde.distances.statistics import ON_GRID, SQUARED, Estimate, Reference, prediction, reach_of
from kspde.distances.target import CLIP, View
from kspde.grids import Array, GaussianSmoother, deposit, moved

__all__ = ["Smoothed", "smoothed_distances"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Smoothed:
    """Distances between densities on a grid; :class:`kspde.distances.comparison.Distance` describes the attributes."""

    measured: Mapping[str, Estimate]
    debiased: Mapping[str, Estimate]
    floor: Mapping[str, Estimate]
    smoothing: Mapping[str, float]
    bandwidth: float
    clipped_mass: float
    uncovered_mass: float
    axes: tuple[Array, ...]
    density: Array
    estimate: Array


def smoothed_distances(
    view: View,
    clouds: Sequence[Array],
    n: int,
    *,
    bandwidth: float | None,
    resolution: int | None,
    replicas: int,
    seed: int,
    comm: Any,
    threads: int,
) -> Smoothed:
    """Return L¹, L² and the relative entropies of K_h * μ and u, μ the mean of the clouds' empirical measures.

    Collective.

    Args:
        view: u.
        clouds: this rank's points of each cloud, shapes (n_local, D); ranks hold different points.
        n: points of a cloud, over all ranks.
        bandwidth: h, or None.
        resolution: grid points in the longest direction, or None.
        replicas: clouds drawn for the floor, and again for the intervals.
        seed: of the draws.
        comm: the communicator.
        threads: of this rank.

    Raises:
        InputError: the grid cannot resolve the bandwidth, or does not hold the density's mass.
    """
    total = n * len(clouds)
    box = bounding_box(np.concatenate(clouds), comm, view.dimension)
    grid, h = common_grid(view, box, total, bandwidth, resolution)
    values = view.on_grid(grid.axes)
    check_mass(float(values.sum()) * grid.cell_volume, view.mass, grid)
    reference = Reference(values, grid.cell_volume, CLIP)
    smoother = GaussianSmoother(grid, h)
    parts = [_summed(deposit(grid, points), comm) for points in clouds]
    binned = np.sum(parts, axis=0)
    here = smoother.density(binned, threads) / total

    volume = grid.cell_volume
    blurred = smoother.smooth(reference.density, threads)
    noise = (float(4 * np.pi * h**2) ** (-0.5 * grid.dimension) - float(np.vdot(blurred, blurred)) * volume) / total
    gap = float(np.vdot(here - blurred, here - blurred)) * volume
    weight = weight_without_noise(noise, gap)
    means = np.array([_summed(points.sum(axis=0), comm) / n for points in clouds])
    way = away(grid, reference.density, view.r, means, total)
    end = np.sum([_summed(deposit(grid, points + way), comm) for points in clouds], axis=0) / (total * volume)
    end = weight**2 * end + (1 - weight**2) * moved(grid, reference.density, way)
    # All means of draws are on nodes, so without the correction for the binning.
    seen = smoother.smooth(end, threads)
    between = (1 - weight) * blurred + weight * seen
    family = [(1 - w) * blurred + w * seen for w in LAMBDAS]
    # Where no kernel reaches, the draws are 0 as well.
    scales = [np.divide(f, between, out=np.zeros_like(f), where=between > 0) for f in family]
    probabilities = {
        "u": np.cumsum(reference.density * volume),
        "between": np.cumsum(((1 - weight) * reference.density + weight * end) * volume),
    }

    def drawn(of: str, count: int, replica: int, stream: int) -> Array:
        random = np.random.default_rng([seed, stream, replica])
        return smoother.smooth(node_counts(probabilities[of], grid.shape, count, random) / (count * volume))

    def floor(replica: int) -> Array:
        return reference.distances(drawn("u", total, replica, 0))

    def along_family(replica: int) -> Array:
        k = drawn("between", total, replica, 1)
        return np.array([reference.distances(k * scale) for scale in scales])

    def single(replica: int) -> Array:
        return reference.distances(drawn("between", n, replica, 2))

    floors = replicated(floor, replicas, comm, threads)
    curves = replicated(along_family, replicas, comm, threads)
    quantile = reach_of(replicas, len(clouds))
    ratios = np.ones(len(ON_GRID))
    if len(clouds) > 1:
        singles = replicated(single, replicas, comm, threads)
        each = np.array([reference.distances(smoother.density(part, threads)) for part in parts])
        ratios = deviation_of_clouds(each, singles, [name in SQUARED for name in ON_GRID])
    bare = np.array([reference.distances(f) for f in family])
    measured, debiased = {}, {}
    for i, (name, value) in enumerate(zip(ON_GRID, reference.distances(here), strict=True)):
        theta, draws, ratio, squared = float(value), curves[:, :, i], float(ratios[i]), name in SQUARED
        measured[name] = invert(theta, draws, quantile * ratio, squared=squared)
        debiased[name] = without_noise(theta, draws, bare[:, i], quantile, ratio=ratio, squared=squared)
    return Smoothed(
        measured=measured,
        debiased=_consistent(debiased),
        floor={name: prediction(floors[:, i]) for i, name in enumerate(ON_GRID)},
        smoothing=dict(zip(ON_GRID, reference.distances(blurred).tolist(), strict=True)),
        bandwidth=h,
        clipped_mass=reference.clipped_mass(here),
        uncovered_mass=reference.uncovered_mass(here),
        axes=grid.axes,
        density=reference.density,
        estimate=reference.normalised(here),
    )


def _consistent(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Raise estimated entropies to what the estimated L¹ distance implies: the true ones are no smaller."""
    least = 0.5 * estimates["l1"].value ** 2
    return {
        name: Estimate(max(e.value, least), (e.interval[0], max(e.interval[1], least))) if "entropy" in name else e
        for name, e in estimates.items()
    }


def _summed(mine: Array, comm: Any) -> Array:
    if comm.size > 1:
        from mpi4py import MPI

        comm.Allreduce(MPI.IN_PLACE, mine)
    return mine
