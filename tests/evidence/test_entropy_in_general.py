"""The entropy bound with matrices, moments, several species, fields that relax: against exact laws and derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mpi4py import MPI
from particle_systems import START

import kspde
from kspde.evidence.defect import defect, inverse_form
from kspde.problem import Problem

T_END, K = 0.5, 2.0
D = np.array([[0.6, 0.25], [0.25, 0.4]])


@dataclass(frozen=True, kw_only=True)
class Ornstein(kspde.Model):
    """dX = −k(X − m)dt + √(2D)dB with the mean m of all particles, or of those of the other species."""

    dimension: int = 2
    species: tuple[str, ...] = ("u",)
    mean_field: bool = True
    fields = ()

    @property
    def moments(self):
        names = self.species if self.mean_field else ()
        return tuple(kspde.Moment(name=f"m_{s}", function=lambda x: x, source=s) for s in names)

    def diffusion(self, species, c):
        n, d = c.points.shape
        return np.broadcast_to(D, (n, 2, 2)) if d == 2 else {"u": 0.5, "a": 0.5, "b": 0.2}[species]

    def drift(self, species, c):
        return -K * (c.points - c.moment(f"m_{self.species[-1 - self.species.index(species)]}") * self.mean_field)


class Known:
    """A solved density that is known exactly: Gaussians with constant means, or moments that decay."""

    initial, eps, domain, comm = "u0", None, None, MPI.COMM_WORLD

    def __init__(self, model, means, mean_at, t_end=T_END):
        self.model, self.t_end, self.mean_at = model, t_end, mean_at
        self.times = np.array([0.0, t_end])
        u0 = {s: kspde.GaussianMixture(weights=(1.0,), means=(means[s],), stds=(0.7,)) for s in model.species}
        self.u0 = u0
        self.problem = Problem.of(model, u0, t_end=t_end)

    def covariance(self, species, t):
        decay = np.exp(-2 * K * t)
        d = D if self.model.dimension == 2 else np.array([[self.model.diffusion(species, C)]])
        return decay * 0.49 * np.eye(len(d)) + d / K * (1 - decay)

    def on_grid(self, axes, species, t, outside=None):
        x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - self.mean_at(t)[species]
        s = self.covariance(species, t)
        form = np.einsum("...a,ab,...b", x, np.linalg.inv(s), x)
        return np.exp(-0.5 * form) / np.sqrt(np.linalg.det(2 * np.pi * s))

    def signal_on_grid(self, axes, field, t):
        raise AssertionError("the model has no fields")

    def moment(self, name, t):
        return np.asarray(self.mean_at(t)[name.removeprefix("m_")])


C = kspde.FieldValues(np.zeros((1, 1)), {})


@pytest.fixture(autouse=True)
def _no_moment_without_interaction(monkeypatch):
    """c.moment of a model without moments is 0 here, so that one model serves with and without interaction."""
    ask = kspde.FieldValues.moment
    monkeypatch.setattr(kspde.FieldValues, "moment", lambda self, name: ask(self, name) if self.moments else 0.0)


@pytest.mark.one_rank
def test_independent_particles_have_no_entropy():
    known = Known(
        Ornstein(mean_field=False), {"u": (0.3, -0.2)}, lambda t: {"u": np.exp(-K * t) * np.array([0.3, -0.2])}
    )
    bound = kspde.entropy_bound(known, n=5, dt=0.05, replicas=3)
    assert np.abs(bound.value).max() == 0.0


def test_gaussian_laws_of_a_mean_field_ornstein_uhlenbeck_process():
    mean = np.array([0.3, -0.2])
    known = Known(Ornstein(), {"u": mean}, lambda t: {"u": mean})
    n = 20
    found = kspde.entropy_bound(known, n=n, dt=0.1, replicas=400, seed=2)
    t = found.times
    # Whatever dt, E c·D⁻¹c = k² tr(D⁻¹ Cov m), Cov m = (Σ₀ + 2Dt)/N
    exact_bound = 0.25 * K**2 * (0.49 * np.trace(np.linalg.inv(D)) * t + 2 * t**2)
    low, high = found.interval
    assert np.all(np.abs(n * found.value - exact_bound) <= 1.5 * n * (high - low) / 2 + 0.02 * exact_bound)
    assert high[-1] - low[-1] < 0.2 * found.value[-1]
    # √N(m − μ) has the covariance Σ₀ + 2Dt, the other N − 1 directions have u's own.
    exact = []
    for time in t:
        ratio = np.linalg.solve(known.covariance("u", time), 0.49 * np.eye(2) + 2 * D * time)
        exact.append(0.5 * (np.trace(ratio) - 2 - np.log(np.linalg.det(ratio))))
    assert n * low[-1] > exact[-1] > 0.3 * exact_bound[-1]  # the ratio of bound and entropy is 1.9
    assert np.all(exact_bound[1:] > exact[1:])


@pytest.mark.one_rank
def test_two_species_that_drift_to_each_others_mean():
    model = Ornstein(dimension=1, species=("a", "b"))
    means = {"a": np.array([0.4]), "b": np.array([0.4])}
    n, h = 10, 0.1
    found = kspde.entropy_bound(Known(model, means, lambda t: means), n=n, dt=h, replicas=400, seed=4)
    # The covariance V of both means under Euler's steps; c_a = k(m_b − E m_b), and the other way round.
    step, v, rates = np.eye(2) + h * K * np.array([[-1.0, 1.0], [1.0, -1.0]]), 0.49 / n * np.eye(2), []
    for _ in found.times:
        rates.append(K**2 / 8 * (v[1, 1] / 0.5 + v[0, 0] / 0.2))
        v = step @ v @ step.T + 2 * h / n * np.diag([0.5, 0.2])
    exact = h * (np.sum(rates) - 0.5 * (rates[0] + rates[-1]))
    half = 0.5 * (found.interval[1][-1] - found.interval[0][-1])
    assert half < 0.15 * exact
    assert abs(found.value[-1] - exact) < 1.5 * half


@dataclass(frozen=True, kw_only=True)
class Spreading(kspde.Model):
    """D = 2 + m with the mean m of sin 3x over all particles."""

    dimension: int = 1
    fields = ()
    moments = (kspde.Moment(name="m", function=lambda x: np.sin(3 * x[:, 0])),)

    def diffusion(self, species, c):
        return 2.0 + c.moment("m")


class Start(Known):
    """The Gaussian that ``Spreading`` starts from, for a time in which it hardly changes."""

    def covariance(self, species, t):
        return 0.49 * np.eye(1)

    def moment(self, name, t):
        return np.asarray(0.0)


@pytest.mark.one_rank
def test_a_particles_own_share_of_a_moment():
    """At t = 0 with N = 2: c = −m x/s² + 3 cos(3x)/N, D = 2 + m, integrated over both particles."""
    t_end = 1e-6
    known = Start(Spreading(), {"u": (0.0,)}, lambda t: {"u": np.zeros(1)}, t_end)
    found = kspde.entropy_bound(known, n=2, dt=t_end, replicas=3000, seed=5)
    low, high = (end[-1] / t_end for end in found.interval)
    y, w = np.polynomial.hermite_e.hermegauss(60)
    x, w = 0.7 * y, w / w.sum()
    m = 0.5 * (np.sin(3 * x)[:, None] + np.sin(3 * x))
    exact = w @ ((1.5 * np.cos(3 * x) - m * x / 0.49) ** 2 / (4 * (2 + m))) @ w
    assert high - low < 0.2 * exact
    assert abs(found.value[-1] / t_end - exact) < 0.75 * (high - low)


@dataclass(frozen=True, kw_only=True)
class Tensor(kspde.Model):
    """D = a matrix of position, a field and moments."""

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.GaussianMollifier(eps=0.6), gradient=True),)

    @property
    def moments(self):
        return (
            kspde.Moment(name="m2", function=lambda x: np.einsum("na,nb->nab", x, x)),
            kspde.Moment(name="cubic", function=lambda x: x[:, 0] ** 3),
        )

    def diffusion(self, species, c):
        n = len(c.points)
        q = np.eye(2) * (2 + c.moment("cubic") ** 2) + 0.3 * c.moment("m2")
        wave = np.stack([np.sin(c.points[:, 1]), c["c"] ** 2, c["c"] ** 2, np.cos(c.points[:, 0])], axis=1)
        return (2 + c["c"])[:, None, None] * q + 0.2 * wave.reshape(n, 2, 2)

    def drift(self, species, c):
        return c.gradient("c") + c.moment("m2")[0]


@pytest.mark.one_rank
def test_the_defect_is_the_derivative_along_one_particle():
    """∇_i·D_i by moving particle i in the whole system, with its field and moments written out."""
    rng = np.random.default_rng(3)
    model, w = Tensor(), 0.3
    x, score = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))

    def system(x):
        z = x[:, None] - x
        values = w * np.exp(-0.5 * (z**2).sum(axis=2) / 0.36) / (2 * np.pi * 0.36)
        gradients = -(values[..., None] * z / 0.36).sum(axis=1)
        moments = {"m2": w * x.T @ x, "cubic": np.asarray(w * (x[:, 0] ** 3).sum())}
        return kspde.FieldValues(x, {"c": values.sum(axis=1)}, {"c": gradients}, 0.0, moments)

    own = system(x)
    shift = rng.normal(size=(6, 2))
    known = kspde.FieldValues(x, {"c": np.zeros(6)}, {"c": shift}, 0.0, {"m2": np.eye(2), "cubic": np.asarray(0.4)})
    c, diffusion = defect(model, "u", own, known, score, w)
    here, there = model.diffusion("u", own), model.diffusion("u", known)
    expected = np.einsum("nab,nb->na", here - there, score) - (model.drift("u", own) - model.drift("u", known))
    h = 1e-5
    for i in range(6):
        for b in range(2):
            ends = []
            for sign in (-1, 1):
                moved = x.copy()
                moved[i, b] += sign * h
                ends.append(model.diffusion("u", system(moved))[i])
            expected[i] += (ends[1] - ends[0])[:, b] / (2 * h)
            # of the density's D only the position and c̄ = 0, whose gradient is given, depend on x
            step = h * np.eye(2)[b]
            ends = [
                model.diffusion(
                    "u",
                    kspde.FieldValues(x + s * step, {"c": s * h * shift[:, b]}, {}, 0.0, known.moments),
                )[i]
                for s in (-1, 1)
            ]
            expected[i] -= (ends[1] - ends[0])[:, b] / (2 * h)
    np.testing.assert_allclose(c, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(diffusion, here)
    np.testing.assert_allclose(
        inverse_form(c, diffusion), [v @ np.linalg.inv(m) @ v for v, m in zip(c, here, strict=True)]
    )
    without, _ = defect(model, "u", own, known, score)
    assert np.abs(without - c).max() > 0.1  # what the moments' own share is worth here


@dataclass(frozen=True, kw_only=True)
class Relaxing(kspde.Model):
    """A drift, and perhaps a diffusion coefficient, of a field that relaxes."""

    dimension: int = 1
    tau: float = 0.5
    alpha: float = 0.0
    since: float = -1.0

    @property
    def fields(self):
        return (kspde.Field(name="v", kernel=kspde.Yukawa(), gradient=True, tau=self.tau),)

    def diffusion(self, species, c):
        return np.exp(-self.alpha * c["v"] * (c.t > self.since))

    def drift(self, species, c):
        return 3.0 * c.gradient("v")


def solved(model):
    box = kspde.Box(half_width=8.0, cells=12, degree=5, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, 0.2, 6))
    return kspde.solve(model, START, box, t_end=0.2, tol=1e-6, eps=0.4, save=save)


@pytest.mark.one_rank
def test_a_field_that_relaxes_in_the_drift_alone():
    """As τ → 0 the bound is that of τ = 0; memory lowers it here."""
    options = {"n": 20, "dt": 0.02, "replicas": 10, "seed": 1}
    still = kspde.entropy_bound(solved(Relaxing(tau=0.0)), **options)
    fast = kspde.entropy_bound(solved(Relaxing(tau=0.01)), **options)
    slow = kspde.entropy_bound(solved(Relaxing()), **options)
    assert fast.value[-1] == pytest.approx(still.value[-1], rel=1e-2)
    assert 0.8 * still.value[-1] < slow.value[-1] < 0.98 * still.value[-1]
    for model in (Relaxing(alpha=1.0), Relaxing(alpha=1.0, since=0.1)):
        with pytest.raises(kspde.InputError, match=r"depends on field 'v', which has tau > 0"):
            kspde.entropy_bound(solved(model), **options)


@dataclass(frozen=True, kw_only=True)
class Pair(kspde.Model):
    """Two species that drift along each other's field."""

    dimension: int = 1
    species = ("a", "b")

    @property
    def fields(self):
        return tuple(kspde.Field(name=s, kernel=kspde.Yukawa(), source=s, gradient=True) for s in self.species)

    def diffusion(self, species, c):
        return 0.5

    def drift(self, species, c):
        return -2.0 * c.gradient("ab"["ba".index(species)])


