"""Distances of scattered points: against closed forms, direct sums and POT."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, draws, gaussian, quantiles
from mpi4py import MPI
from scipy.spatial.distance import cdist, pdist
from scipy.special import erf

import kspde
from kspde.distances import compare
from kspde.distances.knn import LogDensity, entropy_terms, relative_entropy_of
from kspde.distances.points import Draws
from kspde.distances.registry import DISTANCES, ENERGY
from kspde.distances.resampling import Replicas, invert, without_noise
from kspde.distances.sides import Sample
from kspde.distances.sliced import Lines, directions
from kspde.distances.statistics import Estimate, reach_of
from kspde.grids import Grid

ON_LINES = [DISTANCES[name] for name in ("wasserstein1", "wasserstein2", "energy")]
SHIFTED = kspde.GaussianMixture(weights=(0.5, 0.5), means=((-1.0, 0.0), (0.8, 0.5)), stds=(0.5, 0.7))


def lines_of(density: kspde.GaussianMixture, r: int = 1, points: int = 257, reach: float = 12.0) -> Lines:
    d = density.dimension
    grid = Grid.covering(np.full(d, -6.0), np.full(d, 6.5), [points] * d)
    x = np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1)
    return Lines(grid, density(x.reshape(-1, d)).reshape(grid.shape), r, reach)


@pytest.mark.one_rank
@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 6])
def test_directions_are_unit_vectors_that_weigh_all_axes_alike(dimension: int) -> None:
    omega = directions(dimension)
    np.testing.assert_allclose(np.linalg.norm(omega, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(omega.T @ omega / len(omega), np.eye(dimension) / dimension, rtol=0, atol=1e-12)


@pytest.mark.one_rank
@pytest.mark.parametrize(("r", "reach"), [(1, 9.0), (2, 9.0), (1, 80.0)])
def test_projections_of_a_mixture_are_mixtures(r: int, reach: float) -> None:
    """With coarse nodes on long lines too: their trapezoidal sums are off by h²/12 F'', and nothing else is."""
    from scipy.special import ndtr

    lines = lines_of(SHIFTED, r, reach=reach)
    for omega, f in zip(lines.directions[::7], lines.distribution[::7], strict=True):
        exact = np.zeros_like(f)
        s = lines.nodes + omega @ lines.centre
        for i, (a, m, v) in enumerate(zip(SHIFTED.weights, SHIFTED.means, SHIFTED.stds, strict=True)):
            if r == 1:
                exact += a * ndtr((s - omega @ m) / v)
                continue
            for b, m2, v2 in list(zip(SHIFTED.weights, SHIFTED.means, SHIFTED.stds, strict=True)):
                spread = np.sqrt(v**2 * omega[:2] @ omega[:2] + v2**2 * omega[2:] @ omega[2:])
                exact += a * b * ndtr((s - omega[:2] @ m - omega[2:] @ m2) / spread)
            assert i < 2
        np.testing.assert_allclose(f, exact, atol=max(2e-6, 1.3 * np.abs(np.diff(exact, 2)).max() / 12))


@pytest.mark.one_rank
@pytest.mark.parametrize(("mean", "std"), [(0.6, 1.0), (-0.4, 1.3)])
def test_wasserstein_on_the_line(mean: float, std: float) -> None:
    """Of two Gaussians: W_2² = (Δm)² + (Δσ)², W_1 = E|Δm + Δσ Z|; points at the quantiles are the Gaussian itself."""
    from scipy.integrate import quad

    w1, w2, _ = lines_of(gaussian(dimension=1), points=801).distances(quantiles(50_000, mean=mean, std=std), ON_LINES)
    assert w2 == pytest.approx(np.hypot(mean, std - 1), rel=1e-4)
    exact = quad(lambda z: abs(mean + (std - 1) * z) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), -10, 10)[0]
    assert w1 == pytest.approx(exact, rel=1e-4)


def test_line_distances_of_few_points_are_exact() -> None:
    """Against POT's one-dimensional transport to a fine discretisation of the density."""
    import ot

    x = np.array([[-1.3], [0.2], [0.25], [1.9], [0.7]])
    w1, w2, energy = lines_of(gaussian(dimension=1), points=801).distances(x, ON_LINES)
    fine = quantiles(20_000).ravel()
    assert w1 == pytest.approx(ot.wasserstein_1d(x.ravel(), fine, p=1), rel=2e-3)
    assert w2**2 == pytest.approx(ot.wasserstein_1d(x.ravel(), fine, p=2), rel=2e-3)
    direct = 2 * np.abs(x - fine).mean() - np.abs(x - x.T).mean() - 2 / np.sqrt(np.pi)
    assert energy == pytest.approx(direct, rel=2e-3)


