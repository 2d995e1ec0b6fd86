"""What a simulation returns, the file it writes, and what bad input gets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest

import kspde
from kspde.distances.snapshots import clouds_at
from kspde.models.base import Field, Model
from kspde.particles import SnapshotFiles
from kspde.runtime.hdf5 import h5py

KELLER_SEGEL = kspde.SignalDependentKellerSegel(chi=8.0)
GOOD = {"n": 50, "t_end": 0.2, "dt": 0.1, "eps": 0.5}


@dataclass(frozen=True, kw_only=True)
class Faulty(Model):
    """Two species whose coefficients are given."""

    dimension: int = 2
    species: tuple[str, ...] = ("a", "b")
    noise: object = 1.0
    velocity: object = None

    @property
    def fields(self) -> tuple[Field, ...]:
        return ()

    def diffusion(self, species, c):
        return self.noise(c.points) if callable(self.noise) else self.noise

    def drift(self, species, c):
        return self.velocity(c.points) if callable(self.velocity) else self.velocity


def both(mixture):
    return {"a": mixture, "b": mixture}


def test_file_holds_positions_in_the_order_of_ids(mixture, shared_tmp_path):
    cloud = kspde.simulate(KELLER_SEGEL, mixture, seed=7, replica=2, **GOOD)
    path = shared_tmp_path / "particles.h5"
    cloud.write(path)
    positions = cloud.gathered()
    if cloud.comm.rank == 0:
        with h5py.File(path) as file:
            assert np.array_equal(file["positions/u"][:], positions)
            assert {name: file["positions/u"].attrs[name] for name in ("n", "mass")} == {"n": 50, "mass": 1.0}
            assert np.array_equal(file["diagnostics/t"][:], cloud.diagnostics["t"])
            attributes = dict(file.attrs)
        expected = {"t": 0.2, "dt": 0.1, "eps": 0.5, "mollifier": "gaussian", "seed": 7, "replica": 2}
        expected |= {"kspde_version": kspde.__version__, "model": "SignalDependentKellerSegel", "model.chi": 8.0}
        expected |= {"scheme": "euler-maruyama", "method": "mesh", "t_end": 0.2, "counts.u": 50}
        assert {name: attributes.get(name) for name in expected} == expected
        assert "sum to its mass" in attributes["scaling"]
        assert "dX_j" in attributes["equation"]
        parameters = json.loads(attributes["parameters"])
        described = cloud.problem.describe(seed=7, replica=2, method="mesh", field_tol=1e-6, include_self=True)
        assert {name: parameters[name] for name in described} == json.loads(json.dumps(described))
        assert json.loads(attributes["provenance"])["versions"]["numpy"] == np.__version__
    else:
        assert positions is None
    cloud.comm.barrier()
    with pytest.raises(kspde.InputError, match=r"cannot write /nowhere/particles\.h5"):
        cloud.write("/nowhere/particles.h5")


def axes_of(file):
    """Return the names of the axes of every array in a file that is not a dimension scale itself."""
    found = {}

    def visit(name, part):
        if isinstance(part, h5py.Dataset) and not part.is_scale:
            found[name] = [dim[0].name.removeprefix("/") if len(dim) else None for dim in part.dims]
            assert part.attrs["units"] == "1"
            assert part.attrs["long_name"]
            assert [dim[0].shape[0] for dim in part.dims] == list(part.shape)

    file.visititems(visit)
    return found


def test_axes_of_a_file_are_dimension_scales(mixture, shared_tmp_path, comm):
    save = kspde.SaveAt(times=(0.1,), statistics=("moments", "histogram", "minimal_distance"))
    weights = np.linspace(0.5, 1.5, 50) / 50
    cloud = kspde.simulate(KELLER_SEGEL, mixture, save=save, weights=weights, **GOOD)
    path = shared_tmp_path / "particles.h5"
    cloud.write(path, dtype="float32")
    if comm.rank == 0:
        with h5py.File(path) as file:
            assert axes_of(file) == {
                "positions/u": ["particle", "coordinate"],
                "weights/u": ["particle"],
                "diagnostics/mean": ["diagnostics/t", "coordinate"],
                "diagnostics/second_moment": ["diagnostics/t"],
                "diagnostics/unweighted_second_moment": ["diagnostics/t"],
                "statistics/covariance": ["statistics/t", "coordinate", "other_coordinate"],
                "statistics/third_moment": ["statistics/t", "coordinate"],
                "statistics/fourth_moment": ["statistics/t", "coordinate"],
                "statistics/histogram": ["statistics/t", "coordinate", "bin"],
                "statistics/histogram_edges": ["statistics/t", "coordinate", "edge"],
                "statistics/minimal_distance": ["statistics/t"],
            }
            assert file["coordinate"].asstr()[:].tolist() == ["x", "y"]
            assert file["statistics/t"][:].tolist() == pytest.approx([0.1, 0.2])
            assert file["diagnostics/t"].attrs["units"] == "1"
            # The ids of particles are the rows: their scale has a length, and takes no room.
            assert file["particle"].id.get_storage_size() == 0
            assert file["particle"].attrs["NAME"].startswith(b"This is a netCDF dimension")
    comm.barrier()


@pytest.mark.parametrize("plain", [False, True])
def test_files_of_snapshots_are_read_with_and_without_labels(mixture, shared_tmp_path, comm, plain):
    """A file of an earlier version has positions and a few attributes, and no scales, units or parameters."""
    save = kspde.SaveAt(times=(0.1,), callback=SnapshotFiles(shared_tmp_path, dtype="float32"))
    cloud = kspde.simulate(KELLER_SEGEL, mixture, save=save, **GOOD)
    path = shared_tmp_path / "snapshot-0000000001.h5"
    if plain and comm.rank == 0:
        with h5py.File(path) as file:
            x = file["positions/u"][:]
        with h5py.File(path, "w") as file:
            file.attrs.update(t=0.1, eps=0.5, seed=0)
            file["positions/u"] = x
    comm.barrier()
    (earlier,) = clouds_at([0.1], cloud, shared_tmp_path)
    assert earlier.t_end == 0.1
    everyone = np.concatenate(comm.allgather(earlier.of("u")))
    assert everyone.shape == (50, 2)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(everyone, file["positions/u"][:].astype(np.float64))
    comm.barrier()


def test_file_of_several_species_without_a_mollifier(mixture, shared_tmp_path):
    cloud = kspde.simulate(Faulty(), both(mixture), n={"a": 3, "b": 1}, t_end=0.1, dt=0.1)
    path = shared_tmp_path / "particles.h5"
    cloud.write(path)
    if cloud.comm.rank == 0:
        with h5py.File(path) as file:
            assert {name: data.shape for name, data in file["positions"].items()} == {"a": (3, 2), "b": (1, 2)}
            assert "eps" not in file.attrs
            assert axes_of(file) == {
                "positions/a": ["particle_a", "coordinate"],
                "positions/b": ["particle_b", "coordinate"],
                "diagnostics/mean": ["diagnostics/t", "species", "coordinate"],
                "diagnostics/second_moment": ["diagnostics/t", "species"],
            }
            assert file["species"].asstr()[:].tolist() == ["a", "b"]
    cloud.comm.barrier()


def test_summary_is_json(mixture):
    cloud = kspde.simulate(KELLER_SEGEL, mixture, **GOOD)
    summary = json.loads(json.dumps(cloud.summary()))
    assert summary["n"] == 50
    assert summary["eps"] == 0.5
    assert summary["method"] == "mesh"
    assert (summary["seed"], summary["replica"]) == (0, 0)
    assert summary["field_tol"] == 1e-6
    assert len(summary["modes"]) == 2
    assert set(cloud.timings) == {"setup", "loop"}
    assert cloud.model is KELLER_SEGEL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n = 0 is not valid: give an integer >= 1"),
        ({"n": 2.5}, "n = 2.5 is not an integer"),
        ({"n": {"v": 3}}, "n has species v: give u"),
        ({"dt": -0.1}, "dt = -0.1 is not valid: give a finite number > 0"),
        ({"dt": float("nan")}, "dt = nan is not valid"),
        ({"dt": 1e-12}, "give a larger dt"),
        ({"t_end": 0.0}, "t_end = 0.0 is not valid: give a finite number > 0"),
        ({"t_end": "1"}, "t_end = '1' is not a number"),
        ({"eps": -1.0}, "eps = -1.0 is not valid: give a finite number > 0"),
        ({"eps": None, "include_self": True}, "include_self = True, but the kernel of field 'v' is singular"),
        (
            {"mollifier": "box"},
            "mollifier = 'box' is not valid: give one of bump, compact-bump, gaussian, matern, two-b",
        ),
        ({"method": "fmm"}, "method = 'fmm' is not valid: give one of direct, finufft, mesh"),
        ({"field_tol": 0.0}, "field_tol = 0.0 is not valid: give a finite number >= 1e-12 and < 1"),
        ({"field_tol": 2.0}, "field_tol = 2.0 is not valid"),
        ({"seed": -1}, "seed = -1 is not valid: give an integer >= 0"),
        ({"replica": -1}, "replica = -1 is not valid: give an integer >= 0"),
        ({"replica": 1.5}, "replica = 1.5 is not an integer"),
        ({"u0": None}, "u0 is a NoneType: give an initial density"),
        ({"u0": {"v": None}}, "u0 has species v: give u"),
        (
            {"u0": kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[1.0])},
            "u0 has dimension 1, the model 2: give a density on R^2",
        ),
        ({"model": "keller-segel"}, "model is a str: give a kspde model"),
        (
            {
                "u0": kspde.GaussianMixture(weights=[0.5, 0.5], means=[[0.0, 0.0], [1e6, 1e6]], stds=[1.0, 1.0]),
                "mollifier": "matern",
            },
            "check for particles far away",
        ),
    ],
)
def test_bad_input(mixture, change, message):
    arguments = {"model": KELLER_SEGEL, "u0": mixture, **GOOD, **change}
    with pytest.raises(kspde.InputError, match=re.escape(message)):
        kspde.simulate(arguments.pop("model"), arguments.pop("u0"), **arguments)


def test_one_density_for_several_species_is_refused(mixture):
    with pytest.raises(kspde.InputError, match=r"u0 is a GaussianMixture: .*, one for each of a, b in a dictionary"):
        kspde.simulate(Faulty(), mixture, n=3, t_end=1.0, dt=0.5)


@pytest.mark.parametrize(
    ("noise", "velocity", "kind", "message"),
    [
        (
            -1.0,
            None,
            kspde.ConvergenceError,
            r"^step 0, t = 0, dt = 0\.5: the diffusion coefficient of species 'a' is -1 ",
        ),
        (float("nan"), None, kspde.ConvergenceError, r"is nan at particle \d+: it must be >= 0 and finite"),
        (
            lambda x: np.where(np.arange(len(x)) == len(x) - 1, np.inf, 1.0),
            None,
            kspde.ConvergenceError,
            r"is inf at particle \d+",
        ),
        (lambda x: np.ones((len(x), 3)), None, kspde.InputError, r"diffusion\('a', c\) returned shape \(\d+, 3\)"),
        (
            1.0,
            lambda x: x[:, 0],
            kspde.InputError,
            r"drift\('a', c\) returned shape \(\d+,\): return \(\d+, 2\) or None",
        ),
        (
            1.0,
            lambda x: np.where(np.abs(x) < 1e3, 1e4 * np.sign(x), np.nan),
            kspde.ConvergenceError,
            r"^step 1, t = 0\.5, dt = 0\.5: particle 0 of species 'a' moved to a position that is not finite",
        ),
    ],
)
def test_faulty_coefficients(mixture, noise, velocity, kind, message):
    with pytest.raises(kind, match=message):
        kspde.simulate(Faulty(noise=noise, velocity=velocity), both(mixture), n=40, t_end=2.0, dt=0.5)


def test_the_particle_that_is_lost_is_named(mixture, comm):
    def last_is_lost(x):
        return np.where(np.arange(len(x))[:, None] == len(x) - 1, np.inf, np.zeros_like(x))

    faulty = Faulty(species=("a",), velocity=last_is_lost)
    with pytest.raises(
        kspde.ConvergenceError, match=f"particle {40 // comm.size - 1} of species 'a' moved to a position"
    ):
        kspde.simulate(faulty, mixture, n=40, t_end=2.0, dt=0.5)


def test_a_density_that_gives_nan_is_refused(mixture):
    class Broken(kspde.GaussianMixture):
        def sample(self, random, ids):
            return np.where(ids[:, None] == 3, np.nan, super().sample(random, ids))

    broken = Broken(weights=mixture.weights, means=mixture.means, stds=mixture.stds)
    with pytest.raises(kspde.InputError, match="u0 of species 'u' gave particle 3 a position that is not finite"):
        kspde.simulate(KELLER_SEGEL, broken, **GOOD)


def test_an_error_on_one_rank_reaches_all(mixture, comm):
    def only_here(x):
        return -1.0 if comm.rank == comm.size - 1 else 1.0

    with pytest.raises(kspde.ConvergenceError, match="the diffusion coefficient of species 'a' is -1 at particle"):
        kspde.simulate(Faulty(noise=only_here), both(mixture), n=40, t_end=2.0, dt=0.5)


def test_a_cloud_that_outgrows_every_grid_names_the_step(mixture):
    @dataclass(frozen=True, kw_only=True)
    class Explosive(kspde.SignalDependentKellerSegel):
        def drift(self, species, c):
            return 1e7 * c.points

    with pytest.raises(kspde.ConvergenceError, match=r"^step 1, t = 0\.1, dt = 0\.1: the fields of a cloud of size"):
        kspde.simulate(Explosive(chi=8.0), mixture, **GOOD, mollifier="matern")


def test_a_cloud_shows_itself_in_a_few_lines(mixture):
    cloud = kspde.simulate(KELLER_SEGEL, mixture, **GOOD)
    lines = repr(cloud).splitlines()
    assert lines[0] == "Cloud"
    assert len(lines) == 6
    assert "eps = 0.5" in lines[2]
    assert "50 particles, mass 1, mean (" in lines[5]
    assert "<table>" in cloud._repr_html_()
    assert cloud.problem.u0["u"] is mixture


def test_points_for_vtk(shared_tmp_path, comm) -> None:
    model, u0 = kspde.LogGas(strength=0.1, dimension=2), kspde.GaussianMixture(weights=[1.0], means=[[0, 1]], stds=[1])
    cloud = kspde.simulate(model, u0, n=11, t_end=1e-9, dt=1e-9)
    cloud.write_vtkhdf(shared_tmp_path / "cloud.vtkhdf")
    x = cloud.gathered()
    comm.Barrier()
    with h5py.File(shared_tmp_path / "cloud.vtkhdf") as file:
        group = file["VTKHDF"]
        assert group.attrs["Type"] == b"PolyData"
        assert comm.rank > 0 or np.array_equal(group["Points"], np.pad(x, ((0, 0), (0, 1))))
        assert sum(group["PointData/weight"]) == pytest.approx(1.0)
        assert group["Vertices/Offsets"][-1] == len(group["Vertices/Connectivity"]) == group["NumberOfPoints"][0] == 11
