"""Statistics at saved times, states on request."""

from __future__ import annotations

import numpy as np
import pytest
from reference_kernels import sums
from scipy.spatial.distance import pdist

import kspde
from kspde.particles import SnapshotFiles
from kspde.particles.statistics import Histogram
from kspde.runtime.hdf5 import h5py
from kspde.runtime.random import Philox

KELLER_SEGEL = kspde.SignalDependentKellerSegel(chi=8.0)
FREE = kspde.SignalDependentKellerSegel(chi=0.0)


def gaussian(mean=0.0, std=1.0, mass=1.0):
    return kspde.GaussianMixture(weights=[1.0], means=[[mean, 0.0]], stds=[std], mass=mass)


class Recorder:
    """Keeps every cloud's positions."""

    def __init__(self):
        self.t, self.x, self.mean_field = [], [], []

    def __call__(self, cloud):
        self.t.append(cloud.t_end)
        self.x.append(cloud.comm.bcast(cloud.gathered()))
        if cloud.mean_field is not None:
            self.mean_field.append(cloud.comm.bcast(cloud.mean_field.gathered()))
        assert cloud.diagnostics["t"][-1] == cloud.t_end
        assert np.isfinite(cloud.diagnostics["second_moment"]).all()


def test_steps_end_at_the_saved_times_and_at_the_end(mixture):
    recorder = Recorder()
    save = kspde.SaveAt(times=(0.0, 0.13, 0.3), callback=recorder)
    cloud = kspde.simulate(FREE, mixture, n=20, t_end=0.4, dt=0.1, save=save)
    np.testing.assert_allclose(cloud.diagnostics["t"], [0, 0.065, 0.13, 0.215, 0.3, 0.4], rtol=0, atol=1e-15)
    np.testing.assert_allclose(recorder.t, [0, 0.13, 0.3, 0.4], rtol=0, atol=1e-15)
    np.testing.assert_allclose(cloud.statistics["t"], [0, 0.13, 0.3, 0.4], rtol=0, atol=1e-15)
    assert cloud.dt == pytest.approx(0.1)
    ids = np.arange(20, dtype=np.uint64)
    x = mixture.sample(Philox(0, 0), ids)
    np.testing.assert_allclose(recorder.x[0], x, rtol=0, atol=1e-14)
    for step in range(2):
        x = x + np.sqrt(4 * 0.065) * Philox(0, 1).normals(ids, step, 2)
    np.testing.assert_allclose(recorder.x[1], x, rtol=0, atol=1e-12)
    assert kspde.simulate(FREE, mixture, n=20, t_end=0.4, dt=0.1).statistics == {}


