"""The finite-element space of a box: DOLFINx's mesh and function space beside the tensor-product operators."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import product
from typing import Any

import basix
import basix.ufl
import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, graph, mesh

from kspde.domains import Box
from kspde.errors import InputError
from kspde.fem.tensor import Axis, Slabs, TensorLaplacian

__all__ = ["BoxSpace", "decay_coefficient"]

Array = npt.NDArray[np.float64]

_CELLS = {1: "interval", 2: "quadrilateral", 3: "hexahedron"}


class BoxSpace:
    """Continuous GLL elements of a given degree on a box.

    Nodal arrays have shape ``slabs.shape``: this rank's rows of the tensor grid of nodes. The DOLFINx mesh is cut into
    the same slabs, so both numberings share all nodes but those on the cuts.

    Args:
        box: the geometry.
        comm: the communicator.

    Attributes:
        axes: one ``Axis`` per direction.
        slabs: the distribution of nodal arrays.
        points: the local nodes, shape (n_local, d).
        mass: GLL weights at the local nodes (the diagonal mass matrix), shape ``slabs.shape``.
        mesh: the DOLFINx mesh.
        V: the DOLFINx function space.
    """

    def __init__(self, box: Box, comm: Any) -> None:
        self.box = box
        self.comm = comm
        self.dimension = box.dimension
        axis = Axis(box.vertices, box.degree)
        self.axes = [axis] * box.dimension
        self.shape = (len(axis),) * box.dimension
        cuts = np.linspace(0, box.cells, comm.size + 1).astype(int)
        starts = cuts * box.degree
        starts[-1] = len(axis)
        self.slabs = Slabs(comm, self.shape, starts.tolist())
        rows = slice(self.slabs.first, self.slabs.last)
        nodes = [axis.nodes[rows], *[axis.nodes] * (box.dimension - 1)]
        self.points: Array = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, box.dimension)
        weights = axis.mass[rows]
        for _ in range(box.dimension - 1):
            weights = np.multiply.outer(weights, axis.mass)
        self.mass: Array = weights.reshape(self.slabs.shape)
        self._laplacians: dict[float, TensorLaplacian] = {}
        self.mesh = _slab_mesh(comm, box, cuts)
        self.V = fem.functionspace(self.mesh, self.element(basix.LagrangeVariant.gll_warped))

    def element(self, variant: basix.LagrangeVariant) -> Any:
        """Return the element of this space's degree with nodes of another variant."""
        return basix.ufl.element("Lagrange", _CELLS[self.dimension], self.box.degree, lagrange_variant=variant)

    def laplacian(self, robin: float = 0.0) -> TensorLaplacian:
        """Return the diagonalised −Δ with ∂_n c + robin·c = 0 on the boundary, made once."""
        if robin not in self._laplacians:
            self._laplacians[robin] = TensorLaplacian(self.axes, self.slabs, robin)
        return self._laplacians[robin]

    def integral(self, *integrands: Array) -> Array:
        """Return the integrals of nodal arrays by GLL quadrature. Collective: one reduction for all."""
        local = np.array([np.vdot(self.mass, f) for f in integrands])
        return np.asarray(self.comm.allreduce(local)) if self.comm.size > 1 else local

    def evaluate(self, nodal: Array, points: Array) -> Array:
        """Return the finite-element function with these nodal values at ``points`` (n, d). Collective.

        Raises:
            InputError: a point lies outside the box.
        """
        outside = np.flatnonzero(np.any(np.abs(points) > self.box.half_width, axis=1))
        if len(outside):
            where = ", ".join(str(tuple(float(c) for c in points[i])) for i in outside[:3])
            raise InputError(
                f"{len(outside)} of {len(points)} points lie outside [-{self.box.half_width:g}, "
                f"{self.box.half_width:g}]^{self.dimension}, the first at {where}: give points inside"
            )
        tables = [axis.shape_functions(points[:, a]) for a, axis in enumerate(self.axes)]
        out = np.zeros(len(points))
        values = nodal.reshape(-1, *self.shape[1:])
        for offsets in product(range(self.box.degree + 1), repeat=self.dimension):
            index = [first + k for (first, _), k in zip(tables, offsets, strict=True)]
            weight = np.prod([shapes[:, k] for (_, shapes), k in zip(tables, offsets, strict=True)], axis=0)
            here = (index[0] >= self.slabs.first) & (index[0] < self.slabs.last)
            local = [i[here] for i in index]
            local[0] = local[0] - self.slabs.first
            out[here] += weight[here] * values[tuple(local)]
        return np.asarray(self.comm.allreduce(out)) if self.comm.size > 1 else out

    def on_grid(self, nodal: Array, axes: list[Array]) -> Array:
        """Return the function on the tensor grid of coordinate arrays ``axes``, the same on every rank. Collective.

        Raises:
            InputError: a coordinate lies outside the box.
        """
        for a, x in enumerate(axes):
            if np.any(np.abs(x) > self.box.half_width):
                raise InputError(
                    f"axis {a} of the grid reaches {x[np.argmax(np.abs(x))]:g}, outside "
                    f"[-{self.box.half_width:g}, {self.box.half_width:g}]: give coordinates inside"
                )
        out = nodal.reshape(-1, *self.shape[1:])
        for a, (axis, x) in enumerate(zip(self.axes, axes, strict=True)):
            matrix = axis.interpolation(x)
            if a == 0:
                matrix = matrix[:, self.slabs.first : self.slabs.last]
            out = np.moveaxis(np.tensordot(matrix, out, axes=(1, a)), 0, a)
        out = np.ascontiguousarray(out)
        return np.asarray(self.comm.allreduce(out)) if self.comm.size > 1 else out

    @cached_property
    def _to_slabs(self) -> tuple[Any, Any, Any]:
        """Vectors in DOLFINx's and in the slabs' order, and the PETSc scatter from the first to the second."""
        from petsc4py import PETSc

        owned = self.V.dofmap.index_map.size_local
        where = self.V.tabulate_dof_coordinates()[:owned]
        tensor = np.zeros(owned, dtype=np.int64)
        for a, axis in enumerate(self.axes):
            midpoints = 0.5 * (axis.nodes[1:] + axis.nodes[:-1])
            tensor = tensor * len(axis) + np.searchsorted(midpoints, where[:, a])
        theirs = PETSc.Vec().createMPI((owned, None), comm=self.comm)
        ours = PETSc.Vec().createMPI((self.mass.size, None), comm=self.comm)
        to = PETSc.IS().createGeneral(tensor.astype(PETSc.IntType), comm=self.comm)
        scatter = PETSc.Scatter().create(theirs, None, ours, to)
        to.destroy()
        return theirs, ours, scatter

    def from_dolfinx(self, owned: Array) -> Array:
        """Return a nodal array from the owned degrees of freedom of a function in ``V``. Collective."""
        theirs, ours, scatter = self._to_slabs
        theirs.array[:] = owned
        scatter.scatter(theirs, ours)
        return np.array(ours.array_r).reshape(self.slabs.shape)

    def to_dolfinx(self, nodal: Array) -> Array:
        """Return the owned degrees of freedom in ``V`` of a nodal array. Collective."""
        theirs, ours, scatter = self._to_slabs
        ours.array[:] = nodal.ravel()
        scatter.scatter(ours, theirs, mode="reverse")
        return np.array(theirs.array_r)

    def function(self, nodal: Array, name: str = "u") -> Any:
        """Return the DOLFINx function with these nodal values. Collective."""
        function = fem.Function(self.V, name=name)
        function.x.array[: self.V.dofmap.index_map.size_local] = self.to_dolfinx(nodal)
        function.x.scatter_forward()
        return function


