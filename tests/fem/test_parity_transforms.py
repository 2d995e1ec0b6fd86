"""Transforms of large boxes leave out modes: what that changes, against the matrices of all modes."""

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.fem import backend

backend.require()

from kspde.fem.spaces import parity_transforms, tensor  # noqa: E402
from kspde.fem.spaces.box import BoxSpace  # noqa: E402

SHARE = parity_transforms.NEGLIGIBLE


@pytest.fixture(scope="module", params=[(1, 402, 2.5), pytest.param((8, 51, 0.0), marks=pytest.mark.one_rank)])
def space(request: pytest.FixtureRequest) -> BoxSpace:
    degree, cells, grading = request.param
    return BoxSpace(kspde.Box(half_width=10.0, cells=cells, degree=degree, grading=grading), MPI.COMM_WORLD)


class Dense:
    """The transforms by the whole matrices, on one rank: shape (n, n) arrays."""

    def __init__(self, space: BoxSpace, robin: float) -> None:
        axis = space.axes[0]
        self.mass = axis.mass
        self.values, self.modes = axis.eigen(robin)
        self.slope = axis.advection.T @ self.modes / axis.mass[:, None]

    def forth(self, x: np.ndarray) -> np.ndarray:
        q = self.modes.T * self.mass
        return q @ x @ q.T

    def norm(self, x: np.ndarray) -> float:
        return float(np.sqrt(self.mass @ x**2 @ self.mass))


def grid(space: BoxSpace) -> tuple[np.ndarray, np.ndarray]:
    nodes = space.axes[0].nodes
    return nodes[:, None], nodes[None, :]


def bump(space: BoxSpace, width: float) -> np.ndarray:
    x, y = grid(space)
    return np.exp(-((x - 0.7) ** 2 + (y + 0.4) ** 2) / (2 * width**2)) + 0.1 * np.exp(-((x + 2) ** 2) - y**2)


def rows(space: BoxSpace, x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[space.slabs.first : space.slabs.last])


