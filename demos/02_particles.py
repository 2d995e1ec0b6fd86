# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Particles beside the density
#
# The same model as N cells that feel each other's signal, Wang, Li and Huang's (1.3),
#
# $$dX_i = \big(2e^{-a_i} + 2\big)^{1/2} dB_i, \qquad a_i = \frac1N \sum_{j=1}^N \Phi^\varepsilon(X_i - X_j),$$
#
# with the signal's potential mollified, $\Phi^\varepsilon = \Phi * j^\varepsilon$. Their mean-field limit is (1.9):
# $\partial_t u = \Delta((e^{-v}+1)u)$, $-\Delta v + v = \chi\, u * j^\varepsilon$. How far are N particles
# from it? Two independent samples of one law are not at distance 0 either, so each distance stands beside its *floor*:
# that of N independent draws from the density itself.
#
# Run: `python demos/02_particles.py` (or under `mpirun -n 2`); ten seconds.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.densities import plot_densities, plot_difference

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

# %% [markdown]
# Both backends take the same model and the same initial density. `SaveAt` makes them keep snapshots on the
# way; `Snapshots` copies those of the particles.

# %%
model = kspde.SignalDependentKellerSegel(chi=8.0)
u0 = kspde.GaussianMixture(
    weights=(0.5, 0.3, 0.2),
    means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)),
    stds=(0.6, 0.5, 0.7),
)
times = np.linspace(0.0, 0.5, 11)
n = 20_000

snapshots = kspde.Snapshots()
pde = kspde.solve(
    model,
    u0,
    kspde.Box(half_width=14.0, cells=24, degree=6),
    t_end=0.5,
    tol=1e-6,
    eps=0.3,
    save=kspde.SaveAt(times=times),
)
cloud = kspde.simulate(
    model,
    u0,
    n=n,
    t_end=0.5,
    dt=0.01,
    eps=0.3,
    seed=1,
    save=kspde.SaveAt(times=times, callback=snapshots),
)

# %% [markdown]
# ## Distances with their floors, over time
#
# The particles become a density by a kernel density estimate; its bandwidth is the one that minimises the mean
# integrated squared error against u. Intervals are 95 %.

# %%
distance = kspde.compare(
    pde, cloud, times=[0.0, 0.1, 0.2, 0.3, 0.4, 0.5], snapshots=snapshots, replicas=10
)
if root:
    print(f"L1 distance       {distance.l1}, floor {distance.floor.l1}")
    print(
        f"relative entropy  {distance.relative_entropy}, floor {distance.floor.relative_entropy}"
    )
    print(
        "above the floor"
        if distance.above_floor
        else "not distinguishable from independent draws"
    )

# %% [markdown]
# One more check that needs no bandwidth: the mean of |X|² against ∫|x|²u, whose standard error is known.

# %%
square = float(cloud.diagnostics["second_moment"][-1])
expected = float(pde.diagnostics["second_moment"][-1])
fourth = (
    MPI.COMM_WORLD.allreduce(float(np.sum(np.sum(cloud.positions**2, axis=1) ** 2))) / n
)
standard_error = float(np.sqrt((fourth - square**2) / n))
if root:
    print(
        f"mean |X|² = {square:.4f}, ∫|x|²u = {expected:.4f}, "
        f"standard error {standard_error:.4f}"
    )

# %% [markdown]
# ## Pictures

# %%
if root:
    pictures.mkdir(exist_ok=True)
MPI.COMM_WORLD.Barrier()
cloud.plot(pictures / "particles.png", pde=pde, most=1500)
plot_densities(distance, pictures / "particles_densities.png")
plot_difference(distance, pictures / "particles_difference.png")
distance.over_time.plot(pictures / "particles_over_time.png")
pde.animate(pictures / "particles.webp", snapshots=snapshots, most=600)

# %% [markdown]
# ![Particles over the density](pictures/particles.png)
#
# The first 1500 particles over the density. Below, the density and the particles' density estimate on one colour scale:
#
# ![The density and the particles' density](pictures/particles_densities.png)
#
# Their difference has no structure of its own: it is the noise of N particles, smoothed with the bandwidth. (A crest
# that is too low, a valley too high: that part is the smoothing's bias.)
#
# ![The difference](pictures/particles_difference.png)
#
# Over time the distance stays inside its floor: at this N the interaction has not made the particles any less like
# independent draws. Coupling sees what lies below the floor: see the chapters on mean-field particles and on the
# entropy bound.
#
# ![L1 distance and relative entropy over time, with the floor's band](pictures/particles_over_time.png)
#
# The run as an animation (colours on a square-root scale, the same in all frames):
#
# ![Animation of the density with particles over it](pictures/particles.webp)
