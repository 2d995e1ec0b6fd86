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
        problem = replace(point.problem, solve={**point.problem.solve, "t_end": t_end})
        if problem.simulate:
            problem = replace(problem, simulate={**problem.simulate, **simulate, "t_end": t_end})
        points.append(replace(point, problem=problem, options={**point.options, **options}))
    assert points
    return replace(study, points=tuple(points))
