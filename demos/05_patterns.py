# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Motilities, and how patterns form
#
# Local sensing with any motility γ > 0, γ′ ≤ 0 (Wang, Li and Huang's (1.2)), here in a closed dish:
#
# $$\partial_t u = \Delta(\gamma(v)\,u), \qquad -\Delta v + v = \chi u, \qquad \partial_n u = \partial_n v = 0 .$$
#
# kspde has γ = 1 + e^(−v), e^(−αv) and (1 + v)^(−k), and takes any function of v. With χ = 1 a constant density ū has
# v = ū. For γ = e^(−v) put $u = \bar u + \delta\varphi e^{\sigma t}$ with −Δφ = λφ; then the signal's perturbation is
# $\delta\varphi e^{\sigma t}/(1 + \lambda)$, and to first order in δ
#
# $$\sigma(\lambda) = -\lambda\big(\gamma(\bar u) + \tfrac{\bar u\,\gamma'(\bar u)}{1+\lambda}\big)
#   = -\lambda e^{-\bar u}\Big(1 - \frac{\bar u}{1+\lambda}\Big) .$$
#
# So modes with 1 + λ < ū grow: more cells, more signal, slower cells, more cells. With γ = 1 + e^(−v) the bracket is
# 1 + e^(−ū)(1 − ū/(1 + λ)), which is positive for all ū and λ (ū e^(−ū) ≤ 1/e): no constant is unstable.
#
# Run: `python demos/05_patterns.py` (or under `mpirun -n 2`); ten seconds.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.initial import InitialDensity
from kspde.plots.style import COLUMN, GREY, ORANGE, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0
side = 8.0  # the dish is [−side, side]²
mean = 3.0


# %% [markdown]
# An initial density of one's own: a constant plus modes φ = cos(kπ(x + L)/2L) cos(lπ(y + L)/2L) of the dish. `mass` and
# `mass_outside` are what a solve asks for; `sample` would be needed by particles only.


# %%
class NearlyConstant(InitialDensity):
    """ū (1 + Σ a φ), the modes given as (k, l) -> a."""

    dimension = 2

    def __init__(self, modes: dict[tuple[int, int], float]) -> None:
        self.modes = modes
        self.mass = mean * (2 * side) ** 2

    def __call__(self, x):
        angles = np.pi * (np.asarray(x) + side) / (2 * side)
        return mean * (
            1
            + sum(
                a * np.prod(np.cos(np.array(k) * angles), axis=1)
                for k, a in self.modes.items()
            )
        )

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        raise NotImplementedError


# %% [markdown]
# ## Growth rates
#
# A mode of size 10⁻⁴ is followed from t = 20 to t = 60, and its rate set beside σ(λ), λ = (k² + l²)(π/2L)².

# %%
model = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=1.0)
dish = kspde.Box(half_width=side, cells=12, degree=6, grading=0.0, boundary="neumann")
corner = [[-side, -side]]  # where every mode is 1


def promised(squares: float, motility: str = "e^(-v)") -> float:
    """Return σ(λ)."""
    lam = squares * (np.pi / (2 * side)) ** 2
    at_infinity = 1.0 if motility == "1 + e^(-v)" else 0.0
    return float(-lam * (at_infinity + np.exp(-mean) * (1 - mean / (1 + lam))))


def measured(mode: tuple[int, int], model: kspde.LocalSensing, t_end: float) -> float:
    """Return the rate at which a small mode grows."""
    times = (t_end / 3, t_end)
    pde = kspde.solve(
        model,
        NearlyConstant({mode: 1e-4}),
        dish,
        t_end=t_end,
        tol=1e-8,
        save=kspde.SaveAt(times=times),
    )
    first, last = (float(pde.evaluate(corner, t=t)[0]) - mean for t in times)
    return float(np.log(last / first) / (times[1] - times[0]))


