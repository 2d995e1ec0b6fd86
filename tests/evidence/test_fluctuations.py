"""N·Var of linear statistics: exact Gaussian laws, a Fourier solution of the adjoint equation, and derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kspde
from kspde.fem.adjoint import integrate_backward

MASS, T_END = 1.7, 0.25
LINE = kspde.Box(half_width=9.0, cells=24, degree=6, dimension=1)
#: Finer: with the mesh, the same statistics change by 1e-5.
FINE = kspde.Box(half_width=9.0, cells=36, degree=8, dimension=1)


def start(mass=MASS, mean=0.4):
    means = [[mean - 0.8], [mean + 0.9]]
    return kspde.GaussianMixture(weights=[0.6, 0.4], means=means, stds=[0.6, 0.5], mass=mass)


def solved(model, u0, domain=LINE, *, times=17, tol=1e-6, t_end=T_END, eps=0.3):
    save = kspde.SaveAt(times=np.linspace(0.0, t_end, times))
    return kspde.solve(model, u0, domain, t_end=t_end, eps=eps, tol=tol, save=save)


def bump(x):
    return np.exp(-((x[:, 0] - 0.3) ** 2) / 2) + 0.2 * np.tanh(x[:, -1])


@dataclass(frozen=True, kw_only=True)
class OnALine(kspde.SignalDependentKellerSegel):
    dimension: int = 1


@dataclass(frozen=True, kw_only=True)
class InSpace(kspde.SignalDependentKellerSegel):
    dimension: int = 3


@dataclass(frozen=True, kw_only=True)
class Everything(kspde.Model):
    """D and b of a field, its gradient, position and time."""

    dimension: int = 1
    tau: float = 0.0
    v0: object = None

    @property
    def fields(self):
        kernel = kspde.Yukawa(strength=3.0)
        return (kspde.Field(name="c", kernel=kernel, gradient=True, tau=self.tau, start=self.v0),)

    def diffusion(self, species, c):
        return 0.5 + 0.5 * np.exp(-c["c"]) + 0.1 * c.gradient("c")[:, 0] ** 2

    def drift(self, species, c):
        return c.gradient("c") / (1 + c["c"])[:, None] - 0.3 * np.sin(np.pi * c.points / 9) + 0.2 * np.sin(3 * c.t)


@dataclass(frozen=True, kw_only=True)
class TwoSpecies(kspde.Model):
    dimension: int = 1
    species: tuple[str, ...] = ("a", "b")

    @property
    def fields(self):
        first = kspde.Field(name="c", kernel=kspde.Yukawa(strength=3.0), source="a", gradient=True)
        return (first, kspde.Field(name="e", kernel=kspde.Yukawa(strength=2.0), source="b", gradient=True, tau=0.5))

    def diffusion(self, species, c):
        return 0.5 + 0.5 * np.exp(-c["c"] - c["e"]) if species == "a" else 0.7

    def drift(self, species, c):
        return -c.gradient("e") if species == "a" else c.gradient("c") * c["e"][:, None]


@dataclass(frozen=True, kw_only=True)
class Attracted(kspde.Model):
    """dX = (−a X − β(X − mean of all))dt + √(2D)dB."""

    dimension: int = 1
    mass: float = MASS
    beta: float = 0.8
    fields = ()

    @property
    def moments(self):
        return (kspde.Moment(name="m", function=lambda x: x),)

    def diffusion(self, species, c):
        n, d = c.points.shape
        return 0.5 if d == 1 else np.broadcast_to(MATRIX, (n, 2, 2))

    def drift(self, species, c):
        return -0.6 * c.points - self.beta * (c.points - c.moment("m") / self.mass)


MATRIX = np.array([[0.6, 0.25], [0.25, 0.4]])


def test_attracted_particles_have_their_exact_variances():
    """The mean is a Gaussian process of its own, and the particles about it are independent."""
    pde = solved(Attracted(), kspde.GaussianMixture(weights=[1.0], means=[[0.7]], stds=[0.5], mass=MASS), eps=None)
    spread, mean = [0.25 * np.exp(-2 * a * T_END) + 0.5 * (1 - np.exp(-2 * a * T_END)) / a for a in (1.4, 0.6)]
    of_mean = kspde.fluctuations(pde, lambda x: x[:, 0], tol=1e-5)
    assert_allclose(of_mean.variance, MASS**2 * mean, rtol=1e-6)
    assert_allclose(of_mean.mean_field_share, MASS**2 * spread, rtol=1e-6)
    assert_allclose(of_mean.initial, MASS**2 * 0.25 * np.exp(-1.2 * T_END), rtol=1e-6)
    assert of_mean.error < 1e-5 * of_mean.variance
    of_square = kspde.fluctuations(pde, "second_moment", tol=1e-5)
    centre = 0.7 * np.exp(-0.6 * T_END)
    assert_allclose(of_square.variance, MASS**2 * (2 * spread**2 + 4 * centre**2 * mean), rtol=1e-5)


@pytest.mark.one_rank
def test_matrices_and_no_interaction():
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5, -0.3]], stds=[0.6])
    pde = solved(Attracted(dimension=2, mass=1.0, beta=0.0), u0, kspde.Box(half_width=6.0, cells=8, degree=6), eps=None)
    decay = np.exp(-1.2 * T_END)
    covariance = 0.36 * decay * np.eye(2) + MATRIX * (1 - decay) / 0.6
    found = kspde.fluctuations(pde, lambda x: x[:, 0] * x[:, 1])
    m = np.array([0.5, -0.3]) * np.exp(-0.6 * T_END)
    exact = covariance[0, 0] * covariance[1, 1] + covariance[0, 1] ** 2 + m[::-1] @ covariance @ m[::-1]
    assert_allclose([found.variance, found.mean_field_share], exact, rtol=2e-5)
    assert abs(found.interaction) < found.error + 2e-5


@pytest.mark.one_rank
def test_what_interaction_adds_on_a_line():
    """Measured on 2400 runs of 120 particles: .01449 ± .00048, .00489 ± .00016, .0599 ± .0020."""
    u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[-0.8], [0.9]], stds=[0.6, 0.5])
    pde = solved(OnALine(chi=8.0), u0, FINE)
    known = {0.01451: lambda x: np.cos(6 * np.pi * x / 18), 0.00484: lambda x: np.exp(-(x**2) / 2)}
    known[0.0617] = lambda x: x**2 * np.exp(-(x**2) / 18)
    for value, phi in known.items():
        found = kspde.fluctuations(pde, lambda x, phi=phi: phi(x[:, 0]))
        assert found.error < 3e-5
        assert_allclose(found.interaction, value, rtol=0, atol=0.5 * 10 ** -len(f"{value:g}"[2:]) + found.error)


def by_fourier(model, phi):
    """Return the parts of N·Var, and the share, by Fourier series and Runge and Kutta's method."""
    n, steps = 192, 400
    x = 18.0 * np.arange(n) / n - 9.0
    k = 2 * np.pi * np.fft.rfftfreq(n, 18.0 / n)
    symbol = 3.0 / (k**2 + 1) * np.exp(-0.045 * k**2)
    h = T_END / steps

    def derivative(f, order=1, by=1.0):
        factor = by * (1j * k) ** order
        factor[-1] *= order % 2 == 0
        return np.fft.irfft(factor * np.fft.rfft(f), n)

    def fields(u, t):
        c, s = derivative(u, 0, symbol), derivative(u, 1, symbol)
        b = s / (1 + c) - 0.3 * np.sin(np.pi * x / 9) + 0.2 * np.sin(3 * t)
        return c, s, 0.5 + 0.5 * np.exp(-c) + 0.1 * s**2, b

    def forward(u, t):
        _, _, d, b = fields(u, t)
        return derivative(d * u, 2) - derivative(b * u)

    def stages(f, y, t, h):
        a = f(y, t)
        b = f(y + h / 2 * a, t + h / 2)
        c = f(y + h / 2 * b, t + h / 2)
        return y + h / 6 * (a + 2 * b + 2 * c + f(y + h * c, t + h))

    u = [start()(x[:, None])]
    for i in range(steps):
        u.append(stages(forward, u[-1], i * h, h))

    def backward(psi, s):
        """Step by 2h, so that the stages are at times where u is known."""
        at = steps - round(s / h)
        c, slope, d, b = fields(u[at], at * h)
        one, two = derivative(psi), derivative(psi, 2)
        g = u[at] * (-0.5 * np.exp(-c) * two - slope / (1 + c) ** 2 * one)
        f = u[at] * (0.2 * slope * two + one / (1 + c))
        return d * two + b * one + derivative(g - derivative(f), 0, symbol)

    def noise(psi, at):
        return 2 * np.sum(u[at] * fields(u[at], at * h)[2] * derivative(psi) ** 2) * 18.0 / n

    psi, rates = phi(x[:, None]), []
    share = MASS * u[-1] @ psi**2 * 18.0 / n - (u[-1] @ psi * 18.0 / n) ** 2
    for i in range(0, steps, 2):
        rates.append(noise(psi, steps - i))
        psi = stages(backward, psi, i * h, 2 * h)
    rates.append(noise(psi, 0))
    initial = MASS * u[0] @ psi**2 * 18.0 / n - (u[0] @ psi * 18.0 / n) ** 2
    weights = np.array([1, *[4, 2] * (len(rates) // 2 - 1), 4, 1])
    return initial, MASS * 2 * h / 3 * weights @ rates, share


@pytest.mark.one_rank
def test_the_adjoint_equation_by_fourier_series():
    def phi(x):
        return np.exp(-((x[:, 0] - 0.3) ** 2) / 2) + 0.2 * np.cos(np.pi * x[:, 0] / 3)

    found = kspde.fluctuations(solved(Everything(), start(), FINE), phi)
    initial, noise, share = by_fourier(Everything(), phi)
    assert_allclose([found.initial, found.noise, found.mean_field_share], [initial, noise, share], rtol=2e-6)
    assert abs(found.interaction) > 0.05 * found.variance


def derivatives(model, u0, domain, **options):
    """Return ∫ψ(0)u_0 by species, and the derivative of ∫φu(T) by the share of that species in u_0, which it is."""
    pde = solved(model, {name: density(1.0) for name, density in u0.items()}, domain, **options)
    space = pde.knots[0].system.space
    phi = np.stack([bump(space.points)] * len(u0))

    def statistic(**shares):
        masses = {name: density(shares.get(name, 1.0)) for name, density in u0.items()}
        end = solved(model, masses, domain, **{**options, "times": 2}).knots[-1].unknowns[: len(u0)]
        return space.integral((end.reshape(phi.shape) * phi).sum(axis=0).reshape(space.mass.shape))[0]

    exact = [(statistic(**{name: 1.001}) - statistic(**{name: 0.999})) / 0.002 for name in u0]
    found = integrate_backward(pde.knots, phi, 1e-6)
    return found, found.start[0], np.array(exact)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    "model",
    [
        Everything(),
        Everything(tau=0.7),
        Everything(tau=0.7, v0=kspde.GaussianMixture(weights=[1.0], means=[[0.2]], stds=[0.7], mass=2.0)),
        TwoSpecies(),
    ],
    ids=["everything", "tau", "start", "species"],
)
def test_psi_is_the_derivative_of_the_statistic(model):
    """By the scheme for u itself: with all terms of the coefficients, and of the adjoint signal."""
    u0 = {name: lambda s, i=i: start(s * (MASS - 0.4 * i), 0.4 - i) for i, name in enumerate(model.species)}
    found, psi, exact = derivatives(model, u0, LINE)
    assert_allclose(psi, exact, rtol=2e-6)
    assert_allclose(found.defect, 0.0, atol=1e-6)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("model", "eps", "domain"),
    [
        (kspde.KellerSegel(chi=2.0), 0.4, kspde.Box(half_width=6.0, cells=10, degree=6)),
        (kspde.ViscousVortices(viscosity=0.2), None, kspde.Box(half_width=6.0, cells=10, degree=6)),
    ],
    ids=["Keller-Segel", "vortices"],
)
def test_in_the_plane(model, eps, domain):
    means = [[-0.6, 0.3], [0.7, 0.4]]

    def density(share):
        return kspde.GaussianMixture(weights=[0.6, 0.4], means=means, stds=[0.6, 0.5], mass=share * MASS)

    options = {"eps": eps, "t_end": 0.1, "times": 5, "tol": 1e-5}
    found, psi, exact = derivatives(model, {"u": density}, domain, **options)
    assert_allclose(psi, exact, rtol=1e-4)
    assert_allclose(found.defect, 0.0, atol=1e-5)


@pytest.mark.one_rank
def test_a_disk_agrees_with_a_box_to_the_order_of_its_mesh():
    u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[-0.6, 0.3], [0.7, 0.4]], stds=[0.6, 0.5], mass=MASS)
    exact = 0.266194  # on a box of 10² cells of degree 6
    errors = []
    for size in (0.5, 0.25):
        disk = kspde.Disk(radius=5.0, size=size)
        found = kspde.fluctuations(
            solved(kspde.KellerSegel(chi=2.0), u0, disk, eps=0.4, t_end=0.1, times=5, tol=1e-4), bump
        )
        errors.append(abs(found.variance - exact))
        assert errors[-1] < found.error
    assert errors[0] < 2.2e-3
    assert 3.7 < errors[0] / errors[1] < 4.3


