"""Ready-made studies cut down to seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kspde.cli.study import read_study
from kspde.papers.studies import Study


def reduced(name: str, keep: Callable[..., bool], *, options: dict[str, Any], t_end: float, **simulate: Any) -> Study:
    """Return some points of a ready-made study's small setting, shorter and with fewer particles."""
    study = read_study(name, small=True)
    points = []
    for point in study.points:
        if not keep(**point.swept):
            continue
        own = point.experiment
        particles = None if own.simulate is None else {**own.simulate, **simulate}
        experiment = replace(own, problem=replace(own.problem, t_end=t_end), simulate=particles)
        points.append(replace(point, experiment=experiment, measure=replace(point.measure, **options)))
    assert points
    return replace(study, points=tuple(points))