def test_sliced_distances_are_those_of_pot() -> None:
    import ot

    x, y = draws(gaussian(0.8), 300, 1), draws(SHIFTED, 20_000, 2)
    lines = lines_of(SHIFTED)
    w1, w2, _ = lines.distances(x, ON_LINES)
    for p, ours in ((1, w1), (2, w2)):
        theirs = ot.sliced_wasserstein_distance(x, y, p=p, projections=lines.directions.T)
        assert ours == pytest.approx(theirs, rel=0.025)  # of 20 000 draws


@pytest.mark.one_rank
@pytest.mark.parametrize(("r", "tolerance"), [(1, 0.05), (2, 0.08)])
def test_energy_distance_is_the_double_sum(r: int, tolerance: float) -> None:
    """2E|X−Y| − E|X−X'| − E|Y−Y'| by pairs; in four dimensions 96 directions stand for all."""
    x = draws(gaussian(0.8), 200 * r, 1).reshape(200, -1)
    y = draws(SHIFTED, 4000 * r, 2).reshape(4000, -1)
    direct = 2 * cdist(x, y).mean() - cdist(x, x).mean() - pdist(y).mean()
    assert lines_of(SHIFTED, r).distances(x, [ENERGY])[0] == pytest.approx(direct, rel=tolerance)


@pytest.mark.one_rank
def test_energy_distance_of_two_gaussians_in_the_plane() -> None:
    """E|N(m, s²)| in the plane is s√(π/2) L_{1/2}(−|m|²/(2s²)); 40 000 points add E|X − X'|/n."""
    from scipy.special import i0e, i1e

    def mean_length(m: float, s: float) -> float:
        a = m**2 / (4 * s**2)
        return s * np.sqrt(np.pi / 2) * ((1 + 2 * a) * i0e(a) + 2 * a * i1e(a))

    n, shift = 40_000, 0.7
    x = draws(gaussian(), n, 3) + np.array([shift, 0.0])
    exact = 2 * (mean_length(shift, np.sqrt(2)) - mean_length(0, np.sqrt(2)))
    energy = lines_of(gaussian()).distances(x, [ENERGY])[0]
    assert energy == pytest.approx(exact, rel=0.03)
    assert lines_of(gaussian()).noise == pytest.approx(mean_length(0, np.sqrt(2)), rel=1e-3)


@pytest.mark.one_rank
def test_displacement_of_a_mixture_that_is_moved() -> None:
    """.3 μ + .7 u moved along w: distribution functions mix, the quantiles of u move by ω·w."""
    from scipy.special import ndtr

    lines, x, shift = lines_of(gaussian()), draws(SHIFTED, 50, 1), np.array([0.4, -0.2])
    found = lines.displacement(x, shift, 0.3)
    assert found.quantiles is not None
    own = lines.displacement(x, np.zeros(2), 1.0).quantiles
    assert own is not None
    for i, omega in enumerate(lines.directions):
        s = lines.nodes + omega @ lines.centre
        points = np.searchsorted(np.sort((x + shift) @ omega), s, side="right") / 50
        exact = 0.3 * points + 0.7 * ndtr(s - omega @ shift) - ndtr(s)
        np.testing.assert_allclose(found.distribution[i], exact, atol=3e-5)
        np.testing.assert_allclose(found.quantiles[i], 0.3 * own[i] + omega @ shift, rtol=0, atol=1e-9)


