"""The particle backend: samples of a model's density, from its N-particle system."""

from kspde.particles.cloud import Cloud
from kspde.particles.simulate import simulate

__all__ = ["Cloud", "simulate"]