@pytest.mark.one_rank
@pytest.mark.filterwarnings("ignore:a share")  # the ellipse is small
def test_a_mesh_from_a_file_and_space():
    u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[-0.6, 0.3], [0.7, 0.2]], stds=[0.4, 0.4])
    mesh = kspde.MeshFile(path=Path(__file__).parents[2] / "meshes" / "ellipse.msh")
    pde = solved(kspde.SignalDependentKellerSegel(chi=20.0), u0, mesh, eps=0.4, t_end=0.05, times=6, tol=1e-4)
    with pytest.warns(kspde.KspdeWarning, match="refine the mesh"):
        found = kspde.fluctuations(pde, lambda x: np.exp(-np.sum((x - [0.3, 0.1]) ** 2, axis=1)), tol=1e-4)
    # On a box of 12² cells of degree 6; refined once, the mesh is off by .27 of this.
    assert_allclose([found.variance, found.interaction], [0.0859231, 0.0027717], rtol=2.5e-3)

    u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[-0.8, 0.3, 0.0], [0.9, 0.4, 0.2]], stds=[0.8, 0.7])
    box = kspde.Box(half_width=10.0, cells=6, degree=4, dimension=3)
    found = kspde.fluctuations(solved(InSpace(chi=20.0), u0, box, eps=0.5, t_end=0.1, times=5, tol=1e-4), "gaussian")
    # 2000 runs of 120 particles with j ≠ i and their mean-field particles, with two standard errors.
    assert_allclose(found.interaction, 0.00221, atol=1.6e-4)


