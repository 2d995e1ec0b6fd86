"""The cells of a space as VTK has them: their nodes are equidistant in each, and in an order of its own."""

from __future__ import annotations

import math
from itertools import product
from typing import Any, Protocol

import numpy as np

from kspde.fem.spaces.base import Space
from kspde.fem.spaces.box import BoxSpace
from kspde.typing import Array, Indices

__all__ = ["VtkGrid", "lattice", "vtk_grid"]

#: VTK's types of intervals, quadrilaterals and hexahedra of degree 1, and of Lagrange cells of any degree.
_FIRST, _LAGRANGE = {1: 3, 2: 9, 3: 12}, {1: 68, 2: 70, 3: 72}


class VtkGrid(Protocol):
    """The cells of a space.

    Attributes:
        rows: by name, this rank's rows of arrays of a file.
        points, cells, corners: the numbers of nodes, of cells, and of nodes of a cell, on all ranks.
    """

    rows: dict[str, Array]
    points: int
    cells: int
    corners: int

    def values(self, nodal: Array) -> Array:
        """Return the values of a nodal array at this rank's rows of points. Collective."""


def vtk_grid(space: Space) -> VtkGrid:
    """Return the cells of a space. Collective."""
    return _BoxGrid(space) if isinstance(space, BoxSpace) else _MeshGrid(space)


class _BoxGrid:
    """Those of a box: points are rows of a tensor grid, as nodes are, and their numbers are places in it."""

    def __init__(self, space: BoxSpace) -> None:
        self._space = space
        axes, p, d = space.axes, space.degree, space.dimension
        last = space.slabs.last + (self._closes and space.comm.rank == space.comm.size - 1)
        places = [middle + axis.equidistant for middle, axis in zip(space.centre, axes, strict=True)]
        shape = [len(x) for x in places]
        places[0] = places[0][space.slabs.first : last]
        where = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, d)
        points = np.zeros((len(where), 3))
        points[:, :d] = np.clip(where, *space.bounds)  # by round-off they may lie outside
        first = np.stack(np.meshgrid(*space.own, indexing="ij"), axis=-1).reshape(-1, d) * p
        strides = np.array([math.prod(shape[a + 1 :]) for a in range(d)])
        self.points, self.cells, self.corners = math.prod(shape), space.cells, (p + 1) ** d
        self.rows: dict[str, Array] = {
            "Points": points,
            "Connectivity": ((first @ strides)[:, None] + lattice(p, d) @ strides).ravel(),
            "Types": np.full(len(first), (_FIRST if p == 1 else _LAGRANGE)[d], dtype=np.uint8),
        }

    @property
    def _closes(self) -> bool:
        """Whether the last points are the first ones again."""
        return self._space.domain.period is not None

    def values(self, nodal: Array) -> Array:
        """Return the values of a nodal array at this rank's rows of points. Collective."""
        values, comm = self._space.equidistant(nodal), self._space.comm
        if self._closes:
            for a in range(1, self._space.dimension):
                values = np.concatenate([values, values.take([0], axis=a)], axis=a)
            begin = comm.bcast(values[:1] if comm.rank == 0 else None)
            if comm.rank == comm.size - 1:
                values = np.concatenate([values, begin])
        return values.ravel()


class _MeshGrid:
    """Those of any other mesh, by DOLFINx."""

    def __init__(self, space: Space) -> None:
        import basix.ufl
        from dolfinx import fem, plot

        equidistant = basix.LagrangeVariant.equispaced
        element = basix.ufl.element("Lagrange", space.mesh.basix_cell(), space.degree, lagrange_variant=equidistant)
        self._space, self._points = space, fem.functionspace(space.mesh, element)
        numbers = self._points.dofmap.index_map
        self.points, self.cells = numbers.size_global, space.cells
        self.corners = self._points.dofmap.dof_layout.num_dofs
        cells, types, points = plot.vtk_mesh(self._points)
        cells = np.ascontiguousarray(cells.reshape(-1, self.corners + 1)[:, 1:]).ravel()
        points, d = points[: numbers.size_local], space.dimension
        points[:, :d] = np.clip(points[:, :d], *space.bounds)  # by round-off they may lie outside
        self.rows: dict[str, Array] = {
            "Points": points,
            "Connectivity": numbers.local_to_global(cells),
            "Types": types.astype(np.uint8),
        }

    def values(self, nodal: Array) -> Array:
        """Return the values of a nodal array at this rank's rows of points. Collective."""
        from dolfinx import fem

        here: Any = fem.Function(self._points)
        here.interpolate(self._space.function(nodal))
        return np.asarray(here.x.array[: self._points.dofmap.index_map.size_local])


def lattice(p: int, d: int) -> Indices:
    """Return the places of a cell's nodes in units of 1/p of its sides, in VTK's order: shape ((p + 1)^d, d).

    Corners come first, and then what is inside edges, faces and the cell.
    """
    inside = range(1, p)
    corners = [(0, 0), (p, 0), (p, p), (0, p)]
    if d == 1:
        return np.array([0, p, *inside])[:, None]
    edges = [*((i, 0) for i in inside), *((p, i) for i in inside), *((i, p) for i in inside), *((0, i) for i in inside)]
    within = [(i, j) for j, i in product(inside, repeat=2)]
    if d == 2:
        return np.array([*corners, *edges, *within])
    ends, every = (0, p), [(i, j, k) for k, j, i in product(inside, repeat=3)]
    upright = [(*corner, k) for corner in corners for k in inside]
    faces = [tuple(np.insert(one, a, end)) for a in range(3) for end in ends for one in within]
    return np.array([*((*one, k) for part in (corners, edges) for k in ends for one in part), *upright, *faces, *every])
