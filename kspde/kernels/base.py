"""What a kernel is, and the convolution of two."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from kspde import radial
from kspde.errors import InputError, called, check_integer
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["Convolution", "Derived", "Dimensioned", "Kernel", "Multiple", "ResolventPolynomial", "check_symbol"]


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

    def times(self, factor: float) -> ResolventPolynomial:
        """Return a multiple of the polynomial."""
        return replace(self, chebyshev=tuple(factor * a for a in self.chebyshev))

    def __call__(self, lam: Array) -> Array:
        """Return p at eigenvalues λ ≥ 0 of −Δ."""
        s = 1.0 / (1.0 + self.tau * lam)
        return np.asarray(np.polynomial.chebyshev.chebval(2.0 * s - 1.0, np.array(self.chebyshev)))


class Kernel(ABC):
    """A radial convolution kernel, given by its symbol.

    Attributes:
        local: whether the field is a multiple of the density at the same place.
        support: the distance from which on the kernel is 0, where ``profile`` and ``slope`` are closed forms: particles
            then interact with their neighbours alone; ``inf`` for others.
        oscillation: the length ℓ of the symbol's oscillations, which are those of cos(ℓ|k|), such as the radius of a
            compact support; 0 if it has none.
        fundamental: whether it is a multiple of the fundamental solution of −Δ + ρ², ρ = ``decay_rate``.
        blur: the standard deviation of a Gaussian probability density; None for other kernels.
        homogeneity: the s of a multiple of |x|^(−s), 0 for that of log|x|; None for others.
    """

    local: ClassVar[bool] = False
    fundamental: ClassVar[bool] = False
    blur: float | None = None
    homogeneity: ClassVar[float | None] = None

    def in_dimension(self, dimension: int) -> Kernel:
        """Return the kernel in dimension d, on which symbols of some depend; the kernel itself by default.

        Fields and problems hold kernels that know their dimension.
        """
        return self

    def profile(self, r: Array, dimension: int) -> Array:
        """Return K at distances r ≥ 0 in dimension 1, 2 or 3, in the shape of r: a quadrature of the symbol by default.

        It is accurate to 1e-9 of sup|K|, and takes the longer the more slowly the symbol decays.

        Raises:
            InputError: it would take too long.
        """
        return self._by_quadrature(r, dimension, slope=False)

    def slope(self, r: Array, dimension: int) -> Array:
        """Return K' = dK/dr at distances r ≥ 0, as ``profile`` does K.

        Raises:
            InputError: it would take too long.
        """
        return self._by_quadrature(r, dimension, slope=True)

    def _by_quadrature(self, r: Array, dimension: int, *, slope: bool) -> Array:
        distances, where = np.unique(np.asarray(r, dtype=np.float64), return_inverse=True)
        values = radial.quadrature(self.in_dimension(dimension), dimension, distances, tol=1e-10, slope=slope)
        return values[where].reshape(np.shape(r))

    def blurred(self, r: Array, dimension: int, std: float, *, slope: bool = False) -> Array:
        """Return K * G at distances r, or its slope, G the Gaussian of standard deviation ``std``: a closed form.

        Raises:
            InputError: the kernel does not define it.
        """
        raise InputError(f"{self} is not known in closed form when mollified by a Gaussian: define blurred on it")

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        """Return the transform of K·1_{|x| < R} at λ = |k|² ≥ 0, which is smooth in k.

        Convolution with it is that with K where no two points are farther apart than R: free space without images
        (Vico, Greengard and Ferrando, J. Comput. Phys. 323 (2016)).

        Raises:
            InputError: the kernel does not define it, and reaches beyond R.
        """
        if self.decay_rate * radius < 40.0:
            raise InputError(f"{self} reaches beyond {radius:g}: define truncated_symbol on it, or use a larger box")
        return self.in_dimension(dimension).symbol(lam)

    @property
    def factors(self) -> tuple[Kernel, ...]:
        """The kernels that it is the convolution of, that of the slowest decay first."""
        return (self,)

    @property
    def support(self) -> float:
        """Infinite."""
        return math.inf

    @property
    def closed(self) -> bool:
        """Whether the kernel ends: others need not have closed forms."""
        return math.isfinite(self.support)

    @property
    def oscillation(self) -> float:
        """0."""
        return 0.0

    @abstractmethod
    def symbol(self, lam: Array) -> Array:
        """Return g(λ) at λ = |k|², or at the eigenvalues of a discrete −Δ (same shape as ``lam``, λ ≥ 0)."""

    @property
    @abstractmethod
    def decay_rate(self) -> float:
        """The rate ρ of the kernel's exponential decay exp(−ρ|x|) at infinity; ``inf`` if it decays faster.

        It is 0 for potentials of power-law decay, or of growth, whose symbols are singular at 0.
        """

    @property
    def charge(self) -> float:
        """The s of a ``fundamental`` kernel, which is s times the fundamental solution."""
        return float(self.symbol(np.ones(1))[0]) * (1 + self.decay_rate**2)

    def grows(self, dimension: int) -> bool:
        """Return whether the potential of a mass does not vanish at infinity: λ^(d/2) g(λ) does not as λ → 0."""
        if self.decay_rate > 0:
            return False
        lam = np.array([1e-40, 1e-20])
        far, near = np.abs(self.symbol(lam)) * lam ** (0.5 * dimension)
        return bool(far > 0.999999 * near > 0)

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
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """Polynomials in resolvents of −Δ whose product is g, for spaces without a spectral transform.

        Raises:
            InputError: the kernel does not define them.
        """
        raise InputError(f"{self} has no resolvents, which a mesh needs: use a Box, or define them on the kernel")

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
        """Return the convolution of two kernels: a multiple of the other one where one is local."""
        for one, kernel in ((self, other), (other, self)):
            if one.local:
                factor = float(one.symbol(np.zeros(1))[0])
                return kernel if factor == 1.0 else Multiple(factor=factor, kernel=kernel)
        return Convolution(first=self, second=other)

    def __eq__(self, other: object) -> bool:
        """Return whether two kernels of one class have the same symbol; dataclasses compare their parameters."""
        return type(self) is type(other) and np.array_equal(self.symbol(_TRIED), other.symbol(_TRIED))

    def __hash__(self) -> int:
        return hash(type(self))


@dataclass(frozen=True, kw_only=True)
class Dimensioned(Kernel):
    """A kernel whose symbol depends on the dimension.

    Attributes:
        dimension: d; given by ``in_dimension``.
    """

    dimension: int | None = field(default=None, init=False, repr=False)

    def in_dimension(self, dimension: int) -> Self:
        """Return the kernel in dimension 1, 2 or 3."""
        check_integer(f"dimension of {self}", dimension, at_least=1, at_most=3)
        bound = copy.copy(self)
        object.__setattr__(bound, "dimension", int(dimension))
        return bound

    @property
    def _d(self) -> int:
        if self.dimension is None:
            raise InputError(f"the symbol of {self!r} depends on the dimension: take .in_dimension(d) first")
        return self.dimension


def _product(kernels: Sequence[Kernel], lam: Array) -> Array:
    """Return the product of symbols."""
    return np.asarray(math.prod((kernel.symbol(lam) for kernel in kernels), start=np.ones_like(lam)))


@dataclass(frozen=True, kw_only=True)
class Convolution(Kernel):
    """The convolution of two kernels: the product of their symbols."""

    first: Kernel
    second: Kernel

    def in_dimension(self, dimension: int) -> Convolution:
        """Return the convolution of both kernels in that dimension."""
        return replace(self, first=self.first.in_dimension(dimension), second=self.second.in_dimension(dimension))

    def symbol(self, lam: Array) -> Array:
        """Return the product of the two symbols."""
        return self.first.symbol(lam) * self.second.symbol(lam)

    def draw(self, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
        """Return the sum of two independent draws."""
        first = self.first.draw(random, ids, dimension, step=2 * step + 1)
        return first + self.second.draw(random, ids, dimension, step=2 * step + 2)

    @property
    def factors(self) -> tuple[Kernel, ...]:
        """Those of both kernels."""
        return tuple(sorted((*self.first.factors, *self.second.factors), key=lambda kernel: kernel.decay_rate))

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        """Return that of the slowest factor times the symbols of the others."""
        slowest, *others = self.in_dimension(dimension).factors
        return slowest.truncated_symbol(lam, radius, dimension) * _product(others, lam)

    @property
    def closed(self) -> bool:
        """Whether it is the mean of a screened fundamental solution over Gaussians."""
        slowest, *others = self.factors
        return slowest.fundamental and slowest.decay_rate > 0 and all(kernel.blur is not None for kernel in others)

    def _by_quadrature(self, r: Array, dimension: int, *, slope: bool) -> Array:
        """Where the symbol is singular at 0, a mean over a Gaussian in closed form carries the singularity."""
        if self.closed:
            slowest, *others = self.in_dimension(dimension).factors
            std = math.hypot(*(kernel.blur for kernel in others if kernel.blur is not None))
            return slowest.blurred(r, dimension, std, slope=slope)
        if self.decay_rate > 0:
            return super()._by_quadrature(r, dimension, slope=slope)
        slowest, *others = self.in_dimension(dimension).factors
        rest = _Rest.of(slowest, others)
        closed = rest.share * slowest.blurred(r, dimension, rest.std, slope=slope)
        return np.asarray(closed + rest._by_quadrature(r, dimension, slope=slope))

    @property
    def oscillation(self) -> float:
        """The sum of both lengths."""
        return self.first.oscillation + self.second.oscillation

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
class _Rest(Kernel):
    """g(j − j(0)e^(−σ²λ/2)), bounded at λ = 0, for a symbol g that is singular there and a product j of others.

    Attributes:
        slowest: the kernel of g.
        others: those of j.
        share: j(0).
        std: σ, that of j as far as it is a density.
    """

    slowest: Kernel
    others: tuple[Kernel, ...]
    share: float
    std: float

    decay_rate = math.inf

    @classmethod
    def of(cls, slowest: Kernel, others: list[Kernel]) -> Self:
        lam = radial.WAVENUMBERS**2
        size = _product(others, lam)
        share = float(size[0])
        half = lam[np.flatnonzero(np.abs(size) > 0.5 * abs(share))[-1]]
        near = np.array([1e-6 * half])
        fall = 1 - float(_product(others, near)[0]) / share
        variance = 2 * fall / float(near[0])
        return cls(
            slowest=slowest,
            others=tuple(others),
            share=share,
            std=math.sqrt(variance if variance > 0.1 / half else 1 / half),
        )

    def symbol(self, lam: Array) -> Array:
        """Return the difference, 0 where it is all round-off."""
        lam = np.maximum(lam, 1e-300)
        difference = _product(self.others, lam) - self.share * np.exp(-0.5 * self.std**2 * lam)
        return np.where(self.std**2 * lam < 1e-8, 0.0, difference * self.slowest.symbol(lam))

    @property
    def smoothing(self) -> float:
        """That of the product."""
        return sum(kernel.smoothing for kernel in (self.slowest, *self.others))

    @property
    def oscillation(self) -> float:
        """That of the product."""
        return sum(kernel.oscillation for kernel in self.others)


@dataclass(frozen=True, kw_only=True)
class Derived(Kernel):
    """A kernel made from another, which its rates and lengths are those of.

    Attributes:
        kernel: the other one.
    """

    kernel: Kernel

    @property
    def decay_rate(self) -> float:
        """The kernel's."""
        return self.kernel.decay_rate

    @property
    def relaxation_rate(self) -> float:
        """The kernel's."""
        return self.kernel.relaxation_rate

    @property
    def smoothing(self) -> float:
        """The kernel's."""
        return self.kernel.smoothing

    @property
    def oscillation(self) -> float:
        """The kernel's."""
        return self.kernel.oscillation

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """Not available, unless they follow from the kernel's."""
        raise NotImplementedError(f"a {type(self).__name__} exists on grids only")


