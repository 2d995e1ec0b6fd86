"""Singular kernels, j ≠ i: near and far parts against sums over all pairs, written here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from test_fields import at_all

import kspde
from kspde.particles.fields import FieldOptions, near_far
from kspde.particles.fields.base import Extent
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.near_far import NearFar
from kspde.particles.fields.parted import PartedFields
from kspde.particles.fields.particle_mesh import ParticleMesh


def kernel_and_slope(d, mu, r):
    """K and K' of the fundamental solution of μ² − Δ."""
    if mu == 0:
        return {
            1: (-r / 2, np.full_like(r, -0.5)),
            2: (-np.log(r) / (2 * np.pi), -1 / (2 * np.pi * r)),
            3: (1 / (4 * np.pi * r), -1 / (4 * np.pi * r**2)),
        }[d]
    decay = np.exp(-mu * r)
    return {
        1: (decay / (2 * mu), -decay / 2),
        2: (special.k0(mu * r) / (2 * np.pi), -mu * special.k1(mu * r) / (2 * np.pi)),
        3: (decay / (4 * np.pi * r), -(1 + mu * r) * decay / (4 * np.pi * r**2)),
    }[d]


def sums(d, mu, targets, x, w):
    """Σ w_j K(y − X_j) and its gradient at targets y, over the particles elsewhere; w may be of shape (k, n)."""
    value, gradient = np.empty((len(targets), *w.shape[:-1])), np.empty((len(targets), *w.shape[:-1], d))
    for i, y in enumerate(targets):
        z = y - x
        r = np.linalg.norm(z, axis=1)
        apart = r > 0
        k, slope = kernel_and_slope(d, mu, r[apart])
        value[i] = w[..., apart] @ k
        gradient[i] = (w[..., apart] * slope / r[apart]) @ z[apart]
    return value, gradient


