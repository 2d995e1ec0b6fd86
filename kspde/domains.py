"""Truncated domains, as geometry: no mesh is built here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_choice, check_finite, check_integer, check_number, shown

__all__ = ["Box", "Disk", "Domain", "MeshFile", "check_no_walls"]

_BOUNDARIES = ("decay", "neumann")
_SOLVERS = ("auto", "direct", "multigrid")

#: PETSc's and DOLFINx's indices have 32 bits.
_MOST_NODES = 2**31 - 1

#: The smallest cell of a disk, in units of its radius: gmsh does not come to an end for cells near round-off.
_LEAST_SIZE = 1e-7


@dataclass(frozen=True, kw_only=True)
class Box:
    r"""The box [−L, L]^d with graded tensor-product cells and Gauss-Lobatto-Legendre (GLL) nodes.

    Cell vertices are the images of equidistant ones under :math:`x \mapsto L \sinh(a x / L) / \sinh a`: cells are
    smallest around the origin, a cosh(a x/L)-law wide elsewhere.

    Attributes:
        half_width: L > 0.
        cells: cells per direction.
        degree: polynomial degree p of the elements; cells·p + 1 nodes per direction.
        dimension: d, one of 1, 2, 3.
        grading: a ≥ 0; 0 gives equal cells.
        boundary: condition for the fields on the boundary. "decay" is the Robin condition of the decaying solution on
            the plane outside; "neumann" lets nothing out. Densities have no flux through the boundary.

    Raises:
        InputError: a value out of range.
    """

    half_width: float
    cells: int
    degree: int = 4
    dimension: int = 2
    grading: float = 2.5
    boundary: str = "decay"

    def __post_init__(self) -> None:
        check_number("half_width", self.half_width, above=0)
        check_integer("cells", self.cells, at_least=2)
        check_integer("degree", self.degree, at_least=1, at_most=16)
        check_integer("dimension", self.dimension, at_least=1, at_most=3)
        nodes = (self.cells * self.degree + 1) ** self.dimension
        if nodes > _MOST_NODES:
            raise InputError(
                f"cells = {self.cells} of degree {self.degree} have {nodes} nodes: give fewer, for at most "
                f"{_MOST_NODES} nodes"
            )
        check_number("grading", self.grading, at_least=0, below=20)
        check_choice("boundary", self.boundary, _BOUNDARIES)

    @property
    def vertices(self) -> npt.NDArray[np.float64]:
        """Cell vertices in one direction, ascending, shape (cells + 1,); exactly symmetric about 0."""
        s = np.linspace(-1.0, 1.0, self.cells + 1)
        x = s if self.grading == 0 else np.sinh(self.grading * s) / np.sinh(self.grading)
        return self.half_width * 0.5 * (x - x[::-1])


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The disk of radius R around the origin, meshed by gmsh with cells that grow from the centre to the rim.

    The boundary is a polygon (degree 1): its area, and with it the mass of a constant, is short by O(h²).

    Attributes:
        radius: R > 0.
        size: cell size at the centre.
        rim_size: cell size at the rim; ``size`` unless given.
        refine: gmsh meshes with cells 2^refine times as large, which are then split in four as often, new points of the
            rim put on the circle: the way to millions of nodes, in a fraction of gmsh's time and memory. Multigrid uses
            all these meshes, and is fastest where gmsh's has a few thousand nodes.
        cell: "triangle" or "quadrilateral".
        degree: of the elements; 1 on triangles.
        boundary: "decay" or "neumann", as for ``Box``.
        solver: "direct" (Cholesky's factorisation), "multigrid" (conjugate gradients with multigrid, algebraic where
            there is no coarser mesh), or "auto": by the number of nodes.

    Raises:
        InputError: a value out of range.
    """

    radius: float
    size: float
    rim_size: float | None = None
    refine: int = 0
    cell: str = "triangle"
    degree: int = 1
    boundary: str = "decay"
    solver: str = "auto"

    @property
    def dimension(self) -> int:
        """Two."""
        return 2

    def __post_init__(self) -> None:
        check_number("radius", self.radius, above=0)
        check_number("size", self.size, above=0)
        if self.rim_size is not None:
            check_number("rim_size", self.rim_size, above=0)
        check_integer("refine", self.refine, at_least=0, at_most=12)
        for name, size in (("size", self.size), ("rim_size", self.rim_size or self.size)):
            if size > self.radius:
                raise InputError(f"{name} = {size:g} is not valid: give a cell size <= radius = {self.radius:g}")
            if size * 2**self.refine > self.radius:
                raise InputError(
                    f"refine = {self.refine} is not valid: it begins with cells of size {size * 2**self.refine:g}, "
                    f"larger than radius = {self.radius:g}; give a smaller number"
                )
        check_choice("cell", self.cell, ("triangle", "quadrilateral"))
        check_integer("degree", self.degree, at_least=1, at_most=8)
        if self.size < _LEAST_SIZE * self.radius:
            raise InputError(f"size = {self.size:g} is not valid: give at least {_LEAST_SIZE:g} of the radius")
        nodes = 3.6 * (self.degree * self.radius / max(self.size, self.rim_size or self.size)) ** 2
        if nodes > _MOST_NODES:
            raise InputError(
                f"size = {self.size:g} makes {nodes:.1e} nodes or more: give larger cells, for less than 2^31"
            )
        if self.cell == "triangle" and self.degree != 1:
            raise InputError(
                f"degree = {self.degree} is not valid on triangles, where only degree 1 has a diagonal mass matrix "
                'with positive weights: give degree=1, or cell="quadrilateral"'
            )
        check_choice("boundary", self.boundary, _BOUNDARIES)
        check_choice("solver", self.solver, _SOLVERS)


