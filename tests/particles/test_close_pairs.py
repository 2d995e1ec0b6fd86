"""Steps of particles with singular kernels: close pairs move by bounded, opposite displacements."""

from __future__ import annotations

import numpy as np
import pytest

import kspde
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import Extent
from kspde.particles.fields.close_pairs import ClosePairs
from kspde.particles.schemes import SCHEMES
from kspde.particles.start import Seed
from kspde.particles.system import System
from kspde.runtime.random import Philox

KAPPA = 1 / 3
VORTICES = kspde.ViscousVortices(viscosity=0.0)


def tamed(x, w, d, kernel, scale, comm, *, method="direct", field_tol=1e-6):
    """Return the gradient at all particles, in a step with h A = ``scale``."""
    fields = (kspde.Field(name="v", kernel=kernel, gradient=True, value=False),)
    n = len(x)
    mine = slice(n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size)
    options = FieldOptions(method=method, field_tol=field_tol)
    evaluator = options.evaluator(fields, dimension=d, weights={"u": w[mine]}, comm=comm)
    evaluator.update({"u": x[mine]}, Extent(x.min(axis=0), x.max(axis=0)))
    if scale > 0:
        evaluator.close = ClosePairs(evaluator.singular, d, comm)
        evaluator.close.begin(scale, {"u": x[mine]}, evaluator.weights)
    return np.concatenate(comm.allgather(evaluator.at("u", x[mine]).gradient("v").copy()))


def all_pairs(x, w, kernel, scale):
    """Return that gradient by the formula, written here."""
    d = x.shape[1]
    z = x[:, None] - x
    r = np.linalg.norm(z, axis=2)
    np.fill_diagonal(r, 1.0)
    slope = np.where(r > 0, kernel.slope(np.where(r > 0, r, 1.0), d), 0.0) / np.where(r > 0, r, 1.0)
    q = np.maximum(scale * (np.abs(w[:, None]) + np.abs(w)) * np.abs(slope), 1e-300)
    slope *= np.where(q > KAPPA, 1 - (1 - KAPPA / np.maximum(q, KAPPA)) ** 3, 1.0)
    return np.einsum("ij,ijd,j->id", slope, z, w), q


