"""What a user meets first: names, short reprs, and how to cite."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest

import kspde

ROOT = Path(__file__).parents[1]


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


def test_all_places_name_this_version_and_what_it_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe, citation, changes = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("conda/recipe.yaml", "CITATION.cff", "CHANGELOG.md")
    )
    assert re.findall(r'^ *version: "?([^"$\n]+)"?$', recipe + citation, re.MULTILINE) == [kspde.__version__] * 2
    assert re.findall(r'^date-released: "(.*)"$', citation, re.MULTILINE) == re.findall(
        rf"^## {re.escape(kspde.__version__)} \((.*)\)$", changes, re.MULTILINE
    )
    code = re.findall(r"^repository-code: (.*)$", citation, re.MULTILINE)
    assert code == [url for name, url in project["urls"].items() if name == "Repository"]
    dolfinx = project["optional-dependencies"]["fem"][0].replace("dolfinx-solver-real==", "fenics-dolfinx ")
    needed = {line.replace(">=", " >=").replace("matplotlib", "matplotlib-base") for line in project["dependencies"]}
    stated = re.findall(r"^    - (.*?)(?:  #.*)?$", recipe.partition("  run:")[2], re.MULTILINE)
    alone = {"c-compiler", "petsc4py * real_*", "python " + project["requires-python"]}
    assert set(stated) == needed | alone | {dolfinx}


@pytest.mark.parametrize("repository", ["", "https://example.org/kspde"])
def test_links_of_the_page_on_pypi_hold(repository: str) -> None:
    page = runpy.run_path(str(ROOT / "setup.py"))["page"]
    text = page((ROOT / "README.md").read_text(encoding="utf-8"), repository, "1.2")
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert all(target.startswith("http") for target in targets)
    assert ("https://example.org/kspde/raw/v1.2/demos/pictures/distance.png" in targets) == bool(repository)
