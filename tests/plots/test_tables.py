"""Results as tables of pandas and grids of xarray."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.distances import OverTime

TIMES = (0.0, 0.05, 0.1)


@dataclass(frozen=True, kw_only=True)
class Pair(kspde.Model):
    """Two species that diffuse, and the signal of the first."""

    species: tuple[str, ...] = ("a", "b")
    rate: float = 1.5

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return (kspde.Field(name="c", source=self.species[0], kernel=kspde.Yukawa()),)

    def diffusion(self, species: str, c: kspde.FieldValues) -> float:
        return self.rate


def gaussian(x: float, mass: float = 1.0) -> kspde.GaussianMixture:
    return kspde.GaussianMixture(weights=[1.0], means=[[x, 0.0]], stds=[0.7], mass=mass)


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    u0 = {"a": gaussian(-1.0), "b": gaussian(2.0, 3.0)}
    box = kspde.Box(half_width=9.0, cells=12, degree=4)
    pde = kspde.solve(Pair(), u0, box, t_end=0.1, tol=1e-3, eps=0.5, save=kspde.SaveAt(times=TIMES))
    cloud = kspde.simulate(Pair(), u0, n=200, t_end=0.1, dt=0.05, eps=0.5)
    return {"pde": pde, "cloud": cloud}


def test_diagnostics_are_columns(runs: dict[str, Any]) -> None:
    pde, cloud = runs["pde"], runs["cloud"]
    table = pde.to_pandas()
    assert type(pde.diagnostics) is dict
    assert table.index.name == "step"
    np.testing.assert_array_equal(table["t"], pde.diagnostics["t"])
    for k, name in enumerate("ab"):
        np.testing.assert_array_equal(table[f"mass[{name}]"], pde.diagnostics["mass"][:, k])
    assert table.attrs["model.rate"] == 1.5
    particles = cloud.to_pandas()
    np.testing.assert_array_equal(particles["mean_x[b]"], cloud.diagnostics["mean"][:, 1, 0])
    np.testing.assert_array_equal(particles["mean_y[a]"], cloud.diagnostics["mean"][:, 0, 1])
    assert list(particles.columns)[:2] == ["t", "second_moment[a]"]


def test_one_species_has_plain_columns() -> None:
    cloud = kspde.simulate(Pair(species=("u",)), gaussian(0.0), n=50, t_end=0.1, dt=0.05, eps=0.5)
    table = cloud.to_pandas()
    assert list(table.columns) == ["t", "second_moment", "mean_x", "mean_y"]
    np.testing.assert_array_equal(table[["mean_x", "mean_y"]], cloud.diagnostics["mean"])


def test_densities_and_fields_on_a_grid(runs: dict[str, Any], shared_tmp_path: Path) -> None:
    pde = runs["pde"]
    axes = [np.linspace(-2, 2, 5), np.linspace(-1, 1, 4)]
    data = pde.to_xarray(axes, t=[0.05, 0.1])
    assert dict(data.sizes) == {"t": 2, "x": 5, "y": 4}
    for k, t in enumerate((0.05, 0.1)):
        for name in "ab":
            np.testing.assert_array_equal(data[name].isel(t=k), pde.on_grid(axes, name, t))
        np.testing.assert_array_equal(data["c"].isel(t=k), pde.signal_on_grid(axes, "c", t))
    np.testing.assert_array_equal(data["x"], axes[0])
    assert data["b"].attrs == {"long_name": "density of b, mass per unit area", "units": "1"}
    assert data.attrs["model.rate"] == 1.5
    assert data.attrs["eps"] == 0.5
    assert json.loads(data.attrs["parameters"])["model"] == "Pair"
    assert all(type(value) in (int, float, str) for value in data.attrs.values())  # netCDF holds no others


def test_the_grid_covers_the_mass_of_all_species(runs: dict[str, Any]) -> None:
    data = runs["pde"].to_xarray(points=81)
    assert dict(data.sizes) == {"t": 3, "x": 81, "y": 81}
    cell = float(np.prod([np.diff(data[x])[0] for x in "xy"]))
    for name, mass in (("a", 1.0), ("b", 3.0)):
        np.testing.assert_allclose(data[name].sum(["x", "y"]) * cell, mass, rtol=2e-3)


@pytest.mark.one_rank
def test_outside_the_domain_is_nothing() -> None:
    disk = kspde.Disk(radius=6.0, size=0.6)
    pde = kspde.solve(Pair(species=("u",)), gaussian(0.0), disk, t_end=0.01, tol=1e-2, eps=0.5)
    data = pde.to_xarray([np.array([0.0, 5.0]), np.array([0.0, 5.0])])
    for name in ("u", "c"):
        np.testing.assert_array_equal(np.isnan(data[name][0]), [[False, False], [False, True]])


def test_distances_are_rows(runs: dict[str, Any]) -> None:
    distance = kspde.compare(runs["pde"], runs["cloud"], species="b", replicas=3)
    table = distance.to_pandas()
    assert list(table.index) == list(distance.by_name)
    row = table.loc["l1"]
    assert (row["low"], row["high"]) == tuple(distance.l1.interval)
    assert (row["value"], row["floor"]) == (distance.l1.value, distance.floor.l1.value)
    assert (row["floor_low"], row["floor_high"]) == tuple(distance.floor.l1.interval)
    assert row["debiased"] == distance.debiased.l1.value
    assert row["above_floor"] == distance.is_above_floor("l1")
    history = OverTime.of([distance]).to_pandas()
    assert history.index.name == "t"
    assert history["l1"].iloc[0] == distance.l1.value


@pytest.mark.parametrize(
    ("library", "call"),
    [
        ("pandas", lambda runs: runs["pde"].to_pandas()),
        ("pandas", lambda runs: runs["cloud"].to_pandas()),
        ("xarray", lambda runs: runs["pde"].to_xarray()),
    ],
)
def test_without_the_library_one_line_names_the_extra(
    library: str, call: Callable[[Any], Any], runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(kspde.MissingBackendError, match=rf'needs the library {library}, .*pip install "kspde\[data\]"'):
        call(runs)


def test_what_is_no_grid(runs: dict[str, Any]) -> None:
    pde = runs["pde"]
    for options, words in (
        ({"axes": [[0.0], [0.0]], "points": 9}, "axes and points = 9 are given: give one of them"),
        ({"axes": [[0.0]]}, "axes = .* is not valid: give a coordinate array for each of 2"),
        ({"points": 1}, "points = 1 is not valid"),
        ({"t": 0.3}, r"t = 0\.3 is not between saved"),
        ({"t": "now"}, "t = 'now' is not a number"),
        ({"t": []}, "t is empty: give a time"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            pde.to_xarray(**options)
