"""Kernels split between a grid and a sum over neighbours, forced by a low memory limit, against the references."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from reference_kernels import kernel_and_slope, sums
from test_fields import at_all, cloud, field, suprema

import kspde
from kspde.particles.fields import short_range
from kspde.particles.fields.base import Extent
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.fields.short_range import ScreenedKernel
from kspde.radial import profile

CASES = [
    (1, "gaussian", 0.002, 1e-3),
    (1, "gaussian", 0.002, 1e-6),
    (1, "matern", 0.01, 1e-6),
    (2, "gaussian", 0.05, 1e-3),
    (2, "gaussian", 0.05, 1e-6),
    (2, "matern", 0.1, 1e-5),
    (3, "gaussian", 0.1, 1e-4),
]


def mesh_fields(mollifier, eps, x, comm, *, tol, gradient=True, share=0.5, include_self=True):
    """A mesh that may take a share of the memory that the whole kernels of a cloud would need."""
    options = {"dimension": x.shape[1], "weights": {"u": 1 / len(x)}, "tol": tol, "comm": comm}
    fields = field(mollifier, eps, gradient=gradient)
    whole = ParticleMesh(fields, include_self=include_self, **options)
    limit = share * whole.bytes_for(x.max(axis=0) - x.min(axis=0))
    return ParticleMesh(fields, include_self=include_self, memory_limit=limit, **options)


def split(mollifier, eps, x, comm, *, tol, **options):
    mesh = mesh_fields(mollifier, eps, x, comm, tol=tol, **options)
    out = at_all(mesh, x, comm)
    assert mesh.screen > 0
    return mesh, *out


@pytest.mark.one_rank
@pytest.mark.parametrize(("d", "mollifier", "eps", "tol"), CASES)
def test_split_kernels_keep_the_tolerance(d, mollifier, eps, tol, comm):
    x = cloud(d)
    # Pairs at all distances around the screen's length, where neither part is small.
    x[4:14, 0] = x[4, 0] + eps * np.geomspace(0.1, 30.0, 10)
    x[4:14, 1:] = x[4, 1:]
    mesh, value, gradient = split(mollifier, eps, x, comm, tol=tol)
    exact, exact_gradient = sums(d, mollifier, eps, x, x, 1 / len(x))
    largest, steepest = suprema(d, mollifier, eps, x)
    assert np.abs(value - exact).max() <= tol * largest
    assert np.linalg.norm(gradient - exact_gradient, axis=1).max() <= tol * steepest
    summary = mesh.summary()
    assert summary["reach"] < 16 * summary["screen"]
    assert summary["pairs"] >= len(x)


@pytest.mark.one_rank
def test_both_parts_make_the_kernel():
    kernel = kspde.Yukawa(strength=8.0) * kspde.GaussianMollifier(eps=0.1)
    r = np.linspace(0.01, 3.0, 50)
    far, rest = (profile(ScreenedKernel(kernel=kernel, scale=0.3, rest=rest), 2, r, tol=1e-9) for rest in (False, True))
    np.testing.assert_allclose(far + rest, kernel_and_slope(2, "gaussian", 0.1, r)[0], atol=1e-7)
    with pytest.raises(NotImplementedError, match="exists on grids only"):
        _ = ScreenedKernel(kernel=kernel, scale=0.3).resolvents


def test_a_particle_is_left_out_of_its_own_split_field(comm):
    x = cloud(1)
    _, inside, gradient = split("gaussian", 0.01, x, comm, tol=1e-6)
    _, outside, same = split("gaussian", 0.01, x, comm, tol=1e-6, include_self=False)
    own = kernel_and_slope(1, "gaussian", 0.01, np.zeros(1))[0][0] / len(x)
    np.testing.assert_allclose(inside - outside, own, rtol=1e-7)
    np.testing.assert_allclose(gradient, same, rtol=1e-13)


def test_split_fields_do_not_depend_on_the_ranks_or_on_the_order(comm):
    x = cloud(2, n=300)
    order = np.random.default_rng(1).permutation(len(x))
    _, here, here_gradient = split("gaussian", 0.05, x, MPI.COMM_SELF, tol=1e-3)
    _, there, there_gradient = split("gaussian", 0.05, x[order], comm, tol=1e-3)
    np.testing.assert_allclose(there, here[order], rtol=1e-12)
    np.testing.assert_allclose(there_gradient, here_gradient[order], rtol=0, atol=1e-12 * np.abs(here_gradient).max())


def test_a_resumed_run_takes_up_the_same_split(comm):
    x = cloud(1)
    mesh, value, _ = split("gaussian", 0.01, x, comm, tol=1e-6)
    moved = 0.9 * x
    value, _ = at_all(mesh, moved, comm)
    other = mesh_fields("gaussian", 0.01, x, comm, tol=1e-6)
    other.restore(mesh.state())
    again, _ = at_all(other, moved, comm)
    assert np.array_equal(value, again)
    assert other.screen == mesh.screen


def test_a_cloud_that_grows_is_split_when_it_must_be(comm):
    x = cloud(1)
    mesh = mesh_fields("gaussian", 0.005, x, comm, tol=1e-6, gradient=False, share=1.1)
    screens = []
    for scale in (1.0, 3.0, 0.5, 6.0):
        value, _ = at_all(mesh, scale * x, comm)
        exact, _ = sums(1, "gaussian", 0.005, scale * x, scale * x, 1 / len(x))
        assert np.abs(value - exact).max() <= 1e-6 * exact.max()
        screens.append(mesh.screen)
    assert screens[0] == 0.0
    assert screens[-1] > 0.0


def test_too_many_pairs_are_refused_with_the_numbers(comm, monkeypatch):
    monkeypatch.setattr(short_range, "MOST_PAIRS", 100.0)
    x = 1e-3 * cloud(1)
    x[-1] = 6.0
    mesh = mesh_fields("gaussian", 0.002, x, comm, tol=1e-6)
    mine = np.ascontiguousarray(x[60 * comm.rank // comm.size : 60 * (comm.rank + 1) // comm.size])
    with pytest.raises(kspde.InputError, match=r"need a sum over 3\.\d+e\+03 pairs of particles closer than 0\.\d+"):
        mesh.update({"u": mine}, Extent(x.min(axis=0), x.max(axis=0)))


def test_the_memory_limit_decides_between_one_mesh_and_a_split(mixture):
    options = {"n": 200, "t_end": 0.1, "dt": 0.05, "eps": 0.1, "mollifier": "matern", "field_tol": 1e-4}
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    whole = kspde.simulate(model, mixture, **options)
    parts = kspde.simulate(model, mixture, memory_limit=8e6, **options)
    assert "screen" not in whole.summary()
    assert parts.summary()["screen"] > 0
    np.testing.assert_allclose(parts.positions, whole.positions, atol=1e-4)
    with pytest.raises(kspde.InputError, match=r"and 0\.\d+ GB per rank, but the limit is 0\.0001 GB"):
        kspde.simulate(model, mixture, memory_limit=1e5, **options)
    with pytest.raises(kspde.InputError, match="memory_limit = 0 is not valid: give a finite number > 0"):
        kspde.simulate(model, mixture, memory_limit=0, **options)
