"""The finite-element backend: densities by DOLFINx and PETSc. Its door is ``kspde.fem.solve.solve``."""
