"""LandauMaxwell against the solution of Bobylev, Krook and Wu, sums over pairs, and exact equations of its moments."""

import math

import numpy as np
import pytest
from landau_solutions import bkw, initial, moments_at, temperature
from numpy.testing import assert_allclose
from scipy.linalg import expm

import kspde


def grid(d, half_width, points):
    axis = np.linspace(-half_width, half_width, points)
    return np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d), (axis[1] - axis[0]) ** d


def values(model, points, w, samples):
    """The fields of a weighted sum over samples."""
    return kspde.FieldValues(
        points, {}, moments={m.name: np.tensordot(w, m.function(samples), axes=1) for m in model.moments}
    )


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "rate"), [(2, 1 / 16), (3, 1 / 24)])
def test_the_solution_of_bobylev_krook_and_wu(d, rate):
    # ∂_t f = A:∇²f + d(d−1)Λ f in Feng's form, A a sum over a grid, derivatives by differences of order 4.
    samples, cell = grid(d, 9.0, 91 if d == 2 else 46)
    offsets, first, second = (
        np.array([-2, -1, 0, 1, 2]),
        np.array([1, -8, 0, 8, -1]) / 12,
        np.array([-1, 16, -30, 16, -1]) / 12,
    )
    h, t = 0.01, 0.7
    weights = bkw(samples, temperature(t, d, rate)) * cell
    f = lambda s, v: bkw(v[None], temperature(s, d, rate))[0]  # noqa: E731
    for v in np.random.default_rng(1).normal(size=(4, d)):
        z = v - samples
        a = rate * (np.eye(d) * (weights @ (z**2).sum(axis=1)) - np.einsum("n,na,nb->ab", weights, z, z))
        hessian = np.empty((d, d))
        for i, j in np.ndindex(d, d):
            e, g = h * np.eye(d)[i], h * np.eye(d)[j]
            if i == j:
                hessian[i, i] = sum(c * f(t, v + o * e) for o, c in zip(offsets, second, strict=True)) / h**2
            else:
                hessian[i, j] = (
                    sum(
                        c * k * f(t, v + o * e + p * g)
                        for o, c in zip(offsets, first, strict=True)
                        for p, k in zip(offsets, first, strict=True)
                    )
                    / h**2
                )
        slope = sum(c * f(t + o * h, v) for o, c in zip(offsets, first, strict=True)) / h
        assert_allclose(np.sum(a * hessian) + d * (d - 1) * rate * f(t, v), slope, rtol=0, atol=2e-9)
    square = (samples**2).sum(axis=1)
    k = temperature(t, d, rate)
    assert_allclose(weights @ np.stack([square**0, square, square**2], 1), [1, d, d * (d + 2) * k * (2 - k)], rtol=1e-9)


@pytest.mark.one_rank
def test_its_fourth_moment_and_its_distance_from_the_maxwellian():
    r = np.linspace(0, 12, 200_001)
    line = np.stack([r, 0 * r], axis=1)
    for t, fourth, distance in ((0, 6, 0.368226), (1, 6.442398, 0.251526), (5, 7.426990, 0.066453)):
        k = temperature(t)
        assert 8 * k * (2 - k) == pytest.approx(fourth, abs=5e-7)
        difference = np.abs(bkw(line, k) - bkw(line, 1.0))
        assert 2 * np.pi * np.trapezoid(difference * r, r) == pytest.approx(distance, abs=6e-7)


@pytest.mark.one_rank
@pytest.mark.parametrize("d", [2, 3])
def test_coefficients_are_sums_over_pairs(d):
    random = np.random.default_rng(d)
    samples, w = random.normal(size=(40, d)) * random.uniform(0.2, 2, d) + 3.0, random.uniform(0, 0.2, 40)
    model = kspde.LandauMaxwell(dimension=d, rate=0.3)
    points = random.normal(size=(7, d))
    z = points[:, None] - samples
    a = 0.3 * (np.einsum("nj,ab->njab", (z**2).sum(axis=2), np.eye(d)) - np.einsum("nja,njb->njab", z, z))
    c = values(model, points, w, samples)
    assert_allclose(model.diffusion("u", c), np.einsum("j,njab->nab", w, a), rtol=1e-12)
    assert_allclose(model.drift("u", c), np.einsum("j,nja->na", w, -2 * (d - 1) * 0.3 * z), rtol=1e-12)
    # On a line of velocities A vanishes along it, and is nowhere negative.
    line = np.outer(random.normal(size=9), np.ones(d)) + 2.0
    flat = np.linalg.eigvalsh(model.diffusion("u", values(model, line, np.full(9, 0.1), line)))
    assert np.abs(flat[:, 0]).max() < 1e-13
    assert flat[:, 1:].min() > 0.01


