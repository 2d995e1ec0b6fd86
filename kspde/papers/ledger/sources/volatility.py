"""The quantitative claims of Qi's paper on volatilities that depend on the density."""

from __future__ import annotations

from functools import partial

from kspde.papers.ledger import checks
from kspde.papers.ledger.claim import Claim, Computed, NotTestable

__all__ = ["claims"]

_VOLATILITY = NotTestable(reason="no study: a volatility that depends on the density is not among the models here")

_claim = partial(Claim, source="Qi")


def claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the paper."""
    return (
        _claim(
            number="Assumption 2.4(iv), (v), Example 2.5",
            promised="linear driver: b > 2 M_∞ makes the energy estimate coercive",
            evidence=Computed(check=checks.stability, command="kspde theory"),
            erratum="C₀ is defined at density zero but used at all densities up to M_∞: b > (1 + √3) M_∞ is needed. "
            "Remark 2.7 asks whether such a condition is an artefact: a constant ū grows at −(k²/2a²)[(ū + b)² + 2ū(ū "
            "+ b)K̂(εk)], so it is real for general K (two bumps: unstable from ū = 1.02 b on, at a rate ~ ε^−2) and "
            "an artefact for K̂ ≥ 0.",
        ),
        _claim(
            number="Theorem 3.1",
            promised="propagation of chaos, N → ∞ and then ε → 0 (no rate)",
            evidence=_VOLATILITY,
        ),
        _claim(
            number="Lemma 4.2",
            promised="0 ≤ u^ε ≤ M",
            evidence=Computed(check=checks.maximum_principle, command="kspde theory"),
            erratum="False for the nonlocal (9) with a general mollifier, even under the stability condition: for K_ε "
            "of two bumps mass gathers where u₀ is low at a distance of .9ε on both sides.",
        ),
        _claim(
            number="Lemma 4.3",
            promised="y' ≤ C(1 + y³) keeps y finite",
            evidence=Computed(check=checks.cubic_inequality),
            erratum="∫dz/(1 + z³) converges: so y may blow up in finite time, the opposite of what is said.",
        ),
        _claim(
            number="Proposition 5.1, (11)",
            promised="stability from t_* = (2 C₀ C_A/(c_h c₀²))² on",
            evidence=_VOLATILITY,
            erratum="(12) takes Aronson's estimate, which is for divergence form, for ∂_xx(Du), and needs D ≤ C₀²: "
            "its C_A may not exist. If it does, with C₀ as it must be, t_* of the linear driver is ((1 + √3) C_A/b)² "
            "instead of (2 C_A/b)².",
        ),
        _claim(
            number="(17)-(18)",
            promised="critical mass 8πD/χ with −Δφ = c_d u, c_d = 2π",
            evidence=Computed(check=checks.critical_mass, command="kspde theory"),
            erratum="With c_d = 2π it is 4D/χ; 8πD/χ belongs to −Δφ = u.",
        ),
    )