def cloud(d, n, seed=0):
    """Two clusters far from one another and from the origin, one with a core, pairs at the same place, both signs."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) + 7.0
    x[: n // 3, 0] += 40.0
    x[n // 3 : n // 2] = 7.3 + 1e-3 * random.normal(size=(n // 2 - n // 3, d))
    x[5:10] = x[:5]
    w = random.uniform(0.5, 1.5, n) / n
    w[::3] *= -1
    return x, w


def fundamental(mu):
    return kspde.LogPotential() if mu == 0 else kspde.Yukawa(screening=mu)


def evaluator(kind, d, kernel, w, comm, *, tol=1e-6, value=True):
    fields = (kspde.Field(name="v", kernel=kernel, gradient=True, value=value),)
    n = len(w)
    mine = w[n * comm.rank // comm.size : n * (comm.rank + 1) // comm.size]
    return kind(fields, dimension=d, weights={"u": mine}, tol=tol, include_self=False, comm=comm)


@pytest.mark.parametrize(
    ("d", "mu", "tol"),
    [
        (2, 0.3, 1e-4),
        *(
            pytest.param(*case, marks=pytest.mark.one_rank)
            for case in [(1, 0.0, 1e-6), (1, 2.0, 1e-4), (2, 0.0, 1e-7), (2, 90.0, 1e-6), (3, 0.0, 1e-4)]
        ),
    ],
)
def test_against_all_pairs(d, mu, tol, comm, monkeypatch):
    # Tiles also for few particles, as deep as the core needs.
    monkeypatch.setattr(near_far, "_CROWDED", 60 if d < 3 else 500)
    monkeypatch.setattr(near_far, "_TILE_COST", {1: 0.0, 2: 0.0, 3: 1e5})
    monkeypatch.setattr(near_far, "_PARTICLE_COST", 0.0)
    x, w = cloud(d, 1500)
    mesh = evaluator(NearFar, d, fundamental(mu), w, comm, tol=tol)
    value, gradient = at_all(mesh, x, comm)
    assert comm.allreduce(mesh.summary()["tiles"]) >= 4
    values, gradients = sums(d, mu, x, x, np.stack((w, np.abs(w))))
    (exact, scale), (exact_gradient, steep) = values.T, np.swapaxes(gradients, 0, 1)
    error, steep = np.linalg.norm(gradient - exact_gradient, axis=1), np.linalg.norm(steep, axis=1)
    assert np.abs(value - exact).max() <= tol * np.abs(scale).max()
    assert error.max() <= tol * steep.max()
    # Particles of the other cluster, where the field is smaller, are as accurate for themselves.
    assert error[:500].max() <= tol * steep[:500].max()


def mollified(d, mu, eps, r):
    """K * G and its slope in closed form, on the line with μ > 0 and in the plane with μ = 0."""
    z = r / (np.sqrt(2) * eps)
    if d == 2:
        value = -(np.log(r**2) + special.exp1(z**2)) / (4 * np.pi)
        return value, special.expm1(-(z**2)) / (2 * np.pi * r)
    up, down = (
        np.exp(0.5 * (mu * eps) ** 2 + s * mu * r) * special.erfc(mu * eps / np.sqrt(2) + s * z) for s in (1, -1)
    )
    return (up + down) / (4 * mu), (up - down) / 4


@pytest.mark.parametrize(("d", "mu", "eps"), [(1, 2.0, 1e-4), (2, 0.0, 1e-4)])
def test_narrow_mollifiers_against_all_pairs(d, mu, eps, comm, monkeypatch):
    # Tiles of the core, as deep as the mollifier allows.
    monkeypatch.setattr(near_far, "_CROWDED", 60)
    monkeypatch.setattr(near_far, "_TILE_COST", dict.fromkeys((1, 2), 0.0))
    monkeypatch.setattr(near_far, "_PARTICLE_COST", 0.0)
    tol = 1e-6
    x, w = cloud(d, 1000)
    kernel = fundamental(mu) * kspde.GaussianMollifier(eps=eps)
    field = kspde.Field(name="v", kernel=kernel, gradient=True)
    n = len(w)
    mine = w[n * comm.rank // comm.size : n * (comm.rank + 1) // comm.size]
    options = {"dimension": d, "weights": {"u": mine}, "comm": comm}
    mesh = FieldOptions(field_tol=tol, include_self=True).evaluator((field,), **options)
    found, gradient = at_all(mesh, x, comm)
    assert mesh.summary()["reach"] > 6 * eps
    assert comm.allreduce(mesh.summary()["tiles"]) >= 1
    z = x[:, None] - x
    r = np.linalg.norm(z, axis=2)
    value, slope = mollified(d, mu, eps, np.where(r > 0, r, 1e-9 * eps))
    slope = np.where(r > 0, slope / np.where(r > 0, r, 1.0), 0.0)[..., None] * z
    steep = np.linalg.norm(np.einsum("ijk,j->ik", slope, np.abs(w)), axis=1)
    error = np.linalg.norm(gradient - np.einsum("ijk,j->ik", slope, w), axis=1)
    assert error.max() <= tol * steep.max()
    if mu > 0:  # otherwise values are known up to a constant
        assert np.abs(found - value @ w).max() <= tol * np.abs(value @ np.abs(w)).max()


@pytest.mark.parametrize("crowded", [False, True])
def test_a_mesh_is_taken_where_a_mollifier_reaches_many(crowded, comm):
    x = np.random.default_rng(1).normal(size=(1500, 2))
    x[:1400] *= 1e-2 if crowded else 1.0
    kernel = kspde.Yukawa() * kspde.GaussianMollifier(eps=0.02)
    fields = (kspde.Field(name="v", kernel=kernel, gradient=True),)
    mesh = FieldOptions(field_tol=1e-3).evaluator(fields, dimension=2, weights={"u": 1 / 1500}, comm=comm)
    at_all(mesh, x, comm)
    assert ("tiles" in mesh.summary()) is not crowded


def two_lattices(d):
    """A jittered lattice and a small one far from the origin: no close pairs, which would hide other errors."""
    random = np.random.default_rng(3)
    m = {1: 600, 2: 26, 3: 9}[d]
    grid = np.stack(np.meshgrid(*[np.arange(m)] * d, indexing="ij"), axis=-1).reshape(-1, d)
    wide, dense = (grid / m + random.uniform(-0.2, 0.2, size=grid.shape) / m for _ in range(2))
    w = random.uniform(0.5, 1.5, 2 * len(grid)) / len(grid)
    w[::3] *= -1
    return np.concatenate((wide - 5.0, (0.02 if d < 3 else 0.2) * dense - 6.0)), w


def powers(s, x, w):
    """Σ w_j |x_i − X_j|^(−s), −log for s = 0, Σ |w_j| … likewise, and the gradient of the first."""
    value, size, gradient = np.empty(len(x)), np.empty(len(x)), np.empty(x.shape)
    for i, y in enumerate(x):
        z = np.delete(y - x, i, axis=0)
        r, others = np.linalg.norm(z, axis=1), np.delete(w, i)
        k = r**-s if s else -np.log(r)
        value[i], size[i] = others @ k, np.abs(others) @ k
        gradient[i] = -(others * (s or 1.0) * r ** (-s - 2)) @ z
    return value, size, gradient


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("d", "s", "tol"),
    [(1, 0.02, 1e-6), (1, 0.5, 1e-7), (2, 0.0, 1e-6), (2, 1.9, 1e-4), (3, 0.0, 1e-7), (3, 1.3, 1e-6), (3, 2.9, 1e-4)],
)
def test_powers_and_logarithms_against_all_pairs(d, s, tol, comm, monkeypatch):
    monkeypatch.setattr(near_far, "_CROWDED", 60 if d < 3 else 600)
    monkeypatch.setattr(near_far, "_TILE_COST", {1: 0.0, 2: 0.0, 3: 0.0})
    monkeypatch.setattr(near_far, "_PARTICLE_COST", 0.0)
    kernel = (kspde.Riesz(s=s) if s else kspde.Logarithm()).in_dimension(d)
    x, w = two_lattices(d)
    for n in (len(x) // 2, len(x)):  # the large lattice alone, and both
        mesh = evaluator(PartedFields, d, kernel, w[:n], comm, tol=tol)
        value, gradient = at_all(mesh, x[:n], comm)
        exact, size, exact_gradient = powers(s, x[:n], w[:n])
        error = np.linalg.norm(gradient - exact_gradient, axis=1)
        assert error.max() <= tol * np.linalg.norm(exact_gradient, axis=1).max()
        assert np.abs(value - exact).max() <= tol * np.abs(size).max()
    assert comm.allreduce(mesh.summary()["tiles"]) >= 1


def test_screening_shortens_the_near_part_unless_no_particles_are_close(comm):
    mu, m = 300.0, 26  # in a lattice, errors have to be as much smaller as the largest gradient is
    lattice = np.stack(np.meshgrid(*[np.arange(m) / m] * 2), axis=-1).reshape(-1, 2)
    x = np.random.default_rng(0).uniform(0, lattice.max(), size=lattice.shape)
    w = np.where(np.arange(m**2) % 3, 1.0, -0.5)
    mesh = evaluator(NearFar, 2, fundamental(mu), w, comm, value=False)
    at_all(mesh, x, comm)
    short = mesh.reach(0)
    _, gradient = at_all(mesh, lattice, comm)
    assert mesh.reach(0) > 1.2 * short
    exact = sums(2, mu, lattice, lattice, w)[1]
    error = np.linalg.norm(gradient - exact, axis=1).max()
    assert error <= 1e-6 * np.linalg.norm(exact, axis=1).max()


@pytest.mark.one_rank
@pytest.mark.parametrize("kind", [NearFar, DirectSum])
@pytest.mark.parametrize(("d", "mu"), [(1, 0.5), (2, 0.0), (2, 4.0), (3, 0.0)])
def test_few_particles_are_summed_directly(kind, d, mu, comm):
    x, w = cloud(d, 60)
    few = evaluator(kind, d, fundamental(mu), w, comm)
    value, gradient = at_all(few, x, comm)
    exact, exact_gradient = sums(d, mu, x, x, w)
    assert "modes" not in few.summary()
    np.testing.assert_allclose(value, exact, rtol=1e-10, atol=1e-10 * np.abs(exact).max())
    np.testing.assert_allclose(gradient, exact_gradient, rtol=1e-10, atol=1e-10 * np.abs(exact_gradient).max())


def test_a_resumed_run_has_the_same_grid(comm):
    x, w = cloud(2, 800)
    first = evaluator(NearFar, 2, fundamental(0.0), w, comm, value=False)
    at_all(first, x + 0.01, comm)
    _, gradient = at_all(first, x, comm)
    again = evaluator(NearFar, 2, fundamental(0.0), w, comm, value=False)
    again.restore(first.state())
    np.testing.assert_array_equal(at_all(again, x, comm)[1], gradient)
    with pytest.raises(
        kspde.InputError, match=r"values of field 'v' are not computed \(none are\): it has value=False"
    ):
        first.at("u", x[:2])["v"]


def test_singular_and_bounded_fields_together(comm):
    x, _ = cloud(2, 700)
    n = len(x)
    fields = (
        kspde.Field(name="v", kernel=kspde.LogPotential(), gradient=True, value=False),
        kspde.Field(name="w", kernel=kspde.Yukawa() * kspde.GaussianMollifier(eps=0.5), source="b"),
    )
    parts = np.array_split(np.arange(n), comm.size)[comm.rank]
    both = FieldOptions().evaluator(fields, dimension=2, weights={"u": 1 / n, "b": 2 / n}, comm=comm)
    both.update({"u": x[parts], "b": x[parts]}, Extent(x.min(axis=0), x.max(axis=0)))
    c = both.at("b", x[parts])
    _, gradient = sums(2, 0.0, x[parts], x, np.full(n, 1 / n))
    direct = FieldOptions(method="direct", include_self=False)
    other = direct.evaluator(fields, dimension=2, weights={"u": 1 / n, "b": 2 / n}, comm=comm)
    other.update({"u": x[parts], "b": x[parts]}, Extent(x.min(axis=0), x.max(axis=0)))
    np.testing.assert_allclose(c["w"], other.at("b", x[parts])["w"], rtol=0, atol=1e-6)
    assert np.abs(c.gradient("v") - gradient).max() <= 1e-6 * np.abs(gradient).max()
    with pytest.raises(kspde.InputError, match="include_self = True, but the kernel of field 'v' is singular"):
        FieldOptions(include_self=True).evaluator(fields, dimension=2, weights={"u": 1 / n, "b": 1 / n}, comm=comm)


@pytest.mark.one_rank
def test_tolerances_that_the_window_does_not_keep_are_refused(comm):
    with pytest.raises(kspde.InputError, match=r'field_tol = 1e-09 is below 1e-07.*eight nodes.*method = "direct"'):
        evaluator(NearFar, 2, fundamental(0.0), np.ones(3), comm, tol=1e-9)


@pytest.mark.one_rank
@pytest.mark.parametrize("d", [1, 2, 3])
def test_mollified_potentials_without_screening_have_no_images(d, comm):
    # By Newton's theorem the slope of K * G is that of K times the mass of G within r.
    eps, tol = 0.5, 1e-5
    x = cloud(d, 60)[0]
    x[20:] = x[20:] * 0.1 + 7.0
    x[:20, 0] -= 40.0
    kernel = kspde.LogPotential() * kspde.GaussianMollifier(eps=eps)
    fields = (kspde.Field(name="v", kernel=kernel, gradient=True, value=False),)
    mesh = ParticleMesh(fields, dimension=d, weights={"u": 1 / 60}, tol=tol, include_self=True, comm=comm)
    _, gradient = at_all(mesh, x, comm)
    if d < 3:  # the potential grows: its constant is that of the grid
        with pytest.raises(kspde.InputError, match="values of field 'v' are not computed"):
            mesh.at("u", x[:1])["v"]
    z = x[:, None] - x
    r = np.maximum(np.linalg.norm(z, axis=2), 1e-9)
    slope = kernel_and_slope(d, 0.0, r)[1] * special.gammainc(d / 2, r**2 / (2 * eps**2))
    exact = (slope / r / 60)[..., None] * z
    assert mesh.free
    assert np.abs(gradient - exact.sum(axis=1)).max() <= tol * np.abs(slope).max()


@pytest.mark.one_rank
@pytest.mark.parametrize("mu", [1e-9, 0.05])
def test_few_particles_with_a_long_screening_length_need_no_grid(mu, comm):
    x = cloud(2, 100)[0]
    kernel = kspde.Yukawa(screening=mu) * kspde.GaussianMollifier(eps=0.2)
    fields = (kspde.Field(name="v", kernel=kernel, gradient=True),)
    both = [
        evaluator
        for how in (FieldOptions(field_tol=1e-5), FieldOptions(field_tol=1e-5, method="direct"))
        for evaluator in [how.evaluator(fields, dimension=2, weights={"u": 0.01}, comm=comm)]
    ]
    (_, mine), (_, direct) = (at_all(each, x, comm) for each in both)
    assert "modes" not in both[0].summary()
    grid = ParticleMesh(fields, dimension=2, weights={"u": 0.01}, tol=1e-5, include_self=True, comm=comm)
    _, meshed = at_all(grid, x, comm)
    assert grid.free
    for found in (mine, meshed):
        assert np.abs(found - direct).max() <= 1e-5 * np.abs(direct).max()


@pytest.mark.one_rank
@pytest.mark.parametrize("eps", [None, 0.05])
def test_groups_many_screening_lengths_apart(eps):
    """Where the reach of the near part is 1e5 screening lengths all is near; nothing overflows."""
    x = np.random.default_rng(0).normal(scale=0.3, size=(700, 2))
    x[350:] += 1e6
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.3])
    moved = [
        kspde.simulate(
            kspde.KellerSegel(chi=1.0, mu=1.0), u0, n=700, positions=x, t_end=1e-3, dt=1e-3, eps=eps, method=m
        )
        for m in ("mesh", "direct")
    ]
    np.testing.assert_allclose(moved[0].positions, moved[1].positions, rtol=0, atol=1e-9)
