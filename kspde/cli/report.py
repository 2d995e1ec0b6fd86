"""What a run reports, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde._version import __version__
from kspde.cli.case import Case
from kspde.distances.registry import DISTANCES
from kspde.distances.result import Distance
from kspde.errors import counted
from kspde.fem.solution import Solution
from kspde.particles import Cloud
from kspde.typing import Comm

__all__ = ["density_lines", "distance_lines", "heading", "particles_line"]


def heading(case: Case, comm: Comm) -> str:
    """Return the line a run begins with: which system, on how many ranks."""
    problem = case.experiment.problem
    parts = [str(problem.model), f"t_end = {problem.t_end:g}"]
    if problem.eps is not None:
        parts.insert(1, f"eps = {problem.eps:g} ({problem.mollifier})")
    return f"kspde {__version__} on {counted(comm.size, 'rank')}: {', '.join(parts)}"


def density_lines(case: Case, pde: Solution, seconds: float, stage: str = "density") -> list[str]:
    """Return what follows a density's solve, the case's own or what it is compared against: work, choices, error."""
    about = pde.summary()
    masses, grown = np.array(list(pde.problem.masses.values())), pde.diagnostics.get("growth")
    change = np.abs(pde.diagnostics["mass"][-1] - masses - (0.0 if grown is None else grown[-1]))
    change /= [u.variation for u in pde.problem.u0.values()]
    kept = f"mass {'kept' if grown is None else 'balanced'} to {float(np.max(change)):.0e}"
    work = f"{about['nodes']:,} nodes, {counted(about['steps'], 'time step')}, {kept}"
    lines = [f"  {stage:<10} {work:<58} {seconds:7.2f} s"]
    if "accuracy" in case.experiment.solve:
        lines.append(f"  {'chosen':<10} {pde.domain}, {pde.scheme}")
    if pde.stopped is not None:
        lines.append(f"  {'stopped':<10} {pde.stopped}")
    if "regrids" in about:
        lines += _peak_lines(about, ended=pde.stopped is None and pde.t_end < case.experiment.problem.t_end)
    if pde.known_error is not None:
        lines.append(f"  {'error':<10} {pde.known_error}")
    return lines


def _peak_lines(about: Mapping[str, Any], *, ended: bool) -> list[str]:
    """Return what a run with grids that follow its peaks says of them, and whether it ended at the highest."""
    t, found = about["t_end"], about["blow_up"]
    grids = f"followed on {counted(1 + len(about['regrids']), 'grid')}"
    lines = [
        f"  {'peak':<10} {grids} until t = {t:.4g}" + (", where it has reached the height asked for" if ended else "")
    ]
    if found is not None:
        error = "" if found["error"] is None else f", relative error {found['error']:.0e}"
        low, high = found["interval"]
        lines += [
            f"  {'maximum':<10} {found['maximum']:.6g}{error}",
            f"  {'blow-up':<10} extrapolated to t = {found['time']:.4g} [{low:.4g}, {high:.4g}]",
        ]
    return lines


def particles_line(cloud: Cloud, seconds: float) -> str:
    """Return the line that follows the simulation of the particles."""
    n = sum(cloud.n.values()) if isinstance(cloud.n, dict) else cloud.n
    work = f"{n:,} particles, {counted(len(cloud.diagnostics['t']) - 1, 'time step')}, seed {cloud.seed}"
    return f"  particles  {work:<58} {seconds:7.2f} s"


def distance_lines(distance: Distance, seconds: float) -> list[str]:
    """Return the distances, beside their floors where they have any, and what they mean."""
    how = "quadrature" if distance.kind == "densities" else "of the points themselves"
    if distance.bandwidth is not None:
        how = f"kernel density estimate, bandwidth {distance.bandwidth:.3g}"
    lines = [f"  distance   {how:<58} {seconds:7.2f} s", ""]
    between = {"particles": "particles to density", "densities": "second density to first"}[distance.kind]
    beside = f"floor: {_draws(distance)} from the density" if distance.floor.by_name else ""
    lines.append(f"  {'':<26} {between:<34} {beside}".rstrip())
    for name in distance.by_name:
        floor = distance.floor.by_name.get(name, "")
        lines.append(f"  {DISTANCES[name].title:<26} {distance.in_words(name):<34} {floor}".rstrip())
    if "l1" in distance.smoothing:
        lines.append(f"  {'smoothing alone, L1':<26} {distance.bandwidth_bias:.2g}")
    if "l1" in distance.debiased.by_name:
        lines.append(f"  {'without noise, L1':<26} {distance.debiased.l1}")
    lines += [f"  {title:<26} {value}" for title, value in distance.own_errors()]
    if distance.differs:
        lines += ["", f"  They differ in {distance.differences}."]
    if distance.floor.by_name:
        lines += ["", f"  {_verdict(distance)}"]
    return lines


def _verdict(distance: Distance) -> str:
    title = DISTANCES[next(iter(distance.by_name))].title
    if distance.above_floor:
        than = f"larger than {_draws(distance)} from the density would give"
        return f"The {title} is above its floor: {than}. {distance.why_above}"
    return f"The {title} is not distinguishable from that of {_draws(distance)} from the density."


def _draws(distance: Distance) -> str:
    return f"{distance.n:,} independent draws"
