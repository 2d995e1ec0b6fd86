r"""The distances, by name: what each is called, which pairs it applies to, and its formula.

To add one, write its formula and add it to :data:`DISTANCES`. It is then accepted by ``compare(distances=...)``,
printed, tabulated and drawn, with its interval and its floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import gamma, pi, sqrt

import numpy as np

from kspde.distances.knn import relative_entropy_of
from kspde.distances.statistics import Estimate
from kspde.errors import KspdeError
from kspde.typing import Array

__all__ = [
    "DISTANCES",
    "ENERGY",
    "L1",
    "Curves",
    "DensityPair",
    "Formula",
    "OnGrid",
    "OnLines",
    "OnPoints",
    "Projection",
    "those",
]

#: Kinds of comparison: a density and particles, two densities, two sets of particles.
_KINDS = ("particles", "densities", "clouds")


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A distance.

    Attributes:
        name: its name in Python and in files.
        title: its name in print.
        symbol: its symbol in pictures, in TeX, where the title is not enough.
        default: the kinds of comparison ("particles", "densities", "clouds") that measure it unless others are asked
            for; "pairs" stands for particles with r = 2 in more than three dimensions.
        squared: whether it grows like the square of a small difference; then roots are compared.
        debiases: whether an estimate without the particles' noise makes sense.
    """

    name: str
    title: str
    symbol: str = ""
    default: tuple[str, ...] = ()
    squared: bool = False
    debiases: bool = True

    @property
    def applies(self) -> tuple[str, ...]:
        """The kinds of comparison it applies to."""
        return _KINDS

    @property
    def label(self) -> str:
        """The title with mathematical type."""
        return self.title.replace("L1 ", "$L^1$ ").replace("L2 ", "$L^2$ ")


class DensityPair:
    """A density p and the reference u at common points, both of mass 1, with the weights that integrate there.

    Args:
        p: the values of p.
        u: the values of u.
        weight: the weight of all points, or an array of one for each.
        log_ratio: log(p/u) where it is known already.
    """

    def __init__(self, p: Array, u: Array, weight: float | Array, log_ratio: Array | None = None) -> None:
        self.p, self.u, self._weight = p, u, weight
        if log_ratio is not None:
            self.log_ratio = log_ratio

    @cached_property
    def gap(self) -> Array:
        """The difference p − u."""
        return self.p - self.u

    @cached_property
    def log_ratio(self) -> Array:
        """The logarithm log(p/u); 0 where p = 0."""
        here = self.p > 0
        return np.log(np.divide(self.p, self.u, out=np.ones_like(self.p), where=here))

    @cached_property
    def l1(self) -> float:
        """∫|p − u|."""
        return self.integral(np.abs(self.gap))

    @property
    def reversed(self) -> DensityPair:
        """The same pair with u as the density and p as the reference, where no density vanishes."""
        return DensityPair(self.u, self.p, self._weight, -self.log_ratio)

    def integral(self, f: Array) -> float:
        """Return ∫f."""
        return float(f.sum()) * self._weight if isinstance(self._weight, float) else float(np.vdot(self._weight, f))

    def inner(self, f: Array, g: Array) -> float:
        """Return ∫fg."""
        if isinstance(self._weight, float):
            return float(np.vdot(f, g)) * self._weight
        return float(np.vdot(self._weight, f * g))


@dataclass(frozen=True, kw_only=True)
class OnGrid(Formula):
    """A distance of two densities by their values at common points.

    Particles are replaced by a kernel density estimate, two densities are integrated by quadrature.

    Attributes:
        between: the distance of p from u.
        of_difference: whether it depends on p − u alone, as a norm does. Only such distances apply to two clouds.
        logarithmic: whether it takes logarithms or quotients, so that densities are bounded away from 0 for it.
        reverse: whether the two densities change places.
        least: the least value that densities at a given L¹ distance can have.
    """

    between: Callable[[DensityPair], float]
    of_difference: bool = False
    logarithmic: bool = False
    reverse: bool = False
    least: Callable[[float], float] = lambda l1: 0.0

    @property
    def applies(self) -> tuple[str, ...]:
        """The kinds of comparison it applies to."""
        return _KINDS if self.of_difference else _KINDS[:2]


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
        curves = self.f[None] if self.g is None else np.multiply.outer(self.by, self.g) + self.f
        return np.asarray(np.abs(curves).sum(axis=1) * self.step)

    def l2_squared(self) -> Array:
        """Return the integrals of squares, one for each λ."""
        mixed, other = (0.0, 0.0) if self.g is None else (float(self.f @ self.g), float(self.g @ self.g))
        squares = float(self.f @ self.f) + 2 * self.by * mixed + self.by**2 * other
        return np.asarray(np.maximum(squares, 0.0) * self.step)


