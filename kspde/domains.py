"""Truncated domains, as geometry: no mesh is built here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kspde.errors import check_choice, check_integer, check_number

__all__ = ["Box"]


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
        check_number("grading", self.grading, at_least=0, below=20)
        check_choice("boundary", self.boundary, ("decay", "neumann"))

    @property
    def vertices(self) -> npt.NDArray[np.float64]:
        """Cell vertices in one direction, ascending, shape (cells + 1,); exactly symmetric about 0."""
        s = np.linspace(-1.0, 1.0, self.cells + 1)
        x = s if self.grading == 0 else np.sinh(self.grading * s) / np.sinh(self.grading)
        return self.half_width * 0.5 * (x - x[::-1])