@pytest.mark.one_rank
def test_draws_from_between() -> None:
    """Of (1 − λ)u + λ(s μ + (1 − s)u, moved): each particle's share is λ s; the same numbers whatever λ is."""
    grid = Grid.covering(np.array([-7.0]), np.array([7.0]), [201])
    source = Draws(grid, gaussian(dimension=1)(grid.axes[0][:, None]), 1)
    points, n = np.array([[50.0], [60.0]]), 40_000

    def at(weight: float) -> np.ndarray:
        random = np.random.default_rng(1)
        out = source.between(n, random, Sample(points), weight, share=0.25, shift=np.array([20.0])).points[:, 0]
        return np.append(out, random.random())

    none, half, whole = at(0.0), at(0.5), at(1.0)
    for value in (70.0, 80.0):
        assert np.mean(half == value) == pytest.approx(0.5 * 0.25 / 2, rel=0.05)
        assert np.mean(whole == value) == pytest.approx(0.25 / 2, rel=0.05)
    assert np.mean(np.abs(half - 20) < 10) == pytest.approx(0.5 * 0.75, rel=0.03)
    assert np.all((half == none) | (half == whole))


@pytest.mark.one_rank
def test_draws_keep_the_variance_of_the_density() -> None:
    """A grid of one point a standard deviation: its multilinear interpolant would be wider by a sixth."""
    grid = Grid.covering(np.array([-7.0]), np.array([7.0]), [21])
    density = np.exp(-0.5 * grid.axes[0] ** 2)
    x = Draws(grid, density, 1).points(200_000, np.random.default_rng(0))
    assert x.var() == pytest.approx(1.0, abs=0.015)
    pairs = Draws(grid, density, 2).points(50_000, np.random.default_rng(0))
    assert pairs.shape == (50_000, 2)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.02


@pytest.mark.one_rank
@pytest.mark.parametrize("dimension", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 4])
def test_entropy_of_a_gaussian_by_neighbours(dimension: int, k: int) -> None:
    x = np.random.default_rng(5).normal(0, 2, (20_000, dimension))
    exact = 0.5 * dimension * np.log(2 * np.pi * np.e * 4)
    terms = entropy_terms(x, k)
    # The bias (k/n)^(2/d) shows in four dimensions.
    assert terms.mean() == pytest.approx(exact, abs=4 * terms.std() / np.sqrt(20_000) + (0.08 if dimension == 4 else 0))


def test_logarithm_of_a_density_between_grid_points() -> None:
    grid = Grid.covering(np.full(2, -5.0), np.full(2, 5.0), [129, 129])
    x = np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1)
    log = LogDensity(grid, SHIFTED(x.reshape(-1, 2)).reshape(129, 129), 2)
    points = draws(SHIFTED, 400, 1).reshape(200, 4)
    exact = np.log(SHIFTED(points[:, :2])) + np.log(SHIFTED(points[:, 2:]))
    np.testing.assert_allclose(log(points), exact, atol=2e-4)


def test_relative_entropy_by_neighbours_is_a_second_opinion() -> None:
    """Particles of N(0.5, 1) against N(0, 1) in the plane: H = 0.25/2, by the kernel and by neighbours."""
    pde = KnownDensity(density=gaussian())
    cloud = KnownCloud(draws(gaussian(), 8000, 3) + np.array([0.5, 0.0]), pde)
    distance = compare(pde, cloud, distances=("relative_entropy", "relative_entropy_knn"), replicas=6)
    low, high = distance.relative_entropy_knn.interval
    assert low < 0.125 < high
    assert distance.debiased.relative_entropy.value == pytest.approx(0.125, abs=0.02)
    assert distance.is_above_floor("relative_entropy_knn")


