"""Orders of the schemes, against exact expectations and exact paths."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from mpi4py import MPI
from scipy.integrate import solve_ivp

import kspde
from kspde.models.base import Field, FieldValues, Model
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.schemes import SCHEMES
from kspde.particles.system import System
from kspde.particles.weights import particle_weights
from kspde.runtime.random import Philox

OWN, OTHER, GROWTH, PULL = 0.5, 0.8, 0.6, 0.7
START = (0.6, -0.9)
MONOMIALS = [(i, j) for i in range(5) for j in range(5) if i + j <= 4]


@dataclass(frozen=True, kw_only=True)
class Pair(Model):
    """Pairs of particles x, y on the line, whose noises do not commute.

    dX = −k X dt + √((1 + αX² + βY²)(1 + γt)) dB, and Y likewise: the generator keeps polynomials of degree 4.
    """

    dimension: int = 1

    @property
    def fields(self) -> tuple[Field, ...]:
        return ()

    def diffusion(self, species, c: FieldValues):
        return 0.5 * (1 + OWN * c.points[:, 0] ** 2 + OTHER * c["other"] ** 2) * (1 + GROWTH * c.t)

    def drift(self, species, c: FieldValues):
        return -PULL * c.points


class PairFields:
    """The "field" of a particle is where its partner is."""

    t = 0.0
    own_slopes: ClassVar = {}
    summed = ()
    singular = ()
    close = None

    def update(self, positions, extent):
        self.other = positions["u"][:, 0].reshape(-1, 2)[:, ::-1].ravel()

    update_stage = update

    def update_moments(self, positions):
        """There are none."""

    def at(self, species, x):
        return FieldValues(x, {"other": self.other}, t=self.t)


def exact_expectations(h):
    """E[x^i y^j] after a time h from START, for all monomials of degree up to 4."""
    index = {m: k for k, m in enumerate(MONOMIALS)}
    noise, pull = np.zeros((2, len(MONOMIALS), len(MONOMIALS)))
    for (i, j), row in index.items():
        pull[row, row] -= PULL * (i + j)
        for power, term in ((i, (1, 0)), (j, (0, 1))):
            if power < 2:
                continue
            left = (i - 2 * term[0], j - 2 * term[1])
            factor = 0.5 * power * (power - 1)
            noise[row, index[left]] += factor
            for (a, b), weight in (((2 * term[0], 2 * term[1]), OWN), ((2 * term[1], 2 * term[0]), OTHER)):
                noise[row, index[left[0] + a, left[1] + b]] += factor * weight
    start = np.array([START[0] ** i * START[1] ** j for i, j in MONOMIALS])
    solution = solve_ivp(
        lambda t, m: (1 + GROWTH * t) * (noise @ m) + pull @ m, (0, h), start, method="DOP853", rtol=1e-13, atol=1e-14
    )
    return solution.y[:, -1]


def scheme_expectations(h, nodes=10):
    """The same of one step of the scheme, its expectation over the normals by Gauss and Hermite's quadrature."""
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    weight = weight / weight.sum()
    # One pair of particles for every combination of (u, w) of the first and of the second.
    choices = np.array(list(product(range(nodes), repeat=4)))
    normals = z[choices].reshape(-1, 2)
    weights = weight[choices].prod(axis=1)
    n = len(normals)
    system = System(
        model=Pair(),
        evaluator=PairFields(),
        positions={"u": np.tile(START, n // 2)[:, None]},
        ids={"u": np.arange(n, dtype=np.uint64)},
        counts={"u": n},
        noise=SimpleNamespace(normals=lambda ids, step, count: normals),
        comm=MPI.COMM_SELF,
    )
    system.observe()
    system.prepare(0.0)
    SCHEMES["weak-2"](h).advance(system, 0, 0.0, h)
    x, y = system.positions["u"].reshape(-1, 2).T
    return np.array([weights @ (x**i * y**j) for i, j in MONOMIALS])


@pytest.mark.one_rank
def test_one_step_has_all_moments_to_third_order():
    # Weak order 2 is a local error of order 3 for every polynomial.
    error = [scheme_expectations(h) - exact_expectations(h) for h in (0.08, 0.04, 0.02)]
    scale = np.abs(exact_expectations(0.08)) + 0.1
    for (i, j), *errors, size in zip(MONOMIALS, *error, scale, strict=True):
        if (i, j) != (0, 0):
            assert max(map(abs, errors)) < 15 * 0.08**3 * size, (i, j)
            assert np.log2(np.abs(errors[0] / errors[1])) == pytest.approx(3, abs=0.2), (i, j)
            assert np.log2(np.abs(errors[1] / errors[2])) == pytest.approx(3, abs=0.1), (i, j)


@dataclass(frozen=True, kw_only=True)
class Geometric(Model):
    """dX = σ X dB on the line."""

    dimension: int = 1
    sigma: float = 0.8

    @property
    def fields(self) -> tuple[Field, ...]:
        return ()

    def diffusion(self, species, c: FieldValues):
        return 0.5 * self.sigma**2 * c.points[:, 0] ** 2


@pytest.mark.one_rank
@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_strong_order_and_limit(scheme):
    # X_T = X_0 exp(σ W_T − σ²T/2): Itô's solution, path by path.
    n, model = 20_000, Geometric()
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[1.0]], stds=[0.2])
    error = []
    for steps in (4, 16, 64):
        cloud = kspde.simulate(model, u0, n=n, t_end=1.0, dt=1 / steps, scheme=scheme, seed=2, comm=MPI.COMM_SELF)
        ids = np.arange(n, dtype=np.uint64)
        count = 1 if scheme == "euler-maruyama" else 2
        xi = [Philox(2, 1).normals(ids, k, count).sum(axis=1) / np.sqrt(count) for k in range(steps)]
        brownian = np.sum(xi, axis=0) / np.sqrt(steps)
        exact = u0.sample(Philox(2, 0), ids)[:, 0] * np.exp(0.8 * brownian - 0.32)
        error.append(np.abs(cloud.positions[:, 0] - exact).mean())
    declared = SCHEMES[scheme].strong_order
    if scheme == "euler-maruyama":
        for coarse, fine in pairwise(error):
            assert np.log(coarse / fine) / np.log(4) == pytest.approx(declared, abs=0.12)
        assert error[-1] < 0.05
    else:  # one noise commutes with itself: there is no Lévy area, and the order is 1
        for coarse, fine in pairwise(error):
            assert 0.8 < np.log(coarse / fine) / np.log(4) < 1.2
        assert error[-1] < 0.01


