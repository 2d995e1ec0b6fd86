# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Landau's equation with Maxwell molecules
#
# For a gas of Maxwell molecules the homogeneous Landau equation has the coefficients
#
# $$\partial_t f = \nabla\cdot\big[(a * f)\nabla f - (b * f) f\big],\qquad
# a(z) = \Lambda(|z|^2 I - z\otimes z),\quad b = \nabla\cdot a,$$
#
# polynomials in v with moments of f: the model has no field and a full diffusion matrix. Bobylev, Krook and Wu's
# solution is exact: with Λ = 1/16, d = 2 and $K = 1 - \tfrac12 e^{-t/8}$,
#
# $$f = \frac{e^{-|v|^2/2K}}{2\pi K}\Big(\frac{2K-1}{K} + \frac{1-K}{2K^2}|v|^2\Big),\qquad
# \int|v|^4 f = 8K(2-K).$$
#
# The density, particles with independent noises, and particles that rotate in random pairs are measured against it.
#
# Run: `python demos/13_landau.py` (or under `mpirun -n 2`); half a minute.

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


def temperature(t: float) -> float:
    """Return K."""
    return 1 - 0.5 * np.exp(-t / 8)


def bkw(v: np.ndarray, t: float) -> np.ndarray:
    """Return the exact solution at velocities (n, 2)."""
    k, square = temperature(t), (v**2).sum(axis=1)
    shape = (2 * k - 1) / k + (1 - k) / (2 * k**2) * square
    return np.exp(-square / (2 * k)) / (2 * np.pi * k) * shape


t_end = 5.0
times = np.linspace(0.0, t_end, 11)
model = kspde.LandauMaxwell(rate=1 / 16)
u0 = kspde.CallableDensity(lambda v: bkw(v, 0.0), half_width=9.0, dimension=2)
save = kspde.SaveAt(times=times)

# %% [markdown]
# ## Density
#
# The box takes the whole matrix. Mass, momentum and energy are conserved, and the relative entropy to the Maxwellian
# falls.

# %%
box = kspde.Box(half_width=9.0, cells=12, degree=6)
pde = kspde.solve(model, u0, box, t_end=t_end, tol=1e-5, save=save)
axis = np.linspace(-9.0, 9.0, 241)
nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
area, square = (axis[1] - axis[0]) ** 2, (nodes**2).sum(axis=1)
maxwellian = np.exp(-0.5 * square) / (2 * np.pi)
exact = 8 * temperature(times) * (2 - temperature(times))
fourth: dict[str, np.ndarray] = {"density": np.zeros(len(times))}
entropies, slices = [], {}
for i, t in enumerate(times):
    u = pde.on_grid([axis, axis], t=t).ravel()
    fourth["density"][i] = (u * square**2).sum() * area
    positive = u > 1e-12
    logarithm = np.log(u[positive] / maxwellian[positive])
    entropies.append(float((u[positive] * logarithm).sum() * area))
    slices[t] = u.reshape(len(axis), -1)[:, len(axis) // 2]
    if root and i in (0, 2, 10):
        distance = np.abs(u - maxwellian).sum() * area
        print(
            f"t = {t:g}: E|v|⁴ = {fourth['density'][i]:.6f} (exact {exact[i]:.6f}), "
            f"L¹ to the Maxwellian {distance:.6f}, relative entropy {entropies[-1]:.6f}"
        )
if root:
    falls = "falls" if np.all(np.diff(entropies) < 0) else "does not fall"
    print(f"the relative entropy to the Maxwellian {falls}")

# %% [markdown]
# ## Particles
#
# Independent noises conserve momentum and energy in the mean; `scheme="pair-rotation"`, in which random pairs turn
# their relative velocities, conserves both to round-off. Both cost O(N) per step.

# %%
n = 100_000
for scheme in ("euler-maruyama", "pair-rotation"):
    means: list[np.ndarray] = []

    def look(cloud: Cloud, means: list[np.ndarray] = means) -> None:
        """Keep the means of |v|² and |v|⁴ over the particles of all ranks."""
        square = (cloud.of("u") ** 2).sum(axis=1)
        sums = np.array([square.sum(), (square**2).sum()])
        means.append(MPI.COMM_WORLD.allreduce(sums) / n)

    keep = kspde.SaveAt(times=times, callback=look)
    kspde.simulate(
        model, u0, n=n, t_end=t_end, dt=0.02, scheme=scheme, seed=4, save=keep
    )
    energy, fourth[scheme] = np.array(means).T
    if root:
        print(
            f"{scheme}: E|v|⁴ = {fourth[scheme][-1]:.3f} at the end (exact {exact[-1]:.3f}), "
            f"the energy changes by at most {np.abs(energy - energy[0]).max():.1e}"
        )

# %%
MPI.COMM_WORLD.Barrier()
if root:
    pictures.mkdir(exist_ok=True)
with picture(pictures / "landau.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        figure = figures((2 * COLUMN, 2.9))
        left, right = figure.subplots(1, 2)
        line = np.stack([axis, 0 * axis], axis=1)
        for t, colour in zip(times[[0, 2, 10]], ("C0", "C1", "C2"), strict=True):
            left.plot(axis, bkw(line, t), color=colour, label=f"$t = {t:g}$")
            left.plot(axis[::4], slices[t][::4], ".", color=colour, markersize=4)
        left.set(xlim=(-5, 4), xlabel="$v_1$", ylabel="$f(v_1, 0)$")
        left.set_title("exact (lines), density (dots)")
        left.legend(loc="upper left", fontsize="small", handlelength=1)
        right.plot(times, exact, "k", label="exact")
        for name, mark in (
            ("density", "o"),
            ("euler-maruyama", "x"),
            ("pair-rotation", "+"),
        ):
            right.plot(times, fourth[name], mark, fillstyle="none", label=name)
        right.set(xlabel="$t$", ylabel="$E|v|^4$")
        right.legend(loc="lower right", fontsize="small")

# %% [markdown]
# ![The exact solution, the density and the particles](pictures/landau.png)
#
# Left: f along $v_2 = 0$. Right: the fourth moment of the density and of 100 000 particles of each kind beside
# 8K(2 − K). Euler's steps add to the energy, by an error of order dt; rotations do not. How far the particles are from
# mean-field particles is the study `landau-particles`; the bound on the entropy of their law is `landau-entropy`.
