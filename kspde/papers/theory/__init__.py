"""What the papers promise: admissible exponents, sharp constants, norms, and the conditions of their theorems.

Everything here is computed from the statements as they are right: where a source is in error, the docstring says what
is printed, what holds instead and why.
"""

from kspde.papers.theory.cross_diffusion import (
    entropy_decays,
    interaction_range,
    modified_entropy_decays,
    small_data_constant,
    sobolev_norm,
)
from kspde.papers.theory.gagliardo_nirenberg import (
    GroundState,
    critical_strength,
    gagliardo_nirenberg_constant,
    gagliardo_nirenberg_quotient,
    ground_state,
)
from kspde.papers.theory.hypotheses import Hypothesis, hypotheses
from kspde.papers.theory.improved import ImprovedExponents, ImprovedLimits, improved_exponents
from kspde.papers.theory.norms import CLAIMED_EXPONENTS, KernelNorms, NormTable, kernel_norms, mollified_norms
from kspde.papers.theory.proof import TERMS as PROOF_TERMS
from kspde.papers.theory.proof import ProofBounds, proof_bounds
from kspde.papers.theory.rates import Theorem1, Theorem1Limits, Theorem2, Theorem2Limits, theorem1, theorem2
from kspde.papers.theory.volatility import LinearDriver, critical_mass, stability_margin, t_star

__all__ = [
    "CLAIMED_EXPONENTS",
    "PROOF_TERMS",
    "GroundState",
    "Hypothesis",
    "ImprovedExponents",
    "ImprovedLimits",
    "KernelNorms",
    "LinearDriver",
    "NormTable",
    "ProofBounds",
    "Theorem1",
    "Theorem1Limits",
    "Theorem2",
    "Theorem2Limits",
    "critical_mass",
    "critical_strength",
    "entropy_decays",
    "gagliardo_nirenberg_constant",
    "gagliardo_nirenberg_quotient",
    "ground_state",
    "hypotheses",
    "improved_exponents",
    "interaction_range",
    "kernel_norms",
    "modified_entropy_decays",
    "mollified_norms",
    "proof_bounds",
    "small_data_constant",
    "sobolev_norm",
    "stability_margin",
    "t_star",
    "theorem1",
    "theorem2",
]
