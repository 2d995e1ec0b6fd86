"""Particles at one time, alone or over a density, and both over time.

On the line particles are a histogram, on the plane dots: the first by id, a sample of the law. Pictures of space are
projections along z: dots without their z, densities integrated over z. Everything is collective, and drawn on rank 0.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kspde.comparable import check_comparable, check_species, clouds_in, equally_weighted, is_solution
from kspde.errors import InputError, check_choice, check_finite, check_integer, check_number
from kspde.plots.densities import DensityOnGrid
from kspde.plots.maps import draw_bar, draw_contours, draw_image, part_with_mass
from kspde.plots.style import (
    BLUE,
    COLUMN,
    DENSITY_MAP,
    GREY,
    ORANGE,
    Figures,
    check_path,
    differing,
    drawing,
    drawn,
    in_digits,
    map_size,
    per_volume,
    setting_of,
    symbol_of,
    thousands,
)
from kspde.protocols import ParticleCloud, SolvedDensity
from kspde.runtime.files import writing
from kspde.runtime.parallel import collective
from kspde.typing import Array, Comm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["Animation", "animate", "plot_cloud"]

#: White with a dark rim is visible on every colour of the map.
_OVER_DENSITY: Any = {"color": "white", "edgecolors": "black", "linewidths": 0.25, "zorder": 3}

_FORMATS = (".webp", ".gif", ".png")

#: Seconds below which every one of these formats can say how long a frame is shown.
_LONGEST = 60.0


@collective(rows=("cloud", "pde"))
def plot_cloud(
    cloud: ParticleCloud,
    path: str | Path | None = None,
    *,
    species: str | None = None,
    pde: SolvedDensity | None = None,
    most: int = 2000,
) -> Figure | None:
    """Draw particles at their time, over a density if one is given.

    Args:
        cloud: the particles.
        path: the file; without one the figure is returned on rank 0.
        species: the species, where the model has several.
        pde: a density with the same final time.
        most: the number of dots, the first particles by id; a histogram is of all.

    Raises:
        InputError: no such species, none given where there are several, a density and particles that cannot be
            compared, or the file cannot be written.
    """
    view = _View.of(pde, [cloud], None, species=species, most=most)

    def draw(figures: Figures) -> Figure:
        figure = figures(view.size)
        panel = figure.subplots()
        image = view.draw(panel, view.frames[0])
        if image is not None:
            draw_bar(figure, image, panel, view.label)
        panel.set_title(view.title(view.frames[0], f"$t = {in_digits(view.frames[0].t)}$"))
        return figure

    return drawn(path, cloud.comm, draw)


@collective(rows=("pde", "snapshots"))
def animate(
    pde: SolvedDensity | None,
    path: str | Path | None = None,
    *,
    snapshots: Any = None,
    species: str | None = None,
    times: Sequence[float] | None = None,
    most: int = 1000,
    seconds: float = 0.15,
) -> Animation | None:
    """Make an animation of a density, of particles, or of both: WebP, GIF or animated PNG, by the file's name.

    All frames share their axes and one scale of colours, a square-root one, so that late and spread densities are
    visible.

    Args:
        pde: the density; None shows particles alone.
        path: the file: .webp, .gif or .png; without one the animation is returned on rank 0, for a notebook.
        snapshots: the particles at increasing times: :class:`kspde.Snapshots` filled, or a list of clouds.
        species: the species, where the model has several.
        times: the times of a density without particles; its saved times unless given.
        most: the number of dots, the first particles by id; a histogram is of all.
        seconds: the time that each frame is shown, less than 60.

    Raises:
        InputError: another suffix, fewer than two times, no such species, a density and particles that cannot be
            compared, or the file cannot be written.
    """
    check_path(path)
    if path is not None:
        check_choice("suffix", Path(path).suffix, _FORMATS)
    check_number("seconds", seconds, above=0, below=_LONGEST)
    clouds: list[ParticleCloud] = list(clouds_in(snapshots, "kspde.Snapshots, or a list of clouds"))
    if len(clouds) < 2 and (clouds or pde is None or snapshots is not None):
        raise InputError("snapshots has fewer than two times: give particles at two or more")
    if clouds and times is not None:
        raise InputError("times are given with snapshots, which have their own: leave one of them out")
    if pde is not None and not clouds:
        times = (pde.times if times is None else check_finite("times", times, (None,))).tolist()
        if len(times) < 2:
            raise InputError("there are fewer than two times to show: give save=kspde.SaveAt(times=...) to solve")
    view = _View.of(pde, clouds, times, species=species, most=most)
    options = {"save_all": True, "duration": round(1000 * seconds), "loop": 0, "quality": 85}
    with drawing(view.comm) as figures:
        if figures is None:
            return None
        first, *others = _images(figures, view)
        buffer = io.BytesIO()
        first.save(buffer, format="webp" if path is None else Path(path).suffix[1:], append_images=others, **options)
        if path is None:
            return Animation(buffer.getvalue())
        with writing(path):
            Path(path).write_bytes(buffer.getvalue())
    return None


@dataclass(frozen=True, repr=False)
class Animation:
    """An animated WebP, which a notebook shows.

    Attributes:
        data: the file's bytes.
    """

    data: bytes

    def __repr__(self) -> str:
        return f"Animation({len(self.data):,} bytes of WebP)"

    def _repr_html_(self) -> str:
        return f'<img src="data:image/webp;base64,{b64encode(self.data).decode()}" style="max-width: 30em">'


class _Particles(NamedTuple):
    """Positions in one or two dimensions, shape (n, d), with their weights, of so many particles in all."""

    points: Array
    weights: Array
    total: int


class _Frame(NamedTuple):
    """What is shown of one time: a density on the view's axes, and particles."""

    t: float
    density: Array | None
    particles: _Particles | None


