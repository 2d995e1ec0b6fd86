"""CrossDiffusion and ShigesadaKawasakiTeramoto against Fourier solutions on the line, and what the papers promise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kspde
from kspde.fem import backend

backend.require()

KINDS = {"drift": kspde.CrossDiffusion, "diffusion": kspde.ShigesadaKawasakiTeramoto}
A, SIGMA = ((0.8, 0.5), (-0.2, 0.6)), (0.2, 0.3)
LINE = kspde.Box(dimension=1, half_width=8.0, cells=32, degree=8)
STARTS = {
    name: kspde.GaussianMixture(weights=[1.0], means=[[m]], stds=[s], mass=mass)
    for name, m, s, mass in (("u1", 0.3, 0.5, 1.0), ("u2", 1.4, 0.6, 1.7))
}
PLANE = {
    "u1": kspde.GaussianMixture(weights=[1.0], means=[[-0.4, 0.1]], stds=[0.5]),
    "u2": kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.2]], stds=[0.6], mass=1.5),
}
WEAK = kspde.CrossDiffusion(a=((0.6, 0.3), (0.2, 0.5)), sigma=(0.3, 0.4))
#: Points of the grid of the Fourier solutions, which are periodic on [−8, 8].
X = -8.0 + np.arange(256) / 16.0
K = 2.0 * np.pi * np.fft.rfftfreq(256, 1 / 16.0)


def fourier(rate, u, t_end: float, steps: int) -> np.ndarray:
    """The classical Runge-Kutta method."""
    h = t_end / steps
    for _ in range(steps):
        one = rate(u)
        two = rate(u + h / 2 * one)
        three = rate(u + h / 2 * two)
        u = u + h / 6 * (one + 2 * two + 2 * three + rate(u + h * three))
    return u


def derivative(u, power: int = 1) -> np.ndarray:
    return np.fft.irfft((1j * K) ** power * np.fft.rfft(u), 256)


def reference(kind: str, a, sigma, starts, t_end: float, symbol=1.0) -> np.ndarray:
    """The densities of both species on the grid, fields multiplied by a symbol."""
    a, sigma = np.array(a), np.array(sigma)[:, None]

    def rate(u):
        c = np.fft.irfft(symbol * np.fft.rfft(u), 256)
        if kind == "drift":
            return derivative(sigma * derivative(u) + u * derivative(a @ c))
        return derivative(u * (sigma + a @ c), 2)

    return fourier(rate, np.array([start(X[:, None]) for start in starts.values()]), t_end, 700)


def densities(pde) -> np.ndarray:
    return np.array([pde.on_grid([X], species) for species in pde.species])


@pytest.mark.parametrize(
    ("kind", "eps"),
    [
        pytest.param("drift", None, marks=pytest.mark.one_rank),
        ("drift", 0.3),
        ("diffusion", None),
        pytest.param("diffusion", 0.3, marks=pytest.mark.one_rank),
    ],
)
def test_against_a_fourier_solution(kind, eps, comm):
    """Local and nonlocal, a not symmetric and of both signs, masses apart from 1, off the origin."""
    model = KINDS[kind](a=A, sigma=SIGMA, dimension=1)
    pde = kspde.solve(model, STARTS, LINE, t_end=0.2, tol=1e-8, eps=eps, comm=comm)
    exact = reference(kind, A, SIGMA, STARTS, 0.2, 1.0 if eps is None else np.exp(-((eps * K) ** 2) / 2))
    assert_allclose(densities(pde), exact, rtol=0, atol=2e-6)
    assert_allclose(pde.diagnostics["mass"][-1], [1.0, 1.7], rtol=1e-12)


@pytest.mark.one_rank
def test_the_sum_of_alike_species_has_an_equation_of_its_own(comm):
    """Where a_ij = k and σ_i = σ, w = u₁ + u₂ solves w_t = σΔw + (k/2)Δw²; one species of SKT has Δ(u(σ + ku))."""
    k, sigma = 0.7, 0.2
    pair = kspde.CrossDiffusion(a=((k, k), (k, k)), sigma=(sigma, sigma), dimension=1)
    pde = kspde.solve(pair, STARTS, LINE, t_end=0.2, tol=1e-8, comm=comm)
    start = sum(u(X[:, None]) for u in STARTS.values())
    exact = fourier(lambda w: derivative(sigma * w + k / 2 * w**2, 2), start, 0.2, 700)
    assert_allclose(densities(pde).sum(axis=0), exact, rtol=0, atol=2e-6)
    one = kspde.ShigesadaKawasakiTeramoto(a=((k / 2,),), sigma=(sigma,), dimension=1)
    whole = kspde.GaussianMixture(weights=[1 / 2.7, 1.7 / 2.7], means=[[0.3], [1.4]], stds=[0.5, 0.6], mass=2.7)
    alone = kspde.solve(one, whole, LINE, t_end=0.2, tol=1e-8, comm=comm)
    assert_allclose(densities(alone)[0], exact, rtol=0, atol=2e-6)


def distances(domain, etas, comm, *, points: float = 2.5, **options):
    """The L² norms of u_η − u for both species, and the local densities on the grid."""
    axes = [np.linspace(-points, points, 51)] * 2

    def solved(**more):
        pde = kspde.solve(WEAK, PLANE, domain, t_end=0.1, comm=comm, **options, **more)
        return np.array([pde.on_grid(axes, species) for species in WEAK.species])

    local = solved()
    volume = (axes[0][1] - axes[0][0]) ** 2
    return np.array([np.sqrt(np.square(solved(eps=eta) - local).sum() * volume) for eta in etas]), local


@pytest.mark.one_rank
def test_order_two_in_eta(comm):
    """(10) promises order 1, a symmetric V gives 2: on a Box, above ten times the solver's error, and on a Disk."""
    etas = (0.2, 0.14, 0.1, 0.07)
    errors, local = distances(kspde.Box(half_width=6.0, cells=12, degree=6, grading=1.5), etas, comm, tol=1e-7)
    _, finer = distances(kspde.Box(half_width=6.0, cells=14, degree=8, grading=1.5), (), comm, tol=1e-8)
    assert 1.9 < np.polyfit(np.log(etas), np.log(errors), 1)[0] < 2.1
    assert errors.min() > 10 * np.sqrt(np.square(local - finer).sum() * 0.1**2)
    disk = kspde.Disk(radius=5.0, size=0.8, rim_size=2.0, cell="quadrilateral", degree=4)
    on_disk, _ = distances(disk, (0.2, 0.1), comm, tol=1e-4)
    assert 1.9 < np.log2(on_disk[0] / on_disk[1]) < 2.1
    assert_allclose(on_disk, errors[[0, 2]], rtol=2e-3)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("model", "weights"),
    [
        (kspde.CrossDiffusion(a=((1.0, 2.0), (-2.0, 0.0)), sigma=(0.1, 0.2)), (1.0, 1.0)),
        (kspde.ShigesadaKawasakiTeramoto(a=((0.2, 0.3), (0.6, 0.1)), sigma=(0.1, 0.2)), (1.0, 0.5)),
    ],
    ids=KINDS,
)
def test_entropy_decays(model, weights, comm):
    """∫Σ π_i u_i (log u_i − 1), in long steps too; and it is that integral."""
    box = kspde.Box(half_width=6.0, cells=24, degree=1, grading=1.5)
    save = kspde.SaveAt(statistics=("free_energy",))
    pde = kspde.solve(model, PLANE, box, t_end=4.0, scheme="positive", dt=0.4, save=save, comm=comm)
    entropy = pde.diagnostics["free_energy"][:, 0]
    assert model.entropy_weights == weights
    assert np.all(np.diff(entropy) < 0)
    assert_allclose(entropy, (pde.diagnostics["entropy"] - [1.0, 1.5]) @ weights, rtol=1e-6)


