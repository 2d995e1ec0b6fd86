"""What pictures of densities, of their difference and of diagnostics show: drawn from arrays alone.

Nothing here needs more than numpy and matplotlib, so that a copy of the process which draws is soon ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.plots.maps import Shown, draw_bar, draw_contours, draw_image
from kspde.plots.style import (
    BLUE,
    COLOURS,
    COLUMN,
    DIFFERENCE_MAP,
    GREY,
    ORANGE,
    PAGE,
    Figures,
    map_size,
    symbol_of,
    thousands,
)
from kspde.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Pair",
    "draw_densities",
    "draw_density",
    "draw_diagnostics",
    "draw_difference",
    "draw_distance",
]

#: Height of a title, in those of its panel, above a power of ten.
_ABOVE = 1.15


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two densities as pictures show them, with the lines beside them: all that is drawn of a comparison.

    Attributes:
        shown: both on a grid.
        labels: what they are.
        minus: what their difference is.
        title: the title, which may have two lines.
        extra: the height of a line that says how the two differ, in inches; 0 without one.
        label: of their values.
        difference: of the values of their difference.
    """

    shown: Shown
    labels: tuple[str, ...]
    minus: str
    title: str
    extra: float
    label: str
    difference: str


def draw_distance(figures: Figures, pair: Pair, caption: str) -> Figure:
    """Draw both densities beside their difference."""
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


def draw_densities(figures: Figures, pair: Pair) -> Figure:
    """Draw both densities."""
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


def draw_difference(figures: Figures, pair: Pair, caption: str) -> Figure:
    """Draw the difference."""
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


def draw_density(figures: Figures, shown: Shown, label: str, title: str) -> Figure:
    """Draw one density."""
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


def draw_diagnostics(
    figures: Figures,
    *,
    data: Mapping[str, Array],
    species: Sequence[str],
    grows: bool,
    n: int,
    of_particles: Mapping[str, Array],
    title: str,
) -> Figure:
    """Draw diagnostics over time."""
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


def _density_pair(figure: Figure, panels: Any, pair: Pair) -> None:
    shown, colours = pair.shown, pair.shown.colours
    for panel, values, title in zip(panels, (shown.first, shown.second), pair.labels, strict=True):
        image = draw_image(panel, shown.axes, values, **colours)
        if colours["vmin"] == 0:
            draw_contours(panel, shown.axes, values, colors="white", top=colours["vmax"])
        panel.set_title(title)
    draw_bar(figure, image, panels, pair.label)


def _difference_map(figure: Figure, panel: Axes, pair: Pair, label: str) -> None:
    shown, difference = pair.shown, pair.shown.second - pair.shown.first
    top = float(np.abs(difference).max()) or 1.0
    image = draw_image(panel, shown.axes, difference, cmap=DIFFERENCE_MAP, vmin=-top, vmax=top)
    draw_contours(panel, shown.axes, shown.first, colors=GREY)
    panel.set_title(pair.minus)
    draw_bar(figure, image, panel, label, loc="left")  # the power of ten is at the right


def _curves(panel: Axes, pair: Pair) -> None:
    shown, (first, second) = pair.shown, pair.labels
    panel.plot(shown.axes[0], shown.first, color=BLUE, label=first)
    panel.plot(shown.axes[0], shown.second, color=ORANGE, linestyle="--", label=second)
    panel.set(title="densities", xlabel="$x$", ylabel=pair.label)
    low, top = shown.colours["vmin"], shown.colours["vmax"]
    panel.set_ylim(1.1 * low, 1.4 * top)
    panel.legend(frameon=False, loc="upper right")


def _difference_curve(panel: Axes, pair: Pair) -> None:
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
