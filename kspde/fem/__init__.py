"""The finite-element backend: densities by DOLFINx and PETSc."""

from kspde.fem.solve import solve

__all__ = ["solve"]