@pytest.mark.one_rank
def test_bias_of_the_step_against_an_exact_law():
    # dX = −X dt + √2 dB: E X² of the scheme by its own recursion, and its distance from the limit.
    @dataclass(frozen=True, kw_only=True)
    class OrnsteinUhlenbeck(Model):
        dimension: int = 1

        @property
        def fields(self):
            return ()

        def diffusion(self, species, c):
            return 1.0

        def drift(self, species, c):
            return -c.points

    n = 400_000
    limit = 1 - 0.75 * np.exp(-2.0)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[0.5])
    errors = {"euler-maruyama": [], "weak-2": []}
    for steps in (2, 4, 8):
        h = 1 / steps
        # X' = (1 − h + h²/2 [weak-2]) X + noise of variance 2h, or 2h((1 − h/2)²), as the midpoint stages make it.
        for scheme, factor, noise in (
            ("euler-maruyama", 1 - h, 2 * h),
            ("weak-2", 1 - h + h**2 / 2, 2 * h * (1 - h / 2) ** 2),
        ):
            variance = 0.25
            for _ in range(steps):
                variance = factor**2 * variance + noise
            cloud = kspde.simulate(OrnsteinUhlenbeck(), u0, n=n, t_end=1.0, dt=h, scheme=scheme, seed=steps)
            assert cloud.diagnostics["second_moment"][-1] == pytest.approx(variance, rel=4.5 * np.sqrt(2 / n))
            errors[scheme].append(abs(variance - limit))
    for scheme, order in (("euler-maruyama", 1), ("weak-2", 2)):
        ratio = errors[scheme][1] / errors[scheme][2]
        assert np.log2(ratio) == pytest.approx(SCHEMES[scheme].weak_order, abs=0.4)
        assert SCHEMES[scheme].weak_order == order
    assert errors["weak-2"][0] < 0.3 * errors["euler-maruyama"][0]


