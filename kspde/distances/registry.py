r"""The distances, by name: what each is called, which pairs it applies to, and its formula.

To add one, write a class below (or in a module of its own) and add a line to :data:`DISTANCES`. It is then accepted by
``compare(distances=...)``, printed, tabulated and drawn, and has its interval and its floor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import gamma, pi, sqrt
from typing import Any, override

import numpy as np

from kspde.distances.knn import relative_entropy_of
from kspde.distances.statistics import Estimate
from kspde.errors import KspdeError
from kspde.typing import Array

__all__ = ["DISTANCES", "ENERGY", "Curves", "DensityPair", "Formula", "OnGrid", "OnLines", "OnNeighbours", "Projection"]


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A distance between a density and particles, two densities, or two sets of particles.

    Attributes:
        name: its name in Python and in files.
        title: its name in print.
        symbol: its symbol in pictures, in TeX, where the title does not say it all.
        squared: whether it grows like the square of a small difference; then roots are compared.
        applies: the pairs it applies to: "particles" (a density and particles), "densities" and "clouds".
        default: those among them for which it is measured unless others are asked for; "pairs" stands for r = 2 in more
            than three dimensions.
        debiases: whether an estimate without the particles' noise makes sense.
    """

    name: str
    title: str
    symbol: str = ""
    squared: bool = False
    applies: tuple[str, ...] = ("particles", "densities", "clouds")
    default: tuple[str, ...] = ()
    debiases: bool = True

    @property
    def label(self) -> str:
        """The title with mathematical type."""
        return self.title.replace("L1 ", "$L^1$ ").replace("L2 ", "$L^2$ ")


class DensityPair:
    """A density p and the reference u at common points, both of mass 1, with the weights that integrate there.

    Args:
        p: values of p.
        u: values of u.
        weight: of the points: one for all, or an array.
        log_ratio: log(p/u) where it is known already.
    """

    def __init__(self, p: Array, u: Array, weight: float | Array, log_ratio: Array | None = None) -> None:
        self.p, self.u, self._weight, self._known = p, u, weight, log_ratio

    @classmethod
    def of_gap(cls, gap: Array, weight: float) -> DensityPair:
        """Return a pair of which only p − u is known."""
        pair = cls(gap, np.zeros(1), weight)
        pair.gap = gap
        return pair

    @cached_property
    def gap(self) -> Array:
        """P − u."""
        return self.p - self.u

    @cached_property
    def log_ratio(self) -> Array:
        """log(p/u); 0 where p = 0."""
        if self._known is not None:
            return self._known
        here = self.p > 0
        return np.log(np.divide(self.p, self.u, out=np.ones_like(self.p), where=here), where=here, out=0.0 * self.p)

    @cached_property
    def l1(self) -> float:
        """∫|p − u|."""
        return self.integral(np.abs(self.gap))

    @property
    def reversed(self) -> DensityPair:
        """The same pair with u as the density and p as the reference; only where ``log_ratio`` is given."""
        assert self._known is not None
        return DensityPair(self.u, self.p, self._weight, -self._known)

    def integral(self, f: Array) -> float:
        """Return ∫f."""
        return float(f.sum()) * self._weight if isinstance(self._weight, float) else float(np.vdot(self._weight, f))

    def inner(self, f: Array, g: Array) -> float:
        """Return ∫fg."""
        if isinstance(self._weight, float):
            return float(np.vdot(f, g)) * self._weight
        return float(np.vdot(self._weight, f * g))


