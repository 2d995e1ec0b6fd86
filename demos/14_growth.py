# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Growth
#
# A model may have a growth rate r per capita, of either sign, beside its diffusion coefficient and drift:
#
# $$\partial_t u = \Delta(D u) - \nabla\cdot(b u) + r u, \qquad
#   dX_i = b\,dt + \sqrt{2D}\,dB_i, \quad dw_i = r\,w_i\,dt .$$
#
# Densities then have a balance in place of the conservation of mass, and particles have weights that change. Three
# models of one's own: a front, predators and their prey, and a colony of cells that attract each other, stop where it
# is full, and divide where there is room. Each is checked against something known.
#
# Run: `python demos/14_growth.py` (or under `mpirun -n 2`); twenty seconds.

# %%
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI
from scipy.integrate import solve_ivp

import kspde
from kspde.plots.style import PAGE, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

# %% [markdown]
# ## A front
#
# In Fisher's equation, ∂_t u = Δu + u(1 − u), the rate depends on the density at the same place: a field whose kernel
# is `Identity`. Ablowitz and Zeppetella found one of its fronts in closed form,
# u = (1 + e^(z/√6))^(−2) with z = x − 5t/√6.


# %%
@dataclass(frozen=True, kw_only=True)
class Fisher(kspde.Model):
    """∂_t u = Δu + u(1 − u)."""

    dimension: int = 1

    @property
    def fields(self):
        return (kspde.Field(name="u", kernel=kspde.Identity()),)

    def diffusion(self, species, c):
        return 1.0

    def growth(self, species, c):
        return 1.0 - c["u"]


def front(x, t):
    return (1 + np.exp((x + 5 - 5 * t / np.sqrt(6)) / np.sqrt(6))) ** -2


line = np.linspace(-30, 30, 3001)
start = kspde.GridDensity(
    front(line, 0), (-30, 30), mass=float(np.trapezoid(front(line, 0), line))
)
times = (0.0, 1.0, 2.0, 3.0, 4.0)
wave = kspde.solve(
    Fisher(),
    start,
    kspde.Box(
        half_width=30,
        cells=80,
        degree=4,
        dimension=1,
        grading=0,
        boundary="neumann",
    ),
    t_end=4.0,
    tol=1e-7,
    save=kspde.SaveAt(times=times),
)
near = np.linspace(-12, 12, 121)
fronts = [wave.on_grid([near], t=t) for t in times]
wrong = max(
    np.abs(found - front(near, t)).max() for found, t in zip(fronts, times, strict=True)
)
if root:
    print(f"the front is wrong by {wrong:.1e} up to t = 4")

# %% [markdown]
# ## Predators and prey
#
# Two species; each rate depends on both densities, and both change their signs. Uniform densities between walls obey
# two ordinary differential equations, which scipy solves. The positive schemes let r⁺ act on the old density and r⁻ on
# the new one: no step makes a species negative. The mass is the initial one plus the recorded `growth`, ∫∫ r u dx dt,
# to round-off.


# %%
@dataclass(frozen=True, kw_only=True)
class Hunt(kspde.Model):
    """∂_t u = .05Δu + u(1 − u − 2w), ∂_t w = .02Δw + w(1.5u − .5)."""

    species = ("prey", "hunters")
    dimension: int = 1

    @property
    def fields(self):
        return tuple(
            kspde.Field(name=s, kernel=kspde.Identity(), source=s) for s in self.species
        )

    def diffusion(self, species, c):
        return 0.05 if species == "prey" else 0.02

    def growth(self, species, c):
        u, w = c["prey"], c["hunters"]
        return 1 - u - 2 * w if species == "prey" else 1.5 * u - 0.5


first = {"prey": 0.9, "hunters": 0.1}
hunt = kspde.solve(
    Hunt(),
    {s: kspde.GridDensity(np.ones(2), (-1, 1), mass=2 * u) for s, u in first.items()},
    kspde.Box(half_width=1, cells=4, degree=1, dimension=1, boundary="neumann"),
    t_end=20.0,
    scheme="positive-2",
    dt=0.1,
)
odes = solve_ivp(
    lambda t, y: [y[0] * (1 - y[0] - 2 * y[1]), y[1] * (1.5 * y[0] - 0.5)],
    (0, 20),
    list(first.values()),
    t_eval=hunt.diagnostics["t"],
    rtol=1e-10,
    atol=1e-12,
)
populations = hunt.diagnostics["mass"] / 2
off = float(np.abs(populations - odes.y.T).max())
unbalanced = float(
    np.abs(2 * (populations - populations[0]) - hunt.diagnostics["growth"]).max()
)
if root:
    print(f"populations are wrong by {off:.1e}; the balance by {unbalanced:.0e}")