def columns(space: BoxSpace, modes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(modes[:, space.slabs.modal])


def norm(space: BoxSpace, x: np.ndarray) -> float:
    return float(np.sqrt(space.total(np.array([np.sum(x**2)]))[0]))


@pytest.mark.parametrize("robin", [0.0, 0.9])
def test_no_function_loses_more_than_the_share(space: BoxSpace, robin: float) -> None:
    """Smooth and rough ones in turn, so that a guess from the last function is often wrong."""
    dense, laplacian = Dense(space, robin), tensor.TensorLaplacian(space.axes, space.slabs, robin)
    smooth, narrow = bump(space, 1.2), bump(space, 0.5)
    x, y = grid(space)
    lone = dense.modes[:, -3][:, None] * dense.modes[:, -40][None, :]  # one mode, far above all of the others
    functions = [smooth, smooth, narrow, smooth, smooth + 1e-9 * lone, smooth + 1e-3 * np.sin(40 * x * y), 0 * smooth]
    for f in [*functions, smooth, 1e-100 * smooth]:
        modes = dense.forth(f)
        size = float(np.linalg.norm(modes))
        assert norm(space, laplacian.transform(rows(space, f)) - columns(space, modes)) <= 2 * SHARE * size
        nodal = laplacian.back(columns(space, modes))
        error = np.sqrt(space.mass) * (nodal - rows(space, f))
        assert norm(space, error) <= 2 * SHARE * size
        gradient = dense.slope @ modes @ dense.modes.T
        energy = float(np.sqrt(np.sum(dense.values[:, None] * modes**2)))
        found = laplacian.derivative(laplacian.back(columns(space, modes), derived=True), 0)
        error = np.sqrt(space.mass) * (found - rows(space, gradient))
        assert norm(space, error) <= 2 * SHARE * energy


@pytest.mark.one_rank
def test_most_modes_of_a_smooth_function_are_left_out(space: BoxSpace) -> None:
    laplacian = tensor.TensorLaplacian(space.axes, space.slabs)
    sizes: list[int] = []
    plain = parity_transforms.ParityMatrix._pieces

    def counted(self: parity_transforms.ParityMatrix, chosen: np.ndarray | None) -> list:
        sizes.append(len(self._blocks[0]) * 2 if chosen is None else len(chosen))
        return plain(self, chosen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity_transforms.ParityMatrix, "_pieces", counted)
        f = rows(space, bump(space, 1.2))
        for _ in range(2):
            laplacian.back(laplacian.transform(f))
    assert min(sizes[:2]) > 400  # the first time nothing is known
    assert max(sizes[2:]) < 200


def test_the_rough_inverse_is_a_preconditioner(space: BoxSpace) -> None:
    """(M + K/σ)⁻¹ in single precision, with few modes and with all, from one function to the next."""
    dense, laplacian = Dense(space, 0.0), tensor.TensorLaplacian(space.axes, space.slabs)
    solve = laplacian.roughly(space.mass)
    x, y = grid(space)
    rough = np.sin(40 * x * y) + np.sign(x + y)
    mass = np.multiply.outer(dense.mass, dense.mass)
    for f in (bump(space, 1.2), bump(space, 0.5), rough, bump(space, 1.2), bump(space, 1.2)):
        for shift in (0.1, 100.0):
            exact = 1 / (1 + np.add.outer(dense.values, dense.values) / shift) * dense.forth(f)
            exact = rows(space, dense.modes @ exact @ dense.modes.T)
            made = solve(rows(space, mass * f), shift)
            assert made.dtype == np.float32
            error = norm(space, np.sqrt(space.mass) * (made - exact))
            # A tenth of the norm may be left out where the last function was another one.
            assert error < (0.1 if shift == 0.1 else 1e-3) * norm(space, np.sqrt(space.mass) * exact)


@pytest.mark.one_rank
def test_a_positive_step_on_a_large_box() -> None:
    """(1) of ``transport`` for rough data and D from 1/16 to 1: residual, mass, sign, and few iterations."""
    from kspde.fem.schemes.transport import Motion, Transport
    from kspde.fem.solvers.graph import Graph

    space = BoxSpace(kspde.Box(half_width=10.0, cells=401, degree=1), MPI.COMM_WORLD)
    axis, n, dt = space.axes[0], len(space.axes[0]), 0.05
    x, y = grid(space)
    d = 1 / (1 + 15 * np.exp(-(x**2) - y**2))
    u = np.abs(bump(space, 0.6) * np.sin(9 * x * y)) + (np.random.default_rng(2).random((n, n)) > 0.999)
    mass = np.multiply.outer(axis.mass, axis.mass)
    graph = Graph(space)
    transport = Transport(graph, False, {}, in_turn=True)
    motion = Motion(graph, rows(space, d).ravel(), None)
    local = transport.step(motion, rows(space, u).ravel(), dt, float(np.sum(mass * u))).reshape(space.slabs.shape)
    transport.free()
    graph.free()
    new = np.concatenate(space.comm.allgather(local))
    w = d * new
    stretched = axis.stiffness @ w * axis.mass + axis.mass[:, None] * (w @ axis.stiffness)
    residual = mass * new + dt * stretched - mass * u
    assert np.linalg.norm(residual) < 5e-10 * np.linalg.norm(mass * u)
    assert np.sum(mass * new) == pytest.approx(np.sum(mass * u), rel=1e-13)
    assert new.min() >= 0
    assert transport.iterations <= 26  # without the factor c it takes 36


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_not_left_out(space: BoxSpace, bad: float) -> None:
    laplacian = tensor.TensorLaplacian(space.axes, space.slabs)
    f = rows(space, bump(space, 1.2))
    modes = laplacian.transform(f)
    laplacian.transform(f)
    if space.comm.rank == 0:
        f[5, 7] = bad
        modes[-1, -1] = bad
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(norm(space, laplacian.transform(f)))
        assert not np.isfinite(norm(space, laplacian.back(modes)))


@pytest.mark.one_rank
def test_probes_find_what_a_guess_has_missed() -> None:
    """Their estimate of the modes left out has the right mean, and hardly ever a tenth of the norm."""
    axis = tensor.Axis(kspde.Box(half_width=5.0, cells=60, degree=2, grading=0).vertices, 2)
    _, modes = axis.eigen(0.0)
    n = len(axis)
    modes = np.concatenate([modes[:, ::2], modes[:, 1::2]], axis=1)  # ascending: even and odd ones alternate
    rng = np.random.default_rng(1)
    estimates = []
    chosen = np.arange(10)
    for seed in range(200):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "default_rng", lambda _, seed=seed: np.random.Generator(np.random.PCG64(seed)))
            forth = parity_transforms.ParityMatrix((modes * axis.mass[:, None]).T, derivative=False)
        k = int(rng.integers(10, n))
        estimates.append(forth.forth((modes[:, [k]] + modes[:, [3]]).T, chosen)[1])
    assert np.mean(estimates) == pytest.approx(1.0, abs=0.15)  # their standard deviation is ½ each
    assert min(estimates) > 0.01
    assert np.std(estimates) == pytest.approx(0.5, abs=0.15)
