"""Particles with weights, of one sign and of both, and signed densities: known distances, noise, floors, ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, Still, draws
from mpi4py import MPI

import kspde
from kspde.distances import compare
from kspde.distances.sides import Sample
from kspde.distances.weighted import MeanSizes, NodeDraws, WeightLaw
from kspde.grids import Grid
from kspde.particles import SnapshotFiles

POSITIVE = ("l1", "l2", "relative_entropy", "reverse_relative_entropy", "w1", "w2", "energy")
PLACE = (0.5, -0.4, 0.8)


class Vortices(kspde.SignedMixture):
    """Gaussians of std s and circulations of either sign, off the origin."""

    def __init__(self, circulations: Any, x: Any, std: float = 0.7, dimension: int = 2) -> None:
        means = np.outer(np.ones(len(x)), PLACE[:dimension])
        means[:, 0] += x
        super().__init__(circulations=circulations, means=means, stds=np.full(len(x), std))

    def pairs(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws of (position, weight) by numpy's own means, whose expectation is this density."""
        random, sizes = np.random.default_rng(seed), np.abs(self.circulations)
        chosen = random.choice(len(sizes), size=n, p=sizes / sizes.sum())
        points = self.means[chosen] + self.stds[chosen, None] * random.standard_normal((n, self.dimension))
        return points, np.sign(self.circulations[chosen]) * sizes.sum() / n


def cloud(points: np.ndarray, weights: np.ndarray, like: KnownDensity) -> KnownCloud:
    out = KnownCloud(points, like, masses={"u": float(weights.sum())})
    mine = weights[out.ids.astype(np.int64)]
    out.weights_of = lambda species: mine  # type: ignore[attr-defined]
    return out


