"""The positive scheme: u ≥ 0 and exact mass for every step, motility and data; the right equation in the limit."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpi4py import MPI

import kspde


@dataclass(frozen=True, kw_only=True)
class Blown(kspde.Model):
    """Constant diffusion and a constant wind: N(m, s²I) becomes N(m + bt, (s² + 2Dt)I)."""

    diffusivity: float
    wind: tuple[float, ...]

    @property
    def dimension(self) -> int:
        return len(self.wind)

    @property
    def fields(self):
        return ()

    def diffusion(self, species, c):
        return self.diffusivity

    def drift(self, species, c):
        return np.broadcast_to(self.wind, c.points.shape)


@pytest.mark.one_rank
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chi=st.sampled_from([0.0, 1.0, 50.0, 1e4]),
    dt=st.sampled_from([1e-4, 0.03, 1.0, 10.0]),
    eps=st.sampled_from([None, 0.05, 1.0]),
    std=st.sampled_from([0.2, 0.5, 2.0]),
    grading=st.sampled_from([0.0, 2.5]),
)
def test_nothing_is_negative_and_nothing_is_lost(chi, dt, eps, std, grading) -> None:
    model = kspde.SignalDependentKellerSegel(chi=chi)
    u0 = kspde.GaussianMixture(weights=[0.5, 0.5], means=[[1.0, 0.0], [-2.0, 1.0]], stds=[std, 0.6 * std + 0.1])
    box = kspde.Box(half_width=16.0, cells=160 if std < 0.5 else 48, degree=1, grading=grading)
    pde = kspde.solve(model, u0, box, t_end=3 * dt, scheme="positive", dt=dt, eps=eps)
    assert np.all(pde.diagnostics["minimum"] >= 0)
    assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-12


@pytest.mark.parametrize("wind", [(3.0,), (1.0, -2.0), (0.5, 0.0, 1.0)])
def test_with_a_strong_wind_too(wind) -> None:
    d = len(wind)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0] * d], stds=[0.6])
    box = kspde.Box(half_width=6.0, cells=40 if d < 3 else 16, degree=1, dimension=d, grading=1.0)
    model = Blown(diffusivity=0.01, wind=tuple(50 * w for w in wind))
    pde = kspde.solve(model, u0, box, t_end=1.0, scheme="positive", dt=0.25)
    assert np.all(pde.diagnostics["minimum"] >= 0)
    assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-12
    # Everything is blown against the wall, where it stays: no flux through it.
    assert pde.diagnostics["second_moment"][-1] > 0.8 * d * 36.0 * (1 if d == 1 else 0.3)


def blown_error(cells: int, dt: float | None) -> float:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[-0.5, 0.2]], stds=[0.6])
    model = Blown(diffusivity=0.5, wind=(1.0, -0.5))
    box = kspde.Box(half_width=9.0, cells=cells, degree=1 if dt else 6, grading=1.5)
    options = {"scheme": "positive", "dt": dt} if dt else {"tol": 1e-7}
    pde = kspde.solve(model, u0, box, t_end=0.4, **options)
    points = np.random.default_rng(2).uniform(-2, 2, (200, 2))
    variance = 0.6**2 + 2 * 0.5 * 0.4
    r2 = np.sum((points - [-0.5 + 0.4, 0.2 - 0.2]) ** 2, axis=1)
    return float(np.abs(pde.evaluate(points) - np.exp(-r2 / (2 * variance)) / (2 * np.pi * variance)).max())


def test_the_wind_blows_in_the_right_direction() -> None:
    """Both schemes against the exact solution; halving h and quartering dt divides the first-order error by four."""
    assert blown_error(20, None) < 1e-7
    coarse, fine = blown_error(32, 0.04), blown_error(64, 0.01)
    assert fine < 6e-3
    assert 2.5 < coarse / fine < 6


@dataclass(frozen=True, kw_only=True)
class Calm(kspde.Model):
    """A wind of speed 1, and a diffusion that vanishes somewhere: whatever it is, the mean moves with the wind."""

    flat: float
    dimension = 1
    fields = ()

    def diffusion(self, species, c):
        return np.minimum(self.flat * c.points[:, 0] ** 2, 1.0)  # -0.0 where flat is

    def drift(self, species, c):
        return np.ones_like(c.points)


@pytest.mark.parametrize("flat", [0.2, 1e3, 0.0, -0.0])
def test_where_diffusion_vanishes_the_wind_goes_on(flat) -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[-1.0]], stds=[0.25])
    box = kspde.Box(half_width=8.0, cells=200, degree=1, dimension=1, grading=0.0)
    pde = kspde.solve(Calm(flat=flat), u0, box, t_end=2.0, scheme="positive", dt=0.02)
    x = box.vertices
    mean = float(np.sum(x * pde.on_grid([x])) * (x[1] - x[0]))
    assert abs(mean - 1.0) < 1e-3


def test_a_zero_step_solve_keeps_the_data() -> None:
    """Mass that the mesh misses is scaled away, nothing else: nodal values are those of u_0 up to that factor."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.7])
    box = kspde.Box(half_width=8.0, cells=60, degree=1)
    pde = kspde.solve(kspde.SignalDependentKellerSegel(chi=1.0), u0, box, t_end=1e-9, scheme="positive", dt=1.0)
    node = [[box.vertices[33], box.vertices[28]]]
    error = pde.initial_mass_error["u"]
    assert 0 < abs(error) < 1e-2
    np.testing.assert_allclose(pde.evaluate(node) * (1 + error), u0(node), rtol=1e-6)


def test_a_solver_that_cannot_converge_says_so(comm: MPI.Comm) -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.7])
    box = kspde.Box(half_width=8.0, cells=40, degree=1)
    with pytest.raises(kspde.ConvergenceError, match=r"step 1 at t = 0 with dt = 0\.1: KSP reason .*try"):
        kspde.solve(
            kspde.SignalDependentKellerSegel(chi=8.0), u0, box, t_end=0.5, scheme="positive", dt=0.1,
            petsc_options={"ksp_max_it": 1, "pc_type": "jacobi"},
        )  # fmt: skip
