"""Particles with weights of their own, of either sign: fields, trajectories, statistics, what has no meaning then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from reference_kernels import kernel_and_slope
from test_any_input import Points, everywhere
from test_fields import cloud, field

import kspde
from kspde.models.base import Field, FieldValues, Model
from kspde.particles.fields.base import Extent
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.nufft import NonuniformFFT
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.fields.relaxing import RelaxingFields
from kspde.runtime.hdf5 import h5py
from kspde.runtime.random import Philox


def signed(n, seed=0):
    return np.random.default_rng(seed).normal(size=n) + 0.3


def share(rows, comm):
    """This rank's rows."""
    return np.ascontiguousarray(rows[len(rows) * comm.rank // comm.size : len(rows) * (comm.rank + 1) // comm.size])


def weighted_sums(dimension, eps, points, sources, weights, **parameters):
    """Return Σ_j w_j K(x − X_j) and its gradient: shapes (n,), (n, d)."""
    difference = points[:, None] - sources[None]
    r = np.sqrt((difference**2).sum(axis=2))
    value, slope = kernel_and_slope(dimension, "gaussian", eps, r, **parameters)
    return value @ weights, np.einsum("ijd,ij,j->id", difference / np.maximum(r, 1e-300)[:, :, None], slope, weights)


def split_mesh(fields, **options):
    """A mesh that must leave a part of its kernels to neighbours."""
    return ParticleMesh(fields, memory_limit={1: 1e5, 2: 4e6}[options["dimension"]], **options)


def relaxing(fields, **options):
    slow = tuple(Field(name=f.name, kernel=f.kernel, gradient=f.gradient, tau=0.7) for f in fields)
    out = RelaxingFields(slow, others=ParticleMesh, memory_limit=4e9, **options)
    out.t = 0.0  # it starts from the field of particles that have always been there
    return out


@pytest.mark.parametrize(
    ("kind", "dimension", "eps", "tol"),
    [
        (ParticleMesh, 1, 0.4, 1e-6),
        (ParticleMesh, 2, 0.4, 1e-6),
        (ParticleMesh, 3, 1.0, 1e-3),
        (split_mesh, 1, 0.02, 1e-5),
        (split_mesh, 2, 0.1, 1e-4),
        (DirectSum, 1, 0.4, 1e-6),
        (DirectSum, 2, 0.4, 1e-6),
        (DirectSum, 3, 1.0, 1e-3),
        (NonuniformFFT, 1, 0.4, 1e-6),
        (NonuniformFFT, 2, 0.4, 1e-6),
        (NonuniformFFT, 3, 1.0, 1e-3),
        (relaxing, 1, 0.4, 1e-6),
        (relaxing, 2, 0.6, 1e-4),
    ],
)
def test_fields_are_weighted_sums(kind, dimension, eps, tol, comm):
    x = cloud(dimension)
    w = signed(len(x))
    options = {"dimension": dimension, "weights": {"u": share(w, comm)}, "tol": tol, "comm": comm}
    exact, exact_gradient = weighted_sums(dimension, eps, x, x, w)
    # The bounds' scale, of the absolute weights: at most its largest value at the particles.
    largest = weighted_sums(dimension, eps, x, x, np.abs(w))[0].max()
    steepest = np.linalg.norm(exact_gradient, axis=1).max()
    own = kernel_and_slope(dimension, "gaussian", eps, np.zeros(1))[0][0]
    for include_self in (True,) if kind is relaxing else (True, False):
        evaluator = kind(field("gaussian", eps, gradient=True), include_self=include_self, **options)
        mine = share(x, comm)
        evaluator.update({"u": mine}, Extent(x.min(axis=0), x.max(axis=0)))
        c = evaluator.at("u", mine)
        value = np.concatenate(comm.allgather(c["v"])) + (0.0 if include_self else own * w)
        assert np.abs(value - exact).max() <= tol * largest
        gradient = np.concatenate(comm.allgather(c.gradient("v")))
        assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= 2 * tol * steepest
    if kind is split_mesh:
        assert evaluator.screen > 0


@dataclass(frozen=True, kw_only=True)
class Vortices(Model):
    """dX = ∇^⊥c dt + √(2 D) dB in the plane, −Δc + c = Σ_j w_j δ_{X_j}: quasi-geostrophic vortices; else dX = ∇c dt."""

    dimension: int = 2
    noise: float = 0.0

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field(name="c", kernel=kspde.Yukawa(strength=8.0), gradient=True),)

    def diffusion(self, species, c: FieldValues):
        return self.noise * (1.0 + c["c"] ** 2)

    def drift(self, species, c: FieldValues):
        slope = c.gradient("c")
        return np.stack([-slope[:, 1], slope[:, 0]], axis=1) if self.dimension == 2 else slope


@pytest.mark.parametrize(("dimension", "method"), [(1, "mesh"), (2, "mesh"), (2, "direct"), (3, "mesh")])
def test_weighted_particles_follow_their_direct_sum(dimension, method, comm):
    n, dt, eps, tol = 40, 0.05, 0.8, 1e-6 if dimension < 3 else 1e-4
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.2] * dimension], stds=[0.8])
    w = signed(n) / n
    ids = np.arange(n, dtype=np.uint64)
    x = u0.sample(Philox(3, 0), ids)
    x_0 = x.copy()
    for step in range(2):
        c, slope = weighted_sums(dimension, eps, x, x, w)
        drift = np.stack([-slope[:, 1], slope[:, 0]], axis=1) if dimension == 2 else slope
        noise = Philox(3, 1).normals(ids, step, dimension)
        x = x + dt * drift + np.sqrt(2 * 0.5 * (1 + c**2) * dt)[:, None] * noise
    model = Vortices(dimension=dimension, noise=0.5)
    options = {"n": n, "t_end": 2 * dt, "dt": dt, "eps": eps, "seed": 3, "field_tol": tol, "method": method}
    found = kspde.simulate(model, u0, weights=w, **options)
    np.testing.assert_allclose(everywhere(found), x, atol=20 * tol)
    np.testing.assert_array_equal(np.concatenate(comm.allgather(found.weights_of("u"))), w)
    assert found.masses["u"] == pytest.approx(w.sum(), rel=1e-12)
    assert found.variations["u"] == pytest.approx(np.abs(w).sum(), rel=1e-12)
    for t, points in ((0, x_0), (-1, x)):
        mean = found.diagnostics["mean"][t] * found.variations["u"]
        np.testing.assert_allclose(mean, w @ points, atol=20 * tol)
        second = found.diagnostics["second_moment"][t]
        np.testing.assert_allclose(second, w @ (points**2).sum(axis=1), atol=60 * tol)
    # The same weights as a function of the starting points.
    ordered = np.argsort(x_0[:, 0])
    again = kspde.simulate(
        model, u0, weights=lambda y: w[ordered][np.searchsorted(x_0[ordered, 0], y[:, 0])], **options
    )
    np.testing.assert_array_equal(everywhere(again), everywhere(found))


