"""Each demo runs, with a pinned number that is checked against something true."""

import json
import runpy
import shutil
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

import kspde

DEMOS = Path(__file__).parents[2] / "demos"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(shared_tmp_path: Path, comm: Any) -> Run:
    """Runs a demo, in a copy of its directory, with some numbers made smaller."""
    here = shared_tmp_path / "demos"

    def run(name: str, smaller: Mapping[str, str] | None = None) -> dict[str, Any]:
        if comm.rank == 0:
            here.mkdir()
            (here / "pictures").mkdir()
            (shared_tmp_path / "meshes").symlink_to(DEMOS.parent / "meshes")
            text = (DEMOS / name).read_text(encoding="utf-8")
            for old, new in (smaller or {}).items():
                assert old in text, old
                text = text.replace(old, new)
            (here / name).write_text(text, encoding="utf-8")
            shutil.copy(DEMOS / "studies.toml", here)
        comm.Barrier()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            names = runpy.run_path(str(here / name), run_name="__main__")
        comm.Barrier()
        return names | {"written": {p.name: p.stat().st_size for p in (here / "pictures").iterdir()}}

    return run


def test_first_solve(run: Run) -> None:
    names = run(
        "01_first_solve.py",
        {"(16, 24, 48)": "(16, 24, 36)", "(8, 16, 32)": "(8, 12, 20)", "cells=32, degree=6": "cells=24, degree=6"},
    )
    assert names["centre"] == pytest.approx(0.05184776299, abs=1e-7)  # a Fourier solution
    assert names["lost"] < 1e-11
    assert 4 < names["growth"] < 8
    for degree, low, high in ((2, 2.5, 3.8), (4, 4.5, 6.0)):
        (h, first), *_, (k, last) = names["errors"][degree].items()
        assert low < np.log(first / last) / np.log(k / h) < high
    assert min(names["written"].values()) > 10_000
    assert len(names["written"]) == 3
    assert (names["here"] / "density.vtkhdf").is_file()


