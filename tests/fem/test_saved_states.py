"""Saved states, values between them, statistics on demand, gradients, files."""

import json
import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

import kspde
from kspde.runtime.hdf5 import h5py

MODEL = kspde.SignalDependentKellerSegel(chi=0.0)
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, -0.2]], stds=[0.7])
BOX = kspde.Box(half_width=14.0, cells=20, degree=6)
POINTS = np.random.default_rng(5).uniform(-3, 3, (40, 2))


def exact(t: float, points: np.ndarray = POINTS) -> np.ndarray:
    variance = 0.49 + 4 * t
    return np.exp(-np.sum((points - [0.3, -0.2]) ** 2, axis=1) / (2 * variance)) / (2 * np.pi * variance)


def test_states_at_and_between_saved_times() -> None:
    seen = []
    times = np.linspace(0, 0.5, 6)
    save = kspde.SaveAt(times=times, callback=lambda state: seen.append((state.t, state.evaluate(POINTS[:1])[0])))
    pde = kspde.solve(MODEL, U0, BOX, t_end=0.5, tol=1e-7, save=save)
    np.testing.assert_allclose(pde.times, times)
    for t in times:
        assert np.abs(pde.evaluate(POINTS, t=t) - exact(t)).max() < 2e-7
        assert np.min(np.abs(pde.diagnostics["t"] - t)) < 1e-12  # a step ends exactly there
    np.testing.assert_allclose(seen, [(t, exact(t)[0]) for t in times], atol=2e-7)

    def between(n: int) -> float:
        saved = kspde.SaveAt(times=np.linspace(0.1, 0.5, n))
        result = kspde.solve(MODEL, U0, BOX, t_end=0.5, tol=1e-8, save=saved)
        return max(np.abs(result.evaluate(POINTS, t=t) - exact(t)).max() for t in np.linspace(0.13, 0.49, 9))

    coarse, fine = between(3), between(9)
    assert coarse < 2e-3
    assert 50 < coarse / fine < 700  # order 4: 256


def test_times_that_were_not_saved_are_refused() -> None:
    pde = kspde.solve(MODEL, U0, BOX, t_end=0.1, tol=1e-4)
    with pytest.raises(kspde.InputError, match=r"t = 0\.05 is not between saved times .*SaveAt"):
        pde.evaluate(POINTS, t=0.05)
    for times, words in (([0.2, 0.1], "increasing"), ([-1.0], "increasing"), ([np.nan], "nan")):
        with pytest.raises(kspde.InputError, match=words):
            kspde.SaveAt(times=times)
    for save, words in (
        (kspde.SaveAt(times=[0.3]), r"times reach 0\.3, after t_end = 0\.1"),
        (kspde.SaveAt(statistics=("temperature",)), "statistics = 'temperature' .* fisher_information"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            kspde.solve(MODEL, U0, BOX, t_end=0.1, save=save)


@pytest.mark.parametrize("scheme", ["adaptive", "positive"])
def test_statistics_of_a_gaussian(scheme) -> None:
    """Fisher information d/s²; |∇log u| = |x − m|/s² is largest where u = 1e-12, which asks for exact tails.

    Those of the positive scheme are the exponentials of implicit Euler steps, |∇log u| ≤ (D Δt)^(−1/2), D = 2.
    """
    names = ("fisher_information", "log_gradient")
    if scheme == "adaptive":
        box = kspde.Box(half_width=14.0, cells=24, degree=10)
        options = {"tol": 1e-8}
    else:
        box = kspde.Box(half_width=14.0, cells=96, degree=1)
        options = {"scheme": "positive", "dt": 0.01}
    pde = kspde.solve(MODEL, U0, box, t_end=0.1, save=kspde.SaveAt(times=[0.055], statistics=names), **options)
    variance = 0.49 + 4 * pde.diagnostics["t"]
    np.testing.assert_allclose(
        pde.diagnostics["fisher_information"], 2 / variance, rtol=1e-9 if scheme == "adaptive" else 0.01
    )
    reach = np.sqrt(-2 * variance * np.log(1e-12 * 2 * np.pi * variance)) / variance
    if scheme == "positive":
        bound = (2.0 * 0.01) ** -0.5
        assert np.all(pde.diagnostics["log_gradient"][1:] < 1.02 * bound)
        assert np.all(pde.diagnostics["log_gradient"][1:] > 0.7 * bound)
    else:
        np.testing.assert_allclose(pde.diagnostics["log_gradient"], reach, rtol=0.03)
    assert np.min(np.abs(pde.diagnostics["t"] - 0.055)) < 1e-12


def test_statistics_of_initial_data_on_a_coarse_mesh() -> None:
    """Next to nodes where u is 1e-12 the slope of u itself is that of its neighbours: 1000 times too large."""
    box = kspde.Box(half_width=8.0, cells=8, degree=5)
    save = kspde.SaveAt(statistics=("fisher_information", "log_gradient"))
    pde = kspde.solve(MODEL, U0, box, t_end=1e-6, tol=1e-4, save=save)
    assert pde.diagnostics["fisher_information"][0] == pytest.approx(2 / 0.49, rel=0.02)
    assert 5.0 < pde.diagnostics["log_gradient"][0] < 7.3 / 0.7


def test_boundary_mass_of_a_gaussian() -> None:
    box = kspde.Box(half_width=10.0, cells=100, degree=2, grading=0.0)
    wide = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.9])
    pde = kspde.solve(MODEL, wide, box, t_end=1e-6, tol=1e-4)
    outside = 1 - math.erf(9.0 / 1.9 / math.sqrt(2)) ** 2
    assert pde.diagnostics["boundary_mass"][0] == pytest.approx(outside, rel=0.3)