def test_particles_whose_log_ratio_varies_widen_the_interval(comm) -> None:
    """N(3, 1) against N(0, 1): log(p/u) has the variance 9, which is added to that of draws from u, over n."""
    n, replicas = 2000, 8
    estimate, floor = relative_entropy_of(
        3.0 + np.random.default_rng(2).normal(size=(n, 1)),
        lambda x: -0.5 * (x[:, 0] ** 2 + np.log(2 * np.pi)),
        lambda count, random: random.normal(size=(count, 1)),
        k=4,
        replicas=Replicas(count=replicas, seed=1, comm=comm, threads=1),
    )
    assert estimate.interval[0] < 4.5 < estimate.interval[1]
    deviations = np.array([np.ptp(e.interval) for e in (estimate, floor)]) / (2 * reach_of(replicas))
    more = deviations[0] ** 2 - deviations[1] ** 2 / (1 + 1 / replicas)
    assert n * more == pytest.approx(9.0, rel=0.15)


@pytest.mark.one_rank
def test_exact_transport() -> None:
    """Two point clouds far apart: every plan moves everything by about the shift."""
    pde = KnownDensity(density=gaussian(0.2))
    cloud = KnownCloud(draws(gaussian(0.2), 200, 3) + np.array([3.0, 0.0]), pde)
    exact, sliced = (
        compare(pde, cloud, distances=("w1", "w2"), wasserstein=how, replicas=3) for how in ("exact", "sliced")
    )
    assert exact.wasserstein == "exact"
    assert exact.wasserstein1.value == pytest.approx(3.0, abs=0.06)
    assert exact.wasserstein2.value == pytest.approx(3.0, abs=0.06)
    # On the lines at angle a to the shift: 3 |cos a|; the mean is 6/π, the mean square 9/2.
    assert sliced.wasserstein == "sliced"
    assert sliced.wasserstein1.value == pytest.approx(6 / np.pi, abs=0.04)
    assert sliced.wasserstein2.value == pytest.approx(3 / np.sqrt(2), abs=0.04)
    assert exact.floor.wasserstein1.value > 0
    assert "wasserstein1" not in exact.debiased.by_name
    with pytest.raises(kspde.InputError, match="l1 was not measured: give distances"):
        _ = exact.l1


def test_exact_transport_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    pde = KnownDensity(density=gaussian(0.2))
    many = KnownCloud(draws(gaussian(0.2), 3001, 3), pde)
    with pytest.raises(kspde.InputError, match=r'needs at most 3000 points, there are 3001: .* "sliced"'):
        compare(pde, many, distances=("w1",), wasserstein="exact")
    monkeypatch.setitem(sys.modules, "ot", None)
    few = KnownCloud(draws(gaussian(0.2), 30, 3), pde)
    with pytest.raises(kspde.InputError, match=r"needs POT: pip install .*transport"):
        compare(pde, few, distances=("w1",), wasserstein="exact")


@pytest.mark.parametrize("dimension", [1, 2])
def test_pairs(dimension: int) -> None:
    """Pairs that hold the same particle's twin twice are seen at once; independent ones are not."""
    pde = KnownDensity(density=gaussian(dimension=dimension))
    x = draws(pde.density, 1000, 4)
    names = ("energy", "relative_entropy_knn") if dimension == 2 else None
    free = compare(pde, KnownCloud(x, pde), r=2, distances=names, replicas=5)
    rng = np.random.default_rng(1)
    x[1::2] = 0.95 * x[::2] + np.sqrt(1 - 0.95**2) * rng.standard_normal((500, dimension))
    bound = compare(pde, KnownCloud(x, pde), r=2, distances=names, replicas=5)
    assert free.r == bound.r == 2
    assert not free.above_floor
    assert all(bound.is_above_floor(name) for name in bound.by_name)
    exact = -0.5 * dimension * np.log(1 - 0.95**2)  # the mutual information
    if dimension == 2:
        assert bound.relative_entropy_knn.value == pytest.approx(exact, rel=0.15)
        assert free.bandwidth is None
        with pytest.raises(kspde.InputError, match="no densities were estimated"):
            free.plot("nothing.png")
    else:
        assert bound.density_pde.ndim == 2
        assert bound.l1.value**2 <= 2 * bound.relative_entropy.value
    json.dumps(free.summary())


