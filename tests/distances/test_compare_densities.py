"""The distance between two densities, against closed forms, and what the two differ in."""

from __future__ import annotations

import json
from math import log, pi, sqrt
from typing import Any

import numpy as np
import pytest
from compare_standins import KnownDensity, Still, gaussian
from mpi4py import MPI

import kspde
from kspde.distances import compare
from kspde.plots import densities as pictures

EVERYTHING = ("l1", "l2", "relative_entropy", "reverse_relative_entropy", "w1", "w2", "energy")


def normal(mean: Any, std: float, mass: float = 1.0) -> kspde.GaussianMixture:
    return kspde.GaussianMixture(weights=[1.0], means=[mean], stds=[std], mass=mass)


def closed_forms(mean1: Any, std1: float, mean2: Any, std2: float) -> dict[str, float]:
    """Return L², H(2|1), H(1|2) and the (sliced) W_2 of N(mean1, std1² I) and N(mean2, std2² I)."""
    d = len(mean1)
    square = float(np.sum(np.subtract(mean1, mean2) ** 2))

    def product(s: float, t: float, gap: float) -> float:
        return float(np.exp(-gap / (2 * (s * s + t * t))) / (2 * pi * (s * s + t * t)) ** (d / 2))

    return {
        "l2": sqrt(product(std1, std1, 0) + product(std2, std2, 0) - 2 * product(std1, std2, square)),
        "relative_entropy": d * log(std1 / std2) + (d * std2**2 + square) / (2 * std1**2) - d / 2,
        "reverse_relative_entropy": d * log(std2 / std1) + (d * std1**2 + square) / (2 * std2**2) - d / 2,
        "wasserstein2": sqrt(square / d + (std1 - std2) ** 2),
    }


def l1_on_the_line(mean1: float, std1: float, mean2: float, std2: float) -> float:
    from scipy.integrate import quad

    def gap(x: float) -> float:
        a, b = (np.exp(-0.5 * ((x - m) / s) ** 2) / s for m, s in ((mean1, std1), (mean2, std2)))
        return float(abs(a - b) / sqrt(2 * pi))

    return quad(gap, mean1 - 12, mean1 + 12, limit=2000, points=[mean1, mean2])[0]


@pytest.mark.parametrize(
    ("mean1", "std1", "mean2", "std2"),
    [
        ([3.0], 0.5, [3.4], 0.8),
        pytest.param([3.0, -1.0], 0.5, [3.4, -0.7], 0.8, marks=pytest.mark.one_rank),
        pytest.param([3.0, -1.0], 0.5, [3.0, -1.0], 0.501, marks=pytest.mark.one_rank),
    ],
)
def test_gaussians(mean1: Any, std1: float, mean2: Any, std2: float) -> None:
    """Off the origin, with another width, and of mass 3: distances are those of the densities over their mass."""
    distance = compare(normal(mean1, std1, 3.0), normal(mean2, std2, 3.0), distances=EVERYTHING)
    for name, exact in closed_forms(mean1, std1, mean2, std2).items():
        tolerance = 1e-9 if name != "wasserstein2" else 1e-5
        assert distance[name].value == pytest.approx(exact, rel=tolerance, abs=1e-14), name
        # The error that is stated holds, up to round-off.
        assert abs(distance[name].value - exact) < 2 * (distance[name].interval[1] - distance[name].value) + 1e-12, name
    assert distance.mass == 3.0
    assert distance.differs == {}
    if len(mean1) == 1:
        exact = l1_on_the_line(mean1[0], std1, mean2[0], std2)
        assert distance.l1.value == pytest.approx(exact, rel=2e-5)
        assert distance.l1.interval[0] <= exact <= distance.l1.interval[1]


