"""Finite-element spaces: what a mesh offers to the schemes. A new domain is a file, and a line here."""

from __future__ import annotations

from importlib import import_module

from kspde.domains import Box, Disk, Domain, MeshFile
from kspde.fem.spaces.base import Space
from kspde.typing import Comm

__all__ = ["SPACES", "Space", "build_space"]

#: The module and the class of the space on each kind of domain: they are imported when they are used, after DOLFINx.
SPACES: dict[type[Domain], tuple[str, str]] = {
    Box: ("box", "BoxSpace"),
    Disk: ("mesh", "MeshSpace"),
    MeshFile: ("mesh", "MeshSpace"),
}


def build_space(domain: Domain, dimension: int, comm: Comm) -> Space:
    """Return the space on a domain, of the model's dimension. Collective.

    Raises:
        InputError: the mesh file cannot be used.
    """
    module, name = SPACES[type(domain)]
    kind: type[Space] = getattr(import_module(f"{__name__}.{module}"), name)
    return kind.on(domain, dimension, comm)
