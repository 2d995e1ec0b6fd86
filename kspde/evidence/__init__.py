"""Evidence beyond plain distances: entropy bound, coupled estimates, modulated energy, the law of few particles."""

from kspde.evidence.coupled import CoupledDistance, coupled_distance
from kspde.evidence.entropy import BoundOverTime, EntropyBound, entropy_bound
from kspde.evidence.log_law import entropy_bound_slope
from kspde.evidence.modulated import ModulatedEnergy, modulated_energy
from kspde.evidence.particle_law import NParticleLaw, liouville

__all__ = [
    "BoundOverTime",
    "CoupledDistance",
    "EntropyBound",
    "ModulatedEnergy",
    "NParticleLaw",
    "coupled_distance",
    "entropy_bound",
    "entropy_bound_slope",
    "liouville",
    "modulated_energy",
]
