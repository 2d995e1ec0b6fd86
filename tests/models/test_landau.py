"""LandauMaxwell against the solution of Bobylev, Krook and Wu, sums over pairs, and exact equations of its moments."""

import numpy as np
import pytest
from landau_solutions import bkw, temperature
from numpy.testing import assert_allclose

import kspde


def grid(d, half_width, points):
    axis = np.linspace(-half_width, half_width, points)
    return np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d), (axis[1] - axis[0]) ** d


def values(model, points, w, samples):
    """The fields of a weighted sum over samples."""
    return kspde.FieldValues(
        points, {}, moments={m.name: np.tensordot(w, m.function(samples), axes=1) for m in model.moments}
    )


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


def test_its_fourth_moment_and_its_distance_from_the_maxwellian():
    r = np.linspace(0, 12, 200_001)
    line = np.stack([r, 0 * r], axis=1)
    for t, fourth, distance in ((0, 6, 0.368226), (1, 6.442398, 0.251526), (5, 7.426990, 0.066453)):
        k = temperature(t)
        assert 8 * k * (2 - k) == pytest.approx(fourth, abs=5e-7)
        difference = np.abs(bkw(line, k) - bkw(line, 1.0))
        assert 2 * np.pi * np.trapezoid(difference * r, r) == pytest.approx(distance, abs=6e-7)


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
