"""Two-sample test: mean-field particles against independent draws from the density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import kspde
from kspde.runtime.random import Philox

N = 1500


def p_value(x, y, permutations=199):
    """Of the energy distance 2 E|X − Y| − E|X − X'| − E|Y − Y'| (Székely and Rizzo) under exchanged labels."""
    both = np.concatenate([x, y])
    distances = cdist(both, both)
    labels = np.ones(len(both))
    labels[len(x) :] = -1.0
    random = np.random.default_rng(0)
    signs = np.stack([labels, *(random.permutation(labels) for _ in range(permutations))], axis=1)
    # For samples of equal size n the statistic is −Σ_ij s_i s_j |z_i − z_j| / n².
    statistic = -(signs * (distances @ signs)).sum(axis=0)
    return (1 + np.sum(statistic[1:] >= statistic[0])) / (1 + permutations)


@pytest.mark.one_rank
@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_mean_field_particles_are_draws_from_the_density(mixture, tau):
    model = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=16.0, tau=tau)
    pde = kspde.solve(
        model,
        mixture,
        kspde.Box(half_width=14.0, cells=20, degree=5),
        t_end=0.5,
        eps=0.3,
        tol=1e-5,
        save=kspde.SaveAt(times=np.linspace(0, 0.5, 11)),
    )
    axis = np.linspace(-8, 8, 321)
    values = np.maximum(pde.on_grid([axis, axis]), 0.0)
    draws = kspde.GridDensity(values, (-8, 8, -8, 8)).sample(Philox(11), np.arange(N, dtype=np.uint64))
    options = {"n": N, "t_end": 0.5, "dt": 0.05, "eps": 0.3, "scheme": "weak-2", "seed": 12, "field_tol": 1e-4}
    cloud = kspde.simulate(model, mixture, mean_field=pde, **options)
    limit = cloud.comm.bcast(cloud.mean_field.gathered())
    assert p_value(limit, draws) > 0.01
    # The test sees what is another law: a quarter of the signal.
    other = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=4.0, tau=tau)
    particles = kspde.simulate(other, mixture, **options)
    assert p_value(particles.comm.bcast(particles.gathered()), draws) < 0.01
