"""Pictures that solutions and particles draw of themselves, in 1D, 2D and 3D. They were also looked at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.plots.densities import DensityOnGrid
from kspde.plots.maps import draw_bar, draw_image
from kspde.plots.style import COLUMN, PAGE, setting_of, styled

TIMES = (0.0, 0.05, 0.1)


@dataclass(frozen=True, kw_only=True)
class Heat(kspde.Model):
    """∂_t u = Δu."""

    dimension: int = 2

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return ()

    def diffusion(self, species: str, c: kspde.FieldValues) -> float:
        return 1.0


class Run:
    """A density and particles of the heat equation, from a Gaussian around (1, 0, 0)."""

    def __init__(self, dimension: int, n: int = 3000, **options: Any) -> None:
        model = Heat(dimension=dimension)
        self.u0 = kspde.GaussianMixture(weights=[1.0], means=[np.eye(dimension)[0]], stds=[0.7], mass=2.0)
        box = kspde.Box(half_width=8.0, cells=(40, 12, 8)[dimension - 1], degree=4, dimension=dimension)
        self.snapshots = kspde.Snapshots()
        self.pde = kspde.solve(model, self.u0, box, t_end=0.1, tol=1e-3, save=kspde.SaveAt(times=TIMES))
        save = kspde.SaveAt(times=TIMES, callback=self.snapshots)
        self.cloud = kspde.simulate(model, self.u0, n=n, t_end=0.1, dt=0.05, save=save, **options)

    def exact(self, x: np.ndarray, t: float) -> np.ndarray:
        """The density on the line."""
        variance = 0.7**2 + 2 * t
        return 2.0 * np.exp(-((x - 1.0) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


@pytest.fixture(scope="module")
def runs() -> dict[int, Run]:
    return {dimension: Run(dimension) for dimension in (1, 2, 3)}


def on_rank_0(comm: Any, figure: Any) -> bool:
    """Return whether this is rank 0, which alone has the figure."""
    assert (figure is not None) == (comm.rank == 0)
    return comm.rank == 0


def test_a_figure_is_returned_or_written(runs: dict[int, Run], shared_tmp_path: Path, comm: Any) -> None:
    # A cloud over a density is also drawn in 1D and 3D.
    for dimension, run in runs.items() if comm.size == 1 else [(2, runs[2])]:
        pictures = ((run.cloud.plot, {"pde": run.pde}), (run.pde.plot, {"t": 0.03}), (run.cloud.plot, {}))
        for k, (draw, options) in enumerate(pictures if dimension == 2 else pictures[:1]):
            figure = draw(**options)
            path = shared_tmp_path / f"{dimension}-{k}.png"
            assert draw(path, **options) is None
            comm.Barrier()
            if on_rank_0(comm, figure):
                figure.savefig(shared_tmp_path / "again.png")
                # A figure that is written later looks the same; a notebook shows it without pyplot.
                assert (shared_tmp_path / "again.png").read_bytes() == path.read_bytes()
                if dimension == 2:  # the figures of all are of one class
                    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_density_at_a_time_on_the_line(runs: dict[int, Run], comm: Any) -> None:
    for t in (0.0, 0.03, None):
        figure = runs[1].pde.plot(t=t)
        if on_rank_0(comm, figure):
            (panel,) = figure.axes
            (line,) = panel.lines
            x, u = line.get_data()
            np.testing.assert_allclose(u, runs[1].exact(x, 0.1 if t is None else t), atol=2e-3)
            assert panel.get_title() == f"$t = {0.1 if t is None else t:g}$"


@pytest.mark.one_rank
def test_a_narrow_peak_is_shown_with_as_many_points_as_the_whole_mass() -> None:
    class Collapsed:
        """The profile of a collapse, of height 1 about (.3, -.2), and a wide Gaussian of the same mass."""

        domain = kspde.Box(half_width=4.0, cells=4)

        def on_grid(self, axes: Any, species: str, outside: float) -> np.ndarray:
            x, y = np.meshgrid(*axes, indexing="ij")
            scale = 0.02
            peak = 1.0 / (1.0 + ((x - 0.3) ** 2 + (y + 0.2) ** 2) / scale**2) ** 2
            return np.asarray(peak + scale**2 / 2 * np.exp(-(x**2 + y**2) / 2))

    axes, values = DensityOnGrid(Collapsed(), "u").on_shown_part()  # type: ignore[arg-type]
    assert values.max() > 0.99
    assert all(np.sum((values > 4e-3).any(axis=k)) > 100 for k in (0, 1))
    where = np.unravel_index(np.argmax(values), values.shape)
    assert [axis[k] for axis, k in zip(axes, where, strict=True)] == pytest.approx([0.3, -0.2], abs=2e-3)


@pytest.mark.one_rank
def test_titles_and_labels_are_legible() -> None:
    assert setting_of(5.42271e-05, 1e-6) == [r"$t = 5.423 \times 10^{-5}$", r"$\varepsilon = 1 \times 10^{-6}$"]
    assert setting_of(0.0625, None) == ["$t = 0.0625$"]
    with styled() as figures:
        for columns in (1, 3):
            figure = figures((PAGE if columns == 3 else COLUMN, 3.0))
            for panel in np.ravel(figure.subplots(1, columns)):
                draw_image(panel, [np.linspace(-1.6, 1.97, 20), np.linspace(-2.0, 2.0, 20)], np.ones((20, 20)))
            figure.canvas.draw()
            ends = [label.get_window_extent() for label in panel.get_xticklabels()]
            assert all(a.x1 < b.x0 for a, b in pairwise(ends))


@pytest.mark.one_rank
def test_powers_of_ten_alone_are_mathematical_type() -> None:
    def at_ticks(axis: Any) -> set[str]:
        return {label.get_text() for label in axis.get_ticklabels()}

    with styled() as figures:
        figure = figures((PAGE, 3.0))
        panels = figure.subplots(1, 3)
        panels[0].plot([-4e-7, 0.0])
        panels[1].plot([1e-3, 1e2])
        panels[1].set_yscale("log")
        image = draw_image(panels[2], [np.linspace(0.0, 1.0, 3)] * 2, np.diag([-4e-7, 0.0, 0.0]))
        draw_bar(figure, image, panels[2], "")
        figure.canvas.draw()
        for axis in (panels[0].yaxis, figure.axes[3].xaxis):
            assert {"−4", "−2", "0"} <= {label.removesuffix(".0") for label in at_ticks(axis)}
            assert axis.get_offset_text().get_text().startswith(r"$\times\mathdefault{10^{−7}}")
        assert all(label.startswith(r"$\mathdefault{10^{") for label in at_ticks(panels[1].yaxis))


@pytest.mark.one_rank
def test_a_figure_is_arranged_and_cut_as_matplotlib_does_it(
    runs: dict[int, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "figure.constrained_layout.use", True)  # as a user's file may say
    for dpi in (None, "figure"):
        written = []
        for options in ({}, {"bbox_inches": "tight"}):
            figure = runs[2].cloud.plot(pde=runs[2].pde)
            engine, before = figure.get_layout_engine(), figure.get_dpi()
            figure.savefig(tmp_path / "figure.png", **options, **({} if dpi is None else {"dpi": dpi}))
            written.append((tmp_path / "figure.png").read_bytes())
            assert engine is not None
            assert (figure.get_layout_engine(), figure.get_dpi()) == (engine, before)
        assert written[0] == written[1]


def test_the_histogram_is_of_all_particles_and_their_mass(runs: dict[int, Run], comm: Any) -> None:
    run = runs[1]
    figure = run.cloud.plot(pde=run.pde)
    if on_rank_0(comm, figure):
        (panel,) = figure.axes
        (patch,) = panel.patches
        values, edges, _ = patch.get_data()
        assert abs(np.sum(values * np.diff(edges)) - 2.0) < 0.02
        middle = 0.5 * (edges[1:] + edges[:-1])
        np.testing.assert_allclose(values, run.exact(middle, 0.1), atol=0.12)
        assert "$3\\,000$ particles" in panel.get_title()


def test_dots_are_the_first_particles(runs: dict[int, Run], comm: Any) -> None:
    for dimension in (2, 3):
        run = runs[dimension]
        figure, alone = run.cloud.plot(pde=run.pde, most=200), run.cloud.plot(most=200)
        positions = run.cloud.gathered()
        if on_rank_0(comm, figure):
            for panel in (figure.axes[0], alone.axes[0]):
                (dots,) = [shown for shown in panel.collections if len(shown.get_offsets()) == 200]
                np.testing.assert_array_equal(dots.get_offsets(), positions[:200, :2])
                assert "$200$ of $3\\,000$ particles" in panel.get_title()
                assert ("seen along $z$" in panel.get_title()) == (dimension == 3)
            assert len(alone.axes) == 1
            low, high = alone.axes[0].get_xlim()
            assert low < positions[:200, 0].min() < positions[:200, 0].max() < high


def test_below_particles_in_space_is_the_integral_of_the_density(runs: dict[int, Run], comm: Any) -> None:
    figure = runs[3].cloud.plot(pde=runs[3].pde)
    if on_rank_0(comm, figure):
        (image,) = figure.axes[0].images
        variance = 0.7**2 + 2 * 0.1
        assert image.get_array().max() == pytest.approx(2.0 / (2 * np.pi * variance), rel=0.03)
        assert "integrated over $z$" in figure.axes[1].get_xlabel()


def test_negative_weights_have_their_colour(comm: Any) -> None:
    weights = np.where(np.arange(400) % 4 == 0, -0.01, 0.01)
    for dimension in (1, 2):
        cloud = Run(dimension, n=400, weights=weights).cloud
        figure = cloud.plot()
        if on_rank_0(comm, figure):
            panel = figure.axes[0]
            if dimension == 2:
                assert [len(dots.get_offsets()) for dots in panel.collections] == [300, 100]
            else:
                values, edges, _ = panel.patches[0].get_data()
                assert np.sum(values * np.diff(edges)) == pytest.approx(2.0)


@pytest.mark.parametrize("dimension", [2, *(pytest.param(d, marks=pytest.mark.one_rank) for d in (1, 3))])
def test_animations(dimension: int, runs: dict[int, Run], shared_tmp_path: Path, comm: Any) -> None:
    run = runs[dimension]
    run.pde.animate(shared_tmp_path / "density.webp", seconds=0.2)
    run.pde.animate(shared_tmp_path / "both.webp", snapshots=run.snapshots, most=100)
    files = {"density.webp": 3, "both.webp": 3}
    shown = None
    if dimension == 2:  # formats and times have nothing to do with it
        run.pde.animate(shared_tmp_path / "times.gif", times=[0.0, 0.02, 0.04, 0.1])
        files |= {"times.gif": 4}
        shown = run.pde.animate()
        assert (shown is not None) == (comm.rank == 0)
    comm.Barrier()
    if comm.rank == 0:
        from PIL import Image

        for name, frames in files.items():
            with Image.open(shared_tmp_path / name) as animation:
                assert animation.n_frames == frames
    if shown is not None:
        assert shown._repr_html_().startswith('<img src="data:image/webp;base64,UklGR')
        assert len(repr(shown)) < 60


def test_what_cannot_be_drawn(runs: dict[int, Run], shared_tmp_path: Path) -> None:
    pde, cloud, snapshots = runs[2].pde, runs[2].cloud, runs[2].snapshots
    for call, words in (
        (lambda: pde.plot(species="v"), "species = 'v' is not valid: give one of u"),
        (lambda: pde.plot(t=0.2), r"t = 0\.2 is not between saved"),
        (lambda: pde.plot(3), "path = 3 is not valid: give the name of a file"),
        (lambda: cloud.plot(species="v"), "species = 'v' is not valid: give one of u"),
        (lambda: cloud.plot(most=0), "most = 0 is not valid"),
        (lambda: cloud.plot(pde=runs[1].pde), "dimension is 1 for the density and 2 for the particles"),
        (lambda: cloud.plot(shared_tmp_path / "no" / "u.png"), "cannot write .*u.png: No such file"),
        (lambda: pde.animate("u.avi"), r"suffix = '\.avi' is not valid"),
        (lambda: pde.animate(times=[0.1]), "there are fewer than two times to show"),
        (lambda: pde.animate(snapshots=[cloud]), "snapshots has fewer than two times"),
        (lambda: pde.animate(snapshots=[]), "snapshots has fewer than two times"),
        (lambda: pde.animate(snapshots=snapshots, times=TIMES), "times are given with snapshots"),
        (lambda: pde.animate(snapshots="directory"), "snapshots is a str: give kspde.Snapshots"),
        (lambda: pde.animate(seconds=0), "seconds = 0 is not valid"),
        (lambda: pde.animate(seconds=1e9), "seconds = 1000000000.0 is not valid: give a finite number > 0 and < 60"),
        (lambda: pde.animate(3), "path = 3 is not valid"),
        (lambda: pde.animate(times=3), r"times has shape \(\)"),
        (lambda: pde.animate(snapshots=np.zeros((3, 2))), "snapshots is a ndarray: give kspde.Snapshots"),
        (lambda: pde.plot(""), "path = '' is not valid"),
        (lambda: pde.plot(species=pde), "species = Solution.* is not valid"),
        (lambda: cloud.plot(pde=cloud), "pde is a Cloud: give what kspde.solve returned"),
        (lambda: pde.plot_diagnostics(cloud=runs[1].cloud), "dimension = 2 for the density and 1 for the particles"),
        (lambda: pde.plot_diagnostics(cloud=pde), "cloud is a Solution: give what kspde.simulate returned"),
        (lambda: pde.to_xarray(axes=3), "axes = 3 is not valid: give a coordinate array for each of 2 directions"),
        (lambda: pde.to_xarray(points=10**6), "points = 1000000 is not valid"),
        (lambda: kspde.compare(pde, cloud, times=TIMES, snapshots=b"x"), "snapshots is a bytes: give Snapshots"),
        (lambda: kspde.compare(pde, cloud, distances=pde), "distances = Solution.* is not valid"),
    ):
        with pytest.raises(kspde.InputError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_ranks_that_ask_for_different_pictures_all_hear_of_it(runs: dict[int, Run], comm: Any) -> None:
    if comm.size == 1:
        pytest.skip("ranks differ where there are several")
    pde, cloud, snapshots, other = runs[2].pde, runs[2].cloud, runs[2].snapshots, comm.rank > 0
    for call, name in (
        (lambda: cloud.plot(pde=pde if other else None), "pde"),
        (lambda: cloud.plot(most="a" if other else 9), "most"),
        (lambda: pde.plot(species="w" if other else None), "species"),
        (lambda: pde.plot("u.png" if other else None), "path"),
        (lambda: pde.animate(snapshots=snapshots if other else None), "snapshots"),
        (lambda: pde.animate(seconds=-1 if other else 1), "seconds"),
        (lambda: pde.to_xarray(points="a" if other else 9), "points"),
        (lambda: kspde.compare(pde, cloud, times=TIMES, snapshots=3 if other else snapshots), "snapshots"),
    ):
        with pytest.raises(kspde.InputError, match=f"{name} = .* on rank 0 and .* on rank 1"):
            call()


def test_particles_outside_the_picture_are_counted(runs: dict[int, Run], comm: Any) -> None:
    far = kspde.GaussianMixture(weights=[1.0], means=[[-6.0, 3.0]], stds=[0.2], mass=2.0)
    cloud = kspde.simulate(Heat(), far, n=50, t_end=0.1, dt=0.05)
    figure = cloud.plot(pde=runs[2].pde)
    if on_rank_0(comm, figure):
        assert "$50$ particles ($50$ outside the picture)" in figure.axes[0].get_title()


def test_a_rank_without_particles_is_drawn_with(comm: Any) -> None:
    one = Run(1, n=1)
    assert (one.pde.animate(snapshots=one.snapshots) is not None) == (comm.rank == 0)


def test_a_subclass_of_a_domain_has_its_mesh() -> None:
    class Dish(kspde.Disk):
        """A disk of another name."""

    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.7])
    pde = kspde.solve(Heat(), u0, Dish(radius=4.0, size=0.6), t_end=0.01, tol=1e-2)
    assert pde.diagnostics["mass"][-1] == pytest.approx(1.0)
