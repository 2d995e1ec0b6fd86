"""Linear solvers, and what is known of their matrices: all of it needs PETSc."""

from kspde.fem.backend import require

require()