@pytest.mark.parametrize(
    ("d", "kernel"),
    [
        pytest.param(1, kspde.LogPotential(), marks=pytest.mark.one_rank),
        (2, kspde.LogPotential(strength=-2.0)),
        pytest.param(2, kspde.Yukawa(screening=3.0), marks=pytest.mark.one_rank),
        pytest.param(3, kspde.LogPotential(), marks=pytest.mark.one_rank),
        pytest.param(2, kspde.Riesz(s=0.5, strength=-1.0), marks=pytest.mark.one_rank),
    ],
)
def test_close_pairs_whatever_computes_the_field(d, kernel, comm):
    random = np.random.default_rng(1)
    n = 700
    x = random.normal(size=(n, d)) + 3.0
    x[: n // 2] = 3.0 + 0.01 * random.normal(size=(n // 2, d))
    x[0] += 500.0
    x[7] = x[8]
    w = random.uniform(-0.5, 1.5, n) / n
    scale = {1: 1.0, 2: 0.01, 3: 1e-3}[d]
    kernel = kernel.in_dimension(d)
    exact, q = all_pairs(x, w, kernel, scale)
    assert 0.001 < np.mean(q > KAPPA) < 0.9
    size = np.abs(exact).max()
    direct = tamed(x, w, d, kernel, scale, comm)
    np.testing.assert_allclose(direct, exact, rtol=0, atol=1e-9 * size)
    mesh = tamed(x, w, d, kernel, scale, comm, method="mesh")
    untamed = np.abs(tamed(x, w, d, kernel, 0.0, comm)).max()
    assert np.abs(mesh - exact).max() <= 1e-6 * max(size, 1e-3 * untamed)
    assert np.abs(w @ direct).max() <= 1e-12 * np.abs(w).sum() * size  # the centre of the weights


@pytest.mark.one_rank
def test_a_pair_is_tamed_only_where_a_step_does_not_resolve_it(comm):
    kernel, w = kspde.LogPotential(), np.array([0.3, 0.7])
    delta = np.sqrt(0.01 / (2 * np.pi * KAPPA))
    for share in (0.999, 1.001):
        x = np.array([[1.0, 2.0], [1.0 + share * delta, 2.0]])
        plain, ours = tamed(x, w, 2, kernel, 0.0, comm), tamed(x, w, 2, kernel, 0.01, comm)
        assert np.array_equal(plain, ours) == (share > 1)
    for r in (1e-3 * delta, 1e-7 * delta):
        x = np.array([[0.0, 0.0], [r, 0.0]])
        moved = 0.01 * tamed(x, w, 2, kernel, 0.01, comm)[:, 0]
        # φ → 1; what remains of the slope is a difference of numbers (δ/r)² as large
        np.testing.assert_allclose(moved[0] - moved[1], r, rtol=1e-4 + np.finfo(float).eps * (delta / r) ** 2)


def separated(steps, comm, scheme="weak-2"):
    """Return where 30 vortices of unequal strength on a lattice are after a time 1."""
    x = np.stack(np.meshgrid(np.arange(6), np.arange(5)), axis=-1).reshape(-1, 2) * 0.4
    x = x + 0.02 * np.random.default_rng(0).normal(size=x.shape)
    w = 2 * np.pi / 30 * np.random.default_rng(1).uniform(0.5, 1.5, 30)
    evaluator = FieldOptions(method="direct").evaluator(VORTICES.fields, dimension=2, weights={"u": w}, comm=comm)
    system = System(
        model=VORTICES,
        evaluator=evaluator,
        positions={"u": x.copy()},
        ids={"u": np.arange(30, dtype=np.uint64)},
        counts={"u": 30},
        noise=Philox(0),
        comm=comm,
    )
    for step in range(steps):
        system.observe()
        system.prepare(step / steps)
        SCHEMES[scheme](1 / steps).advance(system, step, step / steps, 1 / steps)
    return system.positions["u"], w @ (system.positions["u"] - x)


@pytest.mark.one_rank
def test_separated_vortices_have_order_two(comm):
    coarse, middle, finest = (separated(steps, comm)[0] for steps in (16, 32, 128))
    errors = [np.sqrt(np.mean((x - finest) ** 2)) for x in (coarse, middle)]
    assert errors[1] < 3e-5
    assert np.log2(errors[0] / errors[1]) > 1.97  # 2.09: the finest run has an error too


@pytest.mark.one_rank
@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_the_centre_is_kept_without_noise(scheme, comm):
    assert np.abs(separated(1, comm, scheme)[1]).max() < 1e-14  # a step so long that pairs are tamed


@pytest.mark.one_rank
@pytest.mark.parametrize(("scheme", "bias"), [("euler-maruyama", 0.04), ("weak-2", 0.02)])
def test_pairs_that_touch_spread_as_they_should(scheme, bias, comm):
    """d/dt E Σw|X|²/M = 4 − (M/2π)(1 − Σw²/M²), N = 10, M = 4π: 200 increments less their martingales."""
    mass, n, h = 4 * np.pi, 10, 0.005
    w = mass * np.arange(1, 11) / 55
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.4], mass=mass)
    rates = []
    for replica in range(20):
        path: list[np.ndarray] = []
        ids, noise = np.arange(n, dtype=np.uint64), Seed(3, replica).noise
        times = h * np.arange(11)

        def keep(cloud, path=path):
            path.append(np.concatenate(comm.allgather(cloud.positions.copy())))

        kspde.simulate(
            kspde.KellerSegel(chi=1.0), u0, n=n, weights=w, t_end=times[-1], dt=h, scheme=scheme, seed=3,
            replica=replica, save=kspde.SaveAt(times=times, callback=keep),
        )  # fmt: skip
        total = w @ np.sum(path[-1] ** 2 - path[0] ** 2, axis=1)
        for step, x in enumerate(path[:-1]):
            z = noise.normals(ids, step, 2 if scheme == "euler-maruyama" else 4)
            z = z if z.shape[1] == 2 else (z[:, :2] + z[:, 2:]) / np.sqrt(2)
            eta = np.sqrt(2 * h) * z
            total -= w @ np.sum(2 * x * eta + eta**2 - 2 * h, axis=1)
        rates.append(total / mass / times[-1])
    error = np.std(rates) / np.sqrt(len(rates))
    assert error < 0.05
    assert abs(np.mean(rates) - (4 - 2 * (1 - 385 / 3025))) < bias + 3 * error


