"""What a user meets first: names, short reprs, and how to cite."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import kspde


def test_everything_public_is_listed_and_found() -> None:
    assert set(dir(kspde)) >= {*kspde.__all__, "__version__", "distances", "evidence", "studies", "theory"}
    assert all(getattr(kspde, name) is not None for name in dir(kspde))
    assert not any(name.startswith("_") and name != "__version__" for name in dir(kspde))
    assert kspde.studies.__name__ == "kspde.papers.studies"


def test_initial_densities_are_shown_in_a_line() -> None:
    one = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.5]], stds=[1.0])
    assert repr(one) == "GaussianMixture(weights=[1.0], means=[[0.0, 0.5]], stds=[1.0], mass=1)"
    observed = kspde.observed_positions(np.zeros((500, 2)), bandwidth=0.1, mass=2.0)
    assert repr(observed) == "GaussianMixture(500 components, dimension=2, mass=2)"
    grid = kspde.GridDensity(np.ones((20, 30)), (-1, 1, 0, 3))
    assert repr(grid) == "GridDensity(20 x 30 values, extent=(-1, 1, 0, 3), mass=1)"

    def bump(x):
        return np.exp(-(x**2).sum(axis=1))

    density = kspde.CallableDensity(bump, half_width=8.0, resolution=64)
    assert repr(density) == "CallableDensity(bump on [-8, 8]^2, mass=1)"


def test_the_citation_is_of_this_version() -> None:
    text = (Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [kspde.__version__]
