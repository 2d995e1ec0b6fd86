"""ViscousVortices: Lamb and Oseen's vortex, merging vortices beside a Fourier solution, conserved quantities."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import j0, j1

import kspde
from kspde.particles.start import Seed


def vortex(center, std, circulation):
    return kspde.GaussianMixture(weights=[1.0], means=[center], stds=[std], mass=circulation)


class FourierSolution:
    """The vorticity equation on the plane: fourth-order steps in Fourier space, ψ by the kernel cut off at 2√2 L."""

    def __init__(self, u0, nu, *, half_width, nodes):
        self.axis = -half_width + 2 * half_width / nodes * np.arange(nodes)
        self.omega = u0(np.stack(np.meshgrid(self.axis, self.axis, indexing="ij"), -1).reshape(-1, 2))
        self.omega = self.omega.reshape(nodes, nodes)
        k = 2 * math.pi * np.fft.fftfreq(nodes, 2 * half_width / nodes)
        self.k = np.meshgrid(k, k, indexing="ij")
        self.decay = nu * (self.k[0] ** 2 + self.k[1] ** 2)
        # In a box four times as wide the cut-off potential of the vorticity has no images.
        wide = 2 * math.pi * np.fft.fftfreq(4 * nodes, 2 * half_width / nodes)
        self.wide = np.meshgrid(wide, wide, indexing="ij")
        size, radius = np.hypot(*self.wide), 2 * math.sqrt(2) * half_width
        with np.errstate(all="ignore"):
            symbol = (1 - j0(size * radius)) / size**2 - radius * math.log(radius) * j1(size * radius) / size
        symbol[0, 0] = radius**2 * (1 - 2 * math.log(radius)) / 4
        self.symbol = symbol

    def rate(self, hat):
        n = len(self.axis)
        omega = np.fft.ifft2(hat).real
        psi = self.symbol * np.fft.fft2(omega, (4 * n, 4 * n))
        x, y = (np.fft.ifft2(1j * k * psi).real[:n, :n] for k in self.wide)
        slopes = (np.fft.ifft2(1j * k * hat).real for k in self.k)
        return -np.fft.fft2(sum(v * g for v, g in zip((y, -x), slopes, strict=True)))

    def after(self, t_end, steps):
        """Lawson's fourth-order method."""
        h, hat = t_end / steps, np.fft.fft2(self.omega)
        e = np.exp(-0.5 * h * self.decay)
        for _ in range(steps):
            a = self.rate(hat)
            b = self.rate(e * (hat + 0.5 * h * a))
            c = self.rate(e * hat + 0.5 * h * b)
            d = self.rate(e**2 * hat + h * e * c)
            hat = e**2 * hat + h / 6 * (e**2 * a + 2 * e * (b + c) + d)
        return np.fft.ifft2(hat).real


@pytest.mark.parametrize("center", [(0.0, 0.0), (3.0, 2.0), (6.0, -5.0)])
def test_lamb_and_oseens_vortex_anywhere(center):
    nu, std, circulation = 0.05, 0.7, 3.0
    box = kspde.Box(half_width=14.0, cells=32, degree=8, grading=0.0)
    model = kspde.ViscousVortices(viscosity=nu)
    pde = kspde.solve(model, vortex(center, std, circulation), box, t_end=1.0, tol=1e-7)
    exact = vortex(center, math.sqrt(std**2 + 2 * nu), circulation)
    points = np.random.default_rng(1).normal(center, 1.0, (200, 2))
    assert_allclose(pde.evaluate(points), exact(points), rtol=0, atol=1e-6 * exact(np.array([center]))[0])
    second = pde.diagnostics["second_moment"]
    assert_allclose(second[-1] - second[0], 4 * nu * circulation, rtol=1e-9)


