"""Noise that does not commute, fields with memory: the strong orders, and all moments of a step of weak order 2.

Two particles on the line move each other's noise, and one in the plane its own two coordinates' noises.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from mpi4py import MPI
from scipy.integrate import solve_ivp

import kspde
from kspde.models.base import Field, FieldValues, Model
from kspde.particles.schemes import SCHEMES
from kspde.particles.system import System
from kspde.runtime.random import Philox

FIRST, SECOND, PULL = 0.5, 0.8, 0.7
START = (0.6, -0.9)
MONOMIALS = [(i, j) for i in range(5) for j in range(5) if i + j <= 4]


@dataclass(frozen=True, kw_only=True)
class Plane(Model):
    """dX = −k X dt + √(1 + αX₁² + βX₂²) dB in the plane, isotropic: L¹σ² ≠ L²σ¹."""

    dimension: int = 2

    @property
    def fields(self) -> tuple[Field, ...]:
        return ()

    def diffusion(self, species, c: FieldValues):
        return 0.5 * (1 + c.points**2 @ np.array([FIRST, SECOND]))

    def drift(self, species, c: FieldValues):
        return -PULL * c.points


@dataclass(frozen=True, kw_only=True)
class Pair(Plane):
    """The same for two particles X, Y on the line: √(1 + αX² + βY²) moves X and √(1 + αY² + βX²) moves Y."""

    dimension: int = 1

    def diffusion(self, species, c: FieldValues):
        return 0.5 * (1 + FIRST * c.points[:, 0] ** 2 + SECOND * c["other"] ** 2)


class Nothing:
    """No fields."""

    t = 0.0
    own_slopes: ClassVar = {}
    summed = ()
    singular = ()
    close = None

    def update(self, positions, extent):
        self.positions = positions

    update_stage = update

    def update_moments(self, positions):
        """There are none."""

    def at(self, species, x):
        return FieldValues(x, {})

    def parts(self, species, x):
        return self.at(species, x).part


class Partner(Nothing):
    """The "field" of a particle is where its partner is."""

    def at(self, species, x):
        return FieldValues(x, {"other": self.positions["u"][:, 0].reshape(-1, 2)[:, ::-1].ravel()})


def system_of(model, evaluator, positions, noise):
    n = len(positions)
    out = System(
        model=model,
        evaluator=evaluator,
        positions={"u": np.ascontiguousarray(positions)},
        ids={"u": np.arange(n, dtype=np.uint64)},
        counts={"u": n},
        noise=noise,
        comm=MPI.COMM_SELF,
    )
    out.observe()
    out.prepare(0.0)
    return out


def exact_expectations(h):
    """E[x^i y^j] of the particle in the plane after a time h: its generator keeps polynomials of degree 4."""
    index = {m: k for k, m in enumerate(MONOMIALS)}
    generator = np.zeros((len(MONOMIALS), len(MONOMIALS)))
    for (i, j), row in index.items():
        generator[row, row] -= PULL * (i + j)
        for power, left in ((i, (i - 2, j)), (j, (i, j - 2))):
            if power >= 2:
                factor = 0.5 * power * (power - 1)
                generator[row, index[left]] += factor
                generator[row, index[left[0] + 2, left[1]]] += factor * FIRST
                generator[row, index[left[0], left[1] + 2]] += factor * SECOND
    start = np.array([START[0] ** i * START[1] ** j for i, j in MONOMIALS])
    return solve_ivp(lambda t, m: generator @ m, (0, h), start, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]


def scheme_expectations(scheme, h, nodes=10):
    """The same of one step of the scheme, its expectation over the normals by Gauss and Hermite's quadrature."""
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    choices = np.array(list(product(range(nodes), repeat=4)))
    weights = (weight / weight.sum())[choices].prod(axis=1)
    noise = SimpleNamespace(normals=lambda ids, step, count: z[choices])
    system = system_of(Plane(), Nothing(), np.tile(START, (len(choices), 1)), noise)
    if scheme == "weak-2":
        SCHEMES[scheme](h).advance(system, 0, 0.0, h)
    else:  # it makes its own normals: the formula
        amplitude = np.sqrt(2 * h * Plane().diffusion("u", FieldValues(system.positions["u"], {})))
        system.positions["u"] += -PULL * h * system.positions["u"] + amplitude[:, None] * z[choices][:, :2]
    x, y = system.positions["u"].T
    return np.array([weights @ (x**i * y**j) for i, j in MONOMIALS])


