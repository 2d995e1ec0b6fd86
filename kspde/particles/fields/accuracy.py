r"""The grid spacing and the padding that keep a field's error below a tolerance, from the kernel's symbol alone.

Depositing on and gathering from a grid of spacing h with B-splines of order p, whose transform is
:math:`\hat B(kh) = \mathrm{sinc}^p(kh/2\pi)`, mixes a wavenumber k < π/h with its aliases
:math:`k_m = k + 2\pi m/h`. With
:math:`S = \sum_m \hat B(k_m h)^2` the factor on the grid that minimises the mean square error is
:math:`g(k^2) \hat B^2 / S^2` (Hockney and Eastwood), and the minimum, relative to g², is

.. math:: e^2 = 1 - \frac{1}{(1+A)^2}, \qquad e_\nabla^2 = \frac{A_1 + A + 3A^2 + A^3}{(1+A)^3},

for the value and for the gradient of what gathers, with :math:`A = S/\hat B^2 - 1` and
:math:`A_1 = \sum_m k_m^2 \hat B(k_m h)^2 / (k\hat B)^2 - 1`; e = 1 for what the grid does not resolve.

The same holds for the window of :mod:`kspde.particles.fields.splines` with its transform; its aliases do not vanish as
h does, but a grid for errors of 1e-6 has far fewer points.

The kernel's error is at most :math:`(2\pi)^{-d}\int |g| e\,dk`, that of its gradient
:math:`(2\pi)^{-d}\int |kg| e_\nabla\,dk`, attained within a few h of the origin: by a particle at itself and at close
neighbours. The kernel is largest there too, so that these bounds, relative to K(0) and sup|∇K|, bound the error of the
field of any cloud relative to the suprema of the field and of its gradient over space. For many independent particles
the errors average out and are far smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kspde.errors import InputError
from kspde.kernels import Kernel
from kspde.particles.fields.splines import ORDER, SPLINE, WINDOW, WINDOW_DECAY, Nodes
from kspde.radial import WAVENUMBERS, largest_slope, last_wavenumber, moment, radial_weights
from kspde.typing import Array

__all__ = ["band", "coarsest", "grid_factors", "image_distance", "spacing"]

#: The spacing with the window over that with splines from which on it is faster in space, where a particle touches 64
#: rows of nodes instead of 36.
_COARSER = 1.2


def grid_factors(phases: Sequence[Array], spacing: float | Array, nodes: Nodes = SPLINE) -> tuple[Array, Array]:
    """Return |k|², and B̂²/S²/h^d, the factor of the kernel's symbol, on a grid of modes.

    Args:
        phases: |kh| ≤ π per direction.
        spacing: h, or one for each direction.
        nodes: ``SPLINE`` or ``WINDOW``.
    """
    squared: Array = np.zeros(1)
    steps = np.broadcast_to(spacing, (len(phases),))
    factor: Array = np.full(1, 1.0 / np.prod(steps))
    for h, phase in zip(steps, np.ix_(*phases), strict=True):
        squared = squared + (phase / h) ** 2
        sinc = np.sinc(phase / (2 * np.pi))
        transform = sinc * _bump(phase) if nodes == WINDOW else sinc**ORDER
        factor = factor * (1.0 / (transform * (1.0 + _alias_sums(phase, nodes)[0])) ** 2)
    return squared, factor


def _bump(phase: Array) -> Array:
    """Return the transform of the window without its mean over a node, which is a factor sinc(kh/2π)."""
    from scipy.special import i0

    square = WINDOW_DECAY**2 - (3.5 * phase) ** 2
    y = np.maximum(np.sqrt(np.abs(square)), 1e-6)
    shape = np.where(square > 0, np.sinh(np.where(square > 0, y, 0.0)), np.sin(y)) / y
    return np.asarray(shape * 7 / i0(WINDOW_DECAY))


def _alias_sums(phase: Array, nodes: Nodes) -> tuple[Array, Array]:
    """Return A = Σ_{m≠0} B̂(k_m h)² / B̂(kh)² for |kh| ≤ π, and A_1; accurate where they are tiny."""
    total, steep = np.zeros_like(phase), np.zeros_like(phase)
    own = _bump(phase) if nodes == WINDOW else phase
    for m in (-4, -3, -2, -1, 1, 2, 3, 4):
        alias = phase + 2 * np.pi * m
        square = np.square(phase / alias)
        if nodes == WINDOW:
            power = np.square(_bump(alias) / own)
        else:
            power = square
            for _ in range(ORDER - 2):  # ** would call pow, which takes ten times as long
                power = power * square
        steep += power
        total += power * square
    return total, steep


def _relative_errors(phase: Array, nodes: Nodes) -> tuple[Array, Array]:
    """Return e and e_∇ for 0 < kh ≤ π."""
    a, a1 = _alias_sums(phase, nodes)
    value = np.sqrt((2 * a + a**2) / (1 + a) ** 2)
    slope = np.sqrt((a1 + a + 3 * a**2 + a**3) / (1 + a) ** 3)
    return value, slope


def coarsest(
    kernels: Sequence[tuple[Kernel, bool]], dimension: int, tol: float, *, splines: bool = False
) -> tuple[float, Nodes]:
    """Return the spacing of a grid for some kernels, and whether it is for splines or for the window.

    In space the window's is far coarser, unless the tolerance is below what the window allows.

    Args:
        kernels: the kernels, each with whether its gradient is wanted.
        dimension: d.
        tol: the tolerance.
        splines: whether nothing but splines will do.
    """
    found = {
        nodes: min(spacing(kernel, dimension, gradient=gradient, tol=tol, nodes=nodes) for kernel, gradient in kernels)
        for nodes in ((SPLINE, WINDOW) if dimension == 3 and not splines else (SPLINE,))
    }
    chosen = WINDOW if found.get(WINDOW, 0.0) > _COARSER * found[SPLINE] else SPLINE
    return found[chosen], chosen


def spacing(kernel: Kernel, dimension: int, *, gradient: bool, tol: float, nodes: Nodes = SPLINE) -> float:
    """Return the grid spacing h whose a-priori error is half of ``tol``, relative to K(0) and to sup|∇K|.

    With the window it is next to 0 if no grid has that error.
    """
    weights = np.abs(radial_weights(kernel, dimension))
    steep = WAVENUMBERS * weights
    value_scale = abs(moment(kernel, dimension))
    slope_scale = _largest_slope(kernel, dimension) if gradient else 1.0
    # e = 1 for the wavenumbers that the grid does not resolve.
    value_left, slope_left = (np.append(np.cumsum(w[::-1])[::-1], 0.0) for w in (weights, steep))

    def error(h: float) -> float:
        # Below 10⁻⁴, e and e_∇ of splines are less than 10⁻²², and those of the window no larger than above.
        first, last = np.searchsorted(WAVENUMBERS * h, (1e-4, np.pi), side="right")
        value, slope = _relative_errors(WAVENUMBERS[first:last] * h, nodes)
        worst = float(weights[first:last] @ value + value_left[last]) / value_scale
        if gradient:
            worst = max(worst, float(steep[first:last] @ slope + slope_left[last]) / slope_scale)
        return worst

    low, high = math.log(WAVENUMBERS[0]), math.log(WAVENUMBERS[-1])
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if error(math.exp(middle)) <= 0.5 * tol else (low, middle)
    return math.exp(low)


def _largest_slope(kernel: Kernel, dimension: int) -> float:
    """Return sup |K'|, to a few percent, also where the symbol is singular at 0."""
    if kernel.decay_rate > 0:
        return largest_slope(kernel, dimension)
    weights = np.abs(radial_weights(kernel, dimension)) * WAVENUMBERS**2
    middle = float(WAVENUMBERS[np.searchsorted(np.cumsum(weights), 0.5 * weights.sum())])
    return float(np.abs(kernel.slope(np.geomspace(0.03, 30.0, 80) / middle, dimension)).max())


def band(kernel: Kernel, dimension: int, *, gradient: bool, share: float) -> float:
    """Return the wavenumber beyond which the modes contribute ``share`` of K(0), and of sup|∇K| to the gradient."""
    weights = np.abs(radial_weights(kernel, dimension))
    bad = np.cumsum(weights[::-1])[::-1] > share * abs(moment(kernel, dimension))
    if gradient:
        bad |= np.cumsum((WAVENUMBERS * weights)[::-1])[::-1] > share * _largest_slope(kernel, dimension)
    return last_wavenumber(bad)


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
    size = np.abs(kernel.symbol(WAVENUMBERS**2))
    half = last_wavenumber(size >= 0.5 * size.max())
    # A narrow Gaussian cuts off a slowly decaying symbol and leaves the tail unchanged up to a factor near 1.
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
