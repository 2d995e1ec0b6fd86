"""The modulated free energy against the exact law of two particles, and its rates against double integrals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose
from scipy.interpolate import RectBivariateSpline, make_interp_spline
from scipy.special import erfc

import kspde

MASS, NOISE, TRAP, T_END, EPS = 1.4, 0.5, 0.7, 0.4, 0.4


@dataclass(frozen=True, kw_only=True)
class Line(kspde.Model):
    """dX = −(.7X + λ∇c)dt + dB on the line, with the kernel of Yukawa."""

    dimension = 1
    strength: float

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True, value=False),)

    def diffusion(self, species, c):
        return NOISE

    def drift(self, species, c):
        return -TRAP * c.points - self.strength * c.gradient("c")


U0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[-0.5], [1.1]], stds=[0.6, 0.5], mass=MASS)


def tails(x):
    """The two parts of e^(−|x|)/2 convolved with a Gaussian of deviation ε: the derivative is their difference."""
    return (0.25 * np.exp(EPS**2 / 2 + s * x) * erfc((EPS**2 + s * x) / (EPS * np.sqrt(2))) for s in (1, -1))


class Exact:
    """g = λmV, ∇g, v and the law ū of one particle at a time, on a fine grid of the line or anywhere else."""

    def __init__(self, pde, t):
        self.factor = MASS * pde.model.strength
        self.x = np.linspace(-7, 7, 701)
        self.mass = pde.on_grid([self.x], t=t) / MASS * (self.x[1] - self.x[0])
        log_u = make_interp_spline(self.x, np.log(np.maximum(self.mass, 1e-16)), k=5)
        self.score = log_u.derivative()

    def g(self, x, y):
        up, down = tails(x[:, None] - y)
        return self.factor * (up + down)

    def slope(self, x, y):
        up, down = tails(x[:, None] - y)
        return self.factor * (up - down)

    def v(self, x):
        return NOISE * self.score(x) + TRAP * x + self.slope(x, self.x) @ self.mass

    def commutator(self, x, y):
        return self.slope(x, y) * (self.v(x)[:, None] - self.v(y))

    def modulated(self, kernel, x):
        """∬_{x≠y} kernel (dμ − dū)² of the empirical measure of the points x."""
        pairs = kernel(x, x)
        np.fill_diagonal(pairs, 0.0)
        own = self.mass @ kernel(self.x, self.x) @ self.mass
        return pairs.mean() - 2 * (kernel(x, self.x) @ self.mass).mean() + own


def solved(model, saves=8, **options):
    box = kspde.Box(half_width=7.0, cells=14, degree=6, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, T_END, saves + 1))
    return kspde.solve(model, U0, box, t_end=T_END, tol=1e-7, eps=EPS, save=save, **options)


@pytest.mark.one_rank
def test_each_replica_by_double_integrals():
    pde = solved(Line(strength=2.0))
    found = kspde.modulated_free_energy(pde, n=3, dt=0.05, replicas=4, seed=3)
    path = []
    save = kspde.SaveAt(times=pde.times, callback=lambda cloud: path.append(cloud.positions[:, 0].copy()))
    kspde.simulate(**pde.problem.arguments, n=3, dt=0.05, seed=3, replica=1, on_blow_up="ignore", save=save)
    at = [Exact(pde, t) for t in pde.times]
    energy = [e.modulated(e.g, x) for e, x in zip(at, path, strict=True)]
    rate = [e.modulated(e.commutator, x) for e, x in zip(at, path, strict=True)]
    assert_allclose(found.samples["energy"][1], np.array(energy) / (2 * NOISE), rtol=0, atol=1e-7)
    means = -np.convolve(rate, [0.5, 0.5], "valid") / (2 * NOISE)
    assert_allclose(np.diff(found.samples["bound"][1]), means * np.diff(pde.times), rtol=0, atol=2e-7)
    start = at[0].mass @ at[0].g(at[0].x, at[0].x) @ at[0].mass
    assert_allclose(found.bound.value[0], -start / 3 / (2 * NOISE), rtol=1e-7)
    assert_allclose(found.samples["entropy"], found.samples["bound"] - found.samples["energy"], rtol=0, atol=1e-14)
    # What is left of each curve has no correlation with the energy at the start, whose mean is known.
    own = found.samples["energy"][:, 0] - found.bound.value[0]
    slope, _ = np.polyfit(own, found.samples["entropy"][:, -1], 1)
    assert_allclose(found.entropy.value[-1], np.mean(found.samples["entropy"][:, -1] - slope * own), rtol=1e-9)
    assert_allclose([curve.value[0] for curve in (found.energy, found.entropy)], [found.bound.value[0], 0], atol=1e-12)


@pytest.mark.one_rank
@pytest.mark.parametrize("strength", [2.0, -2.0])
def test_the_identity_for_the_law_of_two_particles(strength):
    pde = solved(Line(strength=strength), saves=8)
    law = kspde.liouville(pde, n=2)
    x, w = law.nodes, law.weights
    free, rate, lost = [], [], []
    for k, t in enumerate(law.times):
        e, u = Exact(pde, t), law.density[k]
        p = law.solution.on_grid([x, x], t=t)
        p /= w @ p @ w

        def mean(kernel, p=p, u=u):
            values, first = kernel(x, x), (p @ w) * w
            pairs = np.einsum("i,j,ij,ij", w, w, p, values)
            return 0.5 * pairs - 2 * first @ values @ (w * u) + (w * u) @ values @ (w * u)

        free.append(law.entropy[k] + mean(e.g) / (2 * NOISE))
        rate.append(-mean(e.commutator) / (2 * NOISE))
        inside = np.abs(x) < 3.5
        ratio = np.log(p[np.ix_(inside, inside)] / np.outer(u[inside], u[inside]))
        y, v = x[inside], w[inside]
        g = RectBivariateSpline(y, y, ratio, kx=5, ky=5, s=0)(y, y, dx=1)
        force = 0.5 * e.slope(y, y) - (e.slope(y, e.x) @ e.mass)[:, None]
        lost.append(np.einsum("i,j,ij,ij", v, v, p[np.ix_(inside, inside)], (NOISE * g + force) ** 2) / NOISE)
    splines = (make_interp_spline(law.times, values, k=3).antiderivative() for values in (rate, lost))
    gained, dissipated = (spline(T_END) - spline(0.0) for spline in splines)
    assert dissipated > 0.01 > law.entropy[-1]  # what stands between the bound and the entropy
    assert_allclose(free[-1] - free[0], gained - dissipated, rtol=0, atol=0.01 * dissipated)


def test_singular_kernels_on_several_ranks():
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.2]], stds=[0.7], mass=1.3)
    model, times = kspde.LogGas(strength=-0.8, noise=0.5), [0.0, 0.05, 0.1]
    box, save = kspde.Box(half_width=6.0, cells=8, degree=5, grading=1.5), kspde.SaveAt(times=times)
    found = [
        kspde.modulated_free_energy(
            kspde.solve(model, u0, box, t_end=0.1, tol=1e-4, save=save, comm=comm), n=7, dt=0.05, replicas=4, seed=5
        )
        for comm in (MPI.COMM_WORLD, MPI.COMM_SELF)
    ]
    for name, samples in found[1].samples.items():
        assert_allclose(found[0].samples[name], samples, rtol=0, atol=1e-6)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (kspde.ViscousVortices(viscosity=0.1), "is not a gradient flow with noise"),
        (kspde.RieszGas(strength=1.0, s=1.5), "not square integrable at 0"),
        (kspde.LandauMaxwell(), "0 fields, 3 moments"),
    ],
)
def test_what_it_does_not_cover(model, words):
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.7])
    box, save = kspde.Box(half_width=6.0, cells=8, degree=2), kspde.SaveAt(times=[0.0, 1e-6])
    pde = kspde.solve(model, u0, box, t_end=1e-6, tol=1e-2, save=save)
    with pytest.raises(kspde.InputError, match=words):
        kspde.modulated_free_energy(pde, n=4, dt=1e-6)
