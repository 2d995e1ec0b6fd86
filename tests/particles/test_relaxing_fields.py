"""Fields with τ > 0 at the particles, against integrals over time of heat kernels, and against the density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.models.base import Field, FieldValues, Model
from kspde.particles.fields.base import Extent
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.fields.relaxing import RelaxingFields
from kspde.runtime.random import Philox

CHI, MU, TAU, EPS = 8.0, 1.3, 0.7, 0.4
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


def heat(points, sources, age, mu=MU):
    """What a deposit has left: (χ/τ) e^(−μ² age/τ) × a Gaussian of variance ε² + 2 age/τ; value, gradient."""
    d, variance = points.shape[1], EPS**2 + 2 * age / TAU
    difference = points[:, None, :] - sources
    each = np.exp(-0.5 * (difference**2).sum(axis=2) / variance) / (2 * np.pi * variance) ** (d / 2)
    each *= CHI / TAU * np.exp(-(mu**2) * age / TAU)
    return each.mean(axis=1), -(each[:, :, None] * difference / variance).mean(axis=1)


def integral(points, measure, first, last, mu=MU):
    """∫ over ages [first, last] of what measure(age), a list of (weight, sources), has left."""
    value, gradient = np.zeros(len(points)), np.zeros(points.shape)
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        age = first + 0.5 * (last - first) * (node + 1)
        for share, sources in measure(age):
            one = heat(points, sources, age, mu)
            value += 0.5 * (last - first) * weight * share * one[0]
            gradient += 0.5 * (last - first) * weight * share * one[1]
    return value, gradient


def exact(points, t, times, places):
    """The field at time t ≥ times[-1] of sources linear in time between deposits, constant before and after them."""
    parts = []
    for first, last in ((0.0, 0.2), (0.2, 1.0), (1.0, 4.0), (4.0, 12.0)):  # the source at rest before times[0]
        start = t - times[0]
        parts.append(integral(points, lambda age: [(1.0, places[0])], start + first, start + last))
    for k in range(len(times) - 1):
        h = times[k + 1] - times[k]

        def between(age, k=k, h=h):
            s = (t - age - times[k]) / h
            return [(1 - s, places[k]), (s, places[k + 1])]

        parts.append(integral(points, between, t - times[k + 1], t - times[k]))
    if t > times[-1]:
        parts.append(integral(points, lambda age: [(1.0, places[-1])], 0.0, t - times[-1]))
    return sum(p[0] for p in parts), sum(p[1] for p in parts)


def field(name="v", tau=TAU, eps=EPS):
    kernel = kspde.Yukawa(strength=CHI, screening=MU) * kspde.GaussianMollifier(eps=eps)
    return Field(name=name, kernel=kernel, gradient=True, tau=tau)


def evaluator(fields, dimension, n, comm, tol=1e-6, **options):
    others = lambda still, **rest: ParticleMesh(still, memory_limit=1e9, **rest)  # noqa: E731
    arguments = {"memory_limit": 4e9, "include_self": True, "others": others} | options
    return RelaxingFields(fields, dimension=dimension, weights={"u": 1 / n}, tol=tol, comm=comm, **arguments)


def take(fields, x, t, comm, *, stage=False):
    """Give each rank its share of the particles; return value and gradient at all of them, on every rank."""
    n = len(x)
    mine = np.ascontiguousarray(x[n * comm.rank // comm.size : n * (comm.rank + 1) // comm.size])
    fields.t = t
    (fields.update_stage if stage else fields.update)({"u": mine}, Extent(x.min(axis=0), x.max(axis=0)))
    c = fields.at("u", mine)
    return np.concatenate(comm.allgather(c["v"])), np.concatenate(comm.allgather(c.gradient("v")))


def agree(found, expected, tol):
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tol * np.abs(theirs).max())


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_moving_sources_leave_what_the_heat_kernel_says(dimension, comm):
    # The cloud moves to one side and then far to the other, so that the grid is enlarged on both.
    n, tol = 12, 1e-6 if dimension < 3 else 1e-3
    random = np.random.default_rng(1)
    x = random.normal(size=(n, dimension))
    times = [0.0, 0.3, 0.35, 0.8]
    places = [x, x + 0.3, x + 3.0, x - 2.0]
    fields = evaluator((field(),), dimension, n, comm, tol=tol)
    shapes = []
    for k, t in enumerate(times):
        found = take(fields, places[k], t, comm)
        shapes.append(fields.shape)
        agree(found, exact(places[k], t, times[: k + 1], places[: k + 1]), tol)
        # Within a step the source stays what it was, and nothing is kept.
        half = take(fields, places[k] + 0.1, t + 0.02, comm, stage=True)
        agree(half, exact(places[k] + 0.1, t + 0.02, times[: k + 1], places[: k + 1]), tol)
    assert shapes[1] == shapes[0] < shapes[2] < shapes[3]


@pytest.mark.parametrize("dimension", [1, 2, pytest.param(3, marks=pytest.mark.one_rank)])
def test_a_given_field_without_screening(dimension, comm):
    """What heat has left of v₀ and of the sources since t = 0; the grid grows with it."""
    n, tol, mean, std = 12, 1e-6 if dimension < 3 else 1e-3, np.array([-1.0, 0.5, 0.2])[:dimension], 0.6
    v0 = kspde.GaussianMixture(weights=[1.0], means=[mean], stds=[std], mass=3.0)
    kernel = kspde.Yukawa(strength=CHI, screening=0.0) * kspde.GaussianMollifier(eps=EPS)
    one = Field(name="v", kernel=kernel, gradient=True, tau=TAU, start=v0)
    x = np.random.default_rng(1).normal(size=(n, dimension))
    times, places = [0.0, 0.1, 0.15, 0.8, 3.0], [x, x + 0.2, x + 0.3, x - 2.0, x + 1.0]
    times = times[: 3 if dimension == 3 else 5]

    def exact(points, t, held):
        variance = std**2 + 2 * t / TAU
        away = points - mean
        value = 3.0 * np.exp(-0.5 * (away**2).sum(axis=1) / variance) / (2 * np.pi * variance) ** (dimension / 2)
        parts = [(value, -value[:, None] * away / variance)]
        for k in range(held):
            first, h = times[k], times[k + 1] - times[k]

            def between(age, k=k, first=first, h=h):
                s = (t - age - first) / h
                return [(1 - s, places[k]), (s, places[k + 1])]

            parts.append(integral(points, between, t - times[k + 1], t - first, 0.0))
        if t > times[held]:
            parts.append(integral(points, lambda age: [(1.0, places[held])], 0.0, t - times[held], 0.0))
        return sum(p[0] for p in parts), sum(p[1] for p in parts)

    fields, again, shapes = evaluator((one,), dimension, n, comm, tol=tol), None, []
    for k, t in enumerate(times):
        found = take(fields, places[k], t, comm)
        shapes.append(fields.shape)
        # The grid is as fine as values of v₀ ask for, not its slopes.
        agree(found, exact(places[k], t, k), 2 * tol)
        half = take(fields, places[k] + 0.1, t + 0.02, comm, stage=True)
        agree(half, exact(places[k] + 0.1, t + 0.02, k), 2 * tol)
        if again is not None:
            np.testing.assert_array_equal(take(again, places[k], t, comm)[1], found[1])
        again = evaluator((one,), dimension, n, comm, tol=tol)
        again.restore({key: values.copy() for key, values in fields.state().items()})
    assert shapes[0] < shapes[-1]


def test_an_equilibrium_without_screening_is_refused(comm):
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    with pytest.raises(kspde.InputError, match=r"field 'c' has tau > 0 and a kernel without screening.*\(v0\)"):
        kspde.simulate(kspde.KellerSegel(chi=1.0, tau=1.0), u0, n=100, t_end=0.1, dt=0.1, eps=0.3)


def test_particles_at_rest_have_the_field_without_memory(comm):
    n = 40
    x = np.random.default_rng(2).normal(size=(n, 2))
    fields = evaluator((field(),), 2, n, comm)
    still = ParticleMesh((field(tau=0.0),), dimension=2, weights={"u": 1 / n}, tol=1e-6, include_self=True, comm=comm)
    instant = take(still, x, 0.0, comm)
    for t in (0.0, 0.1, 7.0):
        agree(take(fields, x, t, comm), instant, 1e-6)


def test_fields_with_and_without_memory_side_by_side(comm):
    n = 20
    x = np.random.default_rng(3).normal(size=(n, 2))
    fields = evaluator((field(), field("w", tau=0.0), field("z", tau=1e-4)), 2, n, comm)
    for t in (0.0, 0.2):
        take(fields, x + t, t, comm)
    c = fields.at("u", x + 0.2)
    v, w, z = c["v"], c["w"], c["z"]
    assert np.abs(v - w).max() > 0.03
    # With τ = 10⁻⁴ the field lags by τ/(λ + μ²) of the source's change.
    assert 1e-6 < np.abs(z - w).max() < 1e-4


@pytest.mark.one_rank
def test_the_field_of_a_smooth_path_is_of_second_order_in_the_step():
    def path(t):
        return (np.sin(1.5 * t + np.arange(3)) + np.arange(3))[:, None]

    at_rest = exact(path(1.0), 1.0, [0.0], [path(0.0)])[0]
    moving = integral(path(1.0), lambda age: [(1.0, path(1.0 - age)), (-1.0, path(0.0))], 0.0, 1.0)[0]
    errors = []
    for steps in (16, 32, 64):
        fields = evaluator((field(),), 1, 3, MPI.COMM_SELF, tol=1e-7)
        for k in range(steps + 1):
            found = take(fields, path(k / steps), k / steps, MPI.COMM_SELF)[0]
        errors.append(np.abs(found - at_rest - moving).max() / np.abs(found).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.1)
    assert errors[2] < 1e-4


@dataclass(frozen=True, kw_only=True)
class Slowing(Model):
    """dX = ½∇v dt + √(2 (1 + e^(−v))) dB, τ∂_t v − Δv + μ²v = χ u."""

    dimension: int = 2

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field(name="v", kernel=kspde.Yukawa(strength=CHI, screening=MU), gradient=True, tau=TAU),)

    def diffusion(self, species, c: FieldValues):
        return 1 + np.exp(-c["v"])

    def drift(self, species, c: FieldValues):
        return 0.5 * c.gradient("v")


def everywhere(cloud):
    return cloud.comm.bcast(cloud.gathered())


@pytest.mark.one_rank
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_steps_are_those_that_are_documented(dimension):
    n, dt, steps = 25, 0.1, 3
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5] * dimension], stds=[0.8])
    cloud = kspde.simulate(
        Slowing(dimension=dimension),
        u0,
        n=n,
        t_end=dt * steps,
        dt=dt,
        eps=EPS,
        seed=5,
        field_tol=1e-5 if dimension < 3 else 1e-3,
    )
    ids = np.arange(n, dtype=np.uint64)
    times, places = [], []
    x = u0.sample(Philox(5, 0), ids)
    for k in range(steps):
        times.append(k * dt)
        places.append(x)
        v, slope = exact(x, k * dt, times, places)
        x = x + 0.5 * dt * slope + np.sqrt(2 * (1 + np.exp(-v)) * dt)[:, None] * Philox(5, 1).normals(ids, k, dimension)
    np.testing.assert_allclose(everywhere(cloud), x, atol=1e-5 if dimension < 3 else 3e-4)


@pytest.mark.one_rank
def test_second_order_steps_are_those_that_are_documented():
    n, h = 12, 0.2
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.0]], stds=[0.8])
    cloud = kspde.simulate(
        Slowing(), u0, n=n, t_end=2 * h, dt=h, eps=EPS, seed=5, field_tol=1e-6, scheme="weak-2", comm=MPI.COMM_SELF
    )
    ids = np.arange(n, dtype=np.uint64)
    times, places = [], []
    x = u0.sample(Philox(5, 0), ids)

    def coefficients(points, t):
        v, slope = exact(points, t, times, places)
        return np.sqrt(2 * (1 + np.exp(-v)))[:, None], 0.5 * slope, -(np.exp(-v)[:, None] * slope)

    for k in range(2):
        times.append(k * h)
        places.append(x)
        normals = Philox(5, 1).normals(ids, k, 4)
        u, w = normals[:, :2], normals[:, 2:]
        z = (u + w) / np.sqrt(2)
        s, b, _ = coefficients(x, k * h)
        su, bu, s_grad_s = coefficients(x + h / 2 * b + np.sqrt(h / 2) * s * u, (k + 0.5) * h)
        sw, bw, _ = coefficients(x + h / 2 * b + np.sqrt(h / 2) * s * w, (k + 0.5) * h)
        bracket = (w - u) * s + (z - w) * su + (z + u) * sw
        # s_i ∇s_i^u with s ∇s = ∇D at the stage: s/s^u times it.
        x = x + h / 2 * (bu + bw) + np.sqrt(h) / 2 * bracket - h / 2 * s / su * s_grad_s
    np.testing.assert_allclose(cloud.positions, x, atol=2e-5)


@pytest.fixture(scope="module")
def solved():
    mixture = kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )
    model = kspde.LocalSensing(motility=kspde.OnePlusExponentialMotility(), chi=8.0, tau=1.0)
    box = kspde.Box(half_width=14.0, cells=20, degree=5)
    save = kspde.SaveAt(times=np.linspace(0, 0.5, 11))
    return mixture, kspde.solve(model, mixture, box, t_end=0.5, eps=0.3, tol=1e-6, save=save)


@pytest.mark.one_rank
def test_bias_of_the_step_against_the_density(solved):
    # E|X|² of the interacting particles less that of free ones with the same noise, whose law is exact.
    u0, pde = solved
    n = 60_000
    second = pde.diagnostics["second_moment"]
    bias, spread = {}, []
    for scheme, steps in (("euler-maruyama", 1), ("euler-maruyama", 4), ("weak-2", 1), ("weak-2", 4)):
        options = {"n": n, "t_end": 0.5, "dt": 0.5 / steps, "scheme": scheme, "seed": 2, "field_tol": 1e-4}
        x = kspde.simulate(pde.model, u0, eps=0.3, **options)
        free = kspde.simulate(kspde.SignalDependentKellerSegel(chi=0.0), u0, **options)
        difference = (x.diagnostics["second_moment"] - free.diagnostics["second_moment"])[-1]
        bias[scheme, steps] = difference + second[0] + 8 * 0.5 - second[-1]
        local = (everywhere(x) ** 2).sum(axis=1) - (everywhere(free) ** 2).sum(axis=1)
        spread.append(local.std() / np.sqrt(n))
    tolerance = 4.5 * max(spread)
    assert tolerance < 0.015
    assert bias["euler-maruyama", 1] == pytest.approx(-0.137, abs=tolerance)
    assert bias["euler-maruyama", 4] == pytest.approx(-0.029, abs=tolerance)
    assert abs(bias["weak-2", 1]) < tolerance
    assert abs(bias["weak-2", 4]) < tolerance


def test_mean_field_particles_take_the_field_of_the_density(solved):
    # Without memory the field would be another one: by a tenth of it.
    u0, pde = solved
    options = {"t_end": 0.5, "dt": 0.025, "eps": 0.3, "field_tol": 1e-4, "mean_field": pde}
    distance = [
        np.mean([kspde.simulate(pde.model, u0, n=n, seed=s, **options).coupling.supremum for s in range(runs)])
        for n, runs in ((250, 6), (16_000, 2))
    ]
    assert 4 < distance[0] / distance[1] < 16  # 8, to the spread of the runs
    assert distance[1] < 0.006


def test_the_result_does_not_depend_on_the_number_of_ranks(comm):
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.8])
    options = {"n": 301, "t_end": 0.6, "dt": 0.1, "eps": EPS, "seed": 9}
    here = kspde.simulate(Slowing(), u0, comm=MPI.COMM_SELF, **options)
    there = kspde.simulate(Slowing(), u0, comm=comm, **options)
    np.testing.assert_allclose(everywhere(there), here.positions, rtol=0, atol=1e-10)
    assert here.summary()["modes"] == there.summary()["modes"]


class StopError(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(shared_tmp_path, scheme):
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.3])
    options = {"n": 203, "t_end": 1.6, "dt": 0.2, "eps": EPS, "scheme": scheme, "field_tol": 1e-4}
    whole = kspde.simulate(Slowing(), u0, **options)
    small = kspde.simulate(Slowing(), u0, **{**options, "t_end": 0.2})
    assert small.summary()["modes"] != whole.summary()["modes"]  # the grid is enlarged on the way
    seen = []

    def stop(fraction):
        seen.append(fraction)
        if len(seen) == 5:
            raise StopError

    checkpoint = kspde.Checkpoint(shared_tmp_path, every=0)
    with pytest.raises(StopError):
        kspde.simulate(Slowing(), u0, checkpoint=checkpoint, progress=stop, **options)
    again = kspde.simulate(Slowing(), u0, checkpoint=checkpoint, resume=True, **options)
    assert np.array_equal(everywhere(again), everywhere(whole))
    assert again.summary()["modes"] == whole.summary()["modes"]


def test_bad_input(mixture):
    model = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=8.0, tau=1.0)
    good = {"n": 20, "t_end": 0.2, "dt": 0.1, "eps": 0.5}

    class Zero:
        t_end = 1.0

        def signal_on_grid(self, axes, field=None, t=None):
            return np.zeros([len(axis) for axis in axes])

    zero = Zero()
    zero.model = model
    fluctuations = {"mean_field": zero, "save": kspde.SaveAt(statistics=("field_fluctuations",))}
    for change, message in (
        ({"include_self": False}, "include_self = False has no meaning where a field has tau > 0"),
        ({"method": "direct"}, r'method = .direct. gives no field with tau > 0 such as .v., .*: use method = "mesh"'),
        ({"eps": None}, "field 'v': its kernel is singular in dimension 2: give eps"),
        ({"memory_limit": 1e5}, r"of a cloud of size .* need \d+ × \d+ modes .* the limit is 0.0001 GB"),
        (fluctuations, '"field_fluctuations" is the law of large numbers at one time'),
    ):
        with pytest.raises(kspde.InputError, match=message):
            kspde.simulate(model, mixture, **good | change)

    @dataclass(frozen=True, kw_only=True)
    class Forgetless(Slowing):
        @property
        def fields(self):
            return (Field(name="v", kernel=kspde.GaussianMollifier(eps=1.0), gradient=True, tau=1.0),)

    with pytest.raises(kspde.InputError, match="field 'v' has tau > 0 and a kernel that decays faster than any expon"):
        kspde.simulate(Forgetless(), mixture, **good)