@pytest.mark.one_rank
def test_circulations_of_either_sign_keep_their_impulse():
    # Σ w_i dX_i/dt = Σ_ij w_i w_j ∇^⊥K(X_i − X_j) = 0, since the kernel is odd.
    w = signed(200, seed=5) / 200
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    options = {"n": 200, "t_end": 1.0, "dt": 0.1, "eps": 0.5, "field_tol": 1e-8}
    moved = kspde.simulate(Vortices(), u0, weights=w, **options)
    impulse = moved.diagnostics["mean"] * moved.variations["u"]
    np.testing.assert_allclose(impulse, np.broadcast_to(impulse[0], impulse.shape), rtol=0, atol=1e-9)
    assert np.abs(everywhere(moved) - u0.sample(Philox(0, 0), np.arange(200, dtype=np.uint64))).max() > 0.05


@pytest.mark.parametrize("method", ["mesh", "direct"])
def test_pairs_of_particle_and_weight_have_no_order(method):
    random = np.random.default_rng(4)
    points, w, order = random.normal(size=(30, 2)), signed(30) / 30, random.permutation(30)
    options = {"n": 30, "t_end": 0.3, "dt": 0.1, "eps": 0.6, "method": method, "field_tol": 1e-4}
    one = everywhere(kspde.simulate(Vortices(), Points(points), weights=w, **options))
    other = everywhere(kspde.simulate(Vortices(), Points(points[order]), weights=w[order], **options))
    np.testing.assert_allclose(other, one[order], rtol=0, atol=1e-9)
    wrong = everywhere(kspde.simulate(Vortices(), Points(points[order]), weights=w, **options))
    assert np.abs(wrong - one[order]).max() > 1e-3


def test_equal_weights_change_nothing(mixture):
    model, save = kspde.SignalDependentKellerSegel(chi=8.0), kspde.SaveAt(times=(0.1,), statistics=("moments",))
    options = {"n": 300, "t_end": 0.1, "dt": 0.05, "eps": 0.3, "include_self": False, "save": save}
    plain = kspde.simulate(model, mixture, **options)
    equal = kspde.simulate(model, mixture, weights=np.full(300, 1 / 300), **options)
    np.testing.assert_allclose(equal.positions, plain.positions, rtol=1e-12)
    np.testing.assert_allclose(equal.weights_of("u"), plain.weights_of("u"))
    for mine, theirs in ((equal.diagnostics, plain.diagnostics), (equal.statistics, plain.statistics)):
        for name in theirs:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-10, atol=1e-14)
    assert plain.variations == {}