def test_statistics_are_those_of_the_positions(mixture):
    recorder = Recorder()
    save = kspde.SaveAt(times=(0.1,), statistics=("moments", "minimal_distance", "histogram"), callback=recorder)
    cloud = kspde.simulate(KELLER_SEGEL, mixture, n=301, t_end=0.2, dt=0.1, eps=0.5, save=save)
    found = cloud.statistics
    for row, x in enumerate(recorder.x):
        np.testing.assert_allclose(found["covariance"][row], np.cov(x.T, bias=True), rtol=1e-10)
        y = x - x.mean(axis=0)
        np.testing.assert_allclose(found["third_moment"][row], (y**3).mean(axis=0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found["fourth_moment"][row], (y**4).mean(axis=0), rtol=1e-10)
        assert found["minimal_distance"][row] == pytest.approx(pdist(x).min(), rel=1e-12)
        for axis in range(2):
            counts, edges = np.histogram(x[:, axis], 64)
            np.testing.assert_array_equal(found["histogram"][row, axis], counts)
            np.testing.assert_allclose(found["histogram_edges"][row, axis], edges)
    assert len(recorder.x) == 2


def test_minimal_distance_of_few_and_of_coincident_particles(mixture):
    save = kspde.SaveAt(statistics=("minimal_distance", "histogram"))
    one = kspde.simulate(FREE, mixture, n=1, t_end=0.1, dt=0.1, save=save)
    assert one.statistics["minimal_distance"].tolist() == [np.inf]
    assert one.statistics["histogram"].sum(axis=2).tolist() == [[1.0, 1.0]]
    point = kspde.GaussianMixture(weights=[1.0], means=[[1.0, 2.0]], stds=[1e-300])
    save = kspde.SaveAt(times=(0.0,), statistics=("minimal_distance",))
    many = kspde.simulate(FREE, point, n=10, t_end=0.1, dt=0.1, save=save)
    assert many.statistics["minimal_distance"][0] == 0
    assert many.statistics["minimal_distance"][1] > 0


@pytest.mark.one_rank
@pytest.mark.slow
def test_minimal_distance_is_of_the_order_of_one_over_n():
    # For independent points P(min > r) ≈ exp(−½ n² π r² ∫u²), ∫u² = 1/(4π) for the normal density in the plane.
    n = 20_000
    save = kspde.SaveAt(times=(0.0,), statistics=("minimal_distance",))
    found = [
        kspde.simulate(FREE, gaussian(), n=n, t_end=1e-3, dt=1.0, seed=s, save=save).statistics["minimal_distance"][0]
        for s in range(12)
    ]
    # n²r²/8 is exponentially distributed with mean 1.
    assert 0.3 < np.mean(np.square(found)) * n**2 / 8 < 2.2


class Zero:
    """A mean field that is zero."""

    model = KELLER_SEGEL
    t_end = 1.0

    def signal_on_grid(self, axes, field=None, t=None):
        return np.zeros([len(axis) for axis in axes])


def test_field_fluctuations_compare_the_fields_of_mean_field_particles_with_the_mean_field(mixture):
    recorder = Recorder()
    save = kspde.SaveAt(times=(0.1,), statistics=("field_fluctuations",), callback=recorder)
    cloud = kspde.simulate(
        KELLER_SEGEL, mixture, n=100, t_end=0.2, dt=0.1, eps=0.5, mean_field=Zero(), save=save, field_tol=1e-7
    )
    for row, x in enumerate(recorder.mean_field):
        v, _ = sums(2, "gaussian", 0.5, x, x, 1 / 100)
        expected = [(v**2).mean(), (v**4).mean()]
        np.testing.assert_allclose(cloud.statistics["fluctuation_moments"][row], expected, rtol=1e-5)
        assert cloud.statistics["fluctuation_maximum"][row] == pytest.approx(np.abs(v).max(), rel=1e-5)


class Rising(Zero):
    """A mean field that is 1 + t everywhere."""

    def signal_on_grid(self, axes, field=None, t=None):
        return np.full([len(axis) for axis in axes], 1.0 + t)


def test_field_fluctuations_are_against_the_mean_field_of_that_time(mixture):
    recorder = Recorder()
    save = kspde.SaveAt(times=(0.1,), statistics=("field_fluctuations",), callback=recorder)
    cloud = kspde.simulate(
        KELLER_SEGEL, mixture, n=20, t_end=0.2, dt=0.1, eps=0.5, mean_field=Rising(), save=save, field_tol=1e-7
    )
    for row, (t, x) in enumerate(zip(recorder.t, recorder.mean_field, strict=True)):
        v, _ = sums(2, "gaussian", 0.5, x, x, 1 / 20)
        expected = np.mean((v - 1 - t) ** 2)
        assert cloud.statistics["fluctuation_moments"][row, 0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.one_rank
@pytest.mark.slow
def test_field_fluctuations_fall_as_the_law_of_large_numbers_says(mixture):
    pde = kspde.solve(
        KELLER_SEGEL,
        mixture,
        kspde.Box(half_width=14.0, cells=16, degree=5),
        t_end=0.1,
        eps=0.3,
        tol=1e-5,
        save=kspde.SaveAt(times=(0.0,)),
    )
    save = kspde.SaveAt(times=(0.0,), statistics=("field_fluctuations",))
    squares = []
    for n in (400, 6400):
        rows = [
            kspde.simulate(
                KELLER_SEGEL,
                mixture,
                n=n,
                t_end=0.1,
                dt=0.1,
                eps=0.3,
                seed=seed,
                mean_field=pde,
                save=save,
                field_tol=1e-4,
                include_self=False,
            ).statistics["fluctuation_moments"][0, 0]
            for seed in range(10)
        ]
        squares.append(np.mean(rows))
    assert 8 < squares[0] / squares[1] < 30  # 16, to the spread of ten runs


def test_a_histogram_has_as_many_bins_as_asked_for(mixture):
    def histogram(*statistics):
        return kspde.simulate(
            FREE, mixture, n=50, t_end=0.1, dt=0.1, save=kspde.SaveAt(statistics=statistics)
        ).statistics

    ten = histogram(Histogram(bins=10), "moments")
    assert ten["histogram"].shape == (1, 2, 10)
    assert ten["histogram"].sum(axis=2).tolist() == [[50, 50]]
    assert "covariance" in ten
    assert histogram(Histogram())["histogram"].tolist() == histogram("histogram")["histogram"].tolist()
    with pytest.raises(kspde.InputError, match="bins = 0"):
        Histogram(bins=0)
    with pytest.raises(kspde.InputError, match=r"statistics = \('histogram', 3\) is not valid"):
        kspde.SaveAt(statistics=("histogram", 3))


def test_statistics_by_species():
    from dataclasses import dataclass

    @dataclass(frozen=True, kw_only=True)
    class Two(kspde.Model):
        species: tuple[str, ...] = ("a", "b")

        @property
        def fields(self):
            return ()

        def diffusion(self, species, c):
            return 1.0

    u0 = {"a": gaussian(), "b": gaussian(mean=3.0, std=2.0)}
    save = kspde.SaveAt(times=(0.0,), statistics=("moments", "minimal_distance", "histogram"))
    cloud = kspde.simulate(Two(), u0, n={"a": 100, "b": 50}, t_end=0.1, dt=0.1, save=save)
    assert cloud.statistics["covariance"].shape == (2, 2, 2, 2)
    assert cloud.statistics["minimal_distance"].shape == (2, 2)
    x = u0["b"].sample(Philox(0, 0), np.arange(100, 150, dtype=np.uint64))
    np.testing.assert_allclose(cloud.statistics["covariance"][0, 1], np.cov(x.T, bias=True), rtol=1e-10)
    assert cloud.statistics["minimal_distance"][0, 1] == pytest.approx(pdist(x).min())
    assert cloud.statistics["histogram"].sum(axis=3)[0].tolist() == [[100, 100], [50, 50]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_are_written_on_request(mixture, shared_tmp_path, dtype, comm):
    directory = shared_tmp_path / "states"
    recorder, write = Recorder(), SnapshotFiles(directory, dtype=dtype)

    def both(cloud):
        recorder(cloud)
        write(cloud)

    save = kspde.SaveAt(times=(0.0, 0.1), callback=both, statistics=("moments",))
    cloud = kspde.simulate(KELLER_SEGEL, mixture, n=33, t_end=0.3, dt=0.1, eps=0.5, save=save, mean_field=Zero())
    if comm.rank == 0:
        paths = sorted(directory.iterdir())
        assert [path.name for path in paths] == [f"snapshot-000000000{k}.h5" for k in (0, 1, 3)]
        for path, x, y, t in zip(paths, recorder.x, recorder.mean_field, (0, 0.1, 0.3), strict=True):
            with h5py.File(path) as file:
                assert file["positions/u"].dtype == dtype
                np.testing.assert_array_equal(file["positions/u"][:], x.astype(dtype))
                np.testing.assert_array_equal(file["mean_field/u"][:], y.astype(dtype))
                assert file["mean_field/u"].dims[0][0] == file["positions/u"].dims[0][0] == file["particle"]
                assert file.attrs["t"] == pytest.approx(t)
                assert len(file["statistics/t"]) == len(file["statistics/covariance"]) >= 1
    comm.barrier()
    assert cloud.t_end == 0.3


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ([0.1], r"save is a list: give kspde.SaveAt\(times=...\)"),
        (kspde.SaveAt(statistics=("entropy",)), "statistics = 'entropy' is not valid: give one of field_fluct"),
        (kspde.SaveAt(statistics=("field_fluctuations",)), '"field_fluctuations" needs mean_field'),
        (
            kspde.SaveAt(statistics=(Histogram(bins=3), "histogram")),
            r"Histogram\(bins=3\) and Histogram\(bins=64\): give",
        ),
        (kspde.SaveAt(times=(0.1, 5.0)), "times reach 5, after t_end = 0.2"),
    ],
)
def test_bad_input(mixture, save, message):
    with pytest.raises(kspde.InputError, match=message):
        kspde.simulate(FREE, mixture, n=20, t_end=0.2, dt=0.1, save=save)


def test_bad_states(mixture):
    with pytest.raises(kspde.InputError, match="dtype = 'float16' is not valid: give one of float32, float64"):
        SnapshotFiles("here", dtype="float16")
    with pytest.raises(kspde.InputError, match="cannot make the directory /proc/nowhere"):
        kspde.simulate(
            FREE, mixture, n=20, t_end=0.2, dt=0.1, save=kspde.SaveAt(callback=SnapshotFiles("/proc/nowhere"))
        )
