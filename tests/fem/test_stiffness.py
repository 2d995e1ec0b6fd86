"""The matrix that all systems share, the coarser meshes' matrices, and the cycle through them."""

from itertools import pairwise

import numpy as np
import pytest
from mpi4py import MPI

import kspde

DISK = kspde.Disk(radius=3.0, size=0.12, rim_size=0.3, refine=2, solver="multigrid")


def space_of(domain, comm=MPI.COMM_WORLD):
    """Return the space of a plane mesh."""
    from kspde.fem.backend import require

    require()
    from kspde.fem.spaces.mesh import MeshSpace

    return MeshSpace(domain, 2, comm)


def square(path, n: int = 6) -> None:
    """Write a mesh of the square [0, 2]² with n² cells each cut into two triangles, as a text file."""
    import meshio

    x = np.linspace(0.0, 2.0, n + 1)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    a, b, c, d = corner, corner + n + 1, corner + n + 2, corner + 1
    cells = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    meshio.Mesh(points, [("triangle", cells)]).write(path)


def energies(points, cells, f):
    """Return ∫|∇f|² of the piecewise linear interpolant, cell by cell, from the gradients of its barycentric parts."""
    a, b, c = (points[cells[:, k]] for k in range(3))
    twice = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    slopes = sum(f[cells[:, k], None] * (v - u)[:, ::-1] * [-1, 1] for k, (u, v) in enumerate(((b, c), (c, a), (a, b))))
    return float(np.sum(np.sum(slopes**2, axis=1) / np.abs(twice))) / 2


