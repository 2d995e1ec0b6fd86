"""What a mesh does not see of an initial density: peaks between the points at which densities are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from kspde.fem.spaces import Space
from kspde.initial import InitialDensity
from kspde.typing import Array

__all__ = ["unseen"]

#: How many times the largest error that the mesh sees an error must be to count as unseen.
_CLEAR = 2.2
#: What an error of a mass is in L¹, as values are scaled to have the mass.
_SCALED = 2.0


def unseen(
    space: Space,
    u0: Mapping[str, InitialDensity],
    mass_errors: Mapping[str, float],
    seen: Callable[[str, Array], float],
) -> tuple[Array, float]:
    """Return errors in L¹ and in the maximum norm, which no later error need exceed, and one in both. Collective.

    Probes of a density, most of them drawn from it, lie where it has mass. Those count where the interpolant is wrong
    by more than at any point in the cells. What is wrong in the mass is the second, relative to the density at any
    time: no diffusion makes it smaller.

    Args:
        space: the space of the mesh.
        u0: the densities.
        mass_errors: the relative errors of their masses on the mesh.
        seen: returns the largest error of nodal values of a density at points in the cells.
    """
    total, largest, shares = 0.0, 0.0, [0.0]
    for name, u in u0.items():
        shares.append(_SCALED * abs(mass_errors[name]))
        if (probes := u.probes()) is not None:
            nodal = u.at_nodes(space.points).reshape(space.mass.shape)
            values = u(probes)
            errors = np.nan_to_num(np.abs(values - space.evaluate(nodal, probes, np.nan)))  # outside is truncation
            hidden = errors > _CLEAR * seen(name, nodal)
            parts = np.minimum(errors, np.abs(values))[hidden] / np.abs(values[hidden])
            total += u.variation * float(parts.sum()) / len(probes)
            largest = max(largest, float(errors[hidden].max(initial=0.0)))
    return np.array([total, largest]), max(shares)
