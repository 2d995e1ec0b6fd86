r"""The powers of N and ε in the bounds of Wang, Li and Huang's proofs, term by term.

A bound is :math:`C\sum_k N^{-a_k}\varepsilon^{-b_k}`; :mod:`kspde.evidence.proof_terms` defines the terms. With the
paper's :math:`\|\nabla\Phi^\varepsilon\|_\infty \le C\varepsilon^{-2}`, :math:`\|D^2\Phi^\varepsilon\|_\infty \le
C\varepsilon^{-3}`, and :math:`\sigma = \{N^{2\alpha-\theta},\; \varepsilon^{-4m-4}N^{2\alpha+m(2\theta-1)+1},\;
\varepsilon^{-4m-4}N^{1-m}\}` for :math:`E S \le CN^{-\eta}`, (2.26)-(2.28), where :math:`\varepsilon^{-6}N^{-2\alpha}
\le 1`, they are

- (2.10), (2.11), (2.12): :math:`I_{21} \le N^{2(\alpha-\theta)}`, :math:`I_{22} \le
  \varepsilon^{-4m-4}N^{2\alpha+m(2\theta-1)+1}`, :math:`I_2` their sum, which (2.26) enters with :math:`N^{2\alpha -
  \theta}` in place of the first;
- (2.14): :math:`I_{12} \le \varepsilon^{-6}N^{-2\alpha}\,\sigma`;
- (2.17)-(2.24): :math:`P_{11}, P_{21}, P_1, P_2, I_{11} \le \sigma + \varepsilon^{-4m-4}N^{1-m}`, :math:`P_{12},
  P_{22} \le \sigma`;
- (2.25): :math:`I_1`, the sum of those of :math:`I_{11}` and :math:`I_{12}`;
- (3.16), (3.20), (3.21): :math:`J_{12} \le N^{-1}\varepsilon^{-4}`, :math:`J_{13} \le N^{-2\alpha}\varepsilon^{-6} +
  \varepsilon^{-4}\sigma`, :math:`J_{11} \le N^{-2\alpha}\varepsilon^{-6} + \sigma`; G, and in (3.23) V, their sum.

Each loses something. (2.10) has :math:`N^{-2\theta}`, θ < ½, for the :math:`N^{-1}\log N` of a maximum of N averages;
(2.26) loses :math:`N^{-\theta}` more, and all that follows from E S inherits it; (3.18) and (3.21) replace
:math:`E|\delta|^2` by :math:`N^{-2\alpha}`; and the norms are too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from kspde.errors import InputError, check_choice
from kspde.papers.theory.rates import Theorem2, exact_fraction

__all__ = ["TERMS", "ProofBounds", "proof_bounds"]

#: The terms that the proofs bound.
TERMS = (
    *("s", "i1", "i2", "i21", "i22", "i11", "i12", "p1", "p2", "p11", "p12", "p21", "p22"),
    *("gradients", "values", "j11", "j12", "j13"),
)

_Powers = frozenset[tuple[Fraction, int]]


@dataclass(frozen=True, kw_only=True)
class ProofBounds:
    """The bounds on the terms at (θ, α, m); also called ``proof_bounds``.

    Attributes:
        theta: 0 < θ < 1/2.
        alpha: 0 < α < θ/2.
        m: an integer ≥ (1 + θ)/(1 − 2θ).

    Raises:
        InputError: a hypothesis of Theorem 2 is violated.
    """

    theta: float
    alpha: float
    m: int

    def __post_init__(self) -> None:
        Theorem2(theta=self.theta, alpha=self.alpha, m=self.m)

    @property
    def gamma_sup(self) -> float:
        """Supremum of γ, (1.12)."""
        theta, alpha = self._exact()
        return float(min(alpha / 3, (self.m * (1 - 2 * theta) - 2 * alpha - 1) / (4 * self.m + 4)))

    def _exact(self) -> tuple[Fraction, Fraction]:
        return exact_fraction(self.theta), exact_fraction(self.alpha)

    def powers(self, term: str, *, distance: _Powers | None = None) -> _Powers:
        """Return the pairs (a, b) of a term's bound.

        Args:
            term: one of ``TERMS``.
            distance: the pairs that bound E S, those of (2.28) by default; {(0, 0)} for S ≤ 1.

        Raises:
            InputError: no such term.
        """
        check_choice("term", term, TERMS)
        (theta, alpha), b = self._exact(), 4 * self.m + 4
        rare = (self.m * (1 - 2 * theta) - 1 - 2 * alpha, b)
        slope = frozenset({(Fraction(self.m - 1), b)})
        s = frozenset({(theta - 2 * alpha, 0), rare}) | slope if distance is None else distance
        usual = (2 * (theta - alpha), 0)
        known = {
            "s": s,
            "i21": frozenset({usual}),
            "i22": frozenset({rare}),
            "i2": frozenset({usual, rare}),
            "i12": _times(s, 2 * alpha, 6),
            "i1": s | slope | _times(s, 2 * alpha, 6),
            "p12": s,
            "p22": s,
            "j12": frozenset({(Fraction(1), 4)}),
            "j13": _times(s, Fraction(0), 4) | {(2 * alpha, 6)},
            "j11": s | {(2 * alpha, 6)},
        }
        if term in ("gradients", "values"):
            return known["j11"] | known["j12"] | known["j13"]
        return known.get(term, s | slope)

    def order(self, term: str, gamma: float) -> float:
        """Return the order in N with ε = c N^(−γ), γ = 0 for a fixed ε.

        Raises:
            InputError: no such term, or γ is not in [0, gamma_sup).
        """
        if not 0 <= gamma < self.gamma_sup:
            raise InputError(f"gamma = {gamma:g} is not valid: the proof asks for 0 <= gamma < {self.gamma_sup:g}")
        return float(min(a - b * exact_fraction(gamma) for a, b in self.powers(term)))

    def order_in_eps(self, term: str) -> float | None:
        """Return the order in ε at a fixed N, < 0; None where only S ≤ 1, or a cut at N^−θ, bounds the term.

        (2.28) is left out, since its constant is e^(C ε^−6 N^−2α).

        Raises:
            InputError: no such term.
        """
        largest = max(b for _, b in self.powers(term, distance=frozenset({(Fraction(0), 0)})))
        return -float(largest) if largest > 0 else None


proof_bounds = ProofBounds


def _times(powers: _Powers, a: Fraction, b: int) -> _Powers:
    """Return the powers times N^(−a) ε^(−b)."""
    return frozenset((one + a, other + b) for one, other in powers)
