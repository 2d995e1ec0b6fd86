r"""What a finite-element space offers the schemes.

All spaces have a diagonal mass matrix M (nodes and quadrature points coincide), so products are nodal and masses exact.
*Nodal arrays* hold the values at this rank's nodes. The *state* of the adaptive scheme is a vector of coordinates
chosen by the space (nodal values on a general mesh, modal coefficients on a box); functionals of test functions are
*dual* vectors. The L² inner product of states is a weighted sum Σ w y z, so that w y is the dual vector of y.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.errors import InputError
from kspde.fem.spaces.points import share
from kspde.kernels import Kernel
from kspde.runtime.checkpoint import CheckpointFile
from kspde.runtime.parallel import same_on_all, together
from kspde.runtime.reductions import everyones, reduced
from kspde.typing import Array, Comm, Indices, Mask

if TYPE_CHECKING:
    from kspde.fem.solvers.krylov import PreconditionerOf
    from kspde.fem.solvers.stiffness import Stiffness

__all__ = ["DECAYED", "FieldOperator", "Space", "decay_coefficient", "gll_rule"]

#: A field has decayed at the boundary where its rate times the domain's radius is larger.
DECAYED = 40.0


class FieldOperator(ABC):
    """The map u ↦ K * u on a space."""

    #: Operators with the same key share what ``prepare`` returns.
    key: Hashable

    @abstractmethod
    def prepare(self, nodal: Array, state: Array | None) -> Any:
        """Return what operators can share, from nodal values, or from the state where it is known. Collective."""

    @abstractmethod
    def apply(self, prepared: Any, gradient: bool) -> tuple[Array, Array | None]:
        """Return the field at the local nodes, (n,), and its gradient, (n, d), if wanted. Collective."""

    @abstractmethod
    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes of a field with these values: shape (n, d). Collective."""

    @abstractmethod
    def state(self, nodal: Array) -> Array:
        """Return the state of a field, by this operator's boundary condition. Collective."""

    @abstractmethod
    def nodal(self, state: Array) -> Array:
        """Return the nodal values of such a state. Collective."""

    @abstractmethod
    def relaxation(self, prepared: Any, state: Array) -> Array:
        """Return (Δ − ρ²)(c − K * u) as a dual vector, for a field's state c; ρ is the decay rate. Collective."""

    def felt(self, nodal: Array) -> Array:
        """Return the transpose of the map from u to ``relaxation`` for nodal values, as a dual vector. Collective."""
        return self.relaxation(self.prepare(nodal, None), np.zeros_like(self.state(nodal)))

    def far_error(self, nodal: Array) -> float | None:
        """Return an estimate of the error of what lies outside, relative to the largest value. Collective.

        None: the condition on the boundary is that of a field about the centre, which depends on where u is.
        """
        return None

    def spectrum(self) -> tuple[Array, Array]:
        """Return the eigenvalues of −Δ + ρ² at a field's state, as ``Space.spectrum`` does those of −Δ."""
        raise InputError("this space has no modal coordinates")

    @abstractmethod
    def relaxation_solve(self, shift: float, tau: float, rhs: Array) -> Array:
        """Return the state y with shift·y + (−Δ + ρ²)y/τ = rhs, a dual vector. Collective."""


