"""The space of a box: tensor-product operators, diagonalised once, which need neither DOLFINx nor PETSc."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.domains import Box, box_in_words
from kspde.errors import InputError
from kspde.fem.backend import require
from kspde.fem.spaces.base import DECAYED, FieldOperator, Space, decay_coefficient, gll_rule
from kspde.fem.spaces.free_space import FreeSpaceOperator, TensorWaves
from kspde.fem.spaces.points import Exchange, share
from kspde.fem.spaces.slabs import Slabs
from kspde.fem.spaces.spectral import SymbolOperator
from kspde.fem.spaces.tensor import Axis, Robin, TensorGrid, TensorLaplacian
from kspde.fem.spaces.whole_space import WholeSpaceOperator
from kspde.kernels import Kernel
from kspde.runtime.checkpoint import CheckpointFile
from kspde.typing import Array, Comm, Indices, Mask

if TYPE_CHECKING:
    from kspde.fem.solvers.krylov import PreconditionerOf
    from kspde.fem.solvers.stiffness import Stiffness
    from kspde.fem.spaces.box_mesh import BoxMesh

__all__ = ["BoxSpace"]

#: The most nodes of a line with modes, for schemes that march in them and for others. Setup and 20 steps of positive-2
#: take .11 s of a core with modes and .23 s without on 400 nodes, .88 and .21 s on 600, 3.4 and .42 s on 1600; the
#: adaptive scheme takes 1.7 and .3 s on 1600 (three steps of order 5, 17 of order 3), 7.3 and .38 s on 2500.
LONGEST = {True: 2000, False: 500}
#: The most nodal values that are gathered at once, of all points that a function is evaluated at.
_GATHERED = 1_000_000


class BoxSpace(Space):
    """Continuous GLL elements of a given degree on a box.

    Nodal arrays have shape ``slabs.shape``: this rank's rows of the tensor grid of nodes. The state is the array of
    modal coefficients y = QᵀMu (see ``tensor``): its Euclidean norm is the L² norm of u.

    Args:
        box: the geometry.
        comm: the communicator.

    Attributes:
        axes: the directions, about the centre; those that are alike are one object.
        slabs: the distribution of nodal arrays.
    """

    linear_solver = "fast diagonalisation"
    has_spectrum = True
    fills_box = True

    def __init__(self, box: Box, comm: Comm) -> None:
        self.domain = box
        self.comm = comm
        self.dimension = box.dimension
        self.degree = box.degree
        self.measure = gll_rule(box.degree)
        self.bounds, self.centre, self._halves = box.bounds, box.middle, box.half_widths
        self.radius, self.inner, self.extent = (
            float(x) for x in (np.abs(self.bounds).max(), self._halves.min(), self._halves.max())
        )
        self.region = box_in_words(self.bounds)
        made = {
            vertices.tobytes(): Axis(vertices, box.degree, periodic=box.period is not None)
            for vertices in box.directions
        }
        self.axes = axes = [made[vertices.tobytes()] for vertices in box.directions]
        self.shape = tuple(len(axis) for axis in axes)
        self.nodes = math.prod(self.shape)
        self.cells = math.prod(len(axis.vertices) - 1 for axis in axes)
        if comm.size > self.shape[0]:
            raise InputError(f"{comm.size} ranks cannot share {self.shape[0]} nodes in the first direction: give fewer")
        self.slabs = Slabs(comm, self.shape, np.linspace(0, self.shape[0], comm.size + 1).astype(int).tolist())
        self.iterates = box.dimension > 1
        self.weights = 1.0
        rows = slice(self.slabs.first, self.slabs.last)
        nodes = [axes[0].nodes[rows], *(axis.nodes for axis in axes[1:])]
        self.points = self.centre + np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, box.dimension)
        self.rim = self.reach(self.points) > 0.9
        weights = axes[0].mass[rows]
        for axis in axes[1:]:
            weights = np.multiply.outer(weights, axis.mass)
        self.mass = weights.reshape(self.slabs.shape)
        self._grid = TensorGrid(axes, self.slabs)
        self._laplacians: dict[Robin, TensorLaplacian] = {}

    @cached_property
    def _dolfinx(self) -> BoxMesh:
        """What DOLFINx has, made once it is needed: solving takes none, and the import of DOLFINx .3 s."""
        require()
        from kspde.fem.spaces.box_mesh import BoxMesh

        return BoxMesh(self)

    @property
    def mesh(self) -> Any:
        """The DOLFINx mesh."""
        return self._dolfinx.mesh

    @property
    def V(self) -> Any:  # noqa: N802 (as in DOLFINx)
        """The DOLFINx function space."""
        return self._dolfinx.V

    @property
    def cell(self) -> str:
        """The name of a cell's shape."""
        return {1: "interval", 2: "quadrilateral", 3: "hexahedron"}[self.dimension]

    @cached_property
    def own(self) -> tuple[range, ...]:
        """By direction, the numbers of this rank's cells."""
        counts = [len(axis.vertices) - 1 for axis in self.axes]
        here = share(self.comm, counts[0])
        return range(here.start, here.stop), *map(range, counts[1:])

    @property
    def own_cells(self) -> int:
        """The number of this rank's cells."""
        return math.prod(map(len, self.own))

    def corners(self, cells: Indices) -> Array:
        """Return the vertices of some of this rank's cells; the first direction runs fastest."""
        first = np.stack(np.unravel_index(cells, [len(one) for one in self.own]), axis=-1) + [r.start for r in self.own]
        at = first[:, None] + np.array([bits[::-1] for bits in product((0, 1), repeat=self.dimension)])
        places = [axis.vertices[at[..., a]] for a, axis in enumerate(self.axes)]
        return np.asarray(self.centre + np.stack(places, axis=-1))

    @classmethod
    def on(cls, domain: Box, dimension: int, comm: Comm, *, modal: bool) -> Space:
        """Return the space, for a long line without modes; a box knows its dimension. Collective."""
        if dimension == 1 and domain.period is None and domain.nodes_per_direction > LONGEST[modal]:
            require()
            from kspde.fem.spaces.mesh import LineSpace

            return LineSpace(domain, dimension, comm)
        return cls(domain, comm)

    def laplacian(self, robin: Robin = 0.0) -> TensorLaplacian:
        """Return the diagonalised −Δ with ∂_n c + robin·c = 0 on the boundary, made once."""
        if robin not in self._laplacians:
            self._laplacians[robin] = TensorLaplacian(self.axes, self.slabs, robin)
        return self._laplacians[robin]

    def state(self, nodal: Array) -> Array:
        """Return the modal coefficients. Collective."""
        return self.laplacian().transform(nodal)

    def nodal(self, state: Array) -> Array:
        """Return the nodal values. Collective."""
        return self.laplacian().back(state)

    def diffusion(self, w: Array) -> Array:
        """Return −Λ QᵀM w, −Σ_a Λ_a QᵀM w_a, or that of the diagonal and −Σ_{a≠b} Qᵀ G_a M⁻¹ G_bᵀ w_ab. Collective.

        Quadrature points are nodes, so that for w = D u with constant D it is −∫ ∇φ·D∇u cell by cell: not positive.
        """
        laplacian = self.laplacian()
        if w.ndim == 3:
            across = np.zeros(w.shape[:2])
            for a, b in combinations(range(self.dimension), 2):
                part = w[:, a, b].reshape(self.slabs.shape)
                across[:, a] -= self._grid.derivative(part, b).ravel()
                across[:, b] -= self._grid.derivative(part, a).ravel()
            return self.diffusion(np.einsum("naa->na", w)) + self.divergence(across)
        if w.ndim == 1:
            return -laplacian.eigenvalues * laplacian.transform(w.reshape(self.slabs.shape))
        parts = zip(w.T, laplacian.directions, strict=False)  # a line counts as a plane of one column
        return np.asarray(sum(-lam * laplacian.transform(part.reshape(self.slabs.shape)) for part, lam in parts))

    def divergence(self, flux: Array) -> Array:
        """Return Σ_a Qᵀ G_a F_a. Collective."""
        laplacian = self.laplacian()
        parts = (laplacian.transform(flux[:, a].reshape(self.slabs.shape), a) for a in range(self.dimension))
        return np.asarray(sum(parts))

    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes. Collective."""
        return self._grid.gradient(nodal)

    def equidistant(self, nodal: Array) -> Array:
        """Return the values at ``axes[a].equidistant``, but for the last of them in periodic directions. Collective."""
        return self._grid.equidistant(nodal)

    def spectrum(self) -> tuple[Array, Array]:
        """Return Λ."""
        return self.laplacian().separated

    def shifted_solver(self, options: dict[str, Any]) -> Callable[[float, float, Array, float], Array]:
        """Return the pointwise division in modal space.

        Raises:
            InputError: options are given; there is no iterative solver that could take them.
        """
        if options:
            raise InputError(
                f"petsc_options: {next(iter(options))!r} has no effect on a Box, whose linear systems are diagonal: "
                "leave it out (options of the time stepping begin with ts_)"
            )
        lam = self.laplacian().eigenvalues
        return lambda shift, diffusion, rhs, size: rhs / (shift + diffusion * lam)

    def field_operator(self, kernel: Kernel, name: str, *, relaxes: bool = False, given: bool = False) -> FieldOperator:
        """Return the pointwise multiplication by the symbol, with what the whole space adds where that matters.

        Fields that relax, and those that have decayed at the boundary, have one Robin coefficient for all sides; but
        without screening what relaxes from K * u_0 has the flux of K * u there.

        Raises:
            InputError: the symbol is not finite on the spectrum.
        """
        robin: Robin = 0.0
        if self.domain.boundary == "decay":
            whole = not relaxes or (kernel.decay_rate == 0.0 and not given)
            if kernel.factors[0].fundamental and whole and kernel.decay_rate * self.inner < DECAYED:
                return WholeSpaceOperator(self.axes, self.laplacian(), self.mass, self._halves, kernel, name)
            if kernel.decay_rate == 0.0 and not kernel.factors[0].fundamental and not relaxes:
                waves = TensorWaves(self.axes, slice(self.slabs.first, self.slabs.last))
                return FreeSpaceOperator(self, waves, kernel, name)
            each = tuple(decay_coefficient(kernel.decay_rate, self._halves, self.dimension).tolist())
            robin = each[0] if len(set(each)) == 1 else each
        return SymbolOperator(self.laplacian(robin), kernel, robin, name)

    def decay_weights(self, rate: float, centre: Array) -> tuple[Array, Array]:
        """Return the coefficients of the sides, those of their centres, and the coefficients about ``centre``."""
        away, inside = self.points - centre, self.points - self.centre
        r = np.linalg.norm(away, axis=1)
        side = np.abs(inside) > self._halves * (1 - 1e-12)
        outwards = np.where(side, away * np.sign(inside), np.inf)
        outward, worse = outwards.min(axis=1), outwards.argmin(axis=1)  # the worse of a corner's two sides
        on = np.any(side, axis=1)
        used, right = np.zeros(len(r)), np.zeros(len(r))
        used[on] = decay_coefficient(rate, self._halves, self.dimension)[worse[on]]
        right[on] = decay_coefficient(rate, r[on], self.dimension) * np.maximum(outward[on], 0.0) / r[on]
        return used, right

    def reach(self, points: Array) -> Array:
        """Return max |x_a − m_a| in units of the half-widths."""
        return np.asarray(np.max(np.abs(points - self.centre) / self._halves, axis=1, initial=0.0))

    def stiffness_matrix(self) -> Stiffness:
        """Return K, in the order of nodal arrays. Collective."""
        from kspde.fem.solvers.linear import DIRECT_NODES
        from kspde.fem.solvers.stiffness import Stiffness

        few = self.nodes <= DIRECT_NODES[self.dimension]
        if self.domain.period is not None:
            return Stiffness(self.comm, self.V, self.measure, direct=few, merged=self._dolfinx.merging())
        return Stiffness(self.comm, self.V, self.measure, direct=few, sort=self.from_dolfinx)

    def preconditioners(self, stiffness: Stiffness) -> list[PreconditionerOf]:
        """Return the matrix with a constant shift, by fast diagonalisation, and then what other meshes have.

        On a line it is not needed: a factorisation is as fast on 24 nodes, and takes a sixth of the time on 1600.
        """
        from kspde.fem.solvers.linear import preconditioners
        from kspde.fem.spaces.constant_shift import ConstantShift

        if self.dimension == 1:
            return preconditioners(stiffness)
        return [partial(ConstantShift, self.comm, self.mass, self.laplacian()), *preconditioners(stiffness)]

    def gaussian_tail(self, s: Array) -> Array:
        """Return the bound for the largest of the coordinates."""
        from scipy.special import erfc

        return np.asarray(self.dimension * erfc(s / np.sqrt(2)))

    def locate(self, points: Array) -> tuple[Mask, Callable[[Array], Array]]:
        """Find points; the (p+1)^d nodes of a cell give the value, of one rank or of several neighbours. Collective."""
        points = np.stack([self._inside(x, a) for a, x in enumerate(points.T)], axis=1)
        missed = np.any(np.abs(points) > self._halves, axis=1)
        first = self.axes[0].cells(np.where(missed, 0.0, points[:, 0])) * self.degree
        low, high = (
            np.searchsorted(self.slabs.rows, node, side="right") - 1
            for node in (first, (first + self.degree) % len(self.axes[0]))
        )
        around = low > high  # the ends of a periodic box
        wanted = [
            np.flatnonzero(np.where(around, (low <= r) | (r <= high), (low <= r) & (r <= high)) & ~missed)
            for r in range(self.comm.size)
        ]
        exchange = Exchange(self.comm, wanted)
        received = exchange.forth(points)
        tables = [axis.shape_functions(x) for axis, x in zip(self.axes, received.T, strict=True)]
        block = max(1, _GATHERED // (self.degree + 1) ** self.dimension)

        def values(nodal: Array) -> Array:
            out = np.empty(len(received))
            local = nodal.reshape(-1)
            for start in range(0, len(out), block):
                rows = slice(start, start + block)
                out[rows] = self._interpolated(local, [(node[rows], shapes[rows]) for node, shapes in tables])
            sums = np.bincount(exchange.index, weights=exchange.back(out), minlength=len(points))
            return sums.astype(np.float64)  # numpy counts nothing in integers

        return missed, values

    def _interpolated(self, local: Array, tables: Sequence[tuple[Indices, Array]]) -> Array:
        """Return this rank's part of a function at points, whose first nodes and shape functions are given.

        All nodes of a point's cell are gathered at once: 15 ms for 13 000 points of a square of degree 8, and 34 by one
        node of all cells after another.
        """
        index, factors = np.zeros(1, dtype=np.int64), []
        for a, (node, shapes) in enumerate(tables):
            at = (node[:, None] + np.arange(self.degree + 1)) % self.shape[a]
            if a == 0:
                here = (at >= self.slabs.first) & (at < self.slabs.last)
                at, shapes = np.where(here, at - self.slabs.first, 0), np.where(here, shapes, 0.0)
            index = (index * self.shape[a])[..., None] + at.reshape(len(at), *(1,) * a, -1)
            factors.append(shapes)
        out = local[index]
        for shapes in reversed(factors):
            out = np.einsum("n...k,nk->n...", out, shapes)
        return out

    def on_grid(self, nodal: Array, axes: Sequence[Array], outside: float | None = None) -> Array:
        """Return the function on a tensor grid, one small matrix product per direction. Collective.

        Raises:
            InputError: a coordinate lies outside the box.
        """
        axes = [self._inside(x, a) for a, x in enumerate(axes)]
        beyond = [np.abs(x) > half for x, half in zip(axes, self._halves, strict=True)]
        for a, x in enumerate(axes):
            if np.any(beyond[a]) and outside is None:
                low, high = self.bounds[:, a]
                raise InputError(
                    f"axis {a} of the grid reaches {x[np.argmax(np.abs(x))] + self.centre[a]:g}, outside "
                    f"[{low:g}, {high:g}]: give coordinates inside"
                )
        out = nodal.reshape(-1, *self.shape[1:])
        for a, x in enumerate(axes):
            matrix = self.axes[a].interpolation(np.where(beyond[a], 0.0, x))
            if a == 0:
                matrix = matrix[:, self.slabs.first : self.slabs.last]
            out = np.moveaxis(np.tensordot(matrix, out, axes=(1, a)), 0, a)
        out = self.total(np.ascontiguousarray(out))
        for a, missed in enumerate(beyond):
            out[(slice(None),) * a + (missed,)] = outside
        return out

    def _inside(self, x: Array, a: int) -> Array:
        """Return coordinates along a direction as those of its axis, where the box is periodic inside.

        Rounding takes none of the box's own ends out of it.
        """
        half, period, middle = self._halves[a], self.domain.period, self.centre[a]
        if middle != 0.0:
            own = (x >= self.bounds[0, a]) & (x <= self.bounds[1, a])
            x = np.where(own, np.clip(x - middle, -half, half), x - middle)
        return x if period is None else np.asarray(x - period[a] * np.round(x / period[a]))

    def labels(self) -> dict[str, Array]:
        """Return nothing: rows are consecutive from rank to rank."""
        return {}

    def read(self, saved: CheckpointFile, name: str) -> Array:
        """Return this rank's rows. Rank-local.

        Raises:
            InputError: the file cannot be read.
        """
        return np.asarray(saved.part(name, self.slabs.first, self.slabs.last)).reshape(self.slabs.shape)

    def from_dolfinx(self, owned: Array) -> Array:
        """Return a nodal array from the owned degrees of freedom of a function in ``V``. Collective."""
        return self._dolfinx.nodal(owned)

    def to_dolfinx(self, nodal: Array) -> Array:
        """Return the owned degrees of freedom in ``V`` of a nodal array. Collective."""
        return self._dolfinx.owned(nodal)
