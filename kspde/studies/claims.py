"""The quantitative claims of the sources, what is held against each, and the errata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kspde import theory
from kspde.studies import checks
from kspde.studies.ledger import Check, Claim, Computed, NotTestable, Rated, Ratio

__all__ = ["claims"]

_WLH = "Wang, Li, Huang"
_CDJ = "Chen, Daus, Jüngel"
_QI = "Qi"
_FENG = "Feng (slides)"
_REVIEW = "Review of Wang, Li, Huang"

_CROSS = NotTestable(reason="no study: the cross-diffusion systems (1)-(5) are not among the models here")
_VOLATILITY = NotTestable(reason="no study: a volatility that depends on the density is not among the models here")
_TAILS = NotTestable(reason="no study: no model here has the Biot-Savart kernel, or the Landau particles' noise")
_VORTEX = NotTestable(reason="no study: the Biot-Savart kernel is not among the kernels here")
_GAS = NotTestable(reason="no study: singular kernels without a mollifier are not among the kernels here")
_LANDAU = NotTestable(reason="no study: the Landau particles have matrix noise, which no model here has")

#: The values of γ that the ready-made studies use.
_GAMMA_1, _GAMMA_2, _ETA_2 = 0.019, 0.0025, 0.03


def claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the sources."""
    return (
        *_kernels(),
        *_first_theorem(),
        *_second_theorem(),
        *_cross_diffusion(),
        *_volatility(),
        *_slides(),
        *_own(),
    )


def _kernels() -> tuple[Claim, ...]:
    critical = theory.critical_strength()
    return (
        Claim(
            source=_WLH,
            number="(1.5)",
            promised="‖Φ^ε‖ in W^{1,1} ≤ ‖Φ‖ in W^{1,1}, for all ε",
            evidence=Computed(check=checks.w11_bound, command="kspde theory"),
        ),
        Claim(
            source=_WLH,
            number="(1.6)",
            promised="‖Φ^ε‖ in W^{1,∞} ≤ ‖Φ‖_{W^{1,1}} ‖j^ε‖_∞ ≤ C ε^−2",
            evidence=Computed(check=checks.lipschitz_bound, command="kspde theory"),
            erratum="Holds, but one power of 1/ε too large: the norm grows like ε^−1.",
        ),
        Claim(
            source=_WLH,
            number="(1.7)",
            promised="‖D²Φ^ε‖_∞ ≤ ‖∇Φ‖₁ ‖∇j^ε‖_∞ ≤ C ε^−3",
            evidence=Computed(check=checks.hessian_bound, command="kspde theory"),
            erratum="Holds, but one power of 1/ε too large: the norm grows like ε^−2.",
        ),
        Claim(
            source=_WLH,
            number="(1.8), (1.9), (3.26)",
            promised="X̄ has the density u^ε and the relative entropy starts from 0",
            evidence=Computed(check=checks.initial_entropy),
            erratum="(1.8) and (3.2) start from u₀, (1.9) from u₀ * j^ε: the entropy starts from 0 only if both start "
            "from u₀ (the default here), or both from u₀ * j^ε.",
        ),
        Claim(
            source=_WLH,
            number="Lemma 1",
            promised=f"global weak solutions for χ < 4/c_* = {critical:.4f}",
            evidence=NotTestable(reason="existence for all times is not a matter of measurement"),
            erratum="It also asks for ∇log u₀ in W^{1,q}, which fails for every Gaussian and every u₀ that vanishes "
            "somewhere (used by Theorem 2 only).",
        ),
    )


