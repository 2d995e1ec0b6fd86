"""Densities mollified by bumps: finite elements and starts against quadrature, particles against sums over pairs."""

from dataclasses import dataclass

import numpy as np
import pytest

import kspde
from kspde.fem import backend
from kspde.kernels import Kernel
from kspde.particles.fields.base import Extent
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.particle_mesh import ParticleMesh

backend.require()

from kspde.fem.semidiscretisation import Semidiscretisation  # noqa: E402
from kspde.fem.spaces import build_space  # noqa: E402

MASS, STD, CENTRE = 2.5, 0.6, np.array([0.7, -0.4, 0.2])
BUMPS = [kspde.CompactBump(eps=0.9), kspde.SmoothBump(eps=0.9)]
STRENGTH = -2.0
LINE = kspde.Box(half_width=4.0, cells=16, degree=8, dimension=1)
DISK = kspde.Disk(radius=4.0, size=0.8, cell="quadrilateral", degree=6)


@dataclass(frozen=True, kw_only=True)
class Local(kspde.Model):
    """D of the mollified density."""

    kernel: Kernel
    dimension: int = 2

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=self.kernel, gradient=True),)

    def diffusion(self, species, c):
        return 1.0 + c["c"] ** 2


def gaussian(x):
    d = x.shape[-1]
    return MASS * np.exp(-0.5 * ((x - CENTRE[:d]) ** 2).sum(axis=-1) / STD**2) / (2 * np.pi * STD**2) ** (d / 2)


def smoothed(kernel, x):
    """V * u at points x and its gradient, by Gauss points in the bump's ball."""
    d = x.shape[1]
    nodes, weights = np.polynomial.legendre.leggauss(80)
    r, w = 0.45 * (nodes + 1), 0.45 * weights
    if d == 1:
        y, w = np.concatenate((r, -r))[:, None], np.concatenate((w, w))
    else:
        angle = 2 * np.pi * np.arange(48) / 48
        y = (r[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).reshape(-1, 2)
        w = np.repeat(w * r, 48) * 2 * np.pi / 48
    w = w * kernel.profile(np.linalg.norm(y, axis=1), d)
    z = x[:, None] - y
    values = gaussian(z)
    return values @ w, np.einsum("nyd,ny,y->nd", -(z - CENTRE[:d]) / STD**2, values, w)


@pytest.mark.parametrize(
    ("domain", "d", "tol", "bump"),
    [
        pytest.param(LINE, 1, 1e-9, BUMPS[1], marks=pytest.mark.one_rank, id="line"),
        pytest.param(kspde.Box(half_width=4.0, cells=8, degree=8), 2, 1e-6, BUMPS[0], id="box"),
        *(pytest.param(DISK, 2, 1e-5, bump, marks=pytest.mark.one_rank, id=f"disk-{bump}") for bump in BUMPS),
        pytest.param(kspde.Disk(radius=4.0, size=0.25), 2, 2e-2, BUMPS[0], id="triangles"),
    ],
)
def test_fields_of_a_density(domain, d, tol, bump, comm):
    model = Local(kernel=kspde.Identity(strength=STRENGTH), dimension=d)
    space = build_space(domain, d, comm)
    system = Semidiscretisation(model, model.regularised_fields(bump), space)
    c = system.field_values(gaussian(space.points).reshape(1, *space.mass.shape), 0.0)
    near = np.flatnonzero(np.linalg.norm(space.points - CENTRE[:d], axis=1) < 1.5)[::7]
    value, gradient = smoothed(bump, space.points[near])
    sup = abs(STRENGTH) * gaussian(CENTRE[None, :d])[0]
    assert comm.allreduce(len(near)) > 5
    assert np.abs(c["c"][near] - STRENGTH * value).max(initial=0.0) < tol * sup
    assert np.abs(c.gradient("c")[near] - STRENGTH * gradient).max(initial=0.0) < 1e3 * tol * sup


@pytest.mark.one_rank
@pytest.mark.parametrize("bump", BUMPS, ids=str)
def test_a_mollified_start(bump):
    box = kspde.Box(half_width=6.0, cells=18, degree=8, dimension=1)
    u0 = kspde.GaussianMixture(weights=(1.0,), means=((CENTRE[0],),), stds=(STD,), mass=MASS)
    model = Local(kernel=kspde.Identity(), dimension=1)
    pde = kspde.solve(
        model, u0, box, t_end=1e-4, tol=1e-4, mollifier=bump, initial="mollified", save=kspde.SaveAt(times=(0.0,))
    )
    x = np.linspace(-2.0, 3.0, 21)
    np.testing.assert_allclose(pde.on_grid((x,), t=0.0), smoothed(bump, x[:, None])[0], rtol=0, atol=1e-6)
    cloud = kspde.simulate(
        model, u0, n=4000, t_end=1e-9, dt=1e-9, mollifier=bump, initial="mollified", seed=3, method="direct"
    )
    points = cloud.gathered()
    if points is not None:
        r = np.linspace(0, 0.9, 2001)
        second = 2 * np.trapezoid(r**2 * bump.profile(r, 1), r)
        assert abs(points.var() - STD**2 - second) < 4 * np.sqrt(2 / 4000) * (STD**2 + second)


@pytest.mark.parametrize(
    ("d", "bump"), [(2, BUMPS[0]), *(pytest.param(d, BUMPS[d < 3], marks=pytest.mark.one_rank) for d in (1, 2, 3))]
)
def test_fields_of_particles(d, bump, comm):
    kernel = (kspde.Identity(strength=STRENGTH) * bump).in_dimension(d)
    fields = (kspde.Field(name="c", kernel=kernel, gradient=False),)
    x = CENTRE[:d] + np.random.default_rng(d).normal(size=(200, d))
    r = np.linalg.norm(x[:, None] - x, axis=2)
    whole = MASS / 200 * kernel.profile(r, d)
    scale = np.abs(whole.sum(axis=1)).max()
    mine = slice(200 * comm.rank // comm.size, 200 * (comm.rank + 1) // comm.size)
    for kind in (DirectSum, ParticleMesh)[: 1 if d == 3 else 2]:  # grids in space are large
        for include_self in (True, False)[: 4 - d]:
            evaluator = kind(
                fields, dimension=d, weights={"u": MASS / 200}, tol=1e-4, include_self=include_self, comm=comm
            )
            evaluator.update({"u": np.ascontiguousarray(x[mine])}, Extent(x.min(axis=0), x.max(axis=0)))
            exact = whole.sum(axis=1) - (0 if include_self else whole[0, 0])
            found = evaluator.at("u", np.ascontiguousarray(x[mine]))["c"]
            assert np.abs(found - exact[mine]).max() < 1e-4 * scale


@pytest.mark.one_rank
def test_particles_do_not_have_the_density_itself():
    u0 = kspde.GaussianMixture(weights=(1.0,), means=((0.0, 0.0),), stds=(0.5,))
    with pytest.raises(kspde.InputError, match="density at the same place, which particles do not have: give eps"):
        kspde.simulate(Local(kernel=kspde.Identity()), u0, n=10, t_end=0.1, dt=0.1)