def test_fields_on_meshes_are_those_of_all_species_at_one_time(monkeypatch):
    """Particles move species by species: the fields of all are computed before."""
    box = kspde.Box(half_width=7.0, cells=12, degree=5, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, 0.2, 3))
    pde = kspde.solve(Pair(), {"a": START, "b": START}, box, t_end=0.2, tol=1e-5, eps=0.5, save=save)
    direct, meshed = [], []
    for most, out in ((400, direct), (1, meshed)):
        monkeypatch.setattr("kspde.evidence.ensemble._DIRECT", most)
        out.append(kspde.entropy_bound(pde, n=8, dt=0.05, replicas=6, seed=1).samples)
    np.testing.assert_allclose(meshed, direct, rtol=1e-4)


def flow(mixture, x, more=0.0):
    """Return the velocity of vortices that are Gaussian, with ``more`` added to their variances."""
    z = x[:, None] - mixture.means
    r2 = np.sum(z**2, axis=2)
    speed = mixture.circulations * -np.expm1(-r2 / (2 * (mixture.stds**2 + more))) / (2 * np.pi * r2)
    return np.stack([-np.sum(speed * z[..., 1], axis=1), np.sum(speed * z[..., 0], axis=1)], axis=1)


@pytest.mark.one_rank
def test_circulations_of_either_sign():
    """At first dH/dt = E|b − b̄|²/4ν, b − b̄ a sum of N − 1 independent terms and −b̄/N."""
    eps, nu, n, t_end = 0.3, 0.2, 12, 0.01
    start = {"means": [[0.8, 0.4], [-0.6, 0.2]], "stds": [0.6, 0.5]}
    signed = kspde.SignedMixture(circulations=[2.0, -1.2], **start)
    box = kspde.Box(half_width=8.0, cells=12, degree=6)
    solved = {"t_end": t_end, "eps": eps, "tol": 1e-5, "save": kspde.SaveAt(times=[0.0, t_end])}
    pde = kspde.solve(kspde.ViscousVortices(viscosity=nu), signed, box, **solved)
    found = kspde.entropy_bound(pde, n=n, dt=t_end, replicas=1500)
    random = np.random.default_rng(5)
    x, y = (np.asarray(start["means"])[k := random.choice(2, 200_000, p=[2 / 3.2, 1.2 / 3.2])]
            + np.asarray(start["stds"])[k][:, None] * random.normal(size=(200_000, 2)) for _ in range(2))  # fmt: skip
    mean, r2 = np.sum(flow(signed, x, eps**2) ** 2, axis=1), np.sum((x - y) ** 2, axis=1)
    single = (3.2 * np.expm1(-r2 / (2 * eps**2)) / (2 * np.pi)) ** 2 / r2  # |Γ K^ε|², |Γ| = 3.2
    exact = t_end * np.mean((n - 1) * (single - mean) + mean) / n**2 / (4 * nu)
    low, high = (float(end[-1]) for end in found.interval)
    assert high - low < 0.08 * exact
    assert low - 0.02 * exact < exact < high + 0.02 * exact
    with pytest.raises(kspde.InputError, match="density of 'u' has both signs, which is not covered here: give"):
        kspde.coupled_distance(pde, n=n, dt=t_end)


