"""Log and Riesz gases: second moments, Dyson's gas on the line, and interfaces."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kspde


def start(d, mass=1.0):
    """Two Gaussians off the origin."""
    return kspde.GaussianMixture(
        weights=[0.6, 0.4], means=[[1.0, 0.6, 0.2][:d], [-0.5, 0.3, 0.0][:d]], stds=[0.8, 0.6], mass=mass
    )


@pytest.mark.one_rank
@pytest.mark.parametrize(("g", "sigma", "kappa", "mass"), [(1.5, 0.5, 1.0, 2.0), (-0.8, 0.7, 0.5, 1.5)])
def test_the_second_moment_of_the_density(g, sigma, kappa, mass):
    model = kspde.LogGas(strength=g, noise=sigma, confinement=kappa)
    domain = kspde.Box(half_width=10.0, cells=16, degree=6, grading=1.5)
    save = kspde.SaveAt(statistics=["free_energy"])
    pde = kspde.solve(model, start(2, mass), domain, t_end=0.5, tol=1e-6, save=save)
    t, found = pde.diagnostics["t"], pde.diagnostics["second_moment"]
    end = (g * mass**2 + 4 * sigma * mass) / (2 * kappa)
    assert_allclose(found, end + (found[0] - end) * np.exp(-2 * kappa * t), rtol=1e-7)
    assert np.all(np.diff(pde.diagnostics["free_energy"]) < 0)


def lasting(model, u0, **options):
    """∫S dt/T + (S(T) − S(0))/(2κT) over a run, S the mean |X|²: its mean is the stationary one of S, by Itô."""
    cloud = kspde.simulate(model, u0, **options)
    t, s = cloud.diagnostics["t"], cloud.diagnostics["second_moment"] / u0.mass
    return (np.trapezoid(s, t) + (s[-1] - s[0]) / (2 * model.confinement)) / t[-1]


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "g", "mass"), [(1, 1.0, 2.0), (2, 1.5, 1.0), (2, -0.6, 2.0)])
def test_the_second_moment_of_particles(d, g, mass):
    # Particles without interaction and with the same noise are a control variate: of both the martingale 2√(2σ)X·dB/N
    # is nearly the same. Left is half of its standard deviation at most, and a bias of the order dt.
    n, sigma, kappa = 100, 0.5, 1.5
    model = kspde.LogGas(strength=g, noise=sigma, confinement=kappa, dimension=d)
    options = {"n": n, "t_end": 4.0, "dt": 0.01, "seed": 3, "method": "direct"}
    gas, free = (lasting(each, start(d, mass), **options) for each in (model, model.without_interaction()))
    more = g * mass * (n - 1) / n / (2 * kappa)
    spread = np.sqrt(2 * sigma * (more + d * sigma / kappa) / (n * 4.0)) / kappa
    assert abs(gas - free - more) < 2 * spread < 0.15


@pytest.mark.one_rank
def test_particles_at_rest_on_the_line_are_zeros_of_hermite_polynomials():
    n, g, kappa, mass = 9, 0.7, 2.0, 1.5
    model = kspde.LogGas(strength=g, noise=0.0, confinement=kappa, dimension=1)
    cloud = kspde.simulate(model, start(1, mass), n=n, t_end=12.0, dt=0.02, seed=1)
    zeros, _ = np.polynomial.hermite.hermgauss(n)
    assert_allclose(np.sort(cloud.positions[:, 0]), np.sqrt(g * mass / (n * kappa)) * zeros, rtol=0, atol=1e-9)


def from_semicircle(x, radius):
    """The L¹ Wasserstein distance of points from the semicircle law, by quantiles."""
    angle = np.linspace(0, np.pi, 20_001)
    law = (angle - 0.5 * np.sin(2 * angle)) / np.pi  # of −radius cos(angle)
    middle = (np.arange(len(x)) + 0.5) / len(x)
    return np.abs(np.sort(x) + radius * np.cos(np.interp(middle, law, angle))).mean()


@pytest.mark.one_rank
def test_the_semicircle():
    found = []
    for n, sigma in ((8, 0.3), (32, 0.05), (96, 0.002)):
        model = kspde.LogGas(strength=1.0, noise=sigma, dimension=1)
        cloud = kspde.simulate(model, start(1), n=n, t_end=4.0, dt=0.25 / n, seed=2)
        found.append(from_semicircle(cloud.positions[:, 0], np.sqrt(2.0)))
    assert found[0] > 2 * found[1] > 4 * found[2]
    assert found[2] < 0.03


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "s"), [(1, 0.5), (2, 0.6)])
def test_riesz_particles_obey_the_virial_theorem(d, s):
    """At rest, κ|X|² is s/2 times the potential of a particle, on average: V is homogeneous of degree −s."""
    n, g, kappa, mass = 12, 0.8, 1.5, 2.0
    model = kspde.RieszGas(strength=g, s=s, noise=0.0, confinement=kappa, dimension=d)
    cloud = kspde.simulate(model, start(d, mass), n=n, t_end=8.0, dt=0.02, seed=1)
    x = cloud.positions
    r = np.linalg.norm(x[:, None] - x, axis=2)[~np.eye(n, dtype=bool)]
    assert_allclose(2 * kappa * np.sum(x**2) / n, s * mass / n**2 * np.sum(g * r**-s), rtol=1e-4)


@pytest.mark.one_rank
def test_their_interfaces():
    assert kspde.LogGas(strength=2.0).without_interaction() == kspde.LogGas(strength=0.0)
    for wrong in ({"noise": -1.0}, {"confinement": -1.0}, {"dimension": 4}):
        with pytest.raises(kspde.InputError, match=next(iter(wrong))):
            kspde.LogGas(strength=1.0, **wrong)
    with pytest.raises(kspde.InputError, match="s = 2"):
        kspde.RieszGas(strength=1.0, s=2.0)
    u0 = start(2, 2.0)
    with pytest.warns(
        kspde.KspdeWarning, match=r"strength \* mass = -4: outside .* asks for strength \* mass > -2 d noise"
    ):
        kspde.simulate(kspde.LogGas(strength=-2.0), u0, n=10, t_end=0.01, dt=0.01)
    with pytest.warns(kspde.KspdeWarning, match="asks for strength >= 0, or eps"):
        kspde.simulate(kspde.RieszGas(strength=-1.0, s=0.5), u0, n=10, t_end=0.01, dt=0.01)


@pytest.mark.one_rank
def test_the_second_moment_of_densities_on_the_line():
    domain = kspde.Box(half_width=8.0, cells=32, degree=6, grading=1.0, dimension=1)
    times, mass = np.linspace(0.0, 0.3, 7), 1.5
    for model in (
        kspde.LogGas(strength=1.0, noise=0.3, dimension=1),
        kspde.RieszGas(strength=1.0, s=0.4, noise=0.3, dimension=1),
    ):
        pde = kspde.solve(model, start(1, mass), domain, t_end=0.3, tol=1e-7, save=kspde.SaveAt(times=times))
        s = pde.diagnostics["t"]
        pairs = mass**2 + 0 * times  # −∬ x·∇V u u, which is that of the logarithm
        if isinstance(model, kspde.RieszGas):
            pairs = model.s * np.array([pde.at(t).interaction() for t in times])
        gain = 2 * model.noise * mass + np.polyval(np.polyfit(times, pairs, 6), np.linspace(0, 0.3, 1001))
        moment = np.interp(times, s, pde.diagnostics["second_moment"])
        weighted = gain * np.exp(2 * np.linspace(0, 0.3, 1001))
        assert_allclose(moment[-1], np.exp(-0.6) * (moment[0] + np.trapezoid(weighted, dx=3e-4)), rtol=1e-6)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    "model", [kspde.LogGas(strength=-0.6, noise=0.5), kspde.RieszGas(strength=0.6, s=0.6, noise=0.5)]
)
def test_mollified_particles_beside_their_mean_field(model):
    u0 = start(2, 1.5)
    domain = kspde.Box(half_width=8.0, cells=12, degree=5)
    pde = kspde.solve(model, u0, domain, t_end=0.2, eps=0.4, tol=1e-5, save=kspde.SaveAt(times=np.linspace(0, 0.2, 5)))
    cloud = kspde.simulate(model, u0, n=2000, t_end=0.2, dt=0.02, eps=0.4, mean_field=pde, seed=1)
    assert 0 < cloud.coupling.supremum < 0.1
    found = kspde.compare(pde, cloud, distances=["wasserstein1"])
    assert found.by_name["wasserstein1"].value < 2 * found.floor.by_name["wasserstein1"].interval[1]
    few = kspde.entropy_bound(pde, n=50, dt=0.05, replicas=8).at_end.value
    assert 0.6 < 4 * kspde.entropy_bound(pde, n=200, dt=0.05, replicas=8).at_end.value / few < 1.6


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("model", "order"),
    [
        (kspde.RieszGas(s=0.5, strength=1.0, dimension=1), "0.2"),
        (kspde.RieszGas(s=1.4, strength=1.0), "0.18"),
        (kspde.RieszGas(s=0.5, strength=1.0), None),
        (kspde.LogGas(strength=1.0, dimension=1), None),
        (kspde.LogGas(strength=1.0), None),
    ],
)
def test_a_bias_that_hardly_falls_with_the_step_is_warned_of(model, order):
    options = {"n": 5, "t_end": 0.01, "dt": 0.01}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        kspde.simulate(model, start(model.dimension), **options)
        kspde.simulate(model, start(model.dimension), eps=0.3, **options)
    lines = [str(each.message) for each in found if "is not integrable where particles meet" in str(each.message)]
    assert len(lines) == (order is not None)
    assert all(f"falls like dt^{order} only" in line for line in lines)


@pytest.mark.one_rank
def test_particles_on_the_line_keep_their_order():
    model = kspde.LogGas(strength=0.5, noise=0.5, dimension=1)
    rows = []
    save = kspde.SaveAt(times=[0.0, 0.5, 1.0], callback=lambda cloud: rows.append(cloud.positions[:, 0].copy()))
    kspde.simulate(model, start(1), n=50, t_end=1.0, dt=0.02, seed=4, save=save)
    order = np.argsort(rows[0])
    assert np.all(np.diff(rows[1][order]) > 0)
    assert np.all(np.diff(rows[2][order]) > 0)
    # With a mollifier they pass one another: a path remains that of one particle and its noise.
    rows.clear()
    kspde.simulate(model, start(1), n=50, t_end=1.0, dt=0.02, seed=4, eps=0.3, save=save)
    order = np.argsort(rows[0])
    assert np.any(np.diff(order) < 0)
    assert np.any(np.diff(rows[2][order]) < 0)