@pytest.mark.one_rank
def test_a_shift() -> None:
    """On the line a shift is W_1 and W_2, and the circle's mean of |cos| or cos² of it in the plane."""
    line = compare(normal([1.0], 0.6), normal([1.3], 0.6), distances=("w1", "w2", "energy"))
    assert line.wasserstein1.value == pytest.approx(0.3, rel=1e-6)
    assert line.wasserstein2.value == pytest.approx(0.3, rel=1e-6)
    plane = compare(normal([1.0, 2.0], 0.6), normal([1.3, 2.4], 0.6), distances=("w1", "w2"))
    assert plane.wasserstein1.value == pytest.approx(0.5 * 2 / pi, rel=1e-3)  # 32 directions
    assert plane.wasserstein2.value == pytest.approx(0.5 / sqrt(2), rel=1e-5)
    # 2E|X − Y| − E|X − X'| − E|Y − Y'| for normal differences.
    from scipy.stats import foldnorm, norm

    s = 0.6 * sqrt(2)
    exact = 2 * foldnorm(0.3 / s, scale=s).mean() - 2 * s * sqrt(2) * norm.pdf(0) * sqrt(2)
    assert line.energy.value == pytest.approx(exact, rel=1e-5)


@pytest.mark.one_rank
def test_two_solutions_of_the_heat_equation(comm: MPI.Comm) -> None:
    """Without a signal u_t = 2Δu: Gaussians of variance s² + 4t, on two boxes with other elements, of mass 2."""
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    runs = []
    for mean, std, box in (
        ((-0.4, 0.3), 0.5, kspde.Box(half_width=9.0, cells=12, degree=6)),
        ((0.2, 0.1), 0.6, kspde.Box(half_width=11.0, cells=14, degree=5, grading=2.0)),
    ):
        u0 = kspde.GaussianMixture(weights=[1.0], means=[mean], stds=[std], mass=2.0)
        runs.append(kspde.solve(model, u0, box, t_end=0.1, tol=1e-7))
    distance = compare(*runs, distances=EVERYTHING)
    exact = closed_forms((-0.4, 0.3), sqrt(0.65), (0.2, 0.1), sqrt(0.76))
    assert distance.l2.value == pytest.approx(exact["l2"], rel=2e-5)
    for name in ("relative_entropy", "reverse_relative_entropy", "wasserstein2"):
        assert distance[name].value == pytest.approx(exact[name], rel=2e-4), name
    known = compare(normal((-0.4, 0.3), sqrt(0.65), 2.0), normal((0.2, 0.1), sqrt(0.76), 2.0))
    assert distance.l1.value == pytest.approx(known.l1.value, rel=1e-4)
    # A solution against its own exact density: what is left are the errors of both.
    own = compare(normal((-0.4, 0.3), sqrt(0.65), 2.0), runs[0])
    assert own.l1.value < 2e-5
    assert own.relative_entropy.value < 2e-6  # its tail, below 1e-7 of its maximum
    assert set(distance.differs) == {"u0", *(f"domain.{name}" for name in ("half_width", "cells", "degree", "grading"))}
    earlier = compare(*runs[:1], runs[0], t=0.1)
    assert earlier.l1.value == 0
    with pytest.raises(kspde.InputError, match=r"two densities have no floor"):
        _ = distance.above_floor
    with pytest.raises(kspde.InputError, match=r"t = 0\.2 is not valid: give a time in \[0, 0\.1\]"):
        compare(*runs, t=0.2)
    with pytest.raises(kspde.InputError, match="t is given, and neither side is a solution: leave it out"):
        compare(normal((0.0, 0.0), 1.0), normal((0.1, 0.0), 1.0), t=0.1)


@pytest.mark.one_rank
def test_what_differs_is_named(shared_tmp_path, comm: MPI.Comm) -> None:
    """Two ε, two χ: in the result, in its text, in the summary; the picture says it too (seen by eye)."""
    a = KnownDensity(density=normal((0.0, 0.0), 1.0), model=Still(rate=1.0), eps=None)
    b = KnownDensity(density=normal((0.5, 0.0), 1.1), model=Still(rate=2.0), half_width=12.0, strict=False)
    distance = compare(a, b)
    assert distance.differs["eps"] == (None, 0.3)
    assert distance.differs["rate"] == (1.0, 2.0)
    assert set(distance.differs) == {"rate", "eps", "domain.half_width"}
    assert "eps (none for the first density, 0.3 for the second density)" in str(distance)
    summary = json.loads(json.dumps(distance.summary()))
    assert summary["differs"]["eps"] == [None, 0.3]
    assert summary["kind"] == "densities"
    assert "floor" not in summary
    distance.plot(shared_tmp_path / "distance.png")
    pictures.plot_difference(distance, shared_tmp_path / "difference.png")
    comm.barrier()
    assert (shared_tmp_path / "distance.png").stat().st_size > 10_000
    sensing = (kspde.LocalSensing(chi=2.0, motility=motility) for motility in (lambda v: np.exp(-v), lambda v: 1 + v))
    of_code = compare(*(KnownDensity(density=normal((0.0, 0.0), 1.0), model=model) for model in sensing))
    assert str(of_code).splitlines()[-1].split() == ["differ", "in", "motility"]
    other = compare(a, KnownDensity(density=normal((0.5, 0.0), 1.1), model=kspde.SignalDependentKellerSegel(chi=8.0)))
    assert other.differs["model"] == ("Still", "SignalDependentKellerSegel")


