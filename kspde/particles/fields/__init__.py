"""Fields of the particles and their gradients, evaluated at the particles."""
