# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # A model of your own
#
# A model is mathematics written once: its species, its fields c = K * u, a diffusion coefficient D and a drift b of
# each species as functions of the fields. Both backends then take it as it stands,
#
# $$dX_i = b_i\,dt + \sqrt{2D_i}\,dB_i, \qquad \partial_t u_i = \Delta(D_i u_i) - \nabla\cdot(b_i u_i) .$$
#
# Two examples: two species that avoid each other twice over, by drift and by diffusion, and the classical
# Patlak–Keller–Segel system below and above its critical mass. Each is checked against something known.
#
# Run: `python demos/10_own_model.py` (or under `mpirun -n 2`); fifteen seconds.

# %%
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.plots.style import PAGE, picture

# A notebook runs where it is.
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
pictures = here / "pictures"
root = MPI.COMM_WORLD.rank == 0

# %% [markdown]
# ## Two species, with a drift and a cross-diffusion
#
# Each species is crowded by both, c_j = Φ^ε * u_j. Crowding pushes (a drift, as in Chen, Daus and Jüngel's nonlocal
# system) and makes restless (a diffusion coefficient, as in Shigesada, Kawasaki and Teramoto's):
#
# $$\partial_t u_i = \Delta\Big(\big(\sigma_i + \textstyle\sum_j s_{ij} c_j\big) u_i\Big)
#   + \nabla\cdot\Big(u_i \textstyle\sum_j a_{ij} \nabla c_j\Big) .$$
#
# A frozen dataclass with the parameters, the fields (one for each species; `gradient=True` since the drift uses ∇c),
# and two functions of n points at once. That is all.


# %%
@dataclass(frozen=True, kw_only=True)
class TwoSpecies(kspde.Model):
    """Populations that avoid each other by drift and by diffusion."""

    push: tuple[tuple[float, float], tuple[float, float]]
    restless: tuple[tuple[float, float], tuple[float, float]]
    sigmas: tuple[float, float]
    species = ("a", "b")

    @property
    def fields(self):
        return tuple(
            kspde.Field(name=s, kernel=kspde.Yukawa(), source=s, gradient=True)
            for s in self.species
        )

    def diffusion(self, species, c):
        i = self.species.index(species)
        return self.sigmas[i] + sum(
            s * c[name] for s, name in zip(self.restless[i], self.species, strict=True)
        )

    def drift(self, species, c):
        row = self.push[self.species.index(species)]
        return -sum(
            a * c.gradient(name) for a, name in zip(row, self.species, strict=True)
        )


model = TwoSpecies(
    push=((1.0, 6.0), (6.0, 1.0)), restless=((0.0, 2.0), (2.0, 0.0)), sigmas=(0.3, 0.3)
)
u0 = {
    "a": kspde.GaussianMixture(weights=[1.0], means=[[-0.4, 0.0]], stds=[0.6]),
    "b": kspde.GaussianMixture(
        weights=[0.5, 0.5], means=[[0.6, 0.3], [0.2, -0.5]], stds=[0.5, 0.6], mass=1.5
    ),
}
box = kspde.Box(half_width=10.0, cells=16, degree=6)
pde = kspde.solve(model, u0, box, t_end=0.5, tol=1e-6, eps=0.3)
cloud = kspde.simulate(
    model, u0, n={"a": 20_000, "b": 30_000}, t_end=0.5, dt=0.01, eps=0.3, seed=4
)
distances = {
    name: kspde.compare(pde, cloud, species=name, replicas=8) for name in model.species
}
if root:
    for name, distance in distances.items():
        print(f"species {name}: L1 distance {distance.l1}, floor {distance.floor.l1}")

# %% [markdown]
# **Check 1, an identity.** Where a_12 = a_21 the pushes are equal and opposite, and a diffusion Δ(Du) moves no centre
# of mass: ∫x(u_a + u_b) stays where it was, in all directions. Here with the densities on a grid.

# %%
axis = np.linspace(-9.9, 9.9, 397)
h2 = (axis[1] - axis[0]) ** 2
total = sum(pde.on_grid([axis, axis], species=name) for name in model.species)
before = sum(u.mass * (u.weights @ u.means) for u in u0.values())
after = np.array([np.sum(total * axis[:, None]), np.sum(total * axis)]) * h2
if root:
    print(f"∫x(u_a + u_b): {before} at first, {after} at the end")

# %% [markdown]
# **Check 2, another code.** Twenty lines of Fourier on a periodic box know nothing of kspde's elements.


