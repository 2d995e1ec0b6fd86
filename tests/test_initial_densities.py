"""Initial densities: values, exact masses, samples that follow them, and what bad input gets."""

from __future__ import annotations

import re
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
from mpi4py import MPI
from scipy import integrate, stats

import kspde
from kspde.initial import noise, read_grid, read_positions, tent
from kspde.runtime.random import Philox

IDS = np.arange(40_000, dtype=np.uint64)


def cell_counts_agree(density, points, edges):
    """Chi-square of the counts in the cells of a tensor grid against integrals of the density there."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    d = len(edges)
    x = [0.5 * (e[:-1, None] + e[1:, None] + np.diff(e)[:, None] * nodes) for e in edges]
    w = [0.5 * np.diff(e)[:, None] * weights for e in edges]
    grid = np.stack(np.meshgrid(*[a.ravel() for a in x], indexing="ij"), axis=-1)
    values = density(grid.reshape(-1, d)).reshape(grid.shape[:-1])
    for axis in range(d):
        cells, q = w[axis].shape
        values = np.moveaxis(values, axis, -1)
        values = np.einsum("...cq,cq->...c", values.reshape(*values.shape[:-1], cells, q), w[axis])
        values = np.moveaxis(values, -1, axis)
    share = values.ravel() / density.mass
    counts = np.histogramdd(points, bins=edges)[0].ravel()
    share, counts = np.append(share, 1 - share.sum()), np.append(counts, len(points) - counts.sum())
    rare = share * len(points) < 10
    expected = np.append(share[~rare], share[rare].sum()) * len(points)
    observed = np.append(counts[~rare], counts[rare].sum())
    if expected[-1] < 10:
        expected, observed = (
            np.append(expected[:-2], expected[-2:].sum()),
            np.append(observed[:-2], observed[-2:].sum()),
        )
    return stats.chi2.sf(np.sum((observed - expected) ** 2 / expected), len(observed) - 1) > 1e-4


def skewed(x):
    return np.exp(-((x[:, 0] - 0.3) ** 2) * 2) * (1 + np.tanh(3 * x[:, 0])) * np.exp(-(x[:, 1] ** 2) / 0.18)


def test_mixture_has_the_values_of_its_formula(mixture):
    x = np.array([[0.0, 0.0], [1.0, 0.5]])
    expected = sum(
        w * stats.multivariate_normal(m, s**2 * np.eye(2)).pdf(x)
        for w, m, s in zip(mixture.weights, mixture.means, mixture.stds, strict=True)
    )
    np.testing.assert_allclose(mixture(x), expected, rtol=1e-13)


def test_mixture_mass_outside_is_exact(mixture):
    for half_width in (0.5, 2.0, 4.0):
        inside = integrate.dblquad(
            lambda y, x: mixture([[x, y]])[0], -half_width, half_width, -half_width, half_width, epsabs=1e-11
        )[0]
        assert mixture.mass_outside(half_width) == pytest.approx(1 - inside, abs=1e-9)
    one = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[1.0])
    assert one.mass_outside(9.0) == pytest.approx(2 * stats.norm.sf(9.0), rel=1e-10)
    away = kspde.GaussianMixture(weights=[1.0], means=[[50.0, 0.0]], stds=[1.0])
    assert away.mass_outside(1.0) == 1.0


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_mixture_samples_follow_it(dimension):
    means = np.array([[-1.0, 0.4, 0.2], [1.5, -0.3, 0.9]])[:, :dimension]
    density = kspde.GaussianMixture(weights=(0.7, 0.3), means=means, stds=(0.8, 0.3), mass=2.0)
    x = density.sample(Philox(1), IDS)
    assert cell_counts_agree(density, x, [np.linspace(-3, 3, {1: 60, 2: 16, 3: 8}[dimension])] * dimension)
    marginal = sum(
        w * stats.norm(m, s).cdf(x[:, 0]) for w, m, s in zip((0.7, 0.3), means[:, 0], (0.8, 0.3), strict=True)
    )
    assert stats.kstest(marginal, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("shape", [(6,), (4, 5), (3, 4, 2)])
def test_grid_density_is_multilinear_with_exact_masses_and_samples(shape):
    values = np.random.default_rng(1).random(shape)
    values.flat[0] = 0.0
    extent = [-1.0, 2.0, 0.5, 1.5, -0.5, 0.5][: 2 * len(shape)]
    density = kspde.GridDensity(values, extent, mass=3.0)
    axes = [np.linspace(a, b, m) for a, b, m in zip(extent[::2], extent[1::2], shape, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(shape))
    np.testing.assert_allclose(density(grid) / density(grid).max(), values.ravel() / values.max(), rtol=0, atol=1e-12)
    assert density(np.full((1, len(shape)), 5.0)) == 0.0
    # Gauss-Legendre in every cell integrates a multilinear function exactly: total, and what is cut off at 0.9.
    for half_width in (10.0, 0.9):
        total = 0.0
        nodes, weights = np.polynomial.legendre.leggauss(2)
        edges = [np.unique(np.clip(np.append(a, [-half_width, half_width]), -half_width, half_width)) for a in axes]
        edges = [e[(e >= a[0]) & (e <= a[-1])] for e, a in zip(edges, axes, strict=True)]
        x = [(0.5 * (e[:-1, None] + e[1:, None] + np.diff(e)[:, None] * nodes)).ravel() for e in edges]
        w = [(0.5 * np.diff(e)[:, None] * weights).ravel() for e in edges]
        points = np.stack(np.meshgrid(*x, indexing="ij"), axis=-1).reshape(-1, len(shape))
        weight = np.prod(np.stack(np.meshgrid(*w, indexing="ij"), axis=-1).reshape(-1, len(shape)), axis=1)
        total = float(density(points) @ weight)
        assert density.mass_outside(half_width) == pytest.approx(1 - total / 3.0, abs=1e-12)
    x = density.sample(Philox(2), IDS)
    edges = [
        np.linspace(a[0], a[-1], 1 + {1: 30, 2: 12, 3: 4}[len(shape)] // (m - 1) * (m - 1))
        for a, m in zip(axes, shape, strict=True)
    ]
    edges = [e if len(e) > 1 else a for e, a in zip(edges, axes, strict=True)]
    assert cell_counts_agree(density, x, edges)


def test_grid_density_of_an_image_has_its_first_row_on_top():
    image = np.zeros((3, 5))
    image[0, 4] = 1.0  # top right
    density = kspde.GridDensity(image, (0.0, 4.0, 0.0, 2.0), orientation="image")
    assert density([[4.0, 2.0]]) > 0
    assert density([[4.0, 0.0]]) == 0
    assert density([[0.0, 2.0]]) == 0


@pytest.mark.parametrize("orientation", ["xy", "image"])
@pytest.mark.parametrize("wrong", [np.nan, -2.0])
def test_a_wrong_value_is_named_by_the_users_own_index(orientation, wrong):
    values = np.ones((4, 6))
    values[1, 4] = wrong
    with pytest.raises(kspde.InputError, match=rf"values contain {wrong:g} at index \(1, 4\)"):
        kspde.GridDensity(values, (0.0, 5.0, 0.0, 3.0), orientation=orientation)


def test_masked_values_that_hide_nothing_are_values():
    plain = kspde.GridDensity(np.eye(3), (0.0, 1.0, 0.0, 1.0))
    masked = kspde.GridDensity(np.ma.array(np.eye(3)), (0.0, 1.0, 0.0, 1.0))
    np.testing.assert_array_equal(masked.values, plain.values)


def test_pixels_that_the_extent_stretches_are_warned_of(comm):
    image, square, long = np.ones((4, 6)), (-1.0, 4.0, 2.0, 5.0), (-1.0, 5.55, 2.0, 4.31)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kspde.GridDensity(image, square, orientation="image")
        kspde.GridDensity(image, long)  # a grid of points need not be square
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kspde.GridDensity(image, long, orientation="image")
    assert [str(w.message)[:48] for w in caught] == ["the extent makes pixels 1.31 wide and 0.77 high:"] * (
        not comm.rank
    )


def test_a_grid_density_is_never_negative():
    """Also at its last points, where rounding leads beyond the last cell."""
    random = np.random.default_rng(1)
    for _ in range(300):
        n = int(random.integers(2, 40))
        values = random.random((n, 3)) * (random.random((n, 3)) < 0.4)
        values[0, 0] = 1.0
        low = float(random.uniform(-3.0, 3.0))
        high = low + float(random.uniform(0.1, 9.0))
        density = kspde.GridDensity(values, (low, high, -1.0, 1.0))
        x, y = np.meshgrid(np.linspace(low, high, 2 * n - 1), np.linspace(-1.0, 1.0, 5))
        assert density(np.stack([x.ravel(), y.ravel()], axis=1)).min() >= 0


def test_a_function_must_vanish_on_every_side():
    """f = 1 at x = −R alone: it vanishes on the other three sides."""
    with pytest.raises(kspde.InputError, match=r"function is .* on the edge of \[-2, 2\]\^2"):
        kspde.CallableDensity(lambda x: np.exp(-4 * (x[:, 0] + 2) ** 2 - 40 * x[:, 1] ** 2), half_width=2.0)


def test_a_function_that_is_scaled_is_said_to_be():
    """f = exp(−|x|²), of the integral π, or 1 % less than 1."""

    def f(factor):
        return lambda x: factor / np.pi * np.exp(-np.sum(x**2, axis=1))

    expected = pytest.warns(kspde.KspdeWarning, match=r"function integrates to 3\.14159 and is scaled to mass 1: give ")
    with expected if MPI.COMM_WORLD.rank == 0 else nullcontext():
        assert kspde.CallableDensity(f(np.pi), half_width=7.0)([[0.0, 0.0]]) == pytest.approx(1 / np.pi)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kspde.CallableDensity(f(np.pi), half_width=7.0, mass=1.0)
        kspde.CallableDensity(f(0.991), half_width=7.0)


@pytest.mark.parametrize(("d", "power", "whole"), [(1, 3.0, 2.0), (2, 4.0, np.pi), (3, 5.0, 4 * np.pi / 3)])
def test_an_algebraic_tail_is_cut_off_and_estimated(d, power, whole):
    """f = (1 + |x|²)^(−p/2), whose integral is known."""

    def f(x):
        return (1 + np.sum(x**2, axis=1)) ** (-0.5 * power)

    small = kspde.CallableDensity(f, half_width=8.0, dimension=d, tail=0.5, resolution={1: 4096, 2: 512, 3: 64}[d])
    assert small.lost == pytest.approx(whole * float(small([[0.0] * d])[0]) - 1, rel=0.06)
    assert small([[8.1] * d])[0] == 0 < small([[8.0] * d])[0]
    assert np.abs(small.sample(Philox(1), IDS[:2000])).max() <= 8.0
    with pytest.raises(kspde.InputError, match=r"tail = .* to cut it off"):
        kspde.CallableDensity(f, half_width=8.0, dimension=d, resolution=32)


@pytest.mark.parametrize(("d", "power"), [(1, 1.5), (2, 3.0), (3, 4.0)])
def test_an_algebraic_density(d, power):
    """Its mass, the share outside boxes and its draws, against integrals of (1 + |x|²/s²)^(−k)."""
    density = kspde.AlgebraicDensity(power=power, scale=0.7, dimension=d, mass=2.0)
    x = np.random.default_rng(1).normal(size=(5, d))
    shape = (1 + np.sum(x**2, axis=1) / 0.49) ** -power
    surface = {1: 2.0, 2: 2 * np.pi, 3: 4 * np.pi}[d]

    def beyond(r):
        return integrate.quad(lambda s: surface * s ** (d - 1) * (1 + s**2 / 0.49) ** -power, r, np.inf)[0]

    np.testing.assert_allclose(density(x), 2.0 * shape / beyond(0.0), rtol=1e-9)
    radii = np.linalg.norm(density.sample(Philox(3), IDS), axis=1)
    assert abs(np.mean(radii > 1.5) - beyond(1.5) / beyond(0.0)) < 4 * np.sqrt(0.25 / len(IDS))
    if d == 1:
        assert density.mass_outside(30.0) == pytest.approx(beyond(30.0) / beyond(0.0), rel=1e-6)
    elif d == 2:
        inside = integrate.dblquad(lambda x, y: density([[x, y]])[0], -1, 1, -1, 1, epsabs=1e-8)[0]
        assert density.mass_outside(1.0) == pytest.approx(1 - inside / 2, rel=1e-6)
    with pytest.raises(kspde.InputError, match=r"power = .* is not valid: give more than"):
        kspde.AlgebraicDensity(power=0.5 * d, dimension=d)


def test_a_tail_that_is_not_integrable_is_lost():
    assert (
        kspde.CallableDensity(lambda x: 1 / (1 + np.abs(x[:, 0])), half_width=9.0, dimension=1, tail=0.5).lost == np.inf
    )


def test_a_tent_is_a_constant_with_waves_of_all_lengths():
    density = tent(mean=1.5, amplitude=0.2, half_width=2.0)
    x = np.linspace(-2, 2, 4001)
    values = density(x[:, None])
    np.testing.assert_allclose(values, 1.5 * (1 + 0.2 * (1 - np.abs(x))), rtol=1e-12)
    for j in (1, 2, 5):
        coefficient = np.trapezoid(values * np.cos(j * np.pi * x / 2), x) / 2
        assert coefficient == pytest.approx(8 * 0.2 * 1.5 / (np.pi * j) ** 2 * (j % 2), abs=1e-6)
    with pytest.raises(kspde.InputError, match=r"amplitude = 1\.5 is not valid"):
        tent(mean=1.0, amplitude=1.5, half_width=1.0)


def test_grid_density_bandwidth_is_a_length():
    values = np.zeros((201, 101))
    values[100, 50] = 1.0
    density = kspde.GridDensity(values, (-5.0, 5.0, -5.0, 5.0), bandwidth=0.6)
    x = density.sample(Philox(3), IDS)
    np.testing.assert_allclose(x.std(axis=0), 0.6, rtol=0.03)


def test_nothing_is_smoothed_into_a_grid_density_from_outside():
    values = np.zeros(201)
    values[0] = 1.0
    density = kspde.GridDensity(values, (0.0, 10.0), bandwidth=0.5)
    x = np.array([[0.0], [0.5], [1.0]])
    np.testing.assert_allclose(density(x) / density(x[:1]), np.exp(-2 * x[:, 0] ** 2), rtol=0.01)


@pytest.mark.slow
def test_callable_density_has_its_mass_and_samples_follow_the_function_itself():
    density = kspde.CallableDensity(skewed, half_width=4.0, mass=2.0)
    total = integrate.dblquad(lambda y, x: density([[x, y]])[0], -4, 4, -3, 3, epsabs=1e-10)[0]
    assert total == pytest.approx(2.0, abs=1e-8)
    x = density.sample(Philox(4), IDS)
    assert cell_counts_agree(density, x, [np.linspace(-1.5, 2, 20), np.linspace(-1, 1, 15)])
    # A coarse envelope costs rejections, not accuracy.
    coarse = kspde.CallableDensity(skewed, half_width=4.0, mass=2.0, resolution=64)
    assert cell_counts_agree(density, coarse.sample(Philox(5), IDS), [np.linspace(-1.5, 2, 20), np.linspace(-1, 1, 15)])
    assert density.mass_outside(4.0) == 0.0
    outside = 1 - integrate.dblquad(lambda y, x: density([[x, y]])[0], -0.5, 0.5, -0.5, 0.5, epsabs=1e-10)[0] / 2
    assert density.mass_outside(0.5) == pytest.approx(outside, abs=0.02)


@pytest.mark.parametrize(("dimension", "half_width"), [(1, 9.0), (3, 6.0)])
def test_callable_density_in_other_dimensions(dimension, half_width):
    density = kspde.CallableDensity(
        lambda x: np.exp(-0.5 * (x**2).sum(axis=1)), half_width=half_width, dimension=dimension, resolution=64
    )
    peak = (2 * np.pi) ** (-dimension / 2)
    assert density(np.zeros((1, dimension)))[0] == pytest.approx(peak, rel=1e-5)
    assert stats.kstest(density.sample(Philox(6), IDS)[:, -1], "norm").pvalue > 1e-4


def test_observed_positions_are_smoothed_with_the_stated_bandwidth():
    points = np.array([[0.0, 1.0], [2.0, -1.0], [2.5, 0.0], [-1.0, 0.5]])
    density = kspde.observed_positions(points, bandwidth=0.4, mass=5.0)
    x = np.array([[0.1, 0.2]])
    r2 = ((x - points) ** 2).sum(axis=1)
    assert density(x)[0] == pytest.approx(5.0 * np.mean(np.exp(-r2 / 0.32) / (2 * np.pi * 0.16)), rel=1e-12)
    assert cell_counts_agree(density, density.sample(Philox(7), IDS), [np.linspace(-2, 4, 20), np.linspace(-2, 2, 15)])


@pytest.mark.parametrize(
    "density",
    [
        kspde.GaussianMixture(weights=(0.5, 0.5), means=((0.0, 1.0), (2.0, 0.0)), stds=(0.5, 0.3)),
        kspde.GridDensity(np.arange(12.0).reshape(3, 4), (0.0, 1.0, 0.0, 1.0)),
        kspde.GridDensity(np.arange(12.0), (0.0, 1.0)),
        kspde.GridDensity(np.arange(24.0).reshape(2, 3, 4), (0.0, 1.0) * 3),
        kspde.CallableDensity(skewed, half_width=4.0, resolution=64),
        kspde.AlgebraicDensity(power=3.0),
    ],
    ids=["mixture", "grid", "grid 1D", "grid 3D", "callable", "algebraic"],
)
def test_samples_depend_on_the_ids_alone(density):
    random = Philox(8)
    ids = IDS[:1000]
    whole = density.sample(random, ids)
    assert np.array_equal(whole[600:], density.sample(random, ids[600:]))
    assert density.sample(random, ids[:0]).shape == (0, density.dimension)
    assert not np.array_equal(whole, density.sample(Philox(9), ids))


def test_positions_are_read_from_a_table(shared_tmp_path, comm):
    path = shared_tmp_path / f"cells-{comm.rank}.csv"
    path.write_text("\ufeffid, x ,y\n# a comment\n1,0.5,2\n2,1e-1,-3\n", encoding="utf-8")
    assert read_positions(path, ("x", "y")).tolist() == [[0.5, 2.0], [0.1, -3.0]]
    density = kspde.observed_positions(path, bandwidth=0.1)
    assert density.means.tolist() == [[0.5, 2.0], [0.1, -3.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "has no column 'x': its first row must name x, y, separated by commas (it reads 'a, b')"),
        ("", "has no column 'x'"),
        ("x,y\n", "has no positions: give one row of numbers per cell"),
        ("x,y\n1,2\n3,far\n", "data row 2: y = 'far' is not a finite number"),
        ("x,y\n1\n", "data row 1: y is missing"),
        ("x,y\n1,5,2,5\n", "data row 1 has more entries than the first row names: x, y"),
        ("x,y,x\n1,2,3\n", "has 2 columns 'x': give each its own name"),
        ("x,y\nnan,1\n", "data row 1: x = 'nan' is not a finite number"),
    ],
)
def test_bad_tables_of_positions(shared_tmp_path, comm, text, message):
    path = shared_tmp_path / f"cells-{comm.rank}.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(kspde.InputError, match=re.escape(message)):
        kspde.observed_positions(path, bandwidth=0.1)


@pytest.mark.parametrize("columns", [(), ("x", "x")])
def test_columns_of_a_table_are_named_once(columns):
    with pytest.raises(kspde.InputError, match="give the name of a column for each coordinate"):
        kspde.observed_positions("cells.csv", bandwidth=0.1, columns=columns)


def test_a_missing_table_is_named():
    with pytest.raises(kspde.InputError, match=r"cannot read positions from /nowhere/cells.csv: No such file"):
        kspde.observed_positions("/nowhere/cells.csv", bandwidth=0.1)


def test_grids_are_read_without_unpickling(shared_tmp_path, comm):
    path = shared_tmp_path / f"grid-{comm.rank}.npz"
    np.savez_compressed(path, values=np.ones((3, 4)), extent=[0.0, 1.0, 0.0, 2.0])
    values, extent = read_grid(path)
    assert values.shape == (3, 4)
    assert extent == [0.0, 1.0, 0.0, 2.0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(kspde.InputError, match=r"is not a \.npy or \.npz file of numbers"):
        read_grid(path)
    np.save(path.with_suffix(".npy"), np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(kspde.InputError, match=r"is not a \.npy or \.npz file of numbers"):
        read_grid(path.with_suffix(".npy"))
    np.savez(path, heights=np.ones(3))
    with pytest.raises(kspde.InputError, match=r"has arrays heights: it must have one called values"):
        read_grid(path)


MIXTURE = {"weights": (0.5, 0.5), "means": ((0.0, 0.0), (1.0, 1.0)), "stds": (1.0, 1.0)}
GRID = {"values": np.ones((3, 4)), "extent": (0.0, 1.0, 0.0, 1.0)}
FUNCTION = {"function": skewed, "half_width": 4.0}


@pytest.mark.parametrize(
    ("kind", "good", "bad", "message"),
    [
        (kspde.GaussianMixture, MIXTURE, {"weights": (0.5, 0.4)}, "weights sum to 0.9: give positive numbers"),
        (kspde.GaussianMixture, MIXTURE, {"weights": (1.5, -0.5)}, "weights contain -0.5"),
        (kspde.GaussianMixture, MIXTURE, {"weights": (0.5, float("nan"))}, r"weights has nan at index (1,)"),
        (kspde.GaussianMixture, MIXTURE, {"weights": "half"}, "weights is not an array of numbers"),
        (kspde.GaussianMixture, MIXTURE, {"means": ((0.0, 0.0),)}, "means has shape (1, 2)"),
        (kspde.GaussianMixture, MIXTURE, {"means": np.zeros((2, 4))}, "means have dimension 4"),
        (kspde.GaussianMixture, MIXTURE, {"stds": (1.0, 0.0)}, "stds contain 0: give positive lengths"),
        (kspde.GaussianMixture, MIXTURE, {"mass": -1.0}, "mass = -1.0 is not valid"),
        (kspde.GridDensity, GRID, {"values": np.ones((3, 1))}, "values have shape (3, 1)"),
        (
            kspde.GridDensity,
            GRID,
            {"values": -np.ones((3, 4))},
            "values contain -1 at index (0, 0): give finite numb",
        ),
        (kspde.GridDensity, GRID, {"values": np.full((3, 4), np.inf)}, "values contain inf at index (0, 0)"),
        (
            kspde.GridDensity,
            GRID,
            {"values": np.ma.masked_less(np.eye(3, 4), 0.5)},
            "values have 9 masked entries, th",
        ),
        (kspde.GridDensity, GRID, {"values": np.ones((3, 4, 3))}, "values have shape (3, 4, 3), 3 colour channels per"),
        (kspde.GridDensity, GRID, {"values": np.zeros((3, 4))}, "values have no mass"),
        (kspde.GridDensity, GRID, {"extent": (0.0, 1.0)}, "extent has shape (2,)"),
        (kspde.GridDensity, GRID, {"extent": (0.0, 1.0, 2.0, 2.0)}, "is empty: give xmin < xmax, ymin < ymax"),
        (kspde.GridDensity, GRID, {"extent": (0.0, 1e-200, 0.0, 1e-200)}, "and mass = 1 give densities of inf: choose"),
        (
            kspde.GridDensity,
            GRID,
            {"extent": (0.0, 1e200, 0.0, 1e200)},
            "and mass = 1 give densities of 0: choose units",
        ),
        (kspde.GridDensity, GRID, {"orientation": "up"}, "orientation = 'up' is not valid"),
        (kspde.GridDensity, GRID, {"bandwidth": -1.0}, "bandwidth = -1.0 is not valid"),
        (kspde.GridDensity, GRID, {"bandwidth": 1e20}, "bandwidth = 1e+20 is not valid: give a length within the ext"),
        (kspde.GridDensity, GRID, {"values": np.full((3, 4), 1 + 1j)}, "values are not an array of real numbers"),
        (kspde.GridDensity, GRID, {"extent": (0.0, 1j, 0.0, 1.0)}, "extent is not an array of numbers"),
        (
            kspde.GridDensity,
            GRID,
            {"values": np.ones(3), "extent": (0.0, 1.0), "orientation": "image"},
            'orientation = "image" needs 2 dimensions, values have 1',
        ),
        (kspde.CallableDensity, FUNCTION, {"function": 3}, "function is a int: give a callable"),
        (kspde.CallableDensity, FUNCTION, {"function": lambda x: x}, "function returned shape"),
        (kspde.CallableDensity, FUNCTION, {"function": lambda x: -skewed(x)}, "give finite values >= 0"),
        (kspde.CallableDensity, FUNCTION, {"function": lambda x: 0 * skewed(x)}, "function has no mass"),
        (kspde.CallableDensity, FUNCTION, {"half_width": 0.5}, "give a half_width outside which it vanishes"),
        (kspde.CallableDensity, FUNCTION, {"resolution": 0}, "resolution = 0 is not valid"),
        (kspde.CallableDensity, FUNCTION, {"dimension": 4}, "dimension = 4 is not valid"),
    ],
)
def test_bad_input(kind, good, bad, message):
    kind(**good)
    with pytest.raises(kspde.InputError, match=re.escape(message)):
        kind(**{**good, **bad})


def test_points_of_a_wrong_shape_are_refused(mixture):
    with pytest.raises(kspde.InputError, match=re.escape("points have shape (3,): give shape (n, 2)")):
        mixture([0.0, 1.0, 2.0])


def test_a_function_too_narrow_for_the_envelope_is_refused():
    def narrow(x):
        return np.exp(-((x[:, 0] / 3) ** 2)) + 200 * np.exp(-(((x[:, 0] - 0.51) / 0.02) ** 2))

    density = kspde.CallableDensity(narrow, half_width=16.0, dimension=1, resolution=32)
    with pytest.raises(kspde.InputError, match="give a larger resolution than 32"):
        density.sample(Philox(1), IDS)


def test_a_tail_above_the_maximum_makes_no_sense():
    with pytest.raises(kspde.InputError, match="tail = 2 is not valid: give at most 1"):
        kspde.CallableDensity(lambda x: np.ones(len(x)), half_width=6.0, tail=2)


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_noise_has_the_stated_spectrum(boundary):
    """Sums over a grid that are exact for its modes: mean, deviation, and nothing beyond the shortest wave."""
    half, centre = np.array([1.5, 1.0]), np.array([1.5, 4.0])
    options = {"mean": 2.0, "amplitude": 0.1, "half_width": tuple(half), "centre": tuple(centre), "boundary": boundary}
    density = kspde.nearly_constant(shortest=0.5, seed=3, **options)
    n = 64
    axes = [c + h * (2 * (np.arange(n) + 0.5) / n - 1) for c, h in zip(centre, half, strict=True)]
    u = density(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)).reshape(n, n)
    assert u.mean() == pytest.approx(2.0, rel=1e-12)
    assert u.std() == pytest.approx(0.2, rel=1e-12)
    assert density.mass == pytest.approx(12.0)
    modes = np.abs(scipy.fft.dctn(u) if boundary == "neumann" else np.fft.fft2(u)) ** 2
    index = np.arange(n) * np.pi if boundary == "neumann" else 2 * np.pi * np.abs(np.fft.fftfreq(n, 1 / n))
    waves = np.hypot(*np.meshgrid(*(index / (2 * h) for h in half), indexing="ij"))
    inside = (waves > 0) & (waves <= 4 * np.pi)
    outside = (waves > 0) & ~inside
    assert modes[outside].max() < 1e-20 * modes[inside].sum()
    low, high = (modes[(waves > 0) & (waves <= r * np.pi)].sum() for r in (2.8, 4.0))
    assert low / high == pytest.approx(0.5, abs=0.12)  # half of the modes
    again = kspde.nearly_constant(shortest=0.9, seed=3, **options)
    other = kspde.nearly_constant(shortest=0.9, seed=4, **options)
    assert again != other
    with pytest.raises(kspde.InputError, match="amplitude makes the density -"):
        kspde.nearly_constant(shortest=0.9, **options | {"amplitude": 0.9})


def test_noise_in_a_long_box_is_computed_in_parts(monkeypatch):
    """However many modes one direction has: all points at once took fifty gigabytes."""
    sizes = []
    basis = noise._basis

    def recorded(s, n, periodic):
        sizes.append(len(s) * n)
        return basis(s, n, periodic)

    monkeypatch.setattr(noise, "_AT_ONCE", 10_000)
    monkeypatch.setattr(noise, "_basis", recorded)
    kspde.nearly_constant(mean=1.0, amplitude=0.1, shortest=0.5, half_width=(5.0, 0.01))
    assert max(sizes) <= 10_000


def test_peaks_that_a_disk_s_quadrature_misses_are_refused():
    """Two quadratures that both miss a peak agree with each other: half of the mass would be counted twice."""
    u0 = kspde.GaussianMixture(weights=[0.5, 0.5], means=[[0.7, 0.31], [0.0, 0.0]], stds=[1e-3, 0.3])
    with pytest.raises(kspde.InputError, match=r"share in the disk is 0.5 by quadrature, 1 of 16384 points drawn"):
        kspde.CutDensity(u0, kspde.Disk(radius=2.0, size=0.2))


@pytest.mark.parametrize("keep", ["mass", "values"])
def test_a_density_that_is_cut_off(keep):
    """A Gaussian about the corner of a box, whose share inside is known, and about the centre of a disk."""
    std, mass = 0.5, 3.0
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[1.0, 2.0]], stds=[std], mass=mass)
    box = kspde.Box(half_width=(1.0, 2.0), centre=(2.0, 4.0), cells=2)
    disk = kspde.Disk(radius=0.6, size=0.2, centre=(1.0, 2.0))
    quarter = (stats.norm.cdf(4.0) - 0.5) * (stats.norm.cdf(8.0) - 0.5)
    for domain, share in ((box, quarter), (disk, 1 - np.exp(-0.5 * (0.6 / std) ** 2))):
        cut = kspde.CutDensity(u0, domain, keep=keep)
        assert cut.mass == pytest.approx(mass if keep == "mass" else mass * share, rel=1e-9)
        assert cut.lost == pytest.approx(1 - share, rel=1e-9)
        inside, outside = [[1.1, 2.2]], [[0.2, 1.0]]
        assert cut(inside) == pytest.approx(u0(inside) / (share if keep == "mass" else 1.0))
        assert cut(outside) == [0.0]
        assert cut.mass_beyond(domain.bounds) == 0.0
        points = cut.sample(Philox(1), np.arange(2000, dtype=np.uint64))
        assert domain.holds(points).all()
        few = cut.sample(Philox(1), np.array([7, 1999], dtype=np.uint64))
        np.testing.assert_array_equal(few, points[[7, 1999]])
        assert cut == kspde.CutDensity(u0, domain, keep=keep) != u0
    r = np.sort(np.linalg.norm(points - [1.0, 2.0], axis=1))
    law = (1 - np.exp(-0.5 * (r / std) ** 2)) / share
    assert np.abs(law - np.arange(1, 2001) / 2000).max() < 1.63 / np.sqrt(2000)
    half = np.array([[1.0, 2.0], [2.0, 6.0]])
    exact = (stats.norm.cdf(2.0) - 0.5) / (stats.norm.cdf(4.0) - 0.5)
    assert kspde.CutDensity(u0, box).mass_beyond(half) == pytest.approx(1 - exact, rel=1e-9)


def test_images_and_tables_are_read(tmp_path):
    """Grey values as the file has them, the top row where y is largest; colours need a channel."""
    from PIL import Image

    values = (np.arange(12).reshape(3, 4) * 5000).astype(np.uint16)
    extent = (0.0, 3.0, 0.0, 2.0)
    expected = kspde.GridDensity(values, extent, orientation="image")
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        found, none = read_grid(tmp_path / name)
        np.testing.assert_array_equal(found, values)
        assert none is None
    assert kspde.GridDensity(found, scale=1.0, orientation="image") == expected
    assert expected([[3.0, 0.0]]) > 3 * expected([[3.0, 2.0]]) > expected([[0.0, 2.0]])
    moved = kspde.GridDensity(found, scale=0.5, origin=(1.0, 2.0), orientation="image", mass=2.0)
    assert moved([[2.2, 2.3]]) == pytest.approx(8 * expected([[2.4, 0.6]]))
    colours = np.stack([values // 300, 0 * values + 7, 0 * values], axis=-1).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "c.png")
    with pytest.raises(kspde.InputError, match=r"c.png: the image is in colour \(RGB\): give channel"):
        read_grid(tmp_path / "c.png")
    np.testing.assert_array_equal(read_grid(tmp_path / "c.png", channel="red")[0], colours[..., 0])
    grey = read_grid(tmp_path / "c.png", channel="luminance")[0]
    np.testing.assert_allclose(grey, 0.299 * colours[..., 0] + 0.587 * 7)
    pages = [Image.fromarray(values + k) for k in range(2)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(kspde.InputError, match="the image has 2 pages: give page, one of 0 to 1"):
        read_grid(tmp_path / "p.tif")
    np.testing.assert_array_equal(read_grid(tmp_path / "p.tif", page=1)[0], values + 1)
    for name in ("a.png", "a.tif"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(kspde.InputError, match="or is damaged"):
            read_grid(tmp_path / name)
    (tmp_path / "t.csv").write_text("of the microscope\n1; 2; 3\n4; 5; 6  # a comment\n")
    found, _ = read_grid(tmp_path / "t.csv", delimiter=";", skip_rows=1)
    assert found.tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(kspde.InputError, match="not a table of numbers with the delimiter ','"):
        read_grid(tmp_path / "t.csv", skip_rows=1)


def test_values_are_filtered_in_the_stated_order():
    """A lone bright pixel goes by the median; then the background, and what is below the threshold."""
    values = np.full((9, 9), 10.0)
    values[3:6, 3:6] = [[30, 30, 30], [30, 50, 30], [30, 30, 12]]
    values[1, 7] = 1000.0
    filtered = kspde.GridDensity(values, scale=1.0, median=3, background=5.0, threshold=0.5).values
    expected = np.where(scipy.ndimage.median_filter(values, 3) == 30, 25.0, 0.0)
    np.testing.assert_allclose(filtered / filtered.max(), expected / 25)
    assert expected.sum() == 5 * 25


def test_positions_from_other_tables(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("exported\n\n1;10; 20\n2;30; 40\n")
    found = kspde.observed_positions(
        path, bandwidth=0.1, columns=(1, 2), delimiter=";", skip_rows=1, scale=0.5, image_rows=100
    )
    np.testing.assert_allclose(found.means, [[5.0, 39.5], [15.0, 29.5]])
    image = kspde.GridDensity(np.eye(100), scale=0.5, orientation="image")  # y falls along the diagonal
    assert image([[10.0, 39.5]]) > 0
    assert read_positions(path, (0,), delimiter=";", skip_rows=1).tolist() == [[1.0], [2.0]]
    with pytest.raises(kspde.InputError, match="data row 1: column 3 is missing"):
        read_positions(path, (3,), delimiter=";", skip_rows=1)
    with pytest.raises(kspde.InputError, match="delimiter = ';;' is not valid"):
        read_positions(path, (1,), delimiter=";;")


@pytest.mark.one_rank
@pytest.mark.parametrize("power", [1.001, 1.1, 2.0])
def test_a_power_s_mass_outside_a_square_lies_between_those_outside_two_disks(power) -> None:
    """That outside of a disk is (1 + r²)^(1 − k)."""
    u0 = kspde.AlgebraicDensity(power=power)
    for half in (1.0, 1e3, 1e8):
        least, most = ((1 + r * r) ** (1 - power) for r in (2**0.5 * half, half))
        assert least <= u0.mass_outside(half) <= most
