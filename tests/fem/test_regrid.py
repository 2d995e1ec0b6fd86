"""Grids that follow peaks: where peaks are found, cells, what moving a density keeps, and runs towards a blow-up."""

from dataclasses import replace

import dolfinx_solver  # noqa: F401 - before DOLFINx
import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose

import kspde
from kspde.fem.regrid import blow_up
from kspde.fem.spaces.box import BoxSpace
from kspde.fem.spaces.graded import graded, moved, peaks
from kspde.runtime.hdf5 import h5py

CENTRES = np.array([[1.2, -0.7], [-2.0, 0.4]])


def bumps(points: np.ndarray, scale: float) -> np.ndarray:
    """Two profiles of stationary solutions, one of .3 times the height of the other."""
    r2 = ((points[:, None] - CENTRES) ** 2).sum(axis=2)
    return (8 * scale**2 / (scale**2 + r2) ** 2) @ [1.0, 0.3]


def space_of(box: kspde.Box) -> BoxSpace:
    return BoxSpace(box, MPI.COMM_WORLD)


def gaussian(factor: float, rate: float, mean=(0.0, 0.0)) -> kspde.GaussianMixture:
    """factor·e^(−rate |x − mean|²)."""
    return kspde.GaussianMixture(
        weights=[1.0], means=[list(mean)], stds=[(2 * rate) ** -0.5], mass=factor * np.pi / rate
    )


@pytest.mark.parametrize(("degree", "cells", "nodes", "error"), [(8, 16, 20, 3e-5), (1, 100, 16, 3e-3)])
def test_cells_follow_two_peaks_and_moving_keeps_the_mass(degree, cells, nodes, error) -> None:
    old = space_of(kspde.Box(half_width=6.0, cells=cells, degree=degree, grading=1.0))
    for scale in (0.4, 0.2):
        u = bumps(old.points, scale).reshape(old.mass.shape)
        found = peaks(old, u)
        assert_allclose([p.place for p in found], CENTRES, rtol=0, atol=0.02 * scale)
        assert_allclose([p.width / scale for p in found], 2 * np.sqrt(np.sqrt(2) - 1), rtol=0.03)
        new = space_of(graded(old.domain, found, nodes))
        (there,) = moved(old, new, u[None], 1)
        assert_allclose(new.integral(there), old.integral(u), rtol=1e-14)
        right = bumps(new.points, scale).reshape(new.mass.shape)
        if scale < 0.4:  # the first grid knows nothing of the peaks
            assert abs(there - right).max() < error * new.maximum(right.max())
        assert there.min() > 0 or degree > 1
        fewest = min(p.nodes for p in peaks(new, there))
        assert 0.7 * nodes < fewest < 1.6 * nodes
        old = new


@pytest.mark.one_rank
def test_rough_densities_stay_positive() -> None:
    old = space_of(kspde.Box(half_width=2.0, cells=60, degree=1, grading=2.0))
    u = np.random.default_rng(3).random(old.mass.shape) ** 30
    u[10:40, 20:50] = 0.0
    new = space_of(graded(old.domain, peaks(old, u)[:5], 12))
    (there,) = moved(old, new, u[None], 1)
    assert there.min() >= 0.0
    assert_allclose(new.integral(there), old.integral(u), rtol=1e-14)
    # The mass of either side of the line x = 0 goes nowhere.
    left = [np.vdot(s.mass[s.axes[0].nodes < -0.1], v[s.axes[0].nodes < -0.1]) for s, v in ((old, u), (new, there))]
    assert_allclose(*left, rtol=0.03)


@pytest.mark.one_rank
def test_a_peak_at_a_wall_and_densities_without_one() -> None:
    space = space_of(kspde.Box(half_width=1.0, cells=20, degree=4, grading=0.0))
    at_wall = np.exp(-((space.points - [1.0, 0.3]) ** 2).sum(axis=1) / 0.02).reshape(space.mass.shape)
    (found,) = peaks(space, at_wall)
    assert_allclose(found.place, [1.0, 0.3], atol=2e-3)
    assert_allclose(found.width, 0.2 * np.sqrt(2 * np.log(2)), rtol=0.02)
    assert np.diff(graded(space.domain, [found], 40).directions[0])[-1] < 0.03
    assert peaks(space, np.ones(space.mass.shape)) == []


