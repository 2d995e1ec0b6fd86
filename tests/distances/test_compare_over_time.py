"""Distances at several times: what is compared with what, the table, the picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, draws, gaussian
from mpi4py import MPI

import kspde
from kspde.distances import OverTime, Snapshots, compare
from kspde.particles import SnapshotFiles

FREE = kspde.SignalDependentKellerSegel(chi=0.0)
TIMES = (0.0, 0.2, 0.5)


class Spreading(KnownDensity):
    """Without attraction a Gaussian stays one: its variance grows by 4t a coordinate."""

    def on_grid(
        self, axes: Any, species: str | None = None, t: float | None = None, *, outside: float | None = None
    ) -> np.ndarray:
        std = np.sqrt(0.49 + 4 * (self.t_end if t is None else t))
        return KnownDensity(density=gaussian(float(std)), half_width=self.half_width).on_grid(axes)


@pytest.fixture
def pde() -> Spreading:
    return Spreading(density=gaussian(0.7), model=FREE)


def simulate(callback: Any, seed: int = 2, n: int = 1000) -> Any:
    save = kspde.SaveAt(times=TIMES, callback=callback)
    return kspde.simulate(FREE, gaussian(0.7), n=n, t_end=0.5, dt=0.1, eps=0.3, seed=seed, save=save)


def test_snapshots_and_files_say_the_same(pde: Spreading, shared_tmp_path: Path, comm: MPI.Comm) -> None:
    snapshots, files = Snapshots(), SnapshotFiles(shared_tmp_path / "snapshots")

    def both(cloud: Any) -> None:
        snapshots(cloud)
        files(cloud)

    cloud = simulate(both)
    assert [c.t_end for c in snapshots.clouds] == pytest.approx(TIMES)
    options = {"times": TIMES, "replicas": 3, "distances": ("l1", "relative_entropy", "energy")}
    kept, read, named, listed = (
        compare(pde, cloud, snapshots=each, **options)
        for each in (snapshots, files, str(shared_tmp_path / "snapshots"), snapshots.clouds)
    )
    table = kept.over_time
    assert isinstance(table, OverTime)
    for other in (read, named, listed):
        for name, values in table.columns.items():
            np.testing.assert_allclose(other.over_time[name], values, rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(table["t"], TIMES)
    # The last row is the distance that is returned, and the one at the end alone.
    last = compare(pde, cloud, replicas=3, distances=("l1", "relative_entropy", "energy"))
    for name in last.by_name:
        assert table[name][-1] == kept[name].value == pytest.approx(last[name].value, rel=1e-8)
        assert table[f"{name}_high"][-1] == kept[name].interval[1]
        assert table[f"floor_{name}_low"][-1] == kept.floor[name].interval[0]
    assert np.all(table["l1"] < table["floor_l1_high"] * 1.2)  # at every time against the density of that time
    assert table["bandwidth"][0] < 0.7 * table["bandwidth"][-1]
    assert np.all(table["l1"] ** 2 <= 2 * table["relative_entropy"])
    assert json.loads(json.dumps(kept.summary()))["over_time"]["t"] == list(TIMES)
    assert list(Path(shared_tmp_path / "snapshots").glob("*.h5"))
    comm.barrier()


def test_what_is_wrong_with_snapshots(pde: Spreading, shared_tmp_path: Path, comm: MPI.Comm) -> None:
    cloud = simulate(SnapshotFiles(shared_tmp_path / "snapshots"), n=40)
    other = simulate(None, seed=3, n=40)
    folder = str(shared_tmp_path / "snapshots")
    for options, message in (
        ({"times": (0.1, 0.5), "snapshots": folder}, r"times contain 0\.1, and particles are known at 0, 0\.2, 0\.5"),
        ({"times": (0.2, 0.5)}, r"times contain 0\.2, and particles are known at 0\.5: give snapshots"),
        ({"times": (0.5, 0.2)}, r"times = \[0\.5, 0\.2\] are not valid: give increasing times in \[0, 0\.5\]"),
        ({"times": (0.7,)}, r"times = \[0\.7\] are not valid"),
        ({"snapshots": folder}, "snapshots are given without times"),
        ({"times": (0.5,), "snapshots": 3}, "snapshots is a int: give Snapshots"),
        ({"times": (0.2,), "snapshots": str(shared_tmp_path)}, r"there is no snapshot-\*\.h5 in"),
    ):
        with pytest.raises(kspde.InputError, match=message):
            compare(pde, cloud, **options)
    with pytest.raises(
        kspde.InputError, match=r"snapshot-0.*\.h5 has seed = 2, the cloud 3: give the snapshots of this"
    ):
        compare(pde, other, times=(0.2,), snapshots=folder)
    with pytest.raises(kspde.InputError, match="there are 2 clouds: give snapshots as a list of 2, one for each"):
        compare(pde, [cloud, other], times=(0.2,), snapshots=folder)
    if comm.rank == 0:
        (shared_tmp_path / "snapshots" / "snapshot-0000000009.h5").write_text("nothing")
    comm.barrier()
    with pytest.raises(kspde.InputError, match=r"snapshot-0000000009\.h5 cannot be read as a snapshot"):
        compare(pde, cloud, times=(0.2,), snapshots=folder)


@pytest.mark.one_rank
def test_several_clouds_over_time(pde: Spreading) -> None:
    snapshots = [Snapshots(), Snapshots(), Snapshots()]
    clouds = [simulate(kept, seed=seed, n=500) for seed, kept in enumerate(snapshots)]
    distance = compare(pde, clouds, times=TIMES[1:], snapshots=snapshots, replicas=4)
    assert distance.clouds == 3
    assert distance.over_time["l1"].shape == (2,)


@pytest.mark.one_rank
def test_against_a_solution_of_the_equation(shared_tmp_path: Path) -> None:
    u0 = gaussian(0.7)
    box = kspde.Box(half_width=10.0, cells=8, degree=6)
    model = kspde.SignalDependentKellerSegel(chi=4.0)
    pde = kspde.solve(model, u0, box, t_end=0.2, tol=1e-4, eps=0.3, save=kspde.SaveAt(times=(0.0, 0.1)))
    kept = Snapshots()
    save = kspde.SaveAt(times=(0.0, 0.1), callback=kept)
    cloud = kspde.simulate(model, u0, n=2000, t_end=0.2, dt=0.05, eps=0.3, seed=1, save=save)
    table = compare(pde, cloud, times=(0.0, 0.1, 0.2), snapshots=kept, replicas=4).over_time
    assert np.all(table["l1"] < 1.2 * table["floor_l1_high"])


@pytest.mark.one_rank
def test_table_and_picture(pde: Spreading, shared_tmp_path: Path, comm: MPI.Comm) -> None:
    def at(t: float) -> KnownCloud:
        return KnownCloud(draws(gaussian(float(np.sqrt(0.49 + 4 * t))), 300, 1), pde, t_end=t)

    clouds = [at(t) for t in TIMES]
    table = compare(pde, clouds[-1], times=TIMES, snapshots=clouds, replicas=2, distances=("l1", "l2", "w1")).over_time
    with pytest.raises(kspde.InputError, match="there is no column 'l3': the columns are t, bandwidth, l1"):
        _ = table["l3"]
    table.write_csv(shared_tmp_path / "table.csv")
    table.plot(shared_tmp_path / "table.png")
    table.plot(shared_tmp_path / "w1.png", names=("wasserstein1", "l1", "l2"))
    comm.barrier()
    rows = list(csv.DictReader((shared_tmp_path / "table.csv").open(encoding="utf-8")))
    assert [float(row["l1"]) for row in rows] == table["l1"].tolist()
    assert (shared_tmp_path / "table.png").stat().st_size > 10_000
    assert (shared_tmp_path / "w1.png").stat().st_size > 10_000
    with pytest.raises(kspde.InputError, match=r"names = 'energy' is not valid: give one of l1, l2"):
        table.plot(shared_tmp_path / "no.png", names=("energy",))
    with pytest.raises(kspde.InputError, match=r"cannot write .*missing"):
        table.write_csv(shared_tmp_path / "missing" / "table.csv")