# %% [markdown]
# ## A colony
#
# Cells drift up the signal c that they emit, as far as there is room, and divide where there is room:
#
# $$\partial_t u = D\Delta u - \chi\nabla\cdot\big(u(1-u)\nabla c\big) + \rho u(1-u), \qquad -\Delta c + c = u .$$
#
# The local density is in the drift and in the rate. Particles know no local density: with `eps` both backends take
# u * j^ε in its place.
#
# The positive schemes enforce u ≥ 0 and the balance of mass. That u ≤ 1 is a property of the equation that no scheme
# enforces: where the mesh does not resolve the drift, u passes 1, and no warning can know that it should not. On a line
# with χ = 20, D = .1, no growth and cells of width 1/6, 1/12 and 1/24 its maximum is 1.51, 1.25 and 1.07, whatever the
# time step; with χ = 5 it is 1.16 at width 1/3 and .984 at 1/9. So look at `pde.diagnostics["maximum"]`.


# %%
@dataclass(frozen=True, kw_only=True)
class Colony(kspde.Model):
    """Cells that attract each other, and divide, where u < 1."""

    spread: float = 0.05
    chi: float = 1.0
    rate: float = 1.5

    @property
    def fields(self):
        return (
            kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True),
            kspde.Field(name="u", kernel=kspde.Identity()),
        )

    def diffusion(self, species, c):
        return self.spread

    def drift(self, species, c):
        return self.chi * (1 - c["u"])[:, None] * c.gradient("c")

    def growth(self, species, c):
        return self.rate * (1 - c["u"])


u0 = kspde.GaussianMixture(
    weights=[0.5, 0.3, 0.2],
    means=[[-0.9, 0.3], [0.9, -0.2], [0.2, 1.2]],
    stds=[0.4, 0.35, 0.3],
    mass=0.8,
)
colony = kspde.solve(
    Colony(),
    u0,
    kspde.Box(half_width=6.0, cells=24, degree=4),
    t_end=2.0,
    tol=1e-5,
    eps=0.2,
)
cloud = kspde.simulate(
    Colony(), u0, n=20_000, t_end=2.0, dt=0.05, eps=0.2, scheme="weak-2", seed=3
)
distance = kspde.compare(colony, cloud, distances=("l1",), replicas=8)
share = cloud.diagnostics["effective_share"][-1]
if root:
    print(
        f"mass {colony.masses['u']:.4f} of the density, {cloud.masses['u']:.4f} of the "
        f"particles; L1 distance {distance.l1}, floor {distance.floor.l1} of "
        f"{distance.n} particles"
    )
    print(f"the weights are worth {share:.0%} as many equal ones")

# %%
if root:
    pictures.mkdir(exist_ok=True)
MPI.COMM_WORLD.Barrier()
axis = np.linspace(-2.8, 2.8, 141)
cells = colony.on_grid([axis, axis])
with picture(pictures / "growth.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        figure = figures((PAGE, 5.6))
        (left, right), (below, masses) = figure.subplots(2, 2)
        for t, found in zip(times, fronts, strict=True):
            left.plot(near, found, color="C0", linewidth=1.0)
            left.plot(near[::8], front(near[::8], t), "k.", markersize=2.5)
        left.set(title="a front; dots: exact", xlabel="$x$")
        for k, name in enumerate(Hunt().species):
            right.plot(odes.t, populations[:, k], color=f"C{k}", label=name)
            right.plot(odes.t[::8], odes.y[k, ::8], "k.", markersize=2.5)
        right.set(title="populations; dots: scipy", xlabel="$t$")
        right.legend(frameon=False)
        image = below.imshow(
            cells.T, origin="lower", extent=[-2.8, 2.8] * 2, cmap="viridis", vmin=0
        )
        below.set(title="the colony at $t = 2$", xlabel="$x$", ylabel="$y$")
        figure.colorbar(image, ax=below, label="$u$")
        masses.plot(
            colony.diagnostics["t"], colony.diagnostics["mass"], label="density"
        )
        masses.plot(
            cloud.diagnostics["t"], cloud.diagnostics["mass"], "k:", label="particles"
        )
        masses.set(title="the colony's mass", xlabel="$t$")
        masses.legend(frameon=False)

# %% [markdown]
# ![A front, populations, and a colony](pictures/growth.png)
#
# With 320 000 particles the mass is 5.8548 beside the density's 5.8584, and the L¹ distance .028 is its floor, .029.
# The Euler–Maruyama scheme, of weak order 1 in the weights too, gives 5.92 at this time step.
#
# Weights that grow apart waste particles: `simulate(..., resampling="systematic")` makes them equal again when they are
# worth fewer than half of them. Distances are those of the shapes, density and particles each divided by its own mass;
# `distance.differs` says both masses. The bound on the relative entropy is refused: weighted particles have no
# probability law.
