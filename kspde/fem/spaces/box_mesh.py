"""The DOLFINx mesh and function space of a box, and their numbering beside the tensor grid's."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import basix
import basix.ufl
import numpy as np
import ufl
from dolfinx import fem, graph, mesh
from petsc4py import PETSc

from kspde.fem.spaces.points import share
from kspde.typing import Array, Comm

__all__ = ["BoxMesh"]

#: An object of DOLFINx, UFL or petsc4py: mypy does not see their types.
Dolfinx = Any


class BoxMesh:
    """A mesh of a box, cut into the slabs of its nodal arrays: both numberings share all nodes but those on the cuts.

    Collective.

    Args:
        space: the space of the box, a ``BoxSpace``: its module imports this one.

    Attributes:
        mesh: the DOLFINx mesh.
        V: the DOLFINx function space.
    """

    def __init__(self, space: Any) -> None:
        comm = self._comm = space.comm
        self._shape = space.slabs.shape
        self.mesh: Dolfinx = _slab_mesh(space)
        gll = basix.LagrangeVariant.gll_warped
        element = basix.ufl.element("Lagrange", space.cell, space.degree, lagrange_variant=gll)
        self.V: Dolfinx = fem.functionspace(self.mesh, element)
        owned = self.V.dofmap.index_map.size_local
        where = self.V.tabulate_dof_coordinates()[:owned]
        tensor = np.zeros(owned, dtype=np.int64)
        for axis, middle, x in zip(space.axes, space.centre, where.T, strict=False):
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


def _slab_mesh(space: Any) -> Dolfinx:
    """Return the DOLFINx mesh of a box, each rank with its own cells."""
    comm, d, corners = space.comm, space.dimension, [len(axis.vertices) for axis in space.axes]
    strides = [math.prod(corners[a + 1 :]) for a in range(d)]
    corner = sum(i * s for i, s in zip(np.meshgrid(*space.own, indexing="ij"), strides, strict=True))
    # Corners of a reference cell: the first direction runs fastest.
    offsets = [sum(b * s for b, s in zip(reversed(bits), strides, strict=True)) for bits in product((0, 1), repeat=d)]
    cells = (np.asarray(corner).reshape(-1, 1) + np.array(offsets)).astype(np.int64)
    here = share(comm, math.prod(corners))
    index = np.unravel_index(np.arange(here.start, here.stop), corners)
    points = space.centre + np.stack([axis.vertices[i] for axis, i in zip(space.axes, index, strict=True)], axis=1)

    def stay(comm: Comm, parts: int, types: Dolfinx, cells: Dolfinx) -> Dolfinx:
        count = len(cells[0]) // 2**d
        return graph.adjacencylist(np.full((count, 1), comm.rank, dtype=np.int32))._cpp_object

    coordinates = ufl.Mesh(basix.ufl.element("Lagrange", space.cell, 1, shape=(d,)))
    return mesh.create_mesh(comm, cells, coordinates, points, partitioner=stay)
