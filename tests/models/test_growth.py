"""Growth: models of users with r of both signs, in both backends, against exact solutions and other solvers."""

import warnings
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import kspde

EVERY = {
    "adaptive": {"tol": 1e-8},
    "rosenbrock": {"tol": 1e-6},
    "positive": {"dt": 0.02},
    "positive-2": {"dt": 0.05},
}
POSITIVE = ("positive", "positive-2")


@dataclass(frozen=True, kw_only=True)
class Exponential(kspde.Model):
    """∂_t u = DΔu + (ρ + κx)u, whose Gaussians remain Gaussians; with ``local``, D comes through a local field."""

    rho: float
    kappa: float = 0.0
    local: bool = False
    diffusivity: float = 0.5
    dimension: int = 1

    @property
    def fields(self):
        return (kspde.Field(name="o", kernel=kspde.Identity()),) if self.local else ()

    def diffusion(self, species, c):
        return self.diffusivity + 0.0 * c["o"] if self.local else self.diffusivity

    def growth(self, species, c):
        return self.rho + self.kappa * c.points[:, 0]

    def exact(self, t, u0):
        """Return the mass and the mean of x of the solution that starts from a Gaussian."""
        m, s2 = u0.means[0][0], u0.stds[0] ** 2
        tilt = m * t + self.kappa * (s2 * t**2 / 2 + t**3 / 6)
        return u0.mass * exp(self.rho * t + self.kappa * tilt), m + self.kappa * (s2 * t + t**2 / 2)


@dataclass(frozen=True, kw_only=True)
class Logistic(kspde.Model):
    """Fisher, Kolmogorov, Petrovsky and Piskunov's equation, ∂_t u = DΔu + ρu(1 − u), 1 − u * j where mollified."""

    rho: float = 1.0
    sigma: float = 1.0
    dimension: int = 1

    @property
    def fields(self):
        return (kspde.Field(name="crowd", kernel=kspde.Identity()),)

    def diffusion(self, species, c):
        return self.sigma

    def growth(self, species, c):
        return self.rho * (1.0 - c["crowd"])


@dataclass(frozen=True, kw_only=True)
class Lynxes(kspde.Model):
    """Predators w and prey u: ∂_t u = .05Δu + u(1 − u − 2w), ∂_t w = .02Δw + w(1.5u − .5)."""

    species = ("u", "w")
    dimension: int = 1

    @property
    def fields(self):
        return tuple(kspde.Field(name=s, kernel=kspde.Identity(), source=s) for s in self.species)

    def diffusion(self, species, c):
        return 0.05 if species == "u" else 0.02

    def growth(self, species, c):
        return 1.0 - c["u"] - 2.0 * c["w"] if species == "u" else 1.5 * c["u"] - 0.5


@dataclass(frozen=True, kw_only=True)
class Filling(kspde.Model):
    """Volume filling, b = χ(1 − u)∇c: where u = 1 nothing moves in; growth where there is room."""

    chi: float = 5.0
    rho: float = 0.0
    dimension: int = 1

    @property
    def fields(self):
        signal = kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True)
        return signal, kspde.Field(name="u", kernel=kspde.Identity())

    def diffusion(self, species, c):
        return 0.1

    def drift(self, species, c):
        return self.chi * (1.0 - c["u"])[:, None] * c.gradient("c")

    def growth(self, species, c):
        return self.rho * (1.0 - c["u"])


def gaussian(mass=1.7, mean=0.7, std=0.6):
    return kspde.GaussianMixture(weights=(1.0,), means=((mean,),), stds=(std,), mass=mass)


def uniform(value, half=2.0):
    return kspde.GridDensity(np.ones(2), (-half, half), mass=value * 2 * half)


def closed(cells=4, half=2.0):
    return kspde.Box(half_width=half, cells=cells, degree=1, dimension=1, boundary="neumann")