@dataclass(frozen=True, kw_only=True)
class Still(Model):
    """Two species that stay where they are."""

    dimension: int = 1
    species: tuple[str, ...] = ("a", "b")

    @property
    def fields(self) -> tuple[Field, ...]:
        return ()

    def diffusion(self, species, c: FieldValues):
        return 0.0


def test_statistics_are_those_of_the_measure(shared_tmp_path, comm):
    x, w = np.random.default_rng(2).normal(size=(50, 1)), np.random.default_rng(3).exponential(size=50)
    save = kspde.SaveAt(times=(0.1,), statistics=("moments", "histogram", "minimal_distance"))
    out = kspde.simulate(
        Still(), {"a": Points(x), "b": Points(x)}, n=50, t_end=0.1, dt=0.1, weights={"b": w}, save=save
    )
    assert out.masses == {"a": 1.0, "b": pytest.approx(w.sum())}
    mean = w @ x / w.sum()
    y = x - mean
    np.testing.assert_allclose(out.diagnostics["mean"][-1], [x.mean(axis=0), mean])
    np.testing.assert_allclose(out.statistics["covariance"][0, 1, 0, 0], w @ y[:, 0] ** 2 / w.sum())
    np.testing.assert_allclose(out.statistics["third_moment"][0, 1], w @ y**3 / w.sum())
    np.testing.assert_allclose(out.statistics["fourth_moment"][0, 1], w @ y**4 / w.sum())
    for row, weights in enumerate((np.ones(50), w)):
        counts, _ = np.histogram(x[:, 0], out.statistics["histogram_edges"][0, row, 0], weights=weights)
        np.testing.assert_allclose(out.statistics["histogram"][0, row, 0], counts)
    np.testing.assert_allclose(out.statistics["minimal_distance"][0], np.diff(np.sort(x[:, 0])).min())
    assert out.summary()["variations"] == {"b": pytest.approx(w.sum())}
    out.write(shared_tmp_path / "cloud.h5")
    with h5py.File(shared_tmp_path / "cloud.h5") as file:
        np.testing.assert_array_equal(file["weights/b"][:], w)
        assert "weights/a" not in file
    comm.barrier()


def test_what_has_no_meaning_is_refused(mixture, comm):
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    options = {"n": 20, "t_end": 0.1, "dt": 0.1, "eps": 0.3}
    nan, last = np.ones(20), comm.size - 1
    nan[7] = np.nan
    one_rank = lambda x: np.full(len(x) + (comm.rank == last), 1.0)  # noqa: E731
    for weights, message in (
        (np.ones(19), r"weights of 'u' has shape \(19,\): give shape \(20,\)"),
        (nan, r"weights of 'u' has nan at index \(7,\): give finite numbers"),
        ("heavy", r"weights of 'u' is not an array of numbers"),
        (np.zeros(20), r"the weights of 'u' have the absolute sum 0: give some that are not 0"),
        ({"v": np.ones(20)}, r"weights has species 'v': give some of u"),
        (one_rank, r"weights of 'u' has shape \(\d+,\): give shape \(\d+,\)"),
    ):
        with pytest.raises(kspde.InputError, match=message):
            kspde.simulate(model, mixture, weights=weights, **options)
    u = Points(np.zeros((1, 1)))
    with pytest.raises(kspde.InputError, match="weights are not by species: give a dictionary with some of a, b"):
        kspde.simulate(Still(), {"a": u, "b": u}, n=20, t_end=0.1, dt=0.1, weights=np.ones(20))
    save = kspde.SaveAt(times=(0.1,), statistics=("moments",))
    with pytest.raises(kspde.InputError, match=r"have no meaning with weights < 0 \(species 'u'\)"):
        kspde.simulate(model, mixture, weights=signed(20), save=save, **options)


def test_weights_beside_a_mean_field(mixture):
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    pde = kspde.solve(model, mixture, kspde.Box(half_width=8.0, cells=4, degree=4), t_end=0.1, tol=1e-2, eps=0.3)
    options = {"n": 20, "t_end": 0.1, "dt": 0.1, "eps": 0.3}
    weights = np.linspace(0.0, 2.0, 20) / 20
    with pytest.raises(kspde.InputError, match=r"weights of 'u' sum to 1\.5, the mean field's density has mass 1"):
        kspde.simulate(model, mixture, weights=1.5 * weights, mean_field=pde, **options)
    states = kspde.Snapshots()
    save = kspde.SaveAt(times=(0.0,), callback=states)
    coupled = kspde.simulate(model, mixture, weights=weights, mean_field=pde, save=save, **options)
    np.testing.assert_allclose(coupled.positions, coupled.mean_field.positions)  # without a signal they are the same
    for cloud_ in (coupled, coupled.mean_field, states.clouds[0]):
        np.testing.assert_array_equal(cloud_.weights_of("u"), coupled.weights_of("u"))