def test_where_there_is_an_entropy():
    def drift(a):
        return kspde.CrossDiffusion(a=a, sigma=(1.0,) * len(a)).entropy_weights

    def diffusion(a):
        return kspde.ShigesadaKawasakiTeramoto(a=a, sigma=(1.0,) * len(a)).entropy_weights

    assert drift(((-1.0, 0.0), (0.0, -1.0))) is None  # the printed condition 4a₁₁a₂₂ > (a₁₂ + a₂₁)² holds
    assert drift(((1.0, 2.01), (0.0, 1.0))) is None
    assert drift(((1.0, 2.0), (0.0, 1.0))) == (1.0, 1.0)
    assert diffusion(((1.0, 1.0), (0.0, 1.0))) is None
    assert diffusion(((1.0, -1.0), (-1.0, 1.0))) is None
    assert diffusion(((0.0, 1.0, 0.0), (2.0, 0.0, 0.0), (0.0, 0.0, 5.0))) == (1.0, 0.5, 1.0)
    assert diffusion(((0.0, 1.0, 2.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0))) is None  # a cycle without balance
    assert diffusion(((0.0, 1.0, 2.0), (1.0, 0.0, 2.0), (1.0, 1.0, 0.0))) == (1.0, 1.0, 2.0)
    assert not kspde.CrossDiffusion(a=((-1.0,),), sigma=(1.0,)).has_free_energy


