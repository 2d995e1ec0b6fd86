"""The positive scheme of order 2: its order, its limiter, its step control; runs that go on, ranks that agree."""

from dataclasses import dataclass

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.initial import InitialDensity

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
PARABOLIC = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=3.0, tau=1.0)
AXIS = np.linspace(-9, 9, 121)
POINTS = [(0.0, 0.0), (1.0, 0.5), (3.0, 3.0)]


def l1(values: np.ndarray) -> float:
    return float(np.abs(values).sum() * (AXIS[1] - AXIS[0]) ** 2)


def box(cells: int) -> kspde.Box:
    return kspde.Box(half_width=14.0, cells=cells, degree=1)


def positive(mixture, cells: int, **options):
    pde = kspde.solve(MODEL, mixture, box(cells), t_end=0.5, scheme="positive-2", **options)
    assert pde.diagnostics["minimum"].min() >= 0.0
    assert np.abs(pde.diagnostics["mass"] - 1).max() < 1e-13
    return pde


def on_axes(mixture, cells: int, **options) -> np.ndarray:
    return positive(mixture, cells, **options).on_grid([AXIS, AXIS])


@pytest.mark.one_rank
def test_order_two_in_space_and_time_on_the_check_problem(mixture) -> None:
    """Against a density whose points agree with the Fourier solution (test_check_numbers.py)."""
    accurate = kspde.Box(half_width=14.0, cells=20, degree=8)
    exact = kspde.solve(MODEL, mixture, accurate, t_end=0.5, tol=1e-7).on_grid([AXIS, AXIS])
    errors = [l1(on_axes(mixture, cells, dt=dt) - exact) for cells, dt in ((48, 0.05), (96, 0.025))]
    rate = np.log2(errors[0] / errors[1])
    assert 1.7 < rate < 2.3, f"errors {errors}, rate {rate:.2f}"
    assert errors[1] < 2.5e-3
    first = kspde.solve(MODEL, mixture, box(96), t_end=0.5, scheme="positive", dt=0.025).on_grid([AXIS, AXIS])
    assert l1(first - exact) > 5 * errors[1]


@pytest.mark.one_rank
def test_order_two_in_time_and_tolerance_in_error_out(mixture) -> None:
    """Against the same mesh with a small step."""
    exact = on_axes(mixture, 40, dt=0.003125)
    errors = [l1(on_axes(mixture, 40, dt=dt) - exact) for dt in (0.05, 0.025, 0.0125)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((rates > 1.65) & (rates < 2.3)), f"errors {errors}, rates {rates}"
    assert errors[-1] < 2e-4
    steps = []
    for tol in (1e-2, 1e-3):
        pde = positive(mixture, 40, tol=tol)
        error = l1(pde.on_grid([AXIS, AXIS]) - exact)
        assert error < tol, f"tol {tol:g}: L1 error {error:.3e}"
        steps.append(pde.summary()["steps"])
    assert steps[1] / steps[0] == pytest.approx(10**0.5, rel=0.1)  # no more than the order asks for


@dataclass(frozen=True, kw_only=True)
class Line(kspde.LocalSensing):
    dimension: int = 1


@dataclass(frozen=True, kw_only=True)
class Chase(kspde.Model):
    """On a line: a follows b, b flees from a, slowly where a is dense."""

    dimension: int = 1
    species = ("a", "b")

    @property
    def fields(self):
        return tuple(kspde.Field(name=s, kernel=kspde.Yukawa(), source=s, gradient=True) for s in self.species)

    def diffusion(self, species, c):
        return 0.2 if species == "a" else 0.3 * np.exp(-c["a"])

    def drift(self, species, c):
        return 2.0 * c.gradient("b") if species == "a" else -c.gradient("a")


class Wave(InitialDensity):
    """1 + cos(kx)/2 on [−π, π]: nowhere near 0."""

    dimension = 1

    def __init__(self, k: int) -> None:
        self.k = k
        self.mass = 2 * np.pi

    def __call__(self, x):
        return 1 + 0.5 * np.cos(self.k * x[:, 0])

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        raise NotImplementedError


WAVES = {
    "instant": (Line(motility=kspde.ExponentialMotility(), chi=2.0), Wave(1)),
    "parabolic": (Line(motility=kspde.AlgebraicMotility(), chi=4.0, tau=1.0), Wave(2)),
    "drift": (Chase(), {"a": Wave(1), "b": Wave(2)}),
}


@pytest.mark.one_rank
@pytest.mark.parametrize("case", WAVES)
def test_order_two_without_the_limiter_where_the_density_is_smooth_and_positive(case) -> None:
    model, u0 = WAVES[case]
    domain = kspde.Box(half_width=np.pi, cells=60, degree=1, dimension=1, boundary="neumann", grading=0.0)
    x = np.linspace(-3, 3, 61)[:, None]

    def final(dt: float) -> tuple[np.ndarray, np.ndarray]:
        pde = kspde.solve(model, u0, domain, t_end=0.8, scheme="positive-2", dt=dt)
        assert pde.summary()["held_back"] == 0.0
        densities = [pde.evaluate(x, s) for s in model.species]
        return np.stack(densities), np.stack([pde.evaluate_signal(x, f.name) for f in model.fields])

    u, v = final(0.00625)
    finals = [final(dt) for dt in (0.2, 0.1, 0.05)]
    assert np.abs(finals[-1][1] - v).mean() < 1e-4
    errors = [np.abs(new - u).mean() for new, _ in finals]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((rates > 1.75) & (rates < 2.3)), f"errors {errors}, rates {rates}"
    assert 1e-6 < errors[-1] < 2e-3


def stepper(model, order: int, nodal_of):
    """A stepper of one species on a line, and the unknowns it starts from."""
    from kspde.fem.schemes.extrapolation import PositiveSteps
    from kspde.fem.semidiscretisation import Semidiscretisation
    from kspde.fem.spaces.box import BoxSpace

    line = kspde.Box(half_width=8.0, cells=120, degree=1, dimension=1, grading=2.0)
    system = Semidiscretisation(model, model.fields, BoxSpace(line, MPI.COMM_SELF))
    u = nodal_of(system.space.points[:, 0]).reshape(system.space.mass.shape)
    made = PositiveSteps(system, {}, order)
    unknowns = system.start(u[None] / system.space.integral(u)[0])
    made.begin(unknowns)
    return made, unknowns, system.space


def test_the_limiter_acts_where_the_extrapolation_is_negative_and_nowhere_else() -> None:
    model = Line(motility=kspde.ExponentialMotility(), chi=2.0)
    for nodal_of, negative in ((lambda x: np.exp(-8 * x**2), True), (lambda x: 2 + np.cos(x), False)):
        second, u, space = stepper(model, 2, nodal_of)
        first, _, _ = stepper(model, 1, nodal_of)
        with second, first:
            dt = 0.05
            one = first.step(u, dt)[0]
            two = first.step(first.step(u, dt / 2)[0], dt / 2)[0]
            limited = second.step(u, dt)[0]
        extrapolated = 2 * two - one
        if negative:
            assert extrapolated.min() < -1e-5 * u.max()
            assert limited.min() >= 0.0
            assert second.held_back > 1e-4
            # It still is far closer to the extrapolation than what it falls back to.
            distances = [space.integral(np.abs(v - extrapolated)[0])[0] for v in (limited, two)]
            assert distances[0] < 0.1 * distances[1]
        else:
            assert second.held_back == 0.0
            np.testing.assert_allclose(limited, extrapolated, rtol=1e-11)
            assert np.abs(two - one).max() > 1e-4
        np.testing.assert_allclose(space.integral(limited[0]), 1.0, rtol=1e-13)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("domain", "most"),
    [(kspde.Box(half_width=8.0, cells=48, degree=1), 300), (kspde.Disk(radius=8.0, size=0.3), 220)],
)
def test_the_preconditioner_of_a_drift_follows_its_matrix(domain, most) -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.0]], stds=[0.9])
    pde = kspde.solve(Chase(dimension=2), {"a": u0, "b": u0}, domain, t_end=0.2, eps=0.3, scheme="positive-2", dt=0.02)
    assert pde.summary()["linear_iterations"] < most


