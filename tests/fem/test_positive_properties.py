"""Both positive schemes on hundreds of random problems: no value below 0, not by a bit, and masses to 1e-12.

Spaces are made once. A case draws mesh, model, kernel, data, step and scheme, and makes three steps.
"""

from dataclasses import dataclass

import meshio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpi4py import MPI

import kspde
from kspde.fem import backend
from kspde.kernels import resolve_mollifier

backend.require()

from kspde.fem.schemes.extrapolation import PositiveSteps  # noqa: E402
from kspde.fem.semidiscretisation import Semidiscretisation  # noqa: E402
from kspde.fem.spaces.box import BoxSpace  # noqa: E402
from kspde.fem.spaces.mesh import MeshSpace  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Sensing(kspde.LocalSensing):
    """Local sensing in any dimension."""

    dimension: int


@dataclass(frozen=True, kw_only=True)
class Chase(kspde.Model):
    """Two species, one drawn to the other, which flees: drifts of strength χ, diffusion that may all but vanish."""

    dimension: int
    chi: float
    tau: float
    diffusivity: float
    species = ("a", "b")

    @property
    def fields(self):
        kernel = kspde.Yukawa(strength=self.chi)
        return tuple(kspde.Field(name=s, kernel=kernel, source=s, gradient=True, tau=self.tau) for s in self.species)

    def diffusion(self, species, c):
        return 0.5 if species == "a" else self.diffusivity * np.exp(-c["a"])

    def drift(self, species, c):
        return c.gradient("b") if species == "a" else -c.gradient("a") + 0.1 * c.gradient("b")


def lattice(dimension: int, cells: int) -> np.ndarray:
    """Points of a lattice on [−4, 4]^d, closer to each other towards one corner."""
    x = 4.0 - 8.0 * np.linspace(1.0, 0.0, cells + 1) ** 1.7
    return np.stack(np.meshgrid(*[x] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)


def quadrilaterals() -> tuple[np.ndarray, list]:
    n = np.arange(15 * 15).reshape(15, 15)
    corners = [n[:-1, :-1], n[1:, :-1], n[1:, 1:], n[:-1, 1:]]
    points = np.pad(lattice(2, 14), ((0, 0), (0, 1)))
    return points, [("quad", np.stack([c.ravel() for c in corners], axis=1))]


def tetrahedra() -> tuple[np.ndarray, list]:
    """Kuhn's: six to a box, their faces at right angles or acute."""
    n = np.arange(7**3).reshape(7, 7, 7)
    steps = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))
    corners = np.stack([n[i : 6 + i, j : 6 + j, k : 6 + k].ravel() for i, j, k in steps], axis=1)
    kuhn = [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)]
    return lattice(3, 6), [("tetra", np.concatenate([corners[:, list(t)] for t in kuhn]))]


BOXES = {
    "line": kspde.Box(half_width=8.0, cells=150, degree=1, dimension=1, grading=5.0),
    "square": kspde.Box(half_width=8.0, cells=24, degree=1, grading=4.0),
    "cube": kspde.Box(half_width=6.0, cells=8, degree=1, dimension=3, boundary="neumann"),
}
FILES = {"quadrilaterals": quadrilaterals, "tetrahedra": tetrahedra}


@pytest.fixture(scope="module")
def spaces(tmp_path_factory):
    comm = MPI.COMM_WORLD
    directory = comm.bcast(tmp_path_factory.mktemp("meshes"))
    made = {name: BoxSpace(box, comm) for name, box in BOXES.items()}
    made["triangles"] = MeshSpace(kspde.Disk(radius=6.0, size=0.3, rim_size=1.5), 2, comm)
    for name, build in FILES.items():
        path = directory / f"{name}.vtk"
        if comm.rank == 0:
            points, cells = build()
            meshio.write(path, meshio.Mesh(points, cells))
        comm.Barrier()
        made[name] = MeshSpace(kspde.MeshFile(path=path), 3 if name == "tetrahedra" else 2, comm)
    return made


def density(space, kind: str, seed: int) -> np.ndarray:
    """Nodal values of a density: many of them 0, or all in one node."""
    random, x = np.random.default_rng(seed), space.points
    centre = random.uniform(-3.0, 3.0, space.dimension)
    square = np.sum((x - centre) ** 2, axis=1)
    if kind == "spike":
        u = 1.0 * (square == space.comm.allreduce(square.min(initial=np.inf), op=MPI.MIN))
    elif kind == "half empty":
        u = 1.0 * (x[:, 0] > centre[0])
    elif kind == "rough":
        u = np.sin(1e3 * x @ random.normal(size=space.dimension)) ** 40
    else:
        u = np.exp(-8.0 * square)
    u = u.reshape(space.mass.shape)
    return 10.0 ** random.uniform(-3, 3) * u / space.integral(u)[0]


