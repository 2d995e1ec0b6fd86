"""A line: sparse where modes are not needed, and without any of them where there are many nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kspde
from kspde.fem.spaces import build_space

MODEL = kspde.CrossDiffusion(a=[[1.0, 0.5], [0.2, 0.8]], sigma=[0.3, 0.2], dimension=1)
U0 = {
    name: kspde.GaussianMixture(weights=[1.0], means=[[x]], stds=[0.8], mass=mass)
    for name, x, mass in zip(MODEL.species, (-0.4, 0.7), (1.0, 2.0), strict=True)
}
X = np.linspace(-5.5, 5.5, 40)[:, None]


def solved(cells: int, **options: Any) -> Any:
    degree = options.pop("degree", 1)
    box = kspde.Box(half_width=7.0, cells=cells, degree=degree, dimension=1)
    pde = kspde.solve(MODEL, U0, box, t_end=0.2, **options)
    return pde, np.stack([pde.evaluate(X, species=name) for name in MODEL.species])


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"cells": 60, "scheme": "positive-2", "dt": 0.05, "eps": 0.5}, 1e-9),
        ({"cells": 60, "scheme": "positive-2", "dt": 0.05}, 1e-12),
        ({"cells": 16, "degree": 4, "scheme": "rosenbrock", "tol": 1e-6, "eps": 0.5}, 1e-7),
    ],
)
def test_a_line_without_modes_has_the_density_of_one_with_modes(options, allowed, monkeypatch, comm) -> None:
    modal, expected = solved(**options)
    from kspde.fem.spaces import box

    monkeypatch.setattr(box, "LONGEST", {True: 10, False: 10})
    nodal, found = solved(**options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    assert modal.summary()["linear_solver"] == "fast diagonalisation"
    assert nodal.summary()["linear_solver"] == "direct"
    assert nodal.masses == pytest.approx({"u1": 1.0, "u2": 2.0}, rel=1e-12)


@pytest.mark.one_rank
def test_modes_are_made_only_where_they_are_needed(monkeypatch) -> None:
    from kspde.fem.spaces import box

    def refuse(*args: Any) -> None:
        raise AssertionError("dense")

    monkeypatch.setattr(box, "TensorLaplacian", refuse)
    solved(24, scheme="positive-2", dt=0.1)
    solved(700, scheme="positive", dt=0.2, eps=0.5)
    solved(2100, scheme="adaptive", tol=1e-2, eps=0.5)
    with pytest.raises(AssertionError, match="dense"):
        solved(700, scheme="adaptive", tol=1e-2, eps=0.5)


@pytest.mark.one_rank
def test_a_long_line_takes_memory_for_its_nodes_only(comm) -> None:
    """Sixty thousand nodes squared were 27 GB."""
    space = build_space(kspde.Box(half_width=7.0, cells=60_000, degree=1, dimension=1), 1, comm, modal=False)
    slope = space.gradient(np.sin(space.points[:, 0]))[:, 0]
    np.testing.assert_allclose(slope, np.cos(space.points[:, 0]), rtol=0, atol=1e-3)