def _slab_mesh(comm: Any, box: Box, cuts: npt.NDArray[np.int64]) -> Any:
    """Return the DOLFINx mesh of a box, the cells [cuts[r], cuts[r+1]) of the first direction on rank r."""
    d, n = box.dimension, box.cells
    strides = [(n + 1) ** (d - 1 - a) for a in range(d)]
    mine = [np.arange(cuts[comm.rank], cuts[comm.rank + 1]), *[np.arange(n)] * (d - 1)]
    corner = sum(i * s for i, s in zip(np.meshgrid(*mine, indexing="ij"), strides, strict=True))
    # Corners of a reference cell: the first direction runs fastest.
    offsets = [sum(b * s for b, s in zip(reversed(bits), strides, strict=True)) for bits in product((0, 1), repeat=d)]
    cells = (np.asarray(corner).reshape(-1, 1) + np.array(offsets)).astype(np.int64)
    share = np.linspace(0, (n + 1) ** d, comm.size + 1).astype(int)
    index = np.unravel_index(np.arange(share[comm.rank], share[comm.rank + 1]), (n + 1,) * d)
    points = np.stack([box.vertices[i] for i in index], axis=1)

    def stay(comm: Any, parts: int, types: Any, cells: Any) -> Any:
        count = len(cells[0]) // 2**d
        return graph.adjacencylist(np.full((count, 1), comm.rank, dtype=np.int32))._cpp_object

    coordinates = ufl.Mesh(basix.ufl.element("Lagrange", _CELLS[d], 1, shape=(d,)))
    return mesh.create_mesh(comm, cells, coordinates, points, partitioner=stay)


def decay_coefficient(rate: float, radius: float, dimension: int) -> float:
    r"""Return κ of ∂_n c + κ c = 0, the condition met at distance R by the solution that decays at infinity.

    Outside the sources −Δc + ρ²c = 0, whose radial decaying solution is :math:`e^{-\rho r}` in one dimension,
    :math:`K_0(\rho r)` in two and :math:`e^{-\rho r}/r` in three, so κ = ρ, :math:`\rho K_1(\rho R)/K_0(\rho R)` and
    ρ + 1/R.

    Args:
        rate: ρ, the kernel's decay rate; infinite for kernels of shorter range, whose fields get Neumann's condition.
        radius: R > 0.
        dimension: 1, 2 or 3.
    """
    if not math.isfinite(rate):
        return 0.0
    if dimension == 1:
        return rate
    if dimension == 3:
        return rate + 1.0 / radius
    from scipy.special import k0e, k1e

    return float(rate * k1e(rate * radius) / k0e(rate * radius))