@dataclass(frozen=True, kw_only=True)
class Multiple(Derived):
    """A kernel times a number."""

    factor: float

    def in_dimension(self, dimension: int) -> Multiple:
        """Return the same multiple of the kernel in that dimension."""
        return replace(self, kernel=self.kernel.in_dimension(dimension))

    @property
    def support(self) -> float:
        """The kernel's."""
        return self.kernel.support

    def symbol(self, lam: Array) -> Array:
        """Return the multiple of the symbol."""
        return self.factor * self.kernel.symbol(lam)

    def profile(self, r: Array, dimension: int) -> Array:
        """Return the multiple of the profile."""
        return self.factor * self.kernel.profile(r, dimension)

    def slope(self, r: Array, dimension: int) -> Array:
        """Return the multiple of the slope."""
        return self.factor * self.kernel.slope(r, dimension)

    def blurred(self, r: Array, dimension: int, std: float, *, slope: bool = False) -> Array:
        """Return the multiple of the closed form."""
        return self.factor * self.kernel.blurred(r, dimension, std, slope=slope)

    def truncated_symbol(self, lam: Array, radius: float, dimension: int) -> Array:
        """Return the multiple of the transform."""
        return self.factor * self.kernel.truncated_symbol(lam, radius, dimension)

    @property
    def factors(self) -> tuple[Kernel, ...]:
        """The kernel's, the first times the number."""
        first, *others = self.kernel.factors
        return (Multiple(factor=self.factor, kernel=first), *others)

    @property
    def fundamental(self) -> bool:  # type: ignore[override]
        """The kernel's."""
        return self.kernel.fundamental

    @property
    def homogeneity(self) -> float | None:  # type: ignore[override]
        """The kernel's."""
        return self.kernel.homogeneity

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """The kernel's, the first times the number."""
        first, *others = self.kernel.resolvents
        return (first.times(self.factor), *others)


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
        found = np.asarray(called(f"{label}: its kernel's symbol", "a function of |k|^2", kernel.symbol, _TRIED.copy()))
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
