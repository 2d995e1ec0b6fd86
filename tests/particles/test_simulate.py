"""The particle system in time: exact laws and identities, single steps, ranks, species."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from mpi4py import MPI
from reference_kernels import kernel_and_slope, sums
from scipy import stats

import kspde
from kspde.models.base import Field, FieldValues, Model
from kspde.runtime.random import Philox


@dataclass(frozen=True, kw_only=True)
class Linear(Model):
    """dX = −rate (X − centre) dt + √(2 D) dB: no fields."""

    dimension: int = 1
    rate: float = 0.0
    noise: float = 1.0
    centre: float = 0.0

    @property
    def fields(self) -> tuple[Field, ...]:
        return ()

    def diffusion(self, species, c: FieldValues):
        return self.noise

    def drift(self, species, c: FieldValues):
        return None if self.rate == 0 else -self.rate * (c.points - self.centre)


@dataclass(frozen=True, kw_only=True)
class Attraction(Model):
    """dX_i = ∇(Σ_j a_ij K^ε * u_j) dt + √(2 σ) dB for species a, b."""

    dimension: int = 2
    species: tuple[str, ...] = ("a", "b")
    noise: float = 0.0

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(Field(name=s, kernel=kspde.Yukawa(strength=8.0), source=s, gradient=True) for s in self.species)

    def diffusion(self, species, c: FieldValues):
        return self.noise

    def drift(self, species, c: FieldValues):
        return c.gradient("a") + (0.5 * c.gradient("b") if "b" in self.species else 0.0)


def gaussian(dimension, std=1.0, mass=1.0, mean=0.0):
    return kspde.GaussianMixture(weights=[1.0], means=[[mean] * dimension], stds=[std], mass=mass)


def everywhere(cloud, species=None):
    """All positions in the order of ids, on every rank."""
    return cloud.comm.bcast(cloud.gathered(species))


@pytest.mark.one_rank
def test_without_interaction_the_law_is_exact(mixture):
    # γ = 2: every Gaussian of the mixture gains the variance 2·2·t.
    n, t = 100_000, 0.5
    cloud = kspde.simulate(kspde.SignalDependentKellerSegel(chi=0.0), mixture, n=n, t_end=t, dt=0.1, seed=3)
    x = everywhere(cloud)
    stds = np.sqrt(mixture.stds**2 + 4 * t)
    for axis in range(2):
        cdf = sum(
            w * stats.norm(m, s).cdf(x[:, axis])
            for w, m, s in zip(mixture.weights, mixture.means[:, axis], stds, strict=True)
        )
        assert stats.kstest(cdf, "uniform").pvalue > 1e-4
    mean = mixture.weights @ mixture.means
    second = mixture.weights @ ((mixture.means**2).sum(axis=1) + 2 * stds**2)
    spread = np.sqrt(second / n)
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=4.5 * spread)
    assert (x**2).sum(axis=1).mean() == pytest.approx(second, abs=4.5 * np.std((x**2).sum(axis=1)) / np.sqrt(n))
    # ... and isotropic: the increments are independent of each other and of where they start.
    start = mixture.sample(Philox(3, 0), np.arange(n, dtype=np.uint64))
    increments = x - start
    correlation = np.corrcoef(np.concatenate([increments, start], axis=1), rowvar=False)
    assert np.abs(correlation[:2, [1, 2, 3]][0]).max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose(increments.var(axis=0), 4 * t, rtol=4.5 * np.sqrt(2 / n))


@pytest.mark.one_rank
def test_second_moment_grows_as_four_times_the_mean_motility(mixture):
    # One Euler-Maruyama step: E|X'|² = |x|² + 2d D dt exactly. The motility comes from the direct sum of the test.
    model, n, dt = kspde.SignalDependentKellerSegel(chi=8.0), 600, 0.05
    ratio = []
    for seed in range(8):
        cloud = kspde.simulate(model, mixture, n=n, t_end=dt, dt=dt, eps=0.3, seed=seed)
        start = mixture.sample(Philox(seed, 0), np.arange(n, dtype=np.uint64))
        r = np.sqrt(((start[:, None] - start[None]) ** 2).sum(axis=2))
        motility = 1 + np.exp(-kernel_and_slope(2, "gaussian", 0.3, r)[0].mean(axis=1))
        # The increment 2√(2D dt) x·ξ + 2 D dt |ξ|² of |x|², without the martingale part.
        xi = Philox(seed, 1).normals(np.arange(n, dtype=np.uint64), 0, 2)
        noise = 2 * np.sqrt(2 * motility * dt) * (start * xi).sum(axis=1)
        growth = np.diff(cloud.diagnostics["second_moment"])[0] - noise.mean()
        ratio.append(growth / (4 * motility.mean() * dt))
    # |ξ|² has mean 2 and variance 4: relative spread 1/√n.
    assert np.mean(ratio) == pytest.approx(1.0, abs=4.5 / np.sqrt(8 * n))


def test_a_step_is_the_one_that_is_documented(mixture):
    n, dt = 300, 0.1
    cloud = kspde.simulate(
        kspde.SignalDependentKellerSegel(chi=8.0), mixture, n=n, t_end=2 * dt, dt=dt, eps=0.3, seed=11, field_tol=1e-8
    )
    ids = np.arange(n, dtype=np.uint64)
    x = mixture.sample(Philox(11, 0), ids)
    for step in range(2):
        v, _ = sums(2, "gaussian", 0.3, x, x, 1 / n)
        x = x + np.sqrt(2 * (1 + np.exp(-v)) * dt)[:, None] * Philox(11, 1).normals(ids, step, 2)
    np.testing.assert_allclose(everywhere(cloud), x, atol=1e-7)


@pytest.mark.parametrize("method", ["mesh", "direct"])
def test_deterministic_attraction_follows_its_equation_and_keeps_its_centre(method):
    model = Attraction(species=("a",))
    cloud = kspde.simulate(
        model, gaussian(2, mass=3.0), n=40, t_end=0.3, dt=0.1, eps=0.5, field_tol=1e-7, method=method
    )
    x = gaussian(2).sample(Philox(0, 0), np.arange(40, dtype=np.uint64))
    for _ in range(3):
        x = x + 0.1 * sums(2, "gaussian", 0.5, x, x, 3.0 / 40)[1]
    np.testing.assert_allclose(everywhere(cloud), x, atol=1e-6)
    means = cloud.diagnostics["mean"]
    np.testing.assert_allclose(means - means[0], 0, atol=1e-6)


def test_mesh_and_direct_sum_agree_over_many_steps(mixture):
    options = {"n": 200, "t_end": 0.5, "dt": 0.05, "eps": 0.3, "seed": 2}
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    for include_self in (True, False):
        mesh = everywhere(kspde.simulate(model, mixture, include_self=include_self, **options))
        direct = everywhere(kspde.simulate(model, mixture, include_self=include_self, method="direct", **options))
        np.testing.assert_allclose(mesh, direct, atol=1e-5)
    assert np.abs(mesh - everywhere(kspde.simulate(model, mixture, **options))).max() > 1e-3


@pytest.mark.one_rank
@pytest.mark.parametrize("mollifier", ["gaussian", "matern"])
def test_the_mollifier_reaches_the_particles(mixture, mollifier):
    n, dt = 100, 0.1
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    cloud = kspde.simulate(model, mixture, n=n, t_end=dt, dt=dt, eps=0.5, mollifier=mollifier, field_tol=1e-5)
    x = mixture.sample(Philox(0, 0), np.arange(n, dtype=np.uint64))
    v, _ = sums(2, mollifier, 0.5, x, x, 1 / n)
    x = x + np.sqrt(2 * (1 + np.exp(-v)) * dt)[:, None] * Philox(0, 1).normals(np.arange(n, dtype=np.uint64), 0, 2)
    np.testing.assert_allclose(everywhere(cloud), x, atol=1e-5)


@pytest.mark.one_rank
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_linear_drift_has_the_moments_of_the_scheme(dimension):
    # X' = (1 − r dt)(X − c) + c + √(2D dt) ξ: the variance obeys the same recursion as in the test.
    n, steps, dt, rate, noise, centre = 50_000, 10, 0.1, 1.5, 0.7, 2.0
    model = Linear(dimension=dimension, rate=rate, noise=noise, centre=centre)
    cloud = kspde.simulate(model, gaussian(dimension, std=0.5), n=n, t_end=steps * dt, dt=dt, seed=1)
    mean, variance = 0.0, 0.25
    for _ in range(steps):
        mean = centre + (1 - rate * dt) * (mean - centre)
        variance = (1 - rate * dt) ** 2 * variance + 2 * noise * dt
    x = everywhere(cloud)
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=4.5 * np.sqrt(variance / n))
    np.testing.assert_allclose(
        np.cov(x, rowvar=False), variance * np.eye(dimension), atol=6 * variance * np.sqrt(2 / n)
    )
    assert stats.kstest(x[:, -1], stats.norm(mean, np.sqrt(variance)).cdf).pvalue > 1e-4
    np.testing.assert_allclose(cloud.diagnostics["mean"][-1], x.mean(axis=0), rtol=1e-12)
    assert cloud.diagnostics["second_moment"][-1] == pytest.approx((x**2).sum(axis=1).mean(), rel=1e-12)


def test_the_result_does_not_depend_on_the_number_of_ranks(mixture, comm):
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    options = {"n": 1001, "t_end": 0.3, "dt": 0.05, "eps": 0.3, "seed": 9}
    here = kspde.simulate(model, mixture, comm=MPI.COMM_SELF, **options)
    there = kspde.simulate(model, mixture, comm=comm, **options)
    np.testing.assert_allclose(everywhere(there), here.positions, rtol=0, atol=1e-11)
    for name, values in here.diagnostics.items():
        np.testing.assert_allclose(there.diagnostics[name], values, rtol=0, atol=1e-11)
    assert np.array_equal(np.concatenate(comm.allgather(there.ids)), here.ids)
    assert len(there.positions) == len(there.ids)
    assert comm.allreduce(len(there.ids)) == 1001
    assert np.abs(everywhere(kspde.simulate(model, mixture, **{**options, "seed": 8})) - here.positions).max() > 0.1


@pytest.mark.parametrize("method", ["mesh", "direct"])
def test_fewer_particles_than_ranks(mixture, method):
    cloud = kspde.simulate(
        kspde.SignalDependentKellerSegel(chi=8.0), mixture, n=1, t_end=0.2, dt=0.1, eps=0.5, seed=4, method=method
    )
    x = mixture.sample(Philox(4, 0), np.zeros(1, dtype=np.uint64))
    motility = 1 + np.exp(-kernel_and_slope(2, "gaussian", 0.5, np.zeros(1))[0][0])
    for step in range(2):
        x = x + np.sqrt(2 * motility * 0.1) * Philox(4, 1).normals(np.zeros(1, dtype=np.uint64), step, 2)
    np.testing.assert_allclose(everywhere(cloud), x, atol=1e-5)


def test_all_particles_may_start_in_one_point():
    point = kspde.GaussianMixture(weights=[1.0], means=[[1.0, 2.0]], stds=[1e-12])
    cloud = kspde.simulate(kspde.SignalDependentKellerSegel(chi=8.0), point, n=5000, t_end=0.1, dt=0.1, eps=0.5, seed=4)
    motility = 1 + np.exp(-kernel_and_slope(2, "gaussian", 0.5, np.zeros(1))[0][0])
    x = everywhere(cloud)
    np.testing.assert_allclose(x.var(axis=0), 2 * motility * 0.1, rtol=4.5 * np.sqrt(2 / 5000))


def test_species_have_their_own_density_number_mass_and_noise(comm):
    u0 = {"b": gaussian(2, std=0.5, mass=0.25, mean=1.0), "a": gaussian(2, std=1.5, mass=4.0)}
    model = Attraction(noise=0.3)
    cloud = kspde.simulate(model, u0, n={"a": 500, "b": 300}, t_end=0.1, dt=0.05, eps=0.5, seed=6, field_tol=1e-5)
    ids = {"a": np.arange(500, dtype=np.uint64), "b": np.arange(500, 800, dtype=np.uint64)}
    x = {name: u0[name].sample(Philox(6, 0), ids[name]) for name in ids}
    for step in range(2):
        drift = {}
        for name in x:
            from_a = sums(2, "gaussian", 0.5, x[name], x["a"], 4.0 / 500)[1]
            drift[name] = from_a + 0.5 * sums(2, "gaussian", 0.5, x[name], x["b"], 0.25 / 300)[1]
        for name in x:
            x[name] = x[name] + 0.05 * drift[name] + np.sqrt(0.03) * Philox(6, 1).normals(ids[name], step, 2)
    for name in ("a", "b"):
        np.testing.assert_allclose(everywhere(cloud, name), x[name], atol=1e-4)
    assert cloud.species == ("a", "b")
    assert cloud.masses == {"a": 4.0, "b": 0.25}
    assert cloud.n == {"a": 500, "b": 300}
    assert cloud.diagnostics["second_moment"].shape == (3, 2)
    assert cloud.diagnostics["mean"].shape == (3, 2, 2)
    np.testing.assert_allclose(cloud.diagnostics["mean"][-1, 1], x["b"].mean(axis=0), atol=1e-4)
    assert comm.allreduce(len(cloud.of("b"))) == 300
    with pytest.raises(kspde.InputError, match="there are several species: name one of a, b"):
        _ = cloud.positions
    with pytest.raises(kspde.InputError, match="species = 'c' is not valid: give one of a, b"):
        cloud.of("c")


def test_the_field_of_a_cloud_of_strangers_is_linear_in_its_mass(mixture):
    # Twice the mass is twice χ.
    heavy = kspde.GaussianMixture(weights=mixture.weights, means=mixture.means, stds=mixture.stds, mass=2.0)
    options = {"n": 500, "t_end": 0.1, "dt": 0.05, "eps": 0.3}
    one = kspde.simulate(kspde.SignalDependentKellerSegel(chi=4.0), heavy, **options)
    other = kspde.simulate(kspde.SignalDependentKellerSegel(chi=8.0), mixture, **options)
    np.testing.assert_allclose(one.positions, other.positions, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("dt", "steps", "used"),
    [(0.1, 5, 0.1), (0.3, 2, 0.25), (0.4, 2, 0.25), (0.7, 1, 0.5), (0.5 / 3, 3, 0.5 / 3), (0.1 + 1e-17, 5, 0.1)],
)
def test_the_last_step_ends_at_t_end(dt, steps, used, mixture):
    seen = []
    cloud = kspde.simulate(
        kspde.SignalDependentKellerSegel(chi=0.0), mixture, n=10, t_end=0.5, dt=dt, progress=seen.append
    )
    assert cloud.dt == pytest.approx(used, rel=1e-14)
    np.testing.assert_allclose(cloud.diagnostics["t"], np.linspace(0, 0.5, steps + 1), rtol=0, atol=1e-15)
    np.testing.assert_allclose(seen, np.arange(1, steps + 1) / steps)
    summary = cloud.summary()
    assert (summary["steps"], summary["dt"], summary["dt_given"]) == (steps, cloud.dt, dt)


@pytest.mark.one_rank
def test_weak_error_is_of_first_order_in_the_step():
    # E X² of the scheme for dX = −X dt + √2 dB, against its limit: the noise is averaged out by using the same seed.
    error = []
    for steps in (4, 8, 16):
        dt, variance = 1.0 / steps, 0.25
        for _ in range(steps):
            variance = (1 - dt) ** 2 * variance + 2 * dt
        cloud = kspde.simulate(Linear(rate=1.0), gaussian(1, std=0.5), n=200_000, t_end=1.0, dt=dt, seed=5)
        assert cloud.diagnostics["second_moment"][-1] == pytest.approx(variance, rel=4.5 * np.sqrt(2 / 200_000))
        error.append(variance - (1 - 0.75 * np.exp(-2.0)))
    assert 1.7 < error[0] / error[1] < 2.6
    assert 1.8 < error[1] / error[2] < 2.3


def test_models_may_return_numbers_or_arrays():
    @dataclass(frozen=True, kw_only=True)
    class Arrays(Linear):
        def diffusion(self, species, c):
            return np.full(len(c.points), self.noise)

    model = Linear(dimension=3, rate=0.4, noise=0.2)
    options = {"n": 500, "t_end": 0.2, "dt": 0.1}
    one = kspde.simulate(model, gaussian(3), **options)
    other = kspde.simulate(Arrays(dimension=3, rate=0.4, noise=0.2), gaussian(3), **options)
    assert np.array_equal(one.positions, other.positions)
    still = kspde.simulate(replace(model, noise=0.0, rate=0.0), gaussian(3), **options)
    assert np.array_equal(still.positions, gaussian(3).sample(Philox(0, 0), still.ids))
