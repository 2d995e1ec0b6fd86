# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Vortices that merge
#
# The vorticity of a plane flow and the point vortices that sample it,
#
# $$\partial_t\omega + (K*\omega)\cdot\nabla\omega = \nu\Delta\omega,\qquad
# dX_i = \sum_{j\ne i}\Gamma_j K(X_i - X_j)\,dt + \sqrt{2\nu}\,dB_i,\qquad
# K(x) = \frac{x^\perp}{2\pi|x|^2},$$
#
# on the whole plane: the box ends the grid, not the flow. Two vortices of one sign turn
# about each other and merge; a weaker one of the other sign is swept along.
#
# Run: `python demos/17_vortices.py` (or under `mpirun -n 2`); a minute.

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

nu, times = 0.02, [0.0, 1.0, 2.5]
model = kspde.ViscousVortices(viscosity=nu)
start = kspde.SignedMixture(
    circulations=[9.0, 8.0, -4.0],
    means=[[-0.9, 0.0], [0.9, 0.2], [0.0, 2.2]],
    stds=[0.45, 0.45, 0.4],
)
box = kspde.Box(half_width=8.0, cells=24, degree=8, grading=0.0)
save = kspde.SaveAt(times=times)
flow = kspde.solve(model, start, box, t_end=times[-1], tol=1e-5, save=save)

# %% [markdown]
# Particles carry circulations, $\pm\Gamma/N$ by the sign of the Gaussian that they are
# drawn from. Without a mollifier the velocity of a close pair is unbounded: a step moves
# it by what the pair alone would do, so that its centre stays where it is. The second
# moment $\sum\Gamma_i|X_i|^2$ grows at $4\nu\sum\Gamma_i$, and $\int|x|^2\omega$ at
# $4\nu\int\omega$.

# %%
cloud = kspde.simulate(
    model,
    start,
    n=20_000,
    t_end=times[-1],
    dt=0.02,
    scheme="weak-2",
    seed=1,
    save=save,
)
found = {}
for name, side, total in (
    ("density", flow, start.mass),
    ("particles", cloud, cloud.masses["u"]),
):
    second = side.diagnostics["second_moment"]
    found[name] = (second[-1] - second[0]) / times[-1], 4 * nu * total
# The rate of the particles has a standard deviation: 2√(2ν) ΣΓ∫X·dB over the time.
weights, x = cloud.weights_of("u"), cloud.positions
square = cloud.comm.allreduce(float(weights**2 @ np.sum(x**2, axis=1)))
noise = np.sqrt(8 * nu * square / times[-1])
if root:
    for name, (growth, exact) in found.items():
        more = f" ± {noise:.3f}" if name == "particles" else ""
        print(
            f"second moment of {name}: {growth:.4f} per time, {exact:.4f}{more} expected"
        )

# %% [markdown]
# Signed measures are compared in L¹, after smoothing, and the floor is that of as many
# draws of position and circulation.

# %%
distance = kspde.compare(flow, cloud)
if root:
    print(distance)

# %%
axes = [np.linspace(-3.2, 3.2, 161)] * 2
maps = [flow.on_grid(axes, t=t) for t in times]
top = max(float(np.abs(values).max()) for values in maps)
with picture(pictures / "vortices.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        figure = figures((PAGE, 2.9))
        panels = figure.subplots(1, len(times), sharey=True)
        for panel, values, t in zip(panels, maps, times, strict=True):
            panel.pcolormesh(
                *axes, values.T, cmap="RdBu_r", vmin=-top, vmax=top, rasterized=True
            )
            panel.set(title=f"$t = {t:g}$", xlabel="$x$", aspect="equal")
            panel.set(xticks=range(-2, 3), yticks=range(-2, 3))
        panels[0].set_ylabel("$y$")