@dataclass(frozen=True, kw_only=True)
class _View:
    """A density and particles of one species at increasing times, on common axes and scales; whole on rank 0 alone."""

    species: str
    dimension: int
    axes: tuple[Array, ...]
    frames: tuple[_Frame, ...]
    eps: float | None
    differs: Mapping[str, tuple[Any, Any]]
    comm: Comm

    @classmethod
    def of(
        cls,
        pde: SolvedDensity | None,
        clouds: Sequence[ParticleCloud],
        times: Sequence[float] | None,
        *,
        species: str | None,
        most: int,
    ) -> _View:
        """Return the density at given times, the particles at theirs, or both at the particles' times. Collective."""
        if pde is not None and not is_solution(pde):
            raise InputError(f"pde is a {type(pde).__name__}: give what kspde.solve returned")
        run = clouds[0] if pde is None else pde
        name, dimension = check_species(run.model, species), run.model.dimension
        check_integer("most", most, at_least=1)
        times = [float(cloud.t_end) for cloud in clouds] if times is None else times
        differs: dict[str, tuple[Any, Any]] = {}
        if pde is not None:
            for t, cloud in zip(times, clouds, strict=False):
                differs |= check_comparable(pde, cloud, name, t=t)
        axes, densities = _densities(pde, name, times)
        seen = [_particles(cloud, name, np.inf if dimension == 1 else most) for cloud in clouds]
        return cls(
            species=name,
            dimension=dimension,
            axes=axes or _axes_around(np.concatenate([particles.points for particles in seen])),
            frames=tuple(map(_Frame._make, zip_longest(times, densities, seen))),
            eps=None if "eps" in differs else run.eps,
            differs=differs,
            comm=run.comm,
        )

    @property
    def size(self) -> tuple[float, float]:
        """The size of a figure, in inches."""
        if self.dimension == 1:
            return COLUMN, 2.5
        width, height = (float(axis[-1] - axis[0]) for axis in self.axes)
        return map_size(float(np.clip(height / width, 0.3, 2.0)))

    @property
    def label(self) -> str:
        """What the values are."""
        name = symbol_of(self.species)
        return per_volume(f"{name} integrated over $z$," if self.dimension == 3 else name, min(self.dimension, 2))

    def title(self, frame: _Frame, time: str) -> str:
        """Return the title of a frame, which begins with its time."""
        parts = [time, *setting_of(None, self.eps)]
        if frame.particles is not None:
            shown, total = len(frame.particles.points), frame.particles.total
            parts.append((f"${thousands(shown)}$ of " if shown < total else "") + f"${thousands(total)}$ particles")
            coordinates = zip(self.axes, frame.particles.points.T, strict=True)
            inside = np.all([(axis[0] <= x) & (x <= axis[-1]) for axis, x in coordinates], axis=0)
            if outside := shown - int(np.count_nonzero(inside)):
                parts[-1] += f" (${thousands(outside)}$ outside the picture)"
        if self.dimension == 3:
            parts.append("seen along $z$")
        return ", ".join(parts) + (f"\n{differing(self.differs)}" if self.differs else "")

    def draw(self, panel: Axes, frame: _Frame, norm: Normalize | None = None) -> AxesImage | None:
        """Draw a frame; return the image whose colours are values, if there is one."""
        if self.dimension == 1:
            self._draw_line(panel, frame)
            return None
        image = None
        if frame.density is not None:
            scale: dict[str, Any] = (
                {"vmin": 0.0, "vmax": float(frame.density.max())} if norm is None else {"norm": norm}
            )
            image = draw_image(panel, self.axes, np.maximum(frame.density, 0.0), cmap=DENSITY_MAP, **scale)
            draw_contours(panel, self.axes, frame.density, colors="white")
        if frame.particles is not None:
            points, weights, _ = frame.particles
            size = max(1.5, min(5.0, 4000.0 / max(len(points), 1)))
            for part, colour, label in ((weights >= 0, BLUE, None), (weights < 0, ORANGE, "weight < 0")):
                if not part.any():
                    continue
                style = {"color": colour, "linewidths": 0} if image is None else _OVER_DENSITY
                panel.scatter(points[part, 0], points[part, 1], size, label=label, **style)
            if np.any(weights < 0):
                panel.legend(frameon=False, markerscale=2.0)
        (x, *_, right), (y, *_, upper) = self.axes
        panel.set(xlabel="$x$", ylabel="$y$", aspect="equal", xlim=(x, right), ylim=(y, upper))
        return image

    def _draw_line(self, panel: Axes, frame: _Frame) -> None:
        if frame.particles is not None:
            panel.stairs(*self._histogram(frame.particles), fill=True, color=GREY, alpha=0.35, label="particles")
        if frame.density is not None:
            panel.plot(self.axes[0], frame.density, color=BLUE, label="density")
        if frame.particles is not None and frame.density is not None:
            panel.legend(frameon=False, loc="upper right")
        heights = [self._histogram(f.particles)[0] for f in self.frames if f.particles is not None]
        heights += [f.density for f in self.frames if f.density is not None]
        low, high = min(float(h.min()) for h in heights), max(float(h.max()) for h in heights)
        panel.set(xlabel="$x$", ylabel=self.label, ylim=(min(1.1 * low, 0.0), 1.15 * high))
        panel.set_xlim(self.axes[0][0], self.axes[0][-1])

    def _histogram(self, particles: _Particles) -> tuple[Array, Array]:
        """Return the particles' mass per unit length in bins, and the bins' edges."""
        points, weights, total = particles
        bins = int(np.clip(2 * total ** (1 / 3), 8, 200))
        mass, edges = np.histogram(points[:, 0], bins, (self.axes[0][0], self.axes[0][-1]), weights=weights)
        return mass / np.diff(edges), edges


