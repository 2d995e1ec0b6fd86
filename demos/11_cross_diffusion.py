# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Cross-diffusion, and how populations segregate
#
# Chen, Daus and Jüngel's system (1) for n populations that avoid each other, and themselves,
#
# $$\partial_t u_i - \sigma_i\Delta u_i = \nabla\cdot\Big(\sum_j a_{ij}\,u_i\nabla u_j\Big),$$
#
# is the limit of particles that interact over the range η (`eps`) through a bump $V^\eta$:
#
# $$dX_i = -\sum_j a_{ij}\frac1N\sum_\ell\nabla V^\eta(X_i - X_j^\ell)\,dt + \sqrt{2\sigma_i}\,dW_i .$$
#
# With a₁₂ = a₂₁ near a₁₁ = a₂₂ the sum u₁ + u₂ spreads almost as one population would, while each of the two is kept
# out of the other's ground.
#
# Run: `python demos/11_cross_diffusion.py` (or under `mpirun -n 2`); half a minute.

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.style import COLUMN, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

starts = {
    "u1": kspde.GaussianMixture(weights=[1.0], means=[[-0.4, 0.0]], stds=[0.5]),
    "u2": kspde.GaussianMixture(
        weights=[1.0], means=[[0.5, 0.2]], stds=[0.5], mass=1.5
    ),
}
box = kspde.Box(half_width=6.0, cells=64, degree=1, grading=1.5)
t_end = 1.0
apart = kspde.CrossDiffusion(a=((1.0, 0.9), (0.9, 1.0)), sigma=(0.03, 0.03))
alone = kspde.CrossDiffusion(a=((1.0, 0.0), (0.0, 1.0)), sigma=(0.03, 0.03))

# %% [markdown]
# ## Densities
#
# `positive-2` takes the local coefficients at the new time: u ≥ 0 and exact masses for every step. a + aᵀ is positive
# definite, so ∫Σ u (log u − 1) falls.

# %%
axis = np.linspace(-3.0, 3.0, 121)


def solved(model: kspde.CrossDiffusion):
    """Return the local densities."""
    save = kspde.SaveAt(times=(0.0, t_end), statistics=("free_energy",))
    return kspde.solve(
        model, starts, box, t_end=t_end, scheme="positive-2", dt=0.05, save=save
    )


def overlap(states: list[np.ndarray]) -> float:
    """Return ∫min(p₁, p₂) of both densities over their masses: 1 where they are the same."""
    step = (axis[1] - axis[0]) ** 2
    first, second = (u / (u.sum() * step) for u in states)
    return float(np.minimum(first, second).sum() * step)


shown, overlaps = {}, {}
for name, model in (("apart", apart), ("alone", alone)):
    pde = solved(model)
    shown[name] = [pde.on_grid([axis, axis], species) for species in model.species]
    overlaps[name] = overlap(shown[name])
    energy = pde.diagnostics["free_energy"][:, 0]
    if root:
        falls = "falls" if np.all(np.diff(energy) < 0) else "does not fall"
        print(
            f"a₁₂ = {model.a[0][1]:g}: the entropy {falls} from {energy[0]:.3f} to {energy[-1]:.3f}, "
            f"the overlap is {overlaps[name]:.3f}"
        )
nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
shown["start"] = [u(nodes).reshape(len(axis), -1) for u in starts.values()]
overlaps["start"] = overlap(shown["start"])
if root:
    print(f"at the start it is {overlaps['start']:.3f}")

# %% [markdown]
# ## Particles
#
# The particles (2), and beside them, from the same points and with the same noise, the limiting particles (5) that the
# gradients of the *local* density move: the same model with another mean field. Their distance has two parts, the range
# of the interaction, of order η² for a symmetric V, and the scatter of N particles, which grows as η falls.

# %%
save = kspde.SaveAt(times=np.linspace(0.0, 0.2, 6))
mean_field = kspde.solve(
    apart, starts, box, t_end=0.2, scheme="positive-2", dt=0.02, save=save
)
farthest = {}
for eta in (0.6, 0.3):
    cloud = kspde.simulate(
        apart,
        starts,
        n=4000,
        t_end=0.2,
        dt=0.02,
        eps=eta,
        mollifier="bump",
        field_tol=1e-4,
        mean_field=mean_field,
        mean_field_differs=("eps",),
        seed=1,
    )
    farthest[eta] = cloud.coupling.supremum
    if root:
        print(
            f"η = {eta}: max |X − X̂| = {farthest[eta]:.3f} for {sum(cloud.n.values()):,} particles"
        )

# %%
MPI.COMM_WORLD.Barrier()
if root:
    pictures.mkdir(exist_ok=True)
with picture(pictures / "segregation.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        figure = figures((2 * COLUMN, 2.9))
        titles = {
            "start": "$t = 0$",
            "apart": "$t = 1$, $a_{12} = 0.9$",
            "alone": "$t = 1$, $a_{12} = 0$",
        }
        for panel, (name, title) in zip(
            figure.subplots(1, 3, sharey=True), titles.items(), strict=True
        ):
            for u, colour in zip(shown[name], ("Blues", "Oranges"), strict=True):
                top = float(u.max())
                panel.contour(
                    axis,
                    axis,
                    u.T,
                    levels=top * np.array([0.1, 0.3, 0.5, 0.7, 0.9]),
                    cmap=colour,
                    vmin=-0.5 * top,
                    vmax=top,
                )
            panel.set(title=title, xlabel="$x$", box_aspect=1)
        figure.axes[0].set_ylabel("$y$")

# %% [markdown]
# ![Contours of both populations](pictures/segregation.png)
#
# Contours at 10, 30, … 90 % of each maximum, u₁ in blue and u₂ in orange: at the start, and at t = 1 with and without
# cross-diffusion. How far (4) is from (1) as η → 0 is the study `cross-diffusion-eta`, and how far the particles are
# from their limits is `cross-diffusion-particles`.