@pytest.mark.one_rank
def test_clouds_together_have_a_lower_floor() -> None:
    """Eight clouds that all lack the same little: one does not show it, their mean does."""
    pde = KnownDensity(density=gaussian(dimension=1))
    clouds = [KnownCloud(draws(pde.density, 500, 100 + i) + 0.1, pde) for i in range(16)]
    one = compare(pde, clouds[0], distances=("l1", "energy"), bandwidth=0.3)
    all_of_them = compare(pde, clouds, distances=("l1", "energy"), bandwidth=0.3)
    assert all_of_them.clouds == 16
    assert all_of_them.n == 500
    assert all_of_them.floor.l1.value < 0.8 * one.floor.l1.value
    assert all_of_them.is_above_floor("energy")
    low, high = all_of_them.debiased.energy.interval
    # E|N(m, 2)| = 2/√π e^{−m²/4} + m erf(m/2)
    exact = 2 * (2 / np.sqrt(np.pi) * (np.exp(-(0.1**2) / 4) - 1) + 0.1 * erf(0.1 / 2))
    assert low < exact < high


@pytest.mark.one_rank
def test_dependent_clouds_widen_the_interval() -> None:
    """Each cloud moved as a whole at random: particles are dependent, and only the clouds among each other show it."""
    pde = KnownDensity(density=gaussian(dimension=1))
    rng = np.random.default_rng(8)
    still = [KnownCloud(draws(pde.density, 400, i), pde) for i in range(12)]
    moved = [KnownCloud(draws(pde.density, 400, i) + rng.normal(0, 0.4), pde) for i in range(12)]
    both = [
        compare(pde, clouds, distances=("l1", "relative_entropy", "wasserstein1"), bandwidth=0.3)
        for clouds in (still, moved)
    ]
    for name in ("l1", "relative_entropy", "wasserstein1"):
        widths = [np.ptp(distance[name].interval) for distance in both]
        assert widths[1] > 2 * widths[0], name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 3}, "r = 3 is not valid: give an integer >= 1 and <= 2"),
        ({"distances": ()}, r"distances = \(\) is not valid: give a tuple of l1"),
        ({"distances": "l1"}, "distances = 'l1' is not valid"),
        ({"distances": ("l3",)}, "distances = 'l3' is not valid: give one of energy"),
        ({"distances": ("l1",), "r": 2}, "distances contain 'l1', which needs a density estimate on a grid in 4"),
        ({"wasserstein": "entropic"}, "wasserstein = 'entropic' is not valid: give one of exact, sliced"),
        ({"neighbours": 0}, "neighbours = 0 is not valid: give an integer >= 1"),
        (
            {"neighbours": 50, "distances": ("relative_entropy_knn",)},
            "neighbours = 50 is not valid: give fewer than the 50 points",
        ),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    pde = KnownDensity(density=gaussian())
    with pytest.raises(kspde.InputError, match=message):
        compare(pde, KnownCloud(draws(pde.density, 50, 2), pde), **options)


def test_few_particles_have_distances_without_neighbours() -> None:
    pde = KnownDensity(density=gaussian(dimension=1))
    x, grid = np.sort(draws(pde.density, 3, 2), axis=0), np.linspace(-8.0, 8.0, 40_001)
    few = KnownCloud(x, pde)
    distance = compare(pde, few, distances=("energy", "wasserstein1"), replicas=3)
    between = np.abs(np.searchsorted(x[:, 0], grid) / 3 - 0.5 * (1 + erf(grid / np.sqrt(2))))
    assert distance["wasserstein1"].value == pytest.approx(np.trapezoid(between, grid), rel=1e-3)
    with pytest.raises(kspde.InputError, match="neighbours = 4 is not valid: give fewer than the 3 points"):
        compare(pde, few, distances=("relative_entropy_knn",))


