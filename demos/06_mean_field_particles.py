# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Mean-field particles: the same noise, the limit's field
#
# Beside each particle of Wang, Li and Huang's (1.3) runs a mean-field particle of (1.8), with the same starting point
# ζᵢ and the same Brownian motion Bᵢ, but in the field of the density u^ε instead of that of the particles:
#
# $$d\bar X_i = \big(2e^{-b(\bar X_i, t)} + 2\big)^{1/2} dB_i, \qquad b = \Phi^\varepsilon * u^\varepsilon(t),
#   \qquad \bar X_i(0) = X_i(0) = \zeta_i .$$
#
# The mean-field particles are independent, with law u^ε *exactly*. So the distance of X from X̄ sees what no histogram
# of N particles can: the noise is the same and cancels. At fixed ε the law of large numbers makes the field's error,
# and with it max_i sup_t |Xᵢ − X̄ᵢ|, of order N^(−1/2) (up to the logarithm that the maximum over i costs).
#
# Run: `python demos/06_mean_field_particles.py` (or under `mpirun -n 2`); ten seconds.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.style import BLUE, COLOURS, GREY, PAGE, picture, thousands

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

# %% [markdown]
# The density is saved often enough to be interpolated in time; `simulate` measures what the interpolation costs.

# %%
model = kspde.SignalDependentKellerSegel(chi=8.0)
u0 = kspde.GaussianMixture(
    weights=(0.5, 0.3, 0.2),
    means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)),
    stds=(0.6, 0.5, 0.7),
)
save = kspde.SaveAt(times=np.linspace(0.0, 0.5, 26))
pde = kspde.solve(
    model,
    u0,
    kspde.Box(half_width=14.0, cells=24, degree=6),
    t_end=0.5,
    tol=1e-6,
    eps=0.3,
    save=save,
)

sizes = (250, 1000, 4000, 16_000)
runs = 6
times = np.linspace(0.0, 0.5, 26)
gaps = {n: np.empty((runs, len(times))) for n in sizes}
error = 0.0
for n in sizes:
    for replica in range(runs):
        cloud = kspde.simulate(
            model,
            u0,
            n=n,
            t_end=0.5,
            dt=0.02,
            eps=0.3,
            seed=0,
            replica=replica,
            mean_field=pde,
            field_tol=1e-5,
        )
        gaps[n][replica] = cloud.coupling.distance[:, 0]
        error = max(error, cloud.coupling.field_error["v"])
if root:
    print(f"the mean field is exact to {error:.0e} of its largest value")

# %% [markdown]
# ## The rate

# %%
suprema = np.array([gaps[n].max(axis=1) for n in sizes])  # shape (sizes, runs)
mean, deviation = suprema.mean(axis=1), suprema.std(axis=1, ddof=1) / np.sqrt(runs)
slope = float(np.polyfit(np.log(sizes), np.log(mean), 1)[0])
if root:
    for n, value, wide in zip(sizes, mean, deviation, strict=True):
        print(f"N = {n:6,}: E max_i sup_t |X_i - X̄_i| = {value:.5f} ± {2 * wide:.5f}")
    print(f"falls like N^({slope:.2f})")

# %% [markdown]
# The fitted slope is a little flatter than −½: the maximum over N particles grows slowly with N. (The mean square of
# one particle's supₜ |Xᵢ − X̄ᵢ|, without the maximum, falls like 1/N: see the chapter on studies.) What the coupling
# buys is put to work in the next chapter.

# %%
if root:
    pictures.mkdir(exist_ok=True)
MPI.COMM_WORLD.Barrier()
with picture(pictures / "mean_field_particles.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        left, right = figures((PAGE, 3.4)).subplots(1, 2)
        for n, colour in zip(sizes, COLOURS, strict=False):
            low, high = gaps[n].min(axis=0), gaps[n].max(axis=0)
            left.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
            left.plot(
                times, gaps[n].mean(axis=0), color=colour, label=f"$N = {thousands(n)}$"
            )
        left.set(
            xlabel="$t$",
            ylabel=r"$\max_i |X_i - \bar X_i|$",
            xlim=(0, 0.5),
            ylim=(0, 1.3 * gaps[sizes[0]].max()),
        )
        left.set_title("mean and range of 6 runs")
        left.legend(
            frameon=False, loc="upper left", ncols=2, handlelength=1.2, columnspacing=1
        )
        right.errorbar(
            sizes,
            mean,
            2 * deviation,
            fmt="o",
            color=BLUE,
            capsize=3,
            label="measured, ±2 s.e.",
        )
        right.plot(
            sizes,
            mean[0] * (np.array(sizes) / sizes[0]) ** -0.5,
            "--",
            color=GREY,
            label="order 1/2",
        )
        right.set(
            xscale="log",
            yscale="log",
            xlabel="$N$",
            ylabel=r"$E\,\max_i \sup_t |X_i - \bar X_i|$",
        )
        right.set_title("the rate")
        right.set_xticks(sizes, [f"${thousands(n)}$" for n in sizes])
        right.set_yticks(
            [0.003, 0.005, 0.01, 0.02, 0.03], ["0.003", "0.005", "0.01", "0.02", "0.03"]
        )
        right.minorticks_off()
        right.legend(frameon=False, loc="upper right")

# %% [markdown]
# ![Distance of X from X̄ over time and against N](pictures/mean_field_particles.png)
#
# Theorem 1 of the paper lets ε = N^(−γ) fall with N and promises N^(−α) in probability, with α below ¼: far less than
# what is seen at fixed ε. `kspde theory` lists the exponents; the studies measure them along that path.