@pytest.mark.one_rank
def test_bias_of_the_step_against_the_density(mixture):
    # E|X|² of the interacting particles less that of free ones with the same noise, whose law is exact.
    model, n = kspde.SignalDependentKellerSegel(chi=8.0), 100_000
    pde = kspde.solve(model, mixture, kspde.Box(half_width=14.0, cells=20, degree=5), t_end=0.5, eps=0.3, tol=1e-6)
    second = pde.diagnostics["second_moment"]
    bias, spread = {}, []
    for scheme in ("euler-maruyama", "weak-2"):
        for steps in (1, 2, 4):
            options = {"n": n, "t_end": 0.5, "dt": 0.5 / steps, "scheme": scheme, "seed": 1}
            x = kspde.simulate(model, mixture, eps=0.3, **options)
            free = kspde.simulate(kspde.SignalDependentKellerSegel(chi=0.0), mixture, **options)
            difference = (x.diagnostics["second_moment"] - free.diagnostics["second_moment"])[-1]
            bias[scheme, steps] = difference + second[0] + 8 * 0.5 - second[-1]
            local = (x.positions**2).sum(axis=1) - (free.positions**2).sum(axis=1)
            spread.append(local.std() / np.sqrt(n))
    tolerance = 4.5 * max(spread)
    assert tolerance < 0.012
    for steps, expected in ((1, -0.186), (2, -0.087), (4, -0.041)):
        assert bias["euler-maruyama", steps] == pytest.approx(expected, abs=tolerance)
    for steps, expected in ((1, 0.0141), (2, 0.0048), (4, 0.0012)):
        assert bias["weak-2", steps] == pytest.approx(expected, abs=tolerance)


def test_every_scheme_says_where_it_comes_from():
    for name, scheme in SCHEMES.items():
        assert scheme.name == name
        assert "Kloeden and Platen" in scheme.source
        assert scheme.field_evaluations >= 1


@pytest.mark.parametrize("own", [False, True])
def test_what_a_step_tallies_is_what_an_observation_finds(mixture, comm, own):
    n = 3_000  # two blocks
    ids = np.arange(n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size, dtype=np.uint64)
    weights = particle_weights(
        (lambda x: (0.2 + x[:, 0]) / n) if own else None,
        {"u": mixture.sample(Philox(0, 0), ids)},
        counts={"u": n},
        masses={"u": 1.0},
        comm=comm,
    )
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    system = System(
        model=model,
        evaluator=ParticleMesh(
            model.regularised_fields(kspde.GaussianMollifier(eps=0.3)),
            dimension=2,
            weights=weights.each,
            tol=1e-6,
            include_self=False,
            comm=comm,
        ),
        positions={"u": mixture.sample(Philox(0, 0), ids)},
        ids={"u": ids},
        counts={"u": n},
        noise=Philox(0, 1),
        comm=comm,
        weights=weights,
    )
    system.observe()
    system.prepare(0.0)
    before = system.seen
    tallies = SCHEMES["euler-maruyama"](0.1).advance(system, 0, 0.0, 0.1)
    system.observe(tallies)
    told = system.seen
    system.observe()
    assert repr(told) == repr(system.seen)
    assert repr(told) != repr(before)


