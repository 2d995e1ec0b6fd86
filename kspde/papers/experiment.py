"""A problem with all that decides how it is computed: what a case file, or a point of a study, holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kspde.domains import Domain
from kspde.fem.solution import Solution
from kspde.fem.solve import solve
from kspde.particles import Cloud, simulate
from kspde.problem import Problem

__all__ = ["Experiment"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A problem, and how it is computed.

    Attributes:
        problem: the problem.
        domain: the truncated domain; particles live in it where it is a closed or periodic Box. With an ``accuracy``
            for ``solve`` it is where that begins.
        solve: keyword arguments of ``kspde.solve`` beyond the problem and the domain.
        simulate: keyword arguments of ``kspde.simulate`` beyond the problem; None where there are no particles.
    """

    problem: Problem
    domain: Domain
    solve: Mapping[str, Any]
    simulate: Mapping[str, Any] | None = None

    def density(self, **more: Any) -> Solution:
        """Solve the density equation, with arguments in place of this experiment's or beside them. Collective."""
        own = {} if "accuracy" in self.solve else {"domain": self.domain}
        return solve(**{**own, **self.problem.arguments, **self.solve, **more})

    def cloud(self, **more: Any) -> Cloud:
        """Simulate the particles, with arguments in place of this experiment's or beside them. Collective."""
        return simulate(**{"domain": self.domain, **self.problem.arguments, **(self.simulate or {}), **more})
