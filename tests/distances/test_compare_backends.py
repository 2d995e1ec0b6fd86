"""The distance between what the two backends computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare_standins import KnownDensity, gaussian
from mpi4py import MPI

import kspde
from kspde.distances import compare, pictures

BOX = kspde.Box(half_width=12.0, cells=12, degree=6)


@pytest.fixture(scope="module")
def runs() -> tuple[kspde.fem.Solution, kspde.particles.Cloud]:
    """The check problem's model with its regularised density and its particles."""
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    u0 = kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )
    pde = kspde.solve(model, u0, BOX, t_end=0.5, tol=1e-5, eps=0.3)
    return pde, kspde.simulate(model, u0, n=8000, t_end=0.5, dt=0.05, eps=0.3, seed=1)


def test_particles_follow_the_density(runs, shared_tmp_path: Path, comm: MPI.Comm) -> None:
    pde, cloud = runs
    distance = compare(pde, cloud, replicas=6)
    assert not distance.above_floor
    assert 0.04 < distance.l1.value < 0.11
    assert distance.l1.value**2 <= 2 * distance.relative_entropy.value
    assert distance.clipped_mass < 1e-4
    pictures.plot_diagnostics(pde, shared_tmp_path / "diagnostics.png", cloud=cloud)
    comm.barrier()
    assert (shared_tmp_path / "diagnostics.png").stat().st_size > 10_000


def test_particles_of_another_system_do_not(runs) -> None:
    pde, _ = runs
    free = kspde.SignalDependentKellerSegel(chi=0.0)
    u0 = gaussian(0.7)
    cloud = kspde.simulate(free, u0, n=200, t_end=0.5, dt=0.5, eps=0.3, seed=1)
    with pytest.raises(kspde.InputError, match=r"chi is 8\.0 for the density and 0\.0 for the particles"):
        compare(pde, cloud)


@pytest.mark.parametrize(("variance", "above"), [(0.49 + 4 * 0.5, False), (0.49 + 2 * 0.5, True)])
def test_free_particles_against_their_exact_law(variance: float, above: bool) -> None:
    """Without attraction a particle is a Brownian motion of variance 4t a coordinate, for any time step."""
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    cloud = kspde.simulate(model, gaussian(0.7), n=10_000, t_end=0.5, dt=0.25, eps=0.3, seed=2)
    pde = KnownDensity(density=gaussian(float(np.sqrt(variance))), model=model)
    assert compare(pde, cloud, replicas=6).above_floor is above
