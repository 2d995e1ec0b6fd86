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
from kspde.plots.maps import Shown, draw_bar, draw_contours, draw_image, part_with_mass
from kspde.plots.style import (
    BLUE,
    COLOURS,
    COLUMN,
    DIFFERENCE_MAP,
    GREY,
    ORANGE,
    PAGE,
    Figures,
    differing,
    drawn,
    map_size,
    per_volume,
    setting_of,
    symbol_of,
    thousands,
)
from kspde.protocols import SolvedDensity
from kspde.runtime.parallel import collective
from kspde.typing import Array, Comm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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

#: Height of a title, in those of its panel, above a power of ten.
_ABOVE = 1.15


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


class _Pair:
    """Two densities as pictures show them, with the lines beside them: all that is drawn of a comparison."""

    def __init__(self, distance: _Compared) -> None:
        self.shown = Shown(distance.axes, distance.density_pde, distance.density_particles)
        self.labels = tuple(
            f"{side.removesuffix(' particles')}, $N = {thousands(n)}$" if n else side
            for side, n in zip(distance.sides, distance.sizes, strict=True)
        )
        first, second = distance.sides
        self.minus = f"{second.split()[0]} − {first.split()[0]}"
        smoothed = [] if distance.bandwidth is None else [f"bandwidth $h = {distance.bandwidth:.3g}$"]
        title = ", ".join([*setting_of(distance.t_end, distance.eps), *smoothed, *self.shown.plane])
        self.title = "\n".join([part for part in (title, differing(distance.differs)) if part])
        #: The height of the line that says how the two differ.
        self.extra = _LINE if distance.differs else 0.0
        unit = "mass" if distance.variation is None else "total variation"
        whole = distance.mass if distance.variation is None else distance.variation
        symbol = symbol_of(distance.species) + ("" if abs(whole - 1) < 1e-9 else f" / {unit},")
        self.label = per_volume(symbol, len(distance.axes))
        self.difference = per_volume("difference", len(distance.axes))


@collective(own=("distance",))
def plot_distance(distance: _Compared, path: str | Path | None = None) -> Figure | None:
    """Draw both densities beside their difference, with the distances and their floors below.

    Args:
        distance: the distance.
        path: the file; without one the figure is returned on rank 0.

    Raises:
        InputError: the file cannot be written.
    """
    return drawn(path, distance.comm, partial(_draw_distance, pair=_Pair(distance), caption=distance.caption()))


def _draw_distance(figures: Figures, pair: _Pair, caption: str) -> Figure:
    if pair.shown.dimension == 1:
        figure = figures((PAGE, 3.2 + pair.extra))
        left, right = figure.subplots(1, 2)
        _curves(left, pair)
        _difference_curve(right, pair)
    else:
        figure = figures((PAGE, 0.29 * PAGE * pair.shown.aspect + 2.3 + pair.extra))
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        _density_pair(figure, panels[:2], pair)
        _difference_map(figure, panels[2], pair, "difference")  # per unit area as well
        for panel in panels[1:]:
            panel.set_ylabel("")
    figure.suptitle(pair.title)
    figure.supxlabel(caption)
    return figure


@collective(own=("distance",))
def plot_densities(distance: _Compared, path: str | Path | None = None) -> Figure | None:
    """Draw both densities, on one colour scale; the arguments are those of :func:`plot_distance`."""
    return drawn(path, distance.comm, partial(_draw_densities, pair=_Pair(distance)))


def _draw_densities(figures: Figures, pair: _Pair) -> Figure:
    if pair.shown.dimension == 1:
        figure = figures((COLUMN, 2.5 + pair.extra))
        _curves(figure.subplots(), pair)
    else:
        figure = figures((0.8 * PAGE, 0.36 * PAGE * pair.shown.aspect + 1.75 + pair.extra))
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        _density_pair(figure, panels, pair)
        panels[1].set_ylabel("")
    figure.suptitle(pair.title)
    return figure


@collective(own=("distance",))
def plot_difference(distance: _Compared, path: str | Path | None = None) -> Figure | None:
    """Draw the difference of the two densities, with the distances below; arguments as of :func:`plot_distance`."""
    caption = distance.caption(between=",\n   ")
    return drawn(path, distance.comm, partial(_draw_difference, pair=_Pair(distance), caption=caption))


def _draw_difference(figures: Figures, pair: _Pair, caption: str) -> Figure:
    shown = pair.shown
    figure = figures((COLUMN, pair.extra + (3.2 if shown.dimension == 1 else 0.85 * COLUMN * shown.aspect + 1.9)))
    panel = figure.subplots()
    if shown.dimension == 1:
        _difference_curve(panel, pair)
    else:
        _difference_map(figure, panel, pair, pair.difference)
    panel.set_title(f"{pair.title}\n{pair.minus}")
    figure.supxlabel(caption)
    return figure


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
    return drawn(path, pde.comm, partial(_draw_density, shown=shown, label=label, title=title))


def _draw_density(figures: Figures, shown: Shown, label: str, title: str) -> Figure:
    if shown.dimension == 1:
        figure = figures((COLUMN, 2.5))
        panel = figure.subplots()
        panel.plot(shown.axes[0], shown.first, color=BLUE)
        panel.set(xlabel="$x$", ylabel=label, ylim=(1.1 * shown.colours["vmin"], None))
    else:
        figure = figures(map_size(shown.aspect))
        panel = figure.subplots()
        image = draw_image(panel, shown.axes, shown.first, **shown.colours)
        if shown.colours["vmin"] == 0:
            draw_contours(panel, shown.axes, shown.first, colors="white")
        draw_bar(figure, image, panel, label)
    panel.set_title(title)
    return figure


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
            _draw_diagnostics,
            data=pde.diagnostics,
            species=species,
            grows=pde.model.has_growth,
            n=0 if cloud is None else cloud.n,
            of_particles={} if cloud is None else cloud.diagnostics,
            title="\n".join(part for part in (eps, differing(differs)) if part),
        ),
    )


