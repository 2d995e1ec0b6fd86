"""The DOLFINx mesh and function space of a box, and their numbering beside the tensor grid's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import basix
import basix.ufl
import numpy as np
import ufl
from dolfinx import fem, graph, mesh
from petsc4py import PETSc

from kspde.domains import Box
from kspde.fem.spaces.points import share
from kspde.fem.spaces.slabs import Slabs
from kspde.fem.spaces.tensor import Axis
from kspde.typing import Array, Comm

__all__ = ["BoxMesh"]

#: An object of DOLFINx, UFL or petsc4py: mypy does not see their types.
Dolfinx = Any

_CELLS = {1: "interval", 2: "quadrilateral", 3: "hexahedron"}


class BoxMesh:
    """A mesh of a box, cut into the slabs of its nodal arrays: both numberings share all nodes but those on the cuts.

    Collective.

    Args:
        comm: the communicator.
        box: the geometry.
        axes: its directions, about the centre.
        slabs: the distribution of nodal arrays.

    Attributes:
        mesh: the DOLFINx mesh.
        V: the DOLFINx function space.
    """

    def __init__(self, comm: Comm, box: Box, axes: Sequence[Axis], slabs: Slabs) -> None:
        self._comm, self._shape = comm, slabs.shape
        self.mesh: Dolfinx = _slab_mesh(comm, box)
        element = basix.ufl.element(
            "Lagrange", _CELLS[box.dimension], box.degree, lagrange_variant=basix.LagrangeVariant.gll_warped
        )
        self.V: Dolfinx = fem.functionspace(self.mesh, element)
        owned = self.V.dofmap.index_map.size_local
        where = self.V.tabulate_dof_coordinates()[:owned]
        tensor = np.zeros(owned, dtype=np.int64)
        for axis, middle, x in zip(axes, box.middle, where.T, strict=False):
            nodes = middle + (np.append(axis.nodes, axis.vertices[-1]) if axis.periodic else axis.nodes)
            tensor = tensor * len(axis) + np.searchsorted(0.5 * (nodes[1:] + nodes[:-1]), x) % len(axis)
        #: the number in the tensor grid of each owned degree of freedom; of several where both ends are one node
        self._numbers = tensor.astype(PETSc.IntType)
        # Vectors in DOLFINx's order and in the slabs', and the scatter from the first to the second.
        self._theirs = PETSc.Vec().createMPI((owned, None), comm=comm)
        self._ours = PETSc.Vec().createMPI((math.prod(self._shape), None), comm=comm)
        to = PETSc.IS().createGeneral(self._numbers, comm=comm)
        self._scatter = PETSc.Scatter().create(self._theirs, None, self._ours, to)
        to.destroy()

    def nodal(self, owned: Array) -> Array:
        """Return a nodal array from the owned degrees of freedom of a function in ``V``. Collective."""
        self._theirs.array[:] = owned
        self._scatter.scatter(self._theirs, self._ours)
        return np.array(self._ours.array_r).reshape(self._shape)

    def owned(self, nodal: Array) -> Array:
        """Return the owned degrees of freedom in ``V`` of a nodal array. Collective."""
        self._ours.array[:] = nodal.ravel()
        self._scatter.scatter(self._ours, self._theirs, mode="reverse")
        return np.array(self._theirs.array_r)

    def merging(self) -> Dolfinx:
        """Return the PETSc matrix from nodal arrays to degrees of freedom, some of which are one node. Collective."""
        rows = np.arange(len(self._numbers) + 1, dtype=PETSc.IntType)
        sizes = ((len(self._numbers), None), (math.prod(self._shape), None))
        return PETSc.Mat().createAIJ(sizes, csr=(rows, self._numbers, np.ones(len(self._numbers))), comm=self._comm)


def _slab_mesh(comm: Comm, box: Box) -> Dolfinx:
    """Return the DOLFINx mesh of a box, its cells split among the ranks in the first direction."""
    d, corners = box.dimension, [len(vertices) for vertices in box.directions]
    strides = [math.prod(corners[a + 1 :]) for a in range(d)]
    mine = [np.arange(corners[0] - 1)[share(comm, corners[0] - 1)], *(np.arange(n - 1) for n in corners[1:])]
    corner = sum(i * s for i, s in zip(np.meshgrid(*mine, indexing="ij"), strides, strict=True))
    # Corners of a reference cell: the first direction runs fastest.
    offsets = [sum(b * s for b, s in zip(reversed(bits), strides, strict=True)) for bits in product((0, 1), repeat=d)]
    cells = (np.asarray(corner).reshape(-1, 1) + np.array(offsets)).astype(np.int64)
    here = share(comm, math.prod(corners))
    index = np.unravel_index(np.arange(here.start, here.stop), corners)
    points = box.middle + np.stack([vertices[i] for vertices, i in zip(box.directions, index, strict=True)], axis=1)

    def stay(comm: Comm, parts: int, types: Dolfinx, cells: Dolfinx) -> Dolfinx:
        count = len(cells[0]) // 2**d
        return graph.adjacencylist(np.full((count, 1), comm.rank, dtype=np.int32))._cpp_object

    coordinates = ufl.Mesh(basix.ufl.element("Lagrange", _CELLS[d], 1, shape=(d,)))
    return mesh.create_mesh(comm, cells, coordinates, points, partitioner=stay)
