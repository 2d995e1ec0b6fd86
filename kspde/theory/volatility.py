r"""The conditions of Q. Qi, *Propagation of chaos for singular interactions via regular drivers*.

Particles on the line with a volatility that depends on the density at their place, dM = ν dW with h(ν) = u, h strictly
increasing: :math:`\partial_t u = \tfrac12\partial_{xx}(\nu(u)^2 u)`, its (7).

With ν ≥ c_0, ν ≤ C_0 and h' ≥ c_h, the stability condition is Assumption 2.4(v), :math:`c_0^2 > 2 C_0 M_\infty/c_h`,
where M_∞ bounds the density. **What C_0 must bound.** Assumption 2.4(iv) defines it by the volatility at density zero,
but the proof of Lemma 4.3 uses it for every density in [0, M_∞], where ν is larger. For the linear driver h(ν) = aν −
b, ν(u) = (u + b)/a, the printed condition is b > 2 M_∞ (Example 2.5); with C_0 = (M_∞ + b)/a it is b² > 2 M_∞(M_∞ +
b), that is b > (1 + √3) M_∞.

**What is not proved.** Lemma 4.2's 0 ≤ u^ε ≤ M_∞ has no valid proof for the nonlocal (9). Lemma 4.3 ends with y' ≤ C(1
+ y³), from which it concludes that y stays finite because ∫dz/(1 + z³) converges; a convergent integral means the
opposite, that such a y may blow up in finite time. So the condition secures the coercivity of the energy estimate, no
more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kspde.errors import InputError, check_number

__all__ = ["LinearDriver", "critical_mass", "stability_margin", "t_star"]


def stability_margin(*, c_0: float, C_0: float, c_h: float, max_density: float) -> float:
    """Return c_0² − 2 C_0 M_∞/c_h, which Assumption 2.4(v) wants positive.

    Args:
        c_0: least volatility.
        C_0: largest volatility over the densities in [0, M_∞] (not at density zero alone).
        c_h: least h'.
        max_density: M_∞.

    Raises:
        InputError: a value that is not positive, or C_0 < c_0.
    """
    _bounds(c_0, C_0, c_h)
    check_number("max_density", max_density, above=0)
    return c_0**2 - 2.0 * C_0 * max_density / c_h


def t_star(*, c_0: float, C_0: float, c_h: float, aronson: float | None = None) -> float:
    r"""Return the time t_* of Proposition 5.1, (11): :math:`t_* = (2 C_0 C_A/(c_h c_0^2))^2`.

    After it C_A t^(−1/2), which Aronson's estimate (12) gives for the density, satisfies the stability condition.

    Args:
        c_0: least volatility.
        C_0: largest volatility.
        c_h: least h'.
        aronson: C_A. The paper does not give it. By default the least value that it can have, 1/(c_0 √(2π)), attained
            by the constant volatility c_0: the result is then a lower bound of t_*.

    Raises:
        InputError: a value that is not positive, C_0 < c_0, or C_A below its least value.
    """
    _bounds(c_0, C_0, c_h)
    least = 1.0 / (c_0 * math.sqrt(2.0 * math.pi))
    constant = least if aronson is None else check_number("aronson", aronson, at_least=least)
    return float((2.0 * C_0 * constant / (c_h * c_0**2)) ** 2)


@dataclass(frozen=True, kw_only=True)
class LinearDriver:
    """The driver h(ν) = aν − b of Example 2.5: ν(u) = (u + b)/a.

    Attributes:
        a: a > 0.
        b: b > 0, a density.

    Raises:
        InputError: a value out of range.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        check_number("a", self.a, above=0)
        check_number("b", self.b, above=0)

    def volatility(self, density: float) -> float:
        """Return ν = (u + b)/a."""
        return (density + self.b) / self.a

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

        Args:
            aronson: C_A; by default its least value, as for ``t_star``.

        Raises:
            InputError: C_A below its least value.
        """
        return t_star(c_0=self.volatility(0.0), C_0=self.volatility(self.max_density), c_h=self.a, aronson=aronson)


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