def test_coarse_matrices_are_those_of_the_coarse_meshes(shared_tmp_path, comm) -> None:
    """Pᵀ…Pᵀ K P…P of nested meshes: the energy of a function on the first mesh, and P of linear functions is exact."""
    if comm.rank == 0:
        square(shared_tmp_path / "square.vtk")
    comm.barrier()
    from kspde.fem.meshes.build import mesh_arrays

    path = shared_tmp_path / "square.vtk"
    space = space_of(kspde.MeshFile(path=path, refine=2, solver="multigrid"))
    levels = space.stiffness.nested.levels
    first = mesh_arrays(kspde.MeshFile(path=path), 2)
    assert [comm.allreduce(level.nodes) for level in levels] == [25**2, 13**2, 7**2]

    # Coarse nodes are fine nodes of the same rank, in the order of their refinement.
    points = space.points
    last = levels[-1]
    coarse = points[: last.nodes]
    assert np.all(np.abs(coarse * 3 - np.round(coarse * 3)) < 1e-9)
    f = last.ghosts(np.sin(2 * coarse[:, 0]) + coarse[:, 0] * coarse[:, 1] ** 2)
    x, y = space.stiffness.nested.coarsest.createVecs()
    x.array[:] = f[: last.nodes]
    space.stiffness.nested.coarsest.mult(x, y)
    energy = x.dot(y)
    exact = np.sin(2 * first.points[:, 0]) + first.points[:, 0] * first.points[:, 1] ** 2
    assert energy == pytest.approx(energies(first.points, first.cells, exact), rel=1e-6)
    for level, below in pairwise(levels):
        for x in points[: level.nodes].T:
            means = below.ghosts(x[: below.nodes])[level.parents].mean(axis=0)
            np.testing.assert_allclose(x[below.nodes :], means, rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral"])
def test_boundary_weights_are_those_of_a_form(cell) -> None:
    """∫ κ φ_i over the rim, from the mesh's arrays and by DOLFINx; their sum is κ times the polygon's length."""
    space = space_of(kspde.Disk(radius=3.0, size=0.5, rim_size=0.8, refine=1, cell=cell))
    ours = space.boundary_weights(0.7)
    space._boundary = None
    np.testing.assert_allclose(ours, space.boundary_weights(0.7), rtol=0, atol=1e-14)
    total = space.total(np.array([ours.sum()]))[0]
    from scipy.special import k0, k1

    assert total == pytest.approx(6 * np.pi * 0.7 * k1(2.1) / k0(2.1), rel=5e-3)
    assert total > 0


@pytest.mark.one_rank
def test_systems_of_one_matrix_do_not_disturb_each_other() -> None:
    """Two systems solved in turns: each keeps its solution and its iterations, and so do the products with K."""
    from kspde.fem.solvers.linear import SparseSystem

    for domain in (DISK, kspde.Disk(radius=3.0, size=0.1, solver="multigrid"), kspde.Disk(radius=3.0, size=0.3)):
        space = space_of(domain)
        f = np.exp(-np.sum(space.points**2, axis=1))
        stretched = space.diffusion(f)
        systems = []
        for shift in (1.0, 400.0):
            system = SparseSystem(space.stiffness, {})
            system.update(shift * space.mass, 1.0)
            once = system.solve(space.mass * f)
            systems.append((shift, system, once, system.iterations))
        for _ in range(2):
            for shift, system, once, count in systems:
                again = system.solve(space.mass * f)
                np.testing.assert_allclose(again, once, atol=1e-8 / shift)
                np.testing.assert_allclose(
                    shift * space.mass * again - space.diffusion(again), space.mass * f, atol=1e-9
                )
                assert system.iterations <= count + 1
        np.testing.assert_array_equal(space.diffusion(f), stretched)


def test_a_guess_finds_what_earlier_solutions_contain() -> None:
    """x in the span of solutions with three other diagonals is found; of any x, the nearest combination in A's norm."""
    from kspde.fem.solvers.krylov_recycling import RecycledGuess

    space = space_of(kspde.Disk(radius=3.0, size=0.2, solver="multigrid"))
    x, y = space.points.T
    # The third differs by a ten-thousandth from a combination of the others.
    solutions = [np.cos(x), np.exp(-(y**2)), np.cos(x) + np.exp(-(y**2)) + 1e-4 * np.sin(3 * x * y)]
    diagonals = [c * space.mass * (1.1 + np.sin(y)) for c in (1.0, 30.0, 900.0)]
    guess = RecycledGuess(len(space.mass), space.total, 3)
    s = 200.0 * space.mass * (1.5 + np.cos(x + y))

    def times(f):
        return s * f - space.diffusion(f)

    assert guess(s, space.mass) is None
    for _ in range(2):  # the second time they replace the first
        for f, other in zip(solutions, diagonals, strict=True):
            guess(other, space.mass)
            guess(other, other * f - space.diffusion(f))
            guess.learn(other * f - space.diffusion(f), f)
    wanted = solutions[0] - 2.0 * solutions[1] + 0.3 * np.sin(3 * x * y)
    np.testing.assert_allclose(guess(s, times(wanted)), wanted, atol=1e-6)
    strange = x**2
    error = guess(s, times(strange)) - strange
    for f in solutions:
        product, sizes = space.total(np.array([[np.vdot(f, times(error))], [np.vdot(f, times(f))]]))[:, 0]
        assert abs(product) < 1e-6 * sizes
    # Of the same system, each solution that is learned replaces the oldest.
    new = [np.sin(x), np.sin(2 * y), x * y]
    for f in new:
        guess(s, times(f))
        guess.learn(times(f), f)
        np.testing.assert_allclose(guess(s, times(f)), f, rtol=0, atol=1e-9)
    error = guess(s, times(strange)) - strange
    for f in new:
        product, sizes = space.total(np.array([[np.vdot(f, times(error))], [np.vdot(f, times(f))]]))[:, 0]
        assert abs(product) < 1e-9 * sizes


def test_stages_keep_their_integrals_whatever_the_residual() -> None:
    """Systems of the W-method: where the iteration stops early, the integral is still that of the right side."""
    space = space_of(DISK)
    u = np.exp(-np.sum(space.points**2, axis=1))
    rhs = space.diffusion(u) + 1e-3 * space.mass * u
    for accuracy in (1e-2, 1e-10):
        solve = space.shifted_solver({"ksp_rtol": accuracy})
        y = solve(300.0, 1.7, rhs, 0.0)
        residual = 300.0 * space.mass * y - 1.7 * space.diffusion(y) - rhs
        squares = space.total(np.array([np.sum(residual**2), np.sum(rhs**2)]))
        assert squares[0] <= (2 * accuracy) ** 2 * squares[1]
        sums = space.total(np.array([300.0 * space.mass @ y, rhs.sum(), np.abs(rhs).sum()]))
        assert abs(sums[0] - sums[1]) < 1e-13 * sums[2]


def test_stages_are_solved_as_well_as_the_state_they_are_added_to() -> None:
    """The residual of a stage is 1e-10 of shift·|M u|, of a small stage much more than 1e-10 of its right side."""
    space = space_of(DISK)
    u = np.exp(-np.sum(space.points**2, axis=1))
    rhs = 1e-5 * space.diffusion(u)
    norms = []
    for part in (0.0, 1.0):
        size = np.sqrt(space.total(np.array([np.sum((space.mass * u) ** 2)]))[0])
        y = space.shifted_solver({})(300.0, 1.7, rhs, part * size)
        residual = 300.0 * space.mass * y - 1.7 * space.diffusion(y) - rhs
        squares = space.total(np.array([np.sum(residual**2), np.sum(rhs**2)]))
        norms.append(np.sqrt(squares[0]))
        assert norms[-1] <= 2e-10 * max(np.sqrt(squares[1]), part * 300.0 * size)
    assert norms[1] > 10.0 * norms[0]


@pytest.mark.one_rank
@pytest.mark.parametrize(("cell", "size"), [("triangle", 0.35), ("quadrilateral", 0.6)])
def test_a_cycle_is_symmetric_and_positive_definite(cell: str, size: float) -> None:
    """As a matrix, for diagonals that vary by up to six decades from node to node.

    Its eigenvalues relative to the inverse of the system lie in (0, 1], or where the coarsest matrix is that of an
    earlier diagonal in (0, ρ], ρ the largest quotient of the two diagonals there.
    """
    from kspde.fem.solvers.linear import SparseSystem

    disk = kspde.Disk(radius=3.0, size=size, rim_size=size + 0.25, refine=1, cell=cell, solver="multigrid")
    space = space_of(disk)
    random = np.random.default_rng(5)
    everywhere = random.random((4, space.nodes))
    first = space.V.dofmap.index_map.local_range[0]
    own = slice(first, first + len(space.mass))
    system = SparseSystem(space.stiffness, {})
    coarse = np.zeros(0)
    # From one with six decades to the next the mean hardly changes: the coarsest matrix is kept until it is renewed.
    for decades, k, what in ((0.0, 0, "new"), (3.0, 1, "new"), (6.0, 2, "new"), (6.0, 3, "kept"), (6.0, 3, "renewed")):
        shift = space.mass * 10.0 ** (decades * (everywhere[k, own] - 0.5))
        system.update(shift, 1.0)
        before, coarse = coarse, space.stiffness.nested.lumped(shift)[-1]
        bound = 1.0
        if what == "kept":
            bound = max(space.comm.allgather(float(np.max(coarse / before, initial=1.0))))
        elif what == "renewed":
            system.solver.preconditioner.renew()
        b, a = as_matrix(space, system.solver.ksp.getPC().apply), as_matrix(space, system.solver.matrix.mult)
        # The cycle is done in single precision.
        np.testing.assert_allclose(b, b.T, rtol=0, atol=1e-6 * np.abs(b).max())
        root = np.linalg.cholesky(a)
        eigenvalues = np.linalg.eigvalsh(root.T @ (0.5 * (b + b.T)) @ root)
        assert eigenvalues.min() > 0.2
        assert eigenvalues.max() < bound + 1e-5


def as_matrix(space, apply):
    """Return the matrix of a linear map of PETSc vectors, in the order of the ranks' nodes."""
    x, y = space.stiffness.matrix.createVecs()
    first, last = x.getOwnershipRange()
    columns = []
    for k in range(space.nodes):
        x.array[:] = np.arange(first, last) == k
        apply(x, y)
        columns.append(np.concatenate(space.comm.allgather(y.array)))
    return np.array(columns)


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral"])
def test_a_cycle_does_not_depend_on_ranks(comm, cell) -> None:
    """Systems solved to 1e-3 only: all ranks together find what each finds alone, iteration by iteration."""
    from kspde.fem.solvers.linear import SparseSystem

    domain = kspde.Disk(radius=3.0, size=0.3, rim_size=0.6, refine=2, cell=cell, solver="multigrid")
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        space = space_of(domain, ranks)
        x, y = space.points.T
        values = []
        for shift in (1.0, 300.0):
            system = SparseSystem(space.stiffness, {"ksp_rtol": 1e-3})
            system.update(shift * space.mass * (1.0 + x**2), 1.0)
            solution = system.solve(space.mass * np.exp(-((x - 1.0) ** 2) - y**2))
            values.append(np.concatenate([*ranks.allgather(solution), [system.iterations]]))
        points = np.concatenate(ranks.allgather(space.points))
        order = np.lexsort(np.round(points, 9).T)
        found.append(np.array([[*v[order], v[-1]] for v in values]))
        assert np.all(found[-1][:, -1] > 0)
    for all_ranks, alone in zip(*found, strict=True):
        np.testing.assert_allclose(all_ranks, alone, rtol=0, atol=1e-6 * np.abs(alone[:-1]).max())


def test_nodes_where_the_diagonal_is_beyond_all_measure() -> None:
    """s up to 1e200 at some nodes, more than single precision holds: they are on their own, the others unharmed.

    What went in comes out; on each rank a mesh of its own.
    """
    from kspde.fem.solvers.linear import SparseSystem

    space = space_of(kspde.Disk(radius=3.0, size=0.35, rim_size=0.6, refine=2, solver="multigrid"), MPI.COMM_SELF)
    n = len(space.mass)
    random = np.random.default_rng(3)
    for largest in (1e20, 1e200):
        s = space.mass * np.where(random.random(n) < 0.3, largest ** random.random(n), 1.0)
        system = SparseSystem(space.stiffness, {})
        system.update(s, 1.0)
        exact = random.standard_normal(n) * space.mass / s
        solution = system.solve(s * exact - space.diffusion(exact))
        assert np.max(np.abs(solution - exact) * (s + space.stiffness.diagonal)) < 1e-7 * np.max(space.mass)
        assert system.iterations < 30


def test_values_at_other_ranks_nodes(comm) -> None:
    """Each rank owns as many numbers as its rank and three more, kept backwards, and reaches some of all."""
    from kspde.fem.solvers.ghosts import Ghosts

    sizes = np.arange(comm.size) + 3
    last = int(sizes[: comm.rank + 1].sum())
    first = last - int(sizes[comm.rank])
    own = np.arange(first, last)
    columns = np.arange(comm.rank % 2, sizes.sum(), 2, dtype=np.int32)
    places = np.arange(last - first, dtype=np.int32)[::-1].copy()
    ghosts = Ghosts(comm, first, last, columns)
    ghosts.place(places)
    assert ghosts.count == np.sum((columns < first) | (columns >= last))
    for kind in (np.float32, np.float64):
        values = ghosts((own[places] ** 2).astype(kind))
        assert values.dtype == kind
        np.testing.assert_array_equal(values[ghosts.local(columns)], columns.astype(kind) ** 2)
        # One from each rank that reaches a node, and what was there.
        sums = np.ones(last - first + ghosts.count, dtype=kind)
        ghosts.add(sums)
        reached = [np.isin(own, np.arange(r % 2, sizes.sum(), 2)) for r in range(comm.size) if r != comm.rank]
        np.testing.assert_array_equal(sums[: last - first][places], 1 + np.sum(reached, axis=0, initial=0))
