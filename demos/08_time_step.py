# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # What the particles' time step costs
#
# The particles of Wang, Li and Huang's (1.3),
#
# $$dX_i = \big(2e^{-a_i} + 2\big)^{1/2} dB_i, \qquad a_i = \frac1N \sum_j \Phi^\varepsilon(X_i - X_j),$$
#
# are advanced by steps of length Δt. Two schemes are offered: `euler-maruyama`, of weak order 1, with one evaluation of
# the fields per step, and `weak-2`, of weak order 2, with three. Both have strong order ½: each particle's noise is
# multiplied by a function of all the others' positions, so that the noise does not commute, and paths converge faster
# only with the iterated integrals of the Brownian motions, N² of them.
#
# Two checks of expectations E f(X_T), f(x) = |x|² and f(x) = e^(−|x|²/2), T = 0.5:
#
# 1. χ = 0: the motility is constant, 2, and X_T is the starting point plus a Gaussian of variance 4T in each
#    coordinate. Both schemes are exact there; what is left is the noise of N particles.
# 2. χ = 8: against ∫ f u(T) of the density equation (1.9). The particles of check 1 have the same starting points and
#    the same noise, and known expectations: the mean of f(X) − f(X⁰) is far less noisy than that of f(X). (A finite N
#    adds a difference of order 1/N, which does not show.)
#
# Run: `python demos/08_time_step.py` (or under `mpirun -n 2`); about ten seconds. The picture goes to
# `pictures/time_step.png` beside this file.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.style import BLUE, ORANGE, PAGE, picture

u0 = kspde.GaussianMixture(
    weights=(0.5, 0.3, 0.2),
    means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)),
    stds=(0.6, 0.5, 0.7),
)
t_end, eps = 0.5, 0.3
n = 200_000
comm = MPI.COMM_WORLD


def functions(x: np.ndarray) -> np.ndarray:
    """Return |x|² and e^(−|x|²/2) at points of shape (n, 2): shape (2, n)."""
    square = (x**2).sum(axis=-1)
    return np.stack([square, np.exp(-0.5 * square)])


# %% [markdown]
# ## The exact expectations
#
# For χ = 0 every Gaussian of u₀ gains the variance 4T; for a Gaussian with mean m and variance s² in each coordinate
#
# $$E\, e^{-|X|^2/2} = \frac{1}{1 + s^2}\, e^{-|m|^2/(2(1 + s^2))} .$$
#
# For χ = 8 the density is solved to a tolerance far below what the particles can show, and integrated on a grid.

# %%
variance = u0.stds**2 + 4 * t_end
squares = (u0.means**2).sum(axis=1)
free_exact = np.array(
    [
        u0.weights @ (squares + 2 * variance),
        u0.weights @ (np.exp(-0.5 * squares / (1 + variance)) / (1 + variance)),
    ]
)

model, free_model = (
    kspde.SignalDependentKellerSegel(chi=8.0),
    kspde.SignalDependentKellerSegel(chi=0.0),
)
pde = kspde.solve(
    model,
    u0,
    kspde.Box(half_width=14.0, cells=24, degree=6),
    t_end=t_end,
    eps=eps,
    tol=1e-7,
)
axis = np.linspace(-14, 14, 561)
grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
weights = pde.on_grid([axis, axis]) * (axis[1] - axis[0]) ** 2
density_exact = np.array([np.sum(weights * f) for f in functions(grid)])

# %% [markdown]
# ## The study

# %%
table: dict[
    tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]
] = {}
for scheme in ("euler-maruyama", "weak-2"):
    for steps in (1, 2, 4, 8):
        options = {
            "n": n,
            "t_end": t_end,
            "dt": t_end / steps,
            "scheme": scheme,
            "seed": 1,
            "field_tol": 1e-4,
        }
        free = kspde.simulate(free_model, u0, **options)
        cloud = kspde.simulate(model, u0, eps=eps, **options)
        f, f_free = functions(cloud.positions), functions(free.positions)
        sums = np.stack([f - f_free, (f - f_free) ** 2, f_free, f_free**2]).sum(axis=2)
        mean, mean_square, free_mean, free_mean_square = comm.allreduce(sums) / n
        table[scheme, steps] = (
            free_mean - free_exact,
            2 * np.sqrt((free_mean_square - free_mean**2) / n),
            mean + free_exact - density_exact,
            2 * np.sqrt((mean_square - mean**2) / n),
            cloud.timings["loop"],
        )

