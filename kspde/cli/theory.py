"""What ``kspde theory`` prints: the papers' promises, in tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from kspde.cli.case import Case
from kspde.errors import InputError
from kspde.kernels import Kernel, Mollifier, TwoBumps, Yukawa
from kspde.models import (
    CrossDiffusion,
    DensityDependentVolatility,
    KellerSegel,
    LinearDriver,
    LocalSensing,
    Model,
    ShigesadaKawasakiTeramoto,
)
from kspde.papers import theory
from kspde.papers.theory import Hypothesis
from kspde.papers.theory.hypotheses import one_or_all
from kspde.radial import is_zero

__all__ = ["case_hypotheses", "promise_lines"]

#: Values of ε that norms are computed for: these times the case's ε.
_FRACTIONS = (1.0, 0.5, 0.25, 0.125, 0.0625)


def case_hypotheses(case: Case) -> tuple[Hypothesis, ...]:
    """Return the hypotheses of the theorem that covers the case's model, with verdicts."""
    problem, particles = case.experiment.problem, case.experiment.simulate
    n = None if particles is None else particles["n"]
    return theory.hypotheses(problem.model, u0=one_or_all(problem.u0), eps=problem.eps, n=n)


def promise_lines(case: Case | None = None) -> Iterator[str]:
    """Return the lines of ``kspde theory``: all promises, or those that concern the model of a case.

    Raises:
        InputError: the case has a kernel whose norms cannot be computed.
    """
    if case is not None:
        yield from _verdicts(case)
    for models, sections in _SECTIONS:
        if case is None or isinstance(case.experiment.problem.model, models):
            for section in sections:
                yield from section(case)
    if case is not None:
        yield from ("", "What the papers promise of other models: kspde theory, without a file.")


def _verdicts(case: Case) -> Iterator[str]:
    yield from _heading(f"Hypotheses: {case.experiment.problem.model}")
    found = case_hypotheses(case)
    if not found:
        yield "  No theorem here covers this model."
    for h in found:
        yield f"  {h.word:<9} {h.statement} ({h.source})"
        yield f"  {'':<9}   {h.because}"


def _ground_state(case: Case | None) -> Iterator[str]:
    state = theory.ground_state()
    first, second = state.pohozaev_residuals
    yield from _heading("Gagliardo-Nirenberg constant: ‖w‖₄⁴ ≤ c_* ‖w‖₂² ‖∇w‖₂² in the plane")
    yield from _table(
        (
            ("‖Q‖₂², ΔQ − Q + Q³ = 0", f"{state.mass:.9f}"),
            ("Q(0)", f"{state.q[0]:.9f}"),
            ("Pohozaev: ‖∇Q‖₂²/‖Q‖₂² − 1", f"{first:.0e}"),
            ("Pohozaev: ‖Q‖₄⁴/(2‖Q‖₂²) − 1", f"{second:.0e}"),
            ("c_* = 2/‖Q‖₂²", f"{theory.gagliardo_nirenberg_constant():.9f}"),
            ("4/c_*, the bound on χ (Wang, Li, Huang, Lemma 1)", f"{theory.critical_strength():.6f}"),
        )
    )


def _first_theorem(case: Case | None) -> Iterator[str]:
    one, limits = theory.theorem1(theta=0.3, alpha=0.1, m=4), theory.Theorem1Limits()
    yield from _heading("Wang, Li, Huang, Theorem 1: P(max|X − X̄| > N^−α) ≤ C N^−η, ε = N^−γ")
    yield from _table(
        (
            ("", "computed", "printed"),
            ("θ = 0.3, α = 0.1, m = 4 (Remark 1): γ <", _least(one.gamma_terms), "min(0.033, 0.02)"),
            ("  γ = 0.019: η ≤", _least(one.eta_terms(0.019)), "min(0.1, 0.02)"),
            ("over all θ, α, m: γ <", f"{limits.gamma:g}"),
            ("  γ → 0: η <", f"{limits.eta:g}"),
            ("  at given γ: η <", "1/2 − 8γ"),
        )
    )


def _second_theorem(case: Case | None) -> Iterator[str]:
    two, limits = theory.theorem2(theta=0.4, alpha=0.1, m=7), theory.Theorem2Limits()
    yield from _heading("Wang, Li, Huang, Theorem 2: the r-marginals are close to u^ε⊗r, ε = N^−γ")
    yield from _table(
        (
            ("", "computed", "printed"),
            ("θ = 0.4, α = 0.1, m = 7 (Remark 2): γ <", _least(two.gamma_terms), "min(0.029, 0.006)"),
            ("  some η has 5γ < η only for γ <", f"{two.gamma_nonempty:.6g}"),
            ("  γ = 0.0025: η <", _least(two.eta_terms(0.0025)), "min(0.2, 0.12)"),
            ("  η = 0.03: β ≤", _least(two.beta_terms(0.0025, 0.03)), "min(74, 8)"),
            ("  relative entropy ≤ C ε^β", f"ε^{two.beta_sup(0.0025, 0.03):g}"),
            ("  L¹ distance ≤ C ε^(β/2)", f"ε^{two.l1_exponent(0.0025, 0.03):g}", "ε^8"),
            ("over all θ, α, m: γ <", f"{limits.gamma:.6g}"),
            ("  at given γ: β <", "1/(4γ) − 6"),
            ("  relative entropy, in N, γ → 0", f"N^−{limits.entropy_rate:g}"),
            ("  L¹ distance, in N, γ → 0", f"N^−{limits.l1_rate:g}", f"N^−{limits.entropy_rate:g}"),
        )
    )
    yield "  Its (3.5), (3.27) lack the square root of Csiszár, Kullback and Pinsker's ‖·‖₁ ≤ √(2H): half the exponent."
    yield "  (1.9) starts from u₀ * j^ε, (1.8) and (3.2) from u₀: the entropy starts from 0 only if both do from u₀."


