"""Lawson's method on systems of a few modes with known solutions: its order, its control of the step, its hand-over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import RK45

import kspde
from kspde.fem.observer import RunState
from kspde.fem.schemes.adaptive import integrate_exponential
from kspde.fem.schemes.base import Run
from kspde.fem.schemes.exponential import Lawson

#: λ of two unknowns is a sum over two directions, as on a box.
FIRST = np.array([[0.0, 0.7, 3.0], [1.5, 8.0, 0.3]])
OTHERS = np.array([[0.0, 0.4], [0.2, 1.1]])
RATES = FIRST[:, :, None] + OTHERS[:, None]
START = np.array([[[0.5, 0.3], [0.2, 0.6], [0.9, 0.7]], [[0.4, 0.1], [0.8, 0.3], [0.1, 0.2]]])


class Modes:
    """y' = −λ y + y² for each mode of each unknown."""

    def __init__(self, reported=(1.0,), least=(1.0,), wild=np.inf) -> None:
        self.reported, self.least, self.wild = np.array(reported), np.array(least), wild
        self.forgotten, self.calls, self.prepared = 0, 0, []

    def state(self, unknowns):
        return unknowns.copy()

    def nodal(self, state):
        return state.copy()

    def rate(self, y, t=0.0):
        self.calls += 1
        return -RATES * y + y**2 if self.calls < self.wild else np.full_like(y, np.nan)

    def linear_part(self, bounds):
        self.prepared.append(float(bounds[0]))
        return [(-bounds[0] * a[:, None], -bounds[0] * b) for a, b in zip(FIRST, OTHERS, strict=True)]

    def norms(self, y):
        return np.sqrt(np.sum(y**2, axis=tuple(range(1, y.ndim))))

    def refuse_backward(self, *given):
        """D is positive here."""

    def diffusion_range(self, unknowns, t):
        return self.reported.copy(), self.least.copy()

    def forget_diffusion(self):
        self.forgotten += 1


class Records:
    """What is saved, and when it is due."""

    crossing, ends = None, False

    def __init__(self, times) -> None:
        self.times, self.seen = list(times), []

    @property
    def next_time(self):
        return next(t for t in self.times if not self.seen or t > self.seen[-1])

    def __call__(self, state):
        self.seen.append(state.t)

    def write(self, state):
        self.last = replace(state)


def exact(t, start=START):
    """Bernoulli's equation: 1/y is linear in e^(λt)."""
    grown = np.where(RATES > 0, np.expm1(RATES * t) / np.where(RATES > 0, RATES, 1.0), t)
    return 1 / (np.exp(RATES * t) / start - grown)


def run(system=None, t_end=1.0, tol=1e-6, times=(), start=None):
    system = system or Modes()
    observer = Records([*times, t_end])
    state = replace(start) if start else RunState(unknowns=START)
    made = Run(system, state, observer, observer.write, {}, started=lambda: None)
    return state, integrate_exponential(made, tol), observer, system


def test_a_step_is_dormand_and_princes_for_the_transformed_unknown() -> None:
    """z = e^(−tL) y obeys z' = e^(−tL) (f − L y); scipy's tableau is applied to it."""
    h, bound = 0.15, 1.7
    linear = -bound * RATES

    def slope(t, z):
        y = np.exp(t * linear) * z
        return np.exp(-t * linear) * (y**2 - RATES * y - linear * y)

    slopes = [slope(0.0, START)]
    for c, row in zip(RK45.C[1:], RK45.A[1:], strict=True):
        slopes.append(slope(c * h, START + h * sum(a * k for a, k in zip(row, slopes, strict=False))))
    z = START + h * sum(b * k for b, k in zip(RK45.B, slopes, strict=True))
    slopes.append(slope(h, z))
    deviation = -h * sum(e * k for e, k in zip(RK45.E, slopes, strict=True))  # of the order 4 from the order 5
    system = Modes()
    new, _, error = Lawson(system).step(START, system.rate(START), h, np.array([bound]), 0.0)
    np.testing.assert_allclose(new, np.exp(h * linear) * z, rtol=1e-13)
    np.testing.assert_allclose(error, np.exp(h * linear) * deviation, rtol=1e-9, atol=1e-16)


