"""Fields of kernels that end at a distance: sums over neighbours against those over all pairs; where a grid is taken.

Sources lie off the origin and are several at one place; weights have both signs.
"""

from itertools import product

import numpy as np
import pytest

import kspde
from kspde.evidence.replicas import SideBySideByReplica, StackedByReplica
from kspde.particles.fields import FieldOptions, compact, short_range
from kspde.particles.fields.base import Extent
from kspde.particles.region import Region
from kspde.runtime.parallel import alone

#: A box of different sides off the origin.
HALVES, CENTRE = np.array([1.3, 1.6, 1.2]), np.array([0.5, -0.25, 0.3])
KERNELS = [
    kspde.CompactBump(eps=0.8),
    kspde.Identity(strength=-2.0) * kspde.CompactBump(eps=1.1, power=3),
    kspde.CompactBump(eps=1.7, power=30),
    kspde.SmoothBump(eps=0.9),
]


def cloud(d, n=140, seed=3):
    x = 0.6 * np.random.default_rng(seed).normal(size=(n, d)) + np.array([0.4, -0.3, 0.2])[:d]
    x[7:11] = x[7]
    x[12] = x[11] + 1e-9
    return x


def sums(kernel, x, sources, weights):
    """Σ_j w_j K(x − X_j) and its gradient, by arrays of all pairs."""
    z = x[:, None] - sources
    r = np.linalg.norm(z, axis=2)
    d = x.shape[1]
    slopes = kernel.slope(r, d) / np.maximum(r, 1e-300)
    return kernel.profile(r, d) @ weights, np.einsum("ij,ijd,j->id", slopes, z, weights)


def images(x, weights, reach, periodic):
    d, out, far = x.shape[1], [], int(np.ceil(reach / (2 * HALVES.min()))) + 1
    for cell in product(range(-far, far + 1), repeat=d):
        flip = np.where(np.array(cell) % 2 == 1, -1.0, 1.0) if not periodic else 1.0
        out.append(CENTRE[:d] + flip * (x - CENTRE[:d]) + 2 * HALVES[:d] * np.array(cell))
    return np.concatenate(out), np.tile(weights, len(out))


def region_of(d, periodic):
    boundary = "periodic" if periodic else "neumann"
    half, centre = tuple(HALVES[:d]), tuple(CENTRE[:d])
    return Region(box=kspde.Box(half_width=half, centre=centre, cells=2, dimension=d, boundary=boundary))


def evaluator_of(fields, weights, comm, d, region=None, **options):
    out = FieldOptions(**options).evaluator(fields, dimension=d, weights=weights, comm=comm, region=region)
    assert isinstance(out, compact.CompactFields)
    return out


