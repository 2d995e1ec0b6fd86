"""Where a finished density run is not to be trusted: negative values, time error, upwind fluxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.matrices import mean_diffusion
from kspde.runtime.messages import warn
from kspde.typing import Array, Comm

__all__ = [
    "cell_peclet",
    "negative_values",
    "warn_of_moments",
    "warn_of_negative_values",
    "warn_of_time_error",
    "warn_of_upwind",
]

#: Time error, as a share of the mass, above which a run warns.
_LARGE = 0.1
#: Cell Péclet number above which exponential fitting is an upwind scheme: its own diffusion is at least D/3.
_UPWIND = 2.0
#: Error of the second moment's rate by the fluxes above which a run of the positive schemes warns.
_OFF = 0.01


def negative_values(species: tuple[str, ...], tol: float, diagnostics: Mapping[str, Array]) -> dict[str, Any] | None:
    """Return the worst value below −10·tol·max u, where max u is taken at the same time; None without one.

    Densities that start with both signs have none.
    """
    lowest, highest = (np.reshape(diagnostics[name], (-1, len(species))) for name in ("minimum", "maximum"))
    share = -lowest / np.where(highest > 0, highest, 1.0)
    share[:, lowest[0] < -0.01 * highest[0]] = 0.0  # a signed density, beyond an error of the initial one
    k, i = np.unravel_index(int(np.argmax(share)), share.shape)
    if not share[k, i] > 10.0 * tol:
        return None
    when = float(diagnostics["t"][k])
    return {"species": species[i], "value": float(lowest[k, i]), "maximum": float(highest[k, i]), "t": when, "tol": tol}


def warn_of_negative_values(worst: dict[str, Any], peclet: float, comm: Comm) -> None:
    """Warn of what ``negative_values`` has found, and say what schemes that keep u ≥ 0 would cost."""
    if peclet > _UPWIND:
        remedy = (
            "use a finer one. (The positive schemes keep u >= 0 on this one, but at its cell Péclet number "
            f"{peclet:.2g} positive is of order 1 in space, and positive-2 of order 2 where the density is smooth only)"
        )
    else:
        remedy = 'use a finer one, or scheme="positive-2" with degree=1, which keeps u >= 0 and is of order 2 in space'
    warn(
        f"{worst['species']} = {worst['value']:.3g} at t = {worst['t']:g} is below -10 tol = {-10 * worst['tol']:.3g} "
        f"times its maximum {worst['maximum']:.3g}, so the mesh does not resolve the density: {remedy}",
        comm,
    )


def warn_of_time_error(
    system: Semidiscretisation, dt: float, times: Sequence[float], table: Mapping[str, Array]
) -> None:
    """Warn where the estimate of the time error at a saved time is large.

    Args:
        system: the semidiscretisation.
        dt: the fixed step.
        times: the saved times.
        table: the diagnostics, with the estimates.
    """
    species = system.model.species
    rows = [int(np.argmin(np.abs(table["t"] - t))) for t in times]
    found = np.reshape(table["time_error"], (-1, len(species)))[rows]
    k, i = np.unravel_index(int(np.argmax(found)), found.shape)
    if not found[k, i] > _LARGE:
        return
    size = f"about {found[k, i]:.0%}" if found[k, i] < 1 else "100% or more"
    local = any(f.kernel.smoothing == 0 and not f.kernel.local for f in system.fields)
    reason = " for coefficients that depend on the density at the same place, which are explicit" if local else ""
    warn(
        f"the time error of {species[i]} at t = {times[int(k)]:g} is {size} of its mass, in L1: dt = {dt:g} is too long"
        f'{reason}; give a smaller one, or scheme="positive-2" with tol',
        system.space.comm,
    )


def cell_peclet(system: Semidiscretisation, unknowns: Array, t: float) -> Array:
    r"""Return :math:`\int u |b| h / \int u D` of each species: the cell Péclet number where its mass is. Collective.

    The width h is that of a node's share of the mesh.
    """
    space = system.space
    c = system.field_values(unknowns, t)
    width = space.mass.ravel() ** (1.0 / space.dimension)
    sums = np.zeros((len(system.model.species), 2))
    for i, species in enumerate(system.model.species):
        diffusion, drift = system.coefficients(species, c)
        held = space.mass.ravel() * np.maximum(unknowns[i].ravel(), 0.0)
        if drift is not None:
            sums[i, 0] = held @ (np.sqrt(np.sum(drift**2, axis=1)) * width)
        sums[i, 1] = held @ mean_diffusion(diffusion)
    moved, spread = space.total(sums).T
    return np.asarray(moved / np.maximum(spread, 1e-300))


def warn_of_upwind(system: Semidiscretisation, peclet: Array, *, second: bool) -> None:
    """Warn where the fluxes of the positive schemes are upwind fluxes; those of ``second`` order are so at fronts."""
    i = int(np.argmax(peclet))
    if not peclet[i] > _UPWIND:
        return
    half = 0.5 * float(peclet[i])
    larger = f"as if D were {1.0 + half:.2g} times larger"
    if second:
        what = (
            "positive-2 is then of order 2 in space only where u is smooth over several cells; at fronts it is upwind, "
            f"of order 1, may spread u {larger}, and may overshoot; use"
        )
    else:
        what = (
            f"the positive scheme is then upwind, of order 1 in space, and spreads it {larger}; use "
            'scheme="positive-2", which is of order 2 where u is smooth,'
        )
    warn(
        f"the cell Péclet number |b| h/D of {system.model.species[i]} is {2.0 * half:.2g} where its mass is: {what} "
        f'cells {half:.2g} times smaller, or scheme="adaptive" with a higher degree',
        system.space.comm,
    )


def warn_of_moments(system: Semidiscretisation, found: Array) -> None:
    """Warn where the fluxes of the positive schemes change the second moment by other than diffusion and drift."""
    i = int(np.argmax(np.abs(found)))
    if abs(found[i]) > _OFF:
        warn(
            f"the fluxes of the positive schemes spread {system.model.species[i]} by {100 * abs(found[i]):.2g} % too "
            f"{'much' if found[i] > 0 else 'little'}, by the second moment in relation to diffusion and drift: use "
            'smaller cells, or scheme="adaptive" with a higher degree',
            system.space.comm,
        )
