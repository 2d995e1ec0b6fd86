"""What happens about another point is what happens about the origin, moved: densities and particles, to round-off."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kspde

MOVE = np.array([16.0, -4.0])  # sums of which are exact in few digits
HALF = (2.0, 1.5)
MODEL = kspde.KellerSegel(chi=1.0, mu=0.5)
RECTANGLE = kspde.Box(half_width=HALF, cells=(8, 7), degree=4, grading=0.5)


def gaussians(move):
    means = np.array([[0.1, -0.2], [-0.2, 0.1]]) + move
    return kspde.GaussianMixture(weights=[0.6, 0.4], means=means, stds=[0.25, 0.2], mass=3.0)


def wave(move):
    def values(x):
        return 1 + 0.5 * np.cos(np.pi * (x - move) / HALF).prod(axis=1)

    return kspde.CallableDensity(values, half_width=HALF, centre=tuple(move), tail=1, mass=3.0, resolution=32)


def both(run, start, domain, **options):
    moved = replace(domain, centre=tuple(MOVE))
    return [run(MODEL, start(m), domain=d, eps=0.3, **options) for m, d in ((0 * MOVE, domain), (MOVE, moved))]


@pytest.mark.filterwarnings("ignore::kspde.KspdeWarning")
@pytest.mark.parametrize("boundary", ["decay", "neumann", pytest.param("periodic", marks=pytest.mark.one_rank)])
def test_a_density_and_particles_in_a_rectangle(boundary) -> None:
    box = replace(RECTANGLE, boundary=boundary)
    here, there = both(kspde.solve, gaussians if boundary == "decay" else wave, box, t_end=0.02, tol=1e-4)
    axes = [np.linspace(-half, half, 9) for half in HALF]
    u = here.on_grid(axes)
    away = [x + m for x, m in zip(axes, MOVE, strict=True)]
    assert_allclose(there.on_grid(away), u, rtol=0, atol=1e-12 * u.max())
    points = np.array([[2.0, 1.5], [0.3, 0.1]])
    near, far = here.at().evaluate(points), there.at().evaluate(points + MOVE)
    assert_allclose(far, near, rtol=0, atol=1e-12 * u.max())
    assert_allclose(there.bounds, MOVE + here.bounds)
    if boundary != "decay":
        here, there = both(kspde.simulate, wave, box, n=40, t_end=0.2, dt=0.1)
        assert_allclose(there.positions - MOVE, here.positions, rtol=0, atol=1e-12)
        assert np.all(np.abs(here.positions) <= HALF)


def test_heat_in_a_rectangle_is_a_product_of_cosines() -> None:
    """On [0, A] × [0, B] without flux."""
    side, wave, t = np.array([3.0, 2.0]), np.pi * np.array([2 / 3.0, 1 / 2.0]), 0.1
    box = kspde.Box(
        half_width=tuple(side / 2), centre=tuple(side / 2), cells=(8, 5), degree=7, grading=0.0, boundary="neumann"
    )
    u0 = kspde.CallableDensity(
        lambda x: 2 + np.cos(x * wave).prod(axis=1),
        half_width=tuple(side / 2),
        centre=tuple(side / 2),
        tail=1,
        mass=12.0,
    )
    axes = [np.linspace(0, s, 13) for s in side]
    exact = 2 + np.exp(-t * wave @ wave) * np.outer(*(np.cos(k * x) for k, x in zip(wave, axes, strict=True)))
    heat = kspde.SignalDependentKellerSegel(chi=0.0)
    diffusion = float(heat.motility(np.zeros(1))[0])
    pde = kspde.solve(heat, u0, box, t_end=t / diffusion, tol=1e-8)
    assert_allclose(pde.on_grid(axes), exact, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::kspde.KspdeWarning")
@pytest.mark.parametrize(
    "disk",
    [
        # fields by angular modes, and by finufft
        pytest.param(kspde.Disk(radius=3.0, size=0.8, degree=4, cell="quadrilateral"), id="modes"),
        pytest.param(kspde.Disk(radius=3.0, size=0.25, rim_size=0.5, refine=1), id="triangles"),
        pytest.param(
            kspde.Disk(radius=3.0, size=0.4, degree=2, cell="quadrilateral", boundary="neumann"),
            id="closed",
            marks=pytest.mark.one_rank,
        ),
    ],
)
def test_a_density_in_a_disk(disk) -> None:
    here, there = both(kspde.solve, gaussians, disk, t_end=0.02, tol=1e-4)
    points = np.array([[0.3, -0.1], [1.5, 0.7], [-2.0, 1.9]])
    u = here.at().evaluate(points)
    assert_allclose(there.at().evaluate(points + MOVE), u, rtol=0, atol=1e-9 * here.diagnostics["maximum"][-1])
    assert here.warnings == there.warnings
    assert disk.holds(points).all()
    assert np.array_equal(there.domain.holds(points + MOVE), [True, True, True])
    assert not there.domain.holds(points).any()
    kspde.solve(MODEL, there, there.domain, t_end=0.01, tol=1e-3, eps=0.3)  # whose nodes are beyond the circle


@pytest.mark.filterwarnings("ignore::kspde.KspdeWarning")
def test_a_solution_in_a_rectangle_is_the_start_of_another() -> None:
    """On a box off the origin, with other cells."""
    box = replace(RECTANGLE, centre=tuple(MOVE), boundary="neumann")
    first = kspde.solve(MODEL, wave(MOVE), box, t_end=0.02, tol=1e-4, eps=0.3)
    finer = kspde.solve(MODEL, first, replace(box, cells=(12, 9)), t_end=0.01, tol=1e-4, eps=0.3)
    points = MOVE + np.array([[0.4, -0.2], [-1.9, 1.4]])
    last = kspde.solve(MODEL, wave(MOVE), box, t_end=0.03, tol=1e-4, eps=0.3).at().evaluate(points)
    assert_allclose(finer.at().evaluate(points), last, rtol=1e-3)