def test_a_constant_coefficient_gives_the_exact_step(mixture):
    # γ = 2 is constant: both take the exact step.
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    cloud = kspde.simulate(model, mixture, n=50, t_end=0.4, dt=0.2, scheme="weak-2", comm=MPI.COMM_SELF)
    ids = np.arange(50, dtype=np.uint64)
    x = mixture.sample(Philox(0, 0), ids)
    for step in range(2):
        normals = Philox(0, 1).normals(ids, step, 4)
        x = x + np.sqrt(2 * 2 * 0.2) * (normals[:, :2] + normals[:, 2:]) / np.sqrt(2)
    np.testing.assert_allclose(cloud.positions, x, rtol=0, atol=1e-12)
    assert cloud.summary()["scheme"] == "weak-2"


def test_weak_second_order_does_not_depend_on_the_number_of_ranks(mixture, comm):
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    options = {"n": 501, "t_end": 0.3, "dt": 0.1, "eps": 0.3, "scheme": "weak-2"}
    here = kspde.simulate(model, mixture, comm=MPI.COMM_SELF, **options)
    there = kspde.simulate(model, mixture, comm=comm, **options)
    np.testing.assert_allclose(comm.bcast(there.gathered()), here.positions, rtol=0, atol=1e-8)


def test_bad_stages_name_the_step_and_the_particle():
    @dataclass(frozen=True, kw_only=True)
    class Bad(Geometric):
        def diffusion(self, species, c):
            return np.where(c.points[:, 0] > 2.0, -1.0, 1.0)

    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[0.1])
    with pytest.raises(
        kspde.ConvergenceError, match=r"^step \d+, t = .*: the diffusion coefficient of species 'u' is -1 at particle"
    ):
        kspde.simulate(Bad(), u0, n=200, t_end=5.0, dt=0.5, scheme="weak-2")
    with pytest.raises(
        kspde.InputError, match="scheme = 'milstein' is not valid: give one of euler-maruyama, pair-rot"
    ):
        kspde.simulate(Geometric(), u0, n=200, t_end=5.0, dt=0.5, scheme="milstein")


def test_a_scheme_is_an_object_or_a_name_with_dt_beside_it(mixture):
    model, options = kspde.SignalDependentKellerSegel(chi=8.0), {"n": 50, "t_end": 0.2, "eps": 0.5}
    for name, scheme in (("euler-maruyama", kspde.EulerMaruyama(dt=0.1)), ("weak-2", kspde.Weak2(dt=0.1))):
        assert SCHEMES[name](0.1) == scheme
        one = kspde.simulate(model, mixture, scheme=scheme, **options)
        other = kspde.simulate(model, mixture, scheme=name, dt=0.1, **options)
        assert np.array_equal(one.positions, other.positions)
        assert one.summary()["scheme"] == name
    earlier = kspde.simulate(model, mixture, scheme="weak2", dt=0.1, **options)
    assert np.array_equal(earlier.positions, one.positions)
    assert earlier.summary()["scheme"] == "weak-2"
    for change, message in (
        (
            {"scheme": kspde.Weak2(dt=0.1), "dt": 0.1},
            r"dt = 0\.1 has no effect beside scheme = Weak2\(dt=0\.1\): leave",
        ),
        ({}, "dt is not given: scheme = 'euler-maruyama' needs a time step > 0"),
        ({"scheme": "weak_2", "dt": 0.1}, r"maruyama, pair-rotation, weak-2 \(did you mean weak-2\?\)"),
        ({"scheme": kspde.Weak2}, r"scheme = Weak2 is a class: give an object, such as kspde\.Weak2\(dt=\.\.\.\)"),
        ({"scheme": kspde.Positive(0.1)}, r"scheme = Positive\(dt=0\.1\) is a scheme of kspde.solve: give one of eu"),
        ({"scheme": 3, "dt": 0.1}, "scheme = 3 is not valid: give one of euler-maruyama, pair-rotation, weak-2"),
    ):
        with pytest.raises(kspde.InputError, match=message):
            kspde.simulate(model, mixture, **options, **change)
    with pytest.raises(kspde.InputError, match="dt = 0 is not valid: give a finite number > 0"):
        kspde.Weak2(dt=0)