class Space(ABC):
    """A finite-element space with a diagonal mass matrix.

    Attributes:
        comm: the communicator.
        domain: what the user gave.
        dimension: d.
        mesh: the DOLFINx mesh.
        V: the DOLFINx function space.
        points: this rank's nodes, shape (n, d).
        mass: the diagonal of M at them, in the shape of nodal arrays.
        radius: the largest |coordinate| of the domain.
        bounds: its lowest and highest coordinates, shape (2, d).
        centre: the point that distances are measured from, shape (d,).
        inner: the least distance of the boundary from it, by the norm of ``reach``.
        extent: the largest coordinate of the domain relative to it.
        fills_box: whether the domain is a box, outside of which densities know their mass.
        nodes: the number of nodes on all ranks.
        cells: the number of cells on all ranks.
        degree: the polynomial degree.
        linear_solver: how linear systems are solved, for reports.
        iterates: whether the schemes' systems are iterated, so that first guesses help.
        has_spectrum: whether −Δ is diagonal in the coordinates of states (``spectrum``).
        rim: whether a local node lies in the outer tenth of the domain, see ``reach``.
        measure: UFL metadata of the quadrature rule whose points are the nodes.
        region: the domain, as messages name it.
        weights: the weights w of the inner product of states.
    """

    comm: Comm
    domain: Any
    dimension: int
    mesh: Any
    V: Any
    points: Array
    mass: Array
    radius: float
    bounds: Array
    centre: Array
    inner: float
    extent: float
    fills_box: bool = False
    nodes: int
    cells: int
    degree: int
    linear_solver: str
    iterates: bool
    has_spectrum: bool = False
    rim: Mask
    measure: dict[str, Any]
    region: str
    weights: Array | float

    @classmethod
    def on(cls, domain: Any, dimension: int, comm: Comm, *, modal: bool) -> Space:
        """Return the space on a domain, for a model of this dimension. Collective.

        Args:
            domain: the domain.
            dimension: the model's.
            comm: the communicator.
            modal: whether the scheme marches in the modes of −Δ, where there are some.
        """
        return cls(domain, dimension, comm)

    @abstractmethod
    def __init__(self, domain: Any, dimension: int, comm: Comm) -> None:
        """Build the space. Collective."""

    @abstractmethod
    def state(self, nodal: Array) -> Array:
        """Return the state of nodal values. Collective."""

    @abstractmethod
    def nodal(self, state: Array) -> Array:
        """Return the nodal values of a state. Collective."""

    @abstractmethod
    def diffusion(self, w: Array) -> Array:
        """Return the functional φ ↦ −∫ ∇w·∇φ of nodal values w, (n,). Collective.

        It is −Σ_a ∫ ∂_a w_a ∂_a φ of w, (n, d), and −Σ_ab ∫ ∂_b w_ab ∂_a φ of w, (n, d, d), symmetric.

        Raises:
            InputError: the space does not allow a w that depends on the direction.
        """

    @abstractmethod
    def divergence(self, flux: Array) -> Array:
        """Return the functional φ ↦ ∫ F·∇φ of a nodal flux, shape (n, d): a dual vector. Collective."""

    @abstractmethod
    def gradient(self, nodal: Array) -> Array:
        """Return ∇c at the nodes, its L² projection by the mass matrix's quadrature: shape (n, d). Collective."""

    def spectrum(self) -> tuple[Array, Array]:
        """Return the eigenvalues of −Δ at a state's entries, if the space ``has_spectrum``.

        As two arrays to be added, along the first direction and along the others.
        """
        raise InputError("this space has no modal coordinates")

    @abstractmethod
    def shifted_solver(self, options: dict[str, Any]) -> Callable[[float, float, Array, float], Array]:
        """Return a solver (shift, D, r, size) ↦ y of shift·∫yφ + D∫∇y·∇φ = r(φ), for states y. Collective.

        Where y is added to a state u, ``size`` is |M u|₂: a residual that is small beside shift·M u is small enough.
        """

    @abstractmethod
    def field_operator(self, kernel: Kernel, name: str, *, relaxes: bool = False, given: bool = False) -> FieldOperator:
        """Return the operator of a kernel, with the domain's boundary condition.

        A field that ``relaxes`` to K * u has an equation of its own in time, and starts there unless one is ``given``.

        Raises:
            InputError: the kernel cannot be applied here; ``name`` is the field's.
        """

    @abstractmethod
    def to_dolfinx(self, nodal: Array) -> Array:
        """Return the owned degrees of freedom in ``V`` of a nodal array. Collective."""

    @abstractmethod
    def from_dolfinx(self, owned: Array) -> Array:
        """Return a nodal array from the owned degrees of freedom of a function in ``V``. Collective."""

    @property
    @abstractmethod
    def cell(self) -> str:
        """The name of a cell's shape, as Basix has it."""

    @property
    @abstractmethod
    def own_cells(self) -> int:
        """The number of this rank's cells."""

    @abstractmethod
    def corners(self, cells: Indices) -> Array:
        """Return the vertices of some of this rank's cells, in Basix's order: shape (n, vertices, d)."""

    @abstractmethod
    def stiffness_matrix(self) -> Stiffness:
        """Return K as a sparse matrix, which the caller frees. Collective."""

    @abstractmethod
    def preconditioners(self, stiffness: Stiffness) -> list[PreconditionerOf]:
        """Return the preconditioners of K + diag(s), in the order in which they are to be tried."""

    @abstractmethod
    def gaussian_tail(self, s: Array) -> Array:
        """Return the probability that a vector of d independent standard normal numbers is longer than s ≥ 0.

        Its length is that of the norm of ``reach``.
        """

    @abstractmethod
    def decay_weights(self, rate: float, centre: Array) -> tuple[Array, Array]:
        """Return at this rank's nodes the weight of the decay condition, and what it is about a point. Collective.

        Args:
            rate: ρ, the kernel's decay rate.
            centre: the point that the mass is about.
        """

    @abstractmethod
    def locate(self, points: Array) -> tuple[Mask, Callable[[Array], Array]]:
        """Find points, shape (n, d), that each rank chooses for itself. Collective, and so is the map.

        Returns:
            Which of this rank's points lie outside the domain, and the map from nodal arrays to the values at its
            points; its values outside are arbitrary.
        """

    def evaluator(self, points: Array, outside: float | None = None) -> Callable[[Array], Array]:
        """Return the map from nodal arrays to the function's values at points (n, d). Collective, and so is the map.

        Each rank gives the points at which it wants the values, n ≥ 0. If all give the same ones, they share the work.

        Args:
            points: the points.
            outside: the value at points outside the domain; if None, they are refused.

        Raises:
            InputError: a point lies outside the domain; on every rank.
        """
        comm, n = self.comm, len(points)
        shared = comm.size > 1 and same_on_all(comm, points)
        outer, values = self.locate(points[share(comm, n)] if shared else points)
        if shared:
            outer = everyones(outer, comm)
        missed = np.flatnonzero(outer)
        with nullcontext() if shared else together(comm):  # what is shared fails on all ranks, or on none
            if len(missed) and outside is None:
                raise outside_error(points, missed, self.region)

        def evaluated(nodal: Array) -> Array:
            out = everyones(values(nodal), comm) if shared else values(nodal)
            if outside is not None:
                out[missed] = outside
            return out

        return evaluated

    def evaluate(self, nodal: Array, points: Array, outside: float | None = None) -> Array:
        """Return the function with these nodal values at points; arguments and errors as for ``evaluator``."""
        return self.evaluator(points, outside)(nodal)

    @abstractmethod
    def reach(self, points: Array) -> Array:
        """Return how far out points lie, shape (n,): 0 in the centre of the domain, 1 on its outer boundary."""

    @abstractmethod
    def labels(self) -> dict[str, Array]:
        """Return arrays that identify this rank's nodes in a checkpoint; empty where their order suffices."""

    @abstractmethod
    def read(self, saved: CheckpointFile, name: str) -> Array:
        """Return this rank's part of a nodal array, whatever the number of ranks that wrote it. Rank-local.

        Raises:
            InputError: the file cannot be read.
        """

    def on_grid(self, nodal: Array, axes: Sequence[Array], outside: float | None = None) -> Array:
        """Return the function on the tensor grid of coordinate arrays, the same on every rank. Collective.

        Raises:
            InputError: a grid point lies outside the domain.
        """
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return self.evaluate(nodal, grid.reshape(-1, self.dimension), outside).reshape(grid.shape[:-1])

    def integral(self, *integrands: Array) -> Array:
        """Return the integrals of nodal arrays by the mass matrix's quadrature. Collective: one reduction for all."""
        return self.total(np.array([np.vdot(self.mass, f) for f in integrands]))

    def total(self, local: Array) -> Array:
        """Return the sum of an array over the ranks. Collective."""
        return reduced(self.comm, _numbers(local))

    def maximum(self, local: Array) -> Array:
        """Return the maximum of an array over the ranks, entry by entry. Collective."""
        return reduced(self.comm, _numbers(local), "MAX")

    def function(self, nodal: Array, name: str = "u") -> Any:
        """Return the DOLFINx function with these nodal values. Collective."""
        space = self.V  # imports DOLFINx if nothing has
        from dolfinx import fem

        function = fem.Function(space, name=name)
        function.x.array[: space.dofmap.index_map.size_local] = self.to_dolfinx(nodal)
        function.x.scatter_forward()
        return function


