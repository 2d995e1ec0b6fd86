"""The study measure "distance" is compare's, over independent clouds."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.papers.studies import MEASURES, Experiment
from kspde.papers.studies.measures import Task, measured
from kspde.problem import Problem


@pytest.mark.parametrize("against", ["own", "local"])
@pytest.mark.one_rank
def test_distance(against: str) -> None:
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.2]], stds=[0.8])
    box = kspde.Box(half_width=9.0, cells=10, degree=5)
    solve, options = {"t_end": 0.1, "eps": 0.5, "tol": 1e-3}, {"n": 400, "dt": 0.05, "eps": 0.5, "t_end": 0.1}
    experiment = Experiment(
        problem=Problem.of(model, u0, t_end=0.1, eps=0.5),
        domain=box,
        solve={"tol": 1e-3},
        simulate={"n": 400, "dt": 0.05},
    )
    task = Task(experiment=experiment, seed=3, comm=MPI.COMM_SELF)
    found = measured(MEASURES["distance"](replicas=2, against=against), task)
    assert set(found) == set(MEASURES["distance"].quantities)
    pde = kspde.solve(model, u0, box, **(solve | ({"eps": None} if against == "local" else {})))
    each = [
        kspde.compare(pde, kspde.simulate(model, u0, **options, seed=3, replica=r), distances=("l1", "energy"), seed=3)
        for r in (0, 1)
    ]
    for name in ("l1", "energy"):
        assert found[name].value == pytest.approx(np.mean([d[name].value for d in each]), rel=1e-9)
        assert found[f"{name}_floor"].value == pytest.approx(each[1].floor[name].value, rel=1e-9)
    assert found["l1"].value < 2 * found["l1_floor"].value