def _improved(case: Case | None) -> Iterator[str]:
    own, sharp = theory.ImprovedLimits(), theory.ImprovedLimits(sharp=True)
    one, two = theory.Theorem1Limits(), theory.Theorem2Limits()
    (gamma, eta), (sharp_gamma, sharp_eta) = own.at_theta(0.3), sharp.at_theta(0.3)
    yield from _heading("The same estimates without the losses of (2.26) and of (1.6), (1.7); m large")
    yield from _table(
        (
            ("", "printed", "(2.12) kept", "(2.12), ‖D²Φ^ε‖ ~ ε^−2"),
            ("α <", "θ/2", "θ", "θ"),
            ("η ≤, second moments", "θ − 2α", "2(θ − α)", "2(θ − α)"),
            ("η ≤, moments of order 2p", "none", "2p(θ − α)", "2p(θ − α)"),
            ("γ <", "min(α/3, (1 − 2θ)/4)", "min(α/3, (1 − 2θ)/4)", "α/2"),
            ("θ = 0.3: sup γ", "0.05", f"{gamma:g}", f"{sharp_gamma:g}"),
            ("θ = 0.3: sup η", "0.3", f"{eta:g}", f"{sharp_eta:g}"),
            ("over θ: sup γ", f"{one.gamma:g}", f"{own.gamma:g}", f"{sharp.gamma:g}"),
            ("over θ: sup η", f"{one.eta:g}", f"{own.eta:g}", f"{sharp.eta:g}"),
            ("at given γ: sup η", "1/2 − 8γ", "1 − 10γ", "1 − 4γ"),
            *(
                (f"relative entropy in N, {words}", first, f"N^−{second:g}", f"N^−{second:g}")
                for words, first, second in (
                    ("second moments", f"N^−{two.entropy_rate:g}", own.entropy_rate),
                    ("moments of any order", "none", own.entropy_rate_of_high_moments),
                )
            ),
        )
    )
    yield "  In L¹ half the rate of the entropy. Suprema; none is attained."
    yield "  (2.6) takes a maximum inside Itô's isometry, which is false. Moments of order 2p and a union over i"
    yield "  replace it and give η ≤ 2p(θ − α) − 1; p is free."


def _norms(case: Case | None) -> Iterator[str]:
    kernel: Kernel = Yukawa(strength=8.0)
    name, largest = "χ = 8, μ = 1, Gaussian j", 0.32
    mollifier: Mollifier = "gaussian"
    if case is not None:
        problem = case.experiment.problem
        fields = [f for f in problem.local.fields if f.mollified]
        if problem.model.dimension != 2 or not fields or is_zero(fields[0].kernel):
            return
        if fields[0].kernel.smoothing != 2.0:  # the paper's bounds are those of the Yukawa potential's order
            return
        kernel, name = fields[0].kernel, f"of field {fields[0].name}"
        if problem.eps is not None:
            own: Any = problem.mollifier
            largest, mollifier = problem.eps, partial(replace, own)
    eps = [largest * fraction for fraction in _FRACTIONS]
    yield from _heading(f"Φ^ε = Φ * j^ε, {name} (Wang, Li, Huang, (1.5)-(1.7))")
    try:
        table = theory.mollified_norms(kernel, eps, mollifier=mollifier)
    except InputError as error:
        yield f"  Not computed: {error}."
        yield "  By Young's inequality (1.5) holds for every j, (1.6) where j is bounded, (1.7) where its gradient is."
        return
    names = ("w11", "sup", "gradient_sup", "w1inf", "hessian_sup")
    rows: list[tuple[str, ...]] = [("ε", "W^{1,1}", "sup|Φ^ε|", "sup|∇Φ^ε|", "W^{1,∞}", "sup|D²Φ^ε|")]
    for i, e in enumerate(eps):
        rows.append((f"{e:.4g}", *(f"{table.column(column)[i]:.5g}" for column in names)))
    rows.append(("power of ε, last two", *(f"{table.exponents(column)[-1]:.2f}" for column in names)))
    claimed = (f"{theory.CLAIMED_EXPONENTS[c]:g}" if c in theory.CLAIMED_EXPONENTS else "" for c in names)
    rows.append(("power of ε, the bounds", *claimed))
    yield from _table(rows)
    yield "  sup|Φ^ε| grows like log(1/ε), its gradient like 1/ε, D² like 1/ε²: the bounds hold, and are not sharp."


