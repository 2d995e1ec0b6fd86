"""Replicas chosen before a run: a pilot run says how many a stated relative error takes, and what they cost."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from kspde.fem import backend
from kspde.papers.studies.execute import PILOT, open_directory, read_point, run_points
from kspde.papers.studies.measures import Task, measured
from kspde.papers.studies.study import Point, Study
from kspde.runtime.limits import MOST_REPLICAS
from kspde.runtime.parallel import alone
from kspde.typing import Comm

__all__ = ["Plan", "planned"]


#: Replicas of the run that compiles what the pilot run takes.
_FEW = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run of stated precision takes.

    Attributes:
        study: the study with the replicas that its points need.
        replicas: these, by point.
        seconds: what each is expected to take: the pilot run's time, with that of its replicas scaled.
    """

    study: Study
    replicas: tuple[int, ...]
    seconds: tuple[float, ...]


def planned(study: Study, directory: Path, comm: Comm, **means: Any) -> Plan:
    r"""Return the study with the replicas that its ``precision`` asks for, after a pilot run. Collective.

    The standard deviation s of one replica and the mean m of the pilot run ask for :math:`(s/(m\delta))^2` replicas.
    The pilot run has seeds of its own, so that what it found does not bias the results; the same command finds it
    again. Of its time that of the density's solution is counted once, the rest by replica. Its first point is computed
    with a few replicas beforehand, so that the time of no point contains what a process does once, as compiling loops.

    Args:
        study: a study with ``precision``.
        directory: the directory of the study's results; the pilot run's are in it.
        comm: the communicator.
        **means: what computes the points, as for ``run_points``.
    """
    precision = study.precision
    if precision is None:
        raise ValueError("the study states no precision")
    trial = replace(study, points=tuple(_with(point, precision.pilot, pilot=True) for point in study.points))
    (directory / PILOT).mkdir(parents=True, exist_ok=True)
    open_directory(trial, directory / PILOT, comm, force=True)
    backend.require()  # collective: PETSc is initialised on all ranks together
    if any(read_point(directory / PILOT, point) is None for point in trial.points):
        first = trial.points[0]
        with warnings.catch_warnings():  # the pilot run says them again
            warnings.simplefilter("ignore", UserWarning)
            few = max(_FEW, first.measure.fewest)
            measured(_with(first, few).measure, Task(experiment=first.experiment, seed=first.seed, comm=alone()))
    run_points(trial, directory / PILOT, comm, **means)
    counts, seconds = [], []
    for point in trial.points:
        record = read_point(directory / PILOT, point)
        assert record is not None
        found = record["quantities"][precision.quantity]
        needed = (found.error / (precision.relative * max(abs(found.value), 1e-300))) ** 2 * precision.pilot
        counts.append(min(max(math.ceil(needed), precision.pilot), MOST_REPLICAS))
        once = record["density_seconds"]
        seconds.append(once + (record["seconds"] - once) * counts[-1] / precision.pilot)
    points = tuple(_with(point, count) for point, count in zip(study.points, counts, strict=True))
    return Plan(study=replace(study, points=points), replicas=tuple(counts), seconds=tuple(seconds))


def _with(point: Point, replicas: int, **more: Any) -> Point:
    measure: dict[str, Any] = {**point.parameters["measure"], "replicas": replicas}
    return replace(
        point,
        measure=replace(cast(Any, point.measure), replicas=replicas),
        parameters={**point.parameters, "measure": measure, **more},
    )
