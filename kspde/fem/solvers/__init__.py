"""Linear solvers, and what is known of their matrices."""
