"""A model of one potential, for tests of its field."""

import kspde

__all__ = ["Potential"]


class Potential(kspde.Model):
    def __init__(self, kernel, dimension=2, strength=0.0):
        self.kernel, self.dimension, self.strength = kernel, dimension, strength

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=self.kernel, gradient=True, value=False),)

    def diffusion(self, species, c):
        return 1.0

    def drift(self, species, c):
        return self.strength * c.gradient("c")
