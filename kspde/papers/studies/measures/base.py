"""One point of a study as a measure sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.fem import solve
from kspde.papers.studies.study import Problem
from kspde.runtime.saving import SaveAt

__all__ = ["Task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A problem, the noise to use and where to run.

    Attributes:
        problem: the system.
        seed: of random numbers.
        comm: a communicator of one process.
    """

    problem: Problem
    seed: int
    comm: Any

    def density(self, *, saves: int = 0, **changes: Any) -> Any:
        """Return the solved density.

        Args:
            saves: intervals between saved states, 0 for none but the last.
            **changes: keyword arguments of ``kspde.solve`` instead of the problem's, and ``model`` and ``domain``.
        """
        options = {**self.problem.solve, **changes}
        model, domain = options.pop("model", self.problem.model), options.pop("domain", self.problem.domain)
        if saves:
            options["save"] = SaveAt(times=np.linspace(0.0, options["t_end"], saves + 1))
        return solve(model, self.problem.u0, domain, comm=self.comm, **options)
