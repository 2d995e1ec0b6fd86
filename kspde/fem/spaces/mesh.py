"""The space of a general mesh: sparse matrices assembled by DOLFINx, linear systems by PETSc."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import basix
import basix.ufl
import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, la, mesh
from dolfinx.fem.petsc import assemble_matrix

from kspde.domains import Domain
from kspde.errors import InputError
from kspde.fem.backend import keep_until_dropped
from kspde.fem.forms import compiled
from kspde.fem.meshes.build import CELL_NAMES, mesh_arrays
from kspde.fem.meshes.outline import Outline
from kspde.fem.solvers.krylov import PreconditionerOf
from kspde.fem.solvers.linear import DIRECT_NODES, SparseSystem, preconditioners
from kspde.fem.solvers.nested.numbering import interpolations
from kspde.fem.solvers.stiffness import Stiffness, in_order
from kspde.fem.spaces.angular_modes import DiskOperator
from kspde.fem.spaces.base import DECAYED, FieldOperator, Space, decay_coefficient, gll_rule
from kspde.fem.spaces.free_space import FreeSpaceOperator, NodalWaves
from kspde.fem.spaces.points import CellSearch, Exchange
from kspde.fem.spaces.resolvents import Resolvents, ShiftedSystems
from kspde.fem.spaces.whole_space import SHARP_FROM
from kspde.kernels import Kernel, ResolventPolynomial
from kspde.runtime.checkpoint import CheckpointFile
from kspde.runtime.compiled import use_threads
from kspde.runtime.messages import warn
from kspde.runtime.parallel import together
from kspde.typing import Array, Comm, Indices, Mask

__all__ = ["LineSpace", "MeshSpace"]

#: An object of DOLFINx, UFL or petsc4py: mypy does not see their types.
Dolfinx = Any
#: Numbers of nodes, as PETSc has them.
Numbers = npt.NDArray[np.int32]
#: The decay rate times the distance of the boundary below which the decay condition about the centre would not do.
_WIDE = 2.0


class MeshSpace(Space):
    """Continuous elements on a mesh of simplices (degree 1, vertex rule) or of quadrilaterals or hexahedra (GLL).

    States are nodal arrays, their weights the mass matrix. The order of the nodes is DOLFINx's, or on a mesh made by
    refinement that of ``kspde.fem.solvers.nested.numbering``.

    Args:
        domain: a domain with a mesh, such as a ``Disk`` or a ``MeshFile``.
        dimension: the dimension of its cells.
        comm: the communicator.

    Raises:
        InputError: the mesh is not valid; see ``meshes.mesh_arrays``.
    """

    region = "the mesh"

    def __init__(self, domain: Domain, dimension: int, comm: Comm) -> None:
        self.comm = comm
        self.dimension = dimension
        self.degree = domain.degree
        self.domain = domain
        parents, rim = self._make_mesh()
        keep_until_dropped(self)
        self.cells = self.mesh.topology.index_map(dimension).size_global
        gll = basix.LagrangeVariant.gll_warped
        element = basix.ufl.element("Lagrange", self._cell, self.degree, lagrange_variant=gll)
        self.V = fem.functionspace(self.mesh, element)
        self.measure = gll_rule(domain.degree)
        if self._cell in ("triangle", "tetrahedron"):
            self.measure = {"quadrature_rule": "vertex", "quadrature_degree": 1}
        self.nodes = self.V.dofmap.index_map.size_global
        few = self.nodes <= DIRECT_NODES[dimension]
        self.linear_solver = domain.solver if domain.solver != "auto" else "direct" if few else "multigrid"
        self.iterates = self.linear_solver != "direct"
        numbers, coarser = None, []
        if domain.degree == 1 and self._cell not in ("tetrahedron", "hexahedron"):
            numbers = self._numbers_in_source()
            if self.iterates:
                coarser = interpolations(comm, numbers, parents)
        self.stiffness = Stiffness(
            comm, self.V, self.measure, direct=not self.iterates, coarser=coarser, numbers=numbers, kept=True
        )
        #: the places in DOLFINx's order of the nodes in ours
        self._order = self.stiffness.order
        self.points = self.V.tabulate_dof_coordinates()[self._order, :dimension]
        self.rim = self.outline.reach(self.points) > 0.9
        self.mass = self._assembled(ufl.TestFunction(self.V) * ufl.dx(metadata=self.measure))
        self.weights = self.mass
        self._boundary: tuple[Indices, Array] | None = None
        if numbers is not None and dimension == 2:
            self._boundary = _chosen(numbers[self._order], *comm.bcast(rim))
        self._x, self._y = self.stiffness.matrix.createVecs()
        self._systems: dict[tuple[float, float], SparseSystem] = {}
        self._indexed: tuple[Any, Any] = (None, None)

    def _make_mesh(self) -> tuple[Any, Any]:
        """Make DOLFINx's mesh; return, on rank 0, the parents of refinements and the normals of a plane mesh's rim."""
        comm, domain, dimension = self.comm, self.domain, self.dimension
        arrays = None
        with together(comm):
            if comm.rank == 0:
                arrays = mesh_arrays(domain, dimension)
                if arrays.kind in ("triangle", "tetra") and domain.degree != 1:
                    raise InputError(
                        f"degree = {domain.degree} is not valid on {arrays.kind} cells, where only degree 1 has a "
                        "diagonal mass matrix with positive weights: give degree=1"
                    )
        self._cell, _, order = CELL_NAMES[comm.bcast(None if arrays is None else arrays.kind)]
        points, cells = np.empty((0, dimension)), np.empty((0, len(order)), dtype=np.int64)
        parents: tuple[Any, ...] = ()
        rim = None
        if arrays is not None:
            points, cells, parents = arrays.points, arrays.cells[:, order], arrays.parents
            rim = arrays.normals() if dimension == 2 else None
            if arrays.note is not None:
                warn(arrays.note, comm)
        self.outline: Outline = comm.bcast(None if arrays is None else arrays.outline)
        self.centre, self.inner, self.extent = self.outline.centre, self.outline.inner, self.outline.radius
        del arrays
        self.bounds = comm.bcast(np.stack([points.min(axis=0), points.max(axis=0)]) if len(points) else None)
        self.radius = float(np.abs(self.bounds).max())
        coordinates = ufl.Mesh(basix.ufl.element("Lagrange", self._cell, 1, shape=(dimension,)))
        self.mesh = mesh.create_mesh(comm, cells, coordinates, points)
        del points, cells
        for _ in range(domain.refine if dimension == 3 else 0):
            for entities in (1, 2):
                self.mesh.topology.create_entities(entities)
            self.mesh = mesh.uniform_refine(self.mesh)
        return parents, rim

    def _numbers_in_source(self) -> Numbers:
        """Return the numbers in the mesh's source of this rank's nodes, at degree 1, in DOLFINx's order."""
        dofmap, geometry = self.V.dofmap, self.mesh.geometry
        index_map = dofmap.index_map
        numbers = np.empty(index_map.size_local + index_map.num_ghosts, dtype=np.int32)
        numbers[dofmap.list.ravel()] = geometry.input_global_indices[geometry.dofmaps[0].ravel()]
        return numbers[: index_map.size_local]

    def state(self, nodal: Array) -> Array:
        """Return the nodal values."""
        return nodal

    def nodal(self, state: Array) -> Array:
        """Return the nodal values."""
        return state

    def from_dolfinx(self, owned: Array) -> Array:
        """Return them in the order of the nodes."""
        return np.asarray(owned[self._order])

    def to_dolfinx(self, nodal: Array) -> Array:
        """Return them in DOLFINx's order."""
        out = np.empty_like(nodal)
        out[self._order] = nodal
        return out

    def _times(self, matrix: Dolfinx, x: Array, *, transposed: bool = False) -> Array:
        self._x.array[:] = x
        (matrix.multTranspose if transposed else matrix.mult)(self._x, self._y)
        return np.array(self._y.array_r)

    @cached_property
    def _advection(self) -> list[Dolfinx]:
        """The matrices (G_a)_ij = ∫ ∂_a φ_i φ_j."""
        u, v = ufl.TrialFunction(self.V), ufl.TestFunction(self.V)
        matrices = []
        for axis in range(self.dimension):
            matrix = assemble_matrix(compiled(u * v.dx(axis) * ufl.dx(metadata=self.measure)))
            matrix.assemble()
            matrices.append(in_order(matrix, self.from_dolfinx))
        return matrices

    def diffusion(self, w: Array) -> Array:
        """Return −K w. Collective."""
        if self.dimension == 1:
            w = w.ravel()
        if w.ndim > 1:
            raise InputError(
                "a diffusion coefficient for each direction, or a matrix, needs a kspde.Box: give one as the domain"
            )
        return -self.stiffness.times(w)

    def divergence(self, flux: Array) -> Array:
        """Return Σ_a G_a F_a. Collective."""
        return np.asarray(sum(self._times(g, flux[:, a]) for a, g in enumerate(self._advection)))

    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes, its L² projection by the mass matrix's quadrature: shape (n, d). Collective."""
        columns = [self._times(g, nodal, transposed=True) / self.mass for g in self._advection]
        return np.stack(columns, axis=1)

    def decay_weights(self, rate: float, centre: Array) -> tuple[Array, Array]:
        """Return the weights about the centre of the mesh and about ``centre``. Collective."""
        return self.boundary_weights(rate), self.boundary_weights(rate, centre)

    def boundary_weights(self, rate: float, centre: Array | None = None) -> Array:
        r"""Return ∫ κ φ_i over the outer boundary, κ the decay condition's coefficient. Collective.

        The decaying solution about the centre m of the mesh has ∂_n c = −κ(r) (n·(x − m)/r) c where r = |x − m| and
        κ(r) is ``decay_coefficient``. On a disk the second factor is 1. Where it is negative, and on the boundaries of
        holes, which are not part of the plane outside, the condition is Neumann's.

        Args:
            rate: ρ, the kernel's decay rate.
            centre: another point than the centre of the mesh.
        """
        centre = self.outline.centre if centre is None else centre
        if self._boundary is not None:
            nodes, normals = self._boundary
            weights = np.zeros(len(self.points))
            kappa, outward = self._kappa(rate, self.points[nodes], centre)
            weights[nodes] = kappa * np.maximum(np.sum(normals * outward, axis=1), 0.0)
            return weights
        if self.dimension == 1:  # the boundary that DOLFINx finds would contain the cuts between ranks
            ends = np.abs(self.points[:, 0] - self.outline.nodes.mean()) > self.outline.radius * (1 - 1e-12)
            return np.where(ends, self._kappa(rate, self.points, centre)[0], 0.0)
        kappa = fem.Function(self.V)
        x = self.V.tabulate_dof_coordinates()[:, : self.dimension]
        kappa.x.array[:] = self._kappa(rate, x, centre)[0]
        self.mesh.topology.create_connectivity(self.dimension - 1, self.dimension)
        factor = kappa
        if not self.outline.is_ball:
            away = ufl.SpatialCoordinate(self.mesh) - ufl.as_vector(centre.tolist())
            cosine = ufl.dot(ufl.FacetNormal(self.mesh), away) / ufl.sqrt(ufl.dot(away, away))
            factor = kappa * ufl.max_value(cosine, 0.0)
        return self._assembled(factor * ufl.TestFunction(self.V) * ufl.ds(metadata=self.measure))

    def _kappa(self, rate: float, points: Array, centre: Array) -> tuple[Array, Array]:
        """Return κ at points of the boundary, 0 on holes, and the directions away from the centre."""
        away = points - centre
        distance = np.maximum(np.linalg.norm(away, axis=1), 1e-6 * self.outline.radius)
        kappa = np.asarray(decay_coefficient(rate, distance, self.dimension))
        return np.where(self.outline.outer(points), kappa, 0.0), away / distance[:, None]

    def reach(self, points: Array) -> Array:
        """Return how far out points lie, by the mesh's outline."""
        return self.outline.reach(points)

    def _assembled(self, form: Dolfinx) -> Array:
        vector = fem.assemble_vector(compiled(form))
        vector.scatter_reverse(la.InsertMode.add)
        return self.from_dolfinx(vector.array)

    def shifted_solver(self, options: dict[str, Any]) -> Callable[[float, float, Array, float], Array]:
        """Return a solver with one matrix per species, refactorised only when shift or D change. Collective."""
        return ShiftedSystems(self, self.stiffness, options)

    def field_operator(self, kernel: Kernel, name: str, *, relaxes: bool = False, given: bool = False) -> FieldOperator:
        """Return the kernel as polynomials in resolvents: Helmholtz solves with constant matrices.

        On a disk potentials that have not decayed at the rim are those of the whole plane, and so are elsewhere those
        that reach far beyond the domain. ``FreeSpaceOperator`` has them to what the mesh resolves: on triangles, where
        elements have ∇c with an error O(h²), 3 to 1e11 times nearer, in .1 to 3.4 of the time. On disks of degree 3
        or more elements' fields have the same effect on u to 1e-8, and ``DiskOperator`` is up to 4 times faster.

        Raises:
            InputError: a potential without screening on a domain that is closed or has holes.
            MissingBackendError: such a potential needs finufft.
        """
        slowest, *others = kernel.factors
        decaying = self.domain.boundary == "decay"
        potential = slowest.fundamental and decaying and not relaxes and self._is_wide(kernel)
        if potential and self.outline.is_ball and self.degree >= SHARP_FROM:
            mollifiers = [(part, self.resolvent(part)) for other in others for part in other.resolvents]
            test, ds = ufl.TestFunction(self.V), ufl.ds(metadata=self.measure)
            normal = ufl.FacetNormal(self.mesh)
            normals = np.stack([self._assembled(normal[a] * test * ds) for a in range(2)], axis=1)
            return DiskOperator(
                self,
                self.stiffness,
                mollifiers,
                kernel,
                radius=self.outline.radius,
                normals=normals,
                lengths=self._assembled(test * ds),
            )
        if potential or (not relaxes and kernel.decay_rate == 0.0):
            if not decaying or np.any(self.outline.holes):
                raise InputError(
                    f"field {name!r} has a potential without screening, which needs the whole space: use a domain "
                    'without holes and with boundary = "decay", or give a screening > 0'
                )
            points, fine = self.points - self.bounds.mean(axis=0), self.degree >= SHARP_FROM
            waves = NodalWaves(points, self.mass, use_threads(self.comm), fine=fine)
            return FreeSpaceOperator(self, waves, kernel, name)
        parts = [(part, self.resolvent(part)) for part in kernel.resolvents]
        rate = kernel.decay_rate
        boundary = self.boundary_weights(rate) if decaying and np.isfinite(rate) else 0.0
        return Resolvents(self, self.stiffness, parts, kernel.relaxation_rate**2 * self.mass + boundary)

    def _is_wide(self, kernel: Kernel) -> bool:
        """Return whether a potential is so wide that the decay condition about the centre would not do.

        On a disk that is wherever it has not decayed at the rim.
        """
        near = kernel.decay_rate * self.outline.inner < (DECAYED if self.outline.is_ball else _WIDE)
        return near and self.dimension > 1 and not bool(np.any(self.outline.holes))

    @property
    def cell(self) -> str:
        """The name of a cell's shape."""
        return str(self.mesh.basix_cell().name)

    @property
    def own_cells(self) -> int:
        """The number of this rank's cells."""
        return int(self.mesh.topology.index_map(self.dimension).size_local)

    def corners(self, cells: Indices) -> Array:
        """Return the vertices of some of this rank's cells."""
        geometry = self.mesh.geometry
        return np.asarray(geometry.x[geometry.dofmaps[0][cells]][..., : self.dimension])

    def stiffness_matrix(self) -> Stiffness:
        """Return K, which the space keeps."""
        return self.stiffness

    def preconditioners(self, stiffness: Stiffness) -> list[PreconditionerOf]:
        """Return multigrid and its substitute on large meshes, a factorisation on small ones."""
        return preconditioners(stiffness)

    def gaussian_tail(self, s: Array) -> Array:
        """Return the tail of the χ distribution."""
        from scipy.special import gammaincc

        return np.asarray(gammaincc(0.5 * self.dimension, 0.5 * s**2))

    def resolvent(self, part: ResolventPolynomial) -> SparseSystem:
        """Return the solver of c + τ(−Δ)c = f, made once for each τ and boundary condition."""
        decaying = self.domain.boundary == "decay" and np.isfinite(part.decay_rate)
        key = (part.tau, part.decay_rate if decaying else np.inf)
        if key not in self._systems:
            system = SparseSystem(self.stiffness, {})
            extra = part.tau * self.boundary_weights(part.decay_rate) if decaying else 0.0
            system.update(self.mass + extra, part.tau)
            self._systems[key] = system
        return self._systems[key]

    def locate(self, points: Array) -> tuple[Mask, Callable[[Array], Array]]:
        """Find points. Collective.

        Several cells may have a point, within rounding and more: on every number of ranks the same one gives its value.
        """
        exchange = Exchange(self.comm, self._search.ranks(points))
        received = exchange.forth(points)
        found, cells, places = self._search.find(received)
        answers = np.full(len(received), np.inf)
        answers[found] = places
        nearest, least = exchange.back(answers), np.full(len(points), np.inf)
        np.minimum.at(least, exchange.index, nearest)
        # The same cell's place may differ by rounding between ranks: the lowest of them gives the value.
        candidates = np.flatnonzero(nearest <= least[exchange.index] + 1e-12 * self.radius)
        candidates = candidates[np.isfinite(nearest[candidates])]
        inside, first = np.unique(exchange.index[candidates], return_index=True)
        chosen = candidates[first]
        where = np.zeros((len(found), 3))
        where[:, : self.dimension] = received[found]

        def values(nodal: Array) -> Array:
            function = self.function(nodal)
            local = np.zeros(len(received))
            if len(found):
                local[found] = function.eval(where, cells).reshape(-1)
            out = np.zeros(len(points))
            out[inside] = exchange.back(local)[chosen]
            return out

        return np.isinf(least), values

    def labels(self) -> dict[str, Array]:
        """Return the nodes' coordinates: their order depends on the number of ranks."""
        return {"points": self.points}

    def read(self, saved: CheckpointFile, name: str) -> Array:
        """Return the values at this rank's nodes, found by their coordinates. Rank-local.

        Raises:
            InputError: the file cannot be read.
        """
        if saved.path != self._indexed[0]:
            from scipy.spatial import cKDTree

            _, index = cKDTree(saved.part("points", 0, self.nodes)).query(self.points)
            self._indexed = (saved.path, index)
        values = saved.part(name, 0, self.nodes)
        return np.asarray(values[self._indexed[1]])

    @cached_property
    def _search(self) -> CellSearch:
        return CellSearch(self.mesh, self.radius)


class LineSpace(MeshSpace):
    """A one-dimensional box of many nodes, without the dense matrices of its modes: memory and time are O(n)."""

    fills_box = True

    def field_operator(self, kernel: Kernel, name: str, *, relaxes: bool = False, given: bool = False) -> FieldOperator:
        """Return the kernel as polynomials in resolvents.

        Raises:
            InputError: the kernel has none.
        """
        try:
            return super().field_operator(kernel, name, relaxes=relaxes)
        except InputError as error:
            raise InputError(f"a Box of {self.nodes} nodes is too long for modes, and {error}") from None


def _chosen(numbers: Numbers, nodes: Indices, values: Array) -> tuple[Indices, Array]:
    """Return the places in ``numbers`` of those among ``nodes``, increasing, and their values."""
    if not len(nodes):
        return np.zeros(0, dtype=np.int64), values
    k = np.minimum(np.searchsorted(nodes, numbers), len(nodes) - 1)
    here = np.flatnonzero(nodes[k] == numbers)
    return here, values[k[here]]
