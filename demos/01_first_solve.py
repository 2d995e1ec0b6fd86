# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # A first solve
#
# Cells of density u emit a signal v, and the more signal there is, the less they move: the signal-dependent
# Keller–Segel system of Wang, Li and Huang, their (1.1), on the plane,
#
# $$\partial_t u = \Delta\big((e^{-v} + 1)\, u\big), \qquad -\Delta v + v = \chi u, \qquad u(0) = u_0 .$$
#
# Lengths are in units of the signal's decay length, times in units of that length squared over the motility at high
# signal; u has mass 1.
#
# Run: `python demos/01_first_solve.py` (or under `mpirun -n 2`); some five seconds.

# %%
import warnings
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.style import BLUE, COLUMN, ORANGE, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

# %% [markdown]
# Three objects say what is solved: the model, the initial density (three Gaussians) and the domain. The plane is cut to
# the box [−14, 14]², with quadrilaterals that are smallest at the origin.

# %%
model = kspde.SignalDependentKellerSegel(chi=8.0)
u0 = kspde.GaussianMixture(
    weights=(0.5, 0.3, 0.2),
    means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)),
    stds=(0.6, 0.5, 0.7),
)
box = kspde.Box(half_width=14.0, cells=32, degree=4)

pde = kspde.solve(model, u0, box, t_end=0.5, tol=1e-6)

# %% [markdown]
# The solution is a function: it is evaluated at points, and so is the signal. A Fourier solution gives
# u(0, 0, 0.5) = 0.05184776299.

# %%
centre = float(pde.evaluate([[0.0, 0.0]])[0])
signal = float(pde.evaluate_signal([[0.0, 0.0]])[0])
if root:
    print(
        f"u(0, 0) = {centre:.9f}, off by {abs(centre - 0.05184776299):.0e}; "
        f"v(0, 0) = {signal:.6f}"
    )

# %% [markdown]
# Its diagnostics have one row per time step. Mass is kept to round-off. The second moment obeys
# d/dt ∫|x|²u = 4 ∫(e^(−v) + 1)u, which lies between 4 and 8: motility is at least 1, at most 2.

# %%
t, moment = pde.diagnostics["t"], pde.diagnostics["second_moment"]
lost = float(np.abs(pde.diagnostics["mass"] - 1).max())
growth = float((moment[-1] - moment[0]) / t[-1])
if root:
    print(
        f"{len(t) - 1} time steps; mass is kept to {lost:.0e}; "
        f"the second moment grows by {growth:.3f} per unit of time"
    )

# %% [markdown]
# How accurate is it? Elements of degree p promise an L¹ error of order h^(p+1), h the size of the cells. The errors
# below are those on [−6, 6]², against elements of degree 6. (On the coarsest meshes kspde warns of small negative
# values: they do not resolve u₀.)

# %%
axis = np.linspace(-6.0, 6.0, 121)
fine = kspde.solve(
    model, u0, kspde.Box(half_width=14.0, cells=32, degree=6), t_end=0.5, tol=1e-7
).on_grid([axis, axis])
errors: dict[int, dict[int, float]] = {2: {}, 4: {}}
for degree, meshes in ((2, (16, 24, 48)), (4, (8, 16, 32))):
    for cells in meshes:
        mesh = kspde.Box(half_width=14.0, cells=cells, degree=degree)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            density = kspde.solve(model, u0, mesh, t_end=0.5, tol=1e-6).on_grid(
                [axis, axis]
            )
        errors[degree][cells] = (
            float(np.abs(density - fine).sum()) * (axis[1] - axis[0]) ** 2
        )
        if root:
            print(
                f"degree {degree}, {cells:2d} cells per direction: "
                f"L1 error {errors[degree][cells]:.1e}"
            )

# %% [markdown]
# Pictures to keep, and a file for ParaView or pyvista (`demos/pyvista.ipynb` shows one).

# %%
if root:
    pictures.mkdir(exist_ok=True)
MPI.COMM_WORLD.Barrier()
pde.plot(pictures / "first_solve.png")
pde.plot_diagnostics(pictures / "first_solve_diagnostics.png")
pde.write_vtkhdf(here / "density.vtkhdf")
with picture(pictures / "first_solve_rates.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        panel = figures((COLUMN, 2.7)).subplots()
        for (degree, row), colour, marker in zip(
            errors.items(), (ORANGE, BLUE), "os", strict=True
        ):
            h = 28.0 / np.array(list(row))
            values = np.array(list(row.values()))
            panel.loglog(h, values, marker, color=colour, label=f"degree {degree}")
            promised = values[0] * (h / h[0]) ** (degree + 1)
            panel.loglog(
                h,
                promised,
                "-",
                color=colour,
                alpha=0.5,
                label=f"order {degree + 1}, promised",
            )
        panel.set(
            xlabel="mean size $h$ of the cells",
            ylabel="$L^1$ error of $u$",
            title="$t = 0.5$",
        )
        panel.set_xticks([0.5, 1.0, 2.0], ["0.5", "1", "2"])
        panel.minorticks_off()
        panel.legend(frameon=False)

# %% [markdown]
# ![The density at t = 0.5](pictures/first_solve.png)
#
# The three Gaussians have become one hump, highest where most cells began: there the signal slows them down.
#
# ![Mass, extremes, second moment, entropy and time step](pictures/first_solve_diagnostics.png)
#
# The entropy ∫u log u falls and the maximum with it. The time step grows as the density becomes smooth.
#
# ![L1 error against the size of the cells, log-log, with the promised slopes](pictures/first_solve_rates.png)
