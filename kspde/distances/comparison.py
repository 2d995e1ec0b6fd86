r"""The distance between any two of densities and particles, with its uncertainty and, for particles, its floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kspde.distances.clouds import BETWEEN_CLOUDS
from kspde.distances.integrals import BETWEEN_DENSITIES
from kspde.distances.measured import (
    Options,
    Pair,
    between_clouds,
    between_densities,
    check_clouds,
    of_particles,
    warn_of_shared_noise,
)
from kspde.distances.over_time import OverTime
from kspde.distances.points import ON_POINTS
from kspde.distances.region import MOST
from kspde.distances.result import Distance
from kspde.distances.sides import DensitySide, ParticleSide, communicator_of, side_of
from kspde.distances.snapshots import clouds_at
from kspde.distances.statistics import ON_GRID
from kspde.errors import InputError, check_choice, check_finite, check_integer, check_number
from kspde.protocols import ParticleCloud
from kspde.runtime.limits import MOST_REPLICAS
from kspde.runtime.messages import keeping_warnings
from kspde.runtime.parallel import collective

__all__ = ["compare"]

#: Short names.
_SHORT = {"w1": "wasserstein1", "w2": "wasserstein2"}

#: What is measured unless it is said: of pairs, and of two clouds, whose quantiles take long to sort.
_AT_LEAST = ("wasserstein1", "energy")
_OF_CLOUDS = tuple(name for name in BETWEEN_CLOUDS if name != "wasserstein2")


@keeping_warnings
@collective(rows=("first", "second"), own=("states",))
def compare(
    first: Any,
    second: Any,
    *,
    species: str | None = None,
    t: float | None = None,
    mass: float = 1.0,
    normalise: bool = False,
    domain: Any = None,
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
    r"""Return the distances between any two of densities and particles.

    A side is a density: what ``kspde.solve`` returned, an initial density, or a function f(x) ≥ 0 of points (n, d) with
    ``domain=``, whose integral is its mass. Or it is particles: what ``kspde.simulate`` returned, or several such
    clouds (different seeds or replicas) of equally many; or positions of shape (n, d), or a list of such arrays. On
    several ranks either every rank gives its own positions or all give the same ones.

    Both sides are scaled to mass 1. What else differs (ε, mollifier, model, its parameters, the initial density; for
    two densities or two clouds the domain and the scheme as well) is named in ``Distance.differs``, in its text and on
    its pictures. So the question whether particles (1.3) with ε = N^(−γ) approach the local density (1.1) is
    ``compare(local, cloud)``.

    **A density u and particles.** The particles are μ, the empirical measure of N of them, or the mean of the empirical
    measures of several clouds, which estimates the law :math:`u_{N,1}`.

    - **On a grid**: "l1", "l2", "relative_entropy", "reverse_relative_entropy" of :math:`k = K_h * \mu` and u, with the
      Gaussian K_h of standard deviation h. The grid covers the mass of u and all particles, several bandwidths around
      them, inside the domain; a particle outside counts at the nearest boundary point. By default h minimises the exact
      mean integrated squared error of as many independent draws
      (:class:`kspde.distances.bandwidth.IntegratedSquaredError`). :math:`L^1 \le \sqrt{2H}` holds for the numbers
      reported, and is checked.
    - **Of the points themselves**, without h: "wasserstein1", "wasserstein2" ("w1", "w2"), "energy"
      (:mod:`kspde.distances.sliced`), and "relative_entropy_knn" (:mod:`kspde.distances.knn`). These gather all
      particles on every rank.
    - **Marginals.** r = 1 compares the law of one particle with u. r = 2 compares the law of a pair with u ⊗ u, from
      ⌊N/2⌋ disjoint pairs per cloud, each a draw from :math:`u_{N,2}`. A density is estimated where r d ≤ 3. A grid in
      four dimensions that resolves the bandwidth of more than some thousand pairs fits in no memory, and of fewer the
      floor is most of the distance: there the points themselves are compared, "wasserstein1" and "energy" by default.
      Pairs of one cloud share its fluctuation: correlations show in the mean of many clouds.
    - **Intervals**, 95 %, for the expectation of the statistic at this N and h: from draws whose own distance is that
      of the particles (:mod:`kspde.distances.resampling`), which takes particles as independent. For several clouds
      the variance is scaled by the clouds' own over that of such draws, which does not.
    - **Floors.** Even independent draws from u are not at distance 0. ``replicas`` clouds of them are treated in the
      same way. A distance inside the floor's interval does not distinguish the particles from such draws.

    **Two densities** (:mod:`kspde.distances.integrals`): L¹, L² and both relative entropies by quadrature, the
    Wasserstein distances and the energy distance on lines, each with its quadrature error as its interval, and no
    floor. The first is the reference: "relative_entropy" is H(second|first) = ∫ second log(second/first), as for
    particles. An entropy is infinite where one density vanishes and the other does not.

    **Two sets of particles** (:mod:`kspde.distances.clouds`): "l1" and "l2" of two kernel density estimates with
    one bandwidth, and the distances of the points. The floor deals all particles out to the two sides at random.

    Collective; all results are the same on every rank, and on any number of ranks up to round-off.

    Args:
        first: one side; where the other is a density and this one particles, they change places.
        second: the other.
        species: which one, where a model has several.
        t: the time of solutions, their final one unless given.
        mass: of positions, which have none of their own.
        normalise: whether sides of different masses may be compared, as to their shapes.
        domain: a ``Box`` or a ``Disk``, of functions.
        r: 1 or 2, for a density and particles.
        distances: names; None measures the four on the grid where there is one, of densities all but the energy
            distance, of two clouds all but "wasserstein2".
        times: increasing times in [0, t_end] of a solution to compare at; the last one's distance is returned, with
            ``over_time``.
        states: the particles at these times: ``Snapshots``, the directory of ``StateFiles``, or a list of clouds; for
            several clouds a list of such.
        bandwidth: h > 0, a length; None chooses it.
        replicas: clouds drawn for the floor, and again for the intervals, at least 2.
        resolution: grid points in the longest direction; None takes a few per bandwidth.
        wasserstein: "sliced", or "exact" by optimal plans to as many draws from u (POT, few particles); on the line
            both are the exact distance to u itself.
        neighbours: k >= 1 of "relative_entropy_knn".
        seed: of the draws.

    Raises:
        InputError: a value out of range, or not the same on every rank; a grid that cannot resolve the bandwidth; sides
            of another dimension, species, time or mass; a density between walls and particles that know none; particles
            with weights of their own; fewer than two particles; a time whose particles are missing.
    """
    comm = communicator_of(first, second)
    if t is not None and times is not None:
        raise InputError("t and times are given: give one of them")
    at = None if t is None else check_number("t", t, at_least=0)
    a, b = (
        side_of(given, name=name, species=species, t=at, mass=mass, domain=domain, comm=comm)
        for given, name in ((first, "first"), (second, "second"))
    )
    if isinstance(a, ParticleSide) and isinstance(b, DensitySide):
        a, b = b, a
    if domain is not None and not any(side.known.what == "function" for side in (a, b)):
        raise InputError("domain is given, and neither side is a function: leave it out")
    options = Options(
        bandwidth=None if bandwidth is None else check_number("bandwidth", bandwidth, above=0),
        resolution=resolution,
        replicas=check_integer("replicas", replicas, at_least=2, at_most=MOST_REPLICAS),
        neighbours=check_integer("neighbours", neighbours, at_least=1),
        wasserstein=check_choice("wasserstein", wasserstein, ("exact", "sliced")),
        seed=check_integer("seed", seed, at_least=0),
    )
    dimension = check_integer("r", r, at_least=1, at_most=2) * a.known.dimension
    if resolution is not None:
        check_integer("resolution", resolution, at_least=16, at_most=4 * MOST.get(dimension, 0) or None)
    pair = Pair.of(a, b, comm=comm, any_mass=normalise, any_time=times is not None)
    when = _checked_times(times, states, a)
    if isinstance(b, DensitySide) and isinstance(a, DensitySide):
        options.check_unused(r=r, states=states)
        names = _chosen(distances, BETWEEN_DENSITIES, BETWEEN_DENSITIES[:-1], dimension)
        moments: list[float | None] = [at] if when is None else [*when]
        history = [between_densities(a.view(s, 1), b.view(s, 1), names, pair.at(s)) for s in moments]
    elif isinstance(a, DensitySide) and isinstance(b, ParticleSide):
        names = _chosen(distances, (*ON_GRID, *ON_POINTS), ON_GRID if dimension <= 3 else _AT_LEAST, dimension)
        clouds = [(at, b.clouds)] if when is None else list(zip(when, _clouds_at(when, b, states), strict=True))
        for s, there in clouds if when is not None else ():
            check_clouds(a.known, s, there, pair.species, any_mass=normalise)
        history = [of_particles(a.view(s, r), there, names, options, pair.at(s)) for s, there in clouds]
    elif isinstance(a, ParticleSide) and isinstance(b, ParticleSide):
        options.check_unused(r=r, but=("bandwidth", "resolution"))
        warn_of_shared_noise(a.clouds, b.clouds, comm)
        names = _chosen(distances, BETWEEN_CLOUDS, _OF_CLOUDS, dimension)
        history = [between_clouds(a.clouds, b.clouds, names, options, pair)]
    return history[-1] if when is None else replace(history[-1], over_time=OverTime.of(history))


def _checked_times(times: Any, states: Any, side: DensitySide | ParticleSide) -> list[float] | None:
    """Return increasing times of a solution, or None."""
    if times is None:
        if states is not None:
            raise InputError("states are given without times: give times = (...) too")
        return None
    if isinstance(side, ParticleSide) or side.known.t is None:
        raise InputError("times are given, and the first side is not a solution: leave them out")
    when = check_finite("times", times, (None,))
    t_end = side.known.t
    if when[0] < 0 or np.any(np.diff(when) <= 0) or when[-1] > t_end * (1 + 1e-9):
        raise InputError(f"times = {when.tolist()} are not valid: give increasing times in [0, {t_end:g}]")
    out: list[float] = when.tolist()
    return out


def _clouds_at(times: Sequence[float], side: ParticleSide, states: Any) -> list[Sequence[ParticleCloud]]:
    """Return the clouds of a side at times. Collective."""
    clouds = side.clouds
    if side.known.t is None:
        raise InputError("times are given, and the second side has positions without a time: leave them out")
    several = list(states) if isinstance(states, (list, tuple)) and len(clouds) > 1 else [states] * len(clouds)
    if len(several) != len(clouds) or (
        len(clouds) > 1 and states is not None and not isinstance(states, (list, tuple))
    ):
        raise InputError(f"there are {len(clouds)} clouds: give states as a list of {len(clouds)}, one for each")
    saved = [clouds_at(times, each, s) for each, s in zip(clouds, several, strict=True)]
    return [list(there) for there in zip(*saved, strict=True)]


def _chosen(
    distances: Sequence[str] | None, everything: Sequence[str], default: Sequence[str], dimension: int
) -> tuple[str, ...]:
    """Return the names of the distances to measure, in the order they are reported."""
    if distances is None:
        return tuple(default)
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
    # All of those on the grid cost no more than one.
    kept = {*full, *(ON_GRID if set(full) & set(ON_GRID) else ())}
    return tuple(name for name in everything if name in kept)
