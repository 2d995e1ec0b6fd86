"""Fields at the particles, by mesh and by direct sum, against closed forms and quadratures written here."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpi4py import MPI
from reference_kernels import sums

import kspde
from kspde.kernels import resolve_mollifier
from kspde.particles.fields.base import Extent
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.nufft import NonuniformFFT
from kspde.particles.fields.particle_mesh import ParticleMesh


def field(mollifier, eps, *, gradient=False, chi=8.0, mu=1.0):
    kernel = kspde.Yukawa(strength=chi, screening=mu) * resolve_mollifier(eps, mollifier)
    return (kspde.Field(name="v", kernel=kernel, gradient=gradient),)


def cloud(dimension, n=60, seed=0):
    """A clump, a scatter, particles that coincide, and one far out."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, dimension)) * 1.2
    x[: n // 3] = 0.05 * x[: n // 3] + 0.7
    x[n // 3 : n // 3 + 4] = x[n // 3]
    x[-1] = 6.0
    return x


def evaluate(kind, fields, x, comm, *, tol, include_self=True, **options):
    """Evaluate with each rank holding its share; return value and gradient at all particles, on every rank."""
    n, d = x.shape
    evaluator = kind(
        fields, dimension=d, weights={"u": 1 / n}, tol=tol, include_self=include_self, comm=comm, **options
    )
    return at_all(evaluator, x, comm)


def at_all(evaluator, x, comm):
    n = len(x)
    mine = np.ascontiguousarray(x[n * comm.rank // comm.size : n * (comm.rank + 1) // comm.size])
    evaluator.update({"u": mine}, Extent(x.min(axis=0), x.max(axis=0)))
    c = evaluator.at("u", mine)
    field = evaluator.fields[0]
    value = np.concatenate(comm.allgather(c["v"])) if "v" in c.values else None
    gradient = np.concatenate(comm.allgather(c.gradient("v"))) if field.gradient else None
    return value, gradient


def suprema(d, mollifier, eps, x, **parameters):
    """Largest value and gradient of the field, over the particles and points around them."""
    random = np.random.default_rng(5)
    around = [x + radius * eps * unit(random.normal(size=x.shape)) for radius in (0.5, 1.0, 1.5, 2.5)]
    value, gradient = sums(d, mollifier, eps, np.concatenate([x, *around]), x, 1 / len(x), **parameters)
    return np.abs(value).max(), np.linalg.norm(gradient, axis=1).max()


def unit(v):
    return v / np.linalg.norm(v, axis=1)[:, None]


VALUE_CASES = [
    (d, mollifier, eps, tol)
    for d, mollifier, all_eps, tols in [
        (1, "gaussian", (0.1, 0.3, 1.0), (1e-3, 1e-6, 1e-9)),
        (1, "matern", (0.1, 0.3, 1.0), (1e-3, 1e-6, 1e-9)),
        (2, "gaussian", (0.1, 0.3, 1.0), (1e-3, 1e-6)),
        (2, "gaussian", (0.3,), (1e-9,)),
        (2, "matern", (0.3, 1.0), (1e-3, 1e-5)),
        (3, "gaussian", (0.3,), (1e-3,)),
        (3, "gaussian", (1.0,), (1e-3, 1e-5)),
        (3, "matern", (1.2,), (2e-3,)),
    ]
    for eps in all_eps
    for tol in tols
]
GRADIENT_CASES = [
    (d, mollifier, eps, tol)
    for d, mollifier, all_eps, tols in [
        (1, "gaussian", (0.1, 1.0), (1e-3, 1e-6, 1e-9)),
        (1, "matern", (0.1, 1.0), (1e-3, 1e-6)),
        (2, "gaussian", (0.1, 1.0), (1e-3, 1e-5)),
        (2, "gaussian", (0.5,), (1e-7,)),
        (2, "matern", (0.5, 1.0), (1e-2, 1e-3)),
        (3, "gaussian", (0.5,), (1e-3,)),
        (3, "gaussian", (1.0,), (1e-6,)),
    ]
    for eps in all_eps
    for tol in tols
]


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "mollifier", "eps", "tol"), VALUE_CASES)
def test_mesh_keeps_the_tolerance(d, mollifier, eps, tol, comm):
    x = cloud(d)
    exact, _ = sums(d, mollifier, eps, x, x, 1 / len(x))
    value, _ = evaluate(ParticleMesh, field(mollifier, eps), x, comm, tol=tol)
    assert np.abs(value - exact).max() <= tol * suprema(d, mollifier, eps, x)[0]


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "mollifier", "eps", "tol"), GRADIENT_CASES)
def test_mesh_keeps_the_tolerance_for_gradients(d, mollifier, eps, tol, comm):
    x = cloud(d)
    exact, exact_gradient = sums(d, mollifier, eps, x, x, 1 / len(x))
    value, gradient = evaluate(ParticleMesh, field(mollifier, eps, gradient=True), x, comm, tol=tol)
    largest, steepest = suprema(d, mollifier, eps, x)
    assert np.abs(value - exact).max() <= tol * largest
    assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= tol * steepest


