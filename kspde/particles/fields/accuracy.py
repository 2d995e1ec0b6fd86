r"""Grid spacing and padding that keep a field's error below a tolerance, from the kernel's symbol alone.

Depositing on and gathering from a grid of spacing h with B-splines of order p, whose transform is
:math:`\hat B(kh) = \mathrm{sinc}^p(kh/2\pi)`, mixes a wavenumber k < π/h with its aliases
:math:`k_m = k + 2\pi m/h`. With
:math:`S = \sum_m \hat B(k_m h)^2` the factor on the grid that makes the mean square error least is
:math:`g(k^2) \hat B^2 / S^2` (Hockney and Eastwood), and what remains of that error, relative to g², is

.. math:: e^2 = 1 - \frac{1}{(1+A)^2}, \qquad e_\nabla^2 = \frac{A_1 + A + 3A^2 + A^3}{(1+A)^3},

for the value and for the gradient of the gathering spline, with :math:`A = S/\hat B^2 - 1` and
:math:`A_1 = \sum_m k_m^2 \hat B(k_m h)^2 / (k\hat B)^2 - 1`; e = 1 for what the grid does not resolve.

The kernel's error is at most :math:`(2\pi)^{-d}\int |g| e\,dk`, that of its gradient
:math:`(2\pi)^{-d}\int |kg| e_\nabla\,dk`, attained within a few h of the origin: by a particle on itself and on close
neighbours. There the kernel is largest too, so that these bounds, relative to K(0) and sup|∇K|, bound the error of the
field of any cloud relative to the suprema of the field and of its gradient over space. For many independent particles
the errors average out, and are far smaller.
"""

from __future__ import annotations

import math

import numpy as np

from kspde.errors import InputError
from kspde.kernels import Kernel
from kspde.particles.fields.splines import ORDER
from kspde.radial import K_OF, largest_slope, moment, radial_weights
from kspde.typing import Array

__all__ = ["band", "image_distance", "spacing", "spline_transform"]


def spline_transform(phase: Array) -> Array:
    """Return B̂(kh) = sinc^p(kh/2π)."""
    return np.sinc(phase / (2 * np.pi)) ** ORDER


def alias_sum(phase: Array) -> Array:
    """Return Σ_{m≠0} B̂(k_m h)² / B̂(kh)² for 0 < |kh| ≤ π, accurate where it is tiny."""
    return _alias_sums(phase)[0]


def _alias_sums(phase: Array) -> tuple[Array, Array]:
    """Return the sum of ``alias_sum``, and the same with factors (k_m/k)²."""
    total, steep = np.zeros_like(phase), np.zeros_like(phase)
    for m in (-4, -3, -2, -1, 1, 2, 3, 4):
        square = np.square(phase / (phase + 2 * np.pi * m))
        power = square
        for _ in range(ORDER - 2):  # ** would call pow, which takes ten times as long
            power = power * square
        steep += power
        total += power * square
    return total, steep


def _relative_errors(phase: Array) -> tuple[Array, Array]:
    """Return e and e_∇ for 0 < kh ≤ π."""
    a, a1 = _alias_sums(phase)
    value = np.sqrt((2 * a + a**2) / (1 + a) ** 2)
    slope = np.sqrt((a1 + a + 3 * a**2 + a**3) / (1 + a) ** 3)
    return value, slope


def spacing(kernel: Kernel, dimension: int, *, gradient: bool, tol: float) -> float:
    """Return the grid spacing h whose a-priori error is half of ``tol``.

    Relative to K(0) for the value and to sup|∇K| for the gradient.
    """
    weights = np.abs(radial_weights(kernel, dimension))
    steep = K_OF * weights
    value_scale = abs(moment(kernel, dimension))
    slope_scale = largest_slope(kernel, dimension) if gradient else 1.0
    # What a grid does not resolve: e = 1.
    value_left, slope_left = (np.append(np.cumsum(w[::-1])[::-1], 0.0) for w in (weights, steep))

    def error(h: float) -> float:
        # Below 10⁻⁴, e and e_∇ are less than 10⁻²².
        first, last = np.searchsorted(K_OF * h, (1e-4, np.pi), side="right")
        value, slope = _relative_errors(K_OF[first:last] * h)
        worst = float(weights[first:last] @ value + value_left[last]) / value_scale
        if gradient:
            worst = max(worst, float(steep[first:last] @ slope + slope_left[last]) / slope_scale)
        return worst

    low, high = math.log(K_OF[0]), math.log(K_OF[-1])
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if error(math.exp(middle)) <= 0.5 * tol else (low, middle)
    return math.exp(low)


def band(kernel: Kernel, dimension: int, *, gradient: bool, share: float) -> float:
    """Return the wavenumber beyond which a share is left of the kernel's integral, and of its gradient's.

    Relative to K(0) and to sup|∇K|: that is what the field loses without the modes beyond.
    """
    weights = np.abs(radial_weights(kernel, dimension))
    bad = np.cumsum(weights[::-1])[::-1] > share * abs(moment(kernel, dimension))
    if gradient:
        bad |= np.cumsum((K_OF * weights)[::-1])[::-1] > share * largest_slope(kernel, dimension)
    return float(K_OF[np.flatnonzero(bad)[-1]])


def image_distance(kernel: Kernel, dimension: int, tol: float) -> float:
    r"""Return the distance R at which periodic images of the cloud no longer matter.

    Images lie behind the 2d faces of the box. A uniform sheet of particles on one face and the images of another sheet
    at distance R beyond it interact by the kernel's marginal :math:`K_1(x) = \frac1\pi\int_0^\infty g(k^2)\cos kx\,dk`;
    R is such that 2d times :math:`\int_R^\infty |K_1|`, relative to :math:`\int_0^\infty |K_1|`, and 2d times
    :math:`|K_1(R)|`, relative to its maximum, are half of ``tol``.

    Raises:
        InputError: the kernel does not decay exponentially.
    """
    if not kernel.decay_rate > 0:
        raise InputError("the kernel does not decay exponentially: a periodic box needs one that does")
    size = np.abs(kernel.symbol(K_OF**2))
    half = float(K_OF[np.flatnonzero(size >= 0.5 * size.max())[-1]])
    # A slow symbol is cut off by a narrow Gaussian, which leaves the tail as it is up to a factor near 1.
    width = 0.1 / half
    if math.isfinite(kernel.decay_rate):
        width = min(width, 0.5 / kernel.decay_rate)
        length = 45.0 / kernel.decay_rate + 25.0 / half
    else:
        length = 40.0 / half
    count = 2 * math.ceil(length * 9.0 / (np.pi * width))
    k = np.linspace(0.0, np.pi * (count // 2) / length, count // 2 + 1)
    tail = np.abs(np.fft.irfft(kernel.symbol(k**2) * np.exp(-0.5 * (width * k) ** 2), count)[: count // 2])
    beyond = np.cumsum(tail[::-1])[::-1]
    bad = (4 * dimension * beyond > tol * beyond[0]) | (4 * dimension * tail > tol * tail.max())
    return float(np.flatnonzero(bad)[-1] + 1) * 2 * length / count
