"""Mean-field particles beside the interacting ones: known fields, shared noise, the law, the distance."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pytest
from mpi4py import MPI
from scipy import stats

import kspde
from kspde.models.base import Field, FieldValues, Model
from kspde.particles import Coupling
from kspde.particles.fields.base import Extent
from kspde.particles.sampled_field import SampledField
from kspde.runtime.random import Philox

KELLER_SEGEL = kspde.SignalDependentKellerSegel(chi=8.0)


@dataclass(frozen=True, kw_only=True)
class Drifting(Model):
    """dX = ∇c dt + √(2 (1 + c²)) dB."""

    dimension: int = 2

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field(name="c", kernel=kspde.Yukawa(), gradient=True),)

    def diffusion(self, species, c: FieldValues):
        return 1.0 + c["c"] ** 2

    def drift(self, species, c: FieldValues):
        return c.gradient("c")


def wave(x, t):
    """A field and its gradient at points (n, d)."""
    k = np.array([0.7, -0.4, 0.3])[: x.shape[1]]
    phase = x @ k + 2.0 * t
    return np.sin(phase), np.cos(phase)[:, None] * k


@dataclass
class Wave:
    """A field known in closed form, as a mean field."""

    model: Model
    t_end: float = 1.0
    half_width: float = math.inf

    def signal_on_grid(self, axes, field=None, t=None):
        assert field == "c"
        if max(np.abs(axis).max() for axis in axes) > self.half_width:
            raise kspde.InputError("points lie outside the box")
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return wave(grid.reshape(-1, len(axes)), t)[0].reshape(grid.shape[:-1])


def gaussian(dimension):
    return kspde.GaussianMixture(weights=[1.0], means=[[0.0] * dimension], stds=[1.0])


def warned(line):
    """Expect a warning, which rank 0 gives."""
    return pytest.warns(kspde.KspdeWarning, match=line) if MPI.COMM_WORLD.rank == 0 else nullcontext()


def everywhere(cloud):
    return cloud.comm.bcast(cloud.gathered())


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_mean_field_particles_follow_the_given_field_with_the_same_start_and_noise(dimension):
    n, dt, steps = 200, 0.1, 4
    model = Drifting(dimension=dimension)
    cloud = kspde.simulate(
        model, gaussian(dimension), n=n, t_end=steps * dt, dt=dt, eps=1.0, seed=5, mean_field=Wave(model)
    )
    ids = np.arange(n, dtype=np.uint64)
    start = gaussian(dimension).sample(Philox(5, 0), ids)
    x, history = start, [np.mean(start**2) * dimension]
    for step in range(steps):
        c, slope = wave(x, step * dt)
        noise = Philox(5, 1).normals(ids, step, dimension)
        x = x + dt * slope + np.sqrt(2 * (1 + c**2) * dt)[:, None] * noise
        history.append((x**2).sum(axis=1).mean())
    np.testing.assert_allclose(everywhere(cloud.mean_field), x, atol=2e-5)
    np.testing.assert_allclose(cloud.mean_field.diagnostics["second_moment"], history, rtol=1e-5)
    summary = cloud.summary()["mean_field"]
    assert 0 < summary["error"]["c"] < 1e-6
    distance = np.sqrt(((everywhere(cloud) - x) ** 2).sum(axis=1)).max()
    assert cloud.coupling.distance.shape == (steps + 1, 1)
    assert cloud.coupling.distance[0, 0] == 0
    assert cloud.coupling.distance[-1, 0] == pytest.approx(distance, rel=1e-4)
    assert cloud.coupling.supremum == cloud.coupling.distance.max() == summary["largest_distance"]


def test_particles_in_space_whose_field_a_window_gives_beside_mean_field_particles():
    model, found = Drifting(dimension=3), []
    options = {"n": 1000, "t_end": 0.3, "dt": 0.1, "eps": 0.6, "seed": 5, "field_tol": 1e-5, "mean_field": Wave(model)}
    for method in ("mesh", "direct"):
        found.append(kspde.simulate(model, gaussian(3), method=method, **options))
    mesh, direct = found
    assert mesh.summary()["spacing"] > 0.2  # splines would ask for less than a half of that
    np.testing.assert_allclose(everywhere(mesh), everywhere(direct), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(everywhere(mesh.mean_field), everywhere(direct.mean_field))
    np.testing.assert_allclose(mesh.coupling.distance, direct.coupling.distance, rtol=0, atol=1e-7)


def test_the_interacting_particles_are_those_of_a_run_without_mean_field_particles():
    model = Drifting()
    options = {"n": 100, "t_end": 0.2, "dt": 0.1, "eps": 1.0}
    alone = kspde.simulate(model, gaussian(2), **options)
    assert np.array_equal(
        alone.positions, kspde.simulate(model, gaussian(2), mean_field=Wave(model), **options).positions
    )
    assert alone.mean_field is None
    assert alone.coupling is None


@pytest.mark.one_rank
def test_a_rough_field_is_sampled_more_finely():
    @dataclass
    class Rough(Wave):
        def signal_on_grid(self, axes, field=None, t=None):
            x, y = np.meshgrid(*axes, indexing="ij")
            return np.sin(6 * x) * np.cos(5 * y)

    model = Drifting()
    options = {"n": 100, "t_end": 0.1, "dt": 0.1, "eps": 1.0}
    nodes, error = [], []
    for tol in (1e-2, 1e-4, 1e-6):
        cloud = kspde.simulate(model, gaussian(2), mean_field=Rough(model), field_tol=tol, **options)
        nodes.append(max(cloud.summary()["mean_field"]["nodes"]))
        error.append(cloud.summary()["mean_field"]["error"]["c"])
        assert error[-1] < tol
    assert nodes[0] < nodes[1] < nodes[2]


@pytest.mark.one_rank
def test_the_error_of_the_splines_is_the_largest_over_time():
    @dataclass
    class Calming(Wave):
        def signal_on_grid(self, axes, field=None, t=None):
            x, y = np.meshgrid(*axes, indexing="ij")
            return np.sin((4.0 if t == 0 else 0.4) * x) * np.cos(y)

    model = Drifting()
    runs = [
        kspde.simulate(model, gaussian(2), n=50, t_end=steps * 0.1, dt=0.1, eps=1.0, mean_field=Calming(model))
        for steps in (1, 3)
    ]
    first, last = (run.summary()["mean_field"]["error"]["c"] for run in runs)
    assert first == last > 1e-8


def test_a_domain_that_is_just_large_enough():
    # The margin of the first, coarse grid would not fit.
    model = Drifting()
    options = {"n": 500, "t_end": 0.01, "dt": 0.01, "eps": 1.0}
    x = gaussian(2).sample(Philox(0, 0), np.arange(500, dtype=np.uint64))
    half_width = 1.35 * np.abs(x).max()
    cloud = kspde.simulate(model, gaussian(2), mean_field=Wave(model, half_width=half_width), **options)
    assert cloud.summary()["mean_field"]["error"]["c"] < 1e-6


def test_without_interaction_mean_field_particles_are_the_particles(mixture):
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    cloud = kspde.simulate(model, mixture, n=50, t_end=0.3, dt=0.1, mean_field=Wave(model))
    assert np.array_equal(cloud.positions, cloud.mean_field.positions)
    assert cloud.coupling.supremum == 0
    assert cloud.coupling.stopping_time(0.5) == math.inf


def test_stopping_time_is_the_first_crossing():
    coupling = Coupling(
        t=np.array([0.0, 0.1, 0.2, 0.3]), distance=np.array([[0.0], [0.05], [0.3], [0.2]]), n={"u": 100}
    )
    assert coupling.stopping_time(0.5) == 0.2  # 100^-0.5 = 0.1
    assert coupling.stopping_time(math.log(1 / 0.05) / math.log(100) + 1e-12) == 0.1
    assert coupling.stopping_time(0.1) == math.inf  # 100^-0.1 = 0.63
    several = replace(coupling, distance=np.array([[0, 0], [0.2, 0], [0, 0], [0, 0.9]]), n={"a": 4, "b": 100})
    assert several.stopping_time(0.5) == 0.3
    with pytest.raises(kspde.InputError, match="alpha = 0 is not valid"):
        coupling.stopping_time(0)


@pytest.fixture(scope="module")
def solved():
    mixture = kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )
    return kspde.solve(
        KELLER_SEGEL,
        mixture,
        kspde.Box(half_width=14.0, cells=20, degree=5),
        t_end=0.5,
        eps=0.3,
        tol=1e-6,
        save=kspde.SaveAt(times=np.linspace(0, 0.5, 11)),
    )


@pytest.mark.one_rank
def test_the_distance_falls_as_it_should(mixture, solved):
    # Trials elsewhere: .024 at N = 250 and .0036 at N = 16 000, with a spread of a quarter from run to run.
    options = {"t_end": 0.5, "dt": 0.025, "eps": 0.3, "mean_field": solved, "field_tol": 1e-4}
    few = [kspde.simulate(KELLER_SEGEL, mixture, n=250, seed=s, **options).coupling for s in range(8)]
    many = [kspde.simulate(KELLER_SEGEL, mixture, n=16_000, seed=s, **options).coupling for s in range(2)]
    assert 0.017 < np.mean([c.supremum for c in few]) < 0.031
    assert 0.0025 < np.mean([c.supremum for c in many]) < 0.0052
    assert all(c.stopping_time(0.1) == math.inf for c in few + many)
    assert all(0 < c.stopping_time(1.5) < 0.1 for c in few + many)


def test_the_law_of_mean_field_particles_is_the_density(mixture, solved):
    n = 40_000
    cloud = kspde.simulate(
        KELLER_SEGEL, mixture, n=n, t_end=0.5, dt=0.025, eps=0.3, mean_field=solved, scheme="weak-2", field_tol=1e-4
    )
    x = everywhere(cloud.mean_field)
    axis = np.linspace(-12, 12, 481)
    density = solved.on_grid([axis, axis])
    for i in range(2):
        marginal = density.sum(axis=1 - i) * (axis[1] - axis[0])
        cdf = np.concatenate([[0.0], np.cumsum(0.5 * (marginal[1:] + marginal[:-1]))]) * (axis[1] - axis[0])
        assert cdf[-1] == pytest.approx(1.0, abs=1e-4)
        assert stats.kstest(np.interp(x[:, i], axis, cdf / cdf[-1]), "uniform").pvalue > 1e-3
    second = solved.diagnostics["second_moment"][-1]
    squares = (x**2).sum(axis=1)
    assert squares.mean() == pytest.approx(second, abs=4.5 * squares.std() / np.sqrt(n))


@dataclass
class SavedWave(Wave):
    """The wave, known at some times, and between them by cubic Hermite interpolation."""

    times: np.ndarray | None = None

    def signal_on_grid(self, axes, field=None, t=None):
        k = min(max(int(np.searchsorted(self.times, t)) - 1, 0), len(self.times) - 2)
        start, end = self.times[k : k + 2]
        h, s = end - start, (t - start) / (end - start)
        value, slope = {}, {}
        for end_point, time in enumerate((start, end)):
            value[end_point] = super().signal_on_grid(axes, field, time)
            delta = 1e-5
            change = super().signal_on_grid(axes, field, time + delta) - super().signal_on_grid(
                axes, field, time - delta
            )
            slope[end_point] = change / (2 * delta)
        out = (1 + 2 * s) * (1 - s) ** 2 * value[0] + s**2 * (3 - 2 * s) * value[1]
        return out + h * s * (1 - s) * ((1 - s) * slope[0] - s * slope[1])


@pytest.mark.one_rank
@pytest.mark.parametrize("times", [np.linspace(0, 1, 5), np.array([0.0, 0.1, 0.5, 0.8, 1.0])])
def test_the_error_between_saved_times_is_measured(times):
    # sin(phase + 2t): ∂_t⁴ = 16 sin, so that the error is h⁴/384 · 16 of the supremum, within an interval of length h.
    model = Drifting()
    source = SavedWave(model, times=times)
    options = {"n": 50, "t_end": 1.0, "dt": 0.05, "eps": 1.0, "seed": 1}
    cloud = kspde.simulate(model, gaussian(2), mean_field=source, **options)
    summary = cloud.summary()["mean_field"]
    expected = 16 * np.diff(times).max() ** 4 / 384
    assert 0.6 * expected < summary["time_error"]["c"] < 1.5 * expected
    assert cloud.coupling.field_error["c"] == summary["error"]["c"] + summary["time_error"]["c"]
    # ... and it moves the mean-field particles no more than that.
    exact = kspde.simulate(model, gaussian(2), mean_field=Wave(model), **options)
    assert exact.coupling.field_error["c"] == exact.summary()["mean_field"]["error"]["c"]
    moved = np.abs(everywhere(cloud.mean_field) - everywhere(exact.mean_field)).max()
    assert 0 < moved < 5 * expected


@pytest.mark.one_rank
def test_steps_at_saved_times_have_no_error_in_time():
    model = Drifting()
    source = SavedWave(model, times=np.linspace(0, 1, 11))
    options = {"n": 50, "t_end": 1.0, "eps": 1.0, "mean_field": source}
    cloud = kspde.simulate(model, gaussian(2), dt=0.1, **options)
    assert cloud.summary()["mean_field"]["time_error"] == {"c": 0.0}
    # The stages of the scheme of order 2 lie between.
    second = kspde.simulate(model, gaussian(2), dt=0.1, scheme="weak-2", **options)
    assert second.summary()["mean_field"]["time_error"]["c"] == pytest.approx(16 * 0.1**4 / 384, rel=0.3)


@pytest.mark.one_rank
def test_one_interval_is_judged_by_lower_degrees():
    # Degree 2 against 3: h³/48 · |∂_t³|, here with h = 1 and 8 cos; the error itself is 16/384.
    model = Drifting()
    source = SavedWave(model, times=np.array([0.0, 1.0]))
    with warned("off between its saved times"):
        cloud = kspde.simulate(model, gaussian(2), n=50, t_end=1.0, dt=0.25, eps=1.0, mean_field=source)
    assert 0.6 * 8 / 48 < cloud.coupling.field_error["c"] < 1.2 * 8 / 48


@dataclass(frozen=True, kw_only=True)
class Pulled(Model):
    """dX = −m (1, 0) dt + √2 dB with the moment m of sin x₁, whose mean may vanish."""

    dimension: int = 2
    fields = ()

    @property
    def moments(self):
        return (kspde.Moment(name="m", function=lambda x: np.sin(x[:, 0])),)

    def diffusion(self, species, c: FieldValues):
        return 1.0

    def drift(self, species, c: FieldValues):
        return np.stack([-c.moment("m") * np.ones(len(c.points)), np.zeros(len(c.points))], axis=1)


@dataclass
class SavedMoment:
    """∫φu = sin 2t, by Hermite's cubic polynomial of one interval."""

    model: Model
    times: tuple[float, ...] = (0.0, 1.0)
    t_end: float = 1.0

    def signal_on_grid(self, axes, field=None, t=None):
        raise AssertionError("there is no field")

    def moment(self, name, t=None):
        ends = np.array([np.sin(0.0), np.sin(2.0), 2.0, 2.0 * np.cos(2.0)])
        s = t
        return ends @ [(1 + 2 * s) * (1 - s) ** 2, s**2 * (3 - 2 * s), s * (1 - s) ** 2, -(s**2) * (1 - s)]