@pytest.mark.one_rank
@pytest.mark.filterwarnings("ignore:the cell P:kspde.KspdeWarning")
@pytest.mark.parametrize("options", [{"scheme": "positive2"}, {"tol": 1e-6}])
def test_little_viscosity_is_of_order_two_and_not_spread_by_upwind(options):
    nu, std, t_end = 1e-3, 0.5, 0.2
    axes = [np.linspace(-3.2, 3.2, 41)] * 2  # nodes of both boxes; the vortex sits between them
    exact = vortex([0.4, -0.3], math.sqrt(std**2 + 2 * nu * t_end), 3.0)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    errors = []
    for cells in (40, 80):
        box = kspde.Box(half_width=3.2, cells=cells, degree=1, grading=0.0)
        step = {"dt": 1 / cells} if "scheme" in options else {}
        model = kspde.ViscousVortices(viscosity=nu)
        pde = kspde.solve(model, vortex([0.4, -0.3], std, 3.0), box, t_end=t_end, **options, **step)
        spread = np.ptp(pde.diagnostics["second_moment"][[0, -1]]) / (4 * nu * t_end * 3.0)
        errors.append([np.abs(pde.on_grid(axes).ravel() - exact(points)).max(), spread - 1])
    (coarse, coarse_spread), (fine, fine_spread) = errors
    assert coarse / fine > 3.5
    assert fine < 1e-3 * exact(np.array([[0.4, -0.3]]))[0]
    assert abs(fine_spread) < max(abs(coarse_spread) / 3.5, 1e-3)


@pytest.mark.one_rank
def test_merging_vortices_of_either_sign_are_a_fourier_solution():
    nu, u0 = 0.02, kspde.SignedMixture(circulations=[9, 8, -2], means=[[-0.9, 0], [0.9, 0.2], [0, 1.8]], stds=[0.5] * 3)
    reference = FourierSolution(u0, nu, half_width=6.0, nodes=96)
    box = kspde.Box(half_width=8.0, cells=24, degree=8, grading=0.0)
    pde = kspde.solve(kspde.ViscousVortices(viscosity=nu), u0, box, t_end=0.3, tol=1e-6)
    expected = reference.after(0.3, 15)
    found = pde.on_grid([reference.axis] * 2)
    assert np.abs(expected - reference.omega).max() > 0.5  # the vortices move
    assert_allclose(found, expected, rtol=0, atol=2e-5 * expected.max())
    # Two species, one per sign, are the same flow.
    positive = kspde.GaussianMixture(weights=[9 / 17, 8 / 17], means=[[-0.9, 0], [0.9, 0.2]], stds=[0.5] * 2, mass=17.0)
    both = {"positive": positive, "negative": vortex([0, 1.8], 0.5, 2.0)}
    model = kspde.ViscousVortices(viscosity=nu, two_signs=True)
    two = kspde.solve(model, both, box, t_end=0.3, tol=1e-6)
    difference = two.on_grid([reference.axis] * 2, species="positive")
    difference = difference - two.on_grid([reference.axis] * 2, species="negative")
    assert_allclose(difference, expected, rtol=0, atol=2e-5 * expected.max())


def hamiltonian(x, circulations):
    square = np.sum((x[:, None] - x) ** 2, axis=2)
    np.fill_diagonal(square, 1.0)
    return -circulations @ np.log(square) @ circulations / (8 * math.pi)


@pytest.mark.one_rank
@pytest.mark.parametrize("circulations", [np.full(30, 0.6), np.linspace(-0.4, 1.0, 30)])
def test_what_vortices_without_viscosity_conserve(circulations):
    model = kspde.ViscousVortices(viscosity=0.0)

    def run(t_end, dt):
        options = {"n": 30, "t_end": t_end, "dt": dt, "seed": 5, "weights": circulations, "scheme": "weak-2"}
        return kspde.simulate(model, vortex([2.0, -1.0], 1.0, 3.0), **options).positions

    start = run(1e-12, 1.0)
    errors = []
    for dt in (1 / 64, 1 / 128):
        x = run(0.5, dt)
        assert_allclose(circulations @ x, circulations @ start, rtol=0, atol=1e-12)
        errors.append(
            [
                abs(hamiltonian(x, circulations) - hamiltonian(start, circulations)),
                abs(circulations @ np.sum(x**2 - start**2, axis=1)),
            ]
        )
    assert np.all(np.array(errors[1]) < 0.3 * np.array(errors[0]))  # order 2 at least
    assert max(errors[1]) < 1e-3


