r"""The spatially homogeneous Landau equation with Maxwell molecules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kspde.errors import check_integer, check_number
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
