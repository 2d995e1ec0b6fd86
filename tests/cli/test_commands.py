"""What the commands do and write when all is well."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.cli import main
from kspde.cli.case import read_case
from kspde.comparable import check_comparable
from kspde.runtime.hdf5 import h5py

PNG = b"\x89PNG\r\n\x1a\n"


def read_summary(directory: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content: dict[str, Any] = json.loads((directory / "summary.json").read_text("utf-8"), parse_constant=refuse)
    return content


def test_run_writes_the_density(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], shared_tmp_path: Path, comm: Any
) -> None:
    path, target = case_file(), shared_tmp_path / "result"
    outcome = kspde_command("run", path, "--out", target)
    assert outcome.status == 0
    assert outcome.err == ""
    assert ("density" in outcome.out) == (comm.rank == 0)
    names = ["density.png", "density.vtkhdf", "diagnostics.csv", "diagnostics.png", "summary.json"]
    assert sorted(os.listdir(target)) == names
    assert sorted(os.listdir(shared_tmp_path)) == ["case.toml", "result"]

    case = read_case(path)
    summary = read_summary(target)
    assert summary["files"] == names
    assert summary["parameters"] == case.parameters()
    assert summary["ranks"] == comm.size
    assert set(summary["versions"]) >= {"kspde", "python", "numpy", "dolfinx", "petsc", "mpi", "mpi4py"}
    assert summary["wall_times"]["total"] > 0

    pde = case.experiment.density()
    rows = list(csv.DictReader((target / "diagnostics.csv").open(newline="")))
    assert set(rows[0]) == set(pde.diagnostics)
    for name, values in pde.diagnostics.items():
        np.testing.assert_array_equal([float(row[name]) for row in rows], values)
        assert summary["density"]["final"][name] == values[-1]
    assert (target / "density.png").read_bytes().startswith(PNG)
    assert (target / "diagnostics.png").read_bytes().startswith(PNG)


def test_compare_writes_the_particles_and_the_distance_too(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], shared_tmp_path: Path, comm: Any
) -> None:
    path, target = case_file(), shared_tmp_path / "result"
    outcome = kspde_command("compare", path, "--out", target)
    assert (outcome.status, outcome.err) == (0, "")
    names = ["densities.png", "density.vtkhdf", "diagnostics.csv", "diagnostics.png", "difference.png", "particles.h5"]
    assert sorted(os.listdir(target)) == [*names, "summary.json"]
    summary = read_summary(target)
    assert summary["seed"] == 1
    assert summary["particles"]["n"] == 500
    assert set(summary["versions"]) >= {"numba", "h5py"}

    case = read_case(path)
    pde = case.experiment.density()
    cloud = case.experiment.cloud()
    distance = kspde.compare(pde, cloud, **case.compare)
    assert summary["distance"]["l1"]["value"] == pytest.approx(distance.l1.value, rel=1e-9)
    assert summary["distance"]["floor"]["replicas"] == 2
    gathered = cloud.gathered()
    if comm.rank == 0:
        with h5py.File(target / "particles.h5") as file:
            found: list[Any] = []
            file.visititems(lambda _, item: found.append(item[...]) if isinstance(item, h5py.Dataset) else None)
        assert any(a.shape == (500, 2) and np.allclose(a, gathered, rtol=0, atol=1e-12) for a in found)
        for words in ("L1 distance", "relative entropy", str(distance.l1), str(distance.floor.l1), "500 independent"):
            assert words in outcome.out
        for picture in ("densities.png", "difference.png", "diagnostics.png"):
            assert str(target / picture) in outcome.out
            assert (target / picture).read_bytes().startswith(PNG)


@pytest.mark.one_rank
@pytest.mark.usefixtures("without_pictures")
def test_the_seed_of_the_case_moves_the_particles(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], shared_tmp_path: Path
) -> None:
    ends = []
    for seed in (1, 2):
        path = case_file("seed = 1", f"seed = {seed}")
        assert kspde_command("compare", path, "-o", shared_tmp_path / f"result-{seed}").status == 0
        ends.append(read_summary(shared_tmp_path / f"result-{seed}")["distance"]["l1"]["value"])
    assert ends[0] != ends[1]


def test_chi_and_eps_travel_from_the_case_file_to_both_backends(case_file: Callable[..., Path]) -> None:
    """One problem, made from the file, is what the density and the particles are of."""
    case = read_case(case_file("chi = 8.0", "chi = 3.0", "eps = 0.3", "eps = 0.4"))
    problem = case.experiment.problem
    assert (problem.model, problem.eps) == (kspde.SignalDependentKellerSegel(chi=3.0), 0.4)
    pde, cloud = case.experiment.density(), case.experiment.cloud()
    assert pde.problem == cloud.problem == problem
    yukawa = kspde.Yukawa(strength=3.0) * kspde.GaussianMollifier(eps=0.4)
    assert (
        [field.kernel for field in pde.problem.fields] == [field.kernel for field in cloud.problem.fields] == [yukawa]
    )
    assert (pde.summary()["mollifier"], cloud.summary()["mollifier"]) == ("gaussian", "gaussian")


@pytest.mark.one_rank
def test_particles_start_where_a_file_says(case_file: Callable[..., Path]) -> None:
    path = case_file(
        "n = 500", 'n = 5\npositions = "start.npy"', "dt = 0.01", "dt = 1e-9", "t_end = 0.05", "t_end = 1e-9"
    )
    start = np.random.default_rng(3).normal(size=(5, 2))
    np.save(path.parent / "start.npy", start)
    experiment = read_case(path).experiment
    cloud = experiment.cloud()
    np.testing.assert_allclose(cloud.positions, start, rtol=0, atol=1e-3)
    assert check_comparable(experiment.density(), cloud, "u") == {"start": ("u0", "given positions")}


@pytest.mark.usefixtures("without_pictures")
def test_quiet_says_nothing(case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any) -> None:
    path = case_file()
    outcome = kspde_command("run", path, "--out", path.parent / "result", "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    outcome = kspde_command("run", path, "--out", path.parent / "result", "--quiet")
    assert outcome.status == 2
    assert (outcome.err != "") == (comm.rank == 0)


@pytest.mark.usefixtures("without_pictures")
def test_force_runs_again_and_resume_begins_where_nothing_is_left(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any
) -> None:
    path = case_file()
    target = path.parent / "result"
    for chi, more in ((8.0, ("--resume",)), (2.0, ())):
        case_file("chi = 8.0", f"chi = {chi}")
        outcome = kspde_command("run", path, "--out", target, "--force", *more)
        assert outcome.status == 0
        nothing = (
            f"warning: no checkpoint in {path.parent / '.result.checkpoints'}: --resume starts from the beginning\n"
        )
        assert outcome.err == (nothing if more and comm.rank == 0 else "")
        comm.Barrier()
        assert read_summary(target)["parameters"]["model"]["chi"] == chi
        comm.Barrier()


@pytest.mark.one_rank
@pytest.mark.usefixtures("without_pictures")
@pytest.mark.filterwarnings("error")
def test_options_of_the_density_reach_the_solver(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any]
) -> None:
    positive = ("tol = 1e-3", 'scheme = "positive"\ndt = 0.01', "degree = 4", "degree = 1", "cells = 12", "cells = 48")
    path = case_file(*positive)
    target = path.parent / "result"
    assert kspde_command("run", path, "--out", target).status == 0
    with (target / "diagnostics.csv").open(newline="") as file:
        steps = [float(row["dt"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(steps, [0.0] + [0.01] * 5, rtol=1e-12)
    # A name that PETSc knows as an old one, and a step at which nothing can be computed: gone at the next run.
    path = case_file("tol = 1e-3", "petsc_options = { ts_dt = 1e-90 }")
    assert kspde_command("run", path, "--out", target, "--force").status == 3
    path = case_file("tol = 1e-3", 'petsc_options = { ts_rosw_type = "ra3pw" }')
    assert kspde_command("run", path, "--out", target, "--force").status == 0
    assert "ra3pw" in read_summary(target)["density"]["method"]


@pytest.mark.usefixtures("without_pictures")
def test_a_run_stops_where_the_case_says(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any
) -> None:
    stop = '[{ kind = "steady-state", tol = 1e-9 }, { kind = "event", what = "second_moment", value = 2.5 }]'
    path = case_file("tol = 1e-3", f"tol = 1e-3\nstop = {stop}")
    done = kspde_command("run", path, "--out", path.parent / "result")
    assert done.status == 0, done.err
    assert comm.rank > 0 or "stopped    second_moment = 2.5 at t = 0.0" in done.out
    stopped = read_summary(path.parent / "result")["density"]
    assert 0.0 < stopped["t_end"] == stopped["stopped"]["t"] < 0.05
    refused = kspde_command("compare", path, "--out", path.parent / "other")
    assert refused.status == 2
    assert comm.rank > 0 or "density.stop has no effect on a comparison" in refused.err


@pytest.mark.usefixtures("without_pictures")
def test_an_accuracy_needs_no_mesh(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any
) -> None:
    model = '[model]\nkind = "mean-attraction"\nattraction = 1.0\nnoise = 0.5\ndimension = 1\n'
    u0 = '[initial]\nkind = "gaussian-mixture"\nweights = [1.0]\nmeans = [[0.0]]\nstds = [0.5]\n'
    path, target = case_file(), case_file().parent / "result"
    if comm.rank == 0:
        path.write_text(f"t_end = 0.1\ndensity = {{ accuracy = 1e-2 }}\n{model}{u0}", encoding="utf-8")
    done = kspde_command("run", path, "--out", target)
    assert done.status == 0, done.err
    assert comm.rank > 0 or "chosen     Box(half_width" in done.out
    assert comm.rank > 0 or "error      L1 " in done.out
    assert 0.0 < read_summary(target)["density"]["estimated_error"]["l1"]["time"] < 1e-2
    stop = 'density.stop=[{ kind = "event", what = "maximum" }]'
    refused = kspde_command("run", path, "--out", target, "--set", stop, "--force")
    assert refused.status == 2
    assert comm.rank > 0 or "density.stop = " in refused.err
    fixed = 'density.petsc_options={ ts_adapt_type = "none" }'
    refused = kspde_command("run", path, "--out", target, "--set", fixed, "--force")
    assert refused.status == 2
    assert comm.rank > 0 or "accuracy = 0.01 needs estimates of errors, and petsc_options" in refused.err


@pytest.mark.usefixtures("without_pictures")
def test_a_run_says_how_far_it_followed_a_peak(
    kspde_command: Callable[..., Any], shared_tmp_path: Path, comm: Any
) -> None:
    path, target = shared_tmp_path / "collapse.toml", shared_tmp_path / "result"
    begun = kspde_command("init", "keller-segel", "--out", path)
    assert comm.rank > 0 or f"Run: kspde run {path} --out DIR" in begun.out
    values = ("density.peak=5e3", "density.times=[]", "density.tol=1e-4", "domain.cells=8")
    done = kspde_command("run", path, "--out", target, *(word for each in values for word in ("--set", each)))
    assert done.status == 0, done.err
    about = read_summary(target)["density"]
    assert len(about["regrids"]) == 1
    found = about["blow_up"]
    for line in (
        f"peak       followed on 2 grids until t = {about['t_end']:.4g}, where it has reached the height asked for\n",
        f"maximum    {found['maximum']:.6g}, relative error {found['error']:.0e}\n",
        f"blow-up    extrapolated to t = {found['time']:.4g} [{found['interval'][0]:.4g}, ",
    ):
        assert comm.rank > 0 or line in done.out
    early = kspde_command(
        "run", path, "--out", target, "--force", *("--set", "t_end=1e-6"), "--set", "density.times=[]"
    )
    assert comm.rank > 0 or "peak       followed on 1 grid until t = 1e-06\n" in early.out


@pytest.mark.usefixtures("without_pictures")
def test_a_finished_run_is_extended(
    case_file: Callable[..., Path], kspde_command: Callable[..., Any], comm: Any
) -> None:
    path = case_file()
    target, kept = path.parent / "result", path.parent / ".result.checkpoints"
    run = ("run", path, "--out", target)
    assert kspde_command(*run, "--extendable").status == 0
    assert kept.is_dir()
    same = kspde_command(*run, "--extendable", "--resume", "--force")
    assert same.status == 2
    assert comm.rank > 0 or "case.toml: t_end = 0.05 is not after 0.05, where the run ends" in same.err
    steps = read_summary(target)["density"]["steps"]
    longer = kspde_command(*run, "--set", "t_end=0.08", "--resume", "--force")
    assert longer.status == 0, longer.err
    found = read_summary(target)
    assert (found["density"]["t_end"], found["parameters"]["t_end"]) == (0.08, 0.08)
    times = np.loadtxt(target / "diagnostics.csv", delimiter=",", skiprows=1, usecols=0)
    assert (times[steps], times[-1]) == (0.05, 0.08)
    comm.barrier()
    assert not kept.exists()
    refused = kspde_command(*run, "--extendable", "--set", 'density={ scheme = "adaptive", peak = 1e3 }', "--force")
    assert refused.status == 2
    assert comm.rank > 0 or "--extendable has no effect with density.regrid: leave it out" in refused.err


def test_version_and_help(kspde_command: Callable[..., Any], comm: Any) -> None:
    def said(*arguments: str) -> str:
        outcome = kspde_command(*arguments)
        assert (outcome.status, outcome.err) == (0, "")
        assert comm.rank == 0 or outcome.out == ""
        text: str = comm.bcast(outcome.out)
        return text

    assert said("--version") == f"kspde {kspde.__version__}\n"
    top = said("--help")
    for word in ("demo", "run", "compare", "Exit status", "--version"):
        assert word in top
    assert said() == top
    assert "demo-output" in said("demo", "--help")
    compare = " ".join(said("compare", "--help").split())
    for word in ("CASE.toml", "--out", "--force", "--quiet", "mpirun -n 4 kspde compare case.toml --out result"):
        assert word in compare


def test_help_is_printed_by_the_first_rank_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PMI_RANK", "1")
    assert main(["--help"]) == 0
    assert main(["--nonsense"]) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.one_rank
@pytest.mark.usefixtures("without_pictures")
def test_distances_over_time_and_of_the_points_alone(
    case_file: Callable[..., Path],
    kspde_command: Callable[..., Any],
    shared_tmp_path: Path,
    comm: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command keeps the particles at compare.times; without a grid there is no picture of densities."""
    drawn: list[str] = []

    def draw(table: Any, path: Path, names: list[str]) -> None:
        path.touch()
        drawn.extend(names)

    monkeypatch.setattr("kspde.distances.over_time.plot_over_time", draw)
    times = 'replicas = 2\ntimes = [0.02, 0.05]\ndistances = ["l1", "energy"]'
    path = case_file("replicas = 2", times, "seed = 1", 'seed = 1\ntimes = [0.03]\nstatistics = ["moments"]')
    outcome = kspde_command("compare", path, "--out", shared_tmp_path / "times")
    assert (outcome.status, outcome.err) == (0, "")
    found = read_summary(shared_tmp_path / "times")["distance"]
    assert "over_time.png" in os.listdir(shared_tmp_path / "times")
    assert drawn == ["l1", "energy"]
    case = read_case(path)
    at = kspde.SaveAt(times=(0.02,))
    pde = case.experiment.density(save=at)
    snapshots = kspde.Snapshots()
    save = kspde.SaveAt(times=(0.02, 0.03, 0.05), statistics=("moments",), callback=snapshots)
    cloud = case.experiment.cloud(save=save)
    expected = kspde.compare(pde, cloud, snapshots=snapshots, **case.compare)
    assert expected.over_time is not None
    assert found["over_time"]["l1"] == pytest.approx(expected.over_time["l1"].tolist(), rel=1e-9)
    with h5py.File(shared_tmp_path / "times" / "particles.h5") as file:
        assert file["statistics/t"][...].tolist() == [0.02, 0.03, 0.05]

    path = case_file("replicas = 2", 'replicas = 2\ndistances = ["energy"]')
    outcome = kspde_command("compare", path, "--out", shared_tmp_path / "points")
    assert (outcome.status, outcome.err) == (0, "")
    assert [name for name in os.listdir(shared_tmp_path / "points") if name.endswith(".png")] == []
    if comm.rank == 0:
        assert "of the points themselves" in outcome.out
        assert "The energy distance is" in outcome.out