@pytest.mark.one_rank
def test_where_one_vanishes() -> None:
    """H(b|a) is infinite where a is 0 and b is not; the other one is not."""
    a = kspde.GridDensity(np.ones((5, 5)), [-1, 1, -1, 1])
    b = kspde.GridDensity(np.ones((5, 5)), [-2, 2, -2, 2])
    distance = compare(a, b)
    assert distance.relative_entropy.value == np.inf
    assert distance.reverse_relative_entropy.value == pytest.approx(log(4), rel=1e-2)
    assert distance.l1.value == pytest.approx(1.5, rel=1e-2)
    assert "relative entropy is infinite: the first vanishes where the second has mass" in str(distance)


def test_a_function_on_a_domain() -> None:
    """Its integral is its mass; on a disk it is 0 outside."""

    def bump(x: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * np.sum((x - [1.0, 0.5]) ** 2, axis=1))

    box = kspde.Box(half_width=9.0, cells=4)
    distance = compare(normal((1.0, 0.5), 1.0, 2 * pi), bump, domain=box)
    assert distance.l1.value < 1e-6
    assert distance.mass == pytest.approx(2 * pi)
    with pytest.raises(kspde.InputError, match=r"mass is 1\.0 for the initial density and 6\.28.* for the function"):
        compare(normal((1.0, 0.5), 1.0), bump, domain=box)
    free = compare(normal((1.0, 0.5), 1.0), bump, domain=kspde.Disk(radius=8.0, size=0.5), normalise=True)
    assert free.l1.value < 1e-5
    assert free.differs["mass"] == (1.0, pytest.approx(2 * pi))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"density": gaussian(dimension=1)}, {}, "dimension is 2 for the first density and 1 for the second density"),
        ({"model": Still(species=("w",))}, {}, "species is u for the first density and w for the second density"),
        ({"t_end": 0.6}, {}, "t_end is 0.5 for the first density and 0.6 for the second density"),
        (
            {"masses": {"u": 2.0}},
            {},
            r"mass of u is 1\.0 .* and 2\.0 .*: compare two of the same, or give normalise=True",
        ),
        ({}, {"bandwidth": 0.3}, "bandwidth has no effect here"),
        ({}, {"r": 2}, "r = 2 has no effect here"),
        ({}, {"wasserstein": "exact"}, 'wasserstein = "exact" has no effect here'),
        ({}, {"distances": ("relative_entropy_knn",)}, "distances = 'relative_entropy_knn' is not valid"),
        ({}, {"domain": kspde.Box(half_width=3.0, cells=4)}, "neither side is a function"),
    ],
)
def test_refusals(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    a = KnownDensity(density=gaussian())
    b = KnownDensity(**{"density": gaussian(), **change})
    with pytest.raises(kspde.InputError, match=message):
        compare(a, b, **options)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((1, 2), "first is a int: give a density"),
        ((gaussian(), "u"), "second is a str: give a density"),
        ((gaussian(), None), "second is a NoneType: give a density"),
        ((gaussian(), [1.0, 2.0]), r"second has shape \(2,\): give shape \(n, n\)"),
        ((gaussian(), np.zeros((5, 4))), r"second has shape \(5, 4\): give positions of shape \(n, d\), d = 1, 2 or 3"),
        ((gaussian(), np.full((5, 2), np.nan)), r"second has nan at index \(0, 0\)"),
        ((gaussian(), np.sum), "a function is given, and domain is not given"),
    ],
)
def test_what_is_neither_a_density_nor_particles(sides: tuple[Any, Any], message: str) -> None:
    with pytest.raises(kspde.InputError, match=message):
        compare(*sides)
