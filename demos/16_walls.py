# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Walls and tori
#
# A `Box` with `boundary="neumann"` is a closed dish: nothing leaves it, neither cells nor
# the signal. `boundary="periodic"` makes it a torus. Given the same `domain`, `simulate`
# reflects particles at the walls, or wraps them, in the fields of the box's own Green
# function: those of all mirror images, a series of cosines (or of Fourier modes).
#
# Run: `python demos/16_walls.py` (or under `mpirun -n 2`); half a minute.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.style import BLUE, ORANGE, PAGE, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"

# %% [markdown]
# ## One colony, two boxes
#
# A colony near a corner, of mass 2, spreads and attracts itself. In the dish it leans on
# the walls; on the torus it crosses them and meets itself from the other side.

# %%
model = kspde.SignalDependentKellerSegel(chi=11.0)
start = kspde.GaussianMixture(weights=[1.0], means=[[1.0, -0.8]], stds=[0.2], mass=2.0)
given = {"t_end": 0.4, "eps": 0.2}
found = {}
for boundary in ("neumann", "periodic"):
    box = kspde.Box(half_width=2.0, cells=20, degree=4, grading=0, boundary=boundary)
    density = kspde.solve(model, start, box, tol=1e-5, **given)
    cloud = kspde.simulate(
        model, start, n=20_000, dt=0.02, scheme="weak-2", domain=box, seed=1, **given
    )
    distance = kspde.compare(density, cloud, distances=("l1", "wasserstein1"))
    found[boundary] = density, cloud, distance
    if density.comm.rank == 0:
        print(boundary, distance, sep="\n")

# %% [markdown]
# Both compare within their floors: the distances are those of as many draws from the
# density. Estimates near a wall use kernels with their mirror images, so that nothing of
# a kernel is lost beyond it.
#
# The density meets a wall at a right angle, and goes through the end of a torus.

# %%
axes = [np.linspace(-2, 2, 121)] * 2
values = {name: each[0].on_grid(axes) for name, each in found.items()}
dots = {name: each[1].gathered() for name, each in found.items()}
with picture(pictures / "walls.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        figure = figures((PAGE, 3.7))
        panels = figure.subplots(1, 2, sharey=True)
        titles = ("closed dish", "torus")
        for panel, name, title in zip(panels, values, titles, strict=True):
            at = dots[name][:1500]
            panel.scatter(*at.T, s=1.5, color=BLUE, linewidths=0, alpha=0.7)
            panel.contour(
                *axes, values[name].T, levels=8, colors=ORANGE, linewidths=1.2
            )
            panel.set(title=title, xlabel="$x$", aspect="equal")
            panel.set(xlim=(-2, 2), ylim=(-2, 2), xticks=range(-2, 3))
        panels[0].set_ylabel("$y$")

# %% [markdown]
# ## A law that is known
#
# Without attraction, a step of any length is exact: the reflection of a Gaussian step has
# the law of a reflected Brownian motion, and the mean of a cosine decays at its rate.

# %%
free = kspde.SignalDependentKellerSegel(chi=0.0)
dish = kspde.Box(half_width=2.0, cells=8, boundary="neumann")
n, t = 100_000, 2.0
cloud = kspde.simulate(free, start, n=n, t_end=t, dt=1.0, eps=0.2, domain=dish, seed=2)
diffusion = float(free.motility(np.zeros(1))[0])
k = np.pi / 4  # of cos(k (x + 2)), whose slope vanishes at both walls
local = float(np.cos(k * (cloud.positions[:, 0] + 2)).sum())
mean = cloud.comm.allreduce(local) / n
exact = np.cos(3 * k) * np.exp(-0.5 * (0.2 * k) ** 2 - diffusion * k**2 * t)
if cloud.comm.rank == 0:
    print(f"mean of the cosine {mean:.4f}, exact {exact:.4f} ± {0.7 / n**0.5:.4f}")

# %% [markdown]
# With a drift the Euler scheme is of weak order 1 between walls. The scheme of order 2
# keeps its order where D and b depend on the position through fields alone, which know
# the walls. With a drift that is given as a function of the position, and does not vanish
# on a wall, only order 1 is sure, of a smaller error than Euler's
# (`tests/benchmarks/results/walls.md`).
#
# What has other walls is refused, and so is a comparison of a dish with particles of the
# whole plane:

# %%
density, _, _ = found["neumann"]
plane = kspde.simulate(model, start, n=100, dt=0.1, **given)
try:
    kspde.compare(density, plane)
except kspde.InputError as error:
    refusal = str(error)
    if density.comm.rank == 0:
        print(refusal)
