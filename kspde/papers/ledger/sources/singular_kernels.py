"""The quantitative claims of Feng's slides on systems with singular kernels."""

from __future__ import annotations

from functools import partial

from kspde.papers.ledger import checks
from kspde.papers.ledger.claim import Claim, Computed, NotTestable

__all__ = ["claims"]

_TAILS = NotTestable(reason="no study: no model here has the Biot-Savart kernel, or the Landau particles' noise")
_VORTEX = NotTestable(reason="no study: the Biot-Savart kernel is not among the kernels here")
_GAS = NotTestable(reason="no study: singular kernels without a mollifier are not among the kernels here")
_LANDAU = NotTestable(reason="no study: the Landau particles have matrix noise, which no model here has")

_claim = partial(Claim, source="Feng (slides)")


def claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the slides."""
    return (
        _claim(
            number="Csiszár, Kullback, Pinsker",
            promised="‖ρ_{N,k} − ρ^⊗k‖₁ ≤ √(2H_k)",
            evidence=Computed(check=checks.pinsker),
        ),
        _claim(number="vortices (2023)", promised="H_N ≤ M e^{Mt²} (H_N(0) + 1)", evidence=_VORTEX),
        _claim(
            number="general circulations (2024)",
            promised="H_N ≤ M (1 + t)^M (H_N(0) + 1)",
            evidence=_VORTEX,
        ),
        _claim(
            number="local estimate (2024)",
            promised="H_k ≤ M (1 + t)^M (H_k(0) + k²/N²) for σ > √2 A ‖V‖_∞, K = ∇·V",
            evidence=_VORTEX,
        ),
        _claim(
            number="log gas (2024)",
            promised="H_N/N ≤ M (1 + t)^M (modulated free energy at 0 + 1/N)",
            evidence=_GAS,
            erratum="The modulated free energy is H_N/N + E F_N/(2σ); the slide has 1/σ. The Gibbs law of "
            "dX_i = −(1/N) Σ ∇g dt + √(2σ) dB_i is exp(−Σ_{i≠j} g/(2Nσ)).",
        ),
        _claim(number="Landau (2024)", promised="H_N ≤ H_N(0) + C_T √N", evidence=_LANDAU),
        _claim(number="Proposition 2", promised="mean of |a * f − a * μ_N|² ≲ (1 + T)/N", evidence=_LANDAU),
        _claim(
            number="Propositions 1, 3",
            promised="|∇log ρ| ≲ 1 + |x| and Gaussian tails propagate",
            evidence=_TAILS,
        ),
    )