@pytest.mark.one_rank
def test_moments_between_two_saved_times_are_judged_and_warned_of():
    # Degree 2 against 3, h³/48 |∂_t³| with 8 cos 2t, relative to E|sin X₁|: a moment that vanishes has a size.
    model = Pulled()
    with warned("off between its saved times, by up to: m by .* save more times"):
        cloud = kspde.simulate(model, gaussian(2), n=200, t_end=1.0, dt=0.25, mean_field=SavedMoment(model))
    source = SavedMoment(model)
    difference = 0.25 * (0.0 - source.moment("m", 1.0)) + 0.125 * (2.0 + 2.0 * np.cos(2.0))
    size = abs(difference) / cloud.coupling.field_error["m"]
    assert 0.3 < size < 1.0
    assert cloud.summary()["mean_field"]["time_error"]["m"] == cloud.coupling.field_error["m"]


@pytest.mark.one_rank
def test_the_error_in_time_of_a_solution(mixture, solved):
    # Against the same solution saved four times as often, in the middle of the intervals.
    options = {"t_end": 0.5, "eps": 0.3, "tol": 1e-7}
    box = kspde.Box(half_width=14.0, cells=20, degree=5)
    fine = kspde.solve(KELLER_SEGEL, mixture, box, save=kspde.SaveAt(times=np.linspace(0, 0.5, 41)), **options)
    coarse = kspde.solve(KELLER_SEGEL, mixture, box, save=kspde.SaveAt(times=np.linspace(0, 0.5, 6)), **options)
    axes = [np.linspace(-3, 3, 25)] * 2
    actual = 0.0
    for t in 0.05 + 0.1 * np.arange(5):
        exact = fine.signal_on_grid(axes, t=t)
        actual = max(actual, np.abs(coarse.signal_on_grid(axes, t=t) - exact).max() / exact.max())
    cloud = kspde.simulate(KELLER_SEGEL, mixture, n=500, t_end=0.5, dt=0.05, eps=0.3, mean_field=coarse)
    found = cloud.summary()["mean_field"]["time_error"]["v"]
    assert 0.3 * actual < found < 3 * actual