@pytest.mark.one_rank
def test_the_notebook_in_pyvista(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyvista = pytest.importorskip("pyvista")
    model, demo = kspde.SignalDependentKellerSegel(chi=8.0), tmp_path / "demo-output"
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.2, 0.0]], stds=[0.8])
    box = kspde.Box(half_width=10.0, cells=16, degree=3)
    pde = kspde.solve(model, u0, box, t_end=0.1, tol=1e-3, save=kspde.SaveAt(times=[0.0]))
    demo.mkdir()
    pde.write_vtkhdf(demo / "density.vtkhdf")
    kspde.simulate(model, u0, n=100, t_end=0.1, dt=0.1, eps=0.3).write(demo / "particles.h5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pyvista, "OFF_SCREEN", True)
    names: dict[str, Any] = {}
    for cell in json.loads((DEMOS / "pyvista.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), names)
    assert names["times"] == [0.0, 0.1]
    sampled = names["values"]  # the last curve, by VTK's evaluation of the same polynomials
    np.testing.assert_allclose(sampled["u"], pde.evaluate(sampled.points[:, :2]), rtol=0, atol=1e-5)


@pytest.mark.one_rank
def test_particles(run: Run, comm: Any) -> None:
    names = run(
        "02_particles.py",
        {
            "n = 20_000": "n = 5_000",
            "replicas=10": "replicas=3",
            "0.5, 11)": "0.5, 6)",
            "[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]": "[0.0, 0.5]",
            "dt=0.01": "dt=0.05",
        },
    )
    assert abs(names["square"] - names["expected"]) < 4 * names["standard_error"]
    assert not names["distance"].above_floor
    assert len(names["distance"].over_time["t"]) == 2
    if comm.rank == 0:
        from PIL import Image

        assert min(names["written"].values()) > 10_000
        with Image.open(names["pictures"] / "particles.webp") as animation:
            assert animation.n_frames == 6


@pytest.mark.one_rank
def test_patterns(run: Run) -> None:
    names = run("05_patterns.py")
    lam = 32 * (np.pi / 16) ** 2
    assert names["rates"][4, 4][1] == pytest.approx(-lam * np.exp(-3) * (1 - 3 / (1 + lam)), rel=1e-12)
    for rate, promised in names["rates"].values():
        assert rate == pytest.approx(promised, abs=2e-5)
    assert names["stable"][0] == pytest.approx(names["stable"][1], rel=1e-4)
    assert names["rise"] < 1e-4  # the free energy falls
    assert names["pde"].diagnostics["maximum"][-1] > 4.5
    assert names["pde"].diagnostics["mass"][-1] == pytest.approx(768, rel=1e-11)


@pytest.mark.one_rank
def test_mean_field_twins(run: Run) -> None:
    names = run(
        "06_mean_field_particles.py",
        {
            "sizes = (250, 1000, 4000, 16_000)": "sizes = (250, 1000, 4000)",
            "runs = 6": "runs = 4",
            "0.5, 26)": "0.5, 11)",
            "dt=0.02": "dt=0.05",
        },
    )
    assert -0.65 < names["slope"] < -0.3
    assert 0.015 < names["mean"][0] < 0.035
    assert names["error"] < 1e-5


@pytest.mark.one_rank
def test_own_model(run: Run) -> None:
    names = run(
        "10_own_model.py", {'{"a": 20_000, "b": 30_000}': '{"a": 4_000, "b": 6_000}', "replicas=8": "replicas=3"}
    )
    assert names["difference"] < 2e-6  # of a Fourier solution
    np.testing.assert_allclose(names["after"], [0.2, -0.15], atol=1e-6)
    bracket = quad(lambda x: x * np.exp(-0.005 * x - x) / (x + 0.01), 0, 60, epsabs=1e-12)[0] / (2 * np.pi)
    for share, (rate, formula) in names["growth"].items():
        assert formula == pytest.approx(4 - 8 * np.pi * share * bracket, abs=1e-5)
        assert rate == pytest.approx(formula, abs=5e-3)
    for distance in names["distances"].values():
        assert distance.l1.value < 0.2


@pytest.mark.one_rank
def test_vortices(run: Run) -> None:
    names = run(
        "17_vortices.py", {"n=20_000": "n=2_000", "dt=0.02": "dt=0.1", "degree=8": "degree=4", "1.0, 2.5]": "0.3, 0.5]"}
    )
    growth, exact = names["found"]["density"]
    assert growth == pytest.approx(exact, rel=1e-3)
    growth, exact = names["found"]["particles"]
    assert abs(growth - exact) < 4 * names["noise"]
    low, high = names["distance"].floor.l1.interval
    assert 0.5 * low < names["distance"].l1.value < 1.5 * high
    assert names["written"]["vortices.png"] > 10_000


@pytest.mark.one_rank
def test_gases(run: Run) -> None:
    fewer = {"200, 60": "60, 3", "np.linspace(0.0, t_end, 11)": "np.linspace(0.0, t_end, 5)", "cells=16": "cells=12"}
    fewer |= {"dt=0.01, seed=1": "dt=0.05, seed=1"}
    fewer |= {"n=400, t_end=5.0, dt=1e-3": "n=50, t_end=3.0, dt=0.01", "t_end=5.0, tol=1e-7": "t_end=0.5"}
    names = run("18_gases.py", {**fewer, "cells=64": "cells=32"})
    assert names["error"] < 1e-6
    for _, mean, exact in names["moments"].values():
        assert abs(np.mean(mean - exact)) < 0.15
    assert abs(names["positions"]).max() < 1.7
    assert names["written"]["gases.png"] > 10_000


@pytest.mark.one_rank
def test_walls(run: Run) -> None:
    names = run("16_walls.py", {"n=20_000": "n=2_000", "cells=20": "cells=10", "tol=1e-5": "tol=1e-4"})
    assert abs(names["mean"] - names["exact"]) < 0.008
    assert "the particles on the whole space" in names["refusal"]
    for _, _, distance in names["found"].values():
        low, high = distance.floor.l1.interval
        assert distance.l1.value < high + 0.5 * (high - low)


@pytest.mark.one_rank
def test_growth(run: Run) -> None:
    names = run(
        "14_growth.py", {"n=20_000": "n=4_000", "cells=24, degree=4": "cells=16, degree=4", "tol=1e-5": "tol=1e-4"}
    )
    assert names["wrong"] < 4e-6  # of Ablowitz and Zeppetella's front
    assert names["off"] < 4e-4  # of scipy's solution
    assert names["unbalanced"] < 1e-13
    assert abs(names["colony"].masses["u"] - 5.858) < 0.01
    assert abs(names["cloud"].masses["u"] - 5.858) < 0.15


@pytest.mark.one_rank
def test_truncation(run: Run) -> None:
    table = run("03_truncation.py")["table"]
    assert table[14.0, "decay"][0] < 5e-6
    assert table[14.0, "neumann"][0] < 5e-6
    assert table[7.0, "decay"][1] < 0.2 * table[7.0, "neumann"][1]
    assert table[5.0, "decay"][2] > 1e-3  # the mass itself is at the wall


@pytest.mark.one_rank
def test_disk_and_mesh(run: Run) -> None:
    names = run("04_disk_and_mesh.py")
    assert names["errors"]["triangle"] < 2e-3
    assert names["errors"]["quadrilateral"] < 1e-4
    assert names["coarse"].diagnostics["minimum"].min() >= 0
    assert names["centre"][-1] == pytest.approx(1 / (12 * np.pi), rel=0.05)
    assert names["steps"][0] > 0.5  # it went on, it did not begin anew
    assert names["difference"] < 1e-10


@pytest.mark.one_rank
def test_time_step(run: Run) -> None:
    table = run("08_time_step.py")["table"]
    for at_zero, wide_zero, _, _, _ in table.values():
        assert np.all(np.abs(at_zero) < 2.25 * wide_zero)  # of two standard errors
    bias = {key: row[2] for key, row in table.items()}
    wide = max(row[3][0] for row in table.values())
    assert bias["euler-maruyama", 1] == pytest.approx([-0.185, 0.0020], abs=3 * wide)
    assert 1.7 < bias["euler-maruyama", 1][0] / bias["euler-maruyama", 2][0] < 2.6
    assert 1.7 < bias["euler-maruyama", 2][0] / bias["euler-maruyama", 4][0] < 2.7
    assert 2.0 < bias["weak-2", 1][0] / bias["weak-2", 2][0] < 6.0
    assert abs(bias["weak-2", 4][0]) < wide
    assert np.all(np.abs(bias["weak-2", 1]) < 0.3 * np.abs(bias["euler-maruyama", 1]))


def test_studies(run: Run) -> None:
    shown = '    "study-theorem2": ("theorem2", "entropy"),\n'
    text = (DEMOS / "09_studies.py").read_text(encoding="utf-8")
    names = run("09_studies.py", {text[text.index("SHOWN = {") : text.index("results =")]: f"SHOWN = {{\n{shown}}}\n"})
    low, high = names["interval"]
    assert 0.8 < names["order"] < 1.2
    assert low < names["order"] < high
    assert high - low < 0.5
    assert set(names["written"]) == {"studies.png", "study-theorem2.png"}
    orders = [rate.order[0] for rate in names["rates"]]
    assert orders == pytest.approx([1.005, 0.938], abs=1e-3)  # as the ledger has it


@pytest.mark.one_rank
def test_entropy_bound(run: Run) -> None:
    names = run("07_entropy_bound.py")
    for n, bound in names["bounds"].items():
        assert 0.008 < n * bound.value[-1] < 0.025
        near = names["coupled"][n]
        assert near.l1.interval[1] < bound.l1(1).interval[1][-1]
        assert near.l1.interval[1] < 0.2 * near.plain_floor
    assert names["exact"][2].entropy[-1] == pytest.approx(0.001613, rel=1e-2)
    for n, law in names["exact"].items():
        assert law.entropy[-1] < law.bound[-1]
        low, high = names["sampled"][n].interval
        assert 0.85 * low[-1] < law.bound[-1] < 1.15 * high[-1]


@pytest.mark.one_rank
def test_density_dependent_volatility(run: Run) -> None:
    names = run(
        "12_density_dependent_volatility.py",
        {
            "n=20_000": "n=2_000",
            "cells=512, degree=1": "cells=160, degree=1",
            "(0.8, 0.9, 1.0, 1.1, 1.2, 1.3)": "(0.8, 1.2)",
            "dt=0.02,\n    eps": "dt=0.1,\n    eps",
            "dt=0.02, eps": "dt=0.05, eps",
            "    tol=1e-4,": "    tol=1e-3,",
        },
    )
    assert names["front"] == pytest.approx(3.301927, abs=0.01)
    assert names["u"].max() == pytest.approx(0.227140, abs=1e-4)
    assert names["variance"] == pytest.approx(2.180545, abs=5e-3)
    assert abs(names["found"] - names["biased"]) < 2 * names["reach"]
    assert names["highest"] == pytest.approx(1.06638, abs=5e-6)  # Fourier solutions of 512 and 1024 modes
    assert names["threshold"] == pytest.approx(1.0195, abs=1e-4)
    for measured, promised in (*names["rates"], names["finer"]):
        assert measured == pytest.approx(promised, rel=3e-4, abs=2e-3)
    assert names["finer"][1] == pytest.approx(4 * names["rates"][1][1], rel=1e-9)
    assert names["pattern"].max() == pytest.approx(2.08673, abs=1e-3)
    assert set(names["written"]) == {"density_dependent_volatility.png"}


@pytest.mark.one_rank
def test_cross_diffusion(run: Run) -> None:
    names = run(
        "11_cross_diffusion.py",
        {"cells=64": "cells=24", "n=4000": "n=200", "dt=0.05": "dt=0.2", "bump": "gaussian"},
    )
    start = quad(lambda x: min(np.exp(-2 * x**2), np.exp(-2 * (x - np.hypot(0.9, 0.2)) ** 2)), -6, 6)[0]
    assert names["overlaps"]["start"] == pytest.approx(start * np.sqrt(2 / np.pi), abs=1e-3)
    assert names["overlaps"]["apart"] < 0.8 * names["overlaps"]["alone"]
    assert all(0.02 < distance < 0.5 for distance in names["farthest"].values())
    assert names["written"]["segregation.png"] > 10_000


@pytest.mark.one_rank
def test_blow_up(run: Run) -> None:
    names = run(
        "15_blow_up.py",
        {
            "cells=12, degree=8": "cells=14, degree=5",
            "tol=1e-5": "tol=1e-3",
            "peak=5e3": "peak=130",
            "100.0, 120": "20.0, 60",
        },
    )
    assert names["drift"] < 1e-12
    assert names["slope"] == pytest.approx(-280 * np.pi, rel=1e-3)
    assert len(names["summary"]["regrids"]) >= 1
    assert np.linalg.norm(names["top"] - (1.1, -0.35)) < 0.1
    assert names["written"]["blow_up.png"] > 10_000


@pytest.mark.one_rank
def test_landau(run: Run) -> None:
    names = run(
        "13_landau.py",
        {
            "cells=12": "cells=10",
            "n = 100_000": "n = 20_000",
            "tol=1e-5": "tol=1e-4",
            "t_end = 5.0": "t_end = 1.0",
            "dt=0.02": "dt=0.1",
        },
    )
    fourth, exact, entropies = names["fourth"], names["exact"], names["entropies"]
    assert (exact[0], exact[-1]) == pytest.approx((6.0, 6.442398), abs=5e-7)
    assert fourth["density"] == pytest.approx(exact, abs=1e-3)
    assert fourth["euler-maruyama"] == pytest.approx(exact, abs=0.5)
    assert fourth["pair-rotation"] == pytest.approx(exact, abs=0.5)
    assert all(later < earlier for earlier, later in pairwise(entropies))
    assert names["distance"] == pytest.approx(0.251526, abs=2e-3)
    assert names["written"]["landau.png"] > 10_000