def test_a_parabolic_signal_is_followed_by_the_grid() -> None:
    model = kspde.KellerSegel(chi=1.0, mu=1.0, tau=1.0, v0=gaussian(500.0, 50.0))
    box = kspde.Box(half_width=0.5, cells=12, degree=8, boundary="neumann")
    save = kspde.SaveAt(times=[4e-5])
    regrid = kspde.Regrid(peak=2e5, nodes_per_peak=8, coarser_run=False)
    pde = kspde.solve(model, gaussian(1000.0, 100.0), box, t_end=1.0, tol=3e-6, save=save, regrid=regrid)
    summary = pde.summary()
    assert len(summary["regrids"]) >= 2
    assert summary["regrids"][-1]["nodes"] < 4e4
    assert_allclose(pde.diagnostics["mass"], 10 * np.pi, rtol=1e-12)
    assert pde.diagnostics["maximum"][-1] >= 2e5
    assert pde.t_end == pde.diagnostics["t"][-1]
    assert_allclose(pde.evaluate([[0.0, 0.0]], t=4e-5), 39885.0, rtol=5e-4)
    low, high = summary["blow_up"]["interval"]
    assert pde.t_end < low < 1.095e-4 < high
    # between 8π and all of the mass within ten times λ = √(8/max u)
    radius = 10 * np.sqrt(8 / pde.diagnostics["maximum"][-1])
    r, w = np.polynomial.legendre.leggauss(60)
    r, w = 0.5 * radius * (r + 1), 0.5 * radius * w
    angles = 2 * np.pi * np.arange(16) / 16
    points = np.stack([np.outer(r, f(angles)).ravel() for f in (np.cos, np.sin)], axis=1)
    within = 2 * np.pi * (w * r) @ pde.evaluate(points).reshape(60, 16).mean(axis=1)
    assert 8 * np.pi < within < 10 * np.pi
    with pytest.raises(kspde.InputError, match="the grid has changed in between"):
        pde.evaluate([[0.0, 0.0]], t=6e-5)


@pytest.mark.one_rank
def test_the_positive_scheme_regrids_and_resumes(tmp_path) -> None:
    place = (0.11, -0.07)
    model = kspde.KellerSegel(chi=1.0, mu=1.0)
    box = kspde.Box(half_width=0.5, cells=24, degree=1, boundary="neumann", grading=1.0)
    run = {
        "scheme": "positive-2",
        "tol": 1e-2,
        "t_end": 1.0,
        "save": kspde.SaveAt(times=[5e-5]),
        "regrid": kspde.Regrid(peak=2e4, nodes_per_peak=6, coarser_run=False),
    }
    u0 = gaussian(3000.0, 200.0, place)
    whole = kspde.solve(model, u0, box, **run)
    assert_allclose(whole.diagnostics["mass"], u0.mass, rtol=1e-12)
    assert whole.diagnostics["minimum"].min() >= 0
    (peak, *_) = peaks(whole.at()._system.space, whole.at().density())
    assert_allclose(peak.place, place, rtol=0, atol=5e-3)  # walls attract it
    steps = len(whole.diagnostics["t"]) - 1

    def killed(share: float) -> None:
        if killed.calls == steps - 3:
            raise KeyboardInterrupt
        killed.calls += 1

    killed.calls = 0
    options = {"checkpoint": kspde.Checkpoint(tmp_path / "run", every=0.0), "resume": True}
    with pytest.raises(KeyboardInterrupt):
        kspde.solve(model, u0, box, progress=killed, **run, **options)
    again = kspde.solve(model, u0, box, **run, **options)
    assert again.summary()["regrids"] == whole.summary()["regrids"]
    for name in ("t", "maximum", "mass"):
        assert_allclose(again.diagnostics[name], whole.diagnostics[name], rtol=1e-12)
    for t in (5e-5, None):
        assert_allclose(again.evaluate([place], t=t), whole.evaluate([place], t=t), rtol=1e-12)
    whole.write_vtkhdf(tmp_path / "u.vtkhdf")
    with h5py.File(tmp_path / "u.vtkhdf") as file:  # each time on its own grid
        grid, steps = file["VTKHDF"], file["VTKHDF/Steps"]
        first, last = grid["NumberOfPoints"][()]
        assert steps["PartOffsets"][()].tolist() == [0, 1]
        assert steps["PointOffsets"][()].tolist() == steps["PointDataOffsets/u"][()].tolist() == [0, first]
        assert steps["CellOffsets"][()].tolist() == [[0], [grid["NumberOfCells"][0]]]
        assert steps["ConnectivityIdOffsets"][()].tolist() == [[0], [grid["NumberOfConnectivityIds"][0]]]
        for t, rows in zip(whole.times, (slice(0, first), slice(first, first + last)), strict=True):
            where, u = grid["Points"][rows, :2], grid["PointData/u"][rows]
            assert_allclose(u, whole.evaluate(where, t=t), rtol=0, atol=1e-12 * u.max())