def _draw_diagnostics(
    figures: Figures,
    *,
    data: Mapping[str, Array],
    species: Sequence[str],
    grows: bool,
    n: int,
    of_particles: Mapping[str, Array],
    title: str,
) -> Figure:
    titles = {
        "mass": "mass" if grows else "mass, relative change",
        "minimum": "minimum of the density",
        "maximum": "maximum of the density",
        "second_moment": "second moment ∫ |x|² u",
        "entropy": "entropy ∫ u log u",
    }
    figure = figures((1.4 * COLUMN, 5.6))
    panels = figure.subplots(3, 2, sharex=True).ravel()
    for panel, (key, name) in zip(panels, titles.items(), strict=False):
        values = np.asarray(data[key], dtype=np.float64)
        kept = key == "mass" and not grows
        _history(panel, data["t"], values / values[0] - 1 if kept else values, species)
        panel.set_title(name, y=_ABOVE)
    for panel, key in ((panels[3], "second_moment"), (panels[0], "mass")):
        if key in of_particles:
            _particle_history(panel, of_particles["t"], of_particles[key], n)
    if len(species) > 1 or of_particles:
        figure.legend(*panels[3].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    taken = np.flatnonzero(data["dt"])
    dt = data["dt"][taken]
    panels[5].plot(data["t"][taken], dt, ".-", color=BLUE, markersize=3, linewidth=0.8)
    panels[5].set(ylim=(0.5 * dt.min(), 2 * dt.max()), yscale="log")
    panels[5].set_title(r"time step $\Delta t$", y=_ABOVE)
    for panel in panels[4:]:
        panel.set_xlabel("$t$")
    if title:
        figure.suptitle(title)
    return figure


def _density_pair(figure: Figure, panels: Any, pair: _Pair) -> None:
    shown, colours = pair.shown, pair.shown.colours
    for panel, values, title in zip(panels, (shown.first, shown.second), pair.labels, strict=True):
        image = draw_image(panel, shown.axes, values, **colours)
        if colours["vmin"] == 0:
            draw_contours(panel, shown.axes, values, colors="white", top=colours["vmax"])
        panel.set_title(title)
    draw_bar(figure, image, panels, pair.label)


def _difference_map(figure: Figure, panel: Axes, pair: _Pair, label: str) -> None:
    shown, difference = pair.shown, pair.shown.second - pair.shown.first
    top = float(np.abs(difference).max()) or 1.0
    image = draw_image(panel, shown.axes, difference, cmap=DIFFERENCE_MAP, vmin=-top, vmax=top)
    draw_contours(panel, shown.axes, shown.first, colors=GREY)
    panel.set_title(pair.minus)
    draw_bar(figure, image, panel, label, loc="left")  # the power of ten is at the right


def _curves(panel: Axes, pair: _Pair) -> None:
    shown, (first, second) = pair.shown, pair.labels
    panel.plot(shown.axes[0], shown.first, color=BLUE, label=first)
    panel.plot(shown.axes[0], shown.second, color=ORANGE, linestyle="--", label=second)
    panel.set(title="densities", xlabel="$x$", ylabel=pair.label)
    low, top = shown.colours["vmin"], shown.colours["vmax"]
    panel.set_ylim(1.1 * low, 1.4 * top)
    panel.legend(frameon=False, loc="upper right")


def _difference_curve(panel: Axes, pair: _Pair) -> None:
    shown, difference = pair.shown, pair.shown.second - pair.shown.first
    panel.fill_between(shown.axes[0], difference, color=ORANGE, alpha=0.35, linewidth=0)
    panel.plot(shown.axes[0], difference, color=ORANGE, linewidth=0.8)
    panel.axhline(0, color=GREY, linewidth=0.5)
    panel.set(xlabel="$x$", ylabel=pair.difference, title=pair.minus)
    panel.ticklabel_format(axis="y", scilimits=(-3, 4))


def _history(panel: Axes, t: Array, values: Array, names: Sequence[str]) -> None:
    columns = values.reshape(len(t), -1)
    for i, (name, column) in enumerate(zip(names, columns.T, strict=True)):
        label = symbol_of(name) if len(names) > 1 else "density"
        panel.plot(t, column, ".-", color=COLOURS[i % len(COLOURS)], markersize=3, label=label)
    spread = float(np.ptp(columns))
    if spread < 1e-13 * max(1.0, float(np.abs(columns).max())):
        centre, reach = float(columns.mean()), 1e-13 * max(1.0, float(np.abs(columns).max()))
        panel.set_ylim(centre - reach, centre + reach)
    panel.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)


def _particle_history(panel: Axes, t: Array, values: Array, n: int) -> None:
    columns = np.asarray(values, dtype=np.float64).reshape(len(t), -1)
    for i, column in enumerate(columns.T):
        label = None if i > 0 else "particles" if columns.shape[1] > 1 else f"particles, $N = {thousands(n)}$"
        panel.plot(t, column, color="black", linestyle=":", linewidth=1.0, label=label)
