"""What the measures of particles make of given paths, against sums written out here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist

import kspde
from kspde.papers.studies import experiment
from kspde.papers.studies.measures import Task
from kspde.papers.studies.measures import particles as particle_measures
from kspde.problem import Problem

REPLICAS, N, ALPHA = 3, 4, 0.1


class Paths:
    """An ensemble whose particles move as they are told: farthest from their twins half-way."""

    n, pde = N, None
    times = np.array([0.0, 0.1, 0.2])

    def __init__(self) -> None:
        random = np.random.default_rng(6)
        self.twins = random.normal(size=(3, REPLICAS * N, 2))
        apart = random.normal(size=(REPLICAS * N, 2)) * np.array([[0.0], [0.6], [0.25]])[:, None]
        self.paths = self.twins + apart
        self.systems = {label: SimpleNamespace(positions={}) for label in ("particles", "mean_field")}
        self.particles = self.systems["particles"]

    def run(self, look: Any) -> None:
        for step, t in enumerate(self.times):
            self.systems["particles"].positions = {"u": self.paths[step]}
            self.systems["mean_field"].positions = {"u": self.twins[step]}
            look(step, float(t))


def test_the_coupling_is_the_supremum_over_time_and_particles(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths()
    monkeypatch.setattr(particle_measures, "ensemble_of", lambda *_, **__: paths)
    monkeypatch.setattr(particle_measures, "Target", SimpleNamespace(of=lambda pde, species: None))
    monkeypatch.setattr(particle_measures, "_minimal_distance", lambda target, n: 2.0)
    task: Any = None
    found = particle_measures.Coupling(replicas=REPLICAS, alpha=ALPHA).at(task)
    distance = np.linalg.norm(paths.paths - paths.twins, axis=2).reshape(3, REPLICAS, N)
    assert np.all(distance[1] > distance[2])
    sup = distance.max(axis=(0, 2))
    level = N**-ALPHA
    assert sup.min() < level < sup.max()
    assert found["sup"].samples == pytest.approx(sup)
    assert found["mean_square"].samples == pytest.approx((distance**2).max(axis=0).mean(axis=1))
    assert found["probability"].value == pytest.approx(np.mean(sup > level))
    assert found["markov"].value == pytest.approx(np.mean(sup**2) / level**2)
    assert found["markov"].value >= found["probability"].value
    ends = paths.paths[-1].reshape(REPLICAS, N, 2)
    assert found["minimal_distance"].samples == pytest.approx([pdist(x).min() for x in ends])
    assert found["minimal_ratio"].value == pytest.approx(found["minimal_distance"].value / 2)


def test_the_weak_error_is_against_the_density_with_the_free_particles_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second moments 3 and 2 of the densities; particles miss them by .3 and .1, and by noise that both share."""
    noise, calls = (0.05, -0.02, 0.04), []

    def simulate(*, model: Any, **options: Any) -> Any:
        calls.append(options)
        shift = (3.3 if model.chi else 2.1) + noise[options["replica"]]
        return SimpleNamespace(diagnostics={"second_moment": np.array([9.0, shift])})

    def solve(*, model: Any, **options: Any) -> Any:
        return SimpleNamespace(diagnostics={"second_moment": np.array([9.0, 3.0 if model.chi else 2.0])})

    monkeypatch.setattr(experiment, "simulate", simulate)
    monkeypatch.setattr(experiment, "solve", solve)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    stated = experiment.Experiment(
        problem=Problem.of(kspde.SignalDependentKellerSegel(chi=8.0), u0, t_end=1.0),
        domain=kspde.Box(half_width=9.0, cells=8),
        solve={},
        simulate={"n": 5, "dt": 0.1},
    )
    task = Task(experiment=stated, seed=7, comm=None)
    found = particle_measures.WeakError(replicas=3, scheme="weak-2").at(task)
    assert found["second_moment"].samples == pytest.approx([0.2 / 3] * 3)  # what both share is gone
    assert found["free"].samples == pytest.approx([(0.1 + z) / 2 for z in noise])
    assert [(c["scheme"], c["seed"], c["n"], c["dt"]) for c in calls] == [("weak-2", 7, 5, 0.1)] * 6
    assert [c["replica"] for c in calls] == [0, 0, 1, 1, 2, 2]
