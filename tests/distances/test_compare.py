"""The distance of clouds whose density is known, through stand-ins for both backends."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, Still, draws, gaussian, quantiles
from mpi4py import MPI

import kspde
from kspde.distances import compare

EVERYTHING = (
    "l1",
    "l2",
    "relative_entropy",
    "reverse_relative_entropy",
    "wasserstein1",
    "wasserstein2",
    "energy",
    "relative_entropy_knn",
)


def on_the_line(mean: float, std: float) -> tuple[float, float]:
    """Return L1 and relative entropy of N(mean, std²) to N(0, 1), by quadrature and in closed form."""
    from scipy.integrate import quad

    def gap(x: float) -> float:
        return abs(np.exp(-0.5 * ((x - mean) / std) ** 2) / std - np.exp(-0.5 * x**2)) / np.sqrt(2 * np.pi)

    return quad(gap, -12, 12, limit=500)[0], -np.log(std) + (std**2 + mean**2) / 2 - 0.5


@pytest.mark.parametrize(("mean", "std", "h"), [(0.0, 1.0, 0.5), (0.7, 1.0, 0.2), (-0.3, 1.2, 0.4)])
def test_known_distances(mean: float, std: float, h: float) -> None:
    """Points at the quantiles of N(mean, std²), smoothed by h, are N(mean, std² + h²) up to the last few quantiles."""
    pde = KnownDensity(density=gaussian(dimension=1))
    distance = compare(pde, KnownCloud(quantiles(60_000, mean=mean, std=std), pde), bandwidth=h, replicas=2)
    l1, entropy = on_the_line(mean, np.hypot(std, h))
    assert distance.l1.value == pytest.approx(l1, rel=1e-3)
    assert distance.relative_entropy.value == pytest.approx(entropy, rel=2e-3)
    assert distance.bandwidth == h
    assert distance.bandwidth_bias == pytest.approx(on_the_line(0.0, np.hypot(1.0, h))[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [1, *(pytest.param(d, marks=pytest.mark.one_rank) for d in (2, 3))])
def test_draws_from_the_density_are_not_above_the_floor(dimension: int, comm: MPI.Comm) -> None:
    pde = KnownDensity(density=gaussian(dimension=dimension))
    distance = compare(pde, KnownCloud(draws(pde.density, 2000, 6), pde), replicas=4)
    assert not distance.above_floor
    assert distance.l1.value**2 <= 2 * distance.relative_entropy.value
    assert distance.floor.l1.value**2 <= 2 * distance.floor.relative_entropy.value
    assert distance.density_pde.shape == tuple(len(axis) for axis in distance.axes)
    volume = np.prod([axis[1] - axis[0] for axis in distance.axes])
    assert distance.density_pde.sum() * volume == pytest.approx(1)
    assert distance.density_particles.sum() * volume == pytest.approx(1)
    # The bandwidth has the rate N^(−1/(d+4)) of the optimal one; its closed form is tested on its own.
    asymptotic = (4 / (2000 * (dimension + 2))) ** (1 / (dimension + 4))
    assert distance.bandwidth == pytest.approx(asymptotic, rel=0.15)


def test_the_number_of_ranks_does_not_matter(mixture: kspde.GaussianMixture) -> None:
    positions = draws(mixture, 3000, 1)
    together, alone = (
        compare(pde, KnownCloud(positions, pde), replicas=5, distances=EVERYTHING)
        for pde in (KnownDensity(density=mixture), KnownDensity(density=mixture, comm=MPI.COMM_SELF))
    )
    for part in (lambda d: d, lambda d: d.floor, lambda d: d.debiased):
        assert set(part(together).by_name) == set(part(alone).by_name)
        for name, ours in part(together).by_name.items():
            theirs = part(alone)[name]
            assert ours.value == pytest.approx(theirs.value, rel=1e-8, abs=1e-14)
            assert ours.interval == pytest.approx(theirs.interval, rel=1e-7, abs=1e-14)
    np.testing.assert_allclose(together.density_particles, alone.density_particles, rtol=0, atol=1e-13)


def test_a_rank_without_particles(comm: MPI.Comm) -> None:
    pde = KnownDensity(density=gaussian(dimension=1))
    cloud = KnownCloud(draws(pde.density, 100, 1), pde)
    everything = np.sort(np.concatenate(comm.allgather(cloud.positions)), axis=0)
    cloud.positions = everything if comm.rank == 0 else np.empty((0, 1))
    cloud.ids = np.arange(len(cloud.positions), dtype=np.uint64)
    assert compare(pde, cloud, replicas=2).n == 100


@pytest.mark.one_rank
def test_seed_and_replicas(mixture: kspde.GaussianMixture) -> None:
    pde = KnownDensity(density=mixture)
    cloud = KnownCloud(draws(mixture, 500, 1), pde)
    first, again, other, more = (
        compare(pde, cloud, **options)
        for options in ({"replicas": 4}, {"replicas": 4}, {"replicas": 4, "seed": 1}, {"replicas": 6})
    )
    assert first.floor.l1.value == pytest.approx(again.floor.l1.value, rel=1e-12)
    assert first.l1.value == pytest.approx(other.l1.value, rel=1e-12)
    assert first.floor.l1.value != pytest.approx(other.floor.l1.value, rel=1e-6)
    assert first.floor.l1.value != pytest.approx(more.floor.l1.value, rel=1e-6)
    assert more.floor.replicas == 6


@pytest.mark.one_rank
def test_the_grid_is_fine_enough(mixture: kspde.GaussianMixture) -> None:
    pde = KnownDensity(density=mixture)
    cloud = KnownCloud(draws(mixture, 5000, 3), pde)
    default, fine = compare(pde, cloud, replicas=2), compare(pde, cloud, replicas=2, resolution=400)
    assert max(fine.density_pde.shape) == 400
    assert default.l1.value == pytest.approx(fine.l1.value, rel=5e-3)
    assert default.relative_entropy.value == pytest.approx(fine.relative_entropy.value, rel=5e-3)


def test_a_wide_bandwidth_still_resolves_the_density() -> None:
    pde = KnownDensity(density=gaussian(0.5))
    distance = compare(pde, KnownCloud(draws(pde.density, 1000, 3), pde), replicas=2, bandwidth=2.0)
    # Two circular Gaussians of standard deviations a < b meet where r² (1/a² − 1/b²) = 4 log(b/a).
    a, b = 0.5, np.hypot(0.5, 2.0)
    r2 = 4 * np.log(b / a) / (1 / a**2 - 1 / b**2)
    exact = 2 * (np.exp(-r2 / (2 * b**2)) - np.exp(-r2 / (2 * a**2)))
    assert distance.bandwidth_bias == pytest.approx(exact, rel=0.01)


def test_the_widest_bandwidth_is_the_width_of_the_domain() -> None:
    pde = KnownDensity(density=gaussian(dimension=1), half_width=8)
    assert compare(pde, KnownCloud(draws(pde.density, 50, 3), pde), replicas=2, bandwidth=16).bandwidth == 16


def test_a_narrow_peak_in_a_wide_domain() -> None:
    """The coarse search over the domain steps over it; the cloud says where to look."""
    density = kspde.GaussianMixture(weights=(0.5, 0.5), means=((0.05, 0.03), (0.07, -0.04)), stds=(0.04, 0.05))
    pde = KnownDensity(density=density, half_width=14)
    distance = compare(pde, KnownCloud(draws(density, 5000, 3), pde), replicas=4)
    assert distance.axes[0][-1] - distance.axes[0][0] < 1.0
    assert not distance.above_floor


def test_particles_outside_the_domain_count() -> None:
    pde = KnownDensity(density=gaussian(0.5, dimension=1), half_width=4)
    positions = draws(pde.density, 1000, 2)
    inside = compare(pde, KnownCloud(positions, pde), bandwidth=0.2, replicas=2)
    positions[:100] = 30.0
    outside = compare(pde, KnownCloud(positions, pde), bandwidth=0.2, replicas=2)
    assert outside.axes[0][-1] == 4
    assert inside.clipped_mass < 1e-9
    # Half of the kernels at the boundary lies beyond it, so a tenth of the particles is 50/950 of the estimate.
    assert outside.clipped_mass == pytest.approx(50 / 950, rel=0.1)
    assert outside.l1.value > inside.l1.value + 0.05


@pytest.mark.one_rank
def test_round_off_in_the_tail_of_the_density(mixture: kspde.GaussianMixture) -> None:
    """A discrete density that is slightly negative far out changes nothing to speak of."""
    clean, noisy = KnownDensity(density=mixture), KnownDensity(density=mixture)
    exact = noisy.on_grid
    noisy.on_grid = lambda axes, species=None, outside=None: (
        exact(axes, species) - 1e-9 * np.abs(np.cos(7 * np.add.outer(*axes)))
    )
    cloud = KnownCloud(draws(mixture, 20_000, 3), clean)
    a, b = compare(clean, cloud, replicas=2), compare(noisy, cloud, replicas=2)
    assert b.l1.value == pytest.approx(a.l1.value, rel=1e-3)
    assert b.relative_entropy.value == pytest.approx(a.relative_entropy.value, rel=1e-2)


def test_mass_and_species() -> None:
    model = Still(species=("a", "b"))
    pde = KnownDensity(density=gaussian(mass=4.0), model=model)
    cloud = KnownCloud(draws(pde.density, 500, 2), pde)
    with pytest.raises(kspde.InputError, match="species is not given: give one of a, b"):
        compare(pde, cloud)
    with pytest.raises(kspde.InputError, match="species = 'c' is not valid: give one of a, b"):
        compare(pde, cloud, species="c")
    distance = compare(pde, cloud, species="b", replicas=2)
    assert distance.species == "b"
    assert distance.mass == 4.0
    one = KnownDensity(density=gaussian())
    same = compare(one, KnownCloud(draws(one.density, 500, 2), one), replicas=2)
    assert distance.l1.value == pytest.approx(same.l1.value, rel=1e-9)


def test_summary_and_text() -> None:
    pde = KnownDensity(density=gaussian(dimension=1))
    distance = compare(pde, KnownCloud(draws(pde.density, 200, 2), pde), replicas=3)
    summary = json.loads(json.dumps(distance.summary()))
    assert summary["l1"] == {"value": distance.l1.value, "interval": list(distance.l1.interval)}
    assert summary["floor"]["replicas"] == 3
    assert summary["n"] == 200
    assert summary["clip_level"] == 1e-10
    assert "not distinguishable from its floor" in str(distance)
    assert str(distance.l1) in str(distance)


def test_the_package_is_called_like_its_function() -> None:
    pde = KnownDensity(density=gaussian(dimension=1))
    cloud = KnownCloud(draws(pde.density, 50, 2), pde)
    for _ in range(2):  # importing the package hides the function of the same name: both must do
        assert kspde.compare(pde, cloud, replicas=2).l1 == compare(pde, cloud, replicas=2).l1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth = 0.0 is not valid: give a finite number > 0"),
        ({"bandwidth": float("nan")}, "bandwidth = nan is not valid"),
        ({"bandwidth": "silverman"}, "bandwidth = 'silverman' is not a number"),
        ({"bandwidth": 1e-5}, r"bandwidth = 1e-05 needs more than 1536 grid points across .*: give bandwidth >= 0\.0"),
        ({"bandwidth": 1e20}, r"bandwidth = 1e\+20 is not valid: give one of at most 28, the domain's width"),
        ({"bandwidth": 28.1}, "bandwidth = 28.1 is not valid: give one of at most 28, the domain's width"),
        ({"replicas": 1}, "replicas = 1 is not valid: give an integer >= 2"),
        ({"resolution": 8}, "resolution = 8 is not valid: give an integer >= 16"),
        (
            {"resolution": 16},
            "resolution = 16 gives a spacing of .* more than half the bandwidth .*: give resolution >=",
        ),
        ({"resolution": 40.5}, "resolution = 40.5 is not an integer"),
        ({"seed": -1}, "seed = -1 is not valid"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    pde = KnownDensity(density=gaussian())
    with pytest.raises(kspde.InputError, match=message):
        compare(pde, KnownCloud(draws(pde.density, 200, 2), pde), **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t_end": 0.6}, "t_end is 0.5 for the density and 0.6 for the particles"),
        ({"masses": {"u": 2.0}}, "mass of u is 1.0 for the density and 2.0 for the particles"),
        ({"model": Still(dimension=3)}, "dimension is 2 for the density and 3 for the particles"),
    ],
)
def test_what_does_not_belong_together(changes: dict[str, Any], message: str) -> None:
    pde = KnownDensity(density=gaussian())
    with pytest.raises(kspde.InputError, match=message):
        compare(pde, KnownCloud(draws(pde.density, 200, 2), pde, **changes))


def test_bad_clouds_and_densities(comm: MPI.Comm) -> None:
    pde = KnownDensity(density=gaussian())
    with pytest.raises(kspde.InputError, match=r"the cloud has 1 particle: .* at least 2"):
        compare(pde, KnownCloud(np.zeros((1, 2)), pde))
    cloud = KnownCloud(draws(pde.density, 50, 2), pde)
    if comm.rank == comm.size - 1:  # bad on one rank: an error on all
        cloud.positions[3, 1] = np.nan
    with pytest.raises(kspde.InputError, match=r"particle \d+ is at \(.*, nan\): give finite positions"):
        compare(pde, cloud)
    nothing = KnownDensity(density=gaussian())
    nothing.on_grid = lambda axes, species=None, outside=None: np.zeros([len(axis) for axis in axes])
    with pytest.raises(kspde.InputError, match="the density has no mass between"):
        compare(nothing, KnownCloud(draws(pde.density, 50, 2), nothing))
    less = KnownDensity(density=gaussian(), masses={"u": 1.5})
    with pytest.raises(kspde.InputError, match=r"the density has mass 1(\.0*)? on the .* grid and 1\.5 in all"):
        compare(less, KnownCloud(draws(pde.density, 50, 2), less))