@pytest.mark.one_rank
def test_the_second_moment_of_viscous_vortices_grows_by_the_sum_of_circulations():
    # Var of Σ Γ|X|² grows by 8ν ∫ Σ Γ²|X|² ds; positions are nearly those at the start here.
    nu, t, n = 0.5, 0.2, 4000
    circulations = np.where(np.arange(n) % 4, 1.0, -1.0) / n
    x0 = vortex([0.5, 0.0], 1.0, 1.0)
    cloud = kspde.simulate(
        kspde.ViscousVortices(viscosity=nu), x0, n=n, t_end=t, dt=0.05, scheme="weak-2", weights=circulations, seed=4
    )
    second = cloud.diagnostics["second_moment"]
    expected = 4 * nu * t * circulations.sum()
    deviation = math.sqrt(8 * nu * t * 2.5 / n)
    assert expected > 5 * deviation
    assert_allclose(second[-1] - second[0], expected, rtol=0, atol=3.5 * deviation)
    # The moment without weights is that of the positions.
    found = cloud.diagnostics["unweighted_second_moment"]
    assert_allclose(found[-1], np.mean(np.sum(cloud.positions**2, axis=1)), rtol=1e-12)
    assert found[-1] > found[0] > 2.0


@pytest.mark.one_rank
@pytest.mark.parametrize("n", [2, 3, 10])
def test_so_do_those_of_few_vortices(n):
    # Path by path: ΣΓ|X|² less its martingale 2√(2ν) ∫ ΣΓX·dB, up to Euler's error.
    nu, h, steps, path = 0.2, 1e-3, 200, []
    circulations, ids = np.where(np.arange(n) % 3 == 1, -1.0, 2.0), np.arange(n, dtype=np.uint64)
    save = kspde.SaveAt(times=h * np.arange(steps + 1), callback=lambda cloud: path.append(cloud.positions.copy()))
    options = {"n": n, "t_end": h * steps, "dt": h, "seed": 6, "weights": circulations, "save": save}
    kspde.simulate(kspde.ViscousVortices(viscosity=nu), vortex([0.5, 0.0], 1.0, 3.0), **options)
    total = circulations @ np.sum(path[-1] ** 2 - path[0] ** 2, axis=1)
    for step, x in enumerate(path[:-1]):
        eta = math.sqrt(2 * nu * h) * Seed(6, 0).noise.normals(ids, step, 2)
        total -= circulations @ np.sum(2 * x * eta + eta**2 - 2 * nu * h, axis=1)
    expected = 4 * nu * h * steps * circulations.sum()
    assert_allclose(total, expected, rtol=0, atol=0.01 * 4 * nu * h * steps * np.abs(circulations).sum())
    assert np.abs(path[-1] - path[0]).max() > 0.1


@pytest.mark.one_rank
def test_its_interface():
    for wrong in ({"viscosity": -1.0}, {"viscosity": 1.0, "two_signs": 1}):
        with pytest.raises(kspde.InputError, match=list(wrong)[-1]):
            kspde.ViscousVortices(**wrong)
    assert kspde.ViscousVortices(viscosity=1.0, two_signs=True).species == ("positive", "negative")
    box = kspde.Box(half_width=3.0, cells=6, degree=2, boundary="neumann")
    options = {"t_end": 0.1, "eps": 0.5}
    for run in (
        lambda: kspde.solve(kspde.ViscousVortices(viscosity=1.0), vortex([0, 0], 0.4, 1.0), box, **options),
        lambda: kspde.simulate(
            kspde.ViscousVortices(viscosity=1.0), vortex([0, 0], 0.4, 1.0), n=5, dt=0.1, domain=box, **options
        ),
    ):
        with pytest.raises(kspde.InputError, match="the flow of the stream function psi, which would have to be const"):
            run()


@pytest.mark.one_rank
def test_negative_vorticity_is_no_blow_up():
    # The largest value is round-off, which grows.
    u0 = kspde.SignedMixture(circulations=[-3.0], means=[[0, 0]], stds=[0.5])
    box = kspde.Box(half_width=6.0, cells=20, degree=6, grading=0)
    pde = kspde.solve(kspde.ViscousVortices(viscosity=0.05), u0, box, t_end=1.0)
    second = pde.diagnostics["second_moment"]
    assert_allclose(second[-1] - second[0], -0.6, rtol=1e-6)
