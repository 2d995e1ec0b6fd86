"""Truncated domains, as geometry: no mesh is built here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np

from kspde.errors import InputError, check_choice, check_finite, check_flag, check_integer, check_number
from kspde.typing import Array, Mask

__all__ = ["DOMAINS", "Box", "Disk", "Domain", "MeshFile", "box_in_words", "check_no_walls", "check_same_space"]

Boundary = Literal["decay", "neumann"]
BoxBoundary = Literal["decay", "neumann", "periodic"]
Cell = Literal["triangle", "quadrilateral"]
Solver = Literal["auto", "direct", "multigrid"]

#: Indices of PETSc and DOLFINx have 32 bits.
_MOST_NODES = 2**31 - 1

#: By how much cells are larger on a coarser mesh.
_COARSER = 1.5
#: The smallest cell of a disk, in units of its radius: gmsh does not terminate for cells near round-off.
_LEAST_SIZE = 1e-7


class Domain(ABC):
    """A truncated domain; subclasses are frozen dataclasses of what a user gives. What it answers does not need a mesh.

    Attributes:
        space: the module and the class of its space in ``kspde.fem.spaces``.
        structured: whether cells and nodes form a tensor grid.
        width: the argument that says how wide it is, in words.
        boundary: the fields' condition on the boundary.
        degree: the degree of the elements.
        refine: how many times every cell is split.
        solver: how linear systems are solved, where there is a choice.
    """

    space: ClassVar[tuple[str, str]] = ("mesh", "MeshSpace")
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

    def for_particles(self) -> Box | None:
        """Return the box whose walls particles know, or that is their torus; None for the whole space.

        Raises:
            InputError: the domain has other walls.
        """
        if self.boundary != "decay":
            raise InputError(
                f'the domain, a {type(self).__name__} with boundary = "{self.boundary}", has walls that particles do '
                "not know: give a closed or periodic Box"
            )
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

    @abstractmethod
    def nodes(self, dimension: int) -> float | None:
        """Return about how many nodes there are; None if only the mesh knows."""

    @abstractmethod
    def enlarged(self, factor: float) -> str:
        """Return the argument, in words, of a domain that is larger by a factor."""

    @abstractmethod
    def decay_advice(self, where: str, length: float) -> str:
        """Return the remedy if the decay condition is inaccurate for mass about a point, given the decay length."""


@dataclass(frozen=True, kw_only=True)
class Box(Domain):
    r"""The box m + [−L_1, L_1] × … × [−L_d, L_d] with graded tensor-product cells and Gauss-Lobatto-Legendre nodes.

    Cell vertices of a direction are m plus the images of equidistant points under :math:`x \mapsto L \sinh(a x / L) /
    \sinh a`: cells are smallest at the centre, and their width grows like cosh(a x/L). The rectangle [0, A] × [0, B] is
    ``Box(half_width=(A / 2, B / 2), centre=(A / 2, B / 2), ...)``.

    Attributes:
        half_width: the half-width L > 0, or one for each direction.
        cells: the number of cells per direction, or one for each.
        degree: the polynomial degree p of the elements; there are cells·p + 1 nodes per direction.
        dimension: the dimension d, one of 1, 2, 3.
        centre: the centre m; the origin unless given. A number stands for that in every direction.
        grading: the grading a ≥ 0; 0 gives equal cells.
        boundary: the condition for the fields on the boundary. "decay" is the Robin condition that the decaying
            solution outside satisfies; "neumann" lets nothing out. Densities have no flux through the boundary.
            "periodic" is the torus of period 2L in each direction, for densities too. In a closed or periodic box the
            field of a kernel without decay (:math:`-\Delta c = u`) is that of u minus its mean: c has mean 0.

    Raises:
        InputError: a value out of range.
    """

    space = ("box", "BoxSpace")
    structured = True
    width = "half_width"

    half_width: float | tuple[float, ...]
    cells: int | tuple[int, ...]
    degree: int = 4
    dimension: int = 2
    centre: float | tuple[float, ...] | None = None
    grading: float = 2.5
    boundary: BoxBoundary = "decay"

    def __post_init__(self) -> None:
        check_integer("dimension", self.dimension, at_least=1, at_most=3)
        half = self._each("half_width", self.half_width, lambda name, x: check_number(name, x, above=0))
        cells = self._each("cells", self.cells, lambda name, n: check_integer(name, n, at_least=2))
        if self.centre is not None:
            centre = self._each("centre", self.centre, check_number)
            centre = centre if isinstance(centre, tuple) else (centre,) * self.dimension
            object.__setattr__(self, "centre", centre if any(centre) else None)
        object.__setattr__(self, "half_width", half)
        object.__setattr__(self, "cells", cells)
        check_integer("degree", self.degree, at_least=1, at_most=16)
        check_choice("boundary", self.boundary, get_args(BoxBoundary))
        nodes = round(self.nodes(self.dimension))
        if nodes > _MOST_NODES:
            raise InputError(
                f"cells = {self.cells} of degree {self.degree} have {nodes} nodes: give fewer, for at most "
                f"{_MOST_NODES} nodes"
            )
        check_number("grading", self.grading, at_least=0, below=20)

    def _each(self, name: str, given: Any, check: Callable[[str, Any], Any]) -> Any:
        """Return a checked value, or, where they differ, a tuple of one for each direction."""
        if not isinstance(given, (tuple, list)) and getattr(given, "ndim", 0) == 0:
            return check(name, given)
        if len(given) != self.dimension:
            raise InputError(
                f"{name} has {len(given)} entries: give one number, or one for each of {self.dimension} directions"
            )
        values = tuple(check(f"{name}[{a}]", value) for a, value in enumerate(given))
        return values[0] if len(set(values)) == 1 else values

    @property
    def half_widths(self) -> Array:
        """L of every direction."""
        return np.broadcast_to(np.asarray(self.half_width, dtype=np.float64), (self.dimension,))

    @property
    def middle(self) -> Array:
        """The centre m."""
        return np.zeros(self.dimension) if self.centre is None else np.array(self.centre)

    def cube(self) -> float:
        """Return L of a box that is [−L, L]^d.

        Raises:
            InputError: it is another one.
        """
        if isinstance(self.half_width, tuple) or self.centre is not None:
            raise InputError(
                f"the domain is {box_in_words(self.bounds)}: give a Box of one half_width about the origin"
            )
        return self.half_width

    def for_particles(self) -> Box | None:
        """Return the box itself where it is closed or periodic."""
        return None if self.boundary == "decay" else self

    @property
    def vertices(self) -> Array:
        """The cell vertices in one direction of [−L, L]^d, ascending, shape (cells + 1,); exactly symmetric about 0."""
        s = np.linspace(-1.0, 1.0, cast(int, self.cells) + 1)
        x = s if self.grading == 0 else np.sinh(self.grading * s) / np.sinh(self.grading)
        return cast(float, self.half_width) * 0.5 * (x - x[::-1])

    @property
    def directions(self) -> tuple[Array, ...]:
        """The cell vertices of every direction, relative to the centre."""
        if not isinstance(self.half_width, tuple) and not isinstance(self.cells, tuple):
            return (self.vertices,) * self.dimension
        each = zip(self.half_widths.tolist(), np.broadcast_to(self.cells, (self.dimension,)).tolist(), strict=True)
        return tuple(replace(self, half_width=h, cells=n, dimension=1, centre=None).vertices for h, n in each)

    @property
    def edges(self) -> tuple[Array, ...]:
        """By direction the coordinates of cell vertices, ascending."""
        return tuple(m + vertices for m, vertices in zip(self.middle, self.directions, strict=True))

    @property
    def nodes_per_direction(self) -> int:
        """The largest number of nodes in a direction; where the box is periodic, both ends are one node."""
        return int(np.max(self.cells)) * self.degree + (self.boundary != "periodic")

    @property
    def period(self) -> Array | None:
        """2L of every direction where the box is periodic."""
        return 2 * self.half_widths if self.boundary == "periodic" else None

    @property
    def bounds(self) -> Array:
        """The lowest, m − L, and the highest, m + L, in each direction."""
        return self.middle + np.outer((-1.0, 1.0), self.half_widths)

    def with_cells(self, cells: int, degree: int) -> Box:
        """Return the same box with other cells, so many in the direction with most of them."""
        return replace(self, cells=_scaled(self.cells, cells / float(np.max(self.cells))), degree=degree)

    def coarser(self) -> tuple[Box, Box] | None:
        """Return boxes of lower degree, or below degree 6 with larger cells."""
        if lower := _of_lower_degree(self):
            return lower
        first, second = (_scaled(self.cells, 1 / factor) for factor in (_COARSER, _COARSER**2))
        return (replace(self, cells=first), replace(self, cells=second)) if np.min(second) >= 2 else None

    def finer(self) -> Box:
        """Return the box with twice as many cells per direction."""
        return replace(self, cells=_scaled(self.cells, 2))

    def nodes(self, dimension: int) -> float:
        """Return the number of nodes."""
        ends = self.boundary != "periodic"
        return math.prod(float(n) * self.degree + ends for n in np.broadcast_to(self.cells, (dimension,)).tolist())

    def enlarged(self, factor: float) -> str:
        """Return the argument, in words, of a domain that is larger by a factor."""
        if isinstance(self.half_width, tuple):
            return f"a half_width of ({', '.join(f'{factor * h:.4g}' for h in self.half_width)})"
        return f"a half_width of {factor * self.half_width:.4g}"

    def decay_advice(self, where: str, length: float) -> str:
        """Return the remedy if the decay condition is inaccurate for mass about a point, given the decay length."""
        return f"give a half_width of several decay lengths, which are {length:.3g}"


def _scaled(cells: int | tuple[int, ...], factor: float) -> int | tuple[int, ...]:
    return tuple(round(n * factor) for n in cells) if isinstance(cells, tuple) else round(cells * factor)


def box_in_words(bounds: Array) -> str:
    """Return a box, shape (2, d), in the words of messages."""
    sides = [f"[{low:g}, {high:g}]" for low, high in bounds.T]
    return f"{sides[0]}^{len(sides)}" if len(set(sides)) == 1 else " x ".join(sides)


@dataclass(frozen=True, kw_only=True)
class Disk(Domain):
    """The disk of radius R around a centre, meshed by gmsh with cells that grow from the centre to the rim.

    The boundary is a polygon. At degree 1 its corners are on the circle, so that its area, and with it the mass of a
    constant, is too small by O(h²); at higher degrees they lie a little outside, and the area is the disk's.

    Attributes:
        radius: the radius R > 0.
        size: the cell size at the centre.
        rim_size: the cell size at the rim; ``size`` unless given.
        refine: the number of refinements. gmsh meshes with cells 2^refine times as large, which are then split in four
            as many times, with new points of the rim moved to the circle: the way to millions of nodes, in a fraction
            of gmsh's time and memory. Multigrid uses all these meshes, and is fastest if gmsh's own mesh has a few
            thousand nodes.
        cell: the shape of the cells, "triangle" or "quadrilateral".
        degree: the degree of the elements; 1 on triangles.
        boundary: the condition on the boundary, "decay" or "neumann", as for ``Box``.
        centre: the centre; the origin unless given.
        solver: the linear solver: "direct" (Cholesky factorisation), "multigrid" (conjugate gradients with
            multigrid, algebraic where there is no coarser mesh), or "auto": by the number of nodes.

    Raises:
        InputError: a value out of range.
    """

    width = "radius"

    radius: float
    size: float
    rim_size: float | None = None
    refine: int = 0
    cell: Cell = "triangle"
    degree: int = 1
    boundary: Boundary = "decay"
    centre: tuple[float, float] | None = None
    solver: Solver = "auto"

    @property
    def dimension(self) -> int:
        """Two."""
        return 2

    @property
    def middle(self) -> Array:
        """The centre."""
        return np.zeros(2) if self.centre is None else np.array(self.centre)

    @property
    def bounds(self) -> Array:
        """The lowest and the highest coordinates."""
        return self.middle + np.outer((-self.radius, self.radius), np.ones(2))

    def holds(self, points: Array) -> Mask:
        """Return which points lie within R of the centre."""
        return np.asarray(np.square(points - self.middle).sum(axis=1) <= self.radius**2)

    def __post_init__(self) -> None:
        check_number("radius", self.radius, above=0)
        if self.centre is not None:
            x, y = check_finite("centre", self.centre, (2,)).tolist()
            object.__setattr__(self, "centre", (x, y) if x or y else None)
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
        check_choice("cell", self.cell, get_args(Cell))
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
        check_choice("boundary", self.boundary, get_args(Boundary))
        check_choice("solver", self.solver, get_args(Solver))

    def coarser(self) -> tuple[Disk, Disk] | None:
        """Return disks of lower degree, or below degree 6 with larger cells."""
        if lower := _of_lower_degree(self):
            return lower
        rim = self.rim_size or self.size
        if max(self.size, rim) * _COARSER**2 * 2**self.refine > self.radius:
            return None
        first, second = (
            replace(self, size=self.size * factor, rim_size=rim * factor) for factor in (_COARSER, _COARSER**2)
        )
        return first, second

    def finer(self) -> Disk:
        """Return the disk, refined once more."""
        return replace(self, size=self.size / 2, rim_size=(self.rim_size or self.size) / 2, refine=self.refine + 1)

    def nodes(self, dimension: int) -> float:
        """Return about how many nodes gmsh makes: cells grow linearly, and 2πr/h(r)² is integrated."""
        size, rim = self.size, self.rim_size or self.size
        growth = (rim - size) / self.radius
        if abs(growth) * self.radius < 1e-3 * size:
            whole = math.pi * (self.radius / size) ** 2
        else:
            whole = 2 * math.pi / growth**2 * (math.log(rim / size) + size / rim - 1.0)
        return (1.16 if self.cell == "triangle" else 1.0) * whole * self.degree**2

    def enlarged(self, factor: float) -> str:
        """Return the argument, in words, of a domain that is larger by a factor."""
        return f"a radius of {factor * self.radius:.4g}"

    def decay_advice(self, where: str, length: float) -> str:
        """Return the remedy if the decay condition is inaccurate for mass about a point, given the decay length."""
        return "move it to the disk's centre, or a larger domain"


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
        if lower := _of_lower_degree(self):
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


def _of_lower_degree[D: (Box, Disk, MeshFile)](domain: D) -> tuple[D, D] | None:
    """Return the domain with two lower degrees; None below 6, where errors fall slowly with it.

    Even and odd degrees have errors of their own: steps are even.
    """
    less = 2 * max(1, round(domain.degree / 8))
    if domain.degree < 6:
        return None
    return replace(domain, degree=domain.degree - less), replace(domain, degree=domain.degree - 2 * less)


#: The domains that ``solve`` accepts, by their names in case files.
DOMAINS: dict[str, type[Domain]] = {"box": Box, "disk": Disk, "mesh": MeshFile}


def check_no_walls(domain: Domain) -> None:
    """Raise unless a domain stands for the whole space.

    Raises:
        InputError: it is closed or periodic.
    """
    if domain.boundary != "decay":
        raise InputError(
            f'the domain, a {type(domain).__name__} with boundary = "{domain.boundary}", is not the whole space, where '
            f'particles live here: give boundary = "decay" and a domain that holds nearly all of the mass'
        )


def check_same_space(density: Domain, particles: Domain | None) -> None:
    """Raise unless particles live where a density does.

    Args:
        density: the density's domain.
        particles: the domain that the particles were given; None for the whole space.

    Raises:
        InputError: they live elsewhere, or no particles can live there.
    """
    there, here = (_place(None if domain is None else domain.for_particles()) for domain in (density, particles))
    if there != here:
        raise InputError(
            f"the density lives {there}, the particles {here}: give kspde.simulate the density's domain, domain=..."
        )


def _place(box: Box | None) -> str:
    if box is None:
        return "on the whole space"
    about = "" if box.centre is None else f", centre = {box.centre!r}"
    return f'in a Box with half_width = {box.half_width!r}{about} and boundary = "{box.boundary}"'
