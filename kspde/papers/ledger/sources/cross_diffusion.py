"""The quantitative claims of Chen, Daus and Jüngel's paper on cross-diffusion."""

from __future__ import annotations

from functools import partial

from kspde.papers.ledger import checks
from kspde.papers.ledger.claim import Claim, Computed, NotTestable

__all__ = ["claims"]

_CROSS = NotTestable(reason="no study: the cross-diffusion systems (1)-(5) are not among the models here")

_claim = partial(Claim, source="Chen, Daus, Jüngel")


def claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the paper."""
    return (
        _claim(
            number="(6), Proposition 1",
            promised="global solutions for ‖u⁰‖_{H^s} ≤ σ/(C* Σ A_ij)",
            evidence=_CROSS,
            erratum="C* is not given; its proof of uniqueness supposes C* ≥ 1.",
        ),
        _claim(
            number="(8), (17)",
            promised="sup ‖u_η‖² in H^s + γ ‖∇u_η‖² in L²H^{s+1} ≤ ‖u⁰‖² in H^s; the weak form of (4)",
            evidence=NotTestable(reason="a slip in an index and one in signs"),
            erratum="(8) has ∇u_η in L²H^s. (17) is −∫(σ_i ∇u_i + Σ_j u_i V_ij^η * ∇u_j)·∇φ: printed with + and with "
            "∇V_ij^η * ∇u_j.",
        ),
        _claim(
            number="(10)",
            promised="‖u_η − u‖ in L^∞L² and gradients in L²L² ≤ C η",
            evidence=Computed(check=checks.range_order),
            erratum="Order 2 is what a symmetric V gives, as theirs are: V^η * u = a u + O(η²).",
        ),
        _claim(
            number="Theorem 3",
            promised="E Σ_i sup_s sup_k |X − X̂| ≤ C η when η^{−2d−4} ≤ δ log N",
            evidence=_CROSS,
            erratum="The estimate of J₃ exchanges expectation and supremum over k, which is not allowed; higher "
            "moments and a sum over particles repair it at the price of any small power of N. So do those of K₁ and "
            "K₂ (Lemma 14), which need (10) in uniform norms.",
        ),
        _claim(
            number="entropy condition",
            promised="4 a₁₁ a₂₂ > (a₁₂ + a₂₁)²: ∫Σ u_i (log u_i − 1) decays",
            evidence=Computed(check=checks.entropy_condition, command="kspde theory"),
            erratum="a₁₁ > 0 is needed too: a + aᵀ positive definite.",
        ),
    )
