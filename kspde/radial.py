r"""A kernel as a function of distance, by quadrature of its symbol.

.. math::
    K(r) = \frac1\pi\int_0^\infty g \cos kr\,dk, \qquad
    K(r) = \frac1{2\pi}\int_0^\infty g\,J_0(kr)\,k\,dk, \qquad
    K(r) = \frac1{2\pi^2}\int_0^\infty g\,\frac{\sin kr}{kr}\,k^2\,dk

in dimension 1, 2 and 3, with g = g(k²).
"""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError
from kspde.typing import Array

__all__ = [
    "WAVENUMBERS",
    "RadialSymbol",
    "RadialTable",
    "check_bounded",
    "check_not_local",
    "is_bounded",
    "is_zero",
    "largest_slope",
    "last_wavenumber",
    "moment",
    "profile",
    "quadrature",
    "radial_weights",
    "spherical_wave",
]

_STEP = 0.01
#: Wavenumbers, equidistant in ln k: the trapezoidal rule in ln k is spectrally accurate for smooth symbols.
WAVENUMBERS: Array = np.exp(np.arange(-30.0, 35.0, _STEP))
#: The surface of the unit sphere over (2π)^d.
_FACTOR = {1: 1 / math.pi, 2: 1 / (2 * math.pi), 3: 1 / (2 * math.pi**2)}
#: The most values of a Bessel function that a table may take.
_MOST_VALUES = 4_000_000_000


class RadialSymbol(Protocol):
    """What is read of a kernel; see :class:`~kspde.kernels.base.Kernel`."""

    local: ClassVar[bool]

    def symbol(self, lam: Array) -> Array:
        """Return g(λ)."""
        ...

    @property
    def smoothing(self) -> float:
        """The order of the symbol's decay."""
        ...

    @property
    def oscillation(self) -> float:
        """The length of the symbol's oscillations."""
        ...

    @property
    def support(self) -> float:
        """Where the kernel ends."""
        ...

    @property
    def closed(self) -> bool:
        """Whether ``profile`` and ``slope`` are faster than quadratures of the symbol."""
        ...

    def profile(self, r: Array, dimension: int) -> Array:
        """Return K(r)."""
        ...

    def slope(self, r: Array, dimension: int) -> Array:
        """Return dK/dr."""
        ...


def is_zero(kernel: RadialSymbol) -> bool:
    """Return whether the kernel vanishes (χ = 0)."""
    return not np.any(kernel.symbol(WAVENUMBERS**2))


def is_bounded(kernel: RadialSymbol, dimension: int, *, gradient: bool) -> bool:
    """Return whether a kernel, and its gradient where that is used, are bounded and continuous."""
    return kernel.smoothing > dimension + (1 if gradient else 0) or is_zero(kernel)  # the latter takes a symbol


def check_bounded(name: str, kernel: RadialSymbol, dimension: int, *, gradient: bool) -> None:
    """Raise if a kernel, or its gradient where that is used, is unbounded at the origin.

    Raises:
        InputError: the symbol decays too slowly for the dimension.
    """
    check_not_local(name, kernel)
    if not is_bounded(kernel, dimension, gradient=gradient):
        what = "the gradient of its kernel" if gradient and kernel.smoothing > dimension else "its kernel"
        raise InputError(
            f"field {name!r}: {what} is singular in dimension {dimension}: give eps, so that particles interact by the "
            f"mollified kernel (its symbol decays as |k|^-{kernel.smoothing:g}, more than "
            f"{dimension + (1 if gradient else 0)} is needed), and solve a mean field with the same eps. Without eps "
            "such a kernel needs the whole space, tau = 0, no mean field, and include_self = False"
        )


def check_not_local(name: str, kernel: RadialSymbol) -> None:
    """Raise if a field is the density at the same place.

    Raises:
        InputError: it is, and does not vanish.
    """
    if kernel.local and not is_zero(kernel):
        raise InputError(
            f"field {name!r} is the density at the same place, which particles do not have: give eps, which "
            "mollifies it unless the field has mollified=False"
        )


