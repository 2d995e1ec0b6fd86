"""The adaptive scheme changes its method where the diffusion coefficient begins to vary too much."""

import numpy as np
import pytest

import kspde
from kspde.initial import InitialDensity

L = 3.0
#: Its constant state 3 is unstable: ū > 1 + λ₁, λ₁ = (π/2L)². Aggregates form, where γ = e^(−v) becomes small.
MODEL = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=1.0)
BOX = kspde.Box(half_width=L, cells=5, degree=6, boundary="neumann", grading=0)
POINTS = [(0.0, 0.0), (-2.5, -2.5), (2.9, 2.9)]


class Waves(InitialDensity):
    dimension = 2
    mass = 3.0 * (2 * L) ** 2

    def __call__(self, points):
        waves = np.cos(np.pi * (points + L) / (2 * L))
        return 3.0 + waves @ [0.3, 0.2]

    def sample(self, rng, ids):
        raise NotImplementedError

    def mass_outside(self, half_width):
        return 0.0


def run(**options):
    return kspde.solve(MODEL, Waves(), BOX, **{"t_end": 80.0, "tol": 1e-5, **options})


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    return run(tol=1e-6, scheme="rosenbrock").evaluate(POINTS)


def test_hand_over(exact) -> None:
    pde = run()
    method = pde.summary()["method"]
    assert method.startswith("Lawson")
    assert method.endswith("rosw ra34pw2")
    assert "from t = 6" in method
    np.testing.assert_allclose(pde.evaluate(POINTS), exact, rtol=1e-3)
    t = pde.diagnostics["t"]
    assert t[0] == 0.0
    assert t[-1] == 80.0
    assert np.all(np.diff(t) > 0)
    assert len(t) == pde.summary()["steps"] + 1
    assert np.abs(pde.diagnostics["mass"] / Waves.mass - 1).max() < 1e-12


def test_petsc_options_are_for_petsc() -> None:
    plain, options = run(t_end=1.0), run(t_end=1.0, petsc_options={"ts_rosw_type": "ra3pw"})
    assert plain.summary()["method"] == "Lawson, Dormand-Prince 5(4)"
    assert options.summary()["method"] == "rosw ra3pw"


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("cut", [pytest.param(40.0, marks=pytest.mark.one_rank), 75.0])
def test_restart_on_either_side(shared_tmp_path, comm, cut) -> None:
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", every=0)

    def power_cut(done: float) -> None:
        if done * 80.0 > cut:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        run(checkpoint=checkpoint, progress=power_cut)
    comm.Barrier()
    resumed, whole = run(checkpoint=checkpoint, resume=True), run()
    np.testing.assert_allclose(resumed.diagnostics["t"], whole.diagnostics["t"], rtol=1e-9)
    np.testing.assert_allclose(resumed.evaluate(POINTS), whole.evaluate(POINTS), rtol=1e-9)


@pytest.mark.one_rank
def test_a_first_step_far_too_long(mixture) -> None:
    """The wild stages of rejected steps must not enter the bound of D."""
    model = kspde.LocalSensing(motility=lambda v: np.exp(-np.minimum(v, 2.0)), chi=300.0)
    narrow = kspde.GaussianMixture(weights=(1.0,), means=((0.3, 0.2),), stds=(0.8,))
    box = kspde.Box(half_width=5.0, cells=8, degree=8, boundary="neumann")
    for scheme in ("adaptive", "rosenbrock"):
        values = [
            kspde.solve(model, narrow, box, t_end=5.0, tol=tol, scheme=scheme).evaluate(POINTS) for tol in (1e-4, 1e-6)
        ]
        np.testing.assert_allclose(values[0], values[1], atol=1e-4)


@pytest.mark.one_rank
@pytest.mark.parametrize("d", [0.0, 1e-200])
def test_a_density_that_is_carried_without_diffusion(d) -> None:
    """On a mesh the matrices of linear systems are divided by D."""

    class Carried(kspde.Model):
        fields = ()

        def diffusion(self, species, c):
            return d

        def drift(self, species, c):
            return np.tile([0.4, 0.0], (len(c.points), 1))

    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.2]], stds=[0.9], mass=2.0)
    pde = kspde.solve(Carried(), u0, kspde.Disk(radius=5.5, size=0.3), t_end=0.5, tol=1e-4)
    np.testing.assert_allclose(pde.masses["u"], 2.0, rtol=1e-12)
    x = np.array([[0.5, 0.2], [1.0, 0.8], [-0.4, 0.2]])
    np.testing.assert_allclose(pde.evaluate(x), u0(x - [0.2, 0.0]), rtol=0, atol=0.01)
