r"""Initial densities: one object that both backends use.

The finite elements evaluate :math:`u_0` at their nodes; the particles draw :math:`\zeta_i` from :math:`u_0 / \int u_0`.
A density has a mass :math:`\int u_0`, 1 unless given; a particle then weighs mass/N.
"""

from collections.abc import Callable

from kspde.initial.algebraic import AlgebraicDensity
from kspde.initial.base import InitialDensity, densities_by_species
from kspde.initial.cut import CutDensity
from kspde.initial.function import CallableDensity, checked_values
from kspde.initial.grid import GridDensity, tent
from kspde.initial.mixture import GaussianMixture, observed_positions, read_positions
from kspde.initial.noise import nearly_constant
from kspde.initial.reading import is_image, read_grid
from kspde.initial.signed import SignedMixture
from kspde.typing import RandomNumbers

__all__ = [
    "DENSITIES",
    "AlgebraicDensity",
    "CallableDensity",
    "CutDensity",
    "GaussianMixture",
    "GridDensity",
    "InitialDensity",
    "RandomNumbers",
    "SignedMixture",
    "checked_values",
    "densities_by_species",
    "is_image",
    "nearly_constant",
    "observed_positions",
    "read_grid",
    "read_positions",
    "tent",
]

#: By their names in case files.
DENSITIES: dict[str, Callable[..., InitialDensity]] = {
    "gaussian-mixture": GaussianMixture,
    "algebraic": AlgebraicDensity,
    "grid": GridDensity,
    "positions": observed_positions,
    "signed-mixture": SignedMixture,
    "tent": tent,
    "nearly-constant": nearly_constant,
}
