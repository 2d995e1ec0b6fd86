"""Pictures of densities, of their difference, and of diagnostics over time.

Every function is collective, and draws one figure on rank 0: it is written, or returned there if no path is given.
Densities are shown where the mass is, not on the whole truncated domain; pictures of three-dimensional densities show
the plane through the mean of the third coordinate. Lengths and times are in the model's own units; a density is mass
per unit length, area or volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kspde.comparable import bounds_of, check_species, differences, is_cloud, known
from kspde.errors import InputError
from kspde.grids import Grid, mass_grid
from kspde.plots.drawings import (
    Pair,
    draw_densities,
    draw_density,
    draw_diagnostics,
    draw_difference,
    draw_distance,
)
from kspde.plots.maps import Shown, part_with_mass
from kspde.plots.style import differing, drawn, per_volume, setting_of, symbol_of, thousands
from kspde.protocols import SolvedDensity
from kspde.runtime.parallel import collective
from kspde.typing import Array, Comm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DensityOnGrid",
    "plot_densities",
    "plot_density",
    "plot_diagnostics",
    "plot_difference",
    "plot_distance",
]

#: How often a picture looks closer at a peak, each time at less than half the width: at least a thousandfold.
_NARROWER = 10

#: Height of a line of the title, in inches.
_LINE = 0.35


class _Compared(Protocol):
    """Two densities on one grid with the distances between them, as ``kspde.Distance`` has them."""

    @property
    def axes(self) -> tuple[Array, ...]: ...
    @property
    def density_pde(self) -> Array: ...
    @property
    def density_particles(self) -> Array: ...
    @property
    def sides(self) -> tuple[str, str]: ...
    @property
    def sizes(self) -> tuple[int, int]: ...
    @property
    def species(self) -> str: ...
    @property
    def mass(self) -> float: ...
    @property
    def variation(self) -> float | None: ...
    @property
    def bandwidth(self) -> float | None: ...
    @property
    def t_end(self) -> float | None: ...
    @property
    def eps(self) -> float | None: ...
    @property
    def differs(self) -> Mapping[str, tuple[Any, Any]]: ...
    @property
    def comm(self) -> Comm: ...
    def caption(self, between: str = ", ") -> str: ...


class DensityOnGrid:
    """A species of a solution, on a grid over its mass or on other axes. Collective.

    Args:
        pde: the solution.
        species: which one.
        t: the time, the final one unless given.
    """

    def __init__(self, pde: SolvedDensity, species: str, t: float | None = None) -> None:
        self._pde, self._species, self._at = pde, species, {} if t is None else {"t": t}

    def grid(self) -> Grid:
        """Return a grid over the mass."""
        return mass_grid(self, bounds_of(self._pde))

    def on_shown_part(self) -> tuple[tuple[Array, ...], Array]:
        """Return axes and values on a grid over the mass, or over what a picture shows where that is far smaller.

        A peak that holds little of the mass, or is narrow, then has as many points as a picture of all of it.
        """
        grid = self.grid()
        values = self(grid.axes)
        for _ in range(_NARROWER):
            part = part_with_mass(np.abs(values))
            axes = [axis[cut] for axis, cut in zip(grid.axes, part, strict=True)]
            if all(2 * len(axis) > n for axis, n in zip(axes, grid.shape, strict=True)):
                break
            low, high = (np.array([axis[end] for axis in axes]) for end in (0, -1))
            grid = Grid.covering(low, high, grid.shape)
            values = self(grid.axes)
        return grid.axes, values

    def __call__(self, axes: Sequence[Array]) -> Array:
        """Return the values on a tensor grid, 0 outside the domain."""
        return np.asarray(self._pde.on_grid(axes, self._species, outside=0.0, **self._at), dtype=np.float64)


def _pair(distance: _Compared) -> Pair:
    """Return what is drawn of a comparison."""
    shown = Shown(distance.axes, distance.density_pde, distance.density_particles)
    first, second = distance.sides
    smoothed = [] if distance.bandwidth is None else [f"bandwidth $h = {distance.bandwidth:.3g}$"]
    title = ", ".join([*setting_of(distance.t_end, distance.eps), *smoothed, *shown.plane])
    unit = "mass" if distance.variation is None else "total variation"
    whole = distance.mass if distance.variation is None else distance.variation
    symbol = symbol_of(distance.species) + ("" if abs(whole - 1) < 1e-9 else f" / {unit},")
    return Pair(
        shown=shown,
        labels=tuple(
            f"{side.removesuffix(' particles')}, $N = {thousands(n)}$" if n else side
            for side, n in zip(distance.sides, distance.sizes, strict=True)
        ),
        minus=f"{second.split()[0]} − {first.split()[0]}",
        title="\n".join([part for part in (title, differing(distance.differs)) if part]),
        extra=_LINE if distance.differs else 0.0,
        label=per_volume(symbol, len(distance.axes)),
        difference=per_volume("difference", len(distance.axes)),
    )


@collective(own=("distance",))
def plot_distance(distance: _Compared, path: str | Path | None = None) -> Figure | None:
    """Draw both densities beside their difference, with the distances and their floors below.

    Args:
        distance: the distance.
        path: the file; without one the figure is returned on rank 0.

    Raises:
        InputError: the file cannot be written.
    """
    return drawn(path, distance.comm, partial(draw_distance, pair=_pair(distance), caption=distance.caption()))


@collective(own=("distance",))
def plot_densities(distance: _Compared, path: str | Path | None = None) -> Figure | None:
    """Draw both densities, on one colour scale; the arguments are those of :func:`plot_distance`."""
    return drawn(path, distance.comm, partial(draw_densities, pair=_pair(distance)))


@collective(own=("distance",))
def plot_difference(distance: _Compared, path: str | Path | None = None) -> Figure | None:
    """Draw the difference of the two densities, with the distances below; arguments as of :func:`plot_distance`."""
    caption = distance.caption(between=",\n   ")
    return drawn(path, distance.comm, partial(draw_difference, pair=_pair(distance), caption=caption))


@collective(rows=("pde",))
def plot_density(
    pde: SolvedDensity, path: str | Path | None = None, *, species: str | None = None, t: float | None = None
) -> Figure | None:
    """Draw the density of one species: a curve, a map, or a map of a plane in space.

    Args:
        pde: the density.
        path: the file; without one the figure is returned on rank 0.
        species: the species, where the model has several.
        t: the time, ``t_end`` unless given.

    Raises:
        InputError: no such species, none given where there are several, a time that is not saved, or the file cannot
            be written.
    """
    name = check_species(pde.model, species)
    axes, values = DensityOnGrid(pde, name, t).on_shown_part()
    shown, label = Shown(axes, values), per_volume(symbol_of(name), len(axes))
    title = ", ".join(setting_of(pde.t_end if t is None else t, pde.eps) + shown.plane)
    return drawn(path, pde.comm, partial(draw_density, shown=shown, label=label, title=title))


@collective(rows=("pde", "cloud"))
def plot_diagnostics(pde: SolvedDensity, path: str | Path | None = None, *, cloud: Any = None) -> Figure | None:
    """Draw a solution's diagnostics over time: mass, minimum, maximum, second moment, entropy, time step.

    Args:
        pde: a solution, with ``diagnostics`` of shape (steps,), or (steps, species) where it has several species.
        path: the file; without one the figure is returned on rank 0.
        cloud: particles whose second moment, and mass where it grows, are drawn beside the density's.

    Raises:
        InputError: ``cloud`` is something else, has other species or another dimension, or the file cannot be written.
    """
    if cloud is not None:
        if not is_cloud(cloud):
            raise InputError(f"cloud is a {type(cloud).__name__}: give what kspde.simulate returned")
        for what in ("species", "dimension"):
            ours, theirs = getattr(pde.model, what), getattr(cloud.model, what)
            if ours != theirs:
                raise InputError(
                    f"{what} = {ours} for the density and {theirs} for the particles: give the same model's"
                )
    species = tuple(pde.model.species)
    differs = {} if cloud is None else differences(*(known(run, species[0], what="") for run in (pde, cloud)))
    eps = "" if "eps" in differs else ", ".join(setting_of(None, pde.eps))
    return drawn(
        path,
        pde.comm,
        partial(
            draw_diagnostics,
            data=pde.diagnostics,
            species=species,
            grows=pde.model.has_growth,
            n=0 if cloud is None else cloud.n,
            of_particles={} if cloud is None else cloud.diagnostics,
            title="\n".join(part for part in (eps, differing(differs)) if part),
        ),
    )
