"""The part of densities that pictures show, and how values on a grid are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.plots.style import DENSITY_MAP, DIFFERENCE_MAP
from kspde.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["Shown", "draw_bar", "draw_contours", "draw_image", "part_with_mass"]

#: A picture shows the box outside which every density is below this fraction of the largest value.
_SHOWN = 4e-3


class Shown:
    """The part of one or two densities that a picture shows: coordinates, values, and the plane where d = 3."""

    def __init__(self, axes: Sequence[Array], first: Array, second: Array | None = None) -> None:
        self.plane: list[str] = []
        second = first if second is None else second
        if first.ndim == 3:
            weights = np.abs(first).sum(axis=(0, 1))
            k = int(np.argmin(np.abs(axes[2] - weights @ axes[2] / weights.sum())))
            self.plane = [f"plane $z = {axes[2][k]:.2g}$"]
            axes, first, second = axes[:2], first[:, :, k], second[:, :, k]
        self.dimension = first.ndim
        part = part_with_mass(np.maximum(np.abs(first), np.abs(second)))
        self.axes = [axis[cut] for axis, cut in zip(axes, part, strict=True)]
        self.first, self.second = first[part], second[part]

    @property
    def colours(self) -> dict[str, Any]:
        """The colours of both, on one scale: symmetric about 0 where one has both signs, beyond an error."""
        low, top = (float(f([f(self.first), f(self.second)])) for f in (np.min, np.max))
        if low > -0.01 * top:
            return {"cmap": DENSITY_MAP, "vmin": 0.0, "vmax": top}
        top = max(top, -low)
        return {"cmap": DIFFERENCE_MAP, "vmin": -top, "vmax": top}

    @property
    def aspect(self) -> float:
        """Height over width, within the limits of a page."""
        width, height = (float(axis[-1] - axis[0]) for axis in self.axes[:2])
        return float(np.clip(height / width, 0.3, 2.0))


def part_with_mass(values: Array) -> tuple[slice, ...]:
    """Return the box of grid points that a picture of a density shows."""
    high = values > _SHOWN * values.max()
    part = []
    for axis in range(values.ndim):
        inside = np.flatnonzero(high.any(axis=tuple(a for a in range(values.ndim) if a != axis)))
        margin = max(1, (inside[-1] - inside[0]) // 20)
        part.append(slice(max(0, inside[0] - margin), inside[-1] + margin + 1))
    return tuple(part)


def draw_image(panel: Axes, axes: Sequence[Array], values: Array, **colours: Any) -> AxesImage:
    """Draw values as an image with labelled axes, and return it."""
    (x, y), half = axes, [0.5 * (axis[1] - axis[0]) for axis in axes]
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    image = panel.imshow(values.T, origin="lower", extent=extent, aspect="equal", interpolation="bilinear", **colours)
    panel.set(xlabel="$x$", ylabel="$y$")
    grid = panel.get_gridspec()
    beside = 1 if grid is None else grid.ncols
    panel.locator_params(axis="x", nbins=7 if beside == 1 else 4, steps=[1, 2, 5, 10])  # labels must not overlap
    panel.locator_params(axis="y", nbins=8, steps=[1, 2, 5, 10])
    return image


def draw_contours(panel: Axes, axes: Sequence[Array], values: Array, *, colors: str, top: float | None = None) -> None:
    """Draw contours at fixed shares of the largest value."""
    levels = (top or float(values.max())) * np.array([0.05, 0.2, 0.4, 0.6, 0.8])
    panel.contour(*axes, values.T, levels=levels, colors=colors, linewidths=0.4, alpha=0.7)


def draw_bar(figure: Figure, image: AxesImage, panels: Any, label: str, loc: str = "center") -> None:
    """Draw the colour bar of an image below panels."""
    from kspde.plots.figure import Numbers

    bar = figure.colorbar(image, ax=panels, location="bottom", shrink=0.85, aspect=30, pad=0.02, format=Numbers())
    bar.set_label(label, loc=loc)
    bar.outline.set_linewidth(0.4)
    narrow = not isinstance(panels, Sequence | np.ndarray) and panels.get_gridspec().ncols > 1
    bar.ax.locator_params(axis="x", **({"nbins": 4, "steps": [1, 2, 5, 10]} if narrow else {"nbins": 5}))
    bar.ax.ticklabel_format(axis="x", scilimits=(-2, 3) if narrow else (-3, 4))  # numbers must not touch