@pytest.mark.parametrize("n", [1, 2, 3, 10])
@pytest.mark.parametrize("coincident", [False, True])
def test_mesh_keeps_the_tolerance_for_few_particles(n, coincident, comm):
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(n, 2)) * (0.0 if coincident else 1.5) + 0.3 * seed
        exact, exact_gradient = sums(2, "gaussian", 0.4, x, x, 1 / n)
        value, gradient = evaluate(ParticleMesh, field("gaussian", 0.4, gradient=True), x, comm, tol=1e-5)
        largest, steepest = suprema(2, "gaussian", 0.4, x)
        assert np.abs(value - exact).max() <= 1e-5 * largest
        assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= 1e-5 * steepest


def test_mesh_keeps_the_tolerance_between_distant_clusters(comm):
    # Each cluster sits where the images of the other would be felt first.
    x = np.concatenate([np.random.default_rng(0).normal(size=(30, 1)) * 0.01 + c for c in (-4.0, 4.0)])
    exact, _ = sums(1, "gaussian", 0.5, x, x, 1 / 60)
    for tol in (1e-2, 1e-4, 1e-7):
        value, _ = evaluate(ParticleMesh, field("gaussian", 0.5), x, comm, tol=tol)
        assert np.abs(value - exact).max() <= tol * exact.max()


def test_splines_of_wide_kernels_do_not_reach_their_images(comm):
    # The kernel has decayed within a few grid points; the splines of particles at both ends need six each.
    for eps in (8.0, 20.0):
        for distance in (0.0, 40.0):
            ends = (np.random.default_rng(0).normal(size=(20, 1)) * 0.3 + c for c in (-distance, distance))
            x = np.concatenate(list(ends))
            exact, _ = sums(1, "gaussian", eps, x, x, 1 / 40)
            value, _ = evaluate(ParticleMesh, field("gaussian", eps), x, comm, tol=0.1)
            assert np.abs(value - exact).max() <= 0.1 * suprema(1, "gaussian", eps, x)[0]


@pytest.mark.one_rank
@pytest.mark.parametrize("gradient", [False, True])
def test_the_factor_on_the_grid_is_hockneys_and_eastwoods(gradient, comm):
    """g B̂²/S² over the cell, B̂ = sinc⁶(kh/2π) and S the sum of its squares over a hundred aliases on either side."""
    fields = field("gaussian", 0.4, gradient=gradient)
    evaluator = ParticleMesh(fields, dimension=2, weights={"u": 1.0}, tol=1e-3, include_self=True, comm=comm)
    at_all(evaluator, np.array([[0.0, 0.0], [1.0, 2.0]]), comm)
    h, factor = evaluator.spacing, evaluator._factors["v"]
    # The first modes of each direction, as many as there are.
    k = [2 * np.pi * np.fft.fftfreq(m, h)[:n] for m, n in zip(evaluator.shape, factor.shape, strict=True)]
    along = []
    for one in k:
        aliases = np.sinc(h * one[:, None] / (2 * np.pi) + np.arange(-100, 101)) ** 12
        along.append(aliases[:, 100] / aliases.sum(axis=1) ** 2)
    symbol = fields[0].kernel.symbol(k[0][:, None] ** 2 + k[1] ** 2)
    expected = symbol * np.multiply.outer(*along) / h**2
    np.testing.assert_allclose(factor, expected, rtol=1e-6)


