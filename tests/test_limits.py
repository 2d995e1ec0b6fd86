"""Runs that would not fit into memory are refused before they begin."""

import re
from pathlib import Path
from typing import Any

import meshio
import numpy as np
import pytest

import kspde
from kspde.runtime import limits

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, -0.2]], stds=[0.6])


def refusal(run: Any) -> str:
    with pytest.raises(kspde.InputError) as caught:
        run()
    return str(caught.value)


@pytest.mark.parametrize(
    ("domain", "gigabytes"),
    [
        (kspde.Box(half_width=9.0, cells=5000, degree=4), 120.0),  # 4e8 nodes of 300 bytes
        (kspde.Disk(radius=9.0, size=1e-3), 350.0),  # 2.9e8 of 1.2 kB
    ],
)
def test_densities(comm: Any, monkeypatch: pytest.MonkeyPatch, domain: Any, gigabytes: float) -> None:
    """No node is made: the meshes are beyond this machine."""
    monkeypatch.setenv("KSPDE_MEMORY", "0.4")
    line = refusal(lambda: kspde.solve(MODEL, U0, domain, t_end=0.1))
    found = re.fullmatch(
        r"a density on (\S+) nodes would take about (\S+) GB of memory on \S+( \(\d ranks\))?, where 0.4 GB are "
        r"available: give (fewer cells|a coarser mesh), take a larger machine, or set KSPDE_MEMORY to the GB that may "
        r"be taken",
        line,
    )
    assert found is not None
    assert gigabytes / 1.5 < float(found[2]) < gigabytes * 1.5
    assert (found[3] is not None) == (comm.size > 1)


@pytest.mark.parametrize(("scheme", "control"), [("positive", {"dt": 0.1}), ("positive-2", {"tol": 1e-3})])
def test_densities_whose_coefficients_are_local(monkeypatch: pytest.MonkeyPatch, scheme: str, control: Any) -> None:
    """The matrix of all species: 4.4 kB per node were measured on 200² nodes, where 1.1 kB are taken without it."""
    monkeypatch.setenv("KSPDE_MEMORY", "0.1")
    model = kspde.CrossDiffusion(a=((2.0, 1.0), (1.0, 3.0)), sigma=(0.1, 0.1))
    domain = kspde.Box(half_width=4.0, cells=199, degree=1)
    line = refusal(lambda: kspde.solve(model, {"u1": U0, "u2": U0}, domain, t_end=0.1, scheme=scheme, **control))
    gigabytes = float(line.split("take about ")[1].split()[0])
    assert 0.9 < gigabytes / (4.4e-6 * 200**2) < 1.5


def test_meshes_of_files(comm: Any, monkeypatch: pytest.MonkeyPatch, shared_tmp_path: Path) -> None:
    path = shared_tmp_path / "square.vtk"
    if comm.rank == 0:
        n = np.arange(41 * 41).reshape(41, 41)
        x, y = np.meshgrid(*[np.linspace(-4.0, 4.0, 41)] * 2, indexing="ij")
        corners = [n[:-1, :-1], n[1:, :-1], n[1:, 1:], n[:-1, 1:]]
        points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1)
        meshio.write(path, meshio.Mesh(points, [("quad", np.stack([c.ravel() for c in corners], axis=1))]))
    comm.Barrier()
    monkeypatch.setenv("KSPDE_MEMORY", "0.01")
    line = refusal(lambda: kspde.solve(MODEL, U0, kspde.MeshFile(path=path), t_end=0.1))
    assert line.startswith("a density on 1.68e+03 nodes would take about 0.0")


@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_particles(comm: Any, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("KSPDE_MEMORY", "16")
    line = refusal(lambda: kspde.simulate(MODEL, U0, n=10**9, t_end=0.1, dt=0.1, eps=0.3, scheme=scheme))
    taken = {"euler-maruyama": "72", "weak-2": "216"}[scheme]
    assert line.startswith(f"n = 1000000000 particles would take about {taken} GB of memory on ")
    assert ", where 16 GB are available: give fewer, take a larger machine, or" in line


def test_grids_of_particles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSPDE_MEMORY", "0.001")
    line = refusal(lambda: kspde.simulate(MODEL, U0, n=1000, t_end=0.1, dt=0.1, eps=0.3, mollifier="matern"))
    assert re.match(r"the fields on a grid of \d+ × \d+ would take about 0\.\d+ GB of memory", line)


def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("much", "-1", "0"):
        monkeypatch.setenv("KSPDE_MEMORY", text)
        assert refusal(limits.available).startswith("KSPDE_MEMORY = ")


def test_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KSPDE_MEMORY", raising=False)
    found = limits.available()
    assert found is not None
    assert 1e6 < found < 1e14
