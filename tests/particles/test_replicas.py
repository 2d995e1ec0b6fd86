"""Replicas: independent runs with one seed."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from scipy import stats

import kspde
from kspde.runtime.random import Philox

KELLER_SEGEL = kspde.SignalDependentKellerSegel(chi=8.0)


def everywhere(cloud):
    return cloud.comm.bcast(cloud.gathered())


def test_replica_zero_is_the_run_of_its_seed(mixture):
    options = {"n": 100, "t_end": 0.2, "dt": 0.1, "seed": 3}
    free = kspde.SignalDependentKellerSegel(chi=0.0)
    cloud = kspde.simulate(free, mixture, replica=0, **options)
    assert np.array_equal(cloud.positions, kspde.simulate(free, mixture, **options).positions)
    x = mixture.sample(Philox(3, 0), cloud.ids)
    for step in range(2):
        x = x + np.sqrt(2 * 2 * 0.1) * Philox(3, 1).normals(cloud.ids, step, 2)
    np.testing.assert_allclose(cloud.positions, x, rtol=0, atol=1e-13)
    assert cloud.replica == 0


@pytest.mark.one_rank
@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_replicas_are_uncorrelated_and_have_the_same_law(mixture, scheme):
    # Starting points, increments, and the mollifier's draws: of every pair of replicas.
    n = 20_000
    free = kspde.SignalDependentKellerSegel(chi=0.0)
    options = {"n": n, "dt": 0.25, "t_end": 0.25, "eps": 0.5, "scheme": scheme, "seed": 3}
    columns = []
    for replica in (0, 1, 2, 1 << 20):
        starts, ends = [], []
        for initial in ("u0", "mollified"):
            seen = []
            save = kspde.SaveAt(times=(0.0,), callback=lambda c, seen=seen: seen.append(everywhere(c).copy()))
            kspde.simulate(free, mixture, replica=replica, initial=initial, save=save, **options)
            starts.append(seen[0])
            ends.append(seen[1])
        columns.append(np.hstack([starts[0], ends[0] - starts[0], starts[1] - starts[0]]))
        np.testing.assert_allclose(columns[-1][:, 2:4].var(axis=0), 4 * 0.25, rtol=5 * np.sqrt(2 / n))
        np.testing.assert_allclose(columns[-1][:, 4:].var(axis=0), 0.25, rtol=5 * np.sqrt(2 / n))
        np.testing.assert_allclose(ends[1] - starts[1], ends[0] - starts[0], rtol=0, atol=1e-12)
    correlation = np.corrcoef(np.hstack(columns), rowvar=False)
    for i in range(4):
        for j in range(i):
            block = correlation[6 * i : 6 * i + 6, 6 * j : 6 * j + 6]
            assert np.abs(block).max() < 5 / np.sqrt(n)
        for axis in range(2):
            assert stats.ks_2samp(columns[0][:, axis], columns[3][:, axis]).pvalue > 1e-3


@pytest.mark.one_rank
def test_averages_over_replicas_have_the_spread_of_independent_runs(mixture):
    # The mean of N independent |X|² has variance var/N; with correlated runs it would have another.
    n, runs = 400, 60
    options = {"n": n, "t_end": 0.1, "dt": 0.1, "seed": 5, "comm": MPI.COMM_SELF}
    free = kspde.SignalDependentKellerSegel(chi=0.0)
    means, variances = [], []
    for replica in range(runs):
        squares = (kspde.simulate(free, mixture, replica=replica, **options).positions ** 2).sum(axis=1)
        means.append(squares.mean())
        variances.append(squares.var() / n)
    ratio = np.var(means, ddof=1) / np.mean(variances)
    low, high = stats.chi2(runs - 1).ppf([1e-4, 1 - 1e-4]) / (runs - 1)
    assert low < ratio < high


def test_mean_field_particles_and_other_ranks_have_the_replicas_numbers(mixture, comm):
    options = {"n": 101, "t_end": 0.2, "dt": 0.1, "eps": 0.4, "replica": 7}
    here = kspde.simulate(KELLER_SEGEL, mixture, comm=MPI.COMM_SELF, **options)
    there = kspde.simulate(KELLER_SEGEL, mixture, comm=comm, **options)
    np.testing.assert_allclose(everywhere(there), here.positions, rtol=0, atol=1e-10)


def test_a_checkpoint_of_another_replica_is_refused(mixture, shared_tmp_path):
    options = {"n": 20, "t_end": 0.2, "dt": 0.1, "eps": 0.4, "checkpoint": kspde.Checkpoint(shared_tmp_path, every=0)}
    kspde.simulate(KELLER_SEGEL, mixture, replica=1, **options)
    with pytest.raises(kspde.InputError, match=r"is of another problem \(replica = 1 there, 2 here\)"):
        kspde.simulate(KELLER_SEGEL, mixture, replica=2, resume=True, **options)