MODELS = ["1 + e^-v", "e^-v", "e^-5v", "1/(1 + v)", "(1 + v)^-2.5", "chase", "chase, almost no diffusion"]
MOTILITIES = [
    kspde.models.OnePlusExponentialMotility(),
    kspde.ExponentialMotility(alpha=1.0),
    kspde.ExponentialMotility(alpha=5.0),
    kspde.AlgebraicMotility(k=1.0),
    kspde.AlgebraicMotility(k=2.5),
]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("square", "triangles") else pytest.mark.one_rank)
        for name in (*BOXES, "triangles", *FILES)
    ],
)
@settings(
    max_examples=40 if MPI.COMM_WORLD.size == 1 else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    model=st.sampled_from(MODELS),
    chi=st.sampled_from([0.0, 1.0, 30.0, 1e3, 1e4]),
    tau=st.sampled_from([0.0, 1.0]),
    eps=st.sampled_from([None, 0.01, 0.3, 4.0]),
    mollifier=st.sampled_from(["gaussian", "matern"]),
    kind=st.sampled_from(["spike", "half empty", "rough", "narrow"]),
    log_dt=st.floats(-7.0, 1.0),
    order=st.sampled_from([1, 2]),
    seed=st.integers(0, 10**6),
)
def test_nothing_is_negative_and_nothing_is_lost(
    spaces, name, model, chi, tau, eps, mollifier, kind, log_dt, order, seed
) -> None:
    space = spaces[name]
    which = MODELS.index(model)
    if which < len(MOTILITIES):
        equation: kspde.Model = Sensing(motility=MOTILITIES[which], chi=chi, tau=tau, dimension=space.dimension)
    else:
        diffusivity = 0.5 if model == "chase" else 1e-9
        equation = Chase(chi=chi, tau=tau, diffusivity=diffusivity, dimension=space.dimension)
    n = len(equation.species)
    system = Semidiscretisation(equation, equation.regularised_fields(resolve_mollifier(eps, mollifier)), space)
    unknowns = system.start(np.stack([density(space, kind, seed + i) for i in range(n)]))
    masses = space.integral(*unknowns[:n])
    with PositiveSteps(system, {}, order) as stepper:
        stepper.begin(unknowns)
        for _ in range(3):
            unknowns, _ = stepper.step(unknowns, 10.0**log_dt)
            lowest = np.where(np.isfinite(unknowns[:n]), unknowns[:n], -np.inf).min(initial=np.inf)
            # Over all ranks, which otherwise go on with different examples.
            assert space.comm.allreduce(lowest, op=MPI.MIN) >= 0.0
            assert np.abs(space.integral(*unknowns[:n]) / masses - 1).max() < 1e-12


def test_a_numbering_that_needs_more_memory_than_estimated(shared_tmp_path, comm) -> None:
    """On two ranks the factorisation of this mesh exceeds MUMPS' own estimate."""
    path = shared_tmp_path / "mixed.vtk"
    if comm.rank == 0:
        random = np.random.default_rng(11)
        points, [(kind, cells)] = tetrahedra()
        order = random.permutation(len(points))
        cells = np.argsort(order)[cells][random.permutation(len(cells))]
        meshio.write(path, meshio.Mesh(points[order], [(kind, cells)]))
    comm.Barrier()
    space = MeshSpace(kspde.MeshFile(path=path), 3, comm)
    equation = Sensing(motility=MOTILITIES[0], chi=1.0, tau=0.0, dimension=3)
    system = Semidiscretisation(equation, equation.regularised_fields(), space)
    unknowns = system.start(density(space, "spike", 0)[None])
    with PositiveSteps(system, {}, 1) as stepper:
        stepper.begin(unknowns)
        stepped, _ = stepper.step(unknowns, 1.0)
    assert space.integral(*stepped) == pytest.approx(space.integral(*unknowns), rel=1e-12)


@pytest.mark.parametrize("scheme", ["positive", "positive-2"])
def test_steps_beyond_double_precision_say_so(scheme: str) -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.2]], stds=[0.8], mass=3.0)
    box = kspde.Box(half_width=9.0, cells=30, degree=1, boundary="neumann")
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    long = kspde.solve(model, u0, box, t_end=2e6, dt=1e6, scheme=scheme)
    assert abs(long.diagnostics["mass"][-1] - 3.0) < 1e-13
    assert long.diagnostics["minimum"][-1] > 0
    with pytest.raises(kspde.ConvergenceError, match=r"mass is wrong by a factor .* where dt D exceeds 1e8 h\^2"):
        kspde.solve(model, u0, box, t_end=2e15, dt=1e15, scheme=scheme)
