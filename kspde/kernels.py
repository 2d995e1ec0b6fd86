r"""Interaction kernels and mollifiers as functions of the Laplacian.

A radial kernel :math:`K` on :math:`\mathbb R^d` acts by convolution, :math:`c = K * u`. All kernels here have a Fourier
symbol that depends on :math:`|k|^2` alone,

.. math:: \hat K(k) = g(|k|^2), \qquad K * u = g(-\Delta) u,

so one object serves both backends: the particles multiply by :math:`g(|k|^2)` between two Fourier transforms, and the
finite elements apply the same :math:`g` to the discrete :math:`-\Delta`. Convolution multiplies symbols, and is
written as in the papers: ``Yukawa(strength=chi) * GaussianMollifier(eps=0.3)`` is :math:`\Phi^\varepsilon = \Phi *
j^\varepsilon`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import overload

import numpy as np

from kspde.errors import InputError, check_choice, check_integer, check_number, shown
from kspde.typing import Array, Ids, RandomNumbers

__all__ = [
    "MOLLIFIERS",
    "Convolution",
    "GaussianMollifier",
    "Kernel",
    "MaternMollifier",
    "Mollifier",
    "ResolventPolynomial",
    "Yukawa",
    "check_symbol",
    "resolve_mollifier",
]


@dataclass(frozen=True, kw_only=True)
class ResolventPolynomial:
    r"""A polynomial in one resolvent, :math:`p(s)`, :math:`s = (1 + \tau\lambda)^{-1} \in (0, 1]`.

    Applying it costs as many Helmholtz solves, all with the same matrix, as its degree.

    Attributes:
        tau: τ > 0.
        chebyshev: the coefficients in T_k(2s − 1).
        decay_rate: the rate of the decaying solutions of c − τΔc = 0, where the domain's condition is "decay"; ``inf``
            for mollifiers, which conserve mass.
        error: a bound on the deviation from the symbol it stands for, relative to the symbol's maximum.
    """

    tau: float
    chebyshev: tuple[float, ...]
    decay_rate: float = math.inf
    error: float = 0.0

    def __call__(self, lam: Array) -> Array:
        """Return p at eigenvalues λ ≥ 0 of −Δ."""
        s = 1.0 / (1.0 + self.tau * lam)
        return np.asarray(np.polynomial.chebyshev.chebval(2.0 * s - 1.0, np.array(self.chebyshev)))


class Kernel(ABC):
    """A radial convolution kernel, given by its symbol."""

    @abstractmethod
    def symbol(self, lam: Array) -> Array:
        """Return g(λ) at λ = |k|², or at the eigenvalues of a discrete −Δ (same shape as ``lam``, λ ≥ 0)."""

    @property
    @abstractmethod
    def decay_rate(self) -> float:
        """The rate ρ of the kernel's exponential decay exp(−ρ|x|) at infinity; ``inf`` if it decays faster."""

    @property
    def relaxation_rate(self) -> float:
        """The ρ of τ∂_t c = (Δ − ρ²)(c − K * u), for fields that relax."""
        return self.decay_rate if math.isfinite(self.decay_rate) else 0.0

    @property
    @abstractmethod
    def smoothing(self) -> float:
        """The order s of the symbol's decay, g(λ) = O(λ^(−s/2)); ``inf`` if it decays faster.

        In dimension d the kernel is bounded and continuous if s > d, and continuously differentiable if s > d + 1.
        """

    @property
    @abstractmethod
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """Polynomials in resolvents of −Δ whose product is g, for spaces without a spectral transform."""

    def draw(self, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
        """Return one draw per particle from a mollifier, shape (n, d); ``step`` keys the random numbers.

        Raises:
            InputError: the kernel does not define draws.
        """
        raise InputError(
            f'initial = "mollified" needs a mollifier that can be drawn from, such as a Gaussian or a Matérn one, not '
            f'{self}: give initial = "u0", or define draw on the kernel'
        )

    def __mul__(self, other: Kernel) -> Kernel:
        """Return the convolution of two kernels."""
        return Convolution(first=self, second=other)

    def __eq__(self, other: object) -> bool:
        """Return whether two kernels of one class have the same symbol; dataclasses compare their parameters."""
        return type(self) is type(other) and np.array_equal(self.symbol(_TRIED), other.symbol(_TRIED))

    def __hash__(self) -> int:
        return hash(type(self))


#: The λ at which symbols are tried.
_TRIED = np.geomspace(1e-6, 1e8, 57)


def check_symbol(label: str, kernel: Kernel) -> None:
    """Raise unless a kernel's symbol returns finite real numbers, one for each λ.

    Args:
        label: the user's name for the kernel.
        kernel: the kernel.

    Raises:
        InputError: it returns something else.
    """
    with np.errstate(all="ignore"):
        found = np.asarray(kernel.symbol(_TRIED.copy()))
    if found.shape != _TRIED.shape:
        raise InputError(
            f"{label}: its kernel's symbol returned shape {found.shape} for {len(_TRIED)} values of |k|^2: return one "
            "number for each"
        )
    if not np.can_cast(found.dtype, np.float64, casting="same_kind"):
        raise InputError(
            f"{label}: its kernel's symbol returned values of type {found.dtype}: return real numbers, as the symbol "
            "of a radial kernel is"
        )
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise InputError(
            f"{label}: its kernel's symbol is {found[bad[0]]:g} at |k|^2 = {_TRIED[bad[0]]:g}: return finite numbers"
        )


@dataclass(frozen=True, kw_only=True)
class Convolution(Kernel):
    """The convolution of two kernels: the product of their symbols."""

    first: Kernel
    second: Kernel

    def symbol(self, lam: Array) -> Array:
        """Return the product of the two symbols."""
        return self.first.symbol(lam) * self.second.symbol(lam)

    def draw(self, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
        """Return the sum of two independent draws."""
        first = self.first.draw(random, ids, dimension, step=2 * step + 1)
        return first + self.second.draw(random, ids, dimension, step=2 * step + 2)

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """The polynomials of both kernels."""
        return (*self.first.resolvents, *self.second.resolvents)

    @property
    def decay_rate(self) -> float:
        """The slower of the two rates."""
        return min(self.first.decay_rate, self.second.decay_rate)

    @property
    def relaxation_rate(self) -> float:
        """The first kernel's: a mollifier changes the source of a field, not its equation."""
        return self.first.relaxation_rate

    @property
    def smoothing(self) -> float:
        """The sum of the two orders."""
        return self.first.smoothing + self.second.smoothing


@dataclass(frozen=True, kw_only=True)
class Yukawa(Kernel):
    r"""The Yukawa potential: :math:`c = K * u` solves :math:`-\Delta c + \mu^2 c = \chi u` on :math:`\mathbb R^d`.

    Symbol :math:`\chi / (\lambda + \mu^2)`. In two dimensions :math:`K(x) = \chi K_0(\mu |x|) / (2\pi)`: Wang, Li and
    Huang's :math:`\Phi = \chi\tilde\Phi` (their display before (1.4)).

    Attributes:
        strength: χ, any finite number (negative repels).
        screening: μ > 0, an inverse length.

    Raises:
        InputError: a value out of range.
    """

    strength: float = 1.0
    screening: float = 1.0

    def __post_init__(self) -> None:
        check_number("strength", self.strength)
        check_number("screening", self.screening, above=0)

    def symbol(self, lam: Array) -> Array:
        """Return χ / (λ + μ²)."""
        return self.strength / (lam + self.screening**2)

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """(χ/μ²) s with τ = 1/μ²: one solve, exact."""
        half = 0.5 * self.strength / self.screening**2
        return (ResolventPolynomial(tau=self.screening**-2, chebyshev=(half, half), decay_rate=self.screening),)

    @property
    def decay_rate(self) -> float:
        """The screening μ."""
        return self.screening

    @property
    def smoothing(self) -> float:
        """Two: the symbol is O(λ⁻¹)."""
        return 2.0


@dataclass(frozen=True, kw_only=True)
class GaussianMollifier(Kernel):
    r"""The Gaussian probability density of standard deviation ε in each coordinate.

    Symbol :math:`e^{-\varepsilon^2\lambda/2}`.

    Attributes:
        eps: ε > 0, a length.

    Raises:
        InputError: ε is not positive and finite.
    """

    eps: float

    def __post_init__(self) -> None:
        check_number("eps", self.eps, above=0)

    def symbol(self, lam: Array) -> Array:
        """Return exp(−ε²λ/2)."""
        return np.exp(-0.5 * self.eps**2 * lam)

    def draw(self, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
        """Return normal draws."""
        return self.eps * random.normals(ids, step, dimension)

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """The interpolant of degree 16 in one resolvent, within 1e-7 of the symbol for all λ; p(1) = 1 conserves mass.

        With x = ε²λ/2 and s = 1/(1 + x/a), e^(−x) = exp(a − a/s) is smooth on [0, 1]; a balances both ends.
        """
        return (
            ResolventPolynomial(tau=0.5 * self.eps**2 / _GAUSSIAN_POLE, chebyshev=_gaussian_chebyshev(), error=1e-7),
        )

    @property
    def decay_rate(self) -> float:
        """Infinite: it decays faster than any exponential."""
        return math.inf

    @property
    def smoothing(self) -> float:
        """Infinite: the symbol decays faster than any power of λ."""
        return math.inf


@dataclass(frozen=True, kw_only=True)
class MaternMollifier(Kernel):
    r"""The Matérn probability density of order m: symbol :math:`(1 + \varepsilon^2 \lambda / (2m))^{-m}`.

    Like the Gaussian, its limit as m → ∞, it has variance ε² in each coordinate; it is positive, and m Helmholtz solves
    apply it exactly.

    Attributes:
        eps: ε > 0, a length.
        order: m ≥ 2.

    Raises:
        InputError: a value out of range.
    """

    eps: float
    order: int = 2

    def __post_init__(self) -> None:
        check_number("eps", self.eps, above=0)
        check_integer("order", self.order, at_least=2)

    def symbol(self, lam: Array) -> Array:
        """Return (1 + ε²λ/(2m))^(−m)."""
        return (1.0 + self.eps**2 * lam / (2 * self.order)) ** (-self.order)

    def draw(self, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
        r"""Return draws from a mixture of Gaussians.

        Their variance is :math:`(\varepsilon^2/m)\,\Gamma` with a Gamma distribution of shape m:
        :math:`E e^{-\lambda\varepsilon^2\Gamma/(2m)} = (1 + \varepsilon^2\lambda/(2m))^{-m}`.
        """
        gamma = -np.log(random.uniforms(ids, step, self.order)).sum(axis=1)
        radius = self.eps * np.sqrt(gamma / self.order)
        return np.asarray(radius[:, None] * random.normals(ids, step, dimension))

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """s^m with τ = ε²/(2m): m solves, exact."""
        power = np.polynomial.chebyshev.poly2cheb(np.polynomial.polynomial.polypow([0.5, 0.5], self.order))
        return (ResolventPolynomial(tau=self.eps**2 / (2 * self.order), chebyshev=tuple(power.tolist())),)

    @property
    def decay_rate(self) -> float:
        """√(2m)/ε."""
        return math.sqrt(2 * self.order) / self.eps

    @property
    def smoothing(self) -> float:
        """2m."""
        return 2.0 * self.order


_GAUSSIAN_POLE = 11.5


@cache
def _gaussian_chebyshev(degree: int = 16) -> tuple[float, ...]:
    nodes = np.cos(np.pi * np.arange(degree, -1, -1) / degree)
    s = 0.5 * (1.0 + nodes)
    values = np.exp(_GAUSSIAN_POLE * (1.0 - 1.0 / np.where(s > 0, s, 1.0)), where=s > 0, out=np.zeros_like(s))
    return tuple(np.polynomial.chebyshev.chebfit(nodes, values, degree).tolist())


#: Mollifiers by name: kernels of integral 1 that are made with the keyword ``eps``.
MOLLIFIERS: dict[str, Callable[..., Kernel]] = {"gaussian": GaussianMollifier, "matern": MaternMollifier}

#: What may be given as ``mollifier``: a name, a function of ``eps``, or the kernel itself.
Mollifier = str | Callable[..., Kernel] | Kernel


@overload
def resolve_mollifier(eps: float, mollifier: Mollifier = ...) -> Kernel: ...
@overload
def resolve_mollifier(eps: float | None, mollifier: Mollifier = ...) -> Kernel | None: ...
def resolve_mollifier(eps: float | None, mollifier: Mollifier = "gaussian") -> Kernel | None:
    """Return the mollifier j^ε, or None if the system is not regularised: no ``eps``, and no kernel.

    Args:
        eps: ε > 0, the mollifier's standard deviation in each coordinate.
        mollifier: "gaussian", "matern" (order 2), a callable with a keyword ``eps`` that returns a kernel of integral
            1, such as ``functools.partial(kspde.MaternMollifier, order=3)``, or, without ``eps``, a kernel that has an
            ``eps`` of its own, such as ``kspde.MaternMollifier(eps=0.3, order=3)``.

    Raises:
        InputError: ε ≤ 0, an unknown name, a kernel whose integral is not 1, or two different ε.
    """
    if isinstance(mollifier, Kernel):
        own = getattr(mollifier, "eps", None)
        if own is None:
            raise InputError(f"mollifier = {mollifier!r} has no eps: give eps, and a function of eps that returns it")
        if eps is not None and eps != own:
            raise InputError(f"eps = {shown(eps)} is not that of mollifier = {mollifier!r}: leave one of them out")
        return _checked_mollifier(mollifier)
    if eps is None:
        return None
    check_number("eps", eps, above=0)
    if not callable(mollifier):
        return MOLLIFIERS[check_choice("mollifier", mollifier, MOLLIFIERS)](eps=eps)
    try:
        signature(mollifier).bind(eps=eps)
    except (TypeError, ValueError):
        raise InputError(
            f"mollifier = {mollifier!r} does not take the keyword eps alone: give a callable such as "
            "functools.partial(kspde.MaternMollifier, order=3)"
        ) from None
    kernel = mollifier(eps=eps)
    if not isinstance(kernel, Kernel):
        raise InputError(f"mollifier returned {type(kernel).__name__}: it must return a kspde kernel")
    return _checked_mollifier(kernel)


def _checked_mollifier(kernel: Kernel) -> Kernel:
    check_symbol("mollifier", kernel)
    integral = float(kernel.symbol(np.zeros(1))[0])
    if not abs(integral - 1.0) < 1e-6:
        raise InputError(
            f"mollifier has the integral {integral:g}, the value of its symbol at 0: give one of integral 1, which "
            "conserves mass"
        )
    return kernel
