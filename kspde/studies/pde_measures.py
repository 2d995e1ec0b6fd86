r"""Measures of densities: what the mollifier changes, and how fast the finite elements converge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kspde.domains import Box
from kspde.errors import InputError, check_integer
from kspde.models.base import Array
from kspde.studies.quantities import Quantity, exactly
from kspde.studies.task import Task

__all__ = ["convergence", "mollification"]

#: Points a direction of the grid that distances are summed on, over the part of the domain that holds the mass.
_POINTS = {1: 4001, 2: 401, 3: 97}


def mollification(task: Task) -> dict[str, Quantity]:
    r"""Return the L¹ and L² norms of :math:`u^\varepsilon - u` at t_end: (1.9) against (1.1), both on the same mesh.

    For a symmetric mollifier :math:`j^\varepsilon * u = u + \tfrac{\sigma^2\varepsilon^2}{2}\Delta u +
    O(\varepsilon^4)`, so order 2 is expected where u is smooth.
    """
    mollified = task.density()
    local = task.density(eps=None)
    axes = _axes(task, local)
    return _norms(mollified.on_grid(axes), local.on_grid(axes), axes)


def convergence(
    task: Task,
    *,
    reference_cells: int,
    reference_degree: int,
    reference_tol: float,
    reference_point: Sequence[float] | None = None,
    reference_value: float | None = None,
) -> dict[str, Quantity]:
    """Return the L¹ distance at t_end from a finer solution, and the error at a point whose value is known.

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
    fine = _finer(task, box, (reference_cells, reference_degree, reference_tol))
    axes, values = fine
    out = {"l1": _norms(coarse.on_grid(axes), values, axes)["l1"]}
    if reference_point is not None and reference_value is not None:
        out["point"] = exactly(abs(float(coarse.evaluate([list(reference_point)])[0]) - reference_value))
    return out


#: The last finer solution of this process: most points of a study share it.
_LAST: dict[str, Any] = {}


def _finer(task: Task, box: Box, size: tuple[int, int, float]) -> tuple[list[Array], Array]:
    cells, degree, tol = size
    problem = task.problem
    options = {name: value for name, value in problem.solve.items() if name not in ("tol", "scheme", "dt")}
    finer = replace(box, cells=cells, degree=degree)
    same = (problem.model, finer, options, tol)
    if not (_LAST and _LAST["same"] == same and _same_density(_LAST["u0"], problem.u0)):
        solution = task.density(domain=finer, tol=tol, scheme="adaptive", dt=None)
        axes = _axes(task, solution)
        _LAST.update(same=same, u0=problem.u0, axes=axes, values=solution.on_grid(axes))
    return _LAST["axes"], _LAST["values"]


def _same_density(a: Any, b: Any) -> bool:
    points = np.random.default_rng(0).uniform(-3.0, 3.0, (64, a.dimension))
    return bool(a.dimension == b.dimension and np.array_equal(a(points), b(points)))


def _axes(task: Task, pde: Any) -> list[Array]:
    """Return axes over what holds the mass: eight standard deviations about the origin, inside the domain."""
    d = task.problem.model.dimension
    spread = float(np.sqrt(pde.diagnostics["second_moment"][-1] / pde.diagnostics["mass"][-1]))
    half = min(8.0 * spread, pde.half_width / (1.0 if isinstance(task.problem.domain, Box) else np.sqrt(2.0)))
    return [np.linspace(-half, half, _POINTS[d])] * d


def _norms(a: Array, b: Array, axes: list[Array]) -> dict[str, Quantity]:
    volume = float(np.prod([axis[1] - axis[0] for axis in axes]))
    difference = np.abs(a - b)
    return {
        "l1": exactly(float(difference.sum()) * volume),
        "l2": exactly(float(np.sqrt(np.square(difference).sum() * volume))),
    }
