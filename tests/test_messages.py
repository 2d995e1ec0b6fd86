"""Warnings reach Python's warnings, at the user's line, and the results; compilation is announced once."""

import logging
import warnings
from threading import Lock
from typing import Any

import numba
import numpy as np
import pytest

import kspde
import kspde.runtime.compiled
from kspde.runtime import messages

assert kspde.runtime.compiled  # which listens to numba

LEMMA = (
    "chi * mass = 30: outside the hypotheses of Wang, Li and Huang's Lemma 1, "
    "which asks for chi * mass < 4/c_* = 23.4018"
)
STRONG = kspde.SignalDependentKellerSegel(chi=10.0)
MASS3 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, -0.2]], stds=[1.0], mass=3.0)


def solve() -> Any:
    return kspde.solve(STRONG, MASS3, kspde.Box(half_width=6.0, cells=12, degree=4), t_end=0.3, tol=1e-3)


def simulate() -> Any:
    return kspde.simulate(STRONG, MASS3, n=50, t_end=0.01, dt=0.01, eps=0.5)


def test_scripts_are_warned_at_their_own_line(comm: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pde, cloud = solve(), simulate()
    ours = [w for w in caught if issubclass(w.category, kspde.KspdeWarning)]
    said = [str(w.message) for w in ours]
    assert ({w.filename for w in ours} == {__file__}) == (comm.rank == 0)
    assert said == ([*pde.warnings, *cloud.warnings] if comm.rank == 0 else [])
    assert list(cloud.warnings) == [LEMMA]
    assert pde.warnings[0] == LEMMA
    assert "truncation shows" in pde.warnings[1]
    assert pde.summary()["warnings"] == list(pde.warnings)
    assert cloud.summary()["warnings"] == [LEMMA]


def test_results_keep_what_filters_hide() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert simulate().warnings == (LEMMA,)


def test_each_computation_keeps_its_own(comm: Any) -> None:
    """What is warned of inside another computation is the outer one's as well, and not the next one's."""
    box = kspde.Box(half_width=8.0, cells=8, degree=4)
    calm = kspde.SignalDependentKellerSegel(chi=1.0)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, -0.2]], stds=[1.0])

    def inner(state: Any) -> None:
        simulate()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outer = kspde.solve(calm, u0, box, t_end=0.01, tol=1e-3, save=kspde.SaveAt(times=[0.01], callback=inner))
    assert outer.warnings == (LEMMA,)
    assert kspde.solve(calm, u0, box, t_end=0.01, tol=1e-3).warnings == ()


@pytest.mark.one_rank
def test_a_filter_turns_them_into_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", kspde.KspdeWarning)
        with pytest.raises(kspde.KspdeWarning, match="Lemma 1"):
            simulate()


def test_eps_outside_the_hypotheses() -> None:
    model = kspde.SignalDependentKellerSegel(chi=1.0, mu=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cloud = kspde.simulate(model, MASS3, n=50, t_end=0.01, dt=0.01, eps=0.75)
    assert len(cloud.warnings) == 1
    assert cloud.warnings[0].startswith("eps * mu = 1.5: outside the hypotheses of")
    assert np.all(np.isfinite(cloud.positions))


@pytest.mark.slow
@pytest.mark.one_rank
def test_loops_of_ours_are_announced_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(messages, "_said", Lock())
    caplog.set_level(logging.WARNING, logger="kspde")

    def successor(x: float) -> float:
        return x + 1

    theirs, ours = numba.njit(successor), numba.njit(successor)
    assert theirs(1) == 2
    assert caplog.messages == []
    successor.__module__ = "kspde.loops"
    assert (ours(1), ours(1.5), ours(2.5)) == (2, 2.5, 3.5)
    assert caplog.messages == [messages.COMPILING]