@pytest.mark.one_rank
def test_the_time_of_blow_up_is_in_its_interval() -> None:
    # max u = (1 − t)^−p with 1 ≤ p, and with a p that falls to 1
    s = np.geomspace(1.0, 1e-5, 200)
    for reciprocal in (s, s**1.2, s * np.exp(-np.sqrt(2 * np.log(1 / np.minimum(s, 0.99))))):
        found = blow_up({"t": 1.0 - s, "maximum": 1.0 / reciprocal}, {"t": 1.0 - 1.001 * s, "maximum": 1 / reciprocal})
        low, high = found.interval
        assert low < 1.0 < high
        assert high - low < 0.5e-5
        assert 0.9e-3 < found.error < 1.3e-3
    assert blow_up({"t": 1.0 - s, "maximum": s}, None) is None


@pytest.mark.one_rank
def test_what_cannot_regrid_is_refused() -> None:
    model, u0 = kspde.KellerSegel(chi=1.0, mu=1.0), gaussian(1.0, 4.0)
    box = kspde.Box(half_width=4.0, cells=10)
    regrid = kspde.Regrid(peak=10.0)
    for domain, options, words in (
        (kspde.Disk(radius=4.0, size=0.5), {}, "only a kspde.Box"),
        (replace(box, boundary="periodic"), {}, "periodic"),
        (replace(box, degree=1), {"scheme": "positive", "dt": 0.1}, "give tol"),
        (box, {"regrid": 10.0}, "give kspde.Regrid"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            kspde.solve(model, u0, domain, t_end=1.0, **{"regrid": regrid, **options})
    for wrong in ({"peak": 0.0}, {"peak": 1.0, "nodes_per_peak": 2}, {"peak": 1.0, "coarser_run": 1}):
        with pytest.raises(kspde.InputError, match=list(wrong)[-1]):
            kspde.Regrid(**wrong)


def test_the_plane_off_the_origin() -> None:
    # Mass 16π, std .5: the radial solution's maximum is 359.83 at t = .06, and 8π of it collects before t = .125.
    u0 = gaussian(32.0, 2.0, (1.0, -0.4))
    box = kspde.Box(half_width=6.0, cells=12, degree=8, grading=1.0)
    regrid = kspde.Regrid(peak=800.0, nodes_per_peak=7)
    pde = kspde.solve(
        kspde.KellerSegel(chi=1.0),
        u0,
        box,
        t_end=0.2,
        tol=1e-5,
        save=kspde.SaveAt(times=[0.06]),
        regrid=regrid,
    )
    assert_allclose(pde.evaluate([[1.0, -0.4]], t=0.06), 359.83, rtol=1e-3)
    assert_allclose(pde.diagnostics["mass"], 16 * np.pi, rtol=1e-12)
    assert_allclose(np.diff(pde.diagnostics["second_moment"]) / np.diff(pde.diagnostics["t"]), -64 * np.pi, rtol=1e-3)
    found = pde.summary()["blow_up"]
    assert found["error"] < 5e-3
    assert found["interval"][0] < 0.0805 < found["interval"][1] < 0.125


def test_the_w_method_pauses_for_another_grid() -> None:
    u0 = kspde.GaussianMixture(weights=(1.0,), means=((0.0, 0.0),), stds=(0.5,), mass=12 * np.pi)
    pde = kspde.solve(
        kspde.KellerSegel(chi=1.0),
        u0,
        kspde.Box(half_width=8.0, cells=8, degree=6),
        t_end=1.0,
        tol=1e-3,
        scheme="rosenbrock",
        regrid=kspde.Regrid(peak=150.0, coarser_run=False),
    )
    assert pde.diagnostics["maximum"][-1] >= 150.0
    assert pde.t_end < 0.14
    assert len(pde.summary()["regrids"]) > 0
