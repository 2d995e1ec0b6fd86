"""The coupled estimate: its interval's coverage, its resolution, and the exact law of two particles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from particle_systems import density, free, plane

import kspde
from kspde.evidence.coupled import floor_of, signed_estimate
from kspde.evidence.ensemble import Ensemble


def shifted(shift: float, noise: float, replicas: int, rng: np.random.Generator):
    """Estimates of the difference of two Gaussians a shift apart, with smooth noise; the points' weight and ‖δ‖₁."""
    x = np.linspace(-6, 6, 97)
    step = x[1] - x[0]
    delta = np.exp(-0.5 * (x - shift) ** 2) - np.exp(-0.5 * x**2)
    delta /= np.sqrt(2 * np.pi)
    k = np.arange(1, 13)[:, None]
    modes = np.exp(-0.5 * x**2) * np.cos(k * x / 2 + k**2)
    weights = rng.normal(size=(replicas, len(k))) * noise
    return delta + weights @ modes, step, float(np.abs(delta).sum() * step)


@pytest.mark.one_rank
@pytest.mark.parametrize("noise", [0.003, 0.03, 0.3])
def test_the_interval_covers_and_the_value_is_not_too_large(noise: float) -> None:
    rng = np.random.default_rng(11)
    covered, values, norms = 0, [], []
    for _ in range(200):
        differences, step, truth = shifted(0.02, noise, 16, rng)
        value, norm, (low, high) = signed_estimate(differences, step)
        covered += low <= truth <= high
        values.append(value)
        norms.append(norm)
    assert covered >= 0.92 * 200  # at least 95 %, up to two standard deviations of the count
    assert np.mean(values) <= truth + 3 * np.std(values) / np.sqrt(200)
    assert np.mean(norms) >= truth - 3 * np.std(norms) / np.sqrt(200)
    if noise == 0.003:
        assert np.mean(values) == pytest.approx(truth, rel=0.1)


@pytest.mark.one_rank
def test_the_floor_holds_a_random_swap_in_95_per_cent() -> None:
    rng = np.random.default_rng(12)
    differences, step, _ = shifted(0.02, 0.03, 16, rng)
    floor = floor_of(differences, step, seed=1)
    signs = rng.choice([-1.0, 1.0], size=(4000, 16))
    norms = np.abs(signs @ differences).sum(axis=1) * step / 16
    low, high = floor.interval
    assert np.mean(norms < low) == pytest.approx(0.025, abs=0.025)
    assert np.mean(norms > high) == pytest.approx(0.025, abs=0.025)
    assert np.mean(norms) == pytest.approx(floor.value, rel=0.1)


@pytest.mark.one_rank
def test_two_particles_against_their_exact_law() -> None:
    pde = density("signal-dependent")
    exact = kspde.liouville(pde, n=2)
    found = kspde.coupled_distance(pde, n=2, dt=0.01, replicas=12_000, seed=2)
    x = np.linspace(-8, 8, 1601)
    law = exact.solution.on_grid([x, exact.nodes]) @ exact.weights
    delta = law - pde.on_grid([x])
    step = x[1] - x[0]
    kernel = np.exp(-0.5 * (x / found.bandwidth) ** 2)
    smooth = float(np.abs(np.convolve(delta, kernel / kernel.sum(), mode="same")).sum()) * step
    low, high = found.l1.interval
    assert low < smooth < high
    assert high - low < 0.3 * smooth
    assert found.l1.value == pytest.approx(smooth, rel=0.1)
    assert smooth < exact.marginal_l1[0, -1]
    assert found.smoothing > 0
    assert found.resolved
    low, high = found.entropy.interval
    reach = 0.5 * (high - low)
    assert reach < 0.22 * exact.marginal_entropy[0, -1]
    plain = (delta, pde.on_grid([x]))
    smoothed = [np.convolve(f, kernel / kernel.sum(), mode="same") for f in plain]
    leading, smooth = (float(0.5 * np.sum(f**2 / np.maximum(u, 1e-8)) * step) for f, u in (plain, smoothed))
    assert leading == pytest.approx(exact.marginal_entropy[0, -1], rel=0.2)  # the next order is 1/N of it
    assert abs(found.entropy.value - smooth) < 1.5 * reach
    assert 0.7 * leading < smooth < leading


@pytest.mark.one_rank
def test_it_resolves_what_the_plain_estimate_cannot() -> None:
    found = kspde.coupled_distance(plane(), n=250, dt=0.05, replicas=40, seed=1)
    certified = kspde.entropy_bound(plane(), n=250, dt=0.05, replicas=8, seed=1).l1(1)
    assert found.plain == pytest.approx(found.plain_floor, rel=0.1)  # the plain one sees its own noise only
    assert found.l1.interval[1] < 0.1 * found.plain_floor
    assert found.floor.value < 0.1 * found.plain_floor
    assert found.l1.interval[1] < certified.interval[1][-1]
    assert 0.004 < found.mean_distance < 0.02


def test_no_interaction_no_difference() -> None:
    found = kspde.coupled_distance(free(), n=50, dt=0.05, replicas=4, bandwidth=0.2)
    assert found.l1.value == found.mean_distance == found.norm_of_mean == 0.0
    assert found.l1.interval == (0.0, 0.0)
    assert found.plain > 0.01
    assert found.bandwidth == 0.2


@pytest.mark.one_rank
@pytest.mark.parametrize("result", ["bound", "coupled", "law"])
def test_results_show_themselves_in_a_few_lines(result: str) -> None:
    pde = density("signal-dependent")
    options: dict[str, Any] = {"n": 3, "dt": 0.125, "replicas": 4}
    found = {
        "bound": lambda: kspde.entropy_bound(pde, **options, time_error=True),
        "coupled": lambda: kspde.coupled_distance(pde, **options),
        "law": lambda: kspde.liouville(pde, n=2, tol=1e-4),
    }[result]()
    assert 3 <= len(repr(found).splitlines()) <= 6
    assert len(repr(found)) < 400
    assert "array" not in repr(found)
    html: str = found._repr_html_()
    assert html.startswith("<table>")
    assert html.count("<tr>") == len(repr(found).splitlines())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replicas": 3}, "replicas = 3 is not valid: give an integer >= 4"),
        ({"bandwidth": 0.0}, "bandwidth = 0.0 is not valid"),
        ({"bandwidth": 1e-6}, "needs more than 65536 grid points across .*: give bandwidth >="),
        ({"species": "w"}, "species = 'w' is not valid: give one of u"),
    ],
)
def test_bad_input(change, words: str) -> None:
    with pytest.raises(kspde.InputError, match=words):
        kspde.coupled_distance(density("signal-dependent"), **({"n": 4, "dt": 0.1} | change))


@pytest.mark.one_rank
def test_sums_over_pairs_are_for_few_particles_and_for_narrow_mollifiers_without_an_end() -> None:
    def direct(n: int, **mollifier: Any) -> bool:
        pde = kspde.solve(
            kspde.SignalDependentKellerSegel(chi=8.0),
            kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0]),
            t_end=1e-3,
            domain=kspde.Box(half_width=6.0, cells=6, degree=2),
            tol=1e-2,
            save=kspde.SaveAt(times=(0.0, 1e-3)),
            **mollifier,
        )
        return Ensemble(pde=pde, n=n, dt=1e-3, replicas=2, seed=0)._direct

    assert direct(400, eps=0.3)
    assert not direct(500, eps=0.3)
    assert direct(2000, eps=0.05, mollifier="matern")
    assert not direct(20_000, eps=0.05, mollifier="matern")
    assert not direct(2000, eps=0.01)  # near and far parts