# %%
def fourier(
    modes: int = 96, length: float = 20.0, steps: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Return an axis and both densities at t = 0.5.

    Fourth-order Runge-Kutta steps of the Fourier modes.
    """
    x = (np.arange(modes) - modes // 2) * length / modes
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    k = 2 * np.pi * np.fft.fftfreq(modes, length / modes)
    ik = 1j * np.stack(np.meshgrid(k, k, indexing="ij"))
    k2 = (k**2)[:, None] + k**2
    kernel = np.exp(-(0.3**2) * k2 / 2) / (1 + k2)
    push, restless, sigmas = (
        np.array(model.push),
        np.array(model.restless),
        np.array(model.sigmas),
    )

    def slope(y):
        u, c = np.fft.ifft2(y).real, np.fft.ifft2(kernel * y).real
        gradients = np.fft.ifft2(ik * (kernel * y)[:, None]).real
        spread = sigmas[:, None, None] + np.einsum("ij,jxy->ixy", restless, c)
        flux = u[:, None] * np.einsum("ij,jaxy->iaxy", push, gradients)
        return np.einsum("axy,iaxy->ixy", ik, np.fft.fft2(flux)) - k2 * np.fft.fft2(
            spread * u
        )

    y = np.stack(
        [np.fft.fft2(u0[name](points).reshape(modes, modes)) for name in model.species]
    )
    dt = 0.5 / steps
    for _ in range(steps):
        k_1 = slope(y)
        k_2 = slope(y + dt / 2 * k_1)
        k_3 = slope(y + dt / 2 * k_2)
        y = y + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + slope(y + dt * k_3))
    return x, np.fft.ifft2(y).real


x, exact = fourier()
ours = np.stack([pde.on_grid([x[1:], x[1:]], species=name) for name in model.species])
difference = float(np.abs(ours - exact[:, 1:, 1:]).max())
if root:
    print(
        f"largest difference from the Fourier solution: {difference:.0e}, "
        f"of values up to {exact.max():.2f}"
    )

# %%
if root:
    pictures.mkdir(exist_ok=True)
MPI.COMM_WORLD.Barrier()
near = np.linspace(-3.5, 3.5, 141)
densities = np.stack(
    [pde.on_grid([near, near], species=name) / u0[name].mass for name in model.species]
)
with picture(pictures / "own_model.png", MPI.COMM_WORLD) as figures:
    if figures is not None:
        figure = figures((0.8 * PAGE, 3.9))
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for panel, shown, name in zip(panels, densities, model.species, strict=True):
            image = panel.imshow(
                shown.T,
                origin="lower",
                extent=[-3.5, 3.5] * 2,
                cmap="viridis",
                vmin=0,
                vmax=densities.max(),
                interpolation="bilinear",
            )
            panel.contour(
                near,
                near,
                shown.T,
                levels=[0.02, 0.06, 0.1, 0.14],
                colors="white",
                linewidths=0.4,
            )
            panel.set(title=f"species {name}, $t = 0.5$", xlabel="$x$")
        panels[0].set_ylabel("$y$")
        figure.colorbar(
            image,
            ax=panels,
            label="density / mass, per unit area",
            location="bottom",
            aspect=30,
        )

# %% [markdown]
# ![The densities of both species](pictures/own_model.png)
#
# The species have moved apart, *a* to the left and *b* to the right: their peaks are 1.5 from each other, and *b* is
# drawn out along the front between them.
#
# ## The Patlak–Keller–Segel system
#
# $$\partial_t u = \Delta u - \chi\nabla\cdot(u\nabla c), \qquad -\Delta c + \mu^2 c = u .$$
#
# Cells drift up the signal. Without screening the second moment of mass M obeys d/dt ∫|x|²u = 4M(1 − χM/8π): below the
# critical mass 8π/χ the cells spread, above it the density blows up in finite time. With screening μ and the mollifier
# of size ε the kernel's part χM²/2π becomes an integral,
#
# $$\frac{d}{dt}\int |x|^2 u = 4M - \chi \iint \big(-(x-y)\cdot\nabla\Phi^\varepsilon(x-y)\big)\, u(x)u(y),$$
#
# whose bracket is close to 1/2π for ε ≪ |x − y| ≪ 1/μ, and below it elsewhere. For a Gaussian u of mass M and variance
# 1 in each coordinate it is, with Φ^ε of symbol g(λ) = e^(−ε²λ/2)/(λ + μ²),
#
# $$\iint \dots = \frac{M^2}{4\pi} \int_0^\infty 2\,\big(\lambda g(\lambda)\big)'\, e^{-\lambda}\, d\lambda
#   = \frac{M^2}{2\pi} \int_0^\infty \lambda\, g(\lambda)\, e^{-\lambda}\, d\lambda .$$


# %%
@dataclass(frozen=True, kw_only=True)
class PatlakKellerSegel(kspde.Model):
    """∂_t u = Δu − χ∇·(u∇c), −Δc + μ²c = u."""

    chi: float = 1.0
    mu: float = 0.1

    @property
    def fields(self):
        return (
            kspde.Field(
                name="c", kernel=kspde.Yukawa(screening=self.mu), gradient=True
            ),
        )

    def diffusion(self, species, c):
        return 1.0

    def drift(self, species, c):
        return self.chi * c.gradient("c")


lam = np.linspace(0.0, 60.0, 600_001)[1:] - 5e-5  # midpoints
bracket = (
    np.sum(lam * np.exp(-(0.1**2) * lam / 2) / (lam + 0.1**2) * np.exp(-lam))
    * 1e-4
    / (2 * np.pi)
)

growth = {}
save = kspde.SaveAt(times=np.linspace(0.01, 0.1, 10))
for share in (0.5, 1.0, 1.5):  # of the critical mass
    drop = kspde.GaussianMixture(
        weights=[1.0], means=[[0.0, 0.0]], stds=[1.0], mass=share * 8 * np.pi
    )
    cells = kspde.solve(
        PatlakKellerSegel(),
        drop,
        kspde.Box(half_width=14.0, cells=20, degree=6),
        t_end=0.1,
        tol=1e-6,
        eps=0.1,
        save=save,
    )
    t, moment = cells.diagnostics["t"], cells.diagnostics["second_moment"]
    first = np.polyfit(t, moment / drop.mass, 3)[-2]
    growth[share] = (float(first), float(4 - drop.mass * bracket))
    if root:
        print(
            f"{share:g} of the critical mass: the mean of |x|² begins "
            f"to grow at the rate {growth[share][0]:+.4f}, "
            f"by the formula {growth[share][1]:+.4f}, unscreened {4 * (1 - share):+.1f}; "
            f"the maximum goes from "
            f"{cells.diagnostics['maximum'][0]:.2f} to {cells.diagnostics['maximum'][-1]:.2f}"
        )

# %% [markdown]
# The sign changes where it should, a little late: screening weakens the attraction of distant cells, the mollifier that
# of near ones. For the unscreened system, and past the blow-up that the mollifier prevents, see how the numbers move
# with μ and ε.