@pytest.mark.one_rank
@pytest.mark.parametrize(("chi", "mu", "eps"), [(-3.0, 2.0, 0.3), (5.0, 0.5, 0.6), (1.0, 1.0, 3.0)])
def test_mesh_with_other_strengths_and_screenings(chi, mu, eps, comm):
    x = cloud(2)
    parameters = {"chi": chi, "mu": mu}
    exact, exact_gradient = sums(2, "gaussian", eps, x, x, 1 / len(x), **parameters)
    value, gradient = evaluate(ParticleMesh, field("gaussian", eps, gradient=True, **parameters), x, comm, tol=1e-4)
    largest, steepest = suprema(2, "gaussian", eps, x, **parameters)
    assert np.abs(value - exact).max() <= 1e-4 * largest
    assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= 1e-4 * steepest


@pytest.mark.one_rank
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("mollifier", ["gaussian", "matern"])
def test_direct_sum_keeps_the_tolerance(d, mollifier, comm):
    x = cloud(d)
    eps, tol = 0.4, 1e-5
    exact, exact_gradient = sums(d, mollifier, eps, x, x, 1 / len(x))
    value, gradient = evaluate(DirectSum, field(mollifier, eps, gradient=True), x, comm, tol=tol)
    largest, steepest = suprema(d, mollifier, eps, x)
    assert np.abs(value - exact).max() <= tol * largest
    assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= tol * steepest


@pytest.mark.parametrize("kind", [ParticleMesh, DirectSum])
def test_a_particle_may_be_left_out_of_its_own_field(kind, comm):
    x = cloud(2)
    fields = field("gaussian", 0.3, gradient=True)
    with_self, gradient = evaluate(kind, fields, x, comm, tol=1e-6)
    without, same = evaluate(kind, fields, x, comm, tol=1e-6, include_self=False)
    difference = x[:, None] - x[None]
    r = np.sqrt((difference**2).sum(axis=2)) + 1e9 * np.eye(len(x))
    exact = sums_at(r) / len(x)
    assert np.abs(without - exact).max() <= 1e-6 * with_self.max()
    np.testing.assert_allclose(gradient, same, rtol=1e-13)


def sums_at(r):
    from reference_kernels import kernel_and_slope

    return kernel_and_slope(2, "gaussian", 0.3, np.minimum(r, 40.0))[0].sum(axis=1)


def test_permuted_particles_have_permuted_fields(comm):
    x = cloud(2, n=400)
    order = np.random.default_rng(1).permutation(len(x))
    fields = field("gaussian", 0.3, gradient=True)
    value, gradient = evaluate(ParticleMesh, fields, x, comm, tol=1e-4)
    permuted, permuted_gradient = evaluate(ParticleMesh, fields, x[order], comm, tol=1e-4)
    np.testing.assert_allclose(permuted, value[order], rtol=1e-12)
    np.testing.assert_allclose(permuted_gradient, gradient[order], rtol=0, atol=1e-12 * np.abs(gradient).max())


def test_fields_do_not_depend_on_the_number_of_ranks(comm):
    x = cloud(2, n=300)
    fields = field("gaussian", 0.3, gradient=True)
    here, here_gradient = evaluate(ParticleMesh, fields, x, MPI.COMM_SELF, tol=1e-4)
    everywhere, everywhere_gradient = evaluate(ParticleMesh, fields, x, comm, tol=1e-4)
    np.testing.assert_allclose(here, everywhere, rtol=1e-12)
    np.testing.assert_allclose(here_gradient, everywhere_gradient, rtol=0, atol=1e-12 * np.abs(here_gradient).max())


