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
        setup = replace(point.setup, solve={**point.setup.solve, "t_end": t_end})
        if setup.simulate:
            setup = replace(setup, simulate={**setup.simulate, **simulate, "t_end": t_end})
        points.append(replace(point, setup=setup, measure=replace(point.measure, **options)))
    assert points
    return replace(study, points=tuple(points))