class OnGrid(Formula):
    """A distance of two densities by their values at common points.

    Particles are replaced by a kernel density estimate, two densities are integrated by quadrature.
    """

    #: Whether it depends on p − u alone, as a norm does. Only such distances apply to two clouds.
    of_difference = False
    #: Whether it takes logarithms or quotients. The densities are then bounded away from 0, see :mod:`.quadrature`.
    logarithmic = False
    #: Whether the two densities change places.
    reverse = False

    @abstractmethod
    def between(self, pair: DensityPair) -> float:
        """Return the distance of p from u."""

    def least(self, l1: float) -> float:
        """Return the least value that densities at this L¹ distance can have."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class L1(OnGrid):
    r""":math:`\int |k - u|`."""

    name: str = "l1"
    title: str = "L1 distance"
    default: tuple[str, ...] = ("particles", "densities", "clouds")
    of_difference = True

    @override
    def between(self, pair: DensityPair) -> float:
        return pair.l1


@dataclass(frozen=True, kw_only=True)
class L2(OnGrid):
    r""":math:`(\int (k - u)^2)^{1/2}`, a length to the power −d/2."""

    name: str = "l2"
    title: str = "L2 distance"
    default: tuple[str, ...] = ("particles", "densities", "clouds")
    of_difference = True

    @override
    def between(self, pair: DensityPair) -> float:
        return sqrt(pair.inner(pair.gap, pair.gap))


@dataclass(frozen=True, kw_only=True)
class RelativeEntropy(OnGrid):
    r""":math:`H(k|u) = \int k \log(k/u)`, as the integral of :math:`k \log(k/u) - k + u \ge 0`.

    Csiszár, Kullback and Pinsker's :math:`\|k - u\|_1^2 \le 2 H(k|u)` is checked.
    """

    name: str = "relative_entropy"
    title: str = "relative entropy"
    symbol: str = r"H(\hat u_N|u)"
    squared: bool = True
    applies: tuple[str, ...] = ("particles", "densities")
    default: tuple[str, ...] = ("particles", "densities")
    logarithmic = True

    @override
    def between(self, pair: DensityPair) -> float:
        entropy = max(0.0, pair.inner(pair.p, pair.log_ratio) - pair.integral(pair.gap))
        if not pair.l1**2 <= 2 * entropy * (1 + 1e-9) + 1e-13:
            raise KspdeError(
                f"L1 = {pair.l1!r} and the relative entropy {entropy!r} contradict Csiszar, Kullback and Pinsker: "
                f"please report this with the case"
            )
        return entropy

    @override
    def least(self, l1: float) -> float:
        return 0.5 * l1**2


@dataclass(frozen=True, kw_only=True)
class ReverseRelativeEntropy(RelativeEntropy):
    r""":math:`H(u|k) = \int u \log(u/k)`."""

    name: str = "reverse_relative_entropy"
    title: str = "reverse relative entropy"
    symbol: str = r"H(u|\hat u_N)"
    reverse = True


@dataclass(frozen=True)
class Curves:
    """The curves f + λg for some λ, as step functions.

    Attributes:
        f: values.
        step: the length that each value stands for.
        g: values; None where λ = 0 is the only one.
        by: the λ.
    """

    f: Array
    step: float
    g: Array | None = None
    by: Array = field(default_factory=lambda: np.zeros(1))

    def l1(self) -> Array:
        """Return the integrals of absolute values, one for each λ."""
        curves = np.empty((len(self.by), len(self.f)))
        if self.g is None:
            np.abs(self.f, out=curves)
        else:
            np.multiply.outer(self.by, self.g, out=curves)
            curves += self.f
            np.abs(curves, out=curves)
        total: Array = curves.sum(axis=1) * self.step
        return total

    def l2_squared(self) -> Array:
        """Return the integrals of squares, one for each λ."""
        mixed, other = (0.0, 0.0) if self.g is None else (float(self.f @ self.g), float(self.g @ self.g))
        squares = float(self.f @ self.f) + 2 * self.by * mixed + self.by**2 * other
        return np.asarray(np.maximum(squares, 0.0) * self.step)


@dataclass(frozen=True)
class Projection:
    """The difference of two laws projected onto a line.

    Attributes:
        distributions: of their distribution functions.
        quantiles: of their quantile functions; None where they are not wanted.
    """

    distributions: Curves
    quantiles: Curves | None = None


class OnLines(Formula):
    """A distance of the projections onto lines, averaged over directions (:mod:`kspde.distances.sliced`)."""

    #: Whether quantile functions are compared, which takes sorting.
    of_quantiles = False
    #: The power of the distance in the cost of an optimal plan; 0 where there is none.
    power = 0

    @abstractmethod
    def on_line(self, projection: Projection) -> Array:
        """Return the contribution of one direction, one number for each λ."""

    def of_mean(self, mean: Any, dimension: int) -> Any:
        """Return the distance from the mean over directions in R^D."""
        return mean


@dataclass(frozen=True, kw_only=True)
class Wasserstein1(OnLines):
    r""":math:`W_1` of μ_N and u: itself on the line, or by optimal plans; sliced otherwise."""

    name: str = "wasserstein1"
    title: str = "Wasserstein-1"
    default: tuple[str, ...] = ("densities", "clouds", "pairs")
    debiases: bool = False
    power = 1

    @override
    def on_line(self, projection: Projection) -> Array:
        return projection.distributions.l1()


@dataclass(frozen=True, kw_only=True)
class Wasserstein2(OnLines):
    """W_2, likewise."""

    name: str = "wasserstein2"
    title: str = "Wasserstein-2"
    default: tuple[str, ...] = ("densities",)  # the quantiles of two clouds take long to sort
    debiases: bool = False
    of_quantiles = True
    power = 2

    @override
    def on_line(self, projection: Projection) -> Array:
        assert projection.quantiles is not None
        return projection.quantiles.l2_squared()

    @override
    def of_mean(self, mean: Any, dimension: int) -> Any:
        return np.sqrt(mean)


@dataclass(frozen=True, kw_only=True)
class Energy(OnLines):
    r"""The energy distance :math:`2E|X - Y| - E|X - X'| - E|Y - Y'|` of μ_N and u, a squared metric."""

    name: str = "energy"
    title: str = "energy distance"
    squared: bool = True
    default: tuple[str, ...] = ("clouds", "pairs")

    @override
    def on_line(self, projection: Projection) -> Array:
        return 2 * projection.distributions.l2_squared()

    @override
    def of_mean(self, mean: Any, dimension: int) -> Any:
        return mean * sqrt(pi) * gamma((dimension + 1) / 2) / gamma(dimension / 2)


@dataclass(frozen=True, kw_only=True)
class OnNeighbours(Formula):
    """A distance of points from a density by nearest neighbours."""

    applies: tuple[str, ...] = ("particles",)
    #: From points, log u, draws from u, and options: the estimate with its interval, and its floor.
    measure: Callable[..., tuple[Estimate, Estimate]]


#: Whose expectation for independent draws is known, so that it also says how far particles are without their noise.
ENERGY = Energy()

_ALL: Sequence[Formula] = (
    L1(),
    L2(),
    RelativeEntropy(),
    ReverseRelativeEntropy(),
    Wasserstein1(),
    Wasserstein2(),
    ENERGY,
    OnNeighbours(name="relative_entropy_knn", title="relative entropy (neighbours)", measure=relative_entropy_of),
)

#: By name, in the order they are reported.
DISTANCES = {distance.name: distance for distance in _ALL}
