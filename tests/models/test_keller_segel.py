"""KellerSegel: a parabolic signal close to blow-up, its free energy, and its interface."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import exp1

import kspde

DISH = {"half_width": 0.5, "boundary": "neumann"}


def gaussian(factor, rate):
    """factor·e^(−rate r²)."""
    return kspde.GaussianMixture(weights=[1.0], means=[[0, 0]], stds=[(2 * rate) ** -0.5], mass=factor * np.pi / rate)


def parabolic(**parameters):
    return kspde.KellerSegel(chi=1.0, mu=1.0, tau=1.0, v0=gaussian(500.0, 50.0), **parameters)


def test_a_parabolic_signal_close_to_blow_up():
    # The numbers that papers on numerical methods print for this case.
    domain = kspde.Box(cells=12, degree=8, grading=3.0, **DISH)
    save = kspde.SaveAt(times=[1e-5, 2e-5], statistics=["free_energy"])
    pde = kspde.solve(parabolic(), gaussian(1000.0, 100.0), domain, t_end=4e-5, tol=1e-6, save=save)
    found = [float(pde.evaluate([[0.0, 0.0]], t=t)[0]) for t in (1e-5, 2e-5, 4e-5)]
    assert_allclose(found, [2686.91, 7037.76, 39885.0], rtol=2e-4)
    assert_allclose(pde.diagnostics["mass"], 10 * np.pi, rtol=1e-13)
    assert np.all(np.diff(pde.diagnostics["free_energy"]) < 0)


def test_it_by_the_positive_scheme():
    domain = kspde.Box(cells=64, degree=1, grading=4.0, **DISH)
    save = kspde.SaveAt(times=[1e-5, 2e-5])
    pde = kspde.solve(parabolic(), gaussian(1000.0, 100.0), domain, t_end=4e-5, scheme="positive-2", dt=4e-7, save=save)
    found = [float(pde.evaluate([[0.0, 0.0]], t=t)[0]) for t in (1e-5, 2e-5, 4e-5)]
    assert_allclose(found, [2686.91, 7037.76, 39885.0], rtol=1e-2)
    assert_allclose(pde.diagnostics["mass"], 10 * np.pi, rtol=1e-12)
    assert pde.diagnostics["minimum"].min() >= 0


@pytest.mark.one_rank
@pytest.mark.parametrize("tau", [0.0, 0.5])
def test_its_free_energy_falls_by_the_dissipation(tau):
    model = kspde.KellerSegel(chi=2.0, mu=1.5, tau=tau, diffusion=0.7)
    x = np.linspace(-1, 1, 201)
    weights = np.outer(*[np.r_[0.5, np.ones(199), 0.5] * (x[1] - x[0])] * 2)
    values = 1.0 + 0.8 * np.cos(np.pi * (x + 1) / 2)[:, None] * np.cos(np.pi * (x + 1))
    u0 = kspde.GridDensity(values, (-1, 1, -1, 1), mass=6.0)
    domain = kspde.Box(half_width=1.0, cells=6, degree=6, grading=0.0, boundary="neumann")
    times = [0.01, 0.0101, 0.0102]
    save = kspde.SaveAt(times=times, statistics=["free_energy"])
    pde = kspde.solve(model, u0, domain, t_end=0.02, tol=1e-8, save=save)
    energy = np.interp(times, pde.diagnostics["t"], pde.diagnostics["free_energy"])
    u, c = pde.on_grid([x, x], t=times[1]), pde.signal_on_grid([x, x], t=times[1])
    slopes = np.gradient(model.diffusion * np.log(u) - model.chi * c, x, x, edge_order=2)
    lost = np.sum(weights * u * (slopes[0] ** 2 + slopes[1] ** 2))
    rate = (pde.signal_on_grid([x, x], t=times[2]) - pde.signal_on_grid([x, x], t=times[0])) / (times[2] - times[0])
    lost += model.chi * tau * np.sum(weights * rate**2)
    assert_allclose((energy[2] - energy[0]) / (times[2] - times[0]), -lost, rtol=1e-3)


@pytest.mark.one_rank
def test_its_interface():
    model = parabolic(diffusion=0.5)
    assert model.without_interaction() == kspde.KellerSegel(
        chi=0.0, mu=1.0, tau=1.0, diffusion=0.5, v0=gaussian(500.0, 50.0)
    )
    for wrong in ({"chi": -1.0}, {"mu": -1.0}, {"tau": -1.0}, {"diffusion": 0.0}):
        with pytest.raises(kspde.InputError, match=next(iter(wrong))):
            kspde.KellerSegel(**{"chi": 1.0, **wrong})
    with pytest.raises(kspde.InputError, match="v0 has no effect with tau"):
        kspde.KellerSegel(chi=1.0, v0=gaussian(1.0, 1.0))


@pytest.mark.one_rank
def test_an_initial_signal_may_be_cut_off_but_not_lost():
    model = kspde.KellerSegel(chi=1.0, mu=1.0, tau=1.0, v0=gaussian(1.0, 5.0))
    with pytest.raises(kspde.InputError, match="until less than"):
        kspde.solve(model, gaussian(10.0, 100.0), kspde.Box(cells=12, degree=6, **DISH), t_end=1e-5)


@pytest.mark.one_rank
def test_a_signal_that_relaxes_without_screening_warns_of_the_sides():
    box = kspde.Box(half_width=8.0, cells=40, degree=1)
    options = {"t_end": 0.01, "scheme": "positive", "dt": 0.01}
    free, given = (kspde.KellerSegel(chi=1.0, tau=1.0, v0=v0) for v0 in (None, gaussian(1.0, 1.0)))
    with pytest.warns(kspde.KspdeWarning, match=r"without screening \(mu = 0\): until t = 9"):
        kspde.solve(free, gaussian(1.0, 1.0), box, t_end=9.0, scheme="positive", dt=9.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*without screening")
        kspde.solve(given, gaussian(1.0, 1.0), box, **options)
        kspde.solve(free, gaussian(1.0, 1.0), box, **options)


def test_a_signal_that_relaxes_without_screening_is_that_of_the_plane():
    # With D = τ = 1 and χ = 0, ∇c = ∇(K * u) + t ∇u: without flux through the sides it is off by a tenth.
    centre, x, t = (2.0, 1.0), np.linspace(-6, 6, 41), 0.2
    u0 = kspde.GaussianMixture(weights=[1.0], means=[centre], stds=[0.7])
    pde = kspde.solve(kspde.KellerSegel(chi=0.0, tau=1.0), u0, kspde.Box(half_width=8.0, cells=10, degree=6), t_end=t)
    r2 = np.add.outer((x - centre[0]) ** 2, (x - centre[1]) ** 2)
    v = 0.7**2 + 2 * t
    exact = t * np.exp(-r2 / (2 * v)) / (2 * np.pi * v) - (np.log(r2) + exp1(r2 / (2 * v))) / (4 * np.pi)
    error = pde.signal_on_grid([x, x], t=t) - exact
    assert np.ptp(error) < 3e-5 * np.ptp(exact)


def test_a_signal_that_is_given_without_screening_is_that_of_the_plane():
    # As above, ∇c = ∇v₀ * heat kernel + t ∇u.
    x, t = np.linspace(-6, 6, 41), 0.2
    densities = [(2.0, 0.6, (-1.0, 1.0)), (3.0, 0.7, (2.0, 1.0))]

    def at(t):
        return [
            kspde.GaussianMixture(weights=[1.0], means=[mean], stds=[np.sqrt(std**2 + 2 * t)], mass=mass)
            for mass, std, mean in densities
        ]

    v0, u0 = at(0.0)
    pde = kspde.solve(
        kspde.KellerSegel(chi=0.0, tau=1.0, v0=v0), u0, kspde.Box(half_width=8.0, cells=12, degree=6), t_end=t, tol=1e-7
    )
    points = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    exact = at(t)[0](points) + t * at(t)[1](points)
    assert_allclose(pde.evaluate_signal(points), exact, rtol=0, atol=1e-5 * exact.max())
    assert pde.warnings == ()
