"""Measures where the mass is not 1 and the density lies off the origin.

u = M p solves the system of strength χ/M where p, of mass 1, solves that of χ: the same fields, the same particles.
What is said of particles, and every distance, is said per unit of mass, so that nothing may change.
"""

from __future__ import annotations

from typing import Any

import pytest
from mpi4py import MPI

import kspde
from kspde.papers.studies import MEASURES, Experiment
from kspde.papers.studies.measures import Task, measured
from kspde.problem import Problem

MASS, CHI = 3.0, 9.0
BOX = kspde.Box(half_width=9.0, cells=12, degree=4)


def task(mass: float, chi: float = CHI, *, particles: bool = True, n: int = 60) -> Task:
    u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[0.9, -0.4], [-0.5, 1.1]], stds=[0.8, 0.6], mass=mass)
    problem = Problem.of(kspde.SignalDependentKellerSegel(chi=chi), u0, t_end=0.2, eps=0.5)
    simulate = {"n": n, "dt": 0.1} if particles else None
    experiment = Experiment(problem=problem, domain=BOX, solve={"tol": 1e-6}, simulate=simulate)
    return Task(experiment=experiment, seed=5, comm=MPI.COMM_SELF)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("coupling", {"replicas": 3, "alpha": 0.2, "saves": 2}),
        ("chaos", {"replicas": 4, "saves": 2}),
        ("chaos", {"replicas": 32, "saves": 2, "coupled": False, "reference": "tilted", "self_interaction": "out"}),
        ("fluctuations", {"replicas": 3}),
        ("weak-error", {"replicas": 3}),
        ("mollification", {}),
        ("convergence", {"reference_cells": 14, "reference_degree": 4, "reference_tol": 1e-8}),
    ],
)
@pytest.mark.one_rank
def test_a_measure_is_one_of_the_density_per_unit_of_mass(name: str, options: dict[str, Any]) -> None:
    measure = MEASURES[name](**options)
    particles = measure.particles
    one = measured(measure, task(1.0, particles=particles))
    other = measured(measure, task(MASS, CHI / MASS, particles=particles))
    assert set(one) == set(other)
    for key, quantity in one.items():
        assert other[key].value == pytest.approx(quantity.value, rel=2e-4, abs=1e-13), key
        assert other[key].interval == pytest.approx(quantity.interval, rel=2e-4, abs=1e-13), key
        assert quantity.interval[1] > 1e-9, key


@pytest.mark.one_rank
def test_without_a_signal_the_weak_error_is_scatter_for_every_mass() -> None:
    found = measured(MEASURES["weak-error"](replicas=4), task(2.0, 0.0, n=4000))
    assert found["second_moment"].value == pytest.approx(0.0, abs=1e-7)
    assert found["free"].value == pytest.approx(0.0, abs=0.04)  # half of the second moment is missing with E|X|²


@pytest.mark.one_rank
def test_a_density_off_the_origin_is_measured_as_one_at_the_origin() -> None:
    found = []
    for shift in (0.0, 6.0):
        u0 = kspde.GaussianMixture(weights=[1.0], means=[[shift, -shift / 2]], stds=[0.7])
        experiment = Experiment(
            problem=Problem.of(kspde.SignalDependentKellerSegel(chi=CHI), u0, t_end=0.05, eps=0.4),
            domain=kspde.Box(half_width=12.0, cells=24, degree=5),
            solve={"tol": 1e-6},
        )
        found.append(measured(MEASURES["mollification"](), Task(experiment=experiment, seed=1, comm=MPI.COMM_SELF)))
    for name in ("l1", "l2"):
        assert found[1][name].value == pytest.approx(found[0][name].value, rel=2e-3)
