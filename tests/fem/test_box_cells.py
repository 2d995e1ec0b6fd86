"""The cells of a box, where estimates take their points from: they are DOLFINx's, without its mesh."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.fem import error
from kspde.fem.spaces import build_space

COMM = MPI.COMM_WORLD


@pytest.mark.parametrize("d", [1, 2, 3])
def test_corners_are_those_of_dolfinx_and_each_rank_has_the_same_cells(d: int) -> None:
    box = kspde.Box(
        half_width=3.0, cells=(5, 7, 6)[:d], degree=2, dimension=d, centre=(4.0, -1.0, 2.5)[:d], grading=2.0
    )
    space = build_space(box, d, COMM)
    ours = space.corners(np.arange(space.own_cells))
    geometry, count = space.mesh.geometry, space.mesh.topology.index_map(d).size_local
    theirs = geometry.x[geometry.dofmaps[0][:count]][..., :d]
    assert ours.shape == theirs.shape
    key = [np.lexsort(corners[:, 0].round(9).T) for corners in (ours, theirs)]
    np.testing.assert_allclose(ours[key[0]], theirs[key[1]], rtol=0, atol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_of_an_estimate_are_a_quadrature(d: int) -> None:
    half = np.array([3.0, 2.0, 1.0])[:d]
    box = kspde.Box(half_width=tuple(half), cells=4, degree=2, dimension=d, centre=(4.0, -1.0, 2.5)[:d])
    space = build_space(box, d, COMM)
    points, weights = error.sampled(space)
    volume = float(np.prod(2 * half))
    assert space.total(np.array([weights.sum()]))[0] == pytest.approx(volume, rel=1e-13)
    for a in range(d):
        middle = space.centre[a]
        second = space.total(np.array([weights @ (points[:, a] - middle) ** 4]))[0]
        assert second == pytest.approx(volume * half[a] ** 4 / 5, rel=1e-12)


@pytest.mark.one_rank
@pytest.mark.parametrize("cells", [32, 45])
def test_a_sample_of_cells_is_even(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    # Every so many cells by their numbers would be a few columns of them.
    monkeypatch.setattr(error, "_POINTS", {True: 4 * 4 * cells, False: 0})
    space = build_space(kspde.Box(half_width=1.0, cells=cells, degree=2, dimension=2), 2, COMM)
    points, weights = error.sampled(space)
    assert len(points) < cells**2
    for x in points.T:
        share = np.histogram(x, bins=8, range=(-1.0, 1.0), weights=weights)[0]
        np.testing.assert_allclose(share, 0.5, rtol=0.35)
