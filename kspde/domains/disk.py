"""Disks, which gmsh meshes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from kspde.domains.base import COARSER, MOST_NODES, Boundary, Domain, Solver
from kspde.errors import InputError, check_choice, check_finite, check_integer, check_scale
from kspde.typing import Array, Mask

__all__ = ["Disk"]

Cell = Literal["triangle", "quadrilateral"]

#: The smallest cell of a disk, in units of its radius: gmsh does not terminate for cells near round-off.
_LEAST_SIZE = 1e-7


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
        check_scale("radius", self.radius)
        if self.centre is not None:
            x, y = check_finite("centre", self.centre, (2,)).tolist()
            object.__setattr__(self, "centre", (x, y) if x or y else None)
        check_scale("size", self.size)
        if self.rim_size is not None:
            check_scale("rim_size", self.rim_size)
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
        if nodes > MOST_NODES:
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
        if lower := self.of_lower_degree():
            return lower
        rim = self.rim_size or self.size
        if max(self.size, rim) * COARSER**2 * 2**self.refine > self.radius:
            return None
        first, second = (
            replace(self, size=self.size * factor, rim_size=rim * factor) for factor in (COARSER, COARSER**2)
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
        return "move it to the disk's centre, or give a larger domain"