def test_local_errors_are_of_orders_six_and_five() -> None:
    for bound, largest in ((1.0, 0.025), (1.7, 0.0125)):  # D̄ need not be D: the rest takes what is left
        errors, estimates = [], []
        for h in (largest, largest / 2):
            system = Modes()
            new, rate, error = Lawson(system).step(START, system.rate(START), h, np.array([bound]), 0.0)
            np.testing.assert_array_equal(rate, system.rate(new))
            errors.append(np.abs(new - exact(h)).max())
            estimates.append(np.abs(error).max())
        assert 2**5.4 < errors[0] / errors[1] < 2**6.6
        assert 2**4.4 < estimates[0] / estimates[1] < 2**5.6
        assert errors[1] < estimates[1]


def test_modes_without_a_rest_are_exact_for_every_step() -> None:
    class Linear(Modes):
        def rate(self, y, t=0.0):
            return -RATES * y

    system = Linear()
    new, _, error = Lawson(system).step(START, system.rate(START), 2.0, np.ones(1), 0.0)
    np.testing.assert_allclose(new, START * np.exp(-2.0 * RATES), rtol=1e-13)
    assert np.abs(error).max() < 1e-15


def test_factors_are_made_anew_for_another_bound_or_step() -> None:
    system = Modes()
    lawson = Lawson(system)
    for h, bound in ((0.1, 1.0), (0.1, 2.0), (0.3, 2.0), (0.3, 2.0)):
        lawson.prepare(h, np.array([bound]))
        for (a, b), rates in zip(lawson.exponentials(0.5), RATES, strict=True):
            np.testing.assert_allclose(a * b, np.exp(-0.5 * h * bound * rates), rtol=1e-14)
    assert system.prepared == [1.0, 2.0, 2.0]
    lawson.prepare(6.25, np.array([2.0]))
    assert lawson.exponentials(1.0)[1][0][1] == 0.0  # e^(-100): numbers below 1e-40 slow everything down
    assert lawson.exponentials(0.9)[1][0][1] == pytest.approx(np.exp(-90.0), rel=1e-12)


def test_a_sum_multiplies_each_term_by_its_exponential() -> None:
    lawson = Lawson(Modes())
    lawson.prepare(0.2, np.array([1.0]))
    terms = [(1.0, 1.0, START), (-0.5, 0.3, RATES), (2.0, 0.0, START)]
    e = np.exp(-0.2 * RATES)
    np.testing.assert_allclose(lawson.sum(terms), e * START - 0.5 * e**0.3 * RATES + 2 * START, rtol=1e-13)


def test_errors_follow_the_tolerance() -> None:
    steps = []
    for tol in (1e-4, 1e-6, 1e-8):
        position, summary, observer, _ = run(tol=tol)
        error = np.abs(position.unknowns - exact(1.0)).max()
        assert error < tol
        assert (summary["tol"], summary["steps"]) == (tol, position.step)
        assert summary["rejected_steps"] <= 2
        assert observer.seen[0] == 0.0
        assert len(observer.seen) == position.step + 1
        steps.append(position.step)
    assert steps[0] < steps[1] < steps[2] < 40
    assert 1.8 < steps[2] / steps[1] < 3.5  # 100^(1/5) = 2.5


def test_every_row_keeps_to_its_own_norm() -> None:
    """A small row beside a large one: its error is small, too."""
    start = START * np.array([1.0, 1e-6])[:, None, None]
    position, *_ = run(tol=1e-5, start=RunState(unknowns=start))
    errors = np.abs(position.unknowns - exact(1.0, start)).max(axis=(1, 2))
    assert errors[0] < 1e-5
    assert errors[1] < 1e-11
    start = START * np.array([1.0, 0.0])[:, None, None]  # as a signal of strength 0
    position, *_ = run(tol=1e-5, start=RunState(unknowns=start))
    assert np.abs(position.unknowns[0] - exact(1.0, START)[0]).max() < 1e-5
    assert np.abs(position.unknowns[1]).max() < 1e-20


