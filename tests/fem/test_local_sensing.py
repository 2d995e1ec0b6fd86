"""General motilities and a signal with its own dynamics (τ = 1), against Fourier, radial and linear theory."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j1, jnp_zeros

import kspde
from kspde.initial import InitialDensity

POINTS = [(0, 0), (1, 0.5), (-1.2, 0.3)]


def test_exponential_motility_check_numbers(mixture) -> None:
    model = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=5.0)
    box = kspde.Box(half_width=14.0, cells=20, degree=8)
    pde = kspde.solve(model, mixture, box, t_end=0.5, tol=1e-6)
    assert np.abs(pde.evaluate(POINTS) - [0.06729719386, 0.05621028543, 0.08107144894]).max() < 5e-7
    assert abs(pde.diagnostics["mass"][-1] - 1) < 1e-12


def test_heavy_mass_check_numbers() -> None:
    """u_0 = M N(0, I/4), χ = 4, M = 4π, γ = 1 + e^(−v): a radial solution."""
    mass = 4 * np.pi
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.5], mass=mass)
    box = kspde.Box(half_width=14.0, cells=20, degree=8)
    save = kspde.SaveAt(times=[0.1])
    pde = kspde.solve(kspde.SignalDependentKellerSegel(chi=4.0), u0, box, t_end=1.0, tol=1e-6, save=save)
    assert pde.evaluate([[0.0, 0.0]], t=0.1)[0] == pytest.approx(4.4556, abs=1e-4)
    assert pde.evaluate_signal([[0.0, 0.0]], t=0.1)[0] == pytest.approx(5.6487, abs=1e-4)
    assert pde.evaluate([[0.0, 0.0]])[0] == pytest.approx(0.88899, abs=1e-5)
    assert pde.evaluate_signal([[0.0, 0.0]])[0] == pytest.approx(2.1502, abs=1e-4)
    moments = np.interp([0.1, 1.0], pde.diagnostics["t"], pde.diagnostics["second_moment"]) / mass
    assert moments == pytest.approx([0.9113, 5.2450], abs=1e-4)


class AlmostConstant(InitialDensity):
    """ū on the unit disk, plus the first mode of its Neumann Laplacian."""

    dimension = 2

    def __init__(self, mean: float) -> None:
        self.mean = mean
        self.mass = mean * np.pi

    def __call__(self, x):
        r, first = np.hypot(*x.T), jnp_zeros(1, 1)[0]
        return self.mean * (1 + 1e-4 * j1(first * r) * np.divide(x[:, 0], r, where=r > 0, out=np.zeros(len(x))))

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        raise NotImplementedError


@pytest.mark.one_rank
@pytest.mark.parametrize(("tau", "rate"), [(0.0, 0.0031741), (1.0, 0.0031554)])
def test_linear_instability_of_the_constant(tau, rate) -> None:
    """γ = e^(−v), no flux of either: σ = −λ e^(−ū) (1 − ū/(1 + λ)) for τ = 0, λ = 3.38996; both rates are given."""
    model = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=1.0, tau=tau)
    disk = kspde.Disk(radius=1.0, size=0.03, boundary="neumann")
    times = (100.0, 300.0)
    pde = kspde.solve(model, AlmostConstant(5.0), disk, t_end=300.0, tol=1e-7, save=kspde.SaveAt(times=times))
    sides = np.array([[0.6, 0.0], [-0.6, 0.0]])
    amplitudes = [np.subtract(*pde.evaluate(sides, t=t)) for t in times]
    assert np.log(amplitudes[1] / amplitudes[0]) / 200.0 == pytest.approx(rate, rel=1e-2)


def parabolic(mixture, modes: int = 96, length: float = 26.0, steps: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """u and v of γ = 1/(1+v), τ = 1, χ = 6, T = 0.3 at POINTS: periodic box, RK4, an integrating factor for v."""
    x = (np.arange(modes) - modes // 2) * length / modes
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    k = 2 * np.pi * np.fft.fftfreq(modes, length / modes)
    k2 = k[:, None] ** 2 + k**2
    dt = 0.3 / steps
    u = np.fft.fft2(mixture(grid.reshape(-1, 2)).reshape(modes, modes))
    v = 6.0 * u / (1 + k2)
    half = np.exp(-(1 + k2) * dt / 2)

    def slope(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        density, signal = np.fft.ifft2(u).real, np.fft.ifft2(v).real
        # 1/(1+v) = 1 − v/(1+v): the first part has the integrating factor e^(−k²t).
        return k2 * np.fft.fft2(density * signal / (1 + signal)), 6.0 * u

    full = np.exp(-k2 * dt / 2)
    for _ in range(steps):
        a = slope(u, v)
        b = slope(full * (u + dt / 2 * a[0]), half * (v + dt / 2 * a[1]))
        c = slope(full * u + dt / 2 * b[0], half * v + dt / 2 * b[1])
        d = slope(full**2 * u + dt * full * c[0], half**2 * v + dt * half * c[1])
        u = full**2 * u + dt / 6 * (full**2 * a[0] + 2 * full * (b[0] + c[0]) + d[0])
        v = half**2 * v + dt / 6 * (half**2 * a[1] + 2 * half * (b[1] + c[1]) + d[1])
    phases = [np.exp(1j * (p[0] - x[0]) * k)[:, None] * np.exp(1j * (p[1] - x[0]) * k) for p in POINTS]
    return tuple(np.array([(phase * y).sum().real / modes**2 for phase in phases]) for y in (u, v))  # type: ignore


@pytest.mark.one_rank
def test_parabolic_signal_against_fourier(mixture) -> None:
    u, v = parabolic(mixture)
    model = kspde.LocalSensing(motility=kspde.AlgebraicMotility(), chi=6.0, tau=1.0)
    box = kspde.Box(half_width=13.0, cells=20, degree=6)
    pde = kspde.solve(model, mixture, box, t_end=0.3, tol=1e-6)
    assert np.abs(pde.evaluate(POINTS) - u).max() < 1e-6
    assert np.abs(pde.evaluate_signal(POINTS) - v).max() < 5e-6
    assert abs(pde.diagnostics["mass"][-1] - 1) < 1e-12
    other = kspde.solve(model, mixture, box, t_end=0.3, tol=1e-6, scheme="rosenbrock")
    assert np.abs(other.evaluate(POINTS) - u).max() < 1e-6
    assert np.abs(other.evaluate_signal(POINTS) - v).max() < 5e-6
    instant = kspde.LocalSensing(motility=kspde.AlgebraicMotility(), chi=6.0)
    other = kspde.solve(instant, mixture, box, t_end=0.3, tol=1e-4).evaluate_signal(POINTS)
    assert np.abs(other - v).max() > 1e-2  # τ has an effect

    errors = []
    for cells, dt in ((32, 0.06), (64, 0.015)):
        coarse = kspde.Box(half_width=13.0, cells=cells, degree=1)
        positive = kspde.solve(model, mixture, coarse, t_end=0.3, scheme="positive", dt=dt)
        errors.append(np.abs(positive.evaluate(POINTS) - u).max() + np.abs(positive.evaluate_signal(POINTS) - v).max())
    assert 2.5 < errors[0] / errors[1] < 6
    assert errors[1] < 2e-2

    quads = kspde.Disk(radius=13.0, size=0.7, rim_size=3.0, cell="quadrilateral", degree=4)
    disk = kspde.solve(model, mixture, quads, t_end=0.3, tol=1e-4)
    assert np.abs(disk.evaluate(POINTS) - u).max() < 2e-4
    assert np.abs(disk.evaluate_signal(POINTS) - v).max() < 1e-3


@pytest.mark.parametrize(
    ("domain", "bound"),
    [
        (kspde.Box(half_width=14.0, cells=14, degree=6, boundary="neumann"), 1e-6),
        pytest.param(
            kspde.Disk(radius=14.0, size=0.2, rim_size=1.5, boundary="neumann"), 2e-3, marks=pytest.mark.one_rank
        ),
    ],
)
def test_a_wide_mollifier_leaves_the_fields_equation(domain, bound) -> None:
    """D = 1: u is Gaussian, and each mode of v, τ∂_t v = Δv − v + χ u * j, is a sum of two exponentials."""
    chi, tau, eps, std, t = 3.0, 0.7, 3.0, 0.8, 0.4
    model = kspde.LocalSensing(motility=np.ones_like, chi=chi, tau=tau)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[std])
    pde = kspde.solve(model, u0, domain, t_end=t, eps=eps, mollifier="matern", tol=1e-6)

    def mode(k: float) -> float:
        lam = k**2
        source = chi * np.exp(-(std**2) * lam / 2) / (1 + eps**2 * lam / 4) ** 2  # Matérn's order is 2: decay 2/ε < 1
        rate = (lam + 1) / tau
        relaxed = np.exp(-rate * t) / (lam + 1)
        return k / (2 * np.pi) * source * (relaxed + (np.exp(-lam * t) - np.exp(-rate * t)) / (tau * (rate - lam)))

    exact = quad(mode, 0.0, 40.0, epsabs=1e-12)[0]
    assert pde.evaluate_signal([[0.0, 0.0]])[0] == pytest.approx(exact, rel=bound)


def test_any_function_is_a_motility(mixture) -> None:
    box = kspde.Box(half_width=14.0, cells=12, degree=4)
    mine = kspde.LocalSensing(motility=lambda v: np.exp(-v) + 1.0, chi=8.0)
    theirs = kspde.SignalDependentKellerSegel(chi=8.0)
    values = [kspde.solve(m, mixture, box, t_end=0.1, tol=1e-5).evaluate(POINTS) for m in (mine, theirs)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-13)
    for options, words in (
        ({"motility": 3.0, "chi": 1.0}, "motility is a float: give a function of v"),
        ({"motility": np.exp, "chi": -1.0}, "chi = -1"),
        ({"motility": np.exp, "chi": 1.0, "tau": -0.5}, "tau = -0.5"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            kspde.LocalSensing(**options)
    with pytest.raises(kspde.InputError, match="alpha = -1"):
        kspde.ExponentialMotility(alpha=-1.0)
    with pytest.raises(kspde.InputError, match="k = nan"):
        kspde.AlgebraicMotility(k=float("nan"))


def test_free_energy_falls_at_the_rate_of_its_dissipation(mixture) -> None:
    alpha = 1.5
    model = kspde.LocalSensing(motility=kspde.ExponentialMotility(alpha=alpha), chi=3.0)
    box = kspde.Box(half_width=14.0, cells=16, degree=6)
    save = kspde.SaveAt(times=[0.1], statistics=("free_energy",))
    pde = kspde.solve(model, mixture, box, t_end=0.2, tol=1e-6, save=save, scheme="rosenbrock")
    energy, t = pde.diagnostics["free_energy"], pde.diagnostics["t"]
    assert np.all(np.diff(energy) < 0)
    axis = np.linspace(-8, 8, 401)
    u, v = pde.on_grid([axis, axis], t=0.1), pde.signal_on_grid([axis, axis], t=0.1)
    force = np.array(np.gradient(np.log(np.maximum(u, 1e-30)) - alpha * v, axis, axis))
    dissipation = np.sum(u * np.exp(-alpha * v) * np.sum(force**2, axis=0)) * (axis[1] - axis[0]) ** 2
    k = int(np.argmin(np.abs(t - 0.1)))
    fit = np.polyfit(t[k - 2 : k + 3] - 0.1, energy[k - 2 : k + 3], 3)
    assert -fit[-2] == pytest.approx(dissipation, rel=2e-3)
    with pytest.raises(kspde.InputError, match="free_energy is not defined for SignalDependentKellerSegel"):
        kspde.solve(kspde.SignalDependentKellerSegel(chi=1.0), mixture, box, t_end=0.1, save=save)


@pytest.mark.parametrize(
    "model",
    [
        kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=2.0, tau=0.5),
        kspde.LocalSensing(motility=kspde.AlgebraicMotility(), chi=2.0),
        kspde.SignalDependentKellerSegel(chi=2.0),
    ],
)
def test_other_systems_have_no_free_energy(model) -> None:
    """With τ > 0 the energy would contain the signal's own; for other γ none is known."""
    assert kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=2.0).has_free_energy
    assert not model.has_free_energy
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    save = kspde.SaveAt(statistics=("free_energy",))
    with pytest.raises(kspde.InputError, match="free_energy is not defined for"):
        kspde.solve(model, u0, kspde.Box(half_width=8.0, cells=8), t_end=0.1, save=save)
