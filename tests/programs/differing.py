"""A program, not a test: ranks call with different arguments, and each call is refused on all of them.

``differing.py DIR`` prints one line for each call, its name and what every rank was told, and ends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import kspde
from kspde.runtime.parallel import communicator

COMM = communicator()
LAST = COMM.rank == COMM.size - 1
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.0]], stds=[0.6])
BOX = kspde.Box(half_width=8.0, cells=8, degree=4)
COARSE = kspde.Box(half_width=8.0, cells=24, degree=1)


def model(**more: Any) -> kspde.LocalSensing:
    """The model of all calls."""
    return kspde.LocalSensing(**{"motility": kspde.ExponentialMotility(), "chi": 2.0, **more})


def motility(rate: float) -> Callable[[Any], Any]:
    """A user's function, which knows a number from around it."""
    return lambda v: 1.0 + np.exp(-rate * v)


def other(usual: Any, here: Any) -> Any:
    """What the last rank gives in place of the usual."""
    return here if LAST else usual


def solve(**options: Any) -> Any:
    """Solve the usual problem but for some options."""
    usual = {"model": model(), "u0": U0, "domain": BOX, "t_end": 0.1, "tol": 1e-2}
    return kspde.solve(**{**usual, **options})


def positive(**options: Any) -> Any:
    """Solve it by a positive scheme."""
    return solve(**{"domain": COARSE, "tol": None, "scheme": "positive", "dt": 0.05, **options})


def simulate(**options: Any) -> Any:
    """Simulate the usual problem but for some options."""
    usual = {"model": model(), "u0": U0, "n": 30, "t_end": 0.1, "dt": 0.1, "eps": 0.5}
    return kspde.simulate(**{**usual, **options})


def calls(directory: str) -> dict[str, Callable[[], Any]]:
    """Return the calls by name."""
    saved = kspde.SaveAt(times=[0.0, 0.05])
    pde, cloud = solve(save=saved), simulate()
    axis = np.linspace(-1.0, 1.0, 3)
    grid = np.ones((5, 5))
    return {
        "dt": lambda: positive(dt=other(0.05, 0.04)),
        "scheme": lambda: positive(scheme=other("positive", "positive-2")),
        "t_end": lambda: solve(t_end=other(0.1, -1.0)),
        "tol": lambda: solve(tol=other(1e-2, 1e-3)),
        "eps": lambda: solve(eps=other(None, 0.5)),
        "domain": lambda: solve(domain=other(BOX, COARSE)),
        "chi": lambda: solve(model=model(chi=other(2.0, 3.0))),
        "motility": lambda: solve(model=model(motility=motility(other(1.0, 2.0)))),
        "initial density": lambda: solve(
            u0=kspde.GridDensity(grid * other(1.0, np.arange(1.0, 6.0)), (-1.0, 1.0, -1.0, 1.0))
        ),
        "saved times": lambda: solve(save=kspde.SaveAt(times=other([0.05], [0.05, 0.07]))),
        "statistics": lambda: solve(save=kspde.SaveAt(statistics=other((), ("fisher_information",)))),
        "petsc_options": lambda: solve(petsc_options=other({"ts_max_steps": 5}, {"ts_max_steps": 6})),
        "checkpoint": lambda: solve(checkpoint=other(None, kspde.Checkpoint(directory))),
        "n": lambda: simulate(n=other(30, 31)),
        "seed": lambda: simulate(seed=other(0, 1)),
        "replica": lambda: simulate(replica=other(0, 1)),
        "weights": lambda: simulate(weights=np.ones(other(30, 29))),
        "mean field": lambda: simulate(mean_field=other(None, pde)),
        "call": lambda: other(solve, simulate)(),
        "bandwidth": lambda: kspde.compare(pde, cloud, bandwidth=other(0.2, 0.3)),
        "distances": lambda: kspde.compare(pde, cloud, distances=other(("l1",), ("nonsense",))),
        "density": lambda: kspde.compare(other(pde, U0), cloud),
        "coupled": lambda: kspde.coupled_distance(pde, n=20, dt=0.1, replicas=other(4, 5)),
        "entropy": lambda: kspde.entropy_bound(pde, n=20, dt=other(0.1, 0.05)),
        "liouville": lambda: kspde.liouville(pde, n=other(2, 3)),
        "vtkhdf": lambda: pde.write_vtkhdf(f"{directory}/{other('one', 'other')}.vtkhdf"),
        "grid": lambda: pde.on_grid([axis, other(axis, axis[:2])]),
        "outside": lambda: pde.on_grid([axis, axis], outside=other(0.0, "x")),
        "time": lambda: pde.evaluate([[0.0, 0.0]], t=other(0.05, 0.1)),
        "unsaved time": lambda: pde.evaluate([[0.0, 0.0]], t=other(0.05, 7.0)),
        "points": lambda: pde.evaluate(np.zeros((2, other(2, 3)))),
        "signal": lambda: pde.at().field(other(None, "ghost")),
        "function": lambda: pde.function(other("u", "ghost")),
        "file": lambda: cloud.write(f"{directory}/cloud.h5", dtype=other("float64", "int")),
        "species": lambda: cloud.gathered(other("u", "ghost")),
    }


for name, call in calls(sys.argv[1]).items():
    try:
        call()
        line = "no error"
    except kspde.InputError as error:
        line = str(error)
    everyone = COMM.allgather(line)
    for said in sorted(set(everyone)) if COMM.rank == 0 else ():
        print(f"{name}: {said}", flush=True)
