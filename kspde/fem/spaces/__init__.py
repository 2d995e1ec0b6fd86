"""Finite-element spaces: what a mesh offers to the schemes."""

from __future__ import annotations

from importlib import import_module

from kspde.domains import Domain
from kspde.fem.spaces.base import Space
from kspde.typing import Comm

__all__ = ["Space", "build_space"]


def build_space(domain: Domain, dimension: int, comm: Comm, *, modal: bool = True) -> Space:
    """Return the space on a domain, of the model's dimension, for schemes in modes or others. Collective.

    Its module is imported only now, after what it needs (``kspde.fem.backend``).

    Raises:
        InputError: the mesh file cannot be used.
    """
    module, name = domain.space
    kind: type[Space] = getattr(import_module(f"{__name__}.{module}"), name)
    return kind.on(domain, dimension, comm, modal=modal)
