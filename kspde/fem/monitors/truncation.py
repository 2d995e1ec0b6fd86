r"""What truncation does to a run: mass near the boundary, a mollifier that reaches it, decay about the wrong centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kspde.domains import Domain
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.spaces import Space
from kspde.initial import InitialDensity
from kspde.kernels import Kernel
from kspde.matrices import eigenvalue_ends
from kspde.runtime.messages import warn
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["near_boundary", "warn_of_decay", "warn_of_outside", "warn_of_truncation", "warn_of_wide_mollifier"]

#: Share of the mass in the outer tenth of the domain above which a run warns.
_CROWDED = 1e-6
#: Share for which the advice is given: nodes near the edge of the outer tenth stand for some of what is inside.
_HELD = 0.2e-6
#: Domains so many times as wide that do not hold even the initial density are not advised: its tail is like a power.
_WIDEST = 4.0
#: Error of a field by the decay condition, in units of its maximum, above which a run warns.
_OFF = 1e-2
#: The same where the field is that of the whole space.
_FAR = 1e-4
#: Share of the initial mass outside a mesh above which a run warns.
_LOST = 1e-4
#: Share of the initial mass that feels its mirror image above which a run warns.
_MIRRORED = 1e-2
#: Intervals of distances in the domain; points per direction of a grid over it and its surroundings, by dimension.
_BINS, _POINTS = 4000, {1: 4096, 2: 160, 3: 40}


def warn_of_truncation(
    system: Semidiscretisation,
    domain: Domain,
    u0: Mapping[str, InitialDensity],
    first: Array,
    last: Array,
    table: Mapping[str, Array],
) -> None:
    """Warn where mass has come near the boundary, and name a domain in which less than a millionth would. Collective.

    Args:
        system: the semidiscretisation.
        domain: its domain.
        u0: the initial densities.
        first: the unknowns at the start.
        last: the unknowns at the end.
        table: the diagnostics.
    """
    share = near_boundary(system.space, last[: len(u0)], [u0[name] for name in system.model.species])[1]
    worst = int(np.argmax(share))
    if not share[worst] > _CROWDED:
        return
    species = system.model.species[worst]
    speed, sure = 0.0, True
    largest = 0.0
    t = float(table["t"][-1])
    for unknowns, when, far in ((first, 0.0, False), (last, t, False), (last, t, True)):
        diffusion, outward, drifts = _coefficients(system, species, unknowns, when, far=far)
        largest, speed, sure = max(largest, diffusion), max(speed, outward), sure and not drifts
    start = np.abs(first[worst]) if u0[species].signed else first[worst]
    factor = _enough(system, u0[species], start, float(np.sqrt(2 * largest * t)), speed * t)
    if factor <= 1.0:  # the bound ignores the mesh, the time step, and coefficients at other times
        factor, sure = 1.2, False
    sure &= not system.model.has_growth  # particles far away may be those that grow
    factor *= 1.005
    larger = domain.enlarged(factor)
    if _enough(system, u0[species], start, 0.0, 0.0) > _WIDEST:
        words = f"the initial density decays too slowly for any domain; enlarge {domain.width} to see what that changes"
    else:
        words = f"{larger} would hold it" if sure else f"it would take {larger} at least"
    warn(
        f"a share {share[worst]:.2g} of the mass is in the outer tenth of the domain at t = {t:g}, so truncation "
        f"shows: {words}",
        system.space.comm,
    )


def near_boundary(space: Space, nodal: Array, u0: Sequence[InitialDensity]) -> tuple[Array, Array]:
    """Return by species the mass in the outer tenth of the domain, and its share of what there is. Collective.

    Of a signed density it is ∫|u|, and the share that of the larger of ∫|u| and the initial ∫|u|. Of others it is ∫u:
    what elements leave below 0 does not count.

    Args:
        space: the space.
        nodal: nodal values of the densities.
        u0: the initial densities, in the same order.
    """
    rim = space.rim.reshape(space.mass.shape)
    sizes = [np.abs(u) if start.signed else u for u, start in zip(nodal, u0, strict=True)]
    near, total = space.integral(*(part for u in sizes for part in (rim * u, u))).reshape(-1, 2).T
    near = np.maximum(near, 0.0)
    largest = np.maximum(total, [start.variation if start.signed else 0.0 for start in u0])
    return near, near / np.where(largest > 0, largest, 1.0)


def _coefficients(
    system: Semidiscretisation, species: str, unknowns: Array, t: float, *, far: bool
) -> tuple[float, float, bool]:
    """Return sup D and the largest outward drift of a species, and whether it drifts; ``far`` away fields vanish."""
    space = system.space
    c = system.field_values(unknowns, t)
    if far:
        values, gradients = ({k: np.zeros_like(v) for k, v in part.items()} for part in (c.values, c.gradients))
        c = replace(c, values=values, gradients=gradients)
    try:
        with np.errstate(all="ignore"):
            diffusion, drift = system.coefficients(species, c)
    except Exception:  # a model need not be defined for c = 0
        if not far:
            raise
        return 0.0, 0.0, False
    outward = 0.0
    if drift is not None:
        away = space.points - space.centre
        lengths = np.maximum(np.linalg.norm(away, axis=1), 1e-300)
        outward = float(np.max(np.sum(drift * away, axis=1) / lengths, initial=0.0))
    found = np.array([np.max(eigenvalue_ends(diffusion)[1], initial=0.0), outward])
    found = space.maximum(np.where(np.isfinite(found), found, 0.0))
    return float(found[0]), float(found[1]), drift is not None


def _enough(system: Semidiscretisation, u0: InitialDensity, nodal: Array, spread: float, shift: float) -> float:
    r"""Return the factor by which the domain must grow for less than a millionth of the mass in its outer tenth.

    A particle whose density solves ∂_t u = Δ(D u) is :math:`X_t = X_0 + M_t`, M a martingale with :math:`d[M]_t \le 2
    \sup D\,dt` in each direction. So :math:`|X_s| \le |X_0| + \max |M|` up to time t, and :math:`\max |M|` exceeds r
    with at most twice the probability of a Gaussian of variance 2 t sup D. This holds with reflection at the boundary
    too: a reflected particle has been there. Distances are those of ``Space.reach``.

    Args:
        system: the semidiscretisation.
        u0: the initial density.
        nodal: its nodal values.
        spread: √(2 t sup D).
        shift: the largest contribution of the drift to |X_t|.
    """
    space = system.space
    mass = _shares(space, nodal)
    reach, beyond = np.zeros(0), np.zeros(0)
    with together(space.comm):
        if space.comm.rank == 0:
            reach, beyond = _outside(system, u0, 4.0)
    reach, beyond = space.comm.bcast((reach, beyond))
    starts = np.concatenate([np.arange(1, _BINS + 1) / _BINS, reach]) * space.inner + shift
    weights = np.concatenate([mass, beyond])
    starts, weights = starts[weights > 0], weights[weights > 0]

    def share(factor: float) -> float:
        return float(weights @ _tail(0.9 * factor * space.inner - starts, spread, system))

    low, high = 0.0, 1.0
    while share(high) > _HELD and high < 1e9:
        low, high = high, 2 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if share(middle) > _HELD else (low, middle)
    return high


def _shares(space: Space, nodal: Array) -> Array:
    """Return the shares of a mass in ``_BINS`` intervals of ``Space.reach``. Collective."""
    mass = np.bincount(
        np.minimum(space.reach(space.points) * _BINS, _BINS - 1).astype(np.int64),
        weights=np.maximum(space.mass * nodal, 0.0).ravel(),
        minlength=_BINS,
    )
    mass = space.total(mass)
    return np.asarray(mass / max(float(mass.sum()), 1e-300))


def _tail(distance: Array, spread: float, system: Semidiscretisation) -> Array:
    """Return a bound of the probability that max |M| exceeds a distance."""
    if spread == 0.0:
        return np.asarray(distance <= 0, dtype=np.float64)
    return np.minimum(2 * system.space.gaussian_tail(np.maximum(distance, 0.0) / spread), 1.0)


def _outside(system: Semidiscretisation, u0: InitialDensity, width: float) -> tuple[Array, Array]:
    """Return the reach and the shares of initial mass outside the domain, on a grid ``width`` times as wide."""
    space = system.space
    axes = [np.linspace(m - width * space.extent, m + width * space.extent, _POINTS[len(space.centre)])
            for m in space.centre]  # fmt: skip
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, space.dimension)
    reach = space.reach(points)
    points, reach = points[reach > 1], reach[reach > 1]
    cell = float(np.prod([axis[1] - axis[0] for axis in axes]))
    try:
        with np.errstate(all="ignore"):
            values = np.nan_to_num(u0(points), posinf=0.0)
    except Exception:  # a user's density need not be defined outside the domain
        values = np.zeros(len(points))
    return reach, np.abs(values) * (cell / u0.variation)


def warn_of_outside(system: Semidiscretisation, u0: Mapping[str, InitialDensity]) -> None:
    """Warn where initial mass lies outside the domain: the mass inside has been scaled up. Collective."""
    if system.space.fills_box:  # ``initial_densities`` has asked the densities
        return
    with together(system.space.comm):
        if system.space.comm.rank == 0:
            for name, u in u0.items():
                share = 0.0 if u.by_mesh else float(_outside(system, u, 1.5)[1].sum())
                if share > _LOST:
                    warn(
                        f"a share {share:.2g} of the initial mass of {name} lies outside the mesh, and the rest was "
                        "scaled up to the whole mass: give a larger domain, or a density that vanishes outside",
                        system.space.comm,
                    )


def warn_of_decay(system: Semidiscretisation, domain: Domain, unknowns: Array, t_end: float) -> None:
    r"""Warn where the decay condition is not that of the density's field. Collective.

    Fields of the whole space, which a Box has, are right wherever the mass is, but near its sides: for them this is
    ``FieldOperator.far_error``.

    Outside a density with centre of mass m its field is nearly M·G(x − m), G the kernel, with :math:`\partial_n c =
    -w_m c`, w_m the coefficient about m. The one in use, w, changes the field on the boundary by a share of about
    |w − w_m|/(w + w_m). On a square of width 20 with ρ = .05 to 1 and m up to 9.9 from the centre this is 1.2 to 2.2
    times the error found there, wherever that exceeds .1 % of the field's maximum: 2 % for ρ = .2 at half the way to a
    side. For fields that relax a Box has one coefficient for all of its sides, that of their centres, so that the
    condition is off for a density at the origin too: at a half-width of 8, ρ = .1 to 1 and m = 0 to (3, 2) the estimate
    is .67 to 1.13 times the error found on the boundary, .6 to 3 % of the maximum for ρ = .2 and .1 at the origin;
    inside about half of it.

    A field that relaxes without screening has no such condition. On a box one that starts in equilibrium has the flux
    of K * u through the sides, one that starts from a given signal none, and either is right until the difference from
    that, which diffuses, reaches the sides. On other domains one that starts in equilibrium is off everywhere: without
    flux a box of half-width 14 and mass at (3, 2) had ∇c off by 6 % of its maximum, and u by .4 % after t = .2 with
    τ = χ = 1.
    """
    if domain.boundary != "decay":
        return
    space = system.space
    c = system.field_values(unknowns, 0.0)
    for f in system.fields:
        rate = f.kernel.decay_rate
        if not np.isfinite(rate):
            continue
        if rate == 0.0 and f in system.relaxing:
            wrong = f.start is None and not (domain.structured and space.has_spectrum)
            if wrong or 5.0 * np.sqrt(2.0 * t_end / f.tau) > space.inner:
                start = "that starts in equilibrium" if wrong else f"until t = {t_end:g}"
                warn(
                    f"{f.name} relaxes (tau > 0) without screening (mu = 0): {start} it is not that of the whole "
                    "space, but depends on the sides of the domain; give tau = 0, mu > 0, or v0, and a domain that "
                    "c does not cross by then",
                    space.comm,
                )
            continue
        error = system.far_error(f, unknowns)
        if error is not None:
            if error > _FAR:
                warn(
                    f"mass of {f.source} lies so near to the boundary that {f.name} is off by some {100 * error:.2g} % "
                    f"of its maximum there: enlarge {domain.width}",
                    space.comm,
                )
            continue
        u = unknowns[system.model.species.index(f.source)]
        moments = space.integral(u, *(u * x.reshape(u.shape) for x in space.points.T))
        if not moments[0] > 0:
            continue
        centre = moments[1:] / moments[0]
        used, right = space.decay_weights(rate, centre)
        both = used + right
        off = np.abs(used - right) / np.where(both > 0, both, 1.0) * np.abs(c[f.name])
        worst, largest = space.maximum(np.array([np.max(off, initial=0.0), np.max(np.abs(c[f.name]), initial=0.0)]))
        if worst > _OFF * largest:
            where, here = (", ".join(f"{x:.4g}" for x in point) for point in (centre, space.centre))
            why = f"is that of a field about ({here}), but the mass is about ({where})"
            if domain.structured:
                why = f"of a box holds far from mass that is about ({where})"
            warn(
                f"the decay condition {why}: near the boundary {f.name} is off by some {100 * worst / largest:.2g} % "
                f"of its maximum; {domain.decay_advice(where, 1 / rate if rate else np.inf)}",
                space.comm,
            )


def warn_of_wide_mollifier(system: Semidiscretisation, domain: Domain, mollifier: Kernel | None, nodal: Array) -> None:
    r"""Warn where a mollifier reaches across the boundary, which reflects it, back to where mass is. Collective.

    The image of a point at distance s from the boundary is at 2s. So what is nearer than half of the mollifier's reach,
    taken as three standard deviations in a coordinate (2.5 to 3 make a bump's radius), feels its own image. For a
    Gaussian density on a line, of which a share p is so near, its field is off, averaged over the density, by 6e-5 of
    its maximum at p = .004, 2e-3 at .06, 5e-3 at .15 and .07 to 1.5 at 1 with a Gaussian mollifier; with a bump by 2e-5
    at .02, 3e-3 at .55 and .04 to .08 at 1.

    Args:
        system: the semidiscretisation.
        domain: its domain.
        mollifier: the mollifier, if there is one.
        nodal: the initial densities.
    """
    if mollifier is None or domain.boundary != "decay":
        return
    space = system.space
    lam = 1e-3 / max(space.inner, 1e-150) ** 2
    variance = 2.0 * (1.0 - float(mollifier.symbol(np.array([lam]))[0])) / lam
    reach = 3.0 * np.sqrt(max(variance, 0.0)) / space.inner
    for name, u in zip(system.model.species, nodal, strict=True):
        within = np.cumsum(_shares(space, u))
        share = float(within[-1] - within[int(np.clip(1.0 - 0.5 * reach, 0.0, 1.0) * (_BINS - 1))])
        if share > _MIRRORED:
            held = float(np.searchsorted(within, 1.0 - _MIRRORED) + 1) / _BINS
            warn(
                f"the mollifier reaches {reach * space.inner:.3g}, three standard deviations, and a share {share:.2g} "
                f"of the mass of {name} is nearer to the boundary than half of that: its mirror image counts in the "
                f"fields there; give a smaller eps, or {domain.enlarged(1.005 * (held + 0.5 * reach))}",
                space.comm,
            )
            return
