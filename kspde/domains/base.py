"""What a domain answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np

from kspde.errors import InputError
from kspde.typing import Array, Mask

__all__ = ["COARSER", "MOST_NODES", "Boundary", "BoxBoundary", "Domain", "Solver"]

Boundary = Literal["decay", "neumann"]
BoxBoundary = Literal["decay", "neumann", "periodic"]
Solver = Literal["auto", "direct", "multigrid"]

#: Indices of PETSc and DOLFINx have 32 bits.
MOST_NODES = 2**31 - 1

#: By how much cells are larger on a coarser mesh.
COARSER = 1.5


class Domain(ABC):
    """A truncated domain; subclasses are frozen dataclasses of what a user gives. What it answers does not need a mesh.

    Attributes:
        space: the module and the class of its space in ``kspde.fem.spaces``.
        needs_mesh: whether its space always has a mesh of DOLFINx.
        structured: whether cells and nodes form a tensor grid.
        width: the argument that says how wide it is, in words.
        boundary: the fields' condition on the boundary.
        degree: the degree of the elements.
        refine: how many times every cell is split.
        solver: how linear systems are solved, where there is a choice.
    """

    space: ClassVar[tuple[str, str]] = ("mesh", "MeshSpace")
    needs_mesh: ClassVar[bool] = True
    structured: ClassVar[bool] = False
    width: ClassVar[str] = "the mesh"

    boundary: BoxBoundary
    degree: int
    refine: int = 0
    solver: Solver = "auto"

    @property
    def dimension(self) -> int | None:
        """The dimension; None if it is the model's."""
        return None

    @property
    def bounds(self) -> Array | None:
        """The lowest and the highest coordinates, shape (2, d); None if only the mesh knows them."""
        return None

    @property
    def edges(self) -> tuple[Array, ...]:
        """By direction the coordinates of cell vertices, ascending; nothing if they do not form a tensor grid."""
        return ()

    @property
    def nodes_per_direction(self) -> int:
        """The number of nodes in each direction of a tensor grid; otherwise 0."""
        return 0

    @property
    def period(self) -> Array | None:
        """The length after which everything repeats, by direction, shape (d,); None if nothing does."""
        return None

    def holds(self, points: Array) -> Mask:
        """Return which points, shape (n, d), the domain holds.

        Raises:
            InputError: only the mesh knows.
        """
        if self.bounds is None:
            raise InputError(f"only the mesh of a {type(self).__name__} knows its points: give a kspde.Box or Disk")
        lower, upper = self.bounds
        return np.asarray(((points >= lower) & (points <= upper)).all(axis=1))

    def with_cells(self, cells: int, degree: int) -> Domain:
        """Return the same domain with another number of cells per direction, and another degree.

        Raises:
            InputError: its cells are not counted per direction.
        """
        raise InputError(f"the domain is a {type(self).__name__}, without a number of cells: give a kspde.Box")

    def coarser(self) -> tuple[Domain, Domain] | None:
        """Return two coarser meshes of the same domain, each by as much as the other; None if there are not two."""
        return None

    def finer(self) -> Domain:
        """Return the domain with cells half as large.

        Raises:
            InputError: it does not know how.
        """
        raise InputError(f"a {type(self).__name__} has no method finer: give it one, for estimates of errors")

    def of_lower_degree(self) -> tuple[Self, Self] | None:
        """Return the domain with two lower degrees; None below 6, where errors fall slowly with it.

        Even and odd degrees have errors of their own: steps are even.
        """
        if self.degree < 6:
            return None
        less, this = 2 * max(1, round(self.degree / 8)), cast(Any, self)
        return replace(this, degree=self.degree - less), replace(this, degree=self.degree - 2 * less)

    @abstractmethod
    def nodes(self, dimension: int) -> float | None:
        """Return about how many nodes there are; None if only the mesh knows."""

    @abstractmethod
    def enlarged(self, factor: float) -> str:
        """Return the argument, in words, of a domain that is larger by a factor."""

    @abstractmethod
    def decay_advice(self, where: str, length: float) -> str:
        """Return the remedy if the decay condition is inaccurate for mass about a point, given the decay length."""
