"""A distance of one's own, and what results show of themselves."""

from __future__ import annotations

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, draws, gaussian

import kspde
from kspde.distances import compare
from kspde.distances.registry import DISTANCES, DensityPair, OnGrid, OnLines, Projection


def hellinger(pair: DensityPair) -> float:
    roots = np.sqrt(np.maximum(pair.p, 0)) - np.sqrt(np.maximum(pair.u, 0))
    return float(np.sqrt(0.5 * pair.integral(roots**2)))


def kolmogorov(line: Projection) -> np.ndarray:
    f, g, by = line.distributions.f, line.distributions.g, line.distributions.by
    return np.array([np.abs(f if g is None else f + at * g).max() for at in by])


@pytest.fixture(autouse=True)
def more(monkeypatch: pytest.MonkeyPatch) -> None:
    own = OnGrid(name="hellinger", title="Hellinger distance", between=hellinger)
    monkeypatch.setitem(DISTANCES, "hellinger", own)
    monkeypatch.setitem(DISTANCES, "kolmogorov", OnLines(name="kolmogorov", title="Kolmogorov", on_line=kolmogorov))


def test_a_distance_of_ones_own_between_densities() -> None:
    """Of N(0, 1) and N(0, 1.2²) in the plane: H² = 1 − 2·1.2/(1 + 1.2²)."""
    distance = compare(gaussian(), gaussian(1.2), distances=("hellinger", "kolmogorov"))
    assert distance.hellinger.value == pytest.approx(np.sqrt(1 - 2.4 / 2.44), rel=1e-9)
    # On each line N(0, 1) and N(0, 1.2²), whose densities meet at s² = 2 log 1.2 / (1 − 1/1.2²).
    from scipy.special import ndtr

    s = np.sqrt(2 * np.log(1.2) / (1 - 1 / 1.44))
    assert distance.kolmogorov.value == pytest.approx(ndtr(s) - ndtr(s / 1.2), rel=1e-4)


@pytest.mark.one_rank
def test_a_distance_of_ones_own_has_its_floor() -> None:
    pde = KnownDensity(density=gaussian())
    near, far = (KnownCloud(draws(gaussian(), 1000, 3) + shift, pde) for shift in (0.0, 0.5))
    names = ("hellinger", "kolmogorov")
    distance, other = (compare(pde, cloud, distances=names) for cloud in (far, near))
    for name in names:
        assert distance.is_above_floor(name)
        assert not other.is_above_floor(name)
        assert name in dir(distance)
        assert name in distance.summary()
    assert list(distance.by_name) == list(distance.floor.by_name) == list(names)  # what was asked for, alone
    assert str(distance).startswith("Hellinger distance")
    assert distance.above_floor == distance.is_above_floor("hellinger")
    assert distance.caption().startswith("Hellinger distance")
    # The first that was asked for leads, and L¹ bounds the entropy without noise from below where it is not shown.
    led, whole = (compare(pde, far, distances=order) for order in (("energy", "relative_entropy"), None))
    assert list(led.by_name) == ["energy", "relative_entropy"]
    assert led.debiased.relative_entropy == whole.debiased.relative_entropy
    assert "kolmogorov" in compare(near, far, distances=("kolmogorov",), replicas=4).by_name
    with pytest.raises(kspde.InputError, match="distances = 'hellinger' is not valid: give one of"):
        compare(near, far, distances=("hellinger",))


@pytest.mark.one_rank
def test_results_show_themselves_in_a_few_lines() -> None:
    pde = KnownDensity(density=gaussian())
    cloud = KnownCloud(draws(gaussian(), 500, 3), pde)
    of_particles = compare(pde, cloud, replicas=2)
    of_densities = compare(gaussian(), gaussian(1.2), distances=("l1",))
    of_clouds = compare(cloud, KnownCloud(draws(gaussian(), 400, 4), pde), replicas=2)
    over_time = compare(pde, cloud, times=(0.5,), replicas=2).over_time
    assert repr(of_particles).startswith(
        "Distance of u between density and particles (N = 500) at t = 0.5\nL1 distance"
    )
    assert "first particles (N = 500) and second particles (N = 400)" in repr(of_clouds)
    assert repr(over_time).startswith("OverTime of l1, l2")
    for shown in (of_particles, of_densities, of_clouds, of_particles.floor, over_time):
        assert repr(shown).count("\n") <= 12
    for shown in (of_particles, of_densities, of_clouds, over_time):
        assert shown._repr_html_().startswith("<table>")
    with pytest.raises(AttributeError, match="Distance has no attribute 'l3'"):
        _ = of_particles.l3


def test_a_distance_that_was_not_measured_is_no_attribute() -> None:
    distance = compare(gaussian(), gaussian(1.2), distances=("l1",))
    assert hasattr(distance, "l1")
    assert not hasattr(distance, "energy")
    with pytest.raises(AttributeError, match="energy was not measured"):
        _ = distance.energy
    with pytest.raises(kspde.InputError, match="energy was not measured: give distances"):
        distance["energy"]
    assert kspde.distances.DISTANCES is DISTANCES