def _cross_diffusion(case: Case | None) -> Iterator[str]:
    yield from _heading("Chen, Daus, Jüngel: cross-diffusion")
    yield from _table(
        (
            ("(6) small data: ‖u⁰‖_Hˢ ≤", "σ/(C* Σ A_ij), C* ≥ 1 not given"),
            ("entropy decays for", "a + aᵀ positive definite"),
            ("  two species:", "4 a₁₁ a₂₂ > (a₁₂ + a₂₁)², and a₁₁ > 0 (not printed)"),
            ("(8), as it must be", "‖u_η(t)‖²_Hˢ + γ∫₀ᵗ‖∇u_η‖²_Hˢ ≤ ‖u⁰‖²_Hˢ (printed sup + ∫₀^∞, H^(s+1))"),
            ("(10), ‖u_η − u‖ ≤ C η^p", "p = 1 proved; p = 2 for symmetric V: V^η * u = a u + O(η²)"),
            ("Theorem 3, d = 2, δ = 1: range η ≥", "(log N)^(−1/8)"),
            *(
                (f"  N = {n:.0e}: η ≥", f"{theory.interaction_range(n, dimension=2):.3f}")
                for n in (10**4, 10**6, 10**9)
            ),
        )
    )


def _volatility(case: Case | None) -> Iterator[str]:
    driver = theory.LinearDriver(a=1.0, b=1.0)
    own = [] if case is None else _constants_of(case)
    least_symbol = float(TwoBumps(eps=1.0).in_dimension(1).symbol(np.linspace(3.3, 3.7, 4001) ** 2).min())
    yield from _heading("Qi: volatility that depends on the density, linear driver h(ν) = aν − b")
    yield from _table(
        (
            ("", "computed", "printed"),
            ("stability: M_∞/b <", f"{driver.max_density:.6f}", f"{driver.max_density_printed:g}"),
            ("t_* b²/C_A², if there is such a C_A", f"{driver.t_star(1.0):.6f}", "4"),
            ("constant ū unstable from ū/b, K_ε two bumps", f"{driver.unstable_from(least_symbol):.4f}", "never"),
            ("constant ū unstable from ū/b, K̂ ≥ 0", "never", "never"),
            *own,
        )
    )
    yield "  C_0 must bound ν at all densities up to M_∞, not at 0 alone: b > (1 + √3) M_∞ instead of b > 2 M_∞."
    yield "  Lemma 4.2 is false for the nonlocal (9) with two bumps: sup u = 1.06638 M at t = .0084, with b = 4 M. A"
    yield "  condition is needed for general K_ε (growth at a rate ~ ε^−2), an artefact for positive-definite ones."
    yield "  Lemma 4.3's y' ≤ C(1 + y³) does not exclude blow-up. (12) is Aronson's bound for another form of equation."


def _critical_mass(case: Case | None) -> Iterator[str]:
    twice = theory.critical_mass(diffusion=1, chi=1, source=2 * math.pi)
    yield from _heading("Qi, (17)-(18): the classical Keller-Segel system on the plane")
    yield from _table(
        (
            ("", "computed", "printed"),
            ("critical mass χM/D, −Δφ = 2πu", f"{twice:g}", "8π"),
            ("critical mass χM/D, −Δφ = u", f"{theory.critical_mass(diffusion=1, chi=1):.6f}"),
        )
    )


def _constants_of(case: Case) -> list[tuple[str, str, str]]:
    """Return the row on the constants of a case with a linear driver."""
    problem = case.experiment.problem
    driver, least = getattr(problem.model, "driver", None), 1.0
    if not isinstance(driver, LinearDriver):
        return []
    if problem.mollifier is not None and problem.eps is not None:
        k = np.linspace(0.0, 100.0, 20_001) / problem.eps
        least = float(problem.mollifier.in_dimension(1).symbol(k**2).min())
    start = theory.LinearDriver(a=driver.a, b=driver.b).unstable_from(max(least, -1.0)) / driver.b
    return [(f"  this case, min K̂ = {least:.3g}", "never" if math.isinf(start) else f"{start:.4f}", "never")]


#: The promises of the papers, by the models that they concern.
_SECTIONS: tuple[tuple[tuple[type[Model], ...], tuple[Callable[[Case | None], Iterator[str]], ...]], ...] = (
    ((LocalSensing,), (_ground_state, _first_theorem, _second_theorem, _improved, _norms)),
    ((CrossDiffusion, ShigesadaKawasakiTeramoto), (_cross_diffusion,)),
    ((DensityDependentVolatility,), (_volatility,)),
    ((KellerSegel,), (_critical_mass,)),
)


def _heading(text: str) -> Iterator[str]:
    yield ""
    yield text
    yield ""


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Return rows with aligned columns."""
    width = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    for row in rows:
        yield ("  " + "  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=False))).rstrip()


def _least(terms: tuple[float, float]) -> str:
    return f"min({terms[0]:.6g}, {terms[1]:.6g})"
