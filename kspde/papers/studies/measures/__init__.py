"""What can be measured at a point of a study. Adding a measure takes its class and one line in ``MEASURES``."""

from __future__ import annotations

from kspde.papers.studies.measures.base import Measure, Task, measured
from kspde.papers.studies.measures.densities import (
    ConstantDensity,
    Convergence,
    InteractionRange,
    Mollification,
    Overshoot,
)
from kspde.papers.studies.measures.fluctuations import LinearStatistic
from kspde.papers.studies.measures.laws import FreeEnergy, LocalEntropy
from kspde.papers.studies.measures.logarithms import Logarithms, ScoreNorm
from kspde.papers.studies.measures.one_particle import OneParticle
from kspde.papers.studies.measures.particles import Chaos, Coupling, Distance, Fluctuations, WeakError
from kspde.papers.studies.measures.ranges import OptimalRange
from kspde.papers.studies.measures.terms import ProofTerms

__all__ = ["MEASURES", "Measure", "Task", "measured"]

#: By name.
MEASURES: dict[str, type[Measure]] = {
    measure.name: measure
    for measure in (
        Coupling,
        Chaos,
        FreeEnergy,
        LocalEntropy,
        Fluctuations,
        LinearStatistic,
        Distance,
        Mollification,
        Overshoot,
        ConstantDensity,
        InteractionRange,
        Logarithms,
        ScoreNorm,
        Convergence,
        WeakError,
        OneParticle,
        OptimalRange,
        ProofTerms,
    )
}
