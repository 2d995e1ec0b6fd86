"""The scheme "pair-rotation": its matchings, its rotations, what it conserves, and the equation that it solves."""

import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose

import kspde
from kspde.particles.schemes.pair_rotation import concentration, partners

#: Two beams of mass 2, anisotropic and off the origin.
BEAMS = {
    d: kspde.GaussianMixture(weights=[0.6, 0.4], means=[[1.5] * d, [-0.5] + [0.7] * (d - 1)], stds=[0.3, 0.4], mass=2.0)
    for d in (2, 3)
}
RATE = 0.2


def simulate(d, **options):
    model = kspde.LandauMaxwell(dimension=d, rate=RATE)
    return kspde.simulate(model, BEAMS[d], scheme="pair-rotation", seed=3, **options)


def start(d, n, comm):
    """The starting points: a step without rotation."""
    return everyone(simulate(d, n=n, t_end=1e-30, dt=1.0), comm)


def everyone(cloud, comm):
    return comm.bcast(cloud.gathered())


def deviation(x):
    p = np.cov(x.T, bias=True)
    return p - np.trace(p) / len(p) * np.eye(len(p))


def keys_of(seed, shape):
    return np.random.default_rng(seed).integers(0, 2**64, shape, dtype=np.uint64)


@pytest.mark.one_rank
def test_a_matching_pairs_each_with_one_other():
    for n in (2, 3, 7, 100, 5001):
        found, everybody = partners(np.arange(n), n, keys_of(n, 4)), np.arange(n)
        assert np.all(found[found] == everybody)
        assert np.sum(found == everybody) == n % 2
        assert np.all(partners(everybody[n // 2 :], n, keys_of(n, 4)) == found[n // 2 :])


@pytest.mark.one_rank
@pytest.mark.parametrize("n", [4, 7])
def test_all_pairs_are_as_likely(n):
    counts = np.zeros((n, n))
    for keys in keys_of(5, (1200, 4)):
        counts[np.arange(n), partners(np.arange(n), n, keys)] += 1
    expected = 1200 / (n - 1 + n % 2)
    assert np.abs(counts[~np.eye(n, dtype=bool)] - expected).max() < 4.5 * np.sqrt(expected)


@pytest.mark.one_rank
def test_the_directions_have_the_harmonics_of_brownian_motion_on_the_sphere():
    mu, weight = np.polynomial.legendre.leggauss(200)
    error = []
    for s in (0.008, 0.004):
        kappa = concentration(s)
        law = weight * np.exp(kappa * (mu - 1))
        found = [np.sum(law * np.polynomial.legendre.legval(mu, np.eye(5)[k])) / law.sum() for k in range(5)]
        assert found[1] == pytest.approx(np.exp(-2 * s), rel=1e-12)
        error.append([abs(found[k] - np.exp(-k * (k + 1) * s)) for k in (2, 3, 4)])
    assert_allclose(np.log2(np.divide(*error)), 3, atol=0.15)  # a local error of order 3
    assert concentration(400.0) > 0


@pytest.mark.parametrize("d", [2, 3])
def test_momentum_and_energy_are_kept_to_round_off(d, comm):
    cloud = simulate(d, n=2001, t_end=2.0, dt=0.05)
    mean, square = cloud.diagnostics["mean"], cloud.diagnostics["second_moment"]
    assert_allclose(mean, np.broadcast_to(mean[0], mean.shape), rtol=0, atol=2e-15)
    assert_allclose(square, square[0], rtol=4e-15)
    assert np.abs(everyone(cloud, comm) - start(d, 2001, comm)).max() > 1


@pytest.mark.parametrize(("d", "steps"), [(2, 1), (2, 4), (3, 1), (3, 4)])
def test_the_stress_relaxes_as_derived(d, steps, comm):
    # All pairs: e^(−4dΛMt), for every N. A step multiplies the mean by 1 − ⌊N/2⌋/(N − 1) (1 − e^(−2ds)).
    n, t = 40_000, 1 / (4 * d * RATE * 2.0)
    before = start(d, n, comm)
    after = everyone(simulate(d, n=n, t_end=t, dt=t / steps), comm)
    s = 4 * RATE * 2.0 * t / steps * (n - 1) / n
    harmonic = np.exp(-4 * s)
    if d == 3:
        kappa = concentration(s)
        harmonic = 1 - 3 * np.exp(-2 * s) / kappa
    expected = (1 - n / 2 / (n - 1) * (1 - harmonic)) ** steps
    assert expected > np.exp(-1) + 0.04  # of weak order 1
    assert_allclose(deviation(after), expected * deviation(before), rtol=0, atol=0.015)


def test_the_result_is_the_same_on_any_number_of_ranks(comm):
    for n in (1, 2, 3, 501):
        together = everyone(simulate(3, n=n, t_end=0.5, dt=0.1), comm)
        alone = simulate(3, n=n, t_end=0.5, dt=0.1, comm=MPI.COMM_SELF).gathered()
        assert_allclose(together, alone, rtol=0, atol=1e-14)
    assert not np.allclose(together, start(3, 501, comm))


def test_refused_elsewhere():
    other = kspde.SignalDependentKellerSegel(chi=1.0)
    with pytest.raises(kspde.InputError, match="states no pair_rotation"):
        kspde.simulate(other, BEAMS[2], n=10, t_end=0.1, dt=0.1, eps=0.3, scheme="pair-rotation")
    with pytest.raises(kspde.InputError, match="weights cannot be used"):
        simulate(2, n=10, t_end=0.1, dt=0.1, weights=np.arange(10.0))
