"""Values at points that each rank chooses for itself: different numbers of them, also none."""

from __future__ import annotations

import numpy as np
import pytest

import kspde
from kspde.fem.spaces.box import BoxSpace
from kspde.fem.spaces.mesh import MeshSpace

MODEL = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=2.0)
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.4, -0.2]], stds=[0.7], mass=1.5)
DOMAINS = {
    "box": kspde.Box(half_width=7.0, cells=8, degree=3),
    "disk": kspde.Disk(radius=5.0, size=0.4, rim_size=1.0),
}


def own_points(comm, dimension, reach):
    """Points of this rank's own, none on the last of several, and all ranks' together."""
    n = 0 if 0 < comm.rank == comm.size - 1 else 40 + 7 * comm.rank
    points = np.random.default_rng(comm.rank).uniform(-reach, reach, (n, dimension))
    points[: n // 4] = np.round(points[: n // 4])  # vertices, where cells and ranks meet
    return points, np.concatenate(comm.allgather(points))


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_polynomials_on_a_box(comm, dimension):
    space = BoxSpace(kspde.Box(half_width=3.0, cells=3, degree=3, dimension=dimension, grading=0.0), comm)

    def polynomial(x):
        return 1.0 + x[:, 0] ** 3 - 2.0 * x[:, 0] * x[:, -1] ** 2 + x[:, dimension // 2]

    nodal = polynomial(space.points).reshape(space.mass.shape)
    mine, everyones = own_points(comm, dimension, 3.0)
    for points in (mine, everyones):
        np.testing.assert_allclose(space.evaluate(nodal, points), polynomial(points), rtol=0, atol=1e-12)
    far = mine + 10.0
    np.testing.assert_array_equal(space.evaluate(nodal, far, -1.0), np.full(len(mine), -1.0))


def test_ranks_share_a_cell(comm):
    box = kspde.Box(half_width=3.0, cells=3, degree=9, grading=0.0)
    space = BoxSpace(box, comm)
    mine, _ = own_points(comm, 2, 3.0)
    x, y = space.points.T
    nodal = (x**4 * y - y**3).reshape(space.mass.shape)
    np.testing.assert_allclose(space.evaluate(nodal, mine), mine[:, 0] ** 4 * mine[:, 1] - mine[:, 1] ** 3, atol=1e-10)
    assert space.integral(nodal * nodal)[0] == pytest.approx(4 * (3**12 / 27 - 3**10 / 12.5 + 3**8 / 7), rel=1e-12)
    nothing = np.bincount(np.zeros(0, dtype=int), weights=np.zeros(0), minlength=2)  # integers
    np.testing.assert_array_equal(space.maximum(np.array([0.5, 2.0]) if comm.rank == 0 else nothing), [0.5, 2.0])


def test_linear_functions_on_a_disk(comm):
    space = MeshSpace(kspde.Disk(radius=3.0, size=0.7, rim_size=0.9), 2, comm)
    nodal = 2.0 - space.points[:, 0] + 3.0 * space.points[:, 1]
    mine, everyones = own_points(comm, 2, 2.0)
    for points in (mine, everyones):
        exact = 2.0 - points[:, 0] + 3.0 * points[:, 1]
        np.testing.assert_allclose(space.evaluate(nodal, points), exact, rtol=0, atol=1e-12)
    where = np.concatenate([mine, mine + 10.0])
    expected = np.concatenate([2.0 - mine[:, 0] + 3.0 * mine[:, 1], np.full(len(mine), 7.0)])
    np.testing.assert_allclose(space.evaluate(nodal, where, 7.0), expected, rtol=0, atol=1e-12)


@pytest.fixture(scope="module", params=DOMAINS)
def pde(request):
    save = kspde.SaveAt(times=[0.0])
    return kspde.solve(MODEL, U0, DOMAINS[request.param], t_end=0.02, tol=1e-3, save=save)


def everywhere(evaluate, mine, comm):
    """Values at this rank's points, and the same out of those at all ranks' points, which all ranks ask for."""
    before = sum(len(points) for points in comm.allgather(mine)[: comm.rank])
    return evaluate(mine), evaluate(np.concatenate(comm.allgather(mine)))[before : before + len(mine)]


@pytest.mark.parametrize("what", ["", "_gradient", "_signal", "_signal_gradient", "_w"])
def test_values_where_each_ranks_particles_are(pde, comm, what):
    cloud = kspde.simulate(MODEL, U0, n=2 * comm.size + 1, t_end=0.02, dt=0.02, eps=0.5, seed=3)
    evaluate = getattr(pde.at(), f"evaluate{what}")
    here, there = everywhere(evaluate, cloud.positions, comm)
    assert here.shape == (len(cloud.positions), 2) if "gradient" in what else (len(cloud.positions),)
    np.testing.assert_allclose(here, there, rtol=1e-12, atol=1e-14)
    nothing = cloud.positions[: 0 if comm.rank else None]
    np.testing.assert_allclose(evaluate(nothing), here[: len(nothing)], rtol=1e-12, atol=1e-14)
    assert len(evaluate(cloud.positions[:0])) == 0


def test_values_are_those_of_the_density(pde, comm):
    mine, _ = own_points(comm, 2, 2.0)
    exact = 1.5 * np.exp(-((mine - [0.4, -0.2]) ** 2).sum(axis=1) / (2 * 0.7**2)) / (2 * np.pi * 0.7**2)
    np.testing.assert_allclose(pde.evaluate(mine, t=0.0), exact, rtol=0, atol=0.06)


def same_line(comm, call, error=kspde.InputError):
    """The line that a call raises on every rank; none waits for another."""
    with pytest.raises(error) as caught:
        call()
    lines = comm.allgather(str(caught.value))
    assert lines == lines[:1] * comm.size
    return lines[0]


def test_points_that_are_wrong_on_one_rank_are_refused_on_all(pde, comm):
    good = np.full((3, 2), 0.5)
    last = comm.rank == comm.size - 1
    for bad, line in (
        (np.zeros((4, 3)), "points has shape (4, 3): give shape (n, 2), n >= 1"),
        (np.full((1, 2), np.nan), "points has nan at index (0, 0): give finite numbers"),
        ([[1.0, 1.0], [50.0, 2.0]], "1 of 2 points lie outside"),
    ):
        assert same_line(comm, lambda bad=bad: pde.evaluate(bad if last else good)).startswith(line)
    assert "species = 'ghost'" in same_line(comm, lambda: pde.evaluate(good, species="ghost" if last else None))


def test_a_grid_is_the_same_on_all_ranks(pde, comm):
    axis = np.linspace(-1.0, 1.0, 5)
    values = pde.on_grid([axis, axis[:3]])
    assert values.shape == (5, 3)
    np.testing.assert_allclose(pde.evaluate(np.stack(np.meshgrid(axis, axis[:3], indexing="ij"), -1).reshape(-1, 2)),
                               values.ravel(), rtol=1e-12)  # fmt: skip
    if comm.size > 1:
        other = axis[comm.rank :]
        line = same_line(comm, lambda: pde.on_grid([axis, other]))
        assert line == (
            "axes[1] = [-1.0, -0.5, 0.0, 0.5, 1.0] on rank 0 and [-0.5, 0.0, 0.5, 1.0] on rank 1: give on_grid the "
            "same on every rank"
        )
        line = same_line(comm, lambda: pde.evaluate([[0.0, 0.0]], t=0.02 * (comm.rank > 0)))
        assert line.startswith("t = 0 on rank 0 and 0.02 on rank 1: give evaluate the same")
