"""The distance between two sets of particles: known laws, floors, intervals, ranks, refusals."""

from __future__ import annotations

import json
from math import pi, sqrt
from typing import Any

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, Still, gaussian, quantiles
from mpi4py import MPI

import kspde
from kspde.distances import compare
from kspde.plots import densities as pictures

EVERYTHING = ("l1", "l2", "w1", "w2", "energy")


def normals(n: int, seed: int, *, mean: Any = (0.0, 0.0), std: float = 1.0) -> np.ndarray:
    return np.asarray(mean) + std * np.random.default_rng(seed).standard_normal((n, len(np.asarray(mean))))


def test_known_distances() -> None:
    """Points at the quantiles of N(1, 1) and N(1.5, 1.2²), 3 away from the origin: closed forms, up to the last few."""
    x, y = 3.0 + quantiles(20_000, mean=1.0), 3.0 + quantiles(15_000, mean=1.5, std=1.2)
    distance = compare(x, y, distances=EVERYTHING, bandwidth=0.3, replicas=2)
    s, t = np.hypot(1.0, 0.3), np.hypot(1.2, 0.3)
    l2 = 1 / (2 * s * sqrt(pi)) + 1 / (2 * t * sqrt(pi))
    l2 -= 2 * np.exp(-0.25 / (2 * (s**2 + t**2))) / np.sqrt(2 * pi * (s**2 + t**2))
    assert distance.l2.value == pytest.approx(sqrt(l2), rel=2e-3)
    assert distance.wasserstein2.value == pytest.approx(np.hypot(0.5, 0.2), rel=2e-3)
    known = compare(
        gaussian(1.0, dimension=1, mean=4.0), gaussian(1.2, dimension=1, mean=4.5), distances=("w1", "energy")
    )
    assert distance.wasserstein1.value == pytest.approx(known.wasserstein1.value, rel=2e-3)
    assert distance.energy.value == pytest.approx(known.energy.value, rel=2e-3)
    assert (distance.first_n, distance.n, distance.kind) == (20_000, 15_000, "clouds")


@pytest.mark.one_rank
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_one_law_is_not_above_the_floor(dimension: int) -> None:
    n, m = 900, 600
    x, y = normals(n, 1, mean=np.full(dimension, 2.0)), normals(m, 2, mean=np.full(dimension, 2.0))
    distance = compare(x, y, distances=EVERYTHING, replicas=8)
    for name in distance.by_name:
        assert not distance.is_above_floor(name), name
        low, high = distance[name].interval
        assert 0 <= low <= distance[name].value <= high
        # Twice as many of both: the noise of a difference falls by √2, a square by 2.
    assert distance.debiased.energy.interval[0] == 0
    assert "not distinguishable from its floor" in str(distance)
    # The mean of the floor, in closed form: (1/n + 1/m) E|X − X'|, here of a standard normal law.
    from scipy.special import gamma

    expected = (1 / n + 1 / m) * 2 * gamma((dimension + 1) / 2) / gamma(dimension / 2)
    assert distance.floor.energy.value == pytest.approx(expected, rel=0.5)


@pytest.mark.one_rank
def test_another_law_is_above_the_floor() -> None:
    """A shift by .5 in the plane: the energy distance without noise is that of the laws."""
    x, y = normals(3000, 1), normals(2000, 2, mean=(0.5, 0.0))
    distance = compare(x, y, replicas=8)
    assert all(distance.is_above_floor(name) for name in distance.by_name)
    laws = compare(
        gaussian(1.0), kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.0]], stds=[1.0]), distances=("energy",)
    )
    low, high = distance.debiased.energy.interval
    assert low < laws.energy.value < high
    assert high < 2 * laws.energy.value


def test_the_number_of_ranks_does_not_matter(comm: MPI.Comm) -> None:
    """Clouds spread over ranks, each rank's own positions, and the same on all: one result, that of one rank."""
    like, alone = KnownDensity(density=gaussian()), KnownDensity(density=gaussian(), comm=MPI.COMM_SELF)
    x, y = normals(700, 1), normals(500, 2, std=1.1)
    options: dict[str, Any] = {"distances": EVERYTHING, "replicas": 3}
    expected = compare(KnownCloud(x, alone), KnownCloud(y, alone), **options)
    first, last = 700 * comm.rank // comm.size, 700 * (comm.rank + 1) // comm.size
    for a, b in (
        (KnownCloud(x, like), KnownCloud(y, like)),
        (x, y),
        (x[first:last], KnownCloud(y, like)),
        (KnownCloud(x, like), y.tolist()),
    ):
        found = compare(a, b, **options)
        for part in (lambda d: d, lambda d: d.floor, lambda d: d.debiased):
            for name, estimate in part(expected).by_name.items():
                assert part(found)[name].value == pytest.approx(estimate.value, rel=1e-9, abs=1e-14)
                assert part(found)[name].interval == pytest.approx(estimate.interval, rel=1e-8, abs=1e-14)
    nothing = np.empty((0, 2)) if comm.rank else x
    assert compare(nothing, y, replicas=2).first_n == 700