def _first_theorem() -> tuple[Claim, ...]:
    eta = theory.theorem1(theta=0.3, alpha=0.1, m=4).eta_sup(_GAMMA_1)
    group = {"gamma": _GAMMA_1}
    moments = tuple(
        Claim(
            source=_WLH,
            number=f"Lemma 2, (2.2), m = {m}",
            promised=f"E|(1/N) Σ_j h_ij|^{2 * m} ≤ C({m}) ‖ψ‖_∞^{2 * m} N^−{m}, i.i.d. copies",
            evidence=Rated(study="lemma2", quantity=f"moment_{m}", against="n", order=float(m), group={}),
            erratum="" if m > 1 else "(2.3) follows from (2.2) by Markov's inequality and a union over i.",
        )
        for m in (1, 2, 3)
    )
    return (
        *moments,
        Claim(
            source=_WLH,
            number="Remark 1",
            promised="θ = .3, α = .1, m = 4: γ < min{0.033, 0.02}; γ = .019: η ≤ min{0.1, 0.02}",
            evidence=Computed(check=checks.first_remark, command="kspde theory"),
            erratum="The remark says m ≥ (1+θ)/(1−2θ) where the theorem says m >.",
        ),
        Claim(
            source=_WLH,
            number="Theorem 1, (1.14)",
            promised=f"P(max_i |X_i − X̄_i| > N^−α) ≤ C N^−η, η = {eta:g} at Remark 1's parameters",
            evidence=Rated(study="theorem1", quantity="markov", against="n", order=eta, group=group),
            erratum="Measured is N^{2α} E max_i sup_t |X_i − X̄_i|², which bounds the probability (Markov).",
        ),
        Claim(
            source=_WLH,
            number="Theorem 1, (1.14)",
            promised="the same, the probability itself",
            evidence=Rated(study="theorem1", quantity="probability", against="n", order=eta, group=group),
        ),
        Claim(
            source=_WLH,
            number="Theorem 1, proof, (2.6)",
            promised="E max_i |∫σ_i dB_i|² ≤ C E∫ max_i |σ_i|² ds, C independent of N",
            evidence=Computed(check=checks.maximum_of_martingales),
            erratum="The maximum cannot be taken inside. Moments of high order of one particle (exchangeability) and a "
            "union over i prove the theorem instead.",
        ),
    )


