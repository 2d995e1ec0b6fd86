"""A program, not a test: one rank fails, or leaves, before the first collective call, in the way the argument names.

It knows its rank from the launcher alone, and begins with MPI no earlier than kspde does.
"""

from __future__ import annotations

import sys
from typing import Any

import kspde
import kspde.runtime.job
from kspde.runtime.job import launched_rank

ONE = launched_rank() == 1


def solve() -> Any:
    """Solve something small."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.0]], stds=[0.6])
    box = kspde.Box(half_width=8.0, cells=8, degree=3)
    return kspde.solve(kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=2.0), u0, box, t_end=0.1, tol=1e-2)


how = sys.argv[1]
if how != "words":  # nobody to wait for
    kspde.runtime.job.PATIENCE = 0.5
if how == "positions" and ONE:
    kspde.observed_positions([[0.0, "here"]], bandwidth=0.1)
if how == "exit" and ONE:
    sys.exit(3)
if how == "words":
    sys.exit("no data")
pde = solve()
if how == "leave" and ONE:
    sys.exit(0)
pde.evaluate([[0.0, 0.0, 0.0] if how == "points" and ONE else [0.0, 0.0]])
