"""The distance between what the two backends computed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from compare_standins import KnownDensity, gaussian
from mpi4py import MPI

import kspde
from kspde.distances import compare
from kspde.plots import densities as pictures
from kspde.plots import particles as pictures_of_particles

BOX = kspde.Box(half_width=12.0, cells=12, degree=6)


@pytest.fixture(scope="module")
def runs() -> tuple[kspde.fem.solution.Solution, kspde.particles.Cloud]:
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


@pytest.mark.one_rank
def test_particles_of_another_system_do_not(runs) -> None:
    """They have a distance, and what differs is named."""
    pde, _ = runs
    free = kspde.SignalDependentKellerSegel(chi=0.0)
    cloud = kspde.simulate(free, gaussian(0.7), n=4000, t_end=0.5, dt=0.5, eps=0.3, seed=1)
    distance = compare(pde, cloud, replicas=4)
    assert distance.above_floor
    assert re.search("above its floor +if it falls with half the dt, the time step", str(distance))
    assert set(distance.differs) == {"chi", "u0"}
    assert distance.differs["chi"] == (8.0, 0.0)
    assert "differ in" in str(distance)
    assert "chi (8 for the density, 0 for the particles)" in str(distance)


DISHES = (
    kspde.Box(half_width=8.0, cells=8, degree=3, boundary="neumann"),
    kspde.Disk(radius=6.0, size=0.5, boundary="neumann"),
)


@pytest.mark.parametrize("dish", [DISHES[0], pytest.param(DISHES[1], marks=pytest.mark.one_rank)], ids=["box", "disk"])
def test_particles_of_the_plane_and_a_dish(dish: kspde.Box | kspde.Disk) -> None:
    """A closed dish and particles on the plane have no distance, no coupling and no bound, and nothing is computed."""
    model, u0 = kspde.SignalDependentKellerSegel(chi=1.0), gaussian(0.8)
    save = kspde.SaveAt(times=np.linspace(0, 0.1, 3))
    pde = kspde.solve(model, u0, dish, t_end=0.1, eps=0.3, tol=1e-2, save=save)
    options = {"n": 20, "t_end": 0.1, "dt": 0.05, "eps": 0.3}
    cloud = kspde.simulate(model, u0, **options)
    walls = {
        "Box": r'the density lives in a Box with half_width = 8.0 and boundary = "neumann", the particles on the whole',
        "Disk": r'the domain, a Disk with boundary = "neumann", has walls that particles do not know',
    }[type(dish).__name__]
    with pytest.raises(kspde.InputError, match=walls):
        compare(pde, cloud)
    with pytest.raises(kspde.InputError, match=walls):
        compare([cloud, cloud], pde)
    with pytest.raises(kspde.InputError, match=walls):
        pictures_of_particles.plot_cloud(cloud, "never.png", pde=pde)
    with pytest.raises(kspde.InputError, match=walls):
        kspde.simulate(model, u0, mean_field=pde, **options)
    for bound in (kspde.entropy_bound, kspde.coupled_distance):
        with pytest.raises(kspde.InputError, match=r"is not the whole space"):
            bound(pde, n=20, dt=0.05, replicas=4)
    # Observed positions may well be those in a dish.
    assert compare(pde, cloud.positions, replicas=2).n == 20


@pytest.mark.one_rank
@pytest.mark.parametrize(("variance", "above"), [(0.49 + 4 * 0.5, False), (0.49 + 2 * 0.5, True)])
def test_free_particles_against_their_exact_law(variance: float, above: bool) -> None:
    """Without attraction a particle is a Brownian motion of variance 4t a coordinate, for any time step."""
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    cloud = kspde.simulate(model, gaussian(0.7), n=10_000, t_end=0.5, dt=0.25, eps=0.3, seed=2)
    pde = KnownDensity(density=gaussian(float(np.sqrt(variance))), model=model)
    assert compare(pde, cloud, replicas=6).above_floor is above