def _second_theorem() -> tuple[Claim, ...]:
    beta = theory.theorem2(theta=0.4, alpha=0.1, m=7).beta_sup(_GAMMA_2, _ETA_2)
    rate = _GAMMA_2 * beta
    group = {"gamma": _GAMMA_2}
    return (
        Claim(
            source=_WLH,
            number="Remark 2",
            promised="θ = .4, α = .1, m = 7: γ < min{0.029, 0.006}; γ = .0025: η < min{0.2, 0.12}; η = .03: "
            "β ≤ min{74, 8}",
            evidence=Computed(check=checks.second_remark, command="kspde theory"),
            erratum="m = 7 is (1+θ)/(1−2θ) itself, which Theorem 1 excludes and Theorem 2 needs not.",
        ),
        Claim(
            source=_WLH,
            number="Remark 2, last display",
            promised=f"max_i E sup_t |X_i − X̄_i|² ≤ C ε^8 = C N^−{8 * _GAMMA_2:g}",
            evidence=Rated(
                study="theorem1", quantity="mean_square", against="n", order=8 * _GAMMA_2, group={"gamma": _GAMMA_2}
            ),
            erratum="No case of Theorem 2, which bounds marginals; it follows from Theorem 1 up to any smaller power.",
        ),
        Claim(
            source=_WLH,
            number="Theorem 2, range of γ",
            promised="for every γ < min{2α/7, …} there is an η with 5γ < η < min{…}",
            evidence=Computed(check=checks.second_remark_range, command="kspde theory"),
            erratum="The printed range of γ is too generous: no η exists above min{2α/7, (θ−2α)/5, "
            "(m(1−2θ)−2α−1)/(4m+9)}.",
        ),
        Claim(
            source=_WLH,
            number="Theorem 2, (3.30)",
            promised=f"H(u_N | u^⊗N) per particle ≤ C ε^β = C N^−{rate:g}, β = {beta:g}",
            evidence=Rated(study="theorem2", quantity="entropy", against="n", order=rate, group=group),
            erratum="Measured is an upper bound of H without unknown constants, kspde.entropy_bound.",
        ),
        Claim(
            source=_WLH,
            number="Theorem 2, (1.15)",
            promised=f"‖u_{{N,1}} − u^ε‖₁ ≤ C ε^β = C N^−{rate:g}, as printed",
            evidence=Rated(study="theorem2", quantity="l1", against="n", order=rate, group=group),
            erratum="The proof gives half the exponent, C ε^{β/2}: (3.5) and (3.27) lack a square root.",
        ),
        Claim(
            source=_WLH,
            number="Theorem 2, corrected",
            promised=f"‖u_{{N,1}} − u^ε‖₁ ≤ C ε^{{β/2}} = C N^−{rate / 2:g}",
            evidence=Rated(study="theorem2", quantity="certified_l1", against="n", order=rate / 2, group=group),
            erratum="Measured is the certified bound √(2H₁).",
        ),
        Claim(
            source=_WLH,
            number="(3.5), first line",
            promised="‖p − q‖₁ ≤ 2H(p|q)",
            evidence=Computed(check=checks.printed_pinsker),
            erratum="Csiszár, Kullback and Pinsker's inequality has a square root: ‖p − q‖₁ ≤ √(2H). So has (3.27).",
        ),
        Claim(
            source=_WLH,
            number="(3.5), second line",
            promised="H_r ≤ (2r/N) H_N",
            evidence=Computed(check=checks.subadditivity),
            erratum="Blocks of r give H_r ≤ H_N/⌊N/r⌋, which is at most (2r/N) H_N; that form is used here.",
        ),
        Claim(
            source=_WLH,
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
        value=f"L1 = {left['value']:.2g}, bound {right['value']:.2g} {where}",
        ratio=ratio,
        interval=(low, high),
    )


def _cross_diffusion() -> tuple[Claim, ...]:
    return (
        Claim(
            source=_CDJ,
            number="(6), Proposition 1",
            promised="global solutions for ‖u⁰‖_{H^s} ≤ σ/(C* Σ A_ij)",
            evidence=_CROSS,
            erratum="C* is not given; its proof of uniqueness supposes C* ≥ 1.",
        ),
        Claim(source=_CDJ, number="(10)", promised="‖u_η − u‖ in L^∞L² and gradients in L²L² ≤ C η", evidence=_CROSS),
        Claim(
            source=_CDJ,
            number="Theorem 3",
            promised="E Σ_i sup_s sup_k |X − X̂| ≤ C η when η^{−2d−4} ≤ δ log N",
            evidence=_CROSS,
            erratum="The estimate of J₃ exchanges expectation and supremum over k, which is not allowed; higher "
            "moments and a sum over particles repair it at the price of any small power of N. So do those of K₁ and "
            "K₂ (Lemma 14), which need (10) in uniform norms.",
        ),
        Claim(
            source=_CDJ,
            number="entropy condition",
            promised="4 a₁₁ a₂₂ > (a₁₂ + a₂₁)²: ∫Σ u_i (log u_i − 1) decays",
            evidence=Computed(check=checks.entropy_condition, command="kspde theory"),
            erratum="a₁₁ > 0 is needed too: a + aᵀ positive definite.",
        ),
    )


def _volatility() -> tuple[Claim, ...]:
    return (
        Claim(
            source=_QI,
            number="Assumption 2.4(iv), (v), Example 2.5",
            promised="linear driver: b > 2 M_∞ makes the energy estimate coercive",
            evidence=Computed(check=checks.stability, command="kspde theory"),
            erratum="C₀ is defined at density zero but used at all densities up to M_∞: b > (1 + √3) M_∞ is needed.",
        ),
        Claim(
            source=_QI,
            number="Theorem 3.1",
            promised="propagation of chaos, N → ∞ and then ε → 0 (no rate)",
            evidence=_VOLATILITY,
        ),
        Claim(
            source=_QI,
            number="Lemma 4.2",
            promised="0 ≤ u^ε ≤ M",
            evidence=_VOLATILITY,
            erratum="Not proved for the nonlocal (9).",
        ),
        Claim(
            source=_QI,
            number="Lemma 4.3",
            promised="y' ≤ C(1 + y³) keeps y finite",
            evidence=Computed(check=checks.cubic_inequality),
            erratum="∫dz/(1 + z³) converges: so y may blow up in finite time, the opposite of what is said.",
        ),
        Claim(
            source=_QI,
            number="Proposition 5.1, (11)",
            promised="stability from t_* = (2 C₀ C_A/(c_h c₀²))² on",
            evidence=_VOLATILITY,
            erratum="Aronson's constant C_A is not given; with C₀ as it must be, t_* of the linear driver is "
            "((1 + √3) C_A/b)² instead of (2 C_A/b)².",
        ),
        Claim(
            source=_QI,
            number="(17)-(18)",
            promised="critical mass 8πD/χ with −Δφ = c_d u, c_d = 2π",
            evidence=Computed(check=checks.critical_mass, command="kspde theory"),
            erratum="With c_d = 2π it is 4D/χ; 8πD/χ belongs to −Δφ = u.",
        ),
    )


def _slides() -> tuple[Claim, ...]:
    return (
        Claim(
            source=_FENG,
            number="Csiszár, Kullback, Pinsker",
            promised="‖ρ_{N,k} − ρ^⊗k‖₁ ≤ √(2H_k)",
            evidence=Computed(check=checks.pinsker),
        ),
        Claim(
            source=_FENG,
            number="subadditivity",
            promised="H_k ≤ (k/N) H_N",
            evidence=Computed(check=checks.chained_entropy),
        ),
        Claim(source=_FENG, number="vortices (2023)", promised="H_N ≤ M e^{Mt²} (H_N(0) + 1)", evidence=_VORTEX),
        Claim(
            source=_FENG,
            number="general circulations (2024)",
            promised="H_N ≤ M (1 + t)^M (H_N(0) + 1)",
            evidence=_VORTEX,
        ),
        Claim(
            source=_FENG,
            number="local estimate (2024)",
            promised="H_k ≤ M (1 + t)^M (H_k(0) + k²/N²) for σ > √2 A ‖V‖_∞, K = ∇·V",
            evidence=_VORTEX,
        ),
        Claim(
            source=_FENG,
            number="log gas (2024)",
            promised="H_N/N ≤ M (1 + t)^M (modulated free energy at 0 + 1/N)",
            evidence=_GAS,
        ),
        Claim(source=_FENG, number="Landau (2024)", promised="H_N ≤ H_N(0) + C_T √N", evidence=_LANDAU),
        Claim(
            source=_FENG, number="Proposition 2", promised="mean of |a * f − a * μ_N|² ≲ (1 + T)/N", evidence=_LANDAU
        ),
        Claim(
            source=_FENG,
            number="Propositions 1, 3",
            promised="|∇log ρ| ≲ 1 + |x| and Gaussian tails propagate",
            evidence=_TAILS,
        ),
    )


def _own() -> tuple[Claim, ...]:
    taylor = "‖u^ε − u‖₁ ~ ε² for a symmetric mollifier and smooth u (expected; no source here proves a rate)"
    return (
        Claim(
            source="kspde",
            number="(1.9) against (1.1)",
            promised=taylor,
            evidence=Rated(
                study="mollification", quantity="l1", against="eps", order=2.0, group={"mollifier": "gaussian"}
            ),
        ),
        Claim(
            source=_REVIEW,
            number="stopping times",
            promised="they control the minimal distance between particles",
            evidence=NotTestable(reason="a statement about a proof; the minimal distance itself is the next row"),
            erratum="Theorem 1's stopping time bounds |X_i − X̄_i|, not the distance between particles. No minimal "
            "distance is needed, since Φ^ε is bounded.",
        ),
        Claim(
            source="kspde",
            number="minimal distance",
            promised="E min_{i≠j} |X_i − X_j| ~ N^−1 for smooth densities in the plane (expected)",
            evidence=Rated(
                study="theorem1", quantity="minimal_distance", against="n", order=1.0, group={"gamma": _GAMMA_1}
            ),
        ),
        Claim(
            source="kspde",
            number="entropy bound",
            promised="H of the whole law is bounded uniformly in N: order 1 per particle (expected)",
            evidence=Rated(study="theorem2", quantity="entropy", against="n", order=1.0, group={"gamma": _GAMMA_2}),
        ),
        *(
            Claim(
                source="kspde",
                number=f"elements of degree {degree}",
                promised=f"L¹ error ~ h^{degree + 1} (expected)",
                evidence=Rated(
                    study="pde-convergence",
                    quantity="l1",
                    against="cells",
                    order=degree + 1.0,
                    group={"degree": degree},
                ),
            )
            for degree in (2, 4)
        ),
        Claim(
            source="kspde",
            number="time step control",
            promised="W-method of order 3, local error below tol: L¹ error ~ tol^(3/4) (expected)",
            evidence=Rated(study="pde-convergence", quantity="time", against="tol", order=0.75, group={"degree": 4}),
        ),
        *(
            Claim(
                source="kspde",
                number=f"scheme {scheme}",
                promised=f"weak order {order:g}",
                evidence=Rated(
                    study="time-step",
                    quantity="second_moment",
                    against="dt",
                    order=order,
                    group={"scheme": scheme},
                ),
            )
            for scheme, order in (("euler-maruyama", 1.0), ("weak-2", 2.0))
        ),
    )