def exponential(n: int, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of N(PLACE, 1) with weights that do not depend on the place, of mass 2 in the mean."""
    random = np.random.default_rng(seed)
    return PLACE[:dimension] + random.standard_normal((n, dimension)), 2 * random.exponential(size=n) / n


def importance(n: int, dimension: int, seed: int, wide: float = 1.4) -> tuple[np.ndarray, np.ndarray]:
    """Points of a wider Gaussian, weighed to be N(PLACE, 1) of mass 2."""
    x = np.random.default_rng(seed).standard_normal((n, dimension)) * wide
    weights = 2 * wide**dimension * np.exp(-0.5 * (x**2).sum(axis=1) * (1 - wide**-2)) / n
    return PLACE[:dimension] + x, weights


def normal(dimension: int, mass: float = 2.0) -> kspde.GaussianMixture:
    return kspde.GaussianMixture(weights=[1.0], means=[PLACE[:dimension]], stds=[1.0], mass=mass)


def gap(density: Any, points: np.ndarray, weights: np.ndarray, h: float, scale: float, half: float = 6.0) -> float:
    """‖Σ w K_h(· − X)/Σw − ω‖₁ (Σw = ``scale``) by a sum over pairs on a grid of its own, in one dimension."""
    x = np.linspace(-half, half, 1201)
    kernels = np.exp(-0.5 * ((x[:, None] - points[:, 0]) / h) ** 2) / (h * np.sqrt(2 * np.pi))
    return float(np.abs(kernels @ weights / scale - density(x[:, None])).sum() * (x[1] - x[0]))


@pytest.mark.one_rank
def test_weighted_sums_of_kernels_and_their_noise() -> None:
    """On the line: L¹ of the weighted sum itself, and the expected noise of weighted draws, both summed here."""
    n, h = 300, 0.3
    u = normal(1, mass=1.0)
    pde = KnownDensity(density=normal(1))
    for law in (exponential, importance):
        x, w = law(n, 1, 3)
        found = compare(pde, cloud(x, w, pde), distances=("l1", "w1"), bandwidth=h, replicas=60, normalise=True)
        assert found.l1.value == pytest.approx(gap(u, x, w, h, w.sum()), rel=2e-3)
        order = np.argsort(x[:, 0])
        t = np.linspace(-7, 8, 30_001)
        steps = np.append(0, np.cumsum(w[order]))[np.searchsorted(x[order, 0], t, side="right")] / w.sum()
        from scipy.special import ndtr

        assert found.wasserstein1.value == pytest.approx(np.abs(steps - ndtr(t - 0.5)).sum() * 5e-4, rel=2e-3)
        noise = [gap(u, *(pair := law(n, 1, k)), h, pair[1].sum()) for k in range(10, 130)]
        # The standard errors are about 3 % and 2 % of these means.
        assert found.floor.l1.value == pytest.approx(np.mean(noise), rel=0.12)
        assert found.effective_n == pytest.approx(w.sum() ** 2 / (w @ w))
        assert found.smoothing["l1"] == pytest.approx(
            gap(u, np.array([[0.5]]), np.ones(1), np.hypot(1, h), 1), rel=2e-3
        )
    unweighted = compare(pde, x, mass=2.0, distances=("l1",), bandwidth=h, replicas=3)
    assert unweighted.above_floor  # the wider Gaussian itself


@pytest.mark.one_rank
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_one_law_is_not_above_its_floor_and_another_is(dimension: int) -> None:
    names = POSITIVE if dimension < 3 else ("energy",)
    pde = KnownDensity(density=normal(dimension))
    for k, law in enumerate((exponential, importance)[dimension == 3 :]):
        x, w = law(400, dimension, 5 + k)
        options = {
            "distances": names,
            "replicas": 6 if dimension < 3 else 3,
            "bandwidth": None if dimension == 3 else 0.4,
        }
        options |= {"resolution": 80} if dimension == 2 else {}
        found = compare(pde, cloud(x, w, pde), **options)
        assert sum(found.is_above_floor(name) for name in found.by_name) <= 1, str(found)
        if dimension == 3:  # takes seconds
            continue
        moved = compare(pde, cloud(x + 0.6 / np.sqrt(dimension), w, pde), **options)
        assert all(moved.is_above_floor(name) for name in moved.by_name), str(moved)


@pytest.mark.one_rank
def test_the_noise_of_the_energy_distance_is_known_for_weights() -> None:
    """The mean over clouds of the distance without noise is 0, up to its error, where weights depend on the place."""
    pde = KnownDensity(density=normal(1), comm=MPI.COMM_SELF)
    found = [
        compare(pde, cloud(*importance(200, 1, k), pde), distances=("energy",), replicas=2, normalise=True)
        for k in range(40)
    ]
    bare = np.array([each.debiased.energy.value for each in found])
    noise = np.mean([each.energy.value for each in found])
    assert abs(bare.mean()) < 0.35 * noise
    assert abs(bare.mean()) < 3.5 * bare.std() / np.sqrt(40)


@pytest.mark.one_rank
def test_clouds_of_different_weights() -> None:
    """Few heavy-tailed weights against many equal ones: the floor has the noise of both, not that of their mixture."""
    like = KnownDensity(density=normal(2))
    many, random = KnownCloud(draws(normal(2), 1200, 1), like), np.random.default_rng(2)
    heavy = random.lognormal(0.0, 1.3, size=300)
    x = PLACE[:2] + random.standard_normal((300, 2))
    options: dict[str, Any] = {"distances": ("l1", "energy"), "replicas": 8, "bandwidth": 0.5, "resolution": 80}
    found = compare(many, cloud(x, 2 * heavy / heavy.sum(), like), **options)
    assert found.effective_n == pytest.approx(heavy.sum() ** 2 / (heavy @ heavy))
    assert found.effective_n < 100
    assert not any(found.is_above_floor(name) for name in found.by_name), str(found)
    expected = (1 / 1200 + 1 / found.effective_n) * np.sqrt(np.pi)  # E|X − X'| of N(0, I) in the plane
    assert found.floor.energy.value == pytest.approx(expected, rel=0.5)
    moved = compare(many, cloud(x + 0.8, 2 * heavy / heavy.sum(), like), **options)
    assert all(moved.is_above_floor(name) for name in moved.by_name), str(moved)
    line = KnownDensity(density=normal(1))
    sides = [cloud(*law(300, 1, 4), line) for law in (exponential, importance)]
    quantiles = compare(*sides, distances=("w1", "w2"), replicas=8)
    assert not any(quantiles.is_above_floor(name) for name in quantiles.by_name), str(quantiles)


@pytest.mark.one_rank
@pytest.mark.parametrize("dimension", [1, 2])
def test_two_vortices_of_mass_zero(dimension: int) -> None:
    """In units of the total variation: known without noise; draws are in the floor, a wrong sign or place is not."""
    omega = Vortices([1.5, -1.5], [1.5, -1.5], dimension=dimension)
    pde = KnownDensity(density=omega)  # type: ignore[arg-type]
    n = 500
    x, w = omega.pairs(n, 1)
    found = compare(pde, cloud(x, w, pde), replicas=8)
    assert list(found.by_name) == ["l1"]
    from scipy.special import erf

    assert found.variation == pytest.approx(3 * erf(1.5 / 0.7 / np.sqrt(2)), rel=1e-3)
    assert not found.above_floor, str(found)
    if dimension == 1:
        h, v = found.bandwidth, found.variation
        exact = gap(lambda x: omega(x) / v, x, w, h, v)  # type: ignore[arg-type]
        assert found.l1.value == pytest.approx(exact, rel=3e-3)
        smooth = Vortices([1.5, -1.5], [1.5, -1.5], float(np.hypot(0.7, h)), 1)  # type: ignore[arg-type]
        grid = np.linspace(-8, 8, 4001)[:, None]
        alone = np.abs(smooth(grid) - omega(grid)).sum() * 4e-3 / v  # type: ignore[operator]
        assert found.smoothing["l1"] == pytest.approx(alone, rel=1e-3)
        noise = [gap(lambda x: omega(x) / v, *omega.pairs(n, k), h, v) for k in range(10, 40)]  # type: ignore[arg-type]
        assert found.floor.l1.value == pytest.approx(np.mean(noise), rel=0.12)
    turned = compare(pde, cloud(x, -w, pde), replicas=3)
    assert turned.l1.value == pytest.approx(2.0, rel=0.1)
    assert turned.above_floor
    moved = cloud(x + np.eye(dimension)[0] * 0.7, w, pde)
    assert compare(pde, moved, replicas=6).above_floor
    again = compare(cloud(x, w, pde), cloud(*omega.pairs(400, 2), pde), replicas=6)
    assert not again.above_floor, str(again)
    assert again.variation == pytest.approx(3.0)
    assert compare(moved, cloud(*omega.pairs(400, 2), pde), replicas=6).above_floor
    several = compare(pde, [cloud(*omega.pairs(n, k), pde) for k in range(3)], bandwidth=found.bandwidth, replicas=5)
    assert several.l1.value < found.floor.l1.value
    assert not several.above_floor


@pytest.mark.one_rank
def test_particles_of_both_signs_in_one_place() -> None:
    """Σ|w| above ∫|ω|: the noise is that of all particles; with fixed weights the mass does not fluctuate."""
    density, n = normal(1, mass=0.4), 500
    signs = np.where(np.arange(n) < 0.7 * n, 1.0, -1.0) / n
    pde = KnownDensity(density=density)

    def points(seed: int) -> np.ndarray:
        return PLACE[0] + np.random.default_rng(seed).standard_normal((n, 1))

    found = compare(pde, cloud(points(1), signs, pde), replicas=40, bandwidth=0.4)
    noise = [gap(lambda x: density(x) / 0.4, points(k), signs, 0.4, 0.4) for k in range(10, 70)]
    assert found.floor.l1.value == pytest.approx(np.mean(noise), rel=0.12)
    low, high = found.floor.l1.interval
    assert np.mean([low < each < high for each in noise]) > 0.85


@pytest.mark.one_rank
def test_draws_have_the_measure_and_the_noise() -> None:
    """The expectation of draws is the measure, and their second moment that of the weights, position by position."""
    random = np.random.default_rng(0)
    x, n = random.standard_normal((4000, 1)), 4000
    w = np.exp(0.4 * x[:, 0]) * random.exponential(size=n) * np.where(random.random(n) < 0.8, 1.0, -1.0)
    law = WeightLaw.of(x, w, MPI.COMM_SELF, signed=True)
    grid = Grid.covering(np.array([-5.0]), np.array([5.0]), [401])
    pdf = np.exp(-0.5 * grid.axes[0] ** 2) / np.sqrt(2 * np.pi) * grid.cell_volume * n
    size = pdf * np.exp(0.4 * grid.axes[0])
    made = NodeDraws(0.6 * size, MeanSizes(law, grid.axes, signed=True), size)
    many = np.array([made(n, np.random.default_rng(k)) for k in range(300)])
    left, right = many[:, :190].sum(axis=1), many[:, 211:].sum(axis=1)
    for part, sums in ((slice(0, 190), left), (slice(211, None), right)):
        exact, variance = 0.6 * size[part].sum(), 2 * (size * np.exp(0.4 * grid.axes[0]))[part].sum()
        assert sums.mean() == pytest.approx(exact, abs=4 * np.sqrt(variance / 300))
        assert sums.var() == pytest.approx(variance, rel=0.3)


def test_the_number_of_ranks_does_not_matter(comm: MPI.Comm) -> None:
    omega, u = Vortices([2.0, -1.0], [1.0, -1.2]), normal(2)
    results = []
    for world in (MPI.COMM_SELF, comm):
        signed, positive = (KnownDensity(density=each, comm=world) for each in (omega, u))  # type: ignore[arg-type]
        a, b = cloud(*omega.pairs(300, 1), signed), cloud(*importance(300, 2, 1), positive)
        options: dict[str, Any] = {"replicas": 3, "resolution": 160}
        results.append(
            [
                compare(signed, a, **options),
                compare(positive, b, distances=("l1", "w1", "energy"), **options),
                compare(cloud(*omega.pairs(200, 2), signed), a, **options),
                compare(cloud(*exponential(200, 2, 1), positive), b, replicas=3),
            ]
        )
    for alone, together in zip(*results, strict=True):
        for name, estimate in alone.by_name.items():
            assert together[name].value == pytest.approx(estimate.value, rel=1e-9)
            assert together[name].interval == pytest.approx(estimate.interval, rel=1e-6, abs=1e-12)
            assert together.floor[name].value == pytest.approx(alone.floor[name].value, rel=1e-6)


@pytest.mark.one_rank
def test_signed_densities(shared_tmp_path, comm: MPI.Comm) -> None:
    """Two of them, as solutions, initial densities and functions: the integral of |ω₂ − ω₁| over that of |ω₁|."""
    first, second = Vortices([1.0, -1.0], [1.5, -1.5], 0.7, 1), Vortices([1.0, -1.0], [1.2, -1.2], 0.8, 1)
    points = np.linspace(-8, 9, 17_001)[:, None]
    a, b = first(points), second(points)
    exact = np.abs(b - a).sum() / np.abs(a).sum()
    box = kspde.Box(half_width=9.0, cells=8, dimension=1)
    for sides, domain in (
        ((KnownDensity(density=first), KnownDensity(density=second)), None),  # type: ignore[arg-type]
        ((first, second), None),
        ((first, second.__call__), box),
    ):
        found = compare(*sides, domain=domain)
        assert found.l1.value == pytest.approx(exact, rel=2e-4)
        assert found.l1.interval[0] <= exact * (1 + 1e-4)
        assert found.variation == pytest.approx(np.abs(a).sum() * 1e-3, rel=2e-4)
    assert "in units of" in str(found)
    found.plot(shared_tmp_path / "signed.png")
    comm.barrier()
    assert (shared_tmp_path / "signed.png").stat().st_size > 10_000


def test_a_signed_solution_and_its_particles(shared_tmp_path, comm: MPI.Comm) -> None:
    """The heat equation of two opposite Gaussians, off the origin: both backends against what is known, over time."""
    omega, model, kept = Vortices([1.0, -1.0], [1.2, -1.2]), Still(rate=0.5), kspde.Snapshots()
    box = kspde.Box(half_width=9.0, cells=10, degree=5)
    pde = kspde.solve(model, omega, box, t_end=0.4, tol=1e-6, save=kspde.SaveAt(times=(0.2, 0.4)))
    assert pde.warnings == ()
    known = Vortices([1.0, -1.0], [1.2, -1.2], float(np.sqrt(0.49 + 0.4)))
    distance = compare(known, pde)
    assert distance.l1.value < 1e-3
    assert distance.mass == 0.0
    for callback in (kept, SnapshotFiles(shared_tmp_path / "snapshots")):
        save = kspde.SaveAt(times=(0.2, 0.4), callback=callback)
        end = kspde.simulate(model, omega, n=400, t_end=0.4, dt=0.2, save=save)
    weights = np.concatenate(comm.allgather(end.weights_of("u")))
    x = np.concatenate(comm.allgather(end.positions))
    np.testing.assert_allclose(np.abs(weights), 2 / 400)
    assert np.mean(weights * (x[:, 0] - 0.5) > 0) > 0.8  # most are still on the side that they came from
    options: dict[str, Any] = {"times": (0.2, 0.4), "replicas": 4, "bandwidth": 0.4, "resolution": 100}
    found = [compare(pde, end, snapshots=each, **options) for each in (kept, str(shared_tmp_path / "snapshots"))]
    for each in found:
        assert each.over_time is not None
        assert np.all(each.over_time["l1"] < each.over_time["floor_l1_high"])
        np.testing.assert_allclose(each.over_time["l1"], found[0].over_time["l1"], rtol=1e-9)  # type: ignore[index]
    for options, message in (
        ({"scheme": "positive", "dt": 0.1}, 'scheme = "positive" keeps densities >= 0, and that of u has both signs'),
        ({"eps": 0.3, "initial": "mollified"}, 'initial = "mollified" keeps densities >= 0'),
    ):
        flat = kspde.Box(half_width=9.0, cells=10, degree=1)
        with pytest.raises(kspde.InputError, match=message):
            kspde.solve(kspde.SignalDependentKellerSegel(chi=0.1), omega, flat, t_end=0.1, **options)
    with pytest.raises(kspde.InputError, match="circulations are none, or contain 0"):
        kspde.SignedMixture(circulations=[1.0, 0.0], means=[[0.0], [1.0]], stds=[1.0, 1.0])


@pytest.mark.one_rank
def test_what_has_no_meaning_is_refused() -> None:
    omega = Vortices([1.0, -1.0], [1.0, -1.0])
    pde, u = KnownDensity(density=omega), KnownDensity(density=normal(2))  # type: ignore[arg-type]
    signed, weighted = cloud(*omega.pairs(50, 1), pde), cloud(*importance(50, 2, 1), u)
    for a, b, options, message in (
        (pde, signed, {"distances": ("energy",)}, r"'energy', which compares positive densities.*give \('l1',\)"),
        (pde, pde, {"distances": ("l2",)}, r"'l2', which compares positive densities.*give \('l1',\)"),
        (signed, signed, {"distances": ("l1", "w1")}, r"'wasserstein1', which compares positive densities"),
        (u, signed, {"normalise": True}, "normalise = True divides each side by its mass"),
        (pde, signed, {"r": 2}, "r = 2 has no meaning for signed measures"),
        (u, weighted, {"distances": ("relative_entropy_knn",)}, "counts particles as equal, and they have weights"),
        (u, cloud(*omega.pairs(50, 1), u), {}, "mass of u is 2.0 for the density and 0?.* for the particles"),
        (u, cloud(np.zeros((5, 2)), np.zeros(5), u), {}, "the weights of 'u' are at most 0 in size"),
    ):
        with pytest.raises(kspde.InputError, match=message):
            compare(a, b, **options)
    sample = Sample(np.zeros((3, 2)), np.array([1.0, -2.0, 3.0]))
    assert sample.modulus.size == 6.0
