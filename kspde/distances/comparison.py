r"""The distance between any two of densities and particles, with its uncertainty and, for particles, its floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from kspde.comparable import check_together, differences, known_cloud, mass_of
from kspde.distances.bandwidth import MOST
from kspde.distances.kinds import KINDS
from kspde.distances.over_time import OverTime
from kspde.distances.registry import DISTANCES, L1, Formula, OnGrid, OnPoints
from kspde.distances.resampling import Options, Replicas
from kspde.distances.result import Distance
from kspde.distances.sides import DensitySide, ParticleSide, Side, sides_of
from kspde.distances.snapshots import clouds_at
from kspde.errors import InputError, check_choice, check_finite, check_integer, check_number, shown
from kspde.fem.error import ErrorParts
from kspde.runtime.limits import MOST_REPLICAS
from kspde.runtime.messages import keeping_warnings
from kspde.runtime.parallel import collective, communicator, communicator_of, limited_threads, threads_per_rank
from kspde.typing import Comm

__all__ = ["check_times", "checked_options", "chosen_distances", "compare"]

#: Short names.
_SHORT = {"w1": "wasserstein1", "w2": "wasserstein2"}


@keeping_warnings
@collective(rows=("first", "second", "snapshots"))
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
    snapshots: Any = None,
    bandwidth: float | None = None,
    replicas: int = 20,
    resolution: int | None = None,
    wasserstein: Literal["sliced", "exact"] = "sliced",
    neighbours: int = 4,
    seed: int = 0,
) -> Distance:
    r"""Return the distances between any two of densities and particles.

    A side is a density: what ``kspde.solve`` returned, an initial density, or a function f(x) of points (n, d) with
    ``domain=``, whose integral is its mass. Or it is particles: what ``kspde.simulate`` returned, or several such
    clouds (different seeds or replicas) of equal size; or positions of shape (n, d), or a list of such arrays. On
    several ranks either every rank gives its own positions or all give the same ones.

    Both sides are scaled to mass 1, signed ones to the total variation 1 of one. What else differs (ε, mollifier,
    model, its parameters, the initial density; for two densities or two clouds the domain and the scheme as well) is
    named in ``Distance.differs``, in its text and on its pictures. Thus ``compare(local, cloud)`` answers whether
    particles (1.3) with ε = N^(−γ) approach the local density (1.1).

    **A density u and particles.** The particles are represented by μ, the empirical measure of N of them, or the mean
    of the empirical measures of several clouds, which estimates the law :math:`u_{N,1}`.

    - **On a grid**: "l1", "l2", "relative_entropy", "reverse_relative_entropy" of :math:`k = K_h * \mu` and u, with the
      Gaussian K_h of standard deviation h. The grid covers the mass of u and all particles, with several bandwidths
      around them, inside the domain; a particle outside counts at the nearest boundary point. (In a closed or periodic
      Box K_h includes its mirror images, or is that of the torus, and h is at most an eighth of the box.) By default h
      minimises the exact mean integrated squared error of as many independent draws
      (:class:`kspde.distances.bandwidth.IntegratedSquaredError`). :math:`L^1 \le \sqrt{2H}` holds for the numbers
      reported, and is checked.
    - **Of the points themselves**, without h: "wasserstein1", "wasserstein2" ("w1", "w2"), "energy"
      (:mod:`kspde.distances.sliced`), and "relative_entropy_knn" (:mod:`kspde.distances.knn`). These gather all
      particles on every rank.
    - **Marginals.** r = 1 compares the law of one particle with u. r = 2 compares the law of a pair with u ⊗ u, from
      ⌊N/2⌋ disjoint pairs per cloud, each a draw from :math:`u_{N,2}`. A density is estimated where r d ≤ 3. In four
      dimensions, a grid that resolves the bandwidth of more than some thousand pairs does not fit in memory, and for
      fewer pairs the floor is most of the distance: there the points themselves are compared, by "wasserstein1" and
      "energy" unless others are asked for. Pairs of one cloud share its fluctuation: correlations show in the mean of
      many clouds.
    - **Intervals**, 95 %, for the expectation of the statistic at this N and h: from draws whose own distance is that
      of the particles (:mod:`kspde.distances.resampling`), as if particles were independent. For several clouds the
      variance is scaled by the ratio of the clouds' own to that of such draws, which does not assume so.
    - **Floors.** Even independent draws from u are not at distance 0. ``replicas`` clouds of them are treated in the
      same way. A distance inside the floor's interval does not distinguish the particles from such draws. Particles
      that were resampled are not independent: their distance lies above it more often, and they are warned of.

    **Two densities** (:mod:`kspde.distances.densities`): L¹, L² and both relative entropies by quadrature, the
    Wasserstein distances and the energy distance on lines, each with its quadrature error as its interval, and no
    floor. The first is the reference: "relative_entropy" is H(second|first) = ∫ second log(second/first), as for
    particles. An entropy is infinite where one density vanishes and the other does not.

    **Two sets of particles** (:mod:`kspde.distances.clouds`): "l1" and "l2" of two kernel density estimates with one
    bandwidth, and the distances of the points. The floor deals all particles out to the two sides at random.

    **Weights** (:mod:`kspde.distances.weighted`). Particles with weights w_j ≥ 0 of their own, given or grown, count
    with them in every distance but "relative_entropy_knn"; a pair counts with the product. The effective number
    :math:`(\sum w)^2/\sum w^2` chooses the bandwidth; floors and intervals come from draws of (position, weight).
    Masses of random weights may differ by their noise, and where a model has growth by anything: each side is divided
    by its own, and ``differs`` says both.

    **The density's own error.** Where ``pde.error`` has been estimated before, or the density was solved for an
    ``accuracy``, ``density_errors`` and the text say its L¹ error at ``t_end`` beside the distance: by the triangle
    inequality the L¹ distance to the exact density is at most so much larger or smaller. All that is left is the
    particles': their law, noise and smoothing.

    **Signed measures** (:mod:`kspde.distances.signed`), weights or densities of either sign such as vorticity, have the
    L¹ distance alone, :math:`\|K_h * \mu_N - \omega\|_1 / \int|\omega|` of a density and particles: the mass may be 0,
    so the unit is the total variation (of the density, or of the first side).

    Collective; all results are the same on every rank, and on any number of ranks up to round-off.

    Args:
        first: one side; particles and a density change places.
        second: the other side.
        species: the species to compare, where a model has several.
        t: the time to compare solutions at; the final one unless given.
        mass: the mass of positions, which have none of their own.
        normalise: whether sides of different masses may be compared, by their shapes alone, where no model has growth.
        domain: the ``Box`` or ``Disk`` that a function is a density on.
        r: the marginal, 1 or 2, for a density and particles.
        distances: the names of the distances to measure, alone and in this order; verdicts are about the first. None
            measures the four on the grid where there is one; for two densities all but the energy distance, for two
            clouds all but "wasserstein2".
        times: increasing times in [0, t_end] of a solution to compare at. The last one's distance is returned, with
            ``over_time``.
        snapshots: the particles at these times: ``Snapshots``, the directory of ``SnapshotFiles``, or a list of clouds;
            for several clouds a list of such.
        bandwidth: the bandwidth h > 0, a length; None chooses it.
        replicas: the number of clouds drawn for the floor, and again for the intervals, at least 2.
        resolution: the number of grid points in the longest direction; None takes a few per bandwidth.
        wasserstein: the way Wasserstein distances are computed: "sliced", or "exact" by optimal plans to as many draws
            from u (POT, few particles). On the line both are the exact distance to u itself.
        neighbours: the neighbour k ≥ 1 of "relative_entropy_knn".
        seed: the seed of the draws.

    Raises:
        InputError: a value out of range, or not the same on every rank; a grid that cannot resolve the bandwidth; sides
            of another dimension, species, time or, without growth, mass; particles that live elsewhere than the
            density; a distance without meaning for weights or signed measures; fewer than two particles; a time whose
            particles are missing.
    """
    comm = communicator(communicator_of((first, second)))
    check_times(t, times)
    at = None if t is None else float(t)
    a, b = sides_of(first, second, species=species, t=at, mass=mass, domain=domain, comm=comm)
    kind, measure, measure_signed = KINDS[type(a), type(b)]
    signed = a.signed or b.signed
    options = checked_options(
        kind,
        a.known.dimension,
        r=r,
        bandwidth=bandwidth,
        resolution=resolution,
        replicas=replicas,
        wasserstein=wasserstein,
        neighbours=neighbours,
        seed=seed,
        comm=comm,
    )
    if signed and r != 1:
        raise InputError(
            "r = 2 has no meaning for signed measures, whose particles are not draws of pairs: leave it out"
        )
    about = _about(a, b, comm, any_mass=normalise, any_time=times is not None)
    when = _checked_times(times, snapshots, a)
    if snapshots is not None and kind != "particles":
        raise InputError("snapshots has no effect here, it is for a density and particles: leave it out")
    weighted = any(isinstance(side, ParticleSide) and side.weighted for side in (a, b))
    formulas = chosen_distances(distances, kind, options.r * a.known.dimension, signed=signed, weighted=weighted)
    history = []
    for s, there in _moments(at, when, a, b, snapshots, any_mass=normalise):
        # Replicas have threads of their own, where one of BLAS's is a fifth of the time.
        with limited_threads(comm, useful=1):
            found, numbers = (measure_signed if signed else measure)(a, there, s, formulas, options)
        here = about | numbers | {"kind": kind, "wasserstein": options.wasserstein}
        here |= {} if s is None else {"t_end": s}
        if s is not None and a.known.grows and a.known.run is not None:
            here["mass"] = mass_of(a.known.run, a.known.species or "u", s)
        if s is None or s == a.known.t:
            here["density_errors"] = _density_errors(a, b)
        history.append(Distance(**vars(found.asked([formula.name for formula in formulas])), **here))
    return history[-1] if when is None else replace(history[-1], over_time=OverTime.of(history))


def checked_options(
    kind: str,
    d: int,
    *,
    r: int,
    bandwidth: float | None,
    resolution: int | None,
    replicas: int,
    wasserstein: str,
    neighbours: int,
    seed: int,
    comm: Comm,
) -> Options:
    """Return the options of a comparison of sides in R^d: "densities", "clouds", or a density and "particles".

    Raises:
        InputError: a value that is not valid, or an option that applies to a density and particles only.
    """
    r = check_integer("r", r, at_least=1, at_most=2)
    if resolution is not None:
        check_integer("resolution", resolution, at_least=16, at_most=4 * MOST.get(r * d, 0) or None)
    how = check_choice("wasserstein", wasserstein, ("exact", "sliced"))
    options = Options(
        r=r,
        bandwidth=None if bandwidth is None else check_number("bandwidth", bandwidth, above=0),
        resolution=resolution,
        neighbours=check_integer("neighbours", neighbours, at_least=1),
        wasserstein="line" if r * d == 1 else how,
        replicas=Replicas(
            count=check_integer("replicas", replicas, at_least=2, at_most=MOST_REPLICAS),
            seed=check_integer("seed", seed, at_least=0),
            comm=comm,
            threads=threads_per_rank(comm),
        ),
    )
    given = {
        "bandwidth": bandwidth is not None and kind != "clouds",
        "resolution": resolution is not None and kind != "clouds",
        'wasserstein = "exact"': how == "exact",
        "r = 2": r != 1,
    }
    for name, present in given.items():
        if present and kind != "particles":
            raise InputError(f"{name} has no effect here, it is for a density and particles: leave it out")
    return options


def _about(a: Side, b: Side, comm: Comm, *, any_mass: bool, any_time: bool) -> dict[str, Any]:
    """Return what a ``Distance`` says of its two sides, whatever they are; raise if there is none between them."""
    free = any_time and isinstance(b, DensitySide)
    pairs = [(one, other) for one in a.everyone for other in b.everyone]
    differs: dict[str, tuple[Any, Any]] = {}
    for one, other in pairs:
        timeless = [replace(side, t=None) if free else side for side in (one, other)]
        check_together(*timeless, any_mass=any_mass)
        differs = differences(one, other) | differs
    eps = b.known.eps if a.known.run is None else a.known.eps
    return {
        "species": a.known.species or b.known.species or "u",
        "mass": a.known.mass,
        "eps": None if "eps" in differs else eps,
        "t_end": a.known.t if a.known.t is not None else b.known.t,
        "differs": differs,
        "comm": comm,
    }


def _density_errors(a: Side, b: Side) -> dict[str, ErrorParts | str]:
    """Return the L¹ errors of densities as far as they have been estimated, in the unit of the distances."""
    found: dict[str, ErrorParts | str] = {}
    names = ("first density", "second density") if isinstance(b, DensitySide) else ("density",)
    for name, side in zip(names, (a, b), strict=False):
        run = side.known.run if isinstance(side, DensitySide) else None
        error = getattr(run, "known_error", None)
        if error is not None and run is not None and side.known.t == run.t_end:
            unit = (a if a.signed or b.signed else side).known.size
            found[name] = error.unknown or error.l1.over(unit)
    return found


def _checked_times(times: Any, snapshots: object, side: Side) -> list[float] | None:
    """Return the times to compare a solution at, or None for one time."""
    if times is None:
        if snapshots is not None:
            raise InputError("snapshots are given without times: give times = (...) too")
        return None
    if isinstance(side, ParticleSide) or side.known.t is None:
        raise InputError("times are given, and the first side is not a solution: leave them out")
    check_times(None, times, side.known.t)
    return [float(t) for t in times]


def check_times(t: Any, times: Any, t_end: float = math.inf) -> None:
    """Refuse times that nothing can be compared at; times are looked at once ``t_end`` is known.

    Raises:
        InputError: t and times, or one that is negative or after ``t_end``, or times that do not increase.
    """
    if t is not None and times is not None:
        raise InputError("t and times are given: give one of them")
    last = t_end * (1 + 1e-9)
    if t is not None and check_number("t", t, at_least=0) > last:
        raise InputError(f"t = {t:g} is not valid: give a time in [0, {t_end:g}]")
    if times is not None and math.isfinite(t_end):
        when = check_finite("times", times, (None,))
        if when[0] < 0 or np.any(np.diff(when) <= 0) or when[-1] > last:
            raise InputError(f"times = {when.tolist()} are not valid: give increasing times in [0, {t_end:g}]")


def _moments(
    at: float | None, times: Sequence[float] | None, a: Side, b: Side, snapshots: Any, *, any_mass: bool
) -> list[tuple[float | None, Side]]:
    """Return the times to compare at, None for the final one, each with the second side then. Collective."""
    if times is None:
        return [(at, b)]
    if not isinstance(b, ParticleSide):
        return [(s, b) for s in times]
    clouds, species = b.clouds, b.known.species or ""
    listed = isinstance(snapshots, (list, tuple))
    several = list(snapshots) if listed and len(clouds) > 1 else [snapshots] * len(clouds)
    if len(several) != len(clouds) or (len(clouds) > 1 and snapshots is not None and not listed):
        raise InputError(f"there are {len(clouds)} clouds: give snapshots as a list of {len(clouds)}, one for each")
    saved = [clouds_at(times, each, s) for each, s in zip(clouds, several, strict=True)]
    out: list[tuple[float | None, Side]] = []
    for s, there in zip(times, zip(*saved, strict=True), strict=True):
        everyone = [known_cloud(cloud, species) for cloud in there]
        for each in everyone:
            check_together(replace(a.known, t=s), each, any_mass=any_mass)
        out.append((s, replace(b, clouds=there, everyone=everyone)))
    return out


def chosen_distances(
    distances: Sequence[str] | None, kind: str, dimension: int, *, signed: bool = False, weighted: bool = False
) -> list[Formula]:
    """Return the distances to measure, in the order they are reported."""
    valid = {name: formula for name, formula in DISTANCES.items() if kind in formula.applies}
    if signed and distances is None:
        return [L1]
    if distances is None:
        by_default = "pairs" if kind == "particles" and dimension > 3 else kind
        return [formula for formula in valid.values() if by_default in formula.default]
    if isinstance(distances, str) or not isinstance(distances, Sequence) or not distances:
        raise InputError(f"distances = {shown(distances)} is not valid: give a tuple of {', '.join(valid)}")
    chosen = [valid[check_choice("distances", _SHORT.get(name, name), tuple(valid))] for name in distances]
    for formula in chosen:
        if signed and formula is not L1:
            raise InputError(
                f"distances contain {formula.name!r}, which compares positive densities, and a side has both signs: "
                "give ('l1',), the L1 distance of the smoothed signed measures"
            )
        if weighted and isinstance(formula, OnPoints):
            raise InputError(
                f"distances contain {formula.name!r}, which counts particles as equal, and they have weights: leave it "
                "out, 'relative_entropy' weighs them"
            )
        if isinstance(formula, OnGrid) and dimension > 3:
            points = [name for name, other in valid.items() if not isinstance(other, OnGrid)]
            raise InputError(
                f"distances contain {formula.name!r}, which needs a density estimate on a grid in {dimension} "
                f"dimensions: give some of {', '.join(points)} for r = 2"
            )
    return list({formula.name: formula for formula in chosen}.values())