def test_bad_sequences_of_clouds() -> None:
    pde = KnownDensity(density=gaussian())
    with pytest.raises(kspde.InputError, match="second is an empty sequence"):
        compare(pde, [])
    clouds = [KnownCloud(draws(pde.density, n, 2), pde) for n in (50, 60)]
    with pytest.raises(kspde.InputError, match="the clouds have 50, 60 particles: give clouds of equally many"):
        compare(pde, clouds)
    with pytest.raises(kspde.InputError, match=r"the cloud has 3 particles: .* at least 4"):
        compare(pde, KnownCloud(draws(pde.density, 3, 2), pde), r=2)


def test_distances_that_grow_like_squares_are_compared_by_their_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"invert": invert, "without_noise": without_noise}
    asked: dict[str, list[bool]] = {name: [] for name in used}
    for name, function in used.items():

        def noted(*given: Any, name: str = name, function: Any = function, squared: bool, **more: float) -> Estimate:
            asked[name].append(squared)
            return function(*given, squared=squared, **more)

        monkeypatch.setattr(f"kspde.distances.measured.{name}", noted)
    pde = KnownDensity(density=gaussian(dimension=1))
    names = ("l1", "l2", "relative_entropy", "reverse_relative_entropy", "w1", "w2", "energy")
    compare(pde, KnownCloud(draws(pde.density, 50, 1), pde), distances=names, replicas=2)
    # L¹, L², and the two entropies; W_1, W_2, and the energy distance
    on_grid = [False, False, True, True]
    assert asked == {"invert": [*on_grid, False, False, True], "without_noise": on_grid}


@pytest.mark.one_rank
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_calibration(shift: float) -> None:
    """Forty repetitions of what tests/benchmarks/calibration.py does with four hundred."""
    density = kspde.GaussianMixture(weights=(0.6, 0.4), means=((-1,), (1.5,)), stds=(0.6, 1))
    pde = KnownDensity(density=density, half_width=8, comm=MPI.COMM_SELF)
    names = ("l1", "l2", "relative_entropy", "reverse_relative_entropy", "wasserstein1", "wasserstein2", "energy")
    same = [
        compare(
            pde,
            KnownCloud(draws(density, 300, r) + shift, pde),
            seed=r,
            resolution=160,
            bandwidth=0.28,
            distances=names,
        )
        for r in range(40)
    ]
    for name in names:
        values = np.array([d[name].value for d in same])
        low, high = np.array([d[name].interval for d in same]).T
        # Fewer than 33 of 40 has probability 0.001 at 95 %.
        assert np.sum((low <= values.mean()) & (values.mean() <= high)) >= 33, name
        if shift:
            # And no wider than it must be.
            most = 0.6 if name == "reverse_relative_entropy" else 0.45  # rare values far above the others
            assert np.mean(high - low) == pytest.approx(2 * 2.09 * values.std(ddof=1), rel=most)
            assert all(d.is_above_floor(name) for d in same if name != "relative_entropy_knn")
        else:
            floor_low, floor_high = np.array([d.floor[name].interval for d in same]).T
            assert np.sum((floor_low <= values) & (values <= floor_high)) >= 33, name
            mean = np.mean([d.floor[name].value for d in same])
            assert mean == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values)))
    axis = np.linspace(-8, 8, 4001)

    def smooth(x: np.ndarray, h: float) -> np.ndarray:
        parts = zip(density.weights, density.means[:, 0], np.hypot(density.stds, h), strict=True)
        return sum(a * np.exp(-(((x - m) / s) ** 2) / 2) / s for a, m, s in parts) / np.sqrt(2 * np.pi)

    exact = np.abs(smooth(axis - shift, 0.28) - smooth(axis, 0.0)).sum() * (axis[1] - axis[0])
    low, high = np.array([d.debiased.l1.interval for d in same]).T
    assert np.sum((low <= exact) & (exact <= high)) >= 33
    for d in same:
        assert d.debiased.l1.value**2 <= 2 * d.debiased.relative_entropy.value + 1e-12
        assert d.floor.l1.value**2 <= 2 * d.floor.reverse_relative_entropy.value