@pytest.mark.parametrize("mollifier", ["gaussian", "matern"])
def test_mollified_initial_data(mollifier) -> None:
    """A Gaussian mollified by a Gaussian is one of variance s² + ε²; by Matérn's it has the same second moment."""
    variance = 0.49 + 0.09
    for domain in (BOX, kspde.Disk(radius=14.0, size=0.5, rim_size=3.0, cell="quadrilateral", degree=4)):
        pde = kspde.solve(
            MODEL, U0, domain, t_end=1e-9, tol=1e-4, eps=0.3, mollifier=mollifier, initial="mollified"
        )  # fmt: skip
        moment = 2 * variance + 0.13
        assert pde.diagnostics["second_moment"][0] == pytest.approx(moment, rel=2e-4)
        assert abs(pde.diagnostics["mass"][0] - 1) < 1e-12
        if mollifier == "gaussian":
            r2 = np.sum((POINTS - [0.3, -0.2]) ** 2, axis=1)
            smooth = np.exp(-r2 / (2 * variance)) / (2 * np.pi * variance)
            assert np.abs(pde.evaluate(POINTS) - smooth).max() < (1e-7 if domain is BOX else 2e-4)
    with pytest.raises(kspde.InputError, match='initial = "mollified" needs a mollifier: give eps'):
        kspde.solve(MODEL, U0, BOX, t_end=0.1, initial="mollified")
    # Round-off of the transforms is not among the data of a scheme that promises u >= 0.
    box = kspde.Box(half_width=14.0, cells=60, degree=1)
    options = {"scheme": "positive", "eps": 0.3, "mollifier": mollifier, "initial": "mollified"}
    pde = kspde.solve(MODEL, U0, box, t_end=0.01, dt=0.005, **options)
    assert np.all(pde.diagnostics["minimum"] >= 0)
    assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-12


