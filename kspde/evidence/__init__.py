"""Evidence beyond plain distances: the entropy bound, coupled estimates, the exact law of two or three particles."""

from kspde.evidence.coupled import CoupledDistance, coupled_distance
from kspde.evidence.entropy import BoundOverTime, EntropyBound, entropy_bound
from kspde.evidence.log_law import entropy_bound_slope
from kspde.evidence.particle_law import NParticleLaw, liouville

__all__ = [
    "BoundOverTime",
    "CoupledDistance",
    "EntropyBound",
    "NParticleLaw",
    "coupled_distance",
    "entropy_bound",
    "entropy_bound_slope",
    "liouville",
]
