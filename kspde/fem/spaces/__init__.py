"""Finite-element spaces: what a mesh offers to the schemes."""

from __future__ import annotations

from typing import Any

from kspde.domains import Box, Domain
from kspde.fem.spaces.base import Space

__all__ = ["Space", "space_on"]


def space_on(domain: Domain, dimension: int, comm: Any) -> Space:
    """Return the space on a domain. Collective; the spaces are imported only now, since they need DOLFINx.

    Raises:
        InputError: the mesh file cannot be used.
    """
    if isinstance(domain, Box):
        from kspde.fem.spaces.box import BoxSpace

        return BoxSpace(domain, comm)
    from kspde.fem.spaces.mesh import MeshSpace

    return MeshSpace(domain, dimension, comm)