@pytest.mark.one_rank
def test_intermediate_and_limiting_particles(comm):
    """(2), (3) and (5) from the same points with the same noise; (3) and (5) differ by O(η²), and (5) has the law u."""
    model = kspde.CrossDiffusion(a=A, sigma=SIGMA, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0.0, 0.2, 11))
    local = kspde.solve(model, STARTS, LINE, t_end=0.2, tol=1e-7, save=save, comm=comm)
    apart = []
    for eta in (0.2, 0.1):
        mollified = kspde.solve(model, STARTS, LINE, t_end=0.2, tol=1e-7, save=save, eps=eta, comm=comm)
        options = {"n": 1000, "t_end": 0.2, "dt": 0.02, "eps": eta, "seed": 5, "comm": comm}
        three = kspde.simulate(model, STARTS, mean_field=mollified, **options)
        five = kspde.simulate(model, STARTS, mean_field=local, mean_field_differs=("eps",), **options)
        for name in model.species:
            assert_allclose(three.of(name), five.of(name), rtol=0, atol=1e-12)
        assert max(five.coupling.field_error.values()) < 1e-4
        apart.append(
            [comm.allreduce(np.square(three.mean_field.of(s) - five.mean_field.of(s)).sum()) for s in model.species]
        )
    assert_allclose(np.sqrt(np.divide(*apart)), 4.0, rtol=0.05)
    for name in model.species:
        assert not kspde.compare(local, five.mean_field, species=name, distances=("l1",)).above_floor


def moved(model, comm, **options):
    """Positions of 20 particles per species after one long step from the same points with the same noise."""
    cloud = kspde.simulate(model, STARTS, n=20, t_end=0.5, dt=0.5, seed=3, comm=comm, **options)
    return {name: np.concatenate(comm.allgather(cloud.of(name))) for name in model.species}


def test_one_step_of_the_particles(comm):
    """(2) and the moderate limit of SKT: drift and D of one step against sums over pairs."""
    eta, dt, mass = 0.4, 0.5, {"u1": 1.0, "u2": 1.7}
    free, twice = (
        moved(kspde.CrossDiffusion(a=np.zeros((2, 2)), sigma=f * np.array(SIGMA), dimension=1), comm) for f in (1, 4)
    )
    start = {name: 2 * x - twice[name] for name, x in free.items()}
    pushed, wider = (moved(kind(a=A, sigma=SIGMA, dimension=1), comm, eps=eta) for kind in KINDS.values())
    for (name, x), row, sigma in zip(start.items(), A, SIGMA, strict=True):
        drift, diffusion = 0.0, sigma
        for a, (other, y) in zip(row, start.items(), strict=True):
            z = x - y.T
            v = np.exp(-(z**2) / (2 * eta**2)) / np.sqrt(2 * np.pi * eta**2)
            drift = drift + a * mass[other] * (z / eta**2 * v).mean(axis=1)
            diffusion = diffusion + a * mass[other] * v.mean(axis=1)
        assert_allclose((pushed[name] - free[name])[:, 0], dt * drift, rtol=0, atol=1e-5)
        assert_allclose(sigma * ((wider[name] - x) / (free[name] - x))[:, 0] ** 2, diffusion, rtol=1e-3)