def balance(pde):
    """Return the largest deviation of the masses from what they were and what has grown."""
    mass = pde.diagnostics["mass"].reshape(len(pde.diagnostics["t"]), -1)
    return float(np.abs(mass - mass[0] - pde.diagnostics["growth"].reshape(mass.shape)).max())


@pytest.mark.parametrize("scheme", EVERY)
@pytest.mark.parametrize("rho", [-1.2, pytest.param(0.8, marks=pytest.mark.one_rank)])
def test_gaussians_that_grow_or_decay_have_their_mass_and_mean(scheme, rho) -> None:
    degree = 1 if scheme in POSITIVE else 4
    box = kspde.Box(half_width=9.0, cells=96 // degree, degree=degree, dimension=1)
    model, u0 = Exponential(rho=rho, kappa=0.5), gaussian()
    options = dict(t_end=1.0, scheme=scheme, **EVERY[scheme])
    pde = kspde.solve(model, u0, box, **options)
    mass, mean = model.exact(1.0, u0)
    x = np.linspace(-8, 8, 401)
    found = float(np.sum(x * pde.on_grid([x])) / np.sum(pde.on_grid([x])))
    allowed = {"adaptive": 2e-7, "rosenbrock": 2e-5, "positive": 4e-2, "positive-2": 4e-3}[scheme]
    assert abs(pde.masses["u"] / mass - 1) < allowed
    assert abs(found / mean - 1) < allowed
    assert balance(pde) < 1e-13
    if scheme in POSITIVE:
        local = kspde.solve(Exponential(rho=rho, kappa=0.5, local=True), u0, box, **options)
        assert_allclose(local.at().density(), pde.at().density(), rtol=1e-7, atol=1e-12)
        assert_allclose(local.diagnostics["growth"], pde.diagnostics["growth"], rtol=1e-10)


@pytest.mark.parametrize("scheme", ["adaptive", "positive-2"])
def test_growth_on_triangles_is_that_of_the_plane(scheme) -> None:
    u0 = kspde.GaussianMixture(weights=(1.0,), means=((0.4, -0.3),), stds=(0.6,), mass=1.7)
    model, options = Exponential(rho=-0.4, kappa=0.5, dimension=2), {"adaptive": {"tol": 1e-4}}.get(scheme, {"dt": 0.1})
    pde = kspde.solve(model, u0, kspde.Disk(radius=5.0, size=0.3), t_end=0.5, scheme=scheme, **options)
    assert abs(pde.masses["u"] / model.exact(0.5, u0)[0] - 1) < 4e-3
    assert balance(pde) < 1e-12


@pytest.mark.one_rank
@pytest.mark.parametrize(("scheme", "ratio"), [("positive", 2.0), ("positive-2", 4.0)])
@pytest.mark.parametrize("start", [0.2, 1.6])
def test_the_logistic_curve_and_orders_in_dt(scheme, ratio, start) -> None:
    """With r > 0 from .2, with r < 0 from 1.6: u = u₀/(u₀ + (1 − u₀)e^(−ρt)), r of the old density, local."""
    exact = start / (start + (1 - start) * exp(-2.0))
    errors = []
    for dt in (0.1, 0.05, 0.025):
        pde = kspde.solve(Logistic(rho=2.0), uniform(start), closed(), t_end=1.0, scheme=scheme, dt=dt)
        errors.append(np.abs(pde.at().density() - exact).max())
        assert balance(pde) < 1e-12
    found = np.array(errors[:-1]) / errors[1:]
    assert np.all((found > 0.9 * ratio) & (found < 1.12 * ratio)), errors
    assert 0.4 * errors[-1] / exact < pde.diagnostics["time_error"][-1] < 10 * errors[-1] / exact


@pytest.mark.one_rank
def test_step_control_follows_the_logistic_curve() -> None:
    exact = 0.2 / (0.2 + 0.8 * exp(-2.0))
    for scheme, tol, allowed in (("adaptive", 1e-8, 1e-7), ("rosenbrock", 1e-7, 1e-6), ("positive-2", 1e-4, 1e-3)):
        pde = kspde.solve(Logistic(rho=2.0), uniform(0.2), closed(), t_end=1.0, scheme=scheme, tol=tol)
        assert_allclose(pde.at().density(), exact, rtol=allowed)
        assert_allclose(pde.masses_at(0.4)["u"], 4 * 0.2 / (0.2 + 0.8 * exp(-0.8)), rtol=2e-3)


@pytest.mark.one_rank
def test_a_front_is_ablowitz_and_zeppetellas() -> None:
    """u = (1 + e^(z/√6))^(−2), z = x − 5t/√6, solves the equation with σ = ρ = 1."""
    half = 30.0

    def front(x, t):
        return (1 + np.exp((x + 5 - 5 * t / sqrt(6)) / sqrt(6))) ** -2

    x = np.linspace(-half, half, 6001)
    values = front(x, 0.0)
    u0 = kspde.GridDensity(values, (-half, half), mass=float(np.trapezoid(values, x)))
    at = np.linspace(-10, 15, 101)
    for degree, options, allowed in (
        (4, {"tol": 1e-7}, 2e-6),
        (1, {"scheme": "positive-2", "dt": 0.05}, 2e-3),
    ):
        box = kspde.Box(half_width=half, cells=360 // degree, degree=degree, dimension=1, grading=0, boundary="neumann")
        pde = kspde.solve(Logistic(), u0, box, t_end=2.0, **options)
        assert np.abs(pde.on_grid([at]) - front(at, 2.0)).max() < allowed


@pytest.mark.one_rank
@pytest.mark.parametrize("scheme", POSITIVE)
@pytest.mark.parametrize("rate", [1e3, -1e3, 1e12, -1e12])
def test_positive_schemes_stay_positive_and_balanced_for_every_rate(scheme, rate) -> None:
    box = kspde.Box(half_width=6.0, cells=24, degree=1, dimension=1)
    for local in (False, True):
        model = Exponential(rho=0.0, kappa=rate, local=local)
        pde = kspde.solve(model, gaussian(std=0.8), box, t_end=2.0, scheme=scheme, dt=0.5, on_blow_up="ignore")
        mass = pde.diagnostics["mass"]
        assert np.all(np.isfinite(mass))
        assert np.all(pde.diagnostics["minimum"] >= 0)
        assert np.all(np.abs(mass - mass[0] - pde.diagnostics["growth"]) <= 1e-12 * np.maximum.accumulate(mass))
        assert np.all(pde.at().density() >= 0)


@pytest.mark.one_rank
def test_too_long_steps_do_not_end_in_extinction() -> None:
    """With r = −10 and Δt = 1 extrapolation alone, 2/6² − 1/11 < 0, would be limited to u = 0."""
    options = {"t_end": 3.0, "scheme": "positive-2", "dt": 1.0}
    pde = kspde.solve(Exponential(rho=-10.0), uniform(3.0), closed(), **options)
    assert np.all(pde.diagnostics["minimum"] > 3.0 / 72.5 ** np.arange(4))


@pytest.mark.one_rank
def test_a_narrow_peak_that_grows_as_the_whole_is_no_blow_up() -> None:
    model = Exponential(rho=3.0, local=True, diffusivity=1e-5)
    box = kspde.Box(half_width=4.0, cells=32, degree=1, dimension=1, grading=0)
    pde = kspde.solve(model, gaussian(std=0.12), box, t_end=1.0, scheme="positive", dt=0.05)
    assert pde.diagnostics["maximum"][-1] > 10 * pde.diagnostics["maximum"][0]


@pytest.mark.one_rank
def test_steps_follow_a_density_that_grows_until_it_is_absurd() -> None:
    """Tolerances refer to the largest norm until then: beside 1e13 times the mass rounding hides 1e-5 of the first."""
    box = kspde.Box(half_width=6.0, cells=8, degree=4, dimension=1)
    for scheme, options, most, allowed in (
        ("adaptive", {"tol": 1e-5}, 90, 1e-4),
        ("rosenbrock", {"tol": 1e-3}, 140, 0.05),
        ("positive-2", {"tol": 1e-2}, 180, 0.2),
    ):
        domain = box if scheme != "positive-2" else kspde.Box(half_width=6.0, cells=16, degree=1, dimension=1)
        pde = kspde.solve(Exponential(rho=30.0), gaussian(std=0.8), domain, t_end=1.0, scheme=scheme, **options)
        assert_allclose(pde.masses["u"], 1.7 * exp(30.0), rtol=allowed, err_msg=scheme)
        assert pde.summary()["steps"] < most
    with pytest.raises(
        kspde.ConvergenceError, match=r"density of species 'u' grows beyond 1e\+100: end earlier"
    ) as caught:
        kspde.solve(Exponential(rho=1e4), gaussian(std=0.8), box, t_end=1.0, tol=1e-3)
    assert caught.value.solution.t_end == pytest.approx(np.log(1e100) * 1e-4, rel=0.02)
    with pytest.raises(
        kspde.ConvergenceError, match=r"u is as low as -.*: growth acts on what elements leave below 0 too"
    ):
        kspde.solve(Logistic(rho=1e4), gaussian(std=0.8), box, t_end=1.0, tol=1e-3)


@pytest.mark.one_rank
def test_predators_and_prey_follow_scipys_solution() -> None:
    start = {"u": 0.9, "w": 0.3}
    odes = solve_ivp(
        lambda t, y: [y[0] * (1 - y[0] - 2 * y[1]), y[1] * (1.5 * y[0] - 0.5)],
        (0, 4),
        [0.9, 0.3],
        rtol=1e-10,
        atol=1e-12,
    )
    u0 = {name: uniform(value) for name, value in start.items()}
    for scheme, options, allowed in (
        ("adaptive", {"tol": 1e-8}, 1e-6),
        ("rosenbrock", {"tol": 1e-5}, 1e-4),
        ("positive", {"dt": 0.02}, 2e-2),
        ("positive-2", {"dt": 0.1}, 4e-3),
    ):
        pde = kspde.solve(Lynxes(), u0, closed(), t_end=4.0, scheme=scheme, **options)
        for name, value in zip(start, odes.y[:, -1], strict=True):
            assert_allclose(pde.at().density(name), value, rtol=allowed, err_msg=scheme)
        assert balance(pde) < 1e-12


@pytest.mark.one_rank
def test_volumes_fill_to_one_where_the_mesh_resolves_the_drift() -> None:
    """The local coefficient 1 − u is in the drift; .9836 is the maximum with 384 cells, and at degree 4."""
    u0 = gaussian(mass=2.5, mean=0.4, std=1.2)
    box = kspde.Box(half_width=8.0, cells=144, degree=1, dimension=1, grading=0)
    for rho, scheme in ((0.0, "positive-2"), (1.0, "positive")):
        pde = kspde.solve(Filling(rho=rho), u0, box, t_end=2.0, scheme=scheme, dt=0.1)
        assert pde.diagnostics["maximum"].max() < 1.0
        assert balance(pde) < 1e-12
        if rho == 0.0:
            assert_allclose(pde.diagnostics["maximum"][-1], 0.9836, atol=2e-3)
            assert_allclose(pde.masses["u"], 2.5, rtol=1e-12)


@pytest.mark.one_rank
def test_particles_tilt_as_the_gaussian_does() -> None:
    model, u0 = Exponential(rho=0.3, kappa=0.7), gaussian()
    for scheme in ("euler-maruyama", "weak-2"):
        steady = kspde.simulate(Exponential(rho=0.3), u0, n=100, t_end=1.0, dt=0.25, scheme=scheme)
        assert_allclose(steady.masses["u"], 1.7 * exp(0.3), rtol=1e-13)
        cloud = kspde.simulate(model, u0, n=40_000, t_end=1.0, dt=0.1, scheme=scheme)
        mass, mean = model.exact(1.0, u0)
        allowed = 0.01 if scheme == "weak-2" else 0.05
        assert abs(cloud.masses["u"] / mass - 1) < allowed
        assert abs(cloud.diagnostics["mean"][-1, 0] / mean - 1) < allowed
        assert_allclose(cloud.diagnostics["mass"][-1], cloud.comm.allreduce(cloud.weights_of("u").sum()), rtol=1e-12)


@pytest.mark.one_rank
def test_weak_2_is_of_order_2_with_growth() -> None:
    """One particle without noise: X' = 1, r = X, in the fields of its own weight; exact against scipy."""

    @dataclass(frozen=True, kw_only=True)
    class Ballistic(Logistic):
        def diffusion(self, species, c):
            return 0.0

        def drift(self, species, c):
            return 0.5 + c["crowd"][:, None]

        def growth(self, species, c):
            return c.points[:, 0] - c["crowd"]

    u0 = gaussian(mass=1.0, mean=0.3, std=1e-9)
    own = 1 / (0.5 * sqrt(2 * np.pi))  # the mollifier at 0
    exact = solve_ivp(
        lambda t, y: [0.5 + own * y[1], y[1] * (y[0] - own * y[1])], (0, 1), [0.3, 1.0], rtol=1e-11, atol=1e-13
    )
    options = {"n": 1, "t_end": 1.0, "eps": 0.5, "method": "direct", "field_tol": 1e-9, "on_blow_up": "ignore"}
    for scheme, order in (("euler-maruyama", 2.0), ("weak-2", 4.0)):
        errors = []
        for dt in (0.1, 0.05, 0.025):
            cloud = kspde.simulate(Ballistic(), u0, dt=dt, scheme=scheme, **options)
            errors.append(abs(cloud.masses["u"] - exact.y[1, -1]))
        ratios = np.array(errors[:-1]) / errors[1:]
        assert np.all((ratios > 0.85 * order) & (ratios < 1.25 * order)), (scheme, errors)
    alone = kspde.simulate(Ballistic(), u0, dt=0.1, scheme="weak-2", include_self=False, **options)
    assert_allclose(alone.masses["u"], exp(0.3 + 0.25), rtol=1e-8)  # X = .3 + t/2


def fisher(n, comm=None, **options):
    return kspde.simulate(
        Logistic(rho=2.0, sigma=0.3), gaussian(), n=n, t_end=1.0, dt=0.05, eps=0.4, comm=comm, **options
    )


@pytest.fixture(scope="module")
def density():
    box = kspde.Box(half_width=7.0, cells=40, degree=4, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, 1, 11))
    return kspde.solve(Logistic(rho=2.0, sigma=0.3), gaussian(), box, t_end=1.0, tol=1e-8, eps=0.4, save=save)


@pytest.mark.one_rank
def test_the_mollified_density_is_a_fourier_solution(density) -> None:
    count, length = 256, 14.0
    x = (np.arange(count) - count // 2) * (length / count)
    k2 = (2 * np.pi * np.fft.fftfreq(count, length / count)) ** 2

    def rate(t, u):
        modes = np.fft.fft(u)
        crowd = np.fft.ifft(np.exp(-(0.4**2) * k2 / 2) * modes).real
        return np.fft.ifft(-0.3 * k2 * modes).real + 2.0 * u * (1.0 - crowd)

    start = 1.7 * np.exp(-((x - 0.7) ** 2) / 0.72) / sqrt(0.72 * np.pi)
    end = solve_ivp(rate, (0, 1), start, rtol=1e-9, atol=1e-11).y[:, -1]
    assert_allclose(density.evaluate(x[32:-32, None]), end[32:-32], atol=3e-6, rtol=0)
    assert_allclose(density.masses["u"], end.sum() * length / count, rtol=1e-6)


@pytest.mark.one_rank
def test_particles_of_fishers_equation_approach_its_density(density, tmp_path) -> None:
    snapshots = kspde.Snapshots()
    save = kspde.SaveAt(times=(0.5, 1.0), callback=snapshots, statistics=("moments", "histogram"))
    cloud = fisher(8_000, mean_field=density, save=save)
    for found in (cloud, cloud.mean_field):
        assert abs(found.masses["u"] / density.masses["u"] - 1) < 0.03
    assert cloud.coupling.supremum < 1e-12  # without drift only weights differ
    assert not np.array_equal(cloud.weights_of("u"), cloud.mean_field.weights_of("u"))
    distance = kspde.compare(density, cloud, distances=("l1", "energy"), times=(0.5, 1.0), snapshots=snapshots)
    assert distance.differs["mass"] == (density.masses["u"], cloud.masses["u"])
    assert distance.mass == density.masses["u"]
    assert distance.n == 8_000
    assert 2_000 < distance.effective_n < 8_000
    assert distance.l1.value < 1.5 * distance.floor.l1.interval[1]
    unweighted = kspde.compare(density, cloud.positions, normalise=True, distances=("l1",))
    assert unweighted.l1.value > 3 * unweighted.floor.l1.interval[1]
    histogram = cloud.statistics["histogram"][-1].sum()
    assert_allclose(histogram, cloud.masses["u"], rtol=1e-12)


def test_systematic_resampling_keeps_mass_and_law(comm) -> None:
    model = Exponential(rho=0.0, kappa=2.0)
    options = {"n": 20_000, "t_end": 1.0, "dt": 0.05, "resampling": kspde.SystematicResampling(effective_share=0.7)}
    cloud = kspde.simulate(model, gaussian(), **options)
    mass, mean = model.exact(1.0, gaussian())
    assert cloud.diagnostics["effective_share"].min() > 0.6
    assert abs(cloud.masses["u"] / mass - 1) < 0.05
    assert abs(cloud.diagnostics["mean"][-1, 0] / mean - 1) < 0.02
    again = kspde.simulate(model, gaussian(), comm=MPI.COMM_SELF, **options)
    first = cloud.comm.rank * 20_000 // cloud.comm.size
    part = slice(first, first + len(cloud.positions))
    assert_allclose(cloud.positions, again.positions[part], rtol=1e-12, atol=1e-12)
    assert_allclose(cloud.weights_of("u"), again.weights_of("u")[part], rtol=1e-12)


@pytest.mark.parametrize("method", ["mesh", "direct"])
def test_weights_in_fields_are_those_of_now_on_any_number_of_ranks(method, comm) -> None:
    options = {"method": method, "include_self": False, "scheme": "weak-2", "field_tol": 1e-8}
    cloud, alone = fisher(300, **options), fisher(300, MPI.COMM_SELF, **options)
    assert_allclose(cloud.masses["u"], alone.masses["u"], rtol=1e-6)
    other = fisher(300, MPI.COMM_SELF, **options | {"method": "mesh"})
    assert_allclose(other.masses["u"], alone.masses["u"], rtol=1e-6)


class _EndError(Exception):
    pass


def _stop(share):
    if share > 0.5:
        raise _EndError


@pytest.mark.parametrize("scheme", ["adaptive", pytest.param("rosenbrock", marks=pytest.mark.one_rank), "positive-2"])
def test_densities_resume_with_what_has_grown(scheme, shared_tmp_path, comm) -> None:
    box = kspde.Box(half_width=7.0, cells=32, degree=1, dimension=1)
    options = {"t_end": 0.6, "scheme": scheme, **EVERY[scheme]}
    keep = {"checkpoint": kspde.Checkpoint(shared_tmp_path, every=0)}
    model = Exponential(rho=-0.5, kappa=0.6)
    whole = kspde.solve(model, gaussian(), box, **options)
    with pytest.raises(_EndError):
        kspde.solve(model, gaussian(), box, progress=_stop, **options, **keep)
    pde = kspde.solve(model, gaussian(), box, resume=True, **options, **keep)
    assert_allclose(pde.diagnostics["growth"], whole.diagnostics["growth"], rtol=1e-9, atol=1e-12)
    assert balance(pde) < 1e-13


def test_particles_resume_with_their_weights(shared_tmp_path, comm) -> None:
    keep = {"checkpoint": kspde.Checkpoint(shared_tmp_path, every=0)}
    options = {"scheme": "weak-2", "resampling": "systematic"}
    whole = fisher(200, **options)
    with pytest.raises(_EndError):
        fisher(200, progress=_stop, **options, **keep)
    cloud = fisher(200, resume=True, **options, **keep)
    assert_allclose(cloud.weights_of("u"), whole.weights_of("u"), rtol=1e-12)
    assert_allclose(cloud.diagnostics["mass"], whole.diagnostics["mass"], rtol=1e-12)
    cloud.write(shared_tmp_path / "cloud.h5")
    if comm.rank == 0:
        from kspde.runtime.hdf5 import h5py

        with h5py.File(shared_tmp_path / "cloud.h5") as file:
            assert_allclose(file["weights/u"][:].sum(), cloud.masses["u"], rtol=1e-12)
            assert file["positions/u"].attrs["mass"] == cloud.masses["u"]
            assert_allclose(file["diagnostics/mass"][-1], cloud.masses["u"], rtol=1e-12)


WRONG = {
    "a shape": (lambda c: np.ones((len(c.points), 1)), kspde.InputError, "growth.'u', c. returned shape"),
    "complex": (lambda c: 1j * np.ones(len(c.points)), kspde.InputError, "growth.'u', c. returned values of type"),
    "NaN": (lambda c: np.where(c.points[:, 0] > 0.5, np.nan, 1.0), None, "the growth of species 'u' is nan at"),
    "inf": (lambda c: np.inf, None, "the growth of species 'u' is inf at"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_growth_is_one_line_with_its_place(case) -> None:
    returned, error, line = WRONG[case]

    @dataclass(frozen=True, kw_only=True)
    class Bad(Exponential):
        def growth(self, species, c):
            return returned(c)

    box = kspde.Box(half_width=7.0, cells=24, degree=1, dimension=1)
    for options in ({}, {"scheme": "positive", "dt": 0.1}):
        with pytest.raises(error or kspde.InputError, match=line) as caught:
            kspde.solve(Bad(rho=0.0), gaussian(), box, t_end=0.2, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(error or kspde.ConvergenceError, match=line) as caught:
        kspde.simulate(Bad(rho=0.0), gaussian(), n=20, t_end=0.2, dt=0.1)
    assert "\n" not in str(caught.value)


@pytest.mark.one_rank
def test_resampled_particles_are_not_taken_for_independent_ones(density) -> None:
    options = {"resampling": kspde.SystematicResampling(effective_share=0.95), "seed": 3}
    cloud = fisher(400, **options)
    assert cloud.resampled
    with pytest.warns(kspde.KspdeWarning, match=r"resampled, .* simulate without resampling= for a verdict"):
        kspde.compare(density, cloud, replicas=20)
    # Neither are those resampled that might have been.
    kept = fisher(400, resampling=kspde.SystematicResampling(effective_share=0.01), seed=3)
    assert not kept.resampled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kspde.compare(density, kept, replicas=20)


@pytest.mark.one_rank
def test_what_has_no_meaning_with_growth_is_refused(density) -> None:
    with pytest.raises(kspde.InputError, match="has growth, so that its particles have no probability law"):
        kspde.entropy_bound(density, n=10, dt=0.1)
    with pytest.raises(kspde.InputError, match="resampling = 'systematic' would part particles"):
        fisher(10, mean_field=density, resampling="systematic")
    with pytest.raises(kspde.InputError, match="resampling = 'systematic' needs weights >= 0"):
        fisher(2, weights=[1.0, -2.0], resampling="systematic")
    with pytest.raises(kspde.InputError, match="resampling = 'random' is not valid"):
        fisher(2, resampling="random")
    with pytest.raises(kspde.ConvergenceError, match="its growth has left the range of floating-point numbers"):
        kspde.simulate(Exponential(rho=1e4), gaussian(), n=2, t_end=1.0, dt=0.1)
