"""The factor of log(1/ε) in the entropy bound, against the rate of many particles by Fourier transforms and draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from particle_systems import density

import kspde
from kspde.evidence import entropy_bound_slope

pytestmark = pytest.mark.one_rank

MIXTURE = kspde.GaussianMixture(
    weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7), mass=2.5
)


@dataclass(frozen=True, kw_only=True)
class Chemotaxis(kspde.Model):
    """∂_t u = Δu − ∇·(u∇c), a drift instead of a motility."""

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Yukawa(strength=3.0, screening=0.5), gradient=True),)

    def diffusion(self, species, c):
        return 0.7

    def drift(self, species, c):
        return c.gradient("c")


def slope_at_the_start(model: kspde.Model) -> float:
    t_end = 1e-4
    box = kspde.Box(half_width=12.0, cells=16, degree=5)
    pde = kspde.solve(model, MIXTURE, box, t_end=t_end, tol=1e-6, save=kspde.SaveAt(times=(0.0,)))
    return float(entropy_bound_slope(pde)[-1]) / t_end


def rates_of_independent_particles(chi: float, mu: float, motility, eps: tuple[float, ...]) -> np.ndarray:
    """N E[|c|²/(4D)] as N → ∞ of i.i.d. particles of law u/M, for D = γ(v), on a Fourier grid."""
    m, half = 768, 9.0
    axis = -half + 2 * half / m * np.arange(m)
    k = 2 * np.pi * np.fft.fftfreq(m, 2 * half / m)
    kx, ky = k[:, None], k[None, :]
    cell = (2 * half / m) ** 2
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    u = MIXTURE(points).reshape(m, m)
    mass, hat = MIXTURE.mass, np.fft.fft2(u)
    score = [np.fft.ifft2(1j * q * hat).real / np.maximum(u, 1e-300) for q in (kx, ky)]
    out = []
    for e in eps:
        symbol = chi / (mu**2 + kx**2 + ky**2) * np.exp(-(e**2) * (kx**2 + ky**2) / 2)
        symbols = (symbol, 1j * kx * symbol, 1j * ky * symbol)
        kernels = [np.fft.ifft2(s).real / cell for s in symbols]
        means = [np.fft.ifft2(s * hat).real for s in symbols]

        def covariance(i: int, j: int, kernels=kernels, means=means) -> np.ndarray:
            both = np.fft.ifft2(np.fft.fft2(kernels[i] * kernels[j]) * hat).real * cell
            return mass * both - means[i] * means[j]

        gamma, first, second = motility(means[0])
        total = np.zeros_like(u)
        for a in (1, 2):  # c_a = γ'(∂_a δ + δ ∂_a log u) + γ'' δ ∂_a v
            weight = first * score[a - 1] + second * means[a]
            total += first**2 * covariance(a, a) + 2 * first * weight * covariance(0, a) + weight**2 * covariance(0, 0)
        out.append(np.sum((u > 1e-12) * u / mass * total / (4 * gamma)) * cell)
    return np.array(out)


@pytest.mark.parametrize("kind", ["signal-dependent", "exponential"])
def test_the_rate_of_many_particles_grows_by_the_slope(kind: str) -> None:
    """Mass 2.5 and μ ≠ 1: the mass cancels and the screening does not enter."""
    eps = (0.08, 0.04)
    if kind == "signal-dependent":
        model: kspde.Model = kspde.SignalDependentKellerSegel(chi=4.0, mu=1.3)

        def motility(v):
            return 1 + np.exp(-v), -np.exp(-v), np.exp(-v)

    else:
        model = kspde.LocalSensing(motility=kspde.ExponentialMotility(alpha=0.5), chi=4.0, mu=1.3)

        def motility(v):
            return np.exp(-v / 2), -np.exp(-v / 2) / 2, np.exp(-v / 2) / 4

    rates = rates_of_independent_particles(4.0, 1.3, motility, eps)
    assert np.diff(rates) / np.log(2) == pytest.approx([slope_at_the_start(model)], rel=0.01)


def test_the_slope_of_a_drift_by_hand() -> None:
    """L = −I and D = .7: B' = ∫ s² · 2 · u²/(16π · .7) with s = 3, and ∫u² of the mixture in closed form."""
    w, means, stds = np.array(MIXTURE.weights), np.array(MIXTURE.means), np.array(MIXTURE.stds)
    variance = stds[:, None] ** 2 + stds[None, :] ** 2
    apart = np.square(means[:, None] - means[None, :]).sum(axis=2)
    square = 2.5**2 * np.sum(np.outer(w, w) * np.exp(-apart / (2 * variance)) / (2 * np.pi * variance))
    assert slope_at_the_start(Chemotaxis()) == pytest.approx(9 * 2 * square / (16 * np.pi * 0.7), rel=2e-3)


def test_the_check_numbers_problem() -> None:
    """χ = 8, T = .5: .0182, where the bound on N·H grows by .0172 log(10/3) from ε = .3 to .1, .0194 log 3 to .01."""
    times = 0.5 * np.linspace(0, 1, 8) ** 1.5
    box = kspde.Box(half_width=14.0, cells=16, degree=5)
    u0 = kspde.GaussianMixture(weights=MIXTURE.weights, means=MIXTURE.means, stds=MIXTURE.stds)
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    pde = kspde.solve(model, u0, box, t_end=0.5, tol=1e-5, save=kspde.SaveAt(times=times))
    slope = entropy_bound_slope(pde)
    assert slope.shape == pde.times.shape
    assert np.all(np.diff(slope) > 0)
    assert slope[-1] == pytest.approx(0.0182, abs=1e-4)


def test_what_has_no_logarithm() -> None:
    with pytest.raises(kspde.InputError, match=r"dimension 1 and 1 species: the logarithm in eps"):
        entropy_bound_slope(density("signal-dependent"))
    free = replace(kspde.SignalDependentKellerSegel(chi=4.0), chi=0.0)
    assert slope_at_the_start(free) == 0.0
