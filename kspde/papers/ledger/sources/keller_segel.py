"""The quantitative claims of Wang, Li and Huang's paper on the signal-dependent Keller-Segel system."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from kspde.papers import theory
from kspde.papers.ledger import checks
from kspde.papers.ledger.claim import Check, Claim, Computed, NotTestable, Rated, Ratio

__all__ = ["GAMMA_1", "GAMMA_2", "claims"]

#: The values of γ that the ready-made studies use, and Remark 2's η.
GAMMA_1, GAMMA_2, _ETA_2 = 0.019, 0.0025, 0.03

_claim = partial(Claim, source="Wang, Li, Huang")


def claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the paper."""
    return (*_kernels(), *_first_theorem(), *_second_theorem())


def _kernels() -> tuple[Claim, ...]:
    critical = theory.critical_strength()
    return (
        _claim(
            number="(1.5)",
            promised="‖Φ^ε‖ in W^{1,1} ≤ ‖Φ‖ in W^{1,1}, for all ε",
            evidence=Computed(check=checks.w11_bound, command="kspde theory"),
        ),
        _claim(
            number="(1.6)",
            promised="‖Φ^ε‖ in W^{1,∞} ≤ ‖Φ‖_{W^{1,1}} ‖j^ε‖_∞ ≤ C ε^−2",
            evidence=Computed(check=checks.lipschitz_bound, command="kspde theory"),
            erratum="Holds, but one power of 1/ε too large: the norm grows like ε^−1.",
        ),
        _claim(
            number="(1.7)",
            promised="‖D²Φ^ε‖_∞ ≤ ‖∇Φ‖₁ ‖∇j^ε‖_∞ ≤ C ε^−3",
            evidence=Computed(check=checks.hessian_bound, command="kspde theory"),
            erratum="Holds, but one power of 1/ε too large: the norm grows like ε^−2.",
        ),
        _claim(
            number="(1.8), (1.9), (3.26)",
            promised="X̄ has the density u^ε and the relative entropy starts from 0",
            evidence=Computed(check=checks.initial_entropy),
            erratum="(1.8) and (3.2) start from u₀, (1.9) from u₀ * j^ε: the entropy starts from 0 only if both start "
            "from u₀ (the default here), or both from u₀ * j^ε.",
        ),
        _claim(
            number="Lemma 1",
            promised=f"global weak solutions for χ < 4/c_* = {critical:.4f}",
            evidence=NotTestable(reason="existence for all times is not a matter of measurement"),
            erratum="It also asks for ∇log u₀ in W^{1,q}, q > 2, which fails for every Gaussian and every u₀ that "
            "vanishes somewhere; u₀ ∝ (1 + |x|²)^{−k}, k > 2, satisfies it (used by Theorem 2 only).",
        ),
    )


def _first_theorem() -> tuple[Claim, ...]:
    eta = theory.theorem1(theta=0.3, alpha=0.1, m=4).eta_sup(GAMMA_1)
    also = (("(2.12) kept, m = 40", theory.improved_exponents(theta=0.3, alpha=0.1, m=40).eta_sup(GAMMA_1)),)
    group = {"gamma": GAMMA_1}
    moments = tuple(
        _claim(
            number=f"Lemma 2, (2.2), m = {m}",
            promised=f"E|(1/N) Σ_j h_ij|^{2 * m} ≤ C({m}) ‖ψ‖_∞^{2 * m} N^−{m}, i.i.d. copies",
            evidence=Rated(study="lemma2", quantity=f"moment_{m}", against="n", order=float(m), group={}),
            erratum=""
            if m > 1
            else "(2.3) follows from (2.2) by Markov's inequality and a union over i. The fits have a "
            "term of the next power of 1/N: these moments are N^−m times a polynomial in 1/N.",
        )
        for m in (1, 2, 3)
    )
    return (
        *moments,
        _claim(
            number="Remark 1",
            promised="θ = .3, α = .1, m = 4: γ < min{0.033, 0.02}; γ = .019: η ≤ min{0.1, 0.02}",
            evidence=Computed(check=checks.first_remark, command="kspde theory"),
            erratum="The remark says m ≥ (1+θ)/(1−2θ) where the theorem says m >. (2.26) has N^{2α−θ} where (2.12) "
            "gives N^{2(α−θ)}. Kept, that gives α < θ and η ≤ 2(θ − α): γ < 1/10, η < 0.6 at θ = .3 (printed: 0.05, "
            "0.3), η < 1 over all θ (printed: 1/2); with moments of order 2p η = 2p(θ − α); with the kernel's own "
            "norms γ < α/2.",
        ),
        _claim(
            number="Theorem 1, (1.14)",
            promised=f"P(max_i |X_i − X̄_i| > N^−α) ≤ C N^−η, η = {eta:g} at Remark 1's parameters",
            evidence=Rated(study="theorem1", quantity="probability", against="n", order=eta, group=group, also=also),
            erratum="Measured is the probability of more than 0.025 N^−α, sup_t inside; at N^−α itself no run has "
            "seen it. The proof gives every level c N^−α the same rate.",
        ),
        _claim(
            number="Theorem 1, proof, (2.26)",
            promised=f"N^{{2α}} E max_i |X_i − X̄_i|² (stopped) ≤ C N^−η, η = {eta:g}",
            evidence=Rated(study="theorem1", quantity="markov", against="n", order=eta, group=group, also=also),
            erratum="Measured without the stopping, and with sup_t inside: more than what is bounded.",
        ),
        _claim(
            number="Theorem 1, proof, (2.6)",
            promised="E max_i |∫σ_i dB_i|² ≤ C E∫ max_i |σ_i|² ds, C independent of N",
            evidence=Computed(check=checks.maximum_of_martingales),
            erratum="The maximum cannot be taken inside. Moments of order 2p of one particle (exchangeability) and a "
            "union over i prove the theorem instead, with η ≤ 2p(θ − α) − 1 and p free.",
        ),
    )


