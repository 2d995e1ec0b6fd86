r"""The variance of a linear statistic of the particles beside its Gaussian limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from kspde.errors import check_choice, check_integer
from kspde.evidence import fluctuations
from kspde.evidence.ensemble import Ensemble
from kspde.evidence.gaussian_limit import STATISTICS
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.measures.particles import particles_of
from kspde.papers.studies.quantities import Meaning, Quantity, exactly, mean
from kspde.runtime.reductions import everyones

__all__ = ["LinearStatistic"]


@dataclass(frozen=True, kw_only=True)
class LinearStatistic(Measure):
    r"""N Var X of X = ∫φ dμ_N at the end, with mean-field particles as control variates, beside its limit.

    Mean-field particles with the same start and noise have the statistic X̄, and N Var X̄ is known, the variance of φ
    under u(T). With the first term of :math:`N(\mathrm{Var}\,X - \mathrm{Var}\,\bar X) + N\,\mathrm{Var}\,\bar X` from
    the runs N Var X has a fraction of its scatter. The limit is that of :func:`kspde.fluctuations`.

    Attributes:
        replicas: the number of independent systems, at least 2.
        statistic: φ: "second_moment", |x|², "gaussian", e^(−|x|²/2), or "cosine", cos x₁.
        saves: the number of intervals between the snapshots that the density is interpolated from.
    """

    name: ClassVar = "linear-statistic"
    quantities: ClassVar = {
        "variance": Meaning("N Var X", "Variance of the statistic, by control variates, times the number of particles"),
        "interaction": Meaning(
            "N (Var X − Var X̄)", "What interaction adds to the variance of the statistic, times the number of particles"
        ),
        "limit": Meaning("lim N Var X", "Limit of the variance of the statistic, by the adjoint equation"),
        "interaction_limit": Meaning(
            "lim N (Var X − Var X̄)", "Limit of what interaction adds to the variance, by the adjoint equation"
        ),
        "remainder": Meaning("N Var X − lim N Var X", "Difference of the variance of the statistic from its limit"),
        "ratio": Meaning("N Var X / lim N Var X", "Variance of the statistic as a share of its limit"),
    }

    replicas: int
    statistic: Literal["second_moment", "gaussian", "cosine"] = "second_moment"
    saves: int = 32

    def __post_init__(self) -> None:
        check_choice("statistic", self.statistic, STATISTICS)
        check_integer("replicas", self.replicas, at_least=2)
        check_integer("saves", self.saves, at_least=4)

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities."""
        pde, runs = task.density(saves=self.saves), self.replicas
        limit = fluctuations(pde, self.statistic)
        ensemble = Ensemble(pde=pde, replicas=runs, coupled=True, **particles_of(task))
        ensemble.run()

        def squares(system: str) -> np.ndarray:
            values = STATISTICS[self.statistic](ensemble.systems[system].positions["u"]).reshape(-1, ensemble.n)
            own = everyones(pde.masses["u"] * values.mean(axis=1), ensemble.comm)
            return ensemble.n * runs / (runs - 1) * (own - own.mean()) ** 2

        added = squares("particles") - squares("mean_field")
        variance = added + limit.mean_field_share
        return {
            "variance": mean(variance),
            "interaction": mean(added),
            "limit": exactly(limit.variance),
            "interaction_limit": exactly(limit.interaction),
            "remainder": mean(variance - limit.variance),
            "ratio": mean(variance / limit.variance),
        }