def test_the_parameters_are_checked():
    with pytest.raises(kspde.InputError, match="dimension"):
        kspde.LandauMaxwell(dimension=1)
    with pytest.raises(kspde.InputError, match="rate"):
        kspde.LandauMaxwell(rate=0.0)
    assert (kspde.LandauMaxwell().dimension, kspde.LandauMaxwell().rate) == (2, 1.0)


@pytest.mark.parametrize(
    ("d", "scheme"),
    [
        (2, "euler-maruyama"),
        *(pytest.param(*case, marks=pytest.mark.one_rank) for case in ((2, "pair-rotation"), (3, "euler-maruyama"))),
        (3, "pair-rotation"),
    ],
)
def test_particles_obey_the_equations_of_their_moments(d, scheme):
    # Two beams of mass 1.7, off the origin: stress and fourth moment have closed equations.
    n, t, rate, mass = 20_000, 0.5, 1 / 16, 1.7
    means = [[1.0, 0.4, 0.2][:d], [3.0, 0.4, 0.2][:d]]
    u0 = kspde.GaussianMixture(weights=[0.5, 0.5], means=means, stds=[0.7, 0.7], mass=mass)
    model = kspde.LandauMaxwell(dimension=d, rate=rate)
    seen = []
    save = kspde.SaveAt(times=[0.0, t], callback=lambda cloud: seen.append(cloud.gathered("u")))
    cloud = kspde.simulate(model, u0, n=n, t_end=t, dt=0.025, scheme=scheme, seed=5, save=save)
    if cloud.comm.rank:
        return
    start, end = seen
    z = [x - x.mean(axis=0) for x in (start, end)]
    stress, fourth = moments_at(t, z[0].T @ z[0] / n, np.mean((z[0] ** 2).sum(axis=1) ** 2), mass, rate)
    assert_allclose(z[1].T @ z[1] / n, stress, atol=0.03)
    assert np.mean((z[1] ** 2).sum(axis=1) ** 2) == pytest.approx(fourth, rel=0.03)
    exact = scheme == "pair-rotation"
    assert_allclose(end.mean(axis=0), start.mean(axis=0), rtol=0, atol=1e-12 if exact else 0.02)
    energies = [(x**2).sum() / n for x in (start, end)]
    assert energies[1] == pytest.approx(energies[0], rel=1e-12 if exact else 0.02)


@pytest.mark.one_rank
def test_the_density_keeps_what_is_conserved_and_relaxes():
    mass, mean, rate, t = 1.7, np.array([0.6, -0.4]), 1 / 16, 0.3
    box = kspde.Box(half_width=9.0, cells=10, degree=6)
    options = {"t_end": t, "tol": 3e-5}
    pde = kspde.solve(kspde.LandauMaxwell(rate=rate), initial(mean=mean, mass=mass), box, **options)
    assert pde.moment("mass") == pytest.approx(mass, abs=1e-12)
    assert_allclose(pde.moment("momentum"), mass * mean, rtol=0, atol=5e-7)
    assert_allclose(pde.moment("square"), mass * (np.eye(2) + np.outer(mean, mean)), rtol=0, atol=2e-6)
    v = mean + np.random.default_rng(0).normal(size=(50, 2))
    assert_allclose(pde.at().evaluate(v), mass * bkw(v - mean, temperature(mass * t)), rtol=0, atol=1.5e-3)
    low = kspde.Box(half_width=9.0, cells=40, degree=1)
    with pytest.raises(kspde.InputError, match="diffusion matrix"):
        kspde.solve(kspde.LandauMaxwell(), initial(), low, t_end=0.1, scheme="positive", dt=0.1)


