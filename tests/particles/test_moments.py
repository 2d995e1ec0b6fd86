"""∫|x|² of both backends is one number: masses other than 1, weights, away from the origin."""

from __future__ import annotations

import numpy as np
import pytest

import kspde

MASS = 3.0


class Diffusing(kspde.Model):
    """Species without fields, of D = .5 and 2."""

    species = ("slow", "fast")
    fields = ()

    def diffusion(self, species, c):
        return {"slow": 0.5, "fast": 2.0}[species]


def gaussian(mean, std, mass):
    return kspde.GaussianMixture(weights=[1.0], means=[mean], stds=[std], mass=mass)


def test_second_moments_of_density_and_particles_are_one_integral():
    # ∫|x|²u = M(|m|² + d s² + 2 d D t), and Σ w_j |X_j|² has that mean.
    u0 = {"slow": gaussian([0.8, -0.5], 0.6, MASS), "fast": gaussian([-1.2, 0.3], 0.4, 0.25)}
    t, n = 0.3, 10_000
    pde = kspde.solve(Diffusing(), u0, kspde.Box(half_width=12.0, cells=14, degree=6), t_end=t, tol=1e-8)
    cloud = kspde.simulate(Diffusing(), u0, n=n, t_end=t, dt=0.1, seed=3)
    exact = np.array([MASS * (0.89 + 0.72 + 4 * 0.5 * t), 0.25 * (1.53 + 0.32 + 4 * 2.0 * t)])
    np.testing.assert_allclose(pde.diagnostics["second_moment"][-1], exact, rtol=1e-6)
    # Var|X|² = 4 s²|m|² + 4 s⁴ for variance s² in each of two coordinates.
    variance = np.array([0.36 + 2 * 0.5 * t, 0.16 + 2 * 2.0 * t])
    spread = np.array([MASS, 0.25]) * np.sqrt(4 * variance * np.array([0.89, 1.53]) + 4 * variance**2)
    assert np.all(np.abs(cloud.diagnostics["second_moment"][-1] - exact) < 4.5 * spread / np.sqrt(n))
    assert cloud.summary()["second_moment"] == cloud.diagnostics["second_moment"][-1].tolist()
    # d/dt ∫|x|²u = 2 d D M
    growth = np.diff(pde.diagnostics["second_moment"][[0, -1]], axis=0)[0] / t
    np.testing.assert_allclose(growth, [4 * 0.5 * MASS, 4 * 2.0 * 0.25], rtol=1e-5)
    # The mean is one of positions: it has no mass.
    np.testing.assert_allclose(cloud.diagnostics["mean"][-1], [[0.8, -0.5], [-1.2, 0.3]], atol=0.06)


def test_equal_weights_of_their_own_are_those_of_the_mass():
    u0 = {"slow": gaussian([0.8, -0.5], 0.6, MASS), "fast": gaussian([-1.2, 0.3], 0.4, 0.25)}
    options = {"n": 30, "t_end": 0.1, "dt": 0.1, "seed": 1}
    equal = kspde.simulate(Diffusing(), u0, **options)
    given = kspde.simulate(Diffusing(), u0, weights={"slow": np.full(30, MASS / 30)}, **options)
    for name, values in equal.diagnostics.items():
        np.testing.assert_allclose(given.diagnostics[name], values, rtol=1e-12)
    # Twice the weight is twice the integral, and no other mean.
    twice = kspde.simulate(Diffusing(), u0, weights={"slow": np.full(30, 2 * MASS / 30)}, **options)
    np.testing.assert_allclose(twice.diagnostics["second_moment"][:, 0], 2 * equal.diagnostics["second_moment"][:, 0])
    np.testing.assert_allclose(twice.diagnostics["mean"], equal.diagnostics["mean"])


def test_central_moments_do_not_depend_on_the_mass_nor_on_the_origin():
    save = kspde.SaveAt(times=(0.0,), statistics=("moments",))
    found = []
    for mean, mass in (([0.0, 0.0], 1.0), ([4.0, -7.0], 5.0)):
        u0 = {"slow": gaussian(mean, 0.6, mass), "fast": gaussian(mean, 0.4, 1.0)}
        found.append(kspde.simulate(Diffusing(), u0, n=50, t_end=0.1, dt=0.1, save=save).statistics)
    for name in ("covariance", "third_moment", "fourth_moment"):
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-9, atol=1e-12)
        assert np.abs(found[0][name]).max() > 0.01
    assert found[0]["covariance"][0, 0] == pytest.approx(0.36 * np.eye(2), abs=0.3)
