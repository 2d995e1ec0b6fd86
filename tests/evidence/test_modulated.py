"""The modulated energy against closed forms for Gaussians, and its mean over independent particles."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kspde

MASS, STD, MEAN = 1.7, 0.8, np.array([1.0, 0.6])
U0 = kspde.GaussianMixture(weights=[1.0], means=[MEAN], stds=[STD], mass=MASS)
EPS = 0.3


@pytest.fixture(scope="module", params=[None, EPS], ids=["singular", "mollified"])
def pde(request):
    domain = kspde.Box(half_width=8.0, cells=12, degree=6, grading=1.5)
    model = kspde.LogGas(strength=1.5, noise=0.5)
    save = kspde.SaveAt(times=[0.0, 1e-6])
    return kspde.solve(model, U0, domain, t_end=1e-6, tol=1e-4, eps=request.param, save=save)


def at_the_start(pde, n, replica=0):
    """The modulated energy of n independent particles, and the positions of this rank's."""
    found = []

    def look(cloud):
        found.append((kspde.modulated_energy(cloud, pde), cloud.gathered()))

    save = kspde.SaveAt(times=[0.0], callback=look)
    kspde.simulate(pde.model, U0, n=n, t_end=1e-6, dt=1e-6, eps=pde.eps, seed=1, replica=replica, save=save)
    return found[0]


@pytest.mark.parametrize("n", [50, pytest.param(900, marks=pytest.mark.one_rank)])
def test_of_gaussians(pde, n):
    found, x = at_the_start(pde, n)
    potential, blur = pde.model.potential, pde.eps or 0.0
    own = potential.blurred(np.zeros(1), 2, np.sqrt(2 * STD**2 + blur**2))[0]
    assert_allclose(found.own, own, rtol=1e-7)
    if x is not None:
        apart = np.linalg.norm(x[:, None] - x, axis=2)[~np.eye(n, dtype=bool)]
        pairs = potential.blurred(apart, 2, blur) if blur else potential.profile(apart, 2)
        cross = -2 * potential.blurred(np.linalg.norm(x - MEAN, axis=1), 2, np.hypot(STD, blur)).mean()
        assert_allclose([found.pairs, found.cross], [pairs.sum() / n**2, cross], rtol=0, atol=1e-6)
        assert_allclose(found.value, pairs.sum() / n**2 + cross + own, rtol=0, atol=1e-6)
    assert found.free_energy(0.5, 0.01) == 0.01 + MASS * found.value


@pytest.mark.one_rank
@pytest.mark.parametrize("pde", [None], indirect=True)
def test_its_mean_over_independent_particles(pde):
    found = [at_the_start(pde, 6, replica)[0] for replica in range(60)]
    values = np.array([each.value for each in found])
    assert abs(values.mean() + found[0].own / 6) < 3 * values.std() / np.sqrt(60) < 0.1


@pytest.mark.one_rank
def test_it_asks_for_one_kernel_and_one_mass(pde):
    options = {"n": 5, "t_end": 1e-6, "dt": 1e-6}
    other = kspde.simulate(kspde.LogGas(strength=1.0, noise=0.5), U0, eps=pde.eps, **options)
    with pytest.raises(kspde.InputError, match="field 'c' of cloud and pde is not the same"):
        kspde.modulated_energy(other, pde)
    lighter = kspde.GaussianMixture(weights=[1.0], means=[MEAN], stds=[STD])
    with pytest.raises(kspde.InputError, match=r"the masses 1 of cloud and 1\.7 of pde differ"):
        kspde.modulated_energy(kspde.simulate(pde.model, lighter, eps=pde.eps, **options), pde)
