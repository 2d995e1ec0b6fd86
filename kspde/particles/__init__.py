"""The particle backend: samples of a model's density, from its N-particle system."""

from kspde.particles.cloud import Cloud
from kspde.particles.coupling import Coupling
from kspde.particles.simulate import simulate
from kspde.particles.snapshot_files import SnapshotFiles

__all__ = ["Cloud", "Coupling", "SnapshotFiles", "simulate"]