@pytest.mark.one_rank
def test_mass_over_five_hundred_steps() -> None:
    model = Line(motility=kspde.ExponentialMotility(alpha=2.0), chi=20.0)
    spike, u, space = stepper(model, 2, lambda x: 1.0 * (np.abs(x - 0.3) < 0.1))
    with spike:
        for _ in range(500):
            u, _ = spike.step(u, 0.01)
            assert u.min() >= 0.0
    np.testing.assert_allclose(space.integral(u[0]), 1.0, rtol=1e-12)


class PowerCutError(Exception):
    """Raised in the middle of a run."""


RUNS = {
    "box": (MODEL, box(32), {"dt": 0.02}),
    "parabolic": (PARABOLIC, box(32), {"tol": 3e-3}),
    "disk": (MODEL, kspde.Disk(radius=14.0, size=0.3, rim_size=2.5), {"tol": 3e-3}),
}


@pytest.mark.parametrize("case", RUNS)
def test_runs_go_on_and_ranks_agree(mixture, shared_tmp_path, comm, case) -> None:
    model, domain, control = RUNS[case]
    options = {"t_end": 0.3, "eps": 0.3, "scheme": "positive-2", "save": kspde.SaveAt(times=[0.1, 0.2]), **control}
    undisturbed = kspde.solve(model, mixture, domain, **options)
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", every=0)

    def cut(done: float) -> None:
        if done > 0.5:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        kspde.solve(model, mixture, domain, checkpoint=checkpoint, progress=cut, **options)
    comm.Barrier()
    seen: list[float] = []
    again = kspde.solve(model, mixture, domain, checkpoint=checkpoint, resume=True, progress=seen.append, **options)
    assert seen[0] > 0.3
    alone = kspde.solve(model, mixture, domain, comm=MPI.COMM_SELF, **options)
    for other in (again, alone):
        for t in (0.1, 0.15, 0.3):
            np.testing.assert_allclose(
                other.evaluate(POINTS, t=t), undisturbed.evaluate(POINTS, t=t), rtol=0, atol=1e-10
            )
        for name, values in undisturbed.diagnostics.items():
            np.testing.assert_allclose(other.diagnostics[name], values, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "neither dt nor tol is given: positive-2 needs a fixed step > 0, or a tolerance"),
        ({"dt": 0.1, "tol": 1e-3}, r"dt = 0\.1 has no effect beside tol = 0\.001"),
        ({"dt": 0.0}, r"dt = 0\.0 is not valid: give a finite number > 0"),
        ({"tol": 2.0}, r"tol = 2\.0 is not valid"),
        ({"dt": 0.1, "domain": kspde.Box(half_width=14.0, cells=10, degree=4)}, "degree = 4 is not valid .* degree=1"),
    ],
)
def test_bad_input(mixture, options, words) -> None:
    domain = options.pop("domain", box(40))
    with pytest.raises(kspde.InputError, match=words) as caught:
        kspde.solve(MODEL, mixture, domain, t_end=0.1, scheme="positive-2", **options)
    assert "\n" not in str(caught.value)
