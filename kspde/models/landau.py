r"""The spatially homogeneous Landau equation with Maxwell molecules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kspde.errors import InputError, check_integer, check_number
from kspde.models.base import Field, FieldValues, Model, Moment
from kspde.typing import Array

__all__ = ["LandauMaxwell"]


def _one(v: Array) -> Array:
    return np.ones(len(v))


def _velocity(v: Array) -> Array:
    return v


def _square(v: Array) -> Array:
    columns = np.ascontiguousarray(v.T)
    return np.moveaxis(columns[:, None] * columns, 2, 0)  # by entries: a sixth of the time of rows


@dataclass(frozen=True, kw_only=True)
class LandauMaxwell(Model):
    r"""Velocities of a gas of Maxwell molecules: the homogeneous Landau equation in d = 2 or 3.

    .. math::
        \partial_t f = \nabla\cdot\big[(a * f)\nabla f - (b * f) f\big], \qquad
        a(z) = \Lambda\,(|z|^2 I - z \otimes z), \qquad b = \nabla\cdot a = -(d-1)\Lambda z,

    for a density f of velocities v, with the rate Λ: Feng's talk (2025), where Λ = 1, and Carrillo, Feng, Guo, Jabin
    and Z. Wang (arXiv 2408.15035). With :math:`A = a * f` and :math:`B = b * f`, and since
    :math:`\partial_j A_{ij} = B_i`, we have :math:`\partial_i(A_{ij}\partial_j f) = \partial_i\partial_j(A_{ij} f) -
    \partial_i(B_i f)`: in Itô's form

    .. math::
        \partial_t f = \sum_{ij}\partial_i\partial_j(A_{ij} f) - \nabla\cdot(2B f), \qquad
        dV = 2B\,dt + \sqrt2\,A^{1/2}\,dW.

    a and b are polynomials, so A and B are polynomials in v whose coefficients are moments of f: with the mass
    :math:`m_0 = \int f`, the mean velocity :math:`\bar v`, :math:`z = v - \bar v` and the stress
    :math:`P = \int (w - \bar v)\otimes(w - \bar v) f(w)\,dw`,

    .. math::
        A(v) = \Lambda\big[m_0(|z|^2 I - z \otimes z) + (\operatorname{tr} P) I - P\big], \qquad
        B(v) = -(d-1)\Lambda\,m_0\,z.

    A step of N particles costs O(N). :math:`\xi\cdot A\xi = \Lambda\int(|v-w|^2|\xi|^2 - ((v-w)\cdot\xi)^2) f(w)\,dw
    \ge 0` for every f ≥ 0, an empirical measure of weights ≥ 0 included; it vanishes where all of f lies on the line
    through v along ξ. These are Feng's particles (after Nanbu, and Fontbona, Guérin and Méléard): independent noises,
    which conserve momentum and energy in the mean. The scheme "pair-rotation" conserves both to round-off.

    Mass, momentum :math:`\int v f` and energy :math:`\int|v|^2 f` are conserved; :math:`\int f\log f` falls. The stress
    obeys :math:`\dot P = 4\Lambda m_0\big[(\operatorname{tr}P)I - dP\big]`: its deviation from
    :math:`\frac{\operatorname{tr}P}{d} I` falls like :math:`e^{-4d\Lambda m_0 t}`. All times scale with
    :math:`1/(\Lambda m_0)`. The solution of Bobylev, Krook and Wu, of mass 1 and temperature 1, is

    .. math::
        f = (2\pi K)^{-d/2} e^{-|v|^2/2K}\Big(\frac{(d+2)K - d}{2K} + \frac{1-K}{2K^2}|v|^2\Big), \qquad
        K = 1 - k\,e^{-2(d-1)\Lambda t},\quad 0 \le k \le \tfrac{2}{d+2},

    of fourth moment :math:`\int|v|^4 f = d(d+2)K(2-K)`.

    **Fluctuations at equilibrium.** Let the particles start independently with a Maxwellian f. The generator of a
    single velocity in f, :math:`\mathcal L = A:\nabla^2 + 2B\cdot\nabla`, is reversible with respect to f, so that f's
    own particles keep the fluctuations of independent ones. The linearised equation adds to it the reaction of A and B,
    which are polynomials of degree 2: only those of degree 1 and 2 relax at other rates, the momentum and the energy at
    0 in place of :math:`2(d-1)\Lambda m_0`, and the :math:`\frac{d(d+1)}2 - 1` components of the stress's deviation at
    :math:`4d\Lambda m_0` in place of :math:`(4d-2)\Lambda m_0`, while the noise is the same. As N → ∞ the fluctuations
    of these modes are Gaussian, and 1 + q times as large as those of independent particles:

    .. math::
        q = 4(d-1)\Lambda m_0 t \quad (d+1 \text{ modes}), \qquad
        q = -\tfrac1{2d}(1 - e^{-8d\Lambda m_0t}) \quad (\tfrac{d(d+1)}2 - 1 \text{ modes}).

    The momentum and the energy of one velocity are kept in the mean, so that all of this is correlation: two
    velocities have the covariance q/N in each normalised mode, and the relative entropy of the law of k of them to
    :math:`f^{\otimes k}` is

    .. math::
        H_k \simeq -\tfrac12\sum_{\text{modes}}\Big(\log\big(1 + \tfrac{(k-1)q}N\big)
        + (k-1)\log\big(1 - \tfrac qN\big)\Big)
        \simeq \frac{k(k-1)}{4N^2}\sum_{\text{modes}} q^2 \quad (k \ll N),

    beside k times the entropy of one velocity's law, which is O(1/N²). For k = N → ∞ it tends to
    :math:`\tfrac12\sum(q - \log(1 + q))`, bounded in N and growing like :math:`2(d^2-1)\Lambda m_0t`: the relative
    entropy of the limit, which bounds :math:`\liminf H_N` from below. That nothing else adds to it is not proved.

    Attributes:
        dimension: the dimension d of velocities, 2 or 3.
        rate: the rate Λ > 0.

    Raises:
        InputError: a value out of range.
    """

    dimension: int = 2
    rate: float = 1.0

    def __post_init__(self) -> None:
        check_integer("dimension", self.dimension, at_least=2, at_most=3)
        check_number("rate", self.rate, above=0)

    @property
    def fields(self) -> tuple[Field, ...]:
        """None: the coefficients depend on moments alone."""
        return ()

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The mass, ∫v f and ∫v⊗v f."""
        return (
            Moment(name="mass", function=_one),
            Moment(name="momentum", function=_velocity),
            Moment(name="square", function=_square),
        )

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return A = a * f, shape (n, d, d)."""
        mass, mean = c.moment("mass"), c.moment("momentum") / c.moment("mass")
        stress = c.moment("square") - mass * np.outer(mean, mean)
        z = np.subtract(c.points.T, mean[:, None], order="C")
        out = (-self.rate * mass * z)[:, None] * z
        out[range(len(z)), range(len(z))] -= np.trace(out)
        out += self.rate * (np.trace(stress) * np.eye(len(z)) - stress)[:, :, None]
        return np.moveaxis(out, 2, 0)

    def drift(self, species: str, c: FieldValues) -> Array:
        """Return 2B = 2b * f."""
        rate = 2.0 * (self.dimension - 1) * self.rate
        return rate * c.moment("momentum") - rate * c.moment("mass") * c.points

    def pair_rotation(self, species: str) -> float:
        """Return Λ: two particles turn their relative velocity as the scheme "pair-rotation" does."""
        return self.rate

    def marginal_entropy(self, k: int, *, n: int, t: float, mass: float = 1.0) -> float:
        """Return H_k of k of N particles that start from a Maxwellian, in the limit of Gaussian fluctuations.

        Args:
            k: the number of particles.
            n: N.
            t: the time.
            mass: the mass of f.

        Raises:
            InputError: a value out of range.
        """
        check_integer("k", k, at_least=1, at_most=check_integer("n", n, at_least=1))
        d, pace = self.dimension, self.rate * check_number("mass", mass, above=0) * check_number("t", t, at_least=0)
        modes = ((d + 1, 4 * (d - 1) * pace), (d * (d + 1) // 2 - 1, math.expm1(-8 * d * pace) / (2 * d)))
        if (limit := modes[0][1]) >= n:
            raise InputError(f"n = {n} is not valid at t = {t:g}: give more than 4(d - 1) rate mass t = {limit:g}")
        return -0.5 * sum(count * (math.log1p((k - 1) * q / n) + (k - 1) * math.log1p(-q / n)) for count, q in modes)
