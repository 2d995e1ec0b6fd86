"""Fields by finufft against closed forms and direct sums, alone and in a simulation."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from reference_kernels import sums
from test_fields import at_all, cloud, evaluate, field, suprema

import kspde
from kspde.particles.fields.nufft import NonuniformFFT
from kspde.particles.fields.particle_mesh import ParticleMesh

CASES = [
    (d, mollifier, eps, tol)
    for d, mollifier, all_eps, tols in [
        (1, "gaussian", (0.1, 1.0), (1e-3, 1e-6, 1e-9)),
        (1, "matern", (0.3,), (1e-3, 1e-6, 1e-9)),
        (2, "gaussian", (0.1, 1.0), (1e-3, 1e-6)),
        (2, "gaussian", (0.5,), (1e-9,)),
        (2, "matern", (0.5,), (1e-3,)),
        (3, "gaussian", (0.8,), (1e-3, 1e-6)),
    ]
    for eps in all_eps
    for tol in tols
]


@pytest.mark.parametrize(("d", "mollifier", "eps", "tol"), CASES)
@pytest.mark.parametrize("slopes", [False, True])
def test_finufft_keeps_the_tolerance(d, mollifier, eps, tol, slopes, comm):
    x = cloud(d)
    exact, exact_gradient = sums(d, mollifier, eps, x, x, 1 / len(x))
    value, gradient = evaluate(NonuniformFFT, field(mollifier, eps, gradient=slopes), x, comm, tol=tol)
    largest, steepest = suprema(d, mollifier, eps, x)
    assert np.abs(value - exact).max() <= tol * largest
    if slopes:
        assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= tol * steepest


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_particles_fewer_than_ranks_and_without_themselves(n, comm):
    x = np.random.default_rng(n).normal(size=(n, 2))
    fields = field("gaussian", 0.4, gradient=True)
    exact, exact_gradient = sums(2, "gaussian", 0.4, x, x, 1 / n)
    own = sums(2, "gaussian", 0.4, x[:1], x[:1], 1 / n)[0][0]
    largest, steepest = suprema(2, "gaussian", 0.4, x)
    for include_self in (True, False):
        value, gradient = evaluate(NonuniformFFT, fields, x, comm, tol=1e-6, include_self=include_self)
        assert np.abs(value - exact + (0.0 if include_self else own)).max() <= 1e-6 * largest
        assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= 1e-6 * steepest


def test_box_follows_the_cloud_and_is_taken_up_again(comm):
    x = cloud(2)
    options = {"dimension": 2, "weights": {"u": 1 / len(x)}, "tol": 1e-6, "include_self": True, "comm": comm}
    evaluator = NonuniformFFT(field("gaussian", 0.5), **options)
    shapes = []
    for scale in (1.0, 1.02, 2.0, 5.0):
        moved = scale * x + scale
        value, _ = at_all(evaluator, moved, comm)
        exact, _ = sums(2, "gaussian", 0.5, moved, moved, 1 / len(x))
        assert np.abs(value - exact).max() <= 1e-6 * exact.max()
        shapes.append(evaluator.shape)
    assert shapes[0] == shapes[1] < shapes[2] < shapes[3]
    again = NonuniformFFT(field("gaussian", 0.5), **options)
    again.restore(evaluator.state())
    assert again.shape == evaluator.shape


def test_modes_that_do_not_fit_are_refused_with_the_numbers(comm):
    x = cloud(2)
    x[0] = 1e6
    message = (
        r"the fields of a cloud of size 1e\+06 × 1e\+06 to relative accuracy 1e-06 need \d+ × \d+ modes "
        r'\(up to 1\d\.\d*, padding 16\.\d*\) and .* GB per rank, but the limit is 4 GB: use method = "mesh"'
    )
    with pytest.raises(kspde.InputError, match=message):
        evaluate(NonuniformFFT, field("gaussian", 0.3), x, comm, tol=1e-6)


def test_small_tolerances_take_far_fewer_modes_than_points_of_a_mesh(comm):
    x = cloud(3)
    options = {"dimension": 3, "weights": {"u": 1 / len(x)}, "tol": 1e-7, "include_self": True, "comm": comm}
    fields = field("gaussian", 0.8, gradient=True)
    mesh, modes = ParticleMesh(fields, **options), NonuniformFFT(fields, **options)
    value, gradient = at_all(modes, x, comm)
    assert 4 * max(modes.shape) < min(mesh.points_for(x.max(axis=0) - x.min(axis=0)))
    exact, exact_gradient = sums(3, "gaussian", 0.8, x, x, 1 / len(x))
    largest, steepest = suprema(3, "gaussian", 0.8, x)
    assert np.abs(value - exact).max() <= 1e-7 * largest
    assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= 1e-7 * steepest


def test_a_simulation_by_finufft_is_that_by_direct_sums(mixture, comm):
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    options = {"n": 200, "t_end": 0.1, "dt": 0.02, "eps": 0.3, "field_tol": 1e-9, "comm": comm}
    clouds = {m: kspde.simulate(model, mixture, method=m, **options) for m in ("finufft", "direct", "mesh")}
    assert clouds["finufft"].summary()["method"] == "finufft"
    for other in ("direct", "mesh"):
        np.testing.assert_allclose(clouds["finufft"].positions, clouds[other].positions, rtol=0, atol=1e-8)
    with pytest.raises(kspde.InputError, match=r"the limit is 1e-05 GB"):
        kspde.simulate(model, mixture, method="finufft", memory_limit=1e4, **options)


def test_a_missing_library_is_named(mixture, comm, monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(kspde.KspdeError, match=r'method = "finufft" needs .* pip install "kspde\[finufft\]"'):
        kspde.simulate(
            kspde.SignalDependentKellerSegel(chi=8.0),
            mixture,
            n=10,
            t_end=0.1,
            dt=0.1,
            eps=0.3,
            method="finufft",
            comm=comm,
        )