def test_particles_that_repel_on_a_line_keep_their_order(comm):
    gas = kspde.LogGas(strength=1.0, noise=1.0, confinement=1.0, dimension=1)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[1.0])
    paths = []
    save = kspde.SaveAt(times=[0.0, 0.1, 0.3], callback=lambda c: paths.append(c.positions.copy()))
    options = {"n": 60, "t_end": 0.3, "dt": 0.05, "seed": 1, "save": save}
    kspde.simulate(gas, u0, **options)
    for x in paths:
        assert np.all(np.diff(np.concatenate(comm.allgather(x))[:, 0]) > 0)
    kspde.simulate(gas, u0, weights=np.linspace(0.5, 1.5, 60) / 60, **options)  # no two of them are alike
    assert np.any(np.diff(np.concatenate(comm.allgather(paths[-1]))[:, 0]) < 0)


@pytest.mark.parametrize("on_blow_up", ["warn", "ignore"])
def test_what_steps_leave_out_is_said(on_blow_up, comm):
    """Σ w_i w_j (1 − κ/q)³₊ / Σ w_i w_j at the beginning and the end of a step, as r|K'| is constant."""
    h, w, paths = 0.3, np.array([1.0, 0.5, 1.5, 2.0]), []
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.3], mass=5.0)
    save = kspde.SaveAt(times=[0.0, h], callback=lambda c: paths.append(np.concatenate(comm.allgather(c.positions))))
    options = {"n": 4, "weights": w, "t_end": h, "dt": h, "save": save, "on_blow_up": on_blow_up}
    cloud = kspde.simulate(kspde.KellerSegel(chi=2.0), u0, **options)
    i, j = np.triu_indices(4, 1)
    lost = 0.0
    for x in paths:
        q = 2.0 * h * (w[i] + w[j]) / (2 * np.pi * np.sum((x[i] - x[j]) ** 2, axis=1))
        lost += np.sum(w[i] * w[j] * np.maximum(1 - KAPPA / q, 0) ** 3)
    assert 0.1 < lost / np.sum(w[i] * w[j]) < 2.0
    np.testing.assert_allclose(cloud.summary()["left_out"], lost / (2 * np.sum(w[i] * w[j])), rtol=1e-9)


@pytest.mark.one_rank
def test_pairs_that_are_too_close_for_any_field_end_the_run():
    """They would be thrown apart by the errors of the field, not by their repulsion."""
    for std in (1e-14, 1e-20):
        start = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[std])
        with pytest.raises(kspde.ConvergenceError, match="fall onto one another, or start so, give eps"):
            kspde.simulate(kspde.LogGas(strength=1.0, noise=0.0), start, n=2, t_end=0.1, dt=0.01)


def test_pairs_that_positions_are_too_far_away_for_are_refused(comm):
    """Cells as narrow as close pairs would not be numbers any more, nor would their neighbours be found."""
    x = np.random.default_rng(5).normal(size=(20, 2))
    x[10:, 0] += 1e16
    with pytest.raises(
        kspde.InputError, match=r"particles lie up to 1e\+16 from the origin, where positions are rounded"
    ):
        tamed(x, np.full(20, 0.05), 2, kspde.LogPotential(strength=-1.0), 1e-3, comm)
    x[10:, 0] -= 1e16 - 1e6
    found = tamed(x, np.full(20, 0.05), 2, kspde.LogPotential(strength=-1.0), 1e-3, comm)
    exact = all_pairs(x, np.full(20, 0.05), kspde.LogPotential(strength=-1.0), 1e-3)[0]
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-8 * np.abs(exact).max())
