"""A second, different model: two species that drift down the gradients of each other's mollified densities.

It proves the interface: nothing in either backend knows of it. Its densities are checked against a Fourier solution
written here, its particles against the totals and moments of that solution.
"""

from dataclasses import dataclass

import numpy as np
import pytest

import kspde


@dataclass(frozen=True, kw_only=True)
class CrossDiffusion(kspde.Model):
    """dX_i = −Σ_j a_ij ∇(Φ^ε * u_j) dt + √(2σ_i) dB_i,  ∂_t u_i = σ_i Δu_i + ∇·(u_i Σ_j a_ij ∇Φ^ε * u_j)."""

    strengths: tuple[tuple[float, float], tuple[float, float]]
    sigmas: tuple[float, float]
    species = ("a", "b")

    @property
    def fields(self):
        return tuple(kspde.Field(name=s, kernel=kspde.Yukawa(), source=s, gradient=True) for s in self.species)

    def diffusion(self, species, c):
        return self.sigmas[self.species.index(species)]

    def drift(self, species, c):
        row = self.strengths[self.species.index(species)]
        return -sum(a * c.gradient(s) for a, s in zip(row, self.species, strict=True))


MODEL = CrossDiffusion(strengths=((2.0, 5.0), (4.0, 1.0)), sigmas=(0.3, 0.5))
U0 = {
    "a": kspde.GaussianMixture(weights=[1.0], means=[[-0.4, 0.0]], stds=[0.6]),
    "b": kspde.GaussianMixture(weights=[0.5, 0.5], means=[[0.6, 0.3], [0.2, -0.5]], stds=[0.5, 0.6], mass=1.5),
}
EPS, T_END = 0.3, 0.5
POINTS = np.array([[0.0, 0.0], [-0.8, 0.3], [0.7, 0.2], [1.5, -1.0]])


def fourier(modes: int = 96, length: float = 24.0, steps: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return u at POINTS, shape (species, points), and ∫|x|²u per species: periodic box, RK4, integrating factor."""
    x = (np.arange(modes) - modes // 2) * length / modes
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    k = 2 * np.pi * np.fft.fftfreq(modes, length / modes)
    ik = 1j * np.stack(np.meshgrid(k, k, indexing="ij"))
    k2 = -(ik**2).sum(axis=0).real
    kernel = np.exp(-(EPS**2) * k2 / 2) / (1 + k2)
    y = np.stack([np.fft.fft2(U0[s](grid.reshape(-1, 2)).reshape(modes, modes)) for s in MODEL.species])
    dt = T_END / steps
    half = np.stack([np.exp(-sigma * k2 * dt / 2) for sigma in MODEL.sigmas])

    def slope(y: np.ndarray) -> np.ndarray:
        u = np.fft.ifft2(y).real
        gradients = np.fft.ifft2(ik[None] * (kernel * y)[:, None]).real
        velocity = np.einsum("ij,jaxy->iaxy", np.array(MODEL.strengths), gradients)
        return np.einsum("axy,iaxy->ixy", ik, np.fft.fft2(u[:, None] * velocity))

    for _ in range(steps):
        k1 = slope(y)
        k2_ = slope(half * (y + dt / 2 * k1))
        k3 = slope(half * y + dt / 2 * k2_)
        k4 = slope(half**2 * y + dt * half * k3)
        y = half**2 * y + dt / 6 * (half**2 * k1 + 2 * half * (k2_ + k3) + k4)
    u = np.fft.ifft2(y).real
    moments = (u * np.sum(grid**2, axis=-1)).sum(axis=(1, 2)) * (length / modes) ** 2
    phases = [np.exp(1j * (p[0] - x[0]) * k)[:, None] * np.exp(1j * (p[1] - x[0]) * k) for p in POINTS]
    values = np.array([[(phase * y_i).sum().real / modes**2 for phase in phases] for y_i in y])
    return values, moments


@pytest.fixture(scope="module")
def reference() -> tuple[np.ndarray, np.ndarray]:
    return fourier()


def test_densities_are_those_of_the_fourier_solution(reference) -> None:
    values, moments = reference
    box = kspde.Box(half_width=10.0, cells=20, degree=6)
    pde = kspde.solve(MODEL, U0, box, t_end=T_END, tol=1e-7, eps=EPS)
    ours = np.stack([pde.evaluate(POINTS, species=s) for s in MODEL.species])
    assert np.abs(ours - values).max() < 1e-6
    np.testing.assert_allclose(pde.diagnostics["mass"][-1], [1.0, 1.5], rtol=1e-12)
    np.testing.assert_allclose(pde.diagnostics["second_moment"][-1], moments, rtol=1e-6)
    with pytest.raises(kspde.InputError, match="species is not given: give one of a, b"):
        pde.evaluate(POINTS)


@pytest.mark.one_rank
def test_the_positive_scheme_converges_to_it(reference) -> None:
    values, _ = reference
    errors = []
    for cells, dt in ((48, 0.04), (96, 0.01)):
        box = kspde.Box(half_width=10.0, cells=cells, degree=1)
        pde = kspde.solve(MODEL, U0, box, t_end=T_END, eps=EPS, scheme="positive", dt=dt)
        errors.append(np.abs(np.stack([pde.evaluate(POINTS, species=s) for s in MODEL.species]) - values).max())
        assert np.all(pde.diagnostics["minimum"] >= 0)
        np.testing.assert_allclose(pde.diagnostics["mass"], [[1.0, 1.5]] * len(pde.diagnostics["t"]), rtol=1e-12)
    assert errors[1] < 5e-3
    assert 2.5 < errors[0] / errors[1] < 6


def test_particles_have_its_totals_and_moments(reference) -> None:
    _, moments = reference
    cloud = kspde.simulate(MODEL, U0, n={"a": 20_000, "b": 30_000}, t_end=T_END, dt=0.01, eps=EPS, seed=4)
    for species, moment in zip(MODEL.species, moments, strict=True):
        mine = np.sum(cloud.of(species) ** 2, axis=1)
        sums = cloud.comm.allreduce(np.array([len(mine), mine.sum(), (mine**2).sum()]))
        mean, variance = sums[1] / sums[0], sums[2] / sums[0] - (sums[1] / sums[0]) ** 2
        mass = cloud.masses[species]
        assert sums[0] == {"a": 20_000, "b": 30_000}[species]
        # 4 standard errors and the first-order bias of Euler–Maruyama at this step
        allowed = 4 * np.sqrt(variance / sums[0]) + 0.01
        assert abs(mean - moment / mass) < allowed, f"{species}: {mean} against {moment / mass}"