@pytest.mark.one_rank
def test_circulations_of_one_sign_are_equal_weights():
    """Systems so large that their fields come from a mesh; where D depends on a field, both signs are refused."""
    start = {"means": [[0.8, 0.4], [-0.6, 0.2]], "stds": [0.6, 0.5]}
    box = kspde.Box(half_width=8.0, cells=8, degree=6)
    solved = {"t_end": 0.05, "eps": 0.5, "tol": 1e-3, "save": kspde.SaveAt(times=[0.0, 0.05])}
    model = kspde.ViscousVortices(viscosity=0.2)
    found = []
    for u0 in (
        kspde.SignedMixture(circulations=[1.5, 0.5], **start),
        kspde.GaussianMixture(weights=[0.75, 0.25], mass=2.0, **start),
    ):
        found.append(kspde.entropy_bound(kspde.solve(model, u0, box, **solved), n=450, dt=0.05, replicas=2).samples)
    np.testing.assert_allclose(*found, rtol=1e-5)
    local = kspde.LocalSensing(motility=kspde.ExponentialMotility(alpha=1.0), chi=1.0)
    both = kspde.SignedMixture(circulations=[1.5, -0.5], **start)
    with pytest.raises(kspde.InputError, match="depends on fields, and its density has both signs"):
        kspde.entropy_bound(kspde.solve(local, both, box, **solved), n=10, dt=0.05, replicas=2)
