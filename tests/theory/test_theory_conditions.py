"""The conditions of Chen, Daus and Jüngel, and of Qi."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kspde import GaussianMixture, InputError, theory


def test_entropy_condition_of_two_species() -> None:
    random = np.random.default_rng(1)
    for a in random.uniform(-1, 2, (300, 2, 2)):
        printed = 4 * a[0, 0] * a[1, 1] > (a[0, 1] + a[1, 0]) ** 2
        assert theory.entropy_decays(a) == (printed and a[0, 0] > 0)
        # The integrand Σ a_ij p_i p_j at many directions p.
        p = np.array([np.cos(np.linspace(0, np.pi, 2001)), np.sin(np.linspace(0, np.pi, 2001))])
        assert theory.entropy_decays(a) == (np.einsum("ip,ij,jp->p", p, a, p).min() > 0)
    assert not theory.entropy_decays([[-1.0, 0.0], [0.0, -1.0]])  # although 4 a_11 a_22 > (a_12 + a_21)²


def test_modified_entropy_is_weaker() -> None:
    a = [[1.0, 3.0], [0.2, 1.0]]
    assert not theory.entropy_decays(a)
    assert theory.modified_entropy_decays(a)
    assert not theory.modified_entropy_decays([[1.0, 3.0], [0.5, 1.0]])
    assert not theory.modified_entropy_decays([[1.0, -3.0], [0.2, 1.0]])
    assert not theory.modified_entropy_decays([[-1.0, 0.2], [0.2, -1.0]])


def test_three_species_and_bad_matrices() -> None:
    assert theory.entropy_decays(np.eye(3))
    with pytest.raises(InputError, match=r"a has shape \(2, 3\)"):
        theory.entropy_decays(np.ones((2, 3)))
    with pytest.raises(InputError, match="a has shape"):
        theory.modified_entropy_decays(np.eye(3))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_sobolev_norms_of_gaussians(d: int) -> None:
    """‖G‖² = (4πs²)^(−d/2), ‖∇G‖² = d/(2s²) ‖G‖², ‖ΔG‖² = d(d + 2)/(4s⁴) ‖G‖²."""
    s = 0.7
    u0 = GaussianMixture(weights=[1.0], means=[[0.3] * d], stds=[s], mass=2.0)
    l2 = 4.0 * (4 * np.pi * s**2) ** (-d / 2)
    first, second = d / (2 * s**2), d * (d + 2) / (4 * s**4)
    assert theory.sobolev_norm(u0, 0.0) == pytest.approx(math.sqrt(l2), rel=1e-9)
    assert theory.sobolev_norm(u0, 1.0) == pytest.approx(math.sqrt(l2 * (1 + first)), rel=1e-9)
    assert theory.sobolev_norm(u0, 2.0) == pytest.approx(math.sqrt(l2 * (1 + 2 * first + second)), rel=1e-9)


def test_sobolev_norm_of_a_mixture_on_a_grid(mixture: GaussianMixture) -> None:
    n, half = 256, 8.0
    x = np.linspace(-half, half, n, endpoint=False)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    transform = np.fft.fft2(mixture(points).reshape(n, n)) * (2 * half / n) ** 2
    k = 2 * np.pi * np.fft.fftfreq(n, 2 * half / n)
    weight = (1 + k[:, None] ** 2 + k[None, :] ** 2) ** 2.5
    on_grid = math.sqrt((weight * np.abs(transform) ** 2).sum() / (2 * half) ** 2)
    assert theory.sobolev_norm(mixture, 2.5) == pytest.approx(on_grid, rel=1e-9)


def test_small_data() -> None:
    assert theory.small_data_constant(0.5, sigma=[1.0, 2.0], potential_l1=[[1.0, 0.5], [0.5, 2.0]]) == 0.5
    assert theory.small_data_constant(0.5, sigma=[1.0], potential_l1=[[4.0]], gamma=0.2) == pytest.approx(0.4)
    with pytest.raises(InputError, match=r"gamma = 1.0"):
        theory.small_data_constant(0.5, sigma=[1.0], potential_l1=[[4.0]], gamma=1.0)
    with pytest.raises(InputError, match="sigma contains 0"):
        theory.small_data_constant(0.5, sigma=[0.0], potential_l1=[[4.0]])
    with pytest.raises(InputError, match="potential_l1"):
        theory.small_data_constant(0.5, sigma=[1.0], potential_l1=[[0.0]])
    crowd = GaussianMixture(weights=np.full(501, 1 / 501), means=np.zeros((501, 2)), stds=np.ones(501))
    with pytest.raises(InputError, match="u0 has 501 components"):
        theory.sobolev_norm(crowd, 1.0)


def test_interaction_range() -> None:
    eta = theory.interaction_range(10_000, dimension=2, delta=0.1)
    assert eta ** (-2 * 2 - 4) == pytest.approx(0.1 * math.log(10_000))
    with pytest.raises(InputError, match="delta = 2"):
        theory.interaction_range(10_000, dimension=2, delta=2)


def test_stability_of_a_linear_driver() -> None:
    driver = theory.LinearDriver(a=3.0, b=2.0)
    assert driver.max_density_printed == 1.0
    # Example 2.5 as printed, with C_0 = b/a.
    assert theory.stability_margin(c_0=2 / 3, C_0=2 / 3, c_h=3.0, max_density=1.0) == pytest.approx(0.0, abs=1e-15)
    # With the volatility of the densities that occur.
    assert driver.stability_margin(driver.max_density) == pytest.approx(0.0, abs=1e-15)
    assert driver.stability_margin(0.99 * driver.max_density) > 0 > driver.stability_margin(driver.max_density_printed)


def test_coercivity_where_the_printed_condition_fails() -> None:
    """The proof bounds the terms of highest order by (−c_0²/2 + M sup D'/2)‖w‖², D = ν²: zero at the corrected M_∞.

    At the printed one the factor is positive, and the estimate lost.
    """
    driver = theory.LinearDriver(a=1.0, b=1.0)
    density = driver.max_density
    sensitivity = 2 * driver.volatility(density) / driver.a
    assert -(driver.volatility(0.0) ** 2) / 2 + density * sensitivity / 2 == pytest.approx(0.0, abs=1e-15)
    at_printed = driver.max_density_printed
    assert -(driver.volatility(0.0) ** 2) / 2 + at_printed * driver.volatility(at_printed) / driver.a > 0


def test_time_of_emergent_regularity() -> None:
    driver = theory.LinearDriver(a=3.0, b=2.0)
    aronson = 5.0
    t = driver.t_star(aronson)
    assert t == pytest.approx(((1 + math.sqrt(3)) * aronson / 2.0) ** 2)
    assert driver.stability_margin(aronson / math.sqrt(t)) == pytest.approx(0.0, abs=1e-14)
    printed = theory.t_star(c_0=2 / 3, C_0=2 / 3, c_h=3.0, aronson=aronson)
    assert printed == pytest.approx((2 * aronson / 2.0) ** 2)
    # Without C_A: what the heat equation with volatility c_0 forces it to be at least.
    least = 1 / (2 / 3 * math.sqrt(2 * math.pi))
    assert driver.t_star() == driver.t_star(least) < t
    with pytest.raises(InputError, match=r"aronson = 0.1"):
        driver.t_star(0.1)
    with pytest.raises(InputError, match=r"C_0 = 0.5"):
        theory.t_star(c_0=1.0, C_0=0.5, c_h=1.0)


def test_critical_mass_from_the_virial_identity() -> None:
    """d/dt ∫|x|²u = 4DM − χ c_d M²/(2π) vanishes at the critical mass."""
    for c_d in (1.0, 2 * math.pi):
        mass = theory.critical_mass(diffusion=2.0, chi=3.0, source=c_d)
        assert 4 * 2.0 * mass - 3.0 * c_d * mass**2 / (2 * math.pi) == pytest.approx(0.0, abs=1e-12)
    assert theory.critical_mass(diffusion=2.0, chi=3.0, source=2 * math.pi) == pytest.approx(4 * 2.0 / 3.0)
    with pytest.raises(InputError, match="chi = 0"):
        theory.critical_mass(diffusion=2.0, chi=0)
