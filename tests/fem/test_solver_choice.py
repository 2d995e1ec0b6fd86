"""Direct, multigrid or fast diagonalisation: chosen by domain and size, overridable, the same answer from each."""

import numpy as np
import pytest
from mpi4py import MPI
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import spsolve

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
DISK = {"radius": 12.0, "size": 0.15, "rim_size": 1.5, "refine": 1}
POINTS = [(0, 0), (1, 0.5), (-1.2, 0.3), (3, 3), (0.2, 1.5)]


def linear_solver(domain, u0) -> str:
    return kspde.solve(MODEL, u0, domain, t_end=1e-6, tol=1e-2).summary()["linear_solver"]


def test_domain_and_size_choose(mixture, monkeypatch) -> None:
    from kspde.fem.solvers import linear as sparse

    assert linear_solver(kspde.Box(half_width=12.0, cells=20, degree=3), mixture) == "fast diagonalisation"
    assert linear_solver(kspde.Disk(**DISK), mixture) == "direct"
    monkeypatch.setitem(sparse.DIRECT_NODES, 2, 500)
    assert linear_solver(kspde.Disk(**DISK), mixture) == "multigrid"
    assert linear_solver(kspde.Disk(**DISK, solver="direct"), mixture) == "direct"


@pytest.mark.parametrize(
    "options",
    [
        {"tol": 1e-3},
        pytest.param({"tol": 1e-3, "eps": 0.3}, marks=pytest.mark.one_rank),
        {"scheme": "positive", "dt": 0.03},
        pytest.param({"scheme": "positive-2", "dt": 0.03}, marks=pytest.mark.one_rank),
    ],
    ids=["adaptive", "mollified", "positive", "positive-2"],
)
def test_both_give_the_same_answer(mixture, options) -> None:
    runs = [
        kspde.solve(MODEL, mixture, kspde.Disk(**DISK, solver=solver), t_end=0.1, **options)
        for solver in ("direct", "multigrid")
    ]
    direct, multigrid = runs
    assert [run.summary()["linear_solver"] for run in runs] == ["direct", "multigrid"]
    np.testing.assert_allclose(multigrid.evaluate(POINTS), direct.evaluate(POINTS), rtol=0, atol=1e-9)
    np.testing.assert_allclose(multigrid.evaluate_signal(POINTS), direct.evaluate_signal(POINTS), rtol=0, atol=1e-9)
    for run in runs:
        assert np.abs(run.diagnostics["mass"] - 1).max() < 1e-12
        assert "scheme" not in options or run.diagnostics["minimum"].min() >= 0


def test_a_multigrid_that_does_not_converge_says_so(mixture) -> None:
    disk = kspde.Disk(**DISK, solver="multigrid")
    with pytest.raises(kspde.ConvergenceError, match=r"step 1 at t = 0 .* a linear system did not converge"):
        kspde.solve(MODEL, mixture, disk, t_end=0.1, tol=1e-4, petsc_options={"ksp_max_it": 1})
    with pytest.raises(kspde.ConvergenceError, match=r"step 1 at t = 0 with dt = 0\.05: KSP reason .*try"):
        kspde.solve(
            MODEL, mixture, disk, t_end=0.1, scheme="positive", dt=0.05, petsc_options={"ksp_max_it": 1}
        )  # fmt: skip


def test_a_solver_that_there_is_not() -> None:
    with pytest.raises(kspde.InputError, match=r"solver = 'lu' is not valid: give one of auto, direct, multigrid"):
        kspde.Disk(**DISK, solver="lu")
    with pytest.raises(kspde.InputError, match="solver = 'amg'"):
        kspde.MeshFile(path="mesh.msh", solver="amg")


def test_kept_hierarchies_solve_what_changes() -> None:
    """Diagonals from 1 to 10⁴, smooth and rough, against SciPy's factorisation; each rank on a mesh of its own."""
    from kspde.fem.backend import require

    require()
    from kspde.fem.solvers.linear import SparseSystem
    from kspde.fem.spaces.mesh import MeshSpace

    space = MeshSpace(kspde.Disk(radius=3.0, size=0.2, refine=1, solver="multigrid"), 2, MPI.COMM_SELF)
    starts, columns, entries = space.stiffness.matrix.getValuesCSR()
    n = len(space.mass)
    stiffness = csr_array((entries, columns, starts), shape=(n, n))
    system = SparseSystem(space.stiffness, {})
    random = np.random.default_rng(1)
    counts = []
    for shift in (1.0, 1.1, 2.0, 20.0, 21.0, 1e4, 1.0):
        diagonal = shift * space.mass * (1 + random.random(n))
        system.update(diagonal, 0.5)
        rhs = random.standard_normal(n)
        exact = spsolve((0.5 * stiffness + diags_array(diagonal)).tocsc(), rhs)
        np.testing.assert_allclose(system.solve(rhs), exact, rtol=0, atol=1e-8 * np.abs(exact).max())
        counts.append(system.iterations)
    assert max(counts) < 25


