r"""How far a solution is from the density of the equation: estimates of its errors in space, time and by truncation.

**Space.** The same problem is solved with the same scheme on two coarser meshes. With the densities u, u₁, u₂ at
``t_end``, :math:`d_1 = \|u - u_1\|`, :math:`d_2 = \|u_1 - u_2\|` and :math:`r = d_1/d_2`, the error of u is

.. math:: e = d_1\,\frac{r}{1 - r}

if each mesh has r times the error of the one before: where cells become smaller by the same factor, as the error is a
power of their size (Richardson), and for elements of degree 6 or more, whose degree grows by the same number, as it is
a power of the degree's exponential. Of the ratios in both norms the larger is taken, kept below that of order 1.

**Time.** On the coarsest mesh the problem is solved with a tenth of the tolerance, or twice the step. The difference of
the two densities is that of errors proportional to :math:`\mathrm{tol}^{q/(q+1)}`, or to :math:`\Delta t^q`.

**Truncation.** On the coarsest mesh the box is made wider by cells beyond its boundary, so that inside nothing but the
boundary changes. Where the outer tenth of a domain holds a share of the mass that is far below the other errors, that
share is the estimate. Closed and periodic boxes are not truncated.

Where there are no coarser meshes, or they do not resolve the initial density, one with cells half as large takes their
place, where errors of elements of degree 1 are a quarter. That takes longer than the solve.

Norms are over points in all cells of the mesh of u, with the error of interpolation between nodes: L¹, and the maximum.
Together these solves take about as long as the first, and up to three times as long where that takes a second or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kspde.domains import Box, Domain
from kspde.errors import InputError, KspdeError
from kspde.fem.schemes import Scheme
from kspde.fem.spaces import Space
from kspde.typing import Array

__all__ = ["DensityError", "ErrorParts", "estimated", "sampled"]

#: The most points at which densities are compared: on boxes, where they are found by their coordinates, and elsewhere.
_POINTS = {True: 60_000, False: 8_000}
#: The least and the largest ratio of the errors on two meshes.
_FASTEST, _SLOWEST = 0.03, 0.67
#: That on a mesh and on one with cells half as large, for elements of degree 1.
_HALVED = 0.25
#: The share of other errors below which the mass near the boundary is not looked into.
_NEGLIGIBLE = 0.1
#: How much wider the box is.
_WIDER = 1.25


@dataclass(frozen=True)
class ErrorParts:
    """The parts of an error, in the units of its norm; NaN where it cannot be estimated."""

    space: float = math.nan
    time: float = math.nan
    truncation: float = math.nan

    @property
    def total(self) -> float:
        """Their sum."""
        return self.space + self.time + self.truncation


@dataclass(frozen=True)
class DensityError:
    """Estimates of a density's error at ``t_end``; for several species the sum in L¹, and the maximum of all.

    Attributes:
        l1: of ∫|u − exact|.
        maximum: of max|u − exact|.
        unknown: why there is none; empty where there is.
    """

    l1: ErrorParts = ErrorParts()
    maximum: ErrorParts = ErrorParts()
    unknown: str = ""

    def __str__(self) -> str:
        if self.unknown:
            return f"the density's error is not known: {self.unknown}"
        return "; ".join(
            f"{name} {part.total:.1e} (space {part.space:.1e}, time {part.time:.1e}, truncation {part.truncation:.1e})"
            for name, part in (("L1", self.l1), ("maximum", self.maximum))
        )


def estimated(solution: Any, again: Callable[[Domain, Scheme], Any]) -> DensityError:
    """Return estimates of the error of what ``kspde.solve`` returned. Collective.

    Args:
        solution: the solution.
        again: solves the same problem on another domain by another scheme.
    """
    domain, scheme = solution.domain, solution.scheme
    space = solution.at().space
    points, weights = sampled(space)

    def values(of: Any) -> Array:
        last = of.at()
        evaluate = last.space.evaluator(points, outside=0.0)
        return np.array([evaluate(last.density(name)) for name in of.species])

    def norms(difference: Array) -> Array:
        size = np.abs(difference)
        total, largest = np.array([(size @ weights).sum()]), np.array([size.max(initial=0.0)])
        return np.concatenate([space.total(total), space.maximum(largest)])

    def against_finer() -> tuple[Domain, Array, Array]:
        return domain, u, norms(values(again(domain.finer(), scheme)) - u) / (1.0 - _HALVED)

    def against_coarser(meshes: tuple[Domain, Domain]) -> tuple[Domain, Array, Array]:
        first, second = (values(again(mesh, scheme)) for mesh in meshes)
        return meshes[1], second, _extrapolated(norms(u - first), norms(first - second))

    try:
        u = values(solution)
        other, in_differences = scheme.compared(solution.t_end)
        meshes = domain.coarser()
        try:
            mesh, there, in_space = against_finer() if meshes is None else against_coarser(meshes)
        except InputError:  # a coarser mesh does not resolve the initial density
            mesh, there, in_space = against_finer()
        in_time, beyond = in_differences * norms(there - values(again(mesh, other))), np.zeros(2)
        if domain.boundary == "decay":
            beyond = _beyond(solution)
            wider = _wider(mesh)
            if wider is not None and (beyond > _NEGLIGIBLE * (in_space + in_time)).any():
                beyond = norms(there - values(again(wider, scheme)))
    except KspdeError as error:
        return DensityError(unknown=f"one of the runs that it takes failed: {error}")
    parts = np.stack([in_space, in_time, beyond], axis=1).tolist()
    return DensityError(ErrorParts(*parts[0]), ErrorParts(*parts[1]))


def _extrapolated(first: Array, second: Array) -> Array:
    """Return the errors on the finest of three meshes from the differences between them, finest first."""
    ratio = np.clip(np.max(first / np.maximum(second, np.finfo(float).tiny)), _FASTEST, _SLOWEST)
    return np.asarray(first * ratio / (1.0 - ratio))


def _beyond(solution: Any) -> Array:
    """Return the mass in the outer tenth of the domain, and the largest share of a maximum that it may be."""
    mass, rim = (np.abs(np.atleast_1d(solution.diagnostics[name][-1])) for name in ("mass", "boundary_mass"))
    top = np.atleast_1d(solution.diagnostics["maximum"][-1])
    return np.array([rim.sum(), float(np.max(rim / np.where(mass > 0, mass, 1.0) * top))])


def _wider(domain: Domain) -> Domain | None:
    """Return a box with more cells beyond its boundary, and the same inside; None for other domains."""
    from kspde.fem.spaces.graded import with_vertices  # imports DOLFINx

    if not isinstance(domain, Box):
        return None
    places = []
    for inside, half in zip(domain.directions, domain.half_widths, strict=True):
        width = inside[-1] - inside[-2]
        outside = inside[-1] + width * np.arange(1, 1 + math.ceil((_WIDER - 1.0) * half / width))
        places.append(np.concatenate([-outside[::-1], inside, outside]))
    return with_vertices(replace(domain, half_width=tuple(float(one[-1]) for one in places)), places)


def sampled(space: Space, finer: int = 1) -> tuple[Array, Array]:
    """Return points in this rank's cells, shape (n, d), and the weights of a quadrature over them, shape (n,).

    Args:
        space: the space.
        finer: by how many times there may be more points than for estimates.
    """
    import basix

    mesh, d = space.mesh, space.dimension
    cell = getattr(basix.CellType, mesh.basix_cell().name)
    at, weights = basix.make_quadrature(cell, 2 * space.degree + 1)
    shapes = basix.create_element(basix.ElementFamily.P, cell, 1).tabulate(1, at)[..., 0]
    owned = mesh.topology.index_map(mesh.topology.dim).size_local
    corners = mesh.geometry.x[mesh.geometry.dofmaps[0][:owned]][..., :d]
    every = max(1, owned * len(at) * space.comm.size // (finer * _POINTS[space.fills_cube]))
    cells, rules = np.divmod(np.arange(0, owned * len(at), every), len(at))
    points = np.einsum("nv,nvd->nd", shapes[0][rules], corners[cells])
    slopes = np.einsum("anv,nvd->nda", shapes[1:][:, rules], corners[cells])
    return points, every * weights[rules] * np.abs(np.linalg.det(slopes))
