"""A run's particles as the user sees them: a cloud, after any number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspde.particles.cloud import Cloud
from kspde.particles.mean_field import CouplingHistory
from kspde.particles.run import Moments, Run
from kspde.particles.statistics import Saves

__all__ = ["Results"]


@dataclass(kw_only=True)
class Results:
    """What was observed, and what clouds have in common.

    Attributes:
        common: the arguments of ``Cloud`` that do not change during a run.
        details: of its summary.
        moments: by system.
        coupling: of the two systems, if there are two.
        saves: the statistics, if any are taken.
    """

    common: Mapping[str, Any]
    details: Mapping[str, Any]
    moments: Mapping[str, Moments]
    coupling: CouplingHistory | None = None
    saves: Saves | None = None

    def cloud(self, run: Run, timings: Mapping[str, float] | None = None) -> Cloud:
        """Return the particles after ``run.step`` steps; they share the run's arrays."""
        twins = self._of("mean_field", run, {}, timings=timings) if self.coupling is not None else None
        return self._of(
            "particles",
            run,
            self.details,
            timings=timings,
            statistics={} if self.saves is None else self.saves.result(),
            mean_field=twins,
            coupling=None if self.coupling is None else self.coupling.result(run, self._counts),
        )

    @property
    def _counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = self.common["counts"]
        return counts

    def _of(
        self, label: str, run: Run, details: Mapping[str, Any], *, timings: Mapping[str, float] | None, **others: Any
    ) -> Cloud:
        system = run.systems[label]
        here = slice(0, run.step + 1)
        return Cloud(
            **self.common,
            **others,
            t_end=run.t,
            dt=float(np.diff(run.times).max()),
            diagnostics={
                "t": run.times[here],
                **{name: values[here] for name, values in self.moments[label].diagnostics().items()},
            },
            timings=timings or {},
            _positions=system.positions,
            _ids=system.ids,
            _details={**details, **system.evaluator.summary()},
        )
