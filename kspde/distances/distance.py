r"""The distance between a density and particles, with its uncertainty and its floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kspde.counts import MOST_REPLICAS
from kspde.distances.checks import DensitySolution, ParticleCloud, check_comparable, check_species
from kspde.distances.grid import Array
from kspde.distances.over_time import OverTime
from kspde.distances.region import MOST
from kspde.distances.result import Distance, Estimates, Floor
from kspde.distances.saved import clouds_at
from kspde.distances.scattered import ON_POINTS, scattered_distances
from kspde.distances.smoothed import CLIP, smoothed_distances
from kspde.distances.statistics import ON_GRID
from kspde.distances.view import View, rows_in_order, rows_of
from kspde.errors import InputError, check_choice, check_finite, check_integer, check_number
from kspde.parallel import threads_per_rank, together
from kspde.warned import keeping_warnings

__all__ = ["compare"]

#: Short names.
_SHORT = {"w1": "wasserstein1", "w2": "wasserstein2"}


@keeping_warnings
def compare(
    pde: DensitySolution,
    cloud: ParticleCloud | Sequence[ParticleCloud],
    *,
    species: str | None = None,
    r: int = 1,
    distances: Sequence[str] | None = None,
    times: Sequence[float] | None = None,
    states: Any = None,
    bandwidth: float | None = None,
    replicas: int = 20,
    resolution: int | None = None,
    wasserstein: str = "sliced",
    neighbours: int = 4,
    seed: int = 0,
) -> Distance:
    r"""Return the distances between a density and particles of the same model, at their final time and others.

    Both are scaled to mass 1. The particles are μ, the empirical measure of N of them, or the mean of the empirical
    measures of several clouds (simulations with different seeds), which estimates the law :math:`u_{N,1}`.

    - **On a grid**: "l1", "l2", "relative_entropy", "reverse_relative_entropy" of :math:`k = K_h * \mu` and u, with the
      Gaussian K_h of standard deviation h. The grid covers the mass of u and all particles, several bandwidths around
      them, inside the domain; a particle outside counts at the nearest boundary point. By default h minimises the exact
      mean integrated squared error of as many independent draws
      (:class:`kspde.distances.bandwidth.IntegratedSquaredError`). :math:`L^1 \le \sqrt{2H}` holds for the numbers
      reported, and is checked.
    - **Of the points themselves**, without h: "wasserstein1", "wasserstein2" ("w1", "w2"), "energy"
      (:mod:`kspde.distances.lines`), and "relative_entropy_knn" (:mod:`kspde.distances.neighbours`). These gather all
      particles on every rank.
    - **Marginals.** r = 1 compares the law of one particle with u. r = 2 compares the law of a pair with u ⊗ u, from
      ⌊N/2⌋ disjoint pairs a cloud, each a draw from :math:`u_{N,2}`. A density is estimated where r d ≤ 3. A grid in
      four dimensions that resolves the bandwidth of more than some thousand pairs fits in no memory, and of fewer the
      floor is most of the distance: there the points themselves are compared, "wasserstein1" and "energy" by default.
      Pairs of one cloud share its fluctuation: correlations show in the mean of many clouds.
    - **Intervals**, 95 %, for the expectation of the statistic at this N and h: from draws whose own distance is that
      of the particles (:mod:`kspde.distances.resampling`), which takes particles as independent. For several clouds
      the variance is scaled by the clouds' own over that of such draws, which does not.
    - **Floors.** Even independent draws from u are not at distance 0. ``replicas`` clouds of them are treated in the
      same way. A distance inside the floor's interval says no more than that the particles are not told from them.

    Collective; all results are the same on every rank, and on any number of ranks up to round-off.

    Args:
        pde: the density, from ``kspde.solve``.
        cloud: the particles, from ``kspde.simulate``, or a sequence of clouds of equally many.
        species: which one, where the model has several.
        r: 1 or 2.
        distances: names; None measures the four on the grid where there is one.
        times: increasing times in [0, t_end] to compare at; the last one's distance is returned, with ``over_time``.
        states: the particles at these times: ``Snapshots``, the directory of ``StateFiles``, or a list of clouds; for
            several clouds a list of such.
        bandwidth: h > 0, a length; None chooses it.
        replicas: clouds drawn for the floor, and again for the intervals, at least 2.
        resolution: grid points in the longest direction; None takes a few a bandwidth.
        wasserstein: "sliced", or "exact" by optimal plans to as many draws from u (POT, few particles); on the line
            both are the exact distance to u itself.
        neighbours: k >= 1 of "relative_entropy_knn".
        seed: of the draws.

    Raises:
        InputError: a value out of range; a grid that cannot resolve the bandwidth; a density and a cloud that differ in
            model, parameters, ε, mollifier, time or mass; fewer than two particles; a time whose particles are missing.
    """
    clouds = list(cloud) if isinstance(cloud, Sequence) else [cloud]
    if not clouds:
        raise InputError("cloud is an empty sequence: give at least one cloud")
    name = check_species(pde.model, species)
    for each in clouds:
        check_comparable(pde, each, name)
    check_integer("r", r, at_least=1, at_most=2)
    dimension = r * pde.model.dimension
    options: dict[str, Any] = {
        "names": _chosen(distances, dimension),
        "bandwidth": None if bandwidth is None else check_number("bandwidth", bandwidth, above=0),
        "replicas": check_integer("replicas", replicas, at_least=2, at_most=MOST_REPLICAS),
        "neighbours": check_integer("neighbours", neighbours, at_least=1),
        "wasserstein": check_choice("wasserstein", wasserstein, ("exact", "sliced")),
        "seed": check_integer("seed", seed, at_least=0),
        "resolution": resolution,
    }
    if resolution is not None:
        check_integer("resolution", resolution, at_least=16, at_most=4 * MOST.get(dimension, 0) or None)
    if times is None:
        if states is not None:
            raise InputError("states are given without times: give times = (...) too")
        return _measure(View(pde=pde, species=name, r=r), clouds, options)
    when = check_finite("times", times, (None,))
    if when[0] < 0 or np.any(np.diff(when) <= 0) or when[-1] > pde.t_end * (1 + 1e-9):
        raise InputError(f"times = {when.tolist()} are not valid: give increasing times in [0, {pde.t_end:g}]")
    several = list(states) if isinstance(states, (list, tuple)) and len(clouds) > 1 else [states] * len(clouds)
    if len(several) != len(clouds) or (
        len(clouds) > 1 and states is not None and not isinstance(states, (list, tuple))
    ):
        raise InputError(f"there are {len(clouds)} clouds: give states as a list of {len(clouds)}, one for each")
    saved = [clouds_at(when.tolist(), each, s) for each, s in zip(clouds, several, strict=True)]
    history = []
    for t, *there in zip(when.tolist(), *saved, strict=True):
        at_end = abs(t - pde.t_end) <= 1e-9 * pde.t_end
        for each in there:
            check_comparable(pde, each, name, t=t)
        history.append(_measure(View(pde=pde, species=name, t=None if at_end else t, r=r), there, options))
    return replace(history[-1], over_time=OverTime.of(history))


def _chosen(distances: Sequence[str] | None, dimension: int) -> tuple[str, ...]:
    """Return the names of the distances to measure, in the order they are reported."""
    everything = (*ON_GRID, *ON_POINTS)
    if distances is None:
        return ON_GRID if dimension <= 3 else ("wasserstein1", "energy")
    if isinstance(distances, str) or not isinstance(distances, Sequence) or not distances:
        raise InputError(f"distances = {distances!r} is not valid: give a tuple of {', '.join(everything)}")
    full = [_SHORT.get(name, name) for name in distances]
    for name in full:
        check_choice("distances", name, everything)
        if name in ON_GRID and dimension > 3:
            raise InputError(
                f"distances contain {name!r}, which needs a density estimate on a grid in {dimension} dimensions: give "
                f"some of {', '.join(ON_POINTS)} for r = 2"
            )
    # The four on the grid cost no more than one.
    kept = {*full, *(ON_GRID if set(full) & set(ON_GRID) else ())}
    return tuple(name for name in everything if name in kept)


def _measure(view: View, clouds: Sequence[ParticleCloud], options: Mapping[str, Any]) -> Distance:
    """Return the distances at one time. Collective."""
    comm = clouds[0].comm
    threads = threads_per_rank(comm)
    names: Sequence[str] = options["names"]
    mine = [_finite(each, view.species, comm) for each in clouds]
    counts = [int(comm.allreduce(len(points))) for points, _ in mine]
    if min(counts) < 2 * view.r:
        raise InputError(
            f"the cloud has {min(counts)} particles: a distance with its interval needs at least {2 * view.r}"
        )
    if len(set(counts)) > 1:
        raise InputError(f"the clouds have {', '.join(map(str, counts))} particles: give clouds of equally many")
    n = counts[0]
    on_points = [name for name in names if name in ON_POINTS]
    rows: list[Array] = []
    if on_points or view.r > 1:
        rows = [rows_of(rows_in_order(points, ids, comm), view.r) for points, ids in mine]
    draws = {key: options[key] for key in ("replicas", "seed")} | {"comm": comm, "threads": threads}
    smoothed = scattered = None
    if set(names) & set(ON_GRID):
        local = (
            [all_rows[comm.rank :: comm.size] for all_rows in rows] if view.r > 1 else [points for points, _ in mine]
        )
        grid = {key: options[key] for key in ("bandwidth", "resolution")}
        smoothed = smoothed_distances(view, local, n // view.r, **grid, **draws)
    exact = options["wasserstein"] == "exact" and view.dimension > 1
    if on_points:
        if options["neighbours"] >= len(rows[0]) * len(rows):
            raise InputError(f"neighbours = {options['neighbours']} is not valid: give fewer than the points")
        scattered = scattered_distances(
            view, rows, names=on_points, exact=exact, neighbours=options["neighbours"], **draws
        )
    parts = [part for part in (smoothed, scattered) if part is not None]
    floor = {name: value for part in parts for name, value in part.floor.items()}
    nothing = np.zeros(0)
    return Distance(
        by_name={name: value for part in parts for name, value in part.measured.items()},
        floor=Floor(by_name=floor, replicas=options["replicas"]),
        debiased=Estimates(by_name={name: value for part in parts for name, value in part.debiased.items()}),
        smoothing=smoothed.smoothing if smoothed else {},
        bandwidth=smoothed.bandwidth if smoothed else None,
        clipped_mass=smoothed.clipped_mass if smoothed else None,
        uncovered_mass=smoothed.uncovered_mass if smoothed else None,
        clip_level=CLIP,
        axes=smoothed.axes if smoothed else (),
        density_pde=smoothed.density if smoothed else nothing,
        density_particles=smoothed.estimate if smoothed else nothing,
        species=view.species,
        mass=float(view.pde.masses[view.species]),
        r=view.r,
        n=n,
        clouds=len(clouds),
        wasserstein="exact" if exact else "line" if view.dimension == 1 else "sliced",
        neighbours=options["neighbours"],
        eps=view.pde.eps,
        t_end=float(view.pde.t_end) if view.t is None else view.t,
        seed=options["seed"],
        comm=comm,
    )


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