@pytest.mark.parametrize("place", ["free", "walls", pytest.param("torus", marks=pytest.mark.one_rank)])
@pytest.mark.parametrize("d", [2, *(pytest.param(d, marks=pytest.mark.one_rank) for d in (1, 3))])
def test_sums_over_neighbours_are_exact(d, place, comm, monkeypatch):
    """Fields of two species, one with weights of its own, beside a kernel without an end: to round-off.

    Gradients alone, and one weight for a species, are loops of their own to compile: in the plane.
    """
    monkeypatch.setattr(compact, "_BUILDING", np.inf)  # no grid
    region = None if place == "free" else region_of(d, place == "torus")
    n, m = (40, 20) if d == 3 else (140, 90)
    x = {"u": cloud(d, n), "v": cloud(d, m, seed=4)}
    w = {"u": np.random.default_rng(d).normal(size=n), "v": np.full(m, 0.3)}
    kernels = [k.in_dimension(d) for k in KERNELS]
    smooth = (kspde.Yukawa(strength=2.0, screening=1.5) * kspde.GaussianMollifier(eps=0.6)).in_dimension(d)
    fields = tuple(
        kspde.Field(name=f"c{i}", kernel=k, source="uv"[i % 2], gradient=i != 2 or d != 2)
        for i, k in enumerate(kernels)
    )
    fields = (kspde.Field(name="s", kernel=smooth), *fields) if d < 3 else fields
    if region is not None:
        for each in x.values():
            region.fold(each)
    mine = {name: np.arange(comm.rank, len(each), comm.size) for name, each in x.items()}
    local = {name: np.ascontiguousarray(x[name][rows]) for name, rows in mine.items()}
    weights = {"u": w["u"][mine["u"]].copy(), "v": 0.3 if d == 2 else w["v"][mine["v"]].copy()}
    evaluator = evaluator_of(fields, weights, comm, d, region, field_tol=1e-3)
    everyone = np.concatenate(list(x.values()))
    evaluator.update(local, Extent(everyone.min(axis=0), everyone.max(axis=0)))
    for target, (f, kernel) in product("uv", zip(fields[-4:], kernels, strict=True)):
        c = evaluator.at(target, local[target])
        if region is None:
            sources, shares = x[f.source], w[f.source]
        else:
            sources, shares = images(x[f.source], w[f.source], kernel.support, region.periodic)
        value, gradient = sums(kernel, local[target], sources, shares)
        scale, _ = sums(kernel, x[f.source], sources, np.abs(shares))
        assert np.abs(c[f.name] - value).max(initial=0) < 1e-12 * np.abs(scale).max()
        if f.gradient:
            error = np.abs(c.gradient(f.name) - gradient).max(initial=0)
            assert error < 1e-12 * np.abs(kernel.slope(np.linspace(0, 2, 99), d)).max() * np.abs(shares).sum()
    assert evaluator.summary()["pairs"] > 0
    if region is None or d > 1:
        return
    beyond = np.array([[2.0], [-0.9]])  # stages of a step, before they are folded
    value, gradient = evaluator.at("u", beyond)["c0"], evaluator.at("u", beyond).gradient("c0")
    sources, shares = images(x["u"], w["u"], 2.0, region.periodic)
    np.testing.assert_allclose(value, sums(kernels[0], beyond, sources, shares)[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(gradient, sums(kernels[0], beyond, sources, shares)[1], rtol=0, atol=1e-11)


@pytest.mark.one_rank
@pytest.mark.parametrize("periodic", [None, True])
def test_a_grid_is_taken_where_it_is_faster(periodic):
    """Both agree within the tolerance; the choice follows from the positions, so that a resumed run makes it too."""
    x = cloud(1, 6000)
    region = None if periodic is None else region_of(1, periodic)
    if region is not None:
        region.fold(x)
    kernel = kspde.CompactBump(eps=1.2).in_dimension(1)
    fields, extent = (kspde.Field(name="c", kernel=kernel, gradient=True),), Extent(x.min(axis=0), x.max(axis=0))
    found = []
    for options in ({}, {"memory_limit": 1e3}):
        evaluator = evaluator_of(fields, {"u": 1 / 6000}, alone(), 1, region, **options)
        evaluator.update({"u": x}, extent)
        assert ("modes" in evaluator.summary()) == (not options)
        c = evaluator.at("u", x)
        found.append((c["c"].copy(), c.gradient("c").copy()))
    for grid, near in zip(*found, strict=True):
        assert 0 < np.abs(grid - near).max() < 1e-6 * np.abs(near).max()
    again = evaluator_of(fields, {"u": 1 / 6000}, alone(), 1, region)
    again.update({"u": x}, extent)
    state = again.state()
    again.update({"u": 0.99 * x}, Extent(0.99 * x.min(axis=0), 0.99 * x.max(axis=0)))
    resumed = evaluator_of(fields, {"u": 1 / 6000}, alone(), 1, region)
    resumed.restore(state)
    resumed.update({"u": 0.99 * x}, Extent(0.99 * x.min(axis=0), 0.99 * x.max(axis=0)))
    np.testing.assert_array_equal(resumed.at("u", x)["c"], again.at("u", x)["c"])


@pytest.mark.one_rank
def test_too_many_pairs_are_refused_with_true_remedies(monkeypatch):
    monkeypatch.setattr(short_range, "MOST_PAIRS", 3e4)

    def update(n, eps):
        x = cloud(2, n)
        kernel = kspde.CompactBump(eps=eps).in_dimension(2)
        fields = (kspde.Field(name="c", kernel=kernel, gradient=True),)
        evaluator = evaluator_of(fields, {"u": 1 / n}, alone(), 2, memory_limit=1e4)
        evaluator.update({"u": x}, Extent(x.min(axis=0), x.max(axis=0)))

    with pytest.raises(
        kspde.InputError, match=r"closer than 0.8, the limit is 3e.04 per step.*fewer particles or a sm"
    ):
        update(300, 0.8)
    update(120, 0.8)
    update(300, 0.2)


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "power", "eps"), [(3, 4, 0.7), (3, 3, 4.0), (2, 3, 1.0), (2, 4, 0.3)])
def test_particles_of_bumps_take_no_grid(d, power, eps):
    """A step of particles whose kernels no grid resolves in memory, or in less than minutes."""
    model = kspde.CrossDiffusion(a=((1.0,),), sigma=(0.1,), dimension=d, species=("u",))
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[1.0] + [0.0] * (d - 1)], stds=[0.6])
    bump = kspde.CompactBump(eps=eps, power=power)
    cloud = kspde.simulate(model, u0, n=300, t_end=1e-3, dt=1e-3, mollifier=bump, seed=1)
    assert cloud.timings["setup"] + cloud.timings["loop"] < 20.0