@pytest.mark.one_rank
def test_the_result_answers():
    pde = solved(
        TwoSpecies(), {"a": start(), "b": start(0.9)}, kspde.Box(half_width=9.0, cells=12, degree=6, dimension=1)
    )
    found = kspde.fluctuations(pde, {"a": bump})
    assert found.shares["b"] == 0.0 < found.by_species["b"]  # what b does to a
    assert_allclose(list(found.by_species.values()), [0.352522656, 0.000591655694], rtol=1e-7)  # on any ranks
    assert_allclose(found.variance, sum(found.by_species.values()), rtol=1e-12)
    a, b = found.by_species.values()
    assert_allclose(found.std({"a": 10, "b": 20}), np.sqrt(a / 10 + b / 20), rtol=1e-12)
    assert found.replicas(100, 1e-3) == np.ceil(found.variance / 100 / (1e-3 * found.mean) ** 2)
    assert repr(found).startswith("Fluctuations: N·Var = ")
    with pytest.raises(kspde.InputError, match="n has species a: give a, b"):
        found.std({"a": 3})
    for statistic, line in (
        (bump, "statistic is one function for 2 species"),
        ({"c": bump}, "statistic has species c: give a, b"),
        ("moments", "statistic = 'moments' is not one that is linear"),
        ({"a": lambda x: x}, "statistic returned float64 numbers of shape"),
        ({"a": lambda x: np.full(len(x), np.inf)}, "statistic is inf at"),
    ):
        with pytest.raises(kspde.InputError, match=line):
            kspde.fluctuations(pde, statistic)


