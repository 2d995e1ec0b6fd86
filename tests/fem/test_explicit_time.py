"""Coefficients that depend on time: every scheme keeps its order, against an exact Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.fem.schemes.exponential import Lawson
from kspde.fem.semidiscretisation import Semidiscretisation, initial_densities
from kspde.fem.spaces import build_space

T, MASS, MEAN, STD = 0.5, 1.7, 0.3, 0.7


@dataclass(frozen=True, kw_only=True)
class Changing(kspde.Model):
    """D = .3 (1 + .8 sin 5t) and b = cos 4t on the line; with ``local`` through a field that changes nothing."""

    dimension: int = 1
    local: bool = False

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Identity()),) if self.local else ()

    def diffusion(self, species, c):
        return 0.3 * (1 + 0.8 * np.sin(5 * c.t)) + 0.0 * c.points[:, 0]

    def drift(self, species, c):
        return np.full(c.points.shape, np.cos(4 * c.t))


START = kspde.GaussianMixture(weights=[1.0], means=[[MEAN]], stds=[STD], mass=MASS)
FINE = kspde.Box(half_width=8.0, cells=24, degree=8, dimension=1)


def exact(x, t=T):
    variance = STD**2 + 0.6 * (t + 0.8 * (1 - np.cos(5 * t)) / 5)
    return MASS * np.exp(-0.5 * (x - MEAN - np.sin(4 * t) / 4) ** 2 / variance) / np.sqrt(2 * np.pi * variance)


@pytest.mark.one_rank
def test_lawson_s_method_is_of_order_5() -> None:
    space = build_space(FINE, 1, MPI.COMM_WORLD)
    system = Semidiscretisation(Changing(), (), space)
    errors = []
    for steps in (2, 4):
        y = system.state(system.start(initial_densities(space, {"u": START})[0]))
        rate, h = system.rate(y, 0.0), T / steps
        lawson = Lawson(system)
        for k in range(steps):
            y, rate, _ = lawson.step(y, rate, h, np.array([0.54]), k * h)
        off = np.abs(system.nodal(y)[0].ravel() - exact(space.points[:, 0])).max(initial=0.0)
        errors.append(float(space.maximum(np.array([off]))[0]))
    assert 2**4.3 < errors[0] / errors[1] < 2**7
    assert errors[1] < 1e-4 * MASS


def largest_error(box: kspde.Box, against=exact, local: bool = False, **options) -> tuple[float, np.ndarray]:
    pde = kspde.solve(Changing(local=local), START, box, t_end=T, **options)
    x = np.linspace(-2.0, 3.0, 41)
    u = pde.at().evaluate(x[:, None])
    return float(np.abs(u - against(x)).max()), u


@pytest.mark.one_rank
def test_the_w_method_is_of_order_3() -> None:
    fixed = {"ts_adapt_type": "none"}
    errors = [
        largest_error(FINE, scheme="rosenbrock", petsc_options=fixed | {"ts_time_step": T / steps})[0]
        for steps in (10, 20)
    ]
    assert 2**2.6 < errors[0] / errors[1] < 2**3.5
    assert largest_error(FINE, scheme="adaptive", tol=1e-7)[0] < 1e-6


@pytest.mark.one_rank
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(("scheme", "order"), [("positive", 1), ("positive-2", 2)])
@pytest.mark.filterwarnings("ignore::kspde.KspdeWarning")
def test_positive_schemes(scheme: str, order: int, local: bool) -> None:
    low = kspde.Box(half_width=8.0, cells=160, degree=1, grading=0.0, dimension=1)
    reference = largest_error(low, scheme="positive-2", dt=T / 320)[1]
    errors = [largest_error(low, lambda x: reference, local, scheme=scheme, dt=T / steps)[0] for steps in (20, 40)]
    assert 2 ** (order - 0.3) < errors[0] / errors[1] < 2 ** (order + 0.4)
    assert np.abs(reference - exact(np.linspace(-2.0, 3.0, 41))).max() < 2e-3


def test_the_density_is_interpolated_in_time_with_its_rate() -> None:
    save = kspde.SaveAt(times=[0.2, 0.3, 0.4])
    pde = kspde.solve(Changing(), START, FINE, t_end=T, tol=1e-8, save=save)
    x = np.linspace(-2.0, 3.0, 41)
    assert pde.at(0.35).evaluate(x[:, None]) == pytest.approx(exact(x, 0.35), abs=4e-5)