@pytest.mark.one_rank
def test_particles_have_the_law_of_the_mollified_density():
    """SKT's particles against the solution, within the floor; the particles of the mean field, closer with larger N."""
    model = kspde.ShigesadaKawasakiTeramoto(a=((0.5, 0.4), (0.8, 0.2)), sigma=SIGMA, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0.0, 0.2, 6))
    pde = kspde.solve(model, STARTS, LINE, t_end=0.2, tol=1e-6, eps=0.3, save=save)
    few, many = (
        kspde.simulate(model, STARTS, n=n, t_end=0.2, dt=0.02, eps=0.3, mean_field=pde, seed=1) for n in (250, 4000)
    )
    assert many.coupling.supremum < 0.5 * few.coupling.supremum
    for name in model.species:
        assert not kspde.compare(pde, many, species=name, distances=("l1",)).above_floor


@pytest.mark.one_rank
def test_entropy_bound_of_independent_particles():
    """The bound's rate at t = 0, (1/N) Σ E|c_i|²/(4σ_i), against quadrature: c_i is the error of the drift alone."""
    eta, n, step, masses = 0.3, 20, 1e-4, (1.0, 1.7)
    model = kspde.CrossDiffusion(a=A, sigma=SIGMA, dimension=1)
    pde = kspde.solve(
        model, STARTS, LINE, t_end=step, tol=1e-6, eps=eta, save=kspde.SaveAt(times=(0.0, step)),
    )  # fmt: skip
    bound = kspde.entropy_bound(pde, n=n, dt=step, replicas=80)
    z = X[:, None] - X
    slope = -z / eta**2 * np.exp(-(z**2) / (2 * eta**2)) / np.sqrt(2 * np.pi * eta**2)
    laws = [start(X[:, None]) / start.mass / 16.0 for start in STARTS.values()]  # weights of the grid's points
    rate = 0.0
    for i, (row, sigma) in enumerate(zip(A, SIGMA, strict=True)):
        for j, (a, mass, law) in enumerate(zip(row, masses, laws, strict=True)):
            mean, square = slope @ law, slope**2 @ law
            # of the n terms one is 0 where both are of the same species
            others = n - (i == j)
            variance = others / n**2 * (square - mean**2) + (others / n - 1) ** 2 * mean**2
            rate += 0.5 * (a * mass) ** 2 * float(variance @ laws[i]) / (4 * sigma)
    low, high = (float(end[-1]) / step for end in bound.interval)
    assert low < rate < high
    assert high - low < 0.3 * rate


@pytest.mark.parametrize("kind", KINDS.values())
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": ((1.0, 2.0),)}, "sigma has 2 numbers and a has shape (1, 2): give one sigma per species"),
        ({"a": ((1.0, np.nan), (0.0, 1.0))}, "a has nan at index (0, 1): give finite numbers"),
        ({"a": "x"}, "a is not an array of numbers"),
        ({"sigma": (0.1, 0.0)}, "sigma has 0: give numbers > 0"),
        ({"sigma": (0.1,)}, "sigma has 1 number and a has shape (2, 2): give one sigma per species"),
        ({"dimension": 0}, "dimension = 0 is not valid: give an integer >= 1"),
        ({"species": ("u",)}, "species = ('u',) is not valid: give 2 names, one per sigma, or none"),
        ({"species": "uv"}, "species = 'uv' is not valid"),
    ],
)
def test_bad_input(kind, given, message):
    with pytest.raises(kspde.InputError) as error:
        kind(**{"a": ((1.0, 0.0), (0.0, 1.0)), "sigma": (0.1, 0.1)} | given)
    assert str(error.value).startswith(message)


def test_names_and_fields():
    model = kspde.CrossDiffusion(a=[[0, 2], [0, 1]], sigma=[1, 2], species=["prey", "predator"])
    assert model == kspde.CrossDiffusion(a=((0.0, 2.0), (0.0, 1.0)), sigma=(1.0, 2.0), species=("prey", "predator"))
    assert hash(model) == hash(kspde.CrossDiffusion(a=[[0, 2], [0, 1]], sigma=[1, 2], species=["prey", "predator"]))
    assert [f.source for f in model.fields] == ["predator"]  # nobody meets the prey
    assert kspde.CrossDiffusion(a=np.zeros((3, 3)), sigma=np.ones(3)).species == ("u1", "u2", "u3")
