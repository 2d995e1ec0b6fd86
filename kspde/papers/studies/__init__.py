"""Studies: a quantity measured over a sweep of parameters, its rate, and what is promised of it."""

from kspde.papers.experiment import Experiment
from kspde.papers.studies.agreement import Agreement, agreement_of
from kspde.papers.studies.execute import open_directory, run_points
from kspde.papers.studies.measures import MEASURES, Measure
from kspde.papers.studies.outcome import Outcome, Rate, outcome_of, rates_of, verdict
from kspde.papers.studies.power_law import PowerLaw, fit_power_law
from kspde.papers.studies.precision import Plan, planned
from kspde.papers.studies.promises import (
    PROMISES,
    DegreePromise,
    OrderPromise,
    Promise,
    Theorem1Promise,
    Theorem2Promise,
)
from kspde.papers.studies.study import Finding, Fit, Point, Precision, Study

__all__ = [
    "MEASURES",
    "PROMISES",
    "Agreement",
    "DegreePromise",
    "Experiment",
    "Finding",
    "Fit",
    "Measure",
    "OrderPromise",
    "Outcome",
    "Plan",
    "Point",
    "PowerLaw",
    "Precision",
    "Promise",
    "Rate",
    "Study",
    "Theorem1Promise",
    "Theorem2Promise",
    "agreement_of",
    "fit_power_law",
    "open_directory",
    "outcome_of",
    "planned",
    "rates_of",
    "run_points",
    "verdict",
]
