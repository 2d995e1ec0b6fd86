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

F is an entire function of :math:`t = (r/\rho)^2`, so that both R and R'/r are a polynomial in t plus the singular part
of K, which is :math:`t^{(2-d)/2}` (in the plane log t) times a power series.

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

import numpy as np

from kspde.kernels import Kernel
from kspde.kernels.base import Multiple
from kspde.kernels.log_potential import SURFACE
from kspde.particles.fields.pairs import OctaveTables, octave_tables
from kspde.typing import Array

__all__ = ["DEGREE", "TERMS", "Split", "blur_of", "edge_of", "split"]

#: The degree of the polynomials, and the number of coefficients of the power series.
DEGREE, _SERIES = 13, 12
#: The numbers of coefficients after the first to which such a series is shortened.
TERMS = (0, 1, 2, 4, 8)
#: The largest μρ for which they are accurate.
_LONGEST = 4.4
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
    def smooth(self) -> bool:
        """Whether ``near`` is accurate, rather than tables by octaves."""

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

    @cached_property
    @abstractmethod
    def near(self) -> tuple[Array, Array, Array, Array]:
        r"""For R'/r and for R the coefficients of a polynomial in 2t − 1, and of a power series B in t.

        R is the polynomial and :math:`B(t) t^{(2-d)/2}`, in the plane B(t) log t; R'/r is the polynomial and
        :math:`B(t) t^{-d/2}`, in the plane :math:`B_0/t + (B_1 + B_2 t + \dots) \log t`. With a ``power`` p they are
        :math:`B_0 t^{-p}`, :math:`B_0 \log t` if p = 0, and :math:`B_0 t^{-p-1}`.
        """

    def shortened(self, tol: float) -> tuple[tuple[Array, Array, Array, Array], int]:
        """Return ``near`` with both series as short as suffices on 0 ≤ t ≤ 1, to tol B₀, and which of ``TERMS``."""
        slope, *_, value, _ = near = self.near
        series = [np.polynomial.Polynomial(c[1:]).convert([0.0, 1.0], np.polynomial.Chebyshev) for c in near[1::2]]
        left_out = [np.append(np.abs(s.coef)[::-1].cumsum()[::-1], np.zeros(TERMS[-1])) for s in series]
        small = [all(left[n] <= tol * abs(c[0]) for left, c in zip(left_out, near[1::2], strict=True)) for n in TERMS]
        terms = TERMS[small.index(True)] if True in small else TERMS[-1]
        short = [
            np.append(c[0], s.truncate(terms).convert(kind=np.polynomial.Polynomial).coef if terms else [])
            for s, c in zip(series, near[1::2], strict=True)
        ]
        return (slope, short[0], value, short[1]), terms

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
    def smooth(self) -> bool:
        return self.kernel.decay_rate * self.reach <= _LONGEST

    @property
    def _all_near(self) -> bool:
        return self.kernel.decay_rate * self.reach > _ALL_NEAR

    def share(self, lam: Array) -> Array:
        """Return Ψ̂(λ)/Ψ̂(−μ²)."""
        if self._all_near:
            return np.zeros(np.shape(lam))
        own = self._transform(np.array(-(self.kernel.decay_rate**2)))
        return np.asarray(self._transform(lam) / own)

    @cached_property
    def near(self) -> tuple[Array, Array, Array, Array]:
        d, n = self.dimension, DEGREE + 1
        t = 0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * n) + 0.5) / (2 * n))
        value, slope = self.rest(self.reach * np.sqrt(t))
        series = self._series()
        k = np.arange(_SERIES)
        if d == 2:
            slope_series = np.concatenate((series[:1], (k * series)[1:], [0.0]))
            singular = np.log(t) * (t[:, None] ** k @ series)
            singular_slope = series[0] / t + np.log(t) * (t[:, None] ** k @ slope_series[1:])
        else:
            slope_series = series * (k + 0.5 * (2 - d))
            singular = t ** (0.5 * (2 - d)) * (t[:, None] ** k @ series)
            singular_slope = t ** (-0.5 * d) * (t[:, None] ** k @ slope_series)
        scale = 2 / self.reach**2
        polynomials = [
            np.polynomial.polynomial.polyfit(2 * t - 1, each, DEGREE)
            for each in (slope / (self.reach * np.sqrt(t)) - scale * singular_slope, value - singular)
        ]
        return polynomials[0], scale * slope_series, polynomials[1], series

    def _series(self) -> Array:
        """Return B, K = B(t) φ(t) + entire, with φ = √t, log t or 1/√t."""
        d, k = self.dimension, np.arange(_SERIES)
        strength = self.kernel.charge
        z2 = (self.kernel.decay_rate * self.reach) ** 2
        factorial = np.cumprod(np.append(1.0, k[1:]))
        if d == 2:
            return np.asarray(-strength / (4 * math.pi) * (z2 / 4) ** k / factorial**2)
        odd = np.array([float(math.factorial(2 * j + (d == 1))) for j in k])
        front = -0.5 * strength * self.reach if d == 1 else strength / (4 * math.pi * self.reach)
        return np.asarray(front * z2**k / odd)

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

    smooth = False

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

    smooth = True

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

    @cached_property
    def near(self) -> tuple[Array, Array, Array, Array]:
        p, end = self.power, np.array([self.reach])
        series = np.zeros(_SERIES)
        if p > 0:
            series[:1] = self.kernel.profile(end, self.dimension)
        else:
            series[:1] = 0.5 * self.reach * self.kernel.slope(end, self.dimension)
        t = 0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * DEGREE) + 0.5) / (2 * DEGREE))
        mean, slope = self._mean(t)
        constant = self.kernel.profile(end, self.dimension)[0] - self.middle - (series[0] if p > 0 else 0.0)
        scale = 2 / self.reach**2
        value, steep = (
            np.polynomial.polynomial.polyfit(2 * t - 1, each, DEGREE)
            for each in (constant - self._front * mean, -scale * self._front * slope)
        )
        return steep, scale * (-p if p > 0 else 1.0) * series, value, series


@cache
def _jacobi(power: float) -> tuple[Array, Array]:
    """Return nodes and weights of ∫₀¹ f(w) w^power dw."""
    from scipy.special import roots_jacobi

    x, weights = roots_jacobi(60, 0.0, power)
    return 0.5 * (x + 1), weights * 0.5 ** (power + 1)
