"""The tilted entropy bound: against the exact law of two particles, the gradient of its tilt, and bad input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from particle_systems import START, T_END, Line, density, plane

import kspde
from kspde.evidence.ensemble import Ensemble
from kspde.evidence.tilted import TiltedRates
from kspde.kernels.base import Kernel


@dataclass(frozen=True, kw_only=True)
class Logarithmic(Kernel):
    """A kernel on the line that is a logarithm at the origin, as the signal's is in the plane."""

    smoothing = 1.0
    decay_rate = 1.0

    def symbol(self, lam):
        return 3.0 / np.sqrt(1.0 + lam)

    def truncated_symbol(self, lam, radius, dimension):
        return self.symbol(lam)  # e^(−radius) is round-off


@dataclass(frozen=True, kw_only=True)
class OnTheLine(Line):
    """The signal-dependent system with that kernel."""

    @property
    def fields(self):
        return (kspde.Field(name="v", kernel=Logarithmic()),)


#: What one rank found.
BOUNDS = {"line": 0.00097912, "plane": 0.0091115}


@cache
def logarithmic():
    box = kspde.Box(half_width=8.0, cells=14, degree=6, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, T_END, 11))
    return kspde.solve(OnTheLine(chi=1.0), START, box, t_end=T_END, tol=1e-7, eps=0.2, save=save)


@pytest.mark.one_rank
def test_it_lies_between_the_exact_entropy_and_the_first_bound() -> None:
    pde = logarithmic()
    exact = kspde.liouville(pde, n=2, include_self=False, tol=1e-5)
    tilted = kspde.entropy_bound(
        pde, n=2, dt=0.025, replicas=4000, seed=3, include_self=False, reference="tilted", time_error=True
    )
    reach = tilted.at_end.interval[1] - tilted.at_end.value
    assert exact.bound[-1] > 2.1 * exact.entropy[-1]
    assert reach < 0.1 * exact.entropy[-1]
    assert exact.entropy[-1] + 1.5 * reach < tilted.value[-1] < 1.4 * exact.entropy[-1] - reach
    assert tilted.time_bias is not None
    assert abs(tilted.time_bias.value) < 0.2 * exact.entropy[-1]
    assert tilted.unresolved < 1e-2


@pytest.mark.parametrize("name", ["line", pytest.param("plane", marks=pytest.mark.one_rank)])
def test_the_gradient_and_the_derivative_in_time_of_the_tilt(name: str) -> None:
    pde = plane() if name == "plane" else density("signal-dependent")
    many = Ensemble(pde=pde, n=3, dt=0.1, replicas=32, seed=1, gradients=True, coupled=True, field_tol=1e-8)
    rates = TiltedRates(many)
    many.run(rates.look)
    bound, _ = rates.integrals()
    assert bound[:, -1].mean() == pytest.approx(BOUNDS[name], rel=1e-3)  # on any number of ranks
    tilts, own = rates._tilts, many.particles
    x, extent, t, h = own.positions["u"].copy(), own.seen.extent, 0.1, 1e-3

    def at(positions, time: float):
        tilts.update({"particles": positions, "mean_field": positions}, extent, time)
        psi, change, gradient = tilts.at("particles", positions)
        return psi.reshape(2, -1, 3).sum(axis=2), change.reshape(2, -1, 3).sum(axis=2), gradient

    _, change, gradient = at(x, t)
    before, after = (at(x, t + sign * 0.02)[0] for sign in (-1, 1))
    assert (after - before) / 0.04 == pytest.approx(change, abs=0.02 * np.abs(change).max())
    for axis in range(x.shape[1]):
        moved = np.zeros_like(x)
        moved[1::3, axis] = h
        before, after = (at(x + sign * moved, t)[0] for sign in (-1, 1))
        slope = (after - before) / (2 * h)
        assert slope == pytest.approx(gradient[:, 1::3, axis], abs=1e-5 * np.abs(gradient).max())


@pytest.mark.one_rank
def test_no_tilt_reaches_what_turns_two_vortices() -> None:
    """The docstring's lower bound by the field v, against least squares over a family of ψ(z); ν = 1, w = ½."""
    edges = np.r_[0.0, np.geomspace(3e-3, 8.0, 25)]
    node, weight = np.polynomial.legendre.leggauss(10)
    r = ((edges[1:] + edges[:-1])[:, None] / 2 + np.diff(edges)[:, None] / 2 * node).ravel()
    dr = (np.diff(edges)[:, None] / 2 * weight).ravel()
    angle = 2 * np.pi * np.arange(48) / 48
    x, y = (r[:, None] * each for each in (np.cos(angle), np.sin(angle)))
    dz = np.broadcast_to((r * dr)[:, None] * 2 * np.pi / 48, x.shape)
    p = np.exp(-(x**2) / 2 - y**2 / 0.8) / (2 * np.pi * np.sqrt(0.4))  # the law of z, which does not turn with it
    spread, powers = np.exp(-0.3 * (x**2 + y**2)), [(i, j) for i in range(9) for j in range(9 - i) if i + j]

    def gradient(i: int, j: int) -> np.ndarray:
        along = [(i * x ** max(i - 1, 0) * y**j, -0.6 * x), (j * x**i * y ** max(j - 1, 0), -0.6 * y)]
        return np.array([spread * (slope + x**i * y**j * decay) for slope, decay in along])

    family = np.array([gradient(*each) for each in powers])
    least, below = [], []
    for eps in (0.3, 0.1, 0.03, 0.01):
        speed = -np.expm1(-((r / eps) ** 2) / 2)[:, None] / (2 * np.pi * r[:, None])
        velocity = np.array([-speed * y / r[:, None], speed * x / r[:, None]])
        c = -0.5 * velocity  # c_1 = −c_2
        gram = np.einsum("makt,nakt,kt->mn", family, family, p * dz)
        slope = np.einsum("makt,akt,kt->m", family, c, p * dz)
        square = float(np.sum(c**2 * p * dz))
        least.append((square - slope @ np.linalg.lstsq(gram, slope, rcond=1e-12)[0]) / 2)  # ¼ of both particles
        eta = np.clip(1 - (r / 1.5) ** 2, 0.0, None)[:, None] ** 2
        one, two = (float(np.sum(eta**k * speed**2 * dz / p ** (k - 1))) for k in (1, 2))
        below.append((0.5 * one) ** 2 / (2 * two))
        assert below[-1] < least[-1] < square / 2 * (1 - 1e-3)
    m, a = 1 / (2 * np.pi * np.sqrt(0.4)), 1 / (2 * np.pi)  # at z = 0
    assert np.diff(below)[-1] / np.log(3) == pytest.approx(m * a / 8, rel=0.2)
    assert np.all(np.diff(least) > 0.8 * m * a / 8 * np.log(3))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reference": "tilt"}, r"reference = 'tilt' is not valid"),
        ({"replicas": 8}, r"replicas = 8 is not valid: give an integer >= 32"),
        ({"pde": "drift"}, r"does not depend on the position: use reference = .product."),
    ],
)
def test_bad_input(change, words: str) -> None:
    arguments = {"pde": "signal-dependent", "n": 2, "dt": T_END, "replicas": 32, "reference": "tilted"} | change
    with pytest.raises(kspde.InputError, match=words):
        kspde.entropy_bound(density(arguments.pop("pde")), **arguments)
