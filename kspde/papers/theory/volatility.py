r"""The conditions of Q. Qi, *Propagation of chaos for singular interactions via regular drivers*.

Particles on the line have a volatility that depends on the density at their position, dM = ν dW with h(ν) = u, h
strictly increasing: :math:`\partial_t u = \tfrac12\partial_{xx}(\nu(u)^2 u)`, its (7).

With ν ≥ c_0, ν ≤ C_0 and h' ≥ c_h, the stability condition is Assumption 2.4(v), :math:`c_0^2 > 2 C_0 M_\infty/c_h`,
where M_∞ bounds the density. **What C_0 must bound.** Assumption 2.4(iv) defines it by the volatility at density zero,
but the proof of Lemma 4.3 uses it for every density in [0, M_∞], where ν is larger. For the linear driver h(ν) = aν −
b, ν(u) = (u + b)/a, the printed condition is b > 2 M_∞ (Example 2.5); with C_0 = (M_∞ + b)/a it is b² > 2 M_∞(M_∞ +
b), that is b > (1 + √3) M_∞.

**What is not proved.** Lemma 4.3 ends with y' ≤ C(1 + y³), from which it concludes that y stays finite because ∫dz/(1 +
z³) converges; a convergent integral means the opposite, that such a y may blow up in finite time. So the condition
ensures the coercivity of the energy estimate and no more. Proposition 5.1 takes (12), Aronson's bound C_A t^(−1/2),
from equations in divergence form for :math:`\partial_{xx}(Du)`, and with D ≤ C_0² where C_0 bounds the volatility at
density zero alone: C_A may not exist.

**What is false.** Lemma 4.2's 0 ≤ u^ε ≤ M_∞ for the nonlocal (9), with a general mollifier. For h(ν) = 4ν − 4, ε = .5,
the kernel :class:`kspde.TwoBumps` and :math:`u_0 = 1 - .9(e^{-((x-.45)/.15)^4} + e^{-((x+.45)/.15)^4})` on [−4, 4],
where u_0 ≤ 1 and b = 4 M_∞, sup u rises to 1.06638 at t = .0084: u_0 is low at ±.9ε, so the volatility is low at 0, and
mass gathers there.

**The linear theory.** On the line, or on a torus for its waves k, put :math:`u = \bar u + \delta e^{ikx + \sigma t}`
into (9): to first order in δ the volatility changes by :math:`\nu'(\bar u)\hat K(\varepsilon k)\,\delta e^{ikx + \sigma
t}`, and

.. math:: \sigma(k) = -\tfrac{k^2}{2}\big[\nu^2 + 2\nu\nu'\,\bar u\,\hat K(\varepsilon k)\big]
    = -\frac{k^2}{2a^2}\big[(\bar u + b)^2 + 2\bar u(\bar u + b)\hat K(\varepsilon k)\big],

the last for the linear driver. The waves with :math:`-\hat K(\varepsilon k) > (\bar u + b)/(2\bar u)` grow, at rates of
order ε^(−2), others are damped. So with :math:`\kappa = \max(-\hat K)` the constant ū is unstable if and only if
κ > 1/2 and :math:`\bar u/b > 1/(2\kappa - 1)`. That is 1.02 for two bumps at ±.9ε, 2.35 for two at ±.6ε, and never for
K̂ ≥ −1/2: a Gaussian, or the bump of one piece (K̂ ≥ −.1). Since κ < 1 for every density K, no constant ū ≤ b is
unstable, whatever K.

**Is the condition an artefact?** (Remark 2.7 asks.) The limit (7) needs no condition where h = h(ν):
:math:`u\mapsto\nu(u)^2u` increases, so that (7) is a filtration equation, with a maximum principle and no blow-up. What
can fail is ε → 0 in (9): for a kernel with κ > 1/2, at densities above b/(2κ − 1), from u_0 in H^1 that excite waves of
length ε. So a condition of this kind is needed for the class of K of Theorem 3.1. By the linear theory b > M_∞
suffices there, and none is needed where κ ≤ 1/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_number
from kspde.models import drivers
from kspde.typing import Array

__all__ = ["LinearDriver", "critical_mass", "stability_margin", "t_star"]


def stability_margin(*, c_0: float, C_0: float, c_h: float, max_density: float) -> float:
    """Return c_0² − 2 C_0 M_∞/c_h, which Assumption 2.4(v) requires to be positive.

    Args:
        c_0: the least volatility.
        C_0: the largest volatility over the densities in [0, M_∞] (not at density zero alone).
        c_h: the least h'.
        max_density: M_∞.

    Raises:
        InputError: a value that is not positive, or C_0 < c_0.
    """
    _bounds(c_0, C_0, c_h)
    check_number("max_density", max_density, above=0)
    return c_0**2 - 2.0 * C_0 * max_density / c_h


def t_star(*, c_0: float, C_0: float, c_h: float, aronson: float | None = None) -> float:
    r"""Return the time t_* of Proposition 5.1, (11): :math:`t_* = (2 C_0 C_A/(c_h c_0^2))^2`.

    From then on C_A t^(−1/2), by which (12) bounds the density, satisfies the stability condition. The result is
    conditional: (12) is Aronson's estimate for another form of equation, and no C_A is known for this one.

    Args:
        c_0: the least volatility.
        C_0: the largest volatility.
        c_h: the least h'.
        aronson: C_A, which the paper does not give. The default is the least value that it can have, 1/(c_0 √(2π)),
            attained by the constant volatility c_0; the result is then a lower bound of t_*.

    Raises:
        InputError: a value that is not positive, C_0 < c_0, or C_A below its least value.
    """
    _bounds(c_0, C_0, c_h)
    least = 1.0 / (c_0 * math.sqrt(2.0 * math.pi))
    constant = least if aronson is None else check_number("aronson", aronson, at_least=least)
    return float((2.0 * C_0 * constant / (c_h * c_0**2)) ** 2)


@dataclass(frozen=True, kw_only=True)
class LinearDriver(drivers.LinearDriver):
    """The driver h(ν) = aν − b of Example 2.5, ν(u) = (u + b)/a, with what is promised of it.

    Attributes:
        a: a > 0.
        b: b > 0, a density.

    Raises:
        InputError: a value out of range.
    """

    @property
    def max_density_printed(self) -> float:
        """The printed condition b > 2 M_∞ as a bound on M_∞: b/2."""
        return 0.5 * self.b

    @property
    def max_density(self) -> float:
        """The condition the proof needs, b > (1 + √3) M_∞, as a bound on M_∞."""
        return self.b / (1.0 + math.sqrt(3.0))

    def stability_margin(self, max_density: float) -> float:
        """Return c_0² − 2 C_0 M_∞/c_h with C_0 = ν(M_∞).

        Raises:
            InputError: M_∞ ≤ 0.
        """
        check_number("max_density", max_density, above=0)
        return stability_margin(
            c_0=self.volatility(0.0), C_0=self.volatility(max_density), c_h=self.a, max_density=max_density
        )

    def t_star(self, aronson: float | None = None) -> float:
        """Return the time from which C_A t^(−1/2) < max_density: ((1 + √3) C_A/b)². The paper prints (2 C_A/b)².

        It is conditional on a C_A, as for ``t_star``.

        Args:
            aronson: C_A; the default is its least value, as for ``t_star``.

        Raises:
            InputError: C_A below its least value.
        """
        return t_star(c_0=self.volatility(0.0), C_0=self.volatility(self.max_density), c_h=self.a, aronson=aronson)

    def growth_rate(self, density: float, k: npt.ArrayLike, symbol: npt.ArrayLike) -> Array:
        r"""Return the rate at which e^(ikx) grows on a constant density ū, shape of k.

        It is :math:`-\frac{k^2}{2a^2}[(\bar u + b)^2 + 2\bar u(\bar u + b)\hat K(\varepsilon k)]`.

        Args:
            density: ū ≥ 0.
            k: wave numbers.
            symbol: K̂(εk) at them, 1 at k = 0; 1 throughout is the local equation (7).

        Raises:
            InputError: ū < 0.
        """
        check_number("density", density, at_least=0)
        wave, hat = np.asarray(k, dtype=np.float64), np.asarray(symbol, dtype=np.float64)
        level = density + self.b
        return np.asarray(-(wave**2) / (2.0 * self.a**2) * (level**2 + 2.0 * density * level * hat))

    def unstable_from(self, least_symbol: float) -> float:
        """Return the constant density from which some wave grows: b/(2κ − 1) with κ = −min K̂, infinite for κ ≤ 1/2.

        Args:
            least_symbol: min K̂, in [−1, 1].

        Raises:
            InputError: out of range.
        """
        if not -1.0 <= check_number("least_symbol", least_symbol) <= 1.0:
            raise InputError(f"least_symbol = {least_symbol} is not valid: |K̂| of a probability density is at most 1")
        return self.b / (-2.0 * least_symbol - 1.0) if least_symbol < -0.5 else math.inf


def critical_mass(*, diffusion: float, chi: float, source: float = 1.0) -> float:
    r"""Return the critical mass of the Keller-Segel system in the plane, :math:`8\pi D/(c_d\chi)`.

    The system is ∂_t u = DΔu − χ∇·(u∇φ), −Δφ = c_d u, Qi's (17)-(18). With c_d = 2π, as Qi suggests, it is 4D/χ; the
    8πD/χ printed there belongs to c_d = 1.

    Args:
        diffusion: D.
        chi: χ.
        source: c_d.

    Raises:
        InputError: a value that is not positive.
    """
    check_number("diffusion", diffusion, above=0)
    check_number("chi", chi, above=0)
    check_number("source", source, above=0)
    return 8.0 * math.pi * diffusion / (source * chi)


def _bounds(c_0: float, C_0: float, c_h: float) -> None:
    check_number("c_0", c_0, above=0)
    check_number("c_h", c_h, above=0)
    if check_number("C_0", C_0, above=0) < c_0:
        raise InputError(f"C_0 = {C_0} is not valid: it bounds the volatility from above, c_0 = {c_0} from below")
