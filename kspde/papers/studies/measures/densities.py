r"""Measures of densities: what the mollifier changes, and how fast the finite elements converge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kspde.domains import Box
from kspde.errors import InputError, check_integer
from kspde.models.base import Array
from kspde.papers.studies.measures.base import Task
from kspde.papers.studies.quantities import Quantity, exactly

__all__ = ["convergence", "mollification"]

#: Points a direction of the grid that distances are summed on, over the part of the domain that holds the mass.
_POINTS = {1: 4001, 2: 401, 3: 97}


def mollification(task: Task) -> dict[str, Quantity]:
    r"""Return the L¹ and L² norms of :math:`u^\varepsilon - u` at t_end: (1.9) against (1.1), both on the same mesh.

    Per unit of mass, as all distances here.

    For a symmetric mollifier :math:`j^\varepsilon * u = u + \tfrac{\sigma^2\varepsilon^2}{2}\Delta u +
    O(\varepsilon^4)`, so order 2 is expected where u is smooth.
    """
    mollified = task.density()
    local = task.density(eps=None)
    axes = _axes(task, local)
    return _norms(mollified.on_grid(axes), local.on_grid(axes), axes, task.problem.u0.mass)


def convergence(
    task: Task,
    *,
    reference_cells: int,
    reference_degree: int,
    reference_tol: float,
    reference_point: Sequence[float] | None = None,
    reference_value: float | None = None,
) -> dict[str, Quantity]:
    """Return L¹ distances at t_end from finer solutions per unit of mass, and the error where a value is known.

    ``l1`` is the distance from a solution finer in space and time, ``time`` from one on the same mesh with the tight
    tolerance: the error of the time steps alone.

    Args:
        task: the point, on a ``Box``.
        reference_cells: of the finer solution.
        reference_degree: of the finer solution.
        reference_tol: of the finer solution.
        reference_point: where a value is known from elsewhere.
        reference_value: u(t_end) there.
    """
    box = task.problem.domain
    if not isinstance(box, Box):
        raise InputError(f"the domain is a {type(box).__name__}: the finer solution needs a box")
    check_integer("reference_cells", reference_cells, at_least=1)
    if (reference_point is None) != (reference_value is None):
        raise InputError("reference_point and reference_value belong together: give both or neither")
    coarse = task.density()
    axes, fine = _solved(task, replace(box, cells=reference_cells, degree=reference_degree), reference_tol)
    _, exact_in_time = _solved(task, box, reference_tol, axes)
    values = coarse.on_grid(axes)
    out = {
        "l1": _norms(values, fine, axes, task.problem.u0.mass)["l1"],
        "time": _norms(values, exact_in_time, axes, task.problem.u0.mass)["l1"],
    }
    if reference_point is not None and reference_value is not None:
        out["point"] = exactly(abs(float(coarse.evaluate([list(reference_point)])[0]) - reference_value))
    return out


#: Finer solutions of this process on their grids: the points of a study share them.
_KEPT: dict[tuple[Any, ...], tuple[list[Array], Array]] = {}
_MOST_KEPT = 64


def _solved(task: Task, box: Box, tol: float, axes: list[Array] | None = None) -> tuple[list[Array], Array]:
    """Return axes and the density on them, solved on a box with a tolerance, or kept from an earlier point."""
    problem = task.problem
    options = {name: value for name, value in problem.solve.items() if name not in ("tol", "scheme", "dt")}
    probe = problem.u0(np.random.default_rng(0).uniform(-3.0, 3.0, (64, problem.u0.dimension)))
    key = (repr(problem.model), box, repr(sorted(options.items())), tol, axes is None, probe.tobytes())
    if key not in _KEPT:
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        solution = task.density(domain=box, tol=tol, scheme="adaptive", dt=None)
        grid = _axes(task, solution) if axes is None else axes
        _KEPT[key] = grid, solution.on_grid(grid)
    return _KEPT[key]


def _axes(task: Task, pde: Any) -> list[Array]:
    """Return axes over what holds the mass: eight standard deviations about the origin, inside the domain."""
    d = task.problem.model.dimension
    spread = float(np.sqrt(pde.diagnostics["second_moment"][-1] / pde.diagnostics["mass"][-1]))
    half = min(8.0 * spread, pde.half_width / (1.0 if isinstance(task.problem.domain, Box) else np.sqrt(2.0)))
    return [np.linspace(-half, half, _POINTS[d])] * d


def _norms(a: Array, b: Array, axes: list[Array], mass: float) -> dict[str, Quantity]:
    """Return the norms of a − b per unit of mass."""
    volume = float(np.prod([axis[1] - axis[0] for axis in axes]))
    difference = np.abs(a - b) / mass
    return {
        "l1": exactly(float(difference.sum()) * volume),
        "l2": exactly(float(np.sqrt(np.square(difference).sum() * volume))),
    }
