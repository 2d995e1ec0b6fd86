# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Log and Riesz gases
#
# Particles that repel (g > 0) or attract (g < 0) one another like 1/r, in a trap,
#
# $$dX_i = \Big(-\kappa X_i + \frac gN\sum_{j\ne i}\frac{X_i - X_j}{|X_i - X_j|^2}\Big)dt + \sqrt{2\sigma}\,dB_i,$$
#
# with no mollifier. Their mean $|X|^2$ tends to $(g\frac{N-1}N + 2d\sigma)/(2\kappa)$, exponentially, for every N.
#
# The *modulated energy* $F_N = \iint_{x\ne y} V(x - y)\,(d\mu_N - u\,dx)^{\otimes 2}$, $V = -g\log|x|$, says how
# far the particles are from the density as V sees it. Its mean is exactly $-\frac1N\iint V u u$ at the start, where
# particles are independent, and $H + E F_N/(2\sigma)$ is the free energy that proofs of the mean-field limit bound.
#
# On the line this is Dyson's gas, whose density at small σ is Wigner's semicircle. In a *Riesz gas* the potential of a
# pair is $g|x|^{-s}$ in place of $-g\log|x|$: it repels more at small distances.
#
# Run: `python demos/18_gases.py` (or under `mpirun -n 2`); a minute.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.particles import Cloud
from kspde.plots.style import COLUMN, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

t_end, sigma, n, replicas = 1.0, 0.4, 200, 60
times = np.linspace(0.0, t_end, 11)
u0 = kspde.GaussianMixture(
    weights=[0.6, 0.4], means=[[0.8, 0.4], [-0.6, 0.2]], stds=[0.5, 0.4]
)
box = kspde.Box(half_width=8.0, cells=16, degree=6)

# %% [markdown]
# ## The plane: second moment and modulated energy, repelling and attracting
#
# `kspde.modulated_energy` is called at saved times, by the callback of `SaveAt`.

# %%
moments, energies = {}, {}
for g in (1.0, -1.0):
    model = kspde.LogGas(strength=g, noise=sigma)
    pde = kspde.solve(
        model, u0, box, t_end=t_end, tol=1e-6, save=kspde.SaveAt(times=times)
    )
    found: list[float] = []

    def look(cloud: Cloud) -> None:
        """Keep N times the modulated energy."""
        found.append(n * kspde.modulated_energy(cloud, pde).value)  # noqa: B023

    seconds = []
    for replica in range(replicas):
        keep = kspde.SaveAt(times=times, callback=look)
        cloud = kspde.simulate(
            model, u0, n=n, t_end=t_end, dt=0.01, seed=1, replica=replica, save=keep
        )
        seconds.append(cloud.diagnostics["second_moment"])
    t = cloud.diagnostics["t"]
    start = pde.diagnostics["second_moment"][0]
    limit = (g * (n - 1) / n + 4 * sigma) / 2
    exact = limit + (start - limit) * np.exp(-2 * t)
    moments[g] = (t, np.mean(seconds, axis=0), exact)
    samples = np.reshape(found, (replicas, len(times)))
    energies[g] = (samples.mean(axis=0), samples.std(axis=0) / np.sqrt(replicas))
    independent = -pde.at(0.0).interaction()
    if root:
        relaxed = (g + 4 * sigma) / 2
        law = relaxed + (start - relaxed) * np.exp(-2 * pde.diagnostics["t"])
        error = np.abs(pde.diagnostics["second_moment"] - law).max()
        mean, spread = (row[0] for row in energies[g])
        print(
            f"g = {g:+g}: the density's second moment is right to {error:.1e}; N F_N starts at "
            f"{mean:.2f} ± {spread:.2f}, independent particles have {independent:.2f}"
        )

# %% [markdown]
# ## A Riesz gas in the plane
#
# It knows no exact moment, but that of the density, which a finite N changes by a share of order 1/N.

# %%
riesz = kspde.RieszGas(strength=1.0, s=0.6, noise=sigma)
smooth = kspde.solve(riesz, u0, box, t_end=t_end, tol=1e-6)
mean_squares = np.mean(
    [
        kspde.simulate(
            riesz, u0, n=n, t_end=t_end, dt=0.01, seed=1, replica=replica
        ).diagnostics["second_moment"]
        for replica in range(replicas)
    ],
    axis=0,
)

# %% [markdown]
# ## The line: Dyson's gas
#
# Its density at σ = .3 and particles at σ = .005, beside the semicircle of radius √(2g/κ).

# %%
line = kspde.GaussianMixture(weights=[1.0], means=[[0.5]], stds=[0.6])
warm = kspde.LogGas(strength=1.0, noise=0.3, dimension=1)
interval = kspde.Box(half_width=7.0, cells=64, degree=6, grading=0.0, dimension=1)
dyson = kspde.solve(warm, line, interval, t_end=5.0, tol=1e-7)
x = np.linspace(-2.6, 2.6, 401)
u = dyson.on_grid([x])
cold = kspde.LogGas(strength=1.0, noise=0.005, dimension=1)
cloud = kspde.simulate(cold, line, n=400, t_end=5.0, dt=1e-3, seed=2)
positions = cloud.gathered()
semicircle = np.sqrt(np.maximum(2 - x**2, 0)) / np.pi

# %%
if root:
    pictures.mkdir(exist_ok=True)
with picture(pictures / "gases.png", MPI.COMM_WORLD) as figures:
    if figures is not None and positions is not None:
        figure = figures((3 * COLUMN, 2.9))
        left, middle, right = figure.subplots(1, 3)
        for g, colour in ((1.0, "C0"), (-1.0, "C1")):
            t, mean, exact = moments[g]
            left.plot(t, exact, color=colour, label=f"exact, $g = {g:+g}$")
            left.plot(t[::8], mean[::8], ".", color=colour)
            mean, spread = energies[g]
            middle.errorbar(
                times + 0.01 * g,
                mean,
                2 * spread,
                fmt=".-",
                color=colour,
                label=f"$g = {g:+g}$",
            )
        left.plot(
            smooth.diagnostics["t"],
            smooth.diagnostics["second_moment"],
            "C2",
            label="density, Riesz, $s = 0.6$",
        )
        left.plot(t[::8], mean_squares[::8], "C2.")
        left.set(xlabel="$t$", ylabel="mean $|X|^2$", title="second moment")
        left.legend(fontsize="small")
        middle.axhline(0.0, color="0.7", linewidth=0.8)
        middle.set(xlabel="$t$", title="$N F_N$, modulated energy")
        middle.legend(fontsize="small")
        right.hist(positions[:, 0], bins=24, density=True, color="0.8")
        right.plot(x, semicircle, "k", label="semicircle")
        right.plot(x, u, "C2", label=r"density, $\sigma = 0.3$")
        right.set(
            xlabel="$x$", title=r"Dyson's gas; bars: $\sigma = 0.005$", ylim=(0, 0.68)
        )
        right.legend(fontsize="small", loc="upper right")

# %% [markdown]
# ![Second moments, modulated energies, and the semicircle](pictures/gases.png)
#
# Left: the mean |X|² of 60 runs of 200 particles (dots), and its exact value, or that of the density. Middle: N F_N,
# the mean over these runs with twice its standard error. Right: Dyson's gas at rest. The studies `log-gas-particles`
# and `log-gas-entropy` measure the limit N → ∞ at a fixed ε, `riesz-gas-particles` and `riesz-gas-entropy` that of the
# Riesz gas. The bound on H needs a mollifier: without one the drift has no second moment.
