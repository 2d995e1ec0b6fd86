"""Evidence beyond distances: entropy bound, coupled estimates, fluctuations, energies, terms of proofs, exact laws."""

from kspde.evidence.coupled import CoupledDistance, coupled_distance
from kspde.evidence.entropy import BoundOverTime, EntropyBound, entropy_bound
from kspde.evidence.free_energy import ModulatedFreeEnergy, modulated_free_energy
from kspde.evidence.gaussian_limit import Fluctuations, fluctuations
from kspde.evidence.log_law import entropy_bound_slope
from kspde.evidence.modulated import ModulatedEnergy, modulated_energy
from kspde.evidence.particle_law import NParticleLaw, liouville
from kspde.evidence.proof_terms import ProofTerms, proof_terms

__all__ = [
    "BoundOverTime",
    "CoupledDistance",
    "EntropyBound",
    "Fluctuations",
    "ModulatedEnergy",
    "ModulatedFreeEnergy",
    "NParticleLaw",
    "ProofTerms",
    "coupled_distance",
    "entropy_bound",
    "entropy_bound_slope",
    "fluctuations",
    "liouville",
    "modulated_energy",
    "modulated_free_energy",
    "proof_terms",
]
