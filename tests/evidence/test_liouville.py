"""The law of two and three particles: against a Fourier code, particles, and its own entropy identity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from particle_systems import START, T_END, density, free
from scipy.interpolate import CubicSpline
from scipy.special import erfc

import kspde

CHI, EPS = 8.0, 0.3


def interaction(x):
    """Φ^ε in dimension 1, in closed form: (χ/2)e^(−|x|) convolved with a Gaussian."""
    up, down = ((EPS**2 + s * x) / (EPS * math.sqrt(2)) for s in (1, -1))
    return 0.25 * CHI * math.exp(EPS**2 / 2) * (np.exp(x) * erfc(up) + np.exp(-x) * erfc(down))


def fourier_law(points: int, steps: int):
    """u_2 at T by Fourier derivatives on a periodic square and classical Runge-Kutta: axis and values."""
    half_width = 9.0
    axis = -half_width + 2 * half_width / points * np.arange(points)
    lam = (np.pi / half_width * np.fft.fftfreq(points, 1 / points)) ** 2
    apart = np.abs(axis[:, None] - axis[None, :])
    motility = 1 + np.exp(-0.5 * (interaction(np.zeros(())) + interaction(apart)))
    u = START(axis[:, None])
    law = np.multiply.outer(u, u)

    def rate(p):
        w = np.fft.fft2(motility * p)
        return np.fft.ifft2(-(lam[:, None] + lam[None, :]) * w).real

    h = T_END / steps
    for _ in range(steps):
        a = rate(law)
        b = rate(law + h / 2 * a)
        c = rate(law + h / 2 * b)
        law = law + h / 6 * (a + 2 * b + 2 * c + rate(law + h * c))
    return axis, law


@pytest.fixture(scope="module")
def pair():
    return kspde.liouville(density("signal-dependent"), n=2)


@pytest.mark.one_rank
def test_two_particles_agree_with_a_fourier_code(pair) -> None:
    axis, law = fourier_law(128, 240)
    inside = np.abs(axis) < 7
    ours = pair.solution.on_grid([axis[inside]] * 2)
    assert np.abs(ours - law[np.ix_(inside, inside)]).max() < 2e-5 * law.max()
    step = axis[1] - axis[0]
    marginal = law.sum(axis=1) * step
    u = density("signal-dependent").on_grid([axis[inside]])
    assert np.abs(marginal[inside] - u).sum() * step == pytest.approx(pair.marginal_l1[0, -1], rel=2e-3)


def test_mass_and_symmetry(pair) -> None:
    axis = np.linspace(-6, 6, 41)
    law = pair.solution.on_grid([axis, axis])
    assert np.abs(law - law.T).max() < 1e-10
    assert pair.solution.diagnostics["mass"] == pytest.approx(1.0, abs=1e-11)
    assert (pair.marginals @ pair.weights) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.one_rank
@pytest.mark.parametrize(("name", "cells"), [("signal-dependent", 20), ("drift", 14)])
def test_the_identity_behind_the_bound(name: str, cells: int) -> None:
    # dH/dt of the computed law is E[−D|g|² − c·g]: signs, the score, the drift, ∂_x D and the gradients in c.
    law = kspde.liouville(density(name, cells=cells), n=2)
    first = 3  # the rate rises from 0 in the first moments
    integral = CubicSpline(law.times[first:], law.rate[first:]).antiderivative()(law.times[first:])
    gained = law.entropy[first:] - law.entropy[first]
    assert gained[-1] > 0.4 * law.entropy[-1]
    assert integral == pytest.approx(gained, abs=2e-3 * gained[-1])
    assert np.all(law.rate <= law.production)
    assert law.rate[0] == pytest.approx(0.0, abs=1e-10)  # both laws are the same product there
    assert np.all(law.entropy[1:] < law.bound[1:])
    assert law.entropy[-1] > 0.3 * law.bound[-1]  # and the bound is not far away


@pytest.mark.one_rank
def test_marginals_obey_subadditivity_and_pinsker(pair) -> None:
    for law in (pair, kspde.liouville(density("signal-dependent", cells=8, degree=5, saved=6), n=3, tol=1e-5)):
        total = law.n * law.entropy
        for r in range(1, law.n + 1):
            h, l1 = law.marginal_entropy[r - 1], law.marginal_l1[r - 1]
            assert np.all(l1 <= np.sqrt(2 * np.maximum(h, 0)) + 1e-7)
            assert np.all(h <= total / (law.n // r) + 1e-12)
            assert l1[-1] <= math.sqrt(2 * law.n * law.bound[-1] / (law.n // r))
    assert law.entropy[-1] < pair.entropy[-1]  # three are closer to independence than two


def test_no_interaction_no_entropy() -> None:
    law = kspde.liouville(free(), n=2)
    assert np.abs(law.entropy).max() < 1e-10
    assert law.bound == pytest.approx(0.0, abs=1e-14)
    assert law.marginal_l1.max() < 1e-7


@pytest.mark.one_rank
def test_self_interaction_changes_the_law(pair) -> None:
    other = kspde.liouville(density("signal-dependent"), n=2, tol=1e-6, include_self=False)
    assert abs(other.marginal_l1[0, -1] - pair.marginal_l1[0, -1]) > 0.1 * pair.marginal_l1[0, -1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 4}, r"n = 4 is not valid: give an integer >= 2 and <= 3"),
        ({"pde": 3}, "pde is a int without model: give what kspde.solve returned"),
    ],
)
def test_bad_input(change, words: str) -> None:
    arguments = {"pde": density("signal-dependent"), "n": 2} | change
    with pytest.raises(kspde.InputError, match=words):
        kspde.liouville(arguments.pop("pde"), **arguments)
