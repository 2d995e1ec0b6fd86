r"""The exponents that Wang, Li and Huang's own estimates give without the losses of the printed ones.

**Theorem 1.** Their (2.12) bounds the fluctuations by :math:`N^{2(\alpha-\theta)}`; (2.26) continues with
:math:`N^{2\alpha-\theta}`. Keeping (2.12) admits α < θ instead of α < θ/2 and η ≤ 2(θ − α) instead of θ − 2α. The
argument is the same with :math:`S_\alpha^{2p}` for :math:`S_\alpha^2`. With norms of the kernel
:math:`\|\Phi^\varepsilon\|_\infty \le C\varepsilon^{-a_0}`, :math:`\|\nabla\Phi^\varepsilon\|_\infty \le
C\varepsilon^{-a_1}`, :math:`\|D^2\Phi^\varepsilon\|_\infty \le C\varepsilon^{-a_2}` and ε = N^(−γ) its terms are

- (2.14): the factor :math:`(\varepsilon^{-a_2}N^{-\alpha})^{2p}` of Gronwall's inequality: γ ≤ α/a_2;
- (2.10): :math:`N^{2p(\alpha-\theta)}`;
- (2.11): :math:`N^{2p\alpha}\|\Phi^\varepsilon\|_\infty^{2p}P(\mathcal B_\theta)`, with (2.3)
  :math:`\varepsilon^{-a_0(2m+2p)}N^{2p\alpha+m(2\theta-1)+1}`;
- (2.17), (2.22): :math:`\varepsilon^{-a_1(2m+2p)}N^{1-m}`;

so that

.. math::
    \eta \le \min\{2p(\theta-\alpha),\; m(1-2\theta) - 1 - 2p\alpha - a_0(2m+2p)\gamma,\;
    m - 1 - a_1(2m+2p)\gamma\}.

The paper has :math:`a_0 = a_1 = 2, a_2 = 3`, with which the third term is never the least. In fact
:math:`\|\Phi^\varepsilon\|_\infty` grows like a logarithm, and a_1 = 1, a_2 = 2 (:mod:`kspde.papers.theory.norms`):
then γ < α/2. (The logarithm costs less than any power: bounds become strict.)

**The false step (2.6)** takes the maximum over i inside Itô's isometry. Moments of one particle and a union over i
replace it, :math:`P \le N\,N^{2p\alpha}E|X_1 - \bar X_1|^{2p}`, which costs one power of N in (2.10); the other terms
have paid it already in (2.3). So ``union=True`` has η ≤ 2p(θ − α) − 1 there. Since p is free, nothing is lost in the
end.

**Theorem 2.** The entropy per particle is at most a multiple of, (3.16)-(3.21) and (3.30),
:math:`N^{-2\alpha}\varepsilon^{-2a_2} + (N^{-1} + N^{-\eta})\varepsilon^{-2a_1}`: the rate in N is
:math:`\min\{2\alpha - 2a_2\gamma, \eta - 2a_1\gamma\}` (as 2α < 1 the term N^(−1) never counts), and half of it in L¹.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kspde.errors import InputError, check_integer, check_number
from kspde.papers.theory.rates import exact_fraction

__all__ = ["ImprovedExponents", "ImprovedLimits", "improved_exponents"]

#: (a_0, a_1, a_2): the paper's (1.6), (1.7), and the powers that hold.
_PRINTED, _SHARP = (2, 2, 3), (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class ImprovedExponents:
    """The exponents that the paper's own estimates give at (θ, α, m), without its losses.

    Also called ``improved_exponents``.

    Attributes:
        theta: 0 < θ < 1/2.
        alpha: 0 < α < θ, where the printed theorem has α < θ/2.
        m: an integer > (1 + 2pα)/(1 − 2θ), the moment used in Lemma 2.
        p: an integer ≥ 1; the paper has p = 1.
        sharp: whether the kernel's true norms are used, and not the bounds (1.6), (1.7).
        union: whether a union over i replaces the false (2.6).

    Raises:
        InputError: a value out of range; the message names its bound.
    """

    theta: float
    alpha: float
    m: int
    p: int = 1
    sharp: bool = False
    union: bool = False

    def __post_init__(self) -> None:
        check_number("theta", self.theta, above=0, below=0.5)
        check_number("alpha", self.alpha, above=0, below=float(self.theta))
        check_integer("p", self.p, at_least=1)
        check_integer("m", self.m, at_least=1)
        theta, alpha, m, p = self._exact()
        least = (1 + 2 * p * alpha) / (1 - 2 * theta)
        if m <= least:
            bound = f"{float(least):g}, at least {math.floor(least) + 1}"
            raise InputError(
                f"m = {m} is not valid: these estimates ask for m > (1 + 2 p alpha)/(1 - 2 theta) = {bound}"
            )

    @property
    def gamma_terms(self) -> tuple[float, ...]:
        """The bounds on γ: from (2.14), and those that leave a positive η in (2.11) and (2.17)."""
        _, alpha, m, p = self._exact()
        a_0, a_1, a_2 = self._norms
        terms = [alpha / a_2]
        if a_0:
            terms.append(self._surplus() / (a_0 * (2 * m + 2 * p)))
        return tuple(map(float, [*terms, Fraction(m - 1, a_1 * (2 * m + 2 * p))]))

    @property
    def gamma_sup(self) -> float:
        """Supremum of γ."""
        return min(self.gamma_terms)

    def eta_terms(self, gamma: float) -> tuple[float, float, float]:
        """Return the three bounds on η: from (2.10), (2.11) and (2.17).

        Raises:
            InputError: γ is not in (0, gamma_sup).
        """
        theta, alpha, m, p = self._exact()
        a_0, a_1, _ = self._norms
        exact = self._gamma(gamma)
        return (
            float(2 * p * (theta - alpha) - (1 if self.union else 0)),
            float(self._surplus() - a_0 * (2 * m + 2 * p) * exact),
            float(m - 1 - a_1 * (2 * m + 2 * p) * exact),
        )

    def eta_sup(self, gamma: float) -> float:
        """Return the largest η: the probability is at most C N^(−η). If it is not positive, nothing is promised.

        Raises:
            InputError: γ is not in (0, gamma_sup).
        """
        return min(self.eta_terms(gamma))

    def entropy_rate(self, gamma: float) -> float:
        """Return the rate in N of the relative entropy per particle; that of the L¹ distance is half of it.

        Raises:
            InputError: γ is not in (0, gamma_sup).
        """
        _, alpha, _, _ = self._exact()
        _, a_1, a_2 = self._norms
        exact, eta = self._gamma(gamma), exact_fraction(self.eta_sup(gamma))
        return float(min(2 * alpha - 2 * a_2 * exact, eta - 2 * a_1 * exact))

    @property
    def _norms(self) -> tuple[int, int, int]:
        return _SHARP if self.sharp else _PRINTED

    def _exact(self) -> tuple[Fraction, Fraction, int, int]:
        return exact_fraction(self.theta), exact_fraction(self.alpha), self.m, self.p

    def _surplus(self) -> Fraction:
        theta, alpha, m, p = self._exact()
        return m * (1 - 2 * theta) - 1 - 2 * p * alpha

    def _gamma(self, gamma: Any) -> Fraction:
        exact = exact_fraction(check_number("gamma", gamma))
        if not 0 < exact < exact_fraction(self.gamma_sup):
            raise InputError(f"gamma = {gamma} is not valid: these estimates ask for 0 < gamma < {self.gamma_sup:g}")
        return exact


@dataclass(frozen=True, kw_only=True)
class ImprovedLimits:
    r"""The most that the estimates can give over all admissible (α, m), p = 1 unless said; no supremum is attained.

    With m → ∞ the terms (2.11), (2.17) leave only γ < (1 − 2θ)/4 (nothing with the sharp norms but γ < 1/2), and α < θ:

    - γ: min{θ/3, (1 − 2θ)/4} with the paper's norms, at most 1/10, at θ = .3; θ/2 with the sharp ones, at most 1/4;
    - η as γ → 0: 2θ, at most 1. With moments of order 2p it has no bound: 2pθ;
    - η at given γ: α > 3γ and θ < 1/2 − 2γ give 1 − 10γ; with the sharp norms, α > 2γ, 1 − 4γ;
    - the entropy's rate in N as γ → 0: min{2α, 2(θ − α)}, largest at α = θ/2: θ, at most 1/2; with large p 2α, at most
      1. In L¹ half of it.

    Attributes:
        sharp: whether the kernel's true norms are used.
    """

    sharp: bool = False

    @property
    def gamma(self) -> float:
        """Supremum of γ."""
        return 1 / 4 if self.sharp else 1 / 10

    @property
    def eta(self) -> float:
        """Supremum of η with second moments."""
        return 1.0

    @property
    def entropy_rate(self) -> float:
        """Supremum of the entropy's rate in N with second moments."""
        return 1 / 2

    @property
    def entropy_rate_of_high_moments(self) -> float:
        """Supremum of the entropy's rate in N with moments of any order."""
        return 1.0

    def at_theta(self, theta: float) -> tuple[float, float]:
        """Return the suprema of γ and of η at given θ.

        Raises:
            InputError: θ is not in (0, 1/2).
        """
        exact = exact_fraction(check_number("theta", theta, above=0, below=0.5))
        gamma = exact / 2 if self.sharp else min(exact / 3, (1 - 2 * exact) / 4)
        return float(gamma), float(2 * exact)

    def eta_sup(self, gamma: float) -> float:
        """Return the supremum of η at given γ, with second moments: 1 − 10γ, or 1 − 4γ.

        Raises:
            InputError: γ is not in (0, self.gamma).
        """
        check_number("gamma", gamma, above=0, below=self.gamma)
        return float(1 - (4 if self.sharp else 10) * exact_fraction(gamma))


improved_exponents = ImprovedExponents
