"""Pictures: what they show, on which scales, and who writes them. They were also looked at."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, Still, draws, gaussian
from mpi4py import MPI

import kspde
from kspde.distances import Distance, compare
from kspde.plots import densities as pictures


@cache
def distance_in(dimension: int) -> Distance:
    pde = KnownDensity(density=gaussian(0.6, dimension=dimension), half_width=14)
    return compare(pde, KnownCloud(draws(pde.density, 500, 1), pde), replicas=2)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved, as matplotlib's objects."""
    saved: list[Any] = []
    save = matplotlib.figure.Figure.savefig

    def record(self: Any, *args: Any, **kwargs: Any) -> None:
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", record)
    return saved


def with_history(steps: int = 12, species: tuple[str, ...] = ("u",)) -> KnownDensity:
    t = np.linspace(0, 0.5, steps)
    columns = np.arange(1, len(species) + 1) if len(species) > 1 else 1

    def history(values: np.ndarray) -> np.ndarray:
        return np.multiply.outer(values, columns)

    diagnostics = {
        "t": t,
        "dt": np.diff(t, prepend=0.0),
        "mass": history(1 + 0 * t),
        "minimum": history(-1e-9 * t),
        "maximum": history(0.3 - 0.3 * t),
        "second_moment": history(3 + 6 * t),
        "entropy": history(-2.5 - 3 * t),
    }
    return KnownDensity(density=gaussian(0.6), model=Still(species=species), diagnostics=diagnostics)


def size_of(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


@pytest.mark.parametrize("dimension", [2, *(pytest.param(d, marks=pytest.mark.one_rank) for d in (1, 3))])
def test_distance(dimension: int, shared_tmp_path: Path, figures: list[Any], comm: MPI.Comm) -> None:
    distance = distance_in(dimension)
    distance.plot(shared_tmp_path / "distance.png")
    comm.barrier()
    width, height = size_of(shared_tmp_path / "distance.png")
    assert 1500 < width < 1900  # a page at 250 dots an inch
    assert 400 < height < 1200
    assert len(figures) == (1 if comm.rank == 0 else 0)
    for figure in figures:
        text = figure.get_suptitle() + figure.get_supxlabel()
        for part in ("t = 0.5", "varepsilon = 0.3", f"h = {distance.bandwidth:.3g}", "floor", str(distance.l1)):
            assert part in text
        assert ("plane" in text) == (dimension == 3)
        assert any("N = 500" in panel.get_title() for panel in figure.axes) or dimension == 1


@pytest.mark.one_rank
def test_colour_scales(shared_tmp_path: Path, figures: list[Any]) -> None:
    distance = distance_in(2)
    distance.plot(shared_tmp_path / "distance.png")
    for figure in figures:
        first, second, difference = (panel.images[0] for panel in figure.axes[:3])
        top = max(distance.density_pde.max(), distance.density_particles.max())
        assert first.get_clim() == second.get_clim() == (0.0, top)
        low, high = difference.get_clim()
        assert low == -high
        assert high == pytest.approx(np.abs(distance.density_particles - distance.density_pde).max())
        for panel in figure.axes[:3]:
            assert panel.get_aspect() == 1.0
            assert panel.images[0].get_extent()[1] < 4  # the mass, not the box of half-width 14


@pytest.mark.one_rank
def test_the_image_is_not_transposed(shared_tmp_path: Path, figures: list[Any]) -> None:
    density = kspde.GaussianMixture(weights=(0.8, 0.2), means=((2.0, -1.0), (0.5, 0.0)), stds=(0.3, 0.3))
    pde = KnownDensity(density=density)
    pictures.plot_density(pde, shared_tmp_path / "density.png")
    for figure in figures:
        (image,) = figure.axes[0].images
        left, right, bottom, top = image.get_extent()
        assert -2 < left < 2.0 < right < 4
        assert -3 < bottom < -1.0 < top < 2
        rows, columns = image.get_array().shape
        row, column = np.unravel_index(np.argmax(image.get_array()), (rows, columns))
        assert left + (column + 0.5) / columns * (right - left) == pytest.approx(2.0, abs=0.05)
        assert bottom + (row + 0.5) / rows * (top - bottom) == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("dimension", [2, pytest.param(1, marks=pytest.mark.one_rank)])
@pytest.mark.parametrize("plot", [pictures.plot_densities, pictures.plot_difference])
def test_parts(dimension: int, plot: Callable[[Distance, Path], None], shared_tmp_path: Path, comm: MPI.Comm) -> None:
    plot(distance_in(dimension), shared_tmp_path / "part.png")
    comm.barrier()
    assert min(size_of(shared_tmp_path / "part.png")) > 400


def test_density_on_the_line(shared_tmp_path: Path, figures: list[Any]) -> None:
    pictures.plot_density(KnownDensity(density=gaussian(dimension=1)), shared_tmp_path / "density.png")
    for figure in figures:
        (line,) = figure.axes[0].lines
        assert line.get_ydata().max() == pytest.approx(1 / np.sqrt(2 * np.pi), rel=1e-3)


def test_diagnostics(shared_tmp_path: Path, figures: list[Any], comm: MPI.Comm) -> None:
    pde = with_history()
    t = pde.diagnostics["t"]
    cloud = KnownCloud(draws(pde.density, 50, 1), pde, diagnostics={"t": t, "second_moment": 3.1 + 6 * t})
    pictures.plot_diagnostics(pde, shared_tmp_path / "diagnostics.png", cloud=cloud)
    comm.barrier()
    assert min(size_of(shared_tmp_path / "diagnostics.png")) > 700
    for figure in figures:
        titles = [panel.get_title() for panel in figure.axes]
        for word in ("mass", "minimum", "maximum", "second moment", "entropy", "time step"):
            assert any(word in title for title in titles)
        assert len(figure.axes[3].lines) == 2
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 0)
        low, high = figure.axes[0].get_ylim()
        assert -1e-12 < low < 0 < high < 1e-12  # round-off is not blown up to fill the panel
        assert len(figure.axes[5].lines[0].get_xdata()) == 11  # the initial state has no step


@pytest.mark.one_rank
def test_diagnostics_of_two_species(shared_tmp_path: Path, figures: list[Any]) -> None:
    pde = with_history(species=("a", "b"))
    moments = {"t": np.array([0.0, 0.5]), "second_moment": np.array([[3.0, 6.0], [6.0, 12.0]])}
    cloud = KnownCloud(draws(pde.density, 50, 1), pde, diagnostics=moments, n={"a": 50, "b": 50})
    pictures.plot_diagnostics(pde, shared_tmp_path / "diagnostics.png", cloud=cloud)
    for figure in figures:
        assert len(figure.axes[3].lines) == 4
        (legend,) = figure.legends  # below the panels
        labels = [text.get_text() for text in legend.get_texts()]
        assert labels == ["$a$", "$b$", "particles"]


def test_species_of_a_density(shared_tmp_path: Path) -> None:
    pde = with_history(species=("a", "b"))
    with pytest.raises(kspde.InputError, match="species is not given: give one of a, b"):
        pictures.plot_density(pde, shared_tmp_path / "density.png")
    pictures.plot_density(pde, shared_tmp_path / "density.png", species="b")


def test_what_cannot_be_written(shared_tmp_path: Path) -> None:
    with pytest.raises(kspde.InputError, match=r"cannot write .*missing.*: No such file or directory"):
        distance_in(2).plot(shared_tmp_path / "missing" / "distance.png")
    with pytest.raises(kspde.InputError, match=r"cannot write .*distance\.word: Format 'word' is not supported"):
        distance_in(2).plot(shared_tmp_path / "distance.word")