@pytest.mark.one_rank
def test_multigrid_where_the_diagonal_dominates() -> None:
    """K + sM with s up to 10⁶, and s many times larger on one half of the disk: what went in comes out.

    The preconditioner is positive definite for each s. Where a kept hierarchy no longer serves it is made anew.
    """
    from kspde.fem.backend import require

    require()
    from kspde.fem.solvers.linear import SparseSystem
    from kspde.fem.spaces.mesh import MeshSpace

    space = MeshSpace(kspde.Disk(radius=3.0, size=0.2, refine=1, solver="multigrid"), 2, MPI.COMM_WORLD)
    x, y = space.points.T
    exact = np.sin(3 * x) * np.cos(40 * y)
    for shift in 10.0 ** np.arange(-1, 6.1, 0.5):
        system = SparseSystem(space.stiffness, {})
        for diagonal, limit in ((shift * space.mass, 20), (0.075 * shift * space.mass * (1 + 50 * (x > 0)), 500)):
            system.update(diagonal, 1.0)
            solution = system.solve(diagonal * exact - space.diffusion(exact))
            np.testing.assert_allclose(solution, exact, atol=1e-7)
            assert system.iterations <= limit


@pytest.mark.one_rank
def test_two_shifts_keep_a_system_each() -> None:
    """Relaxing fields of an extrapolated step: the two shifts' solutions, without a system made after the second."""
    from kspde.fem.backend import require

    require()
    from kspde.fem.solvers.linear import SparseSystem
    from kspde.fem.spaces.mesh import MeshSpace

    space = MeshSpace(kspde.Disk(radius=3.0, size=0.3, refine=1, boundary="neumann"), 2, MPI.COMM_WORLD)
    operator = space.field_operator(kspde.Yukawa(), "v")
    exact = np.cos(space.points[:, 0])
    made = []
    with pytest.MonkeyPatch.context() as patch:
        plain = SparseSystem.update

        def counted(self, diagonal, factor) -> None:
            made.append(factor)
            plain(self, diagonal, factor)

        patch.setattr(SparseSystem, "update", counted)
        for shift in (10.0, 20.0, 20.0, 10.0, 20.0, 20.0):
            # shift·M + (K + M)/τ with τ = 2
            rhs = (shift + 0.5) * space.mass * exact - 0.5 * space.diffusion(exact)
            np.testing.assert_allclose(operator.relaxation_solve(shift, 2.0, rhs), exact, rtol=0, atol=1e-9)
        assert len(made) == 2
        rhs = 30.5 * space.mass * exact - 0.5 * space.diffusion(exact)
        np.testing.assert_allclose(operator.relaxation_solve(30.0, 2.0, rhs), exact, rtol=0, atol=1e-9)
        assert len(made) == 3


def test_first_guesses_save_iterations() -> None:
    """The signal of a density that moves steadily: solved from what is known, soon in half the iterations."""
    from kspde.fem.backend import require

    require()
    from kspde.fem.spaces.mesh import MeshSpace

    space = MeshSpace(kspde.Disk(radius=6.0, size=0.15, refine=2, solver="multigrid"), 2, MPI.COMM_WORLD)
    system = space.resolvent(kspde.Yukawa().resolvents[0])
    counts = []
    for t in 0.005 * np.arange(10):
        system.solve(space.mass * np.exp(-np.sum((space.points - [t, 0.0]) ** 2, axis=1)))
        counts.append(system.iterations)
    assert np.mean(counts[4:]) < 0.5 * counts[0]


@pytest.mark.parametrize("cells", [12, 13])
def test_halves_of_a_box_are_the_whole(monkeypatch, cells) -> None:
    """Even and odd functions apart, as on large boxes, or together: the same functions of −Δ and derivatives."""
    from kspde.fem.backend import require

    require()
    from kspde.fem.spaces import tensor
    from kspde.fem.spaces.box import BoxSpace

    results = []
    for threshold in (10**9, 2):
        monkeypatch.setattr(tensor, "HALVES_FROM", threshold)
        space = BoxSpace(kspde.Box(half_width=5.0, cells=cells, degree=3), MPI.COMM_WORLD)
        x, y = space.points.T
        f = np.exp(-((x - 0.4) ** 2) - (y + 0.7) ** 2 + 0.3 * x).reshape(space.slabs.shape)
        made = []
        for robin in (0.0, 0.8):
            laplacian = space.laplacian(robin)
            made.append(laplacian.apply(1 / (1 + laplacian.eigenvalues), f).ravel())
            made += list(laplacian.gradient(laplacian.back(laplacian.transform(f))).T)
            made += [laplacian.back(laplacian.transform(f, a)).ravel() for a in range(2)]
            made.append(np.array([np.sqrt(space.total(np.sum(laplacian.transform(f) ** 2)))]))
        results.append(made)
    for whole, halves in zip(*results, strict=True):
        np.testing.assert_allclose(halves, whole, rtol=0, atol=1e-11 * max(1.0, np.abs(whole).max(initial=0.0)))