@pytest.mark.one_rank
def test_replicas_of_growing_particles_have_their_own_weights():
    n, replicas = 450, 2
    x = np.random.default_rng(0).normal(size=(n * replicas, 2))
    w = np.random.default_rng(1).uniform(0.1, 1.0, size=len(x))
    smooth = (kspde.Yukawa(strength=3.0) * kspde.GaussianMollifier(eps=0.8)).in_dimension(2)
    bump = kspde.CompactBump(eps=0.8).in_dimension(2)
    fields = (kspde.Field(name="c", kernel=smooth), kspde.Field(name="b", kernel=bump))
    evaluator = StackedByReplica(
        fields,
        group=n,
        replicas=replicas,
        include_self=True,
        dimension=2,
        weights={"u": w},
        tol=1e-4,
        comm=alone(),
    )
    evaluator.update({"u": x}, Extent(x.min(axis=0), x.max(axis=0)))
    c = evaluator.at("u", x)
    for first in (0, n):
        own, few = slice(first, first + n), slice(first, first + 9)
        r = np.linalg.norm(x[few, None] - x[own], axis=2)
        for name, kernel in (("c", smooth), ("b", bump)):
            exact = kernel.profile(r, 2) @ w[own]
            assert np.abs(c[name][few] - exact).max() < 1e-4 * exact.max()


@pytest.mark.parametrize("kernel", [kspde.GaussianMollifier(eps=0.2), kspde.CompactBump(eps=0.8)])
def test_replicas_side_by_side_on_a_line_do_not_meet(kernel):
    n, replicas = 40, 3
    x = np.random.default_rng(8).normal(size=(n * replicas, 1))
    w = np.linspace(0.5, 1.5, len(x))
    bump = kernel.in_dimension(1)
    field = kspde.Field(name="c", kernel=bump, gradient=True)
    evaluator = SideBySideByReplica(
        (field,), group=n, include_self=True, dimension=1, weights={"u": w}, tol=1e-5, comm=alone()
    )
    for scale in (1.0, 3.0):  # the cloud spreads
        evaluator.update({"u": scale * x}, Extent(scale * x.min(axis=0), scale * x.max(axis=0)))
        c = evaluator.at("u", scale * x)
        for own in (slice(r * n, (r + 1) * n) for r in range(replicas)):
            value, slope = sums(bump, scale * x[own], scale * x[own], w[own])
            assert np.abs(c["c"][own] - value).max() < 1e-5 * value.max()
            assert np.abs(c.gradient("c")[own] - slope).max() < 1e-4 * np.abs(slope).max()


@pytest.mark.parametrize("far", [1e12, 1e50])
def test_particles_far_from_all_others_do_not_take_cells_in_between(far, comm):
    x, w = cloud(2), np.full(140, 1 / 140)
    x[-2:] = [[far, 0.3], [far, 0.4]]
    kernel = kspde.CompactBump(eps=0.8).in_dimension(2)
    field = kspde.Field(name="v", kernel=kernel, gradient=True)
    mine = slice(140 * comm.rank // comm.size, 140 * (comm.rank + 1) // comm.size)
    evaluator = evaluator_of((field,), {"u": w[mine]}, comm, 2)
    evaluator.update({"u": x[mine]}, Extent(x.min(axis=0), x.max(axis=0)))
    assert len(evaluator._near._cells["u"].starts) < 10_000
    c = evaluator.at("u", x[mine])
    value, slope = sums(kernel, x[mine], x, w)
    np.testing.assert_allclose(c["v"], value, rtol=1e-12)
    np.testing.assert_allclose(c.gradient("v"), slope, rtol=0, atol=1e-12 * np.abs(slope).max())


def test_a_kernel_narrower_than_all_lengths_is_refused(comm):
    kernel = kspde.CompactBump(eps=1e-50).in_dimension(2)
    with pytest.raises(kspde.InputError, match="a kernel varies on none of the lengths from 1e-15 to 1e13"):
        evaluator_of((kspde.Field(name="v", kernel=kernel),), {"u": 1.0}, comm, 2)