def test_saved_times_are_met_exactly_and_lengths_kept() -> None:
    times = (0.1 + 0.2, 0.7, 0.70001)
    position, _, observer, _ = run(tol=1e-5, times=times)
    assert set(times) < set(observer.seen)
    lengths = np.diff(observer.seen)
    ends = [observer.seen.index(t) for t in times[:2]]
    for end in ends:  # two equal steps rather than a full one and a sliver
        assert lengths[end - 1] > 0.45 * lengths[end - 2]
    assert lengths[observer.seen.index(0.70001)] > 0.05  # the step of 1e-5 before says nothing
    assert position.t == 1.0


def test_the_first_step_is_a_tenth_of_the_time_scale() -> None:
    *_, observer, system = run(tol=1e-3)
    speeds = system.norms(system.rate(START))
    assert observer.seen[1] == pytest.approx(0.1 * np.min(system.norms(START) / speeds))

    class Still(Modes):
        def rate(self, y, t=0.0):
            return np.zeros_like(y)

        def linear_part(self, bounds):
            return [(0 * a, 0 * b) for a, b in super().linear_part(bounds)]

    position, _, observer, _ = run(Still(), t_end=50.0)
    assert observer.seen == [0.0, 50.0]
    np.testing.assert_array_equal(position.unknowns, START)
    times = [50.0 * 3.0**-k for k in range(30, 0, -1)]  # where t + (next − t) is not always next
    assert run(Still(), t_end=50.0, times=times)[2].seen == [0.0, *times, 50.0]


def test_a_rejected_step_leaves_no_trace() -> None:
    first = RunState(unknowns=START, dt=1.0, bounds=np.array([1.0]), norms=np.array([1.0, 1.0]))
    position, summary, observer, system = run(tol=1e-9, start=first)
    assert 0 < summary["rejected_steps"] == system.forgotten < 6
    assert observer.seen[1] < 0.5
    assert np.abs(position.unknowns - exact(1.0)).max() < 1e-9


def test_a_step_is_kept_below_the_tolerance_only() -> None:
    tol, h = 1e-6, 0.1
    system = Modes()
    norms = system.norms(START)
    for _ in range(5):
        error = Lawson(system).step(START, system.rate(START), h, np.ones(1), 0.0)[2]
        h *= (1.2 * tol / np.max(system.norms(error) / norms)) ** 0.2
    for length, rejected in ((h, 1), (0.95 * h, 0)):  # the estimate is 1.2 and 0.93 of what is allowed
        first = RunState(unknowns=START, dt=length, bounds=np.ones(1), norms=norms)
        assert run(tol=tol, t_end=2.0 * length, start=first)[1]["rejected_steps"] == rejected


def test_coefficients_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(kspde.ConvergenceError, match=r"failed in step 1 at t = 0 with dt = .*e-1.: the error stays"):
        run(Modes(wild=2))


def test_a_start_goes_on_where_it_was() -> None:
    """With norms, bounds and step of a checkpoint, whatever the state says now."""
    whole, _, saw, _ = run(tol=1e-6, times=(0.5,))
    middle = run(tol=1e-6, times=(0.5,), t_end=0.5)[2].last
    assert middle.t == 0.5
    resumed, summary, observer, _ = run(tol=1e-6, start=middle)
    assert observer.seen == saw.seen[saw.seen.index(0.5) + 1 :]
    np.testing.assert_array_equal(resumed.unknowns, whole.unknowns)
    np.testing.assert_array_equal(resumed.norms, whole.norms)
    assert summary["steps"] == whole.step
    other = run(tol=1e-6, start=replace(middle, bounds=np.array([3.0])))[3]
    assert other.prepared[0] == 3.0


def test_uneven_coefficients_are_handed_over() -> None:
    """sup D > 10 inf D of one species is enough: at the start nothing is done, later the position is left as it is."""
    position, _, observer, _ = run(Modes(reported=(1.0, 1.0), least=(0.9, 0.099)))
    assert (position.handed_over, position.t, observer.seen) == (True, 0.0, [])
    position, _, observer, _ = run(Modes(reported=(1.0, 1.0), least=(0.9, 0.101)))
    assert (position.handed_over, position.t) == (False, 1.0)

    class Later(Modes):
        def diffusion_range(self, unknowns, t):
            return np.array([1.0]), np.array([1.0 if self.calls < 20 else 0.05])

    position, _, observer, _ = run(Later())
    assert position.handed_over
    assert 0 < position.t < 1
    assert position.dt is None
    assert observer.seen[-1] == position.t
    assert observer.last.handed_over