@dataclass(frozen=True)
class Projection:
    """The difference of two laws projected onto a line.

    Attributes:
        distributions: the difference of their distribution functions.
        quantiles: that of their quantile functions; None where no distance needs it.
    """

    distributions: Curves
    quantiles: Curves | None = None


@dataclass(frozen=True, kw_only=True)
class OnLines(Formula):
    """A distance of the projections onto lines, averaged over directions (:mod:`kspde.distances.sliced`).

    Attributes:
        on_line: the contribution of a direction, one number for each λ.
        of_mean: the distance, from the mean over directions and the dimension.
        of_quantiles: whether quantile functions are compared, which requires sorting.
        power: p where the distance is also that of an optimal plan of cost :math:`|x - y|^p`, else 0.
    """

    on_line: Callable[[Projection], Array]
    of_mean: Callable[[Array | float, int], Array | float] = lambda mean, dimension: mean
    of_quantiles: bool = False
    power: int = 0


@dataclass(frozen=True, kw_only=True)
class OnPoints(Formula):
    """A distance of the points themselves from a density.

    Attributes:
        measure: a function of the points, log u, and what draws n points from u with a generator of random numbers,
            with the options k (``neighbours``) and ``replicas``: the estimate with its interval, and its floor.
    """

    measure: Callable[..., tuple[Estimate, Estimate]]

    @property
    def applies(self) -> tuple[str, ...]:
        """The kinds of comparison it applies to."""
        return _KINDS[:1]


def those[F: Formula](kind: type[F], formulas: Iterable[Formula]) -> list[F]:
    """Return the formulas of one kind."""
    return [formula for formula in formulas if isinstance(formula, kind)]


def _relative_entropy(pair: DensityPair) -> float:
    r"""Return H(p|u) as the integral of :math:`p \log(p/u) - p + u \ge 0`.

    Raises:
        KspdeError: it contradicts Csiszár, Kullback and Pinsker's :math:`\|p - u\|_1^2 \le 2 H(p|u)`.
    """
    entropy = max(0.0, pair.inner(pair.p, pair.log_ratio) - pair.integral(pair.gap))
    if not pair.l1**2 <= 2 * entropy * (1 + 1e-9) + 1e-13:
        raise KspdeError(
            f"L1 = {pair.l1!r} and the relative entropy {entropy!r} contradict Csiszar, Kullback and Pinsker: please "
            "report this with the case"
        )
    return entropy


def _entropy(name: str, title: str, symbol: str, *, reverse: bool = False) -> OnGrid:
    return OnGrid(
        name=name,
        title=title,
        symbol=symbol,
        default=("particles", "densities"),
        squared=True,
        between=_relative_entropy,
        logarithmic=True,
        reverse=reverse,
        least=lambda l1: 0.5 * l1**2,
    )


#: ∫|p − u|, which bounds the relative entropies from below.
L1 = OnGrid(name="l1", title="L1 distance", default=_KINDS, between=lambda pair: pair.l1, of_difference=True)

#: 2E|X − Y| − E|X − X'| − E|Y − Y'|, a squared metric. Its expectation for independent draws is known, so that it also
#: says how far particles are without their noise.
ENERGY = OnLines(
    name="energy",
    title="energy distance",
    default=("clouds", "pairs"),
    squared=True,
    on_line=lambda line: 2 * line.distributions.l2_squared(),
    of_mean=lambda mean, dimension: mean * sqrt(pi) * gamma((dimension + 1) / 2) / gamma(dimension / 2),
)

#: By name, in the order they are reported.
DISTANCES: dict[str, Formula] = {
    distance.name: distance
    for distance in (
        L1,
        OnGrid(
            name="l2",
            title="L2 distance",
            default=_KINDS,
            between=lambda pair: sqrt(pair.inner(pair.gap, pair.gap)),
            of_difference=True,
        ),
        _entropy("relative_entropy", "relative entropy", r"H(\hat u_N|u)"),
        _entropy("reverse_relative_entropy", "reverse relative entropy", r"H(u|\hat u_N)", reverse=True),
        OnLines(
            name="wasserstein1",
            title="Wasserstein-1",
            default=("densities", "clouds", "pairs"),
            debiases=False,
            on_line=lambda line: line.distributions.l1(),
            power=1,
        ),
        OnLines(
            name="wasserstein2",
            title="Wasserstein-2",
            default=("densities",),  # the quantiles of two clouds take long to sort
            debiases=False,
            on_line=lambda line: line.quantiles.l2_squared(),  # type: ignore[union-attr]
            of_mean=lambda mean, dimension: np.sqrt(mean),
            of_quantiles=True,
            power=2,
        ),
        ENERGY,
        OnPoints(name="relative_entropy_knn", title="relative entropy (neighbours)", measure=relative_entropy_of),
    )
}
