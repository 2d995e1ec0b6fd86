"""The measure of the terms of Wang, Li and Huang's proofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kspde.errors import check_choice, check_integer, check_number
from kspde.evidence.proof_terms import FIRST, proof_terms
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.measures.particles import particles_of
from kspde.papers.studies.quantities import Meaning, Quantity, mean

__all__ = ["ProofTerms"]

_FIRST = {name: f"{name[0].upper()}_{{{name[1:]}}}" for name in FIRST}
_WORDS = {
    "i1": "the particles' field against that of the mean-field particles",
    "i2": "the mean-field particles' field against the density's",
    "i21": "the same where all particles are below the cut of (2.10)",
    "i22": "the same where one particle is above it",
    "i11": "the linear part of I_1",
    "i12": "the remainder of I_1",
    "p1": "the part of I_{11} that moves particle i",
    "p2": "the part of I_{11} that moves the others",
    "p11": "S times the fluctuations of the gradient",
    "p12": "S times the density's own gradient",
    "p21": "S times the fluctuations of the sum of slopes",
    "p22": "S times the density's own integral of slopes",
}


@dataclass(frozen=True, kw_only=True)
class ProofTerms(Measure):
    r"""The terms of the proofs of Wang, Li and Huang's Theorems 1 and 2, integrals over time, one by one.

    :mod:`kspde.evidence.proof_terms` defines them: those of the first with the maximum over particles, and the factor
    :math:`N^{2\alpha}`; those of the second with the mean.

    Attributes:
        replicas: the number of independent systems, at least 2.
        alpha: the α of the theorems, 0 < α < 1/2.
        theta: the θ of the theorems, 0 < θ < 1/2.
        saves: the number of intervals between the snapshots that the mean field is interpolated from.
        self_interaction: whether the term j = i is "in" the sums, as printed in (1.3), or "out".
    """

    name: ClassVar = "proof-terms"
    quantities: ClassVar = (
        {
            "s": Meaning(
                "E S = N^{2α} E max_i |X_i − X̄_i|^2", "Largest distance from mean-field particles at the end, stopped"
            )
        }
        | {name: Meaning(symbol, f"Term of Theorem 1: {_WORDS[name]}") for name, symbol in _FIRST.items()}
        | {
            "j1": Meaning("J_1", "Term of the entropy's derivative that comes from the gradient of the field"),
            "j2": Meaning("J_2", "Term of the entropy's derivative that comes from the field itself"),
            "young": Meaning("Y", "What Young's inequality with its best constant leaves of both terms"),
            "gradients": Meaning("G", "Mean square error of the gradient of the field"),
            "values": Meaning("V", "Mean square error of the field itself"),
            "j11": Meaning("J_{11}", "Term of G: the density's gradient at both particles"),
            "j12": Meaning("J_{12}", "Term of G: fluctuations of the gradient for independent particles"),
            "j13": Meaning("J_{13}", "Term of G: the gradients of both particles' fields"),
            "j13_near": Meaning("J_{13}^1", "The same where all particles are within N^{−α}"),
            "j13_far": Meaning("J_{13}^2", "The same where one particle is not"),
        }
    )

    replicas: int
    alpha: float = 0.1
    theta: float = 0.3
    saves: int = 25
    self_interaction: Literal["in", "out"] = "in"

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, at_least=2)
        check_number("alpha", self.alpha, above=0, below=0.5)
        check_number("theta", self.theta, above=0, below=0.5)
        check_integer("saves", self.saves, at_least=1)
        check_choice("self_interaction", self.self_interaction, ("in", "out"))

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the terms at t_end."""
        found = proof_terms(
            task.density(saves=self.saves),
            replicas=self.replicas,
            alpha=self.alpha,
            theta=self.theta,
            include_self=self.self_interaction == "in",
            **particles_of(task),
        )
        return {name: mean(samples[:, -1]) for name, samples in found.samples.items()}