def test_gradients_and_w() -> None:
    model = kspde.SignalDependentKellerSegel(chi=4.0)
    pde = kspde.solve(model, U0, BOX, t_end=0.1, tol=1e-6)
    h = 1e-4
    steps = np.array([[h, 0.0], [0.0, h]])
    slopes = np.stack([(pde.evaluate(POINTS + s) - pde.evaluate(POINTS - s)) / (2 * h) for s in steps], axis=1)
    np.testing.assert_allclose(pde.at().evaluate_gradient(POINTS), slopes, atol=1e-4)
    signal = pde.evaluate_signal
    slopes = np.stack([(signal(POINTS + s) - signal(POINTS - s)) / (2 * h) for s in steps], axis=1)
    np.testing.assert_allclose(pde.at().evaluate_signal_gradient(POINTS), slopes, atol=1e-5)
    w = (1 + np.exp(-pde.evaluate_signal(POINTS))) * pde.evaluate(POINTS)
    np.testing.assert_allclose(pde.at().evaluate_w(POINTS), w, atol=1e-6)


def test_mass_at_the_boundary_is_noticed(comm) -> None:
    small = kspde.Box(half_width=5.0, cells=20, degree=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pde = kspde.solve(MODEL, U0, small, t_end=0.8, tol=1e-5)
    assert pde.diagnostics["boundary_mass"][-1] > 1e-3
    mine = [str(w.message) for w in caught if issubclass(w.category, kspde.KspdeWarning)]
    assert len(mine) == (comm.rank == 0)  # said once
    said = comm.bcast(mine[0] if mine else None)
    assert re.match(r"a share 0\.\d+ of the mass is in the outer tenth of the domain at t = 0\.8", said)
    advised = float(re.search(r"half_width of (\S+)", said)[1])
    enough = kspde.solve(MODEL, U0, kspde.Box(half_width=advised, cells=30, degree=4), t_end=0.8, tol=1e-5)
    assert enough.diagnostics["boundary_mass"][-1] < 2e-6


@dataclass(frozen=True, kw_only=True)
class Chemotaxis(kspde.Model):
    """∂_t u = Δu − ∇·(u∇c), −Δc + c = u in any dimension."""

    dimension: int

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return (kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True),)

    def diffusion(self, species: str, c: kspde.FieldValues) -> float:
        return 1.0

    def drift(self, species: str, c: kspde.FieldValues) -> np.ndarray:
        return c.gradient("c")