@dataclass(frozen=True, kw_only=True)
class MeshFile:
    """A mesh from a file: gmsh's or FreeFem's .msh, or anything meshio reads but .wkt.

    Cells of the model's dimension make the domain: intervals, triangles, quadrilaterals, tetrahedra or hexahedra, one
    kind alone, with straight edges. They must form one connected domain without overlaps or hanging nodes. A plane mesh
    may lie in any plane of space: a warning names the coordinates it is then used with.

    Attributes:
        path: the file.
        merge: whether nodes that coincide, within 1e-5 of the shortest edge at them, become one: for parts that touch
            but were meshed one by one.
        triangles: whether quadrilaterals are split in two triangles.
        degree: of the elements; 1 on triangles and tetrahedra.
        refine: how often every cell is split, in 2^d.
        boundary: "decay" or "neumann", as for ``Box``. The decay condition is that of the decaying solution about
            ``centre``: on any shape it is met exactly by the field of what is radial about that. Holes let nothing out.
        centre: a point of the domain; its centre of mass unless given. The density's centre of mass is the best choice;
            ``solve`` warns where the field is off by more than a hundredth of its maximum.
        solver: as for ``Disk``.

    Raises:
        InputError: a value out of range. (The file itself is read, and its errors raised, when the mesh is built.)
    """

    path: str | Path
    merge: bool = False
    triangles: bool = False
    degree: int = 1
    refine: int = 0
    boundary: str = "decay"
    centre: tuple[float, ...] | None = None
    solver: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)):
            raise InputError(f"path is a {type(self.path).__name__}: give the name of a mesh file")
        for name, value in (("merge", self.merge), ("triangles", self.triangles)):
            if not isinstance(value, bool):
                raise InputError(f"{name} = {shown(value)} is not valid: give True or False")
        check_integer("degree", self.degree, at_least=1, at_most=8)
        check_integer("refine", self.refine, at_least=0, at_most=12)
        check_choice("boundary", self.boundary, _BOUNDARIES)
        check_choice("solver", self.solver, _SOLVERS)
        if self.centre is not None:
            centre = check_finite("centre", self.centre, (None,))
            object.__setattr__(self, "centre", tuple(centre.tolist()))


#: What ``solve`` accepts.
Domain = Box | Disk | MeshFile


def check_no_walls(domain: Domain) -> None:
    """Refuse a domain with walls where particles are concerned: theirs is the whole space.

    Raises:
        InputError: nothing leaves it.
    """
    if getattr(domain, "boundary", None) == "neumann":
        raise InputError(
            f'the domain, a {type(domain).__name__} with boundary = "neumann", has walls, and particles know none: '
            f'they live on the whole space; give boundary = "decay" and a domain that holds nearly all of the mass'
        )