def _second_theorem() -> tuple[Claim, ...]:
    beta = theory.theorem2(theta=0.4, alpha=0.1, m=7).beta_sup(GAMMA_2, _ETA_2)
    rate = GAMMA_2 * beta
    improved = theory.improved_exponents(theta=0.4, alpha=0.1, m=60).entropy_rate(GAMMA_2)
    group = {"gamma": GAMMA_2}
    return (
        _claim(
            number="Remark 2",
            promised="θ = .4, α = .1, m = 7: γ < min{0.029, 0.006}; γ = .0025: η < min{0.2, 0.12}; η = .03: "
            "β ≤ min{74, 8}",
            evidence=Computed(check=checks.second_remark, command="kspde theory"),
            erratum="m = 7 is (1+θ)/(1−2θ) itself, which Theorem 1 excludes and Theorem 2 needs not. With (2.12) kept "
            f"the entropy's rate in N at γ = .0025 is {improved:g} for large m (printed {rate:g}); over all "
            f"parameters 1/2 with second moments and 1 with moments of any order (printed 1/4).",
        ),
        _claim(
            number="Remark 2, last display",
            promised=f"max_i E sup_t |X_i − X̄_i|² ≤ C ε^8 = C N^−{8 * GAMMA_2:g}",
            evidence=Rated(study="theorem1", quantity="mean_square", against="n", order=8 * GAMMA_2, group=group),
            erratum="No case of Theorem 2, which bounds marginals; it follows from Theorem 1 up to any smaller power.",
        ),
        _claim(
            number="Theorem 2, range of γ",
            promised="for every γ < min{2α/7, …} there is an η with 5γ < η < min{…}",
            evidence=Computed(check=checks.second_remark_range, command="kspde theory"),
            erratum="The printed range of γ is too generous: no η exists above min{2α/7, (θ−2α)/5, "
            "(m(1−2θ)−2α−1)/(4m+9)}.",
        ),
        _claim(
            number="Theorem 2, (3.30) and (1.15) corrected",
            promised=f"H(u_N | u^⊗N) per particle ≤ C ε^β = C N^−{rate:g}, β = {beta:g}, and so ‖u_{{N,r}} − "
            f"u^{{ε⊗r}}‖₁ ≤ √(2rH) ≤ C ε^{{β/2}} = C N^−{rate / 2:g}",
            evidence=Rated(
                study="theorem2",
                quantity="entropy",
                against="n",
                order=rate,
                group=group,
                also=(("(2.12) kept, m = 60", improved), ("expected where ε hardly varies", 1.0)),
            ),
            erratum="Measured is an upper bound of H without unknown constants, kspde.entropy_bound, up to the "
            "interval of its mean and the bias of its time step. The L¹ bound √(2rH) is the same measurement, at half "
            "the order.",
        ),
        _claim(
            number="Theorem 2, (1.15)",
            promised=f"‖u_{{N,1}} − u^ε‖₁ ≤ C ε^β = C N^−{rate:g}, as printed",
            evidence=Rated(study="theorem2", quantity="l1", against="n", order=rate, group=group),
            erratum="The proof gives half the exponent, C ε^{β/2}: (3.5) and (3.27) lack a square root. The coupled "
            "estimate is never too large on average; near its noise it is too small, and the fitted order on the "
            "large side.",
        ),
        _claim(
            number="(3.5), first line",
            promised="‖p − q‖₁ ≤ 2H(p|q)",
            evidence=Computed(check=checks.printed_pinsker),
            erratum="Csiszár, Kullback and Pinsker's inequality has a square root: ‖p − q‖₁ ≤ √(2H). So has (3.27).",
        ),
        _claim(
            source="Wang, Li, Huang; Feng (slides)",
            number="(3.5), second line; subadditivity",
            promised="H_r ≤ (2r/N) H_N; H_k ≤ (k/N) H_N",
            evidence=Computed(check=checks.subadditivity),
            erratum="The factor 2 of the paper is not needed: Han's inequality gives H_r ≤ (r/N) H_N for every r ≤ N, "
            "for an exchangeable law against a product of equal factors. That is used here.",
        ),
        _claim(
            number="(3.5) with the root",
            promised="‖u_{N,1} − u^ε‖₁ ≤ √(2H₁), both measured",
            evidence=Ratio(study="theorem2", check=_certified, group={}),
        ),
    )


def _certified(quantities: Mapping[str, Any], swept: Mapping[str, Any]) -> Check:
    left, right = quantities["l1"], quantities["certified_l1"]
    low, high = left["interval"][0] / right["interval"][1], left["interval"][1] / right["interval"][0]
    ratio = left["value"] / right["value"]
    where = f"at N = {swept['n']}, where their ratio is least sure"
    return Check(
        value=f"‖u_{{N,1}} − u^ε‖₁ = {left['value']:.2g}, √(2H₁) ≤ {right['value']:.2g} {where}",
        ratio=ratio,
        interval=(low, high),
    )
