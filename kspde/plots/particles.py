"""Particles over the density: at one time, and as an animation.

Both show the first particles by id, a sample of the law, over the density on the plane. They are collective and
write one file, on rank 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kspde.comparable import check_comparable, check_species
from kspde.errors import InputError, check_choice, check_integer, check_number
from kspde.plots.densities import DensityOnGrid, Shown, draw_bar, draw_contours, draw_image
from kspde.plots.style import (
    COLUMN,
    DENSITY_MAP,
    differing,
    drawing,
    per_volume,
    picture,
    setting_of,
    symbol_of,
    thousands,
)
from kspde.protocols import ParticleCloud, SolvedDensity
from kspde.typing import Array

__all__ = ["animate", "plot_particles"]

#: White with a dark rim is visible on every colour of the map.
_DOTS: Any = {"color": "white", "edgecolors": "black", "linewidths": 0.25, "zorder": 3}

_FORMATS = (".webp", ".gif", ".png")


def plot_particles(
    pde: SolvedDensity, cloud: ParticleCloud, path: str | Path, *, species: str | None = None, most: int = 2000
) -> None:
    """Write the particles over the density at their common final time.

    Args:
        pde: the density.
        cloud: the particles.
        path: the file.
        species: the species, where the model has several.
        most: the number of particles shown, the first by id.

    Raises:
        InputError: a density and particles that cannot be compared, a dimension other than 2, or the file cannot be
            written.
    """
    name = _planar(pde, species)
    differs = check_comparable(pde, cloud, name)
    check_integer("most", most, at_least=1)
    density = DensityOnGrid(pde, name)
    axes = density.grid().axes
    values = density(axes)
    points = _first(cloud, name, most)
    with picture(path, pde.comm) as figures:
        if figures is not None:
            shown = Shown(axes, values, values)
            figure = figures((COLUMN, 0.85 * COLUMN * shown.aspect + 1.0))
            panel = figure.subplots()
            image = draw_image(panel, shown, shown.first, cmap=DENSITY_MAP, vmin=0.0, vmax=float(values.max()))
            _dots(panel, shown, points)
            draw_bar(figure, image, panel, per_volume(symbol_of(name), 2))
            panel.set_title(_title(setting_of(pde.t_end, None), pde, differs, len(points)))


def animate(
    pde: SolvedDensity,
    states: Any,
    path: str | Path,
    *,
    species: str | None = None,
    most: int = 1000,
    seconds: float = 0.15,
) -> None:
    """Write an animation of the density with particles over it: animated WebP, GIF or PNG by the file's name.

    All frames share one colour scale, a square-root one, so that late and spread densities are visible.

    Args:
        pde: the density.
        states: the particles at increasing times in [0, t_end]: :class:`kspde.Snapshots` filled, or a list of clouds.
        path: the file: .webp, .gif or .png.
        species: the species, where the model has several.
        most: the number of particles shown, the first by id.
        seconds: the time that each frame is shown.

    Raises:
        InputError: another suffix, no states, a density and particles that cannot be compared, a dimension other
            than 2, or the file cannot be written.
    """
    name = _planar(pde, species)
    check_choice("suffix", Path(path).suffix, _FORMATS)
    check_integer("most", most, at_least=1)
    check_number("seconds", seconds, above=0)
    clouds: list[Any] = list(getattr(states, "clouds", states))
    if len(clouds) < 2:
        raise InputError(f"states has {len(clouds)} times: give particles at 2 or more")
    times = [float(cloud.t_end) for cloud in clouds]
    differs: dict[str, tuple[Any, Any]] = {}
    for t, cloud in zip(times, clouds, strict=True):
        differs |= check_comparable(pde, cloud, name, t=t)
    at_times = [DensityOnGrid(pde, name, t) for t in times]
    axes = at_times[int(np.argmax(times))].grid().axes
    densities = [density(axes) for density in at_times]
    points = [_first(cloud, name, most) for cloud in clouds]
    with drawing(pde.comm) as figures:
        if figures is not None:
            shown = Shown(
                axes,
                np.asarray(np.max([d / d.max() for d in densities], axis=0), dtype=np.float64),
                densities[-1] / densities[-1].max(),
            )
            inside = tuple(
                slice(int(np.searchsorted(axis, part[0])), int(np.searchsorted(axis, part[-1])) + 1)
                for axis, part in zip(axes, shown.axes, strict=True)
            )
            titles = [
                _title([f"$t = {t:.2f}$"], pde, differs, len(dots)) for t, dots in zip(times, points, strict=True)
            ]
            frames = _frames(figures, name, shown, [d[inside] for d in densities], points, titles)
            try:
                frames[0].save(
                    path, save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0, quality=85
                )
            except OSError as error:
                raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _frames(
    figures: Any, name: str, shown: Shown, densities: Sequence[Array], points: Sequence[Array], titles: Sequence[str]
) -> list[Any]:
    """Return the frames as Pillow's images, all of one size."""
    from matplotlib.colors import PowerNorm
    from PIL import Image

    figure = figures((COLUMN, 0.85 * COLUMN * shown.aspect + 1.0))
    figure.set_dpi(160)
    norm = PowerNorm(0.5, vmin=0.0, vmax=float(max(d.max() for d in densities)))
    panel = figure.subplots()
    frames = []
    for index, (density, dots, title) in enumerate(zip(densities, points, titles, strict=True)):
        panel.clear()
        image = draw_image(panel, shown, np.maximum(density, 0.0), cmap=DENSITY_MAP, norm=norm)
        draw_contours(panel, shown, density, colors="white")
        _dots(panel, shown, dots)
        panel.set_title(title)
        if index == 0:
            draw_bar(figure, image, panel, per_volume(symbol_of(name), 2))
            figure.canvas.draw()
            figure.set_layout_engine("none")  # frames must not move against each other
        figure.canvas.draw()
        frames.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()))
    return frames


def _title(time: list[str], pde: SolvedDensity, differs: Mapping[str, tuple[Any, Any]], n: int) -> str:
    eps = [] if "eps" in differs else setting_of(None, pde.eps)
    first = ", ".join([*time, *eps, f"${thousands(n)}$ particles"])
    return first + (f"\n{differing(differs)}" if differs else "")


def _planar(pde: SolvedDensity, species: str | None) -> str:
    """Return the species' name, of a model on the plane."""
    if pde.model.dimension != 2:
        raise InputError(
            f"{type(pde.model).__name__} has dimension {pde.model.dimension}: particles are drawn on the plane"
        )
    return check_species(pde.model, species)


def _first(cloud: ParticleCloud, species: str, most: int) -> Array:
    """Return the first particles by id, shape (at most ``most``, 2), on rank 0. Collective."""
    ids = np.asarray(cloud.ids_of(species))
    mine = ids < most
    parts = cloud.comm.gather((ids[mine], np.asarray(cloud.of(species))[mine]))
    if parts is None:
        return np.empty((0, 2))
    order = np.argsort(np.concatenate([part[0] for part in parts]))
    return np.concatenate([part[1] for part in parts])[order]


def _dots(panel: Any, shown: Shown, points: Array) -> None:
    panel.scatter(*points.T, s=max(1.5, min(5.0, 4000.0 / max(len(points), 1))), **_DOTS)
    panel.set(xlim=(shown.axes[0][0], shown.axes[0][-1]), ylim=(shown.axes[1][0], shown.axes[1][-1]))