def test_another_problems_solution_is_refused_unless_it_is_meant(mixture, solved):
    options = {"n": 100, "t_end": 0.1, "dt": 0.05, "mean_field": solved}
    other = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    for u0, change, message, differs in (
        (mixture, {"eps": 0.4}, "mean_field has eps = 0.3, the particles 0.4: give both the same", "eps"),
        (
            mixture,
            {"eps": 0.3, "mollifier": "matern"},
            r"mean_field has mollifier = GaussianMollifier\(eps=0.3\), the particles MaternMollifier\(eps=0.3",
            "eps",
        ),
        (
            mixture,
            {"eps": 0.3, "mollifier": lambda *, eps: kspde.GaussianMollifier(eps=2 * eps)},
            "mean_field has mollifier.eps = 0.3, the particles 0.6",
            "eps",
        ),
        (
            mixture,
            {"eps": 0.3, "initial": "mollified"},
            "mean_field has initial = u0, the particles mollified: give both the same",
            "initial",
        ),
        (other, {"eps": 0.3}, "mean_field has another u0 than the particles: give both the same", "initial"),
    ):
        with pytest.raises(kspde.InputError, match=message):
            kspde.simulate(KELLER_SEGEL, u0, **options | change)
        cloud = kspde.simulate(KELLER_SEGEL, u0, mean_field_differs=(differs,), **options | change)
        assert cloud.coupling.supremum > 0
    same = kspde.GaussianMixture(weights=mixture.weights, means=mixture.means, stds=mixture.stds)
    kspde.simulate(KELLER_SEGEL, same, eps=0.3, **options)
    for differs, message in (
        ("eps", r"mean_field_differs = 'eps' is not valid: give a tuple of names"),
        (("chi",), r"mean_field_differs = 'chi' is not valid: give one of eps, initial"),
    ):
        with pytest.raises(kspde.InputError, match=message):
            kspde.simulate(KELLER_SEGEL, mixture, eps=0.3, mean_field_differs=differs, **options)
    alone = options | {"mean_field": None, "mean_field_differs": ("eps",)}
    with pytest.raises(kspde.InputError, match="mean_field_differs is given without mean_field: give mean_field too"):
        kspde.simulate(KELLER_SEGEL, mixture, eps=0.3, **alone)


