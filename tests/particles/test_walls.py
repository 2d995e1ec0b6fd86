"""Particles in closed and periodic boxes: fields against Fourier series, reflected laws against exact ones."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose

import kspde
from kspde.kernels import GaussianMollifier, Kernel
from kspde.models import Field, FieldValues, Model
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import Extent
from kspde.particles.region import Region

L = 1.3
#: A box of different sides off the origin.
HALVES, CENTRE = np.array([1.3, 1.7, 1.1]), np.array([6.0, -2.0, 0.3])
PLACES = np.array([[1.29999, -0.4, 0.7], [-1.3, 1.2999, -0.9], [0.2, 0.9, 1.1], [0.25, 0.8, -1.2], [-0.7, -1.1, 0.1]])
WEIGHTS = np.array([0.5, 1.1, -0.3, 0.8, 0.9])


def series(kernel: Kernel, x: np.ndarray, periodic: bool, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return c and ∇c at points x of particles there, without the zero mode of a kernel that has none."""
    d = x.shape[1]
    half, x = HALVES[:d, None], x - CENTRE[:d]
    if periodic:
        k = np.pi / half * np.arange(-most, most + 1)
        waves = [np.exp(1j * np.outer(x[:, a], k[a])) / np.sqrt(2 * HALVES[a]) for a in range(d)]
        slopes = [1j * k * w for k, w in zip(k, waves, strict=True)]
    else:
        k = 0.5 * np.pi / half * np.arange(most + 1)
        scale = np.sqrt(np.where(k == 0, 1, 2) / (2 * half))
        waves = [np.cos(np.outer(x[:, a] + HALVES[a], k[a])) * scale[a] for a in range(d)]
        slopes = [-k[a] * np.sin(np.outer(x[:, a] + HALVES[a], k[a])) * scale[a] for a in range(d)]
    names = "klm"[:d]
    each = ",".join("i" + name for name in names)
    lam = reduce(np.add.outer, k**2)
    with np.errstate(divide="ignore"):
        symbol = np.where((lam == 0) & (kernel.decay_rate == 0), 0.0, kernel.symbol(lam))
    modes = symbol * np.einsum(f"i,{each}->{names}", WEIGHTS, *[w.conj() for w in waves])
    back = [np.einsum(f"{each},{names}->i", *ws, modes).real for ws in (waves, *(
        [*waves[:a], slopes[a], *waves[a + 1 :]] for a in range(d)))]  # fmt: skip
    return back[0], np.stack(back[1:], axis=1)


@pytest.mark.parametrize("periodic", [False, True], ids=["walls", "torus"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_fields_are_series(d: int, periodic: bool) -> None:
    """Of the mesh and of sums over images, for kernels with decay and without; at walls, with weights of both signs."""
    half, centre = HALVES[:d], CENTRE[:d]
    comm, x = MPI.COMM_WORLD, np.ascontiguousarray(centre + PLACES[:, :d] * half / L)
    region = Region(box=kspde.Box(half_width=tuple(half), centre=tuple(centre), cells=2, dimension=d,
                                  boundary="periodic" if periodic else "neumann"))  # fmt: skip
    mine = np.arange(comm.rank, len(x), comm.size)
    for potential in (kspde.Yukawa(strength=2.0, screening=0.9), kspde.LogPotential(strength=1.5)):
        kernel = (GaussianMollifier(eps=0.25) * potential).in_dimension(d)
        exact = series(kernel, x, periodic, most={1: 80, 2: 40, 3: 24}[d])
        for method in ("mesh", "direct")[: 1 if kernel.decay_rate == 0 or d == 3 else 2]:
            evaluator = FieldOptions(method=method, field_tol=1e-6).evaluator(
                (Field(name="c", kernel=kernel, gradient=True, value=False),),
                dimension=d,
                weights={"u": WEIGHTS[mine].copy()},
                comm=comm,
                region=region,
            )
            evaluator.update({"u": x[mine]}, Extent(*region.bounds))
            c = evaluator.at("u", x[mine])
            assert_allclose(c["c"], exact[0][mine], rtol=0, atol=2e-6 * np.abs(exact[0]).max())
            assert_allclose(c.gradient("c"), exact[1][mine], rtol=0, atol=4e-6 * np.abs(exact[1]).max())
            if d == 2:  # beyond a wall the field is even, on a torus it repeats
                side = np.array([0.0, 2 * half[1]])
                away = x[mine] + side if periodic else x[mine] * [1, -1] + [0, 2 * centre[1]] + side
                flip = [1, 1] if periodic else [1, -1]
                before = c.gradient("c").copy()
                assert_allclose(evaluator.at("u", away).gradient("c"), before * flip, rtol=0, atol=1e-5)


CLOSED = kspde.Box(half_width=L, cells=8, degree=6, grading=0.0, boundary="neumann")
TORUS = kspde.Box(half_width=L, cells=8, degree=6, grading=0.0, boundary="periodic")
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5, -0.4]], stds=[0.15], mass=3.0)
MODEL = kspde.SignalDependentKellerSegel(chi=4.0)


