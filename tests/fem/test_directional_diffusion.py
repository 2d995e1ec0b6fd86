"""A model with one diffusion coefficient per direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import kspde


@dataclass(frozen=True, kw_only=True)
class Anisotropic(kspde.Model):
    """∂_t u = Σ_a D_a ∂_a² u."""

    @property
    def fields(self):
        return ()

    def diffusion(self, species, c):
        return np.broadcast_to([1.0, 0.25], c.points.shape)


START = kspde.GaussianMixture(weights=[1.0], means=[[0.3, -0.2]], stds=[0.8])
BOX = kspde.Box(half_width=10.0, cells=12, degree=6)


@pytest.mark.parametrize("scheme", ["adaptive", "rosenbrock"])
def test_a_gaussian_widens_by_each_coefficient(scheme: str) -> None:
    pde = kspde.solve(Anisotropic(), START, BOX, t_end=0.5, tol=1e-7, scheme=scheme)
    axis = np.linspace(-3, 3, 25)
    expected = np.ones((25, 25))
    for a, (mean, coefficient) in enumerate(((0.3, 1.0), (-0.2, 0.25))):
        variance = 0.64 + 2 * coefficient * 0.5
        profile = np.exp(-0.5 * (axis - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
        expected *= profile[:, None] if a == 0 else profile
    assert pde.on_grid([axis, axis]) == pytest.approx(expected, abs=2e-6)
    assert pde.diagnostics["mass"][-1] == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(kspde.InputError, match="w = D u is not one function"):
        pde.at().evaluate_w([[0.0, 0.0]])


def test_refused_elsewhere() -> None:
    with pytest.raises(kspde.InputError, match=r"needs a kspde\.Box"):
        kspde.solve(Anisotropic(), START, kspde.Disk(radius=8.0, size=0.5), t_end=0.1)
    low = kspde.Box(half_width=8.0, cells=40, degree=1)
    with pytest.raises(kspde.InputError, match="one diffusion coefficient per direction, which the positive scheme"):
        kspde.solve(Anisotropic(), START, low, t_end=0.1, scheme="positive", dt=0.05)
