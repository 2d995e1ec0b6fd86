"""The tensor-product operators against DOLFINx's assembly and against dense matrix functions."""

import numpy as np
import pytest
import scipy.linalg
import ufl
from mpi4py import MPI

import kspde
from kspde.fem import backend

backend.require()

from dolfinx import fem, mesh  # noqa: E402
from dolfinx.fem.petsc import assemble_matrix  # noqa: E402

from kspde.fem.spaces.base import decay_coefficient  # noqa: E402
from kspde.fem.spaces.box import BoxSpace  # noqa: E402
from kspde.fem.spaces.tensor import Axis  # noqa: E402

CASES = [(1, 3, 5), (2, 4, 5), (2, 1, 9), (3, 2, 4)]


def space_of(dimension: int, degree: int, cells: int, comm: MPI.Comm = MPI.COMM_WORLD) -> BoxSpace:
    return BoxSpace(kspde.Box(half_width=3.0, cells=cells, degree=degree, dimension=dimension), comm)


def smooth(points: np.ndarray) -> np.ndarray:
    return np.prod(np.sin(points + 0.3), axis=1)


def applied(space: BoxSpace, form: ufl.Form, nodal: np.ndarray) -> np.ndarray:
    matrix = assemble_matrix(fem.form(form))
    matrix.assemble()
    x, y = matrix.createVecs()
    x.array[:] = space.to_dolfinx(nodal)
    matrix.mult(x, y)
    out = space.from_dolfinx(y.array_r)
    for thing in (matrix, x, y):
        thing.destroy()
    return out


def boundary_measure(space: BoxSpace) -> ufl.Measure:
    """The box's boundary, found by coordinates: on two ranks DOLFINx's ``ds`` contains the cut of an interval mesh."""
    facets = mesh.locate_entities(
        space.mesh, space.dimension - 1, lambda x: np.any(np.isclose(np.abs(x), space.domain.half_width), axis=0)
    )
    tags = mesh.meshtags(space.mesh, space.dimension - 1, facets, np.ones(len(facets), dtype=np.int32))
    return ufl.Measure("ds", domain=space.mesh, subdomain_data=tags)(1)


@pytest.mark.parametrize(("dimension", "degree", "cells"), CASES)
def test_operators_are_those_dolfinx_assembles(dimension: int, degree: int, cells: int) -> None:
    space = space_of(dimension, degree, cells)
    u, v = ufl.TrialFunction(space.V), ufl.TestFunction(space.V)
    gll = ufl.dx(metadata={"quadrature_rule": "GLL", "quadrature_degree": max(1, 2 * degree - 1)})
    f = smooth(space.points).reshape(space.slabs.shape)
    neumann = space.laplacian()

    np.testing.assert_allclose(applied(space, u * v * gll, f), space.mass * f, rtol=0, atol=1e-14)

    stiff = applied(space, ufl.inner(ufl.grad(u), ufl.grad(v)) * gll, f)
    np.testing.assert_allclose(space.mass * neumann.apply(neumann.eigenvalues, f), stiff, rtol=0, atol=1e-11)

    robin = space.laplacian(0.7)
    stiff += applied(space, 0.7 * u * v * boundary_measure(space)(metadata=gll.metadata()), f)
    np.testing.assert_allclose(space.mass * robin.apply(robin.eigenvalues, f), stiff, rtol=0, atol=1e-11)

    for axis in range(dimension):
        weak = applied(space, u * v.dx(axis) * gll, f)
        modal = neumann.transform(f, axis)
        np.testing.assert_allclose(space.mass * neumann.back(modal), weak, rtol=0, atol=1e-12)
        slope = applied(space, u.dx(axis) * v * gll, f) / space.mass
        np.testing.assert_allclose(neumann.derivative(f, axis), slope, rtol=0, atol=1e-11)


def test_functions_of_the_laplacian_are_those_of_the_matrix() -> None:
    space = space_of(2, 3, 3, MPI.COMM_SELF)
    axis = space.axes[0]
    mass, stiffness = np.diag(axis.mass), axis.stiffness.toarray()
    weights = np.kron(axis.mass, axis.mass)
    matrix = (np.kron(stiffness, mass) + np.kron(mass, stiffness)) / weights[:, None]
    f = smooth(space.points)
    laplacian = space.laplacian()
    heat = laplacian.apply(np.exp(-0.1 * laplacian.eigenvalues), f.reshape(space.slabs.shape))
    np.testing.assert_allclose(heat.ravel(), scipy.linalg.expm(-0.1 * matrix) @ f, rtol=0, atol=1e-12)
    helmholtz = laplacian.apply(1 / (laplacian.eigenvalues + 2.0), f.reshape(space.slabs.shape))
    np.testing.assert_allclose(helmholtz.ravel(), np.linalg.solve(matrix + 2.0 * np.eye(len(f)), f), rtol=0, atol=1e-12)


