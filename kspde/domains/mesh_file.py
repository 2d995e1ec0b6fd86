"""Meshes from files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from kspde.domains.base import Boundary, Domain, Solver
from kspde.errors import InputError, check_choice, check_finite, check_flag, check_integer

__all__ = ["MeshFile"]


@dataclass(frozen=True, kw_only=True)
class MeshFile(Domain):
    """A mesh from a file: .msh of gmsh or FreeFem, or anything that meshio reads except .wkt.

    Cells of the model's dimension make up the domain: intervals, triangles, quadrilaterals, tetrahedra or hexahedra, of
    one kind only, with straight edges. They must form one connected domain without overlaps or hanging nodes. A plane
    mesh may lie in any plane of space: a warning then names the coordinates that are used.

    Attributes:
        path: the file.
        merge: whether nodes that coincide, within 1e-5 of the shortest edge at them, become one: for parts that touch
            but were meshed separately.
        triangles: whether quadrilaterals are split into two triangles.
        degree: the degree of the elements; 1 on triangles and tetrahedra.
        refine: how many times every cell is split into 2^d.
        boundary: the condition on the boundary, "decay" or "neumann", as for ``Box``. The decay condition is
            that of the decaying solution about ``centre``: on any shape, the field of a density that is radial about it
            satisfies the condition exactly. Holes let nothing out.
        centre: a point of the domain; its centre of mass unless given. The density's centre of mass is the best choice;
            ``solve`` warns if the field is off by more than a hundredth of its maximum.
        solver: the linear solver, as for ``Disk``.

    Raises:
        InputError: a value out of range. (The file itself is read, and its errors raised, when the mesh is built.)
    """

    path: str | Path
    merge: bool = False
    triangles: bool = False
    degree: int = 1
    refine: int = 0
    boundary: Boundary = "decay"
    centre: tuple[float, ...] | None = None
    solver: Solver = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)):
            raise InputError(f"path is a {type(self.path).__name__}: give the name of a mesh file")
        check_flag("merge", self.merge)
        check_flag("triangles", self.triangles)
        check_integer("degree", self.degree, at_least=1, at_most=8)
        check_integer("refine", self.refine, at_least=0, at_most=12)
        check_choice("boundary", self.boundary, get_args(Boundary))
        check_choice("solver", self.solver, get_args(Solver))
        if self.centre is not None:
            centre = check_finite("centre", self.centre, (None,))
            object.__setattr__(self, "centre", tuple(centre.tolist()))

    def coarser(self) -> tuple[MeshFile, MeshFile] | None:
        """Return the mesh with lower degrees, or before its last two refinements."""
        if lower := self.of_lower_degree():
            return lower
        if self.refine < 2:
            return None
        return replace(self, refine=self.refine - 1), replace(self, refine=self.refine - 2)

    def finer(self) -> MeshFile:
        """Return the mesh, refined once more."""
        return replace(self, refine=self.refine + 1)

    def nodes(self, dimension: int) -> None:
        """Return None: only the file tells the number of nodes."""

    def enlarged(self, factor: float) -> str:
        """Return the argument, in words, of a domain that is larger by a factor."""
        return f"a mesh {factor:.4g} times as wide"

    def decay_advice(self, where: str, length: float) -> str:
        """Return the remedy if the decay condition is inaccurate for mass about a point, given the decay length."""
        return f"give MeshFile(centre=({where})), or a larger domain"
