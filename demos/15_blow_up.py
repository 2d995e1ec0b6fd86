# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Two masses that collapse
#
# In the classical Keller-Segel system without screening,
#
# $$\partial_t u = \Delta u - \nabla\cdot(u\nabla c),\qquad -\Delta c = u\quad\text{on } \mathbb R^2,$$
#
# a mass M > 8π blows up in finite time: $\tfrac{d}{dt}\int|x|^2 u = 4M(1 - M/8\pi)$ would make the second moment
# negative. Near a blow-up u looks like a stationary solution of mass 8π, $8\lambda^2/(\lambda^2 + r^2)^2$, whose scale
# $\lambda(t)$ falls to 0 a little faster than $\sqrt{T - t}$.
#
# Here are two masses, 16π and 12π, off the origin. `regrid=kspde.Regrid(peak=…)` counts the nodes across all peaks and
# moves the density to a finer grid where they are too few: mass stays exact, and time steps follow.
#
# Run: `python demos/15_blow_up.py` (or under `mpirun -n 2`); a minute.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.style import PAGE, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

places = np.array([[1.2, -0.4], [-1.3, 0.7]])
masses = np.array([16 * np.pi, 12 * np.pi])
model = kspde.KellerSegel(chi=1.0)
u0 = kspde.GaussianMixture(
    weights=masses / masses.sum(), means=places, stds=[0.5, 0.5], mass=masses.sum()
)
box = kspde.Box(half_width=7.0, cells=12, degree=8)
pde = kspde.solve(model, u0, box, t_end=1.0, tol=1e-5, regrid=kspde.Regrid(peak=5e3))

# %% [markdown]
# The summary holds the grids, and the time of blow-up with its interval. Only the heavier mass gets there; the other
# one is on the same grid, as fine as it needs.

# %%
summary, table = pde.summary(), pde.diagnostics
found = summary["blow_up"]
drift = np.abs(table["mass"] / table["mass"][0] - 1).max()
slope = np.diff(table["second_moment"])[-1] / np.diff(table["t"])[-1]
mass = masses.sum()
identity = 4 * mass * (1 - mass / (8 * np.pi))
if root:
    for grid in summary["regrids"]:
        print(
            f"t = {grid['t']:.5f}: max u = {grid['maximum']:8.0f}, {grid['nodes']:.0f} nodes"
        )
    low, high = found["interval"]
    print(
        f"max u = {found['maximum']:.4g} at t = {found['t']:.6f}, error {found['error']:.0e}"
    )
    print(f"blow-up at T = {found['time']:.6f}, between {low:.6f} and {high:.6f}")
    print(
        f"mass kept to {drift:.0e}, second moment falls at {slope:.4f} (exact {identity:.4f})"
    )

# %%
top = places[0]
scale = np.sqrt(8 / found["maximum"])
radii = np.concatenate([[0.0], np.geomspace(0.05, 100.0, 120)])
angles = 2 * np.pi * np.arange(8) / 8
ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
# The masses attract each other, so the peak has moved: climb to it.
for width in (0.3, 0.03, 0.003):
    offsets = width * np.linspace(-1, 1, 61)
    axes = [top[0] + offsets, top[1] + offsets]
    values = pde.on_grid(axes)
    best = np.unravel_index(np.argmax(values), values.shape)
    top = np.array([axes[0][best[0]], axes[1][best[1]]])
points = (top + scale * radii[:, None, None] * ring).reshape(-1, 2)
profile = pde.evaluate(points).reshape(len(radii), 8).mean(axis=1)
axis = np.linspace(-3, 3, 601)
density = pde.on_grid([axis, axis])
corners = pde.function().function_space.mesh.geometry.x
corners = np.concatenate(MPI.COMM_WORLD.allgather(corners))
grid_lines = [np.unique(corners[:, a]) for a in range(2)]

# %%
if root:
    pictures.mkdir(exist_ok=True)
with picture(pictures / "blow_up.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        figure = figures((PAGE, 2.6))
        left, middle, right = figure.subplots(1, 3)
        image = middle.pcolormesh(
            axis, axis, np.log10(np.maximum(density, 1e-3)).T, rasterized=True
        )
        for x in grid_lines[0]:
            middle.axvline(x, color="w", linewidth=0.15)
        for y in grid_lines[1]:
            middle.axhline(y, color="w", linewidth=0.15)
        middle.set(
            xlim=(-3, 3), ylim=(-3, 3), xlabel="$x$", ylabel="$y$", aspect="equal"
        )
        middle.set_title(r"$\log_{10} u$, last grid")
        figure.colorbar(image, ax=middle)
        left.semilogy(table["t"], table["maximum"])
        left.semilogy(
            [grid["t"] for grid in summary["regrids"]],
            [grid["maximum"] for grid in summary["regrids"]],
            "o",
            markersize=4,
            label="a new grid",
        )
        left.axvspan(*found["interval"], color="C1", alpha=0.4, label="blow-up")
        left.set(xlabel="$t$", ylabel=r"$\max u$")
        left.legend(loc="upper left", fontsize="small")
        right.loglog(radii[1:], profile[1:] / found["maximum"], label="$u/\\max u$")
        right.loglog(
            radii[1:], (1 + radii[1:] ** 2) ** -2.0, "k--", label="$(1 + s^2)^{-2}$"
        )
        right.set(xlabel=r"$s = |x - x_{\max}|/\lambda$", ylim=(1e-8, 2))
        right.legend(loc="lower left", fontsize="small")

# %% [markdown]
# ![The maximum, the density on its last grid, and the profile](pictures/blow_up.png)
#
# Left: the maximum, the new grids, and the interval in which the density blows up. Middle: the density and the cells of
# the last grid, which are graded towards both peaks. Right: around the peak, averaged over circles, beside the
# stationary solution of mass 8π.
