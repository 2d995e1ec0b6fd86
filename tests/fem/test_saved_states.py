"""Saved states, values between them, statistics on demand, gradients, files."""

import json
import math
import re
import warnings

import meshio
import numpy as np
import pytest

import kspde
from kspde.runtime.hdf5 import h5py  # before meshio imports h5py, which would clash with DOLFINx

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


def test_files_at_all_saved_times(shared_tmp_path, comm) -> None:
    pde = kspde.solve(MODEL, U0, BOX, t_end=0.1, tol=1e-3, save=kspde.SaveAt(times=[0.0, 0.05]))
    pde.write_vtx(shared_tmp_path / "density.bp")
    pde.write_xdmf(shared_tmp_path / "density.xdmf")
    comm.Barrier()
    # A reader that shares nothing with the writer.
    with meshio.xdmf.TimeSeriesReader(shared_tmp_path / "density.xdmf") as reader:
        where, _ = reader.read_points_cells()
        series = [reader.read_data(k)[:2] for k in range(reader.num_steps)]
    np.testing.assert_allclose([t for t, _ in series], [0.0, 0.05, 0.1], rtol=0, atol=1e-15)
    for t, data in series:
        assert sorted(data) == ["u", "v"]
        np.testing.assert_allclose(data["v"].ravel(), pde.evaluate_signal(where, t=t), rtol=0, atol=1e-13)
    if comm.rank == 0:
        with h5py.File(shared_tmp_path / "density.h5") as file:
            for path, axes in {
                "Mesh/mesh/geometry": ["/vertex", "/coordinate"],
                "Mesh/mesh/topology": ["/cell", "/corner"],
                **{f"Function/{name}/{key}": ["/vertex", "/component"] for name in "uv" for key in file["Function/u"]},
            }.items():
                assert [dim[0].name for dim in file[path].dims] == axes
                assert file[path].attrs["units"] == "1"
            parameters = json.loads(file.attrs["parameters"])
            assert {k: parameters[k] for k in pde.problem.describe()} == json.loads(json.dumps(pde.problem.describe()))
            assert file.attrs["scheme"] == parameters["scheme"] == "adaptive"
            assert "mass per volume" in file.attrs["scaling"]
            assert "dolfinx" in json.loads(file.attrs["provenance"])["versions"]
    saved = [data["u"].ravel() for _, data in series]
    words = np.concatenate([np.frombuffer(p.read_bytes()) for p in (shared_tmp_path / "density.bp").glob("data.*")])
    words = np.sort(words[np.isfinite(words)])
    for t, values in zip((0.0, 0.05, 0.1), saved, strict=True):
        np.testing.assert_allclose(values, pde.evaluate(where, t=t), rtol=0, atol=1e-13)
        # ParaView's file has no reader here; but it must hold the values at the vertices, bit by bit or nearly so.
        near = np.searchsorted(words, values).clip(1, len(words) - 1)
        assert np.minimum(np.abs(words[near] - values), np.abs(words[near - 1] - values)).max() < 1e-13