@pytest.mark.one_rank
def test_one_step_in_the_plane_has_all_moments_to_third_order():
    steps = (0.08, 0.04, 0.02)
    exact = [exact_expectations(h) for h in steps]
    error = [scheme_expectations("weak-2", h) - e for h, e in zip(steps, exact, strict=True)]
    orders = []
    for (i, j), *errors, size in zip(MONOMIALS, *error, np.abs(exact[0]) + 0.1, strict=True):
        if (i, j) != (0, 0):
            assert max(map(abs, errors)) < 15 * 0.08**3 * size, (i, j)
            orders.append([np.log2(np.abs(errors[k] / errors[k + 1])) for k in range(2)])
    # Of third order, where the leading terms do not happen to cancel.
    assert np.min(orders) > 2.7
    assert np.median(orders) == pytest.approx(3, abs=0.15)
    # Euler and Maruyama's step is of second.
    plain = [scheme_expectations("euler-maruyama", h) - e for h, e in zip(steps, exact, strict=True)]
    size = [np.abs(e).max() for e in plain]
    assert np.log2(size[1] / size[2]) == pytest.approx(2, abs=0.15)


LAG = 1.7


@dataclass(frozen=True, kw_only=True)
class Remembering(Plane):
    """dX = −k X dt + √(1 + αX² + βc) dB on the line, dc = −a(c − X²) dt: a field with memory."""

    dimension: int = 1

    def diffusion(self, species, c: FieldValues):
        return 0.5 * (1 + FIRST * c.points[:, 0] ** 2 + SECOND * c["c"])

    def drift(self, species, c: FieldValues):
        return -PULL * c.points


class Memory(Nothing):
    """Each particle's own c, advanced as :mod:`kspde.particles.fields.relaxing` says, with X² as the source."""

    def __init__(self, c):
        self.c, self.source, self.known = c, None, 0.0

    def update(self, positions, extent):
        fresh = positions["u"][:, 0] ** 2
        if self.source is not None:
            a = LAG * (self.t - self.known)
            lag = -np.expm1(-a) / a
            self.c = fresh + np.exp(-a) * (self.c - self.source) - lag * (fresh - self.source)
        self.source, self.known, self.shown = fresh, self.t, self.c

    def update_stage(self, positions, extent):
        self.shown = self.source + np.exp(-LAG * (self.t - self.known)) * (self.c - self.source)

    def at(self, species, x):
        return FieldValues(x, {"c": self.shown})