def test_mean_field_particles_do_not_depend_on_the_number_of_ranks(comm):
    model = Drifting()
    options = {"n": 101, "t_end": 0.3, "dt": 0.1, "eps": 1.0, "mean_field": Wave(model)}
    here = kspde.simulate(model, gaussian(2), comm=MPI.COMM_SELF, **options)
    there = kspde.simulate(model, gaussian(2), comm=comm, **options)
    np.testing.assert_allclose(everywhere(there.mean_field), here.mean_field.positions, rtol=0, atol=1e-11)
    np.testing.assert_allclose(there.coupling.distance, here.coupling.distance, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("mean_field", "kind", "message"),
    [
        (3, kspde.InputError, "mean_field is a int without signal_on_grid: give what kspde.solve returned"),
        (Wave(Drifting(), t_end=0.1), kspde.InputError, "mean_field ends at t = 0.1: t_end = 0.2 needs a longer"),
        (Wave(KELLER_SEGEL), kspde.InputError, "mean_field solves SignalDependentKellerSegel"),
        (
            Wave(Drifting(), half_width=3.0),
            kspde.InputError,
            r"points lie outside the box \(the mean-field particles need the field at t = 0 on \[",
        ),
    ],
)
def test_bad_mean_fields(mean_field, kind, message):
    with pytest.raises(kind, match=message):
        kspde.simulate(Drifting(), gaussian(2), n=100, t_end=0.2, dt=0.1, eps=1.0, mean_field=mean_field)


