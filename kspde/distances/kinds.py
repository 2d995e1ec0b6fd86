"""The kinds of comparison: what is measured between two sides, densities or particles, signed or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kspde.distances.clouds import cloud_distances
from kspde.distances.densities import density_distances
from kspde.distances.measured import Measured
from kspde.distances.points import point_distances
from kspde.distances.registry import Formula, OnGrid, those
from kspde.distances.resampling import Options
from kspde.distances.sides import DensitySide, ParticleSide, Sample, in_order, samples_of
from kspde.distances.signed import signed_clouds, signed_densities, signed_distance
from kspde.distances.smoothed import smoothed_distances
from kspde.distances.weighted import WeightLaw, effective_number
from kspde.runtime.messages import warn
from kspde.typing import Comm

__all__ = ["KINDS"]

#: What was measured, and by attribute what else a ``Distance`` says of the two sides.
_Found = tuple[Measured, dict[str, Any]]


def _between_densities(
    a: DensitySide, b: DensitySide, t: float | None, formulas: Sequence[Formula], options: Options
) -> _Found:
    """Return the distances between two densities. Collective."""
    return density_distances(a.target(t, 1), b.target(t, 1), formulas), {}


def _between_clouds(
    a: ParticleSide, b: ParticleSide, t: float | None, formulas: Sequence[Formula], options: Options
) -> _Found:
    """Return the distances between two sets of clouds. Collective."""
    comm = options.replicas.comm
    _warn_of_dependence(a.clouds, b.clouds, comm)
    rows, counts = [], []
    for side in (a, b):
        samples, n = _shares(side, 2, comm)
        counts.append(n)
        rows.append(Sample.joined([in_order(sample, comm) for sample in samples]))
    if any(each.weights is None for each in rows) and any(each.weights is not None for each in rows):
        rows = [each.weighted() for each in rows]
    sizes = {"n": counts[1], "clouds": len(b.clouds), "first_n": counts[0], "first_clouds": len(a.clouds)}
    effective = effective_number(rows[1].weights, counts[1] * len(b.clouds)) / len(b.clouds)
    more = {"effective_n": effective, "seed": options.replicas.seed}
    return cloud_distances(rows[0], rows[1], formulas, options), sizes | more


def _of_particles(
    a: DensitySide, b: ParticleSide, t: float | None, formulas: Sequence[Formula], options: Options
) -> _Found:
    """Return the distances between a density and particles. Collective."""
    comm, r, target = options.replicas.comm, options.r, a.target(t, options.r)
    _warn_of_dependence((), b.clouds, comm)
    samples, n = _shares(b, 2 * r, comm)
    all_of_them, law = Sample.joined(samples), None
    effective = effective_number(all_of_them.weights, n * len(samples), comm) / len(samples)
    if all_of_them.weights is not None:
        law = WeightLaw.of(all_of_them.points, all_of_them.weights, comm)
    on_grid = those(OnGrid, formulas)
    on_points = [formula for formula in formulas if formula not in on_grid]
    rows = []
    if on_points or r > 1:
        rows = [in_order(sample, comm, r) for sample in samples]
    found = Measured()
    if on_grid:
        local = [each.part(slice(comm.rank, None, comm.size)) for each in rows] if r > 1 else samples
        found = smoothed_distances(target, local, n // r, on_grid, options, law)
    if on_points:
        found = found.with_points(point_distances(target, rows, on_points, options, law))
    sizes = {"r": r, "n": n, "clouds": len(b.clouds), "effective_n": effective}
    return found, sizes | {"neighbours": options.neighbours, "seed": options.replicas.seed}


def _shares(side: ParticleSide, least: int, comm: Comm) -> tuple[list[Sample], int]:
    """Return this rank's particles of each cloud, with weights of mean 1 if they have weights; see ``samples_of``."""
    samples, n = samples_of(side, least, comm)
    return [sample.over(about.mass / n) for sample, about in zip(samples, side.everyone, strict=True)], n


def _between_signed_densities(
    a: DensitySide, b: DensitySide, t: float | None, formulas: Sequence[Formula], options: Options
) -> _Found:
    """Return the distance between two densities, of which one is signed. Collective."""
    found, variation = signed_densities(a.target(t, 1), b.target(t, 1))
    return found, {"variation": variation}


def _between_signed_clouds(
    a: ParticleSide, b: ParticleSide, t: float | None, formulas: Sequence[Formula], options: Options
) -> _Found:
    """Return the distance between two sets of clouds, of which one is signed. Collective."""
    comm = options.replicas.comm
    _warn_of_dependence(a.clouds, b.clouds, comm)
    sides, sizes = [], []
    for side in (a, b):
        samples, n = _with_weights(side, comm)
        sides.append(Sample.joined([in_order(sample, comm) for sample in samples]).over(len(samples)))
        sizes.append(n)
    found, variation = signed_clouds(sides[0], sides[1], options)
    effective = effective_number(sides[1].weights, 0) / len(b.clouds)
    numbers = {"n": sizes[1], "clouds": len(b.clouds), "first_n": sizes[0], "first_clouds": len(a.clouds)}
    more = {"variation": variation, "effective_n": effective, "seed": options.replicas.seed}
    return found, numbers | more


def _of_signed_particles(
    a: DensitySide, b: ParticleSide, t: float | None, formulas: Sequence[Formula], options: Options
) -> _Found:
    """Return the distance between a density and particles, of which one is signed. Collective."""
    comm = options.replicas.comm
    _warn_of_dependence((), b.clouds, comm)
    samples, n = _with_weights(b, comm)
    effective = effective_number(Sample.joined(samples).weights, 0, comm) / len(samples)
    found, variation = signed_distance(a.target(t, 1), samples, n, options)
    sizes = {"variation": variation, "n": n, "clouds": len(b.clouds), "effective_n": effective}
    return found, sizes | {"seed": options.replicas.seed}


def _with_weights(side: ParticleSide, comm: Comm) -> tuple[list[Sample], int]:
    """Return this rank's particles of each cloud with their weights, mass/n where all are equal. Collective."""
    samples, n = samples_of(side, 2, comm)
    return [sample.weighted(about.mass / n) for sample, about in zip(samples, side.everyone, strict=True)], n


def _warn_of_dependence(first: Sequence[Any], second: Sequence[Any], comm: Comm) -> None:
    """Warn where particles are not independent, as the floor takes them to be: resampled ones, or of both sides."""
    if any(getattr(cloud, "resampled", False) for cloud in (*first, *second)):
        warn(
            "particles were resampled, so that some have one ancestor: they are not the independent draws of the floor "
            "and of the intervals, and lie above the floor too often; simulate without resampling= for a verdict",
            comm,
        )
    runs = [{(cloud.seed, cloud.replica) for cloud in side if hasattr(cloud, "replica")} for side in (first, second)]
    for seed, replica in sorted(runs[0] & runs[1]):
        warn(
            f"both sides have particles with seed = {seed} and replica = {replica}, which share starting points and "
            f"noise: they are nearer to each other than the floor of independent ones; simulate one with another seed",
            comm,
        )


#: The kinds of comparison by the classes of their sides, with what measures densities, and signed ones.
KINDS: dict[tuple[type, type], tuple[str, Callable[..., _Found], Callable[..., _Found]]] = {
    (DensitySide, ParticleSide): ("particles", _of_particles, _of_signed_particles),
    (DensitySide, DensitySide): ("densities", _between_densities, _between_signed_densities),
    (ParticleSide, ParticleSide): ("clouds", _between_clouds, _between_signed_clouds),
}
