"""The particle backend: samples of a model's density, from its N-particle system."""

from kspde.particles.cloud import Cloud, SnapshotFiles
from kspde.particles.coupling import Coupling
from kspde.particles.simulate import simulate

__all__ = ["Cloud", "Coupling", "SnapshotFiles", "simulate"]
