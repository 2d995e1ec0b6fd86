"""What a run says, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

import kspde
from kspde.io.case import Case

__all__ = ["density_line", "distance_lines", "heading", "particles_line"]


def heading(case: Case, comm: Any) -> str:
    """Return the line a run begins with: which system, on how many ranks."""
    parts = [str(case.model), f"t_end = {case.content.t_end:g}"]
    if case.content.regularisation is not None:
        parts.insert(1, f"eps = {case.content.regularisation.eps:g} ({case.content.regularisation.mollifier})")
    return f"kspde {kspde.__version__} on {_counted(comm.size, 'rank')}: {', '.join(parts)}"


def density_line(pde: Any, seconds: float) -> str:
    """Return the line that follows the density's solve."""
    about = pde.summary()
    masses = np.array([pde.masses[s] for s in pde.species])
    drift = float(np.max(np.abs(pde.diagnostics["mass"][-1] / masses - 1)))
    work = f"{about['nodes']:,} nodes, {_counted(about['steps'], 'time step')}, mass kept to {drift:.0e}"
    return f"  density    {work:<58} {seconds:7.2f} s"


def particles_line(cloud: Any, seconds: float) -> str:
    """Return the line that follows the simulation of the particles."""
    work = f"{cloud.n:,} particles, {_counted(len(cloud.diagnostics['t']) - 1, 'time step')}, seed {cloud.seed}"
    return f"  particles  {work:<58} {seconds:7.2f} s"


def distance_lines(distance: Any, seconds: float) -> list[str]:
    """Return the distances beside their floors, and what they mean."""
    n = f"{distance.n:,}"
    work = f"kernel density estimate, bandwidth {distance.bandwidth:.3g}"
    lines = [f"  distance   {work:<58} {seconds:7.2f} s", ""]
    lines.append(f"  {'':<26} {'particles to density':<34} floor: {n} independent draws from the density")
    rows = (
        ("L1 distance", distance.l1, distance.floor.l1),
        ("L2 distance", distance.l2, distance.floor.l2),
        ("relative entropy", distance.relative_entropy, distance.floor.relative_entropy),
        ("reverse relative entropy", distance.reverse_relative_entropy, distance.floor.reverse_relative_entropy),
    )
    lines += [f"  {name:<26} {measured!s:<34} {floor}" for name, measured, floor in rows]
    lines.append(f"  {'smoothing alone, L1':<26} {distance.bandwidth_bias:.2g}")
    lines.append(f"  {'without noise, L1':<26} {distance.debiased.l1}")
    lines += ["", f"  {_verdict(distance)}"]
    return lines


def _verdict(distance: Any) -> str:
    draws = f"{distance.n:,} independent draws"
    if distance.above_floor:
        return f"The L1 distance is above its floor: larger than {draws} from the density would give."
    return f"The L1 distance is within its floor: no larger than {draws} from the density would give."


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