def _densities(
    pde: SolvedDensity | None, species: str, times: Sequence[float]
) -> tuple[tuple[Array, ...], list[Array]]:
    """Return axes around the mass, and the densities there, of space integrated over z. Collective."""
    if pde is None:
        return (), []
    at_times = [DensityOnGrid(pde, species, None if t == pde.t_end else t) for t in times]
    axes = at_times[int(np.argmax(times))].grid().axes
    densities = [density(axes) for density in at_times]
    if len(axes) == 3:
        dz = axes[2][1] - axes[2][0]
        axes, densities = axes[:2], [density.sum(axis=2) * dz for density in densities]
    part = part_with_mass(np.stack([density / density.max() for density in densities]).max(axis=0))
    return tuple(axis[cut] for axis, cut in zip(axes, part, strict=True)), [density[part] for density in densities]


def _particles(cloud: ParticleCloud, species: str, most: float) -> _Particles:
    """Return the first two coordinates of the first particles by id on rank 0, this rank's elsewhere. Collective.

    Dots have one size: of particles whose weights differ those that stand for equal weights.
    """
    ids = np.asarray(cloud.ids_of(species))
    mine = ids < most
    chosen = equally_weighted(cloud, species) if cloud.model.dimension > 1 else None
    if chosen is not None:
        mine &= chosen
    own = getattr(cloud, "weights_of", None)
    weights = np.ones(len(ids)) if own is None else own(species)
    parts = cloud.comm.gather((ids[mine], np.asarray(cloud.of(species))[mine, :2], weights[mine], len(ids)))
    *columns, counts = zip(*(parts or [(ids, np.asarray(cloud.of(species))[:, :2], weights, len(ids))]), strict=True)
    ids, points, weights = (np.concatenate(column) for column in columns)
    order, total = np.argsort(ids), sum(counts)
    if own is None:
        weights = weights * (float(cloud.masses[species]) / max(total, 1))
    return _Particles(points[order], weights[order], total)


def _axes_around(points: Array) -> tuple[Array, ...]:
    """Return the first and last coordinates of a box around particles; those of other ranks than 0 are not used."""
    if not len(points):
        return ()
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.05 * (high - low), 1e-6)
    return tuple(np.linspace(a, b, 2) for a, b in zip(low - margin, high + margin, strict=True))


def _images(figures: Figures, view: _View) -> list[Any]:
    """Return the frames as Pillow's images, all of one size."""
    from matplotlib.colors import PowerNorm
    from PIL import Image

    figure = figures(view.size)
    figure.set_dpi(160)
    canvas: Any = figure.canvas
    norm = PowerNorm(
        0.5, vmin=0.0, vmax=max((float(f.density.max()) for f in view.frames if f.density is not None), default=1.0)
    )
    panel = figure.subplots()
    images: list[Any] = []
    for frame in view.frames:
        panel.clear()
        image = view.draw(panel, frame, norm)
        panel.set_title(
            view.title(frame, f"$t = {frame.t:.2f}$" if view.frames[-1].t >= 0.1 else f"$t = {in_digits(frame.t)}$")
        )
        if not images:
            if image is not None:
                draw_bar(figure, image, panel, view.label)
            canvas.draw()
            figure.set_layout_engine("none")  # frames must not move against each other
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return images
