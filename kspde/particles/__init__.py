"""The particle backend: samples of a model's density, from its N-particle system."""

from kspde.particles.cloud import Cloud
from kspde.particles.mean_field import Coupling
from kspde.particles.simulate import simulate
from kspde.particles.snapshots import StateFiles

__all__ = ["Cloud", "Coupling", "StateFiles", "simulate"]