def vtk_order(d: int, p: int) -> np.ndarray:
    """Return the places in [0, p]^d of the nodes of VTK's Lagrange cell of degree p: corners, edges, faces, inside."""
    corners = p * np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)])
    corners = corners[[0, 1]] if d == 1 else corners[: 2**d]
    edges = [(0, 1), (1, 2), (3, 2), (0, 3), (4, 5), (5, 6), (7, 6), (4, 7), (0, 4), (1, 5), (2, 6), (3, 7)]
    rows = [*corners]
    for a, b in edges[: {1: 1, 2: 4, 3: 12}[d]]:
        rows += [corners[a] + (corners[b] - corners[a]) * k // p for k in range(1, p)]
    within = range(1, p)
    for axis in range(3 if d == 3 else 0):
        for side in (0, p):
            rows += [np.insert((i, j), axis, side) for j in within for i in within]
    if d > 1:
        rows += [(i, j, k) for k in (within if d == 3 else [0]) for j in within for i in within]
    return np.array(rows)[:, :d]


@pytest.mark.parametrize("d", [1, 2, 3])
def test_files_have_all_nodes_and_times(d: int, shared_tmp_path, comm) -> None:
    model, u0 = Chemotaxis(dimension=d), kspde.GaussianMixture(weights=[1.0], means=[[0.2] * d], stds=[0.6], mass=2.0)
    box = kspde.Box(half_width=4.0, cells=6, degree=3, dimension=d, boundary="neumann")
    pde = kspde.solve(model, u0, box, t_end=0.1, tol=1e-1, save=kspde.SaveAt(times=[0.0, 0.07]))
    for _ in range(2):  # over an earlier file, too
        pde.write_vtkhdf(shared_tmp_path / "density.vtkhdf")
    with h5py.File(shared_tmp_path / "density.vtkhdf") as file:
        grid, parameters = file["VTKHDF"], json.loads(file.attrs["parameters"])
        assert grid.attrs["Type"] == b"UnstructuredGrid"
        points, cells = grid["Points"][()], grid["Connectivity"][()].reshape(6**d, 4**d)
        data = {name: values[()].reshape(3, -1) for name, values in grid["PointData"].items()}
        assert set(grid["Types"][()]) == {66 + 2 * d}  # Lagrange curve, quadrilateral, hexahedron
        assert grid["Offsets"][()].tolist() == list(range(0, cells.size + 1, 4**d))
        assert [grid[f"NumberOf{name}"][0] for name in ("Points", "Cells", "ConnectivityIds")] == [
            19**d, 6**d, 24**d,
        ]  # fmt: skip
        steps = grid["Steps"]
        assert steps.attrs["NSteps"] == 3
        np.testing.assert_allclose(steps["Values"], [0.0, 0.07, 0.1], rtol=0, atol=1e-15)
        for name in ("PartOffsets", "PointOffsets", "CellOffsets", "ConnectivityIdOffsets"):
            assert not np.any(steps[name])  # all times have one grid
        for name in data:
            assert steps[f"PointDataOffsets/{name}"][()].tolist() == [0, 19**d, 2 * 19**d]
            assert grid[f"PointData/{name}"].attrs["units"] == "1"
        assert {k: parameters[k] for k in pde.problem.describe()} == json.loads(json.dumps(pde.problem.describe()))
        assert file.attrs["scheme"] == parameters["scheme"] == "adaptive"
        assert "mass per volume" in file.attrs["scaling"]
        assert "basix" in json.loads(file.attrs["provenance"])["versions"]
    assert not np.any(points[:, d:])
    assert len(np.unique(np.round(points, 9), axis=0)) == 19**d
    for t, u, c in zip(pde.times, data["u"], data["c"], strict=True):
        np.testing.assert_allclose(u, pde.evaluate(points[:, :d], t=t), rtol=0, atol=1e-13)
        np.testing.assert_allclose(c, pde.evaluate_signal(points[:, :d], t=t), rtol=0, atol=1e-13)
    # Each cell is a box whose nodes are where VTK takes them to be, and Simpson's rule of order 4 gives the mass.
    places = vtk_order(d, 3)
    corner = points[cells][:, :, :d].min(axis=1)
    sides = points[cells][:, :, :d].max(axis=1) - corner
    expected = corner[:, None] + sides[:, None] * places / 3
    np.testing.assert_allclose(points[cells][:, :, :d], expected, rtol=0, atol=1e-13)
    rule = np.prod(np.array([1.0, 3.0, 3.0, 1.0])[places] / 8, axis=1)
    for u in data["u"]:
        assert np.prod(sides, axis=1) @ (u[cells] @ rule) == pytest.approx(2.0, abs=1e-12)


@pytest.mark.parametrize(("d", "degree", "cells"), [(1, 3, 8), (2, 1, 60), (2, 4, 8), (3, 2, 8)])
def test_a_file_of_a_periodic_box_closes(d: int, degree: int, cells: int, shared_tmp_path) -> None:
    box = kspde.Box(half_width=2.0, cells=cells, degree=degree, dimension=d, centre=(0.5,) * d, boundary="periodic")
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.9] * d], stds=[0.3], mass=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kspde.KspdeWarning)  # these few cells show
        pde = kspde.solve(Chemotaxis(dimension=d), u0, box, t_end=0.01, tol=1e-1)
    pde.write_vtkhdf(shared_tmp_path / "u.vtkhdf")
    with h5py.File(shared_tmp_path / "u.vtkhdf") as file:
        grid = file["VTKHDF"]
        points, u = grid["Points"][:, :d], grid["PointData/u"][()][-((cells * degree + 1) ** d) :]
        assert set(grid["Types"][()]) == {({1: 3, 2: 9, 3: 12} if degree == 1 else {1: 68, 2: 70, 3: 72})[d]}
    assert len(np.unique(points.round(9), axis=0)) == len(u) == (cells * degree + 1) ** d
    np.testing.assert_allclose(u, pde.evaluate(points), rtol=0, atol=1e-12 * u.max())
    first, last = np.all(points == -1.5, axis=1), np.all(points == 2.5, axis=1)
    assert u[first].item() == u[last].item()