def test_box_follows_the_cloud_with_room_to_move(comm):
    x = cloud(2)
    evaluator = ParticleMesh(
        field("gaussian", 0.5), dimension=2, weights={"u": 1 / len(x)}, tol=1e-6, include_self=True, comm=comm
    )
    shapes = []
    for scale in (1.0, 1.02, 1.04, 2.0, 5.0):
        moved = scale * x + scale
        value, _ = at_all(evaluator, moved, comm)
        exact, _ = sums(2, "gaussian", 0.5, moved, moved, 1 / len(x))
        assert np.abs(value - exact).max() <= 1e-6 * exact.max()
        shapes.append(evaluator.shape)
    assert shapes[0] == shapes[1] == shapes[2]
    assert shapes[2] < shapes[3] < shapes[4]


@pytest.mark.parametrize("kind", [ParticleMesh, DirectSum, NonuniformFFT])
def test_every_field_has_its_source_and_its_kernel(kind, comm):
    random = np.random.default_rng(3)
    x = {"a": random.normal(size=(30, 1)), "b": random.normal(size=(50, 1)) + 1.0}
    weights = {"a": 2.0 / 30, "b": 0.5 / 50}
    fields = (
        kspde.Field(name="from a", kernel=kspde.Yukawa() * kspde.GaussianMollifier(eps=0.5), source="a"),
        kspde.Field(name="from b", kernel=kspde.Yukawa(strength=3.0) * kspde.MaternMollifier(eps=0.4), source="b"),
        kspde.Field(name="nothing", kernel=kspde.Yukawa(strength=0.0), source="b", gradient=True),
    )
    everyone = np.concatenate(list(x.values()))
    mine = {name: p[len(p) * comm.rank // comm.size : len(p) * (comm.rank + 1) // comm.size] for name, p in x.items()}
    evaluator = kind(fields, dimension=1, weights=weights, tol=1e-7, include_self=False, comm=comm)
    evaluator.update(mine, Extent(everyone.min(axis=0), everyone.max(axis=0)))
    for name in ("a", "b"):
        c = evaluator.at(name, mine[name])
        for source, mollifier, eps, chi in (("a", "gaussian", 0.5, 1.0), ("b", "matern", 0.4, 3.0)):
            exact, _ = sums(1, mollifier, eps, mine[name], x[source], weights[source], chi=chi)
            if source == name:
                exact -= sums(1, mollifier, eps, np.zeros((1, 1)), np.zeros((1, 1)), weights[source], chi=chi)[0]
            np.testing.assert_allclose(c[f"from {source}"], exact, atol=3e-7)
        assert not c["nothing"].any()
        assert not c.gradient("nothing").any()


def test_a_grid_that_does_not_fit_is_refused_with_the_numbers(comm):
    x = cloud(2)
    x[0] = 1e6
    message = (
        r"the fields of a cloud of size 1e\+06 × 1e\+06 to relative accuracy 1e-06 need \d+ × \d+ modes "
        r"\(spacing 0\.1\d*, padding 16\.\d*\) and .* GB per rank, but the limit is 4 GB: "
        r"give a larger eps or field_tol"
    )
    with pytest.raises(kspde.InputError, match=message):
        evaluate(ParticleMesh, field("gaussian", 0.3), x, comm, tol=1e-6)
    with pytest.raises(kspde.InputError, match=re.escape("but the limit is 0.001 GB")):
        evaluate(ParticleMesh, field("gaussian", 0.3), cloud(2), comm, tol=1e-6, memory_limit=1e6)


@pytest.mark.parametrize("kind", [ParticleMesh, DirectSum])
@pytest.mark.parametrize(
    ("d", "kernel", "gradient", "message"),
    [
        (2, kspde.Yukawa(), False, r"field 'v': its kernel is singular in dimension 2: give eps"),
        (1, kspde.Yukawa(), True, r"field 'v': the gradient of its kernel is singular in dimension 1: give eps"),
        (3, kspde.Yukawa(), True, r"field 'v': its kernel is singular in dimension 3: give eps"),
    ],
)
def test_singular_kernels_are_refused(kind, d, kernel, gradient, message, comm):
    fields = (kspde.Field(name="v", kernel=kernel, gradient=gradient),)
    with pytest.raises(kspde.InputError, match=message):
        kind(fields, dimension=d, weights={"u": 1.0}, tol=1e-6, include_self=True, comm=comm)


def test_a_bounded_kernel_needs_no_mollifier(comm):
    x = cloud(1)
    fields = (kspde.Field(name="v", kernel=kspde.Yukawa(strength=8.0)),)
    exact = 4 * np.exp(-np.abs(x - x.T)).mean(axis=1)
    value, _ = evaluate(ParticleMesh, fields, x, comm, tol=1e-4)
    assert np.abs(value - exact).max() <= 1e-4 * exact.max()
    without = (kspde.Field(name="v", kernel=kspde.GaussianMollifier(eps=0.5)),)
    exact = np.exp(-((x - x.T) ** 2) / 0.5).mean(axis=1) / np.sqrt(2 * np.pi * 0.25)
    value, _ = evaluate(ParticleMesh, without, x, comm, tol=1e-7)
    assert np.abs(value - exact).max() <= 1e-7 * exact.max()


@pytest.mark.one_rank
@settings(max_examples=10)
@given(
    mollifier=st.sampled_from(["gaussian", "matern"]),
    eps=st.floats(0.05, 2.0),
    mu=st.floats(0.3, 4.0),
    spread=st.floats(0.01, 20.0),
    far=st.sampled_from([0.0, 100.0, 1000.0]),
    digits=st.integers(2, 7),
)
def test_the_tolerance_is_kept_whatever_the_parameters(mollifier, eps, mu, spread, far, digits):
    comm, tol = MPI.COMM_WORLD, 10.0**-digits
    x = spread * np.random.default_rng(7).normal(size=(40, 1))
    x[0] += far
    assume(abs(mu - 2 / eps) > 0.1 * mu)  # where the reference's partial fractions cancel
    value, gradient = evaluate(ParticleMesh, field(mollifier, eps, gradient=True, mu=mu), x, comm, tol=tol)
    exact, exact_gradient = sums(1, mollifier, eps, x, x, 1 / len(x), mu=mu)
    largest, steepest = suprema(1, mollifier, eps, x, mu=mu)
    assert np.abs(value - exact).max() <= tol * largest
    assert np.abs(gradient - exact_gradient).max() <= tol * steepest


@pytest.mark.one_rank
@settings(max_examples=8)
@given(
    dimension=st.sampled_from([2, 3]),
    eps=st.floats(0.5, 2.0),
    mu=st.floats(0.6, 4.0),
    spread=st.floats(0.01, 4.0),
    offset=st.sampled_from([0.0, 5.0, 100.0]),
    tol=st.floats(1e-5, 1e-2),
    slopes=st.booleans(),
)
def test_the_tolerance_is_kept_in_the_plane_and_in_space(dimension, eps, mu, spread, offset, tol, slopes):
    # Matérn's kernel, whose values are closed forms: with a Gaussian the plane's reference is a quadrature.
    comm, eps = MPI.COMM_WORLD, eps * (dimension - 1)
    x = spread * np.random.default_rng(7).normal(size=(20, dimension)) + offset
    assume(abs(mu - 2 / eps) > 0.1 * mu)
    mollifier = "matern" if dimension == 2 else "gaussian"
    fields = field(mollifier, eps, gradient=slopes, mu=mu)
    value, gradient = evaluate(ParticleMesh, fields, x, comm, tol=tol)
    exact, exact_gradient = sums(dimension, mollifier, eps, x, x, 1 / len(x), mu=mu)
    largest, steepest = suprema(dimension, mollifier, eps, x, mu=mu)
    assert np.abs(value - exact).max() <= tol * largest
    if slopes:
        assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= tol * steepest