@pytest.mark.one_rank
@pytest.mark.parametrize(("periodic", "robin"), [(False, 0.0), (False, 0.3), (True, 0.0)])
@pytest.mark.parametrize(("cells", "grading"), [(20, 15.4), (44, 13.6), (12, 2.0)])
def test_modes_are_orthonormal_where_round_off_covers_the_first(cells, grading, periodic, robin) -> None:
    """1/L² is below the round-off of the largest eigenvalue: the constant mode took the place of a mixture, once."""
    box = kspde.Box(half_width=7.86e6, cells=cells, degree=8, dimension=1, grading=grading)
    axis = Axis(box.vertices, box.degree, periodic=periodic)
    values, modes = axis.eigen(robin)
    np.testing.assert_allclose(modes.T @ (axis.mass[:, None] * modes), np.eye(len(axis)), rtol=0, atol=1e-13)
    form = modes.T @ (axis.stiffness @ modes) + robin * (np.outer(*modes[[0, 0]]) + np.outer(*modes[[-1, -1]]))
    np.testing.assert_allclose(form, np.diag(values), rtol=0, atol=1e-13 * values.max())
    assert values.min() >= 0.0
    if robin == 0.0:
        assert values[0] == 0.0
        assert np.ptp(modes[:, 0]) == 0.0


def test_slabs_share_the_work_and_agree_with_one_rank() -> None:
    shared, alone = space_of(3, 2, 5), space_of(3, 2, 5, MPI.COMM_SELF)
    rows = slice(shared.slabs.first, shared.slabs.last)
    f = smooth(alone.points).reshape(alone.slabs.shape)
    assert sum(MPI.COMM_WORLD.allgather(shared.mass.size)) == alone.mass.size
    ours, theirs = shared.laplacian(0.4), alone.laplacian(0.4)
    here = ours.apply(np.exp(-ours.eigenvalues), np.ascontiguousarray(f[rows]))
    np.testing.assert_allclose(here, theirs.apply(np.exp(-theirs.eigenvalues), f)[rows], rtol=0, atol=1e-13)
    np.testing.assert_allclose(shared.integral(f[rows]), alone.integral(f), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_decay_condition_is_met_by_the_decaying_solution(dimension: int) -> None:
    rate, radius, h = 1.3, 4.0, 1e-5
    if dimension == 2:
        from scipy.special import k0

        def solution(r: float) -> float:
            return float(k0(rate * r))
    else:

        def solution(r: float) -> float:
            return float(np.exp(-rate * r) / (1.0 if dimension == 1 else r))

    slope = (solution(radius + h) - solution(radius - h)) / (2 * h)
    assert decay_coefficient(rate, radius, dimension) == pytest.approx(-slope / solution(radius), rel=1e-8)
    assert decay_coefficient(np.inf, radius, dimension) == 0.0
    assert decay_coefficient(1.0, 5000.0, 2) == pytest.approx(1.0, abs=2e-4)  # no overflow


def test_evaluation_is_exact_for_polynomials_of_the_degree() -> None:
    space = space_of(2, 4, 5)
    x, y = space.points.T
    nodal = (x**4 - 2 * x * y**3 + 1).reshape(space.slabs.shape)
    points = np.array([[-3.0, 3.0], [0.1, -0.7], [2.9, 0.0], [0.0, 0.0]])
    exact = points[:, 0] ** 4 - 2 * points[:, 0] * points[:, 1] ** 3 + 1
    np.testing.assert_allclose(space.evaluate(nodal, points), exact, rtol=1e-12, atol=1e-11)
    grid = space.on_grid(nodal, [points[:, 0], points[:, 1]])
    np.testing.assert_allclose(np.diag(grid), exact, rtol=1e-12, atol=1e-11)


def test_nodal_arrays_and_dolfinx_functions_are_the_same() -> None:
    space = space_of(2, 3, 6)
    nodal = smooth(space.points).reshape(space.slabs.shape)
    function = space.function(nodal)
    owned = space.V.dofmap.index_map.size_local
    where = space.V.tabulate_dof_coordinates()[:owned, :2]
    np.testing.assert_allclose(function.x.array[:owned], smooth(where), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(space.from_dolfinx(function.x.array[:owned]), nodal)