@pytest.mark.one_rank
def test_the_density_of_beams_has_the_stress_and_the_fourth_moment_of_their_equations():
    # The whole matrix: anisotropic, off the diagonal and off the origin.
    mass, rate, t = 1.7, 1 / 16, 0.4
    beams = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[1.5, 0.9], [-0.7, -0.4]], stds=[0.5, 0.7], mass=mass)
    box = kspde.Box(half_width=8.0, cells=12, degree=6)
    pde = kspde.solve(kspde.LandauMaxwell(rate=rate), beams, box, t_end=t, tol=1e-4)
    v, cell = grid(2, 8.0, 161)
    axis = np.unique(v[:, 0])

    def moments(f):
        w = f * cell / mass
        z = v - w @ v
        return np.einsum("n,na,nb->ab", w, z, z), w @ (z**2).sum(axis=1) ** 2

    stress, fourth = moments(beams(v))
    expected, q = moments_at(t, stress, fourth, mass, rate)
    found, measured = moments(pde.on_grid([axis, axis]).ravel())
    assert np.abs(expected - stress).max() > 0.15  # what is checked to 3e-6
    assert_allclose(found, expected, rtol=0, atol=3e-6)
    assert measured == pytest.approx(q, abs=1e-4)


def gaussian_limit(d: int, k: int, n: int, t: float, pace: float) -> float:
    """H_k of Gaussian fluctuations about a Maxwellian, by quadrature of a and b on Hermite polynomials up to degree 4.

    With M_jl = E φ_j(w) (𝓛φ_l)(w) + E φ_j(w) (a(v − w):∇²φ_l(v) + 2b(v − w)·∇φ_l(v)), C' = MC + CMᵀ + 2E ∇φ_j·A∇φ_l.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    v = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), -1).reshape(-1, d)
    p = np.prod(np.stack(np.meshgrid(*[weights] * d, indexing="ij"), -1).reshape(-1, d), axis=1)
    p /= p.sum()
    powers = [q for q in np.ndindex(*[5] * d) if 0 < sum(q) <= 4]

    def one(degree, x, order):  # He_n' = n He_{n-1}, normalised
        factor = np.prod([degree - i for i in range(order)]) / np.sqrt(math.factorial(degree))
        return factor * np.polynomial.hermite_e.hermeval(x, np.eye(8)[max(degree - order, 0)])

    def derivative(orders):
        return np.stack([np.prod([one(*z) for z in zip(q, v.T, orders, strict=True)], axis=0) for q in powers], -1)

    unit = np.eye(d, dtype=int)
    phi = derivative(np.zeros(d, int))
    gradient = np.stack([derivative(e) for e in unit], 1)
    hessian = np.stack([np.stack([derivative(e + f) for f in unit], 1) for e in unit], 1)
    z = v[:, None] - v[None, :]  # v − w
    a = pace * (np.sum(z**2, -1)[..., None, None] * np.eye(d) - z[..., :, None] * z[..., None, :])
    acting = np.einsum("vwij,vijl->vwl", a, hessian) - 2 * (d - 1) * pace * np.einsum("vwi,vil->vwl", z, gradient)
    own = np.einsum("v,w,vj,vwl->lj", p, p, phi, acting, optimize=True)  # 𝓛
    reaction = np.einsum("v,w,wj,vwl->lj", p, p, phi, acting, optimize=True)
    noise = 2 * np.einsum("v,w,vij,vwik,vkl->jl", p, p, gradient, a, gradient, optimize=True)
    change, size = own + reaction, len(powers)
    blocks = expm(t * np.block([[-change, noise], [np.zeros((size, size)), change.T]]))
    grow = blocks[size:, size:].T
    q = grow @ grow.T + grow @ blocks[:size, size:] - np.eye(size)
    law = np.eye(k * size) + np.kron(np.ones((k, k)) - np.eye(k), q / n)
    return -0.5 * np.linalg.slogdet(law)[1]


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "k", "n"), [(2, 3, 7), (2, 5, 5), (2, 1, 4), (3, 2, 9)])
def test_entropies_at_equilibrium(d: int, k: int, n: int) -> None:
    model = kspde.LandauMaxwell(dimension=d, rate=0.3)
    exact = gaussian_limit(d, k, n, 0.7, 0.3 * 1.4)
    assert_allclose(model.marginal_entropy(k, n=n, t=0.7, mass=1.4), exact, rtol=1e-9, atol=1e-12)
    with pytest.raises(kspde.InputError, match="n = 2 is not valid at t = 9: give more than"):
        model.marginal_entropy(1, n=2, t=9.0)