def test_a_case_to_begin_with_is_written_and_changed(
    kspde_command: Callable[..., Any], shared_tmp_path: Path, comm: Any
) -> None:
    path = shared_tmp_path / "vortices.toml"
    assert kspde_command("init", "viscous-vortices", "--out", path).status == 0
    case = read_case(path, changes=("model.viscosity = 0.5", "initial.stds=[1, 1, 2.0]", "density.scheme=rosenbrock"))
    assert case.parameters()["model"] == {"kind": "viscous-vortices", "viscosity": 0.5}
    assert case.parameters()["initial"]["stds"] == [1.0, 1.0, 2.0]
    assert case.parameters()["density"]["scheme"] == "rosenbrock"
    before = path.read_bytes()
    for arguments, what in (
        (("init", "vortex"), "vortex is not a case of kspde: these are closed-dish, "),
        (("init", "demo", "--out", path), "vortices.toml cannot be written (File exists): give another --out"),
        (("theory", path, "--set", "model.viscosity"), "--set 'model.viscosity' is not valid: give a key and a value"),
        (("theory", path, "--set", "model.viscosity=[1"), "is not valid in TOML: Unclosed array"),
        (("theory", path, "--set", "model.viscosity=-.5"), "have digits on both sides of the point, -0.5\n"),
        (("theory", path, "--set", "t_end=2.e-3"), "have digits on both sides of the point, 2.0e-3\n"),
        (("theory", path, "--set", "initial.stds=[1, 1.]"), "have digits on both sides of the point, 1.0\n"),
        (("theory", path, "--set", "seed=1.2.3"), "document after a statement (at line 1, column 11)\n"),
        (("theory", path, "--set", "model.viscosity=1\nt_end=2"), "give a key and a value"),
        (
            ("theory", path, "--set", "model.viscosity=-1"),
            "model.viscosity = -1.0 is not valid: give a finite",
        ),
        (("theory", path, "--set", "model={}"), "--set 'model={}' is not valid: an empty table leaves the file's as"),
        (("theory", path, "--set", "model.nu=1"), "model.nu"),
        (("theory", "--set", "model.viscosity=1"), "--set has nothing to change"),
    ):
        outcome = kspde_command(*arguments)
        assert outcome.status == 2
        assert (what in outcome.err) == (comm.rank == 0), outcome.err
        assert outcome.err.count("\n") == (comm.rank == 0)
    assert path.read_bytes() == before
    assert sorted(os.listdir(shared_tmp_path)) == ["vortices.toml"]
