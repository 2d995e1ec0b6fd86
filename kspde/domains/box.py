"""Boxes with graded tensor-product cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import numpy as np

from kspde.domains.base import COARSER, MOST_NODES, BoxBoundary, Domain
from kspde.errors import InputError, check_choice, check_integer, check_number, check_scale
from kspde.typing import Array

__all__ = ["Box", "box_in_words"]


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
    needs_mesh = False
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
        half = self._each("half_width", self.half_width, check_scale)
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
        if nodes > MOST_NODES:
            raise InputError(
                f"cells = {self.cells} of degree {self.degree} have {nodes} nodes: give fewer, for at most "
                f"{MOST_NODES} nodes"
            )
        check_number("grading", self.grading, at_least=0, below=20)

    def _each(self, name: str, given: Any, check: Callable[[str, Any], Any]) -> Any:
        """Return a checked value, or, where they differ, a tuple of one for each direction."""
        if not isinstance(given, (tuple, list)) and getattr(given, "ndim", 0) == 0:
            return check(name, given)
        if len(given) != self.dimension:
            raise InputError(
                f"{name} has length {len(given)}: give one number, or one for each of {self.dimension} directions"
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
        if lower := self.of_lower_degree():
            return lower
        first, second = (_scaled(self.cells, 1 / factor) for factor in (COARSER, COARSER**2))
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
