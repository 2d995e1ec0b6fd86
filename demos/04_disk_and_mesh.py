# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Disks, mesh files, interrupted runs
#
# The same model on a disk of triangles, on a disk of quadrilaterals of degree 4, and on a mesh that gmsh wrote; and a
# run that is cut off and resumed. On triangles the mass matrix is lumped (vertex rule), and on a Delaunay mesh the
# scheme `"positive"` keeps u ≥ 0 for every time step.
#
# Run: `python demos/04_disk_and_mesh.py` (or under `mpirun -n 2`); about 15 seconds. Needs gmsh (`pip install
# "kspde[mesh]"`).

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mpi4py import MPI

import kspde

model = kspde.SignalDependentKellerSegel(chi=8.0)
u0 = kspde.GaussianMixture(
    weights=(0.5, 0.3, 0.2),
    means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)),
    stds=(0.6, 0.5, 0.7),
)
points = [(0.0, 0.0), (1.0, 0.5), (3.0, 3.0)]
exact = np.array(
    [0.05184776299, 0.04279991812, 0.00262050833]
)  # a Fourier solution, all digits right


def say(text: str) -> None:
    """Print on rank 0."""
    if MPI.COMM_WORLD.rank == 0:
        print(text)


# %% [markdown]
# A disk of radius 14, cells of size 0.1 at the centre and 1.5 at the rim: triangles, then quadrilaterals.

# %%
triangles = kspde.Disk(radius=14.0, size=0.1, rim_size=1.5)
quadrilaterals = kspde.Disk(
    radius=14.0, size=0.7, rim_size=3.0, cell="quadrilateral", degree=4
)
errors = {}
for disk in (triangles, quadrilaterals):
    pde = kspde.solve(model, u0, disk, t_end=0.5, tol=1e-4)
    errors[disk.cell] = float(np.abs(pde.evaluate(points) - exact).max())
    nodes = pde.summary()["nodes"]
    say(
        f"{disk.cell}s, degree {disk.degree}: {nodes} nodes, "
        f"error at three points {errors[disk.cell]:.1e}"
    )

# %% [markdown]
# The positive scheme with a step of 5, a hundred times too long to be accurate: nothing is negative, nothing is lost.
# (kspde warns that by t = 20 mass has come near the rim.)

# %%
coarse = kspde.solve(model, u0, triangles, t_end=20.0, scheme="positive", dt=5.0)
say(
    f"smallest value {coarse.diagnostics['minimum'].min():.1e}, "
    f"mass - 1 = {coarse.diagnostics['mass'][-1] - 1:.0e}"
)

# %% [markdown]
# A mesh file: any format that gmsh or meshio reads. Here the ellipse x²/16 + y²/9 < 1 is a dish with closed walls, so
# nothing leaves it (`boundary="neumann"`).

# %%
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
dish = kspde.MeshFile(path=here.parent / "meshes" / "ellipse.msh", boundary="neumann")
drop = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.6])
save = kspde.SaveAt(times=[0.1, 1.0], statistics=("fisher_information",))
settled = kspde.solve(model, drop, dish, t_end=20.0, tol=1e-4, save=save)
centre = [float(settled.evaluate([[0.0, 0.0]], t=t)[0]) for t in settled.times]
for t, u in zip(settled.times, centre, strict=True):
    say(f"density at the centre at t = {t:g}: {u:.4f}")
say(f"1/area is {1 / (12 * np.pi):.4f}")

# %% [markdown]
# A run that is interrupted and resumed. With a `Checkpoint` the state is written to disk at intervals of wall time
# (here after every step) and at SIGTERM; the same call with `resume=True` continues from the newest file, on any number
# of ranks. Here an exception plays the power cut. The shell's `kspde run case.toml --out DIR` writes checkpoints by
# itself, and resumes with `--resume`.


# %%
class PowerCutError(Exception):
    """Ends the first half of the run."""


def cut(done: float) -> None:
    """Raise when half of the time has been simulated."""
    if done > 0.5:
        raise PowerCutError


with TemporaryDirectory() as mine:
    directory = MPI.COMM_WORLD.bcast(mine)  # one that all ranks share
    options = {
        "t_end": 0.5,
        "tol": 1e-4,
        "checkpoint": kspde.Checkpoint(directory, every=0),
    }
    try:
        kspde.solve(model, u0, quadrilaterals, progress=cut, **options)
    except PowerCutError:
        say(
            f"interrupted, with {len(list(Path(directory).glob('checkpoint-*.h5')))} checkpoints"
        )
    steps: list[float] = []
    resumed = kspde.solve(
        model, u0, quadrilaterals, resume=True, progress=steps.append, **options
    )
    MPI.COMM_WORLD.Barrier()
difference = float(np.abs(resumed.evaluate(points) - pde.evaluate(points)).max())
say(
    f"resumed at t = {0.5 * steps[0]:.2f}; "
    f"it differs from the undisturbed run by {difference:.0e}"
)