def _numbers(local: Array) -> Array:
    """Return a copy in floating point, also of sums over nothing, which numpy may have made integers."""
    return np.array(local, dtype=np.result_type(local, np.float64), order="C")


def gll_rule(degree: int) -> dict[str, Any]:
    """Return the UFL measure's metadata of the GLL rule whose points are the nodes of this degree."""
    return {"quadrature_rule": "GLL", "quadrature_degree": max(1, 2 * degree - 1)}


def outside_error(points: Array, outside: Indices, domain: str) -> InputError:
    """Return the error for points outside a domain, which names the first of them."""
    where = ", ".join(str(tuple(float(c) for c in points[i])) for i in outside[:3])
    return InputError(
        f"{len(outside)} of {len(points)} points lie outside {domain}, the first at {where}: give points inside"
    )


def decay_coefficient(rate: float, radius: Any, dimension: int) -> Any:
    r"""Return κ of ∂_n c + κ c = 0, the condition met at distance R by the solution that decays at infinity.

    Outside the sources −Δc + ρ²c = 0, whose radial decaying solution is :math:`e^{-\rho r}` in one dimension,
    :math:`K_0(\rho r)` in two and :math:`e^{-\rho r}/r` in three, so κ = ρ, :math:`\rho K_1(\rho R)/K_0(\rho R)` and
    ρ + 1/R.

    Args:
        rate: ρ, the kernel's decay rate; infinite for kernels of shorter range, whose fields have Neumann's condition.
        radius: R > 0, a number or an array.
        dimension: 1, 2 or 3.
    """
    if not math.isfinite(rate) or (rate == 0 and dimension == 2):
        return 0.0 * radius
    if dimension == 1:
        return rate + 0.0 * radius
    if dimension == 3:
        return rate + 1.0 / radius
    from scipy.special import k0e, k1e

    return rate * k1e(rate * radius) / k0e(rate * radius)
