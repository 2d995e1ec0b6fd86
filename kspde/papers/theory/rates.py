r"""The exponents that Wang, Li and Huang promise, exactly.

J. Wang, K. Li and H. Huang, *Rigorous derivation of the mean-field limit for the signal-dependent Keller-Segel system*:
with :math:`\varepsilon \sim N^{-\gamma}`, X the N particles of (1.3) and X̄ the mean-field particles of (1.8),

- Theorem 1: :math:`P(\max_i |X_i - \bar X_i|(t) > N^{-\alpha}) \le C N^{-\eta}`;
- Theorem 2: the r-particle marginals are within :math:`C\varepsilon^\beta` of :math:`u^{\varepsilon\otimes r}`.

The exponents are bounded by rational functions of θ, α, m, which are evaluated in exact arithmetic at the decimal
numbers given (0.1 means 1/10), so that hypotheses with equality, such as m ≥ 7 at θ = 0.4, are decided correctly.

**A correction.** What the proof of Theorem 2 bounds by :math:`\varepsilon^\beta`, in (3.30), is the relative entropy.
Their (3.5) and (3.27) pass to L¹ by ‖·‖₁ ≤ 2H_r; the inequality of Csiszár, Kullback and Pinsker is :math:`\|\cdot\|_1
\le \sqrt{2 H_r}`. The L¹ rate is therefore :math:`\varepsilon^{\beta/2}`, half the printed exponent.

**A gap.** The proof of Theorem 1 takes a maximum over i inside Itô's isometry, (2.6): :math:`E\max_i|\int\sigma_i
dB_i|^2 \le C\,E\int\max_i|\sigma_i|^2`, which is false (σ_i = 1: the left side grows like log N), and a factor log N in
Gronwall's inequality would cost every power of N. The theorem can be proved without it: by exchangeability the moment
of order 2p of :math:`X_1 - \bar X_1`, stopped at τ_α, satisfies a closed inequality of the same form, and a union over
i follows, :math:`P \le N^{1 + 2p\alpha} E|X_1 - \bar X_1|^{2p}` with p large.

**A loss.** (2.26) has :math:`N^{2\alpha-\theta}` where (2.12) gives :math:`N^{2(\alpha-\theta)}`, and the norms (1.6),
(1.7) are bounded with one power of 1/ε too many. This module has what is printed;
:mod:`kspde.papers.theory.improved` has what the same estimates give without these losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from kspde.errors import InputError, check_integer, check_number

__all__ = ["Theorem1", "Theorem1Limits", "Theorem2", "Theorem2Limits", "exact_fraction", "theorem1", "theorem2"]


@dataclass(frozen=True, kw_only=True)
class Theorem1:
    """What Theorem 1 promises for (θ, α, m); also called ``theorem1``.

    Their Remark 1: θ = 0.3, α = 0.1, m = 4 gives γ < min{1/30, 0.02} (1/30 is printed as 0.033) and, at γ = 0.019,
    η ≤ min{0.1, 0.02}. The remark says m ≥ (1+θ)/(1−2θ) where the theorem says m >.

    Attributes:
        theta: 0 < θ < 1/2, the exponent of the law of large numbers (Lemma 2).
        alpha: 0 < α < θ/2, the exponent of the distance.
        m: an integer > (1 + θ)/(1 − 2θ), the moment used.

    Raises:
        InputError: a hypothesis is violated; the message names the value and its bound.
    """

    theta: float
    alpha: float
    m: int

    #: What messages call it, and how m is compared with (1 + θ)/(1 − 2θ).
    _name: ClassVar[str] = "Theorem 1"
    _sign: ClassVar[str] = ">"

    def __post_init__(self) -> None:
        theta = _within("theta", self.theta, self._name, 0.5, why="0 < theta < 1/2")
        _within("alpha", self.alpha, self._name, float(theta / 2), why="0 < alpha < theta/2")
        check_integer("m", self.m, at_least=1)
        least = (1 + theta) / (1 - 2 * theta)
        if self.m < least or (self._sign == ">" and self.m == least):
            raise InputError(
                f"m = {self.m} is not valid: {self._name} asks for an integer m {self._sign} "
                f"(1 + theta)/(1 - 2 theta) = {float(least):g}"
            )

    @property
    def gamma_terms(self) -> tuple[float, float]:
        """The two terms of the minimum in (1.12): α/3 and (m(1−2θ) − 2α − 1)/(4m + 4)."""
        _, alpha, m = self._exact()
        return float(alpha / 3), float(self._surplus() / (4 * m + 4))

    @property
    def gamma_sup(self) -> float:
        """Supremum of γ, (1.12); γ lies below it."""
        return min(self.gamma_terms)

    def eta_terms(self, gamma: float) -> tuple[float, float]:
        """Return the two terms of the minimum in (1.13): θ − 2α and m(1−2θ) − 2α − 1 − (4m + 4)γ.

        Raises:
            InputError: γ is not in (0, gamma_sup).
        """
        theta, alpha, m = self._exact()
        exact = _within("gamma", gamma, "(1.12)", self.gamma_sup)
        return float(theta - 2 * alpha), float(self._surplus() - (4 * m + 4) * exact)

    def eta_sup(self, gamma: float) -> float:
        """Return the largest η, (1.13): the probability is at most C N^(−η).

        Raises:
            InputError: γ is not in (0, gamma_sup).
        """
        return min(self.eta_terms(gamma))

    def _exact(self) -> tuple[Fraction, Fraction, int]:
        return exact_fraction(self.theta), exact_fraction(self.alpha), self.m

    def _surplus(self) -> Fraction:
        theta, alpha, m = self._exact()
        return m * (1 - 2 * theta) - 2 * alpha - 1


@dataclass(frozen=True, kw_only=True)
class Theorem2(Theorem1):
    """What Theorem 2 promises for (θ, α, m); also called ``theorem2``.

    Here m ≥ (1 + θ)/(1 − 2θ) suffices (α < θ/2 keeps every bound positive). Their Remark 2: θ = 0.4, α = 0.1, m = 7
    gives γ < min{2/70, 0.00625} (printed, rounded, as 0.029 and 0.006), at γ = 0.0025 η < min{0.2, 0.12}, at η = 0.03
    β ≤ min{74, 8}. Its m = 7 is (1+θ)/(1−2θ) itself, which Theorem 1 excludes and Theorem 2 allows. The estimate
    E sup|X − X̄|² ≤ C ε⁸ at its end is not a case of Theorem 2, which bounds marginals; it does follow from Theorem 1,
    whose N^(−η) = ε^12 bounds that second moment up to any smaller power (Hölder, the displacements having all
    moments).
    """

    _name: ClassVar[str] = "Theorem 2"
    _sign: ClassVar[str] = ">="

    @property
    def gamma_terms(self) -> tuple[float, float]:
        """The two terms of the printed bound: 2α/7 and (m(1−2θ) − 2α − 1)/(4m + 4)."""
        _, alpha, m = self._exact()
        return float(2 * alpha / 7), float(self._surplus() / (4 * m + 4))

    @property
    def gamma_sup(self) -> float:
        """Supremum of γ as the theorem prints it.

        Between ``gamma_nonempty`` and this bound no η satisfies the theorem's own 5γ < η, so it promises nothing.
        """
        return min(self.gamma_terms)

    @property
    def gamma_nonempty(self) -> float:
        """Supremum of the γ for which some η has 5γ < η < eta_sup(γ).

        It is min{2α/7, (θ − 2α)/5, (m(1−2θ) − 2α − 1)/(4m + 9)}: the two bounds on η, each put against 5γ.
        """
        theta, alpha, m = self._exact()
        return float(min(2 * alpha / 7, (theta - 2 * alpha) / 5, self._surplus() / (4 * m + 9)))

    def eta_sup(self, gamma: float) -> float:
        """Return the supremum of η; η lies below it, and above 5γ.

        Raises:
            InputError: γ is not in (0, gamma_sup).
        """
        return min(self.eta_terms(gamma))

    def beta_terms(self, gamma: float, eta: float) -> tuple[float, float]:
        """Return the two terms of the minimum that bounds β: 2α/γ − 6 and η/γ − 4.

        Raises:
            InputError: γ is not in (0, gamma_sup), or η not in (5γ, eta_sup(γ)).
        """
        upper = self.eta_sup(gamma)
        exact_gamma = exact_fraction(gamma)
        if upper <= 5 * exact_gamma:
            raise InputError(
                f"gamma = {gamma} is not valid: Theorem 2 asks for 5 gamma < eta < {upper:g}, which leaves no eta: "
                f"give gamma < {self.gamma_nonempty:g}"
            )
        exact_eta = _within("eta", eta, "Theorem 2", upper, lower=float(5 * exact_gamma), why="5 gamma < eta")
        return float(2 * exact_fraction(self.alpha) / exact_gamma - 6), float(exact_eta / exact_gamma - 4)

    def beta_sup(self, gamma: float, eta: float) -> float:
        """Return the largest β: the relative entropy per particle is at most C ε^β, (3.30).

        The paper prints it as the rate of the L¹ distance; for that see ``l1_exponent``.

        Raises:
            InputError: γ is not in (0, gamma_sup), or η not in (5γ, eta_sup(γ)).
        """
        return min(self.beta_terms(gamma, eta))

    def l1_exponent(self, gamma: float, eta: float) -> float:
        """Return the exponent of ε that the proof gives for the L¹ distance: β/2, since ‖·‖₁ ≤ √(2H).

        Raises:
            InputError: γ is not in (0, gamma_sup), or η not in (5γ, eta_sup(γ)).
        """
        return 0.5 * self.beta_sup(gamma, eta)

    @property
    def entropy_rate_sup(self) -> float:
        """Supremum over γ and η of γβ: the relative entropy per particle is O(N^(−γβ)), the L¹ distance O(N^(−γβ/2)).

        γβ ≤ min{2α − 6γ, η − 4γ} falls with γ, so the supremum min{2α, θ − 2α, m(1−2θ) − 2α − 1} is at γ → 0.
        """
        theta, alpha, _ = self._exact()
        return float(min(2 * alpha, theta - 2 * alpha, self._surplus()))


@dataclass(frozen=True)
class Theorem1Limits:
    r"""The most that Theorem 1 can promise, over all admissible (θ, α, m). None of the suprema is attained.

    The second term of (1.12), :math:`(ma - b)/(4m + 4)` with a = 1 − 2θ, b = 1 + 2α, increases with m, towards a/4. So
    :math:`\gamma < \min\{\alpha/3, (1-2\theta)/4\}`, and α < θ/2:

    - γ: α/3 < θ/6 increases and (1−2θ)/4 decreases with θ; they meet at θ = 3/8, where both are 1/16.
    - η at given γ: α > 3γ and θ < 1/2 − 2γ, so :math:`\eta \le \theta - 2\alpha < 1/2 - 8\gamma`; with m → ∞ the other
      term of (1.13) does not matter.
    - η: the same with γ → 0, 1/2.
    - α < θ/2 < 1/4.
    """

    gamma: float = 1 / 16
    eta: float = 1 / 2
    alpha: float = 1 / 4

    def eta_sup(self, gamma: float) -> float:
        """Return 1/2 − 8γ, the supremum of η at given γ over all (θ, α, m).

        Raises:
            InputError: γ is not in (0, 1/16).
        """
        return float(Fraction(1, 2) - 8 * _within("gamma", gamma, "Theorem 1", self.gamma))


@dataclass(frozen=True)
class Theorem2Limits:
    r"""The most that Theorem 2 can promise, over all admissible (θ, α, m) for which some η exists. None is attained.

    As for Theorem 1, m → ∞ leaves α > 7γ/2 and :math:`5\gamma < \eta < 1/2 - 2\gamma - 2\alpha`:

    - γ: both together give 5γ < 1/2 − 9γ, so γ < 1/28. (The printed bounds on γ alone would let it reach 1/18, at
      θ = 7/18; but there η > 5γ has no solution.)
    - η: γ → 0, α → 0, θ → 1/2: 1/2.
    - β at given γ: :math:`\gamma\beta \le \min\{2\alpha - 6\gamma, \eta - 4\gamma\} < \min\{2\alpha - 6\gamma,
      1/2 - 6\gamma - 2\alpha\}`, largest at α = 1/8: :math:`\beta < 1/(4\gamma) - 6`. It has no bound as γ → 0.
    - in N, where ε^β = N^(−γβ): γβ < 1/4 − 6γ, at most 1/4 for the relative entropy. The L¹ distance is then
      O(N^(−1/8)) at best, where the printed theorem says N^(−1/4).
    """

    gamma: float = 1 / 28
    eta: float = 1 / 2
    beta: float = float("inf")
    entropy_rate: float = 1 / 4
    l1_rate: float = 1 / 8

    def beta_sup(self, gamma: float) -> float:
        """Return 1/(4γ) − 6, the supremum of β at given γ over all (θ, α, m, η).

        Raises:
            InputError: γ is not in (0, 1/28).
        """
        return float(1 / (4 * _within("gamma", gamma, "Theorem 2", self.gamma)) - 6)


theorem1, theorem2 = Theorem1, Theorem2


def exact_fraction(value: float) -> Fraction:
    """Return the decimal number that a float is printed as, exactly: 1/10 for 0.1."""
    return Fraction(repr(float(value)))


def _within(name: str, value: Any, source: str, upper: float, *, lower: float = 0.0, why: str = "") -> Fraction:
    """Return a value of the open interval (lower, upper) as an exact number."""
    exact = exact_fraction(check_number(name, value))
    if not exact_fraction(lower) < exact < exact_fraction(upper):
        asks = f"{why}, " if why else ""
        raise InputError(f"{name} = {value} is not valid: {source} asks for {asks}{lower:g} < {name} < {upper:g}")
    return exact