def test_positions_against_a_density() -> None:
    """An array is a cloud of equal weights, and a cloud before the density is one after it."""
    pde = KnownDensity(density=gaussian())
    x = normals(400, 3)
    cloud = compare(pde, KnownCloud(x, pde), replicas=3)
    for sides in ((pde, x), (x, pde), (KnownCloud(x, pde), pde)):
        other = compare(*sides, replicas=3)
        assert other.l1.value == pytest.approx(cloud.l1.value, rel=1e-12)
        assert other.floor.l1.value == pytest.approx(cloud.floor.l1.value, rel=1e-12)
        assert other.relative_entropy.value == pytest.approx(cloud.relative_entropy.value, rel=1e-12)
    known = compare(gaussian(), x, replicas=3)
    assert known.l1.value == pytest.approx(cloud.l1.value, rel=1e-2)
    heavy = KnownDensity(density=gaussian(mass=3.0))
    with pytest.raises(kspde.InputError, match=r"mass of u is 3\.0 for the density and 1\.0 for the positions"):
        compare(heavy, x)
    assert compare(heavy, x, mass=3.0, replicas=3).l1.value == pytest.approx(cloud.l1.value, rel=1e-9)
    assert compare(heavy, x, normalise=True, replicas=3).differs == {"mass": (3.0, 1.0)}


def test_the_mean_of_several_clouds() -> None:
    like = KnownDensity(density=gaussian())
    x, y = (
        [KnownCloud(normals(300, k), like) for k in range(3)],
        [KnownCloud(normals(200, k), like) for k in range(3, 5)],
    )
    distance = compare(x, y, replicas=3)
    both = compare(
        [normals(300, k) for k in range(3)], np.concatenate([normals(200, k) for k in range(3, 5)]), replicas=3
    )
    assert distance.l1.value == pytest.approx(both.l1.value, rel=1e-9)
    assert (distance.first_clouds, distance.clouds, distance.first_n, distance.n) == (3, 2, 300, 200)


def test_clouds_of_one_seed_are_not_independent(comm: MPI.Comm) -> None:
    model = kspde.SignalDependentKellerSegel(chi=4.0)
    runs = [
        kspde.simulate(model, gaussian(0.7), n=300, t_end=0.1, dt=0.05, eps=eps, seed=seed)
        for eps, seed in ((0.2, 1), (0.4, 1), (0.4, 2))
    ]
    words = "both sides have particles with seed = 1 and replica = 0, which share starting points and noise"
    if comm.rank == 0:
        with pytest.warns(kspde.errors.KspdeWarning, match=words):
            shared = compare(runs[0], runs[1], replicas=2)
    else:
        shared = compare(runs[0], runs[1], replicas=2)
    assert shared.warnings[0].startswith(words)
    assert shared.differs == {"eps": (0.2, 0.4)}
    assert shared.eps is None
    independent = compare(runs[0], runs[2], replicas=2)
    assert independent.warnings == ()
    assert shared.wasserstein1.value < 0.5 * independent.floor.wasserstein1.value
    summary = json.loads(json.dumps(independent.summary()))
    assert summary["first_n"] == summary["n"] == 300
    assert summary["floor"]["l1"]["value"] > 0


@pytest.mark.one_rank
def test_pictures(shared_tmp_path, comm: MPI.Comm) -> None:
    like = KnownDensity(density=gaussian())
    other = KnownDensity(density=gaussian(), model=Still(rate=2.0), eps=None)
    distance = compare(
        KnownCloud(normals(900, 1), like), KnownCloud(normals(800, 2, mean=(0.4, 0.0)), other), replicas=2
    )
    distance.plot(shared_tmp_path / "distance.png")
    pictures.plot_densities(distance, shared_tmp_path / "densities.png")
    comm.barrier()
    assert (shared_tmp_path / "distance.png").stat().st_size > 10_000
    points = compare(normals(50, 1), normals(60, 2), distances=("energy",), replicas=2)
    with pytest.raises(kspde.InputError, match="no densities were estimated"):
        points.plot(shared_tmp_path / "never.png")


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (
            np.zeros((5, 1)),
            np.zeros((5, 2)),
            {},
            "dimension is 1 for the first positions and 2 for the second positions",
        ),
        (np.zeros((1, 2)), np.zeros((5, 2)), {}, "the cloud has 1 particle:"),
        (np.zeros((5, 2)), np.ones((5, 2)), {"distances": ("relative_entropy",)}, "'relative_entropy' is not valid"),
        (np.zeros((5, 2)), np.ones((5, 2)), {"times": (0.1,)}, "times are given, and the first side is not a solution"),
        (np.zeros((5, 2)), np.ones((5, 2)), {"r": 2}, "r = 2 has no effect here"),
        (np.zeros((5, 2)), np.ones((5, 2)), {"mass": -1.0}, "mass = -1.0 is not valid"),
        (np.zeros((5, 2)), np.ones((5, 2)), {"bandwidth": 1e-6}, "needs more than 1536 grid points"),
        ([np.zeros((5, 2)), np.zeros((4, 2))], np.ones((5, 2)), {}, "give clouds of equally many"),
    ],
)
def test_refusals(x: Any, y: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(kspde.InputError, match=message):
        compare(x, y, **options)