def test_mean_field_particles_that_leave_the_domain_name_the_step():
    model = Drifting()
    with pytest.raises(
        kspde.ConvergenceError,
        match=r"^step [1-9].*: points lie outside the box \(the mean-field particles need the field at t =",
    ):
        kspde.simulate(
            model, gaussian(2), n=100, t_end=50.0, dt=5.0, eps=1.0, mean_field=Wave(model, t_end=50.0, half_width=12.0)
        )


@pytest.mark.one_rank
@pytest.mark.parametrize(("smooth", "most", "error"), [(True, 2_100_000, 1e-6), (False, 150_000, 5e-4)])
def test_splines_of_a_field_with_kinks_are_not_refined_for_nothing(smooth, most, error):
    grid = SampledField(2, coarse=32, most=2_100_000)

    def function(x, y):
        kinks = np.interp(x, np.linspace(-3, 3, 25), 0.05 * np.cos(np.arange(25)))
        return np.sin(x) * np.cos(2 * y) + (0.0 if smooth else kinks)

    def sample():
        axes, (checks, points) = grid.axes, grid.midpoints()
        values = function(*np.meshgrid(*axes, indexing="ij"))
        grid.interpolate("c", values)
        found = np.empty(len(points))
        grid.at("c", points, found)
        exact = function(*np.meshgrid(*checks, indexing="ij"))
        return float(np.abs(found - exact.ravel()).max() / np.abs(values).max())

    found = grid.resolve(Extent(np.full(2, -2.0), np.full(2, 2.0)), sample, 1e-6)
    assert found < error
    assert np.prod(grid.shape) < most
    shape = grid.shape
    grid.resolve(Extent(np.full(2, -2.0), np.full(2, 2.0)), sample, 1e-6)
    assert grid.shape == shape