@dataclass(frozen=True, kw_only=True)
class Growing(Attracted):
    def growth(self, species, c):
        return 0.1


@pytest.mark.one_rank
def test_what_has_no_limit_is_refused():
    coarse = kspde.Box(half_width=9.0, cells=8, degree=6, dimension=1)
    signed = kspde.SignedMixture(circulations=[1.0, -0.5], means=[[0.0], [1.0]], stds=[0.8, 0.9])
    for model, u0, times, line in (
        (Attracted(), start(), 1, "fluctuations need it from 0 to t_end"),
        (Growing(), start(), 5, "has growth"),
        (Attracted(), signed, 5, "the density of u has both signs"),
    ):
        pde = solved(model, u0, coarse, times=times, tol=1e-2, eps=None)
        with pytest.raises(kspde.InputError, match=line):
            kspde.fluctuations(pde, bump)
    local = kspde.CrossDiffusion(sigma=[1.0], a=[[0.5]], dimension=1)
    pde = solved(local, {local.species[0]: start()}, coarse, times=5, tol=1e-2, eps=None)
    with pytest.raises(kspde.InputError, match="which no particles feel"):
        kspde.fluctuations(pde, bump)


@pytest.mark.one_rank
def test_the_virial_of_a_log_gas():
    """d|X|² = (g + 4σ − 2κ|X|²)dt + 2√(2σ)X·dB on average: whatever the interaction, in closed form."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.4, -0.2]], stds=[0.5])
    model = kspde.LogGas(strength=1.5, noise=0.3)
    pde = solved(model, u0, kspde.Box(half_width=6.0, cells=8, degree=6), eps=None)
    found = kspde.fluctuations(pde, "second_moment", tol=1e-5)
    first, last = 0.2 + 2 * 0.25, (1.5 + 4 * 0.3) / 2
    decay = np.exp(-2 * T_END)
    initial = decay**2 * (4 * 0.25**2 + 4 * 0.25 * 0.2)
    noise = 8 * 0.3 * (last * (1 - decay**2) / 4 + (first - last) * (decay - decay**2) / 2)
    assert_allclose([found.initial, found.noise], [initial, noise], rtol=2e-4)
    assert found.interaction < -0.2 * found.variance
