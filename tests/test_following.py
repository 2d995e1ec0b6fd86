"""Callbacks that follow a run and end it, on the heat equation, whose maximum passes a value at a known time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import kspde


@dataclass(frozen=True, kw_only=True)
class Heat(kspde.Model):
    """∂_t u = ∂_xx u."""

    dimension: int = 1
    fields: ClassVar[tuple[kspde.Field, ...]] = ()

    def diffusion(self, species, c):
        return 1.0


GAUSSIAN = kspde.GaussianMixture(weights=(1.0,), means=((0.0,),), stds=(1.0,))
SMOOTH = kspde.Box(half_width=14.0, cells=20, degree=8, dimension=1)
LINEAR = kspde.Box(half_width=14.0, cells=200, degree=1, dimension=1)
#: Schemes, and how far they may be from the exact time.
SCHEMES = {
    "adaptive": (SMOOTH, {"tol": 1e-9}, 1e-8),
    "rosenbrock": (SMOOTH, {"tol": 1e-7, "scheme": "rosenbrock"}, 1e-6),
    "positive": (LINEAR, {"dt": 0.01, "scheme": "positive"}, 2e-2),
    "positive-2": (LINEAR, {"dt": 0.05, "scheme": "positive-2"}, 2e-3),
}


def passes(value: float) -> float:
    """Return when the maximum 1/√(2π(1 + 2t)) is a value."""
    return (1.0 / (2.0 * math.pi * value**2) - 1.0) / 2.0


def solved(scheme: str, t_end: float = 2.0, **options):
    domain, own, _ = SCHEMES[scheme]
    return kspde.solve(Heat(), GAUSSIAN, domain, t_end=t_end, **{**own, **options})


@pytest.mark.parametrize(
    "scheme", ["positive-2", *(pytest.param(s, marks=pytest.mark.one_rank) for s in SCHEMES if s != "positive-2")]
)
def test_an_event_is_located_to_the_accuracy_of_the_scheme(scheme) -> None:
    first, second = kspde.Event("maximum", 0.25), kspde.Event(lambda state: state.diagnostics["maximum"], 0.2499)
    seen: list[float] = []
    pde = solved(scheme, callback=[second, first, lambda state: seen.append(state.t)], save=kspde.SaveAt(times=[0.5]))
    assert pde.stopped == kspde.runtime.following.Stopped("maximum = 0.25", pde.t_end)
    assert abs(pde.t_end - passes(0.25)) < SCHEMES[scheme][2]
    assert pde.diagnostics["maximum"][-1] == pytest.approx(0.25, abs=1e-10)
    assert seen == pde.diagnostics["t"][1:].tolist()[: len(seen)]
    assert np.all(np.diff(pde.diagnostics["t"]) > 0)
    whole = solved(scheme, pde.t_end, save=kspde.SaveAt(times=[0.5]))
    points = np.array([[0.0], [1.5]])
    np.testing.assert_allclose(pde.evaluate(points), whole.evaluate(points), rtol=0, atol=1e-7)


def test_an_event_in_the_step_after_a_checkpoint_is_seen(shared_tmp_path) -> None:
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", every=0)

    def cut(done: float) -> None:
        if done > 0.75 * passes(0.25) / 2.0:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        solved("positive-2", progress=cut, checkpoint=checkpoint)
    event = kspde.Event("maximum", 0.25, crossing="falling")
    resumed = solved("positive-2", checkpoint=checkpoint, resume=True, callback=event)
    assert resumed.t_end == pytest.approx(solved("positive-2", callback=event).t_end, abs=1e-12)
    assert solved("positive-2", 0.2, callback=kspde.Event("maximum", 0.39, crossing="rising")).stopped is None


def test_a_callback_sees_the_state_and_ends_the_run() -> None:
    def enough(state: kspde.State) -> bool:
        assert state.snapshot.evaluate([(0.0,)])[0] == pytest.approx(state.diagnostics["maximum"], rel=1e-3)
        return state.step == 3

    def stop(state: kspde.State) -> None:
        if state.t > 0.11:
            raise kspde.Stop("enough")

    pde = solved("positive-2", callback=enough)
    assert (len(pde.diagnostics["t"]), str(pde.stopped)) == (4, "stopped by enough at t = 0.15")
    assert pde.t_end == pde.problem.t_end == pytest.approx(0.15)
    assert str(solved("rosenbrock", callback=stop).stopped).startswith("enough at t = 0.1")


def test_a_steady_state_is_that_of_a_closed_box() -> None:
    closed = kspde.Box(half_width=1.0, cells=4, degree=6, dimension=1, boundary="neumann")
    start = kspde.GridDensity([1.0, 2.0], (-1.0, 1.0))
    pde = kspde.solve(Heat(), start, closed, t_end=100.0, callback=kspde.SteadyState(1e-4, after=3.0))
    assert 3.0 <= pde.t_end < 100.0
    assert pde.diagnostics["maximum"][-1] == pytest.approx(0.5, rel=1e-4)


def test_particles_end_after_the_step_that_passes_an_event() -> None:
    options = {"n": 400, "dt": 0.1, "seed": 2}
    cloud = kspde.simulate(Heat(), GAUSSIAN, t_end=2.0, callback=kspde.Event("second_moment", 2.0), **options)
    before, after = cloud.diagnostics["second_moment"][-2:]
    assert before < 2.0 <= after
    assert cloud.stopped.t == pytest.approx(cloud.t_end - 0.1 * (after - 2.0) / (after - before))
    whole = kspde.simulate(Heat(), GAUSSIAN, t_end=cloud.t_end, **options)
    np.testing.assert_allclose(cloud.positions, whole.positions, rtol=0, atol=1e-12)
    assert cloud.problem.t_end == cloud.t_end
    assert cloud.summary()["steps"] == len(cloud.diagnostics["t"]) - 1


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (3, "callback = 3 is not a function"),
        (kspde.Event("height"), "what = 'height' is not valid: give one of"),
        (kspde.Event(lambda state: math.nan), "returns nan at t = 0"),
    ],
)
def test_what_is_not_valid_is_refused(callback, words) -> None:
    with pytest.raises(kspde.InputError, match=words):
        solved("positive", 0.1, callback=callback)
    with pytest.raises(kspde.InputError, match=words):
        kspde.simulate(Heat(), GAUSSIAN, n=9, t_end=0.2, dt=0.1, callback=callback)


@pytest.mark.parametrize("scheme", ["rosenbrock", "positive-2"])
def test_an_extended_density_is_that_of_one_run(scheme, shared_tmp_path) -> None:
    times = [] if scheme == "positive-2" else [0.5]  # a single saved time has no time derivative
    save = kspde.SaveAt(times=times, statistics=("fisher_information",))
    first = solved(scheme, 1.0, save=save)
    before = first.at().density().copy()
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", every=0)
    longer = first.extend(1.13).extend(1.5, save=kspde.SaveAt(times=[1.2]), checkpoint=checkpoint)
    save = kspde.SaveAt(times=[*times, 1.0, 1.13, 1.2], statistics=("fisher_information",))
    whole = solved(scheme, 1.5, save=save)
    assert longer.times.tolist() == [*times, 1.0, 1.13, 1.2, 1.5]
    for t in (1.0, 1.06, 1.13, 1.5):
        np.testing.assert_allclose(longer.at(t).density(), whole.at(t).density(), rtol=0, atol=1e-12)
    for name, values in whole.diagnostics.items():
        np.testing.assert_allclose(longer.diagnostics[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(first.at().density(), before)
    # Its checkpoints are those of that run.
    resumed = solved(scheme, 1.5, save=save, checkpoint=checkpoint, resume=True)
    np.testing.assert_allclose(resumed.at().density(), whole.at().density(), rtol=0, atol=1e-12)


def test_an_extended_cloud_is_that_of_one_run(shared_tmp_path) -> None:
    options = {"n": 200, "dt": 0.1, "seed": 5}
    statistics = ("moments",)
    first = kspde.simulate(Heat(), GAUSSIAN, t_end=0.4, save=kspde.SaveAt(statistics=statistics), **options)
    longer, again = first.extend(0.75).extend(1.0), first.extend(0.75)
    save = kspde.SaveAt(times=[0.4, 0.75], statistics=statistics)
    whole = kspde.simulate(Heat(), GAUSSIAN, t_end=1.0, save=save, **options)
    np.testing.assert_array_equal(longer.positions, whole.positions)
    for name in whole.diagnostics:
        np.testing.assert_array_equal(longer.diagnostics[name], whole.diagnostics[name])
    for name in whole.statistics:
        np.testing.assert_array_equal(longer.statistics[name], whole.statistics[name])
    assert (again.t_end, longer.t_end, longer.problem) == (0.75, 1.0, whole.problem)
    stopped = kspde.simulate(Heat(), GAUSSIAN, t_end=1.0, callback=lambda state: state.step == 3, **options)
    plain = kspde.simulate(Heat(), GAUSSIAN, t_end=1.0, **options)
    np.testing.assert_allclose(stopped.extend(1.0).positions, plain.positions, rtol=0, atol=1e-12)


def test_a_run_starts_from_an_earlier_density() -> None:
    first = solved("positive-2", 0.5)
    points = np.array([[0.0], [1.3], [-4.0]])
    own = solved("positive-2", 1.0, save=kspde.SaveAt(times=[0.5]))
    again = kspde.solve(Heat(), first, LINEAR, t_end=0.5, dt=0.05, scheme="positive-2")
    np.testing.assert_allclose(again.evaluate(points), own.evaluate(points), rtol=0, atol=1e-12)
    smooth = kspde.solve(Heat(), own.as_initial(t=0.5), SMOOTH, t_end=0.5)
    exact = np.exp(-(points[:, 0] ** 2) / 6.0) / math.sqrt(6.0 * math.pi)  # of variance 1 + 2t = 3
    np.testing.assert_allclose(smooth.evaluate(points), exact, rtol=0, atol=2e-3)
    start = first.as_initial("u")
    np.testing.assert_allclose(start(np.array([[0.1], [15.0]])), [*first.evaluate([(0.1,)]), 0.0], rtol=0, atol=1e-14)
    assert start.mass_outside(2.0) == pytest.approx(math.erfc(1.0), abs=5e-2)
    cloud = kspde.simulate(Heat(), first, n=2000, t_end=1e-300, dt=1e-300)
    assert cloud.diagnostics["second_moment"][0] == pytest.approx(first.diagnostics["second_moment"][-1], rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"t_end": 0.1}, "t_end = 0.1 is not after 0.2"),
        ({"t_end": 1.0, "save": kspde.SaveAt(times=[0.1])}, "times begin at 0.1: the run has reached 0.2"),
        ({"t_end": 1.0, "resume": True}, "nothing to resume from"),
        ({"t_end": 1.0, "on_blow_up": "no"}, "on_blow_up = 'no'"),
    ],
)
def test_what_cannot_be_extended_is_refused(arguments, words) -> None:
    for run in (solved("positive", 0.2), kspde.simulate(Heat(), GAUSSIAN, n=9, t_end=0.2, dt=0.1)):
        with pytest.raises(kspde.InputError, match=words):
            run.extend(**arguments)


def test_lines_of_progress_become_rarer_and_say_what_is_left(shared_tmp_path, comm, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(kspde.runtime.following.time, "monotonic", lambda: now[0])
    path = shared_tmp_path / "run.log"
    progress = kspde.Progress(path, label="disk")

    def tick(state: kspde.State) -> None:
        now[0] += 4.0

    solved("positive", 0.2, callback=[progress, tick])
    with pytest.raises(kspde.InputError, match="cannot be written"):
        solved("positive", 0.02, callback=kspde.Progress(shared_tmp_path / "none" / "run.log"))
    assert path.read_text().splitlines() == [
        "disk: step 4, t = 0.04 of 0.2, 20% after 12 s, about 64 s left",
        "disk: step 8, t = 0.08 of 0.2, 40% after 28 s, about 48 s left",
        "disk: step 14, t = 0.14 of 0.2, 70% after 52 s, about 24 s left",
        "disk: step 20, t = 0.2 of 0.2, 100% after 76 s",
    ]


@dataclass(frozen=True, kw_only=True)
class TwoHeats(Heat):
    """Two densities that diffuse on their own."""

    species: ClassVar[tuple[str, ...]] = ("a", "b")


WIDE = kspde.GaussianMixture(weights=(1.0,), means=((0.0,),), stds=(2.0,), mass=0.7)


def test_events_of_several_species() -> None:
    def solved(callback):
        return kspde.solve(TwoHeats(), {"a": GAUSSIAN, "b": WIDE}, SMOOTH, t_end=2.0, tol=1e-9, callback=callback)

    pde = solved(kspde.Event("maximum[a]", 0.25))
    assert pde.t_end == pytest.approx(passes(0.25), abs=1e-8)
    assert str(pde.stopped).startswith("maximum[a] = 0.25 at")
    # 0.7 / √(2π(4 + 2t)) = 0.13
    later = solved(kspde.Event("maximum[b]", 0.13)).t_end
    assert later == pytest.approx((0.7**2 / (2 * math.pi * 0.13**2) - 4.0) / 2.0, abs=1e-6)
    with pytest.raises(kspde.InputError, match=r"what = 'maximum' is not valid: give one of .*maximum\[a\]"):
        solved(kspde.Event("maximum", 0.25))
    seen = solved(lambda state: (state.diagnostics["maximum"] < 0.3).any())  # numpy's True
    assert seen.stopped is not None
    with pytest.raises(kspde.InputError, match=r"<lambda> returns array.*\.any\(\) or \.all\(\)"):
        solved(lambda state: state.diagnostics["maximum"] < 0.3)


@pytest.mark.parametrize("scheme", ["adaptive", "positive-2"])
def test_a_run_that_ended_at_an_event_is_extended_past_it(scheme) -> None:
    event = kspde.Event("maximum", 0.25)
    pde = solved(scheme, callback=event)
    assert pde.diagnostics["maximum"][-1] <= 0.25
    longer = pde.extend(2.0, callback=event)
    assert (longer.stopped, longer.t_end) == (None, 2.0)
    # An event in a run's first instants is after its start.
    start = pde.diagnostics["maximum"][0]
    soon = solved(scheme, callback=kspde.Event("maximum", np.nextafter(start, 0)))
    assert soon.t_end > 0
    assert np.all(np.diff(soon.diagnostics["t"]) > 0)
    # A run that begins at the value leaves it.
    assert solved(scheme, 0.1, callback=kspde.Event("maximum", start)).stopped is None


@pytest.mark.one_rank
@pytest.mark.parametrize("found", ["0.3", None, [0.1, 0.2], 1j, math.inf])
def test_a_function_of_an_event_returns_a_number(found) -> None:
    with pytest.raises(kspde.InputError, match=r"the function of an event returns .* return a finite number"):
        solved("positive", 0.1, callback=kspde.Event(lambda state: found))


@pytest.mark.one_rank
def test_arguments_of_events_and_progress() -> None:
    with pytest.raises(kspde.InputError, match="what = None is not valid: give the name of a diagnostic, or a func"):
        kspde.Event(None)
    with pytest.raises(kspde.InputError, match="file = 3 is not valid: give the path of a file"):
        kspde.Progress(3)
    with pytest.raises(kspde.InputError, match="no file has such a name"):
        solved("positive", 0.1, callback=kspde.Progress("a\0b"))


@pytest.mark.parametrize("scheme", ["rosenbrock", "positive-2"])
def test_a_finished_run_is_extended_by_another_process(scheme, shared_tmp_path) -> None:
    """From its last checkpoint alone, and with other saved times: the same as ``extend``, which has the run itself."""
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", at_end=True)
    options = {"checkpoint": checkpoint, "save": kspde.SaveAt(times=[0.3, 1.0] if scheme == "rosenbrock" else [])}
    first = solved(scheme, 1.0, **options)
    for t_end, times, words in (
        (1.0, options["save"].times, "t_end = 1 is not after 1, where the run ends"),
        (1.5, (0.5,), "times has 0.5, which the run in .* has passed and not saved"),
        (0.5, (), "t_end = 1 there, 0.5 here"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            solved(scheme, t_end, checkpoint=checkpoint, resume=True, save=kspde.SaveAt(times=times))
    save = kspde.SaveAt(times=[1.0, 1.2])
    again = solved(scheme, 1.5, checkpoint=checkpoint, resume=True, save=save)
    longer = first.extend(1.5, save=kspde.SaveAt(times=[1.2]))
    assert again.times.tolist() == [1.0, 1.2, 1.5]
    for t in (1.0, 1.1, 1.2, 1.5):
        np.testing.assert_allclose(again.at(t).density(), longer.at(t).density(), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(again.diagnostics["t"], longer.diagnostics["t"])
    # It has left a checkpoint of its end too.
    last = solved(scheme, 1.6, checkpoint=checkpoint, resume=True)
    np.testing.assert_allclose(last.at().density(), longer.extend(1.6).at().density(), rtol=0, atol=1e-14)


def test_a_run_that_stopped_is_extended_by_another_process(shared_tmp_path) -> None:
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", at_end=True)
    event = kspde.Event("maximum", 0.25)
    stopped = solved("positive-2", callback=event, checkpoint=checkpoint)
    again = solved("positive-2", callback=event, checkpoint=checkpoint, resume=True)
    assert (again.stopped, again.t_end) == (None, 2.0)
    np.testing.assert_allclose(again.at().density(), stopped.extend(2.0).at().density(), rtol=0, atol=1e-14)


@pytest.mark.one_rank
def test_states_of_the_end_that_nothing_continues_are_refused(shared_tmp_path) -> None:
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", at_end=True)
    with pytest.raises(kspde.InputError, match=r"at_end = True is for kspde\.solve"):
        kspde.simulate(Heat(), GAUSSIAN, n=9, t_end=0.2, dt=0.1, checkpoint=checkpoint)
    with pytest.raises(kspde.InputError, match="at_end = True has no effect with regrid"):
        kspde.solve(Heat(), GAUSSIAN, SMOOTH, t_end=1.0, regrid=kspde.Regrid(peak=1e3), checkpoint=checkpoint)
    with pytest.raises(kspde.InputError, match="at_end = 1 is not valid: give True or False"):
        kspde.Checkpoint("x", at_end=1)