# %%
if comm.rank == 0:
    print(
        "| scheme | Δt | χ = 0: E e^(−X²/2) − exact | χ = 8: E X² − ∫x²u | "
        "E e^(−X²/2) − ∫e^(−x²/2)u | loop |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for (scheme, steps), (at_zero, wide_zero, bias, wide, seconds) in table.items():
        print(
            f"| {scheme} | 1/{2 * steps} | {at_zero[1]:+.5f} ± {wide_zero[1]:.5f} "
            f"| {bias[0]:+.4f} ± {wide[0]:.4f} "
            f"| {bias[1]:+.5f} ± {wide[1]:.5f} | {seconds:.2f} s |"
        )

# %% [markdown]
# Measured:
#
# | scheme | Δt | χ = 0: E e^(−X²/2) − exact | χ = 8: E X² − ∫x²u | E e^(−X²/2) − ∫e^(−x²/2)u | loop |
# | --- | --- | --- | --- | --- | --- |
# | euler-maruyama | 1/2 | -0.00036 ± 0.00124 | -0.1849 ± 0.0032 | +0.00202 ± 0.00013 | 0.06 s |
# | euler-maruyama | 1/4 | -0.00074 ± 0.00124 | -0.0867 ± 0.0024 | +0.00079 ± 0.00012 | 0.06 s |
# | euler-maruyama | 1/8 | -0.00001 ± 0.00124 | -0.0399 ± 0.0020 | +0.00032 ± 0.00011 | 0.12 s |
# | euler-maruyama | 1/16 | -0.00039 ± 0.00124 | -0.0199 ± 0.0019 | +0.00005 ± 0.00011 | 0.22 s |
# | weak-2 | 1/2 | +0.00083 ± 0.00124 | +0.0147 ± 0.0017 | -0.00047 ± 0.00011 | 0.16 s |
# | weak-2 | 1/4 | +0.00005 ± 0.00124 | +0.0049 ± 0.0017 | -0.00013 ± 0.00011 | 0.34 s |
# | weak-2 | 1/8 | -0.00007 ± 0.00124 | +0.0007 ± 0.0017 | -0.00002 ± 0.00011 | 0.54 s |
# | weak-2 | 1/16 | -0.00035 ± 0.00123 | +0.0003 ± 0.0017 | -0.00001 ± 0.00011 | 1.05 s |
#
# (± is two standard errors; the rows share their starting points, so that their noise is alike.) At χ = 0 every row is
# within its noise of 0, as it should be. At χ = 8 halving Δt halves the error of Euler and Maruyama's scheme, and
# divides that of `weak-2` by three to four until it drowns in the noise. A step of `weak-2`, at the price of three, is
# worth eight of the other scheme's for E|X|², and between two and four for E e^(−|X|²/2).
#
# ![Errors against the time step](pictures/time_step.png)

# %%
# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
titles = ("error of $E|X_T|^2$", "error of $E e^{-|X_T|^2/2}$")
with picture(here / "pictures" / "time_step.png", comm) as figures:
    if figures is not None:
        figure = figures((PAGE, 4.0))
        panels = figure.subplots(1, 2)
        for which, (panel, title) in enumerate(zip(panels, titles, strict=True)):
            for scheme, order, colour, marker in (
                ("euler-maruyama", 1, BLUE, "o"),
                ("weak-2", 2, ORANGE, "s"),
            ):
                rows = [
                    (t_end / steps, *row[2:4])
                    for (name, steps), row in table.items()
                    if name == scheme
                ]
                dt = np.array([row[0] for row in rows])
                bias, wide = (np.array([row[i][which] for row in rows]) for i in (1, 2))
                promised = abs(bias[0]) * (dt / dt[0]) ** order
                panel.errorbar(
                    dt,
                    np.abs(bias),
                    wide,
                    fmt=marker,
                    color=colour,
                    capsize=3,
                    label=scheme,
                )
                panel.plot(
                    dt,
                    promised,
                    "--",
                    color=colour,
                    alpha=0.6,
                    label=f"order {order}, promised",
                )
            first = abs(table["euler-maruyama", 1][2][which])
            panel.set(
                xscale="log",
                yscale="log",
                xlabel=r"$\Delta t$",
                ylim=(1e-3 * first, 3 * first),
                title=title,
            )
            panel.set_xticks(dt, [f"1/{round(1 / x)}" for x in dt])
            panel.minorticks_off()
        panels[0].set_ylabel(r"$|$error$|$, two standard errors")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, frameon=False, loc="outside lower center", ncols=2
        )