rates = {}
for mode in ((2, 0), (4, 0), (4, 4), (7, 1), (8, 0)):
    rates[mode] = (measured(mode, model, 60.0), promised(mode[0] ** 2 + mode[1] ** 2))
    if root:
        print(f"mode {mode}: rate {rates[mode][0]:+.5f}, σ = {rates[mode][1]:+.5f}")
never = kspde.LocalSensing(motility=kspde.OnePlusExponentialMotility(), chi=1.0)
stable = (measured((4, 0), never, 6.0), promised(16, "1 + e^(-v)"))
if root:
    print(f"γ = 1 + e^(-v), mode (4, 0): rate {stable[0]:+.5f}, σ = {stable[1]:+.5f}")

# %% [markdown]
# ## A pattern
#
# Many small modes with fixed random amplitudes; the fastest, λ = √ū − 1, takes over, with a wave length of
# 2π/√λ ≈ 7.3. For γ = e^(−αv) the free energy ∫(u log u − (α/2) u v) can only fall.

# %%
random = np.random.default_rng(3)
start = NearlyConstant(
    {
        (k, m): 0.01 * random.standard_normal()
        for k in range(6)
        for m in range(6)
        if k + m
    }
)
times = (0.0, 60.0, 100.0)
pde = kspde.solve(
    model,
    start,
    dish,
    t_end=100.0,
    tol=1e-4,
    save=kspde.SaveAt(times=times, statistics=("free_energy",)),
)
energy = pde.diagnostics["free_energy"]
rise = float(np.diff(energy).max() / (energy[0] - energy[-1]))
axis = np.linspace(-side, side, 129)
states = [pde.on_grid([axis, axis], t=t) for t in times]
if root:
    pictures.mkdir(exist_ok=True)
    print(
        f"maximum {[round(float(state.max()), 2) for state in states]} at t = {times}"
    )
    print(f"free energy {energy[0]:.3f} -> {energy[-1]:.3f}")
MPI.COMM_WORLD.Barrier()

# %%
with picture(pictures / "patterns.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        from matplotlib.colors import LogNorm

        figure = figures((1.4 * COLUMN, 5.2))
        panels = figure.subplots(2, 2).ravel()
        lam = np.linspace(0.01, 3.2, 100)
        panels[0].plot(
            lam,
            -lam * np.exp(-mean) * (1 - mean / (1 + lam)),
            color=GREY,
            label=r"$\sigma(\lambda)$",
        )
        at = [(k**2 + m**2) * (np.pi / (2 * side)) ** 2 for k, m in rates]
        panels[0].plot(
            at,
            [rate for rate, _ in rates.values()],
            "o",
            color=ORANGE,
            label="measured",
        )
        panels[0].axhline(0, color=GREY, linewidth=0.5)
        panels[0].set(
            xlabel=r"$\lambda$", title="growth rate per unit time", box_aspect=1
        )
        panels[0].legend(frameon=False)
        norm = LogNorm(
            min(float(s.min()) for s in states), max(float(s.max()) for s in states)
        )
        for panel, state, t in zip(panels[1:], states, times, strict=True):
            image = panel.imshow(
                state.T,
                origin="lower",
                extent=[-side, side] * 2,
                cmap="viridis",
                norm=norm,
            )
            panel.set(title=f"$t = {t:g}$", xlabel="$x$", ylabel="$y$")
        bar = figure.colorbar(
            image,
            ax=list(panels),
            label="$u$ per unit area",
            location="bottom",
            aspect=40,
        )
        bar.set_ticks([1.5, 2.0, 3.0, 4.0, 5.0], labels=["1.5", "2", "3", "4", "5"])
        bar.minorticks_off()

# %% [markdown]
# ![Growth rates, and the density at three times](pictures/patterns.png)
#
# First the measured rates on the curve σ(λ), then the density at three times on one logarithmic colour scale.
# Aggregates form at the distance the fastest mode asks for, first at the walls, where a mode has its crests. They go
# on becoming narrower; a longer run needs a finer mesh, and kspde then says so.