def radial_weights(kernel: RadialSymbol, dimension: int) -> Array:
    """Return weights w with K(0) = Σ w at the wavenumbers WAVENUMBERS."""
    out: Array = _FACTOR[dimension] * _STEP * WAVENUMBERS**dimension * kernel.symbol(WAVENUMBERS**2)
    return out


def moment(kernel: RadialSymbol, dimension: int) -> float:
    """Return K(0)."""
    if kernel.oscillation:  # which WAVENUMBERS do not resolve
        return float(profile(kernel, dimension, np.zeros(1), tol=1e-10)[0])
    return float(radial_weights(kernel, dimension).sum())


def largest_slope(kernel: RadialSymbol, dimension: int) -> float:
    """Return sup |K'|, to a few percent."""
    weights = np.abs(radial_weights(kernel, dimension)) * WAVENUMBERS
    middle = float(WAVENUMBERS[np.searchsorted(np.cumsum(weights), 0.5 * weights.sum())])
    r = np.geomspace(0.03, 10.0, 80) / middle
    return float(np.abs(profile(kernel, dimension, r, tol=1e-3, slope=True)).max())


def last_wavenumber(wanted: npt.NDArray[np.bool_]) -> float:
    """Return the last of the wavenumbers that are wanted.

    Raises:
        InputError: there is none.
    """
    places = np.flatnonzero(wanted)
    if not len(places):
        raise InputError(
            "a kernel varies on none of the lengths from 1e-15 to 1e13 that are resolved: give lengths, such as eps, "
            "in other units"
        )
    return float(WAVENUMBERS[places[-1]])


def profile(kernel: RadialSymbol, dimension: int, r: Array, *, tol: float, slope: bool = False) -> Array:
    """Return K (or dK/dr) at ascending distances r, shape (n,): a closed form where there is one, or a quadrature.

    Raises:
        InputError: as ``quadrature``.
    """
    if kernel.closed:
        return kernel.slope(r, dimension) if slope else kernel.profile(r, dimension)
    return quadrature(kernel, dimension, r, tol=tol, slope=slope)


