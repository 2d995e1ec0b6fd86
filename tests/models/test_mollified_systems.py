"""Mollified systems on the plane: particles beside their mean field, within the floor, of finite entropy."""

import math

import numpy as np
import pytest

import kspde

SIGNAL = kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.0]], stds=[0.6], mass=6.0)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("model", "mass"),
    [
        (kspde.KellerSegel(chi=1.0), 4 * math.pi),
        (kspde.KellerSegel(chi=1.0, tau=1.0, v0=SIGNAL), 4 * math.pi),
        (kspde.ViscousVortices(viscosity=0.1), 6.0),
    ],
)
def test_mollified_particles_are_near_their_mean_field(model, mass):
    start = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[0.8, 0.4], [-0.6, 0.2]], stds=[0.6, 0.5], mass=mass)
    box = kspde.Box(half_width=8.0, cells=12, degree=6)
    save = kspde.SaveAt(times=np.linspace(0.0, 0.2, 6))
    pde = kspde.solve(model, start, box, t_end=0.2, eps=0.3, tol=1e-5, save=save)
    options = {"t_end": 0.2, "dt": 0.02, "eps": 0.3, "mean_field": pde, "seed": 1}
    apart = []
    for n in (200, 3200):
        cloud = kspde.simulate(model, start, n=n, **options)
        apart.append(float(cloud.coupling.distance.max()))
        assert max(cloud.coupling.field_error.values()) < 1e-3
    assert apart[1] < 0.5 * apart[0] < 0.25  # of order 1/2 but for a logarithm
    low, high = (distance := kspde.compare(pde, cloud, distances=("l1",), replicas=40)).floor.l1.interval
    assert 0.8 * low < distance.l1.value < 1.2 * high
    bound = kspde.entropy_bound(pde, n=200, dt=0.04, replicas=8)
    assert 0.0 < bound.value[-1] < 0.01