@pytest.mark.one_rank
def test_one_step_with_memory_has_all_moments_to_third_order():
    # c counts as X²: the generator keeps polynomials in X and c of that degree up to 4.
    powers = [(i, j) for i in range(5) for j in range(3) if i + 2 * j <= 4]
    index = {m: k for k, m in enumerate(powers)}
    generator = np.zeros((len(powers), len(powers)))
    for (i, j), row in index.items():
        generator[row, row] -= PULL * i + LAG * j
        if j:
            generator[row, index[i + 2, j - 1]] += LAG * j
        if i >= 2:
            factor = 0.5 * i * (i - 1)
            for term, weight in (((i - 2, j), 1.0), ((i, j), FIRST), ((i - 2, j + 1), SECOND)):
                generator[row, index[term]] += factor * weight
    start_x, start_c = 0.6, 0.9
    start = np.array([start_x**i * start_c**j for i, j in powers])
    z, weight = np.polynomial.hermite_e.hermegauss(12)
    choices = np.array(list(product(range(12), repeat=2)))
    weights = (weight / weight.sum())[choices].prod(axis=1)
    noise = SimpleNamespace(normals=lambda ids, step, count: z[choices])
    errors = []
    for h in (0.08, 0.04, 0.02):
        exact = solve_ivp(lambda t, m: generator @ m, (0, h), start, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
        memory = Memory(np.full(len(choices), start_c))
        system = system_of(Remembering(), memory, np.full((len(choices), 1), start_x), noise)
        SCHEMES["weak-2"](h).advance(system, 0, 0.0, h)
        system.observe()
        system.prepare(h)
        x, c = system.positions["u"][:, 0], memory.c
        errors.append([weights @ (x**i * c**j) for i, j in powers[1:]] - exact[1:])
    orders = np.log2(np.abs(np.array(errors[:-1]) / np.array(errors[1:])))
    assert orders.min() > 2.7
    assert np.median(orders) == pytest.approx(3, abs=0.15)
    assert np.abs(errors[0]).max() < 15 * 0.08**3


def bridge(increments, substeps, random, h):
    """Return Brownian increments over substeps that add up to those given, shape (substeps, ...)."""
    normals = random.normal(size=(substeps, *increments.shape))
    return increments / substeps + np.sqrt(h / substeps) * (normals - normals.mean(axis=0))


def strong_error(scheme, steps, kind, *, pairs=3000, t_end=0.5, substeps=64):
    """E|X − X_exact| at t_end, X_exact by 64 Euler steps a step along the same Brownian path."""
    h, random = t_end / steps, np.random.default_rng(steps)
    d = 2 if kind is Plane else 1
    start = np.tile(START, (pairs, 1)).reshape(-1, d)
    noise = Philox(4, 1)
    system = system_of(kind(), Nothing() if kind is Plane else Partner(), start.copy(), noise)
    exact = np.tile(START, (pairs, 1))
    for k in range(steps):
        ids = system.ids["u"]
        z = noise.normals(ids, k, d if scheme == "euler-maruyama" else 2 * d)
        if scheme == "weak-2":
            z = (z[:, :d] + z[:, d:]) / np.sqrt(2)
        for increment in bridge(np.sqrt(h) * z.reshape(-1, 2), substeps, random, h):
            x, y = exact.T
            first = 1 + FIRST * x**2 + SECOND * y**2
            second = first if kind is Plane else 1 + FIRST * y**2 + SECOND * x**2
            exact = exact * (1 - PULL * h / substeps) + np.sqrt(np.stack([first, second], axis=1)) * increment
        system.observe()
        system.prepare(k * h)
        SCHEMES[scheme](h).advance(system, k, k * h, h)
    return np.linalg.norm(system.positions["u"].reshape(-1, 2) - exact, axis=1).mean()


@pytest.mark.one_rank
@pytest.mark.parametrize("kind", [Plane, Pair])
@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_the_strong_order_is_one_half(scheme, kind):
    error = [strong_error(scheme, steps, kind) for steps in (4, 16, 64)]
    assert np.log(error[0] / error[1]) / np.log(4) == pytest.approx(SCHEMES[scheme].strong_order, abs=0.15)
    assert np.log(error[1] / error[2]) / np.log(4) == pytest.approx(SCHEMES[scheme].strong_order, abs=0.1)
    assert error[2] < 0.1


@dataclass(frozen=True, kw_only=True)
class Slanted(Model):
    """dX = e^(∂₁c) dB: noise that depends on the gradient of the particle's own field, which is 0 where it is."""

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field(name="c", kernel=kspde.Yukawa(strength=4.0), gradient=True),)

    def diffusion(self, species, c: FieldValues):
        return 0.5 * np.exp(2 * c.gradient("c")[:, 0])


@pytest.mark.parametrize("method", ["mesh", "direct"])
def test_what_a_particle_adds_to_its_own_field_moves_with_it(method):
    start = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    options = {"n": 1, "t_end": 0.4, "dt": 0.2, "eps": 0.5, "field_tol": 1e-8, "method": method, "comm": MPI.COMM_SELF}
    cloud = kspde.simulate(Slanted(), start, scheme="weak-2", **options)
    ids = np.zeros(1, dtype=np.uint64)
    x = start.sample(Philox(0, 0), ids)
    for step in range(2):  # a constant coefficient: the exact step
        normals = Philox(0, 1).normals(ids, step, 4)
        x = x + np.sqrt(0.2) * (normals[:, :2] + normals[:, 2:]) / np.sqrt(2)
    np.testing.assert_allclose(cloud.positions, x, atol=1e-5)