@pytest.mark.one_rank
@pytest.mark.parametrize("domain", [CLOSED, TORUS], ids=["walls", "torus"])
@pytest.mark.parametrize("scheme", ["euler-maruyama", "weak-2"])
def test_free_particles_have_the_law_of_cosines(domain: kspde.Box, scheme: str) -> None:
    """Without a field a step of any length is exact: D = 1/2, the means of four modes decay at their rates."""
    n, t = 40_000, 0.8
    free = kspde.SignalDependentKellerSegel(chi=0.0)
    diffusion = float(free.motility(np.zeros(1))[0])
    cloud = kspde.simulate(free, U0, n=n, t_end=t, dt=0.4, eps=0.3, scheme=scheme, domain=domain, seed=5)
    assert np.abs(cloud.positions).max() <= L
    for k in np.array([[1, 0], [0, 1], [2, 0], [1, 1]]) * np.pi / (L if domain is TORUS else 2 * L):
        phase = np.zeros(2) if domain is TORUS else np.full(2, L)

        def mode(x: np.ndarray, k: np.ndarray = k, phase: np.ndarray = phase) -> np.ndarray:
            return np.prod(np.cos((x + phase) * k), axis=1)

        start = np.prod(np.cos((np.array([0.5, -0.4]) + phase) * k) * np.exp(-0.5 * (0.15 * k) ** 2))
        sums = cloud.comm.allreduce(float(mode(cloud.positions).sum())) / n
        assert_allclose(sums, start * np.exp(-diffusion * t * (k @ k)), rtol=0, atol=4 / np.sqrt(n))


@pytest.mark.parametrize("domain", [CLOSED, TORUS], ids=["walls", "torus"])
def test_particles_follow_the_density(domain: kspde.Box) -> None:
    """In the density's domain they compare within their floor, the mean-field particles are near, and ranks agree."""
    save = kspde.SaveAt(times=np.linspace(0, 0.2, 5))
    pde = kspde.solve(MODEL, U0, domain, t_end=0.2, eps=0.25, tol=1e-5, save=save)
    given = {"t_end": 0.2, "dt": 0.02, "eps": 0.25, "domain": domain, "seed": 3}
    cloud = kspde.simulate(MODEL, U0, n=4000, mean_field=pde, **given)
    distance = kspde.compare(pde, cloud, distances=("l1", "wasserstein1", "relative_entropy_knn"), replicas=10)
    for name in ("l1", "wasserstein1", "relative_entropy_knn"):
        low, high = distance.floor[name].interval
        assert distance[name].value < high + (high - low), name
    assert cloud.coupling is not None
    assert 0 < cloud.coupling.supremum < 0.12
    alone = kspde.simulate(MODEL, U0, n=300, **given, comm=MPI.COMM_SELF)
    here = kspde.simulate(MODEL, U0, n=300, **given).gathered()
    if here is not None:
        assert_allclose(here, alone.positions, rtol=0, atol=1e-9)


def test_what_has_no_walls_is_refused() -> None:
    given = {"n": 10, "t_end": 0.1, "dt": 0.05, "eps": 0.25}
    disk = kspde.Disk(radius=2.0, size=0.5, boundary="neumann")
    wide = kspde.GaussianMixture(weights=[1.0], means=[[0.9, -0.4]], stds=[0.15])
    for more, words in [
        ({"domain": disk}, "has walls that particles do not know: give a closed or periodic Box"),
        ({"domain": 3}, "domain is a int"),
        ({"domain": kspde.Box(half_width=L, cells=4, dimension=3, boundary="periodic")}, "domain has dimension 3"),
        ({"domain": CLOSED, "u0": wide}, "of the initial mass of u lies outside of the domain"),
        ({"domain": CLOSED, "eps": None}, "give eps, so that particles interact by the mollified kernel"),
        ({"domain": CLOSED, "method": "finufft"}, "knows neither walls nor tori"),
    ]:
        with pytest.raises(kspde.InputError, match=words):
            kspde.simulate(MODEL, **{"u0": U0, **given, **more})


@pytest.mark.one_rank
def test_a_torus_is_resumed_and_another_domain_is_not(tmp_path) -> None:
    """With a field that relaxes, whose modes the checkpoint holds: bit for bit."""
    model = kspde.KellerSegel(chi=2.0, mu=1.0, tau=0.5)
    given = {"n": 200, "t_end": 0.3, "dt": 0.05, "eps": 0.3, "seed": 1}
    whole = kspde.simulate(model, U0, **given, domain=TORUS)
    checkpoint = kspde.Checkpoint(tmp_path, every=1e-9)
    kspde.simulate(model, U0, **given, domain=TORUS, checkpoint=checkpoint)
    again = kspde.simulate(model, U0, **given, domain=TORUS, checkpoint=checkpoint, resume=True)
    np.testing.assert_array_equal(again.positions, whole.positions)
    with pytest.raises(kspde.InputError, match="boundary"):
        kspde.simulate(model, U0, **given, domain=CLOSED, checkpoint=checkpoint, resume=True)


@dataclass(frozen=True, kw_only=True)
class Pushed(Model):
    """A drift to the left wall, and a diffusion that grows to the right."""

    dimension: int = 1
    species = ("u",)
    fields: tuple[Field, ...] = ()

    def diffusion(self, species: str, c: FieldValues) -> np.ndarray:
        return 0.4 + 0.1 * c.points[:, 0]

    def drift(self, species: str, c: FieldValues) -> np.ndarray:
        return np.full(c.points.shape, -1.5)


@pytest.mark.one_rank
@pytest.mark.parametrize(("scheme", "low", "high"), [("euler-maruyama", -0.052, -0.036), ("weak-2", -0.018, 0.0)])
def test_a_drift_into_a_wall(scheme: str, low: float, high: float) -> None:
    """The mean of a cosine against the backward equation by Chebyshev collocation, as tests/benchmarks/walls.py has it.

    Without reversed stages the error of weak-2 is -.032.
    """
    box = kspde.Box(half_width=1.0, cells=4, dimension=1, boundary="neumann")
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5]], stds=[0.1])
    cloud = kspde.simulate(Pushed(), u0, n=100_000, t_end=0.5, dt=0.25, scheme=scheme, domain=box)
    assert low < np.cos(0.5 * np.pi * (cloud.positions[:, 0] + 1)).mean() - 0.2894805 < high