def quadrature(kernel: RadialSymbol, dimension: int, r: Array, *, tol: float, slope: bool = False) -> Array:
    """Return K (or dK/dr) at ascending distances r, shape (n,); the integral ends where a share ``tol`` is left.

    Raises:
        InputError: the symbol decays so slowly that the quadrature would take too long.
    """
    from scipy.special import erfc

    weights = np.abs(radial_weights(kernel, dimension)) * (WAVENUMBERS if slope else 1.0)
    left = np.cumsum(weights[::-1])[::-1]
    cut, taper_from = (last_wavenumber(left > share * left[0]) for share in (tol, 1e-3))
    decades = 2 * math.sqrt(math.log(1e3 / tol))
    nodes, node_weights = np.polynomial.legendre.leggauss(16)
    out = np.empty(len(r))
    for part in np.array_split(np.arange(len(r)), 1 + len(r) // 64):
        # Away from r = 0 a window that falls over a width of several 1/r may end the integral early, since the tail
        # oscillates; not where the symbol does so too, and may cancel that.
        width = decades / max(float(r[part].min()), 1e-300)
        end = taper_from + 12 * width
        tapered = end < cut and not kernel.oscillation
        # Sixteen Gauss nodes per panel of two wavelengths, graded towards k = 0; fewer panels where r is small.
        longest = max(float(r[part].max()) + kernel.oscillation, 1e-300)
        end, widest = end if tapered else cut, 4 * np.pi / longest
        count = 60 + end / widest
        if 16.0 * count * len(r) > _MOST_VALUES:
            raise InputError(
                f"the kernel's symbol decays as |k|^-{kernel.smoothing:g}: its values at {len(r)} distances to "
                f"accuracy {tol:.1g} take {count:.3g} panels: give a larger field_tol or eps"
            )
        edges = _panels(end, widest)
        size = np.diff(edges)
        k = (edges[:-1, None] + 0.5 * size[:, None] * (nodes + 1)).ravel()
        w = (0.5 * size[:, None] * node_weights).ravel() * _FACTOR[dimension] * kernel.symbol(k**2)
        w *= k ** (dimension - 1)
        if tapered:
            w *= 0.5 * erfc((k - taper_from - 6 * width) / width)
        block = max(1, 2_000_000 // len(k))
        for start in range(0, len(part), block):
            which = part[start : start + block]
            z = np.multiply.outer(r[which], k)
            out[which] = _derived(dimension, z) @ (-k * w) if slope else spherical_wave(dimension, z) @ w
    return out


def _panels(cut: float, widest: float) -> Array:
    graded = cut * 1.5 ** np.arange(-60.0, 1.0)
    graded = graded[np.append(True, np.diff(graded) <= widest)] if len(graded) > 1 else graded
    start = float(graded[-1])
    count = math.ceil((cut - start) / widest)
    uniform = np.linspace(start, cut, count + 1)[1:] if count else np.empty(0)
    return np.concatenate(([0.0], graded, uniform))


def spherical_wave(dimension: int, z: Array) -> Array:
    """Return cos z, J₀(z) or sin(z)/z: the mean of exp(ik·x) over directions, z = |k||x|."""
    from scipy.special import j0

    out: Array = np.cos(z) if dimension == 1 else j0(z) if dimension == 2 else np.sinc(z / np.pi)
    return out


def _derived(dimension: int, z: Array) -> Array:
    from scipy.special import j1, spherical_jn

    out: Array = np.sin(z) if dimension == 1 else j1(z) if dimension == 2 else spherical_jn(1, z)
    return out


class RadialTable:
    """K(r), or dK/dr, on [0, reach] as a spline of degree 5 in √r, refined until it is accurate.

    The variable is √r because kernels of finite smoothness have odd powers and logarithms of r at the origin. A kernel
    that ends nearer has its last interval, of zeros, there.

    Attributes:
        coefficients: of ascending powers of the distance from an interval's left end, shape (intervals, 6).
        step: the length of an interval.
    """

    def __init__(self, kernel: RadialSymbol, dimension: int, reach: float, *, tol: float, slope: bool = False) -> None:
        from scipy.interpolate import make_interp_spline

        whole, reach = reach, min(reach, kernel.support)
        weights = np.abs(radial_weights(kernel, dimension)) * (WAVENUMBERS if slope else 1.0)
        bandwidth = float(WAVENUMBERS[np.searchsorted(np.cumsum(weights), 0.9 * weights.sum())])
        count = max(16, math.ceil(reach * bandwidth))
        if kernel.closed:  # a logarithm cut off at a tiny length has a wide band, and few features in √r
            count = min(count, 1024)
        end = math.sqrt(reach)
        values = profile(kernel, dimension, np.linspace(0, end, count + 1) ** 2, tol=0.1 * tol, slope=slope)
        while True:
            # A function of r is even in √r: with mirrored points the spline does not end at r = 0.
            s = np.linspace(0, end, count + 1)
            spline = make_interp_spline(np.concatenate((-s[8:0:-1], s)), np.concatenate((values[8:0:-1], values)), k=5)
            middles = 0.5 * (s[1:] + s[:-1])
            exact = profile(kernel, dimension, middles**2, tol=0.1 * tol, slope=slope)
            if np.abs(spline(middles) - exact).max() <= tol * np.abs(values).max():
                break
            merged = np.empty(2 * count + 1)
            merged[::2], merged[1::2] = values, exact
            values, count = merged, 2 * count
        self.step = end / count
        derivatives = [spline.derivative(power)(s[:-1]) / math.factorial(power) for power in range(1, 6)]
        self.coefficients: Array = np.stack([values[:-1], *derivatives], axis=1)
        if reach < whole:
            self.coefficients = np.append(self.coefficients, np.zeros((1, 6)), axis=0)
