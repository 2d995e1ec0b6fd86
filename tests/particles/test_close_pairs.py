"""Steps of particles with singular kernels: close pairs move by bounded, opposite displacements."""

from __future__ import annotations

import numpy as np
import pytest

import kspde
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import Extent
from kspde.particles.fields.close_pairs import ClosePairs

KAPPA = 1 / 3


def tamed(x, w, d, kernel, scale, comm, *, method="direct", field_tol=1e-6):
    """Return the gradient at all particles, in a step with h A = ``scale``."""
    fields = (kspde.Field(name="v", kernel=kernel, gradient=True, value=False),)
    n = len(x)
    mine = slice(n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size)
    options = FieldOptions(method=method, field_tol=field_tol)
    evaluator = options.evaluator(fields, dimension=d, weights={"u": w[mine]}, comm=comm)
    evaluator.update({"u": x[mine]}, Extent(x.min(axis=0), x.max(axis=0)))
    if scale > 0:
        evaluator.close = ClosePairs(evaluator.singular, d, comm)
        evaluator.close.begin(scale, {"u": x[mine]}, evaluator.weights)
    return np.concatenate(comm.allgather(evaluator.at("u", x[mine]).gradient("v").copy()))


def all_pairs(x, w, kernel, scale):
    """Return that gradient by the formula, written here."""
    d = x.shape[1]
    z = x[:, None] - x
    r = np.linalg.norm(z, axis=2)
    np.fill_diagonal(r, 1.0)
    slope = np.where(r > 0, kernel.slope(np.where(r > 0, r, 1.0), d), 0.0) / np.where(r > 0, r, 1.0)
    q = np.maximum(scale * (np.abs(w[:, None]) + np.abs(w)) * np.abs(slope), 1e-300)
    slope *= np.where(q > KAPPA, 1 - (1 - KAPPA / np.maximum(q, KAPPA)) ** 3, 1.0)
    return np.einsum("ij,ijd,j->id", slope, z, w), q


@pytest.mark.parametrize(
    ("d", "kernel"),
    [
        (1, kspde.LogPotential()),
        (2, kspde.LogPotential(strength=-2.0)),
        (2, kspde.Yukawa(screening=3.0)),
        (3, kspde.LogPotential()),
        (2, kspde.Riesz(s=0.5, strength=-1.0)),
    ],
)
def test_close_pairs_whatever_computes_the_field(d, kernel, comm):
    random = np.random.default_rng(1)
    n = 700
    x = random.normal(size=(n, d)) + 3.0
    x[: n // 2] = 3.0 + 0.01 * random.normal(size=(n // 2, d))
    x[0] += 500.0
    x[7] = x[8]
    w = random.uniform(-0.5, 1.5, n) / n
    scale = {1: 1.0, 2: 0.01, 3: 1e-3}[d]
    kernel = kernel.in_dimension(d)
    exact, q = all_pairs(x, w, kernel, scale)
    assert 0.001 < np.mean(q > KAPPA) < 0.9
    size = np.abs(exact).max()
    direct = tamed(x, w, d, kernel, scale, comm)
    np.testing.assert_allclose(direct, exact, rtol=0, atol=1e-9 * size)
    mesh = tamed(x, w, d, kernel, scale, comm, method="mesh")
    untamed = np.abs(tamed(x, w, d, kernel, 0.0, comm)).max()
    assert np.abs(mesh - exact).max() <= 1e-6 * max(size, 1e-3 * untamed)
    assert np.abs(w @ direct).max() <= 1e-12 * np.abs(w).sum() * size  # the centre of the weights


@pytest.mark.one_rank
def test_a_pair_is_tamed_only_where_a_step_does_not_resolve_it(comm):
    kernel, w = kspde.LogPotential(), np.array([0.3, 0.7])
    delta = np.sqrt(0.01 / (2 * np.pi * KAPPA))
    for share in (0.999, 1.001):
        x = np.array([[1.0, 2.0], [1.0 + share * delta, 2.0]])
        plain, ours = tamed(x, w, 2, kernel, 0.0, comm), tamed(x, w, 2, kernel, 0.01, comm)
        assert np.array_equal(plain, ours) == (share > 1)
    for r in (1e-3 * delta, 1e-7 * delta):
        x = np.array([[0.0, 0.0], [r, 0.0]])
        moved = 0.01 * tamed(x, w, 2, kernel, 0.01, comm)[:, 0]
        np.testing.assert_allclose(moved[0] - moved[1], r, rtol=1e-4)  # φ → 1
