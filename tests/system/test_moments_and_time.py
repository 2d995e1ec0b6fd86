"""Coefficients that depend on moments and on time, in both backends, against exact Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import kspde

MASS, MEAN, VARIANCE = 1.7, np.array([0.6, -0.4]), 0.5
PULL, SHARE = 0.4, 0.7


@dataclass(frozen=True, kw_only=True)
class Flock(kspde.Model):
    """Particles that are drawn to their common centre, with noise in proportion to their spread.

    With the centre m and the variance V of a coordinate, dX = −k (X − m) dt + √(2 a V) dB: m stays where it is, and
    V' = 2 (a − k) V. A Gaussian remains one.
    """

    @property
    def fields(self):
        return ()

    @property
    def moments(self):
        return (
            kspde.Moment(name="centre", function=lambda x: x),
            kspde.Moment(name="products", function=lambda x: x[:, :, None] * x[:, None]),
            kspde.Moment(name="mass", function=lambda x: np.ones(len(x))),
        )

    def diffusion(self, species, c):
        m, mass = c.moment("centre"), c.moment("mass")
        assert (m.shape, mass.shape, c.moment("products").shape) == ((2,), (), (2, 2))
        return SHARE * 0.5 * (np.trace(c.moment("products")) / mass - m @ m / mass**2)

    def drift(self, species, c):
        return -PULL * (c.points - c.moment("centre") / c.moment("mass"))


START = kspde.GaussianMixture(weights=[1.0], means=[MEAN], stds=[np.sqrt(VARIANCE)], mass=MASS)
T = 0.5
SPREAD = VARIANCE * np.exp(2 * (SHARE - PULL) * T)


def gaussian(x, mean, variance):
    return np.exp(-0.5 * np.sum((x - mean) ** 2, axis=-1) / variance) / (2 * np.pi * variance)


@pytest.fixture(scope="module")
def flock():
    box = kspde.Box(half_width=8.0, cells=8, degree=8)
    return kspde.solve(Flock(), START, box, t_end=T, tol=1e-7, save=kspde.SaveAt(times=[0.0, 0.25, T]))


def test_a_density_follows_its_own_moments(flock) -> None:
    x = np.stack(np.meshgrid(*[np.linspace(-1.5, 2.0, 9)] * 2), axis=-1).reshape(-1, 2)
    assert flock.at().evaluate(x) == pytest.approx(MASS * gaussian(x, MEAN, SPREAD), abs=2e-6)
    assert flock.moment("mass") == pytest.approx(MASS, abs=1e-12)
    assert flock.moment("centre") == pytest.approx(MASS * MEAN, abs=1e-7)
    for t, tol in ((0.0, 1e-8), (0.25, 1e-6), (0.1, 2e-5)):  # the last is interpolated
        spread = VARIANCE * np.exp(2 * (SHARE - PULL) * t)
        expected = MASS * (np.outer(MEAN, MEAN) + spread * np.eye(2))
        assert flock.moment("products", t) == pytest.approx(expected, abs=tol)
    with pytest.raises(kspde.InputError, match="moment = 'm2' is not valid: give one of centre, mass, products"):
        flock.moment("m2")


def test_particles_follow_theirs_and_mean_field_particles_the_density(flock) -> None:
    n = 4000
    options = {"n": n, "t_end": T, "dt": 0.05, "seed": 3}
    cloud = kspde.simulate(Flock(), START, mean_field=flock, **options, scheme="weak-2")
    spread = cloud.diagnostics["second_moment"][-1] / MASS - np.sum(cloud.diagnostics["mean"][-1] ** 2)
    assert spread == pytest.approx(2 * SPREAD, abs=4 * 2 * SPREAD / np.sqrt(n))
    # The empirical moments are off by N^(−1/2), and so are the particles that they move: by common factors.
    assert 0.2 / np.sqrt(n) < cloud.coupling.supremum < 4 / np.sqrt(n)


class Known:
    """A mean field without moments."""

    model, t_end = Flock(), T

    def signal_on_grid(self, axes, field=None, t=None):
        return np.zeros([len(axis) for axis in axes])


def test_a_mean_field_must_know_its_moments() -> None:
    with pytest.raises(kspde.InputError, match=r"without moment\(name, t\), which the model's moments need"):
        kspde.simulate(Flock(), START, n=9, t_end=T, dt=0.1, mean_field=Known())


def test_moments_of_weighted_particles_are_sums_over_all_of_them() -> None:
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Watching(Flock):
        species: tuple[str, ...] = ("a", "b")

        @property
        def moments(self):
            squares = kspde.Moment(name="squares", function=lambda x: x**2, source="b")
            return (kspde.Moment(name="sum", function=lambda x: x.sum(axis=1), source="a"), squares)

        def diffusion(self, species, c):
            if c.t == 0.0:
                seen.append((c.moment("sum"), c.moment("squares")))
            return 0.5

        def drift(self, species, c):
            return None

    start = {"a": START, "b": START}
    starts = kspde.simulate(Watching(), start, n={"a": 3, "b": 5}, t_end=1e-12, dt=1.0, seed=1)
    points = {name: np.concatenate(starts.comm.allgather(starts.of(name))) for name in "ab"}
    seen.clear()
    given = np.array([0.5, -2.0, 1.5])
    kspde.simulate(Watching(), start, n={"a": 3, "b": 5}, t_end=1e-12, dt=1.0, seed=1, weights={"a": given})
    for total, squares in seen:
        assert total == pytest.approx(given @ points["a"].sum(axis=1), abs=1e-5)
        assert squares == pytest.approx(MASS / 5 * (points["b"] ** 2).sum(axis=0), abs=1e-5)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: np.ones((len(x) + 1, 2)), "the function of moment 'm' returned shape"),
        (lambda x: 1.0, "the function of moment 'm' returned shape"),
        (lambda x: 1j * x, "the function of moment 'm' returned values of type complex128: return real numbers"),
        (lambda x: np.where(x > -9, np.inf, x), "the function of moment 'm' is inf at"),
    ],
)
def test_moments_that_have_no_meaning(function, words: str) -> None:
    class Odd(Flock):
        @property
        def moments(self):
            return (kspde.Moment(name="m", function=function),)

    with pytest.raises(kspde.InputError, match=words):
        kspde.solve(Odd(), START, kspde.Box(half_width=6.0, cells=20, degree=2), t_end=0.1)
    with pytest.raises(kspde.InputError, match=words):
        kspde.simulate(Odd(), START, n=9, t_end=0.1, dt=0.1)


@dataclass(frozen=True, kw_only=True)
class Carried(kspde.Model):
    """Particles that are carried along, by cos 4t."""

    @property
    def fields(self):
        return ()

    def diffusion(self, species, c):
        return 0.0

    def drift(self, species, c):
        return np.full(c.points.shape, np.cos(4 * c.t))


@pytest.mark.parametrize(("scheme", "share"), [("euler-maruyama", 0.0), ("weak-2", 0.5)])
def test_particles_see_the_time_of_each_stage(scheme: str, share: float) -> None:
    options = {"n": 5, "dt": 0.1, "scheme": scheme}
    first, last = (kspde.simulate(Carried(), START, t_end=t, **options).of("u") for t in (0.1, 0.4))
    expected = 0.1 * np.cos(4 * 0.1 * (np.arange(1, 4) + share)).sum()
    assert last - first == pytest.approx(np.full(first.shape, expected), abs=1e-12)


@dataclass(frozen=True, kw_only=True)
class Vortices(kspde.Model):
    """Vorticity that its own velocity carries along: dX = ∇^⊥ψ dt + √(2D) dB, −Δψ + μ²ψ = ω."""

    d: float

    @property
    def fields(self):
        return (kspde.Field(name="psi", kernel=kspde.Yukawa(screening=0.4), gradient=True),)

    @property
    def moments(self):
        return (
            kspde.Moment(name="centre", function=lambda x: x),
            kspde.Moment(name="products", function=lambda x: x[:, :, None] * x[:, None]),
        )

    def diffusion(self, species, c):
        return self.d

    def drift(self, species, c):
        return c.perp("psi")


def test_two_vortices_turn_around_each_other_counter_clockwise() -> None:
    pair = kspde.GaussianMixture(weights=[0.5, 0.5], means=[[-0.7, 0.3], [1.1, 0.3]], stds=[0.4, 0.4], mass=6.0)
    box = kspde.Box(half_width=7.0, cells=12, degree=5)
    pde = kspde.solve(Vortices(d=0.05), pair, box, t_end=0.4, tol=1e-5, save=kspde.SaveAt(times=[0.0]))
    first, last = (pde.moment("products", t) - np.outer(*2 * (pde.moment("centre", t),)) / 6.0 for t in (0.0, 0.4))
    assert first[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert 0.25 < last[0, 1] < 0.4
    # ∇^⊥ψ has no divergence, and moves no pair apart: ∫|x|²u grows by 4DM alone, and the centre rests.
    assert np.trace(last - first) == pytest.approx(4 * 0.05 * 6.0 * 0.4, abs=2e-4)
    assert pde.moment("centre") == pytest.approx([1.2, 1.8], abs=1e-4)
    cloud = kspde.simulate(Vortices(d=0.0), pair, n=500, t_end=0.4, dt=0.04, eps=0.1, scheme="weak-2")
    start = kspde.simulate(Vortices(d=0.0), pair, n=500, t_end=1e-9, dt=0.04, eps=0.1)
    x, y = (np.concatenate(each.comm.allgather(each.of("u"))) for each in (start, cloud))
    x, y = x - x.mean(axis=0), y - x.mean(axis=0)
    assert y.mean(axis=0) == pytest.approx(0.0, abs=1e-4)
    assert np.sum(y**2) == pytest.approx(np.sum(x**2), rel=2e-3)
    assert 6.0 * np.mean(y[:, 0] * y[:, 1] - x[:, 0] * x[:, 1]) == pytest.approx(last[0, 1], rel=0.2)
