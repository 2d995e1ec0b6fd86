r"""Singular kernels split into what a grid resolves and what ends at a distance.

Kaiser and Bessel's bump

.. math:: \Psi(x) \propto I_0\big(\beta\sqrt{1 - |x|^2/\rho^2}\big),\quad |x| < \rho, \qquad
    \hat\Psi(\lambda) \propto y^{-d/2} I_{d/2}(y),\quad y^2 = \beta^2 - \rho^2\lambda,

has a transform that is of order :math:`e^{-\beta}` beyond the wavenumber β/ρ: no function that ends at ρ does with a
shorter band, up to a few percent, and a Gaussian takes almost twice as much.

For the fundamental solution K of :math:`s^{-1}(\mu^2 - \Delta)`, by Newton's theorem
:math:`F_\rho = K * \Psi / \hat\Psi(-\mu^2)` is K beyond ρ. So the rest K − F ends there, and so does the difference of
two F, at the larger ρ. With u the regular solution of :math:`\Delta u = \mu^2 u`, u(0) = 1, the rest is

.. math:: R(r) = \Big(K(r) \int_r^\rho u \Psi\,dV - u(r) \int_r^\rho K \Psi\,dV\Big) \Big/ \int_0^\rho u \Psi\,dV.

F is an entire function of :math:`t = (r/\rho)^2`, so that both R and R'/r are a power series in t plus the singular
part of K, which is :math:`t^{(2-d)/2}` (in the plane log t) times another one. Both series are replaced by polynomials
that fit their sum: three coefficients of the second do for μρ = 3, where its own partial sums need eight.

On a grid of spacing h, which has wavenumbers up to π/h, the error is of order :math:`1/\hat\Psi(-\mu^2)`, or
:math:`\exp(-\sqrt{\beta^2 + \mu^2\rho^2})`: screening shortens ρ.

A power is a mean of bumps of all widths, as it is of Gaussians:

.. math:: |x|^{-s} = c \int_0^\infty \Psi(x/a)\, a^{-s-1}\,da, \qquad
    \frac1c = \int_0^1 \Psi(v)\, v^{s-1}\,dv = \tfrac12\Gamma(\tfrac s2)
    \big(\tfrac2\beta\big)^{s/2} I_{s/2}(\beta) / I_0(\beta),

Ψ now with Ψ(0) = 1 and ρ = 1. Those narrower than ρ are the rest, which ends there; the wider ones are F, the narrowest
of which limits the band. The logarithm is the limit s → 0, c/s → 1. With E(t) the mean of :math:`\Psi(\sqrt t v)` for
the weight :math:`v^{s-1}`, F is :math:`c \rho^{-s} E(t)` within ρ, and R and R'/r are a power of t plus a polynomial.

A fundamental solution K that is mollified by a Gaussian of standard deviation σ is :math:`e^{\mu^2\sigma^2/2}K` up to

.. math:: e^{\mu^2\sigma^2/2} \int_0^{\sigma^2/2} (4\pi t)^{-d/2} e^{-r^2/4t - \mu^2 t}\,dt,

which ends like the Gaussian, :math:`e^{-r^2/2\sigma^2}`. So F is that of :math:`e^{\mu^2\sigma^2/2}K`, and the rest
ends at ρ if ρ is some σ: no grid need resolve the mollifier.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import NamedTuple

import numpy as np

from kspde.kernels import Kernel
from kspde.kernels.base import Multiple
from kspde.kernels.log_potential import SURFACE
from kspde.particles.fields.pairs import OctaveTables, octave_tables
from kspde.typing import Array

__all__ = ["DEGREE", "DEGREES", "LOG_ERRORS", "Split", "blur_of", "edge_of", "split"]

#: By the number of coefficients of the singular part after the first, the degree of the polynomials, and the error of
#: the logarithm in loops that multiplies them.
DEGREE = 13
DEGREES = {0: DEGREE, 1: DEGREE, 3: DEGREE, 5: DEGREE, 10: 21}
LOG_ERRORS = {0: 0.0, 1: 2e-6, 3: 1e-9, 5: 7e-13, 10: 3e-14}
#: The points to which they are fitted.
_POINTS = 100
#: The largest μσ of a mollified one: beyond, the mollifier reaches farther than some σ.
_WIDEST = 1.0
#: The μρ from which all is near: F is of order e^(−μρ) then, and the functions that it is made of would overflow.
_ALL_NEAR = 300.0
#: The degree of a polynomial in t for F.
_FAR = 40
#: The degree of a polynomial in λ for the transforms of rests of powers.
_MODES = 100
#: Gauss's nodes and weights, made when they are first needed: that takes a tenth of a second.
_gauss = cache(np.polynomial.legendre.leggauss)


def split(kernel: Kernel, dimension: int, reach: float, decay: float) -> Split:
    """Return a kernel split at a distance; see :class:`Split` for the arguments."""
    if blur := blur_of(kernel):
        slowest = kernel.in_dimension(dimension).factors[0]
        tail = Multiple(factor=math.exp(0.5 * (slowest.decay_rate * blur) ** 2), kernel=slowest)
        return _MollifiedSplit(tail, dimension, reach, decay, blur)
    kind = _FundamentalSplit if kernel.fundamental else _PowerSplit
    return kind(kernel, dimension, reach, decay)


def blur_of(kernel: Kernel) -> float:
    """Return the σ of the Gaussian that mollifies a fundamental solution and can be split, 0 for other kernels."""
    slowest, *others = kernel.factors
    stds = [each.blur for each in others if each.blur is not None]
    std = math.hypot(*stds)
    return std if slowest.fundamental and len(stds) == len(others) and slowest.decay_rate * std <= _WIDEST else 0.0


def edge_of(kernel: Kernel, decay: float) -> float:
    """Return log(c/s) for a power, 0 for others: what β takes beyond theirs for a bump that ends as small."""
    from scipy.special import gammaln, ive

    p = 0.5 * (kernel.homogeneity or 0.0)
    return float(p * math.log(0.5 * decay) + math.log(ive(0, decay) / ive(p, decay)) - gammaln(p + 1))


class _Singular(NamedTuple):
    """A function of t that polynomials S and P fit: a leading term and singular(t) S(t) + P(t).

    Attributes:
        front: the factor of the leading term.
        smooth: the function less that term, at some t.
        singular: singular(t), None without S.
        weight: what its error is multiplied by.
        logarithmic: whether loops multiply S by an approximate logarithm.
    """

    front: float
    smooth: Array
    singular: Array | None
    weight: Array
    logarithmic: bool

    def fitted(self, t: Array, terms: int, tol: float) -> tuple[Array, Array, float]:
        """Return P in powers of 2t − 1, the front and S in powers of t, and the largest error over the front.

        Least squares; where their error is near ``tol``, with weights that make it even (Lawson's iteration).
        """
        cheb, power = np.polynomial.chebyshev, np.polynomial.polynomial
        degree, count = DEGREES[terms], terms if self.singular is not None else 0
        columns = cheb.chebvander(2 * t - 1, degree)
        if self.singular is not None and count:
            columns = np.hstack((columns, self.singular[:, None] * cheb.chebvander(2 * t - 1, count - 1)))
        weight, least, best = self.weight, math.inf, (np.zeros(1), np.zeros(1))
        for _ in range(8):
            c = np.linalg.lstsq(columns * weight[:, None], self.smooth * weight)[0]
            p, s = np.asarray(cheb.cheb2poly(c[: degree + 1]), dtype=np.float64), np.zeros(1)
            if count:
                tail = cheb.Chebyshev(c[degree + 1 :], [0, 1]).convert(kind=np.polynomial.Polynomial)
                s = np.asarray(tail.coef, dtype=np.float64)
            at = power.polyval(t, s)
            found = power.polyval(2 * t - 1, p) + (0.0 if self.singular is None else self.singular * at)
            errors = np.abs((found - self.smooth) * self.weight / self.front)
            error = errors.max() + self.logarithmic * LOG_ERRORS[terms] * np.abs(at * self.weight / self.front).max()
            if error < least:
                least, best = float(error), (p, s)
            if error <= tol or error > 30 * tol:
                break
            weight = weight * np.sqrt(errors / errors.max() + 0.01)
        p, s = best
        series = np.pad(np.append(self.front, s[:count]), (0, max(DEGREES) - count))
        return np.pad(p, (0, max(DEGREES.values()) - degree)), series, least


@dataclass(frozen=True)
class Split(ABC):
    """A kernel split at a distance.

    Attributes:
        kernel: K, a fundamental solution, a power or a logarithm.
        dimension: d.
        reach: ρ.
        decay: β.
    """

    kernel: Kernel
    dimension: int
    reach: float
    decay: float

    @property
    @abstractmethod
    def power(self) -> float | None:
        """The p of the singular part :math:`B_0 t^{-p}` of R, 0 for log t, where ``near`` has no series but B₀."""

    @abstractmethod
    def share(self, lam: Array) -> Array:
        """Return the symbol of F over that of K."""

    @abstractmethod
    def rest(self, r: Array) -> tuple[Array, Array]:
        """Return R and R' at distances 0 < r < ρ, shape (n,)."""

    @abstractmethod
    def _parts(self, t: Array) -> tuple[_Singular, _Singular]:
        """Return R'/r and R at (r/ρ)² = t."""

    def near(self, tol: float) -> tuple[tuple[Array, Array, Array, Array], int] | None:
        r"""For R'/r and for R the coefficients of a polynomial P in 2t − 1, and of one B in t, and how many B has.

        R is :math:`P + B t^{(2-d)/2}`, in the plane P + B log t; R'/r is :math:`P + B t^{-d/2}`, in the plane
        :math:`P + B_0/t + (B_1 + B_2 t + \dots) \log t`. With a ``power`` p they are :math:`P + B_0 t^{-p}`, P + B₀ log
        t if p = 0, and :math:`P + B_0 t^{-p-1}`. Errors of R' and R are at most tol B₀ of either. B has as many
        coefficients after the first as suffice, of ``DEGREES``; None if none does.
        """
        t = 0.5 - 0.5 * np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
        slope, value = self._parts(t)
        for terms in DEGREES:
            p, series, error = slope.fitted(t, terms, tol)
            q, other, second = value.fitted(t, terms, tol)
            if max(error, second) <= tol:
                return (p, series, q, other), terms
        return None

    @cached_property
    @abstractmethod
    def middle(self) -> float:
        """F(0)."""

    @property
    def excess(self) -> float:
        """What F has of a pair at the same place that the field has not: F(0), as pairs there add nothing."""
        return self.middle

    def far(self, r: Array) -> Array:
        """Return F at distances r ≥ 0, shape (n,)."""
        out = np.full(len(r), self.middle)
        out[r > 0] = self.kernel.profile(r[r > 0], self.dimension)
        inside = (r > 0) & (r < self.reach)
        out[inside] -= self.rest(r[inside])[0]
        return out

    @cached_property
    def octaves(self) -> OctaveTables:
        """The tables of R and of R'/r, by octaves of t."""
        d, kernel = self.dimension, self.kernel

        @cache
        def quadrature(text: bytes) -> tuple[Array, Array]:
            return self.rest(np.frombuffer(text))

        def one(which: int, r: Array) -> Array:
            r = self.reach * r
            out = kernel.slope(r, d) / self.reach if which else kernel.profile(r, d) - self.middle
            far = r > 1e-6 * self.reach  # F is constant nearer than that
            out[far] = quadrature(r[far].tobytes())[which] / self.reach**which
            return out

        return octave_tables(partial(one, 0), partial(one, 1), 1.0 - 1e-9)

    def _transform(self, lam: Array) -> Array:
        """Return Ψ̂ up to a factor."""
        from scipy.special import i1, j1, spherical_in, spherical_jn

        square = self.decay**2 - self.reach**2 * np.asarray(lam, dtype=np.float64)
        y = np.maximum(np.sqrt(np.abs(square)), 1e-3)  # both are 1 + O(y²) times the same number
        if self.dimension == 1:
            above, below = np.sinh(np.where(square > 0, y, 0.0)) / y, np.sin(y) / y
        elif self.dimension == 2:
            above, below = i1(np.where(square > 0, y, 0.0)) / y, j1(y) / y
        else:
            above, below = spherical_in(1, np.where(square > 0, y, 0.0)) / y, spherical_jn(1, y) / y
        return np.where(square > 0, above, below)


@dataclass(frozen=True)
class _FundamentalSplit(Split):
    """A fundamental solution."""

    power = None

    @property
    def _all_near(self) -> bool:
        return self.kernel.decay_rate * self.reach > _ALL_NEAR

    def share(self, lam: Array) -> Array:
        """Return Ψ̂(λ)/Ψ̂(−μ²)."""
        if self._all_near:
            return np.zeros(np.shape(lam))
        own = self._transform(np.array(-(self.kernel.decay_rate**2)))
        return np.asarray(self._transform(lam) / own)

    def _parts(self, t: Array) -> tuple[_Singular, _Singular]:
        d, r = self.dimension, self.reach * np.sqrt(t)
        value, slope = self.rest(r)
        singular = np.log(t) if d == 2 else t ** (1 - 0.5 * d)
        front = self.kernel.charge * {1: -0.5 * self.reach, 2: -0.25 / math.pi, 3: 0.25 / (math.pi * self.reach)}[d]
        steep = front * (2 if d == 2 else 2 - d) / self.reach**2
        ones, plane = np.ones_like(t), d == 2
        return (
            _Singular(steep, slope / r - steep * t ** (-0.5 * d), singular, np.sqrt(t), plane),
            _Singular(front, value - front * singular, t * singular, ones, False),
        )

    def rest(self, r: Array) -> tuple[Array, Array]:
        value, steep = self.kernel.profile(r, self.dimension), self.kernel.slope(r, self.dimension)
        if self._all_near:
            return value, steep
        ours, theirs = (each / self._integrals(np.zeros(1))[0] for each in self._integrals(r))
        u, slope = self._regular(r)
        return value * ours - u * theirs, steep * ours - slope * theirs

    @cached_property
    def middle(self) -> float:
        if self._all_near:
            return 0.0
        whole, kernel = self._integrals(np.zeros(1))
        return float(kernel[0] / whole[0])

    def _regular(self, r: Array) -> tuple[Array, Array]:
        """Return u and u'."""
        from scipy.special import i0, i1

        z, mu = self.kernel.decay_rate * r, self.kernel.decay_rate
        if self.dimension == 1:
            return np.cosh(z), mu * np.sinh(z)
        if self.dimension == 2:
            return i0(z), mu * i1(z)
        safe = np.maximum(z, 1e-3)
        slope = np.where(z < 1e-3, z / 3, (safe * np.cosh(safe) - np.sinh(safe)) / safe**2)
        return np.where(z < 1e-3, 1 + z**2 / 6, np.sinh(safe) / safe), mu * slope

    def _integrals(self, lower: Array) -> tuple[Array, Array]:
        """Return those of uΨ and KΨ from ``lower`` to ρ, up to a common factor."""
        from scipy.special import i0

        nodes, weights = _gauss(200)
        width = 0.5 * (self.reach - lower)[:, None]
        r = lower[:, None] + width * (nodes + 1)
        bump = width * weights * r ** (self.dimension - 1)
        bump *= i0(self.decay * np.sqrt(np.maximum(1 - (r / self.reach) ** 2, 0.0)))
        return (bump * self._regular(r)[0]).sum(axis=1), (bump * self.kernel.profile(r, self.dimension)).sum(axis=1)


@dataclass(frozen=True)
class _MollifiedSplit(_FundamentalSplit):
    """A fundamental solution, times e^(μ²σ²/2), whose rest is that of the mollified one.

    Attributes:
        blur: σ.
    """

    blur: float

    def near(self, tol: float) -> None:
        """Return None: the rest has no singular part."""

    @property
    def excess(self) -> float:
        """F(0) less the mollified kernel's value there."""
        return self.middle - float(self._mollified(np.zeros(1))[0])

    def _mollified(self, r: Array, *, slope: bool = False) -> Array:
        own = math.exp(-0.5 * (self.kernel.decay_rate * self.blur) ** 2)
        return own * self.kernel.blurred(r, self.dimension, self.blur, slope=slope)

    @cached_property
    def octaves(self) -> OctaveTables:
        """The tables of the mollified kernel less F, a polynomial in t, so that the singularity is nowhere."""
        reach = self.reach
        far = np.polynomial.Chebyshev.interpolate(lambda t: self.far(reach * np.sqrt(t)), _FAR, [0.0, 1.0])
        steep = far.deriv()
        return octave_tables(
            lambda s: self._mollified(reach * s) - far(s**2),
            lambda s: self._mollified(reach * s, slope=True) / reach - 2 * s / reach**2 * steep(s**2),
            1.0 - 1e-9,
        )


@dataclass(frozen=True)
class _PowerSplit(Split):
    """A power :math:`|x|^{-s}` or, for s = 0, a logarithm."""

    @property
    def power(self) -> float:
        assert self.kernel.homogeneity is not None
        return 0.5 * self.kernel.homogeneity

    @cached_property
    def _front(self) -> float:
        """The number c, times the kernel's strength and ρ^(−s)."""
        steep = -float(self.kernel.slope(np.ones(1), self.dimension)[0])
        return float(steep * self.reach ** (-2 * self.power) * math.exp(edge_of(self.kernel, self.decay)))

    def _mean(self, t: Array) -> tuple[Array, Array]:
        """Return E(t) − E(0) and E'(t)."""
        from scipy.special import i0, i1

        w, weights = _jacobi(self.power)
        y = self.decay * np.sqrt(1 - np.multiply.outer(t, w))
        bump, steep = i0(y) / i0(self.decay), -0.5 * self.decay**2 * i1(y) / y / i0(self.decay)
        return 0.5 * (bump - 1) @ (weights / w), 0.5 * steep @ weights

    def share(self, lam: Array) -> Array:
        from scipy.special import i0

        d, kernel = self.dimension, self.kernel.in_dimension(self.dimension)
        w, weights = _jacobi(0.5 * d - self.power - 1)
        rest = np.polynomial.Chebyshev.interpolate(
            lambda x: self._transform(np.multiply.outer(x, w)) @ weights, _MODES, [0.0, float(np.max(lam))]
        )
        front = 0.5 * self._front * SURFACE[d] * self.reach**d / i0(self.decay)
        return np.asarray(1 - front * rest(lam) / kernel.symbol(lam))

    def rest(self, r: Array) -> tuple[Array, Array]:
        t = (r / self.reach) ** 2
        mean, slope = self._mean(t)
        value = self.kernel.profile(r, self.dimension) - self.middle - self._front * mean
        return value, self.kernel.slope(r, self.dimension) - self._front * slope * 2 * r / self.reach**2

    @cached_property
    def middle(self) -> float:
        end = np.ones(1)
        return float((self.kernel.profile(self.reach * end, self.dimension) - self._front * self._mean(end)[0])[0])

    def _parts(self, t: Array) -> tuple[_Singular, _Singular]:
        p, end = self.power, np.array([self.reach])
        profile = float(self.kernel.profile(end, self.dimension)[0])
        front = profile if p > 0 else 0.5 * self.reach * float(self.kernel.slope(end, self.dimension)[0])
        mean, slope = self._mean(t)
        constant = profile - self.middle - (front if p > 0 else 0.0)
        scale = 2 / self.reach**2
        steep, smooth = scale * (-p if p > 0 else 1.0) * front, -scale * self._front * slope
        return (
            _Singular(steep, smooth, None, np.sqrt(t), False),
            _Singular(front, constant - self._front * mean, None, np.ones_like(t), False),
        )


@cache
def _jacobi(power: float) -> tuple[Array, Array]:
    """Return nodes and weights of ∫₀¹ f(w) w^power dw."""
    from scipy.special import roots_jacobi

    x, weights = roots_jacobi(60, 0.0, power)
    return 0.5 * (x + 1), weights * 0.5 ** (power + 1)
