"""Fields of particles, and their gradients, at the particles."""
